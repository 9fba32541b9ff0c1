from itertools import islice

import numpy as np
import pytest

from nbinterp.geometry.clusters import clusters, clusters_of_drawn
from nbinterp.geometry.preparation import prepare
from nbinterp.geometry.validity import hdbscan, joint_cluster_p, usual_sizes, validities_drawn_together, validity_of
from tests.geometry.test_clusters import blobs
from tests.geometry.test_joint import layers


def drawn(sites, n, seed=0):
    """Return the clouds on four components, what is tested of them, and draws made together: [site][draw]."""
    prepared = [prepare(rows, 4) for rows in sites]
    tested = [validity_of(one.points, *usual_sizes(len(one.points)), seed) for one in prepared]
    return prepared, tested, list(zip(*islice(validities_drawn_together(tested, seed), n), strict=True))


def test_the_same_rows_at_many_sites_are_one_look():
    rows = layers(0, n=80)["resid_post.0"]
    prepared, tested, null = drawn([rows, 3 * rows, rows], 39)
    p = joint_cluster_p(tested, null)
    np.testing.assert_allclose(p, p[0])
    assert p[0] == pytest.approx(clusters(prepared[0], n_null=39, alpha=0.05, seed=0).p)


def test_clusters_at_one_site_are_found_there_and_only_there():
    rows = blobs(n=40, d_model=20)[0]
    sites = [layers(seed, n=len(rows))["resid_post.0"] for seed in range(5)]
    sites[2] = rows
    p = joint_cluster_p(*drawn(sites, 39)[1:])
    assert p[2] == pytest.approx(1 / 40)
    assert (np.delete(p, 2) > 0.05).all()


def test_draws_made_together_are_those_of_each():
    prepared, tested, null = drawn(list(layers(0, n=60).values()), 19)
    of_each = zip(prepared, tested, null, strict=True)
    own = [clusters_of_drawn(one, cloud, draws, alpha=0.05, seed=0).p for one, cloud, draws in of_each]
    assert (joint_cluster_p(tested, null) >= np.array(own) - 1e-12).all()
    assert own[0] == clusters(prepared[0], n_null=19, alpha=0.05, seed=0).p


def test_many_components_go_another_way_to_the_same_clusters():
    rng = np.random.default_rng(0)
    points = np.repeat(6 * rng.normal(size=(4, 16)), 50, axis=0) + rng.normal(size=(200, 16))
    few = hdbscan(points[:, :15], 5, 5)
    many = hdbscan(np.column_stack([points[:, :15], np.zeros((200, 1))]), 5, 5)
    np.testing.assert_array_equal(few[0], many[0])
    np.testing.assert_allclose(few[1], many[1])


@pytest.mark.slow
def test_the_chance_of_any_false_clusters_is_held_over_sites_that_resemble_each_other():
    smallest = []
    for seed in range(100):
        sites = [rows[:, :6] for rows in layers(seed, n=60).values()]
        smallest.append(joint_cluster_p(*drawn(sites, 19, seed)[1:]).min())
    # at 5 %, nine of a hundred is the 97 % quantile
    assert np.mean(np.array(smallest) <= 0.05) <= 0.09
