"""What is on the stack: experiments go in and come out, and what was found is added where it belongs."""

from __future__ import annotations

import types

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.widgets.playground import Playground

from .page import PROMPT, adds
from .test_controls import ACTS, DIRECTION, LOOP, PLANE
from .test_recipes import MORE


@pytest.mark.parametrize("name", [n for n in (*ACTS, *MORE) if n not in ("placed",)])
def test_an_experiment_comes_out_as_it_went_in(toy, name):
    act = {**ACTS, **MORE}[name]
    if name == "source tokens":
        act = nb.Patch("resid_post.2", source="Hello", source_tokens=0, tokens=0, amount=0.5)
    for generation in (None, nb.Generation(max_new_tokens=7, temperature=0.5, top_k=3, seed=4, stop="x")):
        experiment = nb.Experiment(
            PROMPT, [act, nb.Ablate("resid_post.3", tokens=0)], ["resid_mid.1"], None, generation
        )
        playground = Playground(toy, PROMPT)
        playground.experiment = experiment
        assert playground.experiment == experiment.on(toy.info)
        playground.undo()
        assert playground.experiment == nb.Experiment(PROMPT).on(toy.info)
        playground.redo()
        assert playground.experiment == experiment.on(toy.info)


def test_an_experiment_with_its_interventions_may_be_the_prompt(toy):
    experiment = nb.Experiment(PROMPT, [ACTS["steer"], ACTS["patch"]], read="resid_post.3")
    playground = Playground(toy, experiment)
    assert playground.experiment == experiment.on(toy.info)
    np.testing.assert_allclose(playground.result.logits, toy.run(experiment).logits, atol=1e-4)
    assert playground.setting["hand"] == playground.setting["acts"][0]["id"]


def test_a_chat_is_a_chat(toy):
    chat = nb.Chat([("user", "Which month follows March?")])
    playground = Playground(toy, chat)
    assert playground.spec["chat"] is True
    assert playground.setting["chat"] == [{"role": "user", "content": "Which month follows March?"}]
    assert playground.experiment.prompts == (chat,)
    adds(playground, "ablate", tokens="@user")
    assert playground.answer["moved"][0]["problem"] == ""
    assert playground.experiment.interventions[0].tokens == nb.Role("user")


def test_adding_what_was_found(playground):
    playground.add(PLANE, "wheel")
    playground.add(nb.Steer("resid_post.2", direction=DIRECTION, scale=2.0), name="my push")
    playground.add(nb.Ablate("resid_post.2", tokens=0), on=False)
    playground.add(LOOP, "circle", on=False)
    assert [playground._acts.name(act) for act in playground.setting["acts"]] == ["Turn wheel to", "my push", "Ablate"]
    assert [act["on"] for act in playground.setting["acts"]] == [True, True, False]
    assert "Turn circle by" in [recipe["name"] for recipe in playground.recipes]
    assert playground.timeline["undo"] == "Ablate added"
    for _ in range(3):
        playground.undo()
    assert playground.setting["acts"] == []
    assert playground.timeline == {"undo": "", "redo": "Turn wheel to added"}


def test_a_fitted_circle_starts_at_the_label_in_the_prompt(playground):
    angles = np.array([0.5, 2.0])
    circle = types.SimpleNamespace(concept="land", labels=("France", "Italy"), label_angles=angles, loop=LOOP)
    playground.add(circle)
    (act,) = playground.setting["acts"]
    assert (act["tokens"], act["values"]) == ("3", {"to": 0.5})
    recipe = playground._library[act["recipe"]].recipe
    assert (recipe["name"], recipe["statement"]) == (
        "Turn land to",
        "turns an activation along the curve to an angle: France 29°, Italy 115°",
    )
    assert playground.experiment.interventions == (nb.Rotate("resid_post.2", on=LOOP, to=0.5, tokens=3, steps="all"),)
    assert playground.answer["moved"][0]["control"] == "the same steps along a curve in a random subspace"


def test_picked_tokens_are_where_it_is_added(playground):
    playground.selection = {"tokens": [1, 3]}
    playground.add(DIRECTION, "again")
    assert playground.setting["acts"][-1]["tokens"] == "1, 3"
    assert playground.selectable == {"tokens": 5, "layers": 4, "heads": 16}
