"""UMAP taken apart: the fuzzy graph of a neighbour graph, the curve of the picture, and epochs of forces between points.

The graph and the forces are those of McInnes et al. 2018 (arXiv 1802.03426) and Narayan et al. 2021 (densMAP); umap-learn's
are the oracles of the tests.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.optimize import curve_fit
from scipy.sparse import csr_array

from nbinterp.geometry.neighbors import nearest
from nbinterp.geometry.preparation import Preparation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nbinterp.geometry.neighbors import NeighborGraph
    from nbinterp.spaces import Floats

FINEST = 200
"""Edges that would act less than once in so many epochs are left out."""

WIDTH = 10.0
"""Width of a picture at the start, in units of the curve's scale."""

DENSITY_WEIGHT = 2.0
"""Strength of densMAP's force, and below the variance added to that of the radii: the defaults of Narayan et al. 2021."""

DENSITY_SHIFT = 0.1

_NOTHING = np.zeros((1, 3), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class FuzzyGraph:
    """The fuzzy union of all points' neighbourhoods, as edges that act at a rate.

    Parameters
    ----------
    indptr, indices : array of int32
        For each point the points that it has an edge to, in compressed rows; symmetric.
    rates : array, ``[edge]``
        Membership of the edge as a share of the largest: how many times an epoch it acts.
    radii : array, ``[point]``
        Logarithm of the mean squared distance to these neighbours in the cloud, standardised: what densMAP keeps.
    """

    indptr: NDArray[np.int32] = field(repr=False)
    indices: NDArray[np.int32] = field(repr=False)
    rates: NDArray[np.float32] = field(repr=False)
    radii: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Curve:
    """The membership 1 / (1 + a d^2b) of two points at distance d in the picture."""

    a: float
    b: float


@functools.lru_cache(maxsize=256)
def curve_of(min_dist: float) -> Curve:
    """Return the curve closest to one that is 1 up to `min_dist` and then falls as exp(min_dist − d)."""
    distance = np.linspace(0, 3, 300)
    wanted = np.exp(-np.maximum(distance - min_dist, 0))
    (a, b), _ = curve_fit(lambda x, a, b: 1 / (1 + a * x ** (2 * b)), distance, wanted)
    return Curve(float(a), float(b))


def memberships(distances: NDArray[np.floating[Any]], n_neighbors: int, *, connected: bool) -> NDArray[np.float32]:
    """Return how far each neighbour belongs to a point's neighbourhood, 0 to 1: ``[point, neighbour]``; see `kernels.bandwidths`."""
    from nbinterp.geometry.kernels import bandwidths

    near = np.ascontiguousarray(distances, dtype=np.float32)
    scales, starts = bandwidths(near, n_neighbors, connected)
    beyond = np.maximum(near - starts[:, None], 0)
    shares: NDArray[np.float32] = np.exp(-beyond / np.where(scales > 0, scales, 1)[:, None])
    shares[(beyond == 0) | (scales == 0)[:, None]] = 1
    return shares


def fuzzy_graph(graph: NeighborGraph, n_neighbors: int) -> FuzzyGraph:
    """Return the fuzzy graph of the `n_neighbors` − 1 nearest neighbours of each point (which counts as its own first).

    Parameters
    ----------
    graph : NeighborGraph
        With at least `n_neighbors` − 1 neighbours.
    n_neighbors : int
        2 or more.
    """
    n, k = len(graph.indices), n_neighbors - 1
    distances = graph.distances[:, :k]
    # scaled: memberships do not depend on the unit, float32 does
    unit = float(distances.mean()) or 1.0
    near = (distances / unit).astype(np.float32)
    shares = memberships(near, n_neighbors, connected=True)
    indptr = np.arange(0, n * k + 1, k)
    columns = graph.indices[:, :k].ravel()
    one_way = csr_array((shares.ravel(), columns, indptr), shape=(n, n))
    both = csr_array(one_way + one_way.T - one_way.multiply(one_way.T))
    both.data[both.data < both.data.max() / FINEST] = 0
    both.eliminate_zeros()
    both.sort_indices()
    squared = csr_array((near.ravel() ** 2, columns, indptr), shape=(n, n))
    squared = squared.maximum(squared.T)
    weights: NDArray[np.float32] = np.asarray(both.sum(axis=1)).ravel()
    radii = np.log(1e-8 + np.asarray(both.multiply(squared).sum(axis=1)).ravel() / np.where(weights > 0, weights, 1))
    deviation = radii.std()
    radii = (radii - radii.mean()) / (deviation if deviation > 1e-6 else 1)
    rates = (both.data / both.data.max()).astype(np.float32)
    return FuzzyGraph(both.indptr.astype(np.int32), both.indices.astype(np.int32), rates, radii.astype(np.float32))


def start(
    graph: NeighborGraph, fuzzy: FuzzyGraph, init: Literal["pca", "spectral", "random"], seed: int
) -> NDArray[np.float32]:
    """Return where points start, ``[point, 2]``, `WIDTH` wide along each axis."""
    rng = np.random.default_rng(seed)
    points = graph.source.points
    n = len(points)
    if init == "random":
        first: Floats = rng.uniform(size=(n, 2))
    elif init == "spectral":
        # importing umap compiles with numba: seconds that only its users should pay
        from umap.spectral import spectral_layout

        weights = csr_array((fuzzy.rates, fuzzy.indices, fuzzy.indptr), shape=(n, n)).tocoo()
        first = np.asarray(
            spectral_layout(points.astype(np.float32), weights, 2, np.random.RandomState(seed)), dtype=np.float64
        )
    else:
        first = np.zeros((n, 2))
        scores = Preparation(min(2, *points.shape)).fit_transform(points)
        first[:, : scores.shape[1]] = scores
    span = np.ptp(first, axis=0)
    first = WIDTH * (first - first.min(axis=0)) / np.where(span > 0, span, 1)
    # points that coincide could never part
    return (first + rng.normal(scale=1e-4, size=first.shape)).astype(np.float32)


def decay(n_epochs: int, alpha: float = 1.0) -> list[float]:
    """Return the steps of `n_epochs` epochs, falling from `alpha` towards 0 in a straight line."""
    return [alpha * (1 - i / n_epochs) for i in range(n_epochs)]


def advance(
    layout: NDArray[np.float32],
    fuzzy: FuzzyGraph,
    curve: Curve,
    alphas: Sequence[float],
    *,
    seed: int,
    first_epoch: int = 0,
    dense_from: int | None = None,
    anchor: NDArray[np.float32] | None = None,
    pull: float = 0.0,
    going_on: Callable[[], bool] = lambda: True,
) -> NDArray[np.float32] | None:
    """Move all points for some epochs and return where they are then; None when told to stop in between.

    The same arguments give the same layout to the bit on one machine.

    Parameters
    ----------
    layout : array, ``[point, 2]``
        Where they are; not changed.
    fuzzy, curve : FuzzyGraph, Curve
        What acts between them.
    alphas : sequence of float
        The step of each epoch.
    seed : int
        Of the choice of edges and of random points.
    first_epoch : int
        Number of the first epoch, so that a layout in slices goes on as it would without.
    dense_from : int, optional
        The epoch from which densMAP's force acts; None for never.
    anchor, pull
        Places ``[point, 2]`` that points are drawn to, and the share of the way that they go with a step of 1.
    going_on : callable
        Asked before each epoch.
    """
    from nbinterp.geometry import kernels

    a, b = np.float32(curve.a), np.float32(curve.b)
    now = np.array(layout, dtype=np.float32, order="C")
    anchor = now if anchor is None else np.ascontiguousarray(anchor, dtype=np.float32)
    for number, alpha in enumerate(alphas, first_epoch):
        if not going_on():
            return None
        dense = dense_from is not None and number >= dense_from
        densities, dense_weight = _densities(now, fuzzy, curve) if dense else (_NOTHING, 0.0)
        kernels.epoch(
            now,
            now,
            fuzzy.indptr,
            fuzzy.indices,
            fuzzy.rates,
            a,
            b,
            np.float32(alpha),
            number,
            seed,
            True,
            anchor,
            np.float32(pull),
            dense,
            densities,
            np.float32(dense_weight),
        )
    return now


def place(
    new: Floats, graph: NeighborGraph, layout: NDArray[np.float32], n_neighbors: int, curve: Curve, *, seed: int
) -> NDArray[np.float32]:
    """Return where new points belong in a layout that stays as it is: ``[new point, 2]``.

    Each starts at the mean of its nearest neighbours among the old points, weighted by membership, and is then moved
    by the forces between it and them.

    Parameters
    ----------
    new : array, ``[new point, n_features]``
        In the space of the graph's points.
    graph, layout, n_neighbors, curve
        Of the old points.
    seed : int
        Of the moves.
    """
    from nbinterp.geometry import kernels

    k = min(n_neighbors, len(layout))
    indices, distances = nearest(new, graph.source.points, k, metric=graph.metric)
    shares = memberships(distances / (float(distances.mean()) or 1.0), max(k, 2), connected=False)
    weights = shares / shares.sum(axis=1, keepdims=True)
    now: NDArray[np.float32] = np.einsum("ij,ijk->ik", weights, layout[indices]).astype(np.float32)
    n_epochs = 100 if len(new) <= 10_000 else 30
    rates: NDArray[np.float32] = shares.ravel() / shares.max()
    indptr = np.arange(0, len(rates) + 1, k).astype(np.int32)
    a, b = np.float32(curve.a), np.float32(curve.b)
    old = np.ascontiguousarray(layout, dtype=np.float32)
    others = indices.ravel().astype(np.int32)
    for number, alpha in enumerate(decay(n_epochs, 0.25)):
        kernels.epoch(
            now,
            old,
            indptr,
            others,
            rates,
            a,
            b,
            np.float32(alpha),
            number,
            seed,
            False,
            now,
            np.float32(0),
            False,
            _NOTHING,
            np.float32(0),
        )
    return now


def compile_kernels() -> None:
    """Compile what the forces need, or load it from the disk where an earlier session left it."""
    from nbinterp.geometry import kernels

    kernels.bandwidths(np.ones((3, 2), np.float32), 3, True)
    indptr, indices = np.array([0, 1, 2], np.int32), np.array([1, 0], np.int32)
    ring = FuzzyGraph(indptr, indices, np.ones(2, np.float32), np.zeros(2, np.float32))
    advance(np.eye(2, dtype=np.float32), ring, Curve(1.0, 1.0), [1.0], seed=0, dense_from=0)


def _densities(layout: NDArray[np.float32], fuzzy: FuzzyGraph, curve: Curve) -> tuple[NDArray[np.float32], float]:
    """Return for each point how far its radius in the picture is from what it should be, 1 / radius, 1 / sum of weights; and the force's strength."""
    from nbinterp.geometry.kernels import local_radii

    radii, sums = local_radii(layout, fuzzy.indptr, fuzzy.indices, np.float32(curve.a), np.float32(curve.b))
    logarithms = np.log(1e-8 + radii.astype(np.float64))
    variance = logarithms.var() + DENSITY_SHIFT
    covariance = float(logarithms @ fuzzy.radii) / max(1, len(layout) - 1)
    wanted = fuzzy.radii - covariance * (logarithms - logarithms.mean()) / variance
    # in both directions, as in the paper's sums over pairs
    both = np.where(sums > 0, 2 * sums, 1)
    strength = DENSITY_WEIGHT * float(fuzzy.rates.sum(dtype=np.float64)) / (np.sqrt(variance) * len(layout))
    return np.column_stack([wanted, np.exp(-logarithms), 1 / both]).astype(np.float32), float(strength)
