"""On the real model: a direction steers, its control does not, and the code says the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.spaces import Direction
from nbinterp.widgets.playground import Playground

from .page import PROMPT, adds


@pytest.fixture(scope="module")
def real(model):
    site = "resid_post.12"
    prompts = [PROMPT, "The capital of Italy is"]
    france, italy = (model.run(nb.Experiment(prompt, read=site)).read(site)[3] for prompt in prompts)
    italian = Direction(site, model.info, italy - france)
    playground = Playground(model, PROMPT, directions={"Italy": italian}, track=[" Paris", " Rome"])
    adds(playground, "steer-1", layer=12, tokens='" France"')
    return playground


def test_on_the_real_model_a_direction_steers_and_its_control_does_not(real):
    paris, rome = real.answer["tracked"]
    assert real.result.said() == (" Rome",)
    assert rome["changed"]["probability"] > 0.4
    assert rome["control"]["probability"] < 0.01
    assert (paris["base"]["rank"], paris["changed"]["rank"] > 1, paris["control"]["rank"]) == (1, True, 1)
    (curve,) = real.curves
    (difference,) = curve["difference"]
    assert difference["text"] == "' Paris' − ' Rome'"
    at = curve["values"].index(0.0)
    assert difference["changed"][at] == difference["control"][at] == pytest.approx(difference["base"], abs=1e-3)
    np.testing.assert_allclose(real.result.logits, real._model.run(real.experiment).logits, atol=1e-4)


@pytest.mark.slow
def test_the_code_runs_without_nbinterp_and_says_the_same(real, tmp_path):
    (tmp_path / "nbinterp.py").write_text("raise ImportError('the script must not need nbinterp')")
    (tmp_path / "script.py").write_text(real.to_code())
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert " Rome" in done.stdout
