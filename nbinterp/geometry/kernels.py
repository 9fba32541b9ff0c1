"""UMAP's inner loops, compiled: importing this file loads numba, so it is imported where it is called.

They release the interpreter's lock, so that a notebook answers meanwhile, and run on one thread, so that they repeat to the
bit. umap-learn's own loops do neither at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_NEGATIVE = 5
"""Points that a point is pushed away from, for each pull along an edge."""

# float32 throughout: a literal of Python's would make all that it touches float64
_ZERO, _ONE, _TWO, _LARGEST = np.float32(0), np.float32(1), np.float32(2), np.float32(4)
_SOFT = np.float32(0.001)
_GOLDEN, _MIX_A, _MIX_B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@numba.njit(cache=True, nogil=True)
def bandwidths(
    distances: NDArray[np.float32], n_neighbors: int, connected: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scale of each point's membership function and the distance at which it begins to fall.

    The scale is where the memberships of its neighbours sum to log2(`n_neighbors`), found by bisection (McInnes et
    al. 2018, algorithm 3).

    Parameters
    ----------
    distances : array, ``[point, n_neighbors - 1]`` or, for new points, ``[point, n_neighbors]``
        Sorted, without the point itself.
    n_neighbors : int
        Counting the point itself.
    connected : bool
        Whether the nearest neighbour has membership 1, which keeps every point connected; not so for new points.
    """
    n, k = distances.shape
    scales, starts = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    target = math.log2(n_neighbors)
    # a new point's nearest neighbour is taken for the point itself, and does not count
    first = 0 if connected else 1
    overall = 0.0
    for i in range(n):
        for j in range(k):
            overall += distances[i, j]
    overall /= n * n_neighbors
    for i in range(n):
        start = 0.0
        if connected:
            for j in range(k):
                if distances[i, j] > 0:
                    start = distances[i, j]
                    break
        low, high, scale = 0.0, np.inf, 1.0
        for _ in range(64):
            total = 0.0
            for j in range(first, k):
                beyond = distances[i, j] - start
                total += math.exp(-beyond / scale) if beyond > 0 else 1.0
            if abs(total - target) < 1e-5:
                break
            if total > target:
                high = scale
                scale = (low + high) / 2
            else:
                low = scale
                scale = scale * 2 if high == np.inf else (low + high) / 2
        mean = overall
        if start > 0:
            mean = 0.0
            for j in range(k):
                mean += distances[i, j]
            mean /= n_neighbors
        scales[i] = max(scale, 1e-3 * mean)
        starts[i] = start
    return scales, starts


@numba.njit(cache=True, nogil=True)
def _mixed(x: Any) -> Any:
    """Scramble 64 bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> _S30)) * _MIX_A
    x = (x ^ (x >> _S27)) * _MIX_B
    return x ^ (x >> _S31)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _clipped(x: Any) -> Any:
    return min(max(x, -_LARGEST), _LARGEST)


@numba.njit(cache=True, nogil=True, fastmath=True)
def epoch(
    own: NDArray[np.float32],
    others: NDArray[np.float32],
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    rates: NDArray[np.float32],
    a: np.float32,
    b: np.float32,
    alpha: np.float32,
    number: int,
    seed: int,
    among_themselves: bool,
    anchor: NDArray[np.float32],
    pull: np.float32,
    dense: bool,
    densities: NDArray[np.float32],
    dense_weight: np.float32,
) -> None:
    """Go through all edges once, moving ``own`` in place.

    UMAP's stochastic gradient descent: an edge acts ``rates`` times an epoch; it draws its ends together, and then pushes
    its head away from `N_NEGATIVE` random points. All these pushes start from the same place, so that the processor can
    compute them side by side, which takes 0.6 of the time. Points must move one after the other: when all move at once,
    pictures come out narrower and less round than umap-learn's.

    Parameters
    ----------
    own, others : array, ``[point, 2]``
        The points that move, and those that they see: the same array, or others that lie still.
    indptr, indices, rates : array
        For each point its edges to `others`, in compressed rows, and how many times an epoch each acts, 0 to 1.
    a, b : float
        Of the curve 1 / (1 + a d^2b).
    alpha : float
        The step.
    number, seed : int
        Of the epoch, which choose the edges whose turn it is and the random points.
    among_themselves : bool
        Whether `own` and `others` are the same points, so that both ends of an edge move.
    anchor, pull
        Places ``[point, 2]`` that points are drawn to, and the share of the way that they go with a step of 1.
    dense, densities, dense_weight
        Whether densMAP's force acts; what `forces` gave it for each point; its strength.
    """
    n = np.uint64(len(others))
    ab = _TWO * a * b
    for j in range(len(own)):
        x, y = own[j, 0], own[j, 1]
        state = _mixed(np.uint64(seed) * _MIX_A + (np.uint64(number) << _S32) + np.uint64(j))
        for e in range(indptr[j], indptr[j + 1]):
            rate = np.float64(rates[e])
            # edges of the same rate do not all have their turn in the same epoch
            phase = np.float64((np.uint64(e) * _GOLDEN) >> _S32) * 2.0**-32
            if math.floor(rate * (number + 1) + phase) == math.floor(rate * number + phase):
                continue
            k = indices[e]
            dx, dy = x - others[k, 0], y - others[k, 1]
            d2 = dx * dx + dy * dy
            if d2 > _ZERO:
                power = d2**b
                scale = -ab * power / (d2 * (a * power + _ONE))
                step_x, step_y = _clipped(scale * dx), _clipped(scale * dy)
                if dense:
                    phi = _ONE / (_ONE + a * power)
                    fall, spread = _ONE - b * (_ONE - phi), a * b * power * phi / d2
                    to_k = densities[k, 2] * (fall * densities[k, 1] + spread) * densities[k, 0]
                    to_j = densities[j, 2] * (fall * densities[j, 1] + spread) * densities[j, 0]
                    push = _TWO * dense_weight * phi * (to_k + to_j) / rates[e]
                    step_x += _clipped(push * dx)
                    step_y += _clipped(push * dy)
                x += alpha * step_x
                y += alpha * step_y
                if among_themselves:
                    others[k, 0] -= alpha * step_x
                    others[k, 1] -= alpha * step_y
            push_x, push_y = _ZERO, _ZERO
            for _ in range(N_NEGATIVE):
                state += _GOLDEN
                k = np.int64(((_mixed(state) >> _S32) * n) >> _S32)
                if among_themselves and k == j:
                    continue
                dx, dy = x - others[k, 0], y - others[k, 1]
                d2 = dx * dx + dy * dy
                if d2 > _ZERO:
                    scale = _TWO * b / ((_SOFT + d2) * (a * d2**b + _ONE))
                    push_x += _clipped(scale * dx)
                    push_y += _clipped(scale * dy)
            x += alpha * push_x
            y += alpha * push_y
        if pull > _ZERO:
            x += alpha * pull * (anchor[j, 0] - x)
            y += alpha * pull * (anchor[j, 1] - y)
        own[j, 0], own[j, 1] = x, y


@numba.njit(cache=True, nogil=True, fastmath=True)
def local_radii(
    layout: NDArray[np.float32], indptr: NDArray[np.int32], indices: NDArray[np.int32], a: np.float32, b: np.float32
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return each point's mean squared distance to its neighbours in the picture and the sum of their weights 1 / (1 + a d^2b)."""
    n = len(layout)
    radii, sums = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    for j in range(n):
        total, weight = _ZERO, _ZERO
        for e in range(indptr[j], indptr[j + 1]):
            k = indices[e]
            dx, dy = layout[j, 0] - layout[k, 0], layout[j, 1] - layout[k, 1]
            d2 = dx * dx + dy * dy
            phi = _ONE / (_ONE + a * d2**b) if d2 > _ZERO else _ONE
            total += phi * d2
            weight += phi
        if weight > _ZERO:
            radii[j], sums[j] = total / weight, weight
    return radii, sums
