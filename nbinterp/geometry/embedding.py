"""Pictures of a cloud: PCA, UMAP and densMAP, each with how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from nbinterp.geometry.faithfulness import N_NEIGHBOURS, Faithfulness, faithfulness
from nbinterp.geometry.forces import advance, curve_of, decay, fuzzy_graph, place, start
from nbinterp.geometry.neighbors import NeighborGraph, neighbor_graph, neighbours_kept
from nbinterp.geometry.preparation import Preparation, Prepared, prepare
from nbinterp.geometry.rows import Column, Rows, checked
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import altair as alt

    from nbinterp.geometry.rows import Checked
    from nbinterp.spaces import Floats

Null = Literal["chance", "gaussian"]
Init = Literal["pca", "spectral", "random"]
Source = Rows | Prepared | NeighborGraph

DENSE_SHARE = 0.3
"""The last share of the epochs in which densMAP's force acts, as in umap-learn."""


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Told):
    """Rows of a cloud in few dimensions.

    Parameters
    ----------
    layout : array, ``[point, n_components]``
        Where the points of `source` are.
    source : Prepared
        The points, how they came to be, and the table of the cloud.
    method : str
        ``"pca"``, ``"umap"`` or ``"densmap"``.
    parameters : mapping
        What it was made with.
    graph : NeighborGraph or None
        The neighbours of each point, where the method has them.
    explained_variance_ratio : array or None, ``[n_components]``
        Of PCA.
    null : Embedding or None
        A Gaussian of the cloud's covariance, made in the same way, where that was asked for.
    """

    layout: Floats
    source: Prepared
    method: str
    parameters: Mapping[str, Any]
    graph: NeighborGraph | None = None
    explained_variance_ratio: Floats | None = None
    null: Embedding | None = None
    _placed: Callable[[Floats], Floats] | None = field(default=None)

    @cached_property
    def coordinates(self) -> Floats:
        """One line for each row of the cloud, ``[row, n_components]``, NaN for those set aside.

        PCA: units of the activations. UMAP: no units, and distances between clusters mean nothing.
        """
        return self._spread(self.layout)

    @property
    def table(self) -> pd.DataFrame:
        """The cloud's table, one line a row."""
        return self.source.table

    @property
    def provenance(self) -> str:
        """What was done, for people to read."""
        return self.source.provenance if self.graph is None else self.graph.provenance

    @cached_property
    def faithfulness(self) -> float:
        """Share of the true 15 nearest neighbours that are nearest neighbours here; NaN with 16 points or fewer.

        On a sample of 2000 points; `report` says more.
        """
        if len(self.layout) <= N_NEIGHBOURS + 1:
            return float("nan")
        if self.graph is not None and self.graph.k >= N_NEIGHBOURS:
            return neighbours_kept(self.graph, self.layout)
        return neighbours_kept(self.source.points, self.layout)

    @property
    def faithfulness_null(self) -> float:
        """The same for a picture without information: by chance, or, where asked for, of a Gaussian of the cloud's covariance."""
        if self.null is not None:
            return self.null.faithfulness
        return N_NEIGHBOURS / (len(self.layout) - 1) if len(self.layout) > N_NEIGHBOURS + 1 else float("nan")

    def report(self, *, max_queries: int | None = 2000) -> Faithfulness:
        """Say how far the picture can be trusted: neighbours kept with their null, trustworthiness, continuity, and where it errs.

        Parameters
        ----------
        max_queries : int or None
            Points on which trustworthiness and continuity are estimated; None for all.
        """
        n = len(self.layout)
        graph = self.graph
        if n > N_NEIGHBOURS and (graph is None or graph.k < N_NEIGHBOURS):
            graph = neighbor_graph(self.source, N_NEIGHBOURS)
        found = faithfulness(self.source.points if graph is None else graph, self.layout, max_queries=max_queries)
        found = replace(
            found, coordinates=self.coordinates, lost=self._spread(found.lost), stretch=self._spread(found.stretch)
        )
        if self.null is None:
            return found
        null = self.null.report(max_queries=max_queries)
        return replace(
            found,
            null="gaussian",
            neighbours_kept_null=null.neighbours_kept,
            trustworthiness_null=null.trustworthiness,
            continuity_null=null.continuity,
        )

    def transform(self, rows: Rows, *, groups: Column | None = None) -> Floats:
        """Return where new rows belong in this picture: ``[new row, n_components]``.

        PCA projects them; UMAP puts each among its nearest neighbours and lets the forces between it and the old
        points act, which stay where they are (densMAP's own force does not act on new rows).

        Parameters
        ----------
        rows : Cloud or array, ``[new row, n_features]``
            Rows as the cloud's were before they were prepared.
        groups : str or sequence ``[new row]``, optional
            Of a cloud that was centred within a column of its table: to which of the old groups each new row belongs, whose old
            mean is subtracted.

        Raises
        ------
        ValueError
            For another number of features, another site, numbers that are not finite, a cloud that was centred
            within groups when none are given, and groups that it had not.
        """
        if self._placed is None:
            raise ValueError(
                f"got new rows for a picture by {self.method} that cannot place them; make it anew with them."
            )
        return self._placed(_projected(self.source, rows, groups))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coordinates in `frame`: ``pc1, pc2`` or ``umap1, umap2``."""
        stem = {"pca": "pc", "densmap": "umap"}.get(self.method, self.method)
        return tuple(f"{stem}{i + 1}" for i in range(self.layout.shape[1]))

    def frame(self) -> pd.DataFrame:
        """Return ``row``, the coordinates, then the columns of the cloud's table, one line a row.

        ValueError when the table has a column of one of these names.
        """
        own = ("row", *self.columns)
        if clash := [name for name in own if name in self.table.columns]:
            raise ValueError(
                f"got a table with a column {clash[0]!r}, which this frame needs for itself: rename the column."
            )
        frame = pd.DataFrame(self.coordinates, columns=list(self.columns))
        frame.insert(0, "row", np.arange(len(frame)))
        return pd.concat([frame, self.table.reset_index(drop=True)], axis=1)

    def chart(self, color: str | None = None, *, cyclic: bool = False) -> alt.LayerChart:
        """Return a scatter chart, coloured by a column of the cloud's table; `cyclic` for labels that go round.

        `report` draws the same picture coloured by where it errs.
        """
        from nbinterp.charts.clouds import scatter

        columns = self.columns[:2]
        frame = self.frame()
        if len(columns) == 1:
            columns, frame = (*columns, "–"), frame.assign(**{"–": 0.0})
        return scatter(frame, *columns, color=color, cyclic=cyclic, title=self._title(), subtitle=self._faith())

    def _spread(self, values: Floats) -> Floats:
        """Return values ``[point, …]`` as ``[row, …]``, NaN for rows set aside."""
        of_row = self.source.point_of_row
        spread = np.full((len(of_row), *values.shape[1:]), np.nan)
        spread[of_row >= 0] = values[of_row[of_row >= 0]]
        return spread

    def _title(self) -> str:
        if self.explained_variance_ratio is None:
            return {"densmap": "densMAP"}.get(self.method, self.method.upper())
        return f"PCA: {self.explained_variance_ratio[:2].sum():.0%} of the variance"

    def _faith(self) -> str:
        return f"keeps {self.faithfulness:.0%} of true {N_NEIGHBOURS} neighbours ({self.faithfulness_null:.0%} with nothing to find)"

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.coordinates.shape))
        return f"Embedding by {self._title()} [{shape}]\n  {self._faith()}\n  {self.provenance}"


def pca(
    cloud: Source,
    n_components: int = 2,
    *,
    within: Column | None = None,
    null: Null = "chance",
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Embedding:
    """Project rows onto their first principal components.

    Parameters
    ----------
    cloud : Cloud or array ``[row, d_model]``, Prepared or NeighborGraph
        The rows; a graph lends its neighbours to the report.
    n_components : int
        How many; at most the smaller of rows and features.
    within : str or sequence, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    null : {"chance", "gaussian"}
        What `Embedding.faithfulness` is to be compared with.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the Gaussian null.

    Raises
    ------
    ValueError, LookupError
        For more components than there can be, rows that are not finite, or an unknown column.
    """
    _check_null(null)
    graph = None
    if isinstance(cloud, NeighborGraph):
        graph, source = cloud, cloud.source
    else:
        source = prepare(cloud, within=within, deduplicate=False, max_norm_ratio=max_norm_ratio)
    shape = source.points.shape
    if not 1 <= n_components <= min(shape):
        raise ValueError(
            f"got n_components={n_components} for {shape[0]} rows of {shape[1]} features; choose 1 to {min(shape)}."
        )
    fitted = Preparation(n_components).fit(source.points)
    return Embedding(
        fitted.transform(source.points),
        source,
        "pca",
        {"n_components": n_components},
        graph,
        fitted.explained_variance_ratio_,
        pca(gaussian_like(source, seed), n_components, max_norm_ratio=None) if null == "gaussian" else None,
        fitted.transform,
    )


def umap(
    cloud: Source,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    *,
    densmap: bool = False,
    within: Column | None = None,
    init: Init = "pca",
    n_epochs: int | None = None,
    null: Null = "chance",
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Embedding:
    """Lay rows out in two dimensions with UMAP (McInnes et al. 2018, arXiv 1802.03426).

    The graph and the forces are those of umap-learn; the random numbers are not, so that pictures differ as between two
    seeds. `UmapSession` follows a slider.

    Parameters
    ----------
    cloud : Cloud or array ``[row, d_model]``, Prepared or NeighborGraph
        The rows; a graph needs `n_neighbors` − 1 neighbours.
    n_neighbors : int
        Neighbours of a row in the graph, itself counted as umap-learn does; 2 or more and fewer than rows.
    min_dist : float
        How close points may lie in the picture, 0 to 1.
    densmap : bool
        Let dense places be dense in the picture too (Narayan et al. 2021): the local radii of cloud and picture correlate.
    within : str or sequence, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    init : {"pca", "spectral", "random"}
        Where to start.
    n_epochs : int, optional
        Rounds of optimisation; by default umap-learn's own choice: 500 up to 10,000 points, 200 above, and 200 more
        for densMAP.
    null : {"chance", "gaussian"}
        What `Embedding.faithfulness` is to be compared with; "gaussian" runs UMAP a second time.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        The same seed gives the same picture, to the bit, on one machine.

    Raises
    ------
    ValueError, LookupError
        For parameters out of their range, too few neighbours in a graph, rows that are not finite or all equal, or an
        unknown column.
    """
    _check_null(null)
    if init not in ("pca", "spectral", "random"):
        raise ValueError(f"got init={init!r}; choose 'pca', 'spectral' or 'random'.")
    if n_epochs is not None and n_epochs < 1:
        raise ValueError(f"got n_epochs={n_epochs}; wanted at least 1.")
    graph = umap_graph(cloud, n_neighbors, within=within, max_norm_ratio=max_norm_ratio, seed=seed)
    check_parameters(graph, n_neighbors, min_dist)
    given = {"n_neighbors": n_neighbors, "min_dist": min_dist}
    parameters = {**given, "init": init, "n_epochs": n_epochs, "seed": seed}
    fuzzy = fuzzy_graph(graph, n_neighbors)
    if n_epochs is None:
        n_epochs = (500 if len(graph) <= 10_000 else 200) + 200 * densmap
    dense_from = round((1 - DENSE_SHARE) * n_epochs) if densmap else None
    begun = start(graph, fuzzy, init, seed)
    layout = advance(begun, fuzzy, curve_of(min_dist), decay(n_epochs), seed=seed, dense_from=dense_from)
    assert layout is not None  # nobody told it to stop
    shown = umap_embedding(graph, layout, parameters, densmap=densmap)
    if null == "chance":
        return shown
    nothing = umap(
        gaussian_like(graph.source, seed),
        n_neighbors,
        min_dist,
        densmap=densmap,
        init=init,
        n_epochs=n_epochs,
        max_norm_ratio=None,
        seed=seed,
    )
    return replace(shown, null=nothing)


def umap_graph(
    cloud: Source,
    n_neighbors: int,
    *,
    k_max: int = 0,
    within: Column | None,
    max_norm_ratio: float | None,
    seed: int,
) -> NeighborGraph:
    """Return the graph that UMAP with `n_neighbors`, and up to `k_max` where there are rows, needs, and its report can use."""
    if isinstance(cloud, NeighborGraph):
        return cloud
    source = prepare(cloud, within=within, deduplicate=False, max_norm_ratio=max_norm_ratio)
    n = len(source.points)
    _check_neighbors(n_neighbors, n)
    return neighbor_graph(source, min(n - 1, max(n_neighbors - 1, k_max - 1, N_NEIGHBOURS)), seed=seed)


def check_parameters(graph: NeighborGraph, n_neighbors: int, min_dist: float) -> None:
    """Raise ValueError when UMAP cannot be run with these parameters on this graph."""
    n = len(graph)
    _check_neighbors(n_neighbors, n)
    if n_neighbors - 1 > graph.k:
        raise ValueError(
            f"got n_neighbors={n_neighbors} for a graph of {graph.k} neighbours; wanted at most {graph.k + 1}: "
            "make the graph with a larger k."
        )
    if not 0 <= min_dist <= 1:
        raise ValueError(f"got min_dist={min_dist}; wanted a number from 0 to 1.")
    if not np.ptp(graph.source.points, axis=0).any():
        raise ValueError(f"got {n} rows that are all equal; wanted rows that differ.")


def umap_embedding(graph: NeighborGraph, layout: Any, parameters: Mapping[str, Any], *, densmap: bool) -> Embedding:
    """Return a layout ``[point, 2]`` as an Embedding that can place new rows."""
    curve = curve_of(parameters["min_dist"])

    def placed(new: Floats) -> Floats:
        found = place(new, graph, layout, parameters["n_neighbors"], curve, seed=parameters["seed"])
        return found.astype(np.float64)

    return Embedding(
        layout.astype(np.float64), graph.source, "densmap" if densmap else "umap", parameters, graph, _placed=placed
    )


def gaussian_like(source: Prepared, seed: int) -> Floats:
    """Return a Gaussian cloud of the covariance of the used rows, prepared in the same way: ``[point, n_components]``."""
    rows, rng = source.rows, np.random.default_rng(seed)
    n, d = rows.shape
    if n <= d:
        drawn = rng.normal(size=(n, n)) @ rows / np.sqrt(n - 1)
    else:
        values, vectors = np.linalg.eigh(rows.T @ rows / (n - 1))
        drawn = rng.normal(size=(n, d)) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return source.again(drawn - drawn.mean(axis=0))


def _projected(source: Prepared, rows: Rows, groups: Column | None) -> Floats:
    """Return new rows in the space of the points: ``[new row, n_components]``."""
    new = checked(rows, max_norm_ratio=None)
    if new.site is not None and source.site is not None and new.site != source.site:
        raise ValueError(f"got new rows at {new.site} for a picture of {source.site}; wanted the same site.")
    d = source.rows.shape[1]
    if new.points.shape[1] != d:
        raise ValueError(f"got new rows of {new.points.shape[1]} features for a picture of {d}; wanted as many.")
    if bool(source.within) != (groups is not None):
        raise ValueError(
            "got new rows for a picture of rows that were centred within groups, to none of which they belong; "
            "wanted old and new rows centred alike: say the groups of the new ones with groups=, or centre them first, and make the "
            "picture without within."
            if source.within
            else "got groups for new rows of a picture whose rows were not centred within groups; leave groups out."
        )
    mean = source.source.points[source.source.kept].mean(axis=0) if groups is None else _means(source, new, groups)
    scores: Floats = source.preparation.transform(new.points - mean)
    return scores


def _means(source: Prepared, new: Checked, groups: Column) -> Floats:
    """Return the mean of the old rows of each new row's group: ``[new row, n_features]``."""
    old = source.column(source.within, "within")
    known = {group: i for i, group in enumerate(dict.fromkeys(old))}
    belongs = new.column(groups, "groups")
    if unknown := [group for group in belongs if group not in known]:
        raise ValueError(
            f"got a new row of the group {unknown[0]!r}, which the picture has no row of; wanted groups among {', '.join(map(repr, list(known)[:8]))}."
        )
    rows = source.source.points[source.source.kept]
    sums = np.zeros((len(known), rows.shape[1]))
    codes = np.array([known[group] for group in old])
    np.add.at(sums, codes, rows)
    means: Floats = (sums / np.bincount(codes)[:, None])[[known[group] for group in belongs]]
    return means


def _check_neighbors(n_neighbors: int, n: int) -> None:
    if not isinstance(n_neighbors, int | np.integer) or not 2 <= n_neighbors < n:
        raise ValueError(f"got n_neighbors={n_neighbors} for {n} rows; wanted at least 2 and fewer than rows.")


def _check_null(null: str) -> None:
    if null not in ("chance", "gaussian"):
        raise ValueError(f"got null={null!r}; choose 'chance' or 'gaussian'.")
