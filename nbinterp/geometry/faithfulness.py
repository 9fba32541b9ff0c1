"""How far a picture of a cloud can be trusted: as a whole, with what a picture of nothing would reach, and point by point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from nbinterp.geometry.neighbors import NeighborGraph, in_picture, n_shared, neighbor_graph
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.spaces import Floats

N_NEIGHBOURS = 15
"""Neighbours that are compared, as in the literature on UMAP."""

FEW = 3000
"""Up to so many points ranks are computed in float64."""

_BLOCK = 4_000_000
"""Distances that are held at once."""


@dataclass(frozen=True, eq=False, repr=False)
class Faithfulness(Told):
    """How much of the neighbourhoods of a cloud a picture keeps.

    What to report is `neighbours_kept` beside its null: trustworthiness and continuity forgive near misses, so that
    pictures of nothing come close to 1 as well.

    Parameters
    ----------
    n_neighbors : int
        How many nearest neighbours are compared.
    neighbours_kept : float
        Share of the true neighbours that are neighbours in the picture, over all points.
    trustworthiness : float
        1 less a penalty for neighbours in the picture that are none, by their rank (Venna & Kaski 2001); NaN where
        points are not twice as many as neighbours.
    continuity : float
        1 less a penalty for neighbours that are none in the picture.
    neighbours_kept_null, trustworthiness_null, continuity_null : float
        The same for a picture of nothing.
    null : {"chance", "gaussian"}
        What that is: points at random, in closed form, or the same method on a Gaussian of the cloud's covariance.
    n_queries : int
        Points on which trustworthiness and continuity were estimated.
    coordinates : array, ``[row, n_components]``
        The picture.
    lost : array, ``[row]``
        Share of a row's true neighbours that are not its neighbours in the picture; NaN where it was set aside.
    stretch : array, ``[row]``
        Logarithm (base 2) of how much farther its true neighbours lie in the picture, against the median row: 1 where
        the picture is locally twice as wide, −1 where it is half as wide.
    provenance : str
        What was done, for people to read.
    """

    n_neighbors: int
    neighbours_kept: float
    trustworthiness: float
    continuity: float
    neighbours_kept_null: float
    trustworthiness_null: float
    continuity_null: float
    null: Literal["chance", "gaussian"]
    n_queries: int
    coordinates: Floats = field()
    lost: Floats = field()
    stretch: Floats = field()
    provenance: str = ""

    def frame(self) -> pd.DataFrame:
        """Return one line a row: ``row``, ``x``, ``y``, ``lost``, ``stretch``."""
        x, y = self.coordinates.T[:2] if self.coordinates.shape[1] > 1 else (self.coordinates[:, 0], 0.0)
        return pd.DataFrame(
            {"row": np.arange(len(self.lost)), "x": x, "y": y, "lost": self.lost, "stretch": self.stretch}
        )

    def summary(self) -> pd.DataFrame:
        """Return one line a measure: ``measure``, ``value``, ``null``."""
        lines = [
            ("neighbours kept", self.neighbours_kept, self.neighbours_kept_null),
            ("trustworthiness", self.trustworthiness, self.trustworthiness_null),
            ("continuity", self.continuity, self.continuity_null),
        ]
        return pd.DataFrame(lines, columns=["measure", "value", "null"])

    def chart(self, color: Literal["lost", "stretch"] = "lost") -> alt.LayerChart:
        """Return the picture, coloured by where it errs."""
        from nbinterp.charts.clouds import scatter

        title = {"lost": "Share of neighbours lost", "stretch": "Local scale, in doublings"}[color]
        return scatter(self.frame(), "x", "y", color=color, continuous=True, title=title, subtitle=self.verdict)

    @property
    def verdict(self) -> str:
        """The finding in one sentence."""
        if np.isnan(self.neighbours_kept):
            return "too few points to say"
        against = {"chance": "by chance", "gaussian": "of a Gaussian of this covariance"}[self.null]
        return f"keeps {self.neighbours_kept:.0%} of true {self.n_neighbors} neighbours ({self.neighbours_kept_null:.0%} {against})"

    def __repr__(self) -> str:
        pairs = (
            f"{name} {value:.3f} (null {null:.3f})"
            for name, value, null in self.summary().iloc[1:].itertuples(index=False)
        )
        return f"Faithfulness: {self.verdict}\n  {', '.join(pairs)}\n  {self.provenance}"


def faithfulness(
    points: ArrayLike | NeighborGraph,
    coordinates: ArrayLike,
    *,
    n_neighbors: int = N_NEIGHBOURS,
    max_queries: int | None = 2000,
    seed: int = 0,
) -> Faithfulness:
    """Compare the neighbourhoods of points with those in a picture of them.

    Parameters
    ----------
    points : array ``[row, n_features]`` or NeighborGraph
        The points, or their neighbours where these are known.
    coordinates : array, ``[row, n_components]``
        The same points in the picture.
    n_neighbors : int
        How many neighbours to compare; all are NaN where points are not more.
    max_queries : int or None
        Estimate trustworthiness and continuity, for which ranks among all points are needed, on a sample of so many
        points; None for all.
    seed : int
        Of that sample.

    Raises
    ------
    ValueError
        When there are not as many coordinates as points, coordinates are not finite, or a graph has fewer neighbours.
    """
    shown = np.asarray(coordinates, dtype=np.float64)
    n = len(points) if isinstance(points, NeighborGraph) else len(np.asarray(points))
    if shown.ndim != 2 or len(shown) != n:
        raise ValueError(
            f"got {n} points and coordinates of shape {list(shown.shape)}; wanted [row, n_components], a line for each point."
        )
    if not np.isfinite(shown).all():
        raise ValueError("got NaN or infinite coordinates; wanted finite ones: leave out the rows that were set aside.")
    nan = float("nan")
    if n <= n_neighbors:
        blank = np.full(n, nan)
        return Faithfulness(
            n_neighbors, nan, nan, nan, nan, nan, nan, "chance", 0, shown, blank, blank, f"{n} points: too few to say"
        )
    # nothing is set aside: coordinates are there for every point
    graph = neighbor_graph(points, n_neighbors, max_norm_ratio=None)
    true, found = graph.indices, in_picture(shown, n_neighbors, np.arange(n))
    kept = n_shared(true, found) / n_neighbors
    queries = np.arange(n)
    if max_queries is not None and n > max_queries:
        queries = np.sort(np.random.default_rng(seed).choice(n, max_queries, replace=False))
    trust = continuity = chance = nan
    if n > 2 * n_neighbors:
        trust = 1 - _penalty(_array(graph), found[queries], queries)
        continuity = 1 - _penalty(shown, true[queries], queries)
        # a random neighbour has any of the n − 1 ranks
        expected = (n - n_neighbors) * (n - 1 - n_neighbors) / (2 * (n - 1))
        chance = 1 - _normalised(expected * n_neighbors, n, n_neighbors)
    provenance = f"{graph.provenance}; trustworthiness and continuity on {len(queries)} of {n} points"
    return Faithfulness(
        n_neighbors,
        float(kept.mean()),
        trust,
        continuity,
        n_neighbors / (n - 1),
        chance,
        chance,
        "chance",
        len(queries),
        shown,
        1 - kept,
        _stretch(graph, shown),
        provenance,
    )


def _array(graph: NeighborGraph) -> Floats:
    """Return points whose Euclidean distances are in the order of the graph's."""
    points = graph.source.points
    return points / np.linalg.norm(points, axis=1, keepdims=True) if graph.metric == "cosine" else points


def _penalty(points: Floats, neighbours: NDArray[np.int64], queries: NDArray[np.int64]) -> float:
    """Return by how much the ranks among all `points` of each query's `neighbours [query, k]` exceed k, 0 to 1."""
    n, k = len(points), neighbours.shape[1]
    unit = float(np.abs(points).max()) or 1.0
    points = (points / unit).astype(np.float64 if n <= FEW else np.float32)
    lengths = np.einsum("ij,ij->i", points, points)
    excess = 0
    size = max(1, _BLOCK // n)
    for start in range(0, len(queries), size):
        own, near = queries[start : start + size], neighbours[start : start + size]
        lines = np.arange(len(own))
        # the query's own length is the same for all points
        apart = lengths - 2 * (points[own] @ points.T)
        apart[lines, own] = np.inf
        for column in near.T:
            # of equally near ones the best rank counts
            ranks = (apart < apart[lines, column][:, None]).sum(axis=1) + 1
            excess += int(np.maximum(ranks - k, 0).sum())
    return _normalised(excess / len(queries), n, k)


def _normalised(excess: float, n: int, k: int) -> float:
    """Return the mean excess of a query's ranks as a share of the largest possible (Venna & Kaski 2001)."""
    return 2 * excess / (k * (2 * n - 3 * k - 1))


def _stretch(graph: NeighborGraph, shown: Floats) -> Floats:
    """Return log2 of the distance to the true neighbours in the picture over the true one, against its median."""
    before = graph.distances.mean(axis=1)
    after = np.zeros(len(shown))
    for column in graph.indices.T:
        after += np.linalg.norm(shown[column] - shown, axis=1)
    known = (before > 0) & (after > 0)
    ratio = np.full(len(shown), np.nan)
    ratio[known] = np.log2(after[known] / before[known])
    stretch: Floats = ratio - np.median(ratio[known]) if known.any() else ratio
    return stretch
