"""Principal components of centred rows: variances, directions, and how many of them stand out from nothing."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from nbinterp.geometry.threads import one_thread

if TYPE_CHECKING:
    from nbinterp.spaces import Floats

PARALLEL_DRAWS = 10
"""Clouds of flipped signs, all of whose variances a component must exceed in parallel analysis."""

THREADED = 2000
"""Eigenvectors of larger matrices are worth more than one thread."""


def principal(centred: Floats, k: int) -> tuple[Floats, Floats]:
    """Return the k largest variances of centred rows and their directions ``[k, n_features]``, from the smaller of the two Gram matrices."""
    n, d = centred.shape
    values, vectors = leading(centred @ centred.T if n < d else centred.T @ centred, k)
    if n < d:
        lengths = np.sqrt(values)
        vectors = centred.T @ (vectors / np.where(lengths > 0, lengths, 1))
        # directions beyond the rank are noise of rounding: made orthonormal, in the order of variance
        vectors = np.linalg.qr(vectors)[0]
    return values / (n - 1), signed(vectors.T)


def leading(matrix: Floats, k: int) -> tuple[Floats, Floats]:
    """Return the k largest eigenvalues of a covariance or Gram matrix, none below 0, and their vectors ``[n, k]``."""
    with one_thread if len(matrix) <= THREADED else nullcontext():
        values, vectors = eigh(matrix, subset_by_index=[len(matrix) - k, len(matrix) - 1])
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def signed(directions: Floats) -> Floats:
    """Return directions ``[k, n_features]`` whose largest entry is positive: the same on every machine."""
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    turned: Floats = directions * np.where(largest < 0, -1.0, 1.0)[:, None]
    return turned


def n_outstanding(centred: Floats, variances: Floats, rng: np.random.Generator) -> int:
    """Return how many of the largest variances of centred rows exceed those of clouds with flipped signs, without a gap."""
    flipped = [_variances(centred * rng.choice([-1.0, 1.0], centred.shape)) for _ in range(PARALLEL_DRAWS)]
    exceeds = variances > np.max(flipped, axis=0)[: len(variances)]
    return int(np.argmin(np.append(exceeds, False)))


def _variances(centred: Floats) -> Floats:
    n, d = centred.shape
    gram = centred @ centred.T if n < d else centred.T @ centred
    with one_thread if len(gram) <= THREADED else nullcontext():
        variances: Floats = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0) / (n - 1)
    return variances
