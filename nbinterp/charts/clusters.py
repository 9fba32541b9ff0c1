"""Clusters and Mapper graphs as pictures."""

from __future__ import annotations

import altair as alt
import pandas as pd

from nbinterp.charts.data import inline, tooltips
from nbinterp.charts.theme import INK, palette, themed


def clusters_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", size: int = 340) -> alt.LayerChart:
    """Return rows in the plane of the first two components, coloured by cluster; noise is grey.

    Parameters
    ----------
    frame : DataFrame
        What `Clusters.frame` gives.
    title, subtitle : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    frame = frame[frame[["pc1", "pc2"]].notna().all(axis=1)]
    tips = [str(c) for c in frame.columns if c not in ("pc1", "pc2")][:8]
    shown, tooltip = tooltips(frame, tips)
    data = shown.assign(x=frame["pc1"], y=frame["pc2"], label=[f"cluster {label}" for label in frame["cluster"]])
    inside = (frame["cluster"] >= 0).to_numpy()
    labels = [f"cluster {label}" for label in sorted(set(frame["cluster"][inside]))]
    x = alt.X("x:Q", title="pc1", scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title="pc2", scale=alt.Scale(zero=False))
    # noise is no cluster, and so has neither colour nor name
    noise = alt.Chart(inline(data[~inside])).mark_circle(size=30, opacity=0.5, color=INK)
    dots = alt.Chart(inline(data[inside])).mark_circle(size=42, opacity=0.8)
    color = alt.Color("label:N", sort=labels, legend=None, scale=alt.Scale(domain=labels, range=palette(labels)))
    means = data[inside].groupby("label", sort=False)[["x", "y"]].mean().reset_index()
    words = alt.Chart(inline(means)).mark_text(fontSize=12, fontWeight="bold", dy=-12, color=INK)
    layers = (
        noise.encode(x, y, tooltip=tooltip),
        dots.encode(x, y, color=color, tooltip=tooltip),
        words.encode(alt.X("x:Q"), alt.Y("y:Q"), alt.Text("label:N")),
    )
    return themed(alt.layer(*layers, width=size, height=size, title=alt.TitleParams(text=title, subtitle=subtitle)))


def mapper_chart(
    nodes: pd.DataFrame, links: pd.DataFrame, *, lens: str, title: str = "", subtitle: str = "", size: int = 400
) -> alt.LayerChart:
    """Return a graph: a dot a node, as large as its rows are many and coloured by the lens, and a line an edge.

    Parameters
    ----------
    nodes : DataFrame
        What `MapperGraph.frame` gives.
    links : DataFrame
        What `MapperGraph.links` gives.
    lens : str
        What the colours are.
    title, subtitle : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    places = nodes.set_index("node")[["x", "y"]]
    ends = [places.loc[links[end]].reset_index(drop=True) for end in ("source", "target")]
    lines = pd.DataFrame(
        {
            "x": ends[0]["x"],
            "y": ends[0]["y"],
            "x2": ends[1]["x"],
            "y2": ends[1]["y"],
            "n_shared": links["n_shared"].to_numpy(),
        }
    )
    reach = 1.1 * max(float(places.abs().to_numpy().max()), 1e-6)
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    x, y = alt.X("x:Q", scale=scale, axis=None), alt.Y("y:Q", scale=scale, axis=None)
    edges = (
        alt.Chart(inline(lines))
        .mark_rule(color=INK, opacity=0.6)
        .encode(
            x,
            y,
            x2="x2:Q",
            y2="y2:Q",
            strokeWidth=alt.StrokeWidth("n_shared:Q", scale=alt.Scale(range=[1, 4]), legend=None),
            tooltip=[alt.Tooltip("n_shared:Q", title="rows shared")],
        )
    )
    dots = (
        alt.Chart(inline(nodes))
        .mark_circle(opacity=1, stroke=INK, strokeWidth=1)
        .encode(
            x,
            y,
            size=alt.Size(
                "n_rows:Q",
                title="rows",
                scale=alt.Scale(range=[40, 500], zero=True),
                legend=alt.Legend(symbolFillColor=INK),
            ),
            color=alt.Color("lens:Q", title=lens, scale=alt.Scale(scheme="viridis")),
            tooltip=[
                alt.Tooltip("node:N"),
                alt.Tooltip("name:N", title="in common"),
                alt.Tooltip("n_rows:Q", title="rows"),
                alt.Tooltip("lens:Q", title=lens, format=".3g"),
            ],
        )
    )
    heading = alt.TitleParams(text=title, subtitle=subtitle)
    return themed(alt.layer(edges, dots, width=size, height=size, title=heading))
