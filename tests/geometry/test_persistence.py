import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp.geometry import persistence
from tests.geometry import planted


def noisy_circle(n=150, noise=0.1, d_model=2, seed=0):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, n)
    points = np.column_stack([np.cos(angles), np.sin(angles)]) @ planted.frame_of(d_model, 2, seed)
    return points + noise * rng.normal(size=(n, d_model)), angles


@pytest.mark.parametrize(
    ("n", "birth", "death"), [(7, 0.8678, 1.9499), (12, 0.5176, 1.7321), (24, 0.2611, 1.7321), (113, 0.0556, 1.7412)]
)
def test_a_regular_polygon_has_its_closed_form(n, birth, death):
    diagram = persistence(planted.circle(n, radius=1))
    np.testing.assert_allclose(diagram.h1, [[2 * np.sin(np.pi / n), 2 * np.sin(np.pi * np.ceil(n / 3) / n)]], rtol=1e-5)
    np.testing.assert_allclose(diagram.h1, [[birth, death]], atol=1e-4)
    assert diagram.cycles == (tuple(range(n)),)
    assert len(diagram.h0) == n
    assert np.isinf(diagram.h0).sum() == 1


def test_a_clifford_torus_has_two_loops():
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 2 * np.pi, (2, 200))
    diagram = persistence(np.column_stack([np.cos(u), np.sin(u), np.cos(v), np.sin(v)]), n_components=None)
    lifetimes = diagram.frame().query("dimension == 1")["persistence"].to_numpy()
    assert lifetimes[1] > 1.2 * lifetimes[2]


def test_a_sphere_has_a_cavity():
    points = np.random.default_rng(0).normal(size=(120, 3))
    diagram = persistence(points / np.linalg.norm(points, axis=1, keepdims=True), n_components=None, max_dimension=2)
    assert diagram.pairs[2][0, 1] - diagram.pairs[2][0, 0] > 0.4


def test_the_representative_goes_once_round_the_planted_circle():
    points, angles = noisy_circle()
    diagram = persistence(points)
    (birth, death), cycle = diagram.h1[0], list(diagram.cycles[0])
    assert death > 3 * birth
    assert np.diff(np.sort(angles[cycle]), append=np.sort(angles[cycle])[0] + 2 * np.pi).max() < 0.8
    members = diagram.members()
    assert members.loc[members["class_id"] == "H1.0", "row"].tolist() == cycle
    assert diagram.frame().set_index("class_id").loc["H1.0", "n_rows"] == len(cycle)


def test_projection_finds_what_576_dimensions_hide():
    points, _ = noisy_circle(n=150, noise=0.15, d_model=576)
    whole, plane = persistence(points, n_components=None), persistence(points)
    assert not len(whole.h1) or (whole.h1[:, 1] / whole.h1[:, 0]).max() < 1.15
    assert plane.h1[0, 1] / plane.h1[0, 0] > 2
    assert "the first 2 principal components" in plane.provenance


@given(seed=st.integers(0, 2**16), scale=st.floats(0.01, 100))
@settings(max_examples=10, deadline=None)
def test_rotation_order_of_rows_and_scale_carry_through(seed, scale):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 6)) * [3, 2, 1, 1, 1, 1]
    order = rng.permutation(40)
    one, other = persistence(points), persistence(scale * (points @ planted.frame_of(6, 6, seed))[order] + 5)
    np.testing.assert_allclose(one.h0 * scale, other.h0, rtol=1e-3)
    np.testing.assert_allclose(one.h1 * scale, other.h1, rtol=1e-3)
    assert [sorted(order[list(cycle)]) for cycle in other.cycles] == [list(cycle) for cycle in one.cycles]


def test_duplicates_count_once_and_constant_features_do_nothing():
    polygon = planted.circle(12, radius=1)
    points = np.column_stack([np.repeat(polygon, 3, axis=0), np.full(36, 4.0)])
    diagram = persistence(points, n_components=None)
    np.testing.assert_allclose(diagram.h1, persistence(polygon).h1, rtol=1e-5)
    assert len(diagram.cycles[0]) == 36
    assert diagram.provenance.endswith("12 points (24 duplicates counted once)")


def test_landmarks_stand_for_their_rows():
    points, angles = noisy_circle(n=2500, noise=0.1)
    diagram = persistence(points, landmarks=60, max_points=1000)
    assert len(diagram.points) == 60
    assert diagram.h1[0, 1] / diagram.h1[0, 0] > 2.5
    assert np.diff(np.sort(angles[list(diagram.cycles[0])])).max() < 0.5
    assert len(diagram.cycles[0]) > 500


def test_rows_of_a_giant_norm_are_in_no_loop():
    points, _ = noisy_circle(d_model=20)
    diagram = persistence(np.vstack([points, 500 * np.ones((1, 20))]))
    assert diagram.point_of_row[-1] == -1
    assert 150 not in diagram.members()["row"].tolist()


def test_groups_are_centred_first():
    rows, labels, groups = planted.labelled(planted.circle(12), noise=0.05)
    assert persistence(rows, within=groups).h1[0, 1] > 3
    assert labels.shape == groups.shape


@pytest.mark.parametrize(
    ("shape", "more", "message"),
    [
        (
            (2001, 2),
            {},
            "got 2001 points for exact homology up to dimension 1, which can take about 2.4 GB of memory; wanted at most 2000: pass landmarks=300,",
        ),
        (
            (301, 3),
            {"max_dimension": 2},
            "got 301 points for exact homology up to dimension 2, which can take hours and all memory; wanted at most 300:",
        ),
        ((9, 3), {"max_dimension": 3}, "got max_dimension=3; choose 0 (clusters), 1 (loops) or 2 (cavities)."),
        (
            (9, 3),
            {"n_components": 4},
            "got n_components=4 for 9 rows of 3 features; choose 1 to 3, a share of the variance between 0 and 1, 'parallel', or None.",
        ),
        ((9, 3), {"landmarks": 20}, "got landmarks=20 for 9 rows; wanted at least 3 and at most as many as rows."),
    ],
)
def test_bad_requests_get_one_sentence(shape, more, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        persistence(np.random.default_rng(0).normal(size=shape), **more)


def test_rows_that_are_all_the_same_are_refused():
    with pytest.raises(
        ValueError, match="^got rows that make only 1 different points; wanted at least 3: check the rows.$"
    ):
        persistence(np.ones((30, 5)), n_components=None)
