"""An altair chart that takes part in a shared selection: its marks know their rows, and unpicked ones fade."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

PICKED = "nbinterp_picked"
"""The selection parameter that stands for the shared rows; js/src/widgets/chart/rows.ts sets and reads it."""

_MARKS = ("point", "circle", "square", "bar", "tick", "rect")
_FADED = 0.12


def sharing(spec: Mapping[str, Any], rows: str) -> dict[str, Any]:
    """Return a Vega-Lite specification whose marks can be picked by click, and fade where their row is not picked.

    Parameters
    ----------
    spec : mapping
        Of one view, or of layers and views side by side.
    rows : str
        The field that holds the row of each mark.

    Raises
    ------
    ValueError
        When no view draws rows of its own, one mark a row.
    """
    shared = copy.deepcopy(dict(spec))
    views = [view for view in _views(shared) if _mark(view) in _MARKS]
    inline = [values for data in _data(shared) if isinstance(values := data.get("values"), list)]
    known = [values for values in [*inline, *shared.get("datasets", {}).values()] if values and rows in values[0]]
    if not views or not known:
        raise ValueError(
            f"got rows={rows!r}, but no view of the chart draws points or bars of data that hold this field: give the column "
            "with each mark's row, for example frame.assign(row=range(len(frame))) and rows='row'."
        )
    if not any(parameter.get("name") == PICKED for part in (shared, *views) for parameter in part.get("params", [])):
        on = {"type": "point", "fields": [rows], "on": "click", "toggle": "event.shiftKey", "clear": "dblclick"}
        _select(shared, views[0], {"name": PICKED, "select": on})
    for view in views:
        encoding = view.setdefault("encoding", {})
        if "opacity" not in encoding:
            mark = view["mark"]
            full = mark.get("opacity", 0.7) if isinstance(mark, Mapping) else 0.7
            encoding["opacity"] = {"condition": {"param": PICKED, "value": full}, "value": _FADED}
    return shared


def _select(whole: dict[str, Any], view: dict[str, Any], parameter: dict[str, Any]) -> None:
    """Give a view of a chart one more selection."""
    above = [] if view is whole else whole.get("params", [])
    if any("select" in other for other in above):
        # where a selection of the whole chart reaches a view, Vega-Lite forgets the view's own
        name = view.setdefault("name", f"{parameter['name']}_view")
        above.append({**parameter, "views": [name]})
    else:
        view.setdefault("params", []).append(parameter)


def _views(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "mark" in part:
        yield part
    for key in ("layer", "hconcat", "vconcat", "concat"):
        for inner in part.get(key, []):
            yield from _views(inner)


def _data(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if isinstance(part.get("data"), Mapping):
        yield part["data"]
    for key in ("layer", "hconcat", "vconcat", "concat"):
        for inner in part.get(key, []):
            yield from _data(inner)


def _mark(view: Mapping[str, Any]) -> str:
    mark = view["mark"]
    return str(mark["type"] if isinstance(mark, Mapping) else mark)
