"""Are labels in a circle? An order test, a probe that must beat a line, and a step that must close the round."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import permutations
from math import factorial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd
from scipy.stats import t

from nbinterp.geometry.labels import Centroids, centroids
from nbinterp.geometry.multiple import adjusted
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

Verdict = Literal["circle", "not a circle", "too few labels to say"]
Shape = Literal["circle", "line", "neither", "too few labels to say"]

EXACT_UP_TO = 8
"""With at most so many labels all cyclic orders are counted, at most 7! = 5040."""

MAX_WRAP_RATIO = 1.3
"""A circle's step from the last label to the first is at most so many times the mean step between neighbours."""


class CloudOfSites(Protocol):
    """What `circle_tests` asks of a cloud with several sites."""

    @property
    def sites(self) -> Sequence[Site]:
        """The sites that it has values for."""

    def __getitem__(self, site: str) -> Rows:
        """Return the cloud of one site."""


@dataclass(frozen=True, eq=False)
class CircleTest(Told):
    """Whether labels lie in a circle, in their order, and what speaks against it.

    Parameters
    ----------
    concept : str
        What the labels are.
    labels : tuple, ``[label]``
        In the order that was tested.
    p_order : float
        Share of the orders of the labels whose tour round the plane is as short as the tested one, corrected for `looks`.
    exact : bool
        True when all `n_orders` cyclic orders were counted, False when so many were drawn at random.
    n_orders : int
        Orders compared.
    r2_circle, r2_line : float
        Leave-one-label-out R² of a linear probe from two principal components to (cos φ, sin φ), and to the label's number.
    p_line : float
        Share of the orders of the labels whose number on a line is predicted as well, corrected for `looks` (`circle_tests`:
        jointly): all orders up to 8 labels, else random ones; of no meaning with fewer than 5 labels.
    wrap_ratio : float
        Distance from the last label to the first over the mean distance of neighbours, in the full space, without what
        noise adds to distances (with 3 groups or more).
    wrap_interval : (float, float) or None
        Its 95 % jackknife interval over groups; None with fewer than 5 groups.
    angles : array, ``[label]``
        Angle of each label in the plane of the first two principal components, in radians.
    scores : array, ``[label, 2]``
        Coordinates there, in the units of the activations.
    alpha : float
        Level of the order test.
    looks : int
        Sites or subsets looked at, as the caller says; p is multiplied by it (Bonferroni).
    verdict : {"circle", "not a circle", "too few labels to say"}
        "circle" when every condition holds.
    reasons : tuple of str
        One sentence for each condition: its number and whether it holds.
    site : Site or None
        Where the rows come from.
    provenance : str
        What was done, for people to read.
    """

    concept: str
    labels: tuple[Any, ...]
    p_order: float
    exact: bool
    n_orders: int
    r2_circle: float
    r2_line: float
    p_line: float
    wrap_ratio: float
    wrap_interval: tuple[float, float] | None
    angles: Floats = field(repr=False)
    scores: Floats = field(repr=False)
    alpha: float
    looks: int
    verdict: Verdict
    reasons: tuple[str, ...]
    site: Site | None
    provenance: str

    @property
    def p(self) -> float:
        """The p-value of the order test, as `correct` wants it."""
        return self.p_order

    @property
    def found(self) -> bool:
        """Whether it is a circle, as `correct` wants it."""
        return self.verdict == "circle"

    @property
    def shape(self) -> Shape:
        """What the labels form: a circle; a line, when their numbers are predicted better than chance and than a circle; or neither."""
        if self.verdict == "too few labels to say":
            return self.verdict
        if self.found:
            return "circle"
        return "line" if self.p_line <= self.alpha and self.r2_line > self.r2_circle else "neither"

    def frame(self) -> pd.DataFrame:
        """Return one line a label: ``label``, ``angle`` in radians, ``x``, ``y`` in units of the mean radius."""
        x, y = (self.scores / np.linalg.norm(self.scores, axis=1).mean()).T
        return pd.DataFrame({"label": list(self.labels), "angle": self.angles, "x": x, "y": y})

    def chart(self) -> alt.LayerChart:
        """Return a chart of the labels in the plane, joined in their order."""
        from nbinterp.charts.clouds import circle_chart

        return circle_chart(self.frame(), title=f"{self.concept}: {self.verdict}")

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        return "\n".join(
            [
                f"CircleTest of {self.concept}{where}: {self.verdict}",
                *(f"  {r}" for r in (*self.reasons, self.provenance)),
            ]
        )


def circle_test(
    cloud: Rows | Centroids,
    by: Column | None = None,
    within: Column | None = None,
    *,
    order: Sequence[Any] | None = None,
    alpha: float = 0.01,
    n_permutations: int = 9999,
    looks: int = 1,
    seed: int = 0,
) -> CircleTest:
    """Test whether labels lie in a circle, in their order.

    Three conditions, since each alone can be fooled: the words zero to nine, a mere line, pass any test of Fourier
    power and often the first condition here; they fail the other two.

    1. Order: the tour of the labels in the plane of the first two principal components, in their order, is shorter
       than for other orders (p ≤ `alpha`). The null hypothesis is that the labels could be exchanged.
    2. Shape: two components predict (cos φ, sin φ) of a label left out better than its number on a line.
    3. Closure: the step from the last label to the first is less than 1.3 times the mean step.

    Parameters
    ----------
    cloud : Cloud, array ``[row, d_model]``, or Centroids
        The rows, or the centroids that `centroids` gave.
    by, within, order
        As for `centroids`; not wanted when those are given.
    alpha : float
        Level of the order test.
    n_permutations : int
        Orders to draw when there are more than 8 labels; with fewer, all are counted.
    looks : int
        How many sites or subsets you looked at to find this one.
    seed : int
        Of the random draws.

    Raises
    ------
    ValueError, LookupError
        As for `centroids`; for fewer than 3 labels; or when so few permutations cannot reach `alpha`.
    """
    found = as_centroids(cloud, by, within, order)
    if looks < 1:
        raise ValueError(f"got looks={looks}; wanted the number of sites or subsets looked at, at least 1.")
    n = len(found)
    _check_level(n, alpha, n_permutations, looks)
    scores, angles = _plane(found)
    tours = _tours(angles, _orders(n, n_permutations, seed))
    p = min(1.0, looks * float(_p_values(tours)[0]))
    p_line = min(1.0, looks * float(_p_values(-_lines(found, n_permutations, seed))[0]))
    return _judged(
        found, scores, angles, p, p_line, f", times {looks} looks" if looks > 1 else "", alpha, n_permutations, looks
    )


def circle_tests(
    clouds: CloudOfSites | Mapping[str, Rows | Centroids],
    by: Column | None = None,
    within: Column | None = None,
    *,
    order: Sequence[Any] | None = None,
    alpha: float = 0.01,
    n_permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Run `circle_test` at many sites and correct for having looked at all of them.

    Parameters
    ----------
    clouds : Cloud of several sites, or mapping of name to what `circle_test` takes
        The same labels, in the same order, at each site.
    by, within, order, alpha, n_permutations, seed
        As for `circle_test`.

    Returns
    -------
    DataFrame
        One line a site: ``site``, ``p_order`` (uncorrected), ``p_holm`` (Holm's correction), ``p_joint`` (the share of
        orders that do as well at *any* site; it uses that neighbouring layers resemble each other), ``r2_circle``,
        ``r2_line``, ``wrap_ratio``, ``wrap_low``, ``wrap_high``, ``n_set_aside``, ``verdict`` (from ``p_joint``),
        ``shape`` ("circle", "line", "neither").

    Notes
    -----
    ``p_joint`` is the single-step min-P of Westfall & Young, Resampling-Based Multiple Testing (1993): one exchange of
    labels is made at all sites at once, which holds the chance of any false "circle" under `alpha`. Seven labels have
    p = 2/720 at best, so Holm's correction could never call a circle of weekdays at 30 layers.
    """
    pairs = clouds if not hasattr(clouds, "sites") else {str(site): clouds[str(site)] for site in clouds.sites}
    if not pairs:
        raise ValueError("got no sites to test; give at least one.")
    found = {name: as_centroids(cloud, by, within, order) for name, cloud in pairs.items()}
    first = next(iter(found.values()))
    for name, one in found.items():
        if one.labels != first.labels:
            raise ValueError(f"got other labels or another order at {name}; wanted the same at every site: pass order.")
    n = len(first)
    _check_level(n, alpha, n_permutations, 1)
    planes = {name: _plane(one) for name, one in found.items()}
    orders = _orders(n, n_permutations, seed)
    p = np.array([_p_values(_tours(angles, orders)) for _, angles in planes.values()])
    lines = np.array([_p_values(-_lines(one, n_permutations, seed)) for one in found.values()])
    p_joint, p_lines = (np.array([(of.min(axis=0) <= one + 1e-12).mean() for one in of[:, 0]]) for of in (p, lines))
    tests = [
        _judged(
            one,
            *planes[name],
            p_site,
            p_line,
            f", corrected jointly for {len(found)} sites",
            alpha,
            n_permutations,
            len(found),
        )
        for (name, one), p_site, p_line in zip(found.items(), p_joint, p_lines, strict=True)
    ]
    intervals = [test.wrap_interval or (np.nan, np.nan) for test in tests]
    return pd.DataFrame(
        {
            "site": list(found),
            "p_order": p[:, 0],
            "p_holm": adjusted(p[:, 0], "holm"),
            "p_joint": p_joint,
            "r2_circle": [test.r2_circle for test in tests],
            "r2_line": [test.r2_line for test in tests],
            "wrap_ratio": [test.wrap_ratio for test in tests],
            "wrap_low": [low for low, _ in intervals],
            "wrap_high": [high for _, high in intervals],
            "n_set_aside": [one.n_set_aside for one in found.values()],
            "verdict": [test.verdict for test in tests],
            "shape": [test.shape for test in tests],
        }
    )


def as_centroids(
    cloud: Rows | Centroids, by: Column | None, within: Column | None, order: Sequence[Any] | None
) -> Centroids:
    """Return what a test of circles works on, checked to have at least 3 labels in at least 2 dimensions."""
    if isinstance(cloud, Centroids):
        if by is not None or within is not None or order is not None:
            raise TypeError(
                "got Centroids together with by, within or order; those belong to centroids(…): leave them out here."
            )
        found = cloud
    else:
        if by is None:
            raise TypeError("got no by; wanted the column that holds the labels, for example by='month'.")
        found = centroids(cloud, by, within, order=order)
    if len(found) < 3:
        raise ValueError(f"got {len(found)} labels; wanted at least 3 to speak of a circle (7 to test it).")
    if not np.linalg.matrix_rank(found.points) > 1:
        raise ValueError(
            "got labels whose centroids lie on one line or point; wanted at least two dimensions: check the labels and rows."
        )
    return found


def _check_level(n_labels: int, alpha: float, n_permutations: int, looks: int) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"got alpha={alpha}; wanted a number between 0 and 1, such as 0.01.")
    if n_labels > EXACT_UP_TO and looks / (1 + n_permutations) > alpha:
        raise ValueError(
            f"got n_permutations={n_permutations}, which cannot reach p ≤ {alpha:g} after {looks} looks; "
            f"wanted at least {int(np.ceil(looks / alpha))}."
        )


def _judged(
    found: Centroids,
    scores: Floats,
    angles: Floats,
    p: float,
    p_line: float,
    correction: str,
    alpha: float,
    n_permutations: int,
    looks: int,
) -> CircleTest:
    n = len(found)
    exact = n <= EXACT_UP_TO
    n_orders = factorial(n - 1) if exact else n_permutations
    phases = 2 * np.pi * np.arange(n) / n
    r2_circle = r2_line = float("nan")
    if n >= 5:
        held_out = _held_out(found.points)
        r2_circle = float(_r2(held_out, np.column_stack([np.cos(phases), np.sin(phases)]).T).mean())
        r2_line = float(_r2(held_out, np.arange(n, dtype=np.float64)[None])[0])
    wrap, interval = _closure(found)
    spread = "" if interval is None else f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})"
    against = f"all {n_orders} orders" if exact else f"{n_orders} random orders"
    shape = f"held-out R² {r2_circle:.2f} of a circle, {r2_line:.2f} of a line"
    if np.isnan(r2_circle):
        shape = f"no label of {n} can be held out"
    conditions = {
        f"order: p = {p:.2g} against {against}{correction}; wanted ≤ {alpha:g}": p <= alpha,
        f"shape: {shape}; wanted more of the circle": r2_circle > r2_line,
        f"closure: last to first is {wrap:.2f} × the mean step{spread}; wanted < {MAX_WRAP_RATIO}": wrap
        < MAX_WRAP_RATIO,
    }
    reasons = [f"{text}: {'holds' if holds else 'fails'}." for text, holds in conditions.items()]
    verdict: Verdict = "circle" if all(conditions.values()) else "not a circle"
    # a tour is as short in both directions, so that not even a perfect order beats two in (n − 1)!
    best = min(1.0, 2 / factorial(n - 1) * (looks if correction.startswith(", times") else 1))
    if n < 5 or best > alpha:
        verdict = "too few labels to say"
        reasons.insert(
            0, f"{n} labels in perfect order give p = {best:.2g} at best; wanted ≤ {alpha:g}: take more labels."
        )
    return CircleTest(
        concept=found.concept,
        labels=found.labels,
        p_order=float(p),
        exact=exact,
        n_orders=n_orders,
        r2_circle=r2_circle,
        r2_line=r2_line,
        p_line=p_line,
        wrap_ratio=wrap,
        wrap_interval=interval,
        angles=angles,
        scores=scores,
        alpha=alpha,
        looks=looks,
        verdict=verdict,
        reasons=tuple(reasons),
        site=found.site,
        provenance=found.provenance,
    )


def _plane(found: Centroids) -> tuple[Floats, Floats]:
    """Return coordinates ``[label, 2]`` and angles ``[label]`` in the plane of the first two principal components."""
    u, s, _ = np.linalg.svd(found.points, full_matrices=False)
    scores: Floats = u[:, :2] * s[:2]
    angles: Floats = np.arctan2(scores[:, 1], scores[:, 0]) % (2 * np.pi)
    return scores, angles


def _orders(n: int, n_permutations: int, seed: int) -> NDArray[np.int64]:
    """Return orders to compare, ``[order, label]``, the given one first: all cyclic ones, or random ones."""
    if n <= EXACT_UP_TO:
        return np.array([(0, *rest) for rest in permutations(range(1, n))], dtype=np.int64)
    given = np.arange(n, dtype=np.int64)
    drawn = np.random.default_rng(seed).permuted(np.tile(given, (n_permutations, 1)), axis=1)
    return np.concatenate([given[None], drawn])


def _tours(angles: Floats, orders: NDArray[np.int64]) -> Floats:
    """Return Σ |turn from each label to the next, round to the first| in radians, for each order."""
    toured = angles[orders]
    steps = np.roll(toured, -1, axis=1) - toured
    tours: Floats = np.abs((steps + np.pi) % (2 * np.pi) - np.pi).sum(axis=1)
    return tours


def _p_values(tours: Floats) -> Floats:
    """Return for each order the share of orders (itself included) whose tour is as short."""
    p: Floats = np.searchsorted(np.sort(tours), tours + 1e-9, side="right") / len(tours)
    return p


def _held_out(points: Floats) -> Floats:
    """Return what predicts each label from the others: ``[label, label]`` with an empty diagonal, times any targets.

    Least squares from two components, refitted without the label in turn, is linear in the targets; so one matrix
    serves every target and every order of the labels.
    """
    n = len(points)
    held_out = np.zeros((n, n))
    for left_out in range(n):
        rest = np.arange(n) != left_out
        mean = points[rest].mean(axis=0)
        u, s, vt = np.linalg.svd(points[rest] - mean, full_matrices=False)
        kept = s[:2] > s[0] * 1e-12
        place = ((points[left_out] - mean) @ vt[:2][kept].T) / s[:2][kept]
        held_out[left_out, rest] = 1 / (n - 1) + u[:, :2][:, kept] @ place
    return held_out


def _r2(held_out: Floats, targets: Floats) -> Floats:
    """Return the share of each target's variance that is predicted for labels left out; targets ``[target, label]``."""
    residuals = targets - targets @ held_out.T
    deviations = targets - targets.mean(axis=1, keepdims=True)
    share: Floats = 1 - (residuals**2).sum(axis=1) / (deviations**2).sum(axis=1)
    return share


def _lines(found: Centroids, n_permutations: int, seed: int) -> Floats:
    """Return R² of the labels' numbers on a line for each order, the given one first; NaN with fewer than 5 labels."""
    n = len(found)
    if n < 5:
        return np.array([np.nan])
    if n <= EXACT_UP_TO:
        orders = _every_order(n)
    else:
        # unlike a round, a line tells its orders apart by where they start
        drawn = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (n_permutations, 1)), axis=1)
        orders = np.concatenate([np.arange(n)[None], drawn])
    return _r2(_held_out(found.points), orders.astype(np.float64))


@cache
def _every_order(n: int) -> NDArray[np.int64]:
    return np.array(list(permutations(range(n))), dtype=np.int64)


def _closure(found: Centroids) -> tuple[float, tuple[float, float] | None]:
    """Return the ratio of the last step to the mean of the others, and its 95 % jackknife interval over groups.

    Noise makes every distance longer and so draws the ratio towards 1: an open line in much noise would seem to close.
    Products of different groups only, whose noise is independent, estimate squared distances without that bias.
    """
    steps = np.roll(found.stack, -1, axis=1) - found.stack
    n_both = np.isfinite(steps[:, :, 0]).sum(axis=0)
    if n_both.min() < 3:
        return _ratio((np.roll(found.points, -1, axis=0) - found.points) ** 2 @ np.ones(found.points.shape[1])), None
    present = np.isfinite(steps[:, :, 0])
    steps = np.where(present[..., None], steps, 0)
    own, total = (steps**2).sum(axis=2), steps.sum(axis=0)
    between = (total**2).sum(axis=1) - own.sum(axis=0)
    ratio = _ratio(between / (n_both * (n_both - 1)))
    n = len(steps)
    if n < 5:
        return ratio, None
    left = n_both - present
    # what is left of Σ_{g≠h} step_g · step_h without one group
    between_left = between - 2 * np.einsum("gld,ld->gl", steps, total) + 2 * own
    ratios = np.array([_ratio(b / (m * (m - 1))) for b, m in zip(between_left, left, strict=True)])
    if not (np.isfinite(ratios).all() and ratio > 0):
        return ratio, None
    error = np.sqrt((n - 1) / n * ((ratios - ratios.mean()) ** 2).sum())
    factor = float(np.exp(t.ppf(0.975, n - 1) * error / ratio))
    return ratio, (ratio / factor, ratio * factor)


def _ratio(squared_steps: Floats) -> float:
    steps = np.sqrt(np.maximum(squared_steps, 0))
    mean = steps[:-1].mean()
    return float(steps[-1] / mean) if mean > 0 else float("inf")
