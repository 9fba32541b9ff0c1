"""What fitted manifolds share: their labels' places, the site at which they lie, and the ways that lead along them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nbinterp.sites import Site
from nbinterp.spaces import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.labels import Centroids
    from nbinterp.spaces import Floats


def index_of(label: object, labels: Sequence[Any], concept: str, shape: str) -> int:
    """Return the place of a label; case and spaces do not matter. LookupError for an unknown one."""
    places = {_plain(known): i for i, known in enumerate(labels)}
    if _plain(label) not in places:
        raise LookupError(
            f"got the {concept} {label!r}, which is not on this {shape}: choose from {', '.join(map(str, labels))}."
        )
    return places[_plain(label)]


def site_of(found: Centroids, site: Site | str | None) -> Site:
    """Return where a manifold lies: where the cloud was read, or what the user says of an array."""
    place = found.site if site is None else Site.of(site)
    if place is None:
        raise ValueError(
            "got an array, which does not say where it was read; pass its site, for example site='resid_post.10'."
        )
    if found.site is not None and place != found.site:
        raise ValueError(f"got site={str(place)!r} for rows that were read at {found.site}; leave site out.")
    return place


def displacement(site: Site, model: ModelInfo | None, points: Floats) -> Direction:
    """Return what leads from the first of ``points [2, d_model]`` to the second, to be added with `Steer`."""
    return Direction(site, model, points[1] - points[0])


def left_out(points: Floats, predict: Callable[[Any, int], Floats]) -> float:
    """Return the share of the variance that is predicted of labels left out, one after the other.

    Parameters
    ----------
    points : array, ``[label, d_model]``
        The labels' centroids.
    predict : callable
        Given which labels are there (array of bool, ``[label]``) and the label to predict, returns its ``[d_model]``.

    Returns
    -------
    float
        About the mean of the other labels: that mean must do without the label too, or it would be a better guess
        than any.
    """
    wrong = total = 0.0
    for out in range(len(points)):
        rest = np.arange(len(points)) != out
        wrong += ((points[out] - predict(rest, out)) ** 2).sum()
        total += ((points[out] - points[rest].mean(axis=0)) ** 2).sum()
    return float(1 - wrong / total) if total else float("nan")


def _plain(label: object) -> str:
    return "".join(str(label).split()).casefold()
