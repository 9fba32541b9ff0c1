"""From a loop in the homology of landmarks to a map into the circle: cocycle, integer lift, harmonic form, extension."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial.distance import cdist, pdist, squareform

from nbinterp.geometry.preparation import Preparation, Prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nbinterp.spaces import Floats

    Cocycle = NDArray[np.int64]

PRIMES = (47, 53, 59, 61)
"""Fields to try, the first one first: a lift to the integers that fails over one rarely fails over another."""

MOST_LANDMARKS = 500
"""Points of a diagram are taken as landmarks up to so many; beyond, a noisy circle takes ripser many seconds."""

_BLOCK = 16_384


@dataclass(frozen=True, eq=False)
class Classes:
    """The loops of landmarks with coefficients in a field Z/p.

    Parameters
    ----------
    points : array, ``[point, n_components]``
        The landmarks.
    distances : array, ``[point, point]``
        Between them, in float32 as the engine sees them.
    prime : int
        The field's size p.
    pairs : array, ``[class, 2]``
        Births and deaths, longest-lived first.
    cocycles : tuple of array, one a class, ``[point, point]``
        A cocycle of each class just below its death: an antisymmetric matrix of integers between −p/2 and p/2, which
        says by how much the coordinate grows along an edge, in turns.
    """

    points: Floats = field(repr=False)
    distances: NDArray[np.float32] = field(repr=False)
    prime: int
    pairs: Floats
    cocycles: tuple[Cocycle, ...] = field(repr=False)

    def near(self, scale: float) -> NDArray[np.bool_]:
        """Return which landmarks an edge of at most that length joins: ``[point, point]``."""
        near = self.distances <= scale
        np.fill_diagonal(near, False)
        return near


@dataclass(frozen=True, eq=False)
class CircleMap:
    """A map of landmarks into the circle, in turns.

    Parameters
    ----------
    values : array, ``[point]``
        Where each landmark goes; only differences of whole turns matter.
    form : array, ``[point, point]``
        By how much the map grows along each edge: the harmonic form of the class.
    near : array of bool, ``[point, point]``
        The edges.
    weights : array, ``[point, point]``
        What each edge weighs in the inner product of forms.
    on_loop : array of bool, ``[point]``
        Whether the landmark hangs together with the loop; elsewhere the map says nothing.
    scale : float
        Length of the longest edge, in the units of the activations.
    """

    values: Floats
    form: Floats
    near: NDArray[np.bool_]
    weights: Floats
    on_loop: NDArray[np.bool_]
    scale: float


def landmarks(prepared: Prepared, n_landmarks: int | None, seed: int) -> Floats:
    """Return the points on which cohomology is computed: those prepared, or k-means landmarks of them where they are many."""
    made = prepared.preparation.landmarks is not None
    if n_landmarks is None:
        if made and len(prepared.points) <= MOST_LANDMARKS:
            return prepared.points
        # ten rows a landmark average noise away; fewer than sixty landmarks cannot tell a loop from a gap
        n_landmarks = int(np.clip(len(prepared.scores) // 10, 60, 300))
    if len(prepared.points) <= n_landmarks:
        return prepared.points
    return Preparation(None, landmarks=n_landmarks, seed=seed).points(prepared.scores)[0]


def classes(points: Floats, prime: int, *, distances: NDArray[np.float32] | None = None) -> Classes:
    """Compute the loops of ``points [point, n_components]`` with coefficients in Z/p, with a cocycle for each."""
    # importing ripser takes time that only its users should pay
    from ripser import ripser

    if distances is None:
        distances = squareform(pdist(points)).astype(np.float32)
    found = ripser(distances, maxdim=1, coeff=prime, distance_matrix=True, do_cocycles=True)
    pairs = np.asarray(found["dgms"][1], dtype=np.float64).reshape(-1, 2)
    order = np.argsort(pairs[:, 0] - pairs[:, 1], kind="stable")
    cocycles = tuple(_antisymmetric(found["cocycles"][1][i], len(points), prime) for i in order)
    return Classes(points, distances, prime, pairs[order], cocycles)


def _antisymmetric(edges: NDArray[Any], n: int, prime: int) -> Cocycle:
    matrix = np.zeros((n, n), dtype=np.int64)
    start, stop, value = np.asarray(edges, dtype=np.int64).reshape(-1, 3).T
    lifted = (value + prime // 2) % prime - prime // 2
    matrix[start, stop], matrix[stop, start] = lifted, -lifted
    return matrix


def circle_map(cocycle: Cocycle, found: Classes, scale: float, *, primitive: bool = True) -> CircleMap | None:
    """Return the smoothest map into the circle of a class, on the edges of at most that length.

    Parameters
    ----------
    cocycle : array of int, ``[point, point]``
        Of the class.
    found : Classes
        The landmarks with their distances.
    scale : float
        Between birth and death.
    primitive : bool
        Divide by what all its periods have in common: near its birth a class can be a multiple of another, which winds
        several times where one turn is meant.

    Returns
    -------
    CircleMap or None
        None where the cocycle is none over the integers, or has no loop left at this scale.

    Notes
    -----
    Least squares over the edges (de Silva, Morozov, Vejdemo-Johansson 2011, section 2.5), each weighted by
    (1 − length / scale)², so that edges come and go without a jump.
    """
    near = found.near(scale)
    if not is_integer_cocycle(cocycle, near):
        return None
    periods, components = _periods(cocycle, near)
    winds = np.zeros(components.max() + 1, dtype=bool)
    winds[components[np.flatnonzero(periods.any(axis=1))]] = True
    if not winds.any():
        return None
    if primitive:
        periods = periods // np.gcd.reduce(np.abs(periods[periods != 0]))
    weights = np.where(near, np.maximum(1 - found.distances / scale, 1e-3) ** 2, 0.0)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    # singular, since each component may be turned as a whole
    values = np.linalg.lstsq(laplacian, (weights * periods).sum(axis=1), rcond=None)[0]
    form = np.where(near, periods + values[None, :] - values[:, None], 0.0)
    return CircleMap(values, form, near, weights, winds[components], scale)


def is_integer_cocycle(cocycle: Cocycle, near: NDArray[np.bool_]) -> bool:
    """Whether values on edges add up round every triangle: over the integers, not only over a field."""
    for i in range(len(near)):
        others = np.flatnonzero(near[i])
        square = np.ix_(others, others)
        wanted = cocycle[i, others][None, :] - cocycle[i, others][:, None]
        if ((cocycle[square] != wanted) & near[square]).any():
            return False
    return True


def _periods(cocycle: Cocycle, near: NDArray[np.bool_]) -> tuple[Cocycle, NDArray[np.int32]]:
    """Return an equivalent cocycle that is zero along a spanning tree, and the component of each point.

    What it is on any other edge is then the period of the loop which that edge closes.
    """
    graph = csr_array(near.astype(np.int8))
    _, components = connected_components(graph, directed=False)
    potential = np.zeros(len(near), dtype=np.int64)
    for first in np.unique(components, return_index=True)[1]:
        order, before = breadth_first_order(graph, first, directed=False)
        for point in order[1:]:
            potential[point] = potential[before[point]] + cocycle[before[point], point]
    periods = np.where(near, cocycle - (potential[None, :] - potential[:, None]), 0)
    return periods, components


def spread_over(found: CircleMap, points: Floats, scores: Floats) -> Floats:
    """Return where rows ``scores [row, n_components]`` go, in turns; NaN for those that hang on no landmark of the loop.

    Notes
    -----
    A row takes the value of its nearest landmark, and walks from there along the mean of the form over the landmarks
    in reach (half the scale), weighted by a partition of unity (Perea 2020, "Sparse circular coordinates via
    principal Z-bundles", section 4). A row out of reach of all landmarks takes its nearest one's value as it is.
    """
    turns = np.empty(len(scores))
    for start in range(0, len(scores), _BLOCK):
        block = slice(start, start + _BLOCK)
        distances = cdist(scores[block], points)
        nearest = distances.argmin(axis=1)
        bumps = np.maximum(1 - distances / (found.scale / 2), 0) * found.near[nearest]
        bumps[np.arange(len(nearest)), nearest] = np.maximum(
            1 - distances[np.arange(len(nearest)), nearest] / (found.scale / 2), 1e-9
        )
        bumps /= bumps.sum(axis=1, keepdims=True)
        moved = found.values[nearest] + (bumps * found.form[nearest]).sum(axis=1)
        turns[block] = np.where(found.on_loop[nearest], moved, np.nan)
    return turns
