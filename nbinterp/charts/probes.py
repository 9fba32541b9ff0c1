"""Probes, dimensions and planes as pictures: how much is read, with what errors, and where it stands on the map."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import MAX_ROWS, inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

PLACES = {
    "linear": OKABE_ITO[0],
    "curved": OKABE_ITO[3],
    "multi-dimensional": OKABE_ITO[1],
    "not there": "#BBBBBB",
}
"""The places of the map and their colours."""

_MARKS = {"linear": "—", "curved": "∿", "multi-dimensional": "▦", "not there": "·"}
_CELL = 26
_WIDEST = 640


def probe_chart(
    frame: pd.DataFrame, *, chance: float, measure: str, title: str = "", subtitle: str = ""
) -> alt.LayerChart:
    """Return the score of each probe with its error, the score for random labels as a tick, and chance as a rule.

    Parameters
    ----------
    frame : DataFrame
        What `ProbeReport.frame` gives.
    chance : float
        Score of a probe that knows nothing.
    measure : str
        What the score is.
    title, subtitle : str
        Above the chart.
    """
    data = frame.assign(low=frame["score"] - 2 * frame["error"], high=frame["score"] + 2 * frame["error"])
    lowest = float(np.nanmin([0.0, chance, data["low"].min(), data["control"].min()]))
    x = alt.X(
        "score:Q",
        title=f"{measure} on unseen rows (bars: 2 standard errors)",
        scale=alt.Scale(domain=[lowest, max(1.0, float(data["high"].max()))]),
    )
    y = alt.Y("probe:N", sort=list(frame["probe"]), title=None)
    tips = [
        alt.Tooltip("probe:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("score", "error", "control", "selectivity")),
        alt.Tooltip("p:Q", format=".2g"),
    ]
    base = alt.Chart(inline(data))
    bars = base.mark_rule(color=OKABE_ITO[0], strokeWidth=2).encode(alt.X("low:Q"), y, x2="high:Q")
    dots = base.mark_circle(color=OKABE_ITO[0], size=110, opacity=1).encode(x, y, tooltip=tips)
    rule = alt.Chart(inline(pd.DataFrame({"x": [chance], "text": ["chance"]})))
    layers = [rule.mark_rule(color=INK, strokeDash=[5, 4]).encode(alt.X("x:Q")), bars, dots]
    layers.append(
        rule.mark_text(color=INK, fontSize=11, align="left", dx=4, baseline="top").encode(
            alt.X("x:Q"), alt.Text("text:N"), y=alt.value(0)
        )
    )
    if frame["control"].notna().any():
        ticks = base.transform_filter("isValid(datum.control)").mark_tick(
            color=OKABE_ITO[1], thickness=3, size=22, opacity=1
        )
        layers.append(ticks.encode(alt.X("control:Q"), y, tooltip=[alt.Tooltip("control:Q", format=".3f")]))
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    return themed(alt.layer(*layers, width=360, height=46 * len(frame), title=heading))


def dimension_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", size: int = 340) -> alt.LayerChart:
    """Return the estimated dimension against the distance at which it was seen.

    Parameters
    ----------
    frame : DataFrame
        What `IntrinsicDimension.frame` gives.
    title, subtitle : str
        Above the chart.
    size : int
        Width in pixels.
    """
    seen = frame[frame["rows"] == "projected"]
    scale = alt.Scale(domain=[0, max(1.0, 1.1 * float(np.nanmax(seen[["estimate", "high"]].to_numpy())))], nice=True)
    x = alt.X("scale:Q", title="median distance to the farthest neighbour used", scale=alt.Scale(zero=False))
    y = alt.Y("estimate:Q", title="dimensions", scale=scale)
    base = alt.Chart(inline(seen))
    tips = [
        alt.Tooltip("n_points:Q", title="points"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("scale", "estimate", "low", "high")),
    ]
    bars = base.mark_rule(color=OKABE_ITO[0], strokeWidth=2).encode(x, alt.Y("low:Q", scale=scale), y2="high:Q")
    line = base.mark_line(color=OKABE_ITO[0], opacity=0.5).encode(x, y)
    dots = base.mark_circle(color=OKABE_ITO[0], size=90, opacity=1).encode(x, y, tooltip=tips)
    raw = frame.loc[frame["rows"] == "raw", "estimate"]
    note = [subtitle] if subtitle else []
    note += [f"before projection: {value:.1f}, which is noise" for value in raw]
    heading = alt.TitleParams(text=title, subtitle=note)
    return themed(alt.layer(line, bars, dots, width=size, height=220, title=heading))


def reducibility_chart(
    points: pd.DataFrame, turns: pd.DataFrame, *, null: float, title: str = "", size: int = 300
) -> alt.HConcatChart:
    """Return rows in a plane beside the mutual information of their coordinates by rotation.

    Parameters
    ----------
    points : DataFrame
        ``x``, ``y`` in the units of the activations.
    turns : DataFrame
        ``degrees``, ``bits``.
    null : float
        Mutual information of independent coordinates: a dashed rule.
    title : str
        Above the charts.
    size : int
        Width and height of each in pixels.
    """
    if len(points) > MAX_ROWS // 4:
        points = points.sample(MAX_ROWS // 4, random_state=0)
    reach = 1.05 * float(points.abs().to_numpy().max())
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    plane = alt.Chart(inline(points), width=size, height=size).mark_circle(color=OKABE_ITO[0], size=20, opacity=0.5)
    plane = plane.encode(
        alt.X("x:Q", title="first axis of the plane", scale=scale), alt.Y("y:Q", title="second axis", scale=scale)
    )
    bits = alt.Scale(domain=[0, 1.1 * max(float(turns["bits"].max()), null, 0.05)])
    line = (
        alt.Chart(inline(turns))
        .mark_line(color=OKABE_ITO[0])
        .encode(
            alt.X("degrees:Q", title="rotation (degrees)", scale=alt.Scale(domain=[0, 90])),
            alt.Y("bits:Q", title="mutual information (bits)", scale=bits),
            tooltip=[alt.Tooltip("degrees:Q", format=".1f"), alt.Tooltip("bits:Q", format=".3f")],
        )
    )
    independent = alt.Chart(inline(pd.DataFrame({"bits": [null], "text": ["independent coordinates"]})))
    rule = independent.mark_rule(color=INK, strokeDash=[5, 4]).encode(alt.Y("bits:Q"))
    words = independent.mark_text(color=INK, fontSize=11, align="left", dx=4, dy=-7).encode(
        alt.Y("bits:Q"), alt.Text("text:N"), x=alt.value(0)
    )
    right = alt.layer(line, rule, words, width=size, height=size)
    return themed(alt.hconcat(plane, right, title=alt.TitleParams(text=title)))


def encoding_chart(frame: pd.DataFrame, *, title: str = "") -> alt.HConcatChart:
    """Return places as a heat map, attribute by site, beside the nonlinear gain against the linear score.

    Parameters
    ----------
    frame : DataFrame
        What `EncodingMap.frame` gives.
    title : str
        Above the charts.
    """
    data = frame.assign(
        attribute=frame["attribute"].map(str), site=frame["site"].map(str), sign=frame["place"].map(_MARKS)
    )
    attributes, sites = list(dict.fromkeys(data["attribute"])), list(dict.fromkeys(data["site"]))
    # beyond chance, so that attributes with many labels and with few share an axis
    data["beyond"] = (data["linear"] - data["chance"]) / (1 - data["chance"])
    scale = alt.Scale(domain=list(PLACES), range=list(PLACES.values()))
    color = alt.Color("place:N", sort=list(PLACES), scale=scale, legend=alt.Legend(title=None, orient="bottom"))
    tips = [
        alt.Tooltip("attribute:N"),
        alt.Tooltip("site:N"),
        alt.Tooltip("place:N"),
        alt.Tooltip("shape:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("linear", "kernel", "gain")),
        alt.Tooltip("dimensions:Q"),
        alt.Tooltip("p:Q", format=".2g"),
        alt.Tooltip("reasons:N"),
    ]
    cells = alt.Chart(inline(data)).encode(
        alt.X("site:O", sort=sites, title="site", axis=alt.Axis(labelAngle=-40, labelOverlap=True, labelLimit=120)),
        alt.Y("attribute:O", sort=attributes, title=None),
    )
    # a sign in each cell, for those who do not see the colours
    heat = alt.layer(
        cells.mark_rect(stroke="white", strokeWidth=1).encode(color=color, tooltip=tips),
        cells.mark_text(fontSize=14, fontWeight="bold", color="#111111").encode(alt.Text("sign:N")),
        width=min(max(_CELL * len(sites), 120), _WIDEST),
        height=max(_CELL * len(attributes), 60),
    )
    low = min(-0.1, float(data["gain_low"].min()))
    gain = alt.Scale(domain=[low, max(0.2, float(data["gain_high"].max()))])
    x = alt.X("beyond:Q", title="linear probe (0 = chance, 1 = all)")
    dots = alt.Chart(inline(data), width=260, height=220)
    scatter = alt.layer(
        alt.Chart(inline(pd.DataFrame({"y": [0.0]}))).mark_rule(color=INK, strokeDash=[5, 4]).encode(alt.Y("y:Q")),
        dots.mark_rule(opacity=0.35, color=INK).encode(x, alt.Y("gain_low:Q", scale=gain), y2="gain_high:Q"),
        dots.mark_circle(size=60, opacity=0.9).encode(
            x, alt.Y("gain:Q", title="kernel probe beyond it", scale=gain), color=color, tooltip=tips
        ),
    )
    return themed(alt.hconcat(heat, scatter, title=alt.TitleParams(text=title)))
