"""The engine against plain PyTorch hooks on the transformers model, on every family."""

import operator

import numpy as np
import pytest
import torch

from nbinterp import Ablate, Experiment, Loop, Patch, Plane, Rotate, Steer

PROMPTS = ["If this month is March, next month is", "The capital of France is", "One two three"]


def hooked(model, prompt, edits, reads=()):
    """What the bare module says when `edits`, {layer: [(positions, function)]}, change its blocks' outputs."""
    module = model.nnsight._module
    blocks = operator.attrgetter(model.info.blocks)(module)
    seen = {}

    def hook(layer):
        def change(block, args, output):
            output = output.clone()
            for positions, function in edits.get(layer, ()):
                output[0, positions] = function(output[0, positions])
            seen[layer] = output[0].clone()
            return output

        return change

    hooks = [block.register_forward_hook(hook(layer)) for layer, block in enumerate(blocks)]
    try:
        with torch.no_grad():
            logits = module(torch.tensor([model.tokens(prompt).ids])).logits[0, -1]
    finally:
        for h in hooks:
            h.remove()
    return logits.numpy(), {layer: seen[layer].numpy() for layer in reads}


def vectors(model, rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, model.info.d_model))


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(b).max()))


def test_an_untouched_run_is_the_bare_model(small):
    result = small.run(Experiment(PROMPTS, read=["resid_post.0", "resid_post.3"]))
    for i, prompt in enumerate(PROMPTS):
        logits, seen = hooked(small, prompt, {}, reads=(0, 3))
        same(result.logits[i], logits)
        same(result.base_logits[i], logits)
        for layer in (0, 3):
            same(result.activations[result.experiment.read[layer == 3]][i], seen[layer])


def cases(model):
    """(intervention, the oracle's edit at the first prompt): each kind once."""
    v, c, _w = vectors(model, 3)
    tensor = torch.tensor(v, dtype=torch.float32)
    basis = np.linalg.qr(vectors(model, 2, 1).T)[0].T
    plane = Plane("resid_post.1", model.info, c, basis)
    coefficients = vectors(model, 4, 2)
    loop = Loop("resid_post.2", model.info, c, coefficients[:2], coefficients[2:])

    def turned(x):
        return torch.stack([row + torch.tensor(plane.displacement(0.0, 2.0, row.numpy())) for row in x]).float()

    def to_angle(x):
        return torch.stack(
            [row + torch.tensor(plane.displacement(plane.angle_of(row.numpy()), 1.0, row.numpy())) for row in x]
        ).float()

    def along(x):
        return torch.stack(
            [row + torch.tensor(loop.displacement(loop.angle_of(row.numpy()), 1.0)) for row in x]
        ).float()

    source = hooked(model, PROMPTS[1], {}, reads=(2,))[1][2]
    return {
        "steer": (
            Steer("resid_post.0", direction=v, scale=-1.5, tokens=[0, 2]),
            (0, [0, 2], lambda x: x - 1.5 * tensor),
        ),
        "zero": (Ablate("resid_post.3", tokens=-1), (3, [-1], torch.zeros_like)),
        "mean": (Ablate("resid_post.1", tokens="all", mean=v), (1, slice(None), lambda x: tensor.expand_as(x))),
        "patch": (
            Patch("resid_post.2", source=PROMPTS[1], tokens=[1, 4], source_tokens=[3, 0]),
            (2, [1, 4], lambda x: torch.tensor(source[[3, 0]])),
        ),
        "patch one": (
            Patch("resid_post.2", source=PROMPTS[1], tokens=slice(1, 4), source_tokens=-1),
            (2, slice(1, 4), lambda x: torch.tensor(source[-1]).expand_as(x)),
        ),
        "turn by": (Rotate("resid_post.1", on=plane, by=2.0, tokens=" March"), (1, [4], turned)),
        "turn to": (Rotate("resid_post.1", on=plane, to=1.0, tokens=" March"), (1, [4], to_angle)),
        "along by": (
            Rotate("resid_post.2", on=loop, by=0.5, start=0.25, tokens="last"),
            (2, [-1], lambda x: x + torch.tensor(loop.displacement(0.25, 0.75)).float()),
        ),
        "along to": (Rotate("resid_post.2", on=loop, to=1.0, tokens=[3, 5]), (2, [3, 5], along)),
    }


def test_each_intervention_does_what_hooks_do(small):
    everything = cases(small)
    results = small.run(
        [
            Experiment(PROMPTS[0], act, read=[f"resid_post.{layer}" for layer in range(4)])
            for act, _ in everything.values()
        ]
    )
    for name, (_, (layer, positions, function)), result in zip(everything, everything.values(), results, strict=True):
        logits, seen = hooked(small, PROMPTS[0], {layer: [(positions, function)]}, reads=range(4))
        try:
            same(result.logits[0], logits)
            for site, arrays in result.activations.items():
                same(arrays[0], seen[site.layer])
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        assert np.abs(result.logits - result.base_logits).max() > 1e-3, f"{name} changes nothing"


def test_a_stack_is_applied_in_the_models_order(small):
    everything = cases(small)
    names = ["zero", "turn by", "patch", "steer", "mean", "along by"]
    stack = [everything[name][0] for name in names]
    edits = {}
    for name in names:
        layer, positions, function = everything[name][1]
        edits.setdefault(layer, []).append((positions, function))
    logits, seen = hooked(small, PROMPTS[0], edits, reads=(1, 3))
    result = small.run(Experiment(PROMPTS[0], stack, read=["resid_post.1", "resid_post.3"]))
    same(result.logits[0], logits)
    for site, arrays in result.activations.items():
        same(arrays[0], seen[site.layer])


def test_many_at_once_are_each_alone(small):
    v = vectors(small, 1)[0]
    prompts = [f"{'word ' * n}end" for n in (1, 3, 3, 7)]
    experiments = [
        Experiment(p, Steer(f"resid_post.{layer}", direction=v, scale=s, tokens=-1))
        for p in prompts
        for layer in (0, 2)
        for s in (1, 3)
    ]
    experiments.append(Experiment(prompts))
    together = small.run(experiments)
    for experiment, result in zip(experiments, together, strict=True):
        alone = small.run(experiment)
        same(result.logits, alone.logits)
        same(result.base_logits, alone.base_logits)


def test_batches_are_cut_to_their_bound(small, monkeypatch):
    seen = []
    run = small._executor._changed
    monkeypatch.setattr(
        small._executor, "_changed", lambda batch, kept: seen.append(len(batch.rows)) or run(batch, kept)
    )
    monkeypatch.setattr(small._executor, "max_tokens", 20)
    length = len(small.tokens(PROMPTS[0]))
    v = vectors(small, 1)[0]
    experiments = [Experiment(PROMPTS[0], Steer("resid_post.1", direction=v, scale=s)) for s in range(1, 8)]
    results = small.run(experiments)
    assert max(seen) * length <= 20
    assert sum(seen) == 7
    same(results[3].logits, small.run(experiments[3]).logits)


def test_kept_runs_are_bounded_and_change_nothing(small, monkeypatch):
    monkeypatch.setattr(small._executor, "_keep_bytes", 1)
    small._executor._kept.clear()
    experiment = Experiment(PROMPTS, Steer("resid_post.1", direction=vectors(small, 1)[0]))
    first = small.run(experiment)
    assert len(small._executor._kept) == 1
    same(first.logits, small.run(experiment).logits)


def test_an_error_in_a_run_leaves_the_model_whole(small):
    before = small.run(PROMPTS[0]).logits

    def broken(x):
        raise RuntimeError("no")

    from nbinterp.engine.plan import Batch, Edit, Row
    from nbinterp.interventions import Operation

    prompt = small.tokens(PROMPTS[0])
    row = Row((0, 0), prompt, (Edit(0, (0,), Operation(lambda x: x)), Edit(2, (0,), Operation(broken))), ())
    kept = dict(small._executor._kept)
    with pytest.raises(RuntimeError, match="no"):
        small._executor._changed(Batch(0, (row,)), kept)
    small._executor._kept.clear()
    same(small.run(PROMPTS[0]).logits, before)


def test_results_never_change_afterwards(small):
    result = small.run(Experiment(PROMPTS[0], read="resid_post.2"))
    kept = result.base_logits.copy()
    result.activations[result.experiment.read[0]][0][:] = 0
    again = small.run(Experiment(PROMPTS[0], read="resid_post.2"))
    assert np.abs(again.activations[again.experiment.read[0]][0]).max() > 0
    small.run(Experiment(PROMPTS[0], Ablate("resid_post.0")))
    same(result.base_logits, kept)
