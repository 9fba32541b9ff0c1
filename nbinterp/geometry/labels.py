"""The effect of each label on activations, whatever group it stands in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from nbinterp.geometry.rows import checked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats


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
    rows = checked(cloud, max_norm_ratio=max_norm_ratio)
    values = rows.column(by, "by")
    groups = np.full(len(values), "all", dtype=object) if within is None else rows.column(within, "within")
    labels = ordered(values, order)
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


def ordered(values: NDArray[Any], order: Sequence[Any] | None) -> tuple[Any, ...]:
    """Return the labels that are among values ``[row]``, in an order: the one given, else that of their first rows.

    ValueError when the order has a label twice, misses one, or has one that no row has.
    """
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
