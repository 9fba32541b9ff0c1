"""The Mapper graph of a cloud: clusters of slices along a lens, joined where they share rows; and how fragile it is."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from nbinterp.geometry.clusters import named, over_represented
from nbinterp.geometry.dimension import projected
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import ArrayLike, NDArray
    from sklearn.base import ClusterMixin

    from nbinterp.geometry.preparation import Components, Prepared
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

MIN_ROWS = 3
"""Rows that make a neighbourhood dense, and so the fewest of a node."""

MAX_NODES = 400
"""More nodes than this are no picture, and their triangles take long to count."""

CUBES_NEARBY = (0.7, 1.0, 1.4)
"""Multiples of the number of slices that are tried beside it."""

OVERLAPS_NEARBY = (-0.1, 0.0, 0.1)
"""What is added to the overlap beside it."""

STEPS = 150
"""Steps of the layout."""


@dataclass(frozen=True, eq=False)
class MapperGraph(Told):
    """A graph that shows how a cloud hangs together, seen through a lens.

    Parameters
    ----------
    nodes : tuple of tuples of int
        The rows of each node: one cluster of one slice of the lens.
    edges : array of int, ``[edge, 2]``
        Pairs of nodes that share rows.
    n_shared : array of int, ``[edge]``
        How many they share.
    lens : array, ``[row used, k]``
        What the cloud was cut along.
    lens_name : str
        What that is.
    components, loops : int
        Connected pieces, and independent loops of the nerve: of the graph with each triangle filled whose three nodes share
        a row.
    grid : DataFrame
        ``n_cubes``, ``overlap``, ``n_nodes``, ``components``, ``loops`` for this setting and eight near it.
    agreement : float
        Share of those settings that give the same components and loops as this one.
    names : DataFrame
        What the rows of each node have in common: as `Clusters.names`, ``cluster`` being the node.
    positions : array, ``[node, 2]``
        A layout by forces.
    n_cubes : int
    overlap : float
        The cover.
    n_left_out : int
        Rows used that are in no node, since they lie alone in their slices.
    reasons : tuple of str
        One sentence for each finding.
    prepared : Prepared
        What was clustered.
    provenance : str
        What was done, for people to read.
    """

    nodes: tuple[tuple[int, ...], ...] = field(repr=False)
    edges: NDArray[np.int64] = field(repr=False)
    n_shared: NDArray[np.int64] = field(repr=False)
    lens: Floats = field(repr=False)
    lens_name: str
    components: int
    loops: int
    grid: pd.DataFrame = field(repr=False)
    agreement: float
    names: pd.DataFrame = field(repr=False)
    positions: Floats = field(repr=False)
    n_cubes: int
    overlap: float
    n_left_out: int
    reasons: tuple[str, ...]
    prepared: Prepared = field(repr=False)
    provenance: str

    @property
    def site(self) -> Site | None:
        """Where the rows were read."""
        return self.prepared.site

    def name(self, node: int) -> str:
        """Say what the rows of a node have in common, in a few words."""
        return named(self.names, node, f"node {node}")

    def frame(self) -> pd.DataFrame:
        """Return one line a node: ``node``, ``n_rows``, ``lens`` (mean of its first coordinate), ``x``, ``y``, ``name``."""
        lens = self.prepared.spread(self.lens[:, 0])
        return pd.DataFrame(
            {
                "node": np.arange(len(self.nodes)),
                "n_rows": [len(rows) for rows in self.nodes],
                "lens": [float(lens[list(rows)].mean()) for rows in self.nodes],
                "x": self.positions[:, 0],
                "y": self.positions[:, 1],
                "name": [self.name(node) for node in range(len(self.nodes))],
            }
        )

    def links(self) -> pd.DataFrame:
        """Return one line an edge: ``source``, ``target``, ``n_shared``."""
        return pd.DataFrame({"source": self.edges[:, 0], "target": self.edges[:, 1], "n_shared": self.n_shared})

    def members(self) -> pd.DataFrame:
        """Return one line for each row of each node: ``node``, ``row``."""
        return pd.DataFrame([(i, row) for i, rows in enumerate(self.nodes) for row in rows], columns=["node", "row"])

    def chart(self) -> alt.LayerChart:
        """Return the graph: a dot a node, as large as its rows are many, coloured by the lens."""
        from nbinterp.charts.clusters import mapper_chart

        title = f"Mapper: {_shape(self.components, self.loops)}"
        subtitle = f"{self.agreement:.0%} of 9 near settings agree"
        return mapper_chart(self.frame(), self.links(), lens=self.lens_name, title=title, subtitle=subtitle)

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        head = f"MapperGraph{where}: {len(self.nodes)} nodes, {len(self.edges)} edges"
        return "\n".join([head, *(f"  {text}" for text in (*self.reasons, self.provenance))])


def mapper(
    cloud: Rows | Prepared,
    lens: str | ArrayLike = "pca1",
    *,
    n_cubes: int = 10,
    overlap: float = 0.35,
    clusterer: ClusterMixin | None = None,
    n_components: Components = "parallel",
    within: Column | None = None,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> MapperGraph:
    """Draw the Mapper graph of rows: cut them into overlapping slices along a lens, cluster each, join what shares rows.

    Parameters
    ----------
    cloud : Cloud or array ``[row, n_features]``, or Prepared
        The rows. Landmarks of a Prepared are not used.
    lens : "pca1", "pca2", column name, or array ``[row]`` or ``[row, k]``
        What to cut along: the first one or two principal components, or numbers that you have.
    n_cubes : int
        Slices along each coordinate of the lens.
    overlap : float
        Share of a slice that it has in common with the next, 0.05 to 0.6.
    clusterer : scikit-learn clusterer, optional
        By default DBSCAN with 3 rows within twice the distance that 95 % of all rows have their third neighbour in.
    n_components : int, float, "parallel" or None
        As for `prepare`. Rows of 8 features or fewer are taken as they are when this is "parallel".
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the preparation.

    Raises
    ------
    ValueError, LookupError
        For a lens that does not vary or does not fit, a cover that does not, or no nodes at all.

    Notes
    -----
    Singh, Mémoli & Carlsson 2007, through kepler-mapper. Mapper is fragile: another number of slices, overlap or clusterer
    may give another graph. Nine settings are therefore always run, and the result says how many of them agree. There is no
    null here: a loop that matters should be asked for again with `persistence` and `loop_significance`.
    """
    if n_cubes < 2 or not 0.05 <= overlap <= 0.6:
        raise ValueError(
            f"got n_cubes={n_cubes}, overlap={overlap}; wanted at least 2 slices and an overlap of 0.05 to 0.6."
        )
    prepared = projected(cloud, n_components, within=within, max_norm_ratio=max_norm_ratio, seed=seed)
    points = prepared.scores
    if len(points) < 2 * MIN_ROWS:
        raise ValueError(f"got {len(points)} rows; wanted at least {2 * MIN_ROWS} for a graph: collect more rows.")
    values, lens_name = _lens(prepared, lens)
    clusterer = _dbscan(points) if clusterer is None else clusterer
    found = _nodes(points, values, n_cubes, overlap, clusterer)
    if not found:
        raise ValueError(
            "got no cluster in any slice of the lens; wanted at least one: take fewer slices, more overlap, or another clusterer."
        )
    if len(found) > MAX_NODES:
        raise ValueError(
            f"got {len(found)} nodes; wanted at most {MAX_NODES}: take fewer slices, or a clusterer that draws fewer clusters."
        )
    edges, n_shared = _edges(found)
    components, loops = _betti(found, edges)
    grid = _grid(points, values, n_cubes, overlap, clusterer)
    same = (grid["components"] == components) & (grid["loops"] == loops)
    used = np.flatnonzero(prepared.source.kept)
    nodes = [used[node] for node in found]
    left_out = len(points) - len(np.unique(np.concatenate(found)))
    agreement = float(same.mean())
    reasons = (
        _shape(components, loops),
        f"Mapper is fragile: {int(same.sum())} of {len(grid)} settings near this one give the same numbers"
        + ("" if agreement > 0.75 else ", so do not rest on them"),
        f"{left_out} of {len(points)} rows are in no node",
        "no null was drawn: test a loop with persistence and loop_significance, components with clusters",
    )
    return MapperGraph(
        nodes=tuple(tuple(node.tolist()) for node in nodes),
        edges=edges,
        n_shared=n_shared,
        lens=values,
        lens_name=lens_name,
        components=components,
        loops=loops,
        grid=grid,
        agreement=agreement,
        names=over_represented(prepared.table, nodes, prepared.source.kept),
        positions=_layout(np.array([points[node].mean(axis=0) for node in found]), edges),
        n_cubes=n_cubes,
        overlap=overlap,
        n_left_out=left_out,
        reasons=tuple(f"{reason}." for reason in reasons),
        prepared=prepared,
        provenance=f"{prepared.provenance}; lens {lens_name}, {n_cubes} slices a coordinate overlapping by {overlap:.0%}; {_says(clusterer)}",
    )


def _lens(prepared: Prepared, lens: str | ArrayLike) -> tuple[Floats, str]:
    """Return the lens's values ``[row used, k]`` and its name."""
    if isinstance(lens, str) and lens in ("pca1", "pca2"):
        k = int(lens[-1])
        if prepared.scores.shape[1] < k:
            raise ValueError(
                f"got lens={lens!r} and rows of {prepared.scores.shape[1]} component; choose 'pca1', or keep more with n_components={k}."
            )
        # rows that were not projected have their components still to be found
        centred = prepared.scores - prepared.scores.mean(axis=0)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        # the same sign on every machine
        u = u * np.sign(u[np.abs(u).argmax(axis=0), np.arange(u.shape[1])])
        values, name = u[:, :k] * s[:k], f"principal component {'1' if k == 1 else '1 and 2'}"
    elif isinstance(lens, str):
        column = prepared.column(lens, "lens")
        if not all(isinstance(v, int | float) for v in column):
            raise ValueError(f"got lens={lens!r}, whose values are no numbers; choose a column of numbers, or 'pca1'.")
        values, name = column.astype(np.float64)[:, None], lens
    else:
        given = np.asarray(lens, dtype=np.float64)
        if given.ndim not in (1, 2) or len(given) != len(prepared.source.points):
            raise ValueError(
                f"got a lens of shape {list(given.shape)} for {len(prepared.source.points)} rows; wanted [row] or [row, k]."
            )
        values, name = given.reshape(len(given), -1)[prepared.source.kept], "given"
    if not np.isfinite(values).all():
        raise ValueError("got a lens with NaN or infinite numbers; wanted a finite one for each row.")
    if not np.ptp(values, axis=0).min() > 0:
        raise ValueError("got a lens that does not vary; wanted different values to cut along: choose another.")
    return values, name


def _dbscan(points: Floats) -> DBSCAN:
    third = NearestNeighbors(n_neighbors=MIN_ROWS).fit(points).kneighbors()[0][:, -1]
    # all rows may be duplicates
    return DBSCAN(eps=2 * float(np.quantile(third, 0.95)) or 1e-12, min_samples=MIN_ROWS)


def _nodes(points: Floats, lens: Floats, n_cubes: int, overlap: float, clusterer: Any) -> list[NDArray[np.int64]]:
    """Return the rows of each node; of nodes with the same rows, one."""
    # a second of import that only its users should pay
    from kmapper import Cover, KeplerMapper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cover = Cover(n_cubes=n_cubes, perc_overlap=overlap)
        graph = KeplerMapper(verbose=0).map(lens, points, clusterer=clusterer, cover=cover)
    distinct = dict.fromkeys(tuple(sorted(rows)) for rows in graph["nodes"].values())
    return [np.array(rows, dtype=np.int64) for rows in distinct]


def _edges(nodes: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    shared = Counter(pair for at in _nodes_of_row(nodes) for pair in combinations(at, 2))
    pairs = sorted(shared)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array([shared[pair] for pair in pairs], dtype=np.int64)


def _nodes_of_row(nodes: list[NDArray[np.int64]]) -> list[tuple[int, ...]]:
    """Return, for each row in any node, the nodes that it is in."""
    found: dict[int, list[int]] = {}
    for i, rows in enumerate(nodes):
        for row in rows.tolist():
            found.setdefault(row, []).append(i)
    return [tuple(at) for at in found.values()]


def _betti(nodes: list[NDArray[np.int64]], edges: NDArray[np.int64]) -> tuple[int, int]:
    """Return the connected components and the independent loops (over Z/2) of the nerve up to triangles."""
    n = len(nodes)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    components = int(connected_components(graph, directed=False)[0])
    number = {(int(a), int(b)): i for i, (a, b) in enumerate(edges)}
    triangles = {triple for at in set(_nodes_of_row(nodes)) for triple in combinations(at, 3)}
    # columns of the boundary as sets of bits, reduced by their highest edge
    pivots: dict[int, int] = {}
    for a, b, c in sorted(triangles):
        column = 1 << number[a, b] ^ 1 << number[b, c] ^ 1 << number[a, c]
        while column and (high := column.bit_length()) in pivots:
            column ^= pivots[high]
        if column:
            pivots[column.bit_length()] = column
    return components, len(edges) - n + components - len(pivots)


def _grid(points: Floats, lens: Floats, n_cubes: int, overlap: float, clusterer: Any) -> pd.DataFrame:
    lines = []
    for times in CUBES_NEARBY:
        for more in OVERLAPS_NEARBY:
            cubes, share = max(2, round(times * n_cubes)), float(np.clip(overlap + more, 0.05, 0.6))
            nodes = _nodes(points, lens, cubes, share, clusterer)
            betti = _betti(nodes, _edges(nodes)[0]) if 0 < len(nodes) <= MAX_NODES else (0, 0)
            lines.append((cubes, share, len(nodes), *betti))
    return pd.DataFrame(lines, columns=["n_cubes", "overlap", "n_nodes", "components", "loops"])


def _layout(means: Floats, edges: NDArray[np.int64]) -> Floats:
    """Return places ``[node, 2]``: springs along edges, repulsion between all (Fruchterman & Reingold 1991), from PCA."""
    n = len(means)
    centred = means - means.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((n, 2))
    k = min(2, len(s))
    places[:, :k] = u[:, :k] * s[:k]
    places /= np.abs(places).max() or 1.0
    # nodes on one line or spot could never leave it
    places += 1e-3 * np.random.default_rng(0).normal(size=places.shape)
    length = 1.5 / np.sqrt(n)
    for step in range(STEPS):
        apart = places[:, None] - places[None]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-3 * length)
        push = (apart * (length**2 / distance**2)[..., None]).sum(axis=1)
        along = places[edges[:, 0]] - places[edges[:, 1]]
        pull = along * (np.linalg.norm(along, axis=1, keepdims=True) / length)
        np.add.at(push, edges[:, 0], -pull)
        np.add.at(push, edges[:, 1], pull)
        # a gentle pull to the middle keeps pieces of the graph on the page
        push -= 0.5 * places
        size = np.maximum(np.linalg.norm(push, axis=1, keepdims=True), 1e-12)
        places += push / size * np.minimum(size, 0.1 * (1 - step / STEPS))
    centred_places: Floats = places - places.mean(axis=0)
    return centred_places


def _shape(components: int, loops: int) -> str:
    pieces = f"{components} connected component{'' if components == 1 else 's'}"
    return f"{pieces} and {loops} loop{'' if loops == 1 else 's'}"


def _says(clusterer: Any) -> str:
    return f"each slice by {' '.join(str(clusterer).split())}"
