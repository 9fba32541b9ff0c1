"""Two angles for every row of a torus that nobody labelled, decorrelated, and the surface to decode them with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbinterp.geometry.cocycles import PRIMES, CircleMap, circle_map, classes, landmarks, spread_over
from nbinterp.geometry.coordinates import matching, prepared_of
from nbinterp.geometry.fourier import nearest_angles, waves
from nbinterp.geometry.handles import displacement
from nbinterp.geometry.refinement import UNIFORM, others_products
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.geometry.persistence import Diagram
    from nbinterp.geometry.preparation import Components, Prepared
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Direction, Floats

FOLDS = 3
"""Parts of the rows that are held out in turn when scales are compared."""

ROUNDS = 40
"""Rounds of fitting a surface and projecting onto it, at most."""

MIXING = 0.05
"""What products of both angles' waves cost while the surface is fitted, beside the rows' mean squared distance from it."""


@dataclass(frozen=True, eq=False)
class ToroidalCoordinates(Told):
    """Two angles for each row on a torus, with their uncertainty and the surface on which they lie.

    Parameters
    ----------
    class_ids : (str, str)
        The two loops.
    angles : array, ``[row, 2]``
        In radians, from 0 to 2π; NaN where the row was set aside. Each is known up to a turn, and both up to directions and
        exchange.
    uncertainty : array, ``[row, 2]``
        Standard error of each angle in radians.
    r2 : float
        Share of the variance of rows held out, in the full space, that the surface explains where it passes nearest.
    gram : array, ``[2, 2]``
        Products of the two harmonic forms: equal entries on the diagonal and none beside it on a square flat torus.
    change : array of int, ``[2, 2]``
        How the angles come from those of the two classes: the lattice reduction that decorrelates them.
    scale : float
        Where between the later birth (0) and the earlier death (1) the cocycles were taken.
    harmonics : int
        Harmonics K of the surface in each angle.
    coefficients : array, ``[(2K + 1)², d_model]``
        Of the products of 1, cos, sin of the first angle with those of the second.
    prepared : Prepared
        What the rows were made into first.
    provenance : str
        What was done, for people to read.
    """

    class_ids: tuple[str, str]
    angles: Floats = field(repr=False)
    uncertainty: Floats = field(repr=False)
    r2: float
    gram: Floats
    change: NDArray[np.int64]
    scale: float
    harmonics: int
    coefficients: Floats = field(repr=False)
    prepared: Prepared = field(repr=False)
    provenance: str

    @property
    def site(self) -> Site | None:
        """Where the rows come from."""
        return self.prepared.site

    def decode(self, angles: ArrayLike) -> Floats:
        """Return the activations at pairs of ``angles [n, 2]`` in radians: ``[n, d_model]``."""
        at = np.atleast_2d(np.asarray(angles, dtype=np.float64))
        points: Floats = torus_waves(at, self.harmonics) @ self.coefficients
        return points

    def displacement(self, start: ArrayLike, stop: ArrayLike) -> Direction:
        """Return what moving from angles ``start [2]`` to ``stop [2]`` adds: ``nb.Steer(site, direction=…)``.

        ValueError for rows of a bare array, which has no site.
        """
        if self.site is None:
            raise ValueError(
                "got coordinates of an array, which does not say where it was read, to steer with; make them of a Cloud."
            )
        points = self.decode(np.stack([np.asarray(start), np.asarray(stop)]))
        return displacement(self.site, self.prepared.model, points)

    def frame(self) -> pd.DataFrame:
        """Return one line a row: ``row``, ``angle_1``, ``angle_2``, ``uncertainty_1``, ``uncertainty_2`` in radians, and the table's other columns."""
        own = pd.DataFrame(
            {
                "row": np.arange(len(self.angles)),
                "angle_1": self.angles[:, 0],
                "angle_2": self.angles[:, 1],
                "uncertainty_1": self.uncertainty[:, 0],
                "uncertainty_2": self.uncertainty[:, 1],
            }
        )
        table = self.prepared.table.reset_index(drop=True)
        return pd.concat([own, table[[c for c in table.columns if c not in own.columns]]], axis=1)

    def chart(self, color: str | None = None) -> alt.LayerChart:
        """Return the rows in the square of both angles, coloured by a column of the cloud's table."""
        from nbinterp.charts.clouds import scatter

        where = f" at {self.site}" if self.site else ""
        return scatter(
            self.frame(),
            "angle_1",
            "angle_2",
            color=color,
            title=f"Toroidal coordinates of {' and '.join(self.class_ids)}{where}",
            subtitle=f"held-out R² {self.r2:.2f}",
        )

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        n = int(np.isfinite(self.angles[:, 0]).sum())
        one, two = np.degrees(np.nanmedian(self.uncertainty, axis=0))
        cosine = self.gram[0, 1] / np.sqrt(self.gram[0, 0] * self.gram[1, 1])
        return "\n".join(
            [
                f"ToroidalCoordinates of {' and '.join(self.class_ids)}{where}: {n} rows",
                f"  held-out R² {self.r2:.2f}; angles are known to ± {one:.1f}° and ± {two:.1f}°; cosine of their forms {cosine:.2f}",
                f"  {self.provenance}",
            ]
        )


def toroidal_coordinates(
    cloud: Rows | Prepared | Diagram,
    class_ids: tuple[str, str] = ("H1.0", "H1.1"),
    *,
    n_components: Components = 4,
    within: Column | None = None,
    n_landmarks: int | None = None,
    prime: int = PRIMES[0],
    scales: Sequence[float] = (0.1, 0.5, 0.9),
    harmonics: int = 1,
    refine: bool = True,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> ToroidalCoordinates:
    """Give every row two angles on a torus, without labels.

    Parameters
    ----------
    cloud : Cloud or array ``[row, d_model]``, Prepared, or Diagram
        The rows; what `prepare` or `persistence` made of them is taken as it is.
    class_ids : (str, str)
        Which loops, as in `Diagram.frame`.
    n_components : int, float, "parallel" or None
        As for `persistence`; a flat torus fills 4 dimensions.
    within, n_landmarks, prime, scales, refine, max_norm_ratio, seed
        As for `circular_coordinates`.
    harmonics : int
        Harmonics of the surface in each angle.

    Raises
    ------
    LookupError, ValueError
        As for `circular_coordinates`; and for two classes that are not alive at one scale.

    Notes
    -----
    Cocycles alone give angles that may run into one another (one angle, and the sum of both). The harmonic forms' Gram
    matrix is brought to its shortest by integer changes of basis (Lagrange and Gauss; for two forms what LLL does for
    many) after Scoccola, Gakhar, Bush, Schonsheck, Rask, Zhou and Perea, "Toroidal coordinates" (2022). A surface of
    Fourier products is then fitted and projected onto in turns, as in `circular_coordinates`.
    """
    if len(class_ids) != 2 or class_ids[0] == class_ids[1]:
        raise ValueError(f"got class_ids={class_ids}; wanted two different loops, for example ('H1.0', 'H1.1').")
    prepared = prepared_of(cloud, n_components, within, max_norm_ratio, seed)
    rows = prepared.rows
    n_waves = (2 * harmonics + 1) ** 2
    if harmonics < 1 or n_waves > len(rows) // 2:
        raise ValueError(
            f"got harmonics={harmonics} for {len(rows)} usable rows; wanted at least 1 and (2K + 1)² = {n_waves} of at most half "
            "the rows: collect more rows."
        )
    points = landmarks(prepared, n_landmarks, seed)
    pairs = _maps(points, class_ids, prime, scales)
    folds = np.random.default_rng(seed).permutation(np.arange(len(rows)) % FOLDS)
    fits: dict[float, tuple[float, Floats]] = {}
    for scale, (first, second) in pairs.items():
        change, _ = _reduced(first, second)
        turns = np.stack([spread_over(one, points, prepared.scores) for one in (first, second)])
        start = np.mod(2 * np.pi * (change @ turns).T, 2 * np.pi)
        fits[scale] = _held_out(rows, start, harmonics, folds, ROUNDS if refine else 0), start
    scale = max(fits, key=lambda s: fits[s][0])
    r2, start = fits[scale]
    coefficients, angles = _refined(rows, start, harmonics, ROUNDS if refine else 0)
    change, gram = _reduced(*pairs[scale])
    centre = prepared.source.points[prepared.source.kept].mean(axis=0)
    errors = np.minimum(_errors(rows, angles, coefficients, harmonics), UNIFORM)
    shifted = coefficients.copy()
    shifted[0] += centre
    provenance = (
        f"{prepared.provenance}; {len(points)} landmarks, cocycles of {' and '.join(class_ids)} at {scale:.0%} of their common "
        f"life; surface of {harmonics} harmonics in each angle" + ("" if refine else ", not refined")
    )
    return ToroidalCoordinates(
        class_ids=(class_ids[0], class_ids[1]),
        angles=prepared.spread(angles),
        uncertainty=prepared.spread(errors),
        r2=r2,
        gram=gram,
        change=change,
        scale=scale,
        harmonics=harmonics,
        coefficients=shifted,
        prepared=prepared,
        provenance=provenance,
    )


def torus_waves(angles: Floats, harmonics: int) -> Floats:
    """Return the products of `waves` of both ``angles [n, 2]``: ``[n, (2K + 1)²]``, the second angle's running faster."""
    one, two = (waves(angle, harmonics) for angle in angles.T)
    products: Floats = (one[:, :, None] * two[:, None, :]).reshape(len(angles), -1)
    return products


def _maps(
    points: Floats, class_ids: tuple[str, str], prime: int, scales: Sequence[float]
) -> dict[float, tuple[CircleMap, CircleMap]]:
    for p in (prime, *(q for q in PRIMES if q != prime)):
        found = classes(points, p)
        numbers = [matching(found, class_id) for class_id in class_ids]
        birth, death = found.pairs[numbers, 0].max(), found.pairs[numbers, 1].min()
        if numbers[0] == numbers[1] or birth >= death:
            raise ValueError(
                f"got the classes {' and '.join(class_ids)}, which are not two loops at any one scale; wanted two that are alive "
                "together: look at the diagram of persistence(…, n_components=4)."
            )
        maps = {}
        for scale in scales:
            pair = [
                circle_map(found.cocycles[i], found, birth + scale * (death - birth), primitive=False) for i in numbers
            ]
            if pair[0] is not None and pair[1] is not None:
                maps[float(scale)] = (pair[0], pair[1])
        if maps:
            return maps
    raise ValueError(
        f"got the classes {' and '.join(class_ids)}, whose cocycles over Z/{prime} and others are none over the integers; choose "
        "other classes, other scales, or more landmarks."
    )


def _reduced(first: CircleMap, second: CircleMap) -> tuple[NDArray[np.int64], Floats]:
    """Return the integer change of basis that makes two harmonic forms short and as orthogonal as can be, and their products."""
    forms = (first.form, second.form)
    gram = np.array([[(first.weights * a * b).sum() / 2 for b in forms] for a in forms])
    change = np.eye(2, dtype=np.int64)
    while True:
        reduced = change @ gram @ change.T
        if reduced[0, 0] > reduced[1, 1]:
            change, reduced = change[::-1].copy(), reduced[::-1, ::-1]
        times = int(np.rint(reduced[0, 1] / reduced[0, 0]))
        if not times:
            return change, reduced
        change[1] -= times * change[0]


def _held_out(rows: Floats, start: Floats, harmonics: int, folds: Any, rounds: int) -> float:
    wrong = total = 0.0
    for fold in range(FOLDS):
        out = folds == fold
        coefficients, _ = _refined(rows[~out], start[~out], harmonics, rounds)
        known = np.where(np.isfinite(start[out]), start[out], 0.0)
        at = known
        for _ in range(3):
            at = _projected(rows[out] @ coefficients.T, at, coefficients, harmonics)
        wrong += float(((rows[out] - torus_waves(at, harmonics) @ coefficients) ** 2).sum())
        total += float(((rows[out] - rows[~out].mean(axis=0)) ** 2).sum())
    return 1 - wrong / total


def _refined(rows: Floats, angles: Floats, harmonics: int, rounds: int) -> tuple[Floats, Floats]:
    """Fit a surface and project onto it, in turns; return its coefficients and the angles ``[row, 2]``."""
    fitted = np.isfinite(angles.sum(axis=1))
    # one angle may be shifted by waves of the other without any loss: of all such gauges, that with the least mixing
    alone = np.arange(2 * harmonics + 1) > 0
    mixed = MIXING * np.logical_and.outer(alone, alone).ravel()
    angles = np.where(fitted[:, None], angles, 0.0)
    for _ in range(rounds):
        at = torus_waves(angles, harmonics)
        coefficients: Floats = np.linalg.solve(
            at[fitted].T @ at[fitted] + fitted.sum() * np.diag(mixed), at[fitted].T @ rows[fitted]
        )
        moved = _projected(others_products(rows, at, coefficients, fitted), angles, coefficients, harmonics)
        turn = np.angle(np.exp(1j * (moved - angles)))
        angles, fitted = moved, np.ones(len(rows), dtype=bool)
        if np.abs(turn).mean() < 1e-4:
            break
    coefficients = np.linalg.pinv(torus_waves(angles, harmonics)[fitted]) @ rows[fitted]
    return coefficients, angles


def _projected(products: Floats, angles: Floats, coefficients: Floats, harmonics: int) -> Floats:
    """Return nearer angles ``[row, 2]``: the nearest point of the surface along one angle, then along the other, twice."""
    m = 2 * harmonics + 1
    products = products.reshape(-1, m, m)
    gram = (coefficients @ coefficients.T).reshape(m, m, m, m)
    one, two = angles.T
    for _ in range(2):
        other = waves(two, harmonics)
        own = np.einsum("rb,abcd,rd->rac", other, gram, other, optimize=True)
        one = nearest_angles(np.einsum("rab,rb->ra", products, other), own)
        other = waves(one, harmonics)
        own = np.einsum("ra,abcd,rc->rbd", other, gram, other, optimize=True)
        two = nearest_angles(np.einsum("rab,ra->rb", products, other), own)
    return np.stack([one, two], axis=1)


def _errors(rows: Floats, angles: Floats, coefficients: Floats, harmonics: int) -> Floats:
    """Return the standard error of each angle ``[row, 2]``: noise of one direction, through the surface's two slopes."""
    basis = np.linalg.svd(coefficients[1:], full_matrices=False)[2]
    residuals = (rows - torus_waves(angles, harmonics) @ coefficients) @ basis.T
    # two directions of the noise are gone into the angles
    n, m = residuals.shape
    variance = (residuals**2).sum() / max((m - 2) * (n - len(coefficients)), 1)
    one, two = (waves(angle, harmonics) for angle in angles.T)
    slopes = np.stack(
        [
            (waves(angles[:, 0], harmonics, 1)[:, :, None] * two[:, None, :]).reshape(n, -1) @ coefficients,
            (one[:, :, None] * waves(angles[:, 1], harmonics, 1)[:, None, :]).reshape(n, -1) @ coefficients,
        ],
        axis=1,
    )
    squared = np.einsum("rid,rjd->rij", slopes, slopes)
    inverse = np.linalg.pinv(squared, hermitian=True)
    errors: Floats = np.sqrt(variance * np.diagonal(inverse, axis1=1, axis2=2))
    return errors
