"""The same rows at several layers, with a slider between which points glide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.clouds import is_continuous
from nbinterp.charts.data import inline, tooltips
from nbinterp.charts.theme import OKABE_ITO, palette, themed

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PLACES = 200_000
"""More places (rows times layers) than this make a page slow."""


def layer_slider(
    frame: pd.DataFrame,
    sites: Sequence[str],
    *,
    color: str | None = None,
    cyclic: bool = False,
    title: str = "",
    size: int = 340,
) -> alt.LayerChart:
    """Return a scatter chart with a slider over the layers; between two layers points are between their two places.

    Parameters
    ----------
    frame : DataFrame
        ``site``, ``row``, ``x``, ``y``, and other columns that are taken from the first site; rows with missing
        coordinates are left out.
    sites : sequence of str
        The layers in order.
    color : str, optional
        Column to colour by: numbers on a continuous scale, all else as labels.
    cyclic : bool
        Labels go round, in their order of appearance.
    title : str
        Above the chart.
    size : int
        Width and height in pixels.

    Raises
    ------
    LookupError
        For an unknown column.
    ValueError
        For more places than a page can draw.
    """
    if color is not None and color not in frame.columns:
        raise LookupError(
            f"got color={color!r}, which is no column; known columns are {', '.join(map(repr, frame.columns))}."
        )
    frame = frame[frame[["x", "y"]].notna().all(axis=1)]
    if len(frame) > MAX_PLACES:
        raise ValueError(
            f"got {len(frame)} places (rows times layers) to draw; a chart holds at most {MAX_PLACES}: select rows or layers."
        )
    first = frame[frame["site"] == sites[0]].set_index("row", drop=False)
    shown, tips = tooltips(first, [str(c) for c in first.columns if c not in ("site", "x", "y")][:8])
    wide = {
        f"{axis}_{i}": part[axis].round(4)
        for i, site in enumerate(sites)
        for part in [frame[frame["site"] == site].set_index("row")]
        for axis in ("x", "y")
    }
    data = pd.concat([shown, pd.DataFrame(wide, index=first.index)], axis=1)
    slider = alt.param(
        name="layer",
        value=0,
        bind=alt.binding_range(min=0, max=max(len(sites) - 1, 1), step=0.1, name="layer "),
    )
    encoding: dict[str, Any] = {"tooltip": tips}
    if color is None:
        encoding["color"] = alt.value(OKABE_ITO[0])
    elif is_continuous(first[color]):
        data["label"] = first[color]
        encoding["color"] = alt.Color("label:Q", title=color, scale=alt.Scale(scheme="viridis"))
    else:
        data["label"] = first[color].astype(str)
        labels = list(pd.unique(data["label"]))
        scale = alt.Scale(domain=labels, range=palette(labels, cyclic=cyclic))
        encoding["color"] = alt.Color("label:N", title=color, sort=labels, scale=scale)
    low, high = (np.array([f(frame[axis]) for axis in ("x", "y")]) for f in (np.min, np.max))
    margin = 0.04 * max(float((high - low).max()), 1e-9)
    domains = [
        alt.Scale(domain=[float(a - margin), float(b + margin)], nice=False) for a, b in zip(low, high, strict=True)
    ]
    last = len(sites) - 1
    # of the two layers that the slider stands between
    before, after = f"min(floor(layer), {last})", f"min(ceil(layer), {last})"
    points = alt.Chart(inline(data)).mark_circle(size=42, opacity=0.7)
    for axis in ("x", "y"):
        points = points.transform_calculate(
            **{axis: f"datum['{axis}_' + {before}] * (1 - layer % 1) + datum['{axis}_' + {after}] * (layer % 1)"}
        )
    points = points.encode(
        alt.X("x:Q", title="x", scale=domains[0]), alt.Y("y:Q", title="y", scale=domains[1]), **encoding
    ).add_params(slider)
    names = pd.DataFrame({"at": range(len(sites)), "site": list(sites)})
    name = (
        alt.Chart(inline(names))
        .transform_filter(f"datum.at == min(round(layer), {last})")
        .mark_text(align="right", baseline="top", fontSize=13)
        .encode(x=alt.value(size - 6), y=alt.value(6), text="site:N")
    )
    return themed(alt.layer(points, name, width=size, height=size, title=alt.TitleParams(text=title)))
