"""The dial as a chart: where the hand points, what the model says there, and the response over the whole turn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RUNS = {"base": "untouched", "turned": "turned", "control": "random direction"}
_COLOURS = {"untouched": "#999999", "turned": "#0072B2", "random direction": "#E69F00"}
_SHOWN = 8


def dial_chart(
    labels: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], sweep: Mapping[str, Any], title: str
) -> alt.VConcatChart:
    """Return the dial's picture.

    Parameters
    ----------
    labels : sequence of mappings
        ``text``, ``angle`` (radians, clockwise from the top), ``x``, ``y`` (units of the mean radius).
    answer : mapping
        A `nbinterp.widgets.protocol.DialAnswer`.
    sweep : mapping
        A `nbinterp.widgets.protocol.DialSweep`.
    title : str
        What the picture shows, in words.
    """
    top = _hand(labels, answer) | _bars(answer)
    return alt.vconcat(
        top, _response(labels, answer, sweep, "turned") & _response(labels, answer, sweep, "control")
    ).properties(title=alt.Title(title, anchor="start", fontSize=12, fontWeight="normal"))


def _on_clock(angle: float, radius: float = 1.0) -> dict[str, float]:
    return {"x": radius * math.sin(angle), "y": radius * math.cos(angle)}


def _hand(labels: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> alt.LayerChart:
    scale = alt.Scale(domain=[-1.6, 1.6])
    x, y = alt.X("x:Q", scale=scale, axis=None), alt.Y("y:Q", scale=scale, axis=None)
    ring = pd.DataFrame([{"order": i, **_on_clock(2 * math.pi * i / 120)} for i in range(121)])
    names = pd.DataFrame([{"text": label["text"], **_on_clock(label["angle"], 1.3)} for label in labels])
    # (x, y) are the plane's axes, angle counted from x towards y: on the clock x points up and y to the right
    points = pd.DataFrame(
        [
            {"order": i, "x": labels[i % len(labels)]["y"], "y": labels[i % len(labels)]["x"]}
            for i in range(len(labels) + 1)
        ]
    )
    hand = pd.DataFrame([{"x": 0.0, "y": 0.0, "order": 0}, {"order": 1, **_on_clock(answer["angle"])}])
    start = pd.DataFrame([_on_clock(answer["start"])])
    layers = [
        alt.Chart(ring).mark_line(color="#bbbbbb", strokeWidth=1).encode(x, y, order="order:O"),
        alt.Chart(points).mark_line(color="#56B4E9", strokeWidth=1, opacity=0.7).encode(x, y, order="order:O"),
        alt.Chart(points).mark_point(color="#56B4E9", filled=True, size=25).encode(x, y),
        alt.Chart(names).mark_text(fontSize=11).encode(x, y, text="text:N"),
        alt.Chart(start).mark_point(color="#555555", size=90, shape="diamond").encode(x, y),
        alt.Chart(hand).mark_line(color=_COLOURS["turned"], strokeWidth=3).encode(x, y, order="order:O"),
        alt.Chart(hand.tail(1)).mark_point(color=_COLOURS["turned"], filled=True, size=160).encode(x, y),
    ]
    return alt.layer(*layers).properties(width=280, height=280)


def _bars(answer: Mapping[str, Any]) -> alt.Chart:
    rows = [
        {"token": candidate["text"], "run": name, "order": i, "probability": candidate[key]}
        for candidate in answer["candidates"]
        for i, (key, name) in enumerate(_RUNS.items())
    ]
    order = [candidate["text"] for candidate in answer["candidates"]]
    return (
        alt.Chart(pd.DataFrame(rows), title=alt.Title("next token", anchor="start"))
        .mark_bar()
        .encode(
            alt.Y("token:N", sort=order, title=None),
            alt.X("probability:Q", title="probability", axis=alt.Axis(format="%")),
            alt.YOffset("run:N", sort=list(_RUNS.values())),
            alt.Color("run:N", scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())), title=None),
            tooltip=["token:N", "run:N", alt.Tooltip("probability:Q", format=".1%")],
        )
        .properties(width=300, height=280)
    )


def _response(
    labels: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], sweep: Mapping[str, Any], key: str
) -> alt.LayerChart:
    shown = sorted(sweep["series"], key=lambda series: -max(series["turned"]))[:_SHOWN]
    rows = [
        {"angle": angle, "token": series["text"], "probability": p}
        for series in shown
        for angle, p in zip(sweep["angles"], series[key], strict=True)
    ]
    height = 130 if key == "turned" else 70
    ticks = alt.Axis(values=[label["angle"] for label in labels], labels=False, grid=False)
    x = alt.X("angle:Q", title=None, axis=ticks, scale=alt.Scale(domain=[0, 2 * math.pi]))
    y = alt.Y("probability:Q", title="probability", axis=alt.Axis(format="%", tickCount=4))
    title = {"turned": "turned along the circle", "control": "same length, random direction"}[key]
    lines = (
        alt.Chart(pd.DataFrame(rows), title=alt.Title(title, anchor="start"))
        .mark_line()
        .encode(
            x,
            y,
            alt.Color("token:N", title="next token", sort=[s["text"] for s in shown]),
            tooltip=["token:N", alt.Tooltip("probability:Q", format=".1%")],
        )
    )
    rule = alt.Chart(pd.DataFrame({"angle": [answer["angle"]]})).mark_rule(color=_COLOURS["turned"]).encode(x)
    # the labels' texts are data here: an axis could show them only through an expression
    names = (
        alt.Chart(pd.DataFrame(list(labels)))
        .mark_text(fontSize=10, baseline="top")
        .encode(x, y=alt.value(height + 8), text="text:N")
    )
    return alt.layer(lines, rule, names).resolve_scale(color="independent").properties(width=620, height=height)
