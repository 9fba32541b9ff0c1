"""FourierLoop: a closed curve of few harmonics through points of known angle, as a scikit-learn transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nbinterp.spaces import Floats


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
        coefficients = np.linalg.lstsq(self._waves(angles), points, rcond=None)[0]
        self.mean_, self.cosines_, self.sines_ = coefficients[0], *np.split(coefficients[1:], 2)
        return self

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Return the points of the curve at angles ``X [row]`` or ``[row, 1]`` in radians: ``[row, n_features]``."""
        check_is_fitted(self)
        points: Floats = self._waves(np.asarray(X, dtype=np.float64).reshape(-1)) @ self._coefficients()
        return points

    def transform(self, X: ArrayLike) -> Floats:
        """Return the angle at which the curve passes nearest to each point ``X [row, n_features]``: ``[row, 1]`` in radians.

        The nearest of 360 points on the curve, made exact by Newton's method.
        """
        check_is_fitted(self)
        points = validate_data(self, X, dtype=np.float64, reset=False)
        grid = np.linspace(0, 2 * np.pi, 360, endpoint=False)
        curve = self.inverse_transform(grid)
        # |x − γ|² without |x|², which does not matter to the nearest
        angles = grid[((curve**2).sum(axis=1) - 2 * points @ curve.T).argmin(axis=1)]
        for _ in range(8):
            gap = self.inverse_transform(angles) - points
            speed, bend = self._derivative(angles, 1), self._derivative(angles, 2)
            slope = (gap * speed).sum(axis=1)
            curvature = (speed**2).sum(axis=1) + (gap * bend).sum(axis=1)
            step = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
            angles = angles - np.clip(step, -np.pi / 360, np.pi / 360)
        nearest: Floats = (angles % (2 * np.pi))[:, None]
        return nearest

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the share of the variance of the points ``X [row, n_features]`` that the curve explains at angles ``y``."""
        points = validate_data(self, X, dtype=np.float64, reset=False)
        residuals = points - self.inverse_transform(y)
        return float(1 - (residuals**2).sum() / ((points - points.mean(axis=0)) ** 2).sum())

    def _coefficients(self) -> Floats:
        return np.concatenate([self.mean_[None], self.cosines_, self.sines_])

    def _waves(self, angles: Floats) -> Floats:
        phases = np.multiply.outer(angles, np.arange(1, self.harmonics + 1))
        return np.concatenate([np.ones((len(angles), 1)), np.cos(phases), np.sin(phases)], axis=1)

    def _derivative(self, angles: Floats, times: int) -> Floats:
        order = np.arange(1, self.harmonics + 1)
        phases = np.multiply.outer(angles, order) + times * np.pi / 2
        derivative: Floats = (np.cos(phases) * order**times) @ self.cosines_ + (
            np.sin(phases) * order**times
        ) @ self.sines_
        return derivative

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


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
