"""What stands between rows and a method: centring, principal components, whitening, landmarks, duplicates merged."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.utils.validation import check_is_fitted, validate_data

from nbinterp.geometry.principal import n_outstanding, principal
from nbinterp.geometry.rows import Checked, Column, Rows, centre_within, checked
from nbinterp.geometry.threads import one_thread
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

LandmarkMethod = Literal["k-means", "farthest", "random"]
Components = int | float | Literal["parallel"] | None

MANY = 20_000
"""More rows than this go through k-means in small batches."""


class Preparation(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Project rows onto principal components and, where asked, stand landmarks in for them.

    The front end decides more than the engine: in raw activations a circle whose noise, over all features, has three
    times its radius is invisible to homology; projected first, and with k-means landmarks, it is found at six times.

    Parameters
    ----------
    n_components : int, float, "parallel" or None
        How many principal components to keep: so many; as few as hold that share of the variance (between 0 and 1);
        as many as stand out from clouds with every number's sign flipped at random, in which no features go together
        (parallel analysis, Horn 1965, in the form of Hong, Sheng and Dobriban 2020, arXiv 2012.02985); or None for no
        projection.
    whiten : bool
        Whether to give every component variance 1.
    landmarks : int or None
        How many landmarks stand for the rows; None for the rows themselves.
    landmark_method : {"k-means", "farthest", "random"}
        Means of k-means clusters, which average noise away; rows each as far as possible from those before (maxmin),
        which cover the cloud and so collect its outliers; or rows drawn at random.
    seed : int
        Of parallel analysis and of the landmarks.

    Attributes
    ----------
    mean_ : array, ``[n_features]``
        The rows' mean.
    components_ : array, ``[n_components_, n_features]``
        Orthonormal directions of largest variance; the identity without projection.
    explained_variance_ : array, ``[n_components_]``
        Variance along them (with n − 1), in squared units of the rows.
    explained_variance_ratio_ : array, ``[n_components_]``
        The same as a share of the rows' variance.
    n_components_ : int
        How many are kept.
    landmarks_ : array, ``[landmark, n_components_]`` or None
        The landmarks, in the units of `transform`.
    labels_ : array, ``[row]`` or None
        The nearest landmark of each row that it was fitted to.
    landmark_error_ : float
        Hausdorff distance between rows and landmarks, in the units of `transform`; 0 without landmarks. Births and deaths
        of Vietoris-Rips homology are off by at most twice as much (Chazal, de Silva, Oudot 2014, theorem 5.2).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> plane = 3 * rng.normal(size=(200, 2)) @ rng.normal(size=(2, 30))
    >>> Preparation("parallel").fit(plane + rng.normal(size=(200, 30))).n_components_
    2
    """

    def __init__(
        self,
        n_components: Components = None,
        *,
        whiten: bool = False,
        landmarks: int | None = None,
        landmark_method: LandmarkMethod = "k-means",
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.landmarks = landmarks
        self.landmark_method = landmark_method
        self.seed = seed

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit to rows ``X [row, n_features]``.

        Raises
        ------
        ValueError
            For more components or landmarks than the rows have, or a share of variance that is none.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: ArrayLike, y: object = None) -> Floats:
        """Fit to rows ``X [row, n_features]`` and return their scores ``[row, n_components_]``; see `fit`."""
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self._check(*rows.shape)
        self.mean_ = rows.mean(axis=0)
        centred = rows - self.mean_
        total = float(np.einsum("ij,ij->", centred, centred)) / (len(rows) - 1)
        variances, directions = self._directions(centred, total)
        self.components_, self.explained_variance_ = directions, variances
        self.explained_variance_ratio_ = variances / total if total > 0 else np.zeros(len(variances))
        self.n_components_ = self._n_features_out = len(directions)
        scores = self._scores(centred)
        self._set_landmarks(scores)
        return scores

    def transform(self, X: ArrayLike) -> Floats:
        """Return scores of rows ``X [row, n_features]`` on the components: ``[row, n_components_]``."""
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=np.float64, reset=False) - self.mean_)

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Return the rows ``[row, n_features]`` that have the scores ``X [row, n_components_]`` and nothing beside."""
        check_is_fitted(self)
        scores = np.asarray(X, dtype=np.float64)
        rows: Floats = (scores * self._scale() if self.whiten else scores) @ self.components_ + self.mean_
        return rows

    def points(self, X: ArrayLike, *, deduplicate: bool = True) -> tuple[Floats, NDArray[np.int64]]:
        """Fit a copy to rows and return what a method is to see of them.

        Parameters
        ----------
        X : array, ``[row, n_features]``
            The rows.
        deduplicate : bool
            Whether equal points count once.

        Returns
        -------
        points : array, ``[point, n_components_]``
        point_of_row : array of int, ``[row]``
        """
        fitted: Preparation = clone(self)
        return fitted.seen(fitted.fit_transform(X), deduplicate=deduplicate)

    def seen(self, scores: Floats, *, deduplicate: bool = True) -> tuple[Floats, NDArray[np.int64]]:
        """As `points`, of the scores ``[row, n_components_]`` of the rows that this was fitted to."""
        points: Floats = scores if self.landmarks_ is None else self.landmarks_
        of_row: NDArray[np.int64] = np.arange(len(scores)) if self.labels_ is None else self.labels_
        if deduplicate:
            points, of_point = distinct(points)
            of_row = of_point[of_row]
        return points, of_row

    def landmarks_of(self, scores: Floats) -> Floats:
        """Return landmarks ``[landmark, n_components_]`` of any scores ``[row, n_components_]``, chosen in the same way."""
        if self.landmarks is None:
            raise ValueError("got landmarks=None, so that rows stand for themselves; set landmarks first.")
        if self.landmark_method == "k-means":
            make = KMeans if len(scores) <= MANY else MiniBatchKMeans
            with one_thread:
                made: Floats = make(self.landmarks, n_init=1, random_state=self.seed).fit(scores).cluster_centers_
            return made
        rng = np.random.default_rng(self.seed)
        if self.landmark_method == "random":
            return scores[rng.choice(len(scores), self.landmarks, replace=False)]
        return scores[_farthest(scores, self.landmarks, int(rng.integers(len(scores))))]

    def narrowed(self, n_components: int, landmarks: int | None, scores: Floats) -> Preparation:
        """Return this fitted to the same rows, of which it has the scores ``[row, n_components_]``, with fewer components."""
        check_is_fitted(self)
        if not 1 <= n_components <= self.n_components_:
            raise ValueError(
                f"got n_components={n_components} of {self.n_components_} that are here; choose 1 to {self.n_components_}."
            )
        narrowed: Preparation = copy.copy(self).set_params(n_components=n_components, landmarks=landmarks)
        narrowed._check(len(scores), self.n_features_in_)
        for name in ("components_", "explained_variance_", "explained_variance_ratio_"):
            setattr(narrowed, name, getattr(self, name)[:n_components])
        narrowed.n_components_ = narrowed._n_features_out = n_components
        narrowed._set_landmarks(scores[:, :n_components])
        return narrowed

    def _check(self, n_rows: int, n_features: int) -> None:
        n, most = self.n_components, min(n_rows, n_features)
        if isinstance(n, str):
            right = n == "parallel"
        else:
            right = n is None or (0 < n < 1 if isinstance(n, float) else 1 <= n <= most)
        if not right:
            raise ValueError(
                f"got n_components={n!r} for {n_rows} rows of {n_features} features; choose 1 to {most}, "
                "a share of the variance between 0 and 1, 'parallel', or None."
            )
        if self.landmarks is not None and not 3 <= self.landmarks <= n_rows:
            raise ValueError(
                f"got landmarks={self.landmarks} for {n_rows} rows; wanted at least 3 and at most as many as rows."
            )
        if self.landmark_method not in get_args(LandmarkMethod):
            raise ValueError(
                f"got landmark_method={self.landmark_method!r}; choose from {', '.join(get_args(LandmarkMethod))}."
            )

    def _directions(self, centred: Floats, total: float) -> tuple[Floats, Floats]:
        """Return variances and orthonormal directions, the largest first."""
        n_rows, n_features = centred.shape
        if self.n_components is None:
            if not self.whiten:
                return np.einsum("ij,ij->j", centred, centred) / (n_rows - 1), np.eye(n_features)
            wanted = min(n_rows - 1, n_features)
        elif isinstance(self.n_components, int):
            wanted = self.n_components
        else:
            wanted = min(n_rows, n_features)
        variances, directions = principal(centred, wanted)
        if self.n_components == "parallel":
            keep = max(1, n_outstanding(centred, variances, np.random.default_rng(self.seed)))
        elif isinstance(self.n_components, float):
            # rounding must not ask for a component more
            keep = int(np.searchsorted(variances.cumsum(), self.n_components * total * (1 - 1e-12))) + 1
        else:
            keep = wanted
        return variances[:keep], directions[:keep]

    def _scale(self) -> Floats:
        # a direction without variance stays at zero
        deviations: Floats = np.sqrt(self.explained_variance_)
        return np.where(deviations > 1e-12 * deviations.max(initial=0.0), deviations, 1.0)

    def _scores(self, centred: Floats) -> Floats:
        scores: Floats = centred if self.n_components is None and not self.whiten else centred @ self.components_.T
        return scores / self._scale() if self.whiten else scores

    def _set_landmarks(self, scores: Floats) -> None:
        self.landmarks_ = self.labels_ = None
        self.landmark_error_ = 0.0
        if self.landmarks is None:
            return
        with one_thread:
            self.landmarks_ = self.landmarks_of(scores)
            self.labels_, distances = pairwise_distances_argmin_min(scores, self.landmarks_)
            back = pairwise_distances_argmin_min(self.landmarks_, scores)[1]
        self.landmark_error_ = float(max(distances.max(), back.max()))

    def __str__(self) -> str:
        """Say what it does; how many components parallel analysis or a share of variance came to, once fitted."""
        n = getattr(self, "n_components_", self.n_components)
        parts = ["all features"]
        if self.n_components is not None:
            parts = ["the first principal component" if n == 1 else f"the first {n} principal components"]
            if self.n_components == "parallel":
                parts[0] += " (by parallel analysis)"
            elif isinstance(self.n_components, float):
                parts[0] += f" ({self.n_components:.0%} of the variance)"
        if self.whiten:
            parts[0] += ", whitened"
        if self.landmarks is not None:
            what = {"k-means": "k-means", "farthest": "farthest-point", "random": "random"}[self.landmark_method]
            parts.append(f"{self.landmarks} {what} landmarks")
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Prepared(Told):
    """Rows as a method is to see them, and how they came to be so.

    Parameters
    ----------
    points : array, ``[point, n_components]``
        What the method sees: rows projected, or landmarks.
    point_of_row : array, ``[row]``
        The point that each row became; −1 where the row was set aside.
    rows : array, ``[row used, n_features]``
        The used rows before projection, groups and mean subtracted: what null distributions are made from.
    scores : array, ``[row used, n_components]``
        The used rows projected.
    source : Checked
        All rows as they were given, with their table, site and model.
    preparation : Preparation
        Fitted to `rows`.
    deduplicate : bool
        Whether equal points count once.
    within : str
        Within what the rows were centred; empty where in nothing.
    provenance : str
        What was done, for people to read.
    """

    points: Floats = field(repr=False)
    point_of_row: NDArray[np.int64] = field(repr=False)
    rows: Floats = field(repr=False)
    scores: Floats = field(repr=False)
    source: Checked = field(repr=False)
    preparation: Preparation = field(repr=False)
    deduplicate: bool
    within: str
    provenance: str

    @property
    def site(self) -> Site | None:
        """Where the rows were read."""
        return self.source.site

    @property
    def model(self) -> ModelInfo | None:
        """The model that they were read from."""
        return self.source.model

    @property
    def table(self) -> pd.DataFrame:
        """The cloud's table, one line for each row, used or not."""
        return self.source.table

    @property
    def landmark_error(self) -> float:
        """Hausdorff distance between the used rows and the points; births and deaths are off by at most twice that."""
        return float(self.preparation.landmark_error_)

    def column(self, column: Column, role: str) -> NDArray[Any]:
        """Return a column's values of the used rows: ``[row used]``; see `Checked.column`."""
        return self.source.column(column, role)[self.source.kept]

    def spread(self, values: ArrayLike) -> Floats:
        """Return values ``[row used, …]`` as ``[row, …]``, NaN where a row was set aside."""
        values = np.asarray(values, dtype=np.float64)
        spread = np.full((len(self.source.kept), *values.shape[1:]), np.nan)
        spread[self.source.kept] = values
        return spread

    def narrowed(self, n_components: int, landmarks: int | None = None) -> Prepared:
        """Return the same rows on fewer principal components, with landmarks of their own: nothing else is computed again.

        ValueError for more components than there are here, and for more landmarks than rows.
        """
        fitted = self.preparation.narrowed(n_components, landmarks, self.scores)
        scores = self.scores[:, :n_components]
        points, of_used = fitted.seen(scores, deduplicate=self.deduplicate)
        point_of_row = self.point_of_row.copy()
        point_of_row[self.source.kept] = of_used
        provenance = _provenance(self.source, self.within, fitted, len(self.rows), len(points))
        return replace(
            self, points=points, point_of_row=point_of_row, scores=scores, preparation=fitted, provenance=provenance
        )

    def again(self, rows: Floats) -> Floats:
        """Return the points ``[point, n_components]`` that other rows ``[row, n_features]`` become in the same way."""
        return self.preparation.points(rows, deduplicate=self.deduplicate)[0]

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.points.shape))
        return f"Prepared: {shape}\n  {self.provenance}"


def prepare(
    cloud: Rows | Checked | Prepared,
    n_components: Components = None,
    *,
    within: Column | None = None,
    whiten: bool = False,
    landmarks: int | None = None,
    landmark_method: LandmarkMethod = "k-means",
    deduplicate: bool = True,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Prepared:
    """Prepare rows for a method: what is set aside, centred, projected, whitened, and stood for by landmarks.

    Parameters
    ----------
    cloud : Cloud or array ``[row, n_features]``, or Checked, or Prepared
        The rows; of those that are checked already the rows that were kept; what is prepared is returned as it is.
    n_components, whiten, landmarks, landmark_method, seed
        As for `Preparation`.
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first, e.g. ``"template"``.
    deduplicate : bool
        Whether equal points count once.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median; see `checked`.

    Raises
    ------
    ValueError, LookupError
        For rows that are not finite, groups that do not fit, and more components or landmarks than there are rows.
    """
    if isinstance(cloud, Prepared):
        return cloud
    source = cloud if isinstance(cloud, Checked) else checked(cloud, max_norm_ratio=max_norm_ratio)
    rows = source.points if source.kept.all() else source.points[source.kept]
    if within is not None:
        rows = centre_within(rows, source.column(within, "within")[source.kept])
    if len(rows) < 2:
        raise ValueError(f"got {len(rows)} usable row; wanted at least 2: collect more rows, or raise max_norm_ratio.")
    rows = rows - rows.mean(axis=0)
    preparation = Preparation(
        n_components, whiten=whiten, landmarks=landmarks, landmark_method=landmark_method, seed=seed
    )
    scores = preparation.fit_transform(rows)
    points, of_used = preparation.seen(scores, deduplicate=deduplicate)
    point_of_row = np.full(len(source.points), -1, dtype=np.int64)
    point_of_row[source.kept] = of_used
    groups = "" if within is None else within if isinstance(within, str) else "groups"
    provenance = _provenance(source, groups, preparation, len(rows), len(points))
    return Prepared(points, point_of_row, rows, scores, source, preparation, deduplicate, groups, provenance)


def _provenance(source: Checked, within: str, preparation: Preparation, n_rows: int, n_points: int) -> str:
    n_twins = (preparation.landmarks or n_rows) - n_points
    steps = [
        source.provenance,
        f"centred within {within}" if within else "",
        str(preparation),
        f"{n_points} points" + (f" ({n_twins} duplicates counted once)" if n_twins else ""),
    ]
    return "; ".join(filter(None, steps))


def distinct(points: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return ``points [point, feature]`` without repetitions, and which of these each was: ``[point]``.

    They stay in the order of their first rows, so that the same rows make the same points wherever they were read.
    """
    # equal points have equal first coordinates: only those that share one are compared in whole
    _, place, times = np.unique(points[:, 0], return_inverse=True, return_counts=True)
    shared = np.flatnonzero(times[place] > 1)
    first = np.arange(len(points))
    if not len(shared):
        return points, first
    _, chosen, twin = np.unique(points[shared], axis=0, return_index=True, return_inverse=True)
    first[shared] = shared[chosen][twin.reshape(-1)]
    kept, of_point = np.unique(first, return_inverse=True)
    return points[kept], of_point


def _farthest(points: Floats, k: int, first: int) -> list[int]:
    """Return the indices of k points, each as far as possible from those before (Gonzalez 1985)."""
    chosen = [first]
    nearest = ((points - points[first]) ** 2).sum(axis=1)
    while len(chosen) < k:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return chosen
