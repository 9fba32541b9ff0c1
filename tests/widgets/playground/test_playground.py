"""The playground's Python side: what it shows is what the model says, whoever changes it and from which thread."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import types
import weakref

import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.spaces import Direction
from nbinterp.widgets.playground import Playground
from nbinterp.widgets.playground.controls import control_of
from nbinterp.widgets.playground.curves import POINTS
from nbinterp.widgets.playground.setting import copied, matter, with_value

from .test_controls import ACTS, DIRECTION, LOOP, PLANE
from .test_recipes import MORE

PROMPT = "The capital of France is"


@pytest.fixture
def playground(toy):
    return Playground(toy, PROMPT, directions={"it": DIRECTION})


def page(playground, *, gesture=1, **changes):
    """Change the setting as a page does."""
    now = playground.setting
    setting = copied(now, **changes, moment=now["moment"] + 1, gesture=now["gesture"] + gesture)
    playground.set_state({"setting": json.loads(json.dumps(setting))})
    return setting


def adds(playground, recipe, **changes):
    """Add an intervention as a page does."""
    found = next(r for r in playground.recipes if r["id"] == recipe)
    values = {p["name"]: p["start"] for p in found["parameters"]}
    texts = dict.fromkeys(found["texts"], "")
    act = {"id": f"page{len(playground.setting['acts'])}", "recipe": recipe, "on": True, "component": "resid_post"}
    act |= {"layer": 1, "head": -1, "tokens": "last", "steps": "all", "values": values, "texts": texts} | changes
    hand = next(iter(values), "")
    page(playground, acts=[*playground.setting["acts"], act], hand=act["id"], parameter=hand)
    return act["id"]


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


def test_the_dose_response_is_what_the_model_says_at_each_value(playground, toy):
    (act,) = [adds(playground, "steer-1")]
    (curve,) = playground.curves
    assert (curve["act"], curve["parameter"], len(curve["values"]), curve["total"]) == (act, "scale", POINTS, POINTS)
    experiments = [
        nb.Experiment(PROMPT, [nb.Steer("resid_post.1", direction=DIRECTION, scale=value, tokens=-1, steps="all")])
        for value in curve["values"][::10]
    ]
    controls = [nb.Experiment(PROMPT, control_of(e.interventions, 0)) for e in experiments]
    results = toy.run([*experiments, *controls])
    for series in curve["series"]:
        token = toy.vocabulary.id(series["text"])
        wanted = [r.probabilities[0][token] for r in results]
        np.testing.assert_allclose(series["changed"][::10], wanted[:5], rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(series["control"][::10], wanted[5:], rtol=1e-3, atol=1e-7)
    (difference,) = curve["difference"]
    first, second = (toy.vocabulary.id(series["text"]) for series in curve["series"][:2])
    assert difference["text"] == f"{curve['series'][0]['text']!r} − {curve['series'][1]['text']!r}"
    wanted = [r.logits[0][first] - r.logits[0][second] for r in results]
    np.testing.assert_allclose(
        [*difference["changed"][::10], *difference["control"][::10]], wanted, rtol=1e-3, atol=1e-3
    )
    response = playground.response()
    assert list(response.columns) == ["value", "token", "base", "changed", "control"]
    assert len(response) == POINTS * len(curve["series"])


def test_the_curve_meets_the_answer_where_the_slider_stands(playground):
    adds(playground, "steer-1", tokens="all")
    (curve,) = playground.curves
    value = curve["values"][25]
    page(playground, acts=with_value(playground.setting, "page0", "scale", value)["acts"])
    shown = {series["text"]: (series["changed"][25], series["control"][25]) for series in curve["series"]}
    common = [c for c in playground.answer["candidates"] if c["text"] in shown]
    assert len(common) >= 2
    for chance in common:
        assert (chance["changed"], chance["control"]) == pytest.approx(shown[chance["text"]], rel=1e-3, abs=1e-7)


def test_moving_the_slider_uses_its_curve_again(playground, toy, monkeypatch):
    adds(playground, "steer-1")
    before = playground.curves
    asked = []
    run = toy.run
    monkeypatch.setattr(toy, "run", lambda experiments: asked.append(len(experiments)) or run(experiments))
    page(playground, acts=with_value(playground.setting, "page0", "scale", 0.5)["acts"])
    assert asked == [2], "changed and control, and nothing else"
    assert playground.curves == before
    page(playground, hand="", parameter="")
    assert asked == [2], "a hand that lets go asks nothing"
    adds(playground, "scale")
    assert playground.curves[0] == before[0], "the old one stays till it is in hand again"
    playground.undo()
    assert sum(asked[1:]) == 2 + 2 * POINTS + 2, "after undo the curve is there"


def test_each_slider_has_a_curve_when_it_was_in_hand(playground):
    first, second = adds(playground, "steer-1"), adds(playground, "scale")
    assert [curve["act"] for curve in playground.curves] == [first, second]
    page(playground, hand=first, parameter="scale")
    keys = {curve["act"]: curve["key"] for curve in playground.curves}
    page(playground, acts=with_value(playground.setting, second, "factor", 1.5)["acts"])
    now = {curve["act"]: curve["key"] for curve in playground.curves}
    assert (now[first] != keys[first], now[second] == keys[second]) == (True, True)
    page(playground, acts=playground.setting["acts"][:1])
    assert [curve["act"] for curve in playground.curves] == [first]


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
            {"recipe": "patch", "texts": {"source prompt": "Rome"}, "tokens": "0, 1"},
            "got token index 1, but the prompt 'Rome'",
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


def _plain_act():
    act = {"id": "x", "recipe": "ablate", "on": True, "component": "resid_post", "layer": 1, "head": -1}
    return act | {"tokens": "last", "steps": "none", "values": {"amount": 1.0}, "texts": {}}


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


class Page:
    """Asks as a page does, and hears the answer."""

    def __init__(self, playground, monkeypatch):
        self.playground, self.heard = playground, []
        monkeypatch.setattr(playground, "send", lambda content, buffers=None: self.heard.append(content))

    def ask(self, what, **arguments):
        self.playground._handle_custom_msg({"ask": 7, "what": what, **arguments}, [])
        return self.heard[-1]


def test_a_page_asks_and_is_answered(playground, monkeypatch, toy):
    asking = Page(playground, monkeypatch)
    adds(playground, "ablate")
    assert asking.ask("undo") == {"reply": 7, "problem": ""}
    assert playground.setting["acts"] == []
    asking.ask("redo")
    assert asking.ask("keep", name="one")["id"] == "run1"
    assert asking.ask("rename", id="run1", name="two")["problem"] == ""
    assert playground.kept[0]["name"] == "two"
    code = asking.ask("export", kind="code")
    assert (code["name"], code["text"]) == ("experiment_nnsight.py", playground.to_code())
    assert nb.Experiment.from_json(asking.ask("export", kind="json")["text"]) == playground.experiment
    space = {}
    exec(asking.ask("export", kind="experiment")["text"].split("model =")[0], space)
    assert space["experiment"] == playground.experiment
    page = asking.ask("export", kind="html")
    assert (page["mime"], page["note"]) == ("text/html", "Every slider still slides.")
    assert page["text"].startswith("<!doctype html>")
    assert (
        asking.ask("export", kind="exe")["problem"]
        == "got the export 'exe'; wanted one of code, experiment, json, html."
    )
    assert asking.ask("drop", id="run1")["problem"] == ""
    assert asking.ask("drop", id="run1")["problem"].startswith("got 'run1', which is 0 of the kept runs")
    assert asking.ask("stop")["problem"] == ""


def test_a_page_completes_the_curves_of_all_sliders_before_it_exports(toy, monkeypatch):
    async def scenario():
        playground = Playground(toy, PROMPT, interventions=[ACTS["steer"], ACTS["ablate"], ACTS["scale"]])
        asking = Page(playground, monkeypatch)
        seen = []
        playground.observe(lambda change: seen.append(change["new"]), names="task")
        asking.ask("complete")
        assert playground.task["name"] == "computing the curves"
        while playground.task is not None:
            await asyncio.sleep(0)
        return playground, asking.ask("export", kind="html"), seen

    _, exported, seen = asyncio.run(scenario())
    state = json.loads(exported["text"].split('id="nbinterp-state">')[1].split("</script>")[0])
    assert {curve["key"] for curve in state["curves"]} == set(state["answer"]["curves"])
    assert len(state["curves"]) == 3
    assert exported["note"] == "Every slider still slides."
    assert len(exported["text"].encode()) < 2_000_000
    done = [(task["done"], task["total"], task["stoppable"]) for task in seen if task]
    assert done[-1] == (3 * POINTS, 3 * POINTS, True)
    assert done[1:] == sorted(done[1:])


def test_curves_that_are_stopped_are_left_out_and_said(toy, monkeypatch):
    async def scenario():
        playground = Playground(toy, PROMPT, interventions=[ACTS["steer"], ACTS["ablate"]])
        asking = Page(playground, monkeypatch)
        asking.ask("complete")
        asking.ask("stop")
        assert playground.task is None
        while not playground._inquiry.idle:
            await asyncio.sleep(0)
        return asking.ask("export", kind="html")["note"]

    assert asyncio.run(scenario()) == "Of 2 sliders 1 still slides: the others have no curve."


def test_a_curve_of_another_stack_is_not_among_the_true_ones(playground):
    first, second = adds(playground, "steer-1"), adds(playground, "scale")
    keys = {curve["act"]: curve["key"] for curve in playground.curves}
    # the first slider's curve was drawn before there was a second one
    assert set(playground.answer["curves"]) & set(keys.values()) == {keys[second]}
    page(playground, hand=first, parameter="scale")
    assert {curve["key"] for curve in playground.curves} == set(playground.answer["curves"])


def test_quotes_in_the_prompt_survive_the_export(toy):
    for prompt in ("it's '''quoted''' \\ and \"so\"", "back\\slash", "</script><img onerror=x>", "\u202eabc\n'"):
        playground = Playground(toy, prompt)
        space = {}
        exec(playground._export("experiment")["text"].split("model =")[0], space)
        assert space["experiment"] == playground.experiment
        written = playground.to_html()
        assert "</script><img onerror" not in written


def test_the_page_of_its_own_has_the_curve_of_every_slider(playground, tmp_path):
    adds(playground, "steer-1")
    adds(playground, "scale")
    playground.experiment = playground.experiment
    written = playground.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == written
    state = json.loads(written.split('id="nbinterp-state">')[1].split("</script>")[0])
    assert {(c["act"], c["parameter"]) for c in state["curves"]} == {
        (a["id"], n) for a in state["setting"]["acts"] for n in a["values"]
    }
    assert all(len(curve["values"]) == POINTS for curve in state["curves"])
    assert state["answer"]["moment"] == state["setting"]["moment"]


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


@pytest.fixture(scope="module")
def real(model):
    site = "resid_post.12"
    prompts = [PROMPT, "The capital of Italy is"]
    france, italy = (model.run(nb.Experiment(prompt, read=site)).read(site)[3] for prompt in prompts)
    italian = Direction(site, model.info, italy - france)
    playground = Playground(model, PROMPT, directions={"Italy": italian}, track=[" Paris", " Rome"])
    adds(playground, "steer-1", layer=12, tokens='" France"')
    return playground


def test_on_the_real_model_a_direction_steers_and_its_control_does_not(real):
    paris, rome = real.answer["tracked"]
    assert real.result.said() == (" Rome",)
    assert rome["changed"]["probability"] > 0.4
    assert rome["control"]["probability"] < 0.01
    assert (paris["base"]["rank"], paris["changed"]["rank"] > 1, paris["control"]["rank"]) == (1, True, 1)
    (curve,) = real.curves
    (difference,) = curve["difference"]
    assert difference["text"] == "' Paris' − ' Rome'"
    at = curve["values"].index(0.0)
    assert difference["changed"][at] == difference["control"][at] == pytest.approx(difference["base"], abs=1e-3)
    np.testing.assert_allclose(real.result.logits, real._model.run(real.experiment).logits, atol=1e-4)


@pytest.mark.slow
def test_the_code_runs_without_nbinterp_and_says_the_same(real, tmp_path):
    (tmp_path / "nbinterp.py").write_text("raise ImportError('the script must not need nbinterp')")
    (tmp_path / "script.py").write_text(real.to_code())
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert " Rome" in done.stdout
