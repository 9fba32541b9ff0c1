"""Clouds that do not fit in memory: prepared in passes over their chunks, so that what comes after works on scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from sklearn.metrics import pairwise_distances_argmin_min

from nbinterp.geometry.passes import Moments, Passes, Progress
from nbinterp.geometry.preparation import Components, Preparation, Prepared, _provenance
from nbinterp.geometry.principal import PARALLEL_DRAWS, leading, signed
from nbinterp.geometry.rows import MIN_FEATURES_FOR_NORMS, Checked, Column, Rows
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from dask.array import Array
    from numpy.typing import ArrayLike, NDArray
    from xarray import DataArray

    from nbinterp.spaces import Floats

    LargeRows = Rows | Array | DataArray

MEMORY = 2**31
"""Bytes that passes, and the scores that they leave, may take."""

CHUNK_BYTES = 4 * 2**20
"""Size of the chunks that an array without chunks is read in."""

ASSIGNED = 65_536
"""Rows that are assigned to landmarks at a time."""


@dataclass(frozen=True, eq=False)
class LargePrepared(Told):
    """A large cloud as methods are to see it, and the way back to its rows on disk.

    Parameters
    ----------
    prepared : Prepared
        A sample of the used rows, on the principal components of all: what every method takes.
    sample : array of int, ``[row sampled]``
        Which rows of the cloud these are, ascending.
    scores : array, ``[row used, component]``
        Of all used rows, in float32.
    source : Checked
        All rows, with their table, site and model; its `points` are on disk, and NaN here.
    centre : array, ``[feature]``
        The mean of the used rows as they are.
    covariance : array, ``[feature, feature]``
        Of the used rows (with n − 1), groups' means subtracted.
    passes : Passes
        The rows, still on disk.
    groups : array of int, ``[row]``
        The group of each row; −1 where the row was set aside.
    offsets : array, ``[group, feature]``
        What is subtracted from each group's rows.
    """

    prepared: Prepared
    sample: NDArray[np.int64] = field(repr=False)
    scores: NDArray[np.float32] = field(repr=False)
    source: Checked = field(repr=False)
    centre: Floats = field(repr=False)
    covariance: Floats = field(repr=False)
    passes: Passes = field(repr=False)
    groups: NDArray[np.int64] = field(repr=False)
    offsets: Floats = field(repr=False)

    @property
    def provenance(self) -> str:
        """What was done, for people to read."""
        return self.prepared.provenance

    def assigned(self, prepared: Prepared | None = None) -> tuple[NDArray[np.int64], float]:
        """Return the nearest point of every row of the cloud, and how far the farthest used row is from its own.

        Parameters
        ----------
        prepared : Prepared, optional
            What has the points: `prepared` itself by default, or what its ``narrowed`` gave, e.g. that of a diagram.

        Returns
        -------
        point_of_row : array of int, ``[row]``
            −1 where a row was set aside.
        error : float
            With points that each are the nearest of a row, the Hausdorff distance of all used rows and the points: births
            and deaths are off by at most twice that.
        """
        points = (prepared or self.prepared).points
        nearest, distances = np.empty(len(self.scores), dtype=np.int64), np.empty(len(self.scores))
        for first in range(0, len(self.scores), ASSIGNED):
            part = slice(first, first + ASSIGNED)
            rows = self.scores[part, : points.shape[1]].astype(np.float64)
            nearest[part], distances[part] = pairwise_distances_argmin_min(rows, points)
        point_of_row = np.full(len(self.groups), -1, dtype=np.int64)
        point_of_row[self.groups >= 0] = nearest
        return point_of_row, float(distances.max())

    def means(self, labels: ArrayLike) -> Floats:
        """Return the mean row of each label in one pass, groups' means and the mean subtracted: ``[label, feature]``.

        With the landmark of each row (see `assigned`) these are the landmarks in the full space.

        Parameters
        ----------
        labels : array of int, ``[row]``
            The label of each row, from 0; −1 for rows to leave out, which those set aside are as well.

        Raises
        ------
        ValueError
            When labels do not fit the rows, or one has none.
        """
        given = np.asarray(labels)
        if given.shape != self.groups.shape or given.dtype.kind not in "iu" or given.max(initial=-1) < 0:
            raise ValueError(
                f"got labels of shape {list(given.shape)} and dtype {given.dtype} for {len(self.groups)} rows; "
                "wanted a whole number for each, from 0."
            )
        means, counts = self.passes.means(given, int(given.max()) + 1, self.groups, self.offsets)
        if not counts.all():
            raise ValueError(
                f"got no used row for the label {int(np.argmin(counts))}; wanted one for each label from 0 to {len(counts) - 1}: "
                "number them without gaps."
            )
        return means

    def __repr__(self) -> str:
        return f"Large{self.prepared!r}"


def prepare_large(
    cloud: LargeRows,
    n_components: Components,
    *,
    within: Column | None = None,
    whiten: bool = False,
    landmarks: int | None = 300,
    sample_rows: int = 10_000,
    max_components: int = 50,
    max_norm_ratio: float | None = 3.0,
    memory: int = MEMORY,
    seed: int = 0,
    progress: Progress = True,
) -> LargePrepared:
    """Prepare rows that do not fit in memory, in passes over their chunks: norms, (groups' means,) moments, scores.

    Mean and components are those of all rows: equal to `Preparation`'s of the rows in memory, up to rounding. What
    methods see is a sample of the rows on these components, since their null distributions have to be drawn, and go
    through the same k-means, hundreds of times. Each pass is plain dask: threads of this process, or the user's cluster
    where a ``dask.distributed.Client`` is there.

    Parameters
    ----------
    cloud : Cloud, dask or xarray array ``[row, feature]``, or array
        The rows; a cloud in a folder and a dask array are read chunk by chunk.
    n_components : int, float or "parallel"
        As for `Preparation`. Parallel analysis is done with the distribution that clouds of flipped signs have for many
        rows: features' variances as they are, covariances normal and uncorrelated.
    within, whiten, max_norm_ratio, seed
        As for `prepare`.
    landmarks : int or None
        How many means of k-means clusters stand for the rows of the sample; None for none.
    sample_rows : int
        Rows of the sample, drawn at random; fewer where features are so many that they would take a quarter of `memory`.
    max_components : int
        The most that a share of the variance or parallel analysis may take; what was done says where that cut.
    memory : int
        Bytes that passes, scores and sample may take, beside the libraries and the table.
    progress : bool or callable
        Whether to show a bar for each pass; or what is called with the pass's name, the rows done and all rows.

    Raises
    ------
    ValueError, LookupError
        As `prepare`; when scores, groups or chunks do not fit `memory`.
    KeyboardInterrupt
        When a pass is interrupted: with how far it was. Nothing is written in any pass.
    """
    rows, source = _lazily(cloud)
    n_rows, width = rows.shape
    wanted = Preparation(n_components, whiten=whiten, landmarks=landmarks, seed=seed)
    # rows as they are and centred, in float64
    n_sample = min(sample_rows, memory // 4 // (16 * width))
    _check(wanted, n_rows, width, n_sample, max_components, memory)
    passes = Passes(rows, memory // 2, progress)
    source = _set_aside(source, passes, max_norm_ratio)
    used = np.flatnonzero(source.kept)
    if len(used) < 2:
        raise ValueError(f"got {len(used)} usable row; wanted at least 2: collect more rows, or raise max_norm_ratio.")
    _check(wanted, len(used), width, n_sample, max_components, memory)
    groups, means = _groups(source, passes, within, memory)
    moments = passes.moments(groups, means)
    if means is None:
        means, centre = np.zeros((1, width)), moments.mean
    else:
        centre = np.bincount(groups[used]) @ means / len(used)
    offsets = means + moments.mean
    fitted, cut = _fitted(wanted, moments, passes, groups, offsets, max_components)
    sample = np.sort(np.random.default_rng(seed).choice(used, min(n_sample, len(used)), replace=False))
    scores, sampled = passes.scores(groups, offsets, fitted, sample)
    of_sample = Checked(
        sampled + offsets[groups[sample]],
        np.ones(len(sample), dtype=np.bool_),
        source.table.iloc[sample].reset_index(drop=True) if len(source.table.columns) else source.table,
        source.site,
        source.model,
        f"{source.provenance}; components of all, in passes over {rows.numblocks[0]} chunks{cut}; "
        f"{len(sample)} rows drawn at random",
    )
    prepared = _of_sample(
        of_sample, sampled, fitted, "" if within is None else within if isinstance(within, str) else "groups"
    )
    return LargePrepared(prepared, sample, scores, source, centre, moments.covariance, passes, groups, offsets)


def nearest_rows(
    cloud: LargeRows | LargePrepared,
    queries: ArrayLike,
    k: int = 15,
    *,
    memory: int = MEMORY,
    progress: Progress = False,
) -> tuple[NDArray[np.int64], Floats]:
    """Find the exact nearest rows of some rows of a cloud, in passes over its chunks.

    Parameters
    ----------
    cloud : Cloud, dask or xarray array ``[row, feature]``, array, or LargePrepared
        The rows. Of what `prepare_large` gave: the used rows in the full space, groups' means subtracted; for the
        neighbours of scores pass the scores.
    queries : array of int, ``[query]``
        Numbers of rows.
    k : int
        How many neighbours.
    memory, progress
        As for `prepare_large`, whose own hold for a `LargePrepared`.

    Returns
    -------
    rows : array of int, ``[query, k]``
        Numbers of the nearest rows, nearest first; a row is not its own neighbour.
    distances : array, ``[query, k]``
        Euclidean, in the units of the rows.

    Raises
    ------
    ValueError
        For a query that is no row in use, or not more rows than neighbours.
    """
    if isinstance(cloud, LargePrepared):
        passes, groups, offsets = cloud.passes, cloud.groups, cloud.offsets
    else:
        rows, _ = _lazily(cloud)
        passes, groups, offsets = Passes(rows, memory // 2, progress), np.zeros(len(rows), dtype=np.int64), None
    asked = np.asarray(queries)
    n_used = int((groups >= 0).sum())
    if asked.ndim != 1 or asked.dtype.kind not in "iu" or not len(asked):
        raise ValueError(
            f"got queries of shape {list(asked.shape)} and dtype {asked.dtype}; wanted at least one row's number."
        )
    if len(wrong := asked[(asked < 0) | (asked >= len(groups))]) or len(wrong := asked[groups[asked] < 0]):
        raise ValueError(f"got the query {wrong[0]}; wanted a row in use, 0 to {len(groups) - 1} and not set aside.")
    if not 1 <= k < n_used:
        raise ValueError(f"got {n_used} rows to find {k} neighbours in; wanted at least 1 neighbour and more rows.")
    own, again = np.unique(asked.astype(np.int64), return_inverse=True)
    found, distances = passes.nearest(passes.pick(own, groups, offsets), own, k, groups, offsets)
    return found[again], distances[again]


def _lazily(cloud: LargeRows) -> tuple[Any, Checked]:
    """Return rows as a dask array, every chunk as wide as they are, and what is known of them before they are read."""
    # dask and xarray take time that only users of large clouds should pay
    import xarray as xr
    from dask.array import Array, from_array

    from nbinterp.clouds import Cloud

    table, site, model = pd.DataFrame(), None, None
    rows: Any = cloud
    # not the protocol: asking it whether there are points would read them all
    if isinstance(cloud, Cloud):
        rows, table, site, model = cloud.lazy().data, cloud.table, cloud.site, cloud.model
    elif isinstance(cloud, xr.DataArray):
        rows = (cloud.chunk() if cloud.chunks is None else cloud).data
    if not isinstance(rows, Array):
        array = np.asanyarray(rows)
        each = max(1, CHUNK_BYTES // max(1, array[:1].nbytes)) if array.ndim else 1
        rows = from_array(array, chunks=(each, *array.shape[1:]), name=False)  # type: ignore[no-untyped-call]
    if rows.ndim == 2 and not np.isfinite(rows.shape).all():
        raise ValueError(
            "got a dask array that does not know the sizes of its chunks; call its compute_chunk_sizes() first."
        )
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"got points of shape {list(rows.shape)}; wanted [row, d_model] with at least one of each.")
    if rows.numblocks[1] > 1:
        rows = rows.rechunk({1: -1})
    provenance = f"{rows.shape[0]} rows of {rows.shape[1]} features" + (f" at {site}" if site else "")
    # rows that are not in memory cannot be there to look at: nothing may be made of them by mistake
    nothing = np.broadcast_to(np.float64(np.nan), rows.shape)
    return rows, Checked(nothing, np.ones(rows.shape[0], dtype=np.bool_), table, site, model, provenance)


def _check(wanted: Preparation, n_rows: int, width: int, n_sample: int, max_components: int, memory: int) -> None:
    """Refuse what cannot be done, before anything is read."""
    if wanted.n_components is None:
        raise ValueError(
            "got n_components=None for rows that are read in passes, whose scores have to fit in memory; "
            f"choose 1 to {min(n_rows, width)}, a share of the variance, or 'parallel'."
        )
    wanted._check(n_rows, width)
    if n_sample < max(3, wanted.landmarks or 0):
        raise ValueError(
            f"got landmarks={wanted.landmarks} for a sample of {n_sample} rows; wanted at least 3 rows, and more than landmarks: "
            "take fewer landmarks, or raise sample_rows or memory."
        )
    k = wanted.n_components if isinstance(wanted.n_components, int) else min(max_components, width)
    if max_components < 1 or 4 * n_rows * k > memory // 2:
        raise ValueError(
            f"got {k} components of {n_rows} rows, {4 * n_rows * k / 2**30:.1f} GiB of scores, for {memory / 2**30:.1f} GiB of memory; "
            f"wanted at least 1 and at most {memory // 2 // (4 * n_rows)} components: choose fewer, or raise memory."
        )


def _set_aside(source: Checked, passes: Passes, max_norm_ratio: float | None) -> Checked:
    """Return the same with rows of a giant norm marked; see `nbinterp.geometry.rows.checked`."""
    norms, finite = passes.norms()
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"got NaN or infinite numbers in {len(bad)} of {len(norms)} rows (the first is row {bad[0]}); wanted finite numbers: "
            "drop those rows, or collect in float32 instead of float16."
        )
    kept, provenance = source.kept, source.provenance
    if max_norm_ratio is not None and source.points.shape[1] >= MIN_FEATURES_FOR_NORMS:
        kept = norms <= max_norm_ratio * np.median(norms)
        if n_aside := int((~kept).sum()):
            provenance += f"; {n_aside} set aside, of norm above {max_norm_ratio:g} × the median"
    return Checked(source.points, kept, source.table, source.site, source.model, provenance)


def _groups(
    source: Checked, passes: Passes, within: Column | None, memory: int
) -> tuple[NDArray[np.int64], Floats | None]:
    """Return the group of each row, −1 where it was set aside, and the groups' means, where there are groups."""
    groups = np.where(source.kept, 0, -1).astype(np.int64)
    if within is None:
        return groups, None
    width = source.points.shape[1]
    codes, names = pd.factorize(source.column(within, "within")[source.kept])
    if 8 * len(names) * width > memory // 4:
        raise ValueError(
            f"got {len(names)} groups in within, whose means take {8 * len(names) * width / 2**30:.1f} GiB; "
            f"wanted at most {memory // 4 // (8 * width)} groups: choose a coarser column, or raise memory."
        )
    groups[source.kept] = codes
    return groups, passes.means(groups, len(names), groups, None, what="means of groups")[0]


def _fitted(
    wanted: Preparation,
    moments: Moments,
    passes: Passes,
    groups: NDArray[np.int64],
    offsets: Floats,
    max_components: int,
) -> tuple[Preparation, str]:
    """Return the preparation that rows of these moments have, without landmarks, and what cut its number of components."""
    covariance, n = moments.covariance, wanted.n_components
    total = float(np.trace(covariance))
    most = n if isinstance(n, int) else min(max_components, len(covariance), moments.count)
    variances, vectors = leading(covariance, most)
    directions = signed(vectors.T)
    keep, cut = most, ""
    if isinstance(n, float):
        # rounding must not ask for a component more
        keep = int(np.searchsorted(variances.cumsum(), n * total * (1 - 1e-12))) + 1
        if keep > most:
            cut = f" ({n:.0%} of the variance takes more than max_components={most}, which hold {variances.sum() / total:.0%})"
    elif n == "parallel":
        spread = np.sqrt(passes.squares(groups, offsets)) / (moments.count - 1)
        null = _flipped(np.diag(covariance), spread, most, np.random.default_rng(wanted.seed))
        keep = max(1, int(np.argmin(np.append(variances > null, False))))
        if keep == most < len(covariance):
            cut = f" (of which max_components={most} stand out, and perhaps more)"
    fitted = Preparation(most if cut else n, whiten=wanted.whiten, landmarks=wanted.landmarks, seed=wanted.seed)
    keep = min(keep, most)
    fitted.n_features_in_ = len(covariance)
    # offsets have the mean in them, as the rows of `Prepared` have lost theirs
    fitted.mean_ = np.zeros(len(covariance))
    fitted.components_, fitted.explained_variance_ = directions[:keep], variances[:keep]
    fitted.explained_variance_ratio_ = variances[:keep] / total if total > 0 else np.zeros(keep)
    fitted.n_components_ = fitted._n_features_out = keep
    return fitted, cut


def _of_sample(source: Checked, rows: Floats, fitted: Preparation, within: str) -> Prepared:
    """Return a sample of rows, ``[row sampled, feature]`` centred, on components that are there already."""
    scores = fitted.transform(rows)
    fitted._set_landmarks(scores)
    points, point_of_row = fitted.seen(scores)
    provenance = _provenance(source, within, fitted, len(rows), len(points))
    return Prepared(
        points, point_of_row, rows, scores, source, fitted, deduplicate=True, within=within, provenance=provenance
    )


def _flipped(variances: Floats, spread: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Return the k largest variances that any of several clouds of flipped signs have, ``[k]``.

    Flipping signs at random leaves each feature's variance as it is. The covariances become sums of independent terms:
    normal for many rows, of mean zero, uncorrelated, and of the standard deviations ``spread [feature, feature]``.
    """
    largest = np.zeros(k)
    for _ in range(PARALLEL_DRAWS):
        above = np.triu(rng.normal(size=spread.shape) * spread, 1)
        flipped = above + above.T + np.diag(variances)
        found = eigh(flipped, eigvals_only=True, subset_by_index=[len(spread) - k, len(spread) - 1])
        largest = np.maximum(largest, found[::-1])
    return largest
