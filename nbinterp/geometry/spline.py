"""Labels on an open curve: a smoothing spline through their centroids, and the curve as a handle to steer with."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from scipy.interpolate import CubicSpline
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from nbinterp.geometry.handles import displacement, index_of, left_out
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    from numpy.typing import ArrayLike

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.labels import Centroids
    from nbinterp.sites import Site
    from nbinterp.spaces import Direction, Floats

_SMOOTHINGS = np.logspace(-6, 4, 31)
_GRID = 400
_BLOCK = 4096


class SplineCurve(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A cubic smoothing spline γ(t) with natural ends through points of known coordinate t.

    Parameters
    ----------
    smoothing : float, optional
        Weight λ of the curve's squared bending beside its squared distance to the points, with t scaled so that knots
        are 1 apart on average: 0 goes through every point, infinity gives a straight line. By default the one that
        predicts points left out best, of 31 from 10⁻⁶ to 10⁴.

    Attributes
    ----------
    knots_ : array, ``[knot]``
        The different coordinates, growing.
    points_ : array, ``[knot, n_features]``
        The curve there, in the units of the points.
    smoothing_ : float
        The weight that was taken.

    Notes
    -----
    Green and Silverman, Nonparametric Regression and Generalized Linear Models (1994), sections 2.3 and 3.2: all
    features share one smoother, so that leaving out needs no refitting.

    Examples
    --------
    >>> t = np.arange(6.0)
    >>> curve = SplineCurve(smoothing=0).fit(np.column_stack([t, t**2]), t)
    >>> curve.inverse_transform([2.0]).round(6).tolist()
    [[2.0, 4.0]]
    """

    def __init__(self, smoothing: float | None = None) -> None:
        self.smoothing = smoothing

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the curve to points ``X [row, n_features]`` of coordinates ``y [row]``.

        Raises
        ------
        ValueError
            For fewer than two different coordinates, or a smoothing below 0.
        """
        points, coordinates = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        if self.smoothing is not None and not self.smoothing >= 0:
            raise ValueError(f"got smoothing={self.smoothing}; wanted a number from 0 up, or None to choose one.")
        self.knots_, at = np.unique(coordinates, return_inverse=True)
        if len(self.knots_) < 2:
            raise ValueError(
                f"got {len(self.knots_)} different coordinate (n_samples = {len(points)}); wanted at least 2 to lay a curve "
                "through: take more rows."
            )
        counts = np.bincount(at).astype(np.float64)
        means = np.zeros((len(counts), points.shape[1]))
        np.add.at(means, at, points)
        means /= counts[:, None]
        bending = _bending(self.knots_)
        if self.smoothing is not None:
            self.smoothing_ = float(self.smoothing)
        elif len(self.knots_) < 4:
            # three points left out leave a straight line through two, whatever the smoothing
            self.smoothing_ = 0.0
        else:
            errors = [_left_out_error(means, counts, bending, s) for s in _SMOOTHINGS]
            self.smoothing_ = float(_SMOOTHINGS[int(np.argmin(errors))])
        self.points_ = _smoother(counts, bending, self.smoothing_) @ means
        return self

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Return the points at coordinates ``X [row]`` or ``[row, 1]``, beyond the ends along a straight line: ``[row, n_features]``."""
        check_is_fitted(self)
        coordinates = np.asarray(X, dtype=np.float64).reshape(-1)
        spline = self._spline()
        inside = np.clip(coordinates, self.knots_[0], self.knots_[-1])
        points: Floats = spline(inside) + (coordinates - inside)[:, None] * spline(inside, 1)
        return points

    def transform(self, X: ArrayLike) -> Floats:
        """Return the coordinate, between the ends, at which the curve passes nearest to each point ``X [row, n_features]``: ``[row, 1]``.

        The nearest of 400 points on the curve, made exact by Newton's method.
        """
        check_is_fitted(self)
        points = validate_data(self, X, dtype=np.float64, reset=False)
        spline = self._spline()
        grid = np.linspace(self.knots_[0], self.knots_[-1], _GRID)
        curve, width = spline(grid), grid[1] - grid[0]
        nearest = np.empty(len(points))
        for start in range(0, len(points), _BLOCK):
            here = points[start : start + _BLOCK]
            found = grid[((curve**2).sum(axis=1) - 2 * here @ curve.T).argmin(axis=1)]
            for _ in range(6):
                gap, speed = spline(found) - here, spline(found, 1)
                slope = (gap * speed).sum(axis=1)
                curvature = (speed**2).sum(axis=1) + (gap * spline(found, 2)).sum(axis=1)
                step = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
                found = np.clip(found - np.clip(step, -width, width), grid[0], grid[-1])
            nearest[start : start + _BLOCK] = found
        return nearest[:, None]

    def arc_length(self, coordinates: Floats) -> Floats:
        """Return the length of the curve from its first knot to ``coordinates [n]``, in the units of the points."""
        grid = np.linspace(self.knots_[0], self.knots_[-1], 2049)
        steps = np.linalg.norm(np.diff(self._spline()(grid), axis=0), axis=1)
        walked: Floats = np.interp(coordinates, grid, np.concatenate([[0.0], np.cumsum(steps)]))
        return walked

    def _spline(self) -> Any:
        return CubicSpline(self.knots_, self.points_, bc_type="natural")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _bending(knots: Floats) -> Floats:
    """Return the matrix of a natural spline's ∫ γ″², as a form of its values at the knots: ``[knot, knot]``."""
    n = len(knots)
    if n < 3:
        return np.zeros((n, n))
    h = np.diff(knots) / np.diff(knots).mean()
    inner = np.arange(n - 2)
    differences = np.zeros((n, n - 2))
    differences[inner, inner] = 1 / h[:-1]
    differences[inner + 1, inner] = -1 / h[:-1] - 1 / h[1:]
    differences[inner + 2, inner] = 1 / h[1:]
    widths = np.diag((h[:-1] + h[1:]) / 3) + np.diag(h[1:-1] / 6, 1) + np.diag(h[1:-1] / 6, -1)
    form: Floats = differences @ np.linalg.solve(widths, differences.T)
    return form


def _smoother(weights: Floats, bending: Floats, smoothing: float) -> Floats:
    if math.isinf(smoothing):
        # what does not bend: the two directions in which the form vanishes
        straight = np.linalg.eigh(bending)[1][:, :2]
        onto: Floats = np.linalg.solve(straight.T * weights @ straight, straight.T * weights)
        line: Floats = straight @ onto
        return line
    weighted: Floats = np.diag(weights)
    smoother = np.linalg.solve(weighted + smoothing * bending, weighted)
    return np.asarray(smoother, dtype=np.float64)


def _left_out_error(points: Floats, weights: Floats, bending: Floats, smoothing: float) -> float:
    """Return the squared error at knots left out, weighted by their rows."""
    smoother = _smoother(weights, bending, smoothing)
    residuals = (points - smoother @ points) / (1 - np.diag(smoother))[:, None]
    return float(weights @ (residuals**2).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Line(Told):
    """Labels on an open curve of a site.

    Parameters
    ----------
    concept : str
        What the labels are.
    labels : tuple, ``[label]``
        In the order of the centroids.
    coordinates : array, ``[label]``
        Where each lies: its own number for numeric labels; else the length of the curve up to it, scaled so that
        neighbours are 1 apart on average.
    curve : SplineCurve
        Through the centroids, about zero; `decode` adds the centre.
    r2 : float
        Share of the variance, in the full space, that the curve predicts of a label left out; for labels that are no
        numbers, at equal steps.
    centroids : Centroids
        What it was fitted to.
    site, model : Site, ModelInfo or None
        Where it lives.
    """

    concept: str
    labels: tuple[Any, ...]
    coordinates: Floats = field(repr=False)
    curve: SplineCurve = field(repr=False)
    r2: float
    centroids: Centroids = field(repr=False)
    site: Site
    model: ModelInfo | None

    @property
    def provenance(self) -> str:
        """What was done, for people to read."""
        return f"{self.centroids.provenance}; cubic spline, smoothing {self.curve.smoothing_:.3g}"

    @property
    def neighbours(self) -> tuple[tuple[int, int], ...]:
        """Pairs of labels, by their places, between which nothing lies."""
        order = np.argsort(self.coordinates, kind="stable").tolist()
        return tuple(itertools.pairwise(order))

    def coordinate_of(self, label: object) -> float:
        """Return the coordinate of a label; case and spaces do not matter. LookupError for an unknown one."""
        return float(self.coordinates[index_of(label, self.labels, self.concept, "line")])

    def nearest_label(self, coordinate: float) -> Any:
        """Return the label whose coordinate is nearest to this one."""
        return self.labels[int(np.abs(self.coordinates - coordinate).argmin())]

    def decode(self, coordinates: ArrayLike) -> Floats:
        """Return the activations at ``coordinates [n]``, beyond the ends along a straight line: ``[n, d_model]``."""
        points: Floats = self.curve.inverse_transform(np.atleast_1d(coordinates)) + self.centroids.centre
        return points

    def nearest(self, points: ArrayLike) -> Floats:
        """Return the coordinates at which the curve passes nearest to ``points [n, d_model]``: ``[n]``."""
        nearest: Floats = self.curve.transform(np.atleast_2d(points) - self.centroids.centre)[:, 0]
        return nearest

    def displacement(self, start: float, stop: float) -> Direction:
        """Return γ(stop) − γ(start), what moving along the curve adds: ``nb.Steer(line.site, direction=…)``."""
        return displacement(self.site, self.model, self.decode([start, stop]))

    def path(self, source: object, target: object, n_steps: int) -> Floats:
        """Return the way along the curve from one label to another, ends included: ``[n_steps + 1, d_model]``."""
        ends = (self.coordinate_of(source), self.coordinate_of(target))
        return self.decode(np.linspace(*ends, n_steps + 1))

    def frame(self) -> pd.DataFrame:
        """Return one line a label: ``label``, ``coordinate``, ``x``, ``y`` on the centroids' principal components, in the units of the activations."""
        x, y = flat(self.centroids, self.centroids.points).T
        return pd.DataFrame({"label": list(self.labels), "coordinate": self.coordinates, "x": x, "y": y})

    def curve_frame(self, resolution: int = 181) -> pd.DataFrame:
        """Return the curve in the plane of `frame`: ``coordinate``, ``x``, ``y``."""
        at = np.linspace(self.coordinates.min(), self.coordinates.max(), resolution)
        x, y = flat(self.centroids, self.curve.inverse_transform(at)).T
        return pd.DataFrame({"coordinate": at, "x": x, "y": y})

    def chart(self) -> alt.LayerChart:
        """Return the labels and the curve in the plane of their first two principal components."""
        from nbinterp.charts.manifolds import line_chart

        return line_chart(
            self.frame(), self.curve_frame(), title=f"{self.concept} at {self.site}: held-out R² {self.r2:.2f}"
        )

    def __repr__(self) -> str:
        of = f" of {self.model}" if self.model else ""
        return "\n".join(
            [
                f"Line of {self.concept} at {self.site}{of}: {len(self.labels)} labels",
                f"  {', '.join(map(str, self.labels))}",
                f"  held-out R² of the curve {self.r2:.2f}",
                f"  {self.provenance}",
            ]
        )


def flat(found: Centroids, points: Floats) -> Floats:
    """Return ``points [n, d_model]`` about zero in the plane of the centroids' first two principal components: ``[n, 2]``."""
    basis = np.linalg.svd(found.points, full_matrices=False)[2][:2]
    scores: Floats = points @ basis.T
    return scores


def numbers_of(labels: Sequence[Any]) -> Floats | None:
    """Return labels as the numbers that they are ``[label]``; None where they are something else."""
    if not all(isinstance(label, Real) and not isinstance(label, bool) for label in labels):
        return None
    return np.array(labels, dtype=np.float64)


def fit_line(found: Centroids, site: Site, smoothing: float | None) -> Line:
    """Lay an open curve through centroids; see `nbinterp.geometry.manifold.fit_manifold`."""
    numbers = numbers_of(found.labels)
    coordinates = np.arange(len(found), dtype=np.float64) if numbers is None else numbers
    r2 = held_out_line(found.points, coordinates, smoothing)
    curve = SplineCurve(smoothing).fit(found.points, coordinates)
    if numbers is None:
        # constant speed: what a step of the coordinate means must not depend on how labels are numbered
        for _ in range(5):
            steps: Floats = np.diff(curve.arc_length(coordinates))
            steps = np.maximum(steps, 0.05 * steps.mean())
            coordinates = np.concatenate([np.zeros(1), np.cumsum(steps)]) / float(steps.mean())
            curve = SplineCurve(smoothing).fit(found.points, coordinates)
    return Line(
        concept=found.concept,
        labels=found.labels,
        coordinates=coordinates,
        curve=curve,
        r2=r2,
        centroids=found,
        site=site,
        model=found.model,
    )


def held_out_line(points: Floats, coordinates: Floats, smoothing: float | None = None) -> float:
    """Return the leave-one-label-out R² of a smoothing spline, its smoothing chosen anew each time."""
    return left_out(
        points,
        lambda rest, out: (
            SplineCurve(smoothing).fit(points[rest], coordinates[rest]).inverse_transform(coordinates[[out]])[0]
        ),
    )
