"""Corrections for having looked many times: layers, sites, dimensions, subsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike

    from nbinterp.spaces import Floats

Correction = Literal["bonferroni", "holm", "benjamini-hochberg", "benjamini-yekutieli"]


class Tested(Protocol):
    """What `correct` asks of the result of a test: `Significance` and `CircleTest` have it."""

    @property
    def p(self) -> float:
        """The p-value; NaN where no test was possible."""

    @property
    def looks(self) -> int:
        """What p was multiplied by."""

    @property
    def found(self) -> bool:
        """Whether every condition held, p ≤ alpha and others, before the correction."""


def adjusted(p: ArrayLike, method: Correction = "holm") -> Floats:
    """Return p-values adjusted for one another: those that are ≤ α are rejected at level α.

    Parameters
    ----------
    p : array, ``[test]``
        p-values between 0 and 1; NaN where no test was possible, which then counts as no look.
    method : {"holm", "bonferroni", "benjamini-hochberg", "benjamini-yekutieli"}
        "bonferroni" (p times the number of tests) and "holm" (1979, Scandinavian Journal of Statistics 6: never
        weaker) hold the chance of *any* false rejection, whatever the dependence. "benjamini-hochberg" (1995) holds
        the expected share of false ones among the rejected, for tests that are independent or positively dependent, as
        layers of one model are; "benjamini-yekutieli" (2001) the same for any dependence.

    Returns
    -------
    array, ``[test]``

    Raises
    ------
    ValueError
        For an unknown method, or p-values that are none.
    """
    if method not in get_args(Correction):
        raise ValueError(f"got method={method!r}; choose from {', '.join(get_args(Correction))}.")
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1)).any():
        raise ValueError("got p-values outside 0 to 1, or not in one row; wanted one p-value a test.")
    made = np.isfinite(p)
    result = np.full(len(p), np.nan)
    if made.any():
        result[made] = _adjusted(p[made], method)
    return result


def correct(
    tests: Mapping[str, Tested | float] | Iterable[Tested | float],
    method: Correction = "holm",
    *,
    alpha: float = 0.01,
) -> pd.DataFrame:
    """Correct tests for one another: the number of looks is the number of tests given, so give all that were made.

    Parameters
    ----------
    tests : mapping of name to result, or results
        What `significance` and `circle_test` return (made with ``looks=1``), or bare p-values.
    method : str
        As for `adjusted`.
    alpha : float
        Level: of any false discovery for "holm" and "bonferroni", of their expected share for the others.

    Returns
    -------
    DataFrame
        One line a test, in the order given: ``name``, ``p``, ``p_adjusted``, ``remains`` (whether it is still a finding:
        p_adjusted ≤ `alpha`, and the test's other conditions held).

    Raises
    ------
    ValueError
        For no tests, tests that were multiplied by looks already, and an alpha that is none.

    Examples
    --------
    >>> correct({"layer 3": 0.001, "layer 9": 0.02, "layer 12": 0.4}, alpha=0.05)["remains"].tolist()
    [True, True, False]
    """
    if not 0 < alpha < 1:
        raise ValueError(f"got alpha={alpha}; wanted a number between 0 and 1, such as 0.01.")
    named = dict(tests) if isinstance(tests, Mapping) else {str(i): test for i, test in enumerate(tests)}
    if not named:
        raise ValueError("got no tests to correct; give all that were made.")
    p, found = [], []
    for name, test in named.items():
        if isinstance(test, (int, float, np.floating)):
            p.append(float(test))
            found.append(True)
            continue
        if test.looks != 1:
            raise ValueError(
                f"got a test ({name}) whose p was multiplied by {test.looks} looks already; wanted looks=1: they are counted here."
            )
        p.append(test.p)
        found.append(test.found)
    corrected = adjusted(p, method)
    return pd.DataFrame(
        {"name": list(named), "p": p, "p_adjusted": corrected, "remains": (corrected <= alpha) & np.array(found)}
    )


def enough_draws(n_draws: int | None, alpha: float, looks: int = 1, *, name: str = "n_null") -> None:
    """Refuse a level that is none, and draws so few that no p can reach it after a correction for looks.

    Parameters
    ----------
    n_draws : int or None
        Draws from the null, of which the smallest p is 1 / (n_draws + 1); None where nothing is drawn.
    alpha : float
        Level of the test.
    looks : int
        What p is multiplied by.
    name : str
        What the caller calls its draws.

    Raises
    ------
    ValueError
        In one sentence that says how many are wanted.
    """
    if not 0 < alpha < 1 or looks < 1:
        raise ValueError(f"got alpha={alpha}, looks={looks}; wanted alpha between 0 and 1 and at least 1 look.")
    if n_draws is not None and looks / (n_draws + 1) > alpha:
        raise ValueError(
            f"got {name}={n_draws}, which cannot reach p ≤ {alpha:g} after {looks} looks; "
            f"wanted at least {int(np.ceil(looks / alpha)) - 1}."
        )


def _adjusted(p: Floats, method: Correction) -> Floats:
    if method == "bonferroni":
        return np.minimum(1.0, len(p) * p)
    if method == "holm":
        rank = np.argsort(p, kind="stable")
        stepped = np.maximum.accumulate(p[rank] * np.arange(len(p), 0, -1))
        result = np.empty_like(p)
        result[rank] = np.minimum(stepped, 1.0)
        return result
    return np.asarray(false_discovery_control(p, method="bh" if method == "benjamini-hochberg" else "by"))
