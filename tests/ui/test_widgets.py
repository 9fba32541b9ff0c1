"""The front end alone, in a real browser: made-up numbers answer, so that only the page can be wrong."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.ui.driver import box_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.ui.driver import Lab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

# the months lean towards the one that the hand points at, one month on; at the start "April" leads
DIAL = """
import math
import anywidget, traitlets
import pandas as pd, altair as alt
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.saved import saved_bundle
from nbinterp.widgets.widget import Widget

MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
TOKENS = ["If", " this", " month", " is", " March", ",", " next", " month", " is"]
TURN = 2 * math.pi
START = TURN * 2 / 12

def softmax(scores):
    weights = [math.exp(score) for score in scores]
    return [weight / sum(weights) for weight in weights]

def chances(angle, sharp):
    return softmax([sharp * math.cos(angle + TURN / 12 - TURN * k / 12) for k in range(12)] + [-1.0])

class StubDial(Widget):
    _esm = Bundle("dial.js")
    _css = Bundle("dial.css")
    spec = traitlets.Dict().tag(sync=True)
    angle = traitlets.Float(START).tag(sync=True)
    layer = traitlets.Int(11).tag(sync=True)
    token = traitlets.Int(4).tag(sync=True)
    answer = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    sweep = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(self, names=MONTHS, tokens=TOKENS, layers=(5, 11, 17), answers=True):
        self.names = names
        n = len(names)
        def labels(layer):
            for j, name in enumerate(names):
                angle, radius = TURN * j / n, 1 + 0.16 * math.sin(2 * j + layer)
                off = 0.1 * math.cos(3 * j + layer)
                yield {"text": name, "angle": angle, "x": radius * math.cos(angle + off), "y": radius * math.sin(angle + off)}
        statement = "The labels run in order around a circle: R² .71 against .52 of a line, order p = .002, wrap/adjacent 1.12."
        spec = {"concept": "months", "prompt": "".join(tokens), "tokens": list(tokens),
                "layers": [{"layer": l, "labels": list(labels(l)), "statement": statement} for l in layers]}
        super().__init__(spec=spec)
        if answers:
            self.observe(lambda _: self.reply(), names=["angle", "layer", "token"])
            self.reply()
            self.look_around()

    def rows(self, angle):
        turned, base, control = chances(angle, 2.4), chances(START, 1.6), chances(START + 0.15 * math.sin(angle), 1.3)
        texts = [" " + name for name in self.names] + [" the"]
        return [dict(text=t, base=b, turned=u, control=c) for t, b, u, c in zip(texts, base, turned, control)]

    def reply(self):
        self.answer = dict(angle=self.angle, layer=self.layer, token=self.token, start=START,
                           candidates=self.rows(self.angle)[:12], milliseconds=41.6)

    def look_around(self, steps=72):
        angles = [TURN * k / steps for k in range(steps + 1)]
        rows = [self.rows(angle) for angle in angles]
        series = [dict(text=rows[0][j]["text"], base=rows[0][j]["base"], turned=[r[j]["turned"] for r in rows],
                       control=[r[j]["control"] for r in rows]) for j in range(12)]
        self.sweep = dict(layer=self.layer, token=self.token, start=START, total=steps + 1, angles=angles, series=series)

    def _repr_mimebundle_(self, **kwargs):
        frame = pd.DataFrame(self.answer["candidates"]) if self.answer else pd.DataFrame({"text": []})
        chart = alt.Chart(frame).mark_bar().encode(x="turned:Q", y="text:N")
        return saved_bundle(super()._repr_mimebundle_(**kwargs), "dial", chart, "the first picture", frame)
"""
SHOW_DIAL = "dial = StubDial()\ndial"

CHART = """
import altair as alt, pandas as pd
from nbinterp.widgets.chart import Chart
frame = pd.DataFrame({"x": [1, 2, 3, 4], "y": [1, 3, 2, 4], "word": ["<img src=x onerror=alert(1)>", "b", "c", "d"]})
brush = alt.selection_interval(name="brush")
pick = alt.selection_point(name="pick", fields=["word"])
points = alt.Chart(frame, width=300, height=200).mark_circle(size=300, opacity=1).encode(
    x="x:Q", y="y:Q", tooltip="word:N", color=alt.condition(brush, alt.value("#0072B2"), alt.value("#999999")))
bars = alt.Chart(frame, width=160, height=200).mark_bar().encode(
    x="y:Q", y="word:N", opacity=alt.condition(pick, alt.value(1), alt.value(0.3))).add_params(pick)
seen = []
chart = Chart((points.add_params(brush) | bars), description="Four words by x and y", table=frame)
chart.observe(lambda change: seen.append(change.new), names="selections")
chart
"""


def open_dial(lab: Lab, show: str = SHOW_DIAL) -> Locator:
    """Run a stub dial in a fresh notebook and return its root."""
    lab.open(lab.write_notebook([DIAL, show]))
    lab.run_all()
    return shown_dial(lab)


def shown_dial(lab: Lab) -> Locator:
    dial = lab.page.locator(".nbinterp-dial").first
    dial.locator(".nbi-knob").wait_for()
    dial.scroll_into_view_if_needed()
    return dial


def on_ring(dial: Locator, degrees: float) -> tuple[float, float]:
    """Return where an angle of the ring lies on the page."""
    ring = dial.locator(".nbi-ring").bounding_box()
    assert ring is not None
    radius, angle = ring["width"] / 2, math.radians(degrees)
    return ring["x"] + radius + radius * math.sin(angle), ring["y"] + radius - radius * math.cos(angle)


def degrees_of(dial: Locator) -> float:
    return float(dial.get_attribute("data-angle-degrees") or "nan")


def wait_for_hand(lab: Lab, dial: Locator, degrees: float) -> None:
    """Wait until the hand is drawn at an angle, or as near to it as a pointer on whole pixels can be."""
    script = "([element, wanted]) => Math.abs(Number(element.dataset.angleDegrees) - wanted) <= 1.5"
    lab.page.wait_for_function(script, arg=[dial.element_handle(), degrees])


def test_mouse_turns_and_the_answer_follows(lab: Lab):
    dial = open_dial(lab)
    lab.wait_until(dial, "data-top-base", " April")
    lab.drag([on_ring(dial, 60), on_ring(dial, 120), on_ring(dial, 180)])
    wait_for_hand(lab, dial, 180)
    lab.wait_until(dial, "data-top-turned", " August")
    lab.wait_until(dial, "data-working", "false")
    assert dial.get_attribute("data-top-base") == " April"
    lab.wait_until_kernel_says("round(dial.angle, 1)", "3.1")
    headline = dial.locator(".nbi-headline").inner_text()
    assert re.search(r"base: April \d+ % → turned: August \d+ % · random direction: April \d+ %", headline)

    dial.locator(".nbi-label", has_text="October").locator("text").click()
    lab.wait_until(dial, "data-angle-degrees", "270")
    lab.page.mouse.dblclick(*on_ring(dial, 30))
    lab.wait_until(dial, "data-angle-degrees", "60")


def test_keyboard_alone_drives_everything(lab: Lab):
    dial = open_dial(lab)
    knob = dial.get_by_role("slider", name="Turn along the circle of months")
    knob.focus()
    lab.page.keyboard.press("ArrowRight")
    lab.wait_until(dial, "data-angle-degrees", "65")
    lab.page.keyboard.press("PageUp")
    lab.page.keyboard.press("PageUp")
    lab.wait_until(dial, "data-angle-degrees", "120")
    assert knob.get_attribute("aria-valuetext") == "May, +60° from March"
    # keys that mean something to the notebook mean nothing to it here
    for key in ("b", "ArrowDown", "ArrowUp"):
        lab.page.keyboard.press(key)
    assert len(lab.outputs()) == 2
    lab.wait_until(dial, "data-angle-degrees", "120")
    lab.wait_until(dial, "data-top-turned", " June")
    lab.page.keyboard.press("Home")
    lab.wait_until(dial, "data-angle-degrees", "60")

    dial.get_by_role("slider", name="Layer").focus()
    lab.page.keyboard.press("ArrowRight")
    lab.wait_until_kernel_says("dial.layer", "17")
    dial.locator(".nbi-chip input:checked").focus()
    lab.page.keyboard.press("ArrowRight")
    lab.wait_until_kernel_says("dial.token", "5")
    lab.wait_until(dial, "data-working", "false")


def test_touch_turns(touch_lab: Lab):
    dial = open_dial(touch_lab)
    touch_lab.drag([on_ring(dial, angle) for angle in (60, 90, 120, 150)], touch=True)
    wait_for_hand(touch_lab, dial, 150)
    touch_lab.wait_until(dial, "data-top-turned", " July")


def test_python_moves_the_hand_and_two_views_stay_equal(lab: Lab):
    lab.open(lab.write_notebook([DIAL, SHOW_DIAL, "dial", "dial.angle = math.pi / 2"]))
    lab.run_all()
    views = lab.page.locator(".nbinterp-dial")
    for view in (views.nth(0), views.nth(1)):
        lab.wait_until(view, "data-angle-degrees", "90")
        lab.wait_until(view, "data-top-turned", " May")
    lab.drag([on_ring(views.nth(1), 90), on_ring(views.nth(1), 240)])
    for view in (views.nth(0), views.nth(1)):
        wait_for_hand(lab, view, 240)
    assert degrees_of(views.nth(0)) == degrees_of(views.nth(1))


def test_working_shows_until_the_answer_is_there(lab: Lab):
    dial = open_dial(lab, "dial = StubDial(answers=False)\ndial")
    assert dial.get_attribute("data-working") == "true"
    lab.wait_until(dial, "aria-busy", "true")
    lab.ask("dial.reply()")
    lab.wait_until(dial, "data-working", "false")
    lab.wait_until(dial, "aria-busy", "false")
    lab.ask("setattr(dial, 'problem', 'The <b>model</b> has gone.')")
    alert = dial.get_by_role("alert")
    alert.get_by_text("The <b>model</b> has gone.").wait_for()
    lab.drag([on_ring(dial, 60), on_ring(dial, 120)])
    wait_for_hand(lab, dial, 120)


def test_response_curve_reads_and_moves(lab: Lab):
    dial = open_dial(lab)
    lab.wait_until(dial, "data-sweep-done", "true")
    curve = dial.locator(".nbi-response")
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    assert box is not None
    left, right = 44, 34
    middle = (box["x"] + left + (box["width"] - left - right) / 2, box["y"] + 60)
    lab.page.mouse.move(*middle)
    readout = dial.locator(".nbi-readout").inner_text()
    assert "July" in readout
    assert "August" in readout
    lab.page.mouse.click(*middle)
    wait_for_hand(lab, dial, 180)


def test_tokens_are_text(lab: Lab):
    wicked = "<img src=x onerror=\"document.title='owned'\">"
    show = f"bad = {wicked!r}\ndial = StubDial(names=[bad, '</script>b', 'c\\u202ed'] + MONTHS[3:], tokens=[bad, '\\n', '', '  x\\t'])\ndial"
    dial = open_dial(lab, show)
    chips = dial.locator(".nbi-chip").all_inner_texts()
    assert chips == [wicked, "⏎", "∅", "··x⇥"]
    assert dial.locator("img").count() == 0
    assert "\\u202e" in dial.locator(".nbi-answers").inner_text() + dial.locator(".nbi-face").inner_html()
    lab.save()
    picture = dial.evaluate("element => element.nbinterpPicture()")
    assert "<img src=x" not in picture
    assert "owned" not in lab.page.title()


def saved_html(lab: Lab, name: str, cell: int) -> str:
    notebook = json.loads(lab.notebook_path(name).read_text())
    (output,) = [o for o in notebook["cells"][cell]["outputs"] if "data" in o]
    return "".join(output["data"]["text/html"])


def test_saved_dial_shows_the_last_picture(lab: Lab, tmp_path):
    name = lab.write_notebook([DIAL, SHOW_DIAL])
    lab.open(name)
    lab.run_all()
    dial = shown_dial(lab)
    assert "the first picture" in lab.outputs()[1][0]["data"]["text/html"]
    dial.locator(".nbi-label", has_text="October").locator("text").click()
    lab.wait_until(dial, "data-top-turned", " November")
    dial.evaluate("element => { element.dataset.mark = 'the same element' }")
    lab.save()
    # the live view was neither drawn anew nor did it lose the focus
    assert dial.get_attribute("data-mark") == "the same element"
    assert dial.evaluate("element => element.contains(document.activeElement)")

    html = saved_html(lab, name, 1)
    assert "October" in html
    assert "the first picture" not in html
    address = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert address is not None
    drawing = base64.b64decode(address[1]).decode()
    assert "var(" not in re.sub(r"var\(--jp-[^()]*", "", drawing)
    lab.close()

    for trusted in (True, False):
        lab.reopen_without_kernel(name, trusted=trusted)
        image = lab.page.locator(".jp-OutputArea .nbinterp-figure img" if trusted else ".jp-OutputArea img")
        image.wait_for()
        assert "October" in (image.get_attribute("alt") or "")
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
        assert lab.page.get_by_text("model not found").count() == 0
        assert lab.page.locator(".nbinterp-dial").count() == 0

    subprocess.run(
        [
            sys.executable,
            "-m",
            "nbconvert",
            "--to",
            "html",
            "--output-dir",
            str(tmp_path),
            str(lab.notebook_path(name)),
        ],
        check=True,
        capture_output=True,
    )
    exported = (tmp_path / name).with_suffix(".html").read_text()
    assert address[1] in exported


def test_a_reload_finds_the_live_widget_again(lab: Lab):
    name = lab.write_notebook([DIAL, SHOW_DIAL])
    lab.open(name)
    lab.run_all()
    dial = shown_dial(lab)
    dial.locator(".nbi-label", has_text="October").locator("text").click()
    lab.wait_until_kernel_says("round(dial.angle, 2)", "4.71")
    lab.save()
    lab.load()
    lab.open(name)
    again = shown_dial(lab)
    lab.wait_until(again, "data-angle-degrees", "270")


def open_chart(lab: Lab) -> tuple[str, Locator]:
    name = lab.write_notebook([CHART])
    lab.open(name)
    lab.run_all()
    chart = lab.page.locator(".nbinterp-chart")
    lab.wait_until(chart, "data-drawn", "true")
    return name, chart


def test_chart_selections_reach_python(lab: Lab):
    name, chart = open_chart(lab)
    assert lab.ask("chart.selections") == "{}"
    chart.scroll_into_view_if_needed()
    box = chart.locator("canvas").bounding_box()
    assert box is not None
    lab.drag([(box["x"] + 120, box["y"] + 40), (box["x"] + 200, box["y"] + 100), (box["x"] + 260, box["y"] + 160)])
    lab.wait_until_kernel_says("sorted(chart.selections['brush'])", "['x', 'y']")
    low, high = json.loads(lab.ask("chart.selections['brush']['x']"))
    assert 0 < low < high < 4
    assert int(lab.ask("len(seen)")) >= 1
    lab.page.mouse.click(box["x"] + 556, box["y"] + 96)
    lab.wait_until_kernel_says("type(chart.selections.get('pick')).__name__", "'list'")
    assert "word" in lab.ask("chart.selections['pick'][0]")

    from tests.ui.driver import DARK

    selected = chart.get_attribute("data-selections")
    lab.use_theme(DARK)
    assert chart.get_attribute("data-selections") == selected

    lab.save()
    html = saved_html(lab, name, 0)
    assert 'alt="Four words by x and y"' in html
    assert "&lt;img src=x" in html
    lab.close()
    lab.reopen_without_kernel(name)
    image = lab.page.locator(".jp-OutputArea .nbinterp-figure img")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 200


LINKED = """
import altair as alt, pandas as pd
from nbinterp.widgets.chart import Chart
from nbinterp.widgets.selection import link
frame = pd.DataFrame({"x": range(10), "y": [n * 7 % 10 for n in range(10)], "row": range(10)})
brush = alt.selection_interval(name="brush")
points = alt.Chart(frame, width=300, height=200).mark_circle(size=300).encode(x="x:Q", y="y:Q")
first = Chart(points.add_params(brush) + points.mark_line(), rows="row")
second = Chart(alt.Chart(frame, width=300, height=200).mark_bar().encode(x="row:O", y="y:Q"), rows="row")
together = link(first, second)
"""


def test_what_is_picked_in_one_chart_is_picked_in_the_other(lab: Lab):
    lab.open(lab.write_notebook([LINKED, "first", "second"]))
    lab.run_all()
    charts = lab.page.locator(".nbinterp-chart")
    first, second = charts.nth(0), charts.nth(1)
    lab.wait_until(second, "data-drawn", "true")
    box = box_of(first.locator("canvas"))
    lab.drag([(box["x"] + 100, box["y"] + 60), (box["x"] + 200, box["y"] + 90), (box["x"] + 250, box["y"] + 170)])
    lab.wait_until_kernel_says("len(second.selection.rows) > 1 and second.selection == first.selection", "True")
    (left, right), (low, high) = (json.loads(lab.ask(f"first.selections['brush']['{axis}']")) for axis in "xy")
    wanted = [row for row in range(10) if left <= row <= right and low <= row * 7 % 10 <= high]
    assert 1 < len(wanted) < 7
    assert json.loads(lab.ask("second.selection.rows.tolist()")) == wanted
    lab.wait_until(second, "data-picked", str(len(wanted)))
    # from Python to both pages, and a click in the second one to the first
    lab.ask("setattr(second, 'selection', {'rows': [0, 40]})")
    for chart in (first, second):
        lab.wait_until(chart, "data-picked", "2")
    bars = box_of(second.locator("canvas"))
    lab.page.mouse.click(bars["x"] + 300, bars["y"] + 190)
    lab.wait_until_kernel_says("len(first.selection.rows)", "1")
    # the numbers stand below the picture
    second.locator("summary").click()
    expect(second.locator("tbody tr")).to_have_count(10)


def test_chart_that_cannot_be_drawn_says_so(lab: Lab):
    source = (
        CHART.rsplit("chart\n", 1)[0]
        + "chart.draw(alt.Chart('https://example.invalid/a.csv').mark_point().encode(x='x:Q'))\nchart"
    )
    lab.open(lab.write_notebook([source]))
    lab.run_all()
    lab.page.locator(".nbinterp-chart").get_by_role("alert").get_by_text("carries its data").wait_for()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_accessible(lab: Lab, theme: str):
    from tests.ui.driver import REPOSITORY

    lab.use_theme(theme)
    lab.open(lab.write_notebook([DIAL, SHOW_DIAL, CHART]))
    lab.run_all()
    lab.wait_until(shown_dial(lab), "data-sweep-done", "true")
    lab.wait_until(lab.page.locator(".nbinterp-chart"), "data-drawn", "true")
    lab.page.add_script_tag(path=REPOSITORY / "js" / "node_modules" / "axe-core" / "axe.min.js")
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    script = "rules => axe.run({ include: [['.nbinterp-dial'], ['.nbinterp-chart']] }, { runOnly: rules })"
    violations = lab.page.evaluate(script, rules)["violations"]
    told = [(v["id"], [(n["target"], n["failureSummary"]) for n in v["nodes"][:3]]) for v in violations]
    assert told == []


def test_dark_theme_is_followed_live(lab: Lab):
    from tests.ui.driver import DARK

    dial = open_dial(lab)
    colour = "element => getComputedStyle(element).backgroundColor"
    light = dial.evaluate(colour)
    lab.use_theme(DARK)
    dark = dial.evaluate(colour)
    assert light != dark
    brightness = [sum(int(part) for part in re.findall(r"\d+", text)[:3]) for text in (light, dark)]
    assert brightness[0] > 600 > 200 > brightness[1]
