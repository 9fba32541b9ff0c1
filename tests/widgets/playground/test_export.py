"""What a page asks Python for: code, an experiment, a page of its own."""

from __future__ import annotations

import asyncio
import json

import nbinterp as nb
from nbinterp.widgets.playground import Playground
from nbinterp.widgets.playground.curves import POINTS

from .page import PROMPT, Page, adds
from .test_controls import ACTS


def test_a_page_asks_and_is_answered(playground, monkeypatch, toy):
    asking = Page(playground, monkeypatch)
    adds(playground, "ablate")
    assert asking.ask("undo") == {"reply": 7, "problem": ""}
    assert playground.setting["acts"] == []
    asking.ask("redo")
    assert asking.ask("keep", name="one")["id"] == "run1"
    assert asking.ask("rename", id="run1", name="two")["problem"] == ""
    assert playground.kept[0]["name"] == "two"
    code = asking.ask("export", kind="code")
    assert (code["name"], code["text"]) == ("experiment_nnsight.py", playground.to_code())
    assert nb.Experiment.from_json(asking.ask("export", kind="json")["text"]) == playground.experiment
    space = {}
    exec(asking.ask("export", kind="experiment")["text"].split("model =")[0], space)
    assert space["experiment"] == playground.experiment
    page = asking.ask("export", kind="html")
    assert (page["mime"], page["note"]) == ("text/html", "Every slider still slides.")
    assert page["text"].startswith("<!doctype html>")
    assert (
        asking.ask("export", kind="exe")["problem"]
        == "got the export 'exe'; wanted one of code, experiment, json, html."
    )
    assert asking.ask("drop", id="run1")["problem"] == ""
    assert asking.ask("drop", id="run1")["problem"].startswith("got 'run1', which is 0 of the kept runs")
    assert asking.ask("stop")["problem"] == ""


def test_a_page_completes_the_curves_of_all_sliders_before_it_exports(toy, monkeypatch):
    async def scenario():
        playground = Playground(toy, PROMPT, interventions=[ACTS["steer"], ACTS["ablate"], ACTS["scale"]])
        asking = Page(playground, monkeypatch)
        seen = []
        playground.observe(lambda change: seen.append(change["new"]), names="task")
        asking.ask("complete")
        assert playground.task["name"] == "computing the curves"
        while playground.task is not None:
            await asyncio.sleep(0)
        return playground, asking.ask("export", kind="html"), seen

    _, exported, seen = asyncio.run(scenario())
    state = json.loads(exported["text"].split('id="nbinterp-state">')[1].split("</script>")[0])
    assert {curve["key"] for curve in state["curves"]} == set(state["answer"]["curves"])
    assert len(state["curves"]) == 3
    assert exported["note"] == "Every slider still slides."
    assert len(exported["text"].encode()) < 2_000_000
    done = [(task["done"], task["total"], task["stoppable"]) for task in seen if task]
    assert done[-1] == (3 * POINTS, 3 * POINTS, True)
    assert done[1:] == sorted(done[1:])


def test_curves_that_are_stopped_are_left_out_and_said(toy, monkeypatch):
    async def scenario():
        playground = Playground(toy, PROMPT, interventions=[ACTS["steer"], ACTS["ablate"]])
        asking = Page(playground, monkeypatch)
        asking.ask("complete")
        asking.ask("stop")
        assert playground.task is None
        while not playground._inquiry.idle:
            await asyncio.sleep(0)
        return asking.ask("export", kind="html")["note"]

    assert asyncio.run(scenario()) == "Of 2 sliders 1 still slides: the others have no curve."


def test_quotes_in_the_prompt_survive_the_export(toy):
    for prompt in ("it's '''quoted''' \\ and \"so\"", "back\\slash", "</script><img onerror=x>", "\u202eabc\n'"):
        playground = Playground(toy, prompt)
        space = {}
        exec(playground._export("experiment")["text"].split("model =")[0], space)
        assert space["experiment"] == playground.experiment
        written = playground.to_html()
        assert "</script><img onerror" not in written


def test_the_page_of_its_own_has_the_curve_of_every_slider(playground, tmp_path):
    adds(playground, "steer-1")
    adds(playground, "scale")
    playground.experiment = playground.experiment
    written = playground.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == written
    state = json.loads(written.split('id="nbinterp-state">')[1].split("</script>")[0])
    assert {(c["act"], c["parameter"]) for c in state["curves"]} == {
        (a["id"], n) for a in state["setting"]["acts"] for n in a["values"]
    }
    assert all(len(curve["values"]) == POINTS for curve in state["curves"])
    assert state["answer"]["moment"] == state["setting"]["moment"]
