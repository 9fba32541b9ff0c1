"""Steering vectors as pictures: how well they tell texts apart by layer, and what adding them does."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import FAINT, INK, OKABE_ITO, themed

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SITES = 8
"""More columns of small charts are not readable side by side."""

_VECTOR, _CONTROL = OKABE_ITO[0], OKABE_ITO[1]
_BETWEEN = 14
_AXIS = 40


def separation_chart(
    frame: pd.DataFrame, *, alpha: float, title: str = "", subtitle: str = "", width: int = 480
) -> alt.VConcatChart:
    """Return the AUC of each site with its interval, above the direction's length as a share of the activations'.

    Parameters
    ----------
    frame : DataFrame
        ``site``, ``layer``, ``auc``, ``low``, ``high``, ``p``, ``norm``, ``activation_norm``.
    alpha : float
        Sites with p at most this are filled.
    title, subtitle : str
        Above the chart.
    width : int
        In pixels.
    """
    told = f"p ≤ {alpha:g}"
    data = frame.assign(
        share=frame["norm"] / frame["activation_norm"], found=np.where(frame["p"] <= alpha, told, f"p > {alpha:g}")
    )
    x, no_labels = _site_axis(data), alt.Axis(labels=False, title=None)
    tips = [
        alt.Tooltip("site:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("auc", "low", "high", "accuracy", "p", "norm", "share")),
    ]
    base = alt.Chart(inline(data[["site", "layer", "auc", "low", "high", "accuracy", "p", "norm", "share", "found"]]))
    y = alt.Y("auc:Q", title="held-out AUC", scale=alt.Scale(domain=[0, 1]))
    chance = alt.Chart(inline(pd.DataFrame({"auc": [0.5]}))).mark_rule(color=INK, strokeDash=[5, 4]).encode(y)
    spans = base.mark_rule(color=_VECTOR, opacity=0.5, strokeWidth=2).encode(
        x.axis(no_labels), alt.Y("low:Q"), alt.Y2("high:Q")
    )
    scale: Any = alt.Scale(domain=[told, f"p > {alpha:g}"], range=[_VECTOR, "transparent"])
    legend = alt.Legend(title=None, orient="bottom", symbolStrokeColor=_VECTOR, symbolStrokeWidth=1.5)
    points = base.mark_point(size=50, stroke=_VECTOR, strokeWidth=1.5, fillOpacity=1).encode(
        x.axis(no_labels), y, alt.Fill("found:N", scale=scale, legend=legend), tooltip=tips
    )
    lengths = base.mark_bar(color=_VECTOR).encode(
        x, alt.Y("share:Q", title="length", axis=alt.Axis(format="%", tickCount=3)), tooltip=tips
    )
    above = alt.layer(chance, spans, points, width=width, height=220)
    below = lengths.properties(width=width, height=70)
    return themed(alt.vconcat(above, below, title=_heading(title, subtitle, width)))


def effect_chart(
    points: pd.DataFrame,
    sites: pd.DataFrame,
    *,
    bound: float,
    metric: str,
    strength: str,
    title: str = "",
    subtitle: str = "",
) -> alt.VConcatChart:
    """Return effect against strength, a band for random directions behind it, above plain text's perplexity.

    Parameters
    ----------
    points : DataFrame
        ``site``, ``strength``, ``effect``, ``low``, ``high``, ``control``, ``control_low``, ``control_high``,
        ``perplexity_ratio``, ``control_perplexity_ratio``.
    sites : DataFrame
        ``site``, ``gain``: one column of charts each, at most `MOST_SITES` of them, those of the largest gains.
    bound : float
        How much larger the perplexity may become.
    metric, strength : str
        What is on the axes.
    title, subtitle : str
        Above the chart.
    """
    most = sites["gain"].abs().nlargest(MOST_SITES).index
    shown = sites.loc[sites.index.isin(most), "site"].tolist()
    if len(shown) < len(sites):
        subtitle = f"{subtitle} Drawn: the {len(shown)} of {len(sites)} sites with the largest gains."
    # the untouched model is a point of every line
    origin = pd.DataFrame({"site": shown, "strength": 0.0}).assign(
        **dict.fromkeys(("effect", "low", "high", "control", "control_low", "control_high"), 0.0),
        perplexity_ratio=1.0,
        control_perplexity_ratio=1.0,
    )
    data = pd.concat([points[points["site"].isin(shown)][list(origin.columns)], origin]).sort_values("strength")
    effects = data[["low", "high", "control_low", "control_high", "effect"]].to_numpy()
    reach = [float(np.nanmin(effects)), float(np.nanmax(effects))]
    measured = bool(points["perplexity_ratio"].notna().any())
    ratios = data[["perplexity_ratio", "control_perplexity_ratio"]].to_numpy()
    # what breaks the model altogether would leave no room for what does not
    most_ratio = min(float(np.nanmax(ratios)), 4 * bound)
    width = int(np.clip(760 / len(shown), 90, 320))
    rows = [
        [
            _effect(data[data["site"] == site], reach, width, first, site)
            for site, first in zip(shown, _firsts(shown), strict=True)
        ]
    ]
    if measured:
        rows.append(
            [
                _side_effect(data[data["site"] == site], [0.9, max(most_ratio, bound) * 1.05], width, bound, first)
                for site, first in zip(shown, _firsts(shown), strict=True)
            ]
        )
    beside = [alt.hconcat(*row, spacing=_BETWEEN) for row in rows]
    told = f"{subtitle} Effect: change of {metric}, 95 % interval over prompts. Strength: {strength}."
    return themed(alt.vconcat(*beside, title=_heading(title, told, len(shown) * (width + _BETWEEN))))


def _effect(data: pd.DataFrame, reach: Sequence[float], width: int, first: bool, site: str) -> alt.LayerChart:
    base = alt.Chart(inline(data))
    x = alt.X("strength:Q", title=None, axis=alt.Axis(tickCount=3))
    axis = alt.Axis(labels=first, ticks=first, minExtent=_AXIS if first else 0)
    scale = alt.Scale(domain=list(reach))
    title = "effect" if first else None

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title=title, scale=scale, axis=axis)

    band = base.mark_area(color=_CONTROL, opacity=0.3).encode(x, y("control_low"), alt.Y2("control_high:Q"))
    middle = base.mark_line(color=_CONTROL, strokeDash=[4, 3]).encode(x, y("control"))
    spans = base.mark_rule(color=_VECTOR, strokeWidth=2).encode(x, y("low"), alt.Y2("high:Q"))
    run = [("vector", _VECTOR), ("95 % of random ones", _CONTROL)]
    line = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        x,
        y("effect"),
        alt.Color(
            "run:N",
            legend=alt.Legend(title=None, orient="bottom"),
            scale=alt.Scale(domain=[name for name, _ in run], range=[color for _, color in run]),
        ),
        tooltip=[
            alt.Tooltip("site:N"),
            *(
                alt.Tooltip(f"{name}:Q", format=".3g")
                for name in ("strength", "effect", "low", "high", "control_low", "control_high", "perplexity_ratio")
            ),
        ],
    )
    line = line.transform_calculate(run="'vector'")
    zero = alt.Chart(inline(pd.DataFrame({"at": [0.0]}))).mark_rule(color=FAINT).encode(alt.Y("at:Q"))
    return alt.layer(zero, band, middle, spans, line, width=width, height=200, title=alt.TitleParams(site, fontSize=12))


def _side_effect(data: pd.DataFrame, domain: Sequence[float], width: int, bound: float, first: bool) -> alt.LayerChart:
    base = alt.Chart(inline(data))
    x = alt.X("strength:Q", title="strength", axis=alt.Axis(tickCount=3))
    scale = alt.Scale(type="log", domain=list(domain), clamp=True)
    axis = alt.Axis(labels=first, ticks=first, tickCount=4, minExtent=_AXIS if first else 0)
    title = "perplexity, ×" if first else None

    def line(name: str, color: str, **mark: Any) -> alt.Chart:
        return base.mark_line(color=color, **mark).encode(
            x,
            alt.Y(f"{name}:Q", title=title, scale=scale, axis=axis),
            tooltip=[
                alt.Tooltip(f"{n}:Q", format=".3g")
                for n in ("strength", "perplexity_ratio", "control_perplexity_ratio")
            ],
        )

    limit = alt.Chart(inline(pd.DataFrame({"at": [bound]})))
    rule = limit.mark_rule(color=INK, strokeDash=[5, 4]).encode(alt.Y("at:Q", scale=scale))
    vector = line("perplexity_ratio", _VECTOR, point=alt.OverlayMarkDef(size=28, color=_VECTOR))
    return alt.layer(
        rule, line("control_perplexity_ratio", _CONTROL, strokeDash=[4, 3]), vector, width=width, height=120
    )


def _firsts(shown: Sequence[str]) -> list[bool]:
    return [i == 0 for i in range(len(shown))]


def _site_axis(frame: pd.DataFrame) -> alt.X:
    components = {str(site).partition(".")[0] for site in frame["site"]}
    if frame["layer"].notna().all() and frame["layer"].is_unique:
        return alt.X(
            "layer:O",
            title=f"layer of {components.pop()}" if len(components) == 1 else "layer",
            axis=alt.Axis(labelAngle=0, labelOverlap=True),
        )
    return alt.X("site:N", title=None, sort=frame["site"].tolist())


def _heading(title: str, subtitle: str, width: int) -> alt.TitleParams:
    """Return a title whose subtitle is in lines as long as a chart is wide: Vega does not break them itself."""
    most = max(width // 6, 60)
    return alt.TitleParams(text=title, subtitle=textwrap.wrap(subtitle, most), limit=max(width, 480), offset=12)
