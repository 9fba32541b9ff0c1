"""Whether HDBSCAN finds more in a cloud than in Gaussians like it: mean silhouettes, of one cloud or of several together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import HDBSCAN
from sklearn.metrics import silhouette_samples

from nbinterp.geometry.joint import stepped_down
from nbinterp.geometry.nulls import turned
from nbinterp.geometry.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.spaces import Floats

    Integers = NDArray[np.int64]

MAX_TESTED = 1000
"""Points that are compared with a null, and the most that a half of them for the stability has; more are sampled."""

FEW_COMPONENTS = 15
"""With more, HDBSCAN is faster on the matrix of all distances than with a tree: 13 ms for 35, of 1000 points in 47."""


def validities_drawn_together(tested: Sequence[Tested], seed: int) -> Iterator[list[float]]:
    """Draw Gaussian clouds like several of the same rows, without end.

    Yields the validity of HDBSCAN's clusters in one cloud for each; its rows are turned in the same way in all (see `nulls.turned`).
    """
    draw = turned([cloud.points for cloud in tested], seed)
    for i in count():
        with one_thread:
            yield [_validity(points, cloud.sizes) for points, cloud in zip(draw(i), tested, strict=True)]


def joint_cluster_p(tested: Sequence[Tested], drawn: Sequence[Sequence[float]]) -> Floats:
    """Return p of the clusters of each cloud, corrected for having looked at all of them, from `validities_drawn_together`: ``[cloud]``."""
    validities = np.array([[cloud.validity, *null] for cloud, null in zip(tested, drawn, strict=True)])
    spread = validities.std(axis=1, keepdims=True)
    heights = (validities - validities.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    # no clusters at all are never more than those of a draw
    heights[validities <= 0] = -np.inf
    p: Floats = np.maximum(stepped_down(heights), (validities >= validities[:, :1]).mean(axis=1))
    return p


def hdbscan(points: Floats, size: int, samples: int) -> tuple[Integers, Floats]:
    """Return the cluster of each point, −1 for noise, and how firmly it belongs to it: ``[point]``."""
    # the same answer; a tree of neighbours is no help in many dimensions, and all distances take too much of many points
    brute = points.shape[1] > FEW_COMPONENTS and len(points) <= 2 * MAX_TESTED
    found = HDBSCAN(min_cluster_size=size, min_samples=samples, algorithm="brute" if brute else "auto", copy=True).fit(
        points
    )
    return found.labels_.astype(np.int64), found.probabilities_


def scaled(size: int, share: float) -> int:
    """Return the fewest points of a cluster, or the neighbours of a dense point, in a share of the points."""
    # with fewer than 5 points a cluster, every pair of rows that chance puts together is one
    return max(min(size, 5), round(size * share))


def usual_sizes(n: int, min_cluster_size: int | None = None, min_samples: int | None = None) -> tuple[int, int]:
    """Return the fewest points of a cluster, and the neighbours that make a point dense, as asked for or chosen; ValueError for others."""
    size = max(5, n // 50) if min_cluster_size is None else min_cluster_size
    samples = min(size, 10) if min_samples is None else min_samples
    if n < 2 or not 2 <= size <= n // 2 or not 1 <= samples < n:
        raise ValueError(
            f"got min_cluster_size={size}, min_samples={samples} for {n} different points; wanted clusters of 2 to {n // 2} points: "
            "collect more rows, or choose other sizes."
        )
    return size, samples


@dataclass(frozen=True, eq=False)
class Tested:
    """The points that are compared with a null, the sizes that go with so many, and their validity."""

    points: Floats
    sizes: tuple[int, int]
    validity: float


def validity_of(points: Floats, size: int, samples: int, seed: int) -> Tested:
    """Return the points ``[point, n_components]``, or a sample of them, as they are compared with a null."""
    n = len(points)
    tested = points if n <= MAX_TESTED else points[np.random.default_rng(seed).choice(n, MAX_TESTED, replace=False)]
    share = len(tested) / n
    sizes = scaled(size, share), scaled(samples, share)
    return Tested(tested, sizes, _validity(tested, sizes))


def _validity(points: Floats, sizes: tuple[int, int]) -> float:
    """Return the mean silhouette over points of HDBSCAN's clusters, 0 for noise, and 0 without two clusters."""
    labels, _ = hdbscan(points, *sizes)
    inside = labels >= 0
    if labels.max() < 1:
        return 0.0
    return float(silhouette_samples(points[inside], labels[inside]).sum() / len(points))
