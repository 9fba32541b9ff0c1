"""Attention knock-out: the edges of a known circuit, the same as a mask of −∞, and never without its controls."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.methods.behaviour import BehaviourMissing, BehaviourWarning
from nbinterp.methods.knock_out import knock_out
from tests.conftest import random_module
from tests.engine.oracle import same
from tests.methods.induction import INDUCTION, PREVIOUS, WORDS, opened

PROMPT = "".join(WORDS[i] for i in (3, 7, 1, 9, 12, 3, 7, 1))
ANSWER = nb.probability(WORDS[9])
EDGES = {"answer": (-1, WORDS[9]), "cue": (3, 2), "elsewhere": (-1, 5)}


@pytest.fixture(scope="module")
def model():
    return opened()


def test_the_edges_of_the_circuit_carry_the_answer_and_no_others(model):
    found = knock_out(model, PROMPT, EDGES, metric=ANSWER, by_head=True)
    lost = found.base - found.values
    wanted = np.zeros((3, 2, 6))
    wanted[0, 1, int(INDUCTION[-1])] = 1  # the last token reads the answer
    wanted[1, 0, int(PREVIOUS[-1])] = 1  # after the answer's own token has read the cue
    np.testing.assert_allclose(lost, wanted, atol=0.1)
    assert np.abs(lost.to_numpy()[wanted == 0]).max() < 1e-6
    assert "answer: at most -0.995 (to 0.00471), around layer 1 head 2" in repr(found)
    # as many other edges of the same queries, and the first token alone, carry nothing here
    assert float(np.abs(found.control - found.base).max()) < 1e-3
    assert float(np.abs(found.first - found.base).max()) < 1e-3
    assert found.frame().columns.tolist() == [
        "edges", "layer", "head", "value", "base", "change", "share", "control_low", "control_high", "first_token",
    ]  # fmt: skip


def test_the_weight_that_is_cut_goes_to_the_others_or_to_nobody(model):
    gone = knock_out(model, PROMPT, (-1, 3), metric=nb.logit(WORDS[9]), layers=[1], gate="ignore")
    zero = knock_out(model, PROMPT, (-1, 3), metric=nb.logit(WORDS[9]), layers=[1], renormalised=False, gate="ignore")
    # nothing else is written: the head says nothing, and all words are as likely
    other = knock_out(model, PROMPT, (-1, 3), metric=nb.logit(WORDS[20]), layers=[1], renormalised=False, gate="ignore")
    assert float(zero.values.squeeze()) == pytest.approx(float(other.values.squeeze()), abs=1e-4)
    assert float(gone.values.squeeze()) < 1e-3


def test_over_all_layers_it_is_a_mask_of_minus_infinity(tokenizer):
    llama = nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")
    prompt, metric = "The red cat sat down on the mat", nb.logit_difference(" and", " or")
    found = knock_out(llama, prompt, ([5, 6], [1, 2]), metric=metric, window=4, layers=[1], gate="ignore", control=1)
    ids = torch.tensor([llama.tokens(prompt).ids])
    n = ids.shape[1]
    mask = torch.full((n, n), -torch.inf).triu(1)
    mask[5:7, 1:3] = -torch.inf
    module = llama.nnsight._module
    with torch.no_grad():
        logits = module(ids, attention_mask=mask[None, None], use_cache=False).logits[0, -1].numpy()
    same(found.values.squeeze(), metric(logits, logits, llama.vocabulary))


def test_random_keys_are_as_many_seen_and_neither_the_first_nor_the_cut_ones(model, monkeypatch):
    asked = []
    sweep = nb.Model.sweep

    def spied(self, start, make, **kwargs):
        asked.append(make(edges=next(iter(kwargs["edges"])), layer=1)[0].keys.indices)
        return sweep(self, start, make, **kwargs)

    monkeypatch.setattr(nb.Model, "sweep", spied)
    knock_out(model, PROMPT, (-1, [2, 3]), metric=ANSWER, control=6)
    cut, first, *others = asked
    assert (cut, first) == ((2, 3), (0,))
    assert len(set(others)) > 1
    for keys in others:
        assert len(keys) == 2
        assert set(keys) <= {1, 4, 5, 6}


def test_where_no_other_keys_are_left_there_is_no_control(model):
    found = knock_out(model, PROMPT, ([1], [0, 1]), metric=ANSWER)
    assert np.isnan(found.control).all()
    assert np.isnan(found.first).all()
    assert "there as many other edges none to compare, the first token alone none" in repr(found)
    assert found.chart().to_dict()


def test_windows_end_with_the_model(model):
    found = knock_out(model, PROMPT, EDGES, metric=ANSWER, window=2)
    np.testing.assert_allclose(
        found.values.sel(edges="answer", layer=0), found.values.sel(edges="answer", layer=1), atol=1e-6
    )
    assert len(found.chart().to_dict()["vconcat"]) == 3


def test_an_answer_that_is_not_given_is_warned_of_or_refused(model):
    with pytest.warns(BehaviourWarning, match="does not answer .* as probability.* its likeliest token is ' fi'"):
        knock_out(model, PROMPT, (-1, 3), metric=nb.probability(WORDS[20]), layers=[1], control=1)
    with pytest.raises(BehaviourMissing, match="or say gate='ignore'"):
        knock_out(model, PROMPT, (-1, 3), metric=nb.probability(WORDS[20]), gate="refuse")


@pytest.mark.parametrize(
    ("edges", "kwargs", "sentence"),
    [
        (
            (2, 5),
            {},
            "got edges from ' bi' to ' bu'; wanted a key at or before a query: tokens see nothing behind them",
        ),
        ({}, {}, "got no edges; wanted"),
        ((-1, 3), {"window": 3}, "got window=3; wanted how many layers at a time, from 1 to 2"),
        ((-1, 3), {"control": 0}, "got control=0; wanted a whole number from 1 up"),
    ],
)
def test_what_cannot_be_cut_is_refused(model, edges, kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        knock_out(model, PROMPT, edges, metric=ANSWER, **kwargs)


def test_edges_that_are_no_pair_are_refused(model):
    with pytest.raises(TypeError, match=r"got edges 3; wanted a tuple \(queries, keys\)"):
        knock_out(model, PROMPT, 3, metric=ANSWER)
