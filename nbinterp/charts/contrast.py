"""What sets picked rows apart, as a picture: where rows held out lie along the direction."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

_BINS = 40
_SIDES = ("picked rows", "other rows")


def projections_chart(scores: pd.DataFrame, *, title: str = "", subtitle: str = "", width: int = 420) -> alt.LayerChart:
    """Return histograms of two sides' scores, each as a share of its own rows.

    Parameters
    ----------
    scores : DataFrame
        ``picked`` (true or false) and ``score``, one line a row.
    title, subtitle : str
        Above the chart.
    width : int
        In pixels.
    """
    values = scores["score"].to_numpy(dtype=np.float64)
    edges = np.histogram_bin_edges(values, _BINS) if len(values) else np.linspace(-1, 1, _BINS + 1)
    parts = []
    for side, rows in zip(_SIDES, (scores["picked"].astype(bool), ~scores["picked"].astype(bool)), strict=True):
        counts = np.histogram(values[rows.to_numpy()], edges)[0]
        parts.append(
            pd.DataFrame(
                {
                    "side": side,
                    "from": edges[:-1],
                    "to": edges[1:],
                    "rows": counts,
                    "share": counts / max(counts.sum(), 1),
                }
            )
        )
    data = pd.concat(parts, ignore_index=True)
    sides: dict[str, Any] = {"sort": list(_SIDES), "title": None}
    # the picked are filled and the others an outline: told apart without colour too
    bars = (
        alt.Chart(inline(data[data["rows"] > 0]))
        .mark_bar(strokeWidth=1.5)
        .encode(
            x=alt.X("from:Q", title="held-out projection (½ and −½: the means)", scale=alt.Scale(zero=False)),
            x2="to:Q",
            y=alt.Y("share:Q", title="share of the side's rows", stack=None, axis=alt.Axis(format="%")),
            y2=alt.datum(0),
            fill=alt.Fill("side:N", **sides, scale=alt.Scale(domain=list(_SIDES), range=[OKABE_ITO[3], OKABE_ITO[0]])),
            stroke=alt.Stroke(
                "side:N", **sides, scale=alt.Scale(domain=list(_SIDES), range=[OKABE_ITO[3], OKABE_ITO[0]])
            ),
            fillOpacity=alt.FillOpacity("side:N", **sides, scale=alt.Scale(domain=list(_SIDES), range=[0.7, 0.12])),
            tooltip=[
                "side:N",
                alt.Tooltip("from:Q", format=".2f"),
                alt.Tooltip("to:Q", format=".2f"),
                "rows:Q",
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    middle = (
        alt.Chart(inline(pd.DataFrame({"at": [0.0]}))).mark_rule(color=INK, strokeDash=[4, 4]).encode(alt.X("at:Q"))
    )
    chart = alt.layer(bars, middle, width=width, height=200, title=alt.TitleParams(text=title, subtitle=subtitle))
    return themed(chart)
