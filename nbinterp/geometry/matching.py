"""How far the classes of one persistence diagram are from those of another, each matched with one or with the diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbinterp.spaces import Floats

MOST_PAIRS = 500_000
"""Up to so many pairs of classes all distances are known at once, and the answer is one of them."""


def finite_bottleneck(a: Floats, b: Floats) -> float:
    """Return the bottleneck distance of two diagrams ``[class, 2]`` without infinite classes.

    Exact up to half a million pairs of classes; beyond, to a billionth of the longest lifetime.

    Notes
    -----
    A distance t is enough when the classes that live longer than 2 t, of one and of the other diagram, can each be matched
    within t: a matching of both at once then exists as well (Mendelsohn and Dulmage 1958), so that two small bipartite
    matchings decide. In large diagrams only near neighbours of those few are looked at.
    """
    return _exactly(a, b) if len(a) * len(b) <= MOST_PAIRS else _nearly(a, b)


def _exactly(a: Floats, b: Floats) -> float:
    half_a, half_b = _halves(a), _halves(b)
    apart = np.abs(a[:, None] - b[None]).max(axis=2)
    # a distance above the larger half lifetime never helps: the diagonal is nearer
    candidates = np.unique(np.concatenate([[0.0], half_a, half_b, apart.ravel()]))
    candidates = candidates[candidates <= max(half_a.max(initial=0.0), half_b.max(initial=0.0))]
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        t = candidates[middle]
        near = apart <= t
        if _all_matched(csr_array(near[half_a > t])) and _all_matched(csr_array(near[:, half_b > t].T)):
            high = middle
        else:
            low = middle + 1
    return float(candidates[low])


def _nearly(a: Floats, b: Floats) -> float:
    most = float(max(_halves(a).max(), _halves(b).max()))
    if _enough(0.0, a, b):
        return 0.0
    # from below: where the diagrams are alike, a large distance would have far too many neighbours
    low, high = 0.0, 1e-9 * most
    while high < most and not _enough(high, a, b):
        low, high = high, 4 * high
    high = min(high, most)
    while high - low > 1e-9 * most:
        middle = (low + high) / 2
        low, high = (low, middle) if _enough(middle, a, b) else (middle, high)
    return high


def _enough(distance: float, a: Floats, b: Floats) -> bool:
    """Say whether all classes that live longer than twice the distance, of both, can be matched within it."""
    return all(map(_all_matched, _near(distance, a, b)))


def _near(distance: float, a: Floats, b: Floats) -> Iterator[csr_array]:
    for these, those in ((a, b), (b, a)):
        long = these[_halves(these) > distance]
        if len(long):
            found = KDTree(long).sparse_distance_matrix(KDTree(those), distance, p=np.inf, output_type="coo_matrix")
            yield csr_array((np.ones(found.nnz, dtype=np.int8), (found.row, found.col)), shape=found.shape)


def _all_matched(near: csr_array) -> bool:
    """Say whether every row has a column of its own among those that are near it."""
    if (np.diff(near.indptr) == 0).any():
        return False
    return not near.shape[0] or bool((maximum_bipartite_matching(near, perm_type="column") >= 0).all())


def _halves(pairs: Floats) -> Floats:
    halves: Floats = (pairs[:, 1] - pairs[:, 0]) / 2
    return halves
