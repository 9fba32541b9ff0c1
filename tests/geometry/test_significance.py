import re

import numpy as np
import pytest
from scipy.stats import kstest
from threadpoolctl import threadpool_limits

from nbinterp.geometry import loop_significance, persistence
from nbinterp.geometry.pvalues import prominences
from nbinterp.geometry.significance import significance
from nbinterp.geometry.vectors import bottleneck
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


def test_far_rows_that_enclose_much_are_no_loop():
    # Student's t with 3 degrees of freedom: of 200 such clouds four have a loop as long-lived and prominent as this
    rng = np.random.default_rng(176)
    rows = rng.normal(size=(150, 2)) * np.sqrt(3 / rng.chisquare(3, size=(150, 1)))
    diagram = persistence(rows, max_norm_ratio=None)
    test = significance(diagram, n_null=99)
    assert (test.p, test.verdict) == (0.01, "no loop")
    assert test.prominence > 2
    assert test.p_ratio > 0.5
    assert [reason.rsplit(" ", 1)[1] for reason in test.reasons[:3]] == ["holds.", "holds.", "fails."]
    assert significance(diagram, n_null=99, ratio_level=1).verdict == "a loop"


def test_what_noise_has_is_kept_and_drawn():
    test = significance(noisy_circle(n=100, noise=0.1)[0], n_null=99)
    assert list(test.drawn) == ["lifetime", "prominence", "ratio"]
    assert test.p_lifetime == (1 + (test.drawn["lifetime"] >= test.lifetime).sum()) / 100
    assert test.p_ratio == (1 + (test.drawn["ratio"] >= test.classes["ratio"][0]).sum()) / 100
    assert (test.drawn["ratio"] > test.ratio_threshold).mean() < 0.1
    panels = test.null_chart().to_dict()["hconcat"]
    assert [panel["title"]["text"] for panel in panels] == [
        f"the cloud: {test.classes[name][0]:.3g}" for name in test.drawn
    ]
    with pytest.raises(ValueError, match="got null='universal' and .* classes; wanted null clouds to show"):
        significance(noisy_circle(n=100, noise=0.1)[0], null="universal").null_chart()


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


def figure_eight(rng, n=300, noise=0.05, d=2):
    """Two circles of radius 1 that touch."""
    angles = rng.uniform(0, 2 * np.pi, n)
    side = rng.choice([-1.0, 1.0], n)
    points = np.column_stack([side * (1 + np.cos(angles)), np.sin(angles)])
    return points @ planted.frame_of(d, 2) + noise * rng.normal(size=(n, d))


def torus(rng, n=300, noise=0.05):
    u, v = rng.uniform(0, 2 * np.pi, (2, n))
    return np.column_stack([np.cos(u), np.sin(u), np.cos(v), np.sin(v)]) + noise * rng.normal(size=(n, 4))


@pytest.mark.parametrize(
    ("lifetimes", "wanted"),
    [
        ([], []),
        # nothing is left: a tenth of the birth, 1
        ([2.0], [20]),
        # a circle: the drop is after the first
        ([3.0, 0.3, 0.25], [10, 2.5, 2.5]),
        # a figure-eight: both loops have the drop after the second
        ([3.0, 2.0, 0.2, 0.18], [10, 10, 1.8, 1.8]),
        # the second is too small to be of a kind with the first
        ([10.0, 2.0, 0.1], [5, 20, 1]),
        # a fifth class is beyond the reach of the first
        ([5.0, 4.8, 4.6, 4.4, 4.2, 0.1], [4.4 / 4.2, 42, 42, 42, 42, 1]),
    ],
)
def test_prominence_in_closed_form(lifetimes, wanted):
    lifetimes = np.array(lifetimes)
    np.testing.assert_allclose(prominences(np.column_stack([np.ones(len(lifetimes)), 1 + lifetimes])), wanted)


def test_a_circle_has_one_loop_and_a_figure_eight_has_two_and_so_has_a_torus():
    rng = np.random.default_rng(0)
    one = significance(noisy_circle(n=150, noise=0.1, d_model=64)[0], n_null=99)
    two = significance(figure_eight(rng, d=64), n_null=99)
    flat = significance(persistence(torus(rng), n_components=4), n_null=99)
    assert [test.n_found for test in (one, two, flat)] == [1, 2, 2]
    assert [test.verdict for test in (one, two, flat)] == ["a loop"] * 3
    assert two.reasons[3] == "2 loops are more than noise: H1.0, H1.1."
    assert two.classes["significant"].tolist()[:3] == [True, True, False]


def test_a_sphere_has_a_cavity_and_a_gaussian_has_none():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(150, 3))
    ball = significance(persistence(points, n_components=3, max_dimension=2), dimension=2, n_null=19, alpha=0.05)
    shell = points / np.linalg.norm(points, axis=1, keepdims=True)
    sphere = significance(persistence(shell, n_components=3, max_dimension=2), dimension=2, n_null=19, alpha=0.05)
    assert (ball.verdict, sphere.verdict, sphere.n_found) == ("no cavity", "a cavity", 1)
    assert sphere.classes["class_id"].iloc[0] == "H2.0"
    assert np.isnan(sphere.occupancy)


@pytest.mark.parametrize("null", ["gaussian", "permutation", "universal", "bootstrap"])
def test_every_null_finds_a_clear_circle_and_nothing_in_a_gaussian(null):
    circle = significance(noisy_circle(n=200, noise=0.1, d_model=2)[0], null=null, n_null=99)
    nothing = significance(np.random.default_rng(0).normal(size=(150, 2)), null=null, n_null=99)
    assert (circle.verdict, nothing.verdict) == ("a loop", "no loop")
    assert circle.n_null == (0 if null == "universal" else 99)
    assert list(circle.classes) == [
        "class_id",
        "birth",
        "death",
        "lifetime",
        "ratio",
        "prominence",
        "p",
        "p_adjusted",
        "p_ratio",
        "significant",
    ]


@pytest.mark.parametrize("statistic", ["both", "lifetime", "prominence", "ratio"])
def test_adjusted_p_values_grow_down_the_diagram_and_exceed_the_single_ones(statistic):
    test = significance(figure_eight(np.random.default_rng(3), noise=0.2), statistic=statistic, n_null=99)
    assert (np.diff(test.classes["p_adjusted"]) >= 0).all()
    assert (test.classes["p"] <= test.classes["p_adjusted"]).all()
    assert test.p == test.classes["p_adjusted"].iloc[0]


def test_looks_multiply_the_adjusted_p_of_every_class():
    points = np.random.default_rng(3).normal(size=(60, 2))
    one, three = (significance(points, looks=looks, n_null=299) for looks in (1, 3))
    np.testing.assert_allclose(three.classes["p_adjusted"], np.minimum(1, 3 * one.classes["p_adjusted"]))
    np.testing.assert_array_equal(three.classes["p"], one.classes["p"])


def randomised(test, rng, p):
    """An exact p-value of discrete draws, made uniform over its step."""
    return p - rng.uniform() / (test.n_null + 1)


@pytest.mark.slow
@pytest.mark.parametrize("landmarks", [None, 25])
def test_p_is_uniform_under_the_null_of_gaussian_rows_of_any_covariance(landmarks):
    rng = np.random.default_rng(7)
    p_lifetime, p_prominence = [], []
    for seed in range(150):
        rows = rng.normal(size=(50, 30)) @ rng.normal(size=(30, 30))
        with threadpool_limits(1):
            diagram = persistence(rows, landmarks=landmarks, max_norm_ratio=None)
        test = significance(diagram, n_null=19, alpha=0.05, seed=seed)
        p_lifetime.append(randomised(test, rng, test.p_lifetime))
        p_prominence.append(randomised(test, rng, test.p_prominence))
    assert kstest(p_lifetime, "uniform").pvalue > 0.01
    assert kstest(p_prominence, "uniform").pvalue > 0.01


def test_the_confidence_set_of_subsamples_covers_the_diagram_of_the_circle():
    truth = np.array([[0.0, np.sqrt(3)]])
    covered = 0
    for seed in range(40):
        test = significance(noisy_circle(n=150, noise=0, seed=seed)[0], null="subsampling", n_null=39, alpha=0.05)
        covered += bottleneck(test.diagram.h1, truth) <= test.lifetime_threshold / 2
    assert covered >= 36


def test_subsamples_need_many_rows_for_a_verdict():
    few, many = (significance(noisy_circle(n=n, noise=0)[0], null="subsampling", n_null=99) for n in (150, 1200))
    assert (few.verdict, many.verdict) == ("no loop", "a loop")
    assert many.lifetime_threshold < few.lifetime_threshold
    assert re.fullmatch(
        r"lifetime 1.\d+ against a confidence set of width 1.\d+ from 99 subsamples: p = 0.01; wanted ≤ 0.01: holds.",
        many.reasons[0],
    )


def test_a_confidence_set_is_as_wide_as_the_level_wants():
    points = noisy_circle(n=80, noise=0.2)[0]
    widths = [
        significance(points, null="bootstrap", n_null=99, alpha=alpha).lifetime_threshold for alpha in (0.01, 0.1, 0.5)
    ]
    assert widths[0] >= widths[1] >= widths[2] > 0


def test_too_few_classes_for_the_universal_law_are_said_plainly():
    test = significance(planted.circle(24), null="universal")
    assert test.verdict == "too few points to say"
    assert test.reasons == (
        "1 classes; the universal law is fitted to the diagram's own classes and wants at least 3: take null='gaussian'.",
    )


def test_a_cloud_without_any_loop_has_none():
    test = significance(persistence(np.arange(30.0)[:, None] ** 1.1, n_components=1), n_null=99)
    assert (test.verdict, test.p, test.n_found, test.lifetime) == ("no loop", 1.0, 0, 0.0)
    assert test.reasons == ("there is no loop at any scale: fails.",)
    assert not len(test.classes)


def test_an_interrupted_test_costs_only_the_rest():
    def stop(done, wanted):
        if done == 50:
            raise KeyboardInterrupt

    diagram, seen = persistence(np.random.default_rng(0).normal(size=(40, 2))), []
    with pytest.raises(KeyboardInterrupt):
        significance(diagram, n_null=99, progress=stop)
    whole = significance(diagram, n_null=99, progress=lambda done, wanted: seen.append((done, wanted)))
    assert seen[0] == (51, 99)
    assert whole.p == significance(np.random.default_rng(0).normal(size=(40, 2)), n_null=99).p


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"null": "normal"},
            "got null='normal'; choose from gaussian, permutation, universal, bootstrap, subsampling.",
        ),
        (
            {"null": "universal", "statistic": "lifetime"},
            "got statistic='lifetime' with null='universal'; choose from ratio.",
        ),
        (
            {"statistic": "length"},
            "got statistic='length' with null='gaussian'; choose from both, lifetime, prominence, ratio.",
        ),
        ({"dimension": 0}, "got dimension=0; choose 1 (loops) or 2 (cavities)."),
    ],
)
def test_bad_choices_get_one_sentence(more, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        significance(np.random.default_rng(0).normal(size=(30, 2)), **more)


def test_a_ratio_level_that_so_few_draws_cannot_reach_is_refused():
    with pytest.raises(ValueError, match="got ratio_level=0.1 and n_null=4; wanted ratio_level of at least 0.2"):
        significance(noisy_circle(n=30, noise=0.1)[0], n_null=4, alpha=0.5)


def test_a_diagram_without_cavities_is_refused():
    with pytest.raises(
        ValueError, match=r"^got a diagram without cavities \(max_dimension=1\); make it with max_dimension=2.$"
    ):
        significance(persistence(planted.circle(30)), dimension=2)
