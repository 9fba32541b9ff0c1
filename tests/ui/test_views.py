"""Two views of one widget stay equal, whichever of them the hand takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.ui.driver import box_of
from tests.ui.test_atlas import PLANTED, lasso_right_half
from tests.ui.test_playground import settled, shown

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]


def test_two_views_of_an_atlas_are_equal(lab: Lab):
    lab.page.set_viewport_size({"width": 1280, "height": 3000})
    lab.open(lab.write_notebook([PLANTED, "atlas"]))
    lab.run_all()
    one, other = (lab.page.locator(".nbinterp-atlas").nth(i) for i in range(2))
    for view in (one, other):
        lab.wait_until(view, "data-ready", "true")

    lasso_right_half(lab, other)
    lab.wait_until_kernel_says("20 < len(atlas.selection.rows) < 100", "True")
    n = lab.ask("len(atlas.selection.rows)")
    for view in (one, other):
        lab.wait_until(view, "data-picked", n)
        assert f"{n} of 120 rows picked" in view.locator(".atlas-picked").inner_text()

    one.get_by_label("colour", exact=True).select_option("norm")
    expect(other.get_by_label("colour", exact=True)).to_have_value("norm")
    expect(other.locator(".nbi-legend-title")).to_have_text("norm")

    other.get_by_role("slider", name="Layer").focus()
    lab.page.keyboard.press("ArrowRight")
    for view in (one, other):
        expect(view.get_by_role("slider", name="Layer")).to_have_attribute("aria-valuetext", "resid_post.1, 2 of 3")

    # the rows of a loop that is clicked in one are picked in both
    lab.wait_until_kernel_says("atlas.shapes['site']", "1", 60)
    one.locator(".atlas-diagram [data-class='H1.0']").click()
    loop = "sorted(next(f['rows'] for f in atlas.shapes['features'] if f['id'] == 'H1.0'))"
    lab.wait_until_kernel_says(f"atlas.selection.rows.tolist() == {loop}", "True")
    for view in (one, other):
        lab.wait_until(view, "data-picked", lab.ask(f"len({loop})"))


# random weights: the numbers mean nothing, and come in milliseconds
TOY = """
import nbinterp as nb
from tests.conftest import few_tokens, random_module
model = nb.Model.open(random_module("llama"), tokenizer=few_tokens(), name="toy", device="cpu")
play = nb.Playground(model, "The capital of France is", interventions=[nb.Scale("resid_post.1", 2.0), nb.Ablate("mlp_out.2", tokens=-1)])
"""


def cards(view: Locator) -> list[str]:
    return view.locator(".nbi-card-name").all_inner_texts()


def test_two_views_of_a_playground_are_equal(lab: Lab, demo_name):
    lab.page.set_viewport_size({"width": 1280, "height": 3000})
    lab.open(lab.write_notebook([TOY, "play"]))
    lab.run_all()
    one = lab.page.locator(".nbinterp-playground").first
    one.locator(".nbi-chances tbody tr").first.wait_for()
    lab.new_view_of_output(1)
    other = lab.page.locator(".nbinterp-playground").nth(1)
    other.locator(".nbi-chances tbody tr").first.wait_for()

    def equal() -> None:
        for view in (one, other):
            settled(lab, view)
        assert shown(one) == shown(other)
        assert cards(one) == cards(other)

    # a slider is dragged in one
    equal()
    before = shown(one)
    track = box_of(other.locator(".nbi-card").first.locator(".nbi-slider"))
    y = track["y"] + track["height"] / 2
    lab.drag([(track["x"] + track["width"] * share, y) for share in (0.6, 0.7, 0.8)])
    lab.wait_until_kernel_says("play.setting['acts'][0]['values']['factor'] > 2", "True")
    factors = [view.locator(".nbi-card").first.locator(".nbi-number-control .nbi-field") for view in (one, other)]
    equal()
    assert shown(one) != before
    expect(factors[0]).to_have_value(factors[1].input_value())

    # tokens are picked in the other one
    one.get_by_role("listbox", name="Tokens").get_by_role("option").nth(3).click()
    lab.wait_until_kernel_says("play.selection.tokens", "(3,)")
    for view in (one, other):
        token = view.get_by_role("listbox", name="Tokens").get_by_role("option").nth(3)
        expect(token).to_have_attribute("aria-selected", "true")

    # the order of the stack, and back
    stack = cards(one)
    other.locator(".nbi-card-name").nth(1).focus()
    lab.page.keyboard.press("Alt+ArrowUp")
    expect(one.locator(".nbi-card-name").first).to_have_text(stack[1])
    equal()
    assert cards(one) == stack[::-1]
    one.get_by_role("button", name="Undo").click()
    expect(other.locator(".nbi-card-name").first).to_have_text(stack[0])
    equal()

    # the prompt is written in one
    other.get_by_role("textbox", name="Prompt").fill("The capital of Italy is")
    expect(one.get_by_role("textbox", name="Prompt")).to_have_value("The capital of Italy is")
    expect(one.get_by_role("listbox", name="Tokens").get_by_role("option").nth(3)).to_have_text("·Italy")
    equal()
    assert lab.ask("play.setting['prompt']") == "'The capital of Italy is'"
