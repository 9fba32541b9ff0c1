"""A widget's state as JSON, and a page of its own that shows it without Python and without a network."""

from __future__ import annotations

import base64
import html
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

_STATIC = pathlib.Path(__file__).parent.parent / "static"
_BYTES = "$bytes"
# nothing is loaded from anywhere: the page's own scripts, and the pictures in it
_POLICY = "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"


class Stateful(Protocol):
    """An anywidget."""

    def get_state(self) -> dict[str, Any]:
        """Return the synced traits by name."""

    def traits(self, **metadata: Any) -> Mapping[str, Any]:
        """Return the traits with these metadata."""


def state_of(widget: Stateful) -> dict[str, Any]:
    """Return what a widget shows as JSON can hold it: its own synced traits, bytes as ``{"$bytes": base64}``.

    js/src/lib/still.ts reads it back.
    """
    own = {name for name, trait in widget.traits(sync=True).items() if _is_ours(name, trait)}
    return {name: _plain(value) for name, value in widget.get_state().items() if name in own}


def _is_ours(name: str, trait: Any) -> bool:
    # layout, tabbable and the like say how a host places the widget, not what it shows
    return not name.startswith("_") and not trait.this_class.__module__.startswith(("ipywidgets.", "anywidget."))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    # JSON has no word for these, and a browser reads none
    return None if isinstance(value, float) and value - value != 0 else value


def standalone(widget: Stateful, kind: str, *, title: str, picture: str) -> str:
    """Return an HTML page that shows a widget as it is, in one file.

    What the widget can do with the numbers that it holds it does there too: a stored dose-response curve slides.

    Parameters
    ----------
    widget : anywidget
        What to show.
    kind : str
        Its entry in js/src/widgets, for instance ``"playground"``.
    title : str
        Of the page, as text.
    picture : str
        HTML that stands there where scripts do not run.
    """
    sheet = _STATIC / f"{kind}.css"
    return _PAGE.format(
        policy=html.escape(_POLICY, quote=True),
        title=html.escape(title),
        sheet=sheet.read_text() if sheet.exists() else "",
        picture=picture,
        state=json.dumps(state_of(widget), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c"),
        widget=_script(f"{kind}.js"),
        page=_script("page.js"),
    )


def _script(name: str) -> str:
    """Return a bundle of ours so that nothing in it ends the element around it; in a script both mean the same."""
    return re.sub(r"<(?=/script|script|!--)", r"\\x3C", (_STATIC / name).read_text(), flags=re.IGNORECASE)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>body {{ margin: 24px auto; max-width: 1200px; padding: 0 16px; font: 14px/1.4 system-ui, sans-serif }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #f1f3f5 }} }}
{sheet}</style>
</head>
<body>
<main id="nbinterp-view">{picture}</main>
<script type="application/json" id="nbinterp-state">{state}</script>
<script type="text/plain" id="nbinterp-widget">{widget}</script>
<script type="module">{page}</script>
</body>
</html>
"""
