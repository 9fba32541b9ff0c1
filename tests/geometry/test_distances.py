import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from nbinterp.geometry.distances import distances, n_parts
from tests.geometry import planted


def clouds():
    rng = np.random.default_rng(0)
    circle = planted.circle(700, radius=1)
    return {
        "plane": rng.normal(size=(900, 2)),
        "Gaussian": rng.normal(size=(600, 576)),
        "far from the origin": rng.normal(size=(300, 100)) + 1e4,
        "circle with close points": circle @ planted.frame_of(576, 2) + 1e-4 * rng.normal(size=(700, 576)),
        "tight blobs": np.repeat(rng.normal(size=(6, 200)), 50, axis=0) + 1e-3 * rng.normal(size=(300, 200)),
        "power law": rng.normal(size=(600, 300)) * np.arange(1, 301) ** -1.0,
        "tiny": 1e-30 * rng.normal(size=(50, 100)),
        "huge": 1e30 * rng.normal(size=(50, 100)),
    }


@pytest.mark.parametrize("name", clouds())
def test_straight_distances_are_good_to_a_millionth_of_the_cloud(name):
    points = clouds()[name]
    found = distances(points)
    centred = points - points.mean(axis=0)
    size = np.linalg.norm(centred, axis=1).max()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, found.T)
    assert not np.diagonal(found).any()
    assert np.abs(found - cdist(centred, centred)).max() <= 1.5e-6 * size


def test_equal_points_are_at_distance_zero():
    points = np.repeat(np.random.default_rng(0).normal(size=(40, 50)), 2, axis=0)
    found = distances(points)
    assert (found == 0).sum() == 4 * 40


@given(seed=st.integers(0, 2**16), shift=st.floats(-1e3, 1e3))
@settings(max_examples=10, deadline=None)
def test_angles_are_those_at_the_origin(seed, shift):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(30, 5)) + shift
    norms = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(
        distances(points, "cosine"), 1 - points @ points.T / np.outer(norms, norms), rtol=1e-4, atol=1e-6
    )


def test_a_bent_line_is_as_long_as_its_graph():
    t = np.linspace(0, 1.5 * np.pi, 200)
    points = np.column_stack([np.cos(t), np.sin(t)])
    found = distances(points, "geodesic", n_neighbors=2)
    assert found[0, -1] == pytest.approx(1.5 * np.pi, rel=1e-3)
    assert distances(points)[0, -1] == pytest.approx(np.sqrt(2), rel=1e-5)
    np.testing.assert_array_equal(found, found.T)


def test_the_graph_is_that_of_isomap():
    from sklearn.manifold import Isomap

    points = np.random.default_rng(1).normal(size=(150, 3))
    wanted = Isomap(n_neighbors=8).fit(points).dist_matrix_
    np.testing.assert_allclose(distances(points, "geodesic", n_neighbors=8), wanted, rtol=1e-4)


def test_a_graph_in_parts_has_infinite_distances_and_is_counted():
    points = np.vstack([np.random.default_rng(i).normal(size=(20, 2)) + 100 * i for i in range(3)])
    found = distances(points, "geodesic", n_neighbors=4)
    assert n_parts(found) == 3
    assert np.isinf(found[0, 20])
    assert n_parts(distances(points)) == 1


def bad(i, j, value):
    matrix = np.ones((4, 4)) - np.eye(4)
    matrix[i, j] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (
            np.ones((3, 4)),
            "got an array of shape [3, 4] as precomputed distances; wanted [point, point]: pass a square matrix, "
            "or leave metric='precomputed' out for points.",
        ),
        (bad(0, 1, np.nan), "got 1 NaN among the distances; wanted numbers: mend them first."),
        (
            bad(2, 1, -3),
            "got a negative distance, -3 from point 2 to point 1; wanted 0 or more: pass distances, not similarities.",
        ),
        (
            bad(2, 2, 1),
            "got distance 1 from point 2 to itself; wanted 0 on the diagonal: pass distances, not similarities.",
        ),
        (
            bad(3, 1, 2),
            "got distances that are not symmetric: 1 from point 1 to point 3 and 2 back; wanted the same both ways: "
            "pass (d + d.T) / 2 if that is what you mean.",
        ),
        (
            bad(3, 1, np.inf),
            "got distances that are not symmetric: 1 from point 1 to point 3 and inf back; wanted the same both ways: "
            "pass (d + d.T) / 2 if that is what you mean.",
        ),
    ],
)
def test_a_matrix_that_holds_no_distances_gets_one_sentence(matrix, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        distances(matrix, "precomputed")


@pytest.mark.parametrize(
    ("points", "more", "message"),
    [
        (np.zeros(3), {}, "got points of shape [3]; wanted [point, feature] with at least one of each."),
        (
            np.array([[1.0], [np.nan]]),
            {},
            "got NaN or infinite numbers in 1 of 2 points (the first is point 1); wanted finite numbers: drop those points.",
        ),
        (
            np.eye(3),
            {"metric": "manhattan"},
            "got metric='manhattan'; choose from euclidean, cosine, geodesic, precomputed.",
        ),
        (
            np.diag([1.0, 0, 1]),
            {"metric": "cosine"},
            "got 1 of 3 points at the origin (the first is point 1), from which no angle can be measured; "
            "wanted none for metric='cosine': drop them or take metric='euclidean'.",
        ),
        (np.eye(3), {"metric": "geodesic"}, "got n_neighbors=15 for 3 points; wanted 1 to 2."),
    ],
)
def test_bad_points_get_one_sentence(points, more, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        distances(points, **more)
