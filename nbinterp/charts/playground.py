"""The playground as charts: next tokens in the three runs, and the dose-response curve."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RUNS = {"base": "untouched", "changed": "changed", "control": "random direction"}
_COLOURS = (OKABE_ITO[6], OKABE_ITO[0], OKABE_ITO[1])
_SHOWN = 6
_LINE = 100  # characters that the picture is wide


def playground_chart(
    answer: Mapping[str, Any],
    curve: Mapping[str, Any] | None,
    *,
    title: str,
    value: float | None = None,
    name: str = "",
) -> alt.VConcatChart:
    """Return what a playground shows; what has to be known about the answer stands below the title.

    Parameters
    ----------
    answer : mapping
        A `nbinterp.widgets.protocol.PlaygroundAnswer`.
    curve : mapping, optional
        A `nbinterp.widgets.protocol.Curve`.
    title : str
        Above the chart.
    value : float, optional
        Where the slider stands.
    name : str
        What the slider is called.
    """
    parts = [_bars(answer)]
    if curve is not None and curve["values"]:
        tracked = [one["text"] for one in answer["tracked"]]
        parts.append(_response(curve, tracked, name or curve["parameter"], value))
    chart = alt.vconcat(*parts).resolve_scale(color="independent", strokeDash="independent")
    warnings = [line for one in answer["warnings"] for line in textwrap.wrap(f"! {one}", _LINE)]
    words = textwrap.wrap(title, _LINE)
    heading = alt.TitleParams(words, anchor="start", fontSize=12, limit=700, subtitle=warnings, subtitleColor=INK)
    return themed(chart.properties(title=heading))


def comparison_chart(frame: pd.DataFrame, names: Sequence[str]) -> alt.Chart:
    """Return two runs' next tokens as bars side by side.

    Parameters
    ----------
    frame : DataFrame
        ``token``, and a column of probabilities for each run.
    names : sequence of str
        Those two columns.
    """
    rows = pd.DataFrame(
        [
            {"token": row["token"], "run": name, "probability": row[name]}
            for name in names
            for _, row in frame.iterrows()
        ]
    )
    return themed(_grouped(rows, frame["token"].tolist(), list(names), _COLOURS[1:]))


def _bars(answer: Mapping[str, Any]) -> alt.Chart:
    tokens = [chance["text"] for chance in answer["candidates"]]
    rows = [
        {"token": chance["text"], "run": words, "probability": chance[key]}
        for chance in answer["candidates"]
        for key, words in _RUNS.items()
    ]
    return _grouped(pd.DataFrame(rows), tokens, list(_RUNS.values()), _COLOURS).properties(
        title=alt.TitleParams("next token", anchor="start")
    )


def _grouped(rows: pd.DataFrame, tokens: Sequence[str], runs: Sequence[str], colours: Sequence[str]) -> alt.Chart:
    return (
        alt.Chart(inline(rows))
        .mark_bar()
        .encode(
            alt.Y("token:N", sort=list(tokens), title=None),
            alt.X("probability:Q", title="probability", axis=alt.Axis(format="%")),
            alt.YOffset("run:N", sort=list(runs)),
            alt.Color("run:N", title=None, sort=list(runs), scale=alt.Scale(domain=list(runs), range=list(colours))),
            tooltip=[alt.Tooltip("token:N"), alt.Tooltip("run:N"), alt.Tooltip("probability:Q", format=".2%")],
        )
        .properties(width=420, height=alt.Step(9))
    )


def _lines(curve: Mapping[str, Any], tracked: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the series that are drawn: the tokens that are followed, then the likeliest, as the page draws them."""
    known = {one["text"]: one for one in curve["series"]}
    followed = [known[text] for text in tracked if text in known]
    others = sorted(
        (one for text, one in known.items() if text not in tracked),
        key=lambda one: -max([*one["changed"], one["base"]]),
    )
    return [*followed, *others][: max(_SHOWN, len(followed))]


def _response(curve: Mapping[str, Any], tracked: Sequence[str], name: str, value: float | None) -> alt.LayerChart:
    shown = _lines(curve, tracked)
    rows = [
        {"value": at, "token": one["text"], "run": _RUNS[key], "probability": p}
        for one in shown
        for key in ("changed", "control")
        for at, p in zip(curve["values"], one[key], strict=True)
    ]
    x = alt.X("value:Q", title=name)
    lines = (
        alt.Chart(inline(pd.DataFrame(rows)))
        .mark_line()
        .encode(
            x,
            alt.Y("probability:Q", title="probability", axis=alt.Axis(format="%")),
            alt.Color(
                "token:N",
                title="next token",
                sort=[one["text"] for one in shown],
                scale=alt.Scale(range=list(OKABE_ITO)),
            ),
            alt.StrokeDash("run:N", title=None, sort=[_RUNS["changed"], _RUNS["control"]]),
            alt.Opacity(
                "run:N", legend=None, scale=alt.Scale(domain=[_RUNS["changed"], _RUNS["control"]], range=[1, 0.45])
            ),
            tooltip=[
                alt.Tooltip("token:N"),
                alt.Tooltip("run:N"),
                alt.Tooltip("value:Q", format=".3g"),
                alt.Tooltip("probability:Q", format=".2%"),
            ],
        )
    )
    layers = [lines]
    if value is not None:
        layers.append(alt.Chart(inline(pd.DataFrame({"value": [value]}))).mark_rule(color=INK).encode(x))
    return alt.layer(*layers).properties(
        width=420, height=180, title=alt.TitleParams("dose and response", anchor="start")
    )
