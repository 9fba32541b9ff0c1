import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra
from sklearn.neighbors import NearestNeighbors

from nbinterp.geometry import neighbors, prepare
from nbinterp.geometry.neighbors import neighbor_graph, neighbours_kept
from tests.geometry import planted


def rows(n=300, d=20, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def by_brute_force(points, k, metric="euclidean"):
    found = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", metric=metric).fit(points).kneighbors(points)
    return found[1][:, 1:], found[0][:, 1:]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_are_those_of_brute_force(metric):
    points = rows()
    graph = neighbor_graph(points, 10, metric=metric)
    indices, distances = by_brute_force(points - points.mean(axis=0), 10, metric)
    np.testing.assert_array_equal(graph.indices, indices)
    np.testing.assert_allclose(graph.distances, distances, rtol=2e-4)
    assert graph.exact
    assert graph.recall == 1


def test_neighbours_in_blocks_are_the_same(monkeypatch):
    points = rows()
    whole = neighbor_graph(points, 7)
    monkeypatch.setattr(neighbors, "_BLOCK", 1000)
    blocks = neighbor_graph(points, 7)
    np.testing.assert_array_equal(whole.indices, blocks.indices)
    np.testing.assert_allclose(whole.distances, blocks.distances, rtol=1e-6)


def test_small_distances_survive_beside_large_ones():
    # the squares of the norms are 10^8 times those of the distances
    far = np.repeat([[3e4], [-3e4]], 100, axis=0) * np.eye(1, 20) + rows(200)
    graph = neighbor_graph(far, 5)
    np.testing.assert_allclose(graph.distances, by_brute_force(far, 5)[1], rtol=0.02)
    assert graph.n_connected == 2
    assert "in 2 connected components" in repr(graph)


def test_duplicates_are_neighbours_and_no_row_is_its_own():
    points = np.repeat(rows(12, 5), 4, axis=0)
    graph = neighbor_graph(points, 3)
    assert (graph.indices // 4 == np.arange(48)[:, None] // 4).all()
    assert (graph.indices != np.arange(48)[:, None]).all()
    assert (graph.distances == 0).all()
    assert (np.diff(graph.indices, axis=1) > 0).all()


def test_all_other_points_may_be_neighbours():
    points = rows(6, 3)
    graph = neighbor_graph(points, 5)
    assert [sorted(line) for line in graph.indices] == [[j for j in range(6) if j != i] for i in range(6)]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100))
def test_isometries_and_scales_leave_the_neighbours(seed, scale, shift):
    points = rows(60, 6, seed)
    moved = scale * (points @ planted.frame_of(6, 6, seed) + shift)
    before, after = neighbor_graph(points, 4), neighbor_graph(moved, 4)
    np.testing.assert_allclose(after.distances, scale * before.distances, rtol=1e-3)
    assert (before.indices == after.indices).mean() > 0.99


def test_permuted_points_have_permuted_neighbours():
    points, order = rows(), np.random.default_rng(1).permutation(300)
    before, after = neighbor_graph(points, 6), neighbor_graph(points[order], 6)
    np.testing.assert_array_equal(order[after.indices], before.indices[order])


def test_a_graph_is_cut_and_knows_its_paths():
    points = np.column_stack([np.arange(50.0), np.zeros(50)])
    graph = neighbor_graph(points, 4)
    few = neighbor_graph(graph, 2)
    assert few.k == 2
    np.testing.assert_array_equal(few.indices, graph.indices[:, :2])
    np.testing.assert_allclose(dijkstra(few.adjacency(), directed=False, indices=0), np.arange(50), rtol=1e-6)
    frame = few.frame()
    assert frame.columns.tolist() == ["point", "neighbor", "rank", "distance"]
    assert frame.iloc[3].tolist() == pytest.approx([1, 2, 2, 1])


def test_what_is_prepared_is_not_prepared_again():
    cloud = planted.months()
    prepared = prepare(cloud, 2, within="template")
    graph = neighbor_graph(prepared, 5)
    assert graph.source is prepared
    assert graph.distances.max() < neighbor_graph(cloud, 5).distances.max()


def test_rows_set_aside_are_no_points():
    points = rows()
    points[7] *= 1000
    graph = neighbor_graph(points, 5)
    assert len(graph) == 299
    assert graph.source.point_of_row[[6, 7, 8]].tolist() == [6, -1, 7]


@pytest.mark.slow
def test_a_search_finds_nearly_all_and_says_how_many():
    points = np.concatenate([rows(1000, 30), rows(1000, 30, 1) + 4, np.zeros((5, 30))])
    graph, again = (neighbor_graph(points, 15, exact=False, max_norm_ratio=None) for _ in range(2))
    exact = neighbor_graph(points, 15, max_norm_ratio=None)
    shared = neighbors.n_shared(graph.indices, exact.indices).mean() / 15
    assert shared > 0.9
    assert graph.recall == pytest.approx(shared, abs=0.05)
    assert not graph.exact
    assert "approximate" in graph.provenance
    assert (graph.indices != np.arange(2005)[:, None]).all()
    np.testing.assert_array_equal(graph.indices, again.indices)
    same = graph.indices == exact.indices
    np.testing.assert_allclose(graph.distances[same], exact.distances[same], rtol=1e-3, atol=1e-5)


def test_neighbours_kept_by_a_copy_and_by_chance():
    points = rows(200, 5)
    assert neighbours_kept(points, 3 * points) == 1
    random = [neighbours_kept(points, np.random.default_rng(i).normal(size=(200, 2))) for i in range(20)]
    assert np.mean(random) == pytest.approx(15 / 199, abs=0.01)


def test_neighbours_kept_takes_a_graph():
    points, shown = rows(), rows(300, 2, 1)
    assert neighbours_kept(neighbor_graph(points, 20), shown) == pytest.approx(neighbours_kept(points, shown))
    sampled = neighbours_kept(neighbor_graph(points, 20), points[:, :4], max_queries=150)
    assert sampled == pytest.approx(neighbours_kept(points, points[:, :4]), abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: neighbor_graph(x, 10), "got k=10 for 10 points; wanted at least 1 and fewer than points."),
        (lambda x: neighbor_graph(x, 0), "got k=0 for 10 points; wanted at least 1 and fewer than points."),
        (lambda x: neighbor_graph(x, 3, metric="l1"), "got metric='l1'; choose 'euclidean' or 'cosine'."),
        (
            lambda x: neighbor_graph(neighbor_graph(x, 3), 4),
            "got k=4 for a graph of 3 neighbours; wanted 1 to 3: make the graph with a larger k.",
        ),
        (
            lambda x: neighbor_graph(neighbor_graph(x, 3), 3, metric="cosine"),
            "got metric='cosine' and a graph of euclidean neighbours; wanted one metric: make the graph anew.",
        ),
        (
            lambda x: neighbor_graph(np.vstack([x, -x, np.zeros((1, 6))]), 3, metric="cosine"),
            "got 1 points of length 0, which have no cosine; wanted points with a direction: "
            "leave them out, or take metric='euclidean'.",
        ),
        (
            lambda x: neighbor_graph(np.where(x == x[2, 1], np.nan, x), 3),
            "got NaN or infinite numbers in 1 of 10 rows (the first is row 2); wanted finite numbers: "
            "drop those rows, or collect in float32 instead of float16.",
        ),
        (
            lambda x: neighbor_graph(x[:1], 1),
            "got 1 usable row; wanted at least 2: collect more rows, or raise max_norm_ratio.",
        ),
        (lambda x: neighbours_kept(x, x), "got 10 rows to compare 15 neighbours; wanted more rows than neighbours."),
        (
            lambda x: neighbours_kept(x, x[:9], n_neighbors=3),
            "got 10 rows and 9 in the picture; wanted the same rows in both.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call(rows(10, 6))
