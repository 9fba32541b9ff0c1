"""Undo, and runs that are kept: named, branched, restored, compared, and known to a new kernel."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from nbinterp.widgets.playground import Playground
from nbinterp.widgets.playground.setting import copied, matter, with_value

from .page import PROMPT, adds, page
from .test_controls import DIRECTION


def test_a_drag_is_one_step_of_undo(playground):
    adds(playground, "scale")
    start = playground.setting["acts"]
    gesture = playground.setting["gesture"] + 1
    for value in (0.6, 0.7, 0.8):
        now = playground.setting
        playground.set_state(
            {
                "setting": copied(
                    now,
                    acts=with_value(now, "page0", "factor", value)["acts"],
                    gesture=gesture,
                    moment=now["moment"] + 1,
                )
            }
        )
    assert playground.timeline["undo"] == "factor of Scale 0.5 → 0.8"
    playground.undo()
    assert playground.setting["acts"] == start
    assert playground.timeline == {"undo": "Scale added", "redo": "factor of Scale 0.5 → 0.8"}
    assert playground.answer["moment"] == playground.setting["moment"]
    playground.redo()
    assert playground.setting["acts"][0]["values"] == {"factor": 0.8}


def test_runs_are_kept_named_branched_restored_and_compared(playground):
    first = playground.keep("untouched")
    adds(playground, "steer-1", values={"scale": 3.0})
    second = playground.keep()
    playground.restore(first)
    assert playground.setting["acts"] == []
    adds(playground, "ablate")
    third = playground.keep("ablated")
    kept = {k["id"]: k for k in playground.kept}
    assert [kept[i]["parent"] for i in (first, second, third)] == ["", first, first]
    assert kept[second]["summary"].startswith("Steer along it: ")
    assert kept[second]["name"] == kept[second]["summary"]
    playground.rename(second, "steered")
    comparison = playground.compare("untouched", "steered")
    frame = comparison.frame(5)
    assert list(frame.columns) == ["token", "untouched", "steered", "difference"]
    np.testing.assert_allclose(frame["difference"], frame["steered"] - frame["untouched"])
    assert repr(comparison).startswith("Comparison of 'untouched' and 'steered'\n")
    assert comparison.chart().to_dict()["mark"]["type"] == "bar"
    playground.restore("steered")
    assert matter(playground.setting) == matter(kept[second]["setting"])
    assert dict(zip(frame["token"], frame["steered"], strict=True))[playground.result.said()[0]] == pytest.approx(
        playground.result.probabilities.max()
    )
    playground.undo()
    assert playground.setting["acts"][0]["recipe"] == "ablate"
    playground.drop(first)
    assert [k["parent"] for k in playground.kept] == ["", ""]
    with pytest.raises(LookupError, match="^got 'nobody', which is 0 of the kept runs; kept are run2 "):
        playground.restore("nobody")
    with pytest.raises(ValueError, match="^got a name of 201 characters for a run; wanted 1 to 200."):
        playground.rename(second, "x" * 201)


def test_a_page_that_restores_a_run_branches_too(playground):
    first = playground.keep("start")
    adds(playground, "ablate")
    playground.keep("second")
    kept = playground.kept[0]["setting"]
    page(playground, **{k: v for k, v in kept.items() if k not in ("moment", "gesture")})
    adds(playground, "scale")
    playground.keep("third")
    assert playground.kept[2]["parent"] == first


def test_what_was_said_is_kept_with_the_run(playground):
    frame = playground.generate(3)
    playground.keep("talk")
    assert playground.kept[0]["said"] == "".join(frame["changed"])


def test_a_new_kernel_is_told_of_the_runs_that_were_kept(toy):
    old = Playground(toy, PROMPT, directions={"it": DIRECTION})
    first = old.keep("one")
    adds(old, "steer-1")
    old.keep("two")
    new = Playground(toy, PROMPT, directions={"it": DIRECTION})
    new.set_state({"kept": json.loads(json.dumps(old.kept)), "setting": old.setting})
    assert new.kept == old.kept
    assert new.experiment == old.experiment
    assert new.answer["candidates"] == old.answer["candidates"]
    pd.testing.assert_frame_equal(new.compare("one", "two").frame(), old.compare("one", "two").frame())
    new.drop(first)
    assert new.keep("three") not in {run["id"] for run in old.kept}
    new.set_state({"kept": [{"id": "x"}]})
    assert new.problem.startswith("got kept[0] without name, parent")
    assert [run["name"] for run in new.kept] == ["two", "three"]
