import numpy as np
import pytest

from nbinterp.geometry.cycles import birth_edges, dying_clusters, loop
from nbinterp.geometry.homology import cocycles, diagrams
from tests.geometry import planted, spaces


def clouds():
    rng = np.random.default_rng(0)
    yield "Gaussian plane", rng.normal(size=(120, 2))
    yield "Gaussian in 20 dimensions", rng.normal(size=(60, 20))
    yield "noisy circle", planted.circle(100, radius=1) + 0.1 * rng.normal(size=(100, 2))
    yield "annulus", spaces.annulus(150, 1, 2)
    yield "torus", np.column_stack([f(t) for t in rng.uniform(0, 6.3, (2, 100)) for f in (np.cos, np.sin)])


@pytest.mark.parametrize("prime", [2, 3, 47])
@pytest.mark.parametrize(("name", "points"), list(clouds()))
def test_a_loop_is_born_with_its_class_and_goes_once_round_it(name, points, prime):
    matrix = spaces.straight(points)
    pairs = diagrams(matrix, 1, prime=prime)[1]
    found = cocycles(matrix, prime=prime)
    np.testing.assert_allclose(found.pairs, pairs, rtol=1e-6)
    edges, ordered = birth_edges(matrix, pairs, prime=prime)
    assert ordered is matrix
    for i, (birth, _) in enumerate(pairs):
        walk = loop(matrix, edges[i])
        steps = matrix[walk, np.roll(walk, -1)]
        assert len(set(walk)) == len(walk) > 3
        assert steps.max() == np.float32(birth)
        assert (steps == steps.max()).sum() == 1
        assert found.around(walk)[i] in (1, prime - 1)


@pytest.mark.parametrize("kind", ["grid", "duplicates", "integers"])
def test_with_equal_lengths_a_loop_still_goes_round_what_is_alive(kind):
    n_loops = 0
    for seed in range(30):
        matrix = spaces.random_matrix(kind, 36, seed)
        pairs = diagrams(matrix, 1)[1]
        found = cocycles(matrix)
        edges, ordered = birth_edges(matrix, pairs)
        walks = [loop(ordered, edge) for edge in edges]
        for walk, (birth, _) in zip(walks, pairs, strict=True):
            assert matrix[walk, np.roll(walk, -1)].max() == birth
            assert found.around(walk)[found.alive(birth)].any()
        # together they go round as many classes as there are
        if len(walks):
            turns = np.array([found.around(walk) for walk in walks])
            assert rank_mod_2(turns) == len(walks)
        n_loops += len(walks)
    assert n_loops > 20


def rank_mod_2(matrix):
    rows, rank = [row % 2 for row in matrix], 0
    for column in range(matrix.shape[1]):
        pivot = next((row for row in rows if row[column]), None)
        if pivot is not None:
            rank += 1
            rows = [(row + pivot * row[column]) % 2 for row in rows if row is not pivot]
    return rank


def test_the_way_back_has_as_few_edges_as_breadth_first_search_finds():
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    matrix = spaces.straight(spaces.annulus(150, 1, 1.5))
    pairs = diagrams(matrix, 1)[1]
    edges, _ = birth_edges(matrix, pairs)
    for (i, j), (birth, _) in zip(edges, pairs, strict=True):
        shorter = csr_array(np.where(matrix < np.float32(birth), matrix, 0))
        steps = dijkstra(shorter, indices=i, unweighted=True)[j]
        assert len(loop(matrix, np.array([i, j]))) == steps + 1


def test_two_points_without_a_way_back_stand_alone():
    matrix = spaces.straight(np.array([[0.0], [1.0], [5.0]]))
    assert loop(matrix, np.array([0, 2])) == [0, 1, 2]
    assert loop(matrix, np.array([0, 1])) == [0, 1]


def test_the_smaller_cluster_ends():
    points = np.array([[0.0], [1.0], [2.0], [10.0], [11.5], [30.0]])
    ended = [cluster.tolist() for cluster in dying_clusters(spaces.straight(points))]
    assert ended[:3] == [[0, 1, 2, 3, 4, 5], [5], [3, 4]]
    assert len(ended) == len(diagrams(spaces.straight(points), 0)[0])


def test_parts_that_never_merge_come_first():
    matrix = spaces.straight(np.arange(5.0)[:, None] ** 1.1)
    matrix[:3, 3:] = matrix[3:, :3] = np.inf
    assert [cluster.tolist() for cluster in dying_clusters(matrix)[:2]] == [[0, 1, 2], [3, 4]]


def test_duplicates_are_no_clusters_that_end():
    matrix = spaces.straight(np.array([[0.0], [0.0], [3.0]]))
    assert [cluster.tolist() for cluster in dying_clusters(matrix)] == [[0, 1, 2], [2]]
