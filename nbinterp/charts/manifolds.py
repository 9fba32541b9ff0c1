"""Curves and surfaces in the plane in which they are widest, with the rows or the labels on them."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import MAX_ROWS, inline, tooltips
from nbinterp.charts.theme import INK, OKABE_ITO, cyclic_palette, themed

_MAX_NAMES = 40


def coordinates_chart(
    frame: pd.DataFrame, curve: pd.DataFrame, *, title: str = "", subtitle: str = "", size: int = 340
) -> alt.LayerChart:
    """Return rows in the plane of their curve, coloured by their angle.

    Parameters
    ----------
    frame : DataFrame
        One line a row: ``x``, ``y``, ``angle``, ``uncertainty`` in radians; lines without an angle are left out. Of more rows than
        a page can draw, some are drawn at random.
    curve : DataFrame
        ``x``, ``y`` along the curve.
    title, subtitle : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    shown = frame[frame["angle"].notna()]
    if len(shown) > MAX_ROWS // 2:
        shown = shown.sample(MAX_ROWS // 2, random_state=0).sort_index()
    others = [str(c) for c in shown.columns if c not in ("x", "y", "angle", "uncertainty")][:6]
    data, tips = tooltips(shown, others)
    data = data.assign(
        x=shown["x"],
        y=shown["y"],
        angle=shown["angle"],
        degrees=np.degrees(shown["angle"]),
        error=np.degrees(shown["uncertainty"]),
    )
    x, y = _axes(pd.concat([data[["x", "y"]], curve[["x", "y"]]]))
    ring = cyclic_palette(24)
    color = alt.Color(
        "angle:Q",
        title="angle (radians)",
        # between neighbouring colours nothing but a straight line stays inside what a screen shows
        scale=alt.Scale(domain=np.linspace(0, 2 * np.pi, 25).tolist(), range=[*ring, ring[0]], interpolate="rgb"),
    )
    tips = [
        alt.Tooltip("degrees:Q", title="angle in degrees", format=".1f"),
        alt.Tooltip("error:Q", title="± standard error", format=".1f"),
        *tips,
    ]
    points = alt.Chart(inline(data)).mark_circle(size=36, opacity=0.7).encode(x, y, color=color, tooltip=tips)
    return _layered(_path(curve, x, y), points, title=title, subtitle=subtitle, size=size)


def line_chart(frame: pd.DataFrame, curve: pd.DataFrame, *, title: str = "", size: int = 340) -> alt.LayerChart:
    """Return labels and the open curve through them.

    Parameters
    ----------
    frame : DataFrame
        ``label``, ``x``, ``y``, one line a label.
    curve : DataFrame
        ``x``, ``y`` along the curve.
    title : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    x, y = _axes(pd.concat([frame[["x", "y"]], curve[["x", "y"]]]))
    return _layered(_path(curve, x, y), *_named(frame, x, y), title=title, size=size)


def surface_chart(frame: pd.DataFrame, mesh: pd.DataFrame, *, title: str = "", size: int = 340) -> alt.LayerChart:
    """Return labels and the mesh of the surface through them.

    Parameters
    ----------
    frame : DataFrame
        ``label``, ``x``, ``y``, one line a label.
    mesh : DataFrame
        ``line``, ``x``, ``y`` along lines of a constant coordinate.
    title : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    x, y = _axes(pd.concat([frame[["x", "y"]], mesh[["x", "y"]]]))
    lines = (
        alt.Chart(inline(mesh[["line", "x", "y"]].assign(step=range(len(mesh)))))
        .mark_line(color=INK, strokeWidth=1, opacity=0.7)
        .encode(x, y, order=alt.Order("step:Q"), detail="line:N")
    )
    return _layered(lines, *_named(frame, x, y), title=title, size=size)


def _axes(points: pd.DataFrame) -> tuple[alt.X, alt.Y]:
    """Return axes of the same scale, so that a circle is round."""
    low, high = points.min(), points.max()
    reach = 0.55 * float(max((high - low).max(), 1e-9))
    middle = (low + high) / 2
    domains = {axis: [float(middle[axis]) - reach, float(middle[axis]) + reach] for axis in ("x", "y")}
    return (
        alt.X("x:Q", title="first axis", scale=alt.Scale(domain=domains["x"], nice=False)),
        alt.Y("y:Q", title="second axis", scale=alt.Scale(domain=domains["y"], nice=False)),
    )


def _path(curve: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    path = curve[["x", "y"]].assign(step=range(len(curve)))
    return alt.Chart(inline(path)).mark_line(color=INK, strokeWidth=1.5).encode(x, y, order=alt.Order("step:Q"))


def _named(frame: pd.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    data = frame[["x", "y"]].assign(label=frame["label"].astype(str))
    dots = alt.Chart(inline(data)).mark_circle(size=80, opacity=1, color=OKABE_ITO[0])
    layers = [dots.encode(x, y, tooltip=[alt.Tooltip("label:N")])]
    if len(data) <= _MAX_NAMES:
        names = alt.Chart(inline(data)).mark_text(fontSize=12, dy=-12, color=INK)
        layers.append(names.encode(x, y, alt.Text("label:N")))
    return layers


def _layered(*layers: alt.Chart, title: str, subtitle: str = "", size: int) -> alt.LayerChart:
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    return themed(alt.layer(*layers, width=size, height=size, title=heading))
