import re

import numpy as np
import pytest

from nbinterp.geometry.dimension import intrinsic_dimension
from nbinterp.geometry.preparation import prepare
from tests.geometry import planted


def circle(n, rng):
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def torus(n, rng):
    return np.hstack([circle(n, rng), circle(n, rng)])


def sphere(n, rng):
    points = rng.normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def disc(n, rng):
    return circle(n, rng) * np.sqrt(rng.random((n, 1)))


SHAPES = {circle: 1, torus: 2, sphere: 2, disc: 2}


@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_hold_the_truth_as_often_as_they_say(shape):
    hits = []
    for seed in range(60):
        low, high = intrinsic_dimension(shape(300, np.random.default_rng(seed))).interval
        hits.append(low <= SHAPES[shape] <= high)
    # 95 % of 60 are 57; 51 or fewer happen once in 100
    assert np.mean(hits) > 0.85


def test_intervals_of_halves_hold_the_truth():
    hits = []
    for seed in range(12):
        low, high = intrinsic_dimension(torus(300, np.random.default_rng(seed)), "mle").interval
        hits.append(low <= 2 <= high)
    assert np.mean(hits) >= 0.75


@pytest.mark.parametrize(
    ("shape", "method"),
    [(circle, "mle"), (torus, "mle"), (sphere, "mle"), (sphere, "twonn"), (sphere, "lpca")],
)
def test_all_methods_know_the_simple_shapes(shape, method):
    found = intrinsic_dimension(shape(600, np.random.default_rng(0)), method)
    assert abs(found.estimate - SHAPES[shape]) < 0.35
    assert found.interval[0] <= found.estimate <= found.interval[1]


def test_twonn_is_the_closed_form_of_the_pareto_law():
    from scipy.spatial.distance import cdist

    points = sphere(200, np.random.default_rng(1))
    distances = np.sort(cdist(points, points), axis=1)
    logs = np.sort(np.log(distances[:, 2] / distances[:, 1]))
    expected = 179 / (logs[:180].sum() + 20 * logs[179])
    assert intrinsic_dimension(points).estimate == pytest.approx(expected)


def test_before_projection_noise_is_what_counts():
    rng = np.random.default_rng(0)
    rows = circle(1000, rng) @ planted.frame_of(576, 2) + 0.1 * rng.normal(size=(1000, 576)) / np.sqrt(2)
    found = intrinsic_dimension(rows, n_components=2)
    assert found.raw > 40
    assert found.n_components == 2
    # the noise within the plane is thicker than the distance of neighbours: more points, smaller scale, more dimensions
    lines = found.frame().set_index("n_points")
    assert lines.loc[125, "estimate"].max() < found.estimate
    assert "before projection the same method says" in repr(found)
    assert "which means nothing" in repr(found)


def test_a_clean_circle_in_many_features_has_one_dimension():
    rng = np.random.default_rng(0)
    rows = circle(500, rng) @ planted.frame_of(576, 2) + 1e-4 * rng.normal(size=(500, 576))
    found = intrinsic_dimension(rows)
    assert found.n_components == 2
    assert found.interval[0] < 1 < found.interval[1]


def test_scaling_and_turning_change_only_the_scale():
    points = torus(200, np.random.default_rng(2))
    turned = 7 * points @ np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
    one, other = (intrinsic_dimension(p) for p in (points, turned))
    assert other.estimate == pytest.approx(one.estimate)
    assert other.scale == pytest.approx(7 * one.scale)


def test_duplicates_count_once():
    points = torus(200, np.random.default_rng(2))
    assert intrinsic_dimension(np.repeat(points, 3, axis=0)).estimate == pytest.approx(
        intrinsic_dimension(points).estimate
    )


def test_landmarks_do_not_stand_in_for_rows():
    points = torus(400, np.random.default_rng(2))
    assert intrinsic_dimension(prepare(points, landmarks=60)).n_points == 400


def test_one_component_has_one_dimension():
    rows = np.random.default_rng(0).normal(size=(200, 20))
    for method in ("twonn", "mle", "lpca"):
        found = intrinsic_dimension(rows, method, n_components=1)
        assert found.estimate == pytest.approx(1, abs=0.3)
        assert "the projection keeps 1" in repr(found)


def test_many_dimensions_and_few_points_are_a_lower_bound():
    found = intrinsic_dimension(np.random.default_rng(0).normal(size=(100, 8)))
    assert "100 points can show about 4 dimensions at most (Eckmann & Ruelle 1992)" in repr(found)


def test_a_cloud_says_where_and_what_was_done():
    found = intrinsic_dimension(planted.months(noise=1), n_components=5, within="template")
    assert str(found.site) == planted.SITE
    assert repr(found).startswith(f"IntrinsicDimension at {planted.SITE}: ")
    assert "centred within template; the first 5 principal components" in found.provenance
    assert list(found.frame()["rows"])[-1] == "raw"


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (60, {"method": "ph"}, "got method='ph'; choose from twonn, mle, lpca."),
        (20, {}, "got 20 different points; wanted at least 50 for a dimension: collect more rows."),
        (60, {"n_neighbors": 5}, "got n_neighbors=5 with method='twonn', which uses 2: leave it out, or choose 'mle'."),
        (
            60,
            {"method": "lpca"},
            "got n_neighbors=30 for 60 points; wanted 2 to 15, so that half the points still have them.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(rows, options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        intrinsic_dimension(np.random.default_rng(0).normal(size=(rows, 3)), **options)


def test_equal_rows_have_no_dimension():
    with pytest.raises(ValueError, match="^got 1 different points; wanted at least 50"):
        intrinsic_dimension(np.ones((80, 3)))
