import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import parametrize_with_checks

from nbinterp.geometry import Preparation, prepare
from nbinterp.geometry.preparation import distinct
from tests.geometry.planted import circle, frame_of, labelled, months


@parametrize_with_checks(
    [
        Preparation(),
        Preparation(1),
        Preparation(0.5),
        Preparation("parallel"),
        Preparation(whiten=True),
        Preparation(landmarks=3, landmark_method="farthest"),
    ]
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def rows(n=90, d=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)) * [9, 7, 5, 3, 2, 1] @ frame_of(d, 6) + 0.3 * rng.normal(size=(n, d)) + 4


@pytest.mark.parametrize("shape", [(90, 40), (30, 100)])
@pytest.mark.parametrize("whiten", [False, True])
def test_components_are_those_of_scikit_learn(shape, whiten):
    points = rows(*shape)
    ours, theirs = Preparation(5, whiten=whiten).fit(points), PCA(5, whiten=whiten, svd_solver="full").fit(points)
    signs = np.sign((ours.components_ * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(ours.components_, signs[:, None] * theirs.components_, atol=1e-9)
    np.testing.assert_allclose(ours.transform(points), signs * theirs.transform(points), atol=1e-8)
    np.testing.assert_allclose(ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-9)
    scores = ours.transform(points)
    np.testing.assert_allclose(
        ours.inverse_transform(scores), theirs.inverse_transform(theirs.transform(points)), atol=1e-8
    )


@given(st.floats(0.05, 0.999), st.integers(0, 20))
def test_a_share_of_variance_keeps_the_fewest_components_that_hold_it(share, seed):
    points = rows(40, 12, seed)
    kept = Preparation(share).fit(points).n_components_
    cumulated = PCA(svd_solver="full").fit(points).explained_variance_ratio_.cumsum()
    assert cumulated[kept - 1] >= share - 1e-9
    assert kept == 1 or cumulated[kept - 2] < share + 1e-9


@pytest.mark.parametrize("k", [1, 2, 5])
def test_parallel_analysis_finds_the_planted_dimension(k):
    rng = np.random.default_rng(k)
    points = 2 * rng.normal(size=(400, k)) @ frame_of(60, k) + 0.5 * rng.normal(size=(400, 60))
    assert Preparation("parallel").fit(points).n_components_ == k


def test_parallel_analysis_finds_nothing_in_independent_features():
    points = np.random.default_rng(0).normal(size=(300, 60)) * np.linspace(1, 9, 60)
    # one component is the least that a method can go on with
    assert Preparation("parallel").fit(points).n_components_ == 1


def test_without_projection_rows_are_only_centred():
    points = rows()
    fitted = Preparation().fit(points)
    np.testing.assert_allclose(fitted.transform(points), points - points.mean(axis=0))
    assert fitted.explained_variance_ratio_.sum() == pytest.approx(1)


def test_whitened_scores_have_variance_one_and_a_constant_feature_none():
    points = np.column_stack([rows(90, 6), np.full(90, 7.0)])
    scores = Preparation(whiten=True).fit_transform(points)
    np.testing.assert_allclose(scores.var(axis=0, ddof=1), [1, 1, 1, 1, 1, 1, 0], atol=1e-9)


@pytest.mark.parametrize("method", ["k-means", "farthest", "random"])
def test_landmarks_stand_for_the_rows_and_say_what_that_costs(method):
    prepared = prepare(rows(), 3, landmarks=12, landmark_method=method, seed=1)
    distances = cdist(prepared.scores, prepared.points)
    assert len(prepared.points) == 12
    np.testing.assert_array_equal(prepared.point_of_row, distances.argmin(axis=1))
    hausdorff = max(distances.min(axis=1).max(), distances.min(axis=0).max())
    assert prepared.landmark_error == pytest.approx(hausdorff, abs=1e-6)
    assert f"{method} landmarks" in prepared.provenance.replace("farthest-point", "farthest")


def test_farthest_points_cover_twice_as_well_as_any_other_choice_could_not():
    # Gonzalez 1985: within twice the best covering radius; k-means' and random points' bound it from above
    covering = {m: prepare(rows(), 2, landmarks=10, landmark_method=m).landmark_error for m in ("farthest", "random")}
    assert covering["farthest"] <= 2 * covering["random"]


def test_rows_of_a_giant_norm_and_duplicates_are_counted():
    points = rows()
    points = np.concatenate([points, points[:5], 1e4 * points[:1]])
    prepared = prepare(points)
    assert prepared.point_of_row[-1] == -1
    np.testing.assert_array_equal(prepared.point_of_row[90:95], prepared.point_of_row[:5])
    assert "1 set aside" in prepared.provenance
    assert "90 points (5 duplicates counted once)" in prepared.provenance
    assert np.isnan(prepared.spread(np.arange(95))[-1])
    assert len(prepare(points, deduplicate=False).points) == 95


@given(seed=st.integers(0, 2**16), n_features=st.integers(1, 3))
def test_points_stay_in_the_order_of_their_first_rows(seed, n_features):
    # few values, so that many rows share some of their features and some share all
    points = np.random.default_rng(seed).integers(3, size=(30, n_features)).astype(float)
    kept, of_point = distinct(points)
    first_seen = list(dict.fromkeys(map(tuple, points)))
    assert [tuple(point) for point in kept] == first_seen
    np.testing.assert_array_equal(kept[of_point], points)


def test_landmarks_of_other_scores_are_chosen_in_the_same_way():
    for method in ("k-means", "farthest", "random"):
        fitted = Preparation(2, landmarks=10, landmark_method=method).fit(rows())
        np.testing.assert_allclose(fitted.landmarks_of(fitted.transform(rows())), fitted.landmarks_, atol=1e-9)
    with pytest.raises(
        ValueError, match="^got landmarks=None, so that rows stand for themselves; set landmarks first.$"
    ):
        Preparation(2).fit(rows()).landmarks_of(rows())


def test_groups_are_centred_first():
    points, _, groups = labelled(circle(12))
    prepared = prepare(points, 2, within=groups)
    for group in set(groups):
        np.testing.assert_allclose(prepared.rows[groups == group].mean(axis=0), 0, atol=1e-9)
    named = prepare(months(), 2, within="template")
    assert "centred within template" in named.provenance
    assert str(named.site) == "resid_post.3"


def test_what_is_prepared_stays_as_it_is():
    prepared = prepare(rows(), 3)
    assert prepare(prepared, 2) is prepared


def test_other_rows_go_the_same_way():
    prepared = prepare(rows(), 2, landmarks=10)
    other = rows(seed=5)
    np.testing.assert_allclose(prepared.again(other), prepare(other, 2, landmarks=10).points, atol=1e-9)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n_components": 41}, "got n_components=41 for 90 rows of 40 features; choose 1 to 40"),
        ({"n_components": 0}, "got n_components=0"),
        ({"n_components": 1.5}, "got n_components=1.5"),
        ({"n_components": "many"}, "got n_components='many'"),
        ({"landmarks": 91}, "got landmarks=91 for 90 rows; wanted at least 3 and at most as many as rows"),
        (
            {"landmarks": 5, "landmark_method": "best"},
            "got landmark_method='best'; choose from k-means, farthest, random",
        ),
    ],
)
def test_bad_requests_get_one_sentence(more, message):
    with pytest.raises(ValueError, match=message):
        prepare(rows(), **more)


def test_a_single_usable_row_is_too_few():
    with pytest.raises(ValueError, match="got 1 usable row; wanted at least 2"):
        prepare(np.ones((1, 9)))
