"""What all widgets are: views in a notebook whose end leaves nothing behind."""

from __future__ import annotations

from typing import Any

import anywidget


class Widget(anywidget.AnyWidget):
    """An anywidget that takes its layout along when it is closed."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        # another that the user sets later may belong to other widgets as well
        self._own_layout = self.layout

    def close(self) -> None:
        """End the view; what stands in Python can still be read."""
        super().close()
        # one that could not be made is closed, too
        if "_own_layout" in vars(self):
            self._own_layout.close()
