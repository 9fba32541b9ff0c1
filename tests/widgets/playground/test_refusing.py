"""What cannot be done gets a sentence, and leaves all else as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.widgets.playground import Playground
from nbinterp.widgets.playground.setting import copied

from .page import PROMPT, adds, page


def test_one_act_that_cannot_be_done_leaves_the_others(playground, toy):
    adds(playground, "ablate", tokens="0")
    before = playground.result
    for changes, sentence in [
        ({"tokens": '" Spain"'}, "got tokens=' Spain', which does not occur in the prompt 'The capital of France is'"),
        ({"tokens": "Spain"}, "got the tokens 'Spain'; put a piece of the prompt into quotes"),
        ({"tokens": "9"}, "got token index 9, but the prompt"),
        ({"tokens": "x" * 10_000}, "got tokens written with 10,000 characters; wanted at most 2,000."),
        ({"steps": "later"}, "got the steps 'later'; write all, none, 3"),
        ({"layer": 99}, "got layer 99 in 'resid_post.99'; toy has 4 layers: choose 0 to 3."),
        ({"layer": -1}, "got the site 'resid_post'; wanted 'resid_post.<layer>'"),
        ({"head": 2}, "got a head in the site 'resid_post.1.2'; heads have"),
        ({"component": "<img src=x onerror=alert(1)>"}, "got the unknown site '<img src=x onerror=alert(1)>.1'"),
        ({"component": "mlp_post", "recipe": "steer-1"}, "got a Direction with 32 features at mlp_post.1; toy has 64"),
        ({"recipe": "patch"}, "got no source prompt for the Patch; write it down."),
        (
            {"recipe": "patch", "texts": {"source prompt": "It"}, "tokens": "0, 1"},
            "got token index 1, but the prompt 'It'",
        ),
        ({"recipe": "ablate", "values": {"amount": 7.0}}, "got amount=7.0 in an Ablate; wanted a number from 0"),
    ]:
        identity = adds(playground, **({"recipe": "ablate"} | changes))
        problems = {moved["act"]: moved["problem"] for moved in playground.answer["moved"]}
        assert problems[identity].startswith(sentence), problems[identity]
        assert [p for i, p in problems.items() if i != identity] == [""]
        np.testing.assert_array_equal(playground.result.logits, before.logits)
        assert len(playground.experiment.interventions) == 1
        playground.undo()
    assert playground.problem == ""


def _plain_act():
    act = {"id": "x", "recipe": "ablate", "on": True, "component": "resid_post", "layer": 1, "head": -1}
    return act | {"tokens": "last", "steps": "none", "values": {"amount": 1.0}, "texts": {}}


def test_a_setting_that_makes_no_sense_is_refused_in_a_sentence(playground):
    answer, setting = playground.answer, playground._present
    bad = copied(setting, acts=[{**_plain_act(), "recipe": "rm -rf"}])
    for sent, sentence in [
        (None, "got nothing for setting; wanted its fields by name."),
        ([1, 2], "got [1, 2] for setting; wanted its fields by name."),
        ({}, "got setting without moment, gesture, prompt"),
        ({**setting, "prompt": ["x"]}, "got ['x'] for setting.prompt; wanted text."),
        (bad, "got the recipe 'rm -rf'; known are ablate, scale, patch, mean"),
        ({**bad, "acts": [{**_plain_act(), "values": {"amount": 1e308}}]}, "got 1e+308 for setting.acts[0].values"),
    ]:
        playground.set_state({"setting": sent})
        assert playground.problem.startswith(sentence)
        assert playground.answer == answer
    playground.set_state({"setting": copied(setting, prompt="Hello there", moment=50)})
    assert (playground.problem, playground.answer["moment"]) == ("", 50)


def test_a_prompt_that_is_none_keeps_the_last_answer(playground):
    answer = playground.answer
    page(playground, prompt="")
    assert playground.problem == "got an empty text as the prompt; wanted text with at least one token."
    assert playground.answer == answer
    with pytest.raises(ValueError, match="^got an empty text as the prompt"):
        playground.frame()
    playground.undo()
    assert playground.problem == ""
    assert playground.answer["moment"] == playground.setting["moment"]


def test_numbers_that_blow_up_are_said(playground):
    first = adds(playground, "scale", values={"factor": 1e12}, tokens="all")
    answer = playground.answer
    for _ in range(3):
        adds(playground, "scale", values={"factor": 1e12}, tokens="all")
    assert playground.problem == "got logits that are not finite from the changed model; take less of what was changed."
    assert playground.answer == answer
    assert [moved["act"] for moved in answer["moved"]] == [first]
    json.dumps(playground.curves, allow_nan=False)


def test_an_error_of_the_model_is_shown_and_leaves_it_usable(playground, toy, monkeypatch):
    monkeypatch.setattr(toy, "run", lambda experiments: (_ for _ in ()).throw(RuntimeError("out of memory")))
    adds(playground, "ablate")
    assert playground.problem == "RuntimeError: out of memory"
    monkeypatch.undo()
    page(playground, prompt="Hello there")
    assert playground.problem == ""


REFUSED = [
    (lambda toy: Playground(toy, ""), ValueError, "got an empty text as the prompt; wanted text"),
    (
        lambda toy: Playground(toy, nb.Experiment(["a", "b"])),
        ValueError,
        "got an experiment of 2 prompts; wanted one of",
    ),
    (lambda toy: Playground(toy, PROMPT, interventions=[nb.Ablate("resid_post.9")]), ValueError, "got layer 9 in"),
    (
        lambda toy: Playground(toy, PROMPT, interventions=[nb.Ablate("resid_post.0", tokens=" Spain")]),
        ValueError,
        "got tokens=' Spain', which does not occur in the prompt",
    ),
    (
        lambda toy: Playground(toy, PROMPT, directions={"x": 3}),
        TypeError,
        "got int to add; wanted an intervention such as",
    ),
]


@pytest.mark.parametrize(("make", "error", "sentence"), REFUSED)
def test_what_cannot_be_done_is_refused_before_the_model_runs(toy, monkeypatch, make, error, sentence):
    monkeypatch.setattr(toy, "run", lambda *a: pytest.fail("the model ran"))
    with pytest.raises(error) as caught:
        make(toy)
    assert str(caught.value).startswith(sentence)
