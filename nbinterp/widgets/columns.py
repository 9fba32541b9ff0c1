"""Columns of a table as a page draws them: numbers as float32, labels as codes into their levels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbinterp.charts.clouds import is_continuous
from nbinterp.charts.data import MAX_TEXT
from nbinterp.widgets.protocol import Column

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MAX_LEVELS = 1000
"""More labels than this are no legend: those of fewest rows go together into one last level."""

_CYCLES = ((0.0, 2 * math.pi), (-math.pi, math.pi))


def column_message(series: pd.Series[Any], name: str, cyclic: bool = False) -> Column:
    """Return a column as the page colours, plots and counts it.

    Numbers of more than 12 values are numbers, as in nbinterp's charts; all else are labels, in their order of appearance
    or, where pandas knows an order, in that one.

    Parameters
    ----------
    series : Series, ``[row]``
        The column. Infinite numbers count as missing.
    name : str
        What it is called.
    cyclic : bool
        Whether it goes round: labels so that the last is followed by the first, numbers over ``[0, 2π]`` or ``[-π, π]`` where
        they lie in one of these, else from the smallest to the largest.

    Returns
    -------
    Column
        With at most `MAX_LEVELS` levels and one more for all other labels, each cut at 200 characters.

    Examples
    --------
    >>> message = column_message(pd.Series(["a", "b", None]), "letter")
    >>> message["kind"], message["levels"], list(message["values"])
    ('label', ['a', 'b'], [0, 1, 255])
    """
    if is_continuous(series) and not pd.api.types.is_complex_dtype(series):
        return _numbers(series, name, cyclic)
    codes, values = _factorized(series)
    codes, levels = _capped(codes, [_cut(str(value)) for value in values])
    width = next(width for width in (1, 2, 4) if len(levels) < 256**width)
    return Column(
        name=name,
        kind="label",
        cyclic=cyclic,
        levels=levels,
        low=0.0,
        high=0.0,
        width=width,
        # -1, which is missing, becomes the largest code
        values=codes.astype(f"<i{width}").tobytes(),
    )


def _numbers(series: pd.Series[Any], name: str, cyclic: bool) -> Column:
    numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    known = numbers[np.isfinite(numbers)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if cyclic:
        low, high = next(((a, b) for a, b in _CYCLES if a <= low and high <= b), (low, high))
    values = np.where(np.isfinite(numbers), numbers, np.nan).astype("<f4").tobytes()
    return Column(name=name, kind="number", cyclic=cyclic, levels=[], low=low, high=high, width=4, values=values)


def _factorized(series: pd.Series[Any]) -> tuple[NDArray[np.intp], Iterable[object]]:
    """Return the code of each row, -1 where it is missing, and what the codes stand for."""
    if isinstance(series.dtype, pd.CategoricalDtype) and series.cat.ordered:
        ordered = series.cat.remove_unused_categories().cat
        return ordered.codes.to_numpy().astype(np.intp), ordered.categories
    if series.dtype == object:
        # lists cannot be hashed, and 1, True and "1" are to stay apart only where they read differently
        series = series.map(str, na_action="ignore")
    codes, values = pd.factorize(series)
    return codes.astype(np.intp), values


def _capped(codes: NDArray[np.intp], levels: list[str]) -> tuple[NDArray[np.intp], list[str]]:
    if len(levels) <= MAX_LEVELS:
        return codes, levels
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_LEVELS])
    new = np.full(len(levels) + 1, MAX_LEVELS)
    new[kept] = np.arange(MAX_LEVELS)
    new[-1] = -1  # where the missing ones point to
    return new[codes], [*(levels[i] for i in kept), f"{len(levels) - MAX_LEVELS:,} other values"]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
