"""The cell that a widget belongs to, for hosts in which only a running cell can make one."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def this_cell() -> Callable[[], AbstractContextManager[Any]]:
    """Return what a widget is made in later, so that it belongs to the cell that runs now.

    marimo ends a widget with the cell that made it, and fails to make one while none runs: an answer to the page comes
    between cells. In Jupyter, and outside of cells, there is nothing to say.
    """
    # marimo has no public way to say so; one that runs here is imported already
    runtime = sys.modules.get("marimo._runtime.context")
    context: Any = getattr(runtime, "safe_get_context", lambda: None)()
    cell = getattr(context, "cell_id", None)
    return nullcontext if cell is None else lambda: context.with_cell_id(cell)
