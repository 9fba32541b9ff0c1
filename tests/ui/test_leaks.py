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
from IPython.display import HTML, display
import nbinterp as nb
from nbinterp.anatomy import ModelInfo
import nbinterp.widgets.saved
from tests.ui.test_views import TOY
from tests.ui.test_widgets import DIAL

# pictures take most of the time, and hold on to nothing in the page
nbinterp.widgets.saved.draw_png = lambda spec, scale=1: b""

exec(DIAL)
exec(TOY)
play.close()
rng = np.random.default_rng(0)
frame = pd.DataFrame({"x": rng.normal(size=300), "y": rng.normal(size=300), "label": list("abc") * 100, "row": range(300)})
info = ModelInfo("planted", "0", "none", n_layers=4, d_model=8, n_vocab=10, blocks="blocks")
cloud = nb.Cloud.from_arrays({"resid_post.1": rng.normal(size=(60, 8))}, pd.DataFrame({"label": list("ab") * 30}), info)
lens = nb.logit_lens(model, "The capital of France is")
patterns = nb.attention(model, "The capital of France is")
pair = "The capital of France is", "The capital of Italy is"
edges = nb.circuit(model, *pair, metric=nb.logit_difference(" Paris", " Rome"), method="EAP", gate="ignore")
makers = {
    "lens": lambda: nb.LensGrid(lens),
    "attention": lambda: nb.AttentionView(patterns, head=(0, 0)),
    "circuit": lambda: nb.CircuitGraph(edges),
    "scatter": lambda: nb.Scatter(frame, "x", "y", color="label"),
    "chart": lambda: nb.Chart(alt.Chart(frame).mark_circle().encode(x="x:Q", y="y:Q"), rows="row"),
    "dial": StubDial,
    "atlas": lambda: nb.Atlas(cloud, by="label"),
    "playground": lambda: nb.Playground(model, "The capital of France is", interventions=[nb.Scale("resid_post.1", 2.0)]),
}
# what JupyterLab itself keeps of an output that is gone
makers_of_nothing = {name: lambda: HTML("<p>nothing</p>") for name in makers}
out = ipywidgets.Output()
display(out)
made = []

async def opened(times, makers):
    for _ in range(times):
        shown = [make() for make in makers.values()]
        made.extend(weakref.ref(one) for one in shown)
        with out:
            display(*shown)
        await asyncio.sleep(0.6)
        out.outputs = ()
        while shown:
            getattr(shown.pop(), "close", int)()
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
    cells = ["await opened(3, makers)", "await opened(20, makers_of_nothing)", "await opened(20, makers)"]
    lab.open(lab.write_notebook([MAKERS, *cells]))
    lab.run_cell(0)
    lab.run_cell(1)
    comms = "len(get_ipython().kernel.comm_manager.comms)"
    open_before = lab.ask(comms)
    begin = counters(lab)
    lab.run_cell(2)
    without = counters(lab)
    lab.run_cell(3)
    after = counters(lab)
    lab.wait_until_kernel_says("left()", "0")
    assert lab.ask(comms) == open_before
    # of 20 views of a single kind, the smallest, there are 2,000 elements and 200 listeners; 132 and 72 more were measured
    for most, before, between, end in zip((500, 150), begin, without, after, strict=True):
        assert (end - between) - (between - before) < most
