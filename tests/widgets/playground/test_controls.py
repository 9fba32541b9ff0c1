"""The control moves every token exactly as far as the intervention does."""

from __future__ import annotations

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.spaces import Basis, Direction, Loop, Plane
from nbinterp.widgets.playground.controls import Control, control_of, describe

WIDTH = 32
PROMPT = "The capital of France is"
RANDOM = np.random.default_rng(3)
VECTOR = RANDOM.normal(size=WIDTH)
FRAME = np.linalg.qr(RANDOM.normal(size=(WIDTH, 5)))[0].T
CENTRE = RANDOM.normal(size=WIDTH)
DIRECTION = Direction(None, None, VECTOR)
PLANE = Plane(None, None, CENTRE, FRAME[:2])
BASIS = Basis(None, None, CENTRE, FRAME)
LOOP = Loop(None, None, CENTRE, 3 * RANDOM.normal(size=(2, WIDTH)), 3 * RANDOM.normal(size=(2, WIDTH)))
SITE = "resid_post.1"

ACTS = {
    "steer": nb.Steer(SITE, direction=DIRECTION, scale=-2.5),
    "steer one token": nb.Steer(SITE, direction=DIRECTION, scale=7, tokens=2),
    "steer to": nb.Steer(SITE, direction=DIRECTION, to=3),
    "scale": nb.Scale(SITE, -0.5),
    "scale a direction": nb.Scale(SITE, 3, on=DIRECTION),
    "scale a basis": nb.Scale(SITE, 3, on=BASIS),
    "project out": nb.Project(SITE, on=DIRECTION, out=True),
    "project out a basis": nb.Project(SITE, on=BASIS, out=True, tokens=[1, 3]),
    "project onto": nb.Project(SITE, on=BASIS),
    "turn": nb.Rotate(SITE, on=PLANE, by=1.0),
    "turn to": nb.Rotate(SITE, on=PLANE, to=1.0),
    "move": nb.Rotate(SITE, on=LOOP, to=1.0),
    "ablate": nb.Ablate(SITE, tokens=[0, 2]),
    "ablate a part": nb.Ablate(SITE, amount=0.25),
    "ablate to a mean": nb.Ablate(SITE, mean=["Rome is nice", "Oslo"]),
    "patch": nb.Patch(SITE, source="The capital of Italy is"),
    "ablate a head": nb.Ablate("z.2.1"),
    "patch a head": nb.Patch("v.2.1", source="The capital of Italy is", tokens=-1),
    "steer a head": nb.Steer("z.2.1", direction=VECTOR[:8], scale=0.5),
    "cut": nb.Cut("pattern.2.1", keys=" France"),
}


def changes(model, acts, site):
    changed, control = model.run([nb.Experiment(PROMPT, a, read=site) for a in (acts, control_of(acts, 0))])
    n = len(changed.prompts[0])
    return (
        changed.read(site).reshape(n, -1) - changed.read(site, base=True).reshape(n, -1),
        control.read(site).reshape(n, -1) - control.read(site, base=True).reshape(n, -1),
    )


@pytest.mark.parametrize("act", ACTS.values(), ids=list(ACTS))
def test_every_token_is_moved_as_far_and_elsewhere(toy, act):
    true, control = changes(toy, [act], act.site)
    lengths = np.linalg.norm(true, axis=1)
    assert lengths.max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(control, axis=1), lengths, rtol=1e-3, atol=1e-4 * lengths.max())
    cosine = np.abs((true * control).sum() / (np.linalg.norm(true) * np.linalg.norm(control)))
    assert cosine < 0.75


def test_a_control_follows_the_sign_of_the_slider(toy):
    _, up = changes(toy, [nb.Steer(SITE, direction=DIRECTION, scale=2)], SITE)
    _, down = changes(toy, [nb.Steer(SITE, direction=DIRECTION, scale=-2)], SITE)
    np.testing.assert_allclose(up, -down, atol=1e-5)


def test_what_cancels_in_the_stack_cancels_in_its_control(toy):
    acts = [nb.Steer(SITE, direction=DIRECTION, scale=3), nb.Steer(SITE, direction=-DIRECTION, scale=3)]
    true, control = changes(toy, acts, SITE)
    assert np.abs(true).max() < 1e-5
    assert np.abs(control).max() < 1e-5


def test_steering_before_projecting_out_is_as_long_as_projecting_out(toy):
    out = nb.Project(SITE, on=DIRECTION, out=True)
    true, control = changes(toy, [nb.Steer(SITE, direction=DIRECTION, scale=30), out], SITE)
    only, _ = changes(toy, [out], SITE)
    np.testing.assert_allclose(true, only, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(control, axis=1), np.linalg.norm(only, axis=1), rtol=1e-2)


def test_attention_is_moved_among_the_keys_that_are_seen(toy):
    act = nb.Ablate("pattern.2.0", tokens=[1, 3])
    (control,) = control_of([act], 0)
    result = toy.run(nb.Experiment(PROMPT, control, read="pattern.2.0"))
    after, before = result.read("pattern.2.0"), result.read("pattern.2.0", base=True)
    assert (after[before == 0] == 0).all()
    np.testing.assert_allclose(
        np.linalg.norm((after - before)[[1, 3]], axis=1), np.linalg.norm(before[[1, 3]], axis=1), rtol=1e-4
    )


def test_a_seed_gives_the_same_control_again(toy):
    acts = [nb.Ablate(SITE), nb.Steer("resid_post.2", direction=DIRECTION, scale=3)]
    first, again, other = (toy.run(nb.Experiment(PROMPT, control_of(acts, seed))).logits for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_disabled_acts_have_no_control():
    acts = [nb.Ablate(SITE, enabled=False), nb.Scale(SITE, 2), nb.Scale(SITE, 3), nb.Patch(SITE, source="x")]
    found = control_of(acts, 0)
    assert all(isinstance(c, Control) for c in found)
    assert [len(c.acts) for c in found] == [2, 1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("steer", "the same length along a random direction"),
        ("scale", "each token moved by the same length in a random direction"),
        ("scale a basis", "the same change within a random subspace of 5 dimensions"),
        ("turn", "the same change within a random plane"),
        ("move", "the same steps along a curve in a random subspace"),
        ("project onto", "each token moved by the same length in a random direction"),
        ("patch", "each token moved by the same length in a random direction"),
    ],
)
def test_a_control_says_what_it_is(name, words):
    assert describe(ACTS[name]) == words
