"""What was added to a playground outlives its kernel; what cannot is named."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.spaces import Activations, Direction
from nbinterp.widgets.playground import Playground, keeping
from nbinterp.widgets.playground.recipes import Library

from .test_controls import ACTS, DIRECTION, LOOP, PLANE, VECTOR
from .test_recipes import MORE

PROMPT = "The capital of France is"


def started(toy):
    return Playground(toy, PROMPT, directions={"it": DIRECTION})


def restarted(toy, old, **changes):
    """Return a playground of a new kernel after the page that outlived the old one brought back what it shows."""
    new = started(toy)
    state = {name: getattr(old, name) for name in ("added", "setting", "kept")} | changes
    new.set_state(json.loads(json.dumps(state)))
    return new


def test_a_direction_that_was_added_later_acts_again(toy):
    old = started(toy)
    assert old.added == {"recipes": [], "templates": {}, "spaces": {}, "missing": {}}
    old.add(Direction("resid_post.2", toy.info, 2 * VECTOR), "later")
    old.add(PLANE, "wheel", on=False)
    old.add(nb.Steer("resid_post.1", direction=DIRECTION, scale=1e4), "hard")
    old.keep("here")
    assert len(old.added["spaces"]) == 3, "what is done with one direction shares it"
    new = restarted(toy, old)
    assert new.problem == ""
    assert new.experiment == old.experiment
    assert new.answer["candidates"] == old.answer["candidates"]
    assert new.recipes == old.recipes
    assert new.added == old.added
    # what comes now is something else
    new.add(LOOP, "ring")
    assert len({recipe["id"] for recipe in new.recipes}) == len(new.recipes)
    # and what is added again is there
    n = len(new.recipes)
    new.add(Direction("resid_post.2", toy.info, 2 * VECTOR), "later", on=False)
    assert len(new.recipes) == n


@pytest.mark.parametrize("name", [n for n in (*ACTS, *MORE) if n not in ("function", "placed")])
def test_every_intervention_is_kept_whole(toy, name):
    library = Library(toy.info, lambda site: np.eye(4, toy.info.width(site)))
    library.started()
    act = library.act_of({**ACTS, **MORE}[name], "a", "mine")
    other = Library(toy.info, lambda site: pytest.fail("the model was asked"))
    other.take_back(json.loads(json.dumps(library.added)))
    assert other[act["recipe"]].make(act) == {**ACTS, **MORE}[name]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (nb.Ablate("resid_post.0", tokens=lambda prompt: [0]), "function"),
        (nb.Patch("resid_post.1", source=Activations(None, None, np.ones((5, 32)))), "it takes 1,"),
    ],
    ids=["function", "large"],
)
def test_what_cannot_be_kept_is_named_and_the_rest_acts(toy, found, why, monkeypatch):
    monkeypatch.setattr(keeping, "MOST", 1000)
    old = started(toy)
    old.add(nb.Scale("resid_post.1", 2.0))
    old.add(found, "mine")
    new = restarted(toy, old)
    (scaled, missing) = new.answer["moved"]
    assert scaled["problem"] == ""
    assert missing["problem"].startswith("got 'mine', which was not kept when its kernel ended (")
    assert why in missing["problem"]
    assert missing["problem"].endswith("); add it again under the same name, and it acts as before.")
    assert [type(act).__name__ for act in new.experiment.interventions] == ["Scale"]
    assert restarted(toy, new).answer["moved"][1]["problem"] == missing["problem"], "also after the next restart"
    new.add(found, "mine", on=False)
    assert [moved["problem"] for moved in new.answer["moved"]] == ["", "", ""]
    assert len({act["id"] for act in new.setting["acts"]}) == 3
    new.undo()
    assert new.experiment.interventions == old.experiment.interventions


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda added: 3, "got 3 for added; wanted its fields by name."),
        (
            lambda added: {**added, "templates": dict.fromkeys(added["templates"], "{")},
            "got the kept recipe 'steer-5', which",
        ),
        (lambda added: {**added, "spaces": {}}, "got the kept recipe 'steer-5', which cannot be read (KeyError"),
        (
            lambda added: {
                **added,
                "recipes": [
                    {**r, "parameters": [{**p, "name": "__class__"} for p in r["parameters"]]} for r in added["recipes"]
                ],
            },
            "got a kept recipe with the sliders ['__class__'] of a Steer",
        ),
    ],
)
def test_a_file_that_was_spoiled_gets_a_sentence(toy, spoil, sentence):
    old = started(toy)
    old.add(Direction("resid_post.2", toy.info, 2 * VECTOR), "later", on=False)
    new = started(toy)
    new.set_state({"added": spoil(old.added)})
    assert new.problem.startswith(sentence)
    assert new.recipes == started(toy).recipes
    assert new.added == started(toy).added


def test_recipes_of_another_model_are_not_taken(toy):
    template = nb.Steer(
        "resid_post.1",
        direction=Direction("resid_post.1", ModelInfo("other", "a", "LlamaForCausalLM", 4, 32, 9, "x"), VECTOR),
    )
    library = Library(toy.info, lambda site: np.ones((2, 5)))
    recipe = {**library.recipes[0], "id": "steer-9", "parameters": []}
    with pytest.raises(ValueError, match="other"):
        library.take_back(keeping.written([(recipe, template)]))
