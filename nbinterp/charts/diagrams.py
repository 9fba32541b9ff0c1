"""Persistence diagrams, and what is made of them: bars, Betti curves, landscapes, images, loops from site to site."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.theme import INK, OKABE_ITO, themed

KINDS = {0: "H0 clusters", 1: "H1 loops", 2: "H2 cavities"}
"""What a class of each dimension is."""

MOST_CLASSES = 2000
"""Classes of each dimension that are drawn, the longest-lived ones: the others lie on the diagonal."""

MOST_BARS = 40
"""Bars of each dimension that are drawn."""

_COLORS = (OKABE_ITO[6], OKABE_ITO[3], OKABE_ITO[0])
_SHAPES = ("square", "circle", "triangle-up")


def longest_lived(frame: pd.DataFrame, most: int) -> tuple[pd.DataFrame, str]:
    """Return the longest-lived classes of each dimension, and a note where some are left out."""
    rank = frame.groupby("dimension")["persistence"].rank(ascending=False, method="first")
    kept = frame[rank <= most]
    note = f"the {most} longest-lived of each dimension, of {len(frame)} classes" if len(kept) < len(frame) else ""
    return kept, note


def drawn_classes(frame: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Return a diagram's frame with what is drawn (``kind``, ``drawn_death``, ``death_text``), and the axes' end.

    Classes that never die are drawn on the top edge.
    """
    finite = frame.loc[np.isfinite(frame["death"]), ["birth", "death"]].to_numpy(dtype=np.float64)
    end = 1.1 * float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    death = frame["death"].to_numpy(dtype=np.float64)
    drawn = frame.assign(
        kind=frame["dimension"].map(KINDS),
        drawn_death=np.where(np.isfinite(death), death, end),
        death_text=[f"{d:.4g}" if np.isfinite(d) else "never" for d in death],
        ratio=frame["death"] / frame["birth"].where(frame["birth"] > 0),
    )
    return drawn, end


def diagonal(end: float, threshold: float = 0.0, ratio: float = 1.0) -> alt.LayerChart:
    """Return the diagonal, and what noise stays below, where that is given: a dashed line `threshold` above it, and of slope `ratio`."""
    lines = pd.DataFrame({"x": [0.0, end], "y": [0.0, end]})
    layers = [alt.Chart(inline(lines)).mark_line(color=INK, strokeWidth=1).encode(alt.X("x:Q"), alt.Y("y:Q"))]
    if (threshold > 0 or ratio > 1) and threshold < end:

        def reached(y: float) -> float:
            return min(y - threshold, y / ratio)

        # a class must live long, and long for its birth
        bend = threshold / (ratio - 1) if ratio > 1 else end
        corner = [bend * ratio] if bend * ratio < end else []
        heights = [threshold, *corner, end]
        above = pd.DataFrame({"x": [reached(y) for y in heights], "y": heights})
        dashed = (
            alt.Chart(inline(above))
            .mark_line(color=INK, strokeWidth=1, strokeDash=[5, 4])
            .encode(alt.X("x:Q"), alt.Y("y:Q"))
        )
        middle = threshold + 0.9 * (end - threshold)
        high = pd.DataFrame({"x": [reached(middle)], "y": [middle], "text": ["noise stays below"]})
        words = alt.Chart(inline(high)).mark_text(align="right", dx=-14, dy=-4, fontSize=11, color=INK)
        layers += [dashed, words.encode(alt.X("x:Q"), alt.Y("y:Q"), alt.Text("text:N"))]
    return alt.layer(*layers)


def class_encoding(frame: pd.DataFrame, end: float) -> dict[str, alt.SchemaBase]:
    """Return the encoding of classes as points: place, colour and shape by dimension, tooltip."""
    kinds = [kind for kind in KINDS.values() if kind in set(frame["kind"])]
    colors, shapes = ([values[list(KINDS.values()).index(kind)] for kind in kinds] for values in (_COLORS, _SHAPES))
    legend = alt.Legend(title=None, orient="bottom")
    scale = alt.Scale(domain=[0, end], nice=False)
    return {
        "x": alt.X("birth:Q", title="birth (distance)", scale=scale),
        "y": alt.Y("drawn_death:Q", title="death (distance)", scale=scale),
        "color": alt.Color("kind:N", sort=kinds, legend=legend, scale=alt.Scale(domain=kinds, range=colors)),
        "shape": alt.Shape("kind:N", sort=kinds, legend=legend, scale=alt.Scale(domain=kinds, range=shapes)),
    }


def class_tooltips() -> list[alt.Tooltip]:
    """Return the tooltips of a class."""
    return [
        alt.Tooltip("class_id:N", title="class"),
        alt.Tooltip("birth:Q", format=".4g"),
        alt.Tooltip("death_text:N", title="death"),
        alt.Tooltip("ratio:Q", title="death / birth", format=".3g"),
        alt.Tooltip("n_rows:Q", title="rows on the loop"),
    ]


def persistence_chart(
    frame: pd.DataFrame,
    *,
    threshold: float = 0.0,
    ratio: float = 1.0,
    title: str = "",
    subtitle: str = "",
    size: int = 340,
) -> alt.LayerChart:
    """Return a persistence diagram; a loop far above the diagonal lives long.

    Parameters
    ----------
    frame : DataFrame
        What `Diagram.frame` gives.
    threshold, ratio : float
        Lifetime, and death / birth, that noise of the same covariance does not reach: a dashed line.
    title, subtitle : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    kept, note = longest_lived(frame, MOST_CLASSES)
    drawn, end = drawn_classes(kept)
    points = alt.Chart(inline(drawn)).mark_point(size=70, filled=True, opacity=0.85)
    points = points.encode(**class_encoding(drawn, end), tooltip=class_tooltips())
    heading = alt.TitleParams(text=title, subtitle=[line for line in (subtitle, note) if line])
    return themed(alt.layer(diagonal(end, threshold, ratio), points, width=size, height=size, title=heading))


def bar_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", size: int = 340) -> alt.VConcatChart:
    """Return the classes as bars from birth to death, a panel a dimension, the longest-lived on top.

    Parameters
    ----------
    frame : DataFrame
        What `Diagram.frame` gives. A class that never dies runs to the right edge.
    title, subtitle : str
        Above the chart.
    size : int
        Width in pixels.
    """
    kept, _ = longest_lived(frame, MOST_BARS)
    drawn, end = drawn_classes(kept)
    drawn = drawn.assign(order=drawn.groupby("dimension")["persistence"].rank(ascending=False, method="first"))
    scale = alt.Scale(domain=[0, end], nice=False)
    panels = []
    for dimension, kind in KINDS.items():
        bars = drawn[drawn["dimension"] == dimension]
        if not len(bars):
            continue
        all_of_it = int((frame["dimension"] == dimension).sum())
        shown = kind if len(bars) == all_of_it else f"{kind}: the {len(bars)} longest of {all_of_it}"
        panel = (
            alt.Chart(inline(bars))
            .mark_bar(height=3, color=_COLORS[dimension])
            .encode(
                alt.X("birth:Q", title="scale (distance)", scale=scale),
                alt.X2("drawn_death:Q"),
                alt.Y("order:O", title=None, axis=None),
                tooltip=class_tooltips(),
            )
            .properties(width=size, height=max(20, 5 * len(bars)), title=alt.TitleParams(text=shown, fontSize=12))
        )
        panels.append(panel)
    return themed(alt.vconcat(*panels, title=_heading(title, subtitle)).resolve_scale(x="shared"))


def null_chart(
    frame: pd.DataFrame, own: pd.Series, *, title: str = "", subtitle: str = "", size: int = 200
) -> alt.HConcatChart:
    """Return histograms of the longest-lived class of each null cloud, with a line where the cloud itself stands.

    Parameters
    ----------
    frame : DataFrame
        ``lifetime``, ``prominence``, ``ratio`` of each null cloud.
    own : Series
        The same of the cloud.
    title, subtitle : str
        Above the chart.
    size : int
        Width of a panel in pixels.
    """
    panels: list[alt.LayerChart] = []
    for name, words in {
        "lifetime": "lifetime (distance)",
        "prominence": "prominence",
        "ratio": "death / birth",
    }.items():
        value = float(own[name])
        values = frame[name].to_numpy()
        reaching = int((values >= value).sum())
        edges = np.histogram_bin_edges(np.append(values, value), bins=30)
        counts = np.histogram(values, edges)[0]
        bars = pd.DataFrame({"start": edges[:-1], "end": edges[1:], "clouds": counts})
        here = pd.DataFrame({name: [value]})
        histogram = (
            alt.Chart(inline(bars[bars["clouds"] > 0]))
            .mark_bar(color=OKABE_ITO[6], binSpacing=0.5)
            .encode(
                alt.X("start:Q", title=words, scale=alt.Scale(zero=False), bin="binned"),
                alt.X2("end:Q"),
                alt.Y("clouds:Q", title="null clouds" if not panels else None),
                tooltip=[
                    alt.Tooltip("start:Q", format=".3g"),
                    alt.Tooltip("end:Q", format=".3g"),
                    alt.Tooltip("clouds:Q"),
                ],
            )
        )
        line = (
            alt.Chart(inline(here))
            .mark_rule(color=OKABE_ITO[3], strokeWidth=2.5)
            .encode(alt.X(f"{name}:Q"), tooltip=[alt.Tooltip(f"{name}:Q", format=".3g")])
        )
        heading = alt.TitleParams(
            text=f"the cloud: {value:.3g}", subtitle=f"{reaching} of {len(frame)} reach it", fontSize=12, anchor="start"
        )
        panels.append(alt.layer(histogram, line, width=size, height=round(0.6 * size), title=heading))
    return themed(alt.hconcat(*panels, title=_heading(title, subtitle)))


def betti_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", size: int = 340) -> alt.Chart:
    """Return the number of classes over the scale, on a logarithmic axis from 1 (0 is drawn below it).

    Parameters
    ----------
    frame : DataFrame
        What `BettiCurves.frame` gives.
    title, subtitle : str
        Above the chart.
    size : int
        Width in pixels.
    """
    drawn = frame.assign(kind=frame["dimension"].map(KINDS))
    kinds = [kind for kind in KINDS.values() if kind in set(drawn["kind"])]
    colors = [_COLORS[list(KINDS.values()).index(kind)] for kind in kinds]
    chart = (
        alt.Chart(inline(drawn))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            alt.X("scale:Q", title="scale (distance)", scale=alt.Scale(nice=False)),
            # clusters start at the number of points, loops are few: both are seen on this axis, and 0 has a place
            alt.Y("betti:Q", title="classes alive", scale=alt.Scale(type="symlog", constant=1)),
            alt.Color(
                "kind:N",
                sort=kinds,
                legend=alt.Legend(title=None, orient="bottom"),
                scale=alt.Scale(domain=kinds, range=colors),
            ),
            alt.StrokeDash("kind:N", sort=kinds, legend=None),
            tooltip=[alt.Tooltip("kind:N"), alt.Tooltip("scale:Q", format=".4g"), alt.Tooltip("betti:Q")],
        )
        .properties(width=size, height=round(0.6 * size), title=_heading(title, subtitle))
    )
    return themed(chart)


def landscape_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", size: int = 340) -> alt.Chart:
    """Return the levels of a landscape as lines, the first one thickest.

    Parameters
    ----------
    frame : DataFrame
        What `Landscape.frame` gives.
    title, subtitle : str
        Above the chart.
    size : int
        Width in pixels.
    """
    chart = (
        alt.Chart(inline(frame))
        .mark_line()
        .encode(
            alt.X("scale:Q", title="scale (distance)", scale=alt.Scale(nice=False)),
            alt.Y("value:Q", title="height (distance)"),
            alt.Color("level:O", title="level", scale=alt.Scale(scheme="viridis")),
            alt.StrokeWidth("level:O", legend=None, scale=alt.Scale(range=[2.5, 0.8])),
            tooltip=[
                alt.Tooltip("level:O"),
                alt.Tooltip("scale:Q", format=".4g"),
                alt.Tooltip("value:Q", format=".4g"),
            ],
        )
        .properties(width=size, height=round(0.6 * size), title=_heading(title, subtitle))
    )
    return themed(chart)


def image_chart(frame: pd.DataFrame, *, title: str = "", subtitle: str = "", size: int = 300) -> alt.Chart:
    """Return a persistence image: births to the right, lifetimes upwards.

    Parameters
    ----------
    frame : DataFrame
        What `PersistenceImage.frame` gives.
    title, subtitle : str
        Above the chart.
    size : int
        Width and height in pixels.
    """
    chart = (
        alt.Chart(inline(frame))
        .mark_rect()
        .encode(
            alt.X("birth:Q", title="birth (distance)", scale=alt.Scale(zero=False, nice=False)),
            alt.X2("birth_end:Q"),
            alt.Y("lifetime:Q", title="lifetime (distance)", scale=alt.Scale(zero=False, nice=False)),
            alt.Y2("lifetime_end:Q"),
            alt.Color("value:Q", title="weight", scale=alt.Scale(scheme="viridis")),
            tooltip=[
                alt.Tooltip("birth:Q", format=".4g"),
                alt.Tooltip("lifetime:Q", format=".4g"),
                alt.Tooltip("value:Q", format=".4g"),
            ],
        )
        .properties(width=size, height=size, title=_heading(title, subtitle))
    )
    return themed(chart)


def layers_chart(
    frame: pd.DataFrame,
    steps: pd.DataFrame,
    *,
    n_classes: int = 3,
    title: str = "",
    subtitle: str = "",
    size: int = 480,
) -> alt.LayerChart:
    """Return the longest-lived loops of each site by their death / birth, joined where a loop lives on.

    Death over birth has no unit, so that sites of different norms can be compared; 1 is the diagonal.

    Parameters
    ----------
    frame : DataFrame
        What `LayerDiagrams.frame` gives.
    steps : DataFrame
        What `LayerDiagrams.lives_on` gives.
    n_classes : int
        Loops drawn at each site, besides those that others live on in.
    title, subtitle : str
        Above the chart.
    size : int
        Width in pixels.
    """
    loops = frame[frame["dimension"] == 1]
    sites = list(dict.fromkeys(frame["site"]))
    goes_on = steps[steps["lives_on"]]
    joined = set(zip(goes_on["next_site"], goes_on["continues_as"], strict=True))
    number = loops["class_id"].str.removeprefix("H1.").astype(int)
    is_joined = np.array([at in joined for at in zip(loops["site"], loops["class_id"], strict=True)], dtype=bool)
    kept = (number < n_classes) | is_joined
    drawn = loops[kept & np.isfinite(loops["ratio"])]
    ratio = {
        (site, name): value for site, name, value in zip(drawn["site"], drawn["class_id"], drawn["ratio"], strict=True)
    }
    lines = [
        {"site": line.site, "ratio": ratio[line.site, line.class_id], "next_site": line.next_site}
        | {"next_ratio": ratio[line.next_site, line.continues_as]}
        for line in goes_on.itertuples()
        if (line.site, line.class_id) in ratio and (line.next_site, line.continues_as) in ratio
    ]
    x = alt.X("site:O", title="site", sort=sites, scale=alt.Scale(domain=sites), axis=alt.Axis(labelAngle=-40))
    y = alt.Y("ratio:Q", title="death / birth", scale=alt.Scale(type="log", nice=False))
    layers = []
    if lines:
        rules = alt.Chart(inline(pd.DataFrame(lines))).mark_rule(color=_COLORS[1], strokeWidth=2)
        layers.append(rules.encode(x, y, alt.X2("next_site:O"), alt.Y2("next_ratio:Q")))
    dots = alt.Chart(inline(drawn)).mark_circle(size=70, color=_COLORS[1], opacity=1)
    tips = [
        alt.Tooltip("site:N"),
        alt.Tooltip("class_id:N", title="class"),
        alt.Tooltip("birth:Q", format=".4g"),
        alt.Tooltip("death:Q", format=".4g"),
        alt.Tooltip("ratio:Q", title="death / birth", format=".3g"),
    ]
    layers.append(dots.encode(x, y, tooltip=tips))
    return themed(alt.layer(*layers, width=size, height=round(0.6 * size), title=_heading(title, subtitle)))


def _heading(title: str, subtitle: str) -> alt.TitleParams:
    return alt.TitleParams(text=title, subtitle=subtitle)
