"""The engines of Vietoris-Rips homology: from a distance matrix to births, deaths, cocycles and a spanning tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import coo_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nbinterp.geometry.distances import Matrix
    from nbinterp.spaces import Floats

Engine = Literal["redzed-tda", "gudhi", "ripser", "spanning tree"]

SPARSE = 0.25
"""With fewer of the edges than this, ripser is given a list of them instead of the matrix."""

_CODE = 2**31


@dataclass(frozen=True, eq=False)
class Cocycles:
    """Classes of H1 as functions on edges: what says whether a loop goes round a hole.

    Parameters
    ----------
    pairs : array ``[class, 2]``
        Births and deaths, longest-lived first; infinity for a death beyond `threshold`.
    values : tuple of array ``[edge, 3]``, one a class
        Ends ``i > j`` of an edge and the value on it when walked from i to j, modulo `prime`; 0 on all others. It is a
        cocycle among the edges that are shorter than the class's death.
    prime : int
        Of the coefficients.
    threshold : float
        Longest edge that was looked at.
    """

    pairs: Floats
    values: tuple[NDArray[np.int64], ...] = field(repr=False)
    prime: int
    threshold: float

    def around(self, loop: list[int]) -> NDArray[np.int64]:
        """Return how often a closed walk ``loop [point]`` goes round each class, modulo the prime: ``[class]``.

        Meaningful for the classes that are alive at the length of the walk's longest edge.
        """
        ends = np.asarray(loop, dtype=np.int64)
        there, back = ends * _CODE + np.roll(ends, -1), np.roll(ends, -1) * _CODE + ends
        steps, place = np.unique(np.concatenate([there, back]), return_inverse=True)
        # an edge walked both ways counts for nothing
        times = np.zeros(len(steps), dtype=np.int64)
        np.add.at(times, place, np.repeat([1, -1], len(ends)))
        turns = np.zeros(len(self.values), dtype=np.int64)
        for k, cocycle in enumerate(self.values):
            code = cocycle[:, 0] * _CODE + cocycle[:, 1]
            at = np.minimum(np.searchsorted(steps, code), len(steps) - 1)
            walked = steps[at] == code
            turns[k] = int((cocycle[walked, 2] * times[at[walked]]).sum()) % self.prime
        return turns

    def alive(self, scale: float) -> NDArray[np.bool_]:
        """Say which classes are alive when all edges up to `scale` are there: ``[class]``."""
        alive: NDArray[np.bool_] = (self.pairs[:, 0] <= scale) & (scale < self.pairs[:, 1])
        return alive


def engine(max_dimension: int, prime: int = 2) -> Engine:
    """Return the fastest engine that is installed for homology up to a dimension with coefficients modulo a prime."""
    if max_dimension == 0:
        return "spanning tree"
    if max_dimension == 1 and prime == 2 and find_spec("redzed_tda") is not None:
        return "redzed-tda"
    return "gudhi" if find_spec("gudhi") is not None else "ripser"


@cache
def engine_text(name: Engine) -> str:
    """Return an engine's name with its version, for people to read."""
    return "a minimum spanning tree" if name == "spanning tree" else f"{name} {version(name)}"


def diagrams(
    distances: Matrix,
    max_dimension: int = 1,
    *,
    prime: int = 2,
    threshold: float | None = None,
    by: Engine | None = None,
) -> tuple[Floats, ...]:
    """Return births and deaths of the Vietoris-Rips complexes of a distance matrix, without cocycles.

    Parameters
    ----------
    distances : array of float32 ``[point, point]``
        Symmetric, non-negative, 0 on the diagonal; infinite where no edge is ever to be.
    max_dimension : int
        Highest dimension of homology.
    prime : int
        Coefficients are integers modulo this prime.
    threshold : float, optional
        Longest edge; classes that are alive there have death infinity.
    by : Engine, optional
        By default the fastest that is installed: redzed-tda (Kapulkin and Kershaw 2026, arXiv 2606.06310) for Z/2 up to
        loops; gudhi's copy of ripser, after edge collapse for cavities (Boissonnat and Pritam 2020); else ripser
        (Bauer 2021).

    Returns
    -------
    tuple of array ``[class, 2]``, one a dimension
        Longest-lived first, and among equals the earlier born. Classes that die as they are born are left out.
    """
    by = engine(max_dimension, prime) if by is None else by
    if by == "spanning tree":
        return (_sorted(_clusters(distances, threshold)),)
    filled, cut = _finite(distances, threshold)
    if by == "redzed-tda":
        from redzed_tda import rips

        found = rips(_condensed(filled), max_dimension, cut)
    elif by == "gudhi":
        from gudhi.sklearn.rips_persistence import RipsPersistence

        wanted = list(range(max_dimension + 1))
        made = RipsPersistence(wanted, cut, "full distance matrix", "auto", prime)
        found = made.fit_transform([filled])[0]
    else:
        # importing ripser takes time that only its users should pay
        from ripser import ripser

        found = ripser(filled, max_dimension, cut, prime, distance_matrix=True)["dgms"]
    return tuple(_sorted(np.asarray(pairs, dtype=np.float64).reshape(-1, 2)) for pairs in found)


def cocycles(distances: Matrix, *, prime: int = 2, threshold: float | None = None) -> Cocycles:
    """Return the loops of a distance matrix as cocycles, by ripser.

    Memory and time grow with the number of triangles up to `threshold`: give the largest scale that matters.

    Parameters
    ----------
    distances : array of float32 ``[point, point]``
        As for `diagrams`.
    prime : int
        Coefficients are integers modulo this prime.
    threshold : float, optional
        Longest edge to look at.
    """
    from ripser import ripser

    filled, cut = _finite(distances, threshold)
    i, j = np.nonzero(np.triu(filled <= cut, 1))
    few = len(i) < SPARSE * len(filled) * (len(filled) - 1) / 2
    given = coo_matrix((filled[i, j], (i, j)), shape=filled.shape) if few else filled
    found = ripser(given, 1, cut, prime, distance_matrix=True, do_cocycles=True)
    pairs = np.asarray(found["dgms"][1], dtype=np.float64).reshape(-1, 2)
    order = _order(pairs)
    return Cocycles(pairs[order], tuple(np.asarray(found["cocycles"][1][k]) for k in order), prime, cut)


def enclosing_radius(distances: Matrix) -> float:
    """Return the scale at which one point is joined to all others, so that nothing but one cluster is left."""
    return float(distances.max(axis=1).min())


def spanning_tree(distances: Matrix) -> tuple[NDArray[np.int64], Floats]:
    """Return a minimum spanning tree: its edges ``[edge, 2]`` and their lengths ``[edge]``, shortest first.

    Prim's algorithm (1957), a row of the matrix at a time: n² steps and no sorting of all edges. A matrix with infinite
    entries gives a forest, with as many edges fewer as there are further parts.
    """
    n = len(distances)
    edges = np.zeros((n - 1, 2), dtype=np.int64)
    lengths = np.empty(n - 1)
    outside = np.ones(n, dtype=bool)
    outside[0] = False
    nearest = distances[0].astype(np.float32)
    inside = np.zeros(n, dtype=np.int64)
    # a point that is in must never be the nearest, nor one that cannot be reached be taken for one that is in
    nearest[~np.isfinite(nearest)] = np.finfo(np.float32).max
    nearest[0] = np.inf
    for k in range(n - 1):
        new = int(nearest.argmin())
        edges[k], lengths[k] = (inside[new], new), nearest[new]
        outside[new] = False
        nearest[new] = np.inf
        closer = outside & (distances[new] < nearest)
        nearest[closer] = distances[new][closer]
        inside[closer] = new
    real = lengths < np.finfo(np.float32).max
    order = np.flatnonzero(real)[np.argsort(lengths[real], kind="stable")]
    return edges[order], lengths[order]


def with_ties_broken(distances: Matrix) -> tuple[Floats, Floats]:
    """Return a matrix in which all edges differ and keep their order, and the lengths that its entries stand for.

    Returns
    -------
    ranks : array ``[point, point]``
        1, 2, … from the shortest edge to the longest, equal ones in the order of their ends.
    lengths : array ``[rank]``
        Length of the edge of each rank, with 0 in front.
    """
    upper = np.triu_indices(len(distances), 1)
    values = distances[upper].astype(np.float64)
    order = np.argsort(values, kind="stable")
    ranks = np.zeros(distances.shape)
    ranks[upper[0][order], upper[1][order]] = np.arange(1, len(order) + 1)
    return ranks + ranks.T, np.concatenate([[0.0], values[order]])


def _clusters(distances: Matrix, threshold: float | None) -> Floats:
    deaths = spanning_tree(distances)[1]
    deaths = deaths if threshold is None else deaths[deaths <= threshold]
    never = np.full(len(distances) - len(deaths), np.inf)
    deaths = np.concatenate([deaths, never])
    return np.column_stack([np.zeros(len(deaths)), deaths])


def _finite(distances: Matrix, threshold: float | None) -> tuple[Matrix, float]:
    """Return distances without infinite ones, and the longest edge that matters."""
    cut = enclosing_radius(distances)
    if not np.isfinite(cut):
        finite = np.isfinite(distances)
        cut = float(distances[finite].max())
        distances = np.where(finite, distances, np.float32(2 * cut + 1))
    return distances, cut if threshold is None else min(cut, threshold)


def _condensed(distances: Matrix) -> Floats:
    """Return the upper triangle, row by row, in float64: half the memory of the square."""
    n = len(distances)
    condensed = np.empty(n * (n - 1) // 2)
    start = 0
    for i in range(n - 1):
        condensed[start : start + n - 1 - i] = distances[i, i + 1 :]
        start += n - 1 - i
    return condensed


def _sorted(pairs: Floats) -> Floats:
    pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    return pairs[_order(pairs)]


def _order(pairs: Floats) -> NDArray[np.intp]:
    # every engine's classes come in the same order
    return np.lexsort((pairs[:, 0], pairs[:, 0] - pairs[:, 1]))
