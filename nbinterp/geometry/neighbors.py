"""How many true neighbours a picture keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from nbinterp.spaces import Floats


def neighbours_kept(
    points: Floats, coordinates: Floats, *, n_neighbors: int = 15, max_queries: int = 2000, seed: int = 0
) -> float:
    """Return the share of each row's nearest neighbours that are still its nearest neighbours in a picture.

    Parameters
    ----------
    points : array, ``[row, d_model]``
        The rows.
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
        When there are not more rows than neighbours.
    """
    n = len(points)
    if n <= n_neighbors:
        raise ValueError(f"got {n} rows to compare {n_neighbors} neighbours; wanted more rows than neighbours.")
    queries = np.arange(n)
    if n > max_queries:
        queries = np.sort(np.random.default_rng(seed).choice(n, max_queries, replace=False))
    true, shown = (_neighbours(array, queries, n_neighbors) for array in (points, coordinates))
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(true, shown, strict=True)]) / n_neighbors)


def _neighbours(points: Floats, queries: np.ndarray[tuple[int], np.dtype[np.int64]], k: int) -> list[Floats]:
    found = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[queries], return_distance=False)
    # a row is not its own neighbour; among duplicates it need not come first
    return [row[row != query][:k] for row, query in zip(found, queries, strict=True)]
