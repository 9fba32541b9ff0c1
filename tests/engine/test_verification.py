"""Does a result that is checked against independent recomputations pass when it is right, and fail when it is not?"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PretrainedConfig

import nbinterp as nb
from nbinterp import Ablate, Cut, Experiment, Patch, Scale, Site, Steer
from nbinterp.engine import execute, verification
from nbinterp.engine.verification import Check, Verification, verify
from tests.conftest import random_module

PROMPTS = ["If this month is March, next month is", "One two three"]
NAMES = ["resumed = full", "batched = alone", "padded = unpadded", "code = itself"]


def checked(model, experiment):
    """A result, and what comes of checking it."""
    result = model.run(experiment)
    return result, verify(model._executor, model.tokens, result)


def everywhere(model):
    """Every component that the model has, at an early and a late layer, and single heads."""
    places = model.info.anatomy.places
    sites = [name if name in ("embed", "logits") else f"{name}.{layer}" for name in places for layer in (1, 3)]
    return [*sites, "z.1.2", *(["pattern.2.1"] if "pattern" in places else [])]


def stack(model):
    """Interventions that resume, take from untouched and from changed runs, and choose at random."""
    v = np.random.default_rng(0).normal(size=32)
    inner = Experiment(PROMPTS[0], Steer("resid_post.0", direction=v, tokens=1))
    return [
        Steer("resid_post.1", direction=v, tokens=2),
        Patch("z.1.2", source=PROMPTS[0], tokens=[1, -1]),
        Patch("resid_post.2", source=inner, tokens=1, source_tokens=3),
        Ablate("attn_out.2", mean=PROMPTS, tokens=-1, amount=0.5),
        Ablate("mlp_out.2", resample=PROMPTS, seed=3, tokens=-1),
        Scale("mlp_post.3", factor=0.5, tokens=2),
    ]


def failed(found):
    """The names of the checks that failed."""
    assert [check.name for check in found.checks] == NAMES
    return [check.name for check in found.checks if check.passed is False]


def test_an_untouched_result_passes_with_everything_read(small):
    _, found = checked(small, Experiment(PROMPTS, read=everywhere(small)))
    assert found.passed, found
    assert all(check.passed for check in found.checks), found


def test_a_changed_result_passes_with_everything_read(small):
    _, found = checked(small, Experiment(PROMPTS, stack(small), read=everywhere(small)))
    assert found.passed, found
    assert all(check.passed for check in found.checks), found


def test_changed_patterns_pass_behind_padding_too(small):
    if "pattern" not in small.info.anatomy.places:
        pytest.skip(small.info.anatomy.lacking["pattern"])
    prompt, other = PROMPTS[0], PROMPTS[0].replace("March", "May")
    n, heads = len(small.tokens(prompt)), small.info.n_heads
    row = np.random.default_rng(0).dirichlet(np.ones(n))
    acts = [
        Ablate("pattern.0", tokens=4),
        Ablate("pattern.0", tokens=3, amount=0.5),
        Patch("pattern.1", source=other, tokens=[3, 4], amount=0.7),
        Patch("pattern.2.1", source=other, tokens=-1),
        Patch("pattern.3.0", source=row, tokens=-1),
        Cut("pattern.3.2", tokens=[-1, -2], keys=1),
        Patch("pattern.3", source=np.tile(row, heads), tokens=5),
    ]
    _, found = checked(small, Experiment(prompt, acts, read=["pattern.3", "resid_post.3"]))
    assert all(check.passed for check in found.checks), found


@pytest.fixture(scope="module")
def llama(tokenizer):
    """One model to break."""
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


@pytest.fixture
def experiment():
    """One that resumes at block 2, token 2."""
    return Experiment(PROMPTS, Steer("resid_post.1", direction=np.ones(32), tokens=2), read=["resid_post.3", "z.2.1"])


def test_a_result_checks_itself(llama, experiment):
    found = llama.run(experiment).verify()
    assert [check.name for check in found.checks] == NAMES
    assert found.passed
    assert found.model == llama.info


def test_a_kept_stream_that_is_off_is_found(llama, experiment, monkeypatch):
    run = execute.Executor._run_untouched

    def off(*args, **kwargs):
        found = run(*args, **kwargs)
        for kept in found:
            kept.stream[2, 2:] *= 1.01
        return found

    llama._executor.forget()
    with monkeypatch.context() as patched:
        patched.setattr(execute.Executor, "_run_untouched", off)
        _, found = checked(llama, experiment)
    llama._executor.forget()
    # run alone, the same mistake is made again
    assert failed(found) == ["resumed = full", "padded = unpadded", "code = itself"]
    assert not found.passed
    assert "changed, of" in found.checks[0].note
    assert checked(llama, experiment)[1].passed


def test_a_kept_run_that_was_overwritten_is_found_by_running_alone(llama, experiment):
    llama.run(experiment)
    for kept in llama._executor.kept:
        kept.cache[3][1][:, :, :2] += 1
    _, found = checked(llama, experiment)
    llama._executor.forget()
    assert failed(found) == NAMES


def test_a_source_that_is_off_is_found(llama, monkeypatch):
    def off(self, prompts, site):
        return mean(self, prompts, site) * 1.01

    mean = execute.Executor._mean
    with monkeypatch.context() as patched:
        patched.setattr(execute.Executor, "_mean", off)
        _, found = checked(llama, Experiment(PROMPTS, Ablate("resid_post.1", mean=PROMPTS, tokens=-1)))
    assert failed(found) == ["resumed = full", "padded = unpadded", "code = itself"]


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("scale=1.0", "scale=1.01", "largest in"),
        ("steer(", "stear(", "the script raises NameError: name 'stear' is not defined"),
    ],
)
def test_a_script_that_is_wrong_is_found(llama, experiment, monkeypatch, old, new, note):
    def wrong(*args, **kwargs):
        script = write(*args, **kwargs)
        assert old in script.rpartition("for prompt")[2]
        head, loop, body = script.rpartition("for prompt")
        return head + loop + body.replace(old, new)

    write = verification.nnsight_code
    with monkeypatch.context() as patched:
        patched.setattr(verification, "nnsight_code", wrong)
        _, found = checked(llama, experiment)
    assert failed(found) == ["code = itself"]
    assert note in found.checks[3].note


def test_padding_that_is_not_masked_is_found(llama, experiment, monkeypatch):
    inputs = verification._FullPasses._inputs

    def unmasked(self, prompt):
        found = inputs(self, prompt)
        return found | {name: torch.ones_like(mask) for name, mask in found.items() if name == "attention_mask"}

    monkeypatch.setattr(verification._FullPasses, "_inputs", unmasked)
    assert failed(checked(llama, experiment)[1]) == ["padded = unpadded"]


def test_a_number_of_the_result_that_was_changed_is_found(llama, experiment):
    result = llama.run(experiment)
    for wrong in (np.nan, 5.0):
        logits = result.logits.copy()
        logits[1, 7] = wrong
        found = verify(llama._executor, llama.tokens, replace(result, logits=logits))
        assert failed(found) == NAMES
        assert found.checks[0].note == "largest in the logits, changed, of 'One two three'"


def test_what_cannot_be_computed_again_says_why_and_does_not_fail(llama, experiment, monkeypatch):
    chosen = replace(experiment, interventions=(Scale("resid_post.1", factor=2, tokens=lambda prompt: [1]),))
    _, found = checked(llama, chosen)
    assert found.passed
    assert found.checks[3].passed is None
    assert found.checks[3].note.startswith("not possible: got a Scale at resid_post.1 whose tokens a function chooses")
    assert found.frame()["passed"].isna().tolist() == [False, False, False, True]

    class Plain(torch.nn.Module):
        config = PretrainedConfig()

        def forward(self, input_ids, attention_mask=None):
            raise AssertionError

    executor = copy.copy(llama._executor)
    executor.nnsight = type("Wrapped", (), {"_module": Plain()})()
    with pytest.raises(verification._NotPossible, match="the forward pass of Plain takes no position_ids"):
        verification._FullPasses(executor, {}, 3)


def test_a_raw_path_is_checked_where_its_tensor_has_tokens(llama, experiment):
    paths = ("model.layers.1.mlp.act_fn", "model.layers.2.self_attn.q_proj:input", "model.norm")
    _, found = checked(llama, replace(experiment, read=tuple(map(Site.of, paths))))
    assert all(check.passed for check in found.checks), found


def test_checking_leaves_the_model_as_it_is(llama, experiment, capsys):
    before = llama.nnsight._module.config._attn_implementation
    known = len(llama._executor.kept)
    result, _ = checked(llama, replace(experiment, read=(Site.of("pattern.2"),)))
    assert llama.nnsight._module.config._attn_implementation == before
    assert len(llama._executor.kept) >= known
    assert all(prompt in llama._executor.kept for prompt in result.prompts)
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(llama.run(result.experiment).logits, result.logits)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2**-4), ("float16", 2**-6)])
def test_half_precision_has_its_own_tolerance(tokenizer, dtype, tolerance):
    module = random_module("llama").to(getattr(torch, dtype))
    model = nb.Model.open(module, tokenizer=tokenizer, device="cpu")
    _, found = checked(model, Experiment(PROMPTS, stack(model), read=["resid_post.3", "mlp_out.2"]))
    assert all(check.tolerance == tolerance for check in found.checks)
    assert found.passed, found


def test_the_difference_is_relative_to_the_token_and_to_what_stood_there():
    base = np.array([[1e4, 0], [2, 1], [1, -2]], dtype="f4")
    off = base + np.array([[0, 0], [0, 0.02], [0, 0]], dtype="f4")
    assert verification._difference(off, base, base) == pytest.approx(0.01, rel=1e-3)
    zeros = np.zeros_like(base)
    assert verification._difference(zeros, zeros, base) == 0
    assert verification._difference(zeros + np.float32(0.2), zeros, base) == pytest.approx(0.1)
    assert verification._difference(zeros, zeros, zeros) == 0
    assert verification._difference(zeros + 1, zeros, zeros) == np.inf
    assert verification._difference(zeros * np.nan, zeros, base) == np.inf
    assert verification._difference(base[:2], base, base) == np.inf
    infinite = np.array([-np.inf, 1], dtype="f4")
    assert verification._difference(infinite, infinite, infinite) == 0


def test_a_verification_prints_itself(info):
    checks = (
        Check("a = b", 3e-6, 1e-4, "largest in the logits, changed, of '<b>'"),
        Check("c = d", None, 1e-4, "not possible: no"),
    )
    found = Verification(info, checks)
    assert found.passed
    assert repr(found) == (
        "Verification on toy@abc in float32: passed:\n"
        "  a = b: 3.0e-06 ≤ 1.0e-04; largest in the logits, changed, of '<b>'\n"
        "  c = d: not possible: no"
    )
    assert "&lt;b&gt;" in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    assert list(found.frame().columns) == ["check", "difference", "tolerance", "passed", "note"]
    worse = Verification(info, (*checks, Check("e = f", 0.1, 1e-4, "")))
    assert not worse.passed
    assert "FAILED" in repr(worse)
    assert "e = f: 1.0e-01 > 1.0e-04" in repr(worse)
