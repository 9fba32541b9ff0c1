import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp.geometry import persistence, prepare
from nbinterp.geometry.cocycles import circle_map, classes, is_integer_cocycle
from nbinterp.geometry.coordinates import circular_coordinates
from nbinterp.geometry.refinement import UNIFORM, agreement
from nbinterp.spaces import Loop
from tests.geometry import planted


def ring(n, d=576, noise=1.0, seed=0, winding=None):
    """Return rows [n, d] of a circle of radius 1 and their angles; `noise` is the noise's norm over all features."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, n)
    waves = [np.cos(angles), np.sin(angles)]
    if winding is not None:
        waves = [winding * np.cos(angles), winding * np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)]
    clean = np.column_stack(waves) @ planted.frame_of(d, len(waves), seed)
    return clean + noise / np.sqrt(d) * rng.normal(size=(n, d)) + 3, angles


def floor(noise, d=576):
    """Mean error of an angle, in radians, where only noise along the circle of radius 1 is left."""
    return np.sqrt(2 / np.pi) * noise / np.sqrt(d)


@pytest.mark.parametrize("noise", [0.25, 1.0, 2.0])
def test_a_circle_in_576_dimensions_is_measured_to_the_noise_floor(noise):
    rows, angles = ring(1000, noise=noise)
    found = circular_coordinates(rows)
    assert np.abs(planted.turned(found.angles, angles)).mean() < 1.1 * floor(noise)
    assert found.harmonics == 1
    assert (found.angles >= 0).all()
    assert (found.angles < 2 * np.pi).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_curve_that_leaves_the_loop_is_passed_over(seed):
    rows, angles = ring(600, d=40, noise=0.5, seed=seed)
    # a few rows far off, in a direction of their own, draw a curve of three harmonics out of the plane
    far = np.random.default_rng(seed).uniform(size=600) < 0.05
    rows += 2 * far[:, None] * planted.frame_of(40, 3, seed + 1)[2]
    found = circular_coordinates(rows)
    assert found.candidates.query("harmonics == 3 and not on_loop")["r2"].max() > found.r2, "it explains more"
    assert found.harmonics == 1
    assert np.abs(planted.turned(found.angles, angles)).mean() < np.radians(6)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_curve_that_zigzags_over_a_cylinder_is_passed_over(seed):
    rows, angles = ring(1500, d=60, noise=0.5, seed=seed)
    # a direction of its own has half the variance of each that the circle has
    rows += 0.5 * np.random.default_rng(seed).normal(size=(1500, 1)) * planted.frame_of(60, 3, seed + 1)[2]
    found = circular_coordinates(rows)
    assert found.candidates.query("harmonics == 5")["r2"].max() > found.r2, "it explains more"
    assert found.harmonics == 1
    assert np.abs(planted.turned(found.angles, angles)).mean() < 1.5 * floor(0.5, 60)


def test_without_refinement_it_is_the_cocycles_coordinate_and_worse():
    rows, angles = ring(1000, noise=1.0)
    rough = np.abs(planted.turned(circular_coordinates(rows, refine=False).angles, angles)).mean()
    assert floor(1.0) < rough < np.radians(15)
    assert np.abs(planted.turned(circular_coordinates(rows).angles, angles)).mean() < rough


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_the_uncertainty_covers(noise):
    rows, angles = ring(1500, noise=noise, seed=1)
    found = circular_coordinates(rows)
    covered = (np.abs(planted.turned(found.angles, angles)) <= 1.96 * found.uncertainty).mean()
    # three standard errors of a share of 1500 about 95 %
    assert 0.93 <= covered <= 0.97
    np.testing.assert_allclose(np.median(found.uncertainty), noise / 24, rtol=0.08)


def test_uncertainty_is_larger_where_noise_along_the_circle_is():
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, 2000)
    points = np.column_stack([np.cos(angles), np.sin(angles)]) + rng.normal(size=(2000, 2)) * [0.02, 0.10]
    found = circular_coordinates(points)
    error = planted.turned(found.angles, angles)
    # noise along y is noise along the circle at angles 0 and 180°
    sideways = np.abs(np.sin(angles)) < 0.3
    upright = np.abs(np.cos(angles)) < 0.3
    for where in (sideways, upright):
        np.testing.assert_allclose(found.uncertainty[where].mean(), error[where].std(), rtol=0.15)


def test_of_noise_alone_nothing_is_known():
    found = circular_coordinates(np.random.default_rng(0).normal(size=(200, 50)))
    assert found.r2 < 0.1
    assert (found.uncertainty <= UNIFORM + 1e-12).all()


def test_a_curve_that_winds_twice_is_walked_once():
    rows, angles = ring(1500, d=100, noise=0.5, winding=0.7)
    found = circular_coordinates(rows, n_components=4)
    assert found.harmonics >= 3
    assert np.abs(planted.turned(found.angles, angles)).mean() < np.radians(6)
    # one harmonic holds only half of it
    once = found.candidates.query("harmonics == 1")["r2"].max()
    assert found.r2 > once + 0.2


def test_a_bent_curve_is_followed():
    rng = np.random.default_rng(2)
    angles = rng.uniform(0, 2 * np.pi, 1000)
    shape = np.column_stack([np.cos(angles), np.sin(angles), 0.4 * np.cos(2 * angles), 0.4 * np.sin(3 * angles)])
    rows = shape @ planted.frame_of(64, 4) + 0.5 / 8 * rng.normal(size=(1000, 64))
    found = circular_coordinates(rows)
    assert found.harmonics >= 3
    decoded = found.loop.decode(found.angles)
    assert np.linalg.norm(decoded - shape @ planted.frame_of(64, 4), axis=1).mean() < 0.15
    # with harmonics enough the gauge is arc length, at which three harmonics can only aim
    gauged = circular_coordinates(rows, harmonics=(9,)).decoder
    speeds = np.linalg.norm(gauged.derivative(np.linspace(0, 2 * np.pi, 50)), axis=1)
    slopes = np.column_stack([-np.sin(angles), np.cos(angles), -0.8 * np.sin(2 * angles), 1.2 * np.cos(3 * angles)])
    own = np.linalg.norm(slopes, axis=1)
    assert speeds.std() / speeds.mean() < 0.6 * own.std() / own.mean()


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**16))
def test_turning_and_moving_the_cloud_changes_nothing(seed):
    rows, _ = ring(300, d=24, noise=0.5)
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    moved = circular_coordinates(2.5 * rows @ turn + rng.normal(size=24))
    still = circular_coordinates(rows)
    assert np.abs(planted.turned(moved.angles, still.angles)).max() < np.radians(1)
    assert moved.r2 == pytest.approx(still.r2, abs=1e-3)


def test_the_corners_of_a_polygon_have_their_angles():
    n = 24
    found = circular_coordinates(planted.circle(n), harmonics=(1,))
    np.testing.assert_allclose(planted.turned(found.angles, 2 * np.pi * np.arange(n) / n), 0, atol=1e-6)
    np.testing.assert_allclose(found.birth, 3 * 2 * np.sin(np.pi / n), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.loop.decode(found.angles), axis=1), 3, rtol=1e-6)
    assert found.r2 > 0.999


def test_the_loop_and_the_decoder_are_in_the_units_of_the_cloud():
    cloud = planted.cloud_of(*planted.labelled(planted.circle(12), n_groups=40, noise=0.2, d_model=64))
    found = circular_coordinates(cloud, within="template")
    assert isinstance(found.loop, Loop)
    assert found.loop.site == cloud.site
    assert found.loop.model == cloud.model
    np.testing.assert_allclose(found.decoder.inverse_transform([1.0, 2.0]), found.loop.decode([1.0, 2.0]), atol=1e-9)
    np.testing.assert_allclose(found.loop.centre, cloud.points.mean(axis=0), atol=0.3)
    # labels in one place of the circle: twelve angles, each 30° from the next
    means = [np.angle(np.exp(1j * found.angles[cloud.table["month"] == m]).mean()) for m in planted.MONTHS]
    steps = np.degrees(np.abs(np.angle(np.exp(1j * np.diff(means)))))
    np.testing.assert_allclose(steps, 30, atol=4)
    frame = found.frame()
    assert frame.columns.tolist()[:5] == ["row", "angle", "uncertainty", "x", "y"]
    assert frame["month"].tolist() == cloud.table["month"].tolist()
    np.testing.assert_allclose(np.hypot(frame["x"], frame["y"]).mean(), 3, rtol=0.1)
    assert repr(found).startswith(
        f"CircularCoordinates of H1.0 at {planted.SITE}: 480 rows, 1 harmonics\n  held-out R² "
    )
    assert "centred within template" in found.provenance
    assert found.chart().to_dict()


def test_rows_set_aside_have_no_angle():
    rows, _ = ring(300, d=24, noise=0.5)
    rows[7] *= 1000
    found = circular_coordinates(rows)
    assert np.flatnonzero(np.isnan(found.angles)).tolist() == [7]
    assert np.flatnonzero(np.isnan(found.uncertainty)).tolist() == [7]
    assert len(found.frame()) == 300


def test_new_rows_get_the_angles_of_old_ones():
    rows, angles = ring(1000, d=64, noise=0.5)
    found = circular_coordinates(rows[:800])
    new = found.decoder.transform(rows[800:])[:, 0]
    assert np.abs(planted.turned(np.concatenate([found.angles, new]), angles)[800:]).mean() < 1.3 * floor(0.5, 64)


def test_a_prepared_cloud_and_a_diagram_are_taken_as_they_are():
    rows, _ = ring(400, d=24, noise=0.5)
    prepared = prepare(rows, 2, landmarks=80)
    one, other = circular_coordinates(prepared), circular_coordinates(persistence(prepared))
    np.testing.assert_array_equal(one.angles, other.angles)
    assert one.prepared is other.prepared is prepared
    assert "80 landmarks, cocycle" in one.provenance


def klein_bottle(n=26, m=13):
    """Return points of a Klein bottle in four dimensions, and the angle round it."""
    u, v = (a.ravel() for a in np.meshgrid(2 * np.pi * np.arange(n) / n, 2 * np.pi * np.arange(m) / m))
    r = 2 + np.cos(v)
    points = np.column_stack([r * np.cos(u), r * np.sin(u), np.sin(v) * np.cos(u / 2), np.sin(v) * np.sin(u / 2)])
    # a little noise, so that no two edges are born at once
    return points + 0.02 * np.random.default_rng(0).normal(size=points.shape), u


def test_the_loop_of_a_klein_bottle_that_is_torsion_has_no_angle():
    points, u = klein_bottle()
    assert len(points) < 500
    found = circular_coordinates(persistence(points, None), "H1.0", harmonics=(1,))
    assert agreement(found.angles, u) > 0.95
    with pytest.raises(
        ValueError, match=r"^got class_id='H1\.1', alive from .* in Z/2 and not at all in Z/47: walked twice"
    ):
        circular_coordinates(persistence(points, None), "H1.1")


def test_cocycles_are_lifted_to_the_integers_and_periods_divided():
    points, _ = ring(60, d=2, noise=0.0)
    found = classes(points, 47)
    birth, death = found.pairs[0]
    scale = (birth + death) / 2
    near = found.near(scale)
    assert is_integer_cocycle(found.cocycles[0], near)
    broken = found.cocycles[0].copy()
    i, j = np.argwhere(near)[0]
    broken[i, j], broken[j, i] = broken[i, j] + 1, broken[j, i] - 1
    assert not is_integer_cocycle(broken, near)
    once = circle_map(found.cocycles[0], found, scale)
    thrice = circle_map(3 * found.cocycles[0], found, scale)
    assert agreement(2 * np.pi * once.values, 2 * np.pi * thrice.values) > 1 - 1e-9
    # the form is harmonic: what flows into a landmark flows out
    np.testing.assert_allclose((once.weights * once.form).sum(axis=1), 0, atol=1e-9)
    assert circle_map(np.zeros_like(found.cocycles[0]), found, scale) is None


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_cocycles_coordinate_is_dreimacs(noise):
    dreimac = pytest.importorskip("dreimac")
    points, angles = ring(400, d=2, noise=noise)
    ours = circular_coordinates(points, refine=False, scales=(0.5,), n_landmarks=100).angles
    theirs = dreimac.CircularCoords(points, 100, prime=47).get_coordinates(perc=0.5)
    assert agreement(ours, theirs) > 0.95
    assert np.abs(planted.turned(ours, angles)).mean() < 1.5 * np.abs(
        planted.turned(theirs, angles)
    ).mean() + np.radians(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: circular_coordinates(planted.circle(12), "H0.1"),
            ValueError,
            "got class_id='H0.1'; wanted a loop, for example 'H1.0', the longest-lived one.",
        ),
        (
            lambda: circular_coordinates(planted.circle(12), "H1.1"),
            LookupError,
            "got class_id='H1.1' of 1 loops; choose 'H1.0'.",
        ),
        (
            lambda: circular_coordinates(planted.line(12)),
            ValueError,
            "got 12 points without any loop, at any scale; wanted one to give angles to: look at persistence(…) and "
            "loop_significance(…) first, or keep more components.",
        ),
        (
            lambda: circular_coordinates(planted.circle(12), scales=(0.5, 1.5)),
            ValueError,
            "got scales=(0.5, 1.5); wanted numbers between 0 (birth) and 1 (death), such as 0.5.",
        ),
        (
            lambda: circular_coordinates(planted.circle(12), prime=2),
            ValueError,
            "got prime=2; wanted an odd prime such as 47.",
        ),
        (
            lambda: circular_coordinates(planted.circle(12), harmonics=(0,)),
            ValueError,
            "got harmonics=(0,); wanted whole numbers from 1 up, such as (1, 3, 5).",
        ),
        (
            lambda: circular_coordinates(planted.circle(5), harmonics=(5,)),
            ValueError,
            "got harmonics=(5,) for 5 usable rows; wanted at least one K with 2K + 1 of two thirds of them: collect more rows.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        call()
