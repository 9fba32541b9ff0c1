"""The future lens where the future is in the state, and where it is not."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.methods.future_lens import _counted, _Run
from tests.conftest import random_module


@pytest.fixture(scope="module")
def llama(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


@pytest.fixture(scope="module")
def texts():
    words = ("a", "of", "to", "and", "in", "is", "was", "for", "on", "with", "as", "by")
    random = np.random.default_rng(0)
    return ["The " + " ".join(random.choice(words, 20)) for _ in range(16)]


@pytest.fixture(scope="module")
def found(llama, texts):
    return nb.future_lens(llama, texts, layer=1, ahead=(1, 2), n_patched=5)


def test_a_random_model_knows_nothing_and_it_says_so(found):
    assert all(reason.endswith("fails.") for reason in found.reasons)
    frame = found.frame()
    assert set(frame["predictor"]) == {"linear", "shuffled", "model", "bigram", "unigram", "patched"}
    assert frame.query("predictor == 'patched'")["n"].tolist() == [5, 5]
    assert ((frame["low"] <= frame["precision"]) & (frame["precision"] <= frame["high"])).all()


def test_the_models_own_line_is_the_model(llama, found, texts):
    line = found.tokens.query("predictor == 'model' and ahead == 2 and text == 0").iloc[3]
    held_out = texts[np.random.default_rng(0).permutation(len(texts))[0]]
    seen = llama.tokens(held_out)
    # the token two after position 3 is foretold at position 4
    logits = llama.nnsight._module(torch.tensor([seen.ids])).logits[0, 4].double().log_softmax(-1)
    assert line["position"] == 3
    assert line["surprisal"] == pytest.approx(-float(logits[seen.ids[5]].detach()), rel=1e-4)


def test_where_the_end_is_a_linear_map_of_the_state_it_is_found(llama, texts):
    # one ahead, after the last layer: the state is the target
    frame = nb.future_lens(llama, texts, layer=3, ahead=[1], n_patched=0).frame().set_index("predictor")
    assert frame.loc["linear", "surprisal"] == pytest.approx(frame.loc["model", "surprisal"], rel=0.01)


def test_counts_are_those_of_the_texts():
    runs = [_Run(np.array([5, 6, 5, 7, 5, 6]), np.empty((6, 1)), np.empty((6, 1)))]
    bigram, unigram = _counted(runs, 1, 10)
    assert unigram.sum() == pytest.approx(1)
    assert unigram[5] == pytest.approx((3 + 0.3) / 9)
    assert bigram(5).sum() == pytest.approx(1)
    assert bigram(5)[6] == pytest.approx((2 + 2 * unigram[6]) / 5)
    assert bigram(9) is unigram
    after_two, _ = _counted(runs, 2, 10)
    assert after_two(6).argmax() == 7


def test_a_seed_repeats(llama, texts, found):
    again = nb.future_lens(llama, texts, layer=1, ahead=(1, 2), n_patched=5)
    assert again.frame().equals(found.frame())


def test_the_chart_has_every_predictor_with_its_interval(found):
    rules, points = found.chart().to_dict()["layer"]
    assert (rules["mark"]["type"], points["mark"]["type"]) == ("rule", "point")
    assert len(points["encoding"]["color"]["scale"]["domain"]) == 6


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (["a b c d"] * 7, {"layer": 0}, "got 7 texts"),
        ("a b c d", {"layer": 0}, "got one text"),
        (["a b"] * 8, {"layer": 0}, "to look 3 ahead in; wanted longer texts"),
        (["a b c d e"] * 8, {"layer": 4}, "has 4 layers"),
        (["a b c d e"] * 8, {"layer": 0, "ahead": [0]}, r"got ahead=\[0\]"),
        (["a b c d e"] * 8, {"layer": 0, "held_out": 1}, "got held_out=1"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_model_runs(llama, monkeypatch, texts, settings, message):
    monkeypatch.setattr(nb.Model, "run", lambda *args, **kwargs: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match=message):
        nb.future_lens(llama, texts, **settings)
