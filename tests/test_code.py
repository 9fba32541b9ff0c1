"""What to_code prints runs in a fresh interpreter, without nbinterp, and gives the same logits."""

import ast
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nbinterp import Ablate, Experiment, Loop, Match, Patch, Plane, Rotate, Steer

PROMPTS = ["If this month is March, next month is", "It is March and the last month is"]
SAVE = """
import sys
assert "nbinterp" not in sys.modules
np.savez(sys.argv[1], logits=torch.stack(logits).numpy(), **({k: v.numpy() for a in activations for k, v in a.items()} if "activations" in globals() else {}))
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
    loop = Loop("resid_post.7", model.info, rng.normal(size=d), *rng.normal(size=(2, 2, d)))
    return [
        Steer("resid_post.10", direction=rng.normal(size=d), scale=2.0, tokens=Match(" March", nth=1)),
        Ablate("resid_post.20", tokens=slice(1, 3)),
        Ablate("resid_post.2", tokens=[0], mean=rng.normal(size=d)),
        Patch("resid_post.12", source="The month of June", tokens=" March", source_tokens=" June"),
        Rotate("resid_post.5", on=Plane("resid_post.5", model.info, np.zeros(d), basis), to=1.0, tokens=-1),
        Rotate("resid_post.7", on=loop, by=1.0, tokens=[3, 5]),
        Rotate("resid_post.7", on=loop, to=2.0, start=1.0, tokens="all"),
    ]


@pytest.mark.slow
def test_the_code_of_every_intervention_gives_the_same(model, tmp_path):
    experiment = Experiment(PROMPTS, interventions(model), read=["resid_post.4", "resid_post.12", "resid_post.29"])
    result = model.run(experiment)
    assert np.abs(result.logits - result.base_logits).max() > 1
    saved, printed = run_alone(result.experiment.to_code(), tmp_path)
    np.testing.assert_allclose(saved["logits"], result.logits, atol=1e-3)
    for site, arrays in result.activations.items():
        np.testing.assert_allclose(saved[str(site)], arrays[-1], atol=1e-3 * np.abs(arrays[-1]).max())
    assert repr(PROMPTS[0]) in printed


@pytest.mark.slow
def test_the_code_of_an_untouched_run_is_plain(model, tmp_path):
    result = model.run("The capital of France is")
    code = result.experiment.to_code()
    saved, printed = run_alone(code, tmp_path)
    np.testing.assert_allclose(saved["logits"], result.logits, atol=1e-4)
    assert "' Paris'" in printed
    for unused in ("def array", "def match", "def put", "nbinterp."):
        assert unused not in code


WICKED = "'; raise SystemExit('owned') #\n\"\"\" {model}"


def test_the_users_texts_are_data_in_the_code(info):
    named = replace(info, name=WICKED, source=f"/models/{WICKED}")
    code = Experiment(WICKED, Patch("resid_post.1", source=WICKED, tokens="owned")).on(named).to_code()
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert "SystemExit" not in calls
    assert not [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Raise)]
    assert code.count("\n'; raise") == 0


def test_code_says_nothing_of_whose_machine_it_comes_from(info, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    code = Experiment("a").on(replace(info, source="/home/somebody/models/x")).to_code()
    assert "place = os.path.expanduser('~/models/x')" in code
    assert "somebody" not in code
    hosted = Experiment("a").on(replace(info, source="owner/name", dtype="bfloat16")).to_code()
    assert "dtype=torch.bfloat16, revision='abc', dispatch=True" in hosted


def test_a_module_in_memory_asks_for_itself(info):
    assert "model = TransformersModel(module, tokenizer=tokenizer" in Experiment("a").on(info).to_code()
