import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact
from sklearn.metrics import adjusted_rand_score

from nbinterp.geometry.clusters import clusters, over_represented
from nbinterp.geometry.preparation import prepare
from tests.geometry import planted


def blobs(n=80, k=3, d_model=64, apart=6.0, seed=0):
    """Return rows around k corners of a simplex, and which."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(k), n)
    return apart * planted.frame_of(d_model, k, seed)[of] + rng.normal(size=(n * k, d_model)) * 0.5, of


def cloud(**options):
    rows, of = blobs(**options)
    return planted.cloud_of(rows, of, np.arange(len(of)) % 4, names=("May", "June", "July")), of


def test_planted_clusters_are_found_stable_and_named():
    given, of = cloud()
    found = clusters(given)
    assert found.verdict == "clusters"
    assert found.n_clusters == 3
    assert found.p == 0.01
    inside = found.labels >= 0
    assert inside.mean() > 0.8
    assert adjusted_rand_score(of[inside], found.labels[inside]) == 1
    assert (found.stability > 0.75).all()
    for cluster in range(3):
        label = ("May", "June", "July")[of[found.labels == cluster][0]]
        assert f"month={label}" in found.name(cluster)
        assert "template" not in found.name(cluster)
    assert set(found.typical["cluster"]) == {0, 1, 2}
    assert "month=June" in repr(found)


def heavy_tailed(n, d, rng):
    return rng.normal(size=(n, d)) / np.sqrt(rng.chisquare(4, size=(n, 1)) / 4)


def anisotropic(n, d, rng):
    return rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -1.0


def gaussian(n, d, rng):
    return rng.normal(size=(n, d))


@pytest.mark.parametrize("shape", [gaussian, anisotropic, heavy_tailed])
def test_nothing_is_found_where_nothing_is(shape):
    verdicts = [clusters(shape(200, 4, np.random.default_rng(seed)), seed=seed).verdict for seed in range(5)]
    assert verdicts.count("clusters") <= 1
    assert set(verdicts) <= {"nothing here", "clusters"}


def test_nothing_in_noise_of_many_features():
    found = clusters(np.random.default_rng(0).normal(size=(300, 200)))
    assert found.verdict == "nothing here"
    assert repr(found).startswith("Clusters: nothing here\n")


def test_two_overlapping_humps_are_one():
    rows, _ = blobs(k=2, apart=0.7)
    assert clusters(rows).verdict == "nothing here"


def test_a_ring_is_neither_one_hump_nor_clusters():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 300)
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) + 0.1 * rng.normal(size=(300, 2))
    assert clusters(ring).verdict in ("not stable", "nothing here")


def test_few_points_get_no_verdict():
    rows, _ = blobs(n=12)
    found = clusters(rows)
    assert found.verdict == "too few points to say"
    assert found.reasons[0] == "36 points; wanted at least 50: collect more rows."


def test_the_difference_of_clusters_is_a_direction_at_the_site():
    given, _ = cloud()
    found = clusters(given)
    direction = found.difference(0, 1)
    expected = given.points[found.labels == 0].mean(axis=0) - given.points[found.labels == 1].mean(axis=0)
    np.testing.assert_allclose(direction.vector, expected, atol=1e-9)
    assert str(direction.site) == planted.SITE
    assert direction.model == given.model
    with pytest.raises(ValueError, match=r"^got cluster 7, which has no rows; choose from −1 \(noise\) to 2\.$"):
        found.difference(0, 7)


def test_rows_set_aside_belong_nowhere():
    rows, of = blobs()
    rows[11] *= 100
    found = clusters(rows)
    assert found.labels[11] == -1
    assert found.probabilities[11] == 0
    assert len(found.labels) == len(of)
    assert np.isnan(found.frame()["pc1"].iloc[11])


def test_rows_follow_their_landmark():
    rows, of = blobs(n=200)
    found = clusters(prepare(rows, 3, landmarks=90))
    assert adjusted_rand_score(of, found.labels) > 0.9


def test_duplicates_share_their_cluster():
    rows, _ = blobs()
    found = clusters(np.repeat(rows, 2, axis=0))
    np.testing.assert_array_equal(found.labels[::2], found.labels[1::2])


def test_frames_have_a_line_for_each_row_and_cluster():
    given, _ = cloud()
    found = clusters(given)
    frame = found.frame()
    assert list(frame.columns[:6]) == ["row", "cluster", "name", "probability", "pc1", "pc2"]
    assert {"month", "text", "template"} <= set(frame.columns)
    assert len(frame) == len(given)
    assert found.summary()["n_rows"].tolist() == [int((found.labels == c).sum()) for c in range(3)]


def test_over_representation_is_fishers_test_corrected():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"month": rng.choice(["a", "b", "c"], 60), "flag": rng.random(60) < 0.3})
    table.loc[:14, "month"] = "a"
    members = [np.arange(15), np.arange(15, 40)]
    found = over_represented(table, members, np.ones(60, dtype=bool), level=1)
    for line in found.itertuples():
        has = (table[line.column] == line.value).to_numpy()
        inside = np.isin(np.arange(60), members[line.cluster])
        cells = [[(has & inside).sum(), (~has & inside).sum()], [(has & ~inside).sum(), (~has & ~inside).sum()]]
        assert line.p == pytest.approx(fisher_exact(cells, alternative="greater").pvalue)
        assert line.q >= line.p
    assert found.iloc[0][["cluster", "column", "value"]].tolist() == [0, "month", "a"]


def test_random_columns_name_nothing():
    given, of = cloud()
    rng = np.random.default_rng(0)
    table = given.table.assign(month="same", number=rng.normal(size=len(of)), other=rng.choice(list("abcd"), len(of)))
    found = over_represented(table, [np.flatnonzero(of == i) for i in range(3)], np.ones(len(of), dtype=bool))
    assert set(found["column"]) <= {"text"}


def test_numbers_are_named_by_quartile():
    of = np.repeat([0, 1, 2], 80)
    table = pd.DataFrame({"length": of * 10 + np.random.default_rng(0).random(len(of))})
    found = over_represented(table, [np.flatnonzero(of == 2)], np.ones(len(of), dtype=bool))
    assert found.iloc[0]["column"] == "length"
    assert "20." in found.iloc[0]["value"]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            np.ones((60, 3)),
            {},
            "got min_cluster_size=5, min_samples=5 for 1 different points; wanted clusters of 2 to 0 points",
        ),
        (
            np.random.default_rng(0).normal(size=(60, 3)),
            {"min_cluster_size": 40},
            "got min_cluster_size=40, min_samples=10 for 60 different points; wanted clusters of 2 to 30 points",
        ),
        (
            np.random.default_rng(0).normal(size=(60, 3)),
            {"n_null": 10},
            "got n_null=10, which cannot reach p ≤ 0.01 after 1 looks; wanted at least 99.",
        ),
        (
            np.random.default_rng(0).normal(size=(60, 3)),
            {"looks": 0},
            "got alpha=0.01, looks=0; wanted alpha between 0 and 1 and at least 1 look.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(rows, options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        clusters(rows, **options)
