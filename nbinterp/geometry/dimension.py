"""How many dimensions has a cloud, seen from near its points? An estimate, its interval and its scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from scipy.stats import chi2, t
from sklearn.neighbors import NearestNeighbors

from nbinterp.geometry.preparation import Prepared, prepare
from nbinterp.geometry.rows import is_cloud
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.preparation import Components
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

DimensionMethod = Literal["twonn", "mle", "lpca"]

MIN_POINTS = 50
"""With fewer points no dimension is estimated."""

FEW_FEATURES = 8
"""Rows of so many features or fewer are not projected, unless a number of components is asked for."""

DISCARDED = 0.1
"""Share of the largest distance ratios that TwoNN counts as "at least so large" only."""

DEPENDENCE = 1.7
"""How many times the variance of independent ratios TwoNN's has, since neighbours share their neighbours: measured
1.2 to 1.7 on flat tori of 1 to 8 dimensions."""

SPLITS = 10
"""Random splits into halves, which give the other methods their intervals."""

MAX_QUERIES = 100
"""Points round which local PCA looks."""

MAX_RAW = 2000
"""Rows before projection that are looked at."""

_NEIGHBOURS = {"twonn": 2, "mle": 10, "lpca": 30}
_NAMES = {"twonn": "TwoNN", "mle": "maximum likelihood", "lpca": "local PCA"}


@dataclass(frozen=True, eq=False)
class IntrinsicDimension(Told):
    """The number of dimensions that a cloud has, seen at the distance of its nearest neighbours.

    Parameters
    ----------
    method : {"twonn", "mle", "lpca"}
        How it was estimated.
    estimate : float
        Dimensions of the projected rows.
    interval : (float, float)
        95 % interval. It holds sampling errors only: neither curvature, nor edges, nor noise.
    scale : float
        Median distance to the farthest neighbour that was used, in the units of the activations. Noise that is
        larger than this counts as dimensions.
    n_points, n_neighbors : int
        Different points, and neighbours of each that were used.
    n_components : int
        Dimensions after projection, which the estimate cannot pass.
    raw : float
        What the same method says before projection; NaN where nothing was projected.
    scales : DataFrame
        What `frame` gives.
    notes : tuple of str
        What to bear in mind, one sentence each.
    site : Site or None
        Where the rows come from.
    provenance : str
        What was done, for people to read.
    """

    method: DimensionMethod
    estimate: float
    interval: tuple[float, float]
    scale: float
    n_points: int
    n_neighbors: int
    n_components: int
    raw: float
    scales: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...]
    site: Site | None
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line a scale: ``rows`` ("projected" or "raw"), ``n_points``, ``scale``, ``estimate``, ``low``, ``high``.

        Fewer points stand farther apart: the lines with a half, a quarter and an eighth of them are means over disjoint
        parts, and say whether the estimate holds at larger distances.
        """
        return self.scales.copy()

    def chart(self) -> alt.LayerChart:
        """Return a chart of the dimension against the scale."""
        from nbinterp.charts.probes import dimension_chart

        return dimension_chart(self.scales, title=f"Intrinsic dimension by {_NAMES[self.method]}")

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        low, high = self.interval
        return "\n".join(
            [
                f"IntrinsicDimension{where}: {self.estimate:.2f} (95 % interval {low:.2f} to {high:.2f}), by {_NAMES[self.method]}",
                *(f"  {text}" for text in (*self.notes, self.provenance)),
            ]
        )


def intrinsic_dimension(
    cloud: Rows | Prepared,
    method: DimensionMethod = "twonn",
    *,
    n_components: Components = "parallel",
    within: Column | None = None,
    n_neighbors: int | None = None,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> IntrinsicDimension:
    """Estimate the intrinsic dimension of rows, projected first.

    Before projection the number is meaningless: in hundreds of features even small noise is farther away than the
    next point of the shape, and a circle seems to have as many dimensions as the noise lets it (72 in a cloud of
    576 features). `raw` gives that number beside the estimate, so that nobody has to take our word for it.

    Parameters
    ----------
    cloud : Cloud or array ``[row, n_features]``, or Prepared
        The rows. Landmarks of a Prepared are not used: means of clusters lie more evenly than rows do.
    method : {"twonn", "mle", "lpca"}
        From the ratio of the distances to the second and the first neighbour (TwoNN); from those to more neighbours
        (maximum likelihood); or the number of variances above 5 % of the largest among the neighbours (local PCA).
    n_components : int, float, "parallel" or None
        As for `prepare`. Rows of 8 features or fewer are taken as they are when this is "parallel".
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first.
    n_neighbors : int, optional
        Neighbours of each point: 10 for "mle", 30 for "lpca"; always 2 for "twonn".
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the random parts.

    Raises
    ------
    ValueError
        For fewer than 50 different points, or neighbours that do not fit.

    Notes
    -----
    TwoNN: Facco, d'Errico, Rodriguez & Laio 2017 (doi 10.1038/s41598-017-11873-y): the ratio follows a Pareto law whose
    exponent is the dimension. The largest tenth counts as censored; then 2 d Σ log μ is χ² distributed, which gives the
    interval, widened because neighbours share neighbours. Edges lower every estimate: with 1,000 points in balls of 3, 5
    and 8 dimensions TwoNN says 2.89, 4.76 and 7.30 on average. The others' intervals come from halves drawn without
    replacement (the jackknife that deletes half, Shao & Wu 1989): a bootstrap draws rows twice, at distance zero.
    Local PCA needs many points: where 30 neighbours reach round a bend it counts the bend (3.2 for a flat torus of 300
    points), and its interval does not know.
    Maximum likelihood: Levina & Bickel 2004, averaged as MacKay & Ghahramani 2005 do. All through scikit-dimension.
    """
    if method not in get_args(DimensionMethod):
        raise ValueError(f"got method={method!r}; choose from {', '.join(get_args(DimensionMethod))}.")
    k = _NEIGHBOURS[method] if n_neighbors is None else n_neighbors
    if method == "twonn" and k != 2:
        raise ValueError(f"got n_neighbors={k} with method='twonn', which uses 2: leave it out, or choose 'mle'.")
    prepared = projected(cloud, n_components, within=within, max_norm_ratio=max_norm_ratio, seed=seed)
    points = _distinct(prepared.scores)
    n, width = points.shape
    if n < MIN_POINTS:
        raise ValueError(f"got {n} different points; wanted at least {MIN_POINTS} for a dimension: collect more rows.")
    if not 2 <= k <= n // 4:
        raise ValueError(
            f"got n_neighbors={k} for {n} points; wanted 2 to {n // 4}, so that half the points still have them."
        )
    rng = np.random.default_rng(seed)
    estimate, scale = _estimate(points, method, k, rng)
    interval = _interval(points, method, k, estimate, rng)
    lines = [("projected", n, scale, estimate, *interval)]
    for parts in (2, 4, 8):
        if n // parts >= max(MIN_POINTS, 4 * k):
            found = [_estimate(part, method, k, rng) for part in np.array_split(rng.permutation(points), parts)]
            d, distance = np.mean(found, axis=0)
            # all points take part, so that the relative error is that of the whole
            lines.append(("projected", n // parts, distance, d, d * interval[0] / estimate, d * interval[1] / estimate))
    raw = float("nan")
    if prepared.rows.shape[1] > width:
        rows = _distinct(prepared.rows[np.sort(rng.permutation(len(prepared.rows))[:MAX_RAW])])
        raw, distance = _estimate(rows, method, k, rng)
        lines.append(("raw", len(rows), distance, raw, np.nan, np.nan))
    scales = pd.DataFrame(lines, columns=["rows", "n_points", "scale", "estimate", "low", "high"])
    return IntrinsicDimension(
        method=method,
        estimate=estimate,
        interval=interval,
        scale=scale,
        n_points=n,
        n_neighbors=k,
        n_components=width,
        raw=raw,
        scales=scales,
        notes=_notes(scales, width, prepared.rows.shape[1]),
        site=prepared.site,
        provenance=prepared.provenance,
    )


def projected(
    cloud: Rows | Prepared,
    n_components: Components,
    *,
    within: Column | None = None,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Prepared:
    """Prepare rows as `prepare` does, but leave few features as they are where parallel analysis is asked for.

    Parallel analysis asks which features go together. In the three of a sphere none do, and it would keep one.
    """
    if n_components == "parallel" and not isinstance(cloud, Prepared):
        shape = cloud.points.shape if is_cloud(cloud) else np.asarray(cloud).shape
        if len(shape) == 2 and shape[1] <= FEW_FEATURES:
            n_components = None
    return prepare(cloud, n_components, within=within, max_norm_ratio=max_norm_ratio, seed=seed)


def _notes(scales: pd.DataFrame, width: int, n_features: int) -> tuple[str, ...]:
    seen = scales[scales["rows"] == "projected"]
    n, scale, estimate = (seen[name].iloc[0] for name in ("n_points", "scale", "estimate"))
    notes = [f"seen at a distance of {scale:.3g}, the median to the farthest neighbour used"]
    if len(seen) > 1:
        others = ", ".join(f"{line.estimate:.2f} at {line.scale:.3g}" for line in seen.iloc[1:].itertuples())
        notes.append(f"with fewer points, so from farther away: {others}")
    if width < n_features and estimate > 0.85 * width:
        notes.append(f"the projection keeps {width}, so that the estimate may be its and not the cloud's: keep more")
    if n < 10 ** (estimate / 2):
        notes.append(
            f"{n} points can show about {2 * np.log10(n):.0f} dimensions at most (Eckmann & Ruelle 1992): take it as a lower bound"
        )
    if len(raw := scales[scales["rows"] == "raw"]):
        notes.append(
            f"before projection the same method says {raw['estimate'].iloc[0]:.1f}, which means nothing: in {n_features} features "
            "the noise is farther away than the next point of any shape"
        )
    return tuple(f"{note}." for note in notes)


def _estimate(points: Floats, method: DimensionMethod, k: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the dimension of ``points [point, feature]`` and the median distance to the last of k neighbours."""
    # numba, which this imports, takes seconds that only its users should pay
    from skdim.id import MLE, TwoNN, lPCA

    if points.shape[1] == 1:
        # the library wants two features
        points = np.column_stack([points, np.zeros(len(points))])
    distances, neighbours = _neighbours(points, k)
    if method == "twonn":
        estimator = TwoNN(discard_fraction=DISCARDED, dist=True, method="mle").fit(distances)
        dimension = float(estimator.dimension_)
    elif method == "mle":
        estimator = MLE().fit(points, precomputed_knn_arrays=(distances, neighbours), n_neighbors=k, comb="mle")
        dimension = float(estimator.dimension_)
    else:
        asked = rng.permutation(len(points))[:MAX_QUERIES]
        with np.errstate(divide="ignore", invalid="ignore"):
            estimator = lPCA(ver="FO").fit_pw(points, precomputed_knn=neighbours[asked], n_neighbors=k)
        dimension = float(np.mean(estimator.dimension_pw_))
    return dimension, float(np.median(distances[:, -1]))


def _distinct(rows: Floats) -> Floats:
    """Return different rows, of twins that differ by rounding one."""
    size = float(np.abs(rows).max()) or 1.0
    return rows[np.sort(np.unique(np.round(rows / size, 10), axis=0, return_index=True)[1])]


def _neighbours(points: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    return NearestNeighbors(n_neighbors=k).fit(points).kneighbors()  # type: ignore[no-any-return]


def _interval(
    points: Floats, method: DimensionMethod, k: int, estimate: float, rng: np.random.Generator
) -> tuple[float, float]:
    if method == "twonn":
        freedom = 2 * (1 - DISCARDED) * len(points) / DEPENDENCE
        low, high = (float(estimate * chi2.ppf(share, freedom) / freedom) for share in (0.025, 0.975))
        return low, high
    halves = [
        np.log(_estimate(half, method, k, rng)[0])
        for _ in range(SPLITS)
        for half in np.array_split(rng.permutation(points), 2)
    ]
    # deleting half the points, the spread of the estimates is the error of the whole
    factor = float(np.exp(t.ppf(0.975, SPLITS) * np.std(halves)))
    return estimate / factor, estimate * factor
