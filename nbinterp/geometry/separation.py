"""How far rows lie from others along the direction between their means, on rows held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nbinterp.geometry.rows import Mask
    from nbinterp.spaces import Floats

    Integers = NDArray[np.int64]

FOLDS = 5

N_BOOTSTRAP = 400


class Separation(NamedTuple):
    """How far picked rows lie from others along a score."""

    auc: float
    d_prime: float


def separation(scores: Floats, picked: Mask) -> Separation:
    """Return the area under the ROC curve of scores ``[row]``, ties counted as half, and d′."""
    n, m = int(picked.sum()), int((~picked).sum())
    auc = (rankdata(scores)[picked].sum() - n * (n + 1) / 2) / (n * m)
    spread = np.sqrt((scores[picked].var(ddof=1) + scores[~picked].var(ddof=1)) / 2)
    apart = scores[picked].mean() - scores[~picked].mean()
    return Separation(float(auc), float(apart / spread) if spread > 0 else float(np.sign(apart) * np.inf))


def held_out_scores(points: Floats | NDArray[np.float32], picked: Mask, folds: Integers) -> Floats:
    """Return where each row lies between the means of the others' two sides, along the line through them: ``[row]``.

    Parameters
    ----------
    points : array, ``[row, feature]``
        The rows.
    picked : mask, ``[row]``
        Which are picked.
    folds : array of int, ``[row]``
        Rows of a fold are held out together; each side must have rows in two folds.

    Returns
    -------
    array, ``[row]``
        ½ at the mean of the picked, −½ at the mean of the others.
    """
    n_folds = int(folds.max()) + 1
    cells = np.zeros((n_folds * 2, len(points)), dtype=points.dtype)
    cells[2 * folds + picked, np.arange(len(points))] = 1
    counts = cells.sum(axis=1).reshape(n_folds, 2, 1)
    sums = (cells @ points).reshape(n_folds, 2, -1)
    means = (sums.sum(axis=0) - sums) / (counts.sum(axis=0) - counts)
    across, middle = means[:, 1] - means[:, 0], means.mean(axis=1)
    lengths = np.maximum((across**2).sum(axis=1), 1e-300)
    along = points @ (across / lengths[:, None]).T - (across * middle).sum(axis=1) / lengths
    scores: Floats = along[np.arange(len(points)), folds]
    return scores


def folds_of(together: NDArray[Any], picked: Mask, rng: np.random.Generator) -> Integers:
    """Return folds ``[row]`` that keep groups together, each side in two or more of them."""
    codes = pd.factorize(together)[0]
    n_groups = int(codes.max()) + 1
    mostly = np.bincount(codes, picked, n_groups) / np.bincount(codes, minlength=n_groups)
    # dealt out by turns in the order of their share of picked rows: both sides are spread over all folds
    order = np.lexsort((rng.random(n_groups), mostly))
    fold_of = np.empty(n_groups, dtype=np.int64)
    fold_of[order] = np.arange(n_groups) % FOLDS
    return fold_of[codes]


def intervals(
    scores: Floats, picked: Mask, together: NDArray[Any], rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return 95 % intervals of AUC and d′ over groups drawn with replacement."""
    codes = pd.factorize(together)[0]
    n_groups = int(codes.max()) + 1
    order = np.argsort(scores, kind="stable")
    sorted_scores, is_picked = scores[order], picked[order]
    values = []
    for _ in range(N_BOOTSTRAP):
        weights = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[codes][order]
        up, down = weights * is_picked, weights * ~is_picked
        if up.sum() < 2 or down.sum() < 2:
            continue
        auc = (up * (np.cumsum(down) - down)).sum() / (up.sum() * down.sum())
        moments = [(float(w @ sorted_scores / w.sum()), float(w @ sorted_scores**2 / w.sum())) for w in (up, down)]
        spread = np.sqrt(max(sum(square - mean**2 for mean, square in moments) / 2, 1e-300))
        values.append((auc, (moments[0][0] - moments[1][0]) / spread))
    if not values:
        return (float("nan"), float("nan")), (float("nan"), float("nan"))
    low, high = np.quantile(values, [0.025, 0.975], axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))
