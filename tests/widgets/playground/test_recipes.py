"""Every intervention has an act from which an equal one is made, and every slider a range in the activations' units."""

from __future__ import annotations

import re

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.spaces import Activations, Basis, Direction, Loop, Plane
from nbinterp.widgets.playground import ranges
from nbinterp.widgets.playground.recipes import Library
from nbinterp.widgets.protocol import Act

from .test_controls import ACTS, BASIS, CENTRE, DIRECTION, FRAME, LOOP, PLANE, VECTOR

AROUND = 5 * np.eye(4, 32)

MORE = {
    "disabled": nb.Scale("resid_mid.2", -3, enabled=False, tokens=" France"),
    "far out": nb.Steer("resid_post.1", direction=DIRECTION, scale=1e6),
    "steps": nb.Ablate("mlp_out.0", tokens=[], steps=slice(2, 5)),
    "resample": nb.Ablate("resid_post.0", resample=["a", "b"], seed=4),
    "mean of a chat": nb.Ablate("resid_post.0", mean=[nb.Chat([("user", "hi")])]),
    "mean of lines": nb.Ablate("resid_post.0", mean=["one\ntwo", "three"]),
    "path patch": nb.Patch("resid_post.2", source=nb.Experiment("Hello there", nb.Ablate("resid_post.0")), tokens=0),
    "given rows": nb.Patch("resid_post.2", source=np.ones((2, 32)), tokens=[0, 1]),
    "source tokens": nb.Patch("resid_post.2", source="Hello", source_tokens=0, amount=0.5),
    "function": nb.Ablate("resid_post.0", tokens=lambda prompt: [0]),
    "path": nb.Scale("model.layers.1.mlp.act_fn:input", 2),
    "embed": nb.Scale("embed", 2),
    "placed": nb.Steer("resid_post.3", direction=Direction("resid_post.3", None, VECTOR)),
    "same tensor": nb.Steer("resid_pre.3", direction=Direction("resid_post.2", None, VECTOR)),
    "start": nb.Rotate("resid_post.1", on=LOOP, by=0.5, start=0.25),
}


@pytest.fixture
def library(toy):
    return Library(toy.info, lambda site: AROUND[:, : toy.info.width(site)])


@pytest.mark.parametrize("intervention", [*ACTS.values(), *MORE.values()], ids=[*ACTS, *MORE])
def test_an_intervention_is_made_again_from_its_act(library, intervention):
    act = library.act_of(intervention, "a")
    assert library[act["recipe"]].make(act) == intervention
    # as a page would send it back
    assert all(isinstance(value, float) for value in act["values"].values())
    assert library.act_of(intervention, "a") == act, "the second time its recipe is there"


def test_plain_ones_need_no_recipe_of_their_own(library):
    before = len(library.recipes)
    for name, recipe in {"scale": "scale", "ablate": "ablate", "patch": "patch", "ablate to a mean": "mean"}.items():
        assert library.act_of(ACTS[name], "a")["recipe"] == recipe
    assert len(library.recipes) == before


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (DIRECTION, ["Steer along it", "Take it out", "Set it", "Scale it"]),
        (PLANE, ["Turn it to", "Turn it by", "Take it out", "Keep only it", "Scale it"]),
        (LOOP, ["Turn it to", "Turn it by"]),
        (BASIS, ["Take it out", "Keep only it", "Scale it"]),
        (Activations(None, None, np.ones((1, 32))), ["Patch it"]),
    ],
    ids=["direction", "plane", "loop", "basis", "activations"],
)
def test_what_was_found_can_be_used_in_these_ways(library, toy, found, names):
    offers = library.add(found, "it")
    assert [offer.recipe["name"] for offer in offers] == names
    assert [offer.recipe["id"] for offer in library.add(found, "it")] == [offer.recipe["id"] for offer in offers]
    for offer in offers:
        assert "resid_post" in offer.recipe["components"]
        assert "mlp_post" not in offer.recipe["components"]
        values = {p["name"]: p["home"] for p in offer.recipe["parameters"]}
        act = Act(
            id="a",
            recipe=offer.recipe["id"],
            on=True,
            component="resid_post",
            layer=1,
            head=-1,
            tokens="last",
            steps="none",
            values=values,
            texts={},
        )
        (result,) = toy.run([nb.Experiment("Hello there", offer.make(act))])
        if values.keys() & {"scale", "factor", "by", "amount"}:
            assert np.abs(result.logits - result.base_logits).max() < 1e-3, "at home it changes nothing"


def test_a_direction_may_be_used_elsewhere_and_says_where_it_was_found(library, toy):
    found = Direction("resid_post.2", toy.info, VECTOR)
    steer = library.add(found, "it")[0]
    assert steer.recipe["found"] == 2
    act = Act(
        id="a",
        recipe=steer.recipe["id"],
        on=True,
        component="resid_mid",
        layer=1,
        head=-1,
        tokens="last",
        steps="none",
        values={"scale": 1.0},
        texts={},
    )
    made = steer.make(act)
    assert made.direction == found.at("resid_mid.1")
    made.check(toy.info)


def test_a_head_s_direction_acts_on_heads(library):
    (steer, *_) = library.add(Direction("z.1.2", None, VECTOR[:8]), "it")
    assert steer.recipe["components"] == ["z", "q", "k", "v"]  # where it was found, first


@pytest.mark.parametrize(
    ("found", "error", "sentence"),
    [
        ("France", TypeError, "got str to add; wanted an intervention such as nb.Steer(…), a Direction, a Plane, "),
        (
            Direction(None, None, np.ones(5)),
            ValueError,
            "got a Direction of 5 features without a site; toy has 32 in its",
        ),
        (Direction(None, None, np.zeros(32)), ValueError, "got a Direction of length 0, which points nowhere; "),
    ],
)
def test_what_cannot_be_added_gets_a_sentence(library, found, error, sentence):
    with pytest.raises(error, match="^" + re.escape(sentence)):
        library.add(found)


def test_an_unknown_recipe_gets_a_sentence(library):
    with pytest.raises(LookupError, match="^got the recipe 'nonsense'; known are ablate, scale, patch, mean."):
        library["nonsense"]


def test_steering_reaches_twice_the_length_of_what_is_there():
    range_ = ranges.scale(DIRECTION, AROUND)
    reach = range_["high"] * DIRECTION.norm / ranges.typical_norm(AROUND)
    assert 2 <= reach <= 3.1
    assert range_["low"] == -range_["high"]
    assert 100 <= (range_["high"] - range_["low"]) / range_["step"] <= 500


def test_a_giant_first_token_does_not_stretch_the_range():
    giant = AROUND.copy()
    giant[0] *= 1000
    assert ranges.scale(DIRECTION, giant) == ranges.scale(DIRECTION, AROUND)


def test_the_grid_of_a_slider_holds_its_ends_and_its_home():
    for parameter in (ranges.amount(), ranges.factor(2), ranges.turn_by(), ranges.scale(DIRECTION, AROUND)):
        values = ranges.grid(parameter, 41)
        assert (len(values), values[0], values[-1]) == (41, parameter["low"], parameter["high"])
        assert parameter["home"] in values
        assert values == sorted(values)


def test_turning_starts_where_the_last_token_stands():
    at = PLANE.centre + 3 * (np.cos(1.5) * FRAME[0] + np.sin(1.5) * FRAME[1])
    assert ranges.turn_to(PLANE, np.stack([CENTRE, at]))["home"] == pytest.approx(1.5, abs=0.02)
    assert isinstance(LOOP, Loop)
    assert isinstance(BASIS, Basis)
    assert isinstance(PLANE, Plane)
