"""The time from the end of a cell until the widget in it can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.ui.figures import Figure
from benchmarks.ui.pages import jupyter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ui.driver import Lab

_OPEN = """
import numpy as np, pandas as pd
import nbinterp as nb
from nbinterp.widgets.playground import Playground
from nbinterp.widgets.scatter import Scatter
"""
_MODEL = "model = nb.Model.open('smollm2-135m')\nmodel.run('once, so that nothing is new')"
_TABLE = "table = pd.DataFrame(np.random.default_rng(0).normal(size=({n}, 2)), columns=['x', 'y'])"

# name: cells before, the cell, and what is there when the widget is
_WIDGETS = {
    "a Playground": (
        [_OPEN, _MODEL],
        "Playground(model, 'The capital of France is')",
        ".nbinterp-playground .nbi-bars",
    ),
    "a Scatter of 10,000 points": (
        [_OPEN, _TABLE.format(n=10_000)],
        "Scatter(table, 'x', 'y')",
        ".nbinterp-scatter .nbi-tick",
    ),
    "a Scatter of 1,000,000 points": (
        [_OPEN, _TABLE.format(n=1_000_000)],
        "Scatter(table, 'x', 'y')",
        ".nbinterp-scatter .nbi-tick",
    ),
}

# the kernel's reply to the cell is its end; the widget may be there before it
_RUN = """
  notebook.content.activeCellIndex = INDEX;
  notebook.content.deselectAll();
  const seen = new Promise(done => {
    const look = () => document.querySelectorAll(SELECTOR).length > BEFORE ? onScreen().then(done) : requestAnimationFrame(look);
    look();
  });
  let end = 0;
  const ended = window.jupyterapp.commands.execute('notebook:run-cell').then(() => { end = clock(); });
  const at = await seen;
  await ended;
  return Math.max(0, at - end);
"""


def rows(quick: bool) -> Iterator[Figure]:
    """Show each widget several times, in a notebook that has been at work before."""
    for name, (before, cell, selector) in _WIDGETS.items():
        with jupyter() as lab:
            yield Figure(
                f"first paint of {name} after its cell ends",
                _paints(lab, before, cell, selector, 2 if quick else 7),
                "ms",
                1000,
            )


def _paints(lab: Lab, before: list[str], cell: str, selector: str, times: int) -> tuple[float, ...]:
    lab.open(lab.write_notebook([*before, *[cell] * times]))
    for index in range(len(before)):
        lab.run_cell(index)
    found = []
    for turn in range(times):
        index = len(before) + turn
        script = _RUN.replace("INDEX", str(index)).replace("SELECTOR", repr(selector))
        there = lab.page.locator(selector).count()
        found.append(float(lab._on_notebook(script.replace("BEFORE", str(there)))))
        lab.page.wait_for_timeout(1000)
        # the next one begins with an empty page, as the first did
        lab._on_notebook(
            f"notebook.content.activeCellIndex = {index}; window.jupyterapp.commands.execute('notebook:clear-cell-output');"
        )
        lab.page.wait_for_timeout(300)
    return tuple(found)
