"""Sweeps as pictures: a line over one axis, a heat map over two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

if TYPE_CHECKING:
    from collections.abc import Sequence

_RUNS = {"value": ("changed", OKABE_ITO[0]), "control": ("control", OKABE_ITO[1])}
_LOW, _MIDDLE, _HIGH = OKABE_ITO[0], "#EEEEEE", OKABE_ITO[3]
_CELL = 24
_WIDEST = 640
_TALLEST = 480
_BROADEST = 900


def response_chart(
    frame: pd.DataFrame, axis: str, value: str, *, base: float, unit: str = "", title: str = "", subtitle: str = ""
) -> alt.LayerChart:
    """Return a metric over one axis, with a dashed rule at its untouched value.

    Parameters
    ----------
    frame : DataFrame
        One line a point, with the columns `axis` and `value`, and ``control`` where there is one.
    axis : str
        Numbers are drawn to scale, all else at equal distances in the order of the lines.
    value : str
        Column of the metric.
    base : float
        The metric of the untouched model.
    unit : str
        Of the metric.
    title, subtitle : str
        Above the chart.
    """
    runs = {value: _RUNS["value"]} | ({"control": _RUNS["control"]} if "control" in frame.columns else {})
    positions = frame[axis] if _is_scale(frame[axis]) else frame[axis].map(str)
    rows = pd.concat(
        [pd.DataFrame({"x": positions, "y": frame[column], "run": name}) for column, (name, _) in runs.items()]
    )
    if _is_scale(frame[axis]):
        x = alt.X("x:Q", title=axis, scale=alt.Scale(zero=False, nice=False))
    else:
        x = alt.X("x:O", title=axis, sort=list(positions))
    y = alt.Y("y:Q", title=_titled(value, unit), scale=alt.Scale(zero=False))
    names, colors = zip(*runs.values(), strict=True)
    legend = alt.Legend(title=None, orient="bottom") if len(runs) > 1 else None
    line = (
        alt.Chart(inline(rows))
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(
            x,
            y,
            alt.Color("run:N", sort=list(names), legend=legend, scale=alt.Scale(domain=names, range=colors)),
            # lines would otherwise be joined in the order of x
            order=alt.Order("x:Q") if _is_scale(frame[axis]) else alt.Undefined,
            tooltip=[
                alt.Tooltip("x", type="quantitative" if _is_scale(frame[axis]) else "nominal", title=axis),
                alt.Tooltip("y:Q", title=value, format=".4g"),
                alt.Tooltip("run:N"),
            ],
        )
    )
    untouched = alt.Chart(inline(pd.DataFrame({"y": [base], "text": ["untouched"]})))
    rule = untouched.mark_rule(color=INK, strokeDash=[5, 4]).encode(alt.Y("y:Q"))
    words = untouched.mark_text(align="right", baseline="bottom", dx=-4, dy=-3, fontSize=11, color=INK)
    words = words.encode(alt.Y("y:Q"), alt.Text("text:N"), x=alt.value(_WIDEST - 160))
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    return themed(alt.layer(rule, words, line, width=_WIDEST - 160, height=260, title=heading))


def grid_chart(
    frame: pd.DataFrame,
    row: str,
    column: str,
    value: str,
    *,
    base: float,
    unit: str = "",
    title: str = "",
    subtitle: str = "",
    rising: bool = False,
    panels: str = "",
) -> alt.Chart:
    """Return a metric over two axes as a heat map: pale where nothing changes, blue below and red above.

    Parameters
    ----------
    frame : DataFrame
        One line a cell, with the columns `row`, `column` and `value`.
    row, column : str
        The axis that runs down and the one that runs right, both in the order of the lines.
    value : str
        Column of the metric.
    base : float
        The metric of the untouched model: the middle of the colours, which reach as far on both sides.
    unit : str
        Of the metric.
    title, subtitle : str
        Above the chart.
    rising : bool
        The axis that runs down begins at the bottom, as layers do.
    panels : str
        Column by which the lines are drawn apart, side by side with the same colours; below each other where they are wide.
    """
    down, right = frame[row].map(str), frame[column].map(str)
    downs, rights = list(dict.fromkeys(down)), list(dict.fromkeys(right))
    if rising:
        downs.reverse()
    values = frame[value].to_numpy(dtype=np.float64)
    data = pd.DataFrame({"row": down, "column": right, "value": values, "difference": values - base})
    apart: dict[str, Any] = {}
    if panels:
        data["panel"] = frame[panels].map(str).to_numpy()
        parts = list(dict.fromkeys(data["panel"]))
        header = alt.Header(labelFontSize=12, labelFontWeight="bold")
        channel = alt.Column if len(parts) * len(rights) * _CELL <= _BROADEST else alt.Row
        apart = {channel.__name__.lower(): channel("panel:N", title=None, sort=parts, header=header)}
    changes = np.abs(values - base)[np.isfinite(values)]
    # where nothing changes at all, everything is the middle
    reach = float(changes.max(initial=0)) or 1.0
    scale = alt.Scale(domain=[base - reach, base, base + reach], range=[_LOW, _MIDDLE, _HIGH], interpolate="lab")
    chart = (
        alt.Chart(inline(data))
        .mark_rect()
        .encode(
            alt.X(
                "column:O",
                title=column,
                sort=rights,
                axis=_level_or_slanted(rights),
            ),
            alt.Y("row:O", title=row, sort=downs, axis=alt.Axis(labelOverlap=True, labelLimit=120)),
            alt.Color("value:Q", title=_titled(value, unit), scale=scale),
            **apart,
            tooltip=[
                *([alt.Tooltip("panel:N", title=panels)] if panels else []),
                alt.Tooltip("row:N", title=row),
                alt.Tooltip("column:N", title=column),
                alt.Tooltip("value:Q", title=value, format=".4g"),
                alt.Tooltip("difference:Q", title="difference to untouched", format="+.4g"),
            ],
        )
        .properties(
            width=min(max(_CELL * len(rights), 80 if panels else 160), _WIDEST),
            height=min(max(_CELL * len(downs), 80), _TALLEST),
            # beside a narrow grid there is room enough
            title=alt.TitleParams(text=title, subtitle=subtitle, limit=_WIDEST),
        )
    )
    return themed(chart)


def _is_scale(values: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def _titled(value: str, unit: str) -> str:
    return f"{value} ({unit})" if unit and unit != value else value


def _level_or_slanted(texts: Sequence[str]) -> alt.Axis:
    # numbers are read level, and every other one is enough; names would run into each other, and each is wanted
    if max(map(len, texts), default=0) <= 3:
        return alt.Axis(labelAngle=0, labelOverlap=True)
    return alt.Axis(labelAngle=-40, labelOverlap=_CELL * len(texts) > 2 * _WIDEST, labelLimit=120)
