"""How well ways of steering do: hit rates beside their controls, and energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from nbinterp.charts.data import inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

if TYPE_CHECKING:
    import pandas as pd


def steering_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", width: int = 260) -> alt.HConcatChart:
    """Return hit rates with their intervals, and energies, one line a method.

    Parameters
    ----------
    frame : DataFrame
        ``method``, ``hit_rate``, ``low``, ``high``, ``energy`` (missing where a method has no way).
    title, subtitle : str
        Above the chart.
    width : int
        Of each half in pixels.
    """
    data = frame[["method", "hit_rate", "low", "high", "energy"]]
    order = data["method"].tolist()
    y = alt.Y("method:N", sort=order, title=None)
    bars = alt.Chart(inline(data)).mark_bar(color=OKABE_ITO[0])
    rates = bars.encode(
        y,
        alt.X("hit_rate:Q", title="hit rate", scale=alt.Scale(domain=[0, 1])),
        tooltip=[
            alt.Tooltip("method:N"),
            alt.Tooltip("hit_rate:Q", format=".1%"),
            alt.Tooltip("low:Q", format=".1%"),
            alt.Tooltip("high:Q", format=".1%"),
        ],
    )
    spans = alt.Chart(inline(data)).mark_rule(color=INK, strokeWidth=2).encode(y, alt.X("low:Q"), alt.X2("high:Q"))
    energies = alt.Chart(inline(data[data["energy"].notna()])).mark_bar(color=OKABE_ITO[1])
    energies = energies.encode(
        alt.Y("method:N", sort=order, title=None),
        alt.X("energy:Q", title="energy: distance of the way from the model's own answers"),
        tooltip=[alt.Tooltip("method:N"), alt.Tooltip("energy:Q", format=".4f")],
    )
    left = alt.layer(rates, spans, width=width, height=alt.Step(26))
    right = energies.properties(width=width, height=alt.Step(26))
    return themed(alt.hconcat(left, right, title=alt.TitleParams(text=title, subtitle=subtitle)))
