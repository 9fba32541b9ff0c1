"""Gradients are those of the metric: against finite differences on every family, and the model is left as it was."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.engine import gradients as engine
from nbinterp.metrics import Metric
from tests.conftest import FAMILIES, FEW_TOKENS, random_module
from tests.engine.oracle import same

PROMPT, OTHER = "The capital of France is", "The capital of Italy is"
COMPONENTS = ("resid_pre", "q", "k", "v", "z", "attn_out", "resid_mid", "mlp_post", "mlp_out", "resid_post")
STEP = 1e-3


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def exact(request, tokenizer):
    """Each family in float64, so that differences can be small."""
    module = random_module(request.param).double()
    return nb.Model.open(module, tokenizer=tokenizer, name=request.param, device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def llama(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


def test_gradients_are_the_slopes_of_finite_differences(exact):
    metric = nb.log_probability(" Rome")
    known = exact.info.anatomy.places
    sites = ["embed", *(f"{name}.1" for name in COMPONENTS if name in known), "z.2.3", "logits"]
    found = exact.gradients(PROMPT, metric=metric, sites=sites)
    random, tried = np.random.default_rng(0), 0
    for site, slope in found.gradients.items():
        flat = slope.reshape(len(slope), -1)
        # the token at which most follows; of the last block's or the logits' others nothing does
        token = int(np.abs(flat).sum(axis=1).argmax())
        way = random.normal(size=flat.shape[1])
        way /= np.linalg.norm(way)
        ends = exact.run(
            [nb.Experiment(PROMPT, [nb.Steer(site, direction=way, scale=s, tokens=token)]) for s in (STEP, -STEP)]
        )
        above, below = (float(metric(end.logits[0], end.logits[0], exact.vocabulary)) for end in ends)
        # logits come back in float32: their rounding, over twice the step, is some 1e-4
        np.testing.assert_allclose(flat[token] @ way, (above - below) / (2 * STEP), atol=1e-3, rtol=1e-2)
        tried += 1
    assert tried == len(sites)


def test_the_slope_of_the_attention_pattern(small):
    if "pattern" not in small.info.anatomy.places:
        pytest.skip(small.info.anatomy.lacking["pattern"])
    metric, step = nb.logit_difference(" Paris", " Rome"), 1e-2
    found = small.gradients(PROMPT, metric=metric, sites="pattern.2")
    (pattern,), (slope,) = found.activations.values(), found.gradients.values()
    assert slope.shape == pattern.shape == (4, 5, 5)
    ways = step * np.eye(5)[[0, 0]] * [[1], [-1]]
    experiments = [
        nb.Experiment(PROMPT, [nb.Patch("pattern.2.1", source=pattern[1, -1] + way, tokens=-1)]) for way in ways
    ]
    above, below = (float(metric(run.logits[0], run.logits[0], small.vocabulary)) for run in small.run(experiments))
    np.testing.assert_allclose(slope[1, -1, 0], (above - below) / (2 * step), atol=2e-3, rtol=2e-2)


def test_activations_and_values_are_those_of_a_run(small):
    known = [name for name in COMPONENTS if name in small.info.anatomy.places]
    sites = [f"{name}.2" for name in known]
    found = small.gradients([nb.Experiment(PROMPT), nb.Experiment(OTHER)], metric=nb.entropy(), sites=sites)
    for one, run in zip(found, small.run([nb.Experiment(p, read=sites) for p in (PROMPT, OTHER)]), strict=True):
        for site in sites:
            same(one.activations[nb.Site.of(site)], run.read(site))
        same(one.logits, run.logits[0])
        assert one.value == pytest.approx(float(nb.entropy()(run.logits[0], run.logits[0], small.vocabulary)), abs=1e-3)
        assert not any(array.flags.writeable for array in (*one.gradients.values(), *one.activations.values()))


def test_the_model_is_left_as_it_was(llama):
    module = llama.nnsight._module
    chosen = [p for i, p in enumerate(module.parameters()) if i % 3 == 0]
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_()
    try:
        before = [p.requires_grad for p in module.parameters()]
        with torch.no_grad():  # as in a widget's callback, whose thread may have gradients off
            llama.gradients(PROMPT, metric=nb.logit(" Rome"), sites="resid_post")
        with pytest.raises(ValueError, match="cannot be differentiated"):
            llama.gradients(PROMPT, metric=lambda logits, base: 1.0, sites="resid_post")
        assert [p.requires_grad for p in module.parameters()] == before
        assert all(p.grad is None for p in module.parameters())
        assert llama.run(PROMPT).logits.shape == (1, FEW_TOKENS)
    finally:
        for parameter in chosen:
            parameter.requires_grad_(False)


def test_batches_stay_below_the_bound_and_give_the_same(llama, monkeypatch):
    prompts = [nb.Experiment(f"The capital of {name} is") for name in ("France", "Italy", "Spain", "Norway", "Peru")]
    asked = {"metric": nb.log_probability(" Rome"), "sites": ("z", "mlp_out")}
    whole = llama.gradients(prompts, **asked)
    sizes, bound = [], llama.memory_bound
    backward = engine.backward
    monkeypatch.setattr(engine, "backward", lambda *a, **k: sizes.append(len(a[1])) or backward(*a, **k))
    try:
        llama.memory_bound = 2 * 4_400_000
        cut = llama.gradients(prompts, **asked)
    finally:
        llama.memory_bound = bound
    assert len(sizes) > 1
    assert sum(sizes) == 5
    for a, b in zip(whole, cut, strict=True):
        for site in a.gradients:
            same(a.gradients[site], b.gradients[site])


def test_what_is_kept_for_the_way_back_is_not_more_than_estimated(exact):
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in exact.nnsight._module.parameters()}
    prompt = " ".join(["word"] * 40)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        exact.gradients(prompt, metric=nb.log_probability(" Rome"), sites="resid_post.3")
    used = sum(size for at, size in kept.items() if at not in weights)
    estimate = engine.graph_size(exact._executor.sizes, len(exact.tokens(prompt)))
    assert 0.2 * estimate < used < estimate


def test_interventions_act_and_gradients_are_taken_behind_them(exact):
    site, metric = "resid_pre.0", nb.logit_difference(" Paris", " Rome")
    experiment = nb.Experiment(
        PROMPT, [nb.Patch("embed", source=OTHER, amount=0.25), nb.Scale("mlp_out.1", factor=2.0)]
    )
    found = exact.gradients(experiment, metric=metric, sites=[site, "embed", "mlp_out.1"])
    run = exact.run(experiment)
    assert found.value == pytest.approx(float(metric(run.logits[0], run.logits[0], exact.vocabulary)), abs=1e-4)
    own, other = (exact.run(nb.Experiment(p, read=["embed"])).read("embed") for p in (PROMPT, OTHER))
    same(found.activations[nb.Site("embed")], 0.75 * own + 0.25 * other)
    # behind the factor of two: half of what the MLP's own output would have
    slope = found.gradients[nb.Site("mlp_out", 1)][-1]
    step = STEP * slope / np.linalg.norm(slope)
    ends = [
        exact.run(experiment.with_(nb.Steer("mlp_out.1", direction=step, scale=s, tokens=-1))).logits[0]
        for s in (1, -1)
    ]
    above, below = (float(metric(end, end, exact.vocabulary)) for end in ends)
    np.testing.assert_allclose(np.linalg.norm(slope), (above - below) / (2 * STEP), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "metric",
    [
        nb.logit_difference(3, 5),
        nb.logit(3),
        nb.probability(3),
        nb.log_probability(3),
        nb.kl_divergence(),
        nb.entropy(),
    ],
    ids=str,
)
def test_metrics_in_torch_are_those_in_numpy(llama, metric):
    logits, base = 3 * torch.randn(2, 4, FEW_TOKENS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = engine.Objective.of(metric, llama.vocabulary)(logits, base)
    np.testing.assert_allclose(found.numpy(), metric(logits.numpy(), base.numpy(), llama.vocabulary), rtol=1e-9)


def test_a_divergence_compares_with_what_is_given(llama):
    other = llama.run(OTHER).logits
    at_itself = llama.gradients(PROMPT, metric=nb.kl_divergence(), sites="resid_post.1")
    from_other = llama.gradients(PROMPT, metric=nb.kl_divergence(), sites="resid_post.1", base=other)
    (flat,), (steep,) = at_itself.gradients.values(), from_other.gradients.values()
    assert at_itself.value == pytest.approx(0, abs=1e-6)
    assert np.abs(flat).max() < 1e-4 < np.abs(steep).max()


def test_a_function_of_ones_own_in_torch(llama):
    a, b = llama.vocabulary.id(" Paris"), llama.vocabulary.id(" Rome")
    own = llama.gradients(PROMPT, metric=lambda logits, base: logits[a] - logits[b], sites="z.1")
    ours = llama.gradients(PROMPT, metric=nb.logit_difference(" Paris", " Rome"), sites="z.1")
    same(own.gradients[nb.Site("z", 1)], ours.gradients[nb.Site("z", 1)])


@pytest.mark.parametrize(
    ("metric", "sites", "experiments", "message"),
    [
        (nb.rank(" Rome"), "z", PROMPT, "no derivative"),
        (lambda logits, base: float(np.exp(logits).sum()), "z", PROMPT, "written in torch"),
        (lambda logits, base: logits * 2, "z", PROMPT, rf"tensor of shape \[{FEW_TOKENS}\].*one number"),
        (nb.entropy(), "z.9", PROMPT, "4 layers"),
        (nb.entropy(), [], PROMPT, "no site"),
        ([nb.entropy()] * 2, "z", PROMPT, "2 metrics for 1"),
        (nb.logit(" Quetzalcoatl"), "z", PROMPT, "Quetzalcoatl"),
        (nb.entropy(), "z", [nb.Experiment([PROMPT, OTHER])], "2 prompts to differentiate"),
    ],
)
def test_bad_input_gets_one_sentence(llama, metric, sites, experiments, message):
    with pytest.raises((ValueError, LookupError), match=message):
        llama.gradients(experiments, metric=metric, sites=sites)


def test_it_can_be_cancelled(llama):
    with pytest.raises(KeyboardInterrupt):
        llama.gradients(PROMPT, metric=nb.entropy(), sites="z", cancel=lambda: True)


def test_metrics_without_a_counterpart_are_known():
    # a metric that somebody adds needs a counterpart in torch, or to be named here
    from nbinterp.engine.objectives import _FUNCTIONS
    from nbinterp.metrics import _MAKERS

    assert set(_MAKERS) - set(_FUNCTIONS) == {"rank"}
    assert isinstance(nb.rank(" a"), Metric)
