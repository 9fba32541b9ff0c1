"""Probes read rows that they have not seen: tasks, folds, exchanges of labels, and the probes themselves."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist
from scipy.stats import t
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neural_network import MLPClassifier, MLPRegressor

from nbinterp.geometry.labels import ordered
from nbinterp.geometry.preparation import Preparation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.spaces import Floats

    Integers = NDArray[np.int64]

ProbeKind = Literal["auto", "classification", "regression", "cyclic"]

MANY_VALUES = 12
"""A column of more different numbers than this is read as a number, of fewer as labels."""

KERNEL_LANDMARKS = 128
"""Rows that the radial kernel is spanned by (Nyström)."""

WIDTHS = (0.5, 2.0)
"""Widths of that kernel that are tried, 1 / (2 width²) in units of 1 / median squared distance."""

PENALTIES = 10.0 ** np.arange(-2, 3)
"""Ridge penalties that are tried, in units of the features' mean squared singular value."""

NEURAL_EXCHANGES = 19
"""Exchanges of labels for which the neural probe is trained anew: each takes as long as the probe itself."""

_AT_ONCE = 3_000_000
"""Numbers that the targets of so many exchanges as go together may have, for the memory's sake."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a probe is to read: ``targets [row, q]``, ``codes [row]`` of the labels, and the labels themselves."""

    kind: Literal["classification", "regression", "cyclic"]
    targets: Floats
    codes: Integers
    labels: tuple[Any, ...]


def task_of(values: NDArray[Any], kind: ProbeKind, order: Sequence[Any] | None, name: str) -> Task:
    """Return what is to be read from ``values [row]``; ValueError where there is nothing to read."""
    if kind not in get_args(ProbeKind):
        raise ValueError(f"got kind={kind!r}; choose from {', '.join(get_args(ProbeKind))}.")
    numeric = all(_is_number(v) for v in values)
    if kind == "auto":
        kind = "regression" if numeric and order is None and len(set(values)) > MANY_VALUES else "classification"
    if kind == "regression" and order is None and numeric:
        order = sorted(set(values))
        targets = values.astype(np.float64)[:, None]
        if not np.isfinite(targets).all():
            raise ValueError(f"got infinite numbers in {name}; wanted finite ones: drop those rows first.")
    elif kind == "regression" and order is None:
        raise ValueError(
            f"got {name} with values that are no numbers, such as {next(v for v in values if not _is_number(v))!r}, "
            "for kind='regression'; pass their order, or choose kind='classification'."
        )
    else:
        targets = np.empty((0, 0))
    labels = ordered(values, order)
    if len(labels) < 2:
        raise ValueError(f"got {name} with the single value {labels[0]!r}; wanted at least 2 to tell apart.")
    at = {label: i for i, label in enumerate(labels)}
    codes = np.array([at[v] for v in values], dtype=np.int64)
    n = len(labels)
    if kind == "cyclic":
        if n < 3:
            raise ValueError(f"got {n} labels in {name}; wanted at least 3 for a cycle.")
        targets = np.column_stack([np.cos(2 * np.pi * codes / n), np.sin(2 * np.pi * codes / n)])
    elif kind == "classification":
        # orthonormal contrasts: the indicators without their constant sum
        targets = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:][codes]
    elif not targets.size:
        targets = codes.astype(np.float64)[:, None]
    return Task(kind, targets, codes, labels)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def folds_of(task: Task, groups: NDArray[Any], n_folds: int, seed: int) -> Integers:
    """Return the fold of each row, ``[row]``: no group in two folds."""
    codes = pd.factorize(groups)[0]
    n_groups = int(codes.max()) + 1
    if n_folds < 2 or n_groups < n_folds:
        raise ValueError(
            f"got {n_groups} groups for n_folds={n_folds}; wanted at least as many groups as folds, and 2 folds: "
            "lower n_folds, or collect more groups."
        )
    grouped = n_groups < len(groups)
    if task.kind == "classification":
        seen = pd.DataFrame({"label": task.codes, "group": codes}).groupby("label")["group"].nunique()
        if (alone := seen[seen < 2]).size:
            raise ValueError(
                f"got the label {task.labels[int(alone.index[0])]!r} in a single {'group' if grouped else 'row'}; wanted each "
                "label in 2 or more, to learn from one and be tested on another: drop it or collect more."
            )
    # folds must not know the labels: stratified ones fit the given labels better than exchanged ones, which makes p too small
    splitter = (GroupKFold if grouped else KFold)(n_folds, shuffle=True, random_state=seed)
    folds = np.empty(len(groups), dtype=np.int64)
    for i, (_, test) in enumerate(splitter.split(codes, groups=codes if grouped else None)):
        folds[test] = i
    return folds


def exchanges(task: Task, groups: NDArray[Any], n: int, rng: np.random.Generator) -> Integers:
    """Return exchanges of labels, ``[1 + n, row]``: the row whose label each row takes; the first changes nothing."""
    codes = pd.factorize(groups)[0]
    several = pd.Series(task.codes).groupby(codes).transform("nunique").to_numpy() > 1
    given = np.arange(len(codes))
    orders = [given]
    firsts = np.unique(codes, return_index=True)[1]
    for _ in range(n):
        if several.mean() >= 0.5:
            # sorting random numbers within each group
            shuffled = np.lexsort((rng.random(len(codes)), codes))
            order = np.empty_like(given)
            order[np.argsort(codes, kind="stable")] = shuffled
        elif several.any():
            order = rng.permutation(given)
        else:
            order = firsts[rng.permutation(len(firsts))][codes]
        orders.append(order)
    return np.array(orders)


def cross_validated(
    rows: Floats, task: Task, folds: Integers, orders: Integers, n_components: int | None, seed: int
) -> dict[str, Floats]:
    """Return for the linear and the kernel probe how each row fares out of its fold, ``[row, order]``.

    That is 1 where the label is right and 0 where it is not, or the squared error of a number. Principal components and
    kernels are found once for each fold, and serve all exchanges of labels.
    """
    n_orders, q = len(orders), task.targets.shape[1]
    marks = {which: np.empty((len(rows), n_orders)) for which in ("linear", "kernel")}
    step = max(1, _AT_ONCE // (len(rows) * q))
    for train, test, seen, unseen in _projected_folds(rows, folds, n_components):
        designs = {
            "linear": [_Design.of(seen, unseen)],
            "kernel": [_Design.of(*features) for features in _radial(seen, unseen, seed)],
        }
        for start in range(0, n_orders, step):
            some = orders[start : start + step]
            values = task.targets[some[:, train]].transpose(1, 0, 2)
            for which, candidates in designs.items():
                left_out, predicted = _best(candidates, values)
                if task.kind == "classification":
                    guesses = _nearest(left_out, predicted, task.codes[some[:, train]].T, len(task.labels))
                    found = (guesses == task.codes[some[:, test]].T).astype(np.float64)
                else:
                    found = ((predicted - task.targets[some[:, test]].transpose(1, 0, 2)) ** 2).sum(axis=2)
                marks[which][test, start : start + step] = found
    return marks


def contributions(marks: Floats, task: Task, folds: Integers, orders: Integers) -> Floats:
    """Return what each row adds to the score, ``[row, order]``: the mean over rows is balanced accuracy or R²."""
    n = len(marks)
    shares = np.empty_like(marks)
    for i, order in enumerate(orders[: marks.shape[1]]):
        if task.kind == "classification":
            codes = task.codes[order]
            counts = np.bincount(codes, minlength=len(task.labels))
            shares[:, i] = marks[:, i] * n / (counts[codes] * (counts > 0).sum())
        else:
            targets = task.targets[order]
            total = sum(
                float(((targets[folds == fold] - targets[folds != fold].mean(axis=0)) ** 2).sum())
                for fold in range(folds.max() + 1)
            )
            shares[:, i] = 1 - n * marks[:, i] / total
    return shares


def nonlinear_gain(
    held: dict[str, Floats], folds: Integers, level: float = 0.95
) -> tuple[str, float, tuple[float, float]]:
    """Return the nonlinear probe that surely gains most over the linear one, what it gains, and the interval of that.

    ``held`` has what each row adds to each probe's score, ``[row]``; the interval holds for all nonlinear probes jointly.
    """
    others = [which for which in held if which != "linear"]
    n_folds = int(folds.max()) + 1
    factor = t.ppf(1 - (1 - level) / (2 * len(others)), n_folds - 1)
    gains = {}
    for which in others:
        difference = held[which] - held["linear"]
        margin = factor * fold_error([float(difference[folds == fold].mean()) for fold in range(n_folds)])
        gains[which] = (float(difference.mean()), float(margin))
    best = max(gains, key=lambda which: gains[which][0] - gains[which][1])
    gain, margin = gains[best]
    return best, gain, (gain - margin, gain + margin)


def check_rows(rows: Floats) -> None:
    """Raise ValueError for ``rows [row, n_features]`` among which there are no differences."""
    if not np.ptp(rows, axis=0).max() > 0:
        raise ValueError(
            "got rows that are all equal; wanted rows that differ in some feature: check what was collected."
        )


@dataclass(frozen=True, eq=False)
class _Design:
    """Features of training rows as ``u [train, r]`` and their ``squares [r]``, and the test rows in the same basis."""

    u: Floats
    squares: Floats
    test: Floats

    @classmethod
    def of(cls, seen: Floats, unseen: Floats) -> _Design:
        mean = seen.mean(axis=0)
        u, s, vt = np.linalg.svd(seen - mean, full_matrices=False)
        keep = s > 1e-9 * s[0]
        return cls(u[:, keep], s[keep] ** 2, (unseen - mean) @ vt[keep].T / s[keep])

    def fits(self, values: Floats) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Yield for each penalty the errors ``[order]``, the residuals of left-out rows, and the fits of test rows."""
        n, n_orders, q = values.shape
        mean = values.mean(axis=0)
        flat = (values - mean).reshape(n, -1)
        weights = self.u.T @ flat
        for penalty in PENALTIES * self.squares.mean():
            shrunk = self.squares / (self.squares + penalty)
            # the residual of a row left out of the fit, in closed form
            leverage = self.u**2 @ shrunk + 1 / n
            residuals = flat - (self.u * shrunk) @ weights
            residuals /= np.maximum(1 - leverage, 1e-6)[:, None]
            residuals = residuals.reshape(n, n_orders, q)
            predicted = ((self.test * shrunk) @ weights).reshape(-1, n_orders, q) + mean
            yield np.einsum("npq,npq->p", residuals, residuals), residuals, predicted


def _best(designs: list[_Design], values: Floats) -> tuple[Floats, Floats]:
    """Return the fits of left-out and of test rows, ``[row, order, q]``, of the design and penalty with the least error."""
    least = np.full(values.shape[1], np.inf)
    left_out, predicted = np.empty_like(values), np.empty((len(designs[0].test), *values.shape[1:]))
    for design in designs:
        for errors, residuals, tested in design.fits(values):
            better = errors < least
            if better.any():
                least[better] = errors[better]
                left_out[:, better] = values[:, better] - residuals[:, better]
                predicted[:, better] = tested[:, better]
    return left_out, predicted


def _nearest(left_out: Floats, predicted: Floats, codes: Integers, n_labels: int) -> Integers:
    """Return the label whose mean in the fitted space is nearest, ``[test, order]``.

    Distances are Mahalanobis', from the spread of left-out fits within labels: fits of rows that were learnt from are
    nearer to their labels than fits of new rows will be.
    """
    fitted = left_out.transpose(1, 0, 2)
    members = (codes.T[:, None, :] == np.arange(n_labels)[:, None]).astype(np.float64)
    counts = members.sum(axis=2)
    means = members @ fitted / np.maximum(counts, 1)[..., None]
    q = fitted.shape[2]
    within = fitted.transpose(0, 2, 1) @ fitted - means.transpose(0, 2, 1) @ (means * counts[..., None])
    scale = np.trace(within, axis1=1, axis2=2)[:, None, None] / q
    inverse = np.linalg.inv(within + (1e-3 * scale + 1e-12) * np.eye(q))
    directions = means @ inverse
    # a label without training rows is never guessed
    offsets = np.where(counts > 0, (directions * means).sum(axis=2), np.inf)
    distances = offsets[:, None] - 2 * predicted.transpose(1, 0, 2) @ directions.transpose(0, 2, 1)
    guesses: Integers = distances.argmin(axis=2).T
    return guesses


def _projected_folds(
    rows: Floats, folds: Integers, n_components: int | None
) -> Iterator[tuple[Integers, Integers, Floats, Floats]]:
    """Yield training and test rows of each fold, and their scores on the components of the training rows."""
    for fold in range(folds.max() + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        most = min(len(train) - 1, rows.shape[1])
        projection = Preparation(most if n_components is None else min(n_components, most)).fit(rows[train])
        seen, unseen = projection.transform(rows[train]), projection.transform(rows[test])
        size = np.sqrt((seen**2).mean()) or 1.0
        yield train, test, seen / size, unseen / size


def _radial(seen: Floats, unseen: Floats, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield features of a radial kernel, of each width: those of a sample of the training rows (Nyström)."""
    sample = seen[np.random.default_rng(seed).permutation(len(seen))[:KERNEL_LANDMARKS]]
    usual = float(np.median(pdist(sample, "sqeuclidean"))) or 1.0
    near = [cdist(some, sample, "sqeuclidean") / usual for some in (sample, seen, unseen)]
    for width in WIDTHS:
        kernels = [np.exp(-squares / (2 * width**2)) for squares in near]
        values, vectors = np.linalg.eigh(kernels[0])
        keep = values > 1e-6 * values[-1]
        whiten = vectors[:, keep] / np.sqrt(values[keep])
        yield kernels[1] @ whiten, kernels[2] @ whiten


def neural_probe(
    rows: Floats,
    task: Task,
    folds: Integers,
    orders: Integers,
    drawn: Integers | None,
    n_components: int | None,
    seed: int,
) -> tuple[Floats, dict[str, float]]:
    """Return what each row adds to the neural probe's score ``[row, order]``, and its score for random labels of types.

    The probe is trained anew for each order, in each fold.
    """
    given = orders if drawn is None else np.concatenate([orders, drawn[:1]])
    marks = np.empty((len(rows), len(given)))
    for train, test, seen, unseen in _projected_folds(rows, folds, n_components):
        for i, order in enumerate(given):
            marks[test, i] = _neural_marks(task, order, train, test, seen, unseen, seed)
    controls = {}
    if drawn is not None:
        controls["neural"] = float(contributions(marks[:, -1:], task, folds, drawn[:1]).mean())
    return contributions(marks[:, : len(orders)], task, folds, orders), controls


def _neural_marks(
    task: Task, order: Integers, train: Integers, test: Integers, seen: Floats, unseen: Floats, seed: int
) -> Floats:
    """Return how each test row fares, ``[test]``, when the probe learns from the training rows."""
    given = {"hidden_layer_sizes": (32,), "solver": "lbfgs", "alpha": 1.0, "max_iter": 150, "random_state": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if task.kind == "classification":
            guesses = MLPClassifier(**given).fit(seen, task.codes[order[train]]).predict(unseen)
            right: Floats = (guesses == task.codes[order[test]]).astype(np.float64)
            return right
        targets = task.targets[order[train]]
        mean, size = targets.mean(axis=0), targets.std() or 1.0
        fitted = MLPRegressor(**given).fit(seen, ((targets - mean) / size).squeeze()).predict(unseen)
    wrong: Floats = ((fitted.reshape(len(test), -1) * size + mean - task.targets[order[test]]) ** 2).sum(axis=1)
    return wrong


def p_of_few(score: float, exchanged: Floats, least: float) -> float:
    """Return p of a score against those of a few exchanges of labels, ``[order]``, as if all came from one normal distribution.

    The score is one more draw: its distance from their mean, in their standard deviations × √(1 + 1/n), follows Student's t.
    A Monte Carlo p could not be below 1 / (n + 1). `least` is the smallest that is said.
    """
    n = len(exchanged)
    spread = float(exchanged.std(ddof=1)) * np.sqrt(1 + 1 / n)
    distance = score - float(exchanged.mean())
    tail = float(t.sf(distance / spread, n - 1)) if spread > 0 else float(distance <= 0)
    return max(tail, least)


def fold_error(of_fold: list[float]) -> float:
    """Return the standard error of a mean over folds, with Nadeau & Bengio's (2003) allowance for shared training rows."""
    n = len(of_fold)
    return float(np.sqrt((1 / n + 1 / (n - 1)) * np.var(of_fold, ddof=1)))
