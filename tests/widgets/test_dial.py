"""The dial's Python side, on small random models: what it answers is what the model says."""

import asyncio
import base64
import re

import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.widgets.dial import Dial

from ..conftest import random_module

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August")
PROMPT = "This month it is March, so next month it will be"


@pytest.fixture(scope="module")
def toy(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")


@pytest.fixture(scope="module")
def circles(toy):
    labels = pd.DataFrame(
        {"month": MONTHS * 3, "template": np.repeat(["We met in {}", "It was {}", "In {}"], len(MONTHS))}
    )
    prompts = [t.format(m) for t, m in zip(labels["template"], labels["month"], strict=True)]
    cloud = toy.collect(prompts, sites=["resid_post.1", "resid_post.2"], labels=labels, progress=False)
    return [nb.fit_manifold(cloud[site], by="month", within="template", harmonics=2) for site in cloud.sites]


@pytest.fixture
def dial(toy, circles):
    return Dial(toy, circles, prompt=PROMPT, tokens=" March")


def test_the_hand_starts_at_the_token(dial, circles):
    assert (dial.layer, dial.token) == (1, 4)
    assert dial.angle == circles[0].angle_of("March")
    np.testing.assert_allclose(dial.frame()["turned"], dial.frame()["base"], atol=1e-6)


def test_what_it_answers_is_what_the_model_says(dial, toy, circles):
    dial.layer = 2
    dial.angle = 2.0
    circle = circles[1]
    turn = nb.Rotate("resid_post.2", on=circle.loop, start=circle.angle_of("March"), to=2.0, tokens=4)
    turned = toy.run(nb.Experiment(PROMPT, turn))
    pushed = toy.run(
        nb.Experiment(
            PROMPT,
            nb.Rotate("resid_post.2", on=circle.loop.control(0), start=circle.angle_of("March"), to=2.0, tokens=4),
        )
    )
    frame = dial.frame()
    ids = [turned.vocabulary.id(token) for token in frame["token"]]
    for column, wanted in (
        ("base", turned.base_probabilities),
        ("turned", turned.probabilities),
        ("control", pushed.probabilities),
    ):
        np.testing.assert_allclose(frame[column], wanted[0][ids], atol=1e-6)
    assert frame["turned"].max() == pytest.approx(turned.probabilities.max(), abs=1e-6)
    assert dial.experiment == turned.experiment


def test_the_response_covers_the_whole_turn(dial, circles):
    response = dial.response()
    assert list(response.columns) == ["angle", "label", "token", "base", "turned", "control"]
    angles = np.sort(response["angle"].unique())
    np.testing.assert_allclose(angles, np.linspace(0, 2 * np.pi, 8 * 6 + 1))
    at = response[np.isclose(response["angle"], circles[0].angle_of("July"))].set_index("token")
    assert set(at["label"]) == {"July"}
    dial.angle = circles[0].angle_of("July")
    frame = dial.frame().set_index("token")
    common = frame.index.intersection(at.index)
    assert len(common) >= 3
    np.testing.assert_allclose(
        frame.loc[common, ["turned", "control"]], at.loc[common, ["turned", "control"]], atol=1e-4
    )
    first, last = response[response["angle"] == 0], response[np.isclose(response["angle"], 2 * np.pi)]
    np.testing.assert_allclose(first["turned"], last["turned"], atol=1e-4)


def test_a_token_without_a_label_starts_at_the_nearest_point(dial, toy, circles):
    dial.token = 0
    (activation,) = toy.run(nb.Experiment(PROMPT, read="resid_post.1")).activations.values()
    assert dial.answer["start"] == circles[0].loop.angle_of(activation[0][0])
    assert dial.answer["token"] == dial.sweep["token"] == 0


def test_an_error_is_shown_and_leaves_the_dial_usable(dial, toy, monkeypatch):
    run = toy.run
    monkeypatch.setattr(toy, "run", lambda experiments: (_ for _ in ()).throw(RuntimeError("out of memory")))
    dial.angle = 1.0
    assert dial.problem == "RuntimeError: out of memory"
    monkeypatch.setattr(toy, "run", run)
    dial.angle = 1.5
    assert dial.problem == ""
    assert dial.answer["angle"] == 1.5


def test_in_a_running_loop_the_last_position_is_answered_and_the_ones_before_are_dropped(toy, circles, monkeypatch):
    asked = []
    run = toy.run

    def counted(experiments):
        asked.extend(e.interventions[0].to for e in experiments if isinstance(e, nb.Experiment) and e.interventions)
        return run(experiments)

    async def scenario():
        dial = Dial(toy, circles, prompt=PROMPT, tokens=" March")
        monkeypatch.setattr(toy, "run", counted)
        for step in range(100):
            dial.angle = 0.01 * step
        async with asyncio.timeout(60):
            while dial.answer["angle"] != dial.angle or not dial._live.idle:
                await asyncio.sleep(0)
        return dial

    dial = asyncio.run(scenario())
    assert dial.answer["angle"] == pytest.approx(0.99)
    between = {0.01 * step for step in range(1, 99)}
    assert not {to for to in asked if any(abs(to - other) < 1e-12 for other in between)}


def test_what_stays_in_a_saved_notebook(dial):
    data, _ = dial._repr_mimebundle_()
    assert data["text/plain"] == dial._summary()
    assert data["text/plain"] == (
        "Dial: in 'This month it is March, so next month it will be' the token ' March' is turned to March "
        "on the circle of month in resid_post.1 of toy."
    )
    pattern = r'<img src="data:image/png;base64,([A-Za-z0-9+/=]{10000,})" alt="Dial: in &#x27;This[^"]*" width="(\d+)"'
    found = re.search(pattern, data["text/html"])
    # drawn finer than it is shown, so that its type is no larger than the notebook's
    assert int(found[2]) == round(int.from_bytes(base64.b64decode(found[1])[16:20], "big") / 1.5)
    assert "<table" in data["text/html"]


def test_every_label_says_how_sure_its_circle_is(dial, circles):
    for layer, circle in zip(dial.spec["layers"], circles, strict=True):
        assert layer["statement"].startswith(circle.test.verdict)
        assert [label["text"] for label in layer["labels"]] == list(MONTHS)


OTHER = "got a Loop of the model {theirs}, used on {mine}: find one in the model that you run."


def test_what_no_dial_can_turn_is_refused_before_the_model_runs(toy, circles, tokenizer, monkeypatch):
    other = nb.Model.open(random_module("qwen3"), tokenizer=tokenizer, name="other", device="cpu")
    monkeypatch.setattr(toy, "run", lambda *a: pytest.fail("the model ran"))
    cases = [
        (
            lambda: Dial(other, circles, prompt=PROMPT, tokens=" March"),
            ValueError,
            OTHER.format(theirs=toy.info, mine=other.info),
        ),
        (
            lambda: Dial(toy, [], prompt=PROMPT, tokens=" March"),
            ValueError,
            "got no circle to turn; wanted one, or one for each layer: fit them with nb.fit_manifold(…).",
        ),
        (
            lambda: Dial(toy, [circles[0]] * 2, prompt=PROMPT, tokens=" March"),
            ValueError,
            "got several circles for one layer (layers [1, 1]); wanted one a layer.",
        ),
        (
            lambda: Dial(toy, circles, prompt="", tokens=" March"),
            ValueError,
            "got an empty text as the prompt; wanted text with at least one token.",
        ),
        (
            lambda: Dial(toy, circles, prompt=PROMPT, tokens=" month"),
            LookupError,
            "got tokens=' month', which occurs 2 times in the prompt 'This month it is March, so next month it will be': say which one with nb.Match(' month', nth=1) … nth=2.",
        ),
        (
            lambda: Dial(toy, circles, prompt=PROMPT, tokens="it is"),
            ValueError,
            "got tokens='it is', which chooses 2 tokens ([' it', ' is']); a dial turns one: choose it by its index.",
        ),
        (lambda: Dial(toy, circles, prompt=PROMPT, tokens=" March", harmonics=4), ValueError, None),
    ]
    for make, error, message in cases:
        with pytest.raises(error) as caught:
            make()
        assert message is None or caught.value.args[0] == message
