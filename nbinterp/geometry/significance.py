"""Is a loop more than noise? A null distribution from a Gaussian of the cloud's own covariance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from nbinterp.geometry.persistence import Diagram, loop_pairs, persistence

if TYPE_CHECKING:
    import altair as alt

    from nbinterp.geometry.rows import Rows
    from nbinterp.spaces import Floats

LoopVerdict = Literal["a loop", "no loop", "too few points to say"]

MIN_POINTS = 20
"""With fewer points no verdict is given."""

WANTED_POINTS = 300
"""So many points are wanted for a loop without labels."""

MIN_PROMINENCE = 2.0
"""The longest-lived loop must live at least so many times as long as the next."""

BINS = 36
"""Angular bins of 10° for the occupancy of a loop."""


@dataclass(frozen=True, eq=False)
class LoopTest:
    """Whether the longest-lived loop of a cloud is more than noise of the same covariance.

    Parameters
    ----------
    lifetime : float
        Death − birth of the longest-lived loop, in the units of the activations; 0 without any loop.
    prominence : float
        That over the lifetime of the next; infinity where there is only one.
    p_lifetime, p_prominence : float
        Share of the null draws (and the cloud itself) that reach as much. Lifetimes are compared in units of the
        root-mean-square radius.
    p : float
        The larger of the two, corrected for `looks`.
    lifetime_threshold : float
        Lifetime at the ``1 - alpha`` quantile of the null, in the units of the activations; NaN where nothing was drawn.
    occupancy, occupancy_expected : float
        Share of 36 directions, seen from the middle of the loop, in which there is a row, and the share that as many
        rows spread evenly would fill. A loop of clusters fills far fewer.
    largest_gap : float
        Largest empty angle, in degrees.
    n_points, n_null, looks : int
        Points tested; draws from the null; sites or subsets looked at, as the caller says.
    alpha : float
        Level of the test.
    verdict : {"a loop", "no loop", "too few points to say"}
        "a loop" when p ≤ `alpha` and the prominence is at least 2.
    reasons : tuple of str
        One sentence for each condition, and one on how the rows occupy the loop.
    diagram : Diagram
        What was tested.
    provenance : str
        What was done, for people to read.
    """

    lifetime: float
    prominence: float
    p_lifetime: float
    p_prominence: float
    p: float
    lifetime_threshold: float
    occupancy: float
    occupancy_expected: float
    largest_gap: float
    n_points: int
    n_null: int
    looks: int
    alpha: float
    verdict: LoopVerdict
    reasons: tuple[str, ...]
    diagram: Diagram = field(repr=False)
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line with the numbers and the verdict, in the names of the fields."""
        left_out = ("reasons", "diagram", "provenance")
        return pd.DataFrame([{name: value for name, value in vars(self).items() if name not in left_out}])

    def chart(self) -> alt.LayerChart:
        """Return the persistence diagram with the line that a loop has to pass."""
        return self.diagram.chart(self if np.isfinite(self.lifetime_threshold) else None)

    def __repr__(self) -> str:
        return "\n".join([f"LoopTest: {self.verdict}", *(f"  {r}" for r in (*self.reasons, self.provenance))])


def loop_significance(
    diagram: Diagram | Rows,
    *,
    n_null: int = 199,
    alpha: float = 0.01,
    looks: int = 1,
    seed: int = 0,
) -> LoopTest:
    """Test the longest-lived loop of a cloud against a Gaussian of the same covariance.

    Each null draw has as many rows, goes through the same projection (and k-means), and gives its own longest
    lifetime and prominence. Both must be rare: lifetime alone calls two thirds of random sets of real tokens a loop.

    Parameters
    ----------
    diagram : Diagram, Cloud or array ``[row, d_model]``
        What `persistence` gave; or rows, of which two principal components are taken.
    n_null : int
        Draws; the smallest p is 1 / (n_null + 1).
    alpha : float
        Level of the test.
    looks : int
        How many sites or subsets you looked at to find this one; p is multiplied by it (Bonferroni).
    seed : int
        Of the draws.

    Raises
    ------
    ValueError
        When so few draws cannot reach `alpha`, or the diagram was made without loops.
    """
    if not isinstance(diagram, Diagram):
        diagram = persistence(diagram)
    if len(diagram.pairs) < 2:
        raise ValueError("got a diagram without loops (max_dimension=0); make it with max_dimension=1.")
    if not 0 < alpha < 1 or looks < 1:
        raise ValueError(f"got alpha={alpha}, looks={looks}; wanted alpha between 0 and 1 and at least 1 look.")
    if looks / (n_null + 1) > alpha:
        raise ValueError(
            f"got n_null={n_null}, which cannot reach p ≤ {alpha:g} after {looks} looks; wanted at least {int(np.ceil(looks / alpha)) - 1}."
        )
    lifetime, prominence = _size(diagram.h1)
    n_points = len(diagram.points)
    enough = n_points >= MIN_POINTS
    p_lifetime = p_prominence = p = threshold = float("nan")
    if enough:
        scale = _radius(diagram.points)
        null = _null(diagram, n_null, seed)
        p_lifetime = (1 + int((null[:, 0] >= lifetime / scale).sum())) / (n_null + 1)
        p_prominence = (1 + int((null[:, 1] >= prominence).sum())) / (n_null + 1)
        p = min(1.0, looks * max(p_lifetime, p_prominence))
        threshold = float(np.quantile(null[:, 0], 1 - alpha, method="higher")) * scale
    occupancy, expected, gap = _occupancy(diagram)
    times = f", times {looks} looks" if looks > 1 else ""
    conditions = {
        f"lifetime {lifetime:.3g}: p = {p_lifetime:.2g}; prominence {prominence:.2f}: p = {p_prominence:.2g}; the larger{times} is "
        f"{p:.2g} against {n_null} Gaussians of the same covariance; wanted ≤ {alpha:g}": p <= alpha,
        f"the longest-lived loop lives {prominence:.2f} times as long as the next; wanted ≥ {MIN_PROMINENCE:g}": prominence
        >= MIN_PROMINENCE,
    }
    reasons = [f"{text}: {'holds' if holds else 'fails'}." for text, holds in conditions.items()]
    verdict: LoopVerdict = (
        "too few points to say" if not enough else "a loop" if all(conditions.values()) else "no loop"
    )
    if not enough:
        reasons = [
            f"{n_points} points; wanted at least {MIN_POINTS}, and {WANTED_POINTS} to be sure: collect more rows, or test labels by their order."
        ]
    elif np.isfinite(occupancy):
        clumped = verdict == "a loop" and occupancy < 0.75 * expected
        reasons.append(
            f"rows lie in {occupancy:.0%} of {BINS} directions round the loop ({expected:.0%} if spread evenly), the largest gap is {gap:.0f}°"
            + (
                ": clusters in a ring rather than a continuous curve, so test their labels by order too."
                if clumped
                else "."
            )
        )
    return LoopTest(
        lifetime=lifetime,
        prominence=prominence,
        p_lifetime=p_lifetime,
        p_prominence=p_prominence,
        p=p,
        lifetime_threshold=threshold,
        occupancy=occupancy,
        occupancy_expected=expected,
        largest_gap=gap,
        n_points=n_points,
        n_null=n_null if enough else 0,
        looks=looks,
        alpha=alpha,
        verdict=verdict,
        reasons=tuple(reasons),
        diagram=diagram,
        provenance=diagram.provenance,
    )


def _size(loops: Floats) -> tuple[float, float]:
    """Return the longest lifetime and its ratio to the next; 0 and 0 without a loop."""
    lifetimes = loops[:, 1] - loops[:, 0]
    if not len(lifetimes):
        return 0.0, 0.0
    return float(lifetimes[0]), float(lifetimes[0] / lifetimes[1]) if len(lifetimes) > 1 else float("inf")


def _radius(points: Floats) -> float:
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _null(diagram: Diagram, n_null: int, seed: int) -> Floats:
    """Return lifetime in units of the radius and prominence for each draw: ``[draw, 2]``."""
    rng = np.random.default_rng(seed)
    # with rows = u s vt, normal numbers times s have the rows' covariance but for a rotation, which PCA does not see
    s = np.linalg.svd(diagram.prepared.rows, compute_uv=False)
    n = len(diagram.prepared.rows)
    spread = s[s > s[0] * 1e-9] / np.sqrt(n)
    null = np.empty((n_null, 2))
    for i in range(n_null):
        points = diagram.prepared.again(rng.normal(size=(n, len(spread))) * spread)
        lifetime, prominence = _size(loop_pairs(points))
        null[i] = lifetime / _radius(points), prominence
    return null


def _occupancy(diagram: Diagram) -> tuple[float, float, float]:
    """Return the share of directions with a row, the share expected, and the largest gap in degrees."""
    if not len(diagram.h1):
        return float("nan"), float("nan"), float("nan")
    rows = diagram.points[diagram.point_of_row[diagram.point_of_row >= 0]]
    loop = diagram.points[np.unique(diagram.point_of_row[list(diagram.cycles[0])])]
    middle = (loop.max(axis=0) + loop.min(axis=0)) / 2
    basis = np.linalg.svd(loop - loop.mean(axis=0), full_matrices=False)[2][:2]
    x, y = ((rows - middle) @ basis.T).T
    angles = np.sort(np.degrees(np.arctan2(y, x)) % 360)
    filled = len(np.unique((angles // (360 / BINS)).astype(np.int64))) / BINS
    gap = float(np.diff(angles, append=angles[0] + 360).max())
    return filled, float(1 - (1 - 1 / BINS) ** len(rows)), gap
