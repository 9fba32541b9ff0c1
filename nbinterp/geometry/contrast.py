"""What sets picked rows apart: the direction to them, how well it holds on rows held out, and against mere cuts of a shapeless cloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nbinterp.geometry.multiple import enough_draws
from nbinterp.geometry.principal import leading
from nbinterp.geometry.rows import checked
from nbinterp.geometry.selections import MIN_ROWS, TOO_FEW, by_chance, explained, mask_of
from nbinterp.geometry.separation import FOLDS, folds_of, held_out_scores, intervals, separation
from nbinterp.geometry.told import Told
from nbinterp.spaces import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.geometry.rows import Checked, Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

    Mask = NDArray[np.bool_]
    Integers = NDArray[np.int64]

Verdict = Literal["set apart", "no more than a cut", "too few rows to say"]

MOST_ROWS = 500
"""So many of the picked and of the others are compared at most; more are sampled."""

_MOST_LISTED = 5


@dataclass(frozen=True, eq=False)
class Contrast(Told):
    """The direction from the other rows to the picked ones, and how sure it is that there is more than a cut.

    Parameters
    ----------
    direction : Direction
        Mean of the picked rows minus mean of the others, in the units of the activations; with `within`, of what is left
        of the rows when the mean of each group is subtracted.
    n_picked, n_others : int
        Rows on each side.
    n_set_aside : int
        Picked rows beside these that were set aside for their giant norm.
    auc, d_prime : float
        Of rows held out, projected onto the direction that the others gave: the chance that a picked one lies further along
        than another one, and the distance of the means over the root mean square of both standard deviations.
    auc_interval, d_prime_interval : (float, float)
        95 % bootstrap over the groups that were held out together, at fixed folds.
    auc_expected, d_prime_expected : float
        The 95 % quantile of the same in clouds without any shape, of which as many rows are cut off: see `contrast`.
    p : float
        Share of those clouds whose cut has as large a d′, times `looks`.
    null : DataFrame
        One line a cloud: ``auc``, ``d_prime``.
    scores : DataFrame
        One line a row compared: ``row``, ``picked``, ``score`` (0 half-way between the means, ½ and −½ at them).
    explained : DataFrame
        One line a column of labels, the one that explains the selection best first: ``column``, ``labels`` (those of which at
        least half of the rows are picked, else the commonest among the picked), ``share`` (of the picked that have one of
        them), ``recall`` (share of such rows that are picked), ``ami`` (adjusted mutual information of column and selection:
        0 by chance, 1 where one says the other).
    held_out : str
        What was held out together, e.g. ``"template"``; ``"row"`` for single rows.
    alpha : float
        Level of the test.
    n_null, looks : int
        Clouds drawn; selections tried before, as the caller says.
    verdict : {"set apart", "no more than a cut", "too few rows to say"}
        "set apart" when p ≤ `alpha`.
    caveat, provenance : str
        What this does not show; what was done.
    """

    direction: Direction = field(repr=False)
    n_picked: int
    n_others: int
    n_set_aside: int
    auc: float
    auc_interval: tuple[float, float]
    auc_expected: float
    d_prime: float
    d_prime_interval: tuple[float, float]
    d_prime_expected: float
    p: float
    null: pd.DataFrame = field(repr=False)
    scores: pd.DataFrame = field(repr=False)
    explained: pd.DataFrame = field(repr=False)
    held_out: str
    alpha: float
    n_null: int
    looks: int
    verdict: Verdict
    caveat: str
    provenance: str

    @property
    def site(self) -> Site | None:
        """Where the rows were read."""
        return self.direction.site

    @property
    def found(self) -> bool:
        """Whether the rows are set apart, as `correct` wants it."""
        return self.verdict == "set apart"

    @property
    def statement(self) -> str:
        """What was found, in one sentence or two."""
        aside = f" ({self.n_set_aside} more set aside for their giant norm)" if self.n_set_aside else ""
        if self.verdict == TOO_FEW:
            return (
                f"{self.n_picked} rows{aside} against {self.n_others}: too few to say whether they are set apart "
                f"({MIN_ROWS} wanted on each side)."
            )
        low, high = self.auc_interval
        said = (
            f"{self.n_picked} rows{aside}, {self.verdict}: held-out AUC {self.auc:.2f} [{low:.2f}, {high:.2f}], d′ {self.d_prime:.1f}; "
            f"a cut of a cloud without shape reaches d′ {self.d_prime_expected:.1f} (p = {self.p:.2g})."
        )
        return f"{said} {label}." if (label := self.labels) else said

    @property
    def labels(self) -> str:
        """What the picked rows have in common, by the table; empty where no column says more than chance."""
        if not len(self.explained) or not self.explained["ami"].iloc[0] > 0.1:
            return ""
        best = self.explained.iloc[0]
        return f"{best['share']:.0%} of them are {_listed(best['labels'])} ({best['column']}), and {best['recall']:.0%} of such rows are picked"

    def frame(self) -> pd.DataFrame:
        """Return one line with the numbers and the verdict, in the names of the fields."""
        left_out = ("direction", "null", "scores", "explained", "caveat", "provenance")
        return pd.DataFrame([{name: value for name, value in vars(self).items() if name not in left_out}])

    def chart(self) -> alt.LayerChart:
        """Return histograms of the held-out projections of picked and other rows."""
        from nbinterp.charts.contrast import projections_chart

        numbers = (
            f"AUC {self.auc:.2f}, d′ {self.d_prime:.1f}, by a mere cut {self.d_prime_expected:.1f}, p = {self.p:.2g}"
        )
        return projections_chart(self.scores, title=f"{self.n_picked} rows: {self.verdict}", subtitle=numbers)

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        return "\n".join(
            [f"Contrast{where}: {self.verdict}", *(f"  {s}" for s in (self.statement, self.caveat, self.provenance))]
        )


def contrast(
    cloud: Rows,
    rows: ArrayLike,
    *,
    within: Column | None = None,
    groups: Column | None = None,
    n_null: int = 999,
    alpha: float = 0.01,
    looks: int = 1,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Contrast:
    """Find the direction that sets picked rows apart, and test that they are more than a piece cut off.

    Rows that someone picked because they lie together differ from the rest in that very space: an AUC of 1 on rows held out
    says nothing yet. So the same is asked of Gaussian clouds of the same covariance, in which there is no group of rows
    to be found, and of which as many rows are cut off where they lie farthest in the same direction. No other choice of as many
    rows of such a cloud has a mean further out, so that a lasso round its rim does no better. A cluster does: there is a
    gap to the others.

    Parameters
    ----------
    cloud : Cloud or array, ``[row, d_model]``
        The rows.
    rows : mask ``[row]`` or array of int
        Which are picked.
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    groups : str or sequence ``[row]``, optional
        Rows that are held out together; by default those of a prompt. Where the picked rows, or the others, are all of one
        group, single rows are held out.
    n_null : int
        Gaussian clouds; the smallest p is 1 / (n_null + 1).
    alpha : float
        Level of the test.
    looks : int
        Selections tried; p is multiplied by it.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of folds, samples, bootstrap and draws.
    progress : callable, optional
        Called with the clouds drawn and wanted, after each; what it raises stops the work.

    Raises
    ------
    ValueError, LookupError
        For rows that are none, no row or every row picked, unknown columns, and so few draws that they cannot reach
        `alpha`.

    Notes
    -----
    The mean difference is the direction of Marks and Tegmark, "The geometry of truth" (2023, arXiv 2310.06824), there better to steer
    along than that of a probe. Of a Gaussian, the coordinate along the direction is drawn as order statistics, the others given
    it. With more than 500 rows on a side as many are sampled, in the cloud as in its null.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> points = rng.normal(size=(120, 8)) + np.repeat([[0.0], [6.0]], 60, axis=0)
    >>> contrast(points, np.arange(60, 120)).verdict
    'set apart'
    """
    enough_draws(n_null, alpha, looks)
    source = checked(cloud, max_norm_ratio=max_norm_ratio)
    picked = mask_of(rows, len(source.points)) & source.kept
    others = ~picked & source.kept
    if not picked.any() or not others.any():
        raise ValueError(
            f"got {int(picked.sum())} of {int(source.kept.sum())} usable rows picked; wanted some picked and some left, to compare them "
            "(rows of a giant norm are set aside: raise max_norm_ratio to keep them)."
        )
    points = source.centred(within)
    direction = Direction(source.site, source.model, points[picked].mean(axis=0) - points[others].mean(axis=0))
    together, held_out, why = _held_together(source, groups, picked)
    n_picked, n_others = int(picked.sum()), int(others.sum())
    steps = [source.provenance]
    if within is not None:
        steps.append(f"centred within {within if isinstance(within, str) else 'groups'}")
    told: dict[str, Any] = {
        "direction": direction,
        "n_picked": n_picked,
        "n_others": n_others,
        "n_set_aside": int((mask_of(rows, len(source.points)) & ~source.kept).sum()),
        "explained": explained(source.table, picked, others),
        "alpha": alpha,
        "looks": looks,
    }
    if min(n_picked, n_others) < MIN_ROWS:
        nan = float("nan")
        return Contrast(
            **told,
            auc=nan,
            auc_interval=(nan, nan),
            auc_expected=nan,
            d_prime=nan,
            d_prime_interval=(nan, nan),
            d_prime_expected=nan,
            p=nan,
            null=pd.DataFrame(columns=["auc", "d_prime"]),
            scores=pd.DataFrame(columns=["row", "picked", "score"]),
            held_out=held_out,
            n_null=0,
            verdict=TOO_FEW,
            caveat=_caveat(why, TOO_FEW),
            provenance="; ".join([*steps, f"fewer than {MIN_ROWS} rows on a side: nothing held out"]),
        )
    rng = np.random.default_rng(seed)
    compared = np.concatenate([_some(np.flatnonzero(side), rng) for side in (picked, others)])
    is_picked = picked[compared]
    seen = _seen(points[compared], is_picked, n_picked, n_others)
    folds = folds_of(together[compared], is_picked, rng)
    scores = held_out_scores(seen.scores, is_picked, folds)
    found = separation(scores, is_picked)
    drawn = []
    for i in range(n_null):
        cut = _cut(seen, is_picked, n_picked, n_others, rng)
        drawn.append(separation(held_out_scores(cut, is_picked, rng.permutation(len(cut)) % FOLDS), is_picked))
        if progress is not None:
            progress(i + 1, n_null)
    null = pd.DataFrame(drawn, columns=["auc", "d_prime"])
    p = by_chance(found.d_prime, null["d_prime"].to_numpy(), looks)
    auc_interval, d_interval = intervals(scores, is_picked, together[compared], rng)
    verdict: Verdict = "set apart" if p <= alpha else "no more than a cut"
    sampled = f"{len(compared)} of them compared" if len(compared) < n_picked + n_others else ""
    steps += [
        sampled,
        f"direction of the means, {len(np.unique(folds))} folds by {held_out}",
        f"{n_null} Gaussian clouds of the same covariance, {n_picked} of {n_picked + n_others} rows cut off in the same direction",
    ]
    return Contrast(
        **told,
        auc=found.auc,
        auc_interval=auc_interval,
        auc_expected=float(null["auc"].quantile(0.95)),
        d_prime=found.d_prime,
        d_prime_interval=d_interval,
        d_prime_expected=float(null["d_prime"].quantile(0.95)),
        p=p,
        null=null,
        scores=pd.DataFrame({"row": compared, "picked": is_picked, "score": scores}),
        held_out=held_out,
        n_null=n_null,
        verdict=verdict,
        caveat=_caveat(why, verdict),
        provenance="; ".join(filter(None, steps)),
    )


def _held_together(source: Checked, groups: Column | None, picked: Mask) -> tuple[NDArray[Any], str, str]:
    """Return the group of each row ``[row]``, what the groups are called, and why they are not those asked for."""
    n = len(source.points)
    alone, name = np.arange(n), "row"
    if groups is None:
        if "prompt" not in source.table.columns or source.table["prompt"].nunique() == n:
            return alone, name, ""
        groups = "prompt"
    name = groups if isinstance(groups, str) else "group"
    codes = pd.factorize(source.column(groups, "groups"))[0]
    for side, what in ((picked, "picked rows"), (~picked & source.kept, "other rows")):
        if len(np.unique(codes[side])) < 2:
            return (
                alone,
                "row",
                f"All {what} are of one {name}, which could not be held out: what is so is that {name}'s as well.",
            )
    return codes, name, ""


def _some(rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return rows if len(rows) <= MOST_ROWS else np.sort(rng.choice(rows, MOST_ROWS, replace=False))


@dataclass(frozen=True, eq=False)
class _Seen:
    """Scores ``[row, component]`` of the rows compared on all their principal components, the variances, and the way across."""

    scores: Floats
    variances: Floats
    across: Floats


def _seen(points: Floats, picked: Mask, n_picked: int, n_others: int) -> _Seen:
    # weights that make of the rows compared what all rows are
    weights = np.where(picked, n_picked / picked.sum(), n_others / (~picked).sum()) / (n_picked + n_others)
    centred = points - weights @ points
    weighted = centred * np.sqrt(weights)[:, None]
    n, d = weighted.shape
    values, vectors = leading(weighted @ weighted.T if n < d else weighted.T @ weighted, min(n, d))
    kept = values > values[0] * 1e-10
    values, vectors = values[kept], vectors[:, kept]
    axes = weighted.T @ vectors / np.sqrt(values) if n < d else vectors
    scores = centred @ axes
    across = scores[picked].mean(axis=0) - scores[~picked].mean(axis=0)
    return _Seen(scores, values, across / max(float(np.linalg.norm(across)), 1e-300))


def _cut(seen: _Seen, picked: Mask, n_picked: int, n_others: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return rows of a Gaussian cloud of the same covariance: those `picked` are the farthest along the same direction."""
    # rows from the top come as order statistics: given the highest that is left, those above it are any
    limit = rng.beta(n_others, n_picked + 1)
    shares = np.where(picked, limit + (1 - limit) * rng.random(len(picked)), limit * rng.random(len(picked)))
    shared = seen.variances * seen.across
    spread = float(shared @ seen.across)
    coordinate = ndtri(np.clip(shares, 1e-12, 1 - 1e-12)) * np.sqrt(spread)
    # in single precision, which a thousand clouds of noise do not need more of
    free = rng.standard_normal(seen.scores.shape, dtype=np.float32) * np.sqrt(seen.variances).astype(np.float32)
    off = (coordinate - free @ seen.across).astype(np.float32)
    return free + np.outer(off, (shared / spread).astype(np.float32))


def _listed(labels: tuple[str, ...]) -> str:
    if len(labels) > _MOST_LISTED:
        return f"{', '.join(labels[: _MOST_LISTED - 1])} or {len(labels) - _MOST_LISTED + 1} others"
    return " or ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def _caveat(why: str, verdict: Verdict) -> str:
    steers = (
        ""
        if verdict == "set apart"
        else " It may steer the model all the same: that is for its effect beside that of random directions to say, not for this test."
    )
    return (
        "The rows were picked in these same activations; the test asks for a gap to the others, not whether the model uses the "
        f"direction: steer along it, beside its random control, to see.{steers}{' ' + why if why else ''}"
    )
