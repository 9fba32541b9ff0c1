"""What Python changes on the stack: one sentence for what cannot be, one step of undo for what can."""

from __future__ import annotations

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.spaces import Direction
from nbinterp.tokens import Match
from nbinterp.widgets.playground import Playground
from nbinterp.widgets.playground.setting import copied

from .test_controls import ACTS, VECTOR

PROMPT = "The capital of France is"
FOUND = Direction("resid_post.1", None, VECTOR)


@pytest.fixture
def playground(toy):
    acts = [
        nb.Steer("resid_post.1", direction=FOUND, tokens=-1),
        nb.Ablate("mlp_out.2", tokens=0),
        nb.Ablate("mlp_out.3"),
    ]
    return Playground(toy, PROMPT, interventions=acts)


def test_a_slider_is_set_in_one_step_and_is_in_hand(playground):
    (name, *_) = [playground._acts.name(act) for act in playground.setting["acts"]]
    playground.set(name, scale=2.0, tokens=" France")
    assert playground.experiment.interventions[0] == nb.Steer(
        "resid_post.1", direction=FOUND, scale=2.0, tokens=" France"
    )
    assert (playground.setting["hand"], playground.setting["parameter"]) == (
        playground.setting["acts"][0]["id"],
        "scale",
    )
    assert playground.answer["moment"] == playground.setting["moment"]
    assert playground.timeline["undo"].startswith(
        "scale of Steer with a Direction found at resid_post.1 1 → 2 and tokens of"
    )
    playground.undo()
    assert playground.timeline["undo"] == ""
    assert playground.experiment.interventions[0].scale == 1.0


def test_place_and_switch_are_set_as_in_the_constructor(playground):
    hand = playground.setting["hand"]
    playground.set(-2, enabled=False, site="z.1.2", steps="all", tokens=1)
    act = playground.experiment.interventions[1]
    assert (str(act.site), act.enabled, act.tokens.indices) == ("z.1.2", False, (1,))
    assert playground.setting["hand"] == hand, "no slider was moved"
    # a direction goes along to another layer
    playground.set(0, site="resid_mid.3")
    assert playground.experiment.interventions[0].direction == FOUND.at("resid_mid.3")
    assert playground.curves[-1]["act"] == hand


def test_a_value_beyond_the_slider_makes_a_longer_one(playground):
    playground.set(0, scale=1e4)
    assert playground.experiment.interventions[0].scale == 1e4
    act, name = playground.setting["acts"][0], "Steer with a Direction found at resid_post.1"
    recipe = next(one for one in playground.recipes if one["id"] == act["recipe"])
    assert (recipe["parameters"][0]["high"], playground._acts.name(act)) == (1e4, name)
    playground.undo()
    assert playground.setting["acts"][0]["recipe"] != act["recipe"]


def test_what_is_wrong_in_the_page_is_put_right_from_python(playground):
    setting = playground.setting
    acts = [{**setting["acts"][0], "tokens": "France"}, *setting["acts"][1:]]
    playground.setting = copied(setting, acts=acts, moment=setting["moment"] + 1)
    assert "quotes" in playground.answer["moved"][0]["problem"]
    playground.set(0, tokens=" France")
    assert playground.answer["moved"][0]["problem"] == ""
    assert playground.experiment.interventions[0].tokens == Match(" France")


@pytest.mark.parametrize(
    ("which", "changes", "error", "sentence"),
    [
        ("Nobody", {"scale": 1.0}, LookupError, "got 'Nobody', which is 0 of the interventions; there are 0 'Steer"),
        ("Ablate", {"amount": 1.0}, LookupError, "got 'Ablate', which is 2 of the interventions; there are 0 'Steer"),
        (3, {"scale": 1.0}, LookupError, "got 3, which is 0 of the interventions; there are"),
        (True, {"scale": 1.0}, LookupError, "got True, which is 0 of the interventions; there are"),
        (
            0,
            {"strength": 2},
            TypeError,
            "got strength for 'Steer with a Direction found at resid_post.1', whose kind is Steer; it has site, ",
        ),
        (1, {"amount": 7}, ValueError, "got amount=7.0 in an Ablate; wanted a number from 0"),
        (1, {"site": "resid_post.9"}, ValueError, "got layer 9 in 'resid_post.9'; toy has 4 layers: choose 0 to 3."),
        (1, {"tokens": " Spain"}, ValueError, "got tokens=' Spain', which does not occur in the prompt"),
        (1, {"enabled": "yes"}, TypeError, "got enabled='yes'"),
    ],
)
def test_what_cannot_be_set_leaves_the_stack_as_it_was(playground, which, changes, error, sentence):
    before = playground.setting, playground.answer, playground.recipes
    with pytest.raises(error) as caught:
        playground.set(which, **changes)
    assert str(caught.value.args[0]).startswith(sentence)
    assert (playground.setting, playground.answer, playground.recipes) == before


@pytest.mark.parametrize("name", ["patch", "ablate to a mean", "turn", "scale a basis", "cut"])
def test_every_kind_can_be_set(toy, name):
    playground = Playground(toy, PROMPT, interventions=[ACTS[name]])
    playground.set(0, enabled=False)
    assert playground.experiment.active == ()
    playground.set(0, enabled=True)
    assert playground.experiment.interventions == (ACTS[name].bound(toy.info),)


def test_edges_of_attention_are_cut_without_a_slider(toy):
    cut = nb.Cut("pattern.2", tokens=-1, keys=" France")
    playground = Playground(toy, PROMPT, interventions=[cut])
    (act,) = playground.setting["acts"]
    recipe = next(recipe for recipe in playground.recipes if recipe["id"] == act["recipe"])
    assert (recipe["name"], recipe["components"], recipe["parameters"]) == ('Cut off " France"', ["pattern"], [])
    np.testing.assert_allclose(playground.result.logits, toy.run(nb.Experiment(PROMPT, cut)).logits, atol=1e-5)
    frame = playground.frame()
    assert (frame["control"] != frame["changed"]).any()
    playground.set(0, enabled=False)
    untouched = playground.frame()
    assert (untouched["control"] == untouched["base"]).all()
    # at another layer, and in a prompt that has no such key
    playground.set(0, enabled=True, site="pattern.1.0")
    assert playground.experiment.interventions == (nb.Cut("pattern.1.0", tokens=-1, keys=" France").bound(toy.info),)
    setting = playground.setting
    playground.setting = {**setting, "prompt": "Where is Rome", "moment": setting["moment"] + 1}
    playground._finish()
    (moved,) = playground.answer["moved"]
    assert "' France', which does not occur in the prompt" in moved["problem"]
