"""What an atlas leaves where nobody can turn it: its rows as a table, and its pictures as charts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.charts.clouds import scatter
from nbinterp.charts.data import MAX_ROWS
from nbinterp.charts.linked import linked_views

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.widgets.atlas.layouts import Places
    from nbinterp.widgets.atlas.lines import Lines
    from nbinterp.widgets.atlas.shapes import Found
    from nbinterp.widgets.protocol import Again, AtlasView, Positions

MOST_DRAWN = 4000
"""Points of a picture that is stored: more are sampled."""


@dataclass(frozen=True, eq=False)
class Still:
    """What the scatter of an atlas shows.

    Parameters
    ----------
    lines : Lines
        The table of the cloud.
    places : array, ``[row, 2]``
        Where the rows lie; NaN for rows that have no place.
    axes : (str, str)
        Titles of the axes.
    picked : mask, ``[row]``
        What is picked.
    acted : str
        What acted when the cloud was collected, in words.
    again : array or None, ``[row, 2]``
        Where the rows lie that were collected again; NaN for the others.
    acted_again, moved : str
        What acted then, and how far rows moved, in words.
    """

    lines: Lines = field(repr=False)
    places: Places = field(repr=False)
    axes: tuple[str, str]
    picked: NDArray[np.bool_] = field(repr=False)
    acted: str
    again: Places | None = field(default=None, repr=False)
    acted_again: str = ""
    moved: str = ""

    @classmethod
    def of(
        cls,
        lines: Lines,
        picked: NDArray[np.bool_],
        acted: str,
        view: AtlasView,
        positions: Positions | None,
        again: Again | None,
    ) -> Still:
        """Return what a page shows of its view; before the first picture rows have no place."""
        n, places, axes = len(lines.table), None, ("", "")
        if positions is not None:
            sites, axes = positions["sites"], (positions["x"], positions["y"])
            xy = np.frombuffer(positions["xy"], dtype="<f4").reshape(-1, n, 2)
            places = xy[sites.index(view["site"]) if view["site"] in sites else 0]
        places = np.full((n, 2), np.nan, dtype=np.float32) if places is None else places
        if again is None or (again["layout"], again["site"]) != (view["layout"], view["site"]):
            return cls(lines, places, axes, picked, acted)
        moved = np.frombuffer(again["xy"], dtype="<f4").reshape(n, 2)
        return cls(lines, places, axes, picked, acted, moved, again["what"], again["statement"])

    @property
    def remark(self) -> str:
        """How far rows moved, to be said after everything else; empty where none was collected again."""
        return "" if self.again is None else f" Collected again, {self.acted_again}: {self.moved}"

    def frame(self) -> pd.DataFrame:
        """Return a line for each row and, below, one for each row that was collected again; see `Atlas.frame`."""
        first = self._framed(self.places, self.acted)
        if self.again is None:
            return first
        more = self._framed(self.again, self.acted_again)
        return pd.concat([first, more[more["x"].notna()]], ignore_index=True)

    def picture(
        self, *, color: str | None, cyclic: bool, title: str, subtitle: str, seed: int
    ) -> tuple[alt.LayerChart, pd.DataFrame]:
        """Return the scatter as a chart, of a sample where there are many rows, with its numbers row by row."""
        n = len(self.places)
        rows = np.arange(n)
        if n > MOST_DRAWN:
            rows = np.sort(np.random.default_rng(seed).choice(n, MOST_DRAWN, replace=False))
        frame = self.frame()
        few = frame[frame["row"].isin(rows)].sort_values("row", kind="stable", ignore_index=True)
        if self.again is None and not self.acted:
            few = few.drop(columns="interventions")
        # the columns of the cloud are what a pointer asks for
        told = few.drop(columns="picked")
        again = told[told.duplicated("row")] if self.again is not None else None
        chart = scatter(
            told.drop_duplicates("row"),
            "x",
            "y",
            color=color if color in told.columns else None,
            cyclic=cyclic,
            title=title,
            subtitle=subtitle,
            axes=self.axes,
            again=again,
            again_name=self.acted_again,
        )
        return chart, few

    def _framed(self, places: Places, acted: str) -> pd.DataFrame:
        x, y = places.T
        return self.lines.framed({"x": x, "y": y, "picked": self.picked, "interventions": acted})


def linked_chart(rows: pd.DataFrame, found: Found, *, color: str, cyclic: bool, seed: int) -> alt.HConcatChart:
    """Return principal components, UMAP and persistence diagram as linked charts; of many rows a sample.

    Parameters
    ----------
    rows : DataFrame
        As `Atlas.rows` gives them.
    found : Found
        The shapes of the same site.
    color, cyclic
        Column to colour by, and whether it goes round.
    seed : int
        Of the sample.
    """
    if len(rows) > MAX_ROWS:
        rows = rows.sample(MAX_ROWS, random_state=seed).sort_index()
    members = found.diagram.members()
    members = members.assign(row=found.rows[members["row"].to_numpy()])
    threshold, ratio = found.test.limits
    classes = found.diagram.frame()
    return linked_views(rows, classes, members, color=color, cyclic=cyclic, threshold=threshold, ratio=ratio)
