"""Activation patching as heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nbinterp.charts.data import MAX_ROWS
from nbinterp.charts.sweeps import grid_chart, response_chart
from nbinterp.charts.theme import together

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


def patching_chart(
    frame: pd.DataFrame, axis: str, *, title: str = "", subtitle: str = "", unit: str = "1 = all of it"
) -> alt.Chart:
    """Return the effects of patches as heat maps, one for each component, the last layer on top.

    Parameters
    ----------
    frame : DataFrame
        One line a patch: ``component``, ``layer``, `axis`, ``effect``, and ``text`` where the axis is tokens.
    axis : {"token", "head"}
        What runs to the right. Of more tokens than a page can draw, those with the largest effects are.
    title, subtitle : str
        Above the chart.
    """
    shown = few_enough(frame, axis)
    if len(shown) < len(frame):
        subtitle += (
            f"; {shown[axis].nunique()} of {frame[axis].nunique()} {axis}s drawn, those with the largest effects"
        )
    if axis == "token":
        # the same word may stand at several places
        named = [
            text if token == text else f"{token}: {text}"
            for token, text in zip(shown["token"], shown["text"], strict=True)
        ]
        shown = shown.assign(token=named)
    several = len(set(shown["component"])) > 1
    return grid_chart(
        shown,
        "layer",
        axis,
        "effect",
        base=0.0,
        unit=unit,
        title=title if several else f"{title}: {shown['component'].iloc[0]}",
        subtitle=subtitle,
        rising=True,
        panels="component" if several else "",
    )


def knock_out_chart(
    frame: pd.DataFrame, axis: str, *, title: str = "", subtitle: str = "", unit: str = ""
) -> alt.Chart | alt.LayerChart | alt.VConcatChart:
    """Return what cutting edges changes, a chart for each group of edges.

    Parameters
    ----------
    frame : DataFrame
        ``edges``, ``layer``, `axis`, ``change``, ``control_low``, ``control_high``.
    axis : {"layer", "head"}
        Lines over layers with the mean control beside, or heat maps of layers by heads.
    title, subtitle, unit : str
        Above the chart; of the change.
    """
    charts = []
    for edges, part in frame.groupby("edges", sort=False):
        text = {"unit": unit, "title": f"{edges}: {title}", "subtitle": subtitle}
        if axis == "head":
            charts.append(grid_chart(part, "layer", "head", "change", base=0.0, rising=True, **text))
        else:
            control = (part["control_low"] + part["control_high"]) / 2
            shown = part.assign(control=control) if control.notna().any() else part
            charts.append(response_chart(shown, "layer", "change", base=0.0, **text))
    return charts[0] if len(charts) == 1 else together([[chart] for chart in charts])


def few_enough(frame: pd.DataFrame, axis: str, value: str = "effect") -> pd.DataFrame:
    """Return a grid's lines, of more columns than a page can draw those with the largest values, whichever their sign."""
    most = max(1, MAX_ROWS // max(1, len(frame) // frame[axis].nunique()))
    if frame[axis].nunique() <= most:
        return frame
    sizes = np.abs(frame[value]).groupby(frame[axis]).max().nlargest(most)
    return frame[frame[axis].isin(sizes.index)]
