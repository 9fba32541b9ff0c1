"""Clouds with no shape of their own to compare a cloud with, and what homology makes of them."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import numpy as np
from scipy.spatial import KDTree

from nbinterp.geometry.distances import distances
from nbinterp.geometry.homology import diagrams
from nbinterp.geometry.preparation import Prepared, distinct
from nbinterp.geometry.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nbinterp.geometry.persistence import Diagram
    from nbinterp.spaces import Floats

Null = Literal["gaussian", "permutation", "universal", "bootstrap", "subsampling"]
Drawn = Literal["gaussian", "permutation", "bootstrap"]

MIN_CLASSES = 3
"""The universal null takes its location from the diagram itself, so that it needs at least so many classes."""

_remembered: WeakKeyDictionary[Prepared, dict[tuple[object, ...], list[Floats]]] = WeakKeyDictionary()


def null_cloud(prepared: Prepared, null: Drawn, rng: np.random.Generator) -> Floats:
    """Draw a cloud like a prepared one, but for its shape, and return what homology would see of it.

    Parameters
    ----------
    prepared : Prepared
        The cloud: its scores on the components that were kept.
    null : {"gaussian", "permutation", "bootstrap"}
        "gaussian": Gaussian rows, given that their covariance is the cloud's own. "permutation": each component
        shuffled over the rows by itself, which keeps its distribution and destroys whatever ties it to others.
        "bootstrap": rows drawn from the cloud with replacement.
    rng : Generator
        Of the draw.

    Returns
    -------
    array, ``[point, n_components]``
        Landmarks of the drawn rows where the cloud has landmarks.

    Notes
    -----
    "gaussian" needs no new principal components. Write n centred Gaussian rows as u s vᵀ (singular values). Rotating
    the rows among each other, in the space of vectors that sum to zero, leaves their distribution as it is and touches
    u alone; so u, given s and v, is uniform on the orthonormal frames of that space. The scores u s of a Gaussian cloud
    are thus, given its covariance, a uniform frame times s: what is drawn here, with the s of the cloud. A test against
    such draws is exact for Gaussian rows of any unknown mean and covariance (a rotation test: Langsrud 2005,
    Statistics and Computing 15; Engen and Lillegård 1997, Biometrika 84), projection included, where a Gaussian with
    the estimated covariance would only be so in the limit of many rows. Groups that were centred first cost degrees of
    freedom that are not counted.
    """
    scores = _scores(prepared)
    if null == "gaussian":
        s = np.linalg.svd(scores, compute_uv=False)
        s = s[s > s[0] * 1e-9]
        scores = uniform_frame(len(scores), len(s), rng) * s
    elif null == "permutation":
        scores = rng.permuted(scores, axis=0)
    else:
        scores = scores[rng.integers(len(scores), size=len(scores))]
    return seen_again(prepared, scores) if null == "bootstrap" else _points(prepared, scores)


def uniform_frame(n: int, k: int, rng: np.random.Generator) -> Floats:
    """Draw k orthonormal columns ``[n, k]``, each of sum zero, uniformly."""
    columns = rng.normal(size=(n, k))
    frame: Floats = np.linalg.qr(columns - columns.mean(axis=0))[0]
    return frame


def turned(scores: Sequence[Floats], seed: int) -> Callable[[int], list[Floats]]:
    """Return what draws Gaussian scores like those of the same rows at several places, each ``[row, n_components]``.

    Draw i turns the rows among each other in the same way everywhere (see `null_cloud`). For rows that are Gaussian
    over all places together this changes nothing of their distribution, so it keeps how places resemble each other.
    """
    together = np.hstack([one - one.mean(axis=0) for one in scores])
    ends = np.cumsum([one.shape[1] for one in scores])[:-1]
    _, s, axes = np.linalg.svd(together, full_matrices=False)
    factor = (s[:, None] * axes)[s > s[0] * 1e-9]

    def draw(i: int) -> list[Floats]:
        # the number of the draw is part of its seed, so that neither order nor number of draws matters
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,)))
        return np.split(uniform_frame(len(together), len(factor), rng) @ factor, ends, axis=1)

    return draw


def seen_again(prepared: Prepared, scores: Floats) -> Floats:
    """Return what homology would see of other scores ``[row, n_components]``: their landmarks, equal points once."""
    given = prepared.preparation
    return distinct(scores if given.landmarks is None else given.landmarks_of(scores))[0]


def draws(
    diagram: Diagram,
    null: Drawn,
    *,
    dimension: int = 1,
    n: int,
    seed: int,
    progress: Callable[[int, int], object] | None = None,
) -> list[Floats]:
    """Return the classes of null clouds, each as births and deaths ``[class, 2]``, longest-lived first.

    Draw i depends on the seed and on i alone. The draws of a cloud are remembered as long as the cloud lives: a run
    that was interrupted goes on where it stopped, and more draws cost only those that are new.

    Parameters
    ----------
    diagram : Diagram
        The cloud's own.
    null, seed
        As for `null_cloud`.
    dimension : {1, 2}
        Loops or cavities.
    n : int
        How many.
    progress : callable, optional
        Called with the draws done and wanted, after each.
    """
    measured = (diagram.metric, diagram.n_neighbors, diagram.prime)
    known = _remembered.setdefault(diagram.prepared, {}).setdefault((null, dimension, seed, *measured), [])
    if len(known) >= n:
        return known[:n]
    # many small problems: threads inside each wait for one another, ten times as long where the machine is busy
    with one_thread:
        while len(known) < n:
            # the number of the draw is part of its seed, so that neither order nor number of draws matters
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(len(known),)))
            known.append(classes(null_cloud(diagram.prepared, null, rng), diagram, dimension))
            if progress is not None:
                progress(len(known), n)
    return known[:n]


def loops_drawn_together(diagrams: Sequence[Diagram], seed: int) -> Iterator[list[Floats]]:
    """Draw Gaussian clouds like those of several diagrams of the same rows, without end.

    Yields the loops ``[class, 2]`` of one cloud for each diagram; its rows are turned in the same way in all (see `turned`).
    """
    draw = turned([_scores(diagram.prepared) for diagram in diagrams], seed)
    for i in count():
        with one_thread:
            yield [
                classes(_points(diagram.prepared, scores), diagram)
                for diagram, scores in zip(diagrams, draw(i), strict=True)
            ]


def classes(points: Floats, like: Diagram, dimension: int = 1) -> Floats:
    """Return births and deaths ``[class, 2]`` in one dimension of ``points [point, n_components]``, measured as a diagram's own."""
    measured = distances(points, like.metric, n_neighbors=like.n_neighbors)
    return diagrams(measured, dimension, prime=like.prime)[dimension]


def subsample_distances(diagram: Diagram, n: int, seed: int) -> Floats:
    """Return how far, at most, the rows may be from what they sample: twice the Hausdorff distances of subsamples, ``[draw]``.

    Of n rows, n / log n are drawn without replacement; twice the 1 − α quantile of their distances to all rows bounds the
    distance of the rows to their support with probability 1 − α, as n grows (Fasy et al. 2014, Annals of Statistics 42,
    section 4.1). Vietoris-Rips diagrams move by at most twice that; the error of landmarks is added.

    Raises
    ------
    ValueError
        For another metric than straight distance, in which it is stated.
    """
    if diagram.metric != "euclidean":
        raise ValueError(
            f"got null='subsampling' and a diagram with metric={diagram.metric!r}; wanted straight distances: take null='bootstrap'."
        )
    rows = diagram.prepared.scores
    size = max(2, round(len(rows) / np.log(len(rows))))
    apart = np.empty(n)
    for i in range(n):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,)))
        sample = rows[rng.choice(len(rows), size, replace=False)]
        apart[i] = np.max(KDTree(sample).query(rows)[0])
    return 2 * apart + diagram.prepared.landmark_error


def universal_p(pairs: Floats) -> Floats:
    """Return the p-value of each class ``[class, 2]`` against the universal law of noise in persistence diagrams.

    Bobrowski and Skraba (2023, Scientific Reports 13:12274, arXiv 2207.03926) found, and conjecture, that of the classes that noise
    makes, log log(death / birth), shifted to the mean −γ, follows the left-skewed Gumbel law 1 − exp(−exp(x)) whatever
    the cloud ("strong universality"; the scale A is 1 for Vietoris-Rips). The shift is taken from all classes, true
    ones too, which costs some power where classes are few.

    Returns
    -------
    array, ``[class]``
        NaN with fewer than 3 classes, or where one is born at 0.
    """
    if len(pairs) < MIN_CLASSES or not (pairs[:, 0] > 0).all():
        return np.full(len(pairs), np.nan)
    log_log = np.log(np.log(pairs[:, 1] / pairs[:, 0]))
    p: Floats = np.exp(-np.exp(log_log - log_log.mean() - np.euler_gamma))
    return p


def _points(prepared: Prepared, scores: Floats) -> Floats:
    # scores that were drawn anew are all different
    return scores if prepared.preparation.landmarks is None else seen_again(prepared, scores)


def _scores(prepared: Prepared) -> Floats:
    # rows that are equal make one point, and are one row of the null as well
    scores: Floats = prepared.points if prepared.preparation.landmarks is None else prepared.scores
    centred: Floats = scores - scores.mean(axis=0)
    return centred
