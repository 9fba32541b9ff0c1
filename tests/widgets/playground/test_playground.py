"""The playground's Python side: what it shows is what the model says, whoever changes it and from which thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.widgets.playground import Playground
from nbinterp.widgets.playground.controls import control_of
from nbinterp.widgets.playground.setting import with_value

from .page import PROMPT, adds, page
from .test_controls import ACTS, DIRECTION


def test_it_starts_untouched_with_an_answer(playground, toy):
    result = toy.run(PROMPT)
    frame = playground.frame()
    assert list(frame.columns) == ["token", "base", "changed", "control"]
    np.testing.assert_array_equal(frame["base"], frame["changed"])
    np.testing.assert_array_equal(frame["base"], frame["control"])
    assert frame["token"][0] == result.said()[0]
    assert playground.answer["tokens"] == list(result.prompts[0].tokens)
    assert (playground.answer["kl"], playground.curves, playground.problem) == (0.0, [], "")
    assert playground.experiment == result.experiment


@pytest.mark.parametrize("name", ["steer", "ablate a part", "patch", "turn", "scale a basis"])
def test_what_it_answers_is_what_the_model_says(toy, name):
    act = ACTS[name]
    playground = Playground(toy, PROMPT, interventions=[act], seed=3)
    experiment = nb.Experiment(PROMPT, act)
    changed, control = toy.run([experiment, nb.Experiment(PROMPT, control_of([act], 3))])
    assert playground.experiment == changed.experiment
    np.testing.assert_array_equal(playground.result.logits, changed.logits)
    frame = playground.frame()
    best = np.maximum(changed.base_probabilities[0], changed.probabilities[0])
    ids = np.argsort(-best, kind="stable")[:10]
    assert frame["token"].tolist() == [changed.vocabulary.tokens[i] for i in ids]
    np.testing.assert_array_equal(frame["base"], changed.base_probabilities[0][ids])
    np.testing.assert_array_equal(frame["changed"], changed.probabilities[0][ids])
    np.testing.assert_array_equal(frame["control"], control.probabilities[0][ids])
    (moved,) = playground.answer["moved"]
    assert moved["moved"] == pytest.approx(changed.effects()["change"][0])
    assert playground.answer["kl"] == pytest.approx(changed.effects()["kl"][0])
    assert playground.answer["kl_control"] == pytest.approx(control.effects()["kl"][0])


def test_tracked_tokens_are_followed_in_all_three_runs(toy):
    playground = Playground(toy, PROMPT, interventions=[ACTS["ablate"]], track=[" Paris", " Rome"])
    result = playground.result
    for tracked, text in zip(playground.answer["tracked"], [" Paris", " Rome"], strict=True):
        token = toy.vocabulary.id(text)
        assert tracked["text"] == text
        for run, logits in (("base", result.base_logits[0]), ("changed", result.logits[0])):
            assert tracked[run]["logit"] == pytest.approx(logits[token])
            assert tracked[run]["rank"] == 1 + (logits > logits[token]).sum()
    assert tracked["changed"]["probability"] == pytest.approx(result.probabilities[0][token])


def test_without_a_word_the_untouched_token_and_its_rival_are_tracked(toy):
    rare = int(np.argsort(toy.run(PROMPT).base_logits[0])[1000])
    logits = np.zeros(len(toy.vocabulary))
    logits[rare] = 50
    rival = nb.Patch("logits", source=logits, tokens=-1)
    playground = Playground(toy, PROMPT, interventions=[rival])
    first = playground.result.base_said()[0]
    assert [tracked["text"] for tracked in playground.answer["tracked"]] == [first, toy.vocabulary.tokens[rare]]
    page(playground, acts=[])
    runner_up = int(np.argsort(-playground.result.base_logits[0], kind="stable")[1])
    assert [tracked["text"] for tracked in playground.answer["tracked"]] == [first, toy.vocabulary.tokens[runner_up]]


def test_a_tracked_text_that_is_no_token_gets_a_sentence(playground, toy):
    page(playground, tracked=["Parisian dreams", " Rome"])
    assert playground.problem.startswith("got 'Parisian dreams', which is not a single token of this model")
    assert [tracked["text"] for tracked in playground.answer["tracked"]] == [" Rome"]
    page(playground, tracked=[" Rome"])
    assert playground.problem == ""
    with pytest.raises(LookupError, match="^got 'Parisian dreams', which is not a single token"):
        Playground(toy, PROMPT, track=["Parisian dreams"])


def test_what_has_no_effect_is_said_until_it_has_one(toy):
    playground = Playground(
        toy, PROMPT, interventions=[nb.Scale("resid_post.1", 1.0), nb.Steer("mlp_out.3", direction=DIRECTION, tokens=0)]
    )
    assert playground.answer["warnings"] == list(playground.result.warnings)
    assert [warning.split(",")[0] for warning in playground.answer["warnings"]] == [
        "Scale at resid_post.1",
        "Steer at mlp_out.3",
    ]
    data, _ = playground._repr_mimebundle_()
    assert all(f"! {warning}" in data["text/plain"] for warning in playground.result.warnings)
    subtitle = playground.chart().to_dict()["title"]["subtitle"]
    assert " ".join(subtitle).count("!") == 2
    assert max(map(len, subtitle)) <= 110
    playground.set(0, factor=2.0)
    playground.set(1, enabled=False)
    assert playground.answer["warnings"] == []
    assert playground.chart().to_dict()["title"]["subtitle"] == []


def test_in_a_running_loop_the_last_position_is_answered_and_the_ones_before_are_dropped(toy, monkeypatch):
    asked = []
    run = toy.run

    def counted(experiments):
        asked.append([getattr(act, "factor", None) for e in experiments for act in e.interventions])
        return run(experiments)

    async def scenario():
        playground = Playground(toy, PROMPT)
        adds(playground, "scale")
        async with asyncio.timeout(60):
            while not playground._inquiry.idle:
                await asyncio.sleep(0)
            monkeypatch.setattr(toy, "run", counted)
            for step in range(100):
                page(
                    playground, gesture=0, acts=with_value(playground.setting, "page0", "factor", 0.013 * step)["acts"]
                )
            while not playground._inquiry.idle:
                await asyncio.sleep(0)
        return playground

    playground = asyncio.run(scenario())
    assert playground.answer["moment"] == playground.setting["moment"]
    assert [factors for factors in asked if factors] == [[0.013 * 99, None]]
    assert playground.timeline["undo"].startswith("Scale added")


def test_another_thread_may_move_it_and_the_main_one_answers(toy, monkeypatch):
    threads = set()
    run = toy.run
    monkeypatch.setattr(toy, "run", lambda experiments: threads.add(threading.current_thread()) or run(experiments))

    async def scenario():
        playground = Playground(toy, PROMPT)

        def hand():
            for prompt in ("One", "Two", "Three"):
                page(playground, prompt=prompt)
            playground.undo()
            playground.add(DIRECTION, "mine", on=False)

        other = threading.Thread(target=hand)
        other.start()
        async with asyncio.timeout(60):
            while other.is_alive() or not playground._inquiry.idle:
                await asyncio.sleep(0.001)
        return playground

    playground = asyncio.run(scenario())
    assert playground.setting["prompt"] == "Two"
    assert playground.answer["tokens"] == list(toy.tokens("Two").tokens)
    assert playground.problem == ""


def test_it_draws_and_describes_itself(toy):
    playground = Playground(toy, PROMPT, interventions=[ACTS["steer"]])
    data, _ = playground._repr_mimebundle_()
    assert data["text/plain"] == repr(playground)
    assert repr(playground).startswith("Playground: 'The capital of France is' on toy, Steer with a Direction: ")
    assert "data:image/png;base64," in data["text/html"]
    chart = playground.chart().to_dict()
    assert len(chart["vconcat"]) == 2
    assert len(Playground(toy, PROMPT).chart().to_dict()["vconcat"]) == 1


def test_the_stored_picture_answers_what_was_set_just_before(toy):
    async def scenario():
        playground = Playground(toy, PROMPT)
        playground.add(ACTS["steer"])
        playground._repr_mimebundle_()
        return playground.answer["moment"], playground.setting["moment"]

    answered, asked = asyncio.run(scenario())
    assert answered == asked


def test_a_kernel_that_starts_again_knows_what_it_was_made_of(toy):
    mark = "application/vnd.nbinterp.widget+json"
    first, again, other = (
        Playground(toy, prompt, directions={"it": DIRECTION})._repr_mimebundle_()[0][mark]
        for prompt in (PROMPT, PROMPT, "Hello")
    )
    assert first["origin"] == again["origin"]
    assert first["kind"] == "playground"
    assert first["state"]["setting"]["prompt"] == PROMPT
    assert first["origin"] != other["origin"]


def test_nothing_stays_of_one_that_was_closed(toy):
    playground = Playground(toy, PROMPT, interventions=[ACTS["steer"]])
    gone = weakref.ref(playground)
    playground.close()
    del playground
    gc.collect()
    assert gone() is None
