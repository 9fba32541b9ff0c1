import numpy as np
import pytest
import torch

import nbinterp as nb
from tests.conftest import random_module
from tests.engine.oracle import hooked

TEXTS = ["The cat sat on the mat.", "Water boils at one hundred degrees", "Paris is"]


# one with a soft cap on its logits, one with biases and learnt positions
@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def small(request, tokenizer):
    return nb.Model.open(random_module(request.param), tokenizer=tokenizer, name=request.param, device="cpu")


def loss_of(model, text, edits=()):
    """What PyTorch's own cross entropy makes of the bare module's logits."""
    _, seen = hooked(model, text, edits, reads=["logits"])
    logits = torch.tensor(next(iter(seen.values())))
    return float(torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(model.tokens(text).ids[1:])))


def test_it_is_the_cross_entropy_of_the_bare_model(small):
    push = torch.randn(32, generator=torch.Generator().manual_seed(0)) * 3
    act = nb.Steer("resid_post.1", direction=push.numpy(), scale=2)
    found = nb.perplexity(small, TEXTS, interventions=[act])
    frame = found.frame()
    assert frame["text"].tolist() == TEXTS
    assert frame["n_tokens"].tolist() == [len(small.tokens(text)) - 1 for text in TEXTS]
    np.testing.assert_allclose(frame["base"], [loss_of(small, text) for text in TEXTS], rtol=2e-4)
    edits = [("resid_post.1", slice(None), lambda x: x + 2 * push)]
    np.testing.assert_allclose(frame["loss"], [loss_of(small, text, edits) for text in TEXTS], rtol=2e-4)
    weights = frame["n_tokens"] / frame["n_tokens"].sum()
    assert found.value == pytest.approx(np.exp(weights @ frame["loss"]))
    assert found.ratio == pytest.approx(np.exp(weights @ (frame["loss"] - frame["base"])))
    assert f"under Steer at resid_post.1: {found.value:.4g}" in repr(found)


def test_without_interventions_nothing_is_changed(small):
    found = nb.perplexity(small, TEXTS)
    assert found.value == found.base
    assert repr(found).splitlines() == [
        f"Perplexity of 3 texts, {found.frame()['n_tokens'].sum()} tokens on {small.info}: {found.base:.4g} untouched"
    ]


def test_little_memory_gives_the_same(small):
    act = nb.Ablate("attn_out.2")
    wanted = nb.perplexity(small, TEXTS, interventions=act).frame()
    bound = small.memory_bound
    try:
        small.memory_bound = 1
        tight = nb.perplexity(small, TEXTS, interventions=act).frame()
    finally:
        small.memory_bound = bound
    np.testing.assert_allclose(tight["loss"], wanted["loss"], rtol=1e-4)


def test_it_can_be_cancelled(small):
    with pytest.raises(KeyboardInterrupt):
        nb.perplexity(small, TEXTS, cancel=lambda: True)


@pytest.mark.parametrize(
    ("texts", "act", "message"),
    [
        ("The cat", (), r"^got texts='The cat'; wanted a list of at least one text\.$"),
        ([], (), r"^got texts=\[\]; wanted a list of at least one text\.$"),
        (["The cat", "The"], (), r"^got the text 'The', which is a single token, so that nothing in it is predicted"),
        (
            ["The cat"],
            nb.Ablate("logits"),
            r"^got Ablate at logits, behind the last block, where perplexity is not measured",
        ),
        (["The cat"], nb.Ablate("resid_post.9"), r"^got layer 9 in 'resid_post\.9'"),
    ],
)
def test_bad_input_is_refused_before_the_model_runs(small, texts, act, message, monkeypatch):
    monkeypatch.setattr(nb.Model, "run", lambda *args, **kwargs: pytest.fail("the model was run"))
    with pytest.raises(ValueError, match=message):
        nb.perplexity(small, texts, interventions=act)
