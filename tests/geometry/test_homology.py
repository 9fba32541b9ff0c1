import sys

import numpy as np
import pytest

from nbinterp.geometry.homology import (
    cocycles,
    diagrams,
    enclosing_radius,
    engine,
    engine_text,
    spanning_tree,
    with_ties_broken,
)
from tests.geometry import planted, spaces

INSTALLED = {"redzed-tda": "redzed_tda", "gudhi": "gudhi", "ripser": "ripser"}


def need(name):
    pytest.importorskip(INSTALLED[name])


def oracle(matrix, max_dimension, prime=2):
    """Births and deaths as ripser.py gives them, sorted."""
    from ripser import ripser

    found = ripser(matrix, max_dimension, coeff=prime, distance_matrix=True)["dgms"]
    return [np.asarray(pairs, dtype=float).reshape(-1, 2) for pairs in found]


def assert_same(found, wanted):
    for pairs, others in zip(found, wanted, strict=True):
        others = others[others[:, 1] > others[:, 0]]
        assert len(pairs) == len(others)
        one, other = (a[np.lexsort(a.T)] for a in (pairs, others))
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("kind", spaces.KINDS)
@pytest.mark.parametrize("name", ["redzed-tda", "gudhi"])
def test_engines_agree_with_ripser(kind, name):
    need(name)
    for seed in range(40):
        matrix = spaces.random_matrix(kind, 6 + seed, seed)
        assert_same(diagrams(matrix, 1, by=name), oracle(matrix, 1))


@pytest.mark.parametrize("kind", spaces.KINDS)
def test_cavities_after_edge_collapse_agree_with_ripser(kind):
    need("gudhi")
    for seed in range(5):
        matrix = spaces.random_matrix(kind, 24, seed)
        assert_same(diagrams(matrix, 2, by="gudhi"), oracle(matrix, 2))


@pytest.mark.parametrize("prime", [3, 47])
def test_other_primes_agree_with_ripser(prime):
    need("gudhi")
    for seed in range(10):
        matrix = spaces.random_matrix("integers", 25, seed)
        assert_same(diagrams(matrix, 1, prime=prime, by="gudhi"), oracle(matrix, 1, prime))


@pytest.mark.parametrize("kind", spaces.KINDS)
def test_clusters_by_a_spanning_tree_agree_with_ripser(kind):
    for seed in range(20):
        matrix = spaces.random_matrix(kind, 30, seed)
        assert_same(diagrams(matrix, 0), oracle(matrix, 0))


def test_the_fastest_installed_engine_is_taken(monkeypatch):
    assert engine(0) == "spanning tree"
    need("redzed-tda")
    need("gudhi")
    assert [engine(1), engine(2), engine(1, prime=3)] == ["redzed-tda", "gudhi", "gudhi"]
    monkeypatch.setitem(sys.modules, "redzed_tda", None)
    assert [engine(1), engine(2)] == ["gudhi", "gudhi"]
    monkeypatch.setitem(sys.modules, "gudhi", None)
    assert [engine(1), engine(2), engine(1, prime=3)] == ["ripser", "ripser", "ripser"]
    matrix = spaces.random_matrix("Gaussian", 20, 0)
    assert_same(diagrams(matrix, 2), oracle(matrix, 2))
    assert engine_text("ripser").startswith("ripser 0.")


@pytest.mark.parametrize("name", INSTALLED)
def test_a_threshold_leaves_classes_alive(name):
    need(name)
    matrix = spaces.straight(planted.circle(30, radius=1))
    h0, h1 = diagrams(matrix, 1, threshold=1.0, by=name)
    np.testing.assert_allclose(h1, [[2 * np.sin(np.pi / 30), np.inf]], rtol=1e-5)
    assert np.isinf(h0).sum() == 1
    assert len(diagrams(matrix, 0, threshold=0.1)[0]) == 30


@pytest.mark.parametrize("name", INSTALLED)
def test_parts_that_are_infinitely_far_stay_apart(name):
    need(name)
    one = spaces.straight(planted.circle(12, radius=1))
    apart = np.full((12, 12), np.inf, dtype=np.float32)
    h0, h1 = diagrams(np.block([[one, apart], [apart, one]]), 1, by=name)
    assert np.isinf(h0).sum() == 2
    np.testing.assert_allclose(h1, np.repeat(spaces.polygon_class(12), 2, axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("n", [4, 5, 7, 12, 24, 113])
def test_regular_polygons(n, name):
    need(name)
    h0, h1 = diagrams(spaces.straight(planted.circle(n, radius=1)), 1, by=name)
    np.testing.assert_allclose(h1, spaces.polygon_class(n), rtol=1e-5)
    np.testing.assert_allclose(h0[1:, 1], 2 * np.sin(np.pi / n), rtol=1e-4)


@pytest.mark.parametrize("name", ["gudhi", "ripser"])
def test_a_flat_torus_has_two_loops_and_a_cavity(name):
    need(name)
    h1, h2 = diagrams(spaces.product_of_polygons(8), 2, by=name)[1:]
    np.testing.assert_allclose(h1, np.repeat(spaces.polygon_class(8), 2, axis=0), rtol=1e-5)
    np.testing.assert_allclose(h2, spaces.polygon_class(8), rtol=1e-5)


@pytest.mark.parametrize("name", ["gudhi", "ripser"])
def test_an_octahedron_is_a_sphere(name):
    need(name)
    h0, h1, h2 = diagrams(spaces.straight(spaces.octahedron()), 2, by=name)
    np.testing.assert_allclose(h2, [[np.sqrt(2), 2]], rtol=1e-6)
    assert not len(h1)
    assert len(h0) == 6


def test_a_sphere_closes_at_its_inscribed_simplex():
    need("gudhi")
    # a Fibonacci lattice
    k = np.arange(200) + 0.5
    z, angle = 1 - 2 * k / 200, np.pi * (1 + np.sqrt(5)) * k
    r = np.sqrt(1 - z**2)
    h2 = diagrams(spaces.straight(np.column_stack([r * np.cos(angle), r * np.sin(angle), z])), 2)[2]
    assert h2[0, 1] == pytest.approx(np.sqrt(8 / 3), abs=0.05)
    assert h2[0, 1] - h2[0, 0] > 5 * (h2[1:, 1] - h2[1:, 0]).max(initial=0)


@pytest.mark.parametrize(("prime", "n_loops", "n_cavities"), [(2, 2, 1), (3, 1, 0)])
def test_a_klein_bottle_depends_on_the_prime(prime, n_loops, n_cavities):
    need("gudhi")
    h1, h2 = diagrams(spaces.klein_bottle(10), 2, prime=prime)[1:]
    assert (h1[:, 1] - h1[:, 0] > 0.5).sum() == n_loops
    assert (h2[:, 1] - h2[:, 0] > 0.5).sum() == n_cavities


@pytest.mark.parametrize("prime", [2, 3])
def test_a_wedge_of_polygons_has_the_loop_of_each(prime):
    h1 = diagrams(spaces.wedge_of_polygons(20, 14), 1, prime=prime)[1]
    np.testing.assert_allclose(h1, np.vstack([spaces.polygon_class(20), spaces.polygon_class(14, 0.8)]), rtol=1e-5)


def test_an_annulus_has_one_loop_and_a_disc_none():
    h1 = diagrams(spaces.straight(spaces.annulus(400, 1, 1.4)), 1)[1]
    lifetimes = h1[:, 1] - h1[:, 0]
    # no triangle of that side goes round a hole of radius 1
    assert np.sqrt(3) <= h1[0, 1] < 2
    assert lifetimes[0] > 4 * lifetimes[1]
    h1 = diagrams(spaces.straight(spaces.annulus(400, 0, 1.4)), 1)[1]
    lifetimes = h1[:, 1] - h1[:, 0]
    assert lifetimes[0] < 2 * lifetimes[1]


def test_a_spanning_tree_is_as_light_as_scipys():
    from scipy.sparse.csgraph import minimum_spanning_tree

    matrix = spaces.random_matrix("Gaussian", 80, 3)
    edges, lengths = spanning_tree(matrix)
    assert lengths.sum() == pytest.approx(minimum_spanning_tree(matrix.astype(float)).sum(), rel=1e-6)
    np.testing.assert_array_equal(matrix[edges[:, 0], edges[:, 1]], lengths)
    assert (np.diff(lengths) >= 0).all()
    assert set(edges.ravel()) == set(range(80))


def test_no_loop_is_left_beyond_the_enclosing_radius():
    for seed in range(20):
        matrix = spaces.random_matrix("non-metric", 25, seed)
        assert oracle(matrix, 1)[1][:, 1].max(initial=0) <= enclosing_radius(matrix)


def test_breaking_ties_keeps_the_diagram():
    for seed in range(20):
        matrix = spaces.random_matrix("grid", 20, seed)
        ranks, lengths = with_ties_broken(matrix)
        assert len(np.unique(ranks)) == 1 + 20 * 19 / 2
        ranked = diagrams(ranks, 1)[1].astype(int)
        real = lengths[ranked]
        assert_same([real[real[:, 1] > real[:, 0]]], oracle(matrix, 1)[1:])


@pytest.mark.parametrize("prime", [2, 3, 47])
def test_cocycles_vanish_on_triangles_and_count_turns(prime):
    rng = np.random.default_rng(0)
    points = planted.circle(40, radius=1) + 0.02 * rng.normal(size=(40, 2))
    matrix = spaces.straight(points)
    found = cocycles(matrix, prime=prime)
    assert_same([found.pairs], oracle(matrix, 1, prime)[1:])
    once, twice = found.around(list(range(40)))[0], found.around([*range(40), *range(40)])[0]
    assert once in (1, prime - 1)
    assert twice == 2 * once % prime
    assert found.around([*reversed(range(40))])[0] == -once % prime
    assert found.alive(1.0)[0]
    assert not found.alive(1.9)[0]
    for corners in rng.integers(0, 40, size=(200, 3)):
        if len(set(corners)) == 3 and matrix[np.ix_(corners, corners)].max() < found.pairs[0, 1]:
            assert found.around(corners.tolist())[0] == 0


def test_cocycles_up_to_a_threshold_are_those_born_by_then():
    matrix = spaces.straight(planted.circle(60, radius=1) + 0.02 * np.random.default_rng(0).normal(size=(60, 2)))
    found = cocycles(matrix, threshold=0.5)
    assert np.isinf(found.pairs[0, 1])
    assert found.threshold == 0.5
    assert found.around(list(range(60)))[0] == 1
