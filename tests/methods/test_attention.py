"""Attention: patterns as the model computes them, weighted as the paper says, changed under interventions, and never too large."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.methods.attention import attention
from tests.conftest import random_module
from tests.engine.oracle import same
from tests.methods.induction import INDUCTION, PREVIOUS, WORDS, opened

PROMPT = "".join(WORDS[i] for i in (3, 7, 1, 9, 12, 3, 7, 1))


@pytest.fixture(scope="module")
def model():
    return opened()


@pytest.fixture(scope="module")
def llama(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


def test_patterns_and_what_is_written_are_the_models_own(llama):
    found = attention(llama, "The red cat sat down", layers=[3, 1], values=True)
    module = llama.nnsight._module
    module.set_attn_implementation("eager")
    values = {}
    hooks = [
        module.model.layers[n].self_attn.v_proj.register_forward_hook(lambda _, a, out, n=n: values.update({n: out[0]}))
        for n in (1, 3)
    ]
    with torch.no_grad():
        ids = torch.tensor([llama.tokens("The red cat sat down").ids])
        patterns = module(ids, output_attentions=True, use_cache=False).attentions
    module.set_attn_implementation("sdpa")
    for hook in hooks:
        hook.remove()
    assert found.pattern["layer"].to_numpy().tolist() == [3, 1]
    for n in (1, 3):
        same(found.pattern.sel(layer=n), patterns[n][0])
        weight = module.model.layers[n].self_attn.o_proj.weight.detach()
        for head in range(4):
            shared = values[n][:, 8 * (head // 2) : 8 * (head // 2) + 8]  # two heads read the same values
            norms = (shared @ weight[:, 8 * head : 8 * head + 8].T).norm(dim=-1)
            same(found.weighted.sel(layer=n, head=head), patterns[n][0, head] * norms)


def test_several_prompts_are_each_as_they_are_alone(llama):
    acting = nb.Experiment("The red cat sat down", nb.Ablate("z.0.1"))
    found = attention(llama, ["The red cat sat down", acting, "A dog"], layers=[2, 0], values=True)
    assert len(found) == 3
    for one, prompt in zip(found, ["The red cat sat down", acting, "A dog"], strict=True):
        alone = attention(llama, prompt, layers=[2, 0], values=True)
        same(one.pattern, alone.pattern)
        same(one.weighted, alone.weighted)
        assert (one.base is None) == (alone.base is None)
        assert one.prompt == alone.prompt
    weights = found.weight(-1, [0, 1])
    assert weights.dims == ("prompt", "layer", "head")
    same(weights[0], found[0].pattern.to_numpy()[:, :, -1, :2].sum(-1))
    same(weights[2], found[2].pattern.to_numpy()[:, :, -1, :2].sum(-1))
    # where tokens stand may differ from prompt to prompt
    cat = found[0].weight(lambda p: [len(p) - 1, len(p) - 2], " cat")
    same(cat, found[0].pattern.to_numpy()[:, :, -2:, 2].mean(-1))
    frame = found.frame(least=0)
    assert frame.groupby("prompt").size().tolist() == [2 * 4 * n * (n + 1) // 2 for n in (5, 5, 2)]
    assert "in 3 prompts" in repr(found)
    assert " and 2 more" in repr(found)
    with pytest.raises(ValueError, match="got prompts of 2 to 5 tokens to draw as one"):
        found.chart(2, 1)
    drawn = nb.Attentions((*found.each[:1], attention(llama, "The old cat sat down", layers=[2, 0]))).chart(2, 1)
    (rows,) = drawn.to_dict()["datasets"].values()
    assert {row["key"] for row in rows} >= {"0: The", "1: …", "2:  cat"}


def test_a_list_of_no_prompts_and_a_chat_in_messages(llama):
    with pytest.raises(ValueError, match="got no prompt"):
        attention(llama, [])
    with pytest.raises(ValueError, match="wanted one: give a list of experiments"):
        attention(llama, nb.Experiment(["a", "b"]))
    chat = [{"role": "user", "content": "Hello"}]
    same(attention(llama, chat, layers=[0]).pattern, attention(llama, nb.Chat(chat), layers=[0]).pattern)


def test_what_each_head_writes_sums_to_what_attention_writes(small):
    prompt = "The red cat sat down"
    if (
        {"z", "attn_out"} - small.info.anatomy.places.keys()
        or "gemma2" in small.info.name
        or "gemma3" in small.info.name
    ):
        pytest.skip("a norm stands behind its output projection")
    read = small.run(nb.Experiment(prompt, read=["z.1", "attn_out.1"]))
    heads = small.head_outputs(1, read.read("z.1"))
    nothing = small.run(nb.Experiment(prompt, nb.Ablate("z.1"), read="attn_out.1")).read("attn_out.1")
    same(heads.sum(1) + nothing, read.read("attn_out.1"))


def test_the_known_heads_look_where_they_must(model):
    found = attention(model, PROMPT, values=True)
    previous = found.pattern.sel(layer=0, head=int(PREVIOUS[-1])).to_numpy()
    np.testing.assert_allclose(np.diag(previous, -1), 1, atol=1e-6)
    induction = found.pattern.sel(layer=1, head=int(INDUCTION[-1])).to_numpy()
    np.testing.assert_allclose([induction[5, 1], induction[6, 2], induction[7, 3]], 1, atol=1e-6)
    # it writes a word as a pair (1, −1), all others write nothing
    norms = found.values.sel(layer=1).to_numpy()
    np.testing.assert_allclose(norms[int(INDUCTION[-1])], np.sqrt(2), rtol=1e-5)
    assert np.abs(np.delete(norms, int(INDUCTION[-1]), axis=0)).max() == 0


def test_under_interventions_both_patterns_are_there(model):
    found = attention(model, nb.Experiment(PROMPT, nb.Ablate(PREVIOUS)), layers=[1])
    assert found.base.sel(layer=1, head=2, query=7, key=3) > 0.99
    assert found.pattern.sel(layer=1, head=2, query=7, key=3) < 0.2
    frame = found.frame(least=0.5)
    line = frame[(frame["head"] == 2) & (frame["query"] == 7) & (frame["key"] == 3)].iloc[0]
    assert (line["query_text"], line["key_text"]) == (" bi", " fi")
    assert line["difference"] == pytest.approx(line["weight"] - line["base"])
    assert "heads 1.2 (" in repr(found)
    values = found.chart(1, 2).to_dict()["datasets"].popitem()[1]
    assert min(cell["value"] for cell in values) < -0.8


def test_patterns_beyond_the_bound_are_refused_before_the_model_runs(model, monkeypatch):
    text = "".join(WORDS[:20])
    one = 4 * 6 * 20**2
    before = model.memory_bound
    try:
        model.memory_bound = one
        with pytest.raises(
            ValueError,
            match="2 layers of 6 heads over 20 tokens to read, 0.0 MB of patterns; .*: ask for 1 layers at most",
        ):
            attention(model, text)
        model.memory_bound = one - 1
        with pytest.raises(ValueError, match="raise model.memory_bound, or shorten the prompt"):
            attention(model, text, layers=[0])
    finally:
        model.memory_bound = before


def test_read_in_parts_it_is_the_same(model):
    whole = attention(model, PROMPT, values=True)
    before = model.memory_bound
    try:
        model.memory_bound = 3 * 4 * 6 * 8**2
        parts = attention(model, PROMPT, values=True)
    finally:
        model.memory_bound = before
    np.testing.assert_array_equal(parts.pattern, whole.pattern)
    np.testing.assert_array_equal(parts.values, whole.values)


def test_what_cannot_be_shown_says_so(model):
    found = attention(model, PROMPT, layers=[1])
    with pytest.raises(
        LookupError, match=r"got head 0.2, which was not read; there are layers \[1\] with heads 0 to 5"
    ):
        found.chart(0, 2)
    with pytest.raises(ValueError, match="ask for them: nb.attention"):
        found.weighted.sum()
    with pytest.raises(ValueError, match="got 0 tokens to draw; a chart holds 1 to 140 a side"):
        found.chart(1, 2, tokens=slice(9, None))
    with pytest.raises(ValueError, match="got an experiment with 2 prompts; wanted one"):
        attention(model, nb.Experiment([PROMPT, PROMPT + WORDS[0]]))
