"""What to_code prints runs without nbinterp, and gives the same logits, activations and texts."""

import ast
import itertools
import linecache
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nbinterp import (
    Ablate,
    Chat,
    Cut,
    Experiment,
    Generation,
    Loop,
    Match,
    Model,
    Patch,
    Plane,
    Project,
    Regex,
    Role,
    Rotate,
    Scale,
    Site,
    Steer,
)
from nbinterp.anatomy import Anatomy, Place
from nbinterp.code import nnsight_code
from nbinterp.sites import COMPONENTS, HEADED, UNLAYERED
from tests.conftest import random_module
from tests.engine.oracle import same
from tests.engine.test_execute import cases

PROMPTS = ["If this month is March, next month is", "It is March and the last month is"]
CHAT = Chat(
    [
        ("system", "Be brief."),
        ("user", "Which month follows March?"),
        ("assistant", "April"),
        ("user", "And the month after that?"),
    ]
)
RUNS = itertools.count()


def executed(model, experiment, opening=False):
    """What the script leaves behind, run in this process on the model that is open already."""
    code = nnsight_code(experiment.on(model.info), opening=opening)
    name = f"<test_code {next(RUNS)}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    space = {"model": model.nnsight, "__name__": name}
    exec(compile(code, name, "exec"), space)
    return space


def agrees(model, *experiments, tolerance=1e-4):
    """Assert that each experiment's script gives what `Model.run` gives."""
    for experiment, result in zip(experiments, model.run(list(experiments)), strict=True):
        found = executed(model, experiment)
        try:
            for p, prompt in enumerate(experiment.prompts):
                same(found["logits"][p].float().numpy(), result.logits[p], tolerance)
                assert list(found.get("activations", [{}] * (p + 1))[p]) == [str(site) for site in experiment.read]
                for site, arrays in result.activations.items():
                    value = found["activations"][p][str(site)].float().numpy()
                    assert value.shape == arrays[p].shape, (site, prompt)
                    same(value, arrays[p], tolerance)
        except AssertionError as error:
            raise AssertionError(f"{experiment.interventions} {experiment.read}: {error}") from None


def sites(model, layer=1):
    """Every component that the model has, the heads of one layer among them."""
    components = [c for c in COMPONENTS if c in model.info.anatomy.places]
    whole = [Site(c, None if c in UNLAYERED else layer) for c in components]
    heads = [
        Site(s.component, layer, head) for s in whole if s.component in HEADED for head in range(model.info.heads(s))
    ]
    return whole, heads


def there(model, acts):
    """Those interventions whose component the model has."""
    return [act for act in acts if act.site.component in model.info.anatomy.places]


def test_every_component_is_read_and_changed(small):
    whole, heads = sites(small)
    reads = [*whole, *heads, f"{small.info.blocks}.2:input", f"{small.info.blocks}.2"]
    changed = [Scale(site, factor=-2.0, tokens=[1, 3, -1]) for site in [*whole, *heads]]
    changed.append(Scale(f"{small.info.blocks}.1:input", factor=2.0, tokens=slice(2, 5)))
    changed.append(Scale(f"{small.info.blocks}.1", factor=2.0, tokens=slice(2, 5)))
    agrees(small, Experiment(PROMPTS, read=reads), *(Experiment(PROMPTS[0], act, reads) for act in changed))


def test_every_component_takes_whole_vectors_and_other_runs(small):
    experiments = []
    for site in itertools.chain(*sites(small)):
        source = Patch(site, source="One two three four five six seven", tokens=[4, 2], source_tokens=[0, 5])
        if site.component == "pattern":
            source = Patch(site, source=PROMPTS[0], tokens=[4, 2], source_tokens=[3, 1])
        else:
            vector = np.random.default_rng(0).normal(size=small.info.width(site))
            experiments.append(Experiment(PROMPTS[0], [Steer(site, direction=vector, tokens=-2)]))
            experiments.append(Experiment(PROMPTS[0], [Ablate(site, mean=PROMPTS, tokens=slice(1, 3))]))
        experiments.append(Experiment(PROMPTS[0], [source], read=[site]))
    agrees(small, *experiments)


def test_every_intervention(small):
    acts = [act for act, _ in cases(small).values()]
    acts += [
        Ablate("resid_post.1", tokens=[2, 3], resample=PROMPTS, seed=3),
        Ablate("mlp_out.2", resample=["One two three", *PROMPTS], seed=4),
        Ablate("z.1.2", tokens=slice(1, -1), resample=PROMPTS),
    ]
    agrees(small, *(Experiment("If this month is March, next month is", act, read="logits") for act in acts))


def test_stacks_in_the_models_order_and_at_one_site_in_that_of_writing(small):
    v = np.random.default_rng(1).normal(size=small.info.d_model)
    acts = [
        Scale("logits", factor=0.5),
        Steer("resid_post.2", direction=v, tokens=[1, 2]),
        Scale("resid_post.2", factor=3.0, tokens=[2, 3]),
        Steer("resid_post.2", direction=-v, tokens=slice(None, None, 2)),
        Scale("v.1", factor=2.0, tokens=1),
        Scale("q.1", factor=2.0, tokens=[0, 1]),
        Scale("k.1.0", factor=2.0),
        Ablate("v.1.0", tokens=[1, 2]),
        Scale("pattern.1", factor=0.5, tokens=4),
        Scale("pattern.3.2", factor=0.5),
        Ablate("embed", tokens=0),
    ]
    reads = ["resid_post.2", "resid_pre.3", "q.1", "k.1", "v.1", "v.1.0", "pattern.1", "pattern.3.2", "logits"]
    acts, reads = there(small, acts), [site for site in reads if Site.of(site).component in small.info.anatomy.places]
    agrees(small, *(Experiment(PROMPTS, stack, read=reads) for stack in (acts, acts[::-1], acts[1:4])))


@pytest.fixture(scope="module", params=["llama", "falcon_40b"])
def one(request, tokenizer):
    return Model.open(random_module(request.param), tokenizer=tokenizer, name=request.param, device="cpu")


def test_cut_edges_are_cut_in_the_same_prompts_by_name_and_by_position(one):
    acts = [
        Cut("pattern.1", tokens=slice(1, None), keys="March"),
        Cut("pattern.2.1", tokens=-1, keys=[0, 2], renormalised=False),
        Cut("pattern.3", keys=0),  # the first token has no other key
    ]
    agrees(
        one,
        *(Experiment(PROMPTS, stack, read=["pattern.1", "pattern.3", "resid_post.3"]) for stack in (acts, acts[1:2])),
    )


def test_patches_from_changed_runs_that_take_from_changed_runs(one):
    v = np.random.default_rng(1).normal(size=one.info.d_model)
    inner = Experiment("One two three", [Steer("resid_post.0", direction=v), Ablate("mlp_out.1", mean=PROMPTS)])
    outer = Experiment(
        PROMPTS[1],
        [
            Patch("resid_pre.1", source=inner, tokens=" March", source_tokens=-1),
            Ablate("resid_post.3", enabled=False),
            Ablate("attn_out.1", tokens=[1, 2], resample=[PROMPTS[0], CHAT], seed=5),
        ],
    )
    acts = [
        Patch("resid_post.2", source=outer, tokens=4, source_tokens=2),
        Patch("z.2.1", source=outer, tokens=slice(2, 4), source_tokens=[3, 1]),
        Patch("resid_post.1", source=inner, tokens=-1, source_tokens="three"),
    ]
    agrees(one, Experiment(PROMPTS, acts, read="resid_post.3"))
    # what several patches take from one run is run once
    code = nnsight_code(Experiment(PROMPTS, acts).on(one.info))
    assert code.count("model.trace(source)") == 3


@pytest.mark.parametrize(
    "tokens",
    [
        0,
        -1,
        [3, -1, 3],
        [7, -1],
        slice(1, None),
        slice(None, 4, 2),
        slice(None, None, -1),
        slice(-2, 0, -2),
        "last",
        "all",
        " March",
        "March, next",
        Match("month", nth=2),
        Match(" ", nth=3),
        re.compile("m[a-z]+", re.IGNORECASE),
        Regex(r"(?x) \b i s \b  # a word", nth=2),
        Regex("is|month"),
    ],
    ids=str,
)
def test_tokens_are_chosen_as_the_model_chooses_them(one, tokens):
    experiment = Experiment(PROMPTS[0], Scale("resid_post.1", factor=2.0, tokens=tokens), read="resid_post.1")
    same(
        executed(one, experiment)["activations"][0]["resid_post.1"].numpy(),
        one.run(experiment).activations[Site("resid_post", 1)][0],
    )
    resampled = Ablate("resid_post.1", tokens=tokens, resample=PROMPTS)
    backwards = Patch("resid_post.1", source=PROMPTS[0], tokens=tokens, source_tokens=tokens)
    agrees(
        one, Experiment(PROMPTS[0], resampled), Experiment(PROMPTS[0], [Ablate("resid_post.0", tokens=1), backwards])
    )


@pytest.mark.parametrize(
    "tokens",
    [Role("user"), Role("user", nth=2), Role("system"), Role("assistant"), "April", Regex("month"), -1, slice(3)],
    ids=str,
)
def test_chats_go_through_the_models_template(one, tokens):
    v = np.random.default_rng(1).normal(size=one.info.d_model)
    acts = [
        Steer("resid_post.1", direction=v, tokens=tokens),
        Patch("resid_post.2", source=CHAT, tokens=0, source_tokens=Match("month", nth=1)),
    ]
    agrees(one, Experiment(CHAT, acts, read="resid_post.2"), Experiment([CHAT, CHAT]))


def test_chats_and_texts_in_one_experiment(one):
    agrees(one, Experiment([CHAT, PROMPTS[0]], Scale("mlp_out.1", factor=2.0, tokens=2), read="z.1"))


def test_what_does_nothing_is_left_out(one):
    acts = [
        Ablate("resid_post.1", enabled=False, resample=PROMPTS),
        Ablate("resid_post.2", tokens=[], steps="all", mean=PROMPTS),
    ]
    code = nnsight_code(Experiment(PROMPTS[0], acts).on(one.info))
    assert "# left out, since it is disabled: Ablate at resid_post.1" in code
    assert "resid_post_" not in code
    assert "pool_" not in code
    agrees(one, Experiment(PROMPTS[0], acts))


GENERATIONS = {
    "greedy": Generation(7),
    "sampled": Generation(7, temperature=0.8, seed=3),
    "filtered": Generation(7, temperature=1.5, top_k=50, top_p=0.8, seed=4),
    "narrow": Generation(3, temperature=2.0, top_p=0.01),
    "one": Generation(1),
}


def test_generated_tokens_are_the_same_on_every_family(small):
    says_the_same(small, GENERATIONS["filtered"])


@pytest.mark.parametrize("how", sorted(GENERATIONS.keys() - {"filtered"}))
def test_generated_tokens_are_the_same_in_every_way_of_choosing_them(one, how):
    says_the_same(one, GENERATIONS[how])


def says_the_same(small, generation):
    """Assert that scripts generate the tokens that `Model.generate` does."""
    d = small.info.d_model
    v = 10 * np.random.default_rng(1).normal(size=d)
    acts = [
        Steer("resid_post.1", direction=v, tokens=[1, 2], steps=[0, 3]),
        Scale("z.2.1", factor=-2.0, tokens=[], steps=slice(1, None, 2)),
        Ablate("mlp_out.1", tokens=[], steps="all", mean=PROMPTS, amount=0.5),
        Ablate("attn_out.3", tokens=slice(1, 3), steps=slice(2), resample=PROMPTS, seed=2, amount=0.9),
        Patch("resid_post.2", source=PROMPTS[1], tokens=3, source_tokens=-1, steps=1),
        Scale("pattern.1", factor=0.5, tokens=-1, steps=[1, 2]),
        Scale("logits", factor=2.0, steps=slice(4, 6)),
        Ablate("resid_post.0", tokens=5),
    ]
    acts = there(small, acts)
    for experiment in (
        Experiment([*PROMPTS, CHAT], acts, generation=generation),
        Experiment(PROMPTS[0], acts[-1], read="resid_post.2", generation=generation),
    ):
        spoken = small.generate(experiment)
        assert executed(small, experiment)["generated"] == [list(said.ids) for said in spoken.changed]


def test_generation_ends_where_the_models_does(one, monkeypatch):
    told = Experiment(PROMPTS, generation=Generation(8))
    free = one.generate(told).base
    stop = one.nnsight.tokenizer.decode(free[0].ids[3])
    stopped = replace(told, generation=Generation(8, stop=["never said", stop]))
    (first, _) = executed(one, stopped)["generated"]
    assert first == list(one.generate(stopped).base[0].ids)
    assert len(first) <= 4
    config = one.nnsight._module.generation_config
    for ends in (free[1].ids[2], [0, free[1].ids[2]]):
        monkeypatch.setattr(config, "eos_token_id", ends)
        (_, second) = executed(one, told)["generated"]
        assert second == list(one.generate(told).base[1].ids)
        assert len(second) <= 3


SAVE = """
import sys
assert "nbinterp" not in sys.modules
import numpy as np
found = {f"{k} {p}": v.numpy() for p, a in enumerate(globals().get("activations", [])) for k, v in a.items()}
found |= {f"generated {p}": np.array(ids) for p, ids in enumerate(globals().get("generated", []))}
np.savez(sys.argv[1], logits=torch.stack(logits).numpy(), **found)
"""


def run_alone(code, tmp_path):
    script, out = tmp_path / "experiment.py", tmp_path / "out.npz"
    script.write_text(code + SAVE)
    # -I: no PYTHONPATH, no current directory, so that only installed packages are found
    done = subprocess.run(
        [sys.executable, "-I", script, out], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(out), done.stdout


def interventions(model):
    d = model.info.d_model
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(d, 2)))[0].T
    plane = Plane("resid_post.5", model.info, np.zeros(d), basis)
    loop = Loop("resid_post.7", model.info, rng.normal(size=d), *rng.normal(size=(2, 2, d)))
    inner = Experiment("It is June", [Scale("mlp_out.3", factor=2.0), Ablate("z.2.4", tokens=-1)])
    return [
        Steer("resid_post.10", direction=rng.normal(size=d), scale=2.0, tokens=Regex(" [mM]arch", nth=1)),
        Steer("resid_mid.10", direction=rng.normal(size=d), to=3.0, tokens=-1, steps=[0, 2]),
        Ablate("resid_post.20", tokens=slice(1, 3)),
        Ablate("resid_post.2", tokens=[0], mean=rng.normal(size=d)),
        Ablate("attn_out.9", tokens=[2, 3], mean=PROMPTS),
        Ablate("mlp_post.8", tokens=[2, 3], resample=PROMPTS, seed=2),
        Patch("resid_post.12", source="The month of June", tokens=" March", source_tokens=" June"),
        Patch("resid_post.13", source=inner, tokens=5, source_tokens=-1),
        Rotate("resid_post.5", on=plane, to=1.0, tokens=-1),
        Rotate("resid_post.7", on=loop, by=1.0, tokens=[3, 5]),
        Rotate("resid_post.7", on=loop, to=2.0, start=1.0, tokens="all"),
        Scale("pattern.11.3", factor=0.5, steps="all"),
        Scale("k.4.1", factor=0.0, tokens=1),
        Project("resid_post.5", on=plane, out=True, tokens=2),
        Scale("model.layers.6.mlp:input", factor=0.9),
        Scale("logits", factor=0.9),
        Ablate("resid_post.1", enabled=False),
    ]


@pytest.mark.slow
def test_the_code_of_everything_gives_the_same_alone(model, tmp_path):
    reads = ["resid_post.4", "resid_post.12", "pattern.11", "k.4", "resid_post.29"]
    prompts = [*PROMPTS, Chat([("system", ""), ("user", PROMPTS[0])])]
    experiment = Experiment(prompts, interventions(model), reads, generation=Generation(5, temperature=0.7))
    result = model.run(experiment)
    assert np.abs(result.logits - result.base_logits).max() > 1
    saved, printed = run_alone(result.experiment.to_code(), tmp_path)
    np.testing.assert_allclose(saved["logits"], result.logits, atol=1e-3)
    spoken = model.generate(experiment)
    for p in range(3):
        assert saved[f"generated {p}"].tolist() == list(spoken.changed[p].ids)
        for site, arrays in result.activations.items():
            np.testing.assert_allclose(saved[f"{site} {p}"], arrays[p], atol=1e-3 * np.abs(arrays[p]).max())
    assert repr(PROMPTS[0]) in printed


@pytest.mark.slow
def test_the_code_of_an_untouched_run_is_plain(model, tmp_path):
    result = model.run("The capital of France is")
    code = result.experiment.to_code()
    saved, printed = run_alone(code, tmp_path)
    np.testing.assert_allclose(saved["logits"], result.logits, atol=1e-4)
    assert "' Paris'" in printed
    for unused in ("def ", "nbinterp.", "numpy", "base64", "DynamicCache"):
        assert unused not in code


@pytest.fixture
def known(info):
    """A model's card with an anatomy."""
    places = {
        "resid_pre": Place("", "input"),
        "resid_post": Place("", "output"),
        "logits": Place("", "output"),
    }
    return replace(info, anatomy=Anatomy({}, {"input": 3, "output": 3}, {"output": 10}, places, {}))


WICKED = "'; raise SystemExit('owned') #\n\"\"\" {model}\u2028\x0c\\"


def test_the_users_texts_are_data_in_the_code(known):
    named = replace(known, name=WICKED, source=f"/models/{WICKED}")
    inner = Experiment(Chat([(WICKED, WICKED)]), Ablate("resid_post.0", tokens=Role(WICKED)))
    acts = [
        Patch("resid_post.1", source=WICKED, tokens="owned"),
        Patch("resid_post.1", source=inner, tokens=Regex(re.escape(WICKED)), source_tokens=Match(WICKED)),
        Ablate("resid_post.1", mean=WICKED),
        Ablate("resid_post.2", resample=[Chat([("user", WICKED)])]),
    ]
    experiment = Experiment([WICKED, Chat([("user", WICKED)])], acts, generation=Generation(3, stop=WICKED)).on(named)
    code = experiment.to_code()
    assert len(code.splitlines()) == code.count("\n")
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert "SystemExit" not in calls
    assert not [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Raise)]
    assert code.count("\n'; raise") == 0
    strings = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    assert WICKED in strings


def test_code_says_nothing_of_whose_machine_it_comes_from(known, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    code = Experiment("a").on(replace(known, source="/home/somebody/models/x")).to_code()
    assert "place = os.path.expanduser('~/models/x')" in code
    assert "somebody" not in code
    hosted = Experiment("a").on(replace(known, source="owner/name", dtype="bfloat16")).to_code()
    assert "dtype=torch.bfloat16, revision='abc', dispatch=True" in hosted


def test_a_module_in_memory_asks_for_itself(known):
    assert "model = TransformersModel(module, tokenizer=tokenizer" in Experiment("a").on(known).to_code()


def test_without_an_opening_the_code_opens_and_prints_nothing(known):
    code = nnsight_code(Experiment("a").on(replace(known, source="owner/name")), opening=False)
    assert "TransformersModel(" not in code
    assert "print(" not in code
    assert "blocks = model.model.layers" in code


def test_tokens_that_a_function_chooses_are_refused(known):
    act = Ablate("resid_post.1", tokens=lambda prompt: [0])
    for kind, experiment in (
        ("an Ablate", Experiment("a", act)),
        ("an Ablate", Experiment("a", Patch("resid_post.2", source=Experiment("b", act), tokens=0))),
        ("a Patch", Experiment("a", Patch("resid_post.1", source="b", tokens=0, source_tokens=lambda prompt: [0]))),
    ):
        message = (
            f"got {kind} at resid_post.1 whose tokens a function chooses, which cannot be written as code; "
            "choose them by index, slice, text, regex or role instead."
        )
        with pytest.raises(TypeError, match=re.escape(message)):
            experiment.on(known).to_code()
