"""Take hold of a shape that labels form: fit a circle to their centroids, as a plane to turn in and a loop to walk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbinterp.geometry.circular import CircleTest, as_centroids, circle_test
from nbinterp.geometry.fourier import FourierLoop, check_harmonics
from nbinterp.sites import Site
from nbinterp.spaces import Loop, Plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.labels import Centroids
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.spaces import Floats


@dataclass(frozen=True, eq=False)
class Circle:
    """Labels on a circle of a site: where each lies, the plane to turn in, and the curve through them.

    Parameters
    ----------
    concept : str
        What the labels are, e.g. ``"month"``.
    labels : tuple, ``[label]``
        In cyclic order.
    label_angles : array, ``[label]``
        2πj/n for label j, in radians.
    plane : Plane
        First two principal components of the centroids about the mean of the raw rows, turned so that angles grow in
        the order of the labels and the first label lies near angle 0.
    loop : Loop
        Least-squares Fourier curve through the centroids in the full space, about the same centre.
    r2 : float
        Share of the variance in the full space, about the mean of the other labels, that the loop predicts of a label
        left out: to choose the number of harmonics by. Small where labels differ mostly in what is their own, since a
        curve has at most 2K of d_model dimensions; NaN where one label fewer cannot fix K harmonics.
    test : CircleTest
        Whether there is a circle at all. Fitting does not ask for a yes; you should.
    centroids : Centroids
        What it was fitted to.
    site, model : Site, ModelInfo or None
        Where it lives.
    """

    concept: str
    labels: tuple[Any, ...]
    label_angles: Floats = field(repr=False)
    plane: Plane = field(repr=False)
    loop: Loop = field(repr=False)
    r2: float
    test: CircleTest
    centroids: Centroids = field(repr=False)
    site: Site
    model: ModelInfo | None

    def angle_of(self, label: object) -> float:
        """Return the angle of a label in radians; case and spaces do not matter. LookupError for an unknown one."""
        angles = dict(zip(map(_plain, self.labels), self.label_angles, strict=True))
        if _plain(label) not in angles:
            raise LookupError(
                f"got the {self.concept} {label!r}, which is not on this circle: choose from {', '.join(map(str, self.labels))}."
            )
        return float(angles[_plain(label)])

    def nearest_label(self, angle: float) -> Any:
        """Return the label whose angle is nearest to `angle` in radians, the way round."""
        return self.labels[int(np.argmax(np.cos(self.label_angles - angle)))]

    def loop_with(self, harmonics: int) -> Loop:
        """Return the curve through the same centroids with another number of harmonics; ValueError for too many."""
        return _loop(self.centroids, self.label_angles, harmonics, self.site, self.model)

    def r2_with(self, harmonics: int) -> float:
        """Return the leave-one-label-out R² of the curve with another number of harmonics."""
        return _held_out_r2(self.centroids.points, self.label_angles, harmonics)

    def frame(self) -> pd.DataFrame:
        """Return one line a label: ``label``, ``angle`` in radians, ``x``, ``y`` in the plane in units of the mean radius."""
        x, y = self._in_plane(self.centroids.points + self.centroids.centre).T
        return pd.DataFrame({"label": list(self.labels), "angle": self.label_angles, "x": x, "y": y})

    def curve_frame(self, resolution: int = 181) -> pd.DataFrame:
        """Return the loop as it looks in the plane: ``angle`` in radians, ``x``, ``y`` in units of the mean radius."""
        angles = np.linspace(0, 2 * np.pi, resolution)
        x, y = self._in_plane(self.loop.decode(angles)).T
        return pd.DataFrame({"angle": angles, "x": x, "y": y})

    def chart(self) -> alt.LayerChart:
        """Return a chart of the labels and the loop in the plane."""
        from nbinterp.charts.clouds import circle_chart

        return circle_chart(
            self.frame(), curve=self.curve_frame(), title=f"{self.concept} at {self.site}: {self.test.verdict}"
        )

    def _in_plane(self, points: Floats) -> Floats:
        radii = np.linalg.norm(self.plane.coordinates(self.centroids.points + self.centroids.centre), axis=1)
        coordinates: Floats = self.plane.coordinates(points) / radii.mean()
        return coordinates

    def __repr__(self) -> str:
        of = f" of {self.model}" if self.model else ""
        return "\n".join(
            [
                f"Circle of {self.concept} at {self.site}{of}: {len(self.labels)} labels, {self.loop.harmonics} harmonics",
                f"  {', '.join(map(str, self.labels))}",
                f"  held-out R² of the loop {self.r2:.2f}",
                *(
                    f"  {line}" if i else f"  test: {self.test.verdict}"
                    for i, line in enumerate(repr(self.test).splitlines())
                ),
            ]
        )


def fit_manifold(
    cloud: Rows | Centroids,
    by: Column | None = None,
    within: Column | None = None,
    *,
    order: Sequence[Any] | None = None,
    topology: str = "circle",
    harmonics: int = 2,
    site: Site | str | None = None,
    looks: int = 1,
    seed: int = 0,
) -> Circle:
    """Fit a circle to the centroids of labels.

    Parameters
    ----------
    cloud : Cloud, array ``[row, d_model]``, or Centroids
        The rows, or the centroids that `centroids` gave.
    by, within, order
        As for `centroids`.
    topology : {"circle"}
        The shape.
    harmonics : int
        Number K of harmonics of the loop, 2K + 1 ≤ number of labels. Two hold a circle that is bent out of its plane;
        compare ``circle.r2_with(k)``.
    site : Site or str, optional
        Where a bare array was read; a cloud knows.
    looks, seed
        As for `circle_test`, which is run along.

    Raises
    ------
    ValueError, LookupError, TypeError
        As for `centroids`; for too many harmonics; for another topology; for an array without a site.
    """
    if topology != "circle":
        raise ValueError(f"got topology={topology!r}; only 'circle' exists so far: leave topology out.")
    found = as_centroids(cloud, by, within, order)
    test = circle_test(found, looks=looks, seed=seed)
    place = found.site if site is None else Site.of(site)
    if place is None:
        raise ValueError(
            "got an array, which does not say where it was read; pass its site, for example site='resid_post.10'."
        )
    if found.site is not None and place != found.site:
        raise ValueError(f"got site={str(place)!r} for rows that were read at {found.site}; leave site out.")
    angles: Floats = 2 * np.pi * np.arange(len(found)) / len(found)
    return Circle(
        concept=found.concept,
        labels=found.labels,
        label_angles=angles,
        plane=_plane(found, angles, place),
        loop=_loop(found, angles, harmonics, place, found.model),
        r2=_held_out_r2(found.points, angles, harmonics),
        test=test,
        centroids=found,
        site=place,
        model=found.model,
    )


def _plane(found: Centroids, angles: Floats, site: Site) -> Plane:
    basis = np.linalg.svd(found.points, full_matrices=False)[2][:2]
    z = (found.points @ basis.T) @ np.array([1, 1j])
    if abs((z.conj() * np.exp(-1j * angles)).sum()) > abs((z * np.exp(-1j * angles)).sum()):
        basis, z = basis * np.array([[1], [-1]]), z.conj()
    phase = np.angle((z * np.exp(-1j * angles)).sum())
    turn = np.array([[np.cos(phase), np.sin(phase)], [-np.sin(phase), np.cos(phase)]])
    return Plane(site=site, model=found.model, centre=found.centre, basis=turn @ basis)


def _loop(found: Centroids, angles: Floats, harmonics: int, site: Site, model: ModelInfo | None) -> Loop:
    check_harmonics(harmonics, len(found), "labels")
    fitted = FourierLoop(harmonics).fit(found.points, angles)
    return Loop(
        site=site, model=model, centre=found.centre + fitted.mean_, cosines=fitted.cosines_, sines=fitted.sines_
    )


def _held_out_r2(points: Floats, angles: Floats, harmonics: int) -> float:
    if 2 * harmonics + 1 > len(points) - 1:
        return float("nan")
    wrong = total = 0.0
    for left_out in range(len(points)):
        rest = np.arange(len(points)) != left_out
        fitted = FourierLoop(harmonics).fit(points[rest], angles[rest])
        wrong += ((points[left_out] - fitted.inverse_transform(angles[[left_out]])[0]) ** 2).sum()
        # the mean must do without the label too, or it would be a better guess than any
        total += ((points[left_out] - points[rest].mean(axis=0)) ** 2).sum()
    return float(1 - wrong / total)


def _plain(label: object) -> str:
    return "".join(str(label).split()).casefold()
