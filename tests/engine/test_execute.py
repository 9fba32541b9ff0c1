"""The engine against plain PyTorch hooks on the transformers model, on every family."""

import copy
import gc
import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbinterp as nb
from nbinterp import Ablate, Basis, Cut, Direction, Experiment, Loop, Patch, Plane, Project, Rotate, Scale, Site, Steer
from tests.conftest import random_module
from tests.engine.oracle import hooked, same

PROMPTS = ["If this month is March, next month is", "The capital of France is", "One two three"]
READS = ["resid_post.0", "z.1", "mlp_out.2", "resid_post.3", "logits"]


def vectors(model, rows, seed=0, site="resid_post.0"):
    return np.random.default_rng(seed).normal(size=(rows, model.info.width(Site.of(site))))


def test_an_untouched_run_is_the_bare_model(small):
    result = small.run(Experiment(PROMPTS, read=READS))
    for i, prompt in enumerate(PROMPTS):
        logits, seen = hooked(small, prompt, reads=READS)
        same(result.logits[i], logits)
        same(result.base_logits[i], logits)
        for site, arrays in result.base_activations.items():
            same(arrays[i].reshape(len(arrays[i]), -1), seen[site])


def cases(model):
    """(intervention, the oracle's edit at the first prompt): each kind, and each way in which it can be written."""
    v, c, _ = vectors(model, 3)
    w = vectors(model, 1, 3, "z.1.2")[0]
    tensor, unit = torch.tensor(v, dtype=torch.float32), torch.tensor(v / np.linalg.norm(v), dtype=torch.float32)
    basis = np.linalg.qr(vectors(model, 3, 1).T)[0].T
    frame, centre = torch.tensor(basis, dtype=torch.float32), torch.tensor(c, dtype=torch.float32)
    plane = Plane("resid_post.1", model.info, c, basis[:2])
    space = Basis("resid_post.1", model.info, c, basis)
    coefficients = vectors(model, 4, 2)
    loop = Loop("resid_post.2", model.info, c, coefficients[:2], coefficients[2:])

    def each(function):
        return lambda x: torch.stack([row + torch.tensor(function(row.double().numpy())) for row in x]).float()

    turned = each(lambda row: plane.displacement(0.0, 2.0, row))
    to_angle = each(lambda row: plane.displacement(plane.angle_of(row), 1.0, row))
    along = each(lambda row: loop.displacement(loop.angle_of(row), 1.0))
    source = hooked(model, PROMPTS[1], reads=["resid_post.2", "z.1"])[1]
    inner = Experiment(PROMPTS[1], Steer("resid_post.0", direction=v, tokens=1))
    changed = hooked(model, PROMPTS[1], [("resid_post.0", [1], lambda x: x + tensor)], ["resid_post.2"])[1]
    own = hooked(model, PROMPTS[0], [("resid_post.0", [4], lambda x: x * 0)], ["mlp_out.2"])[1]
    references = [hooked(model, prompt, reads=["attn_out.1"])[1][Site("attn_out", 1)] for prompt in PROMPTS]
    mean = torch.tensor(np.concatenate(references).mean(axis=0))
    post, z = source[Site("resid_post", 2)], source[Site("z", 1)]
    return {
        "steer": (
            Steer("resid_post.0", direction=v, scale=-1.5, tokens=[0, 2]),
            ("resid_post.0", [0, 2], lambda x: x - 1.5 * tensor),
        ),
        "steer to": (
            Steer("resid_pre.2", direction=v, to=3.0, tokens=1),
            ("resid_pre.2", [1], lambda x: x + (3 - x @ unit)[:, None] * unit),
        ),
        "steer a head": (
            Steer("z.1.2", direction=w, scale=2.0),
            ("z.1.2", slice(None), lambda x: x + 2 * torch.tensor(w, dtype=torch.float32)),
        ),
        "zero": (Ablate("resid_post.3", tokens=-1), ("resid_post.3", [-1], torch.zeros_like)),
        "zero a head": (Ablate("z.0.1"), ("z.0.1", slice(None), torch.zeros_like)),
        "mean": (
            Ablate("resid_post.1", tokens="all", mean=v),
            ("resid_post.1", slice(None), lambda x: tensor.expand_as(x)),
        ),
        "mean of prompts": (
            Ablate("attn_out.1", tokens=[2, 5], mean=PROMPTS),
            ("attn_out.1", [2, 5], lambda x: mean.expand_as(x)),
        ),
        "patch": (
            Patch("resid_post.2", source=PROMPTS[1], tokens=[1, 4], source_tokens=[3, 0]),
            ("resid_post.2", [1, 4], lambda x: torch.tensor(post[[3, 0]])),
        ),
        "patch one": (
            Patch("resid_post.2", source=PROMPTS[1], tokens=slice(1, 4), source_tokens=-1),
            ("resid_post.2", slice(1, 4), lambda x: torch.tensor(post[-1]).expand_as(x)),
        ),
        "patch a head": (
            Patch("z.1.3", source=PROMPTS[1], tokens=3, source_tokens=2),
            ("z.1.3", [3], lambda x: torch.tensor(z[[2], -x.shape[-1] :])),
        ),
        "patch a tensor": (
            Patch("resid_post.1", source=np.stack([v, c]), tokens=[5, 3]),
            ("resid_post.1", [5, 3], lambda x: torch.stack([tensor, centre])),
        ),
        "patch from an experiment": (
            Patch("resid_post.2", source=inner, tokens=6, source_tokens=3),
            ("resid_post.2", [6], lambda x: torch.tensor(changed[Site("resid_post", 2)][[3]])),
        ),
        "patch from its own changed run": (
            Patch("mlp_out.2", source=Experiment(PROMPTS[0], Ablate("resid_post.0", tokens=4)), tokens=[4, 6]),
            ("mlp_out.2", [4, 6], lambda x: torch.tensor(own[Site("mlp_out", 2)][[4, 6]])),
        ),
        "part of a mean": (
            Ablate("resid_post.1", tokens=[3, 5], mean=v, amount=0.25),
            ("resid_post.1", [3, 5], lambda x: 0.75 * x + 0.25 * tensor),
        ),
        "half a head": (Ablate("z.0.1", amount=0.5), ("z.0.1", slice(None), lambda x: x / 2)),
        "part of a patched head": (
            Patch("z.1.3", source=PROMPTS[1], tokens=3, source_tokens=2, amount=0.3),
            ("z.1.3", [3], lambda x: 0.7 * x + 0.3 * torch.tensor(z[[2], -x.shape[-1] :])),
        ),
        "none of a patch": (
            Patch("resid_post.2", source=PROMPTS[1], tokens=4, amount=0),
            ("resid_post.2", [4], lambda x: x),
        ),
        "scale": (Scale("mlp_post.1", factor=0.5, tokens=2), ("mlp_post.1", [2], lambda x: 0.5 * x)),
        "scale within": (
            Scale("resid_post.1", factor=3.0, on=space, tokens=[2, 4]),
            ("resid_post.1", [2, 4], lambda x: x + 2 * ((x - centre) @ frame.T @ frame)),
        ),
        "project onto": (
            Project("resid_post.1", on=space, tokens=4),
            ("resid_post.1", [4], lambda x: centre + (x - centre) @ frame.T @ frame),
        ),
        "part of a projection onto": (
            Project("resid_post.1", on=space, tokens=3, amount=0.4),
            ("resid_post.1", [3], lambda x: 0.6 * x + 0.4 * (centre + (x - centre) @ frame.T @ frame)),
        ),
        "part of a projection out": (
            Project("mlp_out.1", on=Direction(None, None, v), out=True, tokens=[1, 2], amount=0.4),
            ("mlp_out.1", [1, 2], lambda x: x - 0.4 * (x @ unit)[:, None] * unit),
        ),
        "project out": (
            Project(
                "resid_mid.1" if "resid_mid" in model.info.anatomy.places else "resid_pre.1",
                on=Direction(None, None, v),
                out=True,
            ),
            (
                "resid_mid.1" if "resid_mid" in model.info.anatomy.places else "resid_pre.1",
                slice(None),
                lambda x: x - (x @ unit)[:, None] * unit,
            ),
        ),
        "turn by": (Rotate("resid_post.1", on=plane, by=2.0, tokens=" March"), ("resid_post.1", [4], turned)),
        "turn to": (Rotate("resid_post.1", on=plane, to=1.0, tokens=" March"), ("resid_post.1", [4], to_angle)),
        "along by": (
            Rotate("resid_post.2", on=loop, by=0.5, start=0.25, tokens="last"),
            ("resid_post.2", [-1], lambda x: x + torch.tensor(loop.displacement(0.25, 0.75)).float()),
        ),
        "along to": (Rotate("resid_post.2", on=loop, to=1.0, tokens=[3, 5]), ("resid_post.2", [3, 5], along)),
    }


@pytest.fixture(scope="module")
def everything(small):
    return cases(small)


def test_each_intervention_does_what_hooks_do(small, everything):
    results = small.run([Experiment(PROMPTS[0], act, read=READS) for act, _ in everything.values()])
    for (name, (_, edit)), result in zip(everything.items(), results, strict=True):
        logits, seen = hooked(small, PROMPTS[0], [edit], READS)
        # the nearest point of a loop is one of 3600, and float32 may take its neighbour
        tolerance = 1e-2 if name == "along to" else 1e-4
        try:
            same(result.logits[0], logits, tolerance)
            for site, arrays in result.activations.items():
                same(arrays[0].reshape(len(arrays[0]), -1), seen[site], tolerance)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_mix_of_any_stacks_is_what_hooks_do(small, everything, data):
    """Any stack of interventions, in any order of writing, in any batch with others."""
    stacks = data.draw(
        st.lists(
            st.lists(st.sampled_from(sorted(set(everything) - {"along to"})), max_size=4, unique=True),
            min_size=1,
            max_size=6,
        )
    )
    experiments = [Experiment(PROMPTS[0], [everything[name][0] for name in stack], read=READS) for stack in stacks]
    for stack, result in zip(stacks, small.run(experiments), strict=True):
        edits = [everything[name][1] for name in stack]
        # hooks at one place act in the order in which they are made: the order of writing, as in the engine
        logits, seen = hooked(small, PROMPTS[0], edits, READS)
        same(result.logits[0], logits, 1e-3)
        for site, arrays in result.activations.items():
            same(arrays[0].reshape(len(arrays[0]), -1), seen[site], 1e-3)


def test_resampling_takes_real_activations_of_other_tokens_and_repeats(small):
    act = Ablate("resid_post.1", tokens=[2, 3], resample=PROMPTS[1:], seed=3)
    first, again = small.run([Experiment(PROMPTS[0], act, read="resid_post.1")] * 2)
    pool = np.concatenate([hooked(small, p, reads=["resid_post.1"])[1][Site("resid_post", 1)] for p in PROMPTS[1:]])
    for position in (2, 3):
        row = first.activations[Site("resid_post", 1)][0][position]
        assert np.abs(pool - row).max(axis=1).min() < 1e-4 * np.abs(pool).max()
    same(first.logits, again.logits, 1e-5)
    other = small.run(Experiment(PROMPTS[0], [Ablate("resid_post.1", tokens=[2, 3], resample=PROMPTS[1:], seed=4)]))
    assert np.abs(other.logits - first.logits).max() > 1e-3


def test_many_at_once_are_each_alone(small):
    v = vectors(small, 1)[0]
    prompts = [f"{'word ' * n}end" for n in (1, 3, 3, 7)]
    experiments = [
        Experiment(p, Steer(f"{component}.{layer}", direction=v, scale=s, tokens=at))
        for p in prompts
        for component in ("resid_post", "attn_out")
        for layer in (0, 2)
        for at in (0, -1)
        for s in (1, 3)
    ]
    experiments.append(Experiment(prompts))
    together = small.run(experiments)
    for experiment, result in zip(experiments, together, strict=True):
        alone = small.run(experiment)
        same(result.logits, alone.logits)
        same(result.base_logits, alone.base_logits)


def test_batches_are_cut_to_the_bound(small):
    v = vectors(small, 1)[0]
    experiments = [
        Experiment(PROMPTS[0], Steer("resid_post.1", direction=v, scale=s), read="logits") for s in range(1, 8)
    ]
    whole = small.run(experiments)
    before = small.memory_bound
    try:
        small.memory_bound = 3 * small.plan(experiments[:1]).memory
        plan = small.plan(experiments)
        assert len(plan.batches) > 1
        assert sum(len(batch.rows) for batch in plan.batches) == 7
        for many, cut in zip(whole, small.run(experiments), strict=True):
            same(cut.logits, many.logits)
        small.memory_bound = 1
        assert [len(batch.rows) for batch in small.plan(experiments).batches] == [1] * 7
        same(small.run(experiments)[3].logits, whole[3].logits)
        assert len(small._executor.kept) == 1
    finally:
        small.memory_bound = before


@pytest.mark.parametrize("bound", [0, -1, True, 1.5, "1GB"])
def test_a_bound_that_is_no_number_of_bytes_is_refused(small, bound):
    with pytest.raises(ValueError, match="wanted a positive number of bytes, for example 2\\*\\*30"):
        small.memory_bound = bound


class Broken(Exception):
    pass


def test_an_error_in_mid_trace_leaves_model_and_cache_whole(small, monkeypatch):
    before = small.run(PROMPTS[0]).logits
    act = Ablate("mlp_out.2", tokens=1)
    whole = small.run(Experiment(PROMPTS[0], act)).logits

    def broken(*args, **kwargs):
        raise raised

    for raised in (Broken("no"), KeyboardInterrupt()):
        with monkeypatch.context() as patched:
            patched.setattr(nb.arithmetic, "put", broken)
            with pytest.raises(type(raised)):
                small.run(Experiment(PROMPTS[0], act))
        same(small.run(PROMPTS[0]).logits, before, 1e-5)
        same(small.run(Experiment(PROMPTS[0], act)).logits, whole, 1e-5)


def test_a_run_can_be_stopped_between_traces(small):
    small.forget()
    asked = []

    def cancel():
        asked.append(True)
        return len(asked) > 1

    with pytest.raises(KeyboardInterrupt):
        small.run([Experiment(p, Ablate("resid_post.1")) for p in PROMPTS], cancel=cancel)
    assert len(asked) == 2
    assert len(small._executor.kept) == 1


def test_two_threads_may_ask_at_once(small):
    v = vectors(small, 1)[0]
    experiments = [Experiment(PROMPTS[i % 3], Steer("resid_post.1", direction=v, scale=i)) for i in range(12)]
    expected = [result.logits for result in small.run(experiments)]
    found, errors = {}, []

    def ask(which):
        try:
            for i in which:
                found[i] = small.run(experiments[i]).logits
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(range(start, 12, 2),)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for i, logits in enumerate(expected):
        same(found[i], logits)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_model_in_another_precision(family, tokenizer):
    module = random_module(family).to(torch.bfloat16)
    model = nb.Model.open(module, tokenizer=tokenizer, device="cpu")
    assert not set(model.info.anatomy.lacking)
    experiment = Experiment(PROMPTS[0], Scale("attn_out.1", factor=0.0, tokens=3), read="resid_post.3")
    logits, seen = hooked(model, PROMPTS[0], [("attn_out.1", [3], lambda x: x * 0)], ["resid_post.3"])
    result = model.run(experiment)
    # bfloat16 has 8 bits
    same(result.logits[0], logits, 0.05)
    same(result.activations[Site("resid_post", 3)][0], seen[Site("resid_post", 3)], 0.05)


def test_a_prompt_longer_than_the_context_is_refused(tokenizer):
    model = nb.Model.open(random_module("gpt2"), tokenizer=tokenizer, device="cpu")
    with pytest.raises(ValueError, match="got a prompt of 1025 tokens; GPT2LMHeadModel reads at most 1024: shorten it"):
        model.run("word" + " word" * 1024)


def test_results_never_change_afterwards(small):
    result = small.run(Experiment(PROMPTS[0], read="resid_post.2"))
    kept = result.base_logits.copy()
    result.activations[result.experiment.read[0]][0][:] = 0
    again = small.run(Experiment(PROMPTS[0], read="resid_post.2"))
    assert np.abs(again.activations[again.experiment.read[0]][0]).max() > 0
    small.run(Experiment(PROMPTS[0], Ablate("resid_post.0")))
    same(result.base_logits, kept)


def test_weights_that_are_changed_or_moved_are_noticed(tokenizer):
    model = nb.Model.open(random_module("llama"), tokenizer=tokenizer, device="cpu")
    module = model.nnsight._module
    experiment = Experiment(PROMPTS[0], Scale("mlp_out.2", factor=0.5, tokens=3))
    edit = ("mlp_out.2", [3], lambda x: 0.5 * x)
    model.run(experiment)
    with torch.no_grad():
        module.model.layers[0].mlp.down_proj.weight.mul_(0.5)
    same(model.run(experiment).logits[0], hooked(model, PROMPTS[0], [edit])[0])
    module.double()
    result = model.run(experiment)
    same(result.logits[0], hooked(model, PROMPTS[0], [edit])[0], 1e-6)
    same(result.base_logits[0], hooked(model, PROMPTS[0])[0], 1e-6)


def test_patterns_are_edited_in_any_precision(tokenizer):
    """Llama's attention takes its softmax in float32, whatever the model's own precision is."""
    module = random_module("llama")
    acts = [
        Cut("pattern.1", keys=0, tokens=-1),
        Ablate("pattern.1.2", amount=0.5),
        Patch("pattern.2", source="The capital of Italy is", amount=0.3),
    ]
    single, double, half = (
        nb.Model.open(copy.deepcopy(module).to(dtype), tokenizer=tokenizer, device="cpu", dtype=name)
        for name, dtype in (("float32", torch.float32), ("float64", torch.float64), ("bfloat16", torch.bfloat16))
    )
    for act in acts:
        runs = [model.run(Experiment(PROMPTS[1], act)) for model in (single, double, half)]
        same(runs[1].logits, runs[0].logits, 1e-4)
        assert np.abs(runs[0].logits - runs[0].base_logits).max() > 1e-3
        assert np.isfinite(runs[2].logits).all()


def test_a_sweep_is_each_of_its_points(small):
    v = vectors(small, 1)[0]
    metric = nb.logit_difference(" Paris", " Rome")

    def make(layer, token, scale):
        return Steer(f"resid_post.{layer}", direction=v, scale=scale, tokens=token)

    axes = {"layer": [0, 2, 3], "token": [0, 3, -1], "scale": [0.0, 2.0]}
    sweep = small.sweep(
        PROMPTS[1], make, metric=metric, control=lambda layer, token, scale: Scale("z.0", factor=1.0), **axes
    )
    assert sweep.values.dims == ("layer", "token", "scale")
    for line in sweep.frame().itertuples():
        result = small.run(Experiment(PROMPTS[1], make(line.layer, line.token, line.scale)))
        (expected,) = result.logit_difference(" Paris", " Rome")["changed"]
        assert line.logit_difference == pytest.approx(expected, abs=1e-3)
        assert line.control == pytest.approx(sweep.base, abs=1e-3)


def test_a_dose_of_any_intervention_is_one_batch(small):
    on = Direction(None, None, vectors(small, 1)[0])
    for make in (
        lambda amount: Ablate("resid_post.1", tokens=3, amount=amount),
        lambda amount: Patch("resid_post.1", source=PROMPTS[2], source_tokens=-1, tokens=3, amount=amount),
        lambda amount: Project("resid_post.1", on=on, tokens=3, amount=amount),
    ):
        amounts = [0.0, 0.1, 0.5, 1.0]
        points = [Experiment(PROMPTS[1], make(amount)) for amount in amounts]
        assert [len(batch.rows) for batch in small.plan(points).batches] == [len(points)]
        sweep = small.sweep(PROMPTS[1], make, metric=nb.probability(" Paris"), amount=amounts)
        assert sweep.values.values[0] == pytest.approx(sweep.base, rel=1e-4)
        assert len(set(sweep.values.values)) == 4


def test_a_point_that_changes_nothing_is_the_untouched_model(small):
    sweep = small.sweep(
        PROMPTS[1],
        lambda source: Patch("resid_post.1", source=source, tokens=0),
        metric=nb.probability(" Paris"),
        source=[PROMPTS[1], "The end", PROMPTS[2]],
    )
    assert sweep.values.values[0] == sweep.values.values[1] == sweep.base
    assert sweep.values.values[2] != sweep.base


def test_the_plan_is_what_is_run(small):
    experiment = Experiment(PROMPTS, Ablate("resid_post.1", tokens=-1), read="resid_post.3")
    small.forget()
    plan = experiment.plan(small)
    assert len(plan.prompts) == 3
    assert not plan.known
    small.run(experiment)
    plan = small.plan(experiment)
    assert len(plan.known) == 3
    # the last token through blocks 2 and 3, of three prompts
    assert plan.work == 6
    assert "3 changed rows in" in plan._repr_html_()


def tensors_alive():
    return sum(type(thing) is torch.Tensor for thing in gc.get_objects())


@pytest.mark.parametrize("ask", ["collect", "run", "read", "generate"])
def test_a_pass_leaves_no_tensors_for_the_garbage_collector(tokenizer, ask):
    """Python looks for cycles when there are many objects, however large they are: memory must not wait for that."""
    model = nb.Model.open(random_module("llama"), tokenizer=tokenizer, device="cpu")
    act = Scale("resid_post.1", factor=0.5, tokens=-1, steps="all")

    def once():
        if ask == "collect":
            model.collect(PROMPTS, sites=["resid_post.1", "z.1"], tokens="all", progress=False)
        elif ask == "generate":
            model.generate(Experiment(PROMPTS[0], act), max_new_tokens=3)
        else:
            model.run(Experiment(PROMPTS[0], act, read=["resid_post.2", "v.1"] if ask == "read" else []))

    once()
    gc.collect()
    gc.disable()
    try:
        once()
        before = tensors_alive()
        for _ in range(3):
            once()
        assert tensors_alive() <= before
    finally:
        gc.enable()
