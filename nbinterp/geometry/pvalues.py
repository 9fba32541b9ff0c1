"""p-values of the classes of a diagram against those of null clouds, and how prominent each class is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbinterp.spaces import Floats

Statistic = Literal["both", "lifetime", "prominence", "ratio"]

MAX_LIKE = 4
"""At most so many classes of like lifetime are taken for one shape: a torus has two loops, a surface of genus 2 four."""

LIKE = 4.0
"""Lifetimes within this factor are of a kind."""

FLOOR = 0.1
"""What a class is compared with lives at least this share of the class's birth."""


@dataclass(frozen=True, eq=False)
class PValues:
    """p-values of the classes of one diagram, not yet corrected for looks.

    Parameters
    ----------
    single : array, ``[class]``
        Of each class, had it been the only one looked at.
    family : array, ``[class]``
        Of any class like it in the diagram: family-wise over the classes.
    n_null : int
        Draws compared with.
    ratio : array, ``[class]``
        Of each class's death / birth among those of the longest-lived classes of the null; 0 where nothing was drawn.
    p_lifetime, p_prominence : float
        Of the longest-lived class; NaN where that was not asked about.
    threshold : float
        Lifetime at the ``1 - alpha`` quantile of the null; NaN where lifetimes were not asked about.
    drawn : array, ``[draw, 3]``
        Lifetime, prominence and death / birth of the longest-lived class of each null cloud.
    """

    single: Floats
    family: Floats
    ratio: Floats
    n_null: int = 0
    p_lifetime: float = float("nan")
    p_prominence: float = float("nan")
    threshold: float = float("nan")
    drawn: Floats = field(default_factory=lambda: np.empty((0, 3)))


def prominences(pairs: Floats) -> Floats:
    """Return the prominence of each class, from births and deaths ``[class, 2]``, longest-lived first: ``[class]``.

    That of class j is the largest of lifetime k / lifetime k + 1, for k from j to j + 3 as long as class k lives at least
    a quarter as long as class j. What comes next counts as at least a tenth of the birth: a lone short-lived class, as
    small clouds have it, is not prominent because nothing is left to compare it with.
    """
    lifetimes = pairs[:, 1] - pairs[:, 0]
    drops = lifetimes / np.maximum(np.append(lifetimes[1:], 0.0), FLOOR * pairs[:, 0])
    best: Floats = drops.copy()
    for further in range(1, min(MAX_LIKE, len(lifetimes))):
        like = lifetimes[further:] * LIKE >= lifetimes[:-further]
        best[:-further] = np.where(like, np.maximum(best[:-further], drops[further:]), best[:-further])
    return best


def against_drawn(pairs: Floats, null: Sequence[Floats], statistic: Statistic, alpha: float) -> PValues:
    """Return p-values of classes ``[class, 2]`` against the classes of null clouds.

    Parameters
    ----------
    pairs : array, ``[class, 2]``
        Births and deaths, longest-lived first.
    null : sequence of array ``[class, 2]``
        The same of each null cloud.
    statistic : {"both", "lifetime", "prominence", "ratio"}
        What is compared; "both" takes the larger p of lifetime and prominence.
    alpha : float
        Level of the threshold.
    """
    of_each = [sizes(one) for one in null]
    longest = np.array([one[0] if len(one) else np.zeros(3) for one in of_each])
    every = np.concatenate(of_each)
    lifetimes, prominence, ratio = sizes(pairs).T
    most = np.array([one[:, 2].max(initial=0.0) for one in of_each])
    # classes [class], every class of the null, the best one of each null cloud; a drop belongs to a diagram as a whole
    compared = {
        "lifetime": (lifetimes, every[:, 0], longest[:, 0]),
        "prominence": (prominence, longest[:, 1], longest[:, 1]),
        "ratio": (ratio, every[:, 2], most),
    }
    asked = ["lifetime", "prominence"] if statistic == "both" else [statistic]
    single = np.max([_share(compared[one][0], compared[one][1]) for one in asked], axis=0)
    family = {one: _share(compared[one][0], compared[one][2]) for one in asked}
    p_any = {f"p_{one}": float(p[0]) if len(p) else 1.0 for one, p in family.items() if one != "ratio"}
    threshold = float(np.quantile(longest[:, 0], 1 - alpha, method="higher")) if "lifetime" in asked else float("nan")
    return PValues(
        single,
        np.maximum.accumulate(np.max(list(family.values()), axis=0)),
        _share(ratio, longest[:, 2]),
        len(null),
        **p_any,
        threshold=threshold,
        drawn=longest,
    )


def sizes(pairs: Floats) -> Floats:
    """Return lifetime, prominence and death / birth of each class ``[class, 2]``: ``[class, 3]``."""
    return np.column_stack([pairs[:, 1] - pairs[:, 0], prominences(pairs), death_over_birth(pairs)])


def death_over_birth(pairs: Floats) -> Floats:
    """Return death / birth of each class ``[class, 2]``: ``[class]``, infinite for one that is born at 0."""
    with np.errstate(divide="ignore"):
        ratio: Floats = pairs[:, 1] / pairs[:, 0]
    return ratio


def beyond(pairs: Floats, widths: Floats, alpha: float) -> PValues:
    """Return p-values of classes ``[class, 2]`` against widths ``[draw]`` of a confidence set: a class is beyond it or not."""
    # one band holds for all classes at once
    p = _share(pairs[:, 1] - pairs[:, 0], widths)
    band = float(np.quantile(widths, 1 - alpha, method="higher"))
    return PValues(p, p, np.zeros(len(p)), len(widths), float(p[0]) if len(p) else 1.0, threshold=band)


def _share(values: Floats, null: Floats) -> Floats:
    """Return for each value the share of the null, itself included, that reaches it."""
    reaching = len(null) - np.searchsorted(np.sort(null), values, side="left")
    share: Floats = (1 + reaching) / (1 + len(null))
    return share
