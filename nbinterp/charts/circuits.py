"""Circuits as layered graphs, and how much of a behaviour they keep."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import FAINT, INK, OKABE_ITO, themed

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EDGES = 400
"""More edges than this are a thicket: those with the largest scores are drawn."""

_WIDTH, _ROW = 620, 44
_HIGHEST, _LOWEST_ROW = 640, 17
_HEADING, _SUBHEADING = 80, 118  # letters that fit into a line above the graph
_INPUTS = {"q": "queries", "k": "keys", "v": "values", "": "MLP or logits"}
_DASHES = {"queries": [6, 3], "keys": [2, 2], "values": [1, 0], "MLP or logits": [1, 0]}


def circuit_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", most: int = MAX_EDGES) -> alt.LayerChart:
    """Return edges as a layered graph: the input below, the logits above, layers between them, those without a node left out.

    Parameters
    ----------
    frame : DataFrame
        One line an edge, the most important first: ``edge``, ``source``, ``target``, ``input``, ``source_layer``,
        ``target_layer``, ``score``.
    title, subtitle : str
        Above the chart.
    most : int
        Of more edges than these the first ones are drawn, and the subtitle says so.
    """
    drawn = frame.head(most)
    if len(drawn) < len(frame):
        subtitle += f"; the {len(drawn)} edges with the largest scores of {len(frame):,} drawn"
    ends = [
        (name, layer)
        for names, layers in (("source", "source_layer"), ("target", "target_layer"))
        for name, layer in zip(drawn[names], drawn[layers], strict=True)
    ]
    # a key that heads share goes to those of them that are there, or to its own place
    single = {name: int(layer) for name, layer in ends if not _shared(name)}
    reads: dict[str, list[str]] = {}
    for name, layer in ends:
        if _shared(name):
            reads[name] = [head for head in _heads(name) if head in single] or [name]
            if reads[name] == [name]:
                single[name] = int(layer)
    places = dict(_places(single))
    rows = 1 + int(max((y for _, y in places.values()), default=0))
    lines: list[list[tuple[Any, ...]]] = []
    for edge in drawn.to_dict("records"):
        score = float(edge["score"])
        for target in reads.get(edge["target"], [edge["target"]]):
            (x0, y0), (x1, y1) = places[edge["source"]], places[target]
            sign = "helps" if score >= 0 else "hinders"
            told = (len(lines), edge["edge"], score, abs(score), _INPUTS[edge["input"]], sign)
            lines.append([(*told, step, x, y) for step, (x, y) in enumerate(_way(x0, y0, x1, y1))])
    nodes = pd.DataFrame([(name, x, y) for name, (x, y) in places.items()], columns=["node", "x", "y"])
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.6, 0.6]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.6, rows - 0.4]))
    columns = ["line", "edge", "score", "size", "into", "sign", "step", "x", "y"]
    points = pd.DataFrame([point for line in lines for point in line], columns=columns)
    wires = (
        alt.Chart(inline(points))
        .mark_line(opacity=0.75, interpolate="basis")
        .encode(
            x,
            y,
            alt.Detail("line:N"),
            alt.Order("step:Q"),
            alt.StrokeWidth("size:Q", scale=alt.Scale(range=[0.6, 5]), legend=None),
            alt.Color(
                "sign:N",
                title="the edge",
                scale=alt.Scale(domain=["helps", "hinders"], range=[OKABE_ITO[0], OKABE_ITO[3]]),
            ),
            alt.StrokeDash(
                "into:N", title="goes into", scale=alt.Scale(domain=list(_DASHES), range=list(_DASHES.values()))
            ),
            tooltip=[alt.Tooltip("edge:N"), alt.Tooltip("score:Q", format="+.4g"), alt.Tooltip("into:N", title="into")],
        )
    )
    spots = alt.Chart(inline(nodes)).mark_circle(size=70, color=INK, opacity=1).encode(x, y, tooltip=["node:N"])
    names = (
        alt.Chart(inline(nodes)).mark_text(dx=7, fontSize=11, align="left", color=INK).encode(x, y, alt.Text("node:N"))
    )
    # what does not fit into a line goes on in the next
    heading = alt.TitleParams(
        text=textwrap.wrap(title, _HEADING) or "",
        subtitle=textwrap.wrap(subtitle, _SUBHEADING) or "",
        limit=_WIDTH + 160,
    )
    # of many layers rows are low, so that the graph is seen whole
    row = max(_LOWEST_ROW, min(_ROW, _HIGHEST / rows))
    return themed(alt.layer(wires, spots, names, width=_WIDTH, height=max(row * rows, 120), title=heading))


def _way(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    """Return the points along which an edge goes: between nodes above each other it bows, past those that lie between."""
    if x0 != x1 or abs(y1 - y0) < 1.5:
        return [(x0, y0), (x1, y1)]
    return [(x0, y0), (x0 - min(0.16, 0.03 + 0.006 * abs(y1 - y0)), (y0 + y1) / 2), (x1, y1)]


def _shared(name: str) -> bool:
    return re.fullmatch(r"L\d+H\d+-\d+", name) is not None


def _heads(shared: str) -> list[str]:
    layer, first, last = map(int, re.findall(r"\d+", shared))
    return [f"L{layer}H{head}" for head in range(first, last + 1)]


def _places(nodes: dict[str, int]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield where each node is drawn: a row for each layer, heads by their numbers from left to right, MLPs in a column behind."""
    rows = {layer: row for row, layer in enumerate(sorted(set(nodes.values())))}
    numbers = {name: int(re.findall(r"\d+", name)[1]) for name in nodes if name.startswith("L")}
    most = max(numbers.values(), default=0) or 1
    for name, layer in nodes.items():
        row = float(rows[layer])
        if name in numbers:
            yield name, (0.9 * numbers[name] / most - 0.5, row)
        else:
            # an MLP reads the heads beside it, so that it stands a little above them
            yield name, (0.5, row + 0.35) if name.startswith("M") else (0.0, row)


def faithfulness_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "") -> alt.LayerChart:
    """Return faithfulness over the number of kept edges, with the band of random circuits of equal size.

    Parameters
    ----------
    frame : DataFrame
        ``n_edges``, ``kept``, ``faithfulness``, ``random_low``, ``random_high`` (may be missing values).
    title, subtitle : str
        Above the chart.
    """
    # a logarithmic axis has no room for a circuit of which only dead ends were chosen
    data = frame.assign(shown=frame["n_edges"].clip(lower=1))
    x = alt.X("shown:Q", title="edges chosen", scale=alt.Scale(type="log", nice=False))
    y = alt.Y("faithfulness:Q", title="faithfulness (0 = corrupted, 1 = clean)")
    tips = [
        alt.Tooltip("n_edges:Q", title="chosen", format=","),
        alt.Tooltip("kept:Q", title="without dead ends", format=","),
        alt.Tooltip("faithfulness:Q", format=".3f"),
        alt.Tooltip("random_low:Q", format=".3f"),
        alt.Tooltip("random_high:Q", format=".3f"),
    ]
    line = (
        alt.Chart(inline(data))
        .mark_line(point=alt.OverlayMarkDef(size=28), color=OKABE_ITO[0])
        .encode(x, y, tooltip=tips)
    )
    ends = (
        alt.Chart(inline(pd.DataFrame({"y": [0.0, 1.0]}))).mark_rule(color=INK, strokeDash=[5, 4]).encode(alt.Y("y:Q"))
    )
    layers = [ends, line]
    known = data[data["random_low"].notna()]
    if len(known):
        band = alt.Chart(inline(known)).mark_area(color=FAINT).encode(x, alt.Y("random_low:Q"), alt.Y2("random_high:Q"))
        last = known.iloc[[max(len(known) // 3, 0)]].assign(text="random circuits")
        words = alt.Chart(inline(last)).mark_text(dy=-8, fontSize=11, color=INK)
        layers = [band, ends, words.encode(x, alt.Y("random_high:Q"), alt.Text("text:N")), line]
    return themed(alt.layer(*layers, width=480, height=260, title=alt.TitleParams(text=title, subtitle=subtitle)))
