"""A hundred openings leave nothing behind: no widget in Python, no comm, no listener and no element in the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

MAKERS = """
import asyncio, gc, weakref
import ipywidgets, numpy as np, pandas as pd, altair as alt
from IPython.display import display
import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from tests.ui.test_widgets import DIAL

exec(DIAL)
rng = np.random.default_rng(0)
frame = pd.DataFrame({"x": rng.normal(size=300), "y": rng.normal(size=300), "label": list("abc") * 100, "row": range(300)})
info = ModelInfo("planted", "0", "none", n_layers=4, d_model=8, n_vocab=10, blocks="blocks")
cloud = nb.Cloud.from_arrays({"resid_post.1": rng.normal(size=(60, 8))}, pd.DataFrame({"label": list("ab") * 30}), info)
makers = {
    "scatter": lambda: nb.Scatter(frame, "x", "y", color="label"),
    "chart": lambda: nb.Chart(alt.Chart(frame).mark_circle().encode(x="x:Q", y="y:Q"), rows="row"),
    "dial": StubDial,
    "atlas": lambda: nb.Atlas(cloud, by="label"),
}
out = ipywidgets.Output()
display(out)
made = []

async def opened(name, times):
    for _ in range(times):
        widget = makers[name]()
        made.append(weakref.ref(widget))
        with out:
            display(widget)
        await asyncio.sleep(0.12)
        out.outputs = ()
        widget.close()
        del widget
    gc.collect()

def left():
    gc.collect()
    return sum(one() is not None for one in made)
"""


def counters(lab: Lab) -> tuple[int, int]:
    """Return how many elements and listeners the page holds, after its garbage was collected."""
    session = lab.page.context.new_cdp_session(lab.page)
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
        lab.page.wait_for_timeout(200)
    seen = session.send("Memory.getDOMCounters")
    session.detach()
    return seen["nodes"], seen["jsEventListeners"]


def test_a_hundred_openings_leave_nothing(lab: Lab):
    opening = [f"await opened({name!r}, 25)" for name in ("scatter", "chart", "dial", "atlas")]
    warm = "\n".join(line.replace("25", "4") for line in opening)
    lab.open(lab.write_notebook([MAKERS, warm, "\n".join(opening)]))
    lab.run_cell(0)
    lab.run_cell(1)
    nodes, listeners = counters(lab)
    comms = "len(get_ipython().kernel.comm_manager.comms)"
    open_before = lab.ask(comms)
    lab.run_cell(2)
    lab.wait_until_kernel_says("left()", "0")
    assert lab.ask(comms) == open_before
    after = counters(lab)
    # one view of the smallest has more than a hundred elements and ten listeners
    assert after[0] - nodes < 500
    assert after[1] - listeners < 50
