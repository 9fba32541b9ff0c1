import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.manifold import Isomap
from sklearn.metrics.pairwise import cosine_distances

from nbinterp.geometry import persistence, prepare
from nbinterp.geometry.limits import COSTS, MEMORY, SECONDS, costs, most_points
from nbinterp.geometry.nulls import draws, null_cloud
from nbinterp.geometry.persistence import loop_pairs
from nbinterp.geometry.vectors import bottleneck
from tests.geometry import planted, spaces


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
    assert members.loc[members["class_id"] == "H1.0", "row"].tolist() == cycle == list(diagram.cycle(0))
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


@given(seed=st.integers(0, 2**16), amount=st.floats(1e-3, 0.5))
@settings(max_examples=15, deadline=None)
def test_noise_moves_the_diagram_by_at_most_twice_as_much(seed, amount):
    rng = np.random.default_rng(seed)
    points = noisy_circle(n=40, seed=seed % 100)[0]
    noise = rng.normal(size=points.shape)
    noise *= amount / np.linalg.norm(noise, axis=1).max()
    one, other = (persistence(rows, n_components=None) for rows in (points, points + noise))
    for dimension in (0, 1):
        assert bottleneck(one, other, dimension) <= 2 * amount * (1 + 1e-5)


def test_landmarks_move_the_diagram_by_at_most_twice_their_error():
    points, _ = noisy_circle(n=400, noise=0.05)
    whole = persistence(points, n_components=None)
    for method in ("k-means", "farthest", "random"):
        some = persistence(points, n_components=None, landmarks=50, landmark_method=method)
        error = some.prepared.landmark_error
        assert bottleneck(whole, some) <= 2 * error
        assert f"landmarks are off by {error:.3g}, births and deaths by at most {2 * error:.3g}" in some.provenance


def test_duplicates_count_once_and_constant_features_do_nothing():
    polygon = planted.circle(12, radius=1)
    points = np.column_stack([np.repeat(polygon, 3, axis=0), np.full(36, 4.0)])
    diagram = persistence(points, n_components=None)
    np.testing.assert_allclose(diagram.h1, persistence(polygon).h1, rtol=1e-5)
    assert len(diagram.cycles[0]) == 36
    assert "; 12 points (24 duplicates counted once);" in diagram.provenance


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
    assert 150 not in diagram.members(0)["row"].tolist()


def test_groups_are_centred_first():
    rows, labels, groups = planted.labelled(planted.circle(12), noise=0.05)
    assert persistence(rows, within=groups).h1[0, 1] > 3
    assert labels.shape == groups.shape


def test_what_is_prepared_is_taken_as_it_is():
    points, _ = noisy_circle(d_model=20)
    once = prepare(points, 3)
    diagram = persistence(once)
    assert diagram.prepared is once
    np.testing.assert_array_equal(diagram.h1, persistence(points, 3).h1)
    np.testing.assert_array_equal(diagram.again(once.points)[1], diagram.h1)
    np.testing.assert_array_equal(loop_pairs(once.points), diagram.h1)


def test_distances_can_be_given():
    matrix = spaces.wedge_of_polygons(20, 14)
    diagram = persistence(matrix, metric="precomputed")
    np.testing.assert_allclose(
        diagram.h1, np.vstack([spaces.polygon_class(20), spaces.polygon_class(14, 0.8)]), rtol=1e-5
    )
    assert diagram.cycles == (tuple(range(20)), (0, *range(20, 33)))
    assert diagram.provenance.startswith("distances of 33 rows, as given; Vietoris-Rips over Z/2 by ")
    assert diagram.site is None
    with pytest.raises(
        ValueError, match=r"^got a diagram of precomputed distances, which has no points; wanted one of"
    ):
        diagram.points  # noqa: B018


def test_a_great_circle_is_a_circle_by_angle():
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, 200)
    # the same directions, at any distance from the middle
    points = np.column_stack([np.cos(angles), np.sin(angles), 0.05 * rng.normal(size=200)])
    points = np.vstack([points, -points]) * rng.uniform(0.2, 1, (200, 1)).repeat(2, axis=1).T.reshape(-1, 1)
    diagram = persistence(points, n_components=None, metric="cosine")
    # 1 − cos of 120°
    assert diagram.h1[0, 1] == pytest.approx(1.5, abs=0.1)
    assert diagram.h1[0, 0] < 0.1
    assert "distance 1 − cosine, seen from the mean" in diagram.provenance


@pytest.mark.parametrize(
    ("metric", "landmarks", "prime"), [("cosine", None, 2), ("cosine", 40, 2), ("geodesic", None, 3)]
)
def test_null_clouds_are_measured_as_their_diagram_was(metric, landmarks, prime):
    ripser = pytest.importorskip("ripser").ripser
    points, _ = noisy_circle(90, d_model=6)
    diagram = persistence(points, None, metric=metric, n_neighbors=8, prime=prime, landmarks=landmarks)
    for i, found in enumerate(draws(diagram, "gaussian", n=3, seed=5)):
        rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(i,)))
        cloud = null_cloud(diagram.prepared, "gaussian", rng)
        assert len(cloud) == (landmarks or len(points))
        measured = cosine_distances(cloud) if metric == "cosine" else Isomap(n_neighbors=8).fit(cloud).dist_matrix_
        wanted = ripser(measured, 1, coeff=prime, distance_matrix=True)["dgms"][1]
        assert bottleneck(found, wanted[wanted[:, 1] > wanted[:, 0]]) < 1e-5
        # another metric would not give these
        assert bottleneck(found, loop_pairs(cloud)) > 1e-3


def test_a_spiral_is_straight_along_its_graph():
    t = np.linspace(0, 1, 200)
    angles = 1.9 * np.pi * t
    points = np.column_stack([np.cos(angles), np.sin(angles)])
    straight, along = (persistence(points, metric=metric, n_neighbors=4) for metric in ("euclidean", "geodesic"))
    assert straight.h1[0, 1] > 1.7
    assert not len(along.h1) or along.h1[0, 1] < 0.2


def test_a_neighbour_graph_in_parts_is_said():
    blobs = np.vstack([np.random.default_rng(i).normal(loc=(50 * i, 0), size=(25, 2)) for i in range(3)])
    diagram = persistence(blobs, metric="geodesic", n_neighbors=4)
    assert np.isinf(diagram.h0).sum() == 3
    assert (
        "graph of 4 nearest neighbours, which falls into 3 parts (raise n_neighbors to join them)" in diagram.provenance
    )
    members = diagram.members(0).groupby("class_id")["row"].apply(list)
    assert sorted(members[f"H0.{i}"][0] for i in range(3)) == [0, 25, 50]


def test_a_klein_bottle_differs_by_prime():
    matrix = spaces.klein_bottle(10)
    two, three = (persistence(matrix, metric="precomputed", prime=p) for p in (2, 3))
    assert [(d.h1[:, 1] - d.h1[:, 0] > 0.5).sum() for d in (two, three)] == [2, 1]
    assert "over Z/3" in three.provenance


def test_each_dimension_has_rows_that_stand_for_it():
    pytest.importorskip("gudhi")
    points = np.random.default_rng(0).normal(size=(80, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    diagram = persistence(points, n_components=None, max_dimension=2)
    for dimension in (0, 1, 2):
        members = diagram.members(dimension)
        assert members["class_id"].nunique() == len(diagram.pairs[dimension])
    wall = diagram.members(2).query("class_id == 'H2.0'")["row"].tolist()
    assert np.linalg.norm(points[wall[0]] - points[wall[1]]) == pytest.approx(diagram.h2[0, 0], rel=1e-5)
    with pytest.raises(
        ValueError, match=r"^got dimension=2 of a diagram up to 1; make it with a larger max_dimension.$"
    ):
        persistence(points).members(2)


def test_without_the_extras_ripser_gives_the_same(monkeypatch):
    points, _ = noisy_circle(n=60)
    one = persistence(points)
    monkeypatch.setitem(sys.modules, "redzed_tda", None)
    monkeypatch.setitem(sys.modules, "gudhi", None)
    other = persistence(points)
    np.testing.assert_allclose(one.h1, other.h1, rtol=1e-6)
    np.testing.assert_allclose(one.h0, other.h0, rtol=1e-6)
    assert one.cycles == other.cycles
    assert "by ripser 0." in other.provenance


def test_it_reads_well():
    diagram = persistence(planted.circle(12, radius=1))
    assert repr(diagram).splitlines()[:3] == [
        "Diagram of 12 points",
        "  H0: 12 classes",
        "  H1: 1 classes; longest from 0.518 to 1.73, death / birth 3.35",
    ]
    with pytest.raises(IndexError, match=r"^got loop 1 of a diagram of 1; wanted 0 \(the longest-lived\) or above.$"):
        diagram.loop(1)


@pytest.mark.parametrize(
    ("shape", "more", "message"),
    [
        (
            (201, 2),
            {"max_points": 200},
            "got 201 points for exact homology up to dimension 1, which can take about ",
        ),
        ((9, 3), {"max_dimension": 3}, "got max_dimension=3; choose 0 (clusters), 1 (loops) or 2 (cavities)."),
        ((9, 3), {"prime": 4}, "got prime=4; wanted a prime number below 32768, such as 2, 3 or 47."),
        (
            (9, 3),
            {"n_components": 4},
            "got n_components=4 for 9 rows of 3 features; choose 1 to 3, a share of the variance between 0 and 1, 'parallel', or None.",
        ),
        ((9, 3), {"landmarks": 20}, "got landmarks=20 for 9 rows; wanted at least 3 and at most as many as rows."),
        (
            (9, 3),
            {"metric": "cosine"},
            "got metric='cosine' for 2 components and homology up to dimension 1: seen from the mean, the directions of any cloud "
            "fill a circle; wanted n_components of at least 3, or None.",
        ),
        (
            (9, 3),
            {"metric": "cosine", "n_components": 3, "max_dimension": 2},
            "got metric='cosine' for 3 components and homology up to dimension 2: seen from the mean, the directions of any cloud "
            "fill a sphere; wanted n_components of at least 4, or None.",
        ),
        ((9, 3), {"metric": "geodesic"}, "got n_neighbors=15 for 9 points; wanted 1 to 8."),
        (
            (9, 3),
            {"metric": "precomputed"},
            "got an array of shape [9, 3] as precomputed distances; wanted [point, point]: ",
        ),
        (
            (9, 9),
            {"metric": "precomputed", "landmarks": 5},
            "got rows, within or landmarks together with metric='precomputed'; wanted an array of distances [row, row] alone: ",
        ),
    ],
)
def test_bad_requests_get_one_sentence(shape, more, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        persistence(np.random.default_rng(0).normal(size=shape), **more)


def test_a_million_rows_are_refused_before_any_work():
    pytest.importorskip("redzed_tda")
    rows = np.broadcast_to(np.float32(0), (10**6, 576))
    limit = most_points("redzed-tda", 1)
    with pytest.raises(
        ValueError,
        match=rf"^got 1000000 points for exact homology up to dimension 1, which can take about 41 TiB of memory and "
        rf"about 13 years with redzed-tda; wanted at most {limit}: pass landmarks=300, select fewer rows, or raise max_points\.$",
    ):
        persistence(rows)


def test_the_most_points_are_those_that_memory_and_time_allow():
    for name, dimension in COSTS:
        n = most_points(name, dimension)
        assert all(np.array(costs(n, name, dimension)) <= (MEMORY, SECONDS))
        assert any(np.array(costs(n + 1, name, dimension)) > (MEMORY, SECONDS))
    # the figures of the docstring
    assert [most_points(*key) for key in (("redzed-tda", 1), ("ripser", 1), ("gudhi", 2))] == [6586, 1747, 529]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((30, 5)), "got rows that make only 1 different points; wanted at least 3: check the rows."),
        (np.eye(2), "got rows that make only 2 different points; wanted at least 3: check the rows."),
        (np.ones((1, 5)), "got 1 usable row; wanted at least 2: collect more rows, or raise max_norm_ratio."),
        (
            np.array([[0, 1], [np.nan, 1], [3, 4]]),
            "got NaN or infinite numbers in 1 of 3 rows (the first is row 1); wanted finite numbers: "
            "drop those rows, or collect in float32 instead of float16.",
        ),
    ],
)
def test_rows_that_make_no_cloud_are_refused(rows, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        persistence(rows, n_components=None)
