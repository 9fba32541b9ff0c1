"""The nearest neighbours of every point: found once, and shared by all that follows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from nbinterp.geometry.preparation import Prepared, prepare
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.spaces import Floats

Metric = Literal["euclidean", "cosine"]

EXACT_LIMIT = 20_000
"""Up to so many points all distances are computed; above, neighbours are searched for (pynndescent).

Measured at d = 576: all distances of 8,000 points take 1.1 s of one core, of 17,000 4.5 to 5; a search takes 0.3 and 1.0 s
for 15 neighbours of activations (1.2 s and 4 s for 50), but the first search of every process compiles for 26 s, and in noise
it finds .34 to .44 of the 15 nearest, where in activations it finds .99.
"""

_BLOCK = 4_000_000
"""Distances that are held at once."""

_SPARE = 8
"""Candidates beyond the k nearest in float32, whose distances are then computed without cancellation."""


@dataclass(frozen=True, eq=False, repr=False)
class NeighborGraph(Told):
    """The k nearest neighbours of every point of a cloud, the point itself left out.

    Made by `neighbor_graph`. Duplicates of a point are its neighbours, at distance 0.

    Parameters
    ----------
    source : Prepared
        The points, and how they came to be.
    indices : array, ``[point, k]``
        The neighbours, nearest first; of equally near ones the first comes first.
    distances : array, ``[point, k]``
        Distances to them: in the units of the points, or 1 − cosine.
    metric : {"euclidean", "cosine"}
        What is near.
    exact : bool
        Whether all distances were computed (to float32's precision), or neighbours searched for.
    recall : float
        Share of the true neighbours that were found, on a sample of 200 points; 1 where exact.
    """

    source: Prepared
    indices: NDArray[np.int64]
    distances: Floats
    metric: Metric
    exact: bool
    recall: float

    @property
    def k(self) -> int:
        """How many neighbours each point has."""
        return int(self.indices.shape[1])

    def __len__(self) -> int:
        return len(self.indices)

    def nearest(self, k: int) -> NeighborGraph:
        """Return the graph of the `k` nearest of these neighbours; ValueError when they are fewer."""
        if not 1 <= k <= self.k:
            raise ValueError(
                f"got k={k} for a graph of {self.k} neighbours; wanted 1 to {self.k}: make the graph with a larger k."
            )
        return NeighborGraph(
            self.source, self.indices[:, :k], self.distances[:, :k], self.metric, self.exact, self.recall
        )

    def adjacency(self) -> csr_array[np.float64]:
        """Return distances as a sparse array ``[point, point]``, an entry from each point to each of its neighbours.

        Not symmetric: a point need not be a neighbour of its neighbours. Duplicates have entries that are 0.
        """
        n, k = self.indices.shape
        return csr_array((self.distances.ravel(), self.indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))

    @cached_property
    def n_connected(self) -> int:
        """Number of connected components, edges taken in both directions; between them no path leads through neighbours."""
        n, k = self.indices.shape
        links = csr_array((np.ones(n * k, np.int8), self.indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
        return int(connected_components(links, directed=False)[0])

    @cached_property
    def provenance(self) -> str:
        """What was done, for people to read."""
        how = "exact" if self.exact else f"approximate, {self.recall:.0%} of the true ones found"
        what = "" if self.metric == "euclidean" else f" by {self.metric}"
        parts = "" if self.n_connected == 1 else f", in {self.n_connected} connected components"
        return f"{self.source.provenance}; {self.k} nearest neighbours of each{what} ({how}){parts}"

    def frame(self) -> pd.DataFrame:
        """Return one line an edge: ``point``, ``neighbor``, ``rank`` (from 1), ``distance``."""
        n, k = self.indices.shape
        return pd.DataFrame(
            {
                "point": np.repeat(np.arange(n), k),
                "neighbor": self.indices.ravel(),
                "rank": np.tile(np.arange(1, k + 1), n),
                "distance": self.distances.ravel(),
            }
        )

    def __repr__(self) -> str:
        return f"NeighborGraph: {len(self)} points, {self.k} neighbours each\n  {self.provenance}"


def neighbor_graph(
    cloud: Rows | Prepared | NeighborGraph,
    k: int = 15,
    *,
    metric: Metric | None = None,
    exact: bool | None = None,
    within: Column | None = None,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> NeighborGraph:
    """Find the k nearest neighbours of every point.

    Parameters
    ----------
    cloud : Cloud or array ``[row, n_features]``, Prepared, or NeighborGraph
        The points: rows in their order, those of a giant norm left out, duplicates kept; a graph of as many
        neighbours or more is cut to `k`.
    k : int
        How many, 1 or more and fewer than points.
    metric : {"euclidean", "cosine"}, optional
        What is near; cosine is that of the centred rows. By default Euclidean, or the graph's own.
    exact : bool, optional
        Compute all distances, or search (Dong et al. 2011, by pynndescent); by default exact up to `EXACT_LIMIT` points.
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the search.

    Raises
    ------
    ValueError
        For fewer points than neighbours, an unknown metric, a graph of fewer neighbours or of another metric, or rows
        that are not finite.
    """
    if metric not in (None, *get_args(Metric)):
        raise ValueError(f"got metric={metric!r}; choose 'euclidean' or 'cosine'.")
    if isinstance(cloud, NeighborGraph):
        if metric not in (None, cloud.metric):
            raise ValueError(
                f"got metric={metric!r} and a graph of {cloud.metric} neighbours; wanted one metric: make the graph anew."
            )
        return cloud.nearest(k)
    metric = metric or "euclidean"
    source = prepare(cloud, within=within, deduplicate=False, max_norm_ratio=max_norm_ratio)
    n = len(source.points)
    if not 1 <= k < n:
        raise ValueError(f"got k={k} for {n} points; wanted at least 1 and fewer than points.")
    if exact is None:
        exact = n <= EXACT_LIMIT
    if exact:
        indices, distances = nearest(source.points, source.points, k, metric=metric, own=np.arange(n))
        return NeighborGraph(source, indices, distances, metric, True, 1.0)
    return _searched(source, k, metric, seed)


def neighbours_kept(
    points: Floats | NeighborGraph,
    coordinates: Floats,
    *,
    n_neighbors: int = 15,
    max_queries: int = 2000,
    seed: int = 0,
) -> float:
    """Return the share of each row's nearest neighbours that are still its nearest neighbours in a picture.

    Parameters
    ----------
    points : array ``[row, d_model]`` or NeighborGraph
        The rows, or their neighbours where these are known.
    coordinates : array, ``[row, n_components]``
        The same rows in the picture.
    n_neighbors : int
        How many neighbours to compare.
    max_queries : int
        Rows to ask for; more are sampled.
    seed : int
        Of that sample.

    Returns
    -------
    float
        0 to 1. A random picture keeps ``n_neighbors / (n_rows - 1)``.

    Raises
    ------
    ValueError
        When there are not more rows than neighbours, or not as many coordinates as points.
    """
    n = len(points)
    if n <= n_neighbors:
        raise ValueError(f"got {n} rows to compare {n_neighbors} neighbours; wanted more rows than neighbours.")
    if len(coordinates) != n:
        raise ValueError(f"got {n} rows and {len(coordinates)} in the picture; wanted the same rows in both.")
    queries = np.arange(n)
    if n > max_queries:
        queries = np.sort(np.random.default_rng(seed).choice(n, max_queries, replace=False))
    if isinstance(points, NeighborGraph):
        true = points.nearest(n_neighbors).indices[queries]
    else:
        array = np.asarray(points, dtype=np.float64)
        true = nearest(array[queries], array, n_neighbors, own=queries)[0]
    return float(n_shared(true, in_picture(coordinates, n_neighbors, queries)).mean() / n_neighbors)


def in_picture(coordinates: Floats, k: int, queries: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the k nearest neighbours in a picture ``[row, n_components]`` of some rows, themselves left out: ``[query, k]``."""
    coordinates = np.asarray(coordinates, dtype=np.float64)
    if coordinates.shape[1] > 3:
        return nearest(coordinates[queries], coordinates, k, own=queries)[0]
    found = np.asarray(cKDTree(coordinates).query(coordinates[queries], k + 1, workers=-1)[1], dtype=np.int64)
    return np.take_along_axis(found, _others(found, queries), axis=1)


def n_shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many neighbours two lists ``[row, k]`` share: ``[row]``."""
    both = np.sort(np.concatenate([one, other], axis=1), axis=1)
    shared: NDArray[np.int64] = (both[:, 1:] == both[:, :-1]).sum(axis=1)
    return shared


def nearest(
    queries: NDArray[np.floating[Any]],
    points: NDArray[np.floating[Any]],
    k: int,
    *,
    metric: Metric = "euclidean",
    own: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], Floats]:
    """Return the k nearest points to each query, by all distances, in blocks.

    Parameters
    ----------
    queries, points : array, ``[query, n_features]`` and ``[point, n_features]``
        Centred or nearly so: distances are computed in float32.
    k : int
        At most as many as points, the query itself not counted.
    metric : {"euclidean", "cosine"}
        What is near.
    own : array of int, ``[query]``, optional
        The point that each query is, which is not its own neighbour.

    Returns
    -------
    indices, distances : array, ``[query, k]``
        Nearest first, ties in the order of the points.
    """
    all_points, unit = _scaled(points, metric)
    asked = all_points if queries is points else _scaled(queries, metric, unit)[0]
    indices, squares, rounding = _nearest(asked, all_points, k, own)
    # where float32 cannot tell the nearest apart, and only there
    unsure = np.flatnonzero(squares[:, -1] < rounding)
    if len(unsure):
        doubles, unit = _scaled(points, metric, dtype=np.float64)
        few = _scaled(queries[unsure], metric, unit, dtype=np.float64)[0]
        indices[unsure], squares[unsure], _ = _nearest(few, doubles, k, None if own is None else own[unsure])
    return indices, squares / 2 if metric == "cosine" else np.sqrt(squares) * unit


def _nearest(
    asked: NDArray[np.floating[Any]], points: NDArray[np.floating[Any]], k: int, own: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], Floats, float]:
    """Return the k nearest points, their squared distances, and below what these may be wrong: see `nearest`."""
    n, taken = len(points), min(k + _SPARE, len(points) - (own is not None))
    lengths = np.einsum("ij,ij->i", points, points)
    indices = np.empty((len(asked), k), dtype=np.int64)
    squares = np.empty((len(asked), k))
    size = max(1, min(_BLOCK // n, _BLOCK // (taken * points.shape[1]) + 1))
    for start in range(0, len(asked), size):
        block = slice(start, start + size)
        # the query's own length is the same for all points
        apart = lengths - 2 * (asked[block] @ points.T)
        if own is not None:
            apart[np.arange(len(apart)), own[block]] = np.inf
        near = np.argpartition(apart, taken - 1, axis=1)[:, :taken] if taken < n else np.argsort(apart, axis=1)
        # from the differences themselves: the products lose the small distances
        between = points[near] - asked[block, None]
        length = np.einsum("qnd,qnd->qn", between, between)
        order = np.lexsort((near, length), axis=1)[:, :k]
        indices[block] = np.take_along_axis(near, order, axis=1)
        squares[block] = np.take_along_axis(length, order, axis=1)
    return indices, squares, 100 * float(np.finfo(points.dtype).eps * lengths.max())


def _scaled(
    points: NDArray[np.floating[Any]],
    metric: Metric,
    unit: float | None = None,
    *,
    dtype: type[np.floating[Any]] = np.float32,
) -> tuple[NDArray[np.floating[Any]], float]:
    """Return points in a unit in which float32 neither over- nor underflows, or at length 1 for cosines; and that unit."""
    if metric == "cosine":
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        # centring leaves the middle not quite at zero
        if n_none := int((lengths <= 1e-12 * lengths.max()).sum()):
            raise ValueError(
                f"got {n_none} points of length 0, which have no cosine; wanted points with a direction: "
                "leave them out, or take metric='euclidean'."
            )
        return (points / lengths).astype(dtype), 1.0
    if unit is None:
        unit = float(np.abs(points).max()) or 1.0
    return (points / unit).astype(dtype), unit


def _others(indices: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where in each line ``[row, k + 1]`` the others are, without its own point, or the last where duplicates have crowded it out."""
    return np.argsort(indices == own[:, None], axis=1, kind="stable")[:, :-1]


def _searched(source: Prepared, k: int, metric: Metric, seed: int) -> NeighborGraph:
    # importing pynndescent compiles with numba: seconds that only large clouds should pay
    from pynndescent import NNDescent

    points, n = source.points, len(source.points)
    scaled, unit = _scaled(points, metric)
    found, lengths = NNDescent(scaled, metric="euclidean", n_neighbors=k + 1, random_state=seed).neighbor_graph
    own = np.arange(n)
    others = _others(found, own)
    indices = np.take_along_axis(found, others, axis=1).astype(np.int64)
    distances = np.take_along_axis(lengths, others, axis=1).astype(np.float64)
    if len(failed := np.flatnonzero((indices < 0).any(axis=1))):
        indices[failed], distances[failed] = nearest(scaled[failed], scaled, k, own=failed)
    distances = distances**2 / 2 if metric == "cosine" else distances * unit
    sample = np.sort(np.random.default_rng(seed).choice(n, min(n, 200), replace=False))
    farthest = nearest(points[sample], points, k, metric=metric, own=sample)[1][:, -1:]
    # by distance: of equally near neighbours any will do
    recall = float((distances[sample] <= farthest * (1 + 1e-5)).mean())
    return NeighborGraph(source, indices, distances, metric, False, recall)
