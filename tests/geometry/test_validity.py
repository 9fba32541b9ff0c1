from itertools import islice

import numpy as np
import pytest

from nbinterp.geometry.clusters import clusters
from nbinterp.geometry.preparation import prepare
from nbinterp.geometry.validity import cluster_draws_together, hdbscan, joint_cluster_p
from tests.geometry.test_clusters import blobs
from tests.geometry.test_joint import layers


def drawn(sites, n, seed=0):
    prepared = [prepare(rows, 4) for rows in sites]
    assert list(islice(cluster_draws_together(prepared, seed), n)) == list(range(1, n + 1))
    return prepared


def test_the_same_rows_at_many_sites_are_one_look():
    rows = layers(0, n=80)["resid_post.0"]
    prepared = drawn([rows, 3 * rows, rows], 39)
    p = joint_cluster_p(prepared, 39, seed=0)
    np.testing.assert_allclose(p, p[0])
    assert p[0] == pytest.approx(clusters(prepared[0], n_null=39, alpha=0.05, seed=0).p)


def test_clusters_at_one_site_are_found_there_and_only_there():
    rows = blobs(n=40, d_model=20)[0]
    sites = [layers(seed, n=len(rows))["resid_post.0"] for seed in range(5)]
    sites[2] = rows
    p = joint_cluster_p(drawn(sites, 39), 39, seed=0)
    assert p[2] == pytest.approx(1 / 40)
    assert (np.delete(p, 2) > 0.05).all()


def test_draws_made_together_are_those_of_each():
    prepared = drawn(list(layers(0, n=60).values()), 19)
    joint = joint_cluster_p(prepared, 19, seed=0)
    own = [clusters(one, n_null=19, alpha=0.05, seed=0).p for one in prepared]
    assert (joint >= np.array(own) - 1e-12).all()


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
        prepared = drawn([rows[:, :6] for rows in layers(seed, n=60).values()], 19, seed)
        smallest.append(joint_cluster_p(prepared, 19, seed).min())
    # at 5 %, nine of a hundred is the 97 % quantile
    assert np.mean(np.array(smallest) <= 0.05) <= 0.09
