"""The rows of a cloud or an array, checked: what is missing, what is not finite, what has a giant norm."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

MIN_FEATURES_FOR_NORMS = 8
"""In fewer features a mere Gaussian has rows of several times the median norm: none are set aside there."""

Mask = NDArray[np.bool_]


class CloudLike(Protocol):
    """What geometry asks of a cloud at one site."""

    @property
    def points(self) -> NDArray[np.floating[Any]]:
        """Activations, ``[row, d_model]``."""

    @property
    def table(self) -> pd.DataFrame:
        """What each row is, one line a row."""

    @property
    def site(self) -> Site:
        """Where the rows were read."""

    @property
    def model(self) -> ModelInfo | None:
        """The model that they were read from."""


Rows = CloudLike | ArrayLike


def is_cloud(rows: object) -> TypeGuard[CloudLike]:
    """Whether these are the rows of a cloud. Its class is asked: asking the cloud itself would read all rows."""
    return hasattr(type(rows), "points") and hasattr(type(rows), "table")


Column = str | Sequence[Hashable] | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Checked:
    """Checked rows, with those of a giant norm marked.

    Parameters
    ----------
    points : array, ``[row, d_model]``
        All rows, in the units of the activations.
    kept : array of bool, ``[row]``
        False where a row was set aside.
    table : DataFrame
        One line a row; no columns for a bare array.
    site, model : Site, ModelInfo or None
        Where the rows come from; None for a bare array.
    provenance : str
        What was done, for people to read.
    """

    points: Floats
    kept: Mask
    table: pd.DataFrame
    site: Site | None
    model: ModelInfo | None
    provenance: str

    def column(self, column: Column, role: str) -> NDArray[Any]:
        """Return the values of a column by its name, or of an array with one value a row: ``[row]``."""
        if isinstance(column, str):
            if column not in self.table.columns:
                known = ", ".join(map(repr, self.table.columns)) or "none, since an array has no table"
                raise LookupError(
                    f"got {role}={column!r}, which is no column of the table; known columns are {known}: "
                    "choose one of them or pass an array with one value a row."
                )
            entries = self.table[column].tolist()
        else:
            # NumPy's scalars become Python's, which read better in every text
            entries = [v.item() if isinstance(v, np.generic) else v for v in column]
        values = np.empty(len(entries), dtype=object)
        values[:] = entries
        if len(values) != len(self.kept):
            raise ValueError(
                f"got {len(values)} values for {role} and {len(self.kept)} rows; wanted one value a row: pass the same rows in both."
            )
        if (missing := int(pd.isna(values).sum())) > 0:
            raise ValueError(f"got {missing} missing values in {role}; wanted one for each row: drop those rows first.")
        return values

    def centred(self, within: Column | None) -> Floats:
        """Return all rows, the kept ones with the mean of their group of `within` subtracted: ``[row, d_model]``."""
        if within is None:
            return self.points
        points = self.points.copy()
        points[self.kept] = centre_within(points[self.kept], self.column(within, "within")[self.kept])
        return points


def checked(cloud: Rows, *, max_norm_ratio: float | None = 3.0) -> Checked:
    """Check the rows of a cloud or an array and mark those of a giant norm.

    Parameters
    ----------
    cloud : Cloud or array, ``[row, d_model]``
        The rows.
    max_norm_ratio : float or None
        Rows whose norm exceeds this multiple of the median norm are set aside; None keeps them all. A few tokens
        carry "massive activations" (norms of hundreds of times the median) that drown every other row. With fewer
        than 8 features none are set aside.

    Raises
    ------
    ValueError
        For an array that is not ``[row, d_model]``, is empty, or holds NaN or infinite entries.
    """
    table, site, model = pd.DataFrame(), None, None
    if is_cloud(cloud):
        points = np.asarray(cloud.points, dtype=np.float64)
        table, site, model = cloud.table, cloud.site, cloud.model
    else:
        points = np.asarray(cloud, dtype=np.float64)
    if points.ndim != 2 or not points.size:
        raise ValueError(f"got points of shape {list(points.shape)}; wanted [row, d_model] with at least one of each.")
    if not np.isfinite(points).all():
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        raise ValueError(
            f"got NaN or infinite numbers in {len(bad)} of {len(points)} rows (the first is row {bad[0]}); wanted finite numbers: "
            "drop those rows, or collect in float32 instead of float16."
        )
    kept = np.ones(len(points), dtype=bool)
    provenance = f"{len(points)} rows of {points.shape[1]} features" + (f" at {site}" if site else "")
    if max_norm_ratio is not None and points.shape[1] >= MIN_FEATURES_FOR_NORMS:
        norms = np.linalg.norm(points, axis=1)
        kept = norms <= max_norm_ratio * np.median(norms)
        if n_aside := int((~kept).sum()):
            provenance += f"; {n_aside} set aside, of norm above {max_norm_ratio:g} × the median"
    return Checked(points, kept, table, site, model, provenance)


def centre_within(points: Floats, groups: NDArray[Any]) -> Floats:
    """Return ``points [row, d_model]`` with the mean of each row's group subtracted."""
    codes = pd.factorize(groups)[0]
    sums = np.zeros((codes.max() + 1, points.shape[1]))
    np.add.at(sums, codes, points)
    centred: Floats = points - (sums / np.bincount(codes)[:, None])[codes]
    return centred
