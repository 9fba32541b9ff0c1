"""What stands for a class of homology: the edge it is born at, a loop round it, the cluster that ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nbinterp.geometry.homology import diagrams, spanning_tree, with_ties_broken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nbinterp.geometry.distances import Matrix
    from nbinterp.spaces import Floats

    Square = Matrix | Floats


def birth_edges(
    distances: Matrix, pairs: Floats, dimension: int = 1, prime: int = 2
) -> tuple[NDArray[np.int64], Square]:
    """Return the edge at which each class is born.

    A class is born with a simplex, whose longest edge is as long as its birth. Where only one edge has that length, it
    is that one. Where several have, equal lengths are put into an order and homology is computed again.

    Parameters
    ----------
    distances : array ``[point, point]``
        What the classes were computed from.
    pairs : array ``[class, 2]``
        Births and deaths in dimension `dimension`.
    dimension, prime : int
        Of the classes.

    Returns
    -------
    edges : array of int ``[class, 2]``
        The points that it joins.
    ordered : array ``[point, point]``
        The distances, or ranks in their place, such that no other edge is equal to one of these.
    """
    edges = _edges_of_length(distances, pairs[:, 0])
    if edges is not None:
        return edges, distances
    ranks, lengths = with_ties_broken(distances)
    ranked = diagrams(ranks, dimension, prime=prime)[dimension]  # type: ignore[arg-type]
    # an infinite death has no rank
    ends = np.where(np.isfinite(ranked), ranked, 0).astype(np.int64)
    real = np.where(np.isfinite(ranked), lengths[ends], np.inf)
    lives = real[:, 1] > real[:, 0]
    ranked, real = ranked[lives], real[lives]
    # classes of equal birth and death may stand for each other
    wanted = np.lexsort((pairs[:, 0], pairs[:, 1]))
    had = np.lexsort((real[:, 0], real[:, 1]))
    births = np.empty(len(pairs))
    births[wanted] = ranked[had, 0]
    edges = _edges_of_length(ranks, births)
    if edges is None:
        raise AssertionError("two edges have one rank")
    return edges, ranks


def loop(distances: Square, edge: NDArray[np.int64]) -> list[int]:
    """Return a loop that is born with an edge: the edge, and the way back over shorter ones.

    The way with the fewest edges, and of those the shortest: found from both ends at once, a row of the matrix at a
    time.

    Parameters
    ----------
    distances : array ``[point, point]``
        Without an edge that is as long as the given one.
    edge : array of int ``[2]``
        The points that it joins.

    Returns
    -------
    list of int
        Points in the order of the walk, the two ends of the edge first and last; only these two where there is no way.
    """
    first, last = int(edge[0]), int(edge[1])
    birth = distances[first, last]
    sides = (_Side(len(distances), first), _Side(len(distances), last))
    here, there = sides
    while len(here.front) and len(there.front):
        between = distances[np.ix_(here.front, there.front)]
        lengths = here.length[here.front][:, None] + between + there.length[there.front]
        lengths[between >= birth] = np.inf
        a, b = np.unravel_index(lengths.argmin(), lengths.shape)
        if np.isfinite(lengths[a, b]):
            return [*reversed(here.way(int(here.front[a]))), *there.way(int(there.front[b]))]
        (here if len(here.front) <= len(there.front) else there).step(distances, birth)
    return [first, last]


def dying_clusters(distances: Matrix) -> list[NDArray[np.int64]]:
    """Return the points of the cluster that ends with each class of H0, longest-lived first.

    Two clusters merge at each edge of the minimum spanning tree; all were born at 0, so that either may be said to end.
    The one with fewer points is listed. First come the parts that never merge, each in whole.
    """
    edges, lengths = spanning_tree(distances)
    members = {i: [i] for i in range(len(distances))}
    part = np.arange(len(distances))
    ended = []
    for (i, j), length in zip(edges.tolist(), lengths.tolist(), strict=True):
        small, large = sorted((int(part[i]), int(part[j])), key=lambda k: (len(members[k]), -k))
        if length > 0:
            ended.append(np.array(sorted(members[small]), dtype=np.int64))
        part[members[small]] = large
        members[large] += members.pop(small)
    whole = sorted(members.values(), key=len, reverse=True)
    return [*(np.array(sorted(points), dtype=np.int64) for points in whole), *reversed(ended)]


class _Side:
    """A search that spreads from one point, an edge further at each step."""

    def __init__(self, n: int, start: int) -> None:
        self.front = np.array([start])
        self.length = np.full(n, np.inf)
        self.length[start] = 0
        self._before = np.full(n, -1, dtype=np.int64)

    def step(self, distances: Square, limit: float) -> None:
        """Spread over all edges shorter than `limit`."""
        unseen = np.flatnonzero(np.isinf(self.length))
        steps = distances[np.ix_(self.front, unseen)]
        lengths = np.where(steps < limit, steps + self.length[self.front][:, None], np.inf)
        nearest = lengths.argmin(axis=0)
        best = lengths[nearest, np.arange(len(unseen))]
        reached = np.isfinite(best)
        points = unseen[reached]
        self._before[points] = self.front[nearest[reached]]
        self.length[points] = best[reached]
        self.front = points

    def way(self, point: int) -> list[int]:
        """Return the points from here back to the start."""
        way = [point]
        while self._before[way[-1]] >= 0:
            way.append(int(self._before[way[-1]]))
        return way


def _edges_of_length(distances: Square, lengths: Floats) -> NDArray[np.int64] | None:
    """Return the edge of each length ``[length, 2]``, None where a length has several."""
    wanted = np.sort(lengths)
    if (wanted[1:] == wanted[:-1]).any():
        return None
    i, j, found = [], [], []
    for row in range(len(distances) - 1):
        values = distances[row, row + 1 :]
        place = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
        hit = np.flatnonzero(wanted[place] == values) if len(wanted) else np.empty(0, dtype=np.int64)
        i.append(np.full(len(hit), row))
        j.append(row + 1 + hit)
        found.append(place[hit])
    place = np.concatenate(found)
    if len(place) != len(wanted):
        return None
    edges = np.empty((len(wanted), 2), dtype=np.int64)
    edges[place] = np.column_stack([np.concatenate(i), np.concatenate(j)])
    return edges[np.searchsorted(wanted, lengths)]
