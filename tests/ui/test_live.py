"""The README's own code in a real JupyterLab, with the real model: the slider, also while a cell runs, and the Playground."""

from __future__ import annotations

import pathlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.ui.driver import DARK, LIGHT, REPOSITORY, box_of
from tests.ui.test_playground import settled

if TYPE_CHECKING:
    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

OPEN = "import nbinterp as nb\nmodel = nb.Model.open('smollm2-135m')"
PICTURES = pathlib.Path(__file__).parent / "screenshots"


def of_readme(word: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), flags=re.DOTALL)
    (block,) = (block for block in blocks if word in block)
    return str(block)


def test_the_slider_of_the_readme_moves_the_models_answer(lab: Lab, demo_name):
    name = lab.write_notebook(
        [
            OPEN,
            of_readme("FloatSlider"),
            "import time\nfor _ in range(40):\n    time.sleep(0.1)\n    model.run('a cell that asks too')",
        ]
    )
    lab.page.set_default_timeout(120_000)
    lab.open(name)
    lab.run_cell(0)
    lab.run_cell(1)
    slider = lab.page.locator(".widget-slider .noUi-handle")
    table = lab.page.locator(".widget-html-content table")
    slider.wait_for()
    table.wait_for()
    assert " worse" not in table.inner_text()

    track = box_of(lab.page.locator(".widget-slider .noUi-base"))
    y = track["y"] + track["height"] / 2
    steps = [track["x"] + track["width"] * (0.5 - 0.05 * n) for n in range(11)]
    lab.drag([(x, y) for x in steps])
    lab.wait_until_kernel_says("strength.value", "-2.0")
    lab.wait_until_kernel_says("'worse' in shown.value and live.idle", "True", 60)
    lab.page.wait_for_function("() => document.querySelector('.widget-html-content table').innerText.includes('worse')")
    lab.screenshot(lab.page.locator(".jp-Notebook"), PICTURES / "slider.png")

    # while a cell runs its own traces, callbacks come on another thread: the answers wait for the cell and then follow
    lab._on_notebook("notebook.content.activeCellIndex = 2; notebook.content.deselectAll();")
    lab.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-cell'); }")
    lab.drag([(x, y) for x in reversed(steps)] + [(track["x"] + track["width"], y)])
    lab.wait_until_kernel_says("strength.value", "2.0", 60)
    lab.wait_until_kernel_says("live.idle and 'worse' not in shown.value and 'able' in shown.value", "True", 60)
    lab._raise_cell_errors()


def test_the_playground_of_the_readme_is_the_one_in_its_picture(lab: Lab, demo_name):
    lab.page.set_default_timeout(120_000)
    lab.page.set_viewport_size({"width": 1280, "height": 1700})
    lab.open(lab.write_notebook([OPEN, of_readme("nb.Playground("), "play"]))
    lab.command("application:toggle-left-area")
    lab.run_all()
    play = lab.page.locator(".nbinterp-playground").last
    play.locator(".nbi-chances tbody tr").first.wait_for()
    settled(lab, play)
    assert (play.get_attribute("data-top-base"), play.get_attribute("data-top-changed")) == (" Paris", " Rome")

    length = play.get_by_label("tokens", exact=True).last
    length.fill("14")
    length.press("Enter")
    play.get_by_role("button", name="Generate", exact=True).click()
    lab.wait_until_kernel_says("play.task is None and len((play.generated or {}).get('changed', []))", "14", 60)
    assert "Rome" in play.locator(".nbi-column.nbi-of-changed").inner_text()
    settled(lab, play)
    assert play.locator(".nbi-plot path").count() > 2

    for theme, name in ((LIGHT, "light"), (DARK, "dark")):
        lab.use_theme(theme)
        lab.screenshot(play, PICTURES / f"readme-playground-{name}.png")
