"""The whole default `explore` of 2,000 rows at one layer against the same questions put to the libraries one by one.

What is asked of both, with the same numbers of landmarks, null clouds, folds and exchanges of labels (those that `explore` took):

- **components**: rows of a giant norm set aside, principal components, how many of them parallel analysis keeps (10 clouds of
  flipped signs). Libraries: scikit-learn's PCA with its defaults, the analysis written by hand.
- **dimension**: TwoNN with its interval. Libraries: scikit-dimension on the kept components. (`explore` also says what it is
  with fewer points and without projection.)
- **loops**: in the plane and in all kept components (10 at most), k-means landmarks, Gaussian null clouds of the same
  covariance through the same landmarks. Libraries: scikit-learn's KMeans and ripser.py, in one process.
- **clusters**: HDBSCAN, the mean silhouette against that of Gaussian clouds, stability in ten halves. Libraries: scikit-learn's,
  with the same sizes and subsample.
- **attribute**: whether a linear or a kernel probe reads it on unseen rows, with exchanges of labels. Libraries: for each fold
  scikit-learn's PCA once, then for each exchange its RidgeClassifierCV, linear and on Nyström features, which are found once a fold
  too. (With a pipeline and `permutation_test_score`, as most would write it, components would be found anew for each exchange.)
- **angles**, where a loop was found: sparse circular coordinates. Libraries: DREiMac's where it is installed; else they do less.

The libraries' side is what someone would write who knows them well; it has no correction over looks, no report and no names for clusters,
which `explore` has. Their pieces are timed one by one and summed, ours is one call. Both sides get a cloud of their own each turn.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import util
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.homology import D_MODEL, LAYER, activations, noisy_circle
from benchmarks.pairs import Row, Setting, alternate, compare
from nbinterp.geometry import (
    circular_coordinates,
    clusters,
    encoding_map,
    explore,
    intrinsic_dimension,
    pca,
    persistence,
    prepare,
    significance,
)
from nbinterp.geometry.clusters import HALVES
from nbinterp.geometry.crossvalidation import KERNEL_LANDMARKS, PENALTIES, WIDTHS
from nbinterp.geometry.principal import PARALLEL_DRAWS
from nbinterp.geometry.report import surest
from nbinterp.geometry.validity import MAX_TESTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from nbinterp.geometry import Clusters, Exploration, Report, Significance

    Floats = NDArray[np.float64]

N_ROWS = 2000
N_FOLDS, N_COMPONENTS = 5, 50
"""Of the probes, as `encoding_map` has them by default."""

STEPS = ("components", "dimension", "loops", "clusters", "attribute", "angles")
ATTRIBUTE = "half"
SHARE = 0.01
"""What the attribute holds of the rows' variance."""


def rows(setting: Setting) -> Iterator[Row]:
    """Real activations, and a circle whose noise, over all features, is half its radius."""
    n = 400 if setting.quick else N_ROWS
    yield _row(f"activations of layer {LAYER}", activations, n, setting)
    yield _row("a noisy circle", _circle, n, setting)


def _circle(n: int, seed: int) -> Floats:
    return noisy_circle(n, seed) + 0.5 / D_MODEL**0.5 * np.random.default_rng(seed).normal(size=(n, D_MODEL))


def labelled(cloud: Floats, seed: int) -> tuple[Floats, NDArray[np.str_]]:
    """Return rows with an attribute of two values laid along a random direction, and its values."""
    rng = np.random.default_rng(seed)
    which = rng.integers(2, size=len(cloud))
    direction = rng.normal(size=cloud.shape[1])
    size = np.sqrt(SHARE * cloud.var(axis=0).sum() / (direction @ direction)) * 2
    return cloud + size * np.outer(which - 0.5, direction), np.array(["low", "high"])[which]


def _row(kind: str, make: Callable[[int, int], Floats], n: int, setting: Setting) -> Row:
    pairs = setting.pairs(3)
    clouds = [labelled(make(n, turn), turn) for turn in range(pairs)]
    # libraries are loaded before anything is timed
    small = clouds[0][0][:100], clouds[0][1][:100]
    libraries(*small, like=_explored(*small))
    # how many null clouds `explore` takes depends on what it sees: both take as many
    reports = [_explored(*cloud) for cloud in clouds]
    theirs: list[Spent] = []
    turns = alternate(
        lambda turn: _explored(*clouds[turn]),
        lambda turn: theirs.append(libraries(*clouds[turn], like=reports[turn])),
        pairs,
        warm=0,
    )
    ours = [own_seconds(*cloud, like=report) for cloud, report in zip(clouds, reports, strict=True)]
    parts = [
        f"{step} {_median(ours, step):.1f} s against {_median(theirs, step):.1f} s"
        for step in STEPS
        if any(step in one.seconds for one in ours)
    ]
    rest = [sum(_median(spent, step) for step in STEPS if step != "attribute") for spent in (ours, theirs)]
    last = reports[0]
    n_null = [found.n_null for found in (*last[""].loops.values(), last[""].clusters) if found is not None]
    return Row(
        f"the whole default explore, {kind}, n = {n}, d = {D_MODEL}, one layer, one attribute",
        "the same steps one by one from scikit-learn, scikit-dimension, ripser.py",
        0.5,
        "time",
        turns,
        compare("longest lifetimes on the same landmarks, by ripser.py", *_lifetimes(last)),
        (
            f"{np.median(turns.ours):.1f} s against {np.median(turns.theirs):.1f} s",
            *parts,
            f"all but the attribute {rest[0] / rest[1]:.2f}",
            f"{', '.join(map(str, n_null))} null clouds for loops in 2 and more components and for clusters",
        ),
    )


def _explored(cloud: Floats, labels: NDArray[np.str_]) -> Report:
    return explore(cloud, {ATTRIBUTE: labels}, progress=False)


def _lifetimes(report: Report) -> tuple[list[float], list[float]]:
    from ripser import ripser

    got, wanted = [], []
    for test in report[""].loops.values():
        pairs = ripser(test.diagram.points)["dgms"][1]
        got.append(test.lifetime)
        wanted.append(float((pairs[:, 1] - pairs[:, 0]).max(initial=0)))
    return got, wanted


def _median(spent: list[Spent], step: str) -> float:
    return float(np.median([one.seconds.get(step, 0.0) for one in spent]))


@dataclass
class Spent:
    """Seconds by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, step: str) -> Iterator[None]:
        """Count what is done inside for a step."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


def libraries(cloud: Floats, labels: NDArray[np.str_], *, like: Report) -> Spent:
    """Ask the libraries what `explore` asked, with as many landmarks, draws, folds and exchanges; return the seconds."""
    found, spent = like[""], Spent()
    with spent.on("components"):
        scores = _components(cloud)
    with spent.on("dimension"):
        _dimension(scores)
    for width, test in found.loops.items():
        with spent.on("loops"):
            _loops(scores[:, :width], test)
    if found.clusters is not None:
        with spent.on("clusters"):
            _clusters(scores, found.clusters)
    with spent.on("attribute"):
        _attribute(cloud, labels, like.encoding.n_permutations)
    if found.coordinates is not None and util.find_spec("dreimac") is not None:
        with spent.on("angles"):
            _angles(found)
    return spent


def _components(cloud: Floats) -> Floats:
    from sklearn.decomposition import PCA

    norms = np.linalg.norm(cloud, axis=1)
    kept = cloud[norms <= 3 * np.median(norms)]
    fitted = PCA().fit(kept)
    rng = np.random.default_rng(0)
    flipped = [
        PCA().fit((kept - kept.mean(axis=0)) * rng.choice([-1, 1], kept.shape)).explained_variance_
        for _ in range(PARALLEL_DRAWS)
    ]
    n = max(2, int(np.argmin(np.append(fitted.explained_variance_ > np.max(flipped, axis=0), False))))
    scores: Floats = fitted.transform(kept)[:, :n]
    return scores


def _dimension(scores: Floats) -> tuple[float, float, float]:
    from scipy.stats import chi2
    from skdim.id import TwoNN

    dimension = float(TwoNN().fit(scores).dimension_)
    freedom = 2 * 0.9 * len(scores)
    low, high = chi2.ppf([0.025, 0.975], freedom) / freedom * dimension
    return dimension, float(low), float(high)


def _loops(scores: Floats, test: Significance) -> float:
    from ripser import ripser
    from sklearn.cluster import KMeans

    landmarks = test.diagram.prepared.preparation.landmarks

    def longest(rows: Floats) -> float:
        points = rows if landmarks is None else KMeans(landmarks, random_state=0).fit(rows).cluster_centers_
        pairs = ripser(points)["dgms"][1]
        return float((pairs[:, 1] - pairs[:, 0]).max(initial=0))

    rng = np.random.default_rng(0)
    own, sizes = longest(scores), scores.std(axis=0)
    null = [longest(rng.normal(size=scores.shape) * sizes) for _ in range(test.n_null)]
    return float(np.mean([own, *null] >= np.float64(own)))


def _clusters(scores: Floats, like: Clusters) -> float:
    from sklearn.cluster import HDBSCAN
    from sklearn.metrics import adjusted_rand_score, silhouette_samples

    def validity(points: Floats) -> float:
        size = max(5, round(like.min_cluster_size * len(points) / len(scores)))
        labels = HDBSCAN(min_cluster_size=size, min_samples=min(size, 10), copy=True).fit_predict(points)
        inside = labels >= 0
        if labels.max() < 1:
            return 0.0
        return float(silhouette_samples(points[inside], labels[inside]).sum() / len(points))

    rng = np.random.default_rng(0)
    make = HDBSCAN(min_cluster_size=like.min_cluster_size, min_samples=like.min_samples, copy=True)
    labels = make.fit_predict(scores)
    tested = scores[rng.permutation(len(scores))[:MAX_TESTED]]
    own = validity(tested)
    null = [validity(rng.normal(size=tested.shape) * tested.std(axis=0)) for _ in range(like.n_null)]
    for _ in range(HALVES):
        half = rng.permutation(len(scores))[: min(len(scores) // 2, MAX_TESTED)]
        adjusted_rand_score(labels[half], make.fit_predict(scores[half]))
    return float(np.mean([own, *null] >= np.float64(own)))


def _attribute(cloud: Floats, labels: NDArray[np.str_], n_permutations: int) -> dict[str, float]:
    from sklearn.decomposition import PCA
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(0)
    orders = [np.arange(len(cloud)), *(rng.permutation(len(cloud)) for _ in range(n_permutations))]
    scores = {"linear": np.zeros(len(orders)), "kernel": np.zeros(len(orders))}
    splits = list(KFold(N_FOLDS, shuffle=True, random_state=0).split(cloud))
    for train, test in splits:
        projection = PCA(N_COMPONENTS).fit(cloud[train])
        seen, unseen = projection.transform(cloud[train]), projection.transform(cloud[test])
        usual = np.median(((seen[:100, None] - seen[None, :100]) ** 2).sum(axis=2))
        features = {"linear": [(seen, unseen)], "kernel": []}
        for width in WIDTHS:
            kernel = Nystroem(gamma=1 / (2 * width**2 * usual), n_components=KERNEL_LANDMARKS, random_state=0).fit(seen)
            features["kernel"].append((kernel.transform(seen), kernel.transform(unseen)))
        for i, order in enumerate(orders):
            told = labels[order]
            for which, candidates in features.items():
                # the width is chosen by the error of left-out rows, as the penalty is
                fits = [
                    (RidgeClassifierCV(alphas=PENALTIES).fit(known, told[train]), asked) for known, asked in candidates
                ]
                best, asked = max(fits, key=lambda fit: fit[0].best_score_)
                scores[which][i] += balanced_accuracy_score(told[test], best.predict(asked)) / len(splits)
    return {which: float(np.mean(found >= found[0])) for which, found in scores.items()}


def _angles(found: Exploration) -> Floats:
    from dreimac import CircularCoords

    best = surest(found.loops)
    angles: Floats = CircularCoords(found.prepared.scores, n_landmarks=best.diagram.n_points).get_coordinates()
    return angles


def own_seconds(cloud: Floats, labels: NDArray[np.str_], *, like: Report) -> Spent:
    """Return how long each part of `explore` takes, called one by one."""
    found, spent = like[""], Spent()
    with spent.on("components"):
        prepared = prepare(cloud, "parallel")
        pca(prepared)
    with spent.on("dimension"):
        intrinsic_dimension(prepared)
    for width, test in found.loops.items():
        with spent.on("loops"):
            diagram = persistence(prepared.narrowed(width, test.diagram.prepared.preparation.landmarks))
            again = significance(diagram, n_null=test.n_null)
        if found.coordinates is not None and test is surest(found.loops):
            with spent.on("angles"):
                circular_coordinates(again.diagram)
    with spent.on("clusters"):
        clusters(prepared, n_null=found.clusters.n_null if found.clusters is not None else 99)
    with spent.on("attribute"):
        encoding_map({"rows": prepared}, {ATTRIBUTE: labels}, n_permutations=like.encoding.n_permutations)
    return spent
