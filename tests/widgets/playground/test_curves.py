"""The curve of each slider: what the model says at each of its values, and no curve of another stack."""

from __future__ import annotations

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.widgets.playground.controls import control_of
from nbinterp.widgets.playground.curves import POINTS
from nbinterp.widgets.playground.setting import with_value

from .page import PROMPT, adds, page
from .test_controls import DIRECTION


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


def test_a_curve_of_another_stack_is_not_among_the_true_ones(playground):
    first, second = adds(playground, "steer-1"), adds(playground, "scale")
    keys = {curve["act"]: curve["key"] for curve in playground.curves}
    # the first slider's curve was drawn before there was a second one
    assert set(playground.answer["curves"]) & set(keys.values()) == {keys[second]}
    page(playground, hand=first, parameter="scale")
    assert {curve["key"] for curve in playground.curves} == set(playground.answer["curves"])
