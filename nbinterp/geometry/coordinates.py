"""An angle for every row of a loop that nobody labelled, how sure it is, and the curve to steer along."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.geometry.cocycles import (
    PRIMES,
    CircleMap,
    Classes,
    circle_map,
    classes,
    landmarks,
    spread_over,
)
from nbinterp.geometry.fourier import FourierLoop
from nbinterp.geometry.persistence import Diagram
from nbinterp.geometry.preparation import Components, Prepared, prepare
from nbinterp.geometry.refinement import FOLDS, UNIFORM, agreement, angle_errors, chosen
from nbinterp.geometry.told import Told
from nbinterp.spaces import Loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats


@dataclass(frozen=True, eq=False)
class CircularCoordinates(Told):
    """An angle for each row on a loop, with its uncertainty and the curve that the loop follows.

    Angles are known up to a common turn and up to the direction of going round, which a cloud cannot tell.

    Parameters
    ----------
    class_id : str
        The loop, ``"H1.0"`` for the longest-lived.
    angles : array, ``[row]``
        In radians, from 0 to 2π; NaN where the row was set aside.
    uncertainty : array, ``[row]``
        Standard error of each angle in radians: that of a row's noise along the curve over the curve's speed, and that
        of the curve itself. At most π/√3, that of an angle of which nothing is known.
    r2 : float
        Share of the variance of rows held out, in the full space, that the curve explains at the angles where it
        passes nearest to them.
    birth, death : float
        Of the class on the landmarks with coefficients in Z/prime, in the units of the activations.
    prime : int
        The field from which the cocycle was lifted to the integers.
    scale : float
        Where between birth (0) and death (1) the cocycle was taken.
    harmonics : int
        Harmonics K of the curve.
    loop : Loop
        The curve at the cloud's site, to decode and to steer along: ``nb.Rotate(site, on=coordinates.loop, by=…)``.
    decoder : FourierLoop
        The same curve as an estimator: ``transform`` gives the angles of new rows.
    candidates : DataFrame
        What was compared: ``scale``, ``harmonics``, ``r2``, ``error`` (standard error of the difference of its r2 from the
        chosen one's), ``on_loop`` (False where the curve was passed over since it left the loop); the chosen one first.
    prepared : Prepared
        What the rows were made into first.
    provenance : str
        What was done, for people to read.
    """

    class_id: str
    angles: Floats = field(repr=False)
    uncertainty: Floats = field(repr=False)
    r2: float
    birth: float
    death: float
    prime: int
    scale: float
    harmonics: int
    loop: Loop = field(repr=False)
    decoder: FourierLoop = field(repr=False)
    candidates: pd.DataFrame = field(repr=False)
    prepared: Prepared = field(repr=False)
    provenance: str

    @property
    def site(self) -> Site | None:
        """Where the rows come from."""
        return self.prepared.site

    @property
    def model(self) -> ModelInfo | None:
        """The model that they were read from."""
        return self.prepared.model

    def frame(self) -> pd.DataFrame:
        """Return one line a row.

        Returns
        -------
        DataFrame
            ``row``, ``angle`` and ``uncertainty`` in radians, ``x``, ``y`` (where the row lies in the plane in which the
            curve is widest, about its centre, in the units of the activations), then those columns of the cloud's
            table that have other names.
        """
        x, y = self.prepared.spread(self._in_plane(self.prepared.rows - self._offset())).T
        own = pd.DataFrame(
            {"row": np.arange(len(x)), "angle": self.angles, "uncertainty": self.uncertainty, "x": x, "y": y}
        )
        table = self.prepared.table.reset_index(drop=True)
        return pd.concat([own, table[[c for c in table.columns if c not in own.columns]]], axis=1)

    def curve_frame(self, resolution: int = 181) -> pd.DataFrame:
        """Return the curve in the plane of `frame`: ``angle`` in radians, ``x``, ``y``."""
        angles = np.linspace(0, 2 * np.pi, resolution)
        x, y = self._in_plane(self.loop.decode(angles) - self.loop.centre).T
        return pd.DataFrame({"angle": angles, "x": x, "y": y})

    def chart(self) -> alt.LayerChart:
        """Return the rows in the plane of the curve, coloured by their angle."""
        from nbinterp.charts.manifolds import coordinates_chart

        where = f" at {self.site}" if self.site else ""
        title = f"Circular coordinate of {self.class_id}{where}"
        return coordinates_chart(
            self.frame(),
            self.curve_frame(),
            title=title,
            subtitle=f"held-out R² {self.r2:.2f}, {self.harmonics} harmonics",
        )

    def _offset(self) -> Floats:
        """Return the curve's centre as seen from the centred rows."""
        return self.loop.centre - _centre(self.prepared)

    def _in_plane(self, points: Floats) -> Floats:
        coefficients = np.concatenate([self.loop.cosines, self.loop.sines])
        basis = np.linalg.svd(coefficients, full_matrices=False)[2][:2]
        flat: Floats = points @ basis.T
        return flat

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        n = int(np.isfinite(self.angles).sum())
        typical = np.degrees(np.nanmedian(self.uncertainty))
        return "\n".join(
            [
                f"CircularCoordinates of {self.class_id}{where}: {n} rows, {self.harmonics} harmonics",
                f"  held-out R² {self.r2:.2f}; an angle is known to ± {typical:.1f}° (median standard error)",
                f"  {self.provenance}",
            ]
        )


def circular_coordinates(
    cloud: Rows | Prepared | Diagram,
    class_id: str = "H1.0",
    *,
    n_components: Components = 2,
    within: Column | None = None,
    n_landmarks: int | None = None,
    prime: int = PRIMES[0],
    scales: Sequence[float] = (0.1, 0.5, 0.9),
    harmonics: Sequence[int] = (1, 3, 5),
    refine: bool = True,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> CircularCoordinates:
    """Give every row an angle on a loop, without labels.

    Whether there is a loop at all is not asked here: `loop_significance` says.

    Parameters
    ----------
    cloud : Cloud or array ``[row, d_model]``, Prepared, or Diagram
        The rows; what `prepare` or `persistence` made of them is taken as it is.
    class_id : str
        Which loop, as in `Diagram.frame`: ``"H1.0"`` lives longest on the landmarks.
    n_components, within, max_norm_ratio
        As for `persistence`. A curve that winds twice needs 4 components.
    n_landmarks : int, optional
        Means of so many k-means clusters stand for the rows in homology; by default a tenth of the rows, from 60 to
        300. What is prepared with landmarks keeps those.
    prime : int
        Field of the cocycle; others are tried where its lift to the integers is no cocycle.
    scales : sequence of float
        Where to take the cocycle, between birth (0) and death (1).
    harmonics : sequence of int
        Harmonics of the curve to try.
    refine : bool
        Fit the curve and project onto it in turns; else the angles are those of the cocycle alone.
    seed : int
        Of k-means and of what is held out.

    Returns
    -------
    CircularCoordinates
        Of the scale and the harmonics that explain held-out rows best; fewer harmonics where that costs no more than
        two standard errors.

    Raises
    ------
    LookupError
        For a class that there is not.
    ValueError
        For a cloud without a loop, a class with no integer cocycle (as one of a Klein bottle's), bad settings, and
        what `prepare` refuses.

    Notes
    -----
    Coordinates from cocycles after de Silva, Morozov and Vejdemo-Johansson, "Persistent cohomology and circular
    coordinates" (2011), spread from landmarks to all rows after Perea, "Sparse circular coordinates via principal
    Z-bundles" (2020). Then a Fourier curve is fitted in the full space at these angles, reparametrised by its arc
    length, and each row goes to the nearest point of the curve that the other rows fitted; again until angles rest.
    Noise of hundreds of features, each of little weight, cancels in that fit, and not in distances.
    """
    _check_settings(scales, harmonics, prime)
    prepared = prepared_of(cloud, n_components, within, max_norm_ratio, seed)
    rows = prepared.rows
    allowed = [k for k in harmonics if 2 * k + 1 <= len(rows) - len(rows) // FOLDS - 1]
    if not allowed:
        raise ValueError(
            f"got harmonics={tuple(harmonics)} for {len(rows)} usable rows; wanted at least one K with 2K + 1 of two thirds "
            "of them: collect more rows."
        )
    points = landmarks(prepared, n_landmarks, seed)
    found, which, maps = _maps(points, class_id, prime, scales)
    starts = _different({s: 2 * np.pi * spread_over(one, points, prepared.scores) for s, one in maps.items()})
    candidates, scale, k, (coefficients, angles) = chosen(rows, starts, allowed, refine=refine, seed=seed)
    errors = np.minimum(angle_errors(rows, angles, coefficients), UNIFORM)
    # for rows as the user has them, who knows nothing of our centre
    decoder = FourierLoop(k).fit(rows + _centre(prepared), angles)
    loop = Loop(prepared.site, prepared.model, decoder.mean_, decoder.cosines_, decoder.sines_)
    off = int(np.isnan(starts[scale]).sum())
    birth, death = found.pairs[which]
    provenance = "; ".join(
        [
            prepared.provenance,
            f"{len(points)} landmarks, cocycle over Z/{found.prime} of the class from {birth:.3g} to {death:.3g} at {scale:.0%} of its life",
            *([f"{off} rows hang on landmarks off the loop"] if off else []),
            f"curve of {k} harmonics, best of {len(candidates)} fits on held-out rows"
            + ("" if refine else ", not refined"),
        ]
    )
    return CircularCoordinates(
        class_id=class_id,
        angles=prepared.spread(angles % (2 * np.pi)),
        uncertainty=prepared.spread(errors),
        r2=float(candidates["r2"].iloc[0]),
        birth=float(birth),
        death=float(death),
        prime=found.prime,
        scale=scale,
        harmonics=k,
        loop=loop,
        decoder=decoder,
        candidates=candidates,
        prepared=prepared,
        provenance=provenance,
    )


def _check_settings(scales: Sequence[float], harmonics: Sequence[int], prime: int) -> None:
    if not scales or not all(0 < s < 1 for s in scales):
        raise ValueError(f"got scales={tuple(scales)}; wanted numbers between 0 (birth) and 1 (death), such as 0.5.")
    if not harmonics or not all(isinstance(k, int | np.integer) and k >= 1 for k in harmonics):
        raise ValueError(f"got harmonics={tuple(harmonics)}; wanted whole numbers from 1 up, such as (1, 3, 5).")
    if prime < 3 or any(prime % q == 0 for q in range(2, int(prime**0.5) + 1)):
        raise ValueError(f"got prime={prime}; wanted an odd prime such as 47.")


def prepared_of(
    cloud: Rows | Prepared | Diagram,
    n_components: Components,
    within: Column | None,
    max_norm_ratio: float | None,
    seed: int,
) -> Prepared:
    """Return the rows as a diagram saw them, or prepared; ValueError for a diagram of other than straight distances."""
    if not isinstance(cloud, Diagram):
        return prepare(cloud, n_components, within=within, max_norm_ratio=max_norm_ratio, seed=seed)
    prepared = cloud.prepared
    if cloud.metric != "euclidean":
        raise ValueError(
            f"got a diagram of {cloud.metric} distances, whose loops are not those of the curve that is fitted; wanted one of "
            "straight distances: make it with metric='euclidean'."
        )
    return prepared


def number_of(class_id: str) -> int:
    """Return the place of a loop among all, the longest-lived first; ValueError where it does not name a loop."""
    dimension, _, number = str(class_id).partition(".")
    if dimension != "H1" or not number.isdigit():
        raise ValueError(f"got class_id={class_id!r}; wanted a loop, for example 'H1.0', the longest-lived one.")
    return int(number)


def matching(found: Classes, class_id: str) -> int:
    """Return the class over Z/p that is the one which the diagram over Z/2 calls so.

    Both fields see the same loops except those that exist over one of them alone: of a Klein bottle's two loops over Z/2,
    one can be walked twice to nothing and has no angle. A class is the same where birth or death agree and it lives as
    long; it may live longer, since a loop that winds twice dies over Z/2 and lives on over other fields.

    Raises
    ------
    LookupError, ValueError
        For a cloud without loops, a number that there is not, and a class that is not seen over Z/p.
    """
    number = number_of(class_id)
    binary = classes(found.points, 2, distances=found.distances).pairs
    if not len(binary):
        raise ValueError(
            f"got {len(found.points)} points without any loop, at any scale; wanted one to give angles to: look at "
            "persistence(…) and loop_significance(…) first, or keep more components."
        )
    if number >= len(binary):
        last = f"'H1.0' to 'H1.{len(binary) - 1}'" if len(binary) > 1 else "'H1.0'"
        raise LookupError(f"got class_id={class_id!r} of {len(binary)} loops; choose {last}.")
    birth, death = binary[number]
    same = np.isclose(found.pairs, (birth, death), rtol=1e-5, atol=0)
    spans = (found.pairs[:, 0] <= birth * (1 + 1e-5)) & (found.pairs[:, 1] >= death * (1 - 1e-5))
    same &= spans[:, None]
    if not same.any():
        raise ValueError(
            f"got class_id={class_id!r}, alive from {birth:.3g} to {death:.3g} with coefficients in Z/2 and not at all in "
            f"Z/{found.prime}: walked twice it is no loop any more, as on a Klein bottle, so that no angle goes round it; choose "
            "another class."
        )
    # both ends first, then the longer-lived
    return int(np.lexsort((np.arange(len(same)), -same.sum(axis=1)))[0])


def _maps(
    points: Floats, class_id: str, prime: int, scales: Sequence[float]
) -> tuple[Classes, int, dict[float, CircleMap]]:
    """Return the classes over the first field that serves, which of them is meant, and its maps at those scales that have one."""
    for p in (prime, *(q for q in PRIMES if q != prime)):
        found = classes(points, p)
        which = matching(found, class_id)
        birth, death = found.pairs[which]
        maps = {}
        for scale in scales:
            one = circle_map(found.cocycles[which], found, birth + scale * (death - birth))
            if one is not None:
                maps[float(scale)] = one
        if maps:
            return found, which, maps
    raise ValueError(
        f"got class_id={class_id!r}, whose cocycles over Z/{prime} and others are none over the integers, so that no angle "
        "goes round it; choose another class, other scales, or more landmarks."
    )


def _different(starts: dict[float, Floats]) -> dict[float, Floats]:
    """Return those starting angles that are not others turned or reflected."""
    kept: dict[float, Floats] = {}
    for scale, angles in starts.items():
        if all(agreement(angles, other) < 0.95 for other in kept.values()):
            kept[scale] = angles
    return kept


def _centre(prepared: Prepared) -> Floats:
    centre: Floats = prepared.source.points[prepared.source.kept].mean(axis=0)
    return centre
