"""Fit a closed curve to rows of roughly known angle and project onto it, in turns; compare such curves; say how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbinterp.geometry.fourier import arc_length, nearest_angles, waves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nbinterp.spaces import Floats

FOLDS = 3
"""Parts of the rows that are held out in turn when scales and harmonics are compared."""

MAX_ROUNDS, ROUNDS_COMPARED = 30, 8
"""Rounds of fitting a curve and projecting onto it, at most: in the end, and while candidates are compared."""

SAME_LOOP = 0.8
"""A refined coordinate agrees so well with the cocycle's, or it is no longer the coordinate of that loop."""

SHOWN = 0.5
"""What more harmonics explain must be there to this share with the angles of the plainest curve."""

MOST_COMPARED = 5000
"""Scales and harmonics are compared on at most so many rows, drawn at random."""

SHARPNESS = 20
"""How much more the rows count, in the uncertainty of an angle, where noise along the curve can be seen best."""

UNIFORM = np.pi / np.sqrt(3)
"""Standard deviation of an angle of which nothing is known, in radians."""


def agreement(one: Floats, other: Floats) -> float:
    """Return how well two sets of angles ``[row]`` agree up to a turn and the direction: 1 where they do, 0 where nothing."""
    both = np.isfinite(one) & np.isfinite(other)
    turned = [abs(np.exp(1j * (one[both] + sign * other[both])).mean()) for sign in (-1, 1)]
    return float(max(turned))


def chosen(
    rows: Floats, starts: Mapping[float, Floats], harmonics: Sequence[int], *, refine: bool, seed: int
) -> tuple[pd.DataFrame, float, int, tuple[Floats, Floats]]:
    """Compare curves of several harmonics from several starting angles on held-out rows.

    Parameters
    ----------
    rows : array, ``[row, n_features]``
        Centred.
    starts : mapping of scale to array, ``[row]``
        Angles to start from, in radians.
    harmonics : sequence of int
        Harmonics to try.
    refine : bool
        Fit and project in turns; else the angles stay.
    seed : int
        Of what is held out.

    Returns
    -------
    tuple of DataFrame, float, int and two arrays
        All candidates, the chosen one first; its scale and harmonics; its coefficients ``[n_waves, n_features]`` and
        angles ``[row]``.

    Notes
    -----
    A curve of many harmonics may leave the loop for whatever else varies most: it zigzags across a cylinder, passes nearer
    to most rows, and its angles are no longer those of the class. So what it explains more than the curve of fewest
    harmonics must be there with that curve's angles too, at half of it at least; and its angles must agree with those
    of the cocycle. One that fails is passed over.
    """
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(rows))[:MOST_COMPARED])
    folds = rng.permutation(np.arange(len(some)) % FOLDS)
    rounds = (MAX_ROUNDS, ROUNDS_COMPARED) if refine else (0, 0)
    fewest = min(harmonics)
    losses, shown = {}, {}
    for scale, angles in starts.items():
        plain = _refined(rows, angles, fewest, rounds[0])[1]
        own = plain if agreement(plain, angles) >= SAME_LOOP else angles
        known = np.isfinite(own[some])
        for k in harmonics:
            losses[scale, k] = _losses(rows[some], angles[some], k, folds, rounds[1])
            shown[scale, k] = _losses_at(rows[some][known], own[some][known], k, folds[known])

    def on_loop(scale: float, k: int, angles: Floats) -> bool:
        (claimed, total), (plain, _) = losses[scale, k], losses[scale, fewest]
        (at_own, whole), (plain_at_own, _) = shown[scale, k], shown[scale, fewest]
        gain, gain_at_own = (plain.sum() - claimed.sum()) / total, (plain_at_own.sum() - at_own.sum()) / whole
        return bool(agreement(angles, starts[scale]) >= SAME_LOOP and (k == fewest or gain_at_own >= SHOWN * gain))

    left = dict(losses)
    while left:
        scale, k = _simplest(left)
        fitted = _refined(rows, starts[scale], k, rounds[0])
        if on_loop(scale, k, fitted[1]):
            break
        del left[scale, k]
    else:
        # no curve stays on the loop: the cocycle's own angles are all that there is
        scale, k = min(losses, key=lambda candidate: candidate[1])
        fitted = _refined(rows, starts[scale], k, 0)
    best = losses[scale, k]
    lines = []
    for (s, waves_tried), (loss, total) in losses.items():
        error = float((loss - best[0]).std() * np.sqrt(len(loss)) / total)
        first = (s, waves_tried) == (scale, k)
        lines.append((s, waves_tried, 1 - loss.sum() / total, error, (s, waves_tried) in left, not first))
    frame = pd.DataFrame(lines, columns=["scale", "harmonics", "r2", "error", "on_loop", "other"])
    frame = frame.sort_values(["other", "r2"], ascending=[True, False], kind="stable", ignore_index=True)
    return frame.drop(columns="other"), scale, k, fitted


def _losses(rows: Floats, angles: Floats, harmonics: int, folds: Any, rounds: int) -> tuple[Floats, float]:
    """Return each held-out row's squared distance from the curve of the others, and the variance to compare with."""
    losses, total = np.empty(len(rows)), 0.0
    for fold in range(FOLDS):
        out = folds == fold
        coefficients, _ = _refined(rows[~out], angles[~out], harmonics, rounds, 1e-3)
        nearest = nearest_angles(rows[out] @ coefficients.T, coefficients @ coefficients.T)
        losses[out] = ((rows[out] - waves(nearest, harmonics) @ coefficients) ** 2).sum(axis=1)
        total += float(((rows[out] - rows[~out].mean(axis=0)) ** 2).sum())
    return losses, total


def _losses_at(rows: Floats, angles: Floats, harmonics: int, folds: Any) -> tuple[Floats, float]:
    """Return the same for the point of the curve at each row's angle, however far from the row it is."""
    losses, total = np.empty(len(rows)), 0.0
    for fold in range(FOLDS):
        out = folds == fold
        coefficients = _fitted(rows[~out], angles[~out], harmonics)
        losses[out] = ((rows[out] - waves(angles[out], harmonics) @ coefficients) ** 2).sum(axis=1)
        total += float(((rows[out] - rows[~out].mean(axis=0)) ** 2).sum())
    return losses, total


def _simplest(losses: Mapping[tuple[float, int], tuple[Floats, float]]) -> tuple[float, int]:
    """Return the scale and harmonics of the best fit, or of one with fewer harmonics that is not clearly worse."""
    best = min(losses, key=lambda c: losses[c][0].sum() / losses[c][1])

    def close(candidate: tuple[float, int]) -> bool:
        worse = losses[candidate][0] - losses[best][0]
        # a fit that fails wildly at one row has a large error too
        most = min(2 * worse.std() * np.sqrt(len(worse)), 0.02 * losses[best][1])
        return bool(worse.sum() <= most)

    return min(filter(close, losses), key=lambda c: (c[1], losses[c][0].sum() / losses[c][1]))


def _refined(
    rows: Floats, angles: Floats, harmonics: int, rounds: int, tolerance: float = 1e-4
) -> tuple[Floats, Floats]:
    """Fit a curve of constant speed and project onto it, in turns; return its coefficients and the angles ``[row]``.

    Rows whose angle is NaN do not shape the first curve.
    """
    coefficients = _fitted(rows, angles, harmonics)
    if not rounds:
        nearest = nearest_angles(rows @ coefficients.T, coefficients @ coefficients.T)
        return coefficients, np.where(np.isfinite(angles), angles, nearest)
    for _ in range(rounds):
        moved = arc_length(_projected(rows, angles, coefficients), coefficients @ coefficients.T)
        turn = np.abs(np.angle(np.exp(1j * (moved - angles)))).mean()
        angles = moved
        coefficients = _fitted(rows, angles, harmonics)
        if turn < tolerance:
            break
    return coefficients, _projected(rows, angles, coefficients)


def _fitted(rows: Floats, angles: Floats, harmonics: int) -> Floats:
    known = np.isfinite(angles)
    coefficients: Floats = np.linalg.pinv(waves(angles[known], harmonics)) @ rows[known]
    return coefficients


def _projected(rows: Floats, angles: Floats, coefficients: Floats) -> Floats:
    """Return the angle at which the curve that the other rows fitted passes nearest to each row."""
    at = waves(np.nan_to_num(angles), len(coefficients) // 2)
    products = others_products(rows, at, coefficients, np.isfinite(angles))
    return nearest_angles(products, coefficients @ coefficients.T)


def others_products(rows: Floats, at: Floats, coefficients: Floats, fitted: Any) -> Floats:
    """Return the products of rows with coefficients of a least-squares fit, each row's own noise in them taken out.

    A row draws the fit towards itself. In hundreds of features that pull, noise times noise, is as strong as the curve,
    and angles would stay where they are.

    Parameters
    ----------
    rows : array, ``[row, n_features]``
        What was fitted.
    at : array, ``[row, n_waves]``
        Values of the waves at each row's coordinate.
    coefficients : array, ``[n_waves, n_features]``
        What came out.
    fitted : array of bool, ``[row]``
        Which rows took part.
    """
    products: Floats = rows @ coefficients.T
    inverse = np.linalg.pinv(at[fitted].T @ at[fitted])
    own = at @ inverse
    leverage = np.minimum((own * at).sum(axis=1), 0.9)
    noise = (rows**2).sum(axis=1) - (products * at).sum(axis=1)
    return products - np.where(fitted, noise / (1 - leverage), 0.0)[:, None] * own


def angle_errors(rows: Floats, angles: Floats, coefficients: Floats) -> Floats:
    """Return the standard error of each angle in radians: noise along the curve over the curve's speed.

    Noise along the curve moves a row's angle and is not seen in its residual. But what is along the curve here is across it
    elsewhere: residuals are averaged over the rows where this direction lies across the curve.
    """
    harmonics = len(coefficients) // 2
    basis = np.linalg.svd(coefficients[1:], full_matrices=False)[2]
    flat = coefficients @ basis.T
    at = waves(angles, harmonics)
    residuals = rows @ basis.T - at @ flat
    grid = np.linspace(0, 2 * np.pi, 180, endpoint=False)

    def tangents(where: Floats) -> tuple[Floats, Floats]:
        slopes = waves(where, harmonics, 1) @ flat
        speeds = np.maximum(np.linalg.norm(slopes, axis=1), 1e-12)
        return slopes / speeds[:, None], speeds

    along, speeds = tangents(grid)
    across = 1 - (along @ tangents(angles)[0].T) ** 2
    weights = across**SHARPNESS
    n = len(rows)
    freedom = n / max(n - len(coefficients), 1)
    # where the curve is flat no row shows the noise along it, and nothing is known
    shown = np.maximum((weights * across).sum(axis=1), 1e-12)
    errors = np.sqrt(freedom * (weights * (along @ residuals.T) ** 2).sum(axis=1) / shown) / speeds
    errors = np.where(shown > 1e-12 * n, np.minimum(errors, UNIFORM), UNIFORM)
    leverage = (at @ np.linalg.pinv(at.T @ at) * at).sum(axis=1)
    own: Floats = np.interp(angles, grid, errors, period=2 * np.pi) * np.sqrt(1 + leverage)
    return own
