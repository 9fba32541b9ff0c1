"""Patchscopes against hooks of plain torch."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.sites import Site
from tests.conftest import random_module
from tests.engine.oracle import hooked, same

PROMPT, TARGET = "The capital of France", "cat -> cat; ?"


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def small_one(request, tokenizer):
    return nb.Model.open(random_module(request.param), tokenizer=tokenizer, name=request.param, device="cpu")


@pytest.mark.parametrize("target_layer", [None, 1])
def test_each_state_is_read_where_it_was_put(small_one, target_layer):
    asked = {"token": " France", "layers": [0, 2], "target": TARGET, "target_layer": target_layer}
    found = nb.patchscope(small_one, PROMPT, **asked, track=10_000, max_new_tokens=2).frame()
    n = len(small_one.tokens(TARGET))
    sites = [Site("resid_post", layer) for layer in (0, 2)]
    _, seen = hooked(small_one, PROMPT, reads=sites)
    for site in sites:
        state = torch.tensor(seen[site][-1])
        where = site if target_layer is None else Site("resid_post", target_layer)
        logits, _ = hooked(small_one, TARGET, [(where, [n - 1], lambda x, state=state: 0 * x + state)])
        p = torch.tensor(logits).double().softmax(-1)
        line = found.query(f"kind == 'patched' and layer == {site.layer}").iloc[0]
        same(line["tracked"], p[10_000])
        same(line["probability"], p.max())
        assert line["first"] == small_one.vocabulary.tokens[int(p.argmax())]
        assert line["text"].startswith(line["first"])
    logits, _ = hooked(small_one, TARGET)
    nothing = found.query("kind == 'nothing'").iloc[0]
    same(nothing["tracked"], torch.tensor(logits).double().softmax(-1)[10_000])


def test_a_state_put_back_where_it_was_says_what_the_model_says(small_one):
    found = nb.patchscope(small_one, TARGET, token=-1, target=TARGET, layers=[1], n_random=0, max_new_tokens=4)
    patched, nothing = (found.frame().query(f"kind == '{kind}'").iloc[0] for kind in ("patched", "nothing"))
    assert patched["text"] == nothing["text"]
    assert patched["probability"] == pytest.approx(nothing["probability"], rel=1e-4)


def test_random_states_are_as_long_and_repeat(small_one):
    asked = {"token": -1, "target": TARGET, "layers": [0, 1], "n_random": 2, "max_new_tokens": 1}
    found, again = (nb.patchscope(small_one, PROMPT, **asked).frame() for _ in range(2))
    assert found.groupby("kind").size().to_dict() == {"nothing": 1, "patched": 2, "random": 4}
    assert found["text"].tolist() == again["text"].tolist()
    assert np.isnan(found["tracked"]).all()


def test_interventions_act_where_the_state_is_taken(small_one):
    asked = {"token": -1, "target": TARGET, "layers": [2], "n_random": 0, "max_new_tokens": 1}
    plain = nb.patchscope(small_one, PROMPT, **asked).frame()
    changed = nb.patchscope(small_one, nb.Experiment(PROMPT, nb.Ablate("attn_out.1")), **asked).frame()
    same_target, other = (plain["probability"] == changed["probability"]).tolist()
    assert same_target
    assert not other


def test_it_tells_and_draws_its_controls(small_one):
    found = nb.patchscope(small_one, PROMPT, token=-1, target=TARGET, layers=[0, 3], track=" Paris", max_new_tokens=1)
    assert "with nothing patched" in repr(found)
    assert "with random states of equal length" in repr(found)
    assert "Continuations that name 'Paris': nothing 0 of 1; patched " in repr(found)
    rule, _, points = found.chart().to_dict()["layer"]
    assert rule["mark"]["type"] == "rule"
    assert points["encoding"]["color"]["scale"]["domain"] == ["patched", "random"]
    with pytest.raises(ValueError, match="tracks no token"):
        nb.patchscope(small_one, PROMPT, token=-1, layers=[0], n_random=0, max_new_tokens=1).chart()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"token": "capital of"}, ValueError, r"which is 2 tokens of .* wanted one"),
        ({"token": -1, "target_token": slice(None)}, ValueError, "got target_token=.*wanted one"),
        ({"token": -1, "layers": []}, ValueError, "got no layer"),
        ({"token": -1, "layers": [9]}, ValueError, "has 4 layers"),
        ({"token": -1, "target_layer": 4}, ValueError, "has 4 layers"),
        ({"token": -1, "n_random": -1}, ValueError, "got n_random=-1"),
        ({"token": -1, "max_new_tokens": 0}, ValueError, "got max_new_tokens=0"),
        ({"token": -1, "track": ""}, LookupError, "empty text"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_model_runs(small_one, monkeypatch, settings, error, message):
    monkeypatch.setattr(nb.Model, "run", lambda *args, **kwargs: pytest.fail("the model ran"))
    with pytest.raises(error, match=message):
        nb.patchscope(small_one, PROMPT, **settings)
