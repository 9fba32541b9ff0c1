"""What each head and each MLP writes of a logit: a grid by layer, and the largest parts as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import OKABE_ITO, themed

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOW, _MIDDLE, _HIGH = OKABE_ITO[0], "#EEEEEE", OKABE_ITO[3]
_BARS = 14


def attribution_chart(frame: pd.DataFrame, *, value: str, title: str = "", subtitle: str = "") -> alt.HConcatChart:
    """Return heads, MLPs and the rest by layer, blue where they write against the logit and red where for it; and the largest.

    Parameters
    ----------
    frame : DataFrame
        One line a part: ``part``, ``kind``, ``layer``, ``head`` (−1 where there is none), and the column `value`, in logits.
    value : str
        Which column to draw.
    title, subtitle : str
        Above the chart.
    """
    values = frame[value].to_numpy(dtype=np.float64)
    reach = float(np.abs(values).max(initial=0)) or 1.0
    scale = alt.Scale(domain=[-reach, 0, reach], range=[_LOW, _MIDDLE, _HIGH], interpolate="lab")
    color = alt.Color("value:Q", title="logits", scale=scale)
    data = pd.DataFrame(
        {
            "part": frame["part"].to_numpy(),
            "column": [_column(kind, head) for kind, head in zip(frame["kind"], frame["head"], strict=True)],
            "row": [_row(kind, layer) for kind, layer in zip(frame["kind"], frame["layer"], strict=True)],
            "value": values,
        }
    )
    tips = [alt.Tooltip("part:N"), alt.Tooltip("value:Q", title=f"{value} (logits)", format="+.4f")]
    across, down = _ordered(data["column"], ["MLP", "bias", "intervention", "rest"]), _layers(data["row"])
    grid = (
        alt.Chart(inline(data))
        .mark_rect()
        .encode(
            alt.X("column:O", title="head", sort=across, axis=alt.Axis(labelAngle=-40 if len(across) > 1 else 0)),
            alt.Y("row:O", title="layer", sort=down, axis=alt.Axis(labelOverlap=True)),
            color,
            tooltip=tips,
        )
        .properties(width=alt.Step(20), height=alt.Step(max(8, min(18, 480 // max(len(down), 1)))))
    )
    largest = data.iloc[np.argsort(-np.abs(values), kind="stable")[:_BARS]]
    bars = (
        alt.Chart(inline(largest))
        .mark_bar()
        .encode(
            alt.Y("part:N", sort=largest["part"].tolist(), title=None),
            alt.X("value:Q", title=f"{value} (logits)"),
            color,
            tooltip=tips,
        )
        .properties(width=220, height=alt.Step(20))
    )
    return themed(alt.hconcat(grid, bars, title=alt.TitleParams(text=title, subtitle=subtitle)))


def _column(kind: str, head: int) -> str:
    return {"head": str(head), "mlp": "MLP", "attention bias": "bias", "intervention": "intervention"}.get(kind, "rest")


def _row(kind: str, layer: int) -> str:
    return str(layer) if layer >= 0 else kind


def _ordered(names: pd.Series[str], last: Sequence[str]) -> list[str]:
    """Return numbers in order, then what has a name."""
    found = set(names)
    return sorted((name for name in found if name.isdigit()), key=int) + [name for name in last if name in found]


def _layers(names: pd.Series[str]) -> list[str]:
    """Return the last layer first, and what is no layer at the bottom."""
    found = list(dict.fromkeys(names))
    return sorted((name for name in found if name.isdigit()), key=int, reverse=True) + [
        name for name in found if not name.isdigit()
    ]
