"""What a widget leaves in a saved notebook: a picture, its text and its numbers, readable without a kernel."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import pathlib
import re
from typing import TYPE_CHECKING, Any, Protocol

from nbinterp.widgets.standalone import Stateful, standalone, state_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import pandas as pd

WIDGET_MIME = "application/vnd.nbinterp.widget+json"
"""Marks a bundle as ours; ``js/src/lab/ours.ts`` looks for it."""

MOST_ROWS = 200
"""Lines of a table that are kept beside a picture."""

_WIDTH = 640
_LARGEST_STATE = 400_000  # bytes of JSON
_SAVED_SCALE = 1.5  # pixels a pixel: sharp enough, and a notebook of a few pictures stays below a megabyte
_UNDRAWABLE = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""Characters that no XML document holds (XML 1.0, section 2.2, "Char"), an SVG neither."""


class AltairChart(Protocol):
    """Anything that can say itself as a Vega-Lite specification: every altair chart can."""

    def to_dict(self) -> dict[str, Any]:
        """Return the Vega-Lite specification."""
        ...


def draw_png(spec: Mapping[str, Any], *, scale: float = 2.0) -> bytes:
    """Draw a Vega-Lite specification on white, without a browser and without a network.

    Parameters
    ----------
    spec
        The specification, data included.
    scale
        Pixels for each pixel of the chart.

    Raises
    ------
    ValueError
        For a specification that cannot be drawn.
    """
    # vl-convert starts a JavaScript engine, which a session without pictures should not pay for
    import vl_convert

    png: bytes = vl_convert.vegalite_to_png(_alone(spec), scale=scale, allowed_base_urls=[], show_warnings=False)
    return png


def draw_svg(spec: Mapping[str, Any]) -> str:
    """Draw a Vega-Lite specification of lines on white as an SVG document: for few marks smaller than pixels, and sharper."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(_alone(spec), allowed_base_urls=[], show_warnings=False)
    # what is said of each mark nobody hears within an image, which has a text of its own
    return re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", svg)


def _alone(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification as it is drawn without a page around it."""
    drawn = {"background": "white", **_drawable(dict(spec))}
    if drawn.get("width") == "container":
        drawn["width"] = _WIDTH
    return drawn


def _drawable(part: Any) -> Any:
    """Return a copy of a specification in which characters that no SVG holds are named: vl-convert ends the process at them."""
    if isinstance(part, str):
        # not as an escape, which an expression of Vega would turn back into the character
        return _UNDRAWABLE.sub(lambda found: f"U+{ord(found[0]):04X}", part)
    if isinstance(part, dict):
        return {_drawable(name): _drawable(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_drawable(value) for value in part]
    return part


def saved_bundle(
    view: tuple[Mapping[str, Any], Mapping[str, Any]] | None,
    kind: str,
    chart: AltairChart,
    text: str,
    frame: pd.DataFrame | None = None,
    *,
    widget: Stateful | None = None,
    origin: str = "",
    lines: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``_repr_mimebundle_`` of a widget returns: its live view, and beside it what stays without a kernel.

    In JupyterLab the extension replaces picture and state by the latest ones whenever the notebook is saved. Elsewhere the
    notebook keeps these, which show the widget as it was first displayed.

    Parameters
    ----------
    view
        The data and metadata of the live view, as ``AnyWidget._repr_mimebundle_`` returns them.
    kind
        Which widget it is, for instance ``"dial"``.
    chart
        The picture. One that cannot be drawn is left out: a display never fails for the sake of its copy.
    text
        What the picture shows, in words, for those who do not see it.
    frame
        The numbers, as a table below the picture (the first 200 rows).
    widget
        A widget whose state is kept too, unless it is large: JupyterLab then shows the widget itself where no kernel runs.
    origin
        What the widget was made of, see `origin_of`: when the same cell makes it again in a new kernel, the hand's state
        comes back.
    lines
        Whether the picture is of lines, which are kept as such.
    """
    data, metadata = view if view is not None else ({}, {})
    saved = {
        "text/plain": text,
        "text/html": _figure(chart, text, frame, lines),
        WIDGET_MIME: {"kind": kind, **_kept(widget, origin)},
    }
    return {**data, **saved}, dict(metadata)


def page(
    widget: Stateful,
    kind: str,
    path: str | os.PathLike[str] | None,
    *,
    text: str,
    chart: AltairChart,
    frame: pd.DataFrame | None = None,
    lines: bool = False,
) -> str:
    """Return a widget as one HTML file that shows it without Python and without a network; write it to `path` too.

    Parameters
    ----------
    widget
        What to show; what is still being computed should be finished first.
    kind
        Which widget it is, for instance ``"dial"``.
    path
        Where to write it; None writes nothing.
    text, chart, frame, lines
        As in `saved_bundle`: what stands there where scripts do not run.
    """
    written = standalone(widget, kind, title=text, picture=_figure(chart, text, frame, lines))
    if path is not None:
        pathlib.Path(path).expanduser().write_text(written, encoding="utf-8")
    return written


def _figure(chart: AltairChart, text: str, frame: pd.DataFrame | None, lines: bool = False) -> str:
    """Return the picture as HTML; one that cannot be drawn is its text."""
    try:
        kind, drawn, width = _drawn(chart.to_dict(), lines)
        address = f"data:image/{kind};base64,{base64.b64encode(drawn).decode('ascii')}"
        style = "max-width:100%;height:auto"
        shown = f'<img src="{address}" alt="{html.escape(text)}" width="{width}" style="{style}">'
    except ValueError:
        shown = f"<p>{html.escape(text)}</p>"
    numbers = ""
    if frame is not None:
        table = frame.head(MOST_ROWS).to_html(index=False, escape=True, border=0)
        part = f", the first {MOST_ROWS} of {len(frame):,} lines" if len(frame) > MOST_ROWS else ""
        numbers = f'<details class="nbinterp-numbers"><summary>The numbers{part}</summary>{table}</details>'
    return f'<figure class="nbinterp-figure" style="margin:0">{shown}{numbers}</figure>'


def _drawn(spec: Mapping[str, Any], lines: bool) -> tuple[str, bytes, int]:
    """Return what kind of picture it is, the picture, and how wide it is on a page."""
    if lines:
        svg = draw_svg(spec)
        found = re.search(r'width="([\d.]+)"', svg)
        return "svg+xml", svg.encode(), round(float(found[1])) if found else _WIDTH
    png = draw_png(spec, scale=_SAVED_SCALE)
    # as wide as the chart: shown pixel for pixel its type would be larger than the notebook's
    return "png", png, round(int.from_bytes(png[16:20], "big") / _SAVED_SCALE)


def origin_of(*values: Any) -> str:
    """Return a checksum of what a widget was made of, equal in every kernel."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _kept(widget: Stateful | None, origin: str) -> dict[str, Any]:
    state = None if widget is None else state_of(widget)
    if state is None or len(json.dumps(state)) > _LARGEST_STATE:
        return {}
    return {"origin": origin, "state": state}
