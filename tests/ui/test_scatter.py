"""The WebGL scatter in a real JupyterLab: what the hand and the keys pick is what Python gets, and the other way round."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.ui.driver import DARK, LIGHT, REPOSITORY, box_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

WICKED = "<img src=x onerror=alert(1)>\u202e</script>"
TABLE = f"""
import numpy as np, pandas as pd
from nbinterp.widgets.scatter import Scatter
rng = np.random.default_rng(0)
n = 800
table = pd.DataFrame({{"x": rng.normal(size=n), "y": rng.normal(size=n), "kind": np.arange(n) % 3}})
table["kind"] = table["kind"].map({{0: "one", 1: {WICKED!r}, 2: "x" * 10_000}})
"""
SHOW = "plot = Scatter(table, 'x', 'y', color='kind', title={!r})\nplot"


def opened(lab: Lab, show: str = SHOW.format(WICKED)) -> Locator:
    lab.open(lab.write_notebook([TABLE, show]))
    lab.run_all()
    plot = lab.page.locator(".nbinterp-scatter").first
    plot.locator(".nbi-tick").first.wait_for()
    plot.scroll_into_view_if_needed()
    return plot


def scale(plot: Locator, axis: str) -> tuple[float, float]:
    """Return slope and offset from data to the page's pixels, as the numbers at an axis say."""
    place = {"across": "x + box.width / 2", "down": "y + box.height / 2"}[axis]
    script = f"ticks => ticks.map(tick => {{ const box = tick.getBoundingClientRect(); return [tick.textContent, box.{place}]; }})"
    ticks = plot.locator(f".nbi-{axis}").evaluate_all(script)
    values = [float(text.replace("\u2212", "-")) for text, _ in ticks]
    slope, offset = np.polyfit(values, [at for _, at in ticks], 1)
    return float(slope), float(offset)


def data(lab: Lab) -> np.ndarray[Any, Any]:
    return np.array(ast.literal_eval(lab.ask("table[['x', 'y']].to_numpy().tolist()")))


def inside(points: np.ndarray[Any, Any], corners: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return which points have an odd number of a polygon's sides to their right: ``[point]``."""
    ends = np.roll(corners, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    spans = (corners[:, 1] > y) != (ends[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = corners[:, 0] + (y - corners[:, 1]) / (ends[:, 1] - corners[:, 1]) * (ends[:, 0] - corners[:, 0])
    return (spans & (x < crossing)).sum(axis=1) % 2 == 1


def apart(points: np.ndarray[Any, Any], corners: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return each point's distance to the outline of a polygon: ``[point]``."""
    start, along = corners, np.roll(corners, -1, axis=0) - corners
    share = ((points[:, None] - start) * along).sum(-1) / (along**2).sum(-1)
    foot = start + np.clip(share, 0, 1)[..., None] * along
    return np.linalg.norm(points[:, None] - foot, axis=-1).min(axis=1)


def picked(lab: Lab) -> list[int]:
    rows: list[int] = ast.literal_eval(lab.ask("plot.selection.rows.tolist()"))
    return rows


def test_what_the_hand_picks_is_what_python_gets_and_the_other_way_round(lab: Lab):
    plot = opened(lab)
    stage = box_of(plot.locator(".nbi-stage"))
    (sx, ox), (sy, oy) = scale(plot, "across"), scale(plot, "down")
    points = data(lab) * [sx, sy] + [ox, oy]
    middle = [stage["x"] + 0.5 * stage["width"], stage["y"] + 0.45 * stage["height"]]
    # a star, so that what is between its arms has to be left out
    angles = np.arange(10) * np.pi / 5
    corners = middle + np.where(np.arange(10) % 2, 50, 130)[:, None] * np.stack(
        [np.cos(angles), np.sin(angles)], axis=1
    )
    lab.drag([*map(tuple, corners), tuple(corners[0])])
    lab.page.wait_for_function("() => Number(document.querySelector('.nbinterp-scatter').dataset.picked) > 0")
    lab.wait_until_kernel_says("len(plot.selection.rows) > 0", "True")
    count = plot.get_attribute("data-picked")
    lab.wait_until_kernel_says("len(plot.selected)", str(count))
    rows = picked(lab)
    sure = apart(points, corners) > 3
    mask = np.zeros(len(points), dtype=bool)
    mask[rows] = True
    assert 50 < len(rows) < 400
    np.testing.assert_array_equal(mask[sure], inside(points, corners)[sure])

    # a box adds with Shift, and takes away with Alt
    left, top = corners.min(axis=0)
    lab.page.keyboard.press("b")
    for key, wanted in (("Shift", True), ("Alt", False)):
        lab.page.keyboard.down(key)
        lab.drag([(left, top), (left + 120, top + 120)])
        lab.page.keyboard.up(key)
        box = np.array([[left, top], [left + 120, top], [left + 120, top + 120], [left, top + 120]])
        there = inside(points, box) & (apart(points, box) > 2)
        assert there.sum() > 5
        lab.wait_until_kernel_says(f"bool(plot.selection.mask(n)[{np.flatnonzero(there).tolist()}].all())", str(wanted))
        lab.wait_until_kernel_says(f"bool(plot.selection.mask(n)[{np.flatnonzero(there).tolist()}].any())", str(wanted))

    # what Python picks is shown
    lab.ask("plot.set_trait('selection', {'rows': table['x'] > 1})")
    wanted = int((data(lab)[:, 0] > 1).sum())
    lab.wait_until(plot, "data-picked", str(wanted))
    assert plot.locator(".nbi-amount").inner_text() == f"{wanted} of 800 picked"
    # an empty selection is everything again
    lab.ask("plot.set_trait('selection', {})")
    lab.wait_until(plot, "data-picked", "0")
    plot.locator(".nbi-legend-line").nth(0).click()
    lab.wait_until_kernel_says("plot.selected['kind'].unique().tolist()", "['one']")


def test_keys_do_all_of_it_and_labels_are_text_and_axe_is_content(lab: Lab):
    plot = opened(lab)
    assert plot.locator("img").count() == 0
    assert "<img src=x onerror=alert(1)>\\u202e</script>" in plot.locator(".nbi-title").inner_text()
    assert "<img" in plot.locator(".nbi-legend-line").nth(1).inner_text()
    plot.locator(".nbi-stage").focus()
    press = lab.page.keyboard.press
    press("ArrowRight")
    voice = plot.locator("[aria-live]")
    lab.page.wait_for_function(
        "() => /row \\d+/.test(document.querySelector('.nbinterp-scatter [aria-live]').textContent)"
    )
    first = int(re.search(r"row (\d+)", voice.inner_text()).group(1))
    press("Space")
    lab.wait_until_kernel_says("plot.selection.rows.tolist()", f"[{first}]")
    press("ArrowRight")
    lab.page.wait_for_function(
        "row => !document.querySelector('.nbinterp-scatter [aria-live]').textContent.startsWith(`row ${row},`)",
        arg=first,
    )
    second = int(re.search(r"row (\d+)", voice.inner_text()).group(1))
    press("Shift+Space")
    lab.wait_until_kernel_says("plot.selection.rows.tolist()", str(sorted([first, second])))
    places = data(lab)
    assert places[second, 0] > places[first, 0]
    press("Control+a")
    lab.wait_until_kernel_says("len(plot.selected)", "800")
    press("Escape")
    lab.wait_until_kernel_says("len(plot.selected)", "0")
    # the plot's own keys add no cell, and change the view
    before = scale(plot, "across")
    press("+")
    press("b")
    wanted = pytest.approx(1.4 * before[0], rel=0.02)
    # the axis is drawn a frame later, and is empty while it is
    for _ in range(100):
        if (now := scale(plot, "across"))[0] == wanted:
            break
        lab.page.wait_for_timeout(50)
    assert now[0] == wanted
    assert len(lab.outputs()) == 2
    press("0")

    # and axe finds nothing on it
    lab.ask("plot.set_trait('selection', {'rows': [1, 2, 3]})")
    lab.wait_until(plot, "data-picked", "3")
    lab.page.add_script_tag(path=REPOSITORY / "js" / "node_modules" / "axe-core" / "axe.min.js")
    script = (
        "() => axe.run('.nbinterp-scatter').then(found => found.violations.map(v => [v.id, v.nodes.map(n => n.html)]))"
    )
    for theme in (LIGHT, DARK):
        lab.use_theme(theme)
        lab.page.wait_for_timeout(200)
        assert lab.page.evaluate(script) == []
