import re

import numpy as np
import pytest

from nbinterp.geometry import loop_significance, persistence
from tests.geometry import planted
from tests.geometry.test_persistence import noisy_circle


def blobs(rng, n_blobs, n, spread=0.1):
    return rng.normal(size=(n_blobs, 2))[rng.integers(n_blobs, size=n)] + spread * rng.normal(size=(n, 2))


NOTHING = {
    "Gaussian": lambda rng: rng.normal(size=(60, 2)),
    "anisotropic": lambda rng: rng.normal(size=(60, 2)) * [5, 1],
    "Gaussian in 64 dimensions": lambda rng: rng.normal(size=(60, 64)),
    "3 blobs": lambda rng: blobs(rng, 3, 60),
    "5 blobs": lambda rng: blobs(rng, 5, 60),
    "skewed": lambda rng: rng.exponential(size=(60, 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_rarely_called_a_loop(name):
    rng = np.random.default_rng(0)
    called = [
        loop_significance(NOTHING[name](rng), n_null=39, alpha=0.05, seed=i).verdict == "a loop" for i in range(60)
    ]
    # at the level of 5 %, six of sixty is the 97 % quantile
    assert np.mean(called) <= 0.10


def test_a_circle_in_64_dimensions_is_a_loop():
    test = loop_significance(noisy_circle(n=100, noise=0.1, d_model=64)[0], n_null=99)
    assert (test.verdict, test.p) == ("a loop", 0.01)
    assert test.prominence > 2
    assert test.lifetime > test.lifetime_threshold
    assert test.occupancy > 0.8
    assert test.largest_gap < 40
    assert not re.search("clusters", repr(test))


def test_a_gaussian_is_no_loop_and_says_why():
    test = loop_significance(np.random.default_rng(0).normal(size=(80, 20)), n_null=99)
    assert test.verdict == "no loop"
    assert test.reasons[1].endswith("wanted ≥ 2: fails.")
    assert test.frame().loc[0, "verdict"] == "no loop"


def test_a_ring_of_clusters_is_a_loop_of_clusters():
    rng = np.random.default_rng(0)
    points = np.repeat(planted.circle(12, radius=1), 12, axis=0) + 0.01 * rng.normal(size=(144, 2))
    test = loop_significance(points, n_null=99)
    assert test.verdict == "a loop"
    assert test.occupancy < 0.75 * test.occupancy_expected
    assert "clusters in a ring rather than a continuous curve, so test their labels by order too." in test.reasons[-1]


def test_few_points_get_no_verdict():
    test = loop_significance(planted.circle(12))
    assert test.verdict == "too few points to say"
    assert test.reasons == (
        "12 points; wanted at least 20, and 300 to be sure: collect more rows, or test labels by their order.",
    )
    assert np.isnan(test.p)
    assert test.n_null == 0


def test_scale_does_not_matter_and_seeds_repeat():
    points = np.random.default_rng(2).normal(size=(40, 3))
    one, other, again = (loop_significance(scale * points, n_null=99, seed=4) for scale in (1, 1000, 1))
    assert (
        (one.p_lifetime, one.p_prominence)
        == (other.p_lifetime, other.p_prominence)
        == (again.p_lifetime, again.p_prominence)
    )
    assert other.lifetime_threshold == pytest.approx(1000 * one.lifetime_threshold, rel=1e-4)


def test_landmarks_are_taken_in_the_null_too():
    test = loop_significance(persistence(noisy_circle(n=600, noise=0.1)[0], landmarks=40), n_null=99)
    assert (test.verdict, test.n_points) == ("a loop", 40)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n_null": 50}, "got n_null=50, which cannot reach p ≤ 0.01 after 1 looks; wanted at least 99."),
        ({"looks": 10}, "got n_null=199, which cannot reach p ≤ 0.01 after 10 looks; wanted at least 999."),
        ({"looks": 0}, "got alpha=0.01, looks=0; wanted alpha between 0 and 1 and at least 1 look."),
    ],
)
def test_bad_requests_get_one_sentence(more, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        loop_significance(np.random.default_rng(0).normal(size=(30, 2)), **more)


def test_a_diagram_without_loops_is_refused():
    with pytest.raises(
        ValueError, match=r"^got a diagram without loops \(max_dimension=0\); make it with max_dimension=1.$"
    ):
        loop_significance(persistence(planted.circle(30), max_dimension=0))
