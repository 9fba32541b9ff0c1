"""Persistence diagrams."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

KINDS = {0: "H0 clusters", 1: "H1 loops", 2: "H2 cavities"}
"""What a class of each dimension is."""

_COLORS = (OKABE_ITO[6], OKABE_ITO[3], OKABE_ITO[0])
_SHAPES = ("square", "circle", "triangle-up")


def drawn_classes(frame: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Return a diagram's frame with what is drawn (``kind``, ``drawn_death``, ``death_text``), and the axes' end.

    Classes that never die are drawn on the top edge.
    """
    finite = frame.loc[np.isfinite(frame["death"]), ["birth", "death"]].to_numpy(dtype=np.float64)
    end = 1.1 * float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    death = frame["death"].to_numpy(dtype=np.float64)
    drawn = frame.assign(
        kind=frame["dimension"].map(KINDS),
        drawn_death=np.where(np.isfinite(death), death, end),
        death_text=[f"{d:.4g}" if np.isfinite(d) else "never" for d in death],
        ratio=frame["death"] / frame["birth"].where(frame["birth"] > 0),
    )
    return drawn, end


def diagonal(end: float, threshold: float | None) -> alt.LayerChart:
    """Return the diagonal, and a dashed line `threshold` above it where one is given."""
    lines = pd.DataFrame({"x": [0.0, end], "y": [0.0, end]})
    layers = [alt.Chart(inline(lines)).mark_line(color=INK, strokeWidth=1).encode(alt.X("x:Q"), alt.Y("y:Q"))]
    if threshold is not None and threshold < end:
        above = pd.DataFrame({"x": [0.0, end - threshold], "y": [threshold, end]})
        dashed = (
            alt.Chart(inline(above))
            .mark_line(color=INK, strokeWidth=1, strokeDash=[5, 4])
            .encode(alt.X("x:Q"), alt.Y("y:Q"))
        )
        high = pd.DataFrame(
            {
                "x": [0.75 * (end - threshold)],
                "y": [threshold + 0.75 * (end - threshold)],
                "text": ["noise stays below"],
            }
        )
        words = alt.Chart(inline(high)).mark_text(align="right", dx=-8, dy=-4, fontSize=11, color=INK)
        layers += [dashed, words.encode(alt.X("x:Q"), alt.Y("y:Q"), alt.Text("text:N"))]
    return alt.layer(*layers)


def class_encoding(frame: pd.DataFrame, end: float) -> dict[str, alt.SchemaBase]:
    """Return the encoding of classes as points: place, colour and shape by dimension, tooltip."""
    kinds = [kind for kind in KINDS.values() if kind in set(frame["kind"])]
    colors, shapes = ([values[list(KINDS.values()).index(kind)] for kind in kinds] for values in (_COLORS, _SHAPES))
    legend = alt.Legend(title=None, orient="bottom")
    scale = alt.Scale(domain=[0, end], nice=False)
    return {
        "x": alt.X("birth:Q", title="birth (distance)", scale=scale),
        "y": alt.Y("drawn_death:Q", title="death (distance)", scale=scale),
        "color": alt.Color("kind:N", sort=kinds, legend=legend, scale=alt.Scale(domain=kinds, range=colors)),
        "shape": alt.Shape("kind:N", sort=kinds, legend=legend, scale=alt.Scale(domain=kinds, range=shapes)),
    }


def class_tooltips() -> list[alt.Tooltip]:
    """Return the tooltips of a class."""
    return [
        alt.Tooltip("class_id:N", title="class"),
        alt.Tooltip("birth:Q", format=".4g"),
        alt.Tooltip("death_text:N", title="death"),
        alt.Tooltip("ratio:Q", title="death / birth", format=".3g"),
        alt.Tooltip("n_rows:Q", title="rows on the loop"),
    ]


def persistence_chart(
    frame: pd.DataFrame, *, threshold: float | None = None, title: str = "", subtitle: str = "", size: int = 340
) -> alt.LayerChart:
    """Return a persistence diagram; a loop far above the diagonal lives long.

    Parameters
    ----------
    frame : DataFrame
        What `Diagram.frame` gives.
    threshold : float, optional
        Lifetime that noise of the same covariance does not reach: a dashed line.
    title, subtitle : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    drawn, end = drawn_classes(frame)
    points = alt.Chart(inline(drawn)).mark_point(size=70, filled=True, opacity=0.85)
    points = points.encode(**class_encoding(drawn, end), tooltip=class_tooltips())
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    return themed(alt.layer(diagonal(end, threshold), points, width=size, height=size, title=heading))
