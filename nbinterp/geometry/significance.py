"""Is a loop or a cavity more than noise? p-values for each class and for any class at all, against five kinds of null."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from nbinterp.geometry.matching import finite_bottleneck
from nbinterp.geometry.multiple import enough_draws
from nbinterp.geometry.nulls import MIN_CLASSES, Null, draws, subsample_distances, universal_p
from nbinterp.geometry.persistence import Diagram, persistence
from nbinterp.geometry.preparation import Prepared
from nbinterp.geometry.pvalues import PValues, Statistic, against_drawn, beyond, death_over_birth, prominences
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import altair as alt

    from nbinterp.geometry.rows import Rows
    from nbinterp.spaces import Floats

Verdict = Literal["a loop", "no loop", "a cavity", "no cavity", "too few points to say"]

MIN_POINTS = 20
"""With fewer points no verdict is given."""

WANTED_POINTS = 300
"""So many points are wanted for a loop without labels."""

MIN_PROMINENCE = 2.0
"""A class must live at least so many times as long as what is left when it and its like are taken away."""

RATIO_LEVEL = 0.1
"""Death / birth must be among so large a share of those of the longest-lived classes of noise."""

BINS = 36
"""Angular bins of 10° for the occupancy of a loop."""

STATISTICS: dict[Null, tuple[Statistic, ...]] = {
    "gaussian": ("both", "lifetime", "prominence", "ratio"),
    "permutation": ("both", "lifetime", "prominence", "ratio"),
    "universal": ("ratio",),
    "bootstrap": ("lifetime",),
    "subsampling": ("lifetime",),
}
"""What each null can be asked about, the default first."""

WHAT = {1: "loop", 2: "cavity"}
MANY = {1: "loops", 2: "cavities"}


@dataclass(frozen=True, eq=False)
class Significance(Told):
    """Which classes of a persistence diagram are more than noise.

    Parameters
    ----------
    dimension : {1, 2}
        Loops or cavities.
    null, statistic : str
        What was compared with, and by what; see `significance`.
    classes : DataFrame
        One line a class, longest-lived first: ``class_id``, ``birth``, ``death``, ``lifetime`` (units of the
        activations), ``ratio`` = death / birth, ``prominence``, ``p`` (of this class, had it been the only one),
        ``p_adjusted`` (for the classes of the diagram and the looks), ``p_ratio`` (of its death / birth among those of the longest-lived
        classes of the null), ``significant``.
    n_found : int
        Classes that are significant: p_adjusted ≤ `alpha`, prominent enough, born early enough for their death, and so is every
        longer-lived one.
    lifetime : float
        Death − birth of the longest-lived class, in the units of the activations; 0 without any class.
    prominence : float
        The largest quotient of a lifetime to the next one, among the longest-lived class and those that live at least a
        quarter as long, four at most (see `prominences`). A circle has its drop after the first class, a torus or
        a figure-eight after the second.
    p_lifetime, p_prominence, p_ratio : float
        Share of the null draws (and the cloud itself) whose longest-lived class has as much lifetime, prominence, or death / birth;
        NaN where these were not asked about.
    p : float
        Of any class at all: the chance that noise has a class like the best one here, times `looks`.
    lifetime_threshold, ratio_threshold : float
        Lifetime, in the units of the activations, that a class must exceed at level `alpha`, and its least death / birth; NaN
        where there is none.
    occupancy, occupancy_expected : float
        Share of 36 directions, seen from the middle of the longest-lived loop, in which there is a row, and the share
        that as many rows spread evenly would fill. A loop of clusters fills far fewer. NaN for cavities.
    largest_gap : float
        Largest empty angle, in degrees.
    n_points, n_null, looks : int
        Points tested; draws from the null; sites or subsets looked at, as the caller says.
    alpha : float
        Level of the test.
    verdict : {"a loop", "no loop", "a cavity", "no cavity", "too few points to say"}
        "a loop" when at least one is significant.
    reasons : tuple of str
        One sentence for each condition, and one on how the rows occupy the loop.
    drawn : DataFrame
        One line a null cloud: ``lifetime``, ``prominence`` and ``ratio`` of its longest-lived class; empty for nulls that draw none.
    diagram : Diagram
        What was tested.
    provenance : str
        What was done, for people to read.
    """

    dimension: int
    null: Null
    statistic: Statistic
    classes: pd.DataFrame = field(repr=False)
    n_found: int
    lifetime: float
    prominence: float
    p_lifetime: float
    p_prominence: float
    p_ratio: float
    p: float
    lifetime_threshold: float
    ratio_threshold: float
    occupancy: float
    occupancy_expected: float
    largest_gap: float
    n_points: int
    n_null: int
    looks: int
    alpha: float
    verdict: Verdict
    reasons: tuple[str, ...]
    drawn: pd.DataFrame = field(repr=False)
    diagram: Diagram = field(repr=False)
    provenance: str

    @property
    def found(self) -> bool:
        """Whether any class is significant."""
        return self.n_found > 0

    def frame(self) -> pd.DataFrame:
        """Return one line with the numbers and the verdict, in the names of the fields."""
        left_out = ("classes", "reasons", "drawn", "diagram", "provenance")
        return pd.DataFrame([{name: value for name, value in vars(self).items() if name not in left_out}])

    @property
    def limits(self) -> tuple[float, float]:
        """Lifetime and death / birth that a class must exceed; 0 and 1, which all do, where there is no such limit."""
        lifetime, ratio = self.lifetime_threshold, self.ratio_threshold
        return lifetime if np.isfinite(lifetime) else 0.0, ratio if np.isfinite(ratio) else 1.0

    def chart(self) -> alt.LayerChart:
        """Return the persistence diagram with the line that a class has to pass: long-lived, and long-lived for its birth."""
        return self.diagram.chart(self if self.dimension == 1 else None)

    def null_chart(self) -> alt.HConcatChart:
        """Return what the longest-lived class of each null cloud has, with that of the cloud marked.

        Raises
        ------
        ValueError
            For a null that draws no clouds without shape.
        """
        from nbinterp.charts.diagrams import null_chart

        if self.drawn.empty or not len(self.classes):
            raise ValueError(
                f"got null={self.null!r} and {len(self.classes)} classes; wanted null clouds to show: test with null='gaussian'."
            )
        return null_chart(self.drawn, self.classes.iloc[0], title=f"{self.n_null} null clouds", subtitle=self.verdict)

    def __repr__(self) -> str:
        return "\n".join([f"Significance: {self.verdict}", *(f"  {r}" for r in (*self.reasons, self.provenance))])


def loop_significance(
    diagram: Diagram | Rows,
    *,
    n_null: int = 199,
    alpha: float = 0.01,
    looks: int = 1,
    seed: int = 0,
) -> Significance:
    """Test the loops of a cloud against Gaussians: `significance` with its defaults."""
    return significance(diagram, n_null=n_null, alpha=alpha, looks=looks, seed=seed)


def significance(
    diagram: Diagram | Rows,
    *,
    null: Null = "gaussian",
    statistic: Statistic | None = None,
    dimension: Literal[1, 2] = 1,
    n_null: int = 199,
    alpha: float = 0.01,
    looks: int = 1,
    min_prominence: float = MIN_PROMINENCE,
    ratio_level: float = RATIO_LEVEL,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Significance:
    """Test which loops or cavities of a cloud are more than noise, and whether there is any at all.

    Each null cloud has as many rows, goes through the same landmarks, and gives its own longest lifetime and
    prominence. By default both must be rare: lifetime alone calls two thirds of random sets of real tokens a loop. And a class
    must be born early for its death: a few far rows enclose a long-lived and prominent loop, but one that is born late.
    docs/significance.md has the measured rates of false positives and the power of every choice.

    Parameters
    ----------
    diagram : Diagram, Cloud, array ``[row, d_model]`` or Prepared
        What `persistence` gave; or rows, of which its defaults are taken.
    null : {"gaussian", "permutation", "universal", "bootstrap", "subsampling"}
        "gaussian": Gaussian clouds of the same covariance (exact for Gaussian rows; see `nulls.null_cloud`).
        "permutation": clouds with each component shuffled over the rows; a circle leaves a hollow square, so it is weak.
        "universal": the law of noise of Bobrowski and Skraba 2023; needs no draws and at least 3 classes, Bonferroni's
        correction over the classes. "bootstrap" and "subsampling" are confidence sets for the diagram of what was
        sampled: a class that lives longer than the set is wide cannot belong to the diagonal. "bootstrap" takes twice the 1 − alpha
        quantile of the bottleneck distances of resampled clouds to the cloud (Chazal, Fasy, Lecci, Rinaldo, Singh, Wasserman 2014,
        arXiv 1311.0376); it asks whether a class is stable under sampling, not whether a cloud without shape would have it,
        and covers too seldom (measured). "subsampling" takes Hausdorff distances of subsamples (Fasy, Lecci, Rinaldo,
        Wasserman, Balakrishnan, Singh 2014, Annals of Statistics 42, section 4), covers, and needs thousands of rows with hardly
        any noise.
    statistic : {"both", "lifetime", "prominence", "ratio"}, optional
        What is compared: the lifetime, the prominence, the larger p of these two ("both", the default for clouds drawn), or death / birth (the only one for
        "universal"). "bootstrap" and "subsampling" know lifetimes only.
    dimension : {1, 2}
        Loops or cavities.
    n_null : int
        Draws; the smallest p is 1 / (n_null + 1). Draws are remembered: more of them cost only the new ones, and an
        interrupted call goes on where it stopped.
    alpha : float
        Level of the test.
    looks : int
        How many sites or subsets you looked at to find this one; p is multiplied by it (Bonferroni). To correct many
        tests at once, leave it at 1 and use `correct`.
    min_prominence : float
        A class counts only if its prominence reaches this; 0 to leave that out.
    ratio_level : float
        A class counts only if at most this share of the clouds drawn have a longest-lived class of as large a death / birth; 1
        to leave that out.
    seed : int
        Of the draws.
    progress : callable, optional
        Called with the draws done and wanted.

    Raises
    ------
    ValueError
        When so few draws cannot reach `alpha`, the diagram was made without the dimension, or null and statistic do not
        go together.

    Notes
    -----
    ``p_adjusted`` of the longest-lived class is the p of any class at all: it compares with the *best* class of each
    null cloud, which holds the family-wise error over the classes of a diagram (Westfall and Young 1993). Classes after it
    are compared with the same best classes, step by step, and stop at the first that fails: so the number of loops
    is found by the largest drop of the lifetimes, and the null clouds are searched for drops in the same way.
    """
    terms = _Terms(null, _known(null, statistic), dimension, alpha, looks, min_prominence, ratio_level)
    terms.check(n_null)
    if not isinstance(diagram, Diagram):
        diagram = persistence(diagram, max_dimension=dimension)
    if len(diagram.pairs) <= dimension:
        raise ValueError(
            f"got a diagram without {MANY[dimension]} (max_dimension={len(diagram.pairs) - 1}); make it with max_dimension={dimension}."
        )
    pairs = diagram.pairs[dimension]
    too_few = _too_few(diagram.n_points, len(pairs), null)
    if too_few:
        judged = PValues(*np.full((3, len(pairs)), np.nan))
    elif null == "universal":
        p = universal_p(pairs)
        judged = PValues(p, np.minimum(1.0, len(p) * p), np.zeros(len(p)))
    elif null == "subsampling":
        judged = beyond(pairs, 4 * subsample_distances(diagram, n_null, seed), alpha)
    else:
        drawn = draws(diagram, null, dimension=dimension, n=n_null, seed=seed, progress=progress)
        judged = (
            beyond(pairs, 2 * np.array([finite_bottleneck(pairs, one) for one in drawn]), alpha)
            if null == "bootstrap"
            else against_drawn(pairs, drawn, terms.statistic, alpha)
        )
    return _concluded(diagram, judged, terms, too_few, seed)


def significance_of_drawn(diagram: Diagram, drawn: Sequence[Floats], *, alpha: float, seed: int) -> Significance:
    """Test loops as `significance` does, against the loops ``[class, 2]`` of Gaussian clouds that are drawn already, of this seed."""
    terms = _Terms("gaussian", "both", 1, alpha, 1, MIN_PROMINENCE, RATIO_LEVEL)
    terms.check(len(drawn))
    too_few = _too_few(diagram.n_points, len(diagram.h1), "gaussian")
    judged = (
        PValues(*np.full((3, len(diagram.h1)), np.nan))
        if too_few
        else against_drawn(diagram.h1, drawn, terms.statistic, alpha)
    )
    return _concluded(diagram, judged, terms, too_few, seed)


@dataclass(frozen=True)
class _Terms:
    """What is asked of classes, as in `significance`."""

    null: Null
    statistic: Statistic
    dimension: int
    alpha: float
    looks: int
    min_prominence: float
    ratio_level: float

    def check(self, n_null: int) -> None:
        if self.dimension not in (1, 2):
            raise ValueError(f"got dimension={self.dimension!r}; choose 1 (loops) or 2 (cavities).")
        enough_draws(None if self.null == "universal" else n_null, self.alpha, self.looks)
        if self.null in ("gaussian", "permutation") and 1 / (n_null + 1) > self.ratio_level:
            raise ValueError(
                f"got ratio_level={self.ratio_level:g} and n_null={n_null}; wanted ratio_level of at least {1 / (n_null + 1):.2g} for so few draws."
            )


def _known(null: Null, statistic: Statistic | None) -> Statistic:
    """Return what is compared with a null, by default its usual statistic; ValueError for what it cannot be asked about."""
    if null not in get_args(Null):
        raise ValueError(f"got null={null!r}; choose from {', '.join(get_args(Null))}.")
    if statistic is not None and statistic not in STATISTICS[null]:
        raise ValueError(f"got statistic={statistic!r} with null={null!r}; choose from {', '.join(STATISTICS[null])}.")
    return statistic or STATISTICS[null][0]


def _concluded(diagram: Diagram, judged: PValues, terms: _Terms, too_few: str, seed: int) -> Significance:
    """Return what the p-values of a diagram's classes come to."""
    table = _table(diagram.pairs[terms.dimension], judged, terms)
    p = float("nan") if too_few else float(table["p_adjusted"].min()) if len(table) else 1.0
    n_found = int(table["significant"].sum())
    lifetime, prominence = (float(table[name].iloc[0]) if len(table) else 0.0 for name in ("lifetime", "prominence"))
    occupancy, expected, gap = _occupancy(diagram) if terms.dimension == 1 else (float("nan"),) * 3
    reasons = [too_few] if too_few else _reasons(table, judged, p, terms)
    if not too_few and np.isfinite(occupancy):
        clumped = n_found > 0 and occupancy < 0.75 * expected
        reasons.append(
            f"rows lie in {occupancy:.0%} of {BINS} directions round the loop ({expected:.0%} if spread evenly), the largest gap is {gap:.0f}°"
            + (
                ": clusters in a ring rather than a continuous curve, so test their labels by order too."
                if clumped
                else "."
            )
        )
    return Significance(
        dimension=terms.dimension,
        null=terms.null,
        statistic=terms.statistic,
        classes=table,
        n_found=n_found,
        lifetime=lifetime,
        prominence=prominence,
        p_lifetime=judged.p_lifetime,
        p_prominence=judged.p_prominence,
        p_ratio=float(judged.ratio[0]) if len(judged.drawn) and len(table) else float("nan"),
        p=p,
        lifetime_threshold=judged.threshold,
        ratio_threshold=_ratio_threshold(judged, terms),
        occupancy=occupancy,
        occupancy_expected=expected,
        largest_gap=gap,
        n_points=diagram.n_points,
        n_null=judged.n_null,
        looks=terms.looks,
        alpha=terms.alpha,
        verdict="too few points to say" if too_few else _VERDICTS[terms.dimension][n_found > 0],
        reasons=tuple(reasons),
        drawn=pd.DataFrame(judged.drawn, columns=["lifetime", "prominence", "ratio"]),
        diagram=diagram,
        provenance=f"{diagram.provenance}; {_SAYS[terms.null].format(n=judged.n_null)}, seed {seed}",
    )


_VERDICTS: dict[int, tuple[Verdict, Verdict]] = {1: ("no loop", "a loop"), 2: ("no cavity", "a cavity")}

_SAYS: dict[Null, str] = {
    "gaussian": "null: {n} Gaussians of the same covariance",
    "permutation": "null: {n} clouds with each component shuffled",
    "universal": "null: the universal law of persistence ratios, no draws",
    "bootstrap": "confidence set from {n} resampled clouds",
    "subsampling": "confidence set from {n} subsamples",
}


def _too_few(n_points: int, n_classes: int, null: Null) -> str:
    if n_points < MIN_POINTS:
        return (
            f"{n_points} points; wanted at least {MIN_POINTS}, and {WANTED_POINTS} to be sure: "
            "collect more rows, or test labels by their order."
        )
    if null == "universal" and n_classes < MIN_CLASSES:
        return (
            f"{n_classes} classes; the universal law is fitted to the diagram's own classes and wants at least {MIN_CLASSES}: "
            "take null='gaussian'."
        )
    return ""


def _table(pairs: Floats, judged: PValues, terms: _Terms) -> pd.DataFrame:
    lifetimes = pairs[:, 1] - pairs[:, 0]
    prominence = prominences(pairs)
    single = np.minimum(1.0, judged.single)
    adjusted = np.minimum(1.0, terms.looks * np.maximum(judged.family, single))
    return pd.DataFrame(
        {
            "class_id": [f"H{terms.dimension}.{i}" for i in range(len(pairs))],
            "birth": pairs[:, 0],
            "death": pairs[:, 1],
            "lifetime": lifetimes,
            "ratio": death_over_birth(pairs),
            "prominence": prominence,
            "p": single,
            "p_adjusted": adjusted,
            "p_ratio": judged.ratio,
            # a class after one that fails belongs to the noise that is left
            "significant": np.logical_and.accumulate(
                (adjusted <= terms.alpha) & (prominence >= terms.min_prominence) & (judged.ratio <= terms.ratio_level)
            ),
        }
    )


def _ratio_threshold(judged: PValues, terms: _Terms) -> float:
    """Return the death / birth that a class has to exceed for its p to be low enough; NaN where every one does."""
    ratios = np.sort(judged.drawn[:, 2])[::-1]
    reaching = int(terms.ratio_level * (len(ratios) + 1) + 1e-9) - 1
    return float(ratios[reaching]) if 0 <= reaching < len(ratios) else float("nan")


def _reasons(table: pd.DataFrame, judged: PValues, p: float, terms: _Terms) -> list[str]:
    what = WHAT[terms.dimension]
    if not len(table):
        return [f"there is no {what} at any scale: fails."]
    lifetime, prominence, ratio = (float(table[name].iloc[0]) for name in ("lifetime", "prominence", "ratio"))
    times = f", times {terms.looks} looks," if terms.looks > 1 else ""
    if terms.null == "universal":
        tested = (
            f"death / birth {ratio:.3g}, of {len(table)} classes (Bonferroni){times}: p = {p:.2g} by the universal law"
        )
    elif terms.null in ("bootstrap", "subsampling"):
        drawn = "resampled clouds" if terms.null == "bootstrap" else "subsamples"
        tested = f"lifetime {lifetime:.3g} against a confidence set of width {judged.threshold:.3g} from {judged.n_null} {drawn}{times}: p = {p:.2g}"
    else:
        clouds = (
            "Gaussians of the same covariance" if terms.null == "gaussian" else "clouds with each component shuffled"
        )
        parts = {
            "both": f"lifetime {lifetime:.3g}: p = {judged.p_lifetime:.2g}; prominence {prominence:.2f}: p = {judged.p_prominence:.2g}; the larger{times} is {p:.2g}",
            "lifetime": f"lifetime {lifetime:.3g}{times}: p = {p:.2g}",
            "prominence": f"prominence {prominence:.2f}{times}: p = {p:.2g}",
            "ratio": f"death / birth {ratio:.3g}{times}: p = {p:.2g}",
        }
        tested = f"{parts[terms.statistic]} against {judged.n_null} {clouds}"
    conditions = {
        f"{tested}; wanted ≤ {terms.alpha:g}": p <= terms.alpha,
        f"the longest-lived {what}, or a group of like ones, lives {prominence:.2f} times as long as the next; wanted ≥ {terms.min_prominence:g}": prominence
        >= terms.min_prominence,
    }
    if len(judged.drawn):
        wanted = _ratio_threshold(judged, terms)
        said = f"its death / birth is {ratio:.3g}; wanted > {wanted:.3g}, which the longest-lived exceeds in {terms.ratio_level:.0%} of those clouds"
        conditions[said] = bool(judged.ratio[0] <= terms.ratio_level)
    reasons = [f"{text}: {'holds' if holds else 'fails'}." for text, holds in conditions.items()]
    if (n_found := int(table["significant"].sum())) > 1:
        reasons.append(
            f"{n_found} {MANY[terms.dimension]} are more than noise: {', '.join(table['class_id'][:n_found])}."
        )
    return reasons


def _occupancy(diagram: Diagram) -> tuple[float, float, float]:
    """Return the share of directions with a row, the share expected, and the largest gap in degrees."""
    if not len(diagram.h1) or not isinstance(diagram.source, Prepared):
        return float("nan"), float("nan"), float("nan")
    rows = diagram.points[diagram.point_of_row[diagram.point_of_row >= 0]]
    loop = diagram.points[diagram.loop(0)]
    middle = (loop.max(axis=0) + loop.min(axis=0)) / 2
    basis = np.linalg.svd(loop - loop.mean(axis=0), full_matrices=False)[2][:2]
    x, y = ((rows - middle) @ basis.T).T
    angles = np.sort(np.degrees(np.arctan2(y, x)) % 360)
    filled = len(np.unique((angles // (360 / BINS)).astype(np.int64))) / BINS
    gap = float(np.diff(angles, append=angles[0] + 360).max())
    return filled, float(1 - (1 - 1 / BINS) ** len(rows)), gap
