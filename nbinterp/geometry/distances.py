"""Distance matrices for homology: straight, by angle, along a neighbour graph, or given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from nbinterp.geometry.threads import one_thread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nbinterp.spaces import Floats

Metric = Literal["euclidean", "cosine", "geodesic", "precomputed"]
Matrix = NDArray[np.float32]

BLOCK = 128
"""Rows of the matrix that are computed at once: few enough to stay in a core's cache up to 2,000 points."""

NARROW = 32
"""With so few features a product in float64 costs no more than the matrix's own memory traffic."""

NEAR = 0.05
"""Squared distances below this share of the squared norms would lose digits in float32: computed in float64."""

FEW = 4
"""Up to so many close pairs a row are computed one by one; with more, all pairs of a block are."""


def distances(points: ArrayLike, metric: Metric = "euclidean", *, n_neighbors: int = 15) -> Matrix:
    """Return the distances between points, in float32.

    Parameters
    ----------
    points : array ``[point, feature]``, or ``[point, point]`` where they are distances already
        The points.
    metric : {"euclidean", "cosine", "geodesic", "precomputed"}
        Straight distance; 1 − cosine of the angle at the origin; length of the shortest path in the graph of nearest
        neighbours (as Isomap has it: Tenenbaum, de Silva, Langford 2000); or `points` themselves, checked.
    n_neighbors : int
        Of the graph: two points are joined when one is among the nearest of the other. Only for ``"geodesic"``.

    Returns
    -------
    array ``[point, point]``
        Symmetric, exactly 0 on the diagonal. Infinite between parts of a neighbour graph that do not hang together;
        `n_parts` counts them.

    Raises
    ------
    ValueError
        For NaN, an unknown metric, a point at the origin (cosine), fewer points than neighbours, or given distances
        that are not square, symmetric, non-negative and 0 on the diagonal.

    Notes
    -----
    Straight distances come from one matrix product of the centred points, in float32 where there are many features; close
    pairs are computed in float64. They are good to a millionth of the cloud's size; points nearer to each other
    than a ten-millionth of it may be at distance 0.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"got metric={metric!r}; choose from {', '.join(get_args(Metric))}.")
    if metric == "precomputed":
        return _given(points)
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"got points of shape {list(array.shape)}; wanted [point, feature] with at least one of each.")
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise ValueError(
            f"got NaN or infinite numbers in {len(bad)} of {len(array)} points (the first is point {bad[0]}); "
            "wanted finite numbers: drop those points."
        )
    if metric == "cosine":
        return _cosine(array)
    straight = _euclidean(array)
    return straight if metric == "euclidean" else _geodesic(straight, n_neighbors)


def n_parts(distances: Matrix) -> int:
    """Return into how many parts, infinitely far from each other, ``distances [point, point]`` fall."""
    # every point of a part has the same first point at a finite distance
    return len(np.unique(np.isfinite(distances).argmax(axis=1)))


def _euclidean(points: Floats) -> Matrix:
    exact = points - points.mean(axis=0)
    # in units of the largest entry no square can overflow or vanish
    scale = float(max(exact.max(), -exact.min())) or 1.0
    exact /= scale
    narrow = exact.shape[1] <= NARROW
    rows: Matrix | Floats = exact if narrow else exact.astype(np.float32)
    squared_norms = np.einsum("ij,ij->i", exact, exact)
    norms = squared_norms.astype(rows.dtype)
    limits = (NEAR * (norms + norms.max()))[:, None]
    nothing = 2e-14 * squared_norms.max()
    matrix = np.empty((len(points), len(points)), dtype=np.float32)
    with one_thread:
        for start in range(0, len(points), BLOCK):
            stop = min(start + BLOCK, len(points))
            # up to the diagonal; the other half is the mirror image
            squares = _squares(rows, norms, start, stop)
            # a point is not one of those near itself
            np.fill_diagonal(squares[:, start:], np.inf)
            near = None if narrow else np.nonzero(squares < limits[start:stop])
            if near is not None and len(near[0]) <= FEW * (stop - start):
                apart = exact[start + near[0]] - exact[near[1]]
                squares[near] = np.einsum("ij,ij->i", apart, apart)
            else:
                squares = squares if narrow else _squares(exact, squared_norms, start, stop)
                squares[squares < nothing] = 0
            block = np.sqrt(squares, out=squares)
            block *= scale
            corner = block[:, start:]
            matrix[start:stop, :start] = block[:, :start]
            matrix[:start, start:stop] = block[:, :start].T
            # the two halves of the corner differ by rounding
            np.minimum(corner, corner.T, out=matrix[start:stop, start:stop], casting="same_kind")
    np.fill_diagonal(matrix, 0)
    return matrix


def _squares(rows: Any, squared_norms: Any, start: int, stop: int) -> Any:
    """Return squared distances of some rows to all before their end, in the rows' precision."""
    squares = (-2 * rows[start:stop]) @ rows[:stop].T
    squares += squared_norms[start:stop, None]
    squares += squared_norms[:stop]
    return squares


def _cosine(points: Floats) -> Matrix:
    norms: Floats = np.linalg.norm(points, axis=1, keepdims=True)
    # a point that differs from the origin by rounding only has no direction either
    if (nowhere := np.flatnonzero(norms[:, 0] <= 1e-12 * norms.max())).size:
        raise ValueError(
            f"got {len(nowhere)} of {len(points)} points at the origin (the first is point {nowhere[0]}), from which no angle "
            "can be measured; wanted none for metric='cosine': drop them or take metric='euclidean'."
        )
    chords = _euclidean(points / norms)
    halved: Matrix = chords * chords * np.float32(0.5)
    return halved


def _geodesic(straight: Matrix, n_neighbors: int) -> Matrix:
    n = len(straight)
    if not 1 <= n_neighbors < n:
        raise ValueError(f"got n_neighbors={n_neighbors} for {n} points; wanted 1 to {n - 1}.")
    others = straight.copy()
    np.fill_diagonal(others, np.inf)
    nearest = np.argpartition(others, n_neighbors - 1, axis=1)[:, :n_neighbors]
    lengths = np.take_along_axis(straight, nearest, axis=1).astype(np.float64).ravel()
    # a length of zero would be no edge
    lengths = np.maximum(lengths, np.finfo(np.float64).tiny)
    graph: csr_array[np.float64] = csr_array(
        (lengths, nearest.ravel(), np.arange(0, lengths.size + 1, n_neighbors)), shape=(n, n)
    )
    # walked both ways, an edge that only one of its ends has chosen counts too
    shortest: Floats = dijkstra(graph, directed=False)
    return np.minimum(shortest, shortest.T).astype(np.float32)


def _given(matrix: ArrayLike) -> Matrix:
    array = np.asarray(matrix)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(
            f"got an array of shape {list(array.shape)} as precomputed distances; wanted [point, point]: pass a square matrix, "
            "or leave metric='precomputed' out for points."
        )
    array = array.astype(np.float32)
    if np.isnan(array).any():
        raise ValueError(f"got {int(np.isnan(array).sum())} NaN among the distances; wanted numbers: mend them first.")
    if (array < 0).any():
        i, j = (int(k) for k in np.argwhere(array < 0)[0])
        raise ValueError(
            f"got a negative distance, {array[i, j]:g} from point {i} to point {j}; wanted 0 or more: "
            "pass distances, not similarities."
        )
    if np.diagonal(array).any():
        i = int(np.flatnonzero(np.diagonal(array))[0])
        raise ValueError(
            f"got distance {array[i, i]:g} from point {i} to itself; wanted 0 on the diagonal: pass distances, not similarities."
        )
    finite = np.isfinite(array)
    if not np.allclose(array, array.T, rtol=1e-5, atol=1e-6 * float(array[finite].max())):
        apart = np.abs(np.where(finite, array, 0) - np.where(finite, array, 0).T)
        apart[finite != finite.T] = np.inf
        i, j = (int(k) for k in np.unravel_index(apart.argmax(), apart.shape))
        raise ValueError(
            f"got distances that are not symmetric: {array[i, j]:g} from point {i} to point {j} and {array[j, i]:g} back; "
            "wanted the same both ways: pass (d + d.T) / 2 if that is what you mean."
        )
    symmetric: Matrix = np.minimum(array, array.T)
    return symmetric
