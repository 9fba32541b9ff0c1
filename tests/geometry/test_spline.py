import re

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline, make_smoothing_spline
from sklearn.utils.estimator_checks import parametrize_with_checks

from nbinterp.clouds import Cloud
from nbinterp.geometry import centroids, fit_manifold
from nbinterp.geometry.manifold import compare_shapes
from nbinterp.geometry.spline import Line, SplineCurve, _bending, _left_out_error
from nbinterp.geometry.surface import Surface
from tests.geometry import planted


@parametrize_with_checks([SplineCurve(), SplineCurve(smoothing=0.5)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def wave(n, seed=0):
    t = np.sort(np.random.default_rng(seed).uniform(0, 10, n))
    return t, np.column_stack([np.sin(t / 2), np.cos(t / 3), t / 10])


def test_without_smoothing_it_is_the_natural_spline():
    t, points = wave(9)
    curve = SplineCurve(smoothing=0).fit(points, t)
    at = np.linspace(t[0], t[-1], 50)
    np.testing.assert_allclose(curve.inverse_transform(at), CubicSpline(t, points, bc_type="natural")(at), atol=1e-10)


@pytest.mark.parametrize("smoothing", [0.01, 1.0, 100.0])
def test_with_smoothing_it_is_scipys(smoothing):
    t, points = wave(12)
    noisy = points[:, 0] + 0.3 * np.random.default_rng(1).normal(size=12)
    curve = SplineCurve(smoothing=smoothing).fit(noisy[:, None], t)
    # scipy's weight is for coordinates as they are, ours for knots 1 apart
    wanted = make_smoothing_spline(t, noisy, lam=smoothing * np.diff(t).mean() ** 3)
    at = np.linspace(t[0], t[-1], 40)
    np.testing.assert_allclose(curve.inverse_transform(at)[:, 0], wanted(at), atol=1e-8)


def test_infinite_smoothing_is_a_straight_line():
    t, points = wave(12)
    straight = np.column_stack([np.polyval(np.polyfit(t, column, 1), t) for column in points.T])
    np.testing.assert_allclose(SplineCurve(smoothing=np.inf).fit(points, t).points_, straight, atol=1e-6)


def test_the_error_of_points_left_out_is_that_of_leaving_them_out():
    t, points = wave(10)
    points = points + 0.2 * np.random.default_rng(2).normal(size=points.shape)
    scale = np.diff(t).mean()
    wanted = 0.0
    for out in range(10):
        rest = np.arange(10) != out
        # the same weight on the same bending: the remaining knots lie further apart on average
        smoothing = 0.7 * (scale / np.diff(t[rest]).mean()) ** 3
        curve = SplineCurve(smoothing=smoothing).fit(points[rest], t[rest])
        wanted += ((curve.inverse_transform(t[[out]])[0] - points[out]) ** 2).sum()
    assert _left_out_error(points, np.ones(10), _bending(t), 0.7) == pytest.approx(wanted)


def test_rows_of_one_coordinate_count_together():
    t, points = wave(8)
    twice = SplineCurve(smoothing=0.3).fit(np.concatenate([points, points + 0.1]), np.concatenate([t, t]))
    once = SplineCurve(smoothing=0.15).fit(points + 0.05, t)
    np.testing.assert_allclose(twice.points_, once.points_, atol=1e-10)


def test_the_coordinate_of_a_point_is_where_the_curve_passes_nearest():
    t, points = wave(20)
    curve = SplineCurve(smoothing=0).fit(points, t)
    at = np.linspace(t[0], t[-1], 33)
    np.testing.assert_allclose(curve.transform(curve.inverse_transform(at))[:, 0], at, atol=1e-7)
    # beyond the ends: the end
    beyond = curve.inverse_transform([t[-1] + 1.0])
    np.testing.assert_allclose(curve.transform(beyond)[0, 0], t[-1], atol=1e-7)
    assert curve.arc_length(t[[0, -1]])[0] == 0


def test_the_smoothing_that_predicts_best_finds_the_curve_under_the_noise():
    t = np.linspace(0, 10, 40)
    clean = np.column_stack([np.sin(t), np.cos(t / 2), t / 5]) @ planted.frame_of(50, 3)
    noisy = clean + 0.1 * np.random.default_rng(0).normal(size=clean.shape)
    error = {s: np.linalg.norm(SplineCurve(s).fit(noisy, t).points_ - clean) for s in (0, None, np.inf)}
    assert error[None] < 0.8 * error[0]
    assert error[None] < 0.5 * error[np.inf]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SplineCurve().fit([[0.0], [1.0]], [1.0, 1.0]),
            "got 1 different coordinate (n_samples = 2); wanted at least 2 to lay a curve through: take more rows.",
        ),
        (
            lambda: SplineCurve(smoothing=-1).fit([[0.0], [1.0]], [0.0, 1.0]),
            "got smoothing=-1; wanted a number from 0 up, or None to choose one.",
        ),
    ],
)
def test_bad_requests_of_a_curve_get_one_sentence(make, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        make()


def numbers(shape, **settings):
    """Return a cloud of ten words in order."""
    return planted.cloud_of(*planted.labelled(shape, **settings), names=planted.MONTHS)


def test_a_line_is_followed_at_constant_speed():
    cloud = numbers(planted.arc(10, 300), noise=0.05)
    line = fit_manifold(cloud, "month", "template", topology="line")
    assert isinstance(line, Line)
    assert line.labels == planted.MONTHS[:10]
    assert np.diff(line.coordinates).mean() == pytest.approx(1)
    np.testing.assert_allclose(np.diff(line.coordinates), 1, atol=0.03)
    points = line.centroids.points + line.centroids.centre
    np.testing.assert_allclose(line.decode(line.coordinates), points, atol=0.15)
    np.testing.assert_allclose(line.nearest(points), line.coordinates, atol=0.05)
    assert line.nearest_label(line.coordinate_of(" march ") + 0.3) == "March"
    # the way follows the arc and does not cut across
    way = line.path("January", "October", 20)
    assert np.linalg.norm(way - points[0], axis=1).max() > 5.5
    lengths = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert lengths.std() < 0.05 * lengths.mean()
    step = line.displacement(*(line.coordinate_of(m) for m in ("March", "May")))
    assert (step.site, step.model) == (cloud.site, cloud.model)
    assert np.linalg.norm(points - (points[2] + step.vector), axis=1).argmin() == 4


def test_numeric_labels_are_the_coordinate():
    years = np.array([1900, 1990, 1950, 1910, 1970, 2000])
    rows = np.column_stack([years / 10.0, np.sqrt(years - 1899.0)]) @ planted.frame_of(30, 2)
    line = fit_manifold(rows, years, topology="line", site="resid_post.3", smoothing=0)
    assert line.coordinate_of(1950) == 1950
    assert line.neighbours == ((0, 3), (3, 2), (2, 4), (4, 1), (1, 5))
    np.testing.assert_allclose(line.decode([1950.0, 2000.0]), rows[[2, 5]], atol=1e-8)
    assert line.frame()["coordinate"].tolist() == years.tolist()
    assert line.chart().to_dict()
    assert repr(line).startswith("Line of label at resid_post.3: 6 labels\n  1900, 1990")
    with pytest.raises(LookupError, match="^got the label 1960, which is not on this line: choose from 1900, 1990, "):
        line.coordinate_of(1960)


def test_labels_on_a_straight_line_are_a_line_and_no_circle():
    rows = np.arange(6)[:, None] * planted.frame_of(30, 1)
    line = fit_manifold(rows, list("abcdef"), topology="line", site="resid_post.3")
    np.testing.assert_allclose(line.coordinates, np.arange(6), atol=1e-6)
    assert line.r2 == pytest.approx(1)
    with pytest.raises(ValueError, match="^got labels whose centroids lie on one line or point"):
        fit_manifold(rows, list("abcdef"), site="resid_post.3")


@pytest.mark.parametrize(
    ("shape", "best"),
    [
        (planted.circle(12), "circle in a plane"),
        (planted.arc(10, 200), "open curve"),
        (np.outer(np.arange(10.0), [1.0, 0.0]), "straight line"),
    ],
)
def test_shapes_are_told_apart_by_labels_left_out(shape, best):
    rows, labels, groups = planted.labelled(shape, noise=0.3)
    frame = compare_shapes(rows, [f"label {label}" for label in labels], groups)
    assert frame["shape"].tolist()[0] == best
    assert frame.columns.tolist() == ["shape", "n_dimensions", "r2"]


def test_shuffled_labels_are_no_shape():
    rows, labels, groups = planted.labelled(planted.circle(12), noise=0.3)
    order = np.random.default_rng(3).permutation(12)
    frame = compare_shapes(
        rows, [f"label {order[label]}" for label in labels], groups, order=[f"label {i}" for i in range(12)]
    )
    assert frame["r2"].max() < 0.2


def saddle(seed=0, noise=0.05):
    """Return rows over a grid of two numbers, bent like a saddle, and the numbers."""
    u, v = (a.ravel() for a in np.meshgrid(np.arange(6.0), np.arange(5.0)))
    shape = np.column_stack([u, v, 0.3 * (u - 2.5) * (v - 2)])
    rng = np.random.default_rng(seed)
    rows = shape @ planted.frame_of(40, 3) + noise * rng.normal(size=(4, len(u), 40))
    return rows.reshape(-1, 40) + 1, np.tile(u, 4), np.tile(v, 4)


def test_a_surface_is_followed_where_a_plane_is_not_enough():
    rows, u, v = saddle()
    surface = fit_manifold(rows, (u, v), topology="surface", site="resid_post.3")
    assert isinstance(surface, Surface)
    assert surface.r2 > 0.95
    assert surface.r2 > surface.r2_plane + 0.02
    points = surface.centroids.points + surface.centroids.centre
    np.testing.assert_allclose(surface.decode(surface.coordinates), points, atol=0.2)
    np.testing.assert_allclose(surface.nearest(points[:4]), surface.coordinates[:4], atol=0.1)
    way = surface.path((0.0, 0.0), (5.0, 4.0), 10)
    assert way.shape == (11, 40)
    np.testing.assert_allclose(surface.displacement([0.0, 0.0], [5.0, 4.0]).vector, way[-1] - way[0], atol=1e-9)
    assert len(surface.neighbours) > 40
    assert surface.chart().to_dict()
    assert repr(surface).startswith(
        "Surface of label × label at resid_post.3: 30 labels\n  held-out R² of the surface 0.9"
    )


def test_a_plane_is_a_surface_that_is_no_better_than_a_plane():
    rng = np.random.default_rng(0)
    u, v = (a.ravel() for a in np.meshgrid(np.arange(6.0), np.arange(5.0)))
    rows = np.column_stack([u, v]) @ planted.frame_of(40, 2) + 0.1 * rng.normal(size=(30, 40))
    surface = fit_manifold(rows, (u, v), topology="surface", site="resid_post.3")
    assert surface.r2 <= surface.r2_plane + 0.005
    assert surface.r2 > 0.8


def test_columns_of_a_cloud_make_a_surface():
    rows, u, v = saddle()
    table = pd.DataFrame({"hour": u, "minute": v})
    cloud = Cloud.from_arrays({planted.SITE: rows}, table, planted.info(rows.shape[1]))
    found = fit_manifold(cloud, ("hour", "minute"), topology="surface", smoothing=0.0)
    assert (found.concept, found.site, found.model, found.smoothing) == ("hour × minute", cloud.site, cloud.model, 0)
    points = found.centroids.points + found.centroids.centre
    np.testing.assert_allclose(found.decode(found.coordinates), points, atol=1e-8)
    np.testing.assert_allclose(found.coordinate_of((2.0, 3.0)), [2, 3])
    assert found.centroids.counts.tolist() == [4] * 30


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: fit_manifold(planted.circle(7), range(7), topology="surface", site="resid_post.1"),
            TypeError,
            "got no pair of columns for a surface; wanted two, for example by=('hour', 'minute').",
        ),
        (
            lambda: fit_manifold(
                planted.circle(7), (list("abcdefg"), range(7)), topology="surface", site="resid_post.1"
            ),
            ValueError,
            "got the label ('a', 0) for a surface; wanted two numbers for each row: pass two columns of numbers, for example "
            "by=('hour', 'minute').",
        ),
        (
            lambda: fit_manifold(planted.circle(7), (range(7), range(7)), topology="surface", site="resid_post.1"),
            ValueError,
            "got 7 different pairs of numbers; wanted at least 6 that do not lie on one line: fit a line, topology='line'.",
        ),
        (
            lambda: fit_manifold(planted.circle(7), topology="line", site="resid_post.1"),
            TypeError,
            "got no by; wanted the column that holds the labels, for example by='number'.",
        ),
        (
            lambda: fit_manifold(centroids(planted.circle(7), range(7)), "month", topology="line", site="resid_post.1"),
            TypeError,
            "got Centroids together with by, within or order; those belong to centroids(…): leave them out here.",
        ),
        (
            lambda: fit_manifold(planted.circle(7), range(7), topology="line"),
            ValueError,
            "got an array, which does not say where it was read; pass its site, for example site='resid_post.10'.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message) + "$"):
        call()
