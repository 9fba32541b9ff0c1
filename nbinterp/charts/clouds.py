"""Points as pictures: an embedding coloured by a column, and labels on their circle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline, tooltips
from nbinterp.charts.theme import INK, OKABE_ITO, palette, themed

if TYPE_CHECKING:
    from nbinterp.spaces import Floats

MAX_LABELS = 24
"""More labels than this are not written into a scatter chart."""

_LONGEST_LABEL = 28
_LETTER, _LINE = 7, 15
"""Pixels that a letter of a label is wide, and a label high."""
_TOGETHER = 6
"""Pixels within which the places of two labels tell nobody which is which."""
_ABOVE, _BELOW = -12, 13
"""Pixels from the mean of a label's points to the label."""


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    color: str | None = None,
    cyclic: bool = False,
    continuous: bool | None = None,
    title: str = "",
    subtitle: str = "",
    axes: tuple[str, str] | None = None,
    again: pd.DataFrame | None = None,
    again_name: str = "",
    size: int = 340,
) -> alt.LayerChart:
    """Return a scatter chart, coloured by a column, with each label written at the mean of its points.

    A label that would run over another one, or whose place is that of another, is not written; a legend then names them all.

    Parameters
    ----------
    frame : DataFrame
        One line a point; lines with missing coordinates are left out.
    x, y : str
        Columns of the coordinates.
    color : str, optional
        Column to colour by: numbers on a continuous scale, all else as labels.
    cyclic : bool
        Labels go round, in their order of appearance.
    continuous : bool, optional
        Whether the colours are a scale; by default where they are numbers of more than 12 values.
    title, subtitle : str
        Above the chart.
    axes : (str, str), optional
        Titles of the axes; by default the names of the columns.
    again : DataFrame, optional
        The same points somewhere else, in columns as those of `frame`: rings in the colours of the points.
    again_name : str
        What the rings are, under the subtitle.
    size : int
        Width and height in pixels.
    """
    if color is not None and color not in frame.columns:
        raise LookupError(
            f"got color={color!r}, which is no column; known columns are {', '.join(map(repr, frame.columns))}."
        )
    frame = frame[frame[[x, y]].notna().all(axis=1)]
    data, tips = _drawn(frame, x, y, color)
    moved = None if again is None else _drawn(again[again[[x, y]].notna().all(axis=1)], x, y, color)[0]
    extent = (
        np.ptp(pd.concat([data, moved])[["x", "y"]].to_numpy(dtype=np.float64), axis=0) if len(data) else np.ones(2)
    )
    encoding: dict[str, Any] = {"tooltip": tips}
    layers = []
    if color is None:
        encoding["color"] = alt.value(OKABE_ITO[0])
    elif is_continuous(frame[color]) if continuous is None else continuous:
        encoding["color"] = alt.Color("label:Q", title=color, scale=alt.Scale(scheme="viridis"))
    else:
        for drawn in [data] if moved is None else [data, moved]:
            drawn["label"] = drawn["label"].astype(str)
        labels = list(pd.unique(data["label"]))
        written = (
            _written(data, size / np.where(extent > 0, extent, 1.0)) if len(labels) <= MAX_LABELS else pd.DataFrame()
        )
        legend = None if len(written) == len(labels) else _legend(color, labels)
        encoding["color"] = alt.Color(
            "label:N", sort=labels, legend=legend, scale=alt.Scale(domain=labels, range=palette(labels, cyclic=cyclic))
        )
        for dy, few in written.groupby("dy") if len(written) else ():
            text = alt.Chart(inline(few)).mark_text(fontSize=12, fontWeight="bold", dy=dy, color=INK)
            layers.append(text.encode(alt.X("x:Q"), alt.Y("y:Q"), alt.Text("text:N")))
    named = axes or (x, y)
    place = {
        "x": alt.X("x:Q", title=named[0], scale=alt.Scale(zero=False, nice=True)),
        "y": alt.Y("y:Q", title=named[1], scale=alt.Scale(zero=False)),
    }
    points = alt.Chart(inline(data)).mark_circle(size=42, opacity=0.7).encode(**place, **encoding)
    if moved is not None:
        rings = alt.Chart(inline(moved)).mark_point(size=42, filled=False, strokeWidth=1.5, opacity=0.9)
        layers.insert(0, rings.encode(**place, **encoding))
    lines = [line for line in (subtitle, "" if moved is None else f"○ {again_name}") if line]
    heading = alt.TitleParams(text=title, subtitle=lines if len(lines) > 1 else "".join(lines))
    return themed(alt.layer(points, *layers, width=size, height=size, title=heading))


def _drawn(frame: pd.DataFrame, x: str, y: str, color: str | None) -> tuple[pd.DataFrame, list[alt.Tooltip]]:
    """Return what is drawn of points, ``x``, ``y``, ``label`` and what is shown of each, and their tooltips."""
    shown, tips = tooltips(frame, [str(c) for c in frame.columns if c not in (x, y)][:8])
    data = shown.assign(x=frame[x], y=frame[y])
    if "row" in frame.columns:
        # under its own name, so that the chart can share what is selected in it
        data["row"] = frame["row"]
    if color is not None:
        data["label"] = frame[color]
    return data, tips


def _legend(color: str, labels: list[str]) -> alt.Legend:
    # labels that begin alike are told apart by what a narrow column would cut off
    long = max(map(len, labels)) > _LONGEST_LABEL // 2
    return alt.Legend(title=color, columns=1 if long else 2, labelLimit=300 if long else 140, symbolLimit=60)


def _written(data: pd.DataFrame, scale: Floats) -> pd.DataFrame:
    """Return labels at the means of their points, above or below them, without those that would run over another one.

    Parameters
    ----------
    data : DataFrame
        ``x``, ``y``, ``label`` of the points.
    scale : array, ``[2]``
        Pixels for a unit of either axis.

    Returns
    -------
    DataFrame
        ``x``, ``y``, ``text``, and ``dy`` in pixels.
    """
    means = data.groupby("label", sort=False)[["x", "y"]].mean().reset_index()
    means["text"] = [
        text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…" for text in means["label"]
    ]
    pixels = means[["x", "y"]].to_numpy(dtype=np.float64) * scale * [1, -1]
    widths = (_LETTER * means["text"].str.len()).tolist()
    together = np.linalg.norm(pixels[:, None] - pixels, axis=-1) < _TOGETHER
    taken: list[tuple[float, float, float]] = []
    offsets = np.full(len(means), np.nan)
    for i in np.flatnonzero(together.sum(axis=1) == 1):
        (across, down), width = pixels[i].tolist(), widths[i]
        for dy in (_ABOVE, _BELOW):
            if all(abs(across - a) >= (width + w) / 2 or abs(down + dy - d) >= _LINE for a, d, w in taken):
                taken.append((across, down + dy, width))
                offsets[i] = dy
                break
    return means.assign(dy=offsets).dropna(subset="dy")


def circle_chart(
    frame: pd.DataFrame, *, curve: pd.DataFrame | None = None, title: str = "", size: int = 340
) -> alt.LayerChart:
    """Return labels in the plane of their circle, with the same scale on both axes.

    Parameters
    ----------
    frame : DataFrame
        ``label``, ``x``, ``y`` in units of the mean radius, one line a label in cyclic order.
    curve : DataFrame, optional
        ``angle`` in radians, ``x``, ``y`` of the fitted loop; without it the labels are joined in their order.
    title : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    points = frame[["x", "y"]].to_numpy(dtype=np.float64)
    radii = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    text_x, text_y = (points + 0.13 * points / radii).T
    data = frame[["x", "y"]].assign(label=frame["label"].astype(str), text_x=text_x, text_y=text_y)
    path = pd.concat([frame, frame.iloc[[0]]])[["x", "y"]] if curve is None else curve[["x", "y"]]
    path = path.reset_index(drop=True).assign(step=lambda f: range(len(f)))
    # room for the names, at about 7 pixels a letter
    room = 1 - 14 * np.minimum(data["label"].str.len().to_numpy(), 16) / size
    reach = 1.1 * max(
        (np.abs(text_x) / room).max(), np.abs(text_y).max(), np.abs(path[["x", "y"]].to_numpy()).max(), 0.1
    )
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    x = alt.X("x:Q", scale=scale, title="first axis of the plane (mean radius = 1)")
    y = alt.Y("y:Q", scale=scale, title="second axis")
    labels = list(data["label"])
    color = alt.Color(
        "label:N", legend=None, sort=labels, scale=alt.Scale(domain=labels, range=palette(labels, cyclic=True))
    )
    tips = [alt.Tooltip("label:N"), alt.Tooltip("x:Q", format=".3f"), alt.Tooltip("y:Q", format=".3f")]
    line = (
        alt.Chart(inline(path))
        .mark_line(color=INK, strokeWidth=1.5, opacity=0.8)
        .encode(x, y, order=alt.Order("step:Q"))
    )
    dots = alt.Chart(inline(data)).mark_circle(size=110, opacity=1).encode(x, y, color=color, tooltip=tips)
    # names point away from the middle, so that they do not run over their own dots
    side = np.sign(np.where(np.abs(points[:, 0]) < 0.3 * radii[:, 0], 0, points[:, 0]))
    names = [
        alt.Chart(inline(data[side == at]))
        .mark_text(fontSize=12, color=INK, align=align)
        .encode(alt.X("text_x:Q"), alt.Y("text_y:Q"), alt.Text("label:N"))
        for at, align in ((-1, "right"), (0, "center"), (1, "left"))
        if (side == at).any()
    ]
    return themed(alt.layer(line, dots, *names, width=size, height=size, title=alt.TitleParams(text=title)))


def is_continuous(values: pd.Series[Any]) -> bool:
    """Say whether a column is drawn on a continuous scale: numbers of more than 12 values."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return bool(numeric and values.nunique() > 12)
