"""Rows that somebody picked: which they are, when they are too few, how rare their like is, and which labels they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_mutual_info_score

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nbinterp.geometry.rows import Mask
    from nbinterp.spaces import Floats

MIN_ROWS = 10
"""With fewer rows, picked or left, no verdict is given."""

TOO_FEW: Final = "too few rows to say"
"""The verdict then."""

MOST_LABELS = 200
"""A column of more labels explains no selection."""

_STANDARD = ("text", "prompt")
_MOST_EXPLAINED = 20_000


def by_chance(value: float, null: Floats, looks: int) -> float:
    """Return the share of the draws of a null ``[draw]``, the value itself included, that reach it, times `looks`: at most 1."""
    return min(1.0, looks * (1 + int((null >= value).sum())) / (1 + len(null)))


def mask_of(rows: ArrayLike, n: int) -> Mask:
    """Return which of `n` rows are meant by a mask or by indices; ValueError for others."""
    given = np.atleast_1d(np.asarray(rows))
    if given.dtype == bool:
        if given.shape != (n,):
            raise ValueError(f"got a mask of shape {list(given.shape)} for {n} rows; wanted one entry a row.")
        return given.copy()
    if given.size and (given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= n):
        raise ValueError(f"got picked rows {given[:5].tolist()}…; wanted a mask, or indices from 0 to {n - 1}.")
    mask = np.zeros(n, dtype=bool)
    mask[given.astype(np.intp)] = True
    return mask


def explained(table: pd.DataFrame, picked: Mask, others: Mask) -> pd.DataFrame:
    """Return how far each column of labels says which rows are picked; see `Contrast`.

    Parameters
    ----------
    table : DataFrame
        One line a row.
    picked, others : mask, ``[row]``
        The two sides.
    """
    lines = []
    used = np.flatnonzero(picked | others)
    if len(used) > _MOST_EXPLAINED:
        used = np.sort(np.random.default_rng(0).choice(used, _MOST_EXPLAINED, replace=False))
    for name in table.columns:
        codes, labels = pd.factorize(table[name])
        if name in _STANDARD or not 2 <= len(labels) <= min(MOST_LABELS, len(table) // 2):
            continue
        counts = np.bincount(codes[picked & (codes >= 0)], minlength=len(labels))
        if not counts.sum():
            continue
        of_all = np.bincount(codes[(picked | others) & (codes >= 0)], minlength=len(labels))
        mostly = np.flatnonzero((2 * counts >= of_all) & (of_all > 0))
        best = mostly if len(mostly) else np.array([counts.argmax()])
        lines.append(
            (
                str(name),
                tuple(str(labels[i]) for i in best),
                float(counts[best].sum() / picked.sum()),
                float(counts[best].sum() / of_all[best].sum()),
                float(adjusted_mutual_info_score(codes[used], picked[used])),
            )
        )
    frame = pd.DataFrame(lines, columns=["column", "labels", "share", "recall", "ami"])
    return frame.sort_values("ami", ascending=False, kind="stable", ignore_index=True)
