"""Take hold of a shape that labels form: fit a circle, an open curve or a surface to their centroids."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pandas as pd

from nbinterp.geometry.circular import CircleTest, as_centroids, circle_test
from nbinterp.geometry.fourier import FourierLoop, check_harmonics
from nbinterp.geometry.handles import index_of, left_out, site_of
from nbinterp.geometry.labels import Centroids, centroids
from nbinterp.geometry.rows import checked
from nbinterp.geometry.spline import Line, fit_line, held_out_line, numbers_of
from nbinterp.geometry.surface import Surface, fit_surface, held_out_plane
from nbinterp.geometry.told import Told
from nbinterp.spaces import Loop, Plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    from numpy.typing import ArrayLike

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

Topology = Literal["circle", "line", "surface"]


@dataclass(frozen=True, eq=False)
class Circle(Told):
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

    @property
    def provenance(self) -> str:
        """What was done, for people to read."""
        return f"{self.centroids.provenance}; Fourier curve of {self.loop.harmonics} harmonics"

    @property
    def neighbours(self) -> tuple[tuple[int, int], ...]:
        """Pairs of labels, by their places, between which nothing lies."""
        return tuple((i, (i + 1) % len(self.labels)) for i in range(len(self.labels)))

    def angle_of(self, label: object) -> float:
        """Return the angle of a label in radians; case and spaces do not matter. LookupError for an unknown one."""
        return float(self.label_angles[index_of(label, self.labels, self.concept, "circle")])

    def nearest_label(self, angle: float) -> Any:
        """Return the label whose angle is nearest to `angle` in radians, the way round."""
        return self.labels[int(np.argmax(np.cos(self.label_angles - angle)))]

    def decode(self, angles: ArrayLike) -> Floats:
        """Return the activations on the loop at ``angles [n]`` in radians: ``[n, d_model]``."""
        return self.loop.decode(angles)

    def path(self, source: object, target: object, n_steps: int) -> Floats:
        """Return the shorter way round the loop from one label to another, ends included: ``[n_steps + 1, d_model]``."""
        start = self.angle_of(source)
        turn = (self.angle_of(target) - start) % (2 * np.pi)
        # half a turn is as short backwards: forwards then
        turn -= 2 * np.pi * (turn > np.pi + 1e-9)
        return self.loop.decode(start + np.linspace(0, turn, n_steps + 1))

    def with_harmonics(self, harmonics: int) -> Circle:
        """Return the circle with a curve of another number of harmonics; ValueError for too many."""
        return replace(self, loop=self.loop_with(harmonics), r2=self.r2_with(harmonics))

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


@overload
def fit_manifold(
    cloud: Rows | Centroids,
    by: Column | None = ...,
    within: Column | None = ...,
    *,
    order: Sequence[Any] | None = ...,
    topology: Literal["circle"] = ...,
    harmonics: int = ...,
    site: Site | str | None = ...,
    looks: int = ...,
    seed: int = ...,
) -> Circle: ...
@overload
def fit_manifold(
    cloud: Rows | Centroids,
    by: Column | None = ...,
    within: Column | None = ...,
    *,
    order: Sequence[Any] | None = ...,
    topology: Literal["line"],
    smoothing: float | None = ...,
    site: Site | str | None = ...,
) -> Line: ...
@overload
def fit_manifold(
    cloud: Rows | Centroids,
    by: tuple[Column, Column] | None = ...,
    within: Column | None = ...,
    *,
    topology: Literal["surface"],
    smoothing: float | None = ...,
    site: Site | str | None = ...,
) -> Surface: ...
def fit_manifold(
    cloud: Rows | Centroids,
    by: Column | tuple[Column, Column] | None = None,
    within: Column | None = None,
    *,
    order: Sequence[Any] | None = None,
    topology: Topology = "circle",
    harmonics: int = 2,
    smoothing: float | None = None,
    site: Site | str | None = None,
    looks: int = 1,
    seed: int = 0,
) -> Circle | Line | Surface:
    """Fit a circle, an open curve or a surface to the centroids of labels.

    Parameters
    ----------
    cloud : Cloud, array ``[row, d_model]``, or Centroids
        The rows, or the centroids that `centroids` gave.
    by, within, order
        As for `centroids`; for a surface `by` is a pair of columns of numbers, and there is no order.
    topology : {"circle", "line", "surface"}
        The shape: a closed Fourier curve; a cubic smoothing spline with natural ends, over the labels' own numbers or, where
        they are none, over the length of the curve; or a thin-plate spline over two numbers. `compare_shapes` says
        which of them predicts labels left out best.
    harmonics : int
        Of a circle: number K of harmonics of the loop, 2K + 1 ≤ number of labels. Two hold a circle that is bent out of
        its plane; compare ``circle.r2_with(k)``.
    smoothing : float, optional
        Of a line or a surface: what bending costs, 0 to go through every centroid; by default what predicts labels
        left out best.
    site : Site or str, optional
        Where a bare array was read; a cloud knows.
    looks, seed
        Of a circle: as for `circle_test`, which is run along.

    Returns
    -------
    Circle, Line or Surface
        Each with ``decode(coordinates) -> activations``, ``path(source, target, n_steps)`` from label to label, and what an
        intervention takes: ``nb.Rotate(site, on=circle.loop, …)``, ``nb.Steer(site, direction=line.displacement(…))``.

    Raises
    ------
    ValueError, LookupError, TypeError
        As for `centroids`; for too many harmonics; for another topology; for an array without a site; for too few labels.
    """
    if topology not in ("circle", "line", "surface"):
        raise ValueError(f"got topology={topology!r}; choose 'circle', 'line' or 'surface'.")
    if topology == "surface":
        found = _pairs(cloud, by, within)
        return fit_surface(found, site_of(found, site), smoothing)
    if topology == "line":
        found = _any_centroids(cloud, by, within, order)
        return fit_line(found, site_of(found, site), smoothing)
    found = as_centroids(cloud, by, within, order)  # type: ignore[arg-type]
    place = site_of(found, site)
    test = circle_test(found, looks=looks, seed=seed)
    angles = _angles(len(found))
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


def compare_shapes(
    cloud: Rows | Centroids,
    by: Column | None = None,
    within: Column | None = None,
    *,
    order: Sequence[Any] | None = None,
) -> pd.DataFrame:
    """Compare how well shapes predict the centroid of a label left out.

    Parameters
    ----------
    cloud : Cloud, array ``[row, d_model]``, or Centroids
        The rows, or the centroids that `centroids` gave.
    by, within, order
        As for `centroids`.

    Returns
    -------
    DataFrame
        ``shape``, ``n_dimensions`` (at most so many that it spans), ``r2`` (leave-one-label-out, in the full space; above 0 where it beats
        the mean of the other labels), best first. Labels that are no numbers lie at equal steps. NaN where a shape
        cannot be fitted to one label fewer.
    """
    found = as_centroids(cloud, by, within, order)
    numbers = numbers_of(found.labels)
    coordinates = np.arange(len(found), dtype=np.float64) if numbers is None else numbers
    angles = _angles(len(found))
    lines: list[tuple[str, int, float]] = [
        ("straight line", 1, held_out_plane(found.points, coordinates[:, None])),
        ("circle in a plane", 2, _held_out_r2(found.points, angles, 1)),
        ("closed curve, 2 harmonics", 4, _held_out_r2(found.points, angles, 2)),
        ("open curve", len(found) - 1, held_out_line(found.points, coordinates)),
    ]
    frame = pd.DataFrame(lines, columns=["shape", "n_dimensions", "r2"])
    return frame.sort_values("r2", ascending=False, kind="stable", ignore_index=True)


def _any_centroids(cloud: Rows | Centroids, by: Any, within: Column | None, order: Sequence[Any] | None) -> Centroids:
    """Return centroids that may lie on one straight line, which those of a circle may not."""
    if not isinstance(cloud, Centroids):
        if by is None:
            raise TypeError("got no by; wanted the column that holds the labels, for example by='number'.")
        return centroids(cloud, by, within, order=order)
    if by is not None or within is not None or order is not None:
        raise TypeError(
            "got Centroids together with by, within or order; those belong to centroids(…): leave them out here."
        )
    return cloud


def _pairs(cloud: Rows | Centroids, by: Any, within: Column | None) -> Centroids:
    """Return the centroids of each pair of two columns' values."""
    if isinstance(cloud, Centroids):
        return _any_centroids(cloud, by, within, None)
    if isinstance(by, str) or by is None or len(by) != 2:
        raise TypeError("got no pair of columns for a surface; wanted two, for example by=('hour', 'minute').")
    rows = checked(cloud)
    first, second = (rows.column(column, "by") for column in by)
    pairs = list(dict.fromkeys(zip(first, second, strict=True)))
    place = {pair: i for i, pair in enumerate(pairs)}
    found = centroids(cloud, [place[pair] for pair in zip(first, second, strict=True)], within)
    names = [column if isinstance(column, str) else "label" for column in by]
    return replace(found, concept=" × ".join(names), labels=tuple(pairs[i] for i in found.labels))


def _angles(n: int) -> Floats:
    angles: Floats = 2 * np.pi * np.arange(n) / n
    return angles


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
    return left_out(
        points,
        lambda rest, out: FourierLoop(harmonics).fit(points[rest], angles[rest]).inverse_transform(angles[[out]])[0],
    )
