"""What each layer says at each token: a grid of words, coloured by how sure it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import MAX_ROWS, inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

if TYPE_CHECKING:
    from collections.abc import Sequence

_CELL = (62, 17)
_WORDS = 48
"""With more tokens than this the words would not be read, and cells are small squares."""
_LOW, _MIDDLE, _HIGH = OKABE_ITO[0], "#EEEEEE", OKABE_ITO[3]


def lens_chart(
    frame: pd.DataFrame, *, quantity: str, signed: bool = False, title: str = "", subtitle: str = ""
) -> alt.LayerChart:
    """Return the grid, the last layer on top.

    Parameters
    ----------
    frame : DataFrame
        One line a cell: ``layer``, ``position``, ``token``, ``top`` (the text in the cell), ``probability``, ``value``.
    quantity : str
        What ``value`` is.
    signed : bool
        Whether it is a difference, so that 0 is the middle of the colours.
    title, subtitle : str
        Above the chart.

    Raises
    ------
    ValueError
        For more cells than a page can draw.
    """
    if len(frame) > MAX_ROWS:
        layers = frame["layer"].nunique()
        raise ValueError(
            f"got {len(frame):,} cells to draw; a chart holds at most {MAX_ROWS:,}: choose up to {MAX_ROWS // layers} tokens, for example "
            f"tokens=slice(-{MAX_ROWS // layers // 2}, None)."
        )
    # names on the axis must differ, or cells would fall together
    columns = [f"{position} {token}" for position, token in zip(frame["position"], frame["token"], strict=True)]
    rows = ["embed" if layer < 0 else str(layer) for layer in frame["layer"]]
    values = frame["value"].to_numpy(dtype=np.float64)
    if signed:
        reach = float(np.abs(values).max(initial=0)) or 1.0
        scale = alt.Scale(domain=[-reach, 0, reach], range=[_LOW, _MIDDLE, _HIGH], interpolate="lab")
        dark = np.abs(values) > 0.6 * reach
    else:
        high = 1.0 if values.max(initial=0) <= 1 and quantity.startswith("p") else float(values.max(initial=0)) or 1.0
        scale = alt.Scale(domain=[0, high], range=[_MIDDLE, _LOW], interpolate="lab")
        dark = values > 0.6 * high
    data = pd.DataFrame(
        {
            "column": columns,
            "row": rows,
            "value": values,
            "top": [_word(text) for text in frame["top"]],
            "probability": frame["probability"].to_numpy(),
            "dark": dark,
        }
    )
    down = list(dict.fromkeys(rows))[::-1]
    across = list(dict.fromkeys(columns))
    words = len(across) <= _WORDS
    width, height = _CELL if words else (max(4, 900 // len(across)), 9)
    tips = [
        alt.Tooltip("row:N", title="layer"),
        alt.Tooltip("column:N", title="token"),
        alt.Tooltip("top:N", title="says"),
        alt.Tooltip("probability:Q", title="with probability", format=".3f"),
        alt.Tooltip("value:Q", title=quantity, format=".4g"),
    ]
    base = alt.Chart(inline(data)).encode(
        alt.X("column:O", title=None, sort=across, axis=_axis(across, words)),
        alt.Y("row:O", title="layer", sort=down, axis=alt.Axis(labelOverlap=True)),
    )
    cells = base.mark_rect().encode(
        alt.Color("value:Q", title=quantity, scale=scale, legend=alt.Legend(titleLimit=260)), tooltip=tips
    )
    shown = [cells]
    if words:
        text = base.mark_text(fontSize=10, limit=width - 4).encode(
            alt.Text("top:N"),
            color=alt.condition("datum.dark", alt.value("#FFFFFF"), alt.value("#000000")),
            tooltip=tips,
        )
        shown.append(text)
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    return themed(alt.layer(*shown, width=alt.Step(width), height=alt.Step(height), title=heading))


def tuned_chart(report: pd.DataFrame, *, title: str = "", subtitle: str = "") -> alt.Chart:
    """Return KL from the model's answer by layer, of the tuned and the logit lens; what is gained, with its interval, on pointing.

    Parameters
    ----------
    report : DataFrame
        One line a layer: ``site``, ``tuned_kl``, ``logit_kl``, ``gain``, ``low``, ``high``.
    title, subtitle : str
        Above the chart.
    """
    names = {"logit_kl": "logit lens", "tuned_kl": "tuned lens"}
    gains = report[["site", "gain", "low", "high"]]
    # the logit lens of the embeddings is tens of times as far off as all others; and a logarithm needs something
    rows = pd.concat([gains.assign(kl=report[column].clip(1e-3), lens=name) for column, name in names.items()])
    colour = alt.Color(
        "lens:N",
        sort=list(names.values()),
        scale=alt.Scale(domain=list(names.values()), range=[OKABE_ITO[1], OKABE_ITO[0]]),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    lines = (
        alt.Chart(inline(rows))
        .mark_line(point=True)
        .encode(
            alt.X("site:O", sort=report["site"].tolist(), title=None, axis=alt.Axis(labelAngle=-60)),
            alt.Y("kl:Q", title="KL from the model's answer (nats)", scale=alt.Scale(type="log")),
            colour,
            tooltip=[
                alt.Tooltip("site:N"),
                alt.Tooltip("lens:N"),
                *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("kl", "gain", "low", "high")),
            ],
        )
        .properties(width=520, height=260, title=alt.TitleParams(text=title, subtitle=subtitle))
    )
    return themed(lines)


def patchscope_chart(frame: pd.DataFrame, *, quantity: str, title: str = "", subtitle: str = "") -> alt.LayerChart:
    """Return the probability of a token by the layer that its state comes from, with what was said, beside the controls.

    Parameters
    ----------
    frame : DataFrame
        ``kind``, ``layer``, ``text``, ``tracked``.
    quantity : str
        What ``tracked`` is.
    title, subtitle : str
        Above the chart.
    """
    data = frame[["kind", "layer", "text", "tracked"]]
    kinds = [kind for kind in ("patched", "random") if (data["kind"] == kind).any()]
    x = alt.X("layer:Q", title="layer", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1))
    y = alt.Y("tracked:Q", title=quantity, scale=alt.Scale(domain=[0, 1]))
    colour = alt.Color(
        "kind:N",
        sort=kinds,
        scale=alt.Scale(domain=kinds, range=list(OKABE_ITO[: len(kinds)])),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    tips = [alt.Tooltip(f"{name}:N") for name in ("kind", "layer", "text")] + [alt.Tooltip("tracked:Q", format=".3f")]
    # several random states of a layer are points, which no line should join
    line = alt.Chart(inline(data[data["kind"] == "patched"])).mark_line().encode(x, y, colour)
    points = alt.Chart(inline(data[data["kind"] != "nothing"])).mark_point(filled=True, size=50)
    nothing = alt.Chart(inline(data[data["kind"] == "nothing"])).mark_rule(color=INK, strokeDash=[5, 4]).encode(y)
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    shown = alt.layer(nothing, line, points.encode(x, y, colour, tooltip=tips), width=480, height=240, title=heading)
    return themed(shown)


def future_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "") -> alt.LayerChart:
    """Return how often later tokens are told, by how many tokens ahead.

    Parameters
    ----------
    frame : DataFrame
        One line for each number of tokens ahead and predictor: ``ahead``, ``predictor``, ``precision``, ``low``, ``high``.
    title, subtitle : str
        Above the chart.
    """
    data = frame[["ahead", "predictor", "precision", "low", "high"]]
    names = list(dict.fromkeys(data["predictor"]))
    colour = alt.Color(
        "predictor:N",
        sort=names,
        scale=alt.Scale(domain=names, range=list(OKABE_ITO[: len(names)])),
        legend=alt.Legend(title=None, orient="bottom", columns=3),
    )
    base = alt.Chart(inline(data)).encode(
        alt.X("ahead:O", title="tokens ahead", axis=alt.Axis(labelAngle=0)),
        color=colour,
        xOffset=alt.XOffset("predictor:N", sort=names),
    )
    tips = [alt.Tooltip("predictor:N"), *(alt.Tooltip(f"{n}:Q", format=".1%") for n in ("precision", "low", "high"))]
    points = base.mark_point(filled=True, size=60).encode(
        alt.Y("precision:Q", title="share of tokens told right", axis=alt.Axis(format="%")), tooltip=tips
    )
    rules = base.mark_rule(strokeWidth=2).encode(alt.Y("low:Q"), alt.Y2("high:Q"))
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    return themed(alt.layer(rules, points, width=420, height=240, title=heading))


def _word(text: str) -> str:
    """Return a token as it fits into a cell: without the space in front, and in quotes where there is nothing else."""
    return repr(text)[1:-1].strip() if text.strip() else repr(text)


def _axis(across: Sequence[str], words: bool) -> alt.Axis:
    return alt.Axis(orient="top", labelAngle=-40, labelLimit=110, labelOverlap=not words)
