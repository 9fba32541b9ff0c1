import numpy as np
import pytest
from scipy.stats import gumbel_l, ks_2samp, kstest
from threadpoolctl import threadpool_limits

from nbinterp.geometry import persistence, prepare
from nbinterp.geometry.nulls import draws, null_cloud, universal_p
from nbinterp.geometry.persistence import loop_pairs
from tests.geometry.test_persistence import noisy_circle


def gaussian(seed, n=60, d=40):
    return np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(3, 1, d)


def longest(points):
    loops = loop_pairs(points)
    return (loops[:, 1] - loops[:, 0]).max(initial=0)


def test_a_gaussian_null_has_exactly_the_covariance_of_the_cloud():
    prepared = prepare(gaussian(0), 3)
    drawn = null_cloud(prepared, "gaussian", np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(np.cov(drawn.T)), np.linalg.eigvalsh(np.cov(prepared.points.T)), rtol=1e-10
    )


@pytest.mark.parametrize("more", [{}, {"landmarks": 25}], ids=["rows", "landmarks"])
def test_the_null_of_a_gaussian_cloud_is_distributed_as_another_gaussian_cloud_through_all_of_the_preparation(more):
    # given its covariance; over many clouds that is the distribution of a fresh cloud's principal components
    with threadpool_limits(1):
        clouds = [prepare(gaussian(seed), 2, **more) for seed in range(200)]
        ours = [longest(null_cloud(one, "gaussian", np.random.default_rng([1, i]))) for i, one in enumerate(clouds)]
        fresh = [longest(prepare(gaussian(1000 + seed), 2, **more).points) for seed in range(200)]
    assert ks_2samp(ours, fresh).pvalue > 0.01


def test_a_permutation_keeps_each_component_and_destroys_the_circle():
    prepared = prepare(noisy_circle(n=200, noise=0.05)[0], 2)
    drawn = null_cloud(prepared, "permutation", np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(prepared.points - prepared.points.mean(axis=0), axis=0))
    assert np.linalg.norm(drawn, axis=1).std() > 3 * np.linalg.norm(prepared.points, axis=1).std()


def test_a_bootstrap_draws_rows_of_the_cloud():
    prepared = prepare(gaussian(0), 2)
    drawn = null_cloud(prepared, "bootstrap", np.random.default_rng(0))
    # but for a shift
    apart = np.abs(prepared.points[:, None] - prepared.points[None]).reshape(-1, 2).round(8)
    assert {tuple(step) for step in np.abs(drawn - drawn[0]).round(8)} <= {tuple(step) for step in apart}
    # 1 − 1/e of the rows, the others twice or more
    assert 0.5 < len(drawn) / 60 < 0.76


@pytest.mark.parametrize("null", ["gaussian", "permutation", "bootstrap"])
def test_landmarks_are_taken_of_every_draw(null):
    prepared = prepare(gaussian(0, n=200), 2, landmarks=30)
    assert null_cloud(prepared, null, np.random.default_rng(0)).shape == (30, 2)


def test_draws_depend_on_seed_and_number_alone_and_are_remembered():
    rows = gaussian(0)
    five, ten = (draws(persistence(rows), "gaussian", n=n, seed=3) for n in (5, 10))
    for one, other in zip(five, ten[:5], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(draws(persistence(rows), "gaussian", n=1, seed=4)[0], five[0])
    diagram, seen = persistence(rows), []
    draws(diagram, "gaussian", n=4, seed=3, progress=lambda *done: seen.append(done))
    draws(diagram, "gaussian", n=6, seed=3, progress=lambda *done: seen.append(done))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (5, 6), (6, 6)]


def test_an_interrupted_run_goes_on_where_it_stopped():
    def interrupt(done, wanted):
        if done == 3:
            raise KeyboardInterrupt

    rows = gaussian(0)
    diagram, later = persistence(rows), []
    with pytest.raises(KeyboardInterrupt):
        draws(diagram, "gaussian", n=6, seed=0, progress=interrupt)
    gone_on = draws(diagram, "gaussian", n=6, seed=0, progress=lambda done, wanted: later.append(done))
    assert later == [4, 5, 6]
    for one, other in zip(gone_on, draws(persistence(rows), "gaussian", n=6, seed=0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_universal_law_gives_uniform_p_values():
    rng = np.random.default_rng(0)
    noise = gumbel_l.rvs(size=3000, random_state=rng)
    pairs = np.column_stack([np.ones(3000), np.exp(np.exp(noise * 1.0))])
    assert kstest(universal_p(pairs), "uniform").pvalue > 0.01


def test_the_universal_law_in_closed_form():
    # log log of the ratios is −1, 0, 1 with mean 0, so that the middle one is at −γ
    pairs = np.column_stack([np.ones(3), np.exp(np.exp([1.0, 0.0, -1.0]))])
    np.testing.assert_allclose(
        universal_p(pairs), np.exp(-np.exp(np.array([1.0, 0.0, -1.0]) - 0.5772156649015329)), rtol=1e-12
    )
    np.testing.assert_allclose(universal_p(7 * pairs), universal_p(pairs), rtol=1e-9)
    assert np.isnan(universal_p(pairs[:2])).all()


def test_the_law_of_random_clouds_is_near_the_universal_one():
    points = np.random.default_rng(0).uniform(size=(400, 2))
    assert kstest(universal_p(loop_pairs(points)), "uniform").statistic < 0.15
