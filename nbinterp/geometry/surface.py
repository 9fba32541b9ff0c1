"""Labels of two numbers on a surface: a thin-plate spline through their centroids, as a handle to steer with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay

from nbinterp.geometry.handles import displacement, index_of, left_out
from nbinterp.geometry.spline import flat
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import ArrayLike

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.labels import Centroids
    from nbinterp.sites import Site
    from nbinterp.spaces import Direction, Floats

_SMOOTHINGS = np.logspace(-6, 3, 19)
_GRID = 41


@dataclass(frozen=True, eq=False)
class Surface(Told):
    """Labels of two numbers each on a surface of a site.

    Parameters
    ----------
    concept : str
        What the labels are, e.g. ``"hour × minute"``.
    labels : tuple, ``[label]``
        Pairs of numbers.
    coordinates : array, ``[label, 2]``
        The same as an array.
    smoothing : float
        Weight of the surface's bending beside its distance to the centroids, with coordinates scaled to variance 1.
    r2 : float
        Share of the variance, in the full space, that the surface predicts of a label left out, its smoothing as it is.
    r2_plane : float
        The same of a plane over the two numbers, to which the surface has to be compared.
    centroids : Centroids
        What it was fitted to.
    site, model : Site, ModelInfo or None
        Where it lives.
    """

    concept: str
    labels: tuple[Any, ...]
    coordinates: Floats = field(repr=False)
    smoothing: float
    r2: float
    r2_plane: float
    centroids: Centroids = field(repr=False)
    site: Site
    model: ModelInfo | None
    spline: RBFInterpolator = field(repr=False)

    @property
    def provenance(self) -> str:
        """What was done, for people to read."""
        return f"{self.centroids.provenance}; thin-plate spline, smoothing {self.smoothing:.3g}"

    @property
    def neighbours(self) -> tuple[tuple[int, int], ...]:
        """Pairs of labels, by their places, between which nothing lies: the edges of their Delaunay triangulation."""
        triangles = np.asarray(Delaunay(self.coordinates).simplices)
        edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]]), axis=1)
        return tuple((int(i), int(j)) for i, j in np.unique(edges, axis=0))

    def coordinate_of(self, label: object) -> Floats:
        """Return the two numbers of a label: ``[2]``; LookupError for an unknown one."""
        at: Floats = self.coordinates[index_of(label, self.labels, self.concept, "surface")]
        return at

    def decode(self, coordinates: ArrayLike) -> Floats:
        """Return the activations at ``coordinates [n, 2]``: ``[n, d_model]``."""
        scaled = _scaled(np.atleast_2d(np.asarray(coordinates, dtype=np.float64)), self.coordinates)
        points: Floats = self.spline(scaled) + self.centroids.centre
        return points

    def nearest(self, points: ArrayLike) -> Floats:
        """Return the coordinates, within the labels' rectangle, at which the surface passes nearest to ``points [n, d_model]``: ``[n, 2]``.

        The nearest of 41 × 41 points, then of ever finer grids round it, to 10⁻⁴ of the rectangle.
        """
        low, high = self.coordinates.min(axis=0), self.coordinates.max(axis=0)
        found = []
        for point in np.atleast_2d(np.asarray(points, dtype=np.float64)):
            start, stop = low, high
            for _ in range(4):
                grid = np.stack(np.meshgrid(*np.linspace(start, stop, _GRID).T, indexing="ij"), axis=-1).reshape(-1, 2)
                best = grid[((self.decode(grid) - point) ** 2).sum(axis=1).argmin()]
                reach = 3 * (stop - start) / _GRID
                start, stop = np.maximum(best - reach, low), np.minimum(best + reach, high)
            found.append(best)
        return np.array(found)

    def displacement(self, start: ArrayLike, stop: ArrayLike) -> Direction:
        """Return what moving from coordinates ``start [2]`` to ``stop [2]`` adds: ``nb.Steer(surface.site, direction=…)``."""
        return displacement(self.site, self.model, self.decode(np.stack([np.asarray(start), np.asarray(stop)])))

    def path(self, source: object, target: object, n_steps: int) -> Floats:
        """Return the way over the surface from one label to another, straight in the two numbers: ``[n_steps + 1, d_model]``."""
        share = np.linspace(0, 1, n_steps + 1)[:, None]
        return self.decode((1 - share) * self.coordinate_of(source) + share * self.coordinate_of(target))

    def frame(self) -> pd.DataFrame:
        """Return one line a label: ``label``, ``u``, ``v`` (its numbers), ``x``, ``y`` on the centroids' principal components."""
        x, y = flat(self.centroids, self.centroids.points).T
        u, v = self.coordinates.T
        return pd.DataFrame({"label": [str(label) for label in self.labels], "u": u, "v": v, "x": x, "y": y})

    def mesh_frame(self, n_lines: int = 9, resolution: int = 41) -> pd.DataFrame:
        """Return lines of constant ``u`` and of constant ``v`` as they lie in the plane of `frame`: ``line``, ``u``, ``v``, ``x``, ``y``."""
        low, high = self.coordinates.min(axis=0), self.coordinates.max(axis=0)
        along = np.linspace(low, high, resolution)
        lines: list[pd.DataFrame] = []
        for axis in (0, 1):
            for value in np.linspace(low[axis], high[axis], n_lines):
                at = along.copy()
                at[:, axis] = value
                x, y = flat(self.centroids, self.decode(at) - self.centroids.centre).T
                lines.append(pd.DataFrame({"line": len(lines), "u": at[:, 0], "v": at[:, 1], "x": x, "y": y}))
        return pd.concat(lines, ignore_index=True)

    def chart(self) -> alt.LayerChart:
        """Return the labels and the surface's mesh in the plane of their first two principal components."""
        from nbinterp.charts.manifolds import surface_chart

        title = f"{self.concept} at {self.site}: held-out R² {self.r2:.2f}, of a plane {self.r2_plane:.2f}"
        return surface_chart(self.frame(), self.mesh_frame(), title=title)

    def __repr__(self) -> str:
        of = f" of {self.model}" if self.model else ""
        return "\n".join(
            [
                f"Surface of {self.concept} at {self.site}{of}: {len(self.labels)} labels",
                f"  held-out R² of the surface {self.r2:.2f}, of a plane {self.r2_plane:.2f}",
                f"  {self.provenance}",
            ]
        )


def fit_surface(found: Centroids, site: Site, smoothing: float | None) -> Surface:
    """Lay a thin-plate spline through centroids whose labels are pairs of numbers.

    See `nbinterp.geometry.manifold.fit_manifold`.
    """
    try:
        coordinates = np.array([[float(u), float(v)] for u, v in found.labels])
    except (TypeError, ValueError):
        raise ValueError(
            f"got the label {found.labels[0]!r} for a surface; wanted two numbers for each row: pass two columns of numbers, "
            "for example by=('hour', 'minute')."
        ) from None
    if smoothing is not None and not smoothing >= 0:
        raise ValueError(f"got smoothing={smoothing}; wanted a number from 0 up, or None to choose one.")
    if len(coordinates) < 6 or np.linalg.matrix_rank(coordinates - coordinates.mean(axis=0)) < 2:
        raise ValueError(
            f"got {len(coordinates)} different pairs of numbers; wanted at least 6 that do not lie on one line: fit a line, "
            "topology='line'."
        )
    at = _scaled(coordinates, coordinates)
    if smoothing is None:
        smoothing = float(_SMOOTHINGS[int(np.argmin([_left_out_error(at, found.points, s) for s in _SMOOTHINGS]))])
    return Surface(
        concept=found.concept,
        labels=found.labels,
        coordinates=coordinates,
        smoothing=smoothing,
        r2=left_out(found.points, lambda rest, out: _spline(at[rest], found.points[rest], smoothing)(at[[out]])[0]),
        r2_plane=held_out_plane(found.points, coordinates),
        centroids=found,
        site=site,
        model=found.model,
        spline=_spline(at, found.points, smoothing),
    )


def held_out_plane(points: Floats, coordinates: Floats) -> float:
    """Return the leave-one-label-out R² of a function linear in ``coordinates [label, n]``."""
    design = np.column_stack([np.ones(len(points)), coordinates])
    return left_out(points, lambda rest, out: design[out] @ np.linalg.lstsq(design[rest], points[rest], rcond=None)[0])


def _scaled(coordinates: Floats, reference: Floats) -> Floats:
    scaled: Floats = (coordinates - reference.mean(axis=0)) / reference.std(axis=0)
    return scaled


def _spline(at: Floats, points: Floats, smoothing: float) -> RBFInterpolator:
    return RBFInterpolator(at, points, smoothing=smoothing, kernel="thin_plate_spline", degree=1)


def _left_out_error(at: Floats, points: Floats, smoothing: float) -> float:
    # linear in the points, so that one smoother serves all features and every label left out
    smoother = _spline(at, np.eye(len(at)), smoothing)(at)
    residuals = (points - smoother @ points) / np.maximum(1 - np.diag(smoother), 1e-12)[:, None]
    return float((residuals**2).sum())
