"""The Playground in a real JupyterLab: the hand moves, the real model answers, and everything can be taken back."""

from __future__ import annotations

import json
import pathlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.ui.driver import DARK, REPOSITORY, box_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

PICTURES = pathlib.Path(__file__).parent / "screenshots"
AXE = REPOSITORY / "js" / "node_modules" / "axe-core" / "axe.min.js"
WICKED = "<img src=x onerror=\"document.title='pwned'\">\u202etxt</script>"

OPEN = """
import nbinterp as nb
from nbinterp.spaces import Direction
from nbinterp.widgets.playground import Playground
model = nb.Model.open('smollm2-135m')
site = nb.Site('resid_post', 12)
def at_last(text):
    (result,) = model.run([nb.Experiment(text, read=site)])
    return result.base_activations[site][0][-1].astype(float)
italy = Direction(site, model.info, at_last('The city of Rome is in Italy') - at_last('The city of Paris is in France'))
"""
SHOW = """
play = Playground(model, 'The capital of France is', directions={NAME: italy}, track=[' Paris', ' Rome'],
                interventions=[nb.Steer(site, direction=italy, scale=1.0, tokens=' France'), nb.Ablate('mlp_out.5', tokens=-1)])
play
""".replace("NAME", json.dumps(WICKED))


def settled(lab: Lab, widget: Locator) -> None:
    """Wait until the page shows the answer to what was set, in whichever view of `play` it was set."""
    # what is set in this frame is sent before the next; Python answers this question after all that was sent before
    lab.page.evaluate("() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    moment = int(lab.ask("play.setting['moment']"))
    script = """([{ dataset }, moment]) => Number(dataset.moment) >= moment && dataset.moment === dataset.answered
        && dataset.working === 'false'"""
    lab.page.wait_for_function(script, arg=[widget.element_handle(), moment], timeout=60_000)


def said_by_python(lab: Lab) -> list[tuple[str, float]]:
    """Return the changed run's tokens and probabilities as Python has them."""
    text = lab.ask("__import__('json').dumps(play.frame()[['token', 'changed']].values.tolist())")
    return [(token, value) for token, value in json.loads(text.strip("'").encode().decode("unicode_escape"))]


def shown(widget: Locator) -> dict[str, str]:
    """Return the changed run's numbers by token as the page shows them."""
    rows = widget.locator(".nbi-chances tbody tr").all()
    return {
        row.locator(".nbi-token").inner_text().replace("·", " "): row.locator(".nbi-number.nbi-of-changed").inner_text()
        for row in rows
    }


def percent(probability: float) -> str:
    value = 100 * probability
    if value >= 9.95 or value == 0:
        return f"{round(value)} %"
    return "<0.1 %" if value < 0.1 else f"{value:.1f} %"


def accept(lab: Lab) -> None:
    """Fail if axe-core finds anything in the widget."""
    if not lab.page.evaluate("() => 'axe' in window"):
        # JupyterLab's module loader would take the script for itself
        lab.page.evaluate(
            "source => { const define = window.define; window.define = undefined; (0, eval)(source); window.define = define; }",
            AXE.read_text(),
        )
    found = lab.page.evaluate(
        "async () => (await axe.run('.nbinterp-playground', { rules: { region: { enabled: false } } })).violations"
        ".map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 160) + ' ' + (n.failureSummary ?? '')).slice(0, 3).join(' | ')}`)"
    )
    assert found == []


def test_the_hand_moves_and_the_model_answers(lab: Lab):
    name = lab.write_notebook([OPEN, SHOW, "play", "'the exported code comes here'"])
    lab.page.set_default_timeout(60_000)
    lab.open(name)
    lab.run_cell(0)
    lab.run_cell(1)
    widget = lab.page.locator(".nbinterp-playground").first
    widget.locator(".nbi-chances tbody tr").first.wait_for()
    settled(lab, widget)
    assert widget.get_attribute("data-top-base") == " Paris"
    assert lab.page.title() != "pwned"
    assert widget.locator("img").count() == 0

    # a slider is dragged: the numbers change, and are Python's
    first = widget.locator(".nbi-card").first
    slider = first.locator(".nbi-slider")
    track = box_of(slider)
    y = track["y"] + track["height"] / 2
    before = widget.get_attribute("data-moment")
    lab.drag([(track["x"] + track["width"] * share, y) for share in (0.62, 0.7, 0.8, 0.85)])
    assert widget.get_attribute("data-moment") != before
    settled(lab, widget)
    lab.wait_until_kernel_says(
        "play.answer['moment'] == play.setting['moment'] and play.setting['acts'][0]['values']['scale'] > 2", "True", 60
    )
    assert shown(widget) == {token: percent(value) for token, value in said_by_python(lab) if token in shown(widget)}
    assert lab.ask("len(play.curves) > 0 and play.curves[-1]['parameter']") == "'scale'"
    dragged = float(lab.ask("play.setting['acts'][0]['values']['scale']"))

    # one drag is one step; undo and redo take it back and forth, by key
    first.locator(".nbi-card-name").focus()
    lab.page.keyboard.press("Control+z")
    lab.wait_until_kernel_says("play.setting['acts'][0]['values']['scale']", "1.0")
    settled(lab, widget)
    lab.page.keyboard.press("Control+Shift+z")
    lab.wait_until_kernel_says("play.setting['acts'][0]['values']['scale']", str(dragged))
    settled(lab, widget)

    # the marker on the curve is the slider
    plot = box_of(widget.locator(".nbi-plot"))
    lab.page.mouse.click(plot["x"] + 60, plot["y"] + 120)
    settled(lab, widget)
    assert float(lab.ask("play.setting['acts'][0]['values']['scale']")) < 0

    # what is picked is where the next intervention goes
    widget.get_by_role("listbox", name="Tokens").get_by_role("option").nth(1).click()
    widget.get_by_role("listbox", name="Layers").get_by_role("option").nth(7).click()
    lab.wait_until_kernel_says("(play.selection.tokens, play.selection.layers)", "((1,), (7,))")
    widget.get_by_role("button", name="Add", exact=True).click()
    lab.page.keyboard.type("multiplies activations")
    lab.page.keyboard.press("Enter")
    settled(lab, widget)
    assert (
        lab.ask("[(a['recipe'], a['component'], a['layer'], a['tokens']) for a in play.setting['acts']][-1]")
        == "('scale', 'resid_post', 7, '1')"
    )

    # what has no effect is said, and no longer once it has one
    assert lab.ask("play.set(-1, factor=1.0)") == "None"
    widget.locator(".nbi-warnings li").wait_for()
    assert widget.locator(".nbi-warnings li").inner_text() == lab.ask("play.answer['warnings'][0]").strip("\"'")
    assert lab.ask("play.undo()") == "None"
    settled(lab, widget)
    assert widget.locator(".nbi-warnings li").count() == 0

    # the list of what can be added begins at its beginning, wherever it was left
    for _ in range(2):
        widget.get_by_role("button", name="Add", exact=True).click()
        at = widget.locator(".nbi-add-list").evaluate(
            "list => { const at = list.scrollTop; list.scrollTop = 1000; return at; }"
        )
        assert at == 0
        lab.page.keyboard.press("Escape")

    # up with the keyboard, off, and away
    widget.locator(".nbi-card").last.locator(".nbi-slider").focus()
    lab.page.keyboard.press("Alt+ArrowUp")
    lab.wait_until_kernel_says("[a['recipe'] for a in play.setting['acts']][1]", "'scale'")
    assert lab.page.evaluate("() => document.activeElement.className") == "nbi-slider"
    widget.locator(".nbi-card").nth(1).get_by_role("switch").click()
    lab.wait_until_kernel_says("[a['on'] for a in play.setting['acts']]", "[True, False, True]")
    widget.locator(".nbi-card").nth(1).get_by_role("button", name="Remove", exact=True).click()
    lab.wait_until_kernel_says("len(play.setting['acts'])", "2")
    settled(lab, widget)

    # a run is kept, the hand moves on, and the run comes back
    widget.get_by_label("Name of the run").fill("weak")
    widget.get_by_role("button", name="Keep this run", exact=True).click()
    widget.locator(".nbi-run").wait_for()
    kept = lab.ask("play.setting['acts'][0]['values']['scale']")
    field = first.locator(".nbi-number-control .nbi-field")
    field.fill("2.5")
    field.press("Enter")
    settled(lab, widget)
    lab.wait_until_kernel_says("play.setting['acts'][0]['values']['scale']", "2.5")
    widget.get_by_role("button", name="Go back to this run", exact=True).click()
    lab.wait_until_kernel_says("play.setting['acts'][0]['values']['scale']", kept)
    settled(lab, widget)

    # what it goes on to say, and what it might have said at a step
    field = widget.get_by_label("tokens", exact=True).last
    field.fill("6")
    field.press("Enter")
    widget.get_by_role("button", name="Generate", exact=True).click()
    lab.page.wait_for_function(
        "element => element.querySelectorAll('.nbi-column.nbi-of-base .nbi-said-token').length === 6",
        arg=widget.element_handle(),
    )
    widget.get_by_role("button", name="Generate", exact=True).wait_for()
    scrubber = widget.locator(".nbi-scrubber .nbi-slider")
    scrubber.focus()
    lab.page.keyboard.press("Home")
    assert widget.locator(".nbi-column.nbi-of-base .nbi-at").inner_text() == lab.ask(
        "play.generated['base'][0]['text']"
    ).strip("'")
    assert widget.locator(".nbi-column.nbi-of-changed .nbi-alternative").count() >= 3

    # an error is one sentence, and leaves all usable
    tokens = first.locator(".nbi-tokens-field")
    first.locator(".nbi-card-name").click()
    tokens.fill("France")
    tokens.press("Enter")
    settled(lab, widget)
    assert "quotes" in first.locator(".nbi-card-problem").inner_text()
    tokens.fill('" France"')
    tokens.press("Enter")
    settled(lab, widget)
    assert first.locator(".nbi-card-problem").inner_text() == ""

    # a second view is the same
    lab.run_cell(2)
    other = lab.page.locator(".nbinterp-playground").nth(1)
    other.locator(".nbi-chances tbody tr").first.wait_for()
    assert shown(other) == shown(widget)
    other.get_by_role("button", name=re.compile("^Undo")).click()
    settled(lab, widget)
    settled(lab, other)
    assert shown(other) == shown(widget)

    # the code that is shown runs without nbinterp
    widget.scroll_into_view_if_needed()
    widget.get_by_role("button", name="Export", exact=True).click()
    lab.page.keyboard.press("Enter")
    widget.locator(".nbi-dialog[open]").wait_for()
    code = widget.locator(".nbi-dialog-text").text_content() or ""
    assert "nnsight" in code
    assert re.search(r"^\s*(import|from) nbinterp", code, flags=re.MULTILINE) is None
    widget.get_by_role("button", name="Close", exact=True).click()
    lab._on_notebook(f"notebook.content.widgets[3].model.sharedModel.setSource({json.dumps(code)});")
    lab.run_cell(3)

    accept(lab)
    # the picture shows the whole, without the sentence about a wrong place
    widget.get_by_role("button", name=re.compile("^Redo")).click()
    settled(lab, widget)
    # a page of its own slides for each intervention of the stack
    widget.get_by_role("button", name="Export", exact=True).click()
    widget.get_by_role("menuitem", name="HTML page").click()
    widget.locator(".nbi-dialog[open]").wait_for()
    assert "Every slider still slides." in widget.locator(".nbi-dialog-note").inner_text()
    widget.get_by_role("button", name="Close", exact=True).click()
    assert (
        lab.ask("len(play.answer['curves']) == len({c['key'] for c in play.curves} & set(play.answer['curves'])) > 1")
        == "True"
    )

    lab.page.set_viewport_size({"width": 1400, "height": 1700})
    widget.evaluate("element => element.scrollIntoView()")
    lab.screenshot(widget, PICTURES / "playground-light.png")
    lab.use_theme(DARK)
    accept(lab)
    lab.screenshot(widget, PICTURES / "playground-dark.png")

    # what was added later acts again in a new kernel, when the cell is run again
    assert lab.ask("play.add(italy, 'later')") == "None"
    settled(lab, widget)
    was = json.loads(
        lab.ask("__import__('json').dumps([play.to_json(), play.frame()['token'].tolist()])")
        .strip("'")
        .encode()
        .decode("unicode_escape")
    )
    lab.save()
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    lab._on_notebook("await notebook.sessionContext.session.kernel.info;")
    lab.run_cell(0)
    lab.run_cell(1)
    lab.wait_until_kernel_says("[play._acts.name(a) for a in play.setting['acts']][-1]", "'Steer along later'", 60)
    lab.wait_until_kernel_says("(play.problem, [m['problem'] for m in play.answer['moved']])", "('', ['', '', ''])", 60)
    now = json.loads(
        lab.ask("__import__('json').dumps([play.to_json(), play.frame()['token'].tolist()])")
        .strip("'")
        .encode()
        .decode("unicode_escape")
    )
    assert now == was
