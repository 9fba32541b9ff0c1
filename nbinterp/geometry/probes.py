"""Can an attribute be read off the rows, and does it take more than a straight line? Probes with their controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from nbinterp.geometry.circular import CircleTest, circle_test
from nbinterp.geometry.crossvalidation import (
    NEURAL_EXCHANGES,
    ProbeKind,
    check_rows,
    contributions,
    cross_validated,
    exchanges,
    fold_error,
    folds_of,
    neural_probe,
    nonlinear_gain,
    p_of_few,
    task_of,
)
from nbinterp.geometry.labels import centroids
from nbinterp.geometry.preparation import Prepared, prepare
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.crossvalidation import Task
    from nbinterp.geometry.rows import Checked, Column, Rows
    from nbinterp.sites import Site

    Integers = NDArray[np.int64]

MIN_GAIN = 0.05
"""A nonlinear probe must read so much more, in units of its score, before that is called more than linear."""

CONTROLS = 5
"""Random labellings of the types that the selectivity is averaged over."""


@dataclass(frozen=True, eq=False)
class ProbeReport(Told):
    """How well an attribute can be read off the rows by probes of three kinds, and what that is worth.

    Parameters
    ----------
    attribute : str
        What was to be read.
    kind : {"classification", "regression", "cyclic"}
        Labels, scored by balanced accuracy; a number, or the (cos, sin) of a place in a cycle, scored by R². All on
        rows that the probe has not seen.
    chance : float
        Score of a probe that knows nothing: 1 / number of labels, or 0.
    scores : DataFrame
        What `frame` gives.
    gain : float
        What the better nonlinear probe reads beyond the linear one, in units of the score.
    gain_interval : (float, float)
        Its 95 % interval (for both nonlinear probes jointly).
    gain_probe : str
        Which nonlinear probe that is.
    circle : CircleTest or None
        For a cycle: whether the labels lie in a circle, by labels that were left out of the fit.
    by_fold : DataFrame
        ``probe``, ``fold``, ``score``.
    n_rows, n_labels, n_groups, n_folds, looks : int
        Rows used; different values; groups that were kept together; folds; sites or attributes looked at, as the caller
        says, by which p is multiplied.
    reasons : tuple of str
        One sentence for each finding.
    site : Site or None
        Where the rows come from.
    provenance : str
        What was done, for people to read.
    """

    attribute: str
    kind: Literal["classification", "regression", "cyclic"]
    chance: float
    scores: pd.DataFrame = field(repr=False)
    gain: float
    gain_interval: tuple[float, float]
    gain_probe: str
    circle: CircleTest | None
    by_fold: pd.DataFrame = field(repr=False)
    n_rows: int
    n_labels: int
    n_groups: int
    n_folds: int
    looks: int
    reasons: tuple[str, ...]
    site: Site | None
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line a probe: ``probe``, ``score``, ``error``, ``control``, ``selectivity``, ``p``.

        ``error`` is the standard error over folds, with Nadeau & Bengio's (2003) allowance for training rows that folds
        share. ``control`` is the score for random labels of the types and ``selectivity`` what the attribute has beyond
        it (Hewitt & Liang 2019, arXiv 1909.03368); NaN without types.
        """
        return self.scores.copy()

    def chart(self) -> alt.LayerChart:
        """Return a chart of the scores, their errors, their controls and chance."""
        from nbinterp.charts.probes import probe_chart

        return probe_chart(self.scores, chance=self.chance, measure=_measure(self.kind), title=self.attribute)

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        what = {"classification": f"{self.n_labels} labels", "regression": "a number", "cyclic": "a cycle"}[self.kind]
        return "\n".join(
            [
                f"ProbeReport of {self.attribute}{where}, {what}, {self.n_rows} rows in {self.n_folds} folds",
                *(f"  {text}" for text in (*self.reasons, self.provenance)),
            ]
        )


def probe(
    cloud: Rows | Prepared,
    by: Column,
    *,
    within: Column | None = None,
    groups: Column | None = None,
    types: Column | None = None,
    kind: ProbeKind = "auto",
    order: Sequence[Any] | None = None,
    n_folds: int = 5,
    n_components: int | None = 50,
    n_permutations: int = 199,
    neural: bool = True,
    looks: int = 1,
    max_rows: int = 5000,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> ProbeReport:
    """Read an attribute off the rows with a linear, a kernel and a small neural probe, and say what that is worth.

    Parameters
    ----------
    cloud : Cloud or array ``[row, n_features]``, or Prepared
        The rows; of a Prepared those before projection, since the projection belongs into each fold.
    by : str or sequence ``[row]``
        The attribute.
    within : str or sequence ``[row]``, optional
        Groups whose own mean is subtracted, e.g. ``"template"``.
    groups : str or sequence ``[row]``, optional
        Rows that must stay in the same fold; by default `within`, else the rows of one prompt where a prompt has several.
    types : str or sequence ``[row]``, optional
        Which rows are the same word, for the control task; by default the ``token`` of the table, where tokens recur.
    kind : {"auto", "classification", "regression", "cyclic"}
        "auto" reads more than 12 different numbers as a number and all else as labels. "cyclic" reads the place in a
        cycle of labels; "regression" with `order` reads the place in it.
    order : sequence, optional
        The labels in their order; by default that of first appearance.
    n_folds : int
        Folds of the cross-validation.
    n_components : int or None
        Principal components, found in each training fold, that all probes see; None for all. What lies outside them is
        not looked at.
    n_permutations : int
        Exchanges of labels, for p; within groups where these hold several labels, of whole groups where they hold one.
    neural : bool
        Whether to train the neural probe too, 20 times in each fold, which takes longest.
    looks : int
        How many sites or attributes you looked at to find this one.
    max_rows : int
        More rows are sampled.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of folds, exchanges and weights.

    Raises
    ------
    ValueError, LookupError
        For a single label, a label in one group only, fewer groups than folds, values that are no numbers or are missing,
        rows that do not differ.

    Notes
    -----
    The linear probe is ridge regression; for labels on their indicators, with the nearest class mean in the fitted space
    (flexible discriminant analysis, Hastie, Tibshirani & Buja 1994): with linear features this is linear discriminant
    analysis. The kernel probe is the same on features of a radial kernel, the penalty and width chosen by leaving one
    row out in closed form. Both are so refitted for every exchange of labels. The neural probe (32 hidden units) is trained
    anew for the first 19 of them, and its p is that of Student's t for one more draw from their normal distribution, no
    smaller than 1 / (1 + n_permutations). Its predictions must not be held against exchanged labels instead: what folds learn
    from each other's rows would be lost, and p wrong to either side.
    """
    prepared = prepare(cloud, None, within=within, max_norm_ratio=max_norm_ratio, seed=seed)
    rng = np.random.default_rng(seed)
    values = prepared.column(by, "by")
    chosen = np.arange(len(values))
    if len(values) > max_rows:
        chosen = np.sort(rng.choice(len(values), max_rows, replace=False))
    rows, values = prepared.rows[chosen], values[chosen]
    check_rows(rows)
    name = by if isinstance(by, str) else "label"
    task = task_of(values, kind, order, name)
    used = np.flatnonzero(prepared.source.kept)[chosen]
    group_of, group_name = groups_of(prepared.source, within, groups, used)
    folds = folds_of(task, group_of, n_folds, seed)
    if looks < 1 or n_permutations < 19:
        raise ValueError(
            f"got looks={looks}, n_permutations={n_permutations}; wanted at least 1 look and 19 permutations."
        )
    orders = exchanges(task, group_of, n_permutations, rng)
    marks = cross_validated(rows, task, folds, orders, n_components, seed)
    type_of = _types(prepared, types, chosen)
    controls: dict[str, float] = {}
    drawn = None
    if type_of is not None:
        codes = pd.factorize(type_of)[0]
        # each type takes the label of a random row
        drawn = rng.integers(len(rows), size=(CONTROLS, codes.max() + 1))[:, codes]
        for which, found in cross_validated(rows, task, folds, drawn, n_components, seed).items():
            controls[which] = float(contributions(found, task, folds, drawn).mean())
    held = {which: contributions(found, task, folds, orders) for which, found in marks.items()}
    if neural:
        few = orders[: 1 + NEURAL_EXCHANGES]
        held["neural"], controls_neural = neural_probe(rows, task, folds, few, drawn, n_components, seed)
        controls |= controls_neural
    lines, by_fold = [], []
    for which, parts in held.items():
        scores = parts.mean(axis=0)
        if len(scores) == len(orders):
            p = (1 + int((scores[1:] >= scores[0] - 1e-12).sum())) / len(scores)
        else:
            p = p_of_few(float(scores[0]), scores[1:], 1 / len(orders))
        of_fold = [float(parts[folds == fold, 0].mean()) for fold in range(n_folds)]
        control = controls.get(which, np.nan)
        lines.append((which, scores[0], fold_error(of_fold), control, scores[0] - control, min(1.0, looks * p)))
        by_fold += [(which, fold, score) for fold, score in enumerate(of_fold)]
    frame = pd.DataFrame(lines, columns=["probe", "score", "error", "control", "selectivity", "p"])
    folded = pd.DataFrame(by_fold, columns=["probe", "fold", "score"])
    gain_probe, gain, interval = nonlinear_gain({which: parts[:, 0] for which, parts in held.items()}, folds)
    circle = None
    if task.kind == "cyclic":
        labels = [task.labels[code] for code in task.codes]
        means = centroids(rows, labels, None if within is None else group_of, order=task.labels, max_norm_ratio=None)
        circle = circle_test(means, looks=looks)
    chance = 1 / len(task.labels) if task.kind == "classification" else 0.0
    projection = (
        "all features" if n_components is None else f"{n_components} principal components of each training fold"
    )
    sampled = f"; {len(rows)} rows drawn at random" if len(rows) < len(prepared.rows) else ""
    return ProbeReport(
        attribute=name,
        kind=task.kind,
        chance=chance,
        scores=frame,
        gain=gain,
        gain_interval=interval,
        gain_probe=gain_probe,
        circle=circle,
        by_fold=folded,
        n_rows=len(rows),
        n_labels=len(task.labels),
        n_groups=len(set(group_of)),
        n_folds=n_folds,
        looks=looks,
        reasons=_reasons(frame, task, chance, gain, interval, gain_probe, circle),
        site=prepared.site,
        provenance=f"{prepared.source.provenance}"
        + ("" if within is None else f"; centred within {within if isinstance(within, str) else 'groups'}")
        + f"{sampled}; folds {group_name}; {projection}",
    )


def groups_of(
    source: Checked, within: Column | None, groups: Column | None, rows: Integers
) -> tuple[NDArray[Any], str]:
    """Return the group of some rows ``[n]``, which no fold may divide, and in words what the groups are."""
    if groups is not None:
        return source.column(groups, "groups")[rows], f"by {groups if isinstance(groups, str) else 'groups'}"
    if within is not None:
        return source.column(within, "within")[rows], f"by {within if isinstance(within, str) else 'groups'}"
    if "prompt" in source.table.columns:
        prompts = source.column("prompt", "groups")[rows]
        if len(set(prompts)) < len(prompts):
            return prompts, "by prompt"
    return np.arange(len(rows)), "of rows"


def _types(prepared: Prepared, types: Column | None, chosen: Integers) -> NDArray[Any] | None:
    if types is not None:
        return prepared.column(types, "types")[chosen]
    if "token" not in prepared.table.columns:
        return None
    tokens = prepared.column("token", "types")[chosen]
    return tokens if 1 < len(set(tokens)) < len(tokens) else None


def _measure(kind: str) -> str:
    return "balanced accuracy" if kind == "classification" else "R²"


def _reasons(
    frame: pd.DataFrame,
    task: Task,
    chance: float,
    gain: float,
    interval: tuple[float, float],
    gain_probe: str,
    circle: CircleTest | None,
) -> tuple[str, ...]:
    measure = _measure(task.kind)
    reasons = []
    for line in frame.to_dict("records"):
        read = f"{measure} {line['score']:.2f} ± {line['error']:.2f} on unseen rows (chance {chance:.2f}), p = {line['p']:.2g}"
        control = f", {line['control']:.2f} for random labels of the types" if np.isfinite(line["control"]) else ""
        reasons.append(f"{line['probe']} probe: {read}{control}")
    if frame["control"].isna().all():
        reasons.append("no control task: no types were given (types=…: which rows are the same word)")
    elif float(frame["selectivity"].iloc[0]) < MIN_GAIN:
        reasons.append(
            "random labels are read as well: the linear probe may know the words by heart, and not the attribute"
        )
    sure = interval[0] > 0
    more = "more than a linear encoding" if sure and gain >= MIN_GAIN else "no sign of more than a linear encoding"
    more = f"too little to matter (< {MIN_GAIN})" if sure and gain < MIN_GAIN else more
    reasons.append(
        f"the {gain_probe} probe reads {gain:+.2f} beyond the linear one (95 % interval {interval[0]:+.2f} to {interval[1]:+.2f}): {more}"
    )
    if circle is not None:
        reasons.append(
            f"with labels left out of the fit, R² {circle.r2_circle:.2f} of a circle and {circle.r2_line:.2f} of a line: {circle.verdict}"
        )
    return tuple(f"{reason}." for reason in reasons)
