"""Frames as a chart's inline data: safe JSON, safe field names, and no more than a page can draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ROWS = 20_000
"""More points than this make a page slow."""

MAX_TEXT = 200
"""Longer texts are cut in charts."""


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame as JSON-safe records: infinite and missing numbers become None, long texts are cut.

    Raises
    ------
    ValueError
        For more rows than a page can draw.
    """
    if len(frame) > MAX_ROWS:
        raise ValueError(
            f"got {len(frame)} rows to draw; a chart holds at most {MAX_ROWS}: draw them with nb.scatter(frame, x, y), or fewer with frame.sample({MAX_ROWS})."
        )
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def inline(frame: pd.DataFrame) -> alt.InlineData:
    """Return a frame as data that travels inside the chart."""
    return alt.InlineData(values=records(frame))


def tooltips(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, list[alt.Tooltip]]:
    """Return the columns under neutral field names, and tooltips that show them under their own.

    A column of the user's may hold dots or brackets in its name, which Vega-Lite reads as paths, or be called
    ``image``, which its tooltip would load.
    """
    neutral = {column: f"shown_{i}" for i, column in enumerate(columns)}
    titles = {column: f"{column} (column)" if column.casefold() in ("image", "title") else column for column in columns}
    shown = frame[list(columns)].rename(columns=neutral)
    kinds = {
        c: "Q" if pd.api.types.is_numeric_dtype(frame[c]) and not pd.api.types.is_bool_dtype(frame[c]) else "N"
        for c in columns
    }
    return shown, [alt.Tooltip(f"{neutral[c]}:{kinds[c]}", title=titles[c]) for c in columns]


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
