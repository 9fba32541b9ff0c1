"""Activation patching: equal to hooks on every family, exact on a circuit that is known, and honest about what it was asked."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.charts.patching import patching_chart
from nbinterp.methods.behaviour import Behaviour, BehaviourMissing
from nbinterp.methods.patching import Patching, activation_patching
from nbinterp.pairs import Pair
from tests.conftest import random_module
from tests.engine.oracle import hooked, same
from tests.methods.induction import INDUCTION, PREVIOUS, WORDS, opened


@pytest.fixture(scope="module")
def model():
    return opened()


def text(*ids):
    return "".join(WORDS[i] for i in ids)


CLEAN = text(3, 7, 1, 9, 12, 3, 7, 1)  # after the second 1 comes 9
ANSWER = text(3, 7, 1, 20, 12, 3, 7, 1)  # here 20
CUE = text(3, 7, 2, 9, 12, 3, 7, 1)  # and here 1 stood nowhere before
METRIC = nb.logit_difference(WORDS[9], WORDS[20])


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_the_known_circuit_decides_where_it_must(model, direction):
    found = activation_patching(model, CLEAN, ANSWER, metric=METRIC, direction=direction)
    wanted = np.zeros((2, 8))
    wanted[0, 3] = 1  # after block 0 the answer stands at its own token
    wanted[1, 7] = 1  # after block 1 at the last one
    np.testing.assert_allclose(found.effects.sel(component="resid_post"), wanted, atol=1e-4)
    normalized = found.normalized.sel(component="resid_post", layer=0, token=3)
    assert float(normalized) == pytest.approx(float(direction == "denoising"), abs=1e-4)
    assert "layer 0 at ' fi/la' (up to 1.00); layer 1 at ' bi' (up to 1.00)" in repr(found)
    assert found.best(2)[["layer", "token"]].to_numpy().tolist() == [[0, 3], [1, 7]]


def test_the_heads_that_are_named_are_those_of_the_circuit(model):
    # without the cue both heads miss what they need: the one that looks back, and the one that copies
    found = activation_patching(model, CLEAN, CUE, metric=METRIC, sites="z", control=3)
    named = [f"z.{line.layer}.{line.head}" for line in found.named().itertuples()]
    assert sorted(named) == sorted([PREVIOUS, INDUCTION])
    np.testing.assert_allclose(found.named()["effect"], 1, atol=1e-3)
    control = found.control_effects
    assert dict(control.sizes) == {"draw": 3, "component": 1, "layer": 2, "head": 6}
    assert float(control.max()) < 0.95 < float(found.named()["effect"].min())
    assert "of the others a random one does +0.000" in repr(found)
    assert "a random direction of the same length" in repr(found)


def test_where_nothing_writes_no_head_is_named(model):
    found = activation_patching(model, CLEAN, ANSWER, metric=METRIC, sites="z", layers=[0])
    assert found.named().empty
    assert "no head stands out" in repr(found)


def made(each, direction="denoising"):
    """A grid ``[pair, head]`` of effects, as if it had been measured: corrupted prompts have 0, clean ones 1."""
    n, n_heads = each.shape
    pairs = (Pair("clean", "corrupted", METRIC),) * n
    info = ModelInfo("toy", "abc", "LlamaForCausalLM", n_layers=1, d_model=3, n_vocab=10, blocks="layers")
    behaviour = Behaviour(pairs, np.ones(n), np.zeros(n), np.ones(n), info)
    values = each if direction == "denoising" else 1 - each
    grid = xr.DataArray(
        values[:, None, None],
        {"component": ["z"], "layer": [0], "head": range(n_heads)},
        ("pair", "component", "layer", "head"),
    )
    return Patching(grid, behaviour, direction)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_heads_that_do_as_much_as_random_ones_are_not_named(direction):
    """Few heads do much in each pair, as in a real model; but in each pair others: the means of some are large by chance."""
    random = np.random.default_rng(0)
    named = []
    for _ in range(40):
        each = random.normal(scale=0.01, size=(8, 270)) + random.standard_t(1.5, size=(8, 270)) / 50
        named.append(len(made(each, direction).named()))
    assert sum(n > 0 for n in named) <= 5  # 2 of 40 expected
    # the same two heads in all pairs are found, in either direction
    each[:, [7, 99]] += [1.5, -1.5]
    found = made(each, direction)
    assert found.named()["head"].tolist()[:2] in ([7, 99], [99, 7])
    assert len(found.named()) == 2
    assert f"the largest of 270 random ones up to {found.baseline:.2f}" in repr(found)


def test_the_largest_random_head_is_that_of_exchanged_heads():
    each = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    # two ones fall on the same head in one of four exchanges: the mean is then 1, else 1/2
    assert made(each).baseline == 1
    assert np.isnan(made(each[:1]).baseline)
    assert "only several pairs tell" in repr(made(np.eye(1, 300)))


def test_the_value_of_the_head_that_copies_is_enough_and_its_key_is_not(model):
    found = activation_patching(model, CLEAN, ANSWER, metric=METRIC, sites=["q", "k", "v"], layers=[1])
    effects = found.effects.sel(layer=1)
    induction = int(INDUCTION[-1])
    np.testing.assert_allclose(effects.sel(head=induction, component=["q", "k", "v"]), [0, 0, 1], atol=1e-3)


def test_a_random_direction_is_as_long_as_the_patch(model, monkeypatch):
    asked = []
    sweep = nb.Model.sweep

    def spied(self, start, make, **kwargs):
        asked.append(make)
        return sweep(self, start, make, **kwargs)

    monkeypatch.setattr(nb.Model, "sweep", spied)
    activation_patching(model, CLEAN, ANSWER, metric=METRIC, control=1)
    patch = asked[1]("resid_post", 0, token=3)
    here, there = (model.run(nb.Experiment(p, read="resid_post.0")).read("resid_post.0")[3] for p in (ANSWER, CLEAN))
    assert np.linalg.norm(patch.source.values - here) == pytest.approx(np.linalg.norm(there - here), rel=1e-5)
    assert np.abs(patch.source.values - there).max() > 0.01


def test_several_pairs_are_each_kept_and_their_means_are_normalised(model):
    clean, corrupted = [CLEAN, text(5, 2, 8, 4, 11, 5, 2, 8)], [ANSWER, text(5, 2, 8, 30, 11, 5, 2, 8)]
    metrics = [METRIC, nb.logit_difference(WORDS[4], WORDS[30])]
    found = activation_patching(model, clean, corrupted, metric=metrics)
    for i in range(2):
        one = activation_patching(model, clean[i], corrupted[i], metric=metrics[i])
        np.testing.assert_allclose(found.values.isel(pair=i), one.values.isel(pair=0), atol=1e-4)
    mean = found.values.mean("pair").to_numpy()
    np.testing.assert_allclose(found.normalized, (mean - found.corrupted) / (found.clean - found.corrupted))
    by_pair = found.frame(by_pair=True)
    assert len(by_pair) == 2 * len(found.frame()) == 2 * 16
    assert by_pair["clean"][[0, 16]].to_numpy() == pytest.approx(found.behaviour.clean)


def test_pairs_of_different_length_meet_in_groups_of_tokens(model):
    clean, corrupted = [CLEAN, text(3, 7, 1, 9, 3, 7, 1)], [ANSWER, text(3, 7, 1, 20, 3, 7, 1)]
    groups = {"answer": WORDS[9], "the rest": lambda prompt: [i for i in range(len(prompt)) if i != 3]}
    found = activation_patching(model, clean, corrupted, metric=METRIC, tokens=groups, layers=[0])
    assert found.values["token"].to_numpy().tolist() == ["answer", "the rest"]
    np.testing.assert_allclose(found.effects.to_numpy().ravel(), [1, 0], atol=1e-3)
    with pytest.raises(ValueError, match="got pairs of 7 to 8 tokens, whose positions do not mean the same; wanted"):
        activation_patching(model, clean, corrupted, metric=METRIC)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_kl_is_taken_to_the_clean_run_whichever_is_patched(model, direction):
    found = activation_patching(model, CLEAN, ANSWER, metric=nb.kl_divergence(), direction=direction, layers=[1])
    assert found.clean == 0
    assert found.corrupted > 5
    # the last token after the last block is the whole answer
    assert float(found.effects.sel(token=7).squeeze()) == pytest.approx(1, abs=1e-3)
    assert float(found.values.sel(token=0).squeeze()) == pytest.approx(0 if direction == "noising" else found.corrupted)


def test_every_family_is_patched_as_hooks_would(small):
    clean, corrupted = "The red cat sat down", "The old cat sat down"
    metric = nb.logit_difference(" on", " up")
    n = len(small.tokens(clean))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a random model answers as it likes
        grid = activation_patching(small, clean, corrupted, metric=metric, layers=[1, 2])
        heads = activation_patching(small, clean, corrupted, metric=metric, sites="z", layers=[2], direction="noising")
    vocabulary = small.vocabulary

    def wanted(start, source, site, positions):
        _, seen = hooked(small, source, reads=[site])
        value = seen[nb.Site.of(site)]
        logits, _ = hooked(small, start, edits=[(site, positions, lambda x: torch.tensor(value[positions]).to(x))])
        return metric(logits, logits, vocabulary)

    everywhere = list(range(n))
    same(
        grid.values.sel(component="resid_post", layer=2, token=1)[0],
        wanted(corrupted, clean, "resid_post.2", [1]),
        1e-3,
    )
    same(
        grid.values.sel(component="resid_post", layer=1, token=3)[0],
        wanted(corrupted, clean, "resid_post.1", [3]),
        1e-3,
    )
    same(heads.values.sel(component="z", layer=2, head=3)[0], wanted(clean, corrupted, "z.2.3", everywhere), 1e-3)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (
            {"sites": "resid_post.3"},
            r"got sites='resid_post.3'; wanted components .*: write sites='resid_post', layers=\[…\]",
        ),
        ({"sites": "embed"}, "got sites='embed'; wanted components that every layer has"),
        (
            {"sites": ["z", "mlp_out"]},
            r"no common grid \(z 6 heads, mlp_out no heads\); ask for them one after the other",
        ),
        ({"sites": []}, "wanted at least one component, each once"),
        ({"layers": [2]}, r"got layers=\[2\]; wanted each once, from 0 to 1"),
        ({"direction": "both"}, "got direction='both'; wanted 'denoising' or 'noising'"),
        ({"control": -1}, "got control=-1; wanted a whole number from 0 up"),
        ({"gate": "maybe"}, "got gate='maybe'"),
        ({"tokens": {}}, r"got tokens=\{\}; wanted at least one group"),
        ({"corrupted": text(3, 7)}, "got a clean prompt of 8 tokens and a corrupted one of 2; wanted as many"),
    ],
)
def test_what_cannot_be_patched_is_refused_before_the_model_runs(model, monkeypatch, asked, sentence):
    monkeypatch.setattr(nb.Model, "_runs", None)
    with pytest.raises(ValueError, match=sentence):
        activation_patching(model, CLEAN, **({"corrupted": ANSWER, "metric": METRIC} | asked))


def test_a_behaviour_that_is_not_there_is_refused_where_that_is_asked_for(model):
    with pytest.raises(BehaviourMissing, match="answers 0% of the clean prompts"):
        activation_patching(model, ANSWER, CLEAN, metric=METRIC, gate="refuse")


def test_a_metric_that_tells_nothing_apart_says_so(model):
    found = activation_patching(model, CLEAN, ANSWER, metric=lambda logits, base: 1.0, gate="ignore")
    with pytest.raises(
        ValueError, match="got <lambda>|got metric 1 on clean and 1 on corrupted prompts; wanted numbers that differ"
    ):
        found.frame()
    assert "wanted numbers that differ" in repr(found)


def test_a_metric_of_a_wrong_shape_is_refused(model):
    with pytest.raises(ValueError, match=r"got an array of shape \[32\] from the metric"):
        activation_patching(model, CLEAN, ANSWER, metric=lambda logits, base: logits)


def test_the_chart_shows_both_tokens_where_they_differ(model):
    found = activation_patching(model, CLEAN, ANSWER, metric=METRIC, sites=["resid_post", "attn_out"])
    spec = found.chart().to_dict()
    (drawn,) = spec["datasets"].values()
    assert pd.DataFrame(drawn)["panel"].value_counts().to_dict() == {"resid_post": 16, "attn_out": 16}
    assert {row["column"] for row in drawn} >= {"3:  fi/la", "7:  bi"}
    shown = found._repr_html_()
    assert "Patching (denoising)" in shown


def test_of_very_many_tokens_the_chart_draws_those_that_matter(model, monkeypatch):
    found = activation_patching(model, CLEAN, ANSWER, metric=METRIC).frame()
    monkeypatch.setattr("nbinterp.charts.patching.MAX_ROWS", 20)
    many = pd.concat([found.assign(token=found["token"] + 8 * i, effect=found["effect"] / (i + 1)) for i in range(3)])
    spec = patching_chart(many, "token").to_dict()
    assert "10 of 24 tokens drawn, those with the largest effects" in spec["title"]["subtitle"]
    (rows,) = spec["datasets"].values()
    assert len(rows) == 20
    assert {row["column"].split(":")[0] for row in rows} >= {"3", "7", "11", "15", "19", "23"}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_grids_are_those_of_transformer_lens(family, tokenizer, tmp_path):
    # where it is not installed, importing this skips
    from tests.engine.test_transformer_lens import oracle_of, transformer_lens

    module = random_module(family)
    small = nb.Model.open(module, tokenizer=tokenizer, name=family, device="cpu")
    with pytest.warns(DeprecationWarning, match="HookedTransformer is deprecated"):
        oracle = oracle_of(module, str(tmp_path))
    clean, corrupted = "The red cat sat down", "The old cat sat down"
    a, b = small.vocabulary.id(" on"), small.vocabulary.id(" up")
    ids = [torch.tensor([small.tokens(prompt).ids]) for prompt in (clean, corrupted)]
    from transformer_lens import patching

    assert transformer_lens is not None
    with torch.no_grad():
        _, cache = oracle.run_with_cache(ids[0])
        for sites, theirs in (
            ("resid_pre", patching.get_act_patch_resid_pre),
            ("attn_out", patching.get_act_patch_attn_out),
            ("mlp_out", patching.get_act_patch_mlp_out),
            ("z", patching.get_act_patch_attn_head_out_all_pos),
            ("q", patching.get_act_patch_attn_head_q_all_pos),
        ):
            wanted = theirs(oracle, ids[1], cache, lambda logits: logits[0, -1, a] - logits[0, -1, b])
            found = activation_patching(
                small, clean, corrupted, metric=nb.logit_difference(" on", " up"), sites=sites, gate="ignore"
            )
            same(found.values[0, 0], wanted, 1e-3)
