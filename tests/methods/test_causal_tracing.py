"""Causal tracing: the same as full runs with noise at the embeddings, and exact on a circuit that is known."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.methods.causal_tracing import causal_tracing
from tests.conftest import random_module
from tests.engine.oracle import hooked, same
from tests.methods.induction import WORDS, opened

PROMPT = "".join(WORDS[i] for i in (3, 7, 1, 9, 12, 3, 7, 1))


@pytest.fixture(scope="module")
def model():
    return opened()


@pytest.fixture(scope="module")
def found(model):
    return causal_tracing(model, PROMPT, subject=WORDS[9], answer=WORDS[9], noise=15, samples=6)


def test_states_on_the_way_bring_all_of_the_answer_back_and_no_others(found):
    gain = found.base - found.blurred.mean()
    assert gain > 0.3
    wanted = {(c, layer, token): 0.0 for c in found.window for layer in (0, 1) for token in range(8)}
    wanted["resid_post", 0, 3] = wanted["resid_post", 1, 7] = wanted["attn_out", 1, 7] = gain
    effects = found.effects
    for (component, layer, token), effect in wanted.items():
        got = float(effects.sel(component=component, layer=layer, token=token))
        assert got == pytest.approx(effect, abs=0.05), (component, layer, token)
    assert "attn_out: layer 1 at ' bi' brings back most" in repr(found)
    # of the stream, where the answer lies: from block to block it moves
    assert "resid_post: most comes back in layer 0 at ' fi' (up to 1.0" in repr(found)
    assert "; layer 1 at ' bi' (up to 1.0" in repr(found)
    best = found.best(1).iloc[0]
    assert best["low"] < best["effect"] < best["high"]
    (drawn,) = found.chart().to_dict()["datasets"].values()
    assert {row["panel"] for row in drawn} == set(found.window)


def test_it_is_what_full_runs_with_noise_give(tokenizer):
    llama = nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")
    prompt, metric = "The red cat sat down", nb.logit_difference(" and", " or")
    found = causal_tracing(
        llama,
        prompt,
        subject=" cat",
        metric=metric,
        samples=2,
        window=3,
        layers=[2],
        tokens=[2, 4],
        seed=5,
        gate="ignore",
    )
    sites = ["embed", "resid_post.2", *(f"{c}.{n}" for c in ("mlp_out", "attn_out") for n in (1, 2, 3))]
    _, clean = hooked(llama, prompt, reads=sites)
    embedded = clean[nb.Site("embed")]
    assert found.scale == pytest.approx(3 * embedded.std(), rel=1e-5)
    random = np.random.default_rng(5)
    for sample in range(2):
        noisy = torch.tensor(embedded[2] + found.scale * random.normal(size=(1, 32))).float()
        blur = ("embed", [2], lambda x, noisy=noisy: noisy)
        logits, _ = hooked(llama, prompt, edits=[blur])
        same(found.blurred[sample], metric(logits, logits, llama.vocabulary))
        for component, layers in (("resid_post", [2]), ("mlp_out", [1, 2, 3]), ("attn_out", [1, 2, 3])):
            for token in (2, 4):
                back = [
                    (
                        f"{component}.{n}",
                        [token],
                        lambda x, s=f"{component}.{n}", t=token: torch.tensor(clean[nb.Site.of(s)][[t]]),
                    )
                    for n in layers
                ]
                logits, _ = hooked(llama, prompt, edits=[blur, *back])
                got = found.values.sel(sample=sample, component=component, layer=2, token=token)
                same(got, metric(logits, logits, llama.vocabulary), 1e-3)


def test_noise_that_does_no_harm_is_said(model):
    weak = causal_tracing(model, PROMPT, subject=WORDS[12], answer=WORDS[9], samples=2, noise=0.1, sites="resid_post")
    assert float(np.abs(weak.effects).max()) < 1e-3
    strong = causal_tracing(model, PROMPT, subject=WORDS[9], metric=lambda logits, base: 1.0, samples=1, layers=[1])
    assert "! the noise does the answer no harm" in repr(strong)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"answer": None}, "got answer=None and metric=None; wanted one of the two"),
        ({"noise": 0}, "got noise=0; wanted how many standard deviations, a positive number"),
        ({"samples": 0}, "got samples=0; wanted a whole number from 1 up"),
        ({"window": 3}, "got window=3; wanted how many layers at a time"),
        ({"sites": "z"}, r"got sites=\['z'\]; wanted components without heads"),
        ({"answer": WORDS[20], "gate": "refuse"}, "does not answer"),
    ],
)
def test_what_cannot_be_traced_is_refused(model, asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        causal_tracing(model, PROMPT, **({"subject": WORDS[9], "answer": WORDS[9]} | asked))
