"""The tutorial in a real JupyterLab, with the real model: turn the dial, see the model's answer follow."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.ui.driver import DARK, LIGHT, REPOSITORY
from tests.ui.test_atlas import lasso_right_half, shown_atlas
from tests.ui.test_widgets import on_ring, shown_dial, wait_for_hand

if TYPE_CHECKING:
    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NAME = "01_the_circle_of_months.ipynb"
PICTURES = pathlib.Path(__file__).parent / "screenshots"


def test_the_tutorial_turns_the_months(lab: Lab, demo_name):
    notebook = nbformat.read(REPOSITORY / "notebooks" / NAME, as_version=4)
    # behind the dial there is only what computes for long and shows tables: tests/test_tutorials.py runs all of it
    last = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith("dial.angle = "))
    notebook.cells = notebook.cells[: last + 1]
    nbformat.write(notebook, lab.notebook_path(NAME))
    lab.page.set_default_timeout(300_000)
    lab.page.set_viewport_size({"width": 1280, "height": 1000})
    lab.open(NAME)
    lab.command("application:toggle-left-area")
    lab.command("notebook:clear-all-cell-outputs")
    lab.run_all()

    dial = shown_dial(lab)
    lab.wait_until(dial, "data-sweep-done", "true")
    lab.ask("setattr(dial, 'angle', circle.angle_of('March'))")
    wait_for_hand(lab, dial, 60)
    lab.wait_until(dial, "data-top-turned", " April")
    assert dial.get_attribute("data-top-base") == " April"

    dial.scroll_into_view_if_needed()
    lab.drag([on_ring(dial, 60), on_ring(dial, 90), on_ring(dial, 120), on_ring(dial, 150), on_ring(dial, 180)])
    wait_for_hand(lab, dial, 180)
    lab.wait_until(dial, "data-working", "false")
    lab.wait_until(dial, "data-top-turned", " August")
    assert dial.get_attribute("data-top-base") == " April"
    assert dial.get_attribute("data-top-control") in (" April", " March")
    assert lab.ask("round(dial.angle, 1)") == "3.1"
    assert lab.ask("model.run(dial.experiment).said()") == "(' August',)"

    for theme, name in ((LIGHT, "light"), (DARK, "dark")):
        lab.use_theme(theme)
        lab.wait_until(dial, "data-sweep-done", "true")
        lab.screenshot(dial, PICTURES / f"dial-{name}.png")
    lab.use_theme(LIGHT)

    # the atlas: what is picked in its picture is picked in Python
    lab.scroll_to("atlas = nb.Atlas(")
    atlas = shown_atlas(lab)
    assert lab.ask("len(atlas.selection.rows), len(atlas.selected)") == "(0, 180)"
    lasso_right_half(lab, atlas)
    lab.wait_until_kernel_says("0 < len(atlas.selection.rows) < 180", "True")
    assert lab.ask("len(atlas.selected) == len(atlas.selection.rows)") == "True"

    lab.save()
    lab.close()
    lab.reopen_without_kernel(NAME)
    lab.scroll_to("dial = nb.Dial(")
    dial = shown_dial(lab)
    lab.wait_until(dial, "data-top-turned", " August")
    assert "no kernel" in dial.locator(".nbi-footer").inner_text()
    assert lab.page.get_by_text("model not found").count() == 0


def test_a_users_own_trace_and_a_moving_hand_do_not_meet(lab: Lab, demo_name):
    """While a cell traces the model itself, the hand moves: neither disturbs the other, and the last position is answered."""
    cells = [
        "import nbinterp as nb, torch\nfrom nbinterp.demo.prompts import months\nmodel = nb.Model.open('smollm2-135m')\n"
        "cloud = model.collect(months.prompts(), sites='resid_post.5', labels=months.table(), progress=False)\n"
        "circle = nb.fit_manifold(cloud, by='month', within='template', harmonics=3)\n"
        "dial = nb.Dial(model, circle, prompt='This month it is March, so next month it will be', tokens=' March')\ndial",
        "tops = set()\nfor _ in range(40):\n    with torch.no_grad(), model.nnsight.trace('The capital of France is'):\n"
        "        top = model.nnsight.output.logits[0, -1].argmax().save()\n    tops.add(model.vocabulary.tokens[int(top)])\ntops",
    ]
    lab.page.set_default_timeout(300_000)
    lab.open(lab.write_notebook(cells))
    lab.run_cell(0)
    dial = shown_dial(lab)
    lab.wait_until(dial, "data-sweep-done", "true")
    running = lab.page.evaluate_handle(
        "() => ({done: (() => { const n = window.jupyterapp.shell.currentWidget; n.content.activeCellIndex = 1; return window.jupyterapp.commands.execute('notebook:run-cell'); })()})"
    )
    for degrees in range(60, 271, 30):
        lab.drag([on_ring(dial, degrees), on_ring(dial, degrees + 15), on_ring(dial, degrees + 30)])
    running.evaluate("handle => handle.done.then(() => null)")
    lab.wait_until(dial, "data-working", "false")
    wait_for_hand(lab, dial, 300)
    assert lab.outputs()[1][-1]["data"]["text/plain"] == "{' Paris'}"
    assert lab.ask("dial.problem") == "''"
    assert lab.ask("abs(dial.answer['angle'] - dial.angle) < 1e-9") == "True"
