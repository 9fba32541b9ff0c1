"""The end of a brush until Python has what is picked, and until the page shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.ui.figures import Figure
from benchmarks.ui.pages import jupyter, page_megabytes, run_cells
from tests.ui.driver import box_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ui.driver import Lab

WANTED = {10_000: 60, 100_000: 80, 1_000_000: 200}

_TABLE = """
import time
import numpy as np, pandas as pd
from nbinterp.widgets.scatter import Scatter
from nbinterp.widgets.selection import link
rng = np.random.default_rng(0)
n = {n}
kind = rng.integers(0, 8, n)
table = pd.DataFrame({{"x": 3 * np.cos(kind) + rng.normal(size=n), "y": 3 * np.sin(kind) + rng.normal(size=n), "kind": kind.astype(str)}})
heard = []
"""
_SHOW = """
plot = Scatter(table, "x", "y", color="kind")
plot.observe(lambda change: heard.append(time.time() * 1000), names="selection")
plot
"""
_OTHER = "other = Scatter(table, 'y', 'x')\nlinked = link(plot, other)\nother"

# A brush ends where the hand stops: with its last movement, just before it lets go. The picture that counts is the last one
# in which another number of points is picked, in every plot.
_WATCH = """() => {
  window.brush = { end: 0, drawn: [] };
  const plots = [...document.querySelectorAll('.nbinterp-scatter')];
  plots[0].addEventListener('pointermove', event => {
    if (event.buttons === 1) brush.end = clock(event.timeStamp);
  }, { capture: true });
  plots.forEach((plot, index) => {
    let last = plot.dataset.picked;
    new MutationObserver(() => {
      if (plot.dataset.picked === last) return;
      last = plot.dataset.picked;
      onScreen().then(at => { brush.drawn[index] = at; });
    }).observe(plot, { attributeFilter: ['data-picked'] });
  });
}"""


def rows(quick: bool) -> Iterator[Figure]:
    """Brush a plot of 10,000, 100,000 and 1,000,000 points."""
    for n, wanted in WANTED.items():
        with jupyter() as lab:
            yield from _brushes(lab, n, wanted, 5 if quick else 25)


def _brushes(lab: Lab, n: int, wanted: float, times: int) -> Iterator[Figure]:
    empty = page_megabytes(lab)
    # linked charts where the issue asks for them: another scatter of the same rows
    linked = n <= 10_000
    run_cells(lab, [_TABLE.format(n=n), _SHOW, *([_OTHER] if linked else [])])
    lab.page.locator(".nbi-canvases[data-milliseconds]").first.wait_for(state="attached")
    lab.page.wait_for_timeout(1500)
    lab.page.evaluate(_WATCH)
    stage = box_of(lab.page.locator(".nbi-stage").first)
    python, page, cost = [], [], []
    for turn in range(times + 2):
        lab.ask("heard.clear()")
        lab.page.evaluate("() => { brush.drawn = []; }")
        # round the middle of the cloud, so that each movement picks other points
        x, y = stage["x"] + stage["width"] / 2 + 7 * (turn % 9 - 4), stage["y"] + stage["height"] / 2
        lab.drag([(x - 80, y - 60), (x + 80, y - 60), (x + 80, y + 60), (x - 90 - turn, y + 60)])
        lab.page.wait_for_timeout(1500)
        end, drawn = lab.page.evaluate("() => [brush.end, Math.max(0, ...brush.drawn)]")
        heard = json.loads(lab.ask("heard"))
        # a last movement that picks no other point leaves nothing to wait for, and says nothing
        if turn >= 2 and heard and heard[-1] > end and drawn > end:
            python.append(heard[-1] - end)
            page.append(drawn - end)
        lab.page.keyboard.press("Escape")
        lab.page.wait_for_timeout(300)
        cost.append(float(lab.page.locator(".nbi-canvases").first.get_attribute("data-milliseconds") or "nan"))
    both = tuple(max(pair) for pair in zip(python, page, strict=True))
    mode = lab.page.locator(".nbi-canvases").first.get_attribute("data-drawn")
    note = f"at rest it shows {mode}, drawing all takes {min(cost):.0f} ms"
    work = f"brush on {n:,} points"
    yield Figure(f"{work} → Python{', linked scatter' if linked else ''} and page updated", both, "ms", wanted, note)
    yield Figure(f"{work} → Python updated", tuple(python), "ms")
    yield Figure(f"{work} → page drawn", tuple(page), "ms")
    full = page_megabytes(lab)
    limit = 400 if n == 1_000_000 else None
    yield Figure(f"page memory with {n:,} points", (full,), "MB", limit, f"JupyterLab alone {empty:.0f} MB")
