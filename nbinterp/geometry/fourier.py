"""FourierLoop: a closed curve of few harmonics through points of known angle, as a scikit-learn transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nbinterp.spaces import Floats

_GRID = 360
_BLOCK = 8192


class FourierLoop(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A least-squares curve γ(θ) = mean + Σₖ cosines[k-1] cos kθ + sines[k-1] sin kθ.

    Parameters
    ----------
    harmonics : int
        Number K of harmonics; fitting wants at least 2K + 1 rows. With fewer different angles than that many
        curves fit equally well, and the shortest one is taken.

    Attributes
    ----------
    mean_ : array, ``[n_features]``
        The constant term.
    cosines_, sines_ : array, ``[K, n_features]``
        Fourier coefficients, in the units of the points.

    Examples
    --------
    >>> import numpy as np
    >>> angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    >>> points = np.column_stack([np.cos(angles), np.sin(angles)])
    >>> round(FourierLoop().fit(points, angles).score(points, angles), 6)
    1.0
    """

    def __init__(self, harmonics: int = 1) -> None:
        self.harmonics = harmonics

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the curve to points ``X [row, n_features]`` of angles ``y [row]`` in radians.

        Raises
        ------
        ValueError
            When K harmonics have more coefficients than there are rows.
        """
        points, angles = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        check_harmonics(self.harmonics, len(points), "rows")
        coefficients = np.linalg.pinv(waves(angles, self.harmonics)) @ points
        self.mean_, self.cosines_, self.sines_ = coefficients[0], *np.split(coefficients[1:], 2)
        return self

    @property
    def coefficients_(self) -> Floats:
        """The constant term, the cosines and the sines, in the order of `waves`: ``[2K + 1, n_features]``."""
        return np.concatenate([self.mean_[None], self.cosines_, self.sines_])

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Return the points of the curve at angles ``X [row]`` or ``[row, 1]`` in radians: ``[row, n_features]``."""
        check_is_fitted(self)
        angles = np.asarray(X, dtype=np.float64).reshape(-1)
        points: Floats = waves(angles, self.harmonics) @ self.coefficients_
        return points

    def transform(self, X: ArrayLike) -> Floats:
        """Return the angle at which the curve passes nearest to each point ``X [row, n_features]``: ``[row, 1]`` in radians.

        The nearest of 360 points on the curve, made exact by Newton's method.
        """
        check_is_fitted(self)
        points = validate_data(self, X, dtype=np.float64, reset=False)
        coefficients = self.coefficients_
        return nearest_angles(points @ coefficients.T, coefficients @ coefficients.T)[:, None]

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the share of the variance of the points ``X [row, n_features]`` that the curve explains at angles ``y``."""
        points = validate_data(self, X, dtype=np.float64, reset=False)
        residuals = points - self.inverse_transform(y)
        return float(1 - (residuals**2).sum() / ((points - points.mean(axis=0)) ** 2).sum())

    def derivative(self, angles: Floats, times: int = 1) -> Floats:
        """Return the curve's derivative at ``angles [n]`` in radians, taken so many times: ``[n, n_features]``."""
        derivative: Floats = waves(angles, self.harmonics, times) @ self.coefficients_
        return derivative

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def waves(angles: Floats, harmonics: int, times: int = 0) -> Floats:
    """Return 1, cos kθ and sin kθ for k = 1 … K at ``angles [n]``, differentiated so many times: ``[n, 2K + 1]``."""
    order = np.arange(1, harmonics + 1)
    phases = np.multiply.outer(angles, order) + times * np.pi / 2
    constant = np.full((len(angles), 1), 0.0 if times else 1.0)
    return np.concatenate([constant, np.cos(phases) * order**times, np.sin(phases) * order**times], axis=1)


def nearest_angles(products: Floats, gram: Floats) -> Floats:
    """Return the angle at which a Fourier curve passes nearest to each point.

    Parameters
    ----------
    products : array, ``[row, 2K + 1]``
        Products of each point with the curve's coefficients: all that the nearest angle depends on, so that hundreds
        of features cost no more than two.
    gram : array, ``[2K + 1, 2K + 1]`` or ``[row, 2K + 1, 2K + 1]``
        Products of the coefficients with one another; of each row's own curve where they differ.

    Returns
    -------
    array, ``[row]``
        In radians, from 0 to 2π.
    """
    harmonics = products.shape[1] // 2
    grid = np.linspace(0, 2 * np.pi, _GRID, endpoint=False)
    on_grid = waves(grid, harmonics)
    pairs = (on_grid[:, :, None] * on_grid[:, None, :]).reshape(_GRID, -1)
    angles = np.empty(len(products))
    for start in range(0, len(products), _BLOCK):
        block = slice(start, start + _BLOCK)
        here = products[block]
        own = gram[block] if gram.ndim == 3 else gram
        # |x − γ|² without |x|², which does not matter to the nearest
        squares = own.reshape(*own.shape[:-2], -1) @ pairs.T
        found = grid[(squares - 2 * here @ on_grid.T).argmin(axis=1)]
        # from half a degree away, each step doubles the number of digits
        for _ in range(5):
            at, speed, bend = (waves(found, harmonics, times) for times in range(3))
            gap = (own @ at[..., None])[..., 0] - here
            slope = (speed * gap).sum(axis=1)
            curvature = (speed * (own @ speed[..., None])[..., 0]).sum(axis=1) + (bend * gap).sum(axis=1)
            step = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
            found = found - np.clip(step, -np.pi / _GRID, np.pi / _GRID)
        angles[block] = found
    nearest: Floats = angles % (2 * np.pi)
    return nearest


def arc_length(angles: Floats, gram: Floats) -> Floats:
    """Return the share of a Fourier curve's length up to ``angles [n]``, as angles: its gauge of constant speed.

    Parameters
    ----------
    angles : array, ``[n]``
        In radians.
    gram : array, ``[2K + 1, 2K + 1]``
        Products of the curve's coefficients with one another.
    """
    grid = np.linspace(0, 2 * np.pi, 1025)
    slopes = waves(grid, len(gram) // 2, 1)
    speed = np.sqrt(np.maximum(((slopes @ gram) * slopes).sum(axis=1), 0))
    walked = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
    gauged: Floats = np.interp(angles % (2 * np.pi), grid, 2 * np.pi * walked / walked[-1])
    return gauged


def check_harmonics(harmonics: int, available: int, what: str) -> None:
    """Raise ValueError unless ``2 * harmonics + 1`` coefficients can be fitted to so many labels or rows."""
    if harmonics < 1 or 2 * harmonics + 1 > available:
        most = (available - 1) // 2
        advice = (
            f"choose harmonics from 1 to {most}"
            if most > 1
            else "choose harmonics=1"
            if most
            else f"take at least 3 {what}"
        )
        raise ValueError(
            f"got harmonics={harmonics} for {available} {what} (n_samples = {available}); wanted harmonics ≥ 1 and 2 × harmonics + 1 ≤ {available}: {advice}."
        )
