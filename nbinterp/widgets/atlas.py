"""The atlas: one cloud in several pictures that share one selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import traitlets

from nbinterp.charts.linked import linked_views, selected_rows
from nbinterp.geometry import loop_significance, pca, persistence, umap
from nbinterp.widgets.chart import Chart

if TYPE_CHECKING:
    import pandas as pd

    from nbinterp.clouds import Cloud


class Atlas(Chart):
    """Principal components, UMAP and persistent homology of one cloud, side by side and linked.

    Drag in a scatter to select rows, click a loop in the persistence diagram to see the rows that it runs through, or
    a label in the legend. What is selected in one picture is selected in all, and in Python.

    Parameters
    ----------
    cloud : Cloud
        A cloud of one site.
    by : str
        The column to colour by.
    within : str, optional
        Subtract the mean of each group of this column first, e.g. ``"template"``.
    cyclic : bool
        Whether the labels go round.
    n_neighbors, min_dist
        Of UMAP.
    n_components : int or None
        Principal components that homology sees; None for all features.
    seed : int
        Of UMAP and of the null clouds that the diagram's line comes from.

    Attributes
    ----------
    selection : tuple of int
        The rows that are selected, all that are drawn when nothing is; set by the page. Observe it to follow the hand.
    rows : DataFrame
        What the pictures show: one line a row, with its coordinates.
    loops : Significance
        Whether the cloud's longest-lived loop is more than noise.

    Raises
    ------
    ValueError, LookupError
        For a cloud of several sites, too few rows, or an unknown column.
    """

    selection = traitlets.Tuple()

    def __init__(
        self,
        cloud: Cloud,
        by: str,
        *,
        within: str | None = None,
        cyclic: bool = False,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        n_components: int | None = 2,
        seed: int = 0,
    ) -> None:
        if by not in cloud.table.columns:
            raise LookupError(
                f"got by={by!r}, which is not a column of the cloud's table; choose from {', '.join(map(repr, cloud.table.columns))}."
            )
        flat = pca(cloud, within=within)
        spread = umap(cloud, n_neighbors, min_dist, within=within, seed=seed)
        diagram = persistence(cloud, n_components=n_components, within=within)
        self._cloud = cloud
        self._by = by
        self._members = diagram.members()
        self.loops = loop_significance(diagram, seed=seed)
        self.rows: pd.DataFrame = flat.frame().merge(spread.frame()[["row", *spread.columns]], on="row")
        threshold, ratio = self.loops.limits
        chart = linked_views(
            self.rows,
            diagram.frame(),
            self._members,
            color=by,
            cyclic=cyclic,
            threshold=threshold,
            ratio=ratio,
        )
        description = f"{len(cloud)} rows of {cloud.site} by {by}: PCA, UMAP and persistence diagram; homology says {self.loops.verdict}"
        super().__init__(chart, description=description, table=self.rows)
        self._select()
        self.observe(self._select, names="selections")

    @property
    def selected(self) -> Cloud:
        """The selected rows as a cloud."""
        return self._cloud.select(np.array(self.selection, dtype=int))

    def _select(self, _: object = None) -> None:
        self.selection = tuple(selected_rows(self.selections, self.rows, self._members, color=self._by))
