"""The way from a slider of the Playground to new numbers on the screen, with the real model and with a slow one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from benchmarks.ui.figures import Figure
from benchmarks.ui.pages import Wire, jupyter, run_cells
from tests.ui.driver import box_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ui.driver import Lab

_OPEN = """
import time
import numpy as np
import nbinterp as nb
from nbinterp.widgets.playground import Playground
model = nb.Model.open("smollm2-135m")
direction = np.random.default_rng(0).normal(size=model.info.d_model)
act = nb.Steer("resid_post.15", direction=direction / np.linalg.norm(direction), scale=5.0)

class Slow:
    "The model, and a second of thinking in front of every run."
    def __init__(self, seconds): self.seconds = seconds
    def __getattr__(self, name): return getattr(model, name)
    def run(self, *given, **settings):
        time.sleep(self.seconds)
        return model.run(*given, **settings)
"""
_SHOW = "playground = Playground({model}, 'The capital of France is', interventions=[act])\nplayground"
_SLOW = 0.3
_DRAG = 10.0
_SLIDER = ".nbinterp-playground .nbi-card .nbi-slider"
_IDLE = """() => {
  const { working, answered } = document.querySelector('.nbinterp-playground').dataset;
  return working === 'false' && answered !== '';
}"""

# when the slider said so, and when which answer was on the screen
_WATCH = """() => {
  window.moved = [];
  window.shown = [];
  const root = document.querySelector('.nbinterp-playground');
  // a key comes before the change that it makes, where the control makes it itself there is no other event
  for (const name of ['keydown', 'input']) {
    root.addEventListener(name, event => moved.push(clock(event.timeStamp)), { capture: true });
  }
  let last = Number(root.dataset.answered);
  new MutationObserver(() => {
    const answered = Number(root.dataset.answered);
    if (answered === last) return;
    last = answered;
    onScreen().then(at => shown.push([answered, at]));
  }).observe(root, { attributeFilter: ['data-answered'] });
}"""


def rows(quick: bool) -> Iterator[Figure]:
    """Move the slider of one steering vector."""
    with jupyter() as lab:
        _open(lab, "model")
        yield from _steps(lab, 6 if quick else 31)
    with jupyter() as lab:
        _open(lab, f"Slow({_SLOW})")
        yield from _drag(lab, 3.0 if quick else _DRAG)


def _open(lab: Lab, model: str) -> None:
    run_cells(lab, [_OPEN, _SHOW.format(model=model)])
    lab.page.locator(_SLIDER).first.wait_for()
    _rest(lab)
    lab.page.evaluate(_WATCH)


def _rest(lab: Lab) -> None:
    lab.page.wait_for_function(_IDLE)
    # the dose-response curve is part of what the page waits for
    deadline = time.monotonic() + 120
    while lab.ask("playground._inquiry.idle") == "False" and time.monotonic() < deadline:
        time.sleep(0.1)
    lab.page.wait_for_timeout(300)


def _steps(lab: Lab, times: int) -> Iterator[Figure]:
    slider = lab.page.locator(_SLIDER).first
    slider.scroll_into_view_if_needed()
    slider.focus()
    above, all_of_it, sent = [], [], []
    wire = Wire(lab)
    for turn in range(times + 3):
        _rest(lab)
        lab.page.evaluate("() => { moved.length = 0; shown.length = 0; }")
        wire.bytes = 0
        # a step that asks for a new answer each time
        slider.press("ArrowRight" if turn % 8 < 4 else "ArrowLeft")
        lab.page.wait_for_function("() => shown.length > 0")
        bytes_for_answer = wire.bytes
        moved, shown = lab.page.evaluate("() => [moved[0], shown[0][1]]")
        computed = float(lab.ask("playground.answer['milliseconds']"))
        if turn >= 3:
            all_of_it.append(shown - moved)
            above.append(shown - moved - computed)
            sent.append(bytes_for_answer / 1000)
    wire.close()
    yield Figure("slider moved → new numbers on screen, above the computation", tuple(above), "ms", 40)
    yield Figure("slider moved → new numbers on screen, all of it", tuple(all_of_it), "ms")
    yield Figure("bytes per slider step over the wire, both ways, until the numbers are shown", tuple(sent), "kB", 10)


def _drag(lab: Lab, seconds: float) -> Iterator[Figure]:
    # what was asked and what was begun, as the channel between them sees it
    lab.ask("globals().update(heard=[], began=[], real=Slow.run)")
    lab.ask("playground.observe(lambda change: heard.append(time.time()), names='setting')")
    lab.ask("setattr(Slow, 'run', lambda self, *a, **k: (began.append(time.time()), real(self, *a, **k))[1])")
    track = box_of(lab.page.locator(_SLIDER).first)
    y = track["y"] + track["height"] / 2
    mouse = lab.page.mouse
    mouse.move(track["x"] + track["width"] / 2, y)
    mouse.down()
    began = time.monotonic()
    moves = 0
    while time.monotonic() - began < seconds:
        moves += 1
        mouse.move(track["x"] + track["width"] * (0.1 + 0.8 * (moves % 97) / 97), y)
        time.sleep(0.02)
    mouse.up()
    stopped = time.time()
    lab.page.wait_for_function(_IDLE)
    asked, answered = lab.page.evaluate(
        "() => { const { moment, answered } = document.querySelector('.nbinterp-playground').dataset; return [moment, answered]; }"
    )
    answers = json.loads(lab.page.evaluate("() => JSON.stringify(shown)"))
    late = [moment for moment, at in answers if at > 1000 * stopped]
    heard = int(lab.ask("len(heard)"))
    note = f"{moves} movements in {seconds:.0f} s, {heard} reached Python, {len(answers)} were answered"
    # one may run while the hand stops, and one wait: a queue would go on answering
    yield Figure("a slow computation: answers that still came after the hand had stopped", (len(late),), "", 2, note)
    yield Figure("a slow computation: last value asked less last value shown", (float(asked) - float(answered),), "", 0)
