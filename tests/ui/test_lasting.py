"""What outlives a kernel: the view in a saved notebook, the page of its own, the hand's state after a restart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.ui.test_widgets import DIAL, on_ring, shown_dial, wait_for_hand

if TYPE_CHECKING:
    import pathlib

    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

KEPT = (
    DIAL
    + """
class KeptDial(StubDial):
    def _repr_mimebundle_(self, **kwargs):
        chart = alt.Chart(pd.DataFrame(self.answer["candidates"])).mark_bar().encode(x="turned:Q", y="text:N")
        view = anywidget.AnyWidget._repr_mimebundle_(self, **kwargs)
        return saved_bundle(view, "dial", chart, "the first picture", widget=self, origin=origin_of(self.spec))
"""
).replace("import saved_bundle", "import origin_of, page, saved_bundle")
SHOW = "dial = KeptDial()\ndial"


def turn_to_october(lab: Lab) -> None:
    dial = shown_dial(lab)
    dial.locator(".nbi-label", has_text="October").locator("text").click()
    lab.wait_until_kernel_says("round(dial.angle, 2)", "4.71")
    lab.wait_until(dial, "data-top-turned", " November")


def test_without_a_kernel_the_dial_still_turns_over_its_sweep(lab: Lab):
    name = lab.write_notebook([KEPT, SHOW])
    lab.open(name)
    lab.run_all()
    turn_to_october(lab)
    lab.save()
    lab.close()

    lab.reopen_without_kernel(name)
    dial = shown_dial(lab)
    lab.wait_until(dial, "data-angle-degrees", "270")
    lab.wait_until(dial, "data-top-turned", " November")
    lab.drag([on_ring(dial, 270), on_ring(dial, 220), on_ring(dial, 180)])
    wait_for_hand(lab, dial, 180)
    lab.wait_until(dial, "data-top-turned", " August")
    assert "no kernel" in dial.locator(".nbi-footer").inner_text()

    # a stranger's notebook draws nothing but its picture
    lab.reopen_without_kernel(name, trusted=False)
    lab.page.locator(".jp-OutputArea img").wait_for()
    assert lab.page.locator(".nbinterp-dial").count() == 0


def test_a_crafted_state_leaves_the_picture(lab: Lab):
    name = lab.write_notebook([KEPT, SHOW])
    lab.open(name)
    lab.run_all()
    shown_dial(lab)
    lab.save()
    lab.close()
    path = lab.notebook_path(name)
    # still signed: only what is in the kept state is different
    spoiled = re.sub(r'"spec": \{', '"spec": 7, "was": {', path.read_text())
    assert spoiled != path.read_text()
    path.write_text(spoiled)
    sign = "import nbformat.sign, nbformat; nbformat.sign.NotebookNotary().sign(nbformat.read(NAME, 4))"
    other = lab.write_notebook([sign.replace("NAME", repr(name))])
    lab.load()
    lab.open(other)
    lab.run_all()
    lab.close()
    lab.reopen_without_kernel(name)
    lab.page.locator(".jp-OutputArea .nbinterp-figure img").wait_for()
    assert lab.page.locator(".nbinterp-dial .nbi-knob").count() == 0


def test_after_a_restart_the_cell_takes_up_the_hands_state(lab: Lab):
    name = lab.write_notebook([KEPT, SHOW])
    lab.open(name)
    lab.run_all()
    turn_to_october(lab)
    # run again in the same kernel, a cell begins anew
    lab.run_cell(1)
    lab.wait_until(shown_dial(lab), "data-angle-degrees", "60")
    turn_to_october(lab)
    lab.save()
    lab.close()

    lab.load()
    lab.open(name)
    lab.run_all()
    lab.wait_until(shown_dial(lab), "data-angle-degrees", "270")
    lab.wait_until_kernel_says("round(dial.angle, 2)", "4.71")
    # something else in the same cell begins where it is told to
    turn_to_october(lab)
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    lab._on_notebook("await notebook.sessionContext.session.kernel.info;")
    lab._on_notebook(
        "notebook.content.widgets[1].model.sharedModel.setSource('dial = KeptDial(tokens=TOKENS[:-1])\\ndial');"
    )
    lab.run_cell(0)
    lab.run_cell(1)
    lab.wait_until_kernel_says("round(dial.angle, 2)", "1.05")


def test_a_page_of_its_own_turns_from_the_disk_without_any_request(lab: Lab, tmp_path: pathlib.Path):
    name = lab.write_notebook(
        [
            KEPT,
            "dial = KeptDial(names=['</script><img src=x onerror=alert(1)>'] + MONTHS[1:])\n"
            "chart = alt.Chart(pd.DataFrame(dial.answer['candidates'])).mark_bar().encode(x='turned:Q', y='text:N')\n"
            f"text = page(dial, 'dial', {str(tmp_path / 'dial.html')!r}, text='A <dial>', chart=chart)\nprint(len(text))",
        ]
    )
    lab.open(name)
    lab.run_all()
    assert int(lab.cell_text(1)) < 2_000_000

    context = lab.page.context.browser.new_context(offline=True)
    page = context.new_page()
    requests, errors, dialogs = [], [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(f"file://{tmp_path / 'dial.html'}")
    dial = page.locator(".nbinterp-dial")
    dial.locator(".nbi-knob").wait_for()
    page.mouse.move(*on_ring(dial, 60))
    page.mouse.down()
    page.mouse.move(*on_ring(dial, 180), steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('.nbinterp-dial').dataset.topTurned === ' August'")
    assert page.title() == "A <dial>"
    assert [url for url in requests if not url.startswith(("file:", "blob:", "data:"))] == []
    assert (errors, dialogs, dial.locator("img").count()) == ([], [], 0)
    context.close()
