"""The behaviour gate: what a model does on clean and corrupted prompts, and what is said where it does nothing."""

import warnings

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.methods.behaviour import BehaviourMissing, BehaviourWarning, behaviour
from tests.methods.induction import WORDS, opened


@pytest.fixture(scope="module")
def model():
    return opened()


def text(*ids):
    return "".join(WORDS[i] for i in ids)


CLEAN = text(3, 7, 1, 9, 12, 3, 7, 1)  # after the second 1 comes 9
CORRUPTED = text(3, 7, 1, 20, 12, 3, 7, 1)
METRIC = nb.logit_difference(WORDS[9], WORDS[20])


def test_what_the_model_does_is_there(model):
    found = behaviour(model, CLEAN, CORRUPTED, metric=METRIC)
    clean = model.run(CLEAN).logit_difference(WORDS[9], WORDS[20])["base"][0]
    assert found.clean == pytest.approx([clean])
    assert found.clean[0] > 10
    assert found.corrupted[0] < -10
    assert found.accuracy == 1
    assert found.is_there
    assert found.margin == pytest.approx(found.clean[0] - found.corrupted[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.require() is found
    assert "accuracy 100%" in repr(found)
    assert repr(found).endswith("; there")


def test_what_the_model_does_not_do_is_warned_of_refused_or_let_pass(model):
    wrong = behaviour(model, CORRUPTED, CLEAN, metric=METRIC)
    assert wrong.accuracy == 0
    assert not wrong.is_there
    assert [reason.split(" ", 2)[1] for reason in wrong.reasons] == ["model", "corrupted"]
    with pytest.warns(
        BehaviourWarning, match="answers 0% of the clean prompts as it should, and 75% were wanted; the corrupted"
    ):
        wrong.require()
    with pytest.raises(BehaviourMissing, match="or say gate='ignore'"):
        wrong.require("refuse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrong.require("ignore")
    with pytest.raises(ValueError, match="got gate='no'; wanted 'warn', 'refuse' or 'ignore'"):
        wrong.require("no")


@pytest.mark.parametrize(
    ("metric", "clean", "accuracy"),
    [
        (nb.probability(WORDS[9]), 1, 1),
        (nb.rank(WORDS[9]), 0, 1),
        (nb.rank(WORDS[20]), None, 0),
        (nb.kl_divergence(), 0, np.nan),
        (lambda logits, base: float(logits[9]), None, np.nan),
    ],
)
def test_each_metric_knows_better_from_worse(model, metric, clean, accuracy):
    found = behaviour(model, CLEAN, CORRUPTED, metric=metric)
    if clean is not None:
        assert found.clean[0] == pytest.approx(clean, abs=1e-3)
    np.testing.assert_equal(found.accuracy, float(accuracy))
    # of a token that should not be said, the corrupted prompt does better
    assert (found.margin > 0) == (metric != nb.rank(WORDS[20]))


def test_many_pairs_are_measured_as_one_by_one(model):
    pairs = [
        (text(3, 7, 1, a, 12, 3, 7, 1), text(3, 7, 1, b, 12, 3, 7, 1)) for a in range(13, 22) for b in range(22, 30)
    ]
    clean, corrupted = map(list, zip(*pairs, strict=True))
    found = behaviour(model, clean, corrupted, metric=nb.logit(WORDS[13]))
    one = behaviour(model, clean[-1], corrupted[-1], metric=nb.logit(WORDS[13]))
    assert len(found.clean) == 72
    assert (found.clean[-1], found.corrupted[-1]) == pytest.approx((one.clean[0], one.corrupted[0]), abs=1e-5)
    frame = found.frame()
    assert frame["clean_prompt"].tolist() == clean
    assert frame["answered"].tolist() == [a == 13 for a in range(13, 22) for _ in range(8)]


def test_an_unknown_token_is_refused_before_the_model_runs(model):
    with pytest.raises(LookupError, match="' Paris', which is not a single token"):
        behaviour(model, CLEAN, CORRUPTED, metric=nb.logit(" Paris"))


def test_prompts_are_no_markup(model):
    shown = behaviour(model, "<script>" + CLEAN, CORRUPTED + WORDS[0], metric=METRIC)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
