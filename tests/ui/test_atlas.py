"""The atlas in a real JupyterLab: what is picked in one picture is picked in all, and in Python; and the way to a causal claim."""

from __future__ import annotations

import ast
import pathlib
from typing import TYPE_CHECKING

import pytest

from tests.ui.driver import DARK, LIGHT, REPOSITORY, box_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

PICTURES = pathlib.Path(__file__).parent / "screenshots"

FIRST_ROW = "row => document.querySelector('.atlas-lines [aria-rowindex=\"2\"] .atlas-cell')?.textContent === row"

# a circle of months at three layers, and labels that no page may take for anything but text
PLANTED = """
import numpy as np, pandas as pd, nbinterp as nb
from nbinterp.anatomy import ModelInfo
rng = np.random.default_rng(0)
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
WICKED = ["<img src=x onerror=\\"document.title='owned'\\">", "</script><b>b", "c\\u202ed", "L" * 150]
angles = np.sort(rng.uniform(0, 2 * np.pi, 120))
plane = rng.normal(size=(2, 12))
def at(layer):
    turned = angles + 0.2 * layer
    return (1 + layer) * (np.c_[np.cos(turned), np.sin(turned)] @ plane + 0.1 * rng.normal(size=(120, 12)))
table = pd.DataFrame({
    "month": [MONTHS[int(angle / (2 * np.pi) * 12)] for angle in angles],
    "norm": rng.normal(size=120).round(2) + 20.005,
    "wicked": WICKED * 30,
    "long": ["M" * 10_000] * 120,
})
info = ModelInfo("toy", "abc", "LlamaForCausalLM", n_layers=4, d_model=12, n_vocab=10, blocks="model.layers")
cloud = nb.Cloud.from_arrays({f"resid_post.{layer}": at(layer) for layer in range(3)}, table, info)
atlas = nb.Atlas(cloud, by="month", cyclic=True)
atlas.wait()
atlas
"""


def open_atlas(lab: Lab, source: str = PLANTED, width: int = 1280) -> Locator:
    lab.page.set_viewport_size({"width": width, "height": 1000})
    lab.page.set_default_timeout(45_000)
    lab.open(lab.write_notebook([source]))
    lab.command("application:toggle-left-area")
    lab.run_all()
    return shown_atlas(lab)


def shown_atlas(lab: Lab) -> Locator:
    atlas = lab.page.locator(".nbinterp-atlas")
    lab.wait_until(atlas, "data-ready", "true")
    atlas.locator(".nbi-stage").scroll_into_view_if_needed()
    return atlas


def lasso_right_half(lab: Lab, atlas: Locator) -> None:
    box = box_of(atlas.locator(".nbi-canvases"))
    left, right = box["x"] + 0.5 * box["width"], box["x"] + box["width"] - 2
    top, bottom = box["y"] + 2, box["y"] + box["height"] - 2
    lab.drag([(left, top), (right, top), (right, bottom), (left, bottom)])


def picked(lab: Lab) -> list[int]:
    rows: list[int] = ast.literal_eval(lab.ask("atlas.selection.rows.tolist()"))
    return rows


def waits_for_picks(lab: Lab, atlas: Locator, expression: str) -> list[int]:
    """Wait until Python has picked what an expression says, and the page shows as many."""
    lab.wait_until_kernel_says(f"atlas.selection.rows.tolist() == {expression}", "True")
    rows = picked(lab)
    lab.wait_until(atlas, "data-picked", str(len(rows)))
    return rows


def test_one_selection_in_all_pictures_and_in_python(lab: Lab):
    atlas = open_atlas(lab)
    assert (atlas.get_attribute("data-loops") or "").startswith("a loop")
    lasso_right_half(lab, atlas)
    lab.wait_until_kernel_says("20 < len(atlas.selection.rows) < 100", "True")
    inside = picked(lab)
    across = "np.frombuffer(atlas.positions['xy'], dtype='<f4').reshape(3, -1, 2)[0, :, 0]"
    # the rows on one side of a line across the picture, and no others
    assert lab.ask(f"(lambda x, m: bool(x[m].min() > x[~m].max()))({across}, atlas.selection.mask(120))") == "True"
    lab.wait_until(atlas, "data-picked", str(len(inside)))
    assert f"{len(inside)} of 120 rows picked" in atlas.locator(".atlas-picked").inner_text()

    # Python picks, all pictures follow
    lab.ask("setattr(atlas, 'selection', {'rows': [0, 1, 2]})")
    lab.wait_until(atlas, "data-picked", "3")
    assert atlas.locator(".atlas-line[aria-selected=true]").count() == 3
    months = ast.literal_eval(lab.ask("sorted(set(table['month'][:3]))"))
    pressed = atlas.locator(".atlas-bar:not([aria-pressed=false])")
    assert sorted((bar.get_attribute("aria-label") or "").split(":")[0] for bar in pressed.all()) == months

    # a class of the diagram lights its representative, and its rows are picked
    atlas.locator(".atlas-diagram [data-class='H1.0']").click()
    wanted = "sorted(next(f['rows'] for f in atlas.shapes['features'] if f['id'] == 'H1.0'))"
    loop = waits_for_picks(lab, atlas, wanted)
    assert len(loop) > 4
    assert atlas.locator(".nbi-lit-path").first.get_attribute("d")
    assert atlas.locator("[data-class='H1.0'][aria-pressed=true]").count() == 2

    # a brush over the bars of May to July
    bars = atlas.locator(".atlas-bar")
    names = [(bar.get_attribute("aria-label") or "").split(":")[0] for bar in bars.all()]
    ends = [box_of(bars.nth(names.index(month))) for month in ("May", "July")]
    lab.drag([(end["x"] + end["width"] / 2, end["y"] + 60) for end in ends])
    waits_for_picks(lab, atlas, "np.flatnonzero(table['month'].isin(['May', 'June', 'July'])).tolist()")
    assert "all are May, June or July" in atlas.locator(".atlas-picked").inner_text()

    # the table: only those, sorted by a column; then a search, and Enter picks what was found
    atlas.get_by_role("switch", name="Only picked rows").click()
    atlas.get_by_role("button", name="norm").click()
    order = "table.index[table['month'].isin(['May', 'June', 'July'])]"
    first = lab.ask(f"int(table.loc[{order}, 'norm'].idxmin())")
    lab.page.wait_for_function(FIRST_ROW, arg=first)
    atlas.get_by_role("switch", name="Only picked rows").click()
    search = atlas.get_by_role("searchbox", name="Search the rows")
    search.fill("novem")
    atlas.get_by_text("rows found, Enter picks them").wait_for()
    search.press("Enter")
    november = waits_for_picks(lab, atlas, "np.flatnonzero(table['month'] == 'November').tolist()")
    search.fill("")

    # by keyboard alone: one more row, then all but these
    grid = atlas.get_by_role("grid", name="Rows")
    atlas.get_by_role("button", name="row", exact=True).click()
    lab.page.wait_for_function(FIRST_ROW, arg="0")
    grid.focus()
    lab.page.keyboard.press("Home")
    lab.page.keyboard.press("Space")
    lab.wait_until(atlas, "data-picked", str(len(november) + 1))
    atlas.get_by_role("button", name="Invert").click()
    lab.wait_until(atlas, "data-picked", str(119 - len(november)))
    atlas.get_by_role("button", name="Clear").click()
    lab.wait_until_kernel_says("len(atlas.selection.rows)", "0")


def test_layouts_colours_layers_and_claims(lab: Lab):
    atlas = open_atlas(lab)
    atlas.get_by_label("colour", exact=True).select_option("norm")
    lab.wait_until_kernel_says("atlas.view['color']", "'norm'")
    assert "norm" in atlas.locator(".nbi-legend-title").inner_text()
    atlas.get_by_label("layout", exact=True).select_option("columns")
    lab.wait_until(atlas, "data-layout", "columns")
    atlas.get_by_label("x axis").select_option("norm")
    lab.wait_until_kernel_says("atlas.view['layout'], atlas.view['x']", "('columns', 'norm')")
    atlas.get_by_label("layout", exact=True).select_option("pca")
    lab.wait_until_kernel_says("atlas.positions['layout']", "'pca'")
    atlas.locator(".atlas-note", has_text="true 15 nearest neighbours").wait_for()

    # the layers, by keyboard and by hand
    slider = atlas.get_by_role("slider", name="Layer")
    slider.focus()
    lab.page.keyboard.press("ArrowRight")
    lab.wait_until_kernel_says("atlas.view['site']", "1")
    assert slider.get_attribute("aria-valuetext") == "resid_post.1, 2 of 3"
    box = box_of(slider)
    y = box["y"] + box["height"] / 2
    lab.drag([(box["x"] + box["width"] / 2, y), (box["x"] + 0.8 * box["width"], y), (box["x"] + box["width"] - 9, y)])
    lab.wait_until_kernel_says("atlas.view['site']", "2")
    lab.wait_until_kernel_says("atlas.shapes['site']", "2", 60)

    # too few rows say so; a direction becomes a claim, and counts as a look
    direction = atlas.get_by_role("button", name="Direction")
    assert direction.get_attribute("aria-disabled") == "true"
    assert "pick rows first" in (direction.get_attribute("title") or "")
    looks = int(lab.ask("atlas.looks"))
    lasso_right_half(lab, atlas)
    lab.wait_until(direction, "aria-disabled", "false")
    direction.click()
    lab.wait_until(atlas, "data-claims", "1")
    card = atlas.locator(".atlas-claim")
    assert "held-out AUC" in card.inner_text()
    lab.page.wait_for_function(
        "looks => document.querySelector('.atlas-looks').textContent === looks", arg=f"looks taken: {looks + 1}"
    )
    assert card.get_by_role("button", name="Steer with it").count() == 0
    card.get_by_role("button", name="Drop").click()
    lab.wait_until(atlas, "data-claims", "0")
    assert lab.ask("len(atlas.claims)") == "0"

    # the site, from Python
    lab.ask("setattr(atlas, 'site', 'resid_post.1')")
    lab.page.wait_for_function(
        "() => document.querySelector('.atlas-layers [role=slider], .atlas-layers input').ariaValueText === 'resid_post.1, 2 of 3'"
    )
    assert "which this cloud was not read" in lab.ask("setattr(atlas, 'site', 'resid_post.7')")
    lab.ask("setattr(atlas, 'site', 'resid_post.2')")
    lab.wait_until(atlas, "data-site", "2")

    # what went wrong is told in a sentence, and the atlas goes on
    lab.ask("setattr(atlas, 'problem', 'got <b>this</b>; wanted that.')")
    atlas.get_by_role("alert").get_by_text("got <b>this</b>; wanted that.").wait_for()
    lab.page.keyboard.press("Escape")


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_accessible_and_the_users_text_is_text(lab: Lab, theme: str):
    atlas = open_atlas(lab)
    # the page is hidden while its theme changes: the table is whole again afterwards
    lines = atlas.locator(".atlas-line")
    shown = lines.count()
    lab.use_theme(theme)
    assert shown > 5
    lab.page.wait_for_function("shown => document.querySelectorAll('.atlas-line').length === shown", arg=shown)
    for menu in ("colour", "of which column"):
        atlas.get_by_label(menu, exact=True).select_option("wicked")
    lab.wait_until_kernel_says("atlas.view['color'], atlas.view['histogram']", "('wicked', 'wicked')")
    lab.ask("setattr(atlas, 'selection', {'rows': [0, 4, 8]})")
    lab.wait_until(atlas, "data-picked", "3")
    assert "all are <img src=x" in atlas.locator(".atlas-picked").inner_text()
    lab.ask("atlas.make('direction', name=WICKED[0]).name")
    lab.wait_until(atlas, "data-claims", "1")
    atlas.locator(".atlas-line .atlas-cell", has_text="\\u202e").first.wait_for()
    assert atlas.locator("img, script, b").count() == 0
    picture = atlas.evaluate("element => element.nbinterpPicture()")
    assert picture.count("<img") == 1
    assert "<b>" not in picture
    assert "owned" not in lab.page.title()
    lab.page.add_script_tag(path=REPOSITORY / "js" / "node_modules" / "axe-core" / "axe.min.js")
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    script = "rules => axe.run({ include: [['.nbinterp-atlas']] }, { runOnly: rules })"
    violations = lab.page.evaluate(script, rules)["violations"]
    assert [(v["id"], [(n["target"], n["failureSummary"]) for n in v["nodes"][:3]]) for v in violations] == []


SITTING = """
import nbinterp as nb
from nbinterp.demo.prompts import months
model = nb.Model.open("smollm2-135m")
cloud = model.collect(months.prompts(), sites=["resid_post.5", "resid_post.15"], labels=months.table(), progress=False)
atlas = nb.Atlas(cloud, model, by="month", within="template", cyclic=True, prompt="The month after March is")
atlas
"""


def test_from_a_lasso_to_code_in_one_sitting(lab: Lab, demo_name):
    """Lasso, direction, steer, see, undo, export, run the code: all of it with the mouse."""
    # high enough for the whole atlas in one picture
    lab.page.set_viewport_size({"width": 1280, "height": 1500})
    lab.page.set_default_timeout(150_000)
    lab.open(lab.write_notebook([SITTING, "get_ipython().run_cell(atlas.playground.to_code()).raise_error()"]))
    lab.command("application:toggle-left-area")
    lab.run_cell(0)
    atlas = shown_atlas(lab)
    lab.wait_until_kernel_says("atlas.shapes is not None and atlas.task is None", "True", 150)
    lasso_right_half(lab, atlas)
    lab.wait_until_kernel_says("20 < len(atlas.selection.rows) < 160", "True")
    atlas.get_by_role("button", name="Direction").click()
    lab.wait_until(atlas, "data-claims", "1")
    lab.wait_until_kernel_says("atlas.task is None", "True", 60)
    for theme, name in ((DARK, "dark"), (LIGHT, "light")):
        lab.use_theme(theme)
        atlas.scroll_into_view_if_needed()
        lab.page.mouse.move(5, 5)
        lab.page.wait_for_timeout(600)
        lab.screenshot(atlas, PICTURES / f"atlas-{name}.png")

    atlas.locator(".atlas-claim").get_by_role("button", name="Steer with it").click()
    playground = atlas.locator(".nbinterp-playground")
    settled = "element => element.dataset.moment === element.dataset.answered && element.dataset.working === 'false'"
    playground.locator(".nbi-chances tbody tr").first.wait_for()
    lab.page.wait_for_function(settled, arg=playground.element_handle())
    assert lab.ask("len(atlas.playground.experiment.interventions)") == "1"
    assert lab.ask("str(atlas.playground.experiment.interventions[0].site)") == "'resid_post.5'"

    slider = playground.locator(".nbi-card .nbi-slider").first
    scale = "atlas.playground.setting['acts'][0]['values']['scale']"
    before = lab.ask(scale)
    track = box_of(slider)
    y = track["y"] + track["height"] / 2
    lab.drag([(track["x"] + track["width"] * share, y) for share in (0.5, 0.6, 0.75, 0.9)])
    lab.wait_until_kernel_says(f"{scale} > {before}", "True")
    lab.page.wait_for_function(settled, arg=playground.element_handle())
    assert lab.ask("atlas.playground.answer['kl'] > 0.001") == "True"
    playground.get_by_role("button", name="Undo").click()
    lab.wait_until_kernel_says(f"{scale}", before)

    atlas.get_by_role("button", name="Collect again under these interventions").click()
    lab.wait_until_kernel_says("atlas.again is not None", "True", 120)
    atlas.locator(".atlas-again", has_text="rows moved by").wait_for()
    atlas.locator(".nbi-ghost-key", has_text="Steer at resid_post.5").wait_for()
    # the table has the rows twice, and the picture that is stored says what the rings are
    assert lab.ask("atlas.frame().groupby('interventions').size().tolist() == [len(cloud)] * 2") == "True"
    words = "element => new DOMParser().parseFromString(element.nbinterpPicture(), 'text/html').body.textContent"
    assert "collected againSteer at resid_post.5: " in atlas.evaluate(words)

    playground.get_by_role("button", name="Export").click()
    playground.get_by_role("menuitem").first.click()
    code = playground.locator(".nbi-dialog-text", has_text="nnsight").inner_text()
    playground.get_by_role("button", name="Close").click()
    assert code.strip() == ast.literal_eval(lab.ask("atlas.playground.to_code()")).strip()
    lab.run_cell(1)


def test_by_touch(touch_lab: Lab):
    """A lasso, a tap near a class, bars: with a finger; one that scrolls the page past a picture picks nothing."""
    lab = touch_lab
    atlas = open_atlas(lab)
    box = box_of(atlas.locator(".nbi-canvases"))
    left, right = box["x"] + 0.5 * box["width"], box["x"] + box["width"] - 4
    top, bottom = box["y"] + 4, box["y"] + box["height"] - 4
    lab.drag([(left, top), (right, top), (right, bottom), (left, bottom)], touch=True)
    lab.wait_until_kernel_says("20 < len(atlas.selection.rows) < 100", "True")
    across = "np.frombuffer(atlas.positions['xy'], dtype='<f4').reshape(3, -1, 2)[0, :, 0]"
    assert lab.ask(f"(lambda x, m: bool(x[m].min() > x[~m].max()))({across}, atlas.selection.mask(120))") == "True"

    # a finger is broader than a mark
    mark = box_of(atlas.locator(".atlas-diagram [data-class='H1.0'] .atlas-body"))
    lab.page.touchscreen.tap(mark["x"] + mark["width"] + 10, mark["y"] + 8)
    waits_for_picks(lab, atlas, "sorted(next(f['rows'] for f in atlas.shapes['features'] if f['id'] == 'H1.0'))")
    assert "loop H1.0: born at" in atlas.locator(".atlas-told").inner_text()
    assert lab.page.evaluate("() => document.activeElement.closest('svg')") is None

    bars = atlas.locator(".atlas-bar")
    names = [(bar.get_attribute("aria-label") or "").split(":")[0] for bar in bars.all()]
    ends = [box_of(bars.nth(names.index(month))) for month in ("May", "July")]
    lab.drag([(end["x"] + end["width"] / 2, end["y"] + 60) for end in ends], touch=True)
    before = waits_for_picks(lab, atlas, "np.flatnonzero(table['month'].isin(['May', 'June', 'July'])).tolist()")
    scrolled = "element => element.getBoundingClientRect().top"
    start = atlas.evaluate(scrolled)
    x, y = ends[0]["x"] - 40, ends[0]["y"] + 120
    lab.drag([(x, y - step) for step in range(0, 200, 20)], touch=True)
    lab.page.wait_for_function(
        f"([element, top]) => ({scrolled})(element) < top - 50", arg=[atlas.element_handle(), start]
    )
    assert picked(lab) == before
