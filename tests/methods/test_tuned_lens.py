"""The tuned lens on small models, where the best translator is known or can be computed."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

import nbinterp as nb
from nbinterp.engine.tuning import _Layer, least_squares
from tests.conftest import random_module
from tests.engine.oracle import same

PROMPT = "The capital of France is Paris"


@pytest.fixture(scope="module")
def llama(tokenizer):
    # a small vocabulary: training multiplies by it hundreds of times
    module = random_module("llama", vocab_size=512)
    return nb.Model.open(module, tokenizer=Folded(tokenizer), name="llama", device="cpu")


class Folded:
    """The demo model's tokenizer with ids folded into a small vocabulary."""

    def __init__(self, own):
        self._own = own

    def __getattr__(self, name):
        return getattr(self._own, name)

    def __len__(self):
        return 512

    def __call__(self, text, **settings):
        encoded = self._own(text, **settings)
        return {**encoded, "input_ids": [i % 509 + 3 for i in encoded["input_ids"]]}


@pytest.fixture(scope="module")
def texts():
    words = (
        "the",
        "a",
        "of",
        "to",
        "and",
        "in",
        "is",
        "was",
        "for",
        "on",
        "with",
        "as",
        "by",
        "at",
        "from",
        "it",
        "an",
    )
    random = np.random.default_rng(0)
    return ["The " + " ".join(random.choice(words, 24)) for _ in range(40)]


@pytest.fixture(scope="module")
def trained(llama, texts):
    return nb.TunedLens.train(llama, texts, steps=30, progress=False)


def test_it_loses_less_than_the_logit_lens_on_texts_that_it_never_saw(trained):
    report = trained.frame()
    assert report["site"].tolist() == [f"resid_pre.{n}" for n in range(4)]
    assert (report["low"] > 0).all()
    assert (report["tuned_kl"] < 0.8 * report["logit_kl"]).all()
    assert ((report["low"] <= report["gain"]) & (report["gain"] <= report["high"])).all()
    assert "better at 4 of 4 layers" in repr(trained)


def test_its_report_is_what_the_lens_itself_shows(llama, texts, trained):
    found = trained.measured(llama, texts[:3]).frame()
    cells = [
        nb.logit_lens(llama, text, sites="resid_pre", lens=lens).data["kl"].to_numpy()[0]
        for lens in (trained, None)
        for text in texts[:3]
    ]
    same(found["tuned_kl"], np.concatenate(cells[:3], axis=1).mean(1))
    same(found["logit_kl"], np.concatenate(cells[3:], axis=1).mean(1))


def test_the_lens_reads_through_it(llama, trained):
    plain, lens = nb.logit_lens(llama, PROMPT), nb.logit_lens(llama, PROMPT, lens=trained, track=7)
    assert repr(lens).startswith("Tuned lens of 5 layers")
    # what the model says is left as it is
    same(lens.data["top_probability"].to_numpy()[0, -1], plain.data["top_probability"].to_numpy()[0, -1])
    result = llama.run(nb.Experiment(PROMPT, read=["resid_post.1"]))
    state = result.read("resid_post.1").astype(np.float64)
    moved = state + state @ trained.weights[2].T.astype(np.float64) + trained.biases[2]
    same(lens.data["logit"].sel(layer=1).to_numpy()[0, 0], llama.readout.logits(moved)[:, 7])
    changed = nb.logit_lens(llama, nb.Experiment(PROMPT, nb.Ablate("attn_out.1")), lens=trained)
    assert changed.difference()["kl"].sel(layer=2).to_numpy().any()
    with pytest.raises(ValueError, match=r"got resid_mid\.0 for a tuned lens"):
        nb.logit_lens(llama, PROMPT, lens=trained, sites="resid_mid")


def test_a_seed_repeats(llama, texts, trained):
    again = nb.TunedLens.train(llama, texts, steps=30, progress=False)
    np.testing.assert_array_equal(again.weights, trained.weights)
    pd.testing.assert_frame_equal(again.frame(), trained.frame())
    assert not np.array_equal(
        nb.TunedLens.train(llama, texts, steps=1, seed=1, progress=False).weights, trained.weights
    )


def test_training_that_is_stopped_keeps_what_was_best(llama, texts):
    calls = iter(range(10**6))
    lens = nb.TunedLens.train(llama, texts, steps=500, progress=False, cancel=lambda: next(calls) > 60)
    assert "stopped by hand after" in lens.provenance
    assert not lens.report.empty


def test_least_squares_finds_a_linear_map_and_is_not_led_astray_by_a_giant_token():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=random)
    turn, shift = torch.randn(6, 6, generator=random), torch.randn(6, generator=random)
    y = x @ turn.T + shift
    for around_itself in (False, True):
        found, offset = least_squares(x, y, around_itself=around_itself)
        same(found + around_itself * torch.eye(6), turn, 1e-2)
        same(offset, shift, 1e-2)
    x[17], y[17] = 1e4, torch.ones(6)
    found, _ = least_squares(x, y)
    plain = torch.linalg.lstsq(torch.cat([x, torch.ones(400, 1)], 1), y).solution[:6].T
    assert (found - turn).abs().max() < 0.7 * (plain - turn).abs().max()


def test_a_translator_in_its_own_units_is_the_map_that_is_kept():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 4, generator=random) * torch.tensor([1.0, 100.0, 0.01, 1.0]) + 3, torch.randn(50, 4)
    layer = _Layer(x, y, torch.randn(4, 4, generator=random), torch.randn(4, generator=random))
    with torch.no_grad():
        layer.turn += torch.randn(4, 4, generator=random)
        layer.shift += 1
        weight, bias = layer.map()
        same(x + x @ weight.T + bias, layer(x))


def test_saved_and_read_again_it_is_the_same_and_knows_its_model(llama, trained, tokenizer, tmp_path):
    path = trained.save(tmp_path / "lens.safetensors")
    again = nb.TunedLens.load(path, llama)
    np.testing.assert_array_equal(again.weights, trained.weights)
    pd.testing.assert_frame_equal(again.report, trained.report)
    assert repr(again) == repr(trained)
    other = nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")
    with pytest.raises(ValueError, match="whose states it would translate wrongly"):
        nb.TunedLens.load(path, other)
    with pytest.raises(ValueError, match="whose states it would translate wrongly"):
        nb.logit_lens(other, PROMPT, lens=again)
    (tmp_path / "other").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no safetensors file"):
        nb.TunedLens.load(tmp_path / "other")


def published(folder, **changes):
    """A lens as the package tuned-lens 0.2.0 writes it: state_dict of a list of linear maps, and a card."""
    linear = torch.nn.ModuleList([torch.nn.Linear(32, 32) for _ in range(4)])
    torch.save(linear.state_dict(), folder / "params.pt")
    card = {"base_model_name_or_path": "llama", "d_model": 32, "num_hidden_layers": 4, "bias": True} | changes
    (folder / "config.json").write_text(json.dumps(card))
    return linear


def test_published_lenses_are_read(llama, texts, tmp_path):
    linear = published(tmp_path)
    lens = nb.TunedLens.load_published(tmp_path, llama)
    states = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    with torch.no_grad():
        wanted = torch.tensor(states) + linear[2](torch.tensor(states))
    same(lens.translate(states, nb.Site("resid_pre", 2)), wanted)
    with pytest.raises(ValueError, match="nobody measured"):
        lens.chart()
    # random maps are worse than none, and it says so
    assert "Worse than the logit lens at" in repr(lens.measured(llama, texts[:4]))


def test_published_lenses_of_another_size_or_form_are_refused(llama, tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json"):
        nb.TunedLens.load_published(tmp_path, llama)
    published(tmp_path, d_model=64)
    with pytest.raises(ValueError, match="4 layers of 64 features; llama has 4 of 32"):
        nb.TunedLens.load_published(tmp_path, llama)
    published(tmp_path)
    torch.save({"0.weight": torch.zeros(32, 32)}, tmp_path / "params.pt")
    with pytest.raises(ValueError, match="without a translator for each layer"):
        nb.TunedLens.load_published(tmp_path, llama)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_nothing_in_a_published_lens_is_run(llama, tmp_path, save):
    published(tmp_path)
    save({"0.weight": Trap()}, tmp_path / "params.pt")
    with pytest.raises(ValueError, match=r"no file of plain tensors .* nothing else is read"):
        nb.TunedLens.load_published(tmp_path, llama)


@pytest.mark.parametrize(
    ("texts", "settings", "error", "message"),
    [
        (["a"] * 7, {}, ValueError, "got 7 texts; wanted at least 8"),
        ("a text", {}, TypeError, "no list of texts"),
        (["a"] * 8, {"steps": 0}, ValueError, "got steps=0"),
        (["a"] * 8, {"max_tokens": True}, ValueError, "got max_tokens=True"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_the_model_runs(
    llama, monkeypatch, texts, settings, error, message
):
    monkeypatch.setattr(nb.Model, "run", lambda *args, **kwargs: pytest.fail("the model ran"))
    with pytest.raises(error, match=message):
        nb.TunedLens.train(llama, texts, **settings)


def test_the_chart_has_both_lenses(trained):
    drawn = trained.chart().to_dict()
    assert drawn["encoding"]["color"]["scale"]["domain"] == ["logit lens", "tuned lens"]
    assert len(drawn["datasets"][drawn["data"]["name"]]) == 8
