import html
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.methods.steering_vectors import auc_interval, typical_norm
from tests.conftest import random_module
from tests.engine.oracle import hooked, same

POSITIVE = ["The movie was great", "We liked the food", "What a lovely day it was", "Her song is good"]
NEGATIVE = ["The movie was awful", "We hated the food", "What a dreadful day it was", "Her song is bad"]

N, D = 60, 16
MANY_POSITIVE = [f"yes {i}" for i in range(N)]
MANY_NEGATIVE = [f"no {i}" for i in range(N)]


@pytest.fixture(scope="module", params=["llama", "gpt2", "falcon_7b"])
def small(request, tokenizer):
    return nb.Model.open(random_module(request.param), tokenizer=tokenizer, name=request.param, device="cpu")


class Planted:
    """A model whose texts lie where they are put: ``points [site, text, feature]``, positive ones first."""

    def __init__(self, points):
        self.points = points
        self.info = ModelInfo("toy", "abc", "LlamaForCausalLM", 8, points.shape[-1], 10, "model.layers")

    def collect(self, texts, *, sites, tokens, progress, cancel):
        table = pd.DataFrame({"text": texts, "prompt": range(len(texts))})
        return nb.Cloud.from_arrays({f"{sites}.{i}": rows for i, rows in enumerate(self.points)}, table, self.info)


def planted(apart, *, seed=0, n_sites=1, pairs=0.0):
    """Return a planted model, and the unit direction along which its positive texts lie further, by `apart` deviations."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=D)
    truth /= np.linalg.norm(truth)
    points = rng.normal(size=(n_sites, 2 * N, D))
    points[:, :N] += apart * truth
    points += pairs * np.tile(rng.normal(size=(1, N, D)), (1, 2, 1))
    return Planted(points), truth


def found(model, **settings):
    return nb.steering_vectors(model, MANY_POSITIVE, MANY_NEGATIVE, **settings)


def test_the_direction_is_the_difference_of_the_means(small):
    vectors = nb.steering_vectors(small, POSITIVE, NEGATIVE, tokens=-1, held_out=0)
    assert [str(site) for site in vectors.sites] == [f"resid_post.{layer}" for layer in range(small.info.n_layers)]
    means = []
    for texts in (POSITIVE, NEGATIVE):
        read = [hooked(small, text, reads=vectors.sites)[1] for text in texts]
        means.append({site: np.mean([one[site][-1] for one in read], axis=0) for site in vectors.sites})
    for direction in vectors.directions:
        same(direction.vector, means[0][direction.site] - means[1][direction.site])
        assert direction.model == small.info


def test_over_several_tokens_each_text_counts_once(small):
    vectors = nb.steering_vectors(small, POSITIVE, NEGATIVE, sites="mlp_out.2", tokens="all", held_out=0)
    (site,) = vectors.sites
    sides = [
        [hooked(small, text, reads=[site])[1][site].mean(axis=0) for text in texts] for texts in (POSITIVE, NEGATIVE)
    ]
    same(vectors.direction(2).vector, np.mean(sides[0], axis=0) - np.mean(sides[1], axis=0))
    assert "the mean of several tokens each" in repr(vectors)


@pytest.mark.parametrize("method", ["mean difference", "contrastive", "probe"])
def test_a_planted_direction_is_found_and_holds_on_texts_held_out(method):
    model, truth = planted(3.0)
    vectors = found(model, method=method)
    (direction,) = vectors.directions
    assert direction.unit.vector @ truth > 0.85
    line = vectors.frame().iloc[0]
    # two unit Gaussians 3 apart overlap with AUC Φ(3/√2) = .983, and .933 are on the right side of the middle
    assert line["low"] < norm.cdf(3 / np.sqrt(2)) < line["high"]
    assert abs(line["accuracy"] - norm.cdf(1.5)) < 0.1
    assert abs(line["d_prime"] - 3) < 0.9 if method != "contrastive" else line["d_prime"] > 3
    assert line["p"] == 1 / 2000
    assert vectors.separating == vectors.sites
    assert "36 held-out texts are told apart at the site" in repr(vectors)
    assert vectors.best is direction


def test_a_probe_reaches_as_far_as_the_means_along_it():
    model, _ = planted(2.0)
    means, probe = (found(model, method=m, seed=3).directions[0].vector for m in ("mean difference", "probe"))
    np.testing.assert_allclose(probe @ means, probe @ probe)
    assert np.linalg.norm(probe) < np.linalg.norm(means)


def test_pairs_are_judged_against_their_own_middle():
    # what differs between pairs is ten times what differs within
    model, _ = planted(3.0, pairs=30.0)
    across, within = (found(model, method=m).frame().iloc[0] for m in ("mean difference", "contrastive"))
    assert across["p"] > 0.05 or across["auc"] < 0.75
    assert within["auc"] > 0.95
    assert within["p"] < 0.001
    directions = [found(model, method=m).directions[0] for m in ("mean difference", "contrastive")]
    np.testing.assert_allclose(directions[0].vector, directions[1].vector, atol=1e-5)


@pytest.mark.parametrize("method", ["mean difference", "contrastive"])
def test_without_a_difference_p_is_uniform_whatever_the_number_of_sites(method):
    p = [
        found(planted(0.0, seed=i, n_sites=5)[0], method=method, n_null=199, seed=i).frame()["p"].min()
        for i in range(80)
    ]
    # the smallest of the corrected p falls below a with a chance of a
    for level in (0.1, 0.3, 0.6):
        assert abs(np.mean(np.array(p) <= level) - level) < 3 * np.sqrt(level * (1 - level) / len(p))


def test_rows_that_were_learnt_from_prove_nothing():
    rng = np.random.default_rng(1)
    # more features than texts: what was learnt from is told apart without fail
    model = Planted(rng.normal(size=(1, 2 * N, 400)))
    vectors = found(model, method="probe")
    scores = model.points[0] @ vectors.directions[0].vector
    learnt = np.isin([*MANY_POSITIVE, *MANY_NEGATIVE], vectors.made_from)
    is_positive = np.arange(2 * N) < N
    assert scores[learnt & is_positive].min() > scores[learnt & ~is_positive].max()
    assert 0.3 < vectors.frame()["auc"].iloc[0] < 0.7
    assert "are not told apart at any site" in repr(vectors)
    assert vectors.separating == ()


def test_groups_are_held_out_whole():
    model, _ = planted(3.0)
    groups = [i // 6 for i in range(N)]
    vectors = found(model, groups=groups, held_out=0.2)
    held = {groups[int(text.split()[1])] for text in vectors.held_out}
    assert len(held) == 2
    assert len(vectors.held_out) == 2 * 2 * 6
    assert set(vectors.held_out).isdisjoint(vectors.made_from)
    assert len(vectors.made_from) + len(vectors.held_out) == 2 * N
    assert not held & {groups[int(text.split()[1])] for text in vectors.made_from}
    assert "2 whole groups of 10 held out" in repr(vectors)
    # two groups say little of others, however many texts they have
    assert vectors.frame()["low"].iloc[0] < 0.5


def test_texts_need_not_come_in_pairs():
    model, _ = planted(3.0)
    points = np.concatenate([model.points[:, : N - 25], model.points[:, N:]], axis=1)
    vectors = nb.steering_vectors(Planted(points), MANY_POSITIVE[25:], MANY_NEGATIVE, held_out=0.4)
    kinds = [text.split()[0] for text in vectors.held_out]
    assert (kinds.count("yes"), kinds.count("no")) == (14, 24)
    assert vectors.frame()["auc"].iloc[0] > 0.9


def test_too_few_held_out_is_said():
    points = np.concatenate([np.ones((1, 4, D)), -np.ones((1, 4, D))], axis=1)
    points += 0.01 * np.random.default_rng(0).normal(size=points.shape)
    vectors = nb.steering_vectors(Planted(points), POSITIVE, NEGATIVE, held_out=0.5)
    assert vectors.frame()["auc"].iloc[0] == 1
    assert 0.2 < vectors.reachable < 0.3
    assert re.search(r"4 held-out texts are too few to say: p cannot fall below 0\.2\d", vectors.statement)


def test_with_nothing_held_out_nothing_is_claimed():
    vectors = found(planted(3.0)[0], held_out=0)
    assert vectors.frame()[["auc", "low", "high", "accuracy", "d_prime", "p"]].isna().all(axis=None)
    assert "whether the directions hold on other texts is not known" in repr(vectors)
    assert len(vectors.made_from) == 2 * N
    with pytest.raises(ValueError, match=r"nothing was held out, so that none is known to be best; make them with"):
        vectors.best  # noqa: B018


def test_the_interval_is_newcombes_and_holds():
    low, high = auc_interval(0.8, 12, 20)
    for true in (low, high):
        more = (12 + 20) / 2 - 1
        variance = true * (1 - true) * (1 + more * ((1 - true) / (2 - true) + true / (1 + true))) / (12 * 20)
        np.testing.assert_allclose(abs(0.8 - true), 1.959964 * np.sqrt(variance), rtol=1e-5)
    assert 0.8 < auc_interval(1.0, 15, 15)[0] < 0.9
    assert auc_interval(0.0, 15, 15)[1] == pytest.approx(1 - auc_interval(1.0, 15, 15)[0])
    rng = np.random.default_rng(0)
    apart = np.sqrt(2) * norm.ppf(0.9)
    samples = rng.normal(size=(400, 2, 15)) + np.array([apart, 0])[:, None]
    aucs = (samples[:, 0, :, None] > samples[:, 1, None]).mean(axis=(1, 2))
    covered = [low <= 0.9 <= high for low, high in (auc_interval(auc, 15, 15) for auc in aucs)]
    assert 0.92 < np.mean(covered) <= 1


def test_rows_of_giant_norm_do_not_set_the_length():
    rows = np.random.default_rng(0).normal(size=(50, 64))
    wanted = np.linalg.norm(rows, axis=1).mean()
    rows = np.concatenate([rows, 1e4 * np.ones((1, 64))])
    assert typical_norm(rows) == pytest.approx(wanted)


def test_the_same_seed_gives_the_same_and_the_result_is_frozen():
    model, _ = planted(1.0)
    one, other, third = (found(model, seed=seed) for seed in (4, 4, 5))
    pd.testing.assert_frame_equal(one.frame(), other.frame())
    assert one.made_from == other.made_from != third.made_from
    frame = one.frame()
    frame["auc"] = 0
    assert one.frame()["auc"].iloc[0] > 0
    with pytest.raises(ValueError, match="read-only"):
        one.directions[0].vector[0] = 1


def test_directions_are_found_by_layer():
    vectors = found(planted(1.0, n_sites=3)[0])
    assert str(vectors.direction(2).site) == "resid_post.2"
    with pytest.raises(
        LookupError, match=r"^got layer 7, at which there are 0 of these directions; they live at resid_post\.0"
    ):
        vectors.direction(7)


def test_it_draws_and_says_itself():
    vectors = found(planted(2.0, n_sites=3)[0])
    spec = vectors.chart().to_dict()
    assert "AUC" in str(spec["vconcat"][0])
    assert spec["title"]["text"] == "Steering vectors by mean difference: toy"
    assert html.escape(vectors.statement) in vectors._repr_html_()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"positive": "great"}, TypeError, r"^got positive='great'; wanted a list of texts\.$"),
        ({"negative": ["a", 3]}, TypeError, r"^got negative=\['a', 3\]; wanted a list of texts\.$"),
        ({"positive": ["a"]}, ValueError, r"^got 1 positive texts; wanted at least 2\.$"),
        (
            {"positive": ["a", "b"], "negative": ["c", "a"]},
            ValueError,
            r"^got 'a' among the positive and the negative texts; wanted each on one side\.$",
        ),
        ({"method": "pca"}, ValueError, r"^got method='pca'; choose from mean difference, contrastive, probe\.$"),
        ({"held_out": 1.0}, ValueError, r"^got held_out=1\.0; wanted a share of the texts from 0 to below 1"),
        (
            {"held_out": 0.01},
            ValueError,
            r"^got 4 pairs for held_out=0\.01, by which no positive or no negative text is held out",
        ),
        ({"held_out": 0.95}, ValueError, r"no positive or no negative text is learnt from; wanted some of both"),
        (
            {"method": "contrastive", "positive": POSITIVE[:3]},
            ValueError,
            r"^got 3 positive and 4 negative texts for method='contrastive', which compares them one to one; wanted",
        ),
        (
            {"groups": [1, 2, 3]},
            ValueError,
            r"^got 3 groups for 4 positive and 4 negative texts; wanted one a text, or one a pair",
        ),
        (
            {"groups": [1, 2, 3, 4, 2, 3, 4, 1], "method": "contrastive"},
            ValueError,
            r"^got groups that divide pairs; wanted both texts of a pair in one group\.$",
        ),
        (
            {"n_null": 5},
            ValueError,
            r"^got n_null=5, which cannot reach p ≤ 0\.01 after 1 looks; wanted at least 99\.$",
        ),
        ({"alpha": 2.0}, ValueError, r"^got alpha=2\.0"),
    ],
)
def test_bad_input_is_refused_before_the_model_is_asked(changed, error, message):
    model = SimpleNamespace(collect=lambda *args, **kwargs: pytest.fail("the model was asked"))
    settings = {"positive": POSITIVE, "negative": NEGATIVE} | changed
    with pytest.raises(error, match=message):
        nb.steering_vectors(model, settings.pop("positive"), settings.pop("negative"), **settings)


def test_texts_that_are_read_alike_are_refused():
    with pytest.raises(
        ValueError, match=r"^got texts that are read alike at resid_post\.0, so that there is no direction"
    ):
        nb.steering_vectors(Planted(np.ones((1, 8, D))), POSITIVE, NEGATIVE)
