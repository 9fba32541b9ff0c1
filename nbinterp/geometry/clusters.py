"""Clusters of rows: what holds each together, and whether a cloud without any would have given as many."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom
from sklearn.metrics import adjusted_rand_score

from nbinterp.geometry.dimension import projected
from nbinterp.geometry.multiple import enough_draws
from nbinterp.geometry.told import Told
from nbinterp.geometry.validity import (
    MAX_TESTED,
    Tested,
    hdbscan,
    scaled,
    usual_sizes,
    validities_drawn_together,
    validity_of,
)
from nbinterp.spaces import Direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.preparation import Components, Prepared
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

    Integers = NDArray[np.int64]

ClusterVerdict = Literal["clusters", "not stable", "nothing here", "too few points to say"]

MIN_POINTS = 50
"""With fewer points no verdict is given."""

HALVES = 10
"""Random halves, whose clusters say how stable those of the whole are."""

STABLE = 0.75
"""Mean Jaccard similarity from which a cluster counts as stable (Hennig 2007)."""

MAX_VALUES = 300
"""A column of more different values, unless these are numbers, names nothing: it is text. Tokens are an exception."""

FEW_NUMBERS = 12
"""Numbers of more different values are cut at their quartiles."""


@dataclass(frozen=True, eq=False)
class Clusters(Told):
    """Clusters of rows, what their rows have in common, and whether there is anything at all.

    Parameters
    ----------
    labels : array of int, ``[row]``
        The cluster of each row; −1 for noise and for rows that were set aside.
    probabilities : array, ``[row]``
        How firmly each row belongs to it, 0 to 1.
    validity, validity_null : float
        Mean silhouette of the rows, with 0 for noise; and the mean of that in Gaussians of the same covariance.
    p : float
        Share of those (and the cloud itself) that reach `validity`, times `looks`.
    stability : array, ``[cluster]``
        Mean Jaccard similarity of each cluster to the nearest one of a random half of the rows.
    agreement : float
        Mean adjusted Rand index of the labels of random halves with those of the whole.
    names : DataFrame
        Values of the table's columns that a cluster has more often than the cloud: ``cluster``, ``column``, ``value``,
        ``n_in``, ``n_cluster``, ``n_all``, ``share``, ``share_all``, ``p``, ``q`` (Benjamini & Hochberg over all of them);
        those of q ≤ 0.05, the surest first.
    typical : DataFrame
        The rows nearest to the middle of each cluster: ``cluster``, ``row``, and the table's ``token`` and ``text``.
    n_null, min_cluster_size, min_samples, looks : int
        As asked for or chosen.
    alpha : float
        Level of the test.
    verdict : {"clusters", "not stable", "nothing here", "too few points to say"}
        "clusters" when p ≤ `alpha` and two or more of them are stable; "not stable" when p alone says that the cloud is
        not one hump; "nothing here" when it does not.
    reasons : tuple of str
        One sentence for each finding.
    prepared : Prepared
        What was clustered.
    provenance : str
        What was done, for people to read.
    """

    labels: Integers = field(repr=False)
    probabilities: Floats = field(repr=False)
    validity: float
    validity_null: float
    p: float
    stability: Floats = field(repr=False)
    agreement: float
    names: pd.DataFrame = field(repr=False)
    typical: pd.DataFrame = field(repr=False)
    n_null: int
    min_cluster_size: int
    min_samples: int
    looks: int
    alpha: float
    verdict: ClusterVerdict
    reasons: tuple[str, ...]
    prepared: Prepared = field(repr=False)
    provenance: str

    @property
    def n_clusters(self) -> int:
        """How many clusters HDBSCAN drew, whether or not they are more than chance."""
        return int(self.labels.max()) + 1

    @property
    def site(self) -> Site | None:
        """Where the rows were read."""
        return self.prepared.site

    def name(self, cluster: int) -> str:
        """Say what the rows of a cluster have in common, in a few words."""
        return named(self.names, cluster, f"cluster {cluster}")

    def frame(self) -> pd.DataFrame:
        """Return one line a row: ``row``, ``cluster``, ``name``, ``probability``, ``pc1``, ``pc2``, and the table beside.

        Coordinates are those of the first two components that were clustered, in the units of the activations.
        """
        scores = self.prepared.spread(self.prepared.scores)
        names = {cluster: self.name(cluster) for cluster in range(self.n_clusters)} | {-1: "noise"}
        frame = pd.DataFrame(
            {
                "row": np.arange(len(self.labels)),
                "cluster": self.labels,
                "name": [names[int(label)] for label in self.labels],
                "probability": self.probabilities,
                "pc1": scores[:, 0],
                "pc2": scores[:, 1] if scores.shape[1] > 1 else np.where(np.isnan(scores[:, 0]), np.nan, 0.0),
            }
        )
        table = self.prepared.table.reset_index(drop=True)
        return frame.join(table[[column for column in table.columns if column not in frame.columns]])

    def summary(self) -> pd.DataFrame:
        """Return one line a cluster: ``cluster``, ``name``, ``n_rows``, ``stability``, ``stable``."""
        clusters = np.arange(self.n_clusters)
        return pd.DataFrame(
            {
                "cluster": clusters,
                "name": [self.name(int(cluster)) for cluster in clusters],
                "n_rows": [int((self.labels == cluster).sum()) for cluster in clusters],
                "stability": self.stability,
                "stable": self.stability >= STABLE,
            }
        )

    def chart(self) -> alt.LayerChart:
        """Return the rows in the plane of the first two components, coloured by cluster."""
        from nbinterp.charts.clusters import clusters_chart

        return clusters_chart(
            self.frame(), title=f"{self.n_clusters} clusters: {self.verdict}", subtitle=self.reasons[0]
        )

    def difference(self, a: int, b: int) -> Direction:
        """Return the direction from the mean of cluster `b` to the mean of cluster `a`, in the units of the activations.

        ValueError for a cluster that is not there; −1 is the noise.
        """
        means = []
        used = self.labels[self.prepared.source.kept]
        for cluster in (a, b):
            if not (used == cluster).any():
                raise ValueError(
                    f"got cluster {cluster}, which has no rows; choose from −1 (noise) to {self.n_clusters - 1}."
                )
            means.append(self.prepared.rows[used == cluster].mean(axis=0))
        return Direction(self.prepared.site, self.prepared.model, means[0] - means[1])

    def __repr__(self) -> str:
        where = f" at {self.site}" if self.site else ""
        lines = [f"Clusters{where}: {self.verdict}", *(f"  {text}" for text in self.reasons)]
        if self.verdict == "clusters":
            lines += [
                f"  {line.cluster}: {line.n_rows} rows, stability {line.stability:.2f}: {line.name}"
                for line in self.summary().itertuples()
            ]
        return "\n".join([*lines, f"  {self.provenance}"])


def clusters(
    cloud: Rows | Prepared,
    *,
    min_cluster_size: int | None = None,
    min_samples: int | None = None,
    n_components: Components = "parallel",
    within: Column | None = None,
    n_null: int = 99,
    alpha: float = 0.01,
    looks: int = 1,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> Clusters:
    """Cluster rows by HDBSCAN, test whether that is more than chance, and name the clusters by what their rows share.

    Parameters
    ----------
    cloud : Cloud or array ``[row, n_features]``, or Prepared
        The rows; of a Prepared with landmarks these are clustered, and rows follow their landmark.
    min_cluster_size : int, optional
        Fewest points of a cluster; by default a fiftieth of them, at least 5.
    min_samples : int, optional
        Neighbours that make a point dense; by default `min_cluster_size`, at most 10.
    n_components : int, float, "parallel" or None
        As for `prepare`. Rows of 8 features or fewer are taken as they are when this is "parallel".
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first.
    n_null : int
        Null draws; the smallest p is 1 / (n_null + 1).
    alpha : float
        Level of the test.
    looks : int
        How many sites or settings you looked at to find this one; p is multiplied by it (Bonferroni).
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median.
    seed : int
        Of the draws and halves.

    Raises
    ------
    ValueError
        For rows that do not differ, sizes that do not fit, or so few draws that they cannot reach `alpha`.

    Notes
    -----
    HDBSCAN: Campello, Moulavi & Sander 2013, scikit-learn's. It always answers; a Gaussian often gives it two or three
    clusters. So its answer is compared with Gaussians of the same covariance by the mean silhouette, in which noise
    counts 0. A Gaussian is one hump; a ring is none and yet has no clusters. So p speaks against a single hump, and
    the stability of each cluster for the cluster. Names: hypergeometric tests of each value of each column.
    """
    enough_draws(n_null, alpha, looks)
    prepared = projected(cloud, n_components, within=within, max_norm_ratio=max_norm_ratio, seed=seed)
    sizes = usual_sizes(len(prepared.points), min_cluster_size, min_samples)
    tested = validity_of(prepared.points, *sizes, seed)
    null = [validity for (validity,) in islice(validities_drawn_together([tested], seed), n_null)]
    return _clustered(prepared, sizes, tested, null, alpha, looks, seed)


def clusters_of_drawn(
    prepared: Prepared, tested: Tested, drawn: Sequence[float], *, alpha: float, seed: int
) -> Clusters:
    """Cluster as `clusters` does, with its usual sizes, against the validities ``[draw]`` of clouds that are drawn already."""
    enough_draws(len(drawn), alpha, 1)
    return _clustered(prepared, usual_sizes(len(prepared.points)), tested, drawn, alpha, 1, seed)


def _clustered(
    prepared: Prepared,
    sizes: tuple[int, int],
    tested: Tested,
    drawn: Sequence[float],
    alpha: float,
    looks: int,
    seed: int,
) -> Clusters:
    points, (size, samples), n_null = prepared.points, sizes, len(drawn)
    n = len(points)
    of_point, sureness = hdbscan(points, size, samples)
    used = prepared.point_of_row >= 0
    labels = np.where(used, of_point[prepared.point_of_row], -1)
    probabilities = np.where(used, sureness[prepared.point_of_row], 0.0)
    validity, null = tested.validity, np.array(drawn)
    p = min(1.0, looks * (1 + int((null >= validity).sum())) / (n_null + 1))
    stability, agreement = _stability(points, of_point, size, samples, np.random.default_rng(seed))
    count = int(of_point.max()) + 1
    enough = n >= MIN_POINTS
    verdict: ClusterVerdict = (
        "too few points to say"
        if not enough
        else "nothing here"
        if count < 2 or p > alpha
        else "clusters"
        if (stability >= STABLE).sum() > 1
        else "not stable"
    )
    names = over_represented(prepared.table, [np.flatnonzero(labels == cluster) for cluster in range(count)], used)
    times = f", times {looks} looks" if looks > 1 else ""
    reasons = [
        f"HDBSCAN draws {count} clusters and leaves {np.mean(labels[used] < 0):.0%} of the rows as noise",
        f"mean silhouette {validity:.2f}, {null.mean():.2f} in Gaussians of the same covariance: p = {p:.2g}{times} against {n_null} of "
        f"them; wanted ≤ {alpha:g}",
        f"halves of the rows agree with the whole to {agreement:.2f} (adjusted Rand index); "
        f"{int((stability >= STABLE).sum())} of {count} clusters are stable (Jaccard similarity ≥ {STABLE})",
    ]
    if not enough:
        reasons.insert(0, f"{n} points; wanted at least {MIN_POINTS}: collect more rows")
    return Clusters(
        labels=labels,
        probabilities=probabilities,
        validity=validity,
        validity_null=float(null.mean()),
        p=float(p),
        stability=stability,
        agreement=agreement,
        names=names,
        typical=_typical(prepared, labels),
        n_null=n_null,
        min_cluster_size=size,
        min_samples=samples,
        looks=looks,
        alpha=alpha,
        verdict=verdict,
        reasons=tuple(f"{reason}." for reason in reasons),
        prepared=prepared,
        provenance=f"{prepared.provenance}; HDBSCAN with at least {size} points a cluster"
        + (f"; null and validity with {MAX_TESTED} points drawn at random" if n > MAX_TESTED else ""),
    )


def over_represented(
    table: pd.DataFrame, members: list[Integers], used: NDArray[np.bool_], *, level: float = 0.05
) -> pd.DataFrame:
    """Return the values of a table's columns that some sets of rows have more often than all rows have.

    Parameters
    ----------
    table : DataFrame, one line a row
        What the rows are. Numbers of many values are cut at their quartiles; texts of many values are left out, but for
        ``token``.
    members : list of arrays of int
        The rows of each set.
    used : array of bool, ``[row]``
        The rows that could be in one.
    level : float
        False-discovery rate (Benjamini & Hochberg) over all values of all columns in all sets.

    Returns
    -------
    DataFrame
        ``cluster`` (the number of the set), ``column``, ``value``, ``n_in``, ``n_cluster``, ``n_all``, ``share``,
        ``share_all``, ``p`` (hypergeometric), ``q``: the surest first.
    """
    lines = []
    total = int(used.sum())
    for column in table.columns:
        values = _nameable(table[column], column)
        if values is None:
            continue
        codes, names = pd.factorize(values)
        counts = np.bincount(codes[used & (codes >= 0)], minlength=len(names))
        for cluster, rows in enumerate(members):
            inside = np.bincount(codes[rows][codes[rows] >= 0], minlength=len(names))
            for i in np.flatnonzero(inside):
                p = hypergeom.sf(inside[i] - 1, total, counts[i], len(rows))
                lines.append((cluster, str(column), names[int(i)], inside[i], len(rows), counts[i], p))
    frame = pd.DataFrame(lines, columns=["cluster", "column", "value", "n_in", "n_cluster", "n_all", "p"])
    frame["share"], frame["share_all"] = frame["n_in"] / frame["n_cluster"], frame["n_all"] / max(total, 1)
    frame["q"] = false_discovery_control(np.clip(frame["p"].to_numpy(dtype=np.float64), 0, 1)) if lines else []
    # one row says nothing of what rows have in common
    frame = frame[(frame["q"] <= level) & (frame["n_in"] > 1)].sort_values(["cluster", "p"], kind="stable")
    order = ["cluster", "column", "value", "n_in", "n_cluster", "n_all", "share", "share_all", "p", "q"]
    return frame[order].reset_index(drop=True)


def named(names: pd.DataFrame, cluster: int, otherwise: str) -> str:
    """Return the surest values of up to three columns as a few words, e.g. ``month=May (12 of 14; 8 % of all)``."""
    mine = names[names["cluster"] == cluster].drop_duplicates("column").head(3)
    if mine.empty:
        return f"{otherwise}: nothing in common that the table knows"
    return ", ".join(
        f"{line.column}={line.value} ({line.n_in} of {line.n_cluster}; {line.share_all:.0%} of all)"
        for line in mine.itertuples()
    )


def _nameable(values: pd.Series[Any], column: object) -> pd.Series[Any] | None:
    different = values.nunique()
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    # nothing can be more frequent where all values are equal, or each is alone
    if different < 2:
        return None
    # the number of a prompt is a name, not a size
    if numeric and different > FEW_NUMBERS and column != "prompt":
        return pd.qcut(values, 4, duplicates="drop").astype(str)
    if different > MAX_VALUES and column != "token":
        return None
    return values


def _stability(
    points: Floats, labels: Integers, size: int, samples: int, rng: np.random.Generator
) -> tuple[Floats, float]:
    """Return for each cluster the mean Jaccard similarity to the nearest cluster of random halves, and the mean Rand index."""
    count, n = int(labels.max()) + 1, len(points)
    similar, agreement = np.zeros((HALVES, count)), np.zeros(HALVES)
    for i in range(HALVES):
        half = rng.permutation(n)[: min(n // 2, MAX_TESTED)]
        share = len(half) / n
        again, _ = hdbscan(points[half], scaled(size, share), scaled(samples, share))
        agreement[i] = adjusted_rand_score(labels[half], again)
        for cluster in range(count):
            mine = labels[half] == cluster
            overlaps = [
                (mine & (again == other)).sum() / (mine | (again == other)).sum() for other in range(again.max() + 1)
            ]
            similar[i, cluster] = max(overlaps, default=0.0)
    return similar.mean(axis=0), float(agreement.mean())


def _typical(prepared: Prepared, labels: Integers, n: int = 5) -> pd.DataFrame:
    rows_used = np.flatnonzero(prepared.source.kept)
    table = prepared.table
    shown = [column for column in ("token", "text") if column in table.columns]
    lines: list[dict[str, Any]] = []
    for cluster in range(int(labels.max()) + 1):
        mine = np.flatnonzero(labels[rows_used] == cluster)
        scores = prepared.scores[mine]
        nearest = np.linalg.norm(scores - np.median(scores, axis=0), axis=1).argsort(kind="stable")[:n]
        lines += [
            {"cluster": cluster, "row": int(row)} | {c: table[c].iloc[row] for c in shown}
            for row in rows_used[mine[nearest]]
        ]
    return pd.DataFrame(lines, columns=["cluster", "row", *shown])
