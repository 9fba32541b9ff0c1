import re

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nbinterp.geometry import FourierLoop, centroids, fit_manifold
from tests.geometry import planted


@parametrize_with_checks([FourierLoop(), FourierLoop(harmonics=3)])
def test_fourier_loop_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def test_fourier_loop_finds_the_planted_curve_and_the_angles_on_it():
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=(4, 20)) * np.array([[3], [3], [0.4], [0.4]])
    angles = rng.uniform(0, 2 * np.pi, 200)
    waves = np.column_stack([np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)])
    points = 7 + waves @ coefficients
    fitted = FourierLoop(harmonics=2).fit(points, angles)
    np.testing.assert_allclose(np.concatenate([fitted.cosines_, fitted.sines_])[[0, 2, 1, 3]], coefficients, atol=1e-10)
    np.testing.assert_allclose(fitted.mean_, 7, atol=1e-10)
    turn = (fitted.transform(points)[:, 0] - angles + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turn).max() < 1e-9
    assert fitted.score(points, angles) == pytest.approx(1)


@pytest.mark.parametrize("backwards", [False, True])
def test_plane_and_loop_recover_a_planted_circle(backwards):
    shape = planted.circle(12)[:: -1 if backwards else 1]
    rows, labels, groups = planted.labelled(shape, noise=0.2, d_model=100)
    circle = fit_manifold(rows, labels, groups, site="resid_post.1", harmonics=1)
    found = circle.centroids.points + circle.centroids.centre
    for points in (found, circle.loop.decode(circle.label_angles)):
        angles = np.array([circle.plane.angle_of(point) for point in points])
        turn = (angles - circle.label_angles + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(turn).max() < np.radians(4)
    np.testing.assert_allclose(
        np.linalg.norm(circle.loop.decode(circle.label_angles) - circle.loop.centre, axis=1), 3, atol=0.15
    )
    np.testing.assert_allclose(circle.plane.centre, rows.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(circle.loop.centre, rows.mean(axis=0), atol=1e-8)
    assert circle.r2 > 0.8


def test_turning_and_walking_move_a_point_to_the_next_label():
    circle = fit_manifold(planted.months(noise=0.1), "month", "template", harmonics=1)
    points = circle.centroids.points + circle.centroids.centre
    for shape in (circle.plane, circle.loop):
        moved = points[2] + shape.displacement(circle.angle_of("March"), circle.angle_of("August"), points[2])
        assert np.linalg.norm(points - moved, axis=1).argmin() == 7


def test_labels_and_angles():
    circle = fit_manifold(planted.months(), "month", "template")
    assert circle.angle_of(" march ") == pytest.approx(np.pi / 3)
    assert circle.nearest_label(np.pi / 3 + 0.2) == "March"
    assert circle.nearest_label(-0.1) == "January"
    assert circle.nearest_label(2 * np.pi - 0.4) == "December"
    with pytest.raises(
        LookupError,
        match="^got the month 'Smarch', which is not on this circle: choose from January, February, .*December.$",
    ):
        circle.angle_of("Smarch")


def test_harmonics_can_be_changed_and_are_bounded():
    circle = fit_manifold(planted.months(), "month", "template")
    assert (circle.loop.harmonics, circle.loop_with(5).harmonics) == (2, 5)
    # with one more wave than there are bends in the truth, only noise is fitted
    assert circle.r2_with(1) > circle.r2_with(3)
    np.testing.assert_allclose(
        circle.loop_with(5).decode(circle.label_angles).mean(axis=0), circle.plane.centre, atol=1e-4
    )
    for harmonics in (0, 6):
        message = f"got harmonics={harmonics} for 12 labels (n_samples = 12); wanted harmonics ≥ 1 and 2 × harmonics + 1 ≤ 12: choose harmonics from 1 to 5."
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            circle.loop_with(harmonics)
    assert np.isnan(fit_manifold(planted.circle(7), range(7), site="resid_post.1", harmonics=3).r2)


def test_it_carries_its_place_its_test_and_its_frame():
    cloud = planted.months()
    circle = fit_manifold(cloud, "month", "template")
    assert circle.site == circle.plane.site == circle.loop.site == cloud.site
    assert circle.model == circle.plane.model == circle.loop.model == cloud.model
    assert circle.test.verdict == "circle"
    frame = circle.frame()
    assert frame.columns.tolist() == ["label", "angle", "x", "y"]
    assert np.hypot(frame["x"], frame["y"]).mean() == pytest.approx(1)
    np.testing.assert_allclose(np.arctan2(frame["y"], frame["x"]) % (2 * np.pi), frame["angle"], atol=0.15)
    assert repr(circle).startswith(
        f"Circle of month at {planted.SITE} of planted@000000000000: 12 labels, 2 harmonics\n  January, February"
    )


def test_a_fit_to_centroids_is_the_fit_to_their_cloud():
    cloud = planted.months()
    one, other = fit_manifold(cloud, "month", "template"), fit_manifold(centroids(cloud, "month", "template"))
    assert one.plane == other.plane
    assert one.loop == other.loop


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"topology": "torus"}, "got topology='torus'; choose 'circle', 'line' or 'surface'."),
        ({}, "got an array, which does not say where it was read; pass its site, for example site='resid_post.10'."),
    ],
)
def test_bad_requests_get_one_sentence(more, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        fit_manifold(planted.circle(7), range(7), **more)


def test_another_site_than_the_clouds_is_refused():
    with pytest.raises(
        ValueError, match=r"^got site='resid_post.9' for rows that were read at resid_post.3; leave site out.$"
    ):
        fit_manifold(planted.months(), "month", site="resid_post.9")


def test_the_way_round_is_the_shorter_one():
    circle = fit_manifold(planted.months(noise=0.0), "month", "template", harmonics=1)
    points = circle.centroids.points + circle.centroids.centre
    for source, target, between in ((0, 3, [1, 2]), (1, 10, [0, 11]), (11, 1, [0])):
        way = circle.path(circle.labels[source], circle.labels[target], 30)
        passed = np.linalg.norm(way[:, None] - points, axis=2).argmin(axis=1)
        assert set(passed) == {source, target, *between}
        np.testing.assert_allclose(way[[0, -1]], points[[source, target]], atol=1e-6)
        # along the circle and not across
        np.testing.assert_allclose(np.linalg.norm(way - circle.loop.centre, axis=1), 3, atol=1e-6)
    half = circle.path("January", "July", 2)
    np.testing.assert_allclose(half[1], points[3], atol=1e-6)
    assert circle.neighbours[-1] == (11, 0)


def test_another_number_of_harmonics_is_another_circle():
    circle = fit_manifold(planted.months(), "month", "template")
    once = circle.with_harmonics(1)
    assert (once.loop.harmonics, circle.loop.harmonics) == (1, 2)
    assert once.r2 == circle.r2_with(1)
    assert once.decode([0.5]).shape == (1, 64)
    assert circle.provenance.endswith("; Fourier curve of 2 harmonics")


@pytest.mark.parametrize("harmonics", [1, 2])
def test_the_curve_of_a_regular_polygon_is_its_circle(harmonics):
    circle = fit_manifold(planted.circle(12), range(12), site="resid_post.1", harmonics=harmonics)
    angles = np.linspace(0, 2 * np.pi, 50)
    wanted = 3 * np.column_stack([np.cos(angles), np.sin(angles)])
    np.testing.assert_allclose(circle.decode(angles), wanted, atol=1e-9)
    # a label left out of a perfect circle is predicted exactly
    assert circle.r2 == pytest.approx(1)


def test_a_double_winding_needs_a_second_harmonic():
    angles = 2 * np.pi * np.arange(12) / 12
    shape = np.column_stack([np.cos(angles), np.sin(angles), 2 * np.cos(2 * angles), 2 * np.sin(2 * angles)])
    rows, labels, groups = planted.labelled(shape, noise=0.1)
    circle = fit_manifold(rows, labels, groups, site="resid_post.1")
    assert circle.r2 > 0.9
    assert circle.r2_with(1) < 0.3
