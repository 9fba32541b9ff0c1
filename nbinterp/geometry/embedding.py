"""Pictures of a cloud: PCA and UMAP, each with how many true neighbours it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from nbinterp.geometry.neighbors import neighbours_kept
from nbinterp.geometry.rows import Checked, Column, Rows, centre_within, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import altair as alt

    from nbinterp.spaces import Floats

N_NEIGHBOURS = 15
"""Neighbours that `Embedding.faithfulness` compares, as in the literature on UMAP."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Rows of a cloud in few dimensions.

    Parameters
    ----------
    coordinates : array, ``[row, n_components]``
        One line for each row of the cloud, NaN for those set aside. PCA: units of the activations; UMAP: no units,
        and distances between clusters mean nothing.
    method : str
        ``"pca"`` or ``"umap"``.
    parameters : mapping
        What it was made with.
    faithfulness : float
        Share of the true 15 nearest neighbours that are nearest neighbours here; NaN with 16 rows or fewer.
    faithfulness_null : float
        The same for a picture without information: 15 / (rows − 1), or, where asked for, the same method on a Gaussian
        of the cloud's covariance.
    explained_variance_ratio : array or None, ``[n_components]``
        Of PCA.
    table : DataFrame
        The cloud's table.
    provenance : str
        What was done, for people to read.
    """

    coordinates: Floats = field(repr=False)
    method: str
    parameters: Mapping[str, Any]
    faithfulness: float
    faithfulness_null: float
    explained_variance_ratio: Floats | None
    table: pd.DataFrame = field(repr=False)
    provenance: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coordinates in `frame`: ``pc1, pc2`` or ``umap1, umap2``."""
        stem = {"pca": "pc"}.get(self.method, self.method)
        return tuple(f"{stem}{i + 1}" for i in range(self.coordinates.shape[1]))

    def frame(self) -> pd.DataFrame:
        """Return ``row``, the coordinates, then the columns of the cloud's table, one line a row.

        ValueError when the table has a column of one of these names.
        """
        own = ("row", *self.columns)
        if clash := [name for name in own if name in self.table.columns]:
            raise ValueError(
                f"got a table with a column {clash[0]!r}, which this frame needs for itself: rename the column."
            )
        frame = pd.DataFrame(self.coordinates, columns=list(self.columns))
        frame.insert(0, "row", np.arange(len(frame)))
        return pd.concat([frame, self.table.reset_index(drop=True)], axis=1)

    def chart(self, color: str | None = None, *, cyclic: bool = False) -> alt.LayerChart:
        """Return a scatter chart, coloured by a column of the cloud's table; `cyclic` for labels that go round."""
        from nbinterp.charts.clouds import scatter

        return scatter(
            self.frame(), *self.columns[:2], color=color, cyclic=cyclic, title=self._title(), subtitle=self._faith()
        )

    def _title(self) -> str:
        if self.explained_variance_ratio is None:
            return self.method.upper()
        return f"PCA: {self.explained_variance_ratio[:2].sum():.0%} of the variance"

    def _faith(self) -> str:
        return f"keeps {self.faithfulness:.0%} of true {N_NEIGHBOURS} neighbours ({self.faithfulness_null:.0%} with nothing to find)"

    def __repr__(self) -> str:
        return f"Embedding by {self._title()} [{', '.join(map(str, self.coordinates.shape))}]\n  {self._faith()}\n  {self.provenance}"


def pca(
    cloud: Rows,
    n_components: int = 2,
    *,
    within: Column | None = None,
    null: Literal["chance", "gaussian"] = "chance",
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Embedding:
    """Project rows onto their first principal components.

    Parameters
    ----------
    cloud : Cloud or array, ``[row, d_model]``
        The rows.
    n_components : int
        How many; at most the smaller of rows and features.
    within : str or sequence, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    null : {"chance", "gaussian"}
        What `Embedding.faithfulness` is to be compared with.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the Gaussian null.
    """
    rows, points = _prepared(cloud, within, max_norm_ratio)
    if not 1 <= n_components <= min(points.shape):
        raise ValueError(
            f"got n_components={n_components} for {len(points)} rows of {points.shape[1]} features; choose 1 to {min(points.shape)}."
        )
    fitted = PCA(n_components, svd_solver="full").fit(points)
    return _embedding(
        rows,
        points,
        lambda x: PCA(n_components, svd_solver="full").fit_transform(x),
        method="pca",
        parameters={"n_components": n_components},
        within=within,
        null=null,
        seed=seed,
        ratios=fitted.explained_variance_ratio_,
    )


def umap(
    cloud: Rows,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    *,
    within: Column | None = None,
    init: Literal["pca", "spectral", "random"] = "pca",
    n_epochs: int | None = None,
    null: Literal["chance", "gaussian"] = "chance",
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Embedding:
    """Lay rows out in two dimensions with UMAP (McInnes et al. 2018, arXiv 1802.03426).

    Parameters
    ----------
    cloud : Cloud or array, ``[row, d_model]``
        The rows.
    n_neighbors : int
        Neighbours of a row in the graph, 2 or more and fewer than rows.
    min_dist : float
        How close points may lie in the picture, 0 to 1.
    within : str or sequence, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    init : {"pca", "spectral", "random"}
        Where to start.
    n_epochs : int, optional
        Rounds of optimisation; by default UMAP's own choice.
    null : {"chance", "gaussian"}
        What `Embedding.faithfulness` is to be compared with; "gaussian" runs UMAP a second time.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        The same seed gives the same picture, to the bit, on one machine.
    """
    rows, points = _prepared(cloud, within, max_norm_ratio)
    if not 2 <= n_neighbors < len(points):
        raise ValueError(
            f"got n_neighbors={n_neighbors} for {len(points)} rows; wanted at least 2 and fewer than rows."
        )
    if not 0 <= min_dist <= 1:
        raise ValueError(f"got min_dist={min_dist}; wanted a number from 0 to 1.")
    parameters = {"n_neighbors": n_neighbors, "min_dist": min_dist, "init": init, "n_epochs": n_epochs, "seed": seed}

    def lay_out(x: Floats) -> Floats:
        # importing umap compiles with numba: seconds that only its users should pay
        from umap import UMAP

        fitted = UMAP(
            n_neighbors=n_neighbors, min_dist=min_dist, init=init, n_epochs=n_epochs, random_state=seed, n_jobs=1
        )
        coordinates: Floats = np.asarray(fitted.fit_transform(x.astype(np.float32)), dtype=np.float64)
        return coordinates

    return _embedding(rows, points, lay_out, method="umap", parameters=parameters, within=within, null=null, seed=seed)


def _prepared(cloud: Rows, within: Column | None, max_norm_ratio: float | None) -> tuple[Checked, Floats]:
    rows = checked(cloud, max_norm_ratio=max_norm_ratio)
    points = rows.points[rows.kept]
    return rows, points if within is None else centre_within(points, rows.column(within, "within")[rows.kept])


def _embedding(
    rows: Checked,
    points: Floats,
    embed: Callable[[Floats], Floats],
    *,
    method: str,
    parameters: Mapping[str, Any],
    within: Column | None,
    null: str,
    seed: int,
    ratios: Floats | None = None,
) -> Embedding:
    shown = embed(points)
    kept = chance = float("nan")
    if len(points) > N_NEIGHBOURS + 1:
        kept, chance = neighbours_kept(points, shown), N_NEIGHBOURS / (len(points) - 1)
        if null == "gaussian":
            centred = points - points.mean(axis=0)
            gaussian = (
                np.random.default_rng(seed).normal(size=(len(points), len(points))) @ centred / np.sqrt(len(points))
            )
            chance = neighbours_kept(gaussian, embed(gaussian))
    coordinates = np.full((len(rows.points), shown.shape[1]), np.nan)
    coordinates[rows.kept] = shown
    provenance = rows.provenance + (
        "" if within is None else f"; centred within {within if isinstance(within, str) else 'groups'}"
    )
    return Embedding(coordinates, method, parameters, kept, chance, ratios, rows.table, provenance)
