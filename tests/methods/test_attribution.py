"""Direct logit attribution against sums written out by hand; TransformerLens' own stands in `test_lenses`."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.engine.folding import pull
from nbinterp.sites import Site
from tests.conftest import random_module
from tests.engine.oracle import hooked, same

PROMPT = "The capital of France is Paris"


def raw(model, logits):
    """Logits before the soft cap."""
    logits, cap = logits.astype(np.float64), model.readout.cap
    return cap * np.arctanh(logits / cap) if cap else logits


def test_the_parts_sum_to_the_models_own_logits_after_every_token(small):
    found = nb.logit_attribution(small, PROMPT, (500, 900), tokens="all")
    _, seen = hooked(small, PROMPT, reads=["logits"])
    logits = raw(small, seen[Site.of("logits")])
    wanted = logits[:, 500] - logits[:, 900]
    assert np.abs(found.parts.sum("part").to_numpy()[0] - wanted).max() < 1e-3
    assert found.gap < 1e-3
    assert set(found.frame()["kind"]) >= {"embed", "head", "mlp"}
    assert (found.parts["kind"] == "head").sum() == small.info.n_layers * small.info.n_heads


def test_what_interventions_write_is_a_part_of_its_own(small):
    random = np.random.default_rng(0).normal(size=small.info.d_model)
    acts = [
        nb.Steer("resid_post.1", direction=random, tokens=2),
        nb.Ablate("z.2.1"),
        nb.Ablate("attn_out.3", mean=random, tokens=-1),
    ]
    found = nb.logit_attribution(small, nb.Experiment(PROMPT, acts), 500, tokens=[2, -1])
    n = len(small.tokens(PROMPT))
    edits = [
        ("resid_post.1", [2], lambda x: x + torch.tensor(random, dtype=x.dtype)),
        ("z.2.1", range(n), lambda x: 0 * x),
        ("attn_out.3", [n - 1], lambda x: 0 * x + torch.tensor(random, dtype=x.dtype)),
    ]
    _, seen = hooked(small, PROMPT, [(s, list(p), f) for s, p, f in edits], ["logits"])
    wanted = raw(small, seen[Site.of("logits")])[:, 500]
    assert np.abs(found.parts.sel(run="changed").sum("part").to_numpy() - wanted[[2, n - 1]]).max() < 1e-3
    changed = found.parts.sel(run="changed")
    assert not changed.sel(part="L2H1").any()
    written = [str(part) for part in found.parts["part"].to_numpy() if str(part).startswith("intervention")]
    assert written == ["intervention 1", "intervention 3"]
    assert not found.parts.sel(run="base", part=written).any()
    assert changed.sel(part="intervention 1").to_numpy()[1] == pytest.approx(0, abs=1e-3)


@pytest.fixture(scope="module", params=["gpt2", "gemma2", "llama"])
def grown(request, tokenizer):
    """A model whose norms and biases are not those that it starts with, which would hide where they are applied."""
    module = random_module(request.param)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
    return nb.Model.open(module, tokenizer=tokenizer, name=request.param, device="cpu")


def frozen(norm, x, part):
    """What a norm makes of a part of its input x, by the formulas of Ba et al. (2016) and Zhang & Sennrich (2019)."""
    x, part, weight = x.double(), part.double(), norm.weight.double()
    if isinstance(norm, torch.nn.LayerNorm):
        return weight * (part - part.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    gain = 1 + weight if "Gemma" in type(norm).__name__ else weight
    eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", 0))
    return gain * part / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


@torch.no_grad()
def test_each_part_is_what_it_writes_through_the_frozen_norm(grown):
    module, info = grown.nnsight._module, grown.info
    sites = [Site(c, n) for n in range(info.n_layers) for c in ("z", "mlp_out")]
    end = Site("resid_post", info.n_layers - 1)
    _, seen = hooked(grown, PROMPT, reads=[*sites, end])
    last = torch.tensor(seen[end][-1:])
    norm, head = (module.get_submodule(path) for path in grown.readout.paths)
    along = (head.weight[500] - head.weight[900]).double()
    found = nb.logit_attribution(grown, PROMPT, (500, 900))
    parts = found.parts.isel(run=0, token=0)
    block_of = module.get_submodule(info.blocks)
    for layer in range(info.n_layers):
        block = block_of[layer]
        gpt2 = info.name == "gpt2"
        projection = block.attn.c_proj if gpt2 else block.self_attn.o_proj
        weight = projection.weight.T if gpt2 else projection.weight
        z = torch.tensor(seen[Site("z", layer)][-1:])
        for n in range(info.n_heads):
            columns = slice(n * info.d_head, (n + 1) * info.d_head)
            written = z[:, columns] @ weight[:, columns].T
            if info.name == "gemma2":
                written = frozen(block.post_attention_layernorm, projection(z), written)
            wanted = float(frozen(norm, last, written)[0] @ along)
            assert float(parts.sel(part=f"L{layer}H{n}")) == pytest.approx(wanted, abs=1e-4)
        mlp = torch.tensor(seen[Site("mlp_out", layer)][-1:])
        assert float(parts.sel(part=f"MLP {layer}")) == pytest.approx(
            float(frozen(norm, last, mlp)[0] @ along), abs=1e-4
        )
        if gpt2:
            bias = float(frozen(norm, last, projection.bias[None])[0] @ along)
            assert float(parts.sel(part=f"attention bias {layer}")) == pytest.approx(bias, abs=1e-4)
    if info.name == "gpt2":
        assert float(parts.sel(part="constant")) == pytest.approx(float(norm.bias.double() @ along), abs=1e-4)


def test_metrics_pairs_and_single_tokens_ask_for_the_same_thing(grown):
    pair = nb.logit_attribution(grown, PROMPT, (" Paris", " Rome"))
    metric = nb.logit_attribution(grown, PROMPT, nb.logit_difference(" Paris", " Rome"))
    one, other = (nb.logit_attribution(grown, PROMPT, token) for token in (" Paris", nb.logit(" Rome")))
    assert pair.metric == metric.metric == "logit(' Paris') − logit(' Rome')"
    same(pair.parts.to_numpy(), metric.parts.to_numpy())
    total = one.logits.to_numpy() - other.logits.to_numpy()
    same(pair.logits.to_numpy(), total)


def test_a_list_asks_for_each_in_one_run(grown, monkeypatch):
    asked = [" Paris", (" Paris", " Rome"), 500]
    alone = [nb.logit_attribution(grown, PROMPT, token, tokens=[1, -1]) for token in asked]
    runs = []
    run = nb.Model.run
    monkeypatch.setattr(nb.Model, "run", lambda self, *args, **kwargs: runs.append(0) or run(self, *args, **kwargs))
    found = nb.logit_attribution(grown, PROMPT, asked, tokens=[1, -1])
    assert len(runs) == 1
    assert len(found) == 3
    for one, other in zip(found, alone, strict=True):
        same(one.parts.to_numpy(), other.parts.to_numpy())
        assert one.metric == other.metric
    frame = found.frame()
    assert frame.groupby("logit", sort=False).size().index.tolist() == [one.metric for one in alone]
    same(frame["base"].to_numpy(), np.concatenate([one.frame()["base"] for one in alone]))
    assert len(found.chart().to_dict()["vconcat"]) == 3
    assert "of 3 logits" in repr(found)
    with pytest.raises(ValueError, match="got no token"):
        nb.logit_attribution(grown, PROMPT, [])


def test_frame_top_and_chart_say_the_same(grown):
    found = nb.logit_attribution(grown, nb.Experiment(PROMPT, nb.Ablate("z.1.2")), (500, 900), tokens=[1, -1])
    frame = found.frame()
    assert (frame["difference"] == frame["changed"] - frame["base"]).all()
    largest = found.top(3, by="difference")
    assert abs(largest["difference"].iloc[0]) == frame["difference"].abs().max()
    drawn = found.chart(by="difference", token=0).to_dict()
    grid, bars = (drawn["datasets"][part["data"]["name"]] for part in drawn["hconcat"])
    first = frame[frame["position"] == 1]
    assert {row["part"]: row["value"] for row in grid} == pytest.approx(
        dict(zip(first["part"], first["difference"], strict=True))
    )
    assert bars[0]["value"] == pytest.approx(first.loc[first["difference"].abs().idxmax(), "difference"])
    with pytest.raises(ValueError, match="got by='x'"):
        found.top(by="x")
    with pytest.raises(IndexError, match="got token=2 of 2"):
        found.chart(token=2)


@pytest.mark.parametrize(
    ("token", "error", "message"),
    [
        (nb.kl_divergence(), ValueError, "is no sum of logits"),
        ((" Paris", " Rome", " London"), ValueError, "got 3 tokens"),
        ((" Paris", " Paris"), ValueError, "twice"),
        ("", LookupError, "empty text"),
        (-1, LookupError, "got the token id -1"),
    ],
)
def test_what_is_no_logit_is_refused(grown, token, error, message):
    with pytest.raises(error, match=message):
        nb.logit_attribution(grown, PROMPT, token)


def test_a_module_that_is_neither_linear_nor_a_norm_is_refused():
    with pytest.raises(ValueError, match="got a GELU, which is neither linear nor a norm"):
        pull([torch.nn.GELU()], torch.randn(2, 8), torch.randn(2, 8))


def test_parts_that_do_not_sum_to_the_logit_are_no_answer(grown, monkeypatch):
    toward_heads = type(grown.readout).toward_heads

    def wrong(self, layer, states, vectors):
        back, constants = toward_heads(self, layer, states, vectors)
        return 1.1 * back, constants

    monkeypatch.setattr(type(grown.readout), "toward_heads", wrong)
    with pytest.raises(ValueError, match=r"got parts of logit\(' Paris'\) that sum to"):
        nb.logit_attribution(grown, PROMPT, " Paris")


def test_on_the_demo_model_the_difference_is_that_of_a_run(model):
    found = nb.logit_attribution(model, "The capital of France is", (" Paris", " Rome"))
    result = model.run("The capital of France is")
    difference = float(result.logit_difference(" Paris", " Rome")["base"].iloc[0])
    assert float(found.parts.sum()) == pytest.approx(difference, abs=1e-3)
    assert "The parts sum to that within" in repr(found)
