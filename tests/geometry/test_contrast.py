"""Picked rows: a real cluster is set apart, a piece cut off a shapeless cloud is not, and the numbers are those of scikit-learn."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.geometry.contrast import contrast
from nbinterp.geometry.planes import flat_plane
from nbinterp.geometry.selections import by_chance, mask_of
from nbinterp.geometry.separation import held_out_scores, separation

MODEL = ModelInfo("toy", "abc", "LlamaForCausalLM", n_layers=4, d_model=16, n_vocab=10, blocks="model.layers")


def shapeless(n, d, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.concatenate([[4.0, 3.0], np.ones(d - 2)])


def lasso(points, share, seed):
    """Rows inside a circle somewhere at the rim of the picture, as a hand draws it."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    picture = points[:, :2] / points[:, :2].std(axis=0)
    away = np.linalg.norm(picture - 1.8 * np.array([np.cos(angle), np.sin(angle)]), axis=1)
    return np.argsort(away)[: round(share * len(points))]


def test_a_second_cluster_is_set_apart():
    points = shapeless(160, 24, 0)
    points[:40, 2] += 9
    found = contrast(points, np.arange(40), n_null=199)
    assert found.verdict == "set apart"
    assert found.auc > 0.99
    assert found.p == 1 / 200
    assert found.d_prime > found.d_prime_expected
    unit = found.direction.unit.vector
    assert abs(unit[2]) > 0.95


def test_a_direction_that_fails_its_test_may_steer_and_says_so():
    points = shapeless(120, 12, 0)
    may = "It may steer the model all the same: that is for its effect beside that of random directions to say"
    assert may in contrast(points, lasso(points, 0.2, 0), n_null=199).caveat
    assert may in contrast(points, np.arange(4), n_null=199).caveat
    points[:40, 2] += 9
    assert may not in contrast(points, np.arange(40), n_null=199).caveat


def test_p_counts_the_value_itself_and_the_looks():
    null = np.arange(99.0)
    assert by_chance(98.5, null, 1) == 1 / 100
    assert by_chance(98.0, null, 1) == 2 / 100
    assert by_chance(96.5, null, 7) == pytest.approx(21 / 100)
    assert by_chance(-1.0, null, 2) == 1.0


def cut(points, share, seed):
    """Rows beyond a straight line through the picture: the most separate ones that there can be."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    along = points[:, :2] / points[:, :2].std(axis=0) @ np.array([np.cos(angle), np.sin(angle)])
    return np.argsort(-along)[: round(share * len(points))]


@pytest.mark.parametrize(("pick", "auc"), [(lasso, 0.9), (cut, 0.95)])
def test_a_lasso_round_a_piece_of_nothing_separates_and_is_no_finding(pick, auc):
    """High AUC on rows held out, and still p holds its level: rows that lie together differ from the rest whatever they are."""
    found = [
        contrast(points := shapeless(120, 12, seed), pick(points, 0.2, seed), n_null=39, alpha=0.05, seed=seed)
        for seed in range(40)
    ]
    assert np.median([one.auc for one in found]) > auc
    # 40 draws at 5 %: more than 5 have a chance of 1.4 %
    assert sum(one.found for one in found) <= 5


def test_rows_picked_at_random_are_not_told_apart():
    points = shapeless(150, 10, 3)
    found = contrast(points, np.random.default_rng(3).permutation(150)[:50], n_null=99)
    assert found.verdict == "no more than a cut"
    assert found.p > 0.5
    assert 0.3 < found.auc < 0.7


def test_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    scores, picked = rng.integers(0, 9, size=80).astype(float), rng.random(80) < 0.3
    assert separation(scores, picked).auc == pytest.approx(roc_auc_score(picked, scores), abs=1e-12)


def test_each_score_comes_from_the_other_folds_alone():
    rng = np.random.default_rng(2)
    points, picked, folds = rng.normal(size=(30, 4)), np.arange(30) < 12, np.arange(30) % 3
    scores = held_out_scores(points, picked, folds)
    for fold in range(3):
        seen, out = folds != fold, folds == fold
        up, down = points[seen & picked].mean(axis=0), points[seen & ~picked].mean(axis=0)
        wanted = (points[out] - (up + down) / 2) @ (up - down) / ((up - down) ** 2).sum()
        assert scores[out] == pytest.approx(wanted)


def test_the_order_of_rows_does_not_matter_for_the_direction():
    points = shapeless(60, 8, 4)
    order = np.random.default_rng(0).permutation(60)
    mask = np.arange(60) < 20
    one, other = contrast(points, mask, n_null=99), contrast(points[order], mask[order], n_null=99)
    assert one.direction.vector == pytest.approx(other.direction.vector)


def test_the_labels_that_say_it_are_named_and_groups_are_held_out_together():
    rng = np.random.default_rng(5)
    month = np.tile([f"m{i}" for i in range(12)], 10)
    table = pd.DataFrame({"month": month, "template": np.repeat(np.arange(10), 12), "noise": rng.integers(0, 3, 120)})
    points = rng.normal(size=(120, 16))
    points[month == "m3"] += 2
    cloud = nb.Cloud.from_arrays({"resid_post.1": points}, table, MODEL)
    rows = np.flatnonzero((month == "m3") | (np.arange(120) == 0))
    found = contrast(cloud, rows, groups="template", n_null=199)
    assert found.held_out == "template"
    assert str(found.direction.site) == "resid_post.1"
    assert found.direction.model == MODEL
    assert found.explained["column"].tolist()[0] == "month"
    assert found.labels == "91% of them are m3 (month), and 100% of such rows are picked"
    assert "m3 (month)" in repr(found)
    assert found.frame()["held_out"].tolist() == ["template"]


def test_several_labels_are_named_together():
    month = np.tile([f"m{i}" for i in range(12)], 10)
    points = np.random.default_rng(5).normal(size=(120, 16))
    cloud = nb.Cloud.from_arrays({"resid_post.1": points}, pd.DataFrame({"month": month}), MODEL)
    three = contrast(cloud, np.isin(month, ["m0", "m1", "m2"]), n_null=99)
    assert three.labels == "100% of them are m0, m1 or m2 (month), and 100% of such rows are picked"
    most = contrast(cloud, ~np.isin(month, ["m0", "m1", "m2"]), n_null=99)
    assert most.labels.startswith("100% of them are m3, m4, m5, m6 or 5 others (month)")


def test_what_cannot_be_held_out_is_said():
    rng = np.random.default_rng(6)
    table = pd.DataFrame({"template": np.repeat([0, 1, 2, 3], 15)})
    cloud = nb.Cloud.from_arrays({"resid_post.1": rng.normal(size=(60, 16))}, table, MODEL)
    found = contrast(cloud, np.arange(15), groups="template", n_null=99)
    assert found.held_out == "row"
    assert "All picked rows are of one template" in found.caveat


def test_few_rows_give_a_direction_and_no_verdict():
    found = contrast(shapeless(40, 6, 0), [0, 1, 2], n_null=99)
    assert found.verdict == "too few rows to say"
    assert np.isnan(found.p)
    assert not found.found
    assert found.statement.startswith("3 rows against 37: too few to say")
    assert found.direction.norm > 0


def test_picked_rows_of_a_giant_norm_are_counted():
    points = shapeless(80, 12, 0)
    points[:2] *= 100
    found = contrast(points, np.arange(30), n_null=99)
    assert (found.n_picked, found.n_set_aside) == (28, 2)
    assert found.statement.startswith("28 rows (2 more set aside for their giant norm), ")


def test_more_rows_than_are_compared_are_sampled(monkeypatch):
    # by its name the package gives the function
    monkeypatch.setattr(sys.modules["nbinterp.geometry.contrast"], "MOST_ROWS", 50)
    points = shapeless(400, 6, 0)
    points[:150, 3] += 12
    found = contrast(points, np.arange(150), n_null=99)
    assert found.verdict == "set apart"
    assert len(found.scores) == 100
    assert found.n_picked == 150
    assert "100 of them compared" in found.provenance


def test_work_can_be_stopped_and_says_how_far_it_is():
    seen = []

    class Stop(Exception):
        pass

    def progress(done, total):
        seen.append((done, total))
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        contrast(shapeless(60, 5, 0), np.arange(20), n_null=99, progress=progress)
    assert seen == [(1, 99), (2, 99), (3, 99)]


@pytest.mark.parametrize(
    ("rows", "kwargs", "message"),
    [
        ([], {}, r"^got 0 of 40 usable rows picked; wanted some picked and some left"),
        (np.ones(40, dtype=bool), {}, r"^got 40 of 40 usable rows picked"),
        ([40], {}, r"^got picked rows \[40\]…; wanted a mask, or indices from 0 to 39\.$"),
        (np.ones(3, dtype=bool), {}, r"^got a mask of shape \[3\] for 40 rows; wanted one entry a row\.$"),
        ([1, 2], {"n_null": 50}, r"^got n_null=50, which cannot reach p ≤ 0.01"),
    ],
)
def test_what_makes_no_contrast_is_refused(rows, kwargs, message):
    with pytest.raises(ValueError, match=message):
        contrast(shapeless(40, 5, 0), rows, **kwargs)


def test_masks_and_indices_mean_the_same():
    assert mask_of([1, 3], 5).tolist() == mask_of(np.array([False, True, False, True, False]), 5).tolist()


def test_the_chart_shows_both_sides():
    drawn = contrast(shapeless(60, 5, 0), np.arange(20), n_null=99).chart().to_dict()
    bars = drawn["datasets"][drawn["layer"][0]["data"]["name"]]
    assert {bar["side"] for bar in bars} == {"picked rows", "other rows"}
    assert sum(bar["rows"] for bar in bars) == 60


def test_rows_in_a_plane_are_flat_and_random_rows_are_not():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 16))
    points[:40, :2] += 4 * rng.normal(size=(40, 2))
    flat = flat_plane(points, np.arange(40), n_null=99, max_norm_ratio=None)
    assert flat.verdict == "flat"
    assert flat.share_held_out > flat.share_expected
    assert np.abs(flat.plane.basis[:, :2]).sum() > 1.8
    any_rows = flat_plane(points, rng.permutation(200)[:40], n_null=99, max_norm_ratio=None)
    assert any_rows.verdict == "no flatter than any rows"
    assert any_rows.frame()["row"].is_monotonic_increasing


def test_the_plane_holds_its_level():
    points = shapeless(100, 8, 0)
    p = [
        flat_plane(points, np.random.default_rng(seed).permutation(100)[:25], n_null=19, alpha=0.1, seed=seed).p
        for seed in range(40)
    ]
    # 40 draws at 10 %: more than 9 have a chance of 1.5 %
    assert sum(one <= 0.1 for one in p) <= 9


def test_too_few_rows_for_a_plane():
    with pytest.raises(ValueError, match=r"^got 2 usable rows of 6 features; wanted three or more that differ"):
        flat_plane(shapeless(20, 6, 0), [0, 1])
    assert flat_plane(shapeless(20, 6, 0), [0, 1, 2, 3]).verdict == "too few rows to say"
