"""Edges: cut ones carry what the corrupted run has, on every family; scores are the slopes of cutting, by another's arithmetic."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.engine import edges as engine
from nbinterp.engine.reading import matrix
from nbinterp.wiring import Wiring
from tests.conftest import FAMILIES, random_module

CLEAN = ("The capital of France is", "The king of Norway is")
CORRUPTED = ("The capital of Italy is", "A queen of Spain was")
METRIC = nb.logit_difference(" Paris", " Rome")
NORMED_AFTER = {"gemma2", "gemma3"}
PARALLEL = {"falcon_7b", "falcon_40b", "gpt_neox", "phi"}


@pytest.fixture(scope="module", params=sorted(set(FAMILIES) - NORMED_AFTER))
def exact(request, tokenizer):
    """Each family in float64."""
    module = random_module(request.param).double()
    return nb.Model.open(module, tokenizer=tokenizer, name=request.param, device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def llama(tokenizer):
    module = random_module("llama").double()
    return nb.Model.open(module, tokenizer=tokenizer, name="llama", device="cpu", dtype="float64")


def pairs(model):
    return [model.tokens(p) for p in CLEAN], [model.tokens(p) for p in CORRUPTED]


def said(model, circuits):
    """The logits of some circuits: ``[circuit, pair, n_vocab]``."""
    found = np.full((len(circuits), len(CLEAN), len(model.vocabulary)), np.nan, dtype=np.float32)
    for some, batch, logits in model.edges.run(*pairs(model), circuits):
        found[np.ix_(some, batch)] = logits
    return found


def scores(model, steps, metric=METRIC):
    return sum(part for _, part in model.edges.attribute(*pairs(model), [metric] * len(CLEAN), steps))


def some_edges(wiring, share, seed=0):
    return wiring.edges & (np.random.default_rng(seed).random(wiring.edges.shape) < share)


def test_with_all_edges_it_is_the_clean_run_and_with_none_the_corrupted_one(exact):
    wiring = exact.edges.wiring
    clean, corrupted = (np.stack([exact.run(p).logits[0] for p in prompts]) for prompts in (CLEAN, CORRUPTED))
    half = some_edges(wiring, 0.5)
    whole, nothing, kept, alive = said(exact, [wiring.edges, np.zeros_like(half), half, wiring.alive(half)])
    np.testing.assert_allclose(whole, clean, atol=1e-5)
    np.testing.assert_allclose(nothing, corrupted, atol=1e-5)
    # dead ends change nothing
    np.testing.assert_allclose(kept, alive, atol=1e-5)
    assert np.abs(clean - corrupted).max() > 1
    assert np.abs(kept - clean).max() > 0.1


def test_scores_are_the_slopes_of_cutting_each_edge_a_little(exact):
    wiring, step = exact.edges.wiring, 1e-3
    found = scores(exact, 1)
    assert not found[~wiring.edges].any()
    chosen = np.random.default_rng(1).permutation(np.argwhere(wiring.edges))[:12]
    cut = np.zeros((2 * len(chosen), *wiring.edges.shape))
    for i, place in enumerate(chosen):
        cut[(2 * i, *place)], cut[(2 * i + 1, *place)] = step, -step
    clean, corrupted = pairs(exact)
    logits = engine._Ablation(exact.edges, torch.tensor(cut), exact.edges._untouched(corrupted)).run(clean)
    a, b = METRIC.ids(exact.vocabulary)
    metric = (logits[..., a].astype(float) - logits[..., b]).sum(axis=1).reshape(-1, 2)
    slopes = (metric[:, 1] - metric[:, 0]) / (2 * step)
    # logits come back in float32: their rounding, over twice the step, is some 1e-4
    np.testing.assert_allclose([found[tuple(place)] for place in chosen], slopes, atol=2e-3, rtol=2e-2)


def test_an_mlp_beside_its_attention_reads_what_that_reads(exact):
    assert exact.edges.wiring.parallel == (exact.info.name in PARALLEL)


class ByHand:
    """A Llama written anew, each receiver's input put together edge by edge; nothing of it is shared with the engine.

    An edge with a cut of 1 carries what the node has in the corrupted run, or, with a fixed `difference`, that much less.
    """

    def __init__(self, model):
        self.module, self.info, self.wiring = model.nnsight._module, model.info, model.edges.wiring

    def __call__(self, embeddings, cut, corrupted=None, difference=None):
        core, info = self.module.model, self.info
        positions = torch.arange(embeddings.shape[1])[None]
        cosine, sine = core.rotary_emb(embeddings, positions)
        written, receivers = [embeddings], iter(cut)

        def received():
            row, total = next(receivers), 0
            for node, value in enumerate(written):
                change = -difference[node] if difference is not None else corrupted[node] - value
                total = total + value + row[node] * change
            return total

        def head(weight, h):
            return weight[h * info.d_head : (h + 1) * info.d_head].T

        def turned(x):
            half = info.d_head // 2
            return x * cosine + torch.cat([-x[..., half:], x[..., :half]], -1) * sine

        for block in core.layers:
            attention = block.self_attn
            q = [
                turned(block.input_layernorm(received()) @ head(attention.q_proj.weight, h))
                for h in range(info.n_heads)
            ]
            k, v = (
                [block.input_layernorm(received()) @ head(p.weight, g) for g in range(info.n_kv_heads)]
                for p in (attention.k_proj, attention.v_proj)
            )
            heads = []
            for h in range(info.n_heads):
                g = h * info.n_kv_heads // info.n_heads
                scores = q[h] @ turned(k[g]).transpose(1, 2) / info.d_head**0.5
                future = torch.ones(scores.shape[1:], dtype=bool).triu(1)
                pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
                heads.append(pattern @ v[g] @ attention.o_proj.weight[:, h * info.d_head : (h + 1) * info.d_head].T)
            written.extend(heads)
            written.append(block.mlp(block.post_attention_layernorm(received())))
        return self.module.lm_head(core.norm(received()))[:, -1], written

    def embeddings(self, prompts):
        return self.module.model.embed_tokens(torch.tensor([prompt.ids for prompt in prompts]))


def test_circuits_say_what_a_llama_by_hand_says(llama):
    hand, wiring = ByHand(llama), llama.edges.wiring
    clean, corrupted = map(hand.embeddings, pairs(llama))
    circuits = [some_edges(wiring, share, seed) for seed, share in enumerate((0.1, 0.5, 0.9))]
    with torch.no_grad():
        _, theirs = hand(corrupted, torch.zeros(wiring.edges.shape, dtype=torch.float64), [0] * len(wiring.nodes))
        wanted = [hand(clean, torch.tensor(~circuit).double(), theirs)[0] for circuit in circuits]
    np.testing.assert_allclose(said(llama, circuits), torch.stack(wanted).numpy(), atol=1e-5)


@pytest.mark.parametrize("steps", [1, 5])
def test_scores_are_those_of_a_llama_by_hand(llama, steps):
    """By automatic differentiation with respect to how far each edge is cut."""
    hand, shape = ByHand(llama), llama.edges.wiring.edges.shape
    clean, corrupted = map(hand.embeddings, pairs(llama))
    none = torch.zeros(shape, dtype=torch.float64)
    a, b = METRIC.ids(llama.vocabulary)
    with torch.no_grad():
        ours, theirs = (hand(x, none, [0] * shape[1])[1] for x in (clean, corrupted))
    difference = [x - y for x, y in zip(ours, theirs, strict=True)]
    wanted = 0
    for k in range(1, steps + 1):
        cut = none.clone().requires_grad_()
        logits, _ = hand(corrupted + k / steps * (clean - corrupted), cut, difference=difference)
        (slope,) = torch.autograd.grad((logits[:, a] - logits[:, b]).sum(), cut)
        wanted = wanted - slope.numpy() / steps
    found = scores(llama, steps)
    # a norm of transformers computes in float32
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max(), rtol=1e-4)
    assert (np.abs(found) > 1e-6).sum() > llama.edges.wiring.edges.sum() / 2


def test_batches_stay_below_the_bound_and_give_the_same(llama, monkeypatch):
    wiring, rows = llama.edges.wiring, []
    circuits = [some_edges(wiring, 0.5, seed) for seed in range(3)]
    before, whole, bound = scores(llama, 2), said(llama, circuits), llama.memory_bound
    backward, run = engine.backward, engine._Ablation.run
    monkeypatch.setattr(engine, "backward", lambda *a, **k: rows.append(len(a[1])) or backward(*a, **k))
    monkeypatch.setattr(
        engine._Ablation, "run", lambda self, prompts: rows.append(self.n_circuits * len(prompts)) or run(self, prompts)
    )
    try:
        llama.memory_bound = 1
        np.testing.assert_allclose(scores(llama, 2), before, atol=1e-9)
        np.testing.assert_allclose(said(llama, circuits), whole, atol=1e-6)
    finally:
        llama.memory_bound = bound
    assert set(rows) == {1}


def test_a_divergence_compares_with_the_clean_run(llama):
    assert np.abs(scores(llama, 1, nb.kl_divergence())).max() < 1e-6  # flat at the clean run itself
    assert np.abs(scores(llama, 4, nb.kl_divergence())).max() > 1e-3


@pytest.mark.parametrize("family", sorted(NORMED_AFTER))
def test_heads_whose_sum_is_normed_have_no_edges(family, tokenizer):
    model = nb.Model.open(random_module(family), tokenizer=tokenizer, name=family, device="cpu")
    with pytest.raises(ValueError, match="no head has an output of its own"):
        _ = model.edges


def test_weights_that_are_no_plain_matrix_are_refused():
    class Packed(torch.nn.Linear):
        pass

    packed = Packed(4, 4)
    packed.weight = torch.nn.Parameter(torch.zeros(8, 1))
    with pytest.raises(ValueError, match="Packed of weights"):
        matrix(packed)


def test_the_graph_is_that_of_the_model(exact):
    info = exact.info
    assert exact.edges.wiring == Wiring(info.n_layers, info.n_heads, info.n_kv_heads, info.name in PARALLEL)
