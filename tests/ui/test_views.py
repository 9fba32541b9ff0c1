"""Two views of one widget stay equal, whichever of them the hand takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.ui.test_atlas import PLANTED, lasso_right_half

if TYPE_CHECKING:
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
