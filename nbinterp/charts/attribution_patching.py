"""Attribution patching: estimates as heat maps, and estimates against the truth."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.data import inline
from nbinterp.charts.patching import few_enough
from nbinterp.charts.sweeps import grid_chart
from nbinterp.charts.theme import INK, OKABE_ITO, themed, together

_REASONS = ("top", "first layer", "random")


def estimates_chart(frame: pd.DataFrame, *, unit: str = "", title: str = "", subtitle: str = "") -> alt.VConcatChart:
    """Return a scatter of estimates against true effects where those are known, and estimates as heat maps, one a component.

    Parameters
    ----------
    frame : DataFrame
        One line a place: ``component``, ``layer``, ``axis``, ``place``, ``text``, ``estimate``, ``checked``,
        ``estimate_checked``, ``true``.
    unit : str
        Of the metric.
    title, subtitle : str
        Above the charts.
    """
    rows = []
    known = frame[frame["true"].notna()]
    if len(known):
        rows.append([_against_truth(known, unit, title, subtitle)])
    for component, part in frame.groupby("component", sort=False):
        axis = str(part["axis"].iloc[0])
        shown = few_enough(part, "place", "estimate")
        if len(shown) < len(part):
            subtitle += f"; {shown['place'].nunique()} of {part['place'].nunique()} {axis}s drawn"
        named = [
            f"{place}: {text}" if text else str(place)
            for place, text in zip(shown["place"], shown["text"], strict=True)
        ]
        heading = f"{component}: estimated effect of a patch"
        grid = grid_chart(
            shown.assign(**{axis: named}),
            "layer",
            axis,
            "estimate",
            base=0.0,
            unit=unit,
            title=heading,
            subtitle=subtitle,
        )
        rows.append([grid])
    return together(rows)


def _against_truth(known: pd.DataFrame, unit: str, title: str, subtitle: str) -> alt.LayerChart:
    where = [
        f"{component}.{layer}.{place}" if axis == "head" else f"{component}.{layer} at {text}"
        for component, layer, axis, place, text in known[["component", "layer", "axis", "place", "text"]].to_numpy()
    ]
    data = known[["component", "checked", "estimate_checked", "true"]].assign(where=where)
    values = data[["estimate_checked", "true"]].to_numpy(dtype=np.float64)
    diagonal = pd.DataFrame({"a": [values.min(), values.max()]})
    line = alt.Chart(inline(diagonal)).mark_line(color=INK, strokeDash=[5, 4]).encode(alt.X("a:Q"), alt.Y("a:Q"))
    in_unit = f" ({unit})" if unit else ""
    components = list(dict.fromkeys(data["component"]))
    colors = [OKABE_ITO[i % len(OKABE_ITO)] for i in range(len(components))]
    points = (
        alt.Chart(inline(data))
        .mark_point(filled=True, size=46, opacity=0.8)
        .encode(
            alt.X("true:Q", title=f"true effect{in_unit}"),
            alt.Y("estimate_checked:Q", title=f"estimate{in_unit}"),
            alt.Color("component:N", sort=components, scale=alt.Scale(domain=components, range=colors)),
            alt.Shape("checked:N", title="checked as", scale=alt.Scale(domain=list(_REASONS))),
            tooltip=[
                alt.Tooltip("where:N", title="place"),
                alt.Tooltip("true:Q", format="+.4g"),
                alt.Tooltip("estimate_checked:Q", title="estimate", format="+.4g"),
                alt.Tooltip("checked:N", title="checked as"),
            ],
        )
    )
    return themed(alt.layer(line, points, width=320, height=320, title=alt.TitleParams(text=title, subtitle=subtitle)))
