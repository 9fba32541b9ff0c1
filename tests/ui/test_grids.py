"""The grids in a real JupyterLab: a cell that is picked becomes an intervention, and long prompts are looked through."""

from __future__ import annotations

import ast
import pathlib
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

PICTURES = pathlib.Path(__file__).parent / "screenshots"
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


FOLLOWING = """
ask = lambda experiment: attention(model, experiment)
view = nb.AttentionView(ask(PROMPT), head=(0, 0), follow=play, ask=ask)
graph = nb.CircuitGraph(scores, curve=scores.faithfulness([5, 40], draws=1), follow=play)
"""


def test_what_is_clicked_is_done_in_the_playground_that_is_followed(lab: Lab, demo_name):
    lab.page.set_viewport_size({"width": 1280, "height": 3600})
    lab.open(lab.write_notebook([TOY, GRIDS + "linked.unlink()\n" + FOLLOWING, "play", "lens", "view", "graph"]))
    lab.run_all()
    page = lab.page
    play, lens = page.locator(".nbinterp-playground"), page.locator(".nbinterp-grid")
    view, graph = page.locator(".nbinterp-attention"), page.locator(".nbinterp-circuit")
    for each in (play, lens, view, graph):
        each.wait_for()
    heads, large = view.locator(".nbi-attention-heads"), view.locator(".nbi-attention-large")

    # a head that is in the circuit; in the grid of heads the last layer is on top
    graph.get_by_role("slider", name="edges").focus()
    page.keyboard.press("End")
    lab.wait_until_kernel_says("graph.view['stop']", "1")
    node = graph.locator(".nbi-circuit-node").filter(has_text=re.compile(r"^L\d+H")).first
    layer, head = map(int, node.locator(".nbi-circuit-name").inner_text().removeprefix("L").split("H"))
    site = f"{layer}.{head}"
    expect(heads.locator(".nbi-grid")).to_have_attribute("data-cells", "0:3 0:3")
    page.mouse.click(*cell_of(heads, 3 - layer, head))
    lab.wait_until(view, "data-head", site)
    page.mouse.move(5, 5)
    view.get_by_role("button", name=f"Ablate z.{site} at all tokens").click()
    lab.wait_until_kernel_says("[str(act.site) for act in play.experiment.active]", f"['z.{site}']")
    expect(view.get_by_role("button", name=f"Ablate z.{site} at all tokens on the stack")).to_be_focused()
    lab.wait_until(view, "data-measure", "change of attention")
    # the graph marks it, and says so
    lab.wait_until_kernel_says("graph.acted", f"[{1 + layer * 5 + head}]")
    expect(node.locator(".nbi-circuit-acted")).to_have_text("changed in the Playground")

    # an edge of attention: a query and a key
    page.mouse.click(*cell_of(large, 4, 1))
    cut = f"Cut pattern.{site} at “·is” off “·capital”"
    page.mouse.move(5, 5)
    view.get_by_role("button", name=cut).click()
    lab.wait_until_kernel_says("type(play.experiment.active[-1]).__name__", "'Cut'")
    lab.wait_until_kernel_says(f"float(view.attention.pattern.sel(layer={layer}, head={head})[4, 1])", "0.0")

    # an edge of the circuit
    canvas = box_of(graph.locator("canvas").last)
    words = graph.locator(".nbi-circuit-words")
    places = [(x, y) for y in range(26, int(canvas["height"]) - 20, 8) for x in range(40, int(canvas["width"]) - 30, 8)]
    for x, y in places:
        page.mouse.move(canvas["x"] + x, canvas["y"] + y)
        if "→" in words.inner_text():
            break
    edge = words.inner_text().split(":")[0]
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(5, 5)
    graph.get_by_role("button", name=f"Cut {edge}").click()
    lab.wait_until_kernel_says("type(play.experiment.active[-1]).__name__", "'Patch'")
    expect(play.locator(".nbi-card-name").last).to_contain_text(f"Cut {edge}")
    lab.wait_until_kernel_says("[each.problem for each in (play, lens, view, graph)]", "['', '', '', '']")
    page.add_script_tag(path=REPOSITORY / "js" / "node_modules" / "axe-core" / "axe.min.js")
    script = "() => axe.run('.nbinterp-attention, .nbinterp-circuit').then(found => found.violations.map(v => [v.id, v.nodes.map(n => n.html)]))"
    # every canvas is drawn anew for the other theme, and is what it was when the first one is back
    canvases = "() => [...document.querySelectorAll('.nbinterp-widget canvas')].map(canvas => canvas.toDataURL())"
    in_light = page.evaluate(canvases)
    assert len(in_light) == 5
    drawn_anew = {
        DARK: "([drawn, light]) => drawn.every((one, at) => one !== light[at])",
        LIGHT: "([drawn, light]) => drawn.every((one, at) => one === light[at])",
    }
    for theme, as_wanted in drawn_anew.items():
        lab.use_theme(theme)
        page.wait_for_function(f"light => ({as_wanted})([({canvases})(), light])", arg=in_light)
        assert page.evaluate(script) == []
        for name, each in (("attention", view), ("circuit", graph)):
            lab.screenshot(each, PICTURES / f"following-{name}-{theme.split()[-1].lower()}.png")

    # what the hand moves is followed while it moves, by the lens as well, before it lets go
    slider = box_of(play.locator(".nbi-card").first.locator(".nbi-slider"))
    y = slider["y"] + slider["height"] / 2
    page.mouse.move(slider["x"] + 0.9 * slider["width"], y)
    page.mouse.down()
    for share in (0.7, 0.4):
        page.mouse.move(slider["x"] + share * slider["width"], y, steps=6)
        amount = "play.experiment.interventions[0].amount"
        lab.wait_until_kernel_says(f"abs({amount} - {share}) < 0.1", "True")
        for each in ("lens.lens", "view.attention"):
            lab.wait_until_kernel_says(f"{each}.experiment.interventions[0].amount == {amount}", "True")
    page.mouse.up()

    # another prompt is another picture
    play.get_by_role("textbox", name="Prompt").fill("The capital of Italy, they say, is")
    expect(view.locator(".nbi-attention-token").nth(3)).to_have_text("·Italy")
    lab.wait_until(view, "data-coarse", "false")
    expect(large.locator(".nbi-grid")).to_have_attribute("data-cells", "0:8 0:8")


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
    page.mouse.click(*cell_of(view.locator(".nbi-attention-heads"), 0, 2))
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
