import re

import numpy as np
import pytest
from scipy.stats import kstest

from nbinterp.geometry.reducibility import mixture_index, mutual_information, reducibility
from nbinterp.spaces import Plane
from tests.geometry import planted


def circle(n, rng):
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def gaussian(n, rng):
    return rng.normal(size=(n, 2))


def sparse_axes(n, rng):
    """One of two features speaks, the other is silent."""
    return rng.normal(size=(n, 1)) * np.eye(2)[rng.integers(2, size=n)]


def square(n, rng):
    return rng.uniform(-1, 1, size=(n, 2))


@pytest.mark.parametrize(
    ("shape", "separability", "mixture"),
    [(circle, (1.4, 1.6), (0.21, 0.24)), (gaussian, (0, 0.03), (0.08, 0.1)), (sparse_axes, (0.2, 0.6), (0.5, 0.58))],
)
def test_indices_are_those_of_the_shapes(shape, separability, mixture):
    points = shape(4096, np.random.default_rng(0))
    assert separability[0] <= mutual_information(points).min() <= separability[1]
    assert mixture[0] <= mixture_index(points) <= mixture[1]


@pytest.mark.parametrize(
    ("shape", "verdict"),
    [(circle, "irreducible"), (gaussian, "separable"), (sparse_axes, "mixture"), (square, "separable")],
)
@pytest.mark.parametrize("n", [200, 1000])
def test_verdicts(shape, verdict, n):
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(2, 2)))[0]
    found = reducibility(shape(n, np.random.default_rng(n)) @ turn)
    assert found.verdict == verdict


def test_small_clouds_have_a_large_index_and_a_null_that_knows():
    found = reducibility(gaussian(200, np.random.default_rng(0)))
    assert found.separability > 0.1
    assert found.separability_null == pytest.approx(found.separability, abs=0.08)
    assert found.p_separability > 0.01


def test_p_values_are_uniform_where_coordinates_are_independent():
    # a heavy-tailed and a light-tailed coordinate
    p = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        points = np.column_stack([rng.standard_t(4, 120), rng.uniform(-2, 2, 120)])
        p.append(reducibility(points, n_null=99, seed=seed).p_separability)
    # false alarms are what must not be: small p may be rarer than uniform
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.01


def test_four_corners_are_half_in_a_strip():
    corners = np.repeat([[1, 1], [1, -1], [-1, 1], [-1, -1]], 50, axis=0).astype(float)
    assert mixture_index(corners) == pytest.approx(0.5)
    assert mutual_information(corners).min() == pytest.approx(0, abs=1e-12)


def test_a_plane_is_looked_into():
    rng = np.random.default_rng(0)
    frame = planted.frame_of(64, 4)
    rows = circle(600, rng) @ frame[:2] + 5 * gaussian(600, rng) @ frame[2:] + 0.01 * rng.normal(size=(600, 64))
    plane = Plane(None, None, np.zeros(64), frame[:2])
    assert reducibility(rows).verdict == "separable"
    found = reducibility(rows, plane)
    assert found.verdict == "irreducible"
    assert "in the given plane" in found.provenance


def test_a_plane_belongs_to_its_site():
    cloud = planted.months()
    elsewhere = Plane("resid_post.1", cloud.model, np.zeros(64), planted.frame_of(64, 2))
    with pytest.raises(ValueError, match=r"^got a Plane found at resid_post\.1, used at resid_post\.3"):
        reducibility(cloud, elsewhere, within="template")
    here = elsewhere.at(planted.SITE)
    assert str(reducibility(cloud, here, within="template").site) == planted.SITE


def test_few_rows_get_no_verdict():
    found = reducibility(circle(60, np.random.default_rng(0)))
    assert found.verdict == "too few points to say"
    assert found.reasons[0] == "60 rows; wanted at least 100: collect more rows."


def test_frame_has_the_numbers():
    found = reducibility(circle(200, np.random.default_rng(0)), looks=2)
    assert found.frame()[["separability", "mixture", "verdict", "looks"]].iloc[0].tolist() == [
        found.separability,
        found.mixture,
        "irreducible",
        2,
    ]
    assert "times 2 looks" in repr(found)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            np.column_stack([np.arange(200.0), np.arange(200.0)]),
            {},
            "got rows that lie on a line or a point in the plane; wanted both dimensions: check the rows.",
        ),
        (np.eye(200)[:, :5], {"alpha": 2}, "got alpha=2, looks=1; wanted alpha between 0 and 1 and at least 1 look."),
        (
            np.eye(200)[:, :5],
            {"n_null": 50},
            "got n_null=50, which cannot reach p ≤ 0.01 after 1 looks; wanted at least 99.",
        ),
        (
            np.random.default_rng(0).normal(size=(200, 5)),
            {"plane": Plane(None, None, np.zeros(4), np.eye(4)[:2])},
            "got a Plane of 4 features and rows of 5.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(rows, options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        reducibility(rows, **options)
