"""What a widget's page is made of: one script and one style sheet, built from js/src/widgets."""

from __future__ import annotations

import pathlib
from typing import Any

import traitlets

STATIC = pathlib.Path(__file__).parent.parent / "static"


class Bundle(traitlets.Unicode[str, Any]):
    """A trait that holds the text of one built file, read when a widget first needs it.

    anywidget itself takes a path; but then it keeps every widget for ever, to tell it when the file changes.

    Parameters
    ----------
    name : str
        The file, for instance ``"dial.js"``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.tag(sync=True)

    def default(self, obj: Any = None) -> str:
        """Return the file's text."""
        return (STATIC / self._name).read_text(encoding="utf-8")
