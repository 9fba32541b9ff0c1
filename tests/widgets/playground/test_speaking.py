"""What the model goes on to say, in all three runs."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.widgets.playground import Playground
from nbinterp.widgets.playground.controls import control_of

from .page import PROMPT, Page, page
from .test_controls import DIRECTION


def test_generation_says_what_the_model_says_in_all_three_runs(toy):
    act = nb.Steer("resid_post.2", direction=DIRECTION, scale=6, tokens="last", steps="all")
    playground = Playground(toy, PROMPT, interventions=[act])
    frame = playground.generate(5)
    for column, acts in (("changed", [act]), ("control", control_of([act], 0))):
        said = toy.generate(nb.Experiment(PROMPT, acts), max_new_tokens=5)
        assert frame[column].tolist() == [toy.vocabulary.tokens[i] for i in said.changed[0].ids]
        assert frame["base"].tolist() == [toy.vocabulary.tokens[i] for i in said.base[0].ids]
        np.testing.assert_allclose(frame[f"{column}_probability"], said.changed[0].probabilities, rtol=1e-4)
    generated = playground.generated
    assert (generated["running"], playground.task, generated["moment"]) == (False, None, playground.setting["moment"])
    # how long it went on this time is no step, and no part of the setting, but of what is shown
    assert (playground.setting["max_new_tokens"], playground.timeline) == (50, {"undo": "", "redo": ""})
    assert playground.experiment.generation == nb.Generation(5, seed=playground.setting["seed"])
    with pytest.raises(ValueError, match="^got 0 max_new_tokens; wanted 1 to 2,000."):
        playground.generate(0)
    assert [len(token["top"]) for token in generated["changed"]] == [5] * 5
    assert generated["changed"][0]["top"][0]["text"] == generated["changed"][0]["text"]
    playground.set(0, scale=5)
    assert playground.experiment.generation is None


def test_an_untouched_stack_says_the_same_thrice(playground):
    frame = playground.generate(3)
    assert frame["base"].tolist() == frame["changed"].tolist() == frame["control"].tolist()
    assert len(frame) == 3


def test_a_patch_of_several_tokens_is_kept_to_the_prompt(toy):
    act = nb.Patch("resid_post.1", source="The capital of Italy is", tokens=[1, 2], steps="all")
    playground = Playground(toy, PROMPT, interventions=[act])
    said = toy.generate(
        nb.Experiment(PROMPT, nb.Patch("resid_post.1", source="The capital of Italy is", tokens=[1, 2])),
        max_new_tokens=4,
    )
    assert playground.generate(4)["changed"].tolist() == [toy.vocabulary.tokens[i] for i in said.changed[0].ids]

    (warning,) = playground._inquiry.last.stack.notes
    assert playground.answer["warnings"][-1] == warning
    assert warning.startswith(
        "Patch at resid_post.1 takes 2 tokens, and a generated token is one: it acts on the prompt only"
    )
    for steps, tokens, warned in (("none", "1, 2", 0), ("all", "1", 0), ("0:3", "1, 2", 1)):
        page(playground, acts=[{**playground.setting["acts"][0], "steps": steps, "tokens": tokens}])
        assert (warning in playground.answer["warnings"]) == warned
    page(playground, acts=[{**playground.setting["acts"][0], "on": False}])
    assert playground.answer["warnings"] == []


def test_generation_can_be_stopped(toy, monkeypatch):
    async def scenario():
        playground = Playground(toy, PROMPT)
        Page(playground, monkeypatch).ask("generate")
        assert playground.task == {"name": "generating", "done": 0, "total": 0, "stoppable": True}, (
            "the page knows at once"
        )
        while playground.generated is None:
            await asyncio.sleep(0)
        assert playground.task == {"name": "generating", "done": 0, "total": 50, "stoppable": True}
        assert playground.generated["running"]
        playground.stop()
        while playground.generated["running"]:
            await asyncio.sleep(0)
        return playground

    playground = asyncio.run(scenario())
    assert playground.task is None
    assert len(playground.generated["base"]) < 50
