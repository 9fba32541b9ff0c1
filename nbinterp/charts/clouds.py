"""Points as pictures: an embedding coloured by a column, and labels on their circle."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline, tooltips
from nbinterp.charts.theme import INK, OKABE_ITO, palette, themed

MAX_LABELS = 24
"""More labels than this are not written into a scatter chart."""


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
    size: int = 340,
) -> alt.LayerChart:
    """Return a scatter chart, coloured by a column, with each label written at the mean of its points.

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
    size : int
        Width and height in pixels.
    """
    if color is not None and color not in frame.columns:
        raise LookupError(
            f"got color={color!r}, which is no column; known columns are {', '.join(map(repr, frame.columns))}."
        )
    frame = frame[frame[[x, y]].notna().all(axis=1)]
    shown, tips = tooltips(frame, [str(c) for c in frame.columns if c not in (x, y)][:8])
    data = shown.assign(x=frame[x], y=frame[y])
    if "row" in frame.columns:
        # under its own name, so that the chart can share what is selected in it
        data["row"] = frame["row"]
    encoding: dict[str, Any] = {"tooltip": tips}
    layers = []
    if color is None:
        encoding["color"] = alt.value(OKABE_ITO[0])
    elif is_continuous(frame[color]) if continuous is None else continuous:
        data["label"] = frame[color]
        encoding["color"] = alt.Color("label:Q", title=color, scale=alt.Scale(scheme="viridis"))
    else:
        data["label"] = frame[color].astype(str)
        labels = list(pd.unique(data["label"]))
        legend = None if len(labels) <= MAX_LABELS else alt.Legend(title=color, columns=2, symbolLimit=60)
        encoding["color"] = alt.Color(
            "label:N", sort=labels, legend=legend, scale=alt.Scale(domain=labels, range=palette(labels, cyclic=cyclic))
        )
        if legend is None:
            means = data.groupby("label", sort=False)[["x", "y"]].mean().reset_index()
            text = alt.Chart(inline(means)).mark_text(fontSize=12, fontWeight="bold", dy=-12, color=INK)
            layers.append(text.encode(alt.X("x:Q"), alt.Y("y:Q"), alt.Text("label:N")))
    points = alt.Chart(inline(data)).mark_circle(size=42, opacity=0.7)
    points = points.encode(
        alt.X("x:Q", title=x, scale=alt.Scale(zero=False, nice=True)),
        alt.Y("y:Q", title=y, scale=alt.Scale(zero=False)),
        **encoding,
    )
    chart = alt.layer(points, *layers, width=size, height=size, title=alt.TitleParams(text=title, subtitle=subtitle))
    return themed(chart)


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
