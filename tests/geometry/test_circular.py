import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from nbinterp.clouds import Cloud
from nbinterp.geometry import centroids, circle_test, circle_tests
from nbinterp.geometry.circular import _held_out, _lines, _orders, _p_values, _tours
from tests.geometry import planted


def test_a_perfect_heptagon_has_exactly_two_of_720_orders():
    test = circle_test(planted.circle(7), range(7))
    assert test.p_order == pytest.approx(2 / 720, abs=1e-15)
    assert (test.exact, test.n_orders, test.verdict) == (True, 720, "circle")
    assert test.wrap_ratio == pytest.approx(1)
    assert test.wrap_interval is None


@pytest.mark.parametrize("d_model", [64, 576])
@pytest.mark.parametrize("n", [7, 12])
def test_a_noisy_circle_is_called_a_circle(n, d_model):
    for seed in range(5):
        assert (
            circle_test(*planted.labelled(planted.circle(n), d_model=d_model, noise=0.5, seed=seed)).verdict == "circle"
        )


@pytest.mark.parametrize(
    "shape", [planted.line(12), planted.arc(12, 180), planted.arc(12, 270)], ids=["line", "arc180", "arc270"]
)
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_what_does_not_close_is_not_a_circle(shape, noise):
    for seed in range(5):
        test = circle_test(*planted.labelled(shape, noise=noise, seed=seed))
        assert test.verdict == "not a circle"
        assert test.wrap_ratio > 1.3


def fourier_p(points, seed=0, n=999):
    """The trap: the permutation p of the power at frequency one, in the full space."""
    rng = np.random.default_rng(seed)
    wave = np.exp(2j * np.pi * np.arange(len(points)) / len(points))
    power = [np.linalg.norm(wave @ points[order]) for order in (rng.permutation(len(points)) for _ in range(n))]
    return (1 + sum(p >= np.linalg.norm(wave @ points) for p in power)) / (n + 1)


def test_the_trap_an_ordered_line_has_fourier_power_and_order_but_is_no_circle():
    found = centroids(*planted.labelled(planted.line(12), noise=0.5))
    test = circle_test(found)
    assert fourier_p(found.points) <= 0.01
    assert test.p_order <= 0.01
    assert test.verdict == "not a circle"
    assert test.r2_line > test.r2_circle


def test_shuffled_labels_and_gaussian_clouds_are_not_circles():
    rng = np.random.default_rng(0)
    called = 0
    for seed in range(40):
        rows, labels, groups = planted.labelled(planted.circle(12), seed=seed)
        called += (
            circle_test(rows, rng.permutation(12)[labels], groups, order=range(12), n_permutations=999).verdict
            == "circle"
        )
        called += circle_test(rng.normal(size=rows.shape), labels, groups, n_permutations=999).verdict == "circle"
    assert called == 0


@pytest.mark.parametrize("n", [7, 12])
def test_p_order_is_uniform_when_labels_mean_nothing(n):
    rng = np.random.default_rng(1)
    orders = _orders(n, 999, 0)
    p = [_p_values(_tours(np.arctan2(*rng.normal(size=(n, 2)).T) % (2 * np.pi), orders))[0] for _ in range(400)]
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.08


@given(seed=st.integers(0, 2**16), scale=st.floats(1e-3, 1e3), shift=st.floats(-5, 5))
@settings(max_examples=15, deadline=None)
def test_rotation_scale_shift_and_the_order_of_rows_change_nothing(seed, scale, shift):
    rng = np.random.default_rng(seed)
    rows, labels, groups = planted.labelled(planted.circle(7), d_model=16, seed=seed)
    turned = scale * (rows @ planted.frame_of(16, 16, seed) + shift)
    rows_order = rng.permutation(len(rows))
    first = circle_test(rows, labels, groups, order=range(7), n_permutations=99)
    second = circle_test(turned[rows_order], labels[rows_order], groups[rows_order], order=range(7), n_permutations=99)
    for name in ("p_order", "r2_circle", "r2_line", "wrap_ratio", "verdict"):
        assert (
            getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-6)
            if name != "verdict"
            else first.verdict == second.verdict
        )


def test_where_the_cycle_starts_and_its_direction_change_nothing_but_the_line():
    found = planted.labelled(planted.circle(8), noise=0.5)
    tests = [circle_test(*found, order=order) for order in (np.arange(8), np.roll(np.arange(8), 3), np.arange(8)[::-1])]
    assert len({test.p_order for test in tests}) == 1
    np.testing.assert_allclose([test.r2_circle for test in tests], tests[0].r2_circle)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_too_few_labels_is_said_plainly(n):
    test = circle_test(planted.circle(n) if n > 4 else np.random.default_rng(0).normal(size=(n, 5)), range(n))
    assert test.verdict == "too few labels to say"
    assert test.reasons[0].startswith(f"{n} labels in perfect order give p = ")


def test_looks_multiply_p_and_can_make_labels_too_few():
    assert circle_test(planted.circle(7), range(7), looks=3).p_order == pytest.approx(6 / 720)
    assert circle_test(planted.circle(7), range(7), looks=3).verdict == "circle"
    assert circle_test(planted.circle(7), range(7), looks=4).verdict == "too few labels to say"


@pytest.mark.parametrize(
    ("shape", "truth"),
    [(planted.circle(12), 1.0), (planted.arc(12, 180), 2 / (2 * np.sin(np.pi / 22)))],
    ids=["circle", "arc"],
)
def test_noise_does_not_close_an_open_line_and_the_interval_covers_the_truth(shape, truth):
    tests = [circle_test(*planted.labelled(shape, noise=0.3, seed=seed), n_permutations=99) for seed in range(60)]
    assert np.median([test.wrap_ratio for test in tests]) == pytest.approx(truth, rel=0.07)
    assert np.mean([test.wrap_interval[0] <= truth <= test.wrap_interval[1] for test in tests]) >= 0.85


def test_the_ratio_copes_with_missing_cells():
    rows, labels, groups = planted.labelled(planted.arc(12, 180), noise=0)
    keep = np.random.default_rng(1).random(len(rows)) < 0.7
    whole = circle_test(rows, labels, groups)
    assert circle_test(rows[keep], labels[keep], groups[keep], order=range(12)).wrap_ratio == pytest.approx(
        whole.wrap_ratio
    )


def test_a_text_and_a_frame_tell_the_whole():
    test = circle_test(planted.months(), "month", "template")
    text = repr(test)
    assert text.startswith(
        f"CircleTest of month at {planted.SITE}: circle\n  order: p = 0.0001 against 9999 random orders; wanted ≤ 0.01: holds."
    )
    assert len(test.reasons) == 3
    assert test.frame()["label"].tolist() == list(planted.MONTHS)


def test_many_sites_are_corrected_together():
    sites = {f"resid_post.{i}": planted.labelled(planted.circle(7), noise=0.3, seed=i)[0] for i in range(12)}
    sites["resid_post.12"] = np.random.default_rng(5).normal(size=(105, 64))
    table = planted.cloud_of(*planted.labelled(planted.circle(7))).table
    cloud = Cloud.from_arrays(sites, table, planted.info(64))
    found = circle_tests(cloud, "month", "template").set_index("site")
    assert (found.loc[[f"resid_post.{i}" for i in range(12)], "verdict"] == "circle").all()
    assert found.loc["resid_post.12", "verdict"] == "not a circle"
    # Holm's correction cannot: 13 × 2/720 is more than .01
    assert found["p_holm"].iloc[0] == pytest.approx(13 * 2 / 720)
    assert found["p_joint"].iloc[0] <= 4 / 720 + 1e-12


def test_the_joint_correction_holds_its_level_over_unrelated_sites():
    rng = np.random.default_rng(3)
    smallest = []
    for _ in range(200):
        orders = _orders(7, 0, 0)
        p = np.array([_p_values(_tours(rng.uniform(0, 2 * np.pi, 7), orders)) for _ in range(5)])
        smallest.append(min((p.min(axis=0) <= one + 1e-12).mean() for one in p[:, 0]))
    assert np.mean(np.array(smallest) <= 0.05) <= 0.09


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: circle_test(planted.circle(7)),
            TypeError,
            "got no by; wanted the column that holds the labels, for example by='month'.",
        ),
        (
            lambda: circle_test(planted.circle(7), range(7), looks=0),
            ValueError,
            "got looks=0; wanted the number of sites or subsets looked at, at least 1.",
        ),
        (
            lambda: circle_test(planted.circle(2), range(2)),
            ValueError,
            "got 2 labels; wanted at least 3 to speak of a circle (7 to test it).",
        ),
        (
            lambda: circle_test(planted.circle(7), range(7), alpha=2),
            ValueError,
            "got alpha=2; wanted a number between 0 and 1, such as 0.01.",
        ),
        (
            lambda: circle_test(planted.circle(12), range(12), n_permutations=99, looks=10),
            ValueError,
            "got n_permutations=99, which cannot reach p ≤ 0.01 after 10 looks; wanted at least 1000.",
        ),
        (
            lambda: circle_test(np.arange(8.0)[:, None] * np.ones((1, 4)), range(8)),
            ValueError,
            "got labels whose centroids lie on one line or point; wanted at least two dimensions: check the labels and rows.",
        ),
        (
            lambda: circle_test(centroids(planted.circle(7), range(7)), by="month"),
            TypeError,
            "got Centroids together with by, within or order; those belong to centroids(…): leave them out here.",
        ),
        (lambda: circle_tests({}), ValueError, "got no sites to test; give at least one."),
    ],
)
def test_bad_requests_get_one_sentence(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        call()


def test_a_line_is_called_a_line_and_its_orders_are_counted():
    line = circle_test(*planted.labelled(planted.line(10), noise=0.3))
    assert (line.verdict, line.shape) == ("not a circle", "line")
    assert line.p_line <= 0.001
    sites = {str(i): centroids(*planted.labelled(planted.line(10), noise=0.3, seed=i)) for i in range(12)}
    assert (circle_tests(sites)["shape"] == "line").all()
    assert circle_test(planted.circle(7), range(7)).shape == "circle"
    assert circle_test(planted.circle(4), range(4)).shape == "too few labels to say"
    # of 7! orders only this one and its reverse are as good
    straight = circle_test(planted.line(7), range(7))
    assert straight.p_line == pytest.approx(2 / 5040)


def test_p_line_is_uniform_when_labels_mean_nothing():
    rng = np.random.default_rng(5)
    for n in (7, 12):
        clouds = [centroids(rng.normal(size=(n, 6)), range(n)) for _ in range(300)]
        p = [_p_values(-_lines(one, 999, 0))[0] for one in clouds]
        assert kstest(p, "uniform").pvalue > 0.01


@given(seed=st.integers(0, 2**16), n=st.integers(5, 12))
@settings(max_examples=15, deadline=None)
def test_held_out_predictions_are_those_of_a_refit(seed, n):
    rng = np.random.default_rng(seed)
    points, targets = rng.normal(size=(n, 6)), rng.normal(size=(2, n))
    predicted = targets @ _held_out(points).T
    for left_out in range(n):
        rest = np.arange(n) != left_out
        fitted = make_pipeline(PCA(2), LinearRegression()).fit(points[rest], targets.T[rest])
        np.testing.assert_allclose(fitted.predict(points[[left_out]])[0], predicted[:, left_out], atol=1e-8)
