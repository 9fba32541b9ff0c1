"""Attention as heat maps: one head's pattern, and scores of all heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.sweeps import grid_chart
from nbinterp.charts.theme import OKABE_ITO, themed, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PALE = "#EEEEEE"


def pattern_chart(
    values: NDArray[Any], texts: Sequence[str], *, value: str, title: str = "", subtitle: str = ""
) -> alt.Chart:
    """Return one head's pattern: pale where nothing is, blue below and red above zero.

    Parameters
    ----------
    values : array, ``[query, key]``
        What is drawn; what lies behind the query is left out.
    texts : sequence of str, ``[n_tokens]``
        What stands at each token, no text twice.
    value : str
        What the numbers are.
    title, subtitle : str
        Above the chart.
    """
    query, key = np.tril_indices(len(texts))
    numbers = values[query, key]
    rows = pd.DataFrame({"query": np.array(texts)[query], "key": np.array(texts)[key], "value": numbers})
    reach = float(np.abs(numbers).max(initial=0)) or 1.0
    low = -reach if (numbers < 0).any() else 0.0
    domain, colors = (
        ([-reach, 0, reach], [OKABE_ITO[0], _PALE, OKABE_ITO[3]]) if low else ([0, reach], [_PALE, OKABE_ITO[3]])
    )
    scale = alt.Scale(domain=domain, range=colors, interpolate="lab")
    side = min(max(22 * len(texts), 120), 520)
    # slanted names need their line's height and no more
    crowded = side / len(texts) < 14
    chart = (
        alt.Chart(inline(rows))
        .mark_rect()
        .encode(
            alt.X("key:O", sort=list(texts), axis=alt.Axis(labelAngle=-40, labelOverlap=crowded, labelLimit=100)),
            alt.Y("query:O", sort=list(texts), axis=alt.Axis(labelOverlap=crowded, labelLimit=100)),
            alt.Color("value:Q", title=value, scale=scale),
            tooltip=[
                alt.Tooltip("query:N", title="from"),
                alt.Tooltip("key:N", title="to"),
                alt.Tooltip("value:Q", title=value, format=".3g"),
            ],
        )
        .properties(width=side, height=side, title=alt.TitleParams(text=title, subtitle=subtitle))
    )
    return themed(chart)


def scores_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "") -> alt.Chart | alt.VConcatChart:
    """Return scores of heads as heat maps, one for each kind: layers run up, heads to the right.

    Parameters
    ----------
    frame : DataFrame
        One line a head and kind: ``kind``, ``layer``, ``head``, ``score``.
    title, subtitle : str
        Above the charts.
    """
    charts = [
        grid_chart(part, "layer", "head", "score", base=0.0, rising=True, title=f"{title}: {kind}", subtitle=subtitle)
        for kind, part in frame.groupby("kind", sort=False)
    ]
    return charts[0] if len(charts) == 1 else together([charts])
