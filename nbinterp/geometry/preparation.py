"""From rows to what a method works on: rows set aside by norm, centring within groups, centroids of labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

MIN_FEATURES_FOR_NORMS = 8
"""In fewer features a mere Gaussian has rows of several times the median norm: none are set aside there."""

Mask = NDArray[np.bool_]


@runtime_checkable
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
Column = str | Sequence[Hashable] | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Prepared:
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
        if len(values) != len(self.points):
            raise ValueError(
                f"got {len(values)} values for {role} and {len(self.points)} rows; wanted one value a row: pass the same rows in both."
            )
        if (missing := int(pd.isna(values).sum())) > 0:
            raise ValueError(f"got {missing} missing values in {role}; wanted one for each row: drop those rows first.")
        return values


def prepare(cloud: Rows, *, max_norm_ratio: float | None = 3.0) -> Prepared:
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
    if isinstance(cloud, CloudLike):
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
    return Prepared(points, kept, table, site, model, provenance)


def centre_within(points: Floats, groups: NDArray[Any]) -> Floats:
    """Return ``points [row, d_model]`` with the mean of each row's group subtracted."""
    codes = pd.factorize(groups)[0]
    sums = np.zeros((codes.max() + 1, points.shape[1]))
    np.add.at(sums, codes, points)
    centred: Floats = points - (sums / np.bincount(codes)[:, None])[codes]
    return centred


@dataclass(frozen=True, eq=False)
class Centroids:
    """The effect of each label on the activations, the effects of the groups removed.

    Parameters
    ----------
    concept : str
        What the labels are, e.g. ``"month"``.
    labels : tuple, ``[label]``
        In their (cyclic) order.
    points : array, ``[label, d_model]``
        Label effects, in the units of the activations; they sum to zero.
    centre : array, ``[d_model]``
        The mean of the raw rows.
    counts : array, ``[label]``
        Rows of each label that were used.
    groups : tuple, ``[group]``
        Names of the groups; a single one where none were given.
    stack : array, ``[group, label, d_model]``
        Mean of the rows in each cell, NaN where a cell is empty: what errors over groups are estimated from.
    n_set_aside : int
        Rows left out for their norm.
    site, model : Site, ModelInfo or None
        Where the rows come from.
    provenance : str
        What was done, for people to read.
    """

    concept: str
    labels: tuple[Any, ...]
    points: Floats = field(repr=False)
    centre: Floats = field(repr=False)
    counts: NDArray[np.int64] = field(repr=False)
    groups: tuple[Any, ...] = field(repr=False)
    stack: Floats = field(repr=False)
    n_set_aside: int
    site: Site | None
    model: ModelInfo | None
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line a label: ``label``, ``n_rows``, ``norm`` of its effect in the units of the activations."""
        norms = np.linalg.norm(self.points, axis=1)
        return pd.DataFrame({"label": list(self.labels), "n_rows": self.counts, "norm": norms})

    def __len__(self) -> int:
        return len(self.labels)


def centroids(
    cloud: Rows,
    by: Column,
    within: Column | None = None,
    *,
    order: Sequence[Any] | None = None,
    max_norm_ratio: float | None = 3.0,
) -> Centroids:
    """Estimate the effect of each label, whatever the group (for example the template) that it stands in.

    The model is cell = group effect + label effect, fitted by least squares to the means of the cells. When every
    label stands in every group this is: subtract each group's mean, then average over groups. Empty cells do no harm.

    Parameters
    ----------
    cloud : Cloud or array, ``[row, d_model]``
        The rows.
    by : str or sequence, ``[row]``
        The labels: a column of the cloud's table, or one value a row.
    within : str or sequence, ``[row]``, optional
        The groups whose own mean is of no interest.
    order : sequence, optional
        The labels in their (cyclic) order; by default the order of first appearance. Labels that it leaves out
        are an error, never dropped silently.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.

    Raises
    ------
    LookupError
        For an unknown column.
    ValueError
        For NaN, a label without rows, an order that does not fit the labels, or groups and labels so confounded
        that their effects cannot be told apart.
    """
    rows = prepare(cloud, max_norm_ratio=max_norm_ratio)
    values = rows.column(by, "by")
    groups = np.full(len(values), "all", dtype=object) if within is None else rows.column(within, "within")
    labels = _ordered(values, order)
    group_names = tuple(pd.unique(groups[rows.kept]))
    column_of: Mapping[Any, int] = {label: i for i, label in enumerate(labels)}
    row_of: Mapping[Any, int] = {group: i for i, group in enumerate(group_names)}
    at = np.array([column_of[v] for v in values[rows.kept]], dtype=np.int64)
    cells = np.array([row_of[g] for g in groups[rows.kept]], dtype=np.int64) * len(labels) + at
    counts = np.bincount(at, minlength=len(labels)).astype(np.int64)
    if absent := [label for label, count in zip(labels, counts, strict=True) if not count]:
        raise ValueError(
            f"got no usable row for the label {absent[0]!r}; wanted at least one for each: collect more rows, or raise max_norm_ratio."
        )
    filled = np.bincount(cells, minlength=len(labels) * len(group_names))
    sums = np.zeros((len(filled), rows.points.shape[1]))
    np.add.at(sums, cells, rows.points[rows.kept])
    with np.errstate(invalid="ignore"):
        stack: Floats = (sums / filled[:, None]).reshape(len(group_names), len(labels), -1)
    points = _label_effects(stack)
    if points is None:
        raise ValueError(
            "got groups that share too few labels, so that the effects of groups and labels cannot be told apart; "
            "wanted every label to be linked to every other through groups: collect more labels a group, or leave out within."
        )
    provenance = f"{rows.provenance}; effects of {len(labels)} labels" + (
        "" if within is None else f", {_name(within, 'group')} effects of {len(group_names)} groups removed"
    )
    return Centroids(
        concept=_name(by, "label"),
        labels=labels,
        points=points,
        centre=rows.points[rows.kept].mean(axis=0),
        counts=counts,
        groups=group_names,
        stack=stack,
        n_set_aside=int((~rows.kept).sum()),
        site=rows.site,
        model=rows.model,
        provenance=provenance,
    )


def _name(column: Column, otherwise: str) -> str:
    return column if isinstance(column, str) else otherwise


def _ordered(values: NDArray[Any], order: Sequence[Any] | None) -> tuple[Any, ...]:
    found = tuple(pd.unique(values))
    if order is None:
        return found
    order = tuple(order)
    if len(set(order)) < len(order):
        twice = next(label for i, label in enumerate(order) if label in order[:i])
        raise ValueError(f"got the label {twice!r} twice in order; wanted each label once.")
    if missing := [label for label in found if label not in order]:
        raise ValueError(
            f"got an order without the label {missing[0]!r}; wanted every label of the rows ({len(found)}): "
            "add it, or select the rows first."
        )
    if extra := [label for label in order if label not in found]:
        raise ValueError(
            f"got the label {extra[0]!r} in order, which no row has; wanted labels of the rows: remove it."
        )
    return order


def _label_effects(stack: Floats) -> Floats | None:
    """Solve cell = group + label by least squares for the label effects ``[label, d_model]``, which sum to zero."""
    present = np.isfinite(stack[:, :, 0])
    cell_weights, cells = present.astype(np.float64), np.where(present[..., None], stack, 0)
    per_group = cell_weights.sum(axis=1)
    # eliminating the group effects leaves a graph Laplacian on the labels
    laplacian = np.diag(cell_weights.sum(axis=0)) - cell_weights.T @ (cell_weights / per_group[:, None])
    if connected_components(np.abs(laplacian) > 1e-12)[0] > 1:
        return None
    means = np.einsum("gl,gld->gd", cell_weights, cells) / per_group[:, None]
    right = np.einsum("gl,gld->ld", cell_weights, cells) - cell_weights.T @ means
    effects: Floats = np.linalg.pinv(laplacian, hermitian=True) @ right
    effects -= effects.mean(axis=0)
    return effects
