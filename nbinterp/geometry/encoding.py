"""The map of encodings: each attribute at each site is linear, curved, multi-dimensional, or not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from nbinterp.geometry.circular import circle_test
from nbinterp.geometry.crossvalidation import (
    MANY_VALUES,
    check_rows,
    contributions,
    cross_validated,
    exchanges,
    folds_of,
    nonlinear_gain,
    task_of,
)
from nbinterp.geometry.labels import centroids
from nbinterp.geometry.multiple import enough_draws
from nbinterp.geometry.preparation import Preparation, Prepared
from nbinterp.geometry.probes import MIN_GAIN, groups_of
from nbinterp.geometry.rows import centre_within, checked
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.circular import CloudOfSites
    from nbinterp.geometry.crossvalidation import ProbeKind, Task
    from nbinterp.geometry.rows import Checked, Column, Rows
    from nbinterp.spaces import Floats

    Integers = NDArray[np.int64]

Place = Literal["linear", "curved", "multi-dimensional", "not there"]

Shape = Literal["nothing", "nonlinear", "circle", "bent line", "one direction", "several directions"]

PLACES: dict[Shape, Place] = {
    "nothing": "not there",
    "nonlinear": "curved",
    "circle": "curved",
    "bent line": "curved",
    "several directions": "multi-dimensional",
    "one direction": "linear",
}
"""The place of what decided it."""

MIN_SHARE = 0.05
"""A direction of the labels' means counts when it holds this share of their variance, and a bend likewise."""

MIN_LABELS = 6
"""Labels in an order: with fewer, no test of their order reaches p ≤ 0.01."""

BINS = 10
"""Quantiles that a number with many values is cut into, to have labels with means."""

DRAWS = 199
"""Null draws of the directions of means."""

ORDERS = 999
"""Orders of the labels that theirs is compared with."""


@dataclass(frozen=True, eq=False)
class EncodingMap(Told):
    """Where each attribute stands at each site: linear, curved, multi-dimensional, or not there.

    Parameters
    ----------
    places : DataFrame
        What `frame` gives.
    alpha : float
        Level of all tests.
    n_permutations : int
        Exchanges of labels, the same at every site.
    n_rows, n_set_aside : int
        Rows used at every site; rows left out since their norm is giant at one site or more.
    provenance : str
        What was done, for people to read.
    """

    places: pd.DataFrame = field(repr=False)
    alpha: float
    n_permutations: int
    n_rows: int
    n_set_aside: int
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line for each attribute at each site.

        ``attribute``, ``site``, ``place``; ``shape``, which says what decided it ("nothing", "nonlinear", "circle", "bent
        line", "several directions", "one direction"); ``kind``; the scores ``linear`` and ``kernel`` (balanced accuracy or R² on
        unseen rows) and ``chance``; ``gain`` of the kernel probe with ``gain_low`` and ``gain_high`` at level 1 − alpha;
        ``dimensions`` of the span of the labels' means; ``p`` of the better probe and ``p_linear``, both corrected for all
        sites and attributes; ``reasons``.
        """
        return self.places.copy()

    def chart(self) -> alt.HConcatChart:
        """Return the places as a heat map, attribute by site, beside the gain against the linear score."""
        from nbinterp.charts.probes import encoding_chart

        return encoding_chart(self.places, title="How attributes are encoded")

    def __repr__(self) -> str:
        lines = [
            f"EncodingMap of {self.places['attribute'].nunique()} attributes at {self.places['site'].nunique()} sites"
        ]
        for attribute, found in self.places.groupby("attribute", sort=False):
            counts = ", ".join(f"{place} at {n}" for place, n in found["place"].value_counts(sort=False).items())
            best = found.iloc[int(found[["linear", "kernel"]].max(axis=1).argmax())]
            lines.append(
                f"  {attribute}: {counts}; read best at {best['site']} (linear {best['linear']:.2f}, kernel {best['kernel']:.2f}, "
                f"chance {best['chance']:.2f})."
            )
        return "\n".join([*lines, f"  {self.provenance}"])


def encoding_map(
    clouds: CloudOfSites | Mapping[str, Rows | Prepared],
    attributes: Sequence[str] | Mapping[str, Column],
    *,
    sites: Sequence[str] | None = None,
    kinds: Mapping[str, ProbeKind] | None = None,
    orders: Mapping[str, Sequence[Any]] | None = None,
    within: Column | None = None,
    groups: Column | None = None,
    alpha: float = 0.01,
    n_folds: int = 5,
    n_components: int | None = 50,
    n_permutations: int = 299,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> EncodingMap:
    """Give each attribute at each site its place: linear, curved, multi-dimensional, or not there.

    The places, in the order in which they are decided:

    - **not there**: neither the linear nor the kernel probe beats the exchanges of labels (p ≤ `alpha`, corrected for all
      sites and attributes). It may be outside the principal components that were looked at, or need more rows.
    - **curved**: the kernel probe reads surely (interval above 0) and at least 0.05 more than the linear one; or a cycle
      is a circle by `circle_test`; or the means of ordered labels, which follow their order, bend out of a line (the parts
      of second and third degree hold 5 % or more of the smooth course, p ≤ `alpha`).
    - **multi-dimensional**: the labels' means span two directions or more that noise does not explain and that hold 5 % of
      their variance each, in no order that was given.
    - **linear**: all else that is there: one direction.

    An order says most: without it, labels in a circle are multi-dimensional. A number counts as ordered.

    Parameters
    ----------
    clouds : Cloud of several sites, or mapping of name to rows
        The same rows at each site.
    attributes : sequence of str, or mapping of name to values ``[row]``
        Columns of the table, or values.
    sites : sequence of str, optional
        Some of the sites.
    kinds, orders : mapping by attribute, optional
        `kind` and `order` as for `probe`.
    within, groups : str or sequence ``[row]``, optional
        As for `probe`.
    alpha : float
        Level of the tests.
    n_folds, n_components, n_permutations, max_norm_ratio, seed
        As for `probe`.

    Raises
    ------
    ValueError, LookupError
        As for `probe`; for so few permutations that they cannot reach `alpha` for all attributes; and for an attribute that
        has one value in each group of `within`, of which centring leaves nothing to ask about.

    Notes
    -----
    One exchange of labels is made at all sites at once, and each site's score compared with the largest of each exchange
    (the max-T of Westfall & Young 1993), so that 30 layers which resemble each other cost less than a factor of 30; then p
    is multiplied by the number of attributes (Bonferroni). Gains and spans are not corrected beyond their level.
    """
    sources = _sources(clouds, sites, max_norm_ratio)
    names = list(attributes)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"got attributes={names}; wanted at least one, each once.")
    for what, given in (("kinds", kinds), ("orders", orders)):
        if unknown := [name for name in given or () if name not in names]:
            raise LookupError(f"got {what} of {unknown[0]!r}, which is not among attributes: {', '.join(names)}.")
    enough_draws(n_permutations, alpha, len(names), name="n_permutations")
    first, kept, rows = _same_rows(sources, within)
    for values in rows.values():
        check_rows(values)
    columns = {
        name: first.column(attributes[name] if isinstance(attributes, Mapping) else name, "attributes")[kept]
        for name in names
    }
    for centred in _centred_within(sources, within):
        for name, values in columns.items():
            if (lost := lost_with_means(name, values, first.column(centred, "within")[kept], centred)) is not None:
                raise ValueError(f"got the attribute {name!r}: {lost}; leave it out, or leave out within.")
    lines = []
    for name, values in columns.items():
        task = task_of(values, (kinds or {}).get(name, "auto"), (orders or {}).get(name), name)
        group_of, _ = groups_of(first, within, groups, np.flatnonzero(kept))
        folds = folds_of(task, group_of, n_folds, seed)
        exchanged = exchanges(task, group_of, n_permutations, np.random.default_rng(seed))
        lines += _placed(name, task, rows, folds, exchanged, group_of, within, alpha, n_components, len(names), seed)
    n_aside = int((~kept).sum())
    projection = (
        "all features" if n_components is None else f"{n_components} principal components of each training fold"
    )
    provenance = (
        f"{int(kept.sum())} rows"
        + (f" ({n_aside} set aside for their norm at some site)" if n_aside else "")
        + ("" if within is None else f"; centred within {within if isinstance(within, str) else 'groups'}")
        + f"; {n_folds} folds; {projection}; {n_permutations} exchanges of labels; {len(lines)} looks"
    )
    return EncodingMap(pd.DataFrame(lines), alpha, n_permutations, int(kept.sum()), n_aside, provenance)


def lost_with_means(name: str, values: NDArray[Any], groups: NDArray[Any], within: Column) -> str | None:
    """Say in words that an attribute was lost with the means of groups, where it was: it has one value in each of them.

    Values and groups are ``[row used]``. What probes still tell apart then is how far groups spread, and not where they are.
    """
    if pd.Series(values).groupby(pd.factorize(groups)[0]).nunique().max() > 1:
        return None
    where = within if isinstance(within, str) else "the groups"
    why = (
        "rows were centred within it"
        if name == where
        else f"it has one value in each of {where}, within which rows were centred"
    )
    return f"{why}, so that its values have no means left to tell apart"


def _centred_within(sources: Mapping[str, Checked | Prepared], within: Column | None) -> list[Column]:
    """Return the columns that rows are centred within, here or when they were prepared; of the latter those with a name."""
    prepared = {one.within for one in sources.values() if isinstance(one, Prepared) and one.within in one.table.columns}
    return [*sorted(prepared), *([] if within is None else [within])]


def _sources(
    clouds: CloudOfSites | Mapping[str, Rows | Prepared], sites: Sequence[str] | None, max_norm_ratio: float | None
) -> dict[str, Checked | Prepared]:
    known = [str(site) for site in (clouds.sites if hasattr(clouds, "sites") else clouds)]
    if not known:
        raise ValueError("got no sites to map; give at least one.")
    wanted = known if sites is None else [str(site) for site in sites]
    if unknown := [site for site in wanted if site not in known]:
        raise LookupError(f"got the site {unknown[0]!r}, which is not there; known are {', '.join(known)}.")
    found: dict[str, Checked | Prepared] = {}
    for site in wanted:
        cloud = clouds[site]
        found[site] = cloud if isinstance(cloud, Prepared) else checked(cloud, max_norm_ratio=max_norm_ratio)
    return found


def _same_rows(
    sources: Mapping[str, Checked | Prepared], within: Column | None
) -> tuple[Checked, NDArray[np.bool_], dict[str, Floats]]:
    """Return the first site's rows, which rows are used at every site, and those rows at each, groups subtracted."""
    plain = {site: one.source if isinstance(one, Prepared) else one for site, one in sources.items()}
    first = next(iter(plain.values()))
    for site, checked_rows in plain.items():
        if len(checked_rows.points) != len(first.points):
            raise ValueError(
                f"got {len(checked_rows.points)} rows at {site} and {len(first.points)} at the first site; wanted the same."
            )
    kept = np.logical_and.reduce([one.kept for one in plain.values()])
    rows = {}
    for site, one in sources.items():
        # what is prepared may have been centred within groups
        used = one.spread(one.rows)[kept] if isinstance(one, Prepared) else one.points[kept]
        if within is not None:
            used = centre_within(used, first.column(within, "within")[kept])
        rows[site] = used - used.mean(axis=0)
    return first, kept, rows


def _placed(
    name: str,
    task: Task,
    rows: Mapping[str, Floats],
    folds: Integers,
    exchanged: Integers,
    group_of: NDArray[Any],
    within: Column | None,
    alpha: float,
    n_components: int | None,
    n_attributes: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the lines of one attribute, one a site."""
    scores = {which: np.empty((len(rows), len(exchanged))) for which in ("linear", "kernel")}
    gains = []
    for i, points in enumerate(rows.values()):
        marks = cross_validated(points, task, folds, exchanged, n_components, seed)
        held = {which: contributions(found, task, folds, exchanged) for which, found in marks.items()}
        for which, parts in held.items():
            scores[which][i] = parts.mean(axis=0)
        gains.append(nonlinear_gain({which: parts[:, 0] for which, parts in held.items()}, folds, level=1 - alpha)[1:])
    p = np.minimum(1, n_attributes * _joint_p(np.maximum(scores["linear"], scores["kernel"])))
    p_linear = np.minimum(1, n_attributes * _joint_p(scores["linear"]))
    chance = 1 / len(task.labels) if task.kind == "classification" else 0.0
    lines = []
    for i, (site, points) in enumerate(rows.items()):
        gain, (low, high) = gains[i]
        groups = group_of if within is not None else None
        shape, dimensions, reasons = _shape(task, points, groups, (float(p[i]), gain, low), n_components, alpha, seed)
        lines.append(
            {
                "attribute": name,
                "site": site,
                "place": PLACES[shape],
                "shape": shape,
                "kind": task.kind,
                "linear": scores["linear"][i, 0],
                "kernel": scores["kernel"][i, 0],
                "chance": chance,
                "gain": gain,
                "gain_low": low,
                "gain_high": high,
                "dimensions": dimensions,
                "p": p[i],
                "p_linear": p_linear[i],
                "reasons": " ".join(reasons),
            }
        )
    return lines


def _joint_p(scores: Floats) -> Floats:
    """Return p at each site from scores ``[site, exchange]``, corrected for all sites by each exchange's largest.

    Scores are compared in units of their spread at the site. (The least p of each exchange would do as well, were there
    not so few of them: at every site some exchange has the least p that there is.)
    """
    spread = np.maximum(scores.std(axis=1, keepdims=True), 1e-12)
    standard = (scores - scores.mean(axis=1, keepdims=True)) / spread
    corrected: Floats = (standard.max(axis=0) >= standard[:, :1] - 1e-9).mean(axis=1)
    return corrected


def _shape(
    task: Task,
    rows: Floats,
    groups: NDArray[Any] | None,
    found: tuple[float, float, float],
    n_components: int | None,
    alpha: float,
    seed: int,
) -> tuple[Shape, int, list[str]]:
    """Return the shape, the dimensions of the labels' means, and a sentence for each thing that decided it.

    ``found`` are p of the better probe, the gain of the kernel probe, and the lower end of its interval.
    """
    p, gain, low = found
    rng = np.random.default_rng(seed)
    most = min(len(rows) - 1, rows.shape[1])
    scores = Preparation(most if n_components is None else min(n_components, most)).fit_transform(rows)
    codes, values = _binned(task)
    dimensions = _dimensions(scores, codes, rng)
    if p > alpha:
        return "nothing", dimensions, [f"No probe beats exchanged labels: p = {p:.2g}, wanted ≤ {alpha:g}."]
    gains = low > 0 and gain >= MIN_GAIN
    reasons = [
        f"A probe beats exchanged labels: p = {p:.2g}.",
        f"The kernel probe reads {gain:+.2f} beyond the linear one{'' if gains else f', not surely {MIN_GAIN} or more'}.",
        f"The means of the labels span {dimensions} dimension{'' if dimensions == 1 else 's'} beyond noise.",
    ]
    if task.kind == "cyclic" and dimensions > 1:
        labels = [task.labels[code] for code in task.codes]
        test = circle_test(centroids(scores, labels, groups, order=task.labels, max_norm_ratio=None), alpha=alpha)
        fits = f"held-out R² {test.r2_circle:.2f} of a circle, {test.r2_line:.2f} of a line"
        reasons.append(f"Circle test of the labels: {test.verdict} (p = {test.p_order:.2g}; {fits}).")
        if test.verdict == "circle":
            return "circle", dimensions, reasons
    if task.kind != "classification" and len(values) >= MIN_LABELS:
        course = _course(_means(scores, codes, len(values)), values, rng)
        follows = course.p_order <= alpha
        reasons.append(
            f"The means {'follow' if follows else 'do not follow'} the order of the labels (p = {course.p_order:.2g}); bends hold "
            f"{course.bend:.0%} of the course (p = {course.p_bend:.2g})."
        )
        if follows:
            bent = course.p_bend <= alpha and course.bend >= MIN_SHARE
            return "bent line" if bent else "nonlinear" if gains else "one direction", dimensions, reasons
        # labels here and there in space: a kernel tells them apart more easily than a line does, but there is no curve
        gains = gains and dimensions < 2
    shape: Shape = "nonlinear" if gains else "several directions" if dimensions > 1 else "one direction"
    return shape, dimensions, reasons


@dataclass(frozen=True)
class _Course:
    """How the labels' means follow their order: p of that, p of a bend, and the bend's share of the course."""

    p_order: float
    p_bend: float
    bend: float


def _course(means: Floats, values: Floats, rng: np.random.Generator) -> _Course:
    effects = means - means.mean(axis=0)
    spread = (values - values.mean()) / values.std()
    # constant, line, and bends of second and third degree, orthonormal over the labels
    basis = np.linalg.qr(np.vander(spread, 4, increasing=True))[0][:, 1:]
    line, bends = basis[:, :1], basis[:, 1:]
    held_line, held_bends = (float(((part.T @ effects) ** 2).sum()) for part in (line, bends))
    rest = effects - line @ (line.T @ effects)
    return _Course(
        _p_of_order(basis, effects, rng), _p_of_order(bends, rest, rng), held_bends / (held_line + held_bends)
    )


def _p_of_order(basis: Floats, effects: Floats, rng: np.random.Generator) -> float:
    """Return the share of orders of the labels in which the basis explains as much of their effects."""
    explained = float(((basis.T @ effects) ** 2).sum())
    drawn = [float(((basis.T @ rng.permutation(effects)) ** 2).sum()) for _ in range(ORDERS)]
    return (1 + sum(one >= explained * (1 - 1e-9) for one in drawn)) / (ORDERS + 1)


def _binned(task: Task) -> tuple[Integers, Floats]:
    """Return the label of each row ``[row]`` and the value of each label ``[label]``; numbers with many values in quantiles."""
    if task.kind != "regression":
        return task.codes, np.arange(len(task.labels), dtype=np.float64)
    numbers = task.targets[:, 0]
    if len(task.labels) <= max(MANY_VALUES, 2 * BINS):
        codes = task.codes
    else:
        codes = pd.factorize(pd.qcut(numbers, BINS, labels=False, duplicates="drop"), sort=True)[0]
    return codes, np.bincount(codes, weights=numbers) / np.bincount(codes)


def _means(rows: Floats, codes: Integers, n_labels: int) -> Floats:
    sums = np.zeros((n_labels, rows.shape[1]))
    np.add.at(sums, codes, rows)
    means: Floats = sums / np.bincount(codes, minlength=n_labels)[:, None]
    return means


def _dimensions(rows: Floats, codes: Integers, rng: np.random.Generator) -> int:
    """Return how many directions the labels' means span beyond what noise gives means of as many rows each."""
    counts = np.bincount(codes)
    means = _means(rows, codes, len(counts))
    overall = rows.mean(axis=0)
    weights = np.sqrt(counts)[:, None]
    found = np.linalg.svd(weights * (means - overall), compute_uv=False) ** 2
    residuals = rows - means[codes]
    inflation = len(rows) / max(len(rows) - len(counts), 1)
    null = max(
        np.linalg.svd(weights * _means(rng.permutation(residuals), codes, len(counts)), compute_uv=False)[0] ** 2
        for _ in range(DRAWS)
    )
    return int(((found > null * inflation) & (found > MIN_SHARE * found.sum())).sum())
