"""Linked views: PCA, UMAP and the persistence diagram of the same rows; what is selected in one shows in all.

The selections live in Vega-Lite, so that a saved chart still answers with no kernel. Python reads them by the names
below and gets the same rows from `selected_rows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nbinterp.charts.clouds import is_continuous
from nbinterp.charts.data import records, tooltips
from nbinterp.charts.diagrams import class_encoding, class_tooltips, diagonal, drawn_classes
from nbinterp.charts.theme import FAINT, INK, palette, themed

BRUSH_PCA = "brush_pca"
"""Interval over ``pc1`` and ``pc2``."""

BRUSH_UMAP = "brush_umap"
"""Interval over ``umap1`` and ``umap2``."""

PICK_CLASS = "pick_class"
"""Points of the diagram, by ``class_id``."""

PICK_LABEL = "pick_label"
"""Entries of the legend, by ``label``: the text of the colour column."""

COORDINATES = ("pc1", "pc2", "umap1", "umap2")

_TITLES = dict(zip(COORDINATES, ("PC 1", "PC 2", "UMAP 1", "UMAP 2"), strict=True))


def linked_views(
    rows: pd.DataFrame,
    classes: pd.DataFrame,
    members: pd.DataFrame,
    *,
    color: str,
    cyclic: bool = False,
    threshold: float = 0.0,
    ratio: float = 1.0,
    size: int = 265,
) -> alt.HConcatChart:
    """Return PCA, UMAP and persistence diagram side by side, linked by their selections.

    A drag in a scatter keeps the rows inside and greys the others everywhere (two drags: the rows in both), and lights
    the classes that have such rows. A click on a class rings the rows on its loop. A click in the legend keeps a label.

    Parameters
    ----------
    rows : DataFrame
        ``row`` (number), ``pc1``, ``pc2``, ``umap1``, ``umap2``, and the cloud's columns.
    classes : DataFrame
        What `Diagram.frame` gives.
    members : DataFrame
        What `Diagram.members` gives: ``class_id``, ``row``.
    color : str
        Column of `rows` to colour by.
    cyclic : bool
        Labels go round, in their order of appearance.
    threshold, ratio : float
        Lifetime, and death / birth, that noise does not reach, for the diagram.
    size : int
        Width and height of a view in pixels.

    Raises
    ------
    LookupError
        When a column is missing.
    """
    _require(rows, ("row", *COORDINATES, color), "rows")
    _require(classes, ("class_id", "dimension", "birth", "death", "n_rows"), "classes")
    _require(members, ("class_id", "row"), "members")
    rows = rows[rows[list(COORDINATES)].notna().all(axis=1)]
    brush_pca = alt.selection_interval(name=BRUSH_PCA, encodings=["x", "y"])
    brush_umap = alt.selection_interval(name=BRUSH_UMAP, encodings=["x", "y"])
    pick_class = alt.selection_point(name=PICK_CLASS, fields=["class_id"], empty=False)

    shown, tips = tooltips(rows, [str(c) for c in rows.columns if c not in COORDINATES][:8])
    continuous = is_continuous(rows[color])
    label = rows[color] if continuous else rows[color].astype(str)
    row_data = pd.concat([shown, rows[["row", *COORDINATES]]], axis=1).assign(label=label)
    drawn, end = drawn_classes(classes)
    member_data = members[["class_id", "row"]].merge(row_data[["row", "label", *COORDINATES]], on="row")
    member_data = member_data.merge(
        drawn[["class_id", "dimension", "kind", "birth", "drawn_death", "death_text", "ratio", "n_rows"]], on="class_id"
    )

    kept: Any = brush_pca & brush_umap
    scale, legend, params = (
        alt.Scale(scheme="viridis"),
        alt.Legend(title=color, orient="bottom", direction="horizontal"),
        [brush_pca],
    )
    if not continuous:
        labels = list(pd.unique(label))
        pick_label = alt.selection_point(name=PICK_LABEL, fields=["label"], bind="legend")
        kept, params = kept & pick_label, [brush_pca, pick_label]
        scale = alt.Scale(domain=labels, range=palette(labels, cyclic=cyclic))
        legend = alt.Legend(
            title=color, orient="bottom", columns=max(1, min(3, len(labels))), labelLimit=size // 3 - 8, symbolLimit=60
        )

    def view(x: str, y: str, title: str, legend: alt.Legend | None) -> tuple[alt.Chart, alt.Chart]:
        place = {
            "x": alt.X(f"{x}:Q", title=_TITLES[x], scale=_span(rows[x])),
            "y": alt.Y(f"{y}:Q", title=_TITLES[y], scale=_span(rows[y])),
        }
        hue = alt.Color("label:Q" if continuous else "label:N", scale=scale, legend=legend)
        points = alt.Chart(alt.NamedData("rows"), title=title).mark_circle(size=38)
        points = points.encode(
            **place,
            color=alt.condition(kept, hue, alt.value(FAINT)),
            opacity=alt.condition(kept, alt.value(0.85), alt.value(0.25)),
            tooltip=tips,
        )
        rings = alt.Chart(alt.NamedData("members")).mark_point(size=110, color=INK, strokeWidth=2, filled=False)
        rings = rings.encode(**place).transform_filter(pick_class).transform_filter(kept)
        return points, rings

    pca_points, pca_rings = view("pc1", "pc2", "PCA: drag to select", legend)
    umap_points, umap_rings = view("umap1", "umap2", "UMAP: drag to select", None)
    frame = {"width": size, "height": size}
    pca = alt.layer(pca_points.add_params(*params), pca_rings, **frame)
    umap = alt.layer(umap_points.add_params(brush_umap), umap_rings, **frame)

    encoding = class_encoding(drawn, end)
    picked = {
        "stroke": alt.condition(pick_class, alt.value(INK), alt.value("transparent")),
        "tooltip": class_tooltips(),
    }
    every = alt.Chart(alt.NamedData("classes"), title="Persistence: click a loop").mark_point(
        size=80, filled=True, opacity=0.28, strokeWidth=3
    )
    every = every.encode(**encoding, **picked).add_params(pick_class)
    lit = alt.Chart(alt.NamedData("members")).mark_point(size=80, filled=True, opacity=1, strokeWidth=3)
    lit = lit.transform_filter(kept).transform_aggregate(
        n_selected="count()", groupby=["class_id", "kind", "birth", "drawn_death", "death_text", "ratio", "n_rows"]
    )
    picked["tooltip"] = [*class_tooltips(), alt.Tooltip("n_selected:Q", title="of them selected")]
    lit = lit.encode(**encoding, **picked)
    diagram = alt.layer(diagonal(end, threshold, ratio), every, lit, **frame)

    datasets = {"rows": records(row_data), "classes": records(drawn), "members": records(member_data)}
    chart = alt.hconcat(pca, umap, diagram, spacing=24, datasets=datasets).resolve_scale(
        color="independent", shape="independent"
    )
    return themed(chart)


def selected_rows(
    selections: Mapping[str, Any], rows: pd.DataFrame, members: pd.DataFrame, *, color: str | None = None
) -> list[int]:
    """Return the rows that the selections of `linked_views` leave, with the meaning that they have in the chart.

    Parameters
    ----------
    selections : mapping of name to value
        Values as Vega-Lite reports them: ``{field: [low, high]}`` for a brush; ``{field: [values]}`` or
        ``[{field: value}, …]`` for a pick; empty or None for nothing selected, which leaves all rows.
    rows, members : DataFrame
        What `linked_views` was given.
    color : str, optional
        Its colour column; wanted when a label is picked.

    Returns
    -------
    list of int
        Values of ``rows["row"]`` in all selections (their intersection), in the order of `rows`.

    Raises
    ------
    LookupError
        For a selection that is none of the four.
    """
    _require(rows, ("row", *COORDINATES), "rows")
    left = rows[list(COORDINATES)].notna().all(axis=1).to_numpy()
    for name, value in selections.items():
        if name not in (BRUSH_PCA, BRUSH_UMAP, PICK_CLASS, PICK_LABEL):
            raise LookupError(
                f"got the selection {name!r}; known are {BRUSH_PCA}, {BRUSH_UMAP}, {PICK_CLASS}, {PICK_LABEL}."
            )
        if not value:
            continue
        if name in (BRUSH_PCA, BRUSH_UMAP):
            for field, bounds in value.items():
                left = left & rows[field].between(min(bounds), max(bounds)).to_numpy()
        elif picked := _picked(value, "class_id" if name == PICK_CLASS else "label"):
            if name == PICK_CLASS:
                left = left & rows["row"].isin(members.loc[members["class_id"].isin(picked), "row"]).to_numpy()
            elif color is None:
                raise LookupError("got a picked label without color; pass the column that the chart is coloured by.")
            else:
                left = left & rows[color].astype(str).isin(picked).to_numpy()
    return [int(row) for row in rows["row"].to_numpy()[np.asarray(left)]]


def _span(values: pd.Series[Any]) -> alt.Scale:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    return alt.Scale(domain=[low - margin, high + margin], nice=False)


def _picked(value: Mapping[str, Any] | Sequence[Mapping[str, Any]], field: str) -> list[str]:
    if isinstance(value, Mapping):
        values: Any = value.get(field, [])
        values = values if isinstance(values, list | tuple) else [values]
    else:
        values = [entry[field] for entry in value]
    return [str(v) for v in values]


def _require(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    if missing := [column for column in columns if column not in frame.columns]:
        raise LookupError(
            f"got {what} without the column {missing[0]!r}; known columns are {', '.join(map(repr, frame.columns))}."
        )
