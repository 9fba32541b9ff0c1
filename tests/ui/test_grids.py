"""The grids in a real JupyterLab: a cell that is picked becomes an intervention, and long prompts are looked through."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

import nbinterp as nb
from nbinterp.methods.attention import attention
from nbinterp.methods.circuits import circuit
from nbinterp.methods.lenses import logit_lens
from tests.conftest import random_module
from tests.ui.driver import DARK, LIGHT, REPOSITORY, box_of
from tests.ui.test_views import TOY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Locator, Page

    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

WICKED = "The capital of <img src=x onerror=alert(1)> \u202e </script> is"
GRIDS = f"""
import numpy as np, warnings
from dataclasses import replace
from nbinterp.methods.lenses import logit_lens
from nbinterp.methods.patching import activation_patching
from nbinterp.methods.attention import attention
from nbinterp.methods.circuits import circuit
warnings.simplefilter("ignore")
PROMPT = "The capital of France is"
ask = lambda experiment: logit_lens(model, experiment, track=" Paris")
play.experiment = nb.Experiment(PROMPT)
lens = nb.LensGrid(ask(nb.Experiment(PROMPT)), follow=play, ask=ask)
metric = nb.logit_difference(" Paris", " Rome")
heads = nb.PatchGrid(activation_patching(model, PROMPT, "The capital of Italy is", metric=metric, sites="z", gate="ignore"))
view = nb.AttentionView(attention(model, {WICKED!r}, values=True), head=(0, 0))
scores = circuit(model, PROMPT, "The capital of Italy is", metric=metric, method="EAP", gate="ignore")
graph = nb.CircuitGraph(scores, curve=scores.faithfulness([5, 40], draws=1))
linked = nb.link(lens, heads, play, view, graph)
"""
LONG = """
one = logit_lens(model, PROMPT)
at = np.arange(2000) % 5
data = one.data.isel(token=at).assign_coords(token=np.arange(2000))
prompt = replace(one.prompt, ids=tuple(np.array(one.prompt.ids)[at].tolist()), tokens=tuple(f"{one.prompt.tokens[i]}{n}" for n, i in enumerate(at)))
long = nb.LensGrid(replace(one, data=data, prompt=prompt))
"""


def cell_of(grid: Locator, row: int, column: int) -> tuple[float, float]:
    """Return where the middle of a cell lies on the page."""
    holder = grid.locator(".nbi-grid").first
    stage = box_of(grid.locator(".nbi-grid-stage").first)
    width, height, gutter, header = (
        float(holder.get_attribute(f"data-{name}") or "nan")
        for name in ("cell-width", "cell-height", "gutter", "header")
    )
    left, top = grid.locator(".nbi-grid-stage").first.evaluate("stage => [stage.scrollLeft, stage.scrollTop]")
    x = stage["x"] + gutter + (column + 0.5) * width - left
    return x, stage["y"] + header + (row + 0.5) * height - top


def seen(grid: Locator) -> list[int]:
    """Return first and last row and column that are drawn."""
    return [
        int(n) for n in (grid.locator(".nbi-grid").first.get_attribute("data-cells") or "").replace(":", " ").split()
    ]


def test_a_cell_that_is_picked_becomes_an_intervention_which_the_lens_then_reads(lab: Lab, demo_name):
    lab.page.set_viewport_size({"width": 1280, "height": 3600})
    lab.open(lab.write_notebook([TOY, GRIDS, "play", "lens", "heads", "view", "graph"]))
    lab.run_all()
    page = lab.page
    play = page.locator(".nbinterp-playground")
    lens, heads = (page.locator(".nbinterp-grid").nth(i) for i in range(2))
    view, graph = page.locator(".nbinterp-attention"), page.locator(".nbinterp-circuit")
    for each in (play, lens, heads, view, graph):
        each.wait_for()
    expect(lens.locator(".nbi-grid").first).to_have_attribute("data-cells", "0:4 0:4")

    # what is clicked in the lens is picked in the playground; the last layer is on top
    page.mouse.click(*cell_of(lens, 2, 3))
    lab.wait_until_kernel_says("(play.selection.layers, play.selection.tokens)", "((1,), (3,))")
    assert lens.locator(".nbi-grid-picked").inner_text() == "Picked: layer 1, token 3 “·France”."
    page.mouse.move(5, 5)
    play.get_by_role("button", name="Ablate resid_post.1 at “·France”").click()
    lab.wait_until_kernel_says(
        "[(str(a.site), a.tokens.indices) for a in play.experiment.active]", "[('resid_post.1', (3,))]"
    )
    # the lens follows, and shows what has changed: nothing before the layer, and nothing at tokens before
    lab.wait_until(lens, "data-run", "difference")
    lab.wait_until_kernel_says("lens.lens.runs", "('base', 'changed')")
    moved = ast.literal_eval(
        lab.ask("np.argwhere(np.abs(lens.lens.difference()['entropy'].to_numpy()) > 1e-4).min(0).tolist()")
    )
    assert moved == [2, 3]
    page.keyboard.press("Escape")
    play.get_by_role("button", name="Undo").click()
    lab.wait_until_kernel_says("lens.changed == []", "True")

    # a head that is picked in the grid of patches is enlarged beside it, and lit in the graph
    page.mouse.click(*cell_of(heads, 1, 1))
    lab.wait_until_kernel_says("play.selection.heads", "((2, 1),)")
    lab.wait_until(view, "data-head", "2.1")
    lab.wait_until(view, "data-coarse", "false")
    expect(play.get_by_role("button", name="Patch z.2.1 at ")).to_be_visible()
    # and the other way round
    graph.get_by_role("slider", name="edges").focus()
    page.keyboard.press("End")
    lab.wait_until_kernel_says("graph.view['stop']", "1")
    node = graph.locator(".nbi-circuit-node").filter(has_text=re.compile(r"^L\d+H")).first
    layer, head = node.locator(".nbi-circuit-name").inner_text().removeprefix("L").split("H")
    node.click()
    lab.wait_until_kernel_says("heads.selection.heads", f"(({layer}, {head}),)")
    lab.wait_until(view, "data-head", f"{layer}.{head}")
    expect(heads.locator(".nbi-grid-picked")).to_have_text(f"Picked: head {layer}.{head}, token 3.")

    # a token under the hand lights what it looks at; nothing of a token is code
    view.locator(".nbi-attention-token").nth(5).hover()
    expect(view.locator(".nbi-attention-words")).to_contain_text("token 5 “")
    assert page.locator("img[src='x']").count() == 0
    assert "<img" in " ".join(view.locator(".nbi-attention-strip").all_inner_texts()).replace("\n", "")

    # axe finds nothing on any of them
    page.add_script_tag(path=REPOSITORY / "js" / "node_modules" / "axe-core" / "axe.min.js")
    script = "() => axe.run('.nbinterp-widget:not(.nbinterp-playground)').then(found => found.violations.map(v => [v.id, v.nodes.map(n => n.html)]))"
    for theme in (LIGHT, DARK):
        lab.use_theme(theme)
        page.wait_for_timeout(200)
        assert page.evaluate(script) == []


def test_two_thousand_tokens_are_looked_through_by_hand_and_by_keys(lab: Lab, demo_name):
    cells = [TOY, "play.close()\n" + GRIDS.split("play.experiment")[0], LONG, "long"]
    lab.open(lab.write_notebook(cells))
    lab.run_all()
    grid = lab.page.locator(".nbinterp-grid")
    stage = grid.locator(".nbi-grid-stage")
    stage.wait_for()
    grid.scroll_into_view_if_needed()
    press = lab.page.keyboard.press
    # all of it at first; then as many as fit
    assert seen(grid) == [0, 4, 0, 1999]
    stage.focus()
    for _ in range(14):
        press("+")
    lab.page.wait_for_function(
        "() => Number(document.querySelector('.nbinterp-grid .nbi-grid').dataset.cellWidth) > 40"
    )
    first, last = seen(grid)[2:]
    assert 900 < first < last < 1100
    assert last - first < 40

    # the end of a row, and a range from there back
    press("ArrowDown")
    press("End")
    voice = grid.locator(".nbi-hidden[aria-live]")
    expect(voice).to_contain_text("layer 3, token 1999 “·is1999”")
    assert seen(grid)[3] == 1999
    press("ArrowDown")
    press("Space")
    lab.wait_until_kernel_says("(long.selection.layers, long.selection.tokens)", "((2,), (1999,))")
    for key in ("Shift+ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowDown"):
        press(key)
    lab.wait_until_kernel_says("(long.selection.layers, long.selection.tokens)", "((1, 2), (1997, 1998, 1999))")
    # by hand: a click picks what is under it, a drag a rectangle
    first, last = seen(grid)[2:]
    lab.page.mouse.click(*cell_of(grid, 3, last - 3))
    lab.wait_until_kernel_says("(long.selection.layers, long.selection.tokens)", f"((0,), ({last - 3},))")
    lab.drag([cell_of(grid, 1, last - 8), cell_of(grid, 2, last - 7), cell_of(grid, 4, last - 6)])
    wanted = f"((0, 1, 2), ({last - 8}, {last - 7}, {last - 6}))"
    lab.wait_until_kernel_says("(long.selection.layers, long.selection.tokens)", wanted)
    # what is seen is a table as well, with what Python has
    grid.get_by_text("The numbers that are seen").click()
    expect(grid.locator("thead th").last).to_have_text("·is1999")
    headings = grid.locator("thead th").all_inner_texts()
    shown = grid.locator("tbody tr").nth(4).locator("td").nth(len(headings) - 1).inner_text()
    assert shown.replace("·", " ") == ast.literal_eval(
        lab.ask("one.vocabulary[int(one.data['top'].to_numpy()[0, 0, 4, 0])]")
    ).replace("\n", "⏎")
    press("Escape")
    stage.focus()
    press("Escape")
    lab.wait_until_kernel_says("bool(long.selection)", "False")
    press("0")
    lab.page.wait_for_function(
        "() => document.querySelector('.nbinterp-grid .nbi-grid').dataset.cells.endsWith(':1999')"
    )
    assert seen(grid)[2] == 0


@pytest.fixture(scope="module")
def toy(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")


@pytest.fixture
def alone(browser: Browser, tmp_path) -> Iterator[Callable[[Any], Page]]:
    """Open a widget as the one file that it can be saved as."""
    context = browser.new_context(viewport={"width": 1100, "height": 1000})
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: pytest.fail(f"the page threw {error}"))

    def opened(widget: Any) -> Page:
        widget.to_html(tmp_path / "widget.html")
        page.goto((tmp_path / "widget.html").as_uri())
        page.locator(".nbinterp-widget canvas").first.wait_for()
        return page

    yield opened
    context.close()
    assert {url.split(":")[0] for url in asked} <= {"file", "blob", "data"}


def test_a_file_of_its_own_needs_no_kernel(alone, toy):
    experiment = nb.Experiment(WICKED, interventions=[nb.Ablate("resid_post.1", tokens=3)])
    page = alone(nb.LensGrid(logit_lens(toy, experiment)))
    grid = page.locator(".nbinterp-grid")
    expect(grid).to_have_attribute("data-run", "difference")
    grid.get_by_role("radio", name="base").check(force=True)
    expect(grid).to_have_attribute("data-run", "base")
    grid.get_by_label("shows").select_option("kl")
    expect(grid).to_have_attribute("data-quantity", "kl")
    page.mouse.click(*cell_of(grid, 2, 1))
    expect(grid.locator(".nbi-grid-picked")).to_have_text("Picked: layer 1, token 1 “·capital”.")

    page = alone(nb.AttentionView(attention(toy, WICKED), head=(0, 0)))
    view = page.locator(".nbinterp-attention")
    page.mouse.click(*cell_of(view.locator(".nbi-attention-heads"), 3, 2))
    expect(view).to_have_attribute("data-head", "3.2")
    # nobody sends its numbers: they are the small picture's
    expect(view).to_have_attribute("data-coarse", "true")
    assert page.locator("img[src='x']").count() == 0

    metric = nb.logit_difference(" Paris", " Rome")
    prompts = "The capital of France is", "The capital of Italy is"
    scores = circuit(toy, *prompts, metric=metric, method="EAP", gate="ignore")
    page = alone(nb.CircuitGraph(scores))
    graph = page.locator(".nbinterp-circuit")
    before = int(graph.get_attribute("data-kept") or 0)
    graph.get_by_role("slider", name="edges").focus()
    page.keyboard.press("Home")
    page.wait_for_function("n => Number(document.querySelector('.nbinterp-circuit').dataset.kept) < n", arg=before)
