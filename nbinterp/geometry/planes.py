"""The plane in which picked rows differ most, and whether it holds for rows held out better than that of any rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from nbinterp.geometry.multiple import enough_draws
from nbinterp.geometry.principal import leading, signed
from nbinterp.geometry.rows import checked
from nbinterp.geometry.selections import MIN_ROWS, TOO_FEW, by_chance, mask_of
from nbinterp.geometry.told import Told
from nbinterp.spaces import Plane

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

Verdict = Literal["flat", "no flatter than any rows", "too few rows to say"]

MOST_ROWS = 300
"""So many of the picked are held out at most, and so many are drawn; more are sampled."""

FOLDS = 3


@dataclass(frozen=True, eq=False)
class FlatPlane(Told):
    """The two directions in which picked rows differ most, and how much of their differences lies in them.

    Parameters
    ----------
    plane : Plane
        The first two principal components of the picked rows about their mean.
    share : float
        Of the variance of the picked rows in it, by the rows that it was found from.
    share_held_out : float
        The same of rows held out, about the mean of the others.
    share_expected : float
        The 95 % quantile of that for as many rows picked at random.
    p : float
        Share of random selections of which as much lies in their plane, times `looks`.
    null : array, ``[draw]``
        `share_held_out` of random selections.
    n_picked : int
        Rows picked, less those of a giant norm.
    table : DataFrame
        One line a picked row: ``row``, ``x``, ``y`` in the plane, in the units of the activations.
    alpha, n_null, looks
        Level of the test; selections drawn; selections tried before.
    verdict : {"flat", "no flatter than any rows", "too few rows to say"}
        "flat" when p ≤ `alpha`.
    caveat, provenance : str
        What this does not show; what was done.
    """

    plane: Plane = field(repr=False)
    share: float
    share_held_out: float
    share_expected: float
    p: float
    null: Floats = field(repr=False)
    n_picked: int
    table: pd.DataFrame = field(repr=False)
    alpha: float
    n_null: int
    looks: int
    verdict: Verdict
    caveat: str
    provenance: str

    @property
    def site(self) -> Site | None:
        """Where the rows were read."""
        return self.plane.site

    @property
    def model(self) -> ModelInfo | None:
        """The model that they were read from."""
        return self.plane.model

    @property
    def found(self) -> bool:
        """Whether the rows are flatter than others, as `correct` wants it."""
        return self.verdict == "flat"

    @property
    def statement(self) -> str:
        """What was found, in one sentence."""
        if self.verdict == TOO_FEW:
            return f"{self.n_picked} rows are too few to say how flat they are ({MIN_ROWS} wanted)."
        return (
            f"{self.n_picked} rows, {self.verdict}: {self.share_held_out:.0%} of the differences of rows held out lie in the plane, "
            f"{self.share_expected:.0%} for random selections of as many (p = {self.p:.2g})."
        )

    def frame(self) -> pd.DataFrame:
        """Return one line a picked row: ``row``, ``x``, ``y`` in the plane, in the units of the activations."""
        return self.table.copy()

    def chart(self) -> alt.LayerChart:
        """Return the picked rows in their plane."""
        from nbinterp.charts.clouds import scatter

        axes = ("first axis of the plane", "second axis of the plane")
        return scatter(self.table, "x", "y", title="The plane of the picked rows", subtitle=self.statement, axes=axes)

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        return "\n".join(
            [f"FlatPlane{where}: {self.verdict}", *(f"  {s}" for s in (self.statement, self.caveat, self.provenance))]
        )


def flat_plane(
    cloud: Rows,
    rows: ArrayLike,
    *,
    within: Column | None = None,
    n_null: int = 199,
    alpha: float = 0.01,
    looks: int = 1,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> FlatPlane:
    """Find the plane in which picked rows differ most, and ask how much of the rows held out lies in it.

    Compared with as many rows picked at random from the same cloud: the picked ones must be flatter than the cloud as a whole.

    Parameters
    ----------
    cloud : Cloud or array, ``[row, d_model]``
        The rows.
    rows : mask ``[row]`` or array of int
        Which are picked, three or more.
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    n_null, alpha, looks, max_norm_ratio, seed, progress
        As for `contrast`.

    Raises
    ------
    ValueError, LookupError
        For fewer than three usable rows, rows that are all equal, unknown columns, and so few draws that they cannot reach `alpha`.
    """
    enough_draws(n_null, alpha, looks)
    source = checked(cloud, max_norm_ratio=max_norm_ratio)
    usable = np.flatnonzero(source.kept)
    points = source.centred(within)
    picked = np.flatnonzero(mask_of(rows, len(points)) & source.kept)
    if len(picked) < 3 or points.shape[1] < 2 or not np.ptp(points[picked], axis=0).any():
        raise ValueError(
            f"got {len(picked)} usable rows of {points.shape[1]} features; wanted three or more that differ, to lay a plane through them."
        )
    centre = points[picked].mean(axis=0)
    basis, share = _leading_two(points[picked] - centre)
    plane = Plane(source.site, source.model, centre, basis)
    rng = np.random.default_rng(seed)
    held_out, null, p = float("nan"), np.empty(0), float("nan")
    verdict: Verdict = TOO_FEW
    steps = [source.provenance, f"first two principal components of {len(picked)} rows"]
    if len(picked) >= MIN_ROWS:
        size = min(len(picked), MOST_ROWS)
        held_out = _held_out_share(points[rng.choice(picked, size, replace=False)])
        null = np.empty(n_null)
        for i in range(n_null):
            null[i] = _held_out_share(points[rng.choice(usable, size, replace=False)])
            if progress is not None:
                progress(i + 1, n_null)
        p = by_chance(held_out, null, looks)
        verdict = "flat" if p <= alpha else "no flatter than any rows"
        steps.append(f"{FOLDS} folds of {size} rows; {n_null} random selections of as many")
    x, y = plane.coordinates(points[picked]).T
    return FlatPlane(
        plane=plane,
        share=share,
        share_held_out=held_out,
        share_expected=float(np.quantile(null, 0.95)) if len(null) else float("nan"),
        p=p,
        null=null,
        n_picked=len(picked),
        table=pd.DataFrame({"row": picked, "x": x, "y": y}),
        alpha=alpha,
        n_null=len(null),
        looks=looks,
        verdict=verdict,
        caveat="Any rows have a leading plane; that these differ mostly in it does not show that the model uses it: turn in it, beside "
        "its random control, to see.",
        provenance="; ".join(steps),
    )


def _held_out_share(points: Floats) -> float:
    """Return the share of the variance of rows held out that lies in the plane of the others, about the others' mean."""
    inside = total = 0.0
    # rows come in random order
    folds: NDArray[np.int64] = np.arange(len(points)) % FOLDS
    for fold in range(FOLDS):
        mean = points[folds != fold].mean(axis=0)
        basis, _ = _leading_two(points[folds != fold] - mean)
        away = points[folds == fold] - mean
        inside += float(((away @ basis.T) ** 2).sum())
        total += float((away**2).sum())
    return inside / total if total else float("nan")


def _leading_two(centred: Floats) -> tuple[Floats, float]:
    """Return two orthonormal directions of largest variance, ``[2, feature]``, and their share of it."""
    n, d = centred.shape
    values, vectors = leading(centred @ centred.T if n < d else centred.T @ centred, 2)
    axes = centred.T @ vectors if n < d else vectors
    basis = np.linalg.qr(axes)[0].T
    return signed(basis), float(values.sum() / max((centred**2).sum(), 1e-300))
