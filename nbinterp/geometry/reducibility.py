"""Is a plane one two-dimensional feature, or two features side by side? The two indices of Engels et al., with a null."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import kurtosis

from nbinterp.geometry.multiple import enough_draws
from nbinterp.geometry.preparation import prepare
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt

    from nbinterp.geometry.preparation import Prepared
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats, Plane

ReducibilityVerdict = Literal["irreducible", "mixture", "separable", "too few points to say"]

MIN_POINTS = 100
"""With fewer points no verdict is given: the separability index is then mostly bias."""

BINS = 10
"""Bins a side, over the range of the points."""

ANGLES = np.linspace(0, np.pi / 2, 25, endpoint=False)
"""Rotations that are tried; a quarter turn more changes the axes for one another."""

EPSILON = 0.1
"""Half width of the mixture index's strip, in units of the root mean square."""

STRIPS = np.linspace(0, np.pi, 100, endpoint=False)
"""Directions across that strip that are tried."""

OFFSETS = 201
"""Places of it that are tried in each of them."""

MAX_MIXTURE = 0.35
"""A strip that holds more of the rows than this makes a mixture: a circle has 0.22, a Gaussian 0.08, two features of which
one or the other is active 0.53."""


@dataclass(frozen=True, eq=False)
class Reducibility(Told):
    """Whether the rows in a plane can be taken apart into two one-dimensional features.

    Parameters
    ----------
    separability : float
        S: the least mutual information, in bits, of two orthogonal coordinates, over all rotations. Zero for two
        independent features.
    separability_null : float
        Its mean where there is nothing but bias: two independent coordinates with the same marginals and as many rows.
    p_separability : float
        Share of the null draws (and the rows themselves) that reach `separability`.
    mixture : float
        M: the largest share of rows in a strip of ± 0.1 root mean squares, over all strips. Large for features of
        which one is silent while the other speaks.
    mixture_gaussian : float
        Its mean for Gaussians of the same covariance and as many rows.
    angle : float
        Rotation in radians at which `separability` is attained.
    by_angle : array, ``[angle]``
        Mutual information in bits at 25 rotations of a quarter turn.
    points : array, ``[row used, 2]``
        The rows in the plane, in the units of the activations.
    alpha : float
        Level of the test.
    looks : int
        Planes looked at, as the caller says; p is multiplied by it (Bonferroni).
    verdict : {"irreducible", "mixture", "separable", "too few points to say"}
        "separable" when S is not above its null; else "mixture" when M is above 0.35; else "irreducible".
    reasons : tuple of str
        One sentence for each index.
    site : Site or None
        Where the rows come from.
    provenance : str
        What was done, for people to read.
    """

    separability: float
    separability_null: float
    p_separability: float
    mixture: float
    mixture_gaussian: float
    angle: float
    by_angle: Floats = field(repr=False)
    points: Floats = field(repr=False)
    alpha: float
    looks: int
    verdict: ReducibilityVerdict
    reasons: tuple[str, ...]
    site: Site | None
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line with the numbers and the verdict, in the names of the fields."""
        left_out = ("by_angle", "points", "reasons", "provenance")
        return pd.DataFrame([{name: value for name, value in vars(self).items() if name not in left_out}])

    def chart(self) -> alt.HConcatChart:
        """Return the rows in the plane beside the mutual information by rotation."""
        from nbinterp.charts.probes import reducibility_chart

        turns = pd.DataFrame({"degrees": np.degrees(ANGLES), "bits": self.by_angle})
        points = pd.DataFrame(self.points, columns=["x", "y"])
        return reducibility_chart(points, turns, null=self.separability_null, title=f"A plane: {self.verdict}")

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        return "\n".join(
            [f"Reducibility{where}: {self.verdict}", *(f"  {text}" for text in (*self.reasons, self.provenance))]
        )


def reducibility(
    cloud: Rows | Prepared,
    plane: Plane | None = None,
    *,
    within: Column | None = None,
    alpha: float = 0.01,
    looks: int = 1,
    n_null: int = 199,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Reducibility:
    """Ask whether the rows in a plane are one two-dimensional feature or two one-dimensional ones.

    Parameters
    ----------
    cloud : Cloud or array ``[row, n_features]``, or Prepared
        The rows.
    plane : Plane, optional
        Where to look; by default the plane of the first two principal components.
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first.
    alpha : float
        Level of the test of separability.
    looks : int
        How many planes you looked at to find this one.
    n_null : int
        Null draws; the smallest p is 1 / (n_null + 1).
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the draws.

    Raises
    ------
    ValueError
        For a plane of another site or width, rows that span no plane, or so few draws that they cannot reach `alpha`.

    Notes
    -----
    Engels, Michaud, Liao, Gurnee & Tegmark 2024 (arXiv 2405.14860), section 3 and appendix B. With few rows every
    histogram has mutual information, so that S is far from zero for mere noise (0.17 for 200 rows of a Gaussian). Each
    null draw exchanges one coordinate between rows: what is left of S is bias. That is done at the rotation where the
    two depend least, and at that where they are least Gaussian (which is where independent features would lie); the
    larger p counts, since either alone gives too many small ones. M is found by trying every strip of a fine grid, where the paper climbs a smoothed version of it.
    Points in few places raise M: seven clusters in a circle have 0.29, four 0.5.
    """
    enough_draws(n_null, alpha, looks)
    prepared = prepare(cloud, 2, within=within, max_norm_ratio=max_norm_ratio, seed=seed)
    points, where = _in_plane(prepared, plane)
    n = len(points)
    rng = np.random.default_rng(seed)
    by_angle = mutual_information(points)
    best = int(by_angle.argmin())
    s, m = float(by_angle[best]), mixture_index(points)
    null = np.array([_null(points, angle, n_null, rng) for angle in (ANGLES[best], _independent_angle(points))])
    # one Gaussian would do at many rows, ten do at few
    gaussian = np.mean([mixture_index(rng.normal(size=(n, 2)) @ _root(points)) for _ in range(10)])
    p = min(1.0, looks * (1 + int((null >= s).sum(axis=1).max())) / (n_null + 1))
    verdict: ReducibilityVerdict = (
        "too few points to say"
        if n < MIN_POINTS
        else "separable"
        if p > alpha
        else "mixture"
        if m > MAX_MIXTURE
        else "irreducible"
    )
    times = f", times {looks} looks" if looks > 1 else ""
    reasons = [
        f"separability S = {s:.2f} bits, {null.mean():.2f} where two coordinates are independent: p = {p:.2g}{times} against {n_null} "
        f"exchanges; {'they depend on each other in every rotation' if p <= alpha else 'no sign that they depend'}.",
        f"mixture M = {m:.2f}, {gaussian:.2f} for a Gaussian, 0.22 for a circle; "
        + (
            f"more than {MAX_MIXTURE} speaks of features that exclude each other." if m > MAX_MIXTURE else "no mixture."
        ),
    ]
    if n < MIN_POINTS:
        reasons.insert(0, f"{n} rows; wanted at least {MIN_POINTS}: collect more rows.")
    return Reducibility(
        separability=s,
        separability_null=float(null.mean()),
        p_separability=float(p),
        mixture=m,
        mixture_gaussian=float(gaussian),
        angle=float(ANGLES[best]),
        by_angle=by_angle,
        points=points,
        alpha=alpha,
        looks=looks,
        verdict=verdict,
        reasons=tuple(reasons),
        site=prepared.site,
        provenance=f"{prepared.provenance}; {where}",
    )


def mutual_information(points: Floats) -> Floats:
    """Return the mutual information in bits of two coordinates at each of 25 rotations of ``points [n, 2]``: ``[angle]``."""
    turned = np.stack([_turned(points, angle) for angle in ANGLES])
    low, high = turned.min(axis=1, keepdims=True), turned.max(axis=1, keepdims=True)
    bins = np.minimum((BINS * (turned - low) / np.where(high > low, high - low, 1)).astype(np.int64), BINS - 1)
    cells = bins[..., 0] * BINS + bins[..., 1] + BINS**2 * np.arange(len(ANGLES))[:, None]
    joint = np.bincount(cells.ravel(), minlength=len(ANGLES) * BINS**2).reshape(-1, BINS, BINS) / len(points)
    entropies = _entropy(joint.sum(axis=2)) + _entropy(joint.sum(axis=1)) - _entropy(joint.reshape(len(ANGLES), -1))
    bits: Floats = np.maximum(entropies, 0)
    return bits


def mixture_index(points: Floats) -> float:
    """Return the largest share of ``points [n, 2]`` with |v·x + c| < 0.1 √mean (v·x + c)², over unit v and all c."""
    centred = points - points.mean(axis=0)
    best = 0
    for angle in STRIPS:
        along = np.sort(centred @ [np.cos(angle), np.sin(angle)])
        places = np.linspace(along[0], along[-1], OFFSETS)
        # the middle, where a silent feature lies, must be among the places
        places = np.append(places, [0.0, np.median(along)])
        width = EPSILON * np.sqrt((along**2).mean() + places**2)
        inside = np.searchsorted(along, places + width) - np.searchsorted(along, places - width, side="right")
        best = max(best, int(inside.max()))
    return best / len(points)


def _separability(points: Floats) -> float:
    return float(mutual_information(points).min())


def _null(points: Floats, angle: float, n_draws: int, rng: np.random.Generator) -> Floats:
    """Return the separability of draws in which the coordinates at a rotation are independent: ``[draw]``."""
    x, y = _turned(points, angle).T
    return np.array([_separability(np.column_stack([x, rng.permutation(y)])) for _ in range(n_draws)])


def _independent_angle(points: Floats) -> float:
    """Return the rotation at which the coordinates are least Gaussian, by their excess kurtosis."""
    return float(max(ANGLES, key=lambda angle: (kurtosis(_turned(points, angle)) ** 2).sum()))


def _turned(points: Floats, angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    turned: Floats = points @ np.array([[c, -s], [s, c]])
    return turned


def _entropy(shares: Floats) -> Floats:
    entropy: Floats = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=-1)
    return entropy


def _root(points: Floats) -> Floats:
    """Return a matrix that gives normal numbers the points' covariance: ``[2, 2]``."""
    values, vectors = np.linalg.eigh(np.cov(points.T))
    root: Floats = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return root


def _in_plane(prepared: Prepared, plane: Plane | None) -> tuple[Floats, str]:
    if plane is None:
        if prepared.scores.shape[1] < 2:
            raise ValueError(
                f"got rows prepared with {prepared.scores.shape[1]} component; wanted 2 or more: prepare with n_components=2."
            )
        points, where = prepared.scores[:, :2], "in the plane of the first two principal components"
    else:
        plane.require(prepared.site, prepared.model)
        if plane.n_features != prepared.rows.shape[1]:
            raise ValueError(f"got a Plane of {plane.n_features} features and rows of {prepared.rows.shape[1]}.")
        points, where = prepared.rows @ plane.basis.T, "in the given plane"
    if np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-9 * max(1.0, float(np.abs(points).max()))) < 2:
        raise ValueError("got rows that lie on a line or a point in the plane; wanted both dimensions: check the rows.")
    return points, where
