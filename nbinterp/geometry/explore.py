"""One call that asks a cloud the usual questions, corrects for all of them, and says what it could not say."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import pandas as pd
from tqdm import tqdm

from nbinterp.geometry.clusters import STABLE, Clusters, clusters_of_drawn
from nbinterp.geometry.coordinates import CircularCoordinates, circular_coordinates
from nbinterp.geometry.crossvalidation import folds_of, task_of
from nbinterp.geometry.dimension import IntrinsicDimension, intrinsic_dimension
from nbinterp.geometry.embedding import Embedding, pca, umap
from nbinterp.geometry.encoding import EncodingMap, encoding_map, lost_with_means
from nbinterp.geometry.joint import joint_loop_p
from nbinterp.geometry.nulls import loops_drawn_together
from nbinterp.geometry.persistence import persistence
from nbinterp.geometry.probes import groups_of
from nbinterp.geometry.report import Exploration, ExplorationStopped, Report, surest
from nbinterp.geometry.same_rows import alike, by_site, chosen_rows, prepared_sites
from nbinterp.geometry.significance import MIN_POINTS, WANTED_POINTS, Significance, significance_of_drawn
from nbinterp.geometry.streaming import MEMORY
from nbinterp.geometry.validity import joint_cluster_p, usual_sizes, validities_drawn_together, validity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.geometry.crossvalidation import ProbeKind
    from nbinterp.geometry.preparation import Prepared
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.spaces import Floats

DrawT = TypeVar("DrawT")
if TYPE_CHECKING:
    # [look][draw]
    Drawn = Sequence[Sequence[DrawT]]
Picture = Literal["pca", "umap"]

FEW_DRAWS = 99
"""Null clouds of a test that finds nothing; one that may find something has as many as its correction needs."""

OWN_COLUMNS = ("text", "prompt", "token", "position")
"""Columns that every cloud has: where a row comes from, not what it is."""

ALL_ROWS = 600
"""Up to so many rows go into homology themselves; more are stood for by landmarks."""

MOST_LANDMARKS = 300

MOST_COMPONENTS = 10
"""Homology looks at no more principal components than this: a loop in ten directions of noise is lost."""

FEWEST_PER_LABEL, MOST_LABELS, MOST_ATTRIBUTES = 5, 30, 5
"""Columns of the table that are asked about where none are named."""


def explore(
    cloud: Rows,
    attributes: Sequence[str] | Mapping[str, Column] | None = None,
    *,
    orders: Mapping[str, Sequence[Any]] | None = None,
    cycles: Mapping[str, Sequence[Any]] | None = None,
    within: Column | None = None,
    sites: Sequence[str] | None = None,
    picture: Picture = "pca",
    alpha: float = 0.01,
    memory: int = MEMORY,
    seed: int = 0,
    progress: bool = True,
    cancel: Callable[[], bool] = lambda: False,
) -> Report:
    """Ask a cloud the usual questions: what dimension it has, whether there are loops or clusters, where attributes stand.

    All p-values of all sites are corrected together, so that a report on noise has a finding with a chance of at most
    `alpha`; half of it goes to attributes, where there are any.

    Parameters
    ----------
    cloud : Cloud (of one site or several) or array ``[row, n_features]``
        The rows.
    attributes : sequence of str, or mapping of name to values ``[row]``, optional
        What rows are labelled with; by default up to five columns of the table with 2 to 30 labels of 5 rows or more.
    orders, cycles : mapping by attribute, optional
        The order of an attribute's labels, along a line or round a circle: without one, labels in a circle can only be
        called multi-dimensional.
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group first, e.g. ``"template"``. No group is in two folds of a probe.
    sites : sequence of str, optional
        Some of the cloud's sites; all by default.
    picture : {"pca", "umap"}
        The picture of the rows.
    alpha : float
        Chance of any false finding in the whole report.
    memory : int
        Bytes that a cloud may take; of one in a folder that would take more, the components are those of all rows, read in
        passes, and everything else is asked of 10,000 rows drawn at random.
    seed : int
        Of everything that is drawn.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each question; True stops.

    Raises
    ------
    ValueError, LookupError
        For anything that cannot be done, before anything is computed.
    ExplorationStopped
        When it was cancelled or interrupted; its `partial` holds what was found.

    Notes
    -----
    Loops, and likewise clusters, are looked for at every site (loops at two numbers of components), and compared with the same
    Gaussian draws: each draw turns the rows in the same way at all sites, so that layers which resemble each other have draws
    that do, and 30 layers need no more draws than one (step-down max-T, Westfall & Young 1993; see `loop_significances`). What
    follows is Bonferroni's: loops and clusters have half of the level each. A row that is set aside at one site is
    left out at all. Where 99 draws say that nothing will be found no more are made (Besag & Clifford 1991).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"got alpha={alpha}; wanted a number between 0 and 1, such as 0.01.")
    if picture not in get_args(Picture):
        raise ValueError(f"got picture={picture!r}; choose from {', '.join(get_args(Picture))}.")
    prepared, chosen = prepared_sites(by_site(cloud, sites), within, seed, memory)
    within, named = chosen_rows(within, chosen), attributes
    if isinstance(attributes, Mapping):
        named = {name: chosen_rows(column, chosen) for name, column in attributes.items()}
    asked = _Asked(prepared, named, orders or {}, cycles or {}, within, picture, alpha, seed)
    steps = asked.ask(cancel)
    with tqdm(disable=not progress, leave=False, delay=1, bar_format="{desc} [{elapsed}]") as bar:
        try:
            for step in steps:
                bar.set_description_str(step)
        except KeyboardInterrupt:
            # what was drawn so far is judged
            steps.close()
            raise ExplorationStopped(
                "stopped; what was found until then is in this exception's .partial.", asked.report(finished=False)
            ) from None
    return asked.report(finished=True)


class _Asked:
    """What was asked so far, and what came of it."""

    def __init__(
        self,
        prepared: Mapping[str, Prepared],
        attributes: Sequence[str] | Mapping[str, Column] | None,
        orders: Mapping[str, Sequence[Any]],
        cycles: Mapping[str, Sequence[Any]],
        within: Column | None,
        picture: Picture,
        alpha: float,
        seed: int,
    ) -> None:
        self._prepared, self._within = prepared, within
        self._picture, self._alpha, self._seed = picture, alpha, seed
        self._unsaid: list[str] = []
        self._orders = {**orders, **cycles}
        self._kinds: dict[str, ProbeKind] = {**dict.fromkeys(orders, "regression"), **dict.fromkeys(cycles, "cyclic")}
        self._attributes = self._askable(attributes)
        self._alike = alike(prepared)
        self._views: dict[str, Embedding] = {}
        self._dimensions: dict[str, IntrinsicDimension] = {}
        self._loops: dict[str, dict[int, Significance]] = {site: {} for site in prepared}
        self._groups: dict[str, Clusters] = {}
        self._coordinates: dict[str, CircularCoordinates] = {}
        self._encoding: EncodingMap | None = None
        self._lines: list[dict[str, Any]] = []

    def ask(self, cancel: Callable[[], bool]) -> Generator[str, None, None]:
        """Ask everything; say before each step what it is."""

        def step(what: str) -> str:
            if cancel():
                raise KeyboardInterrupt
            return what

        for site, prepared in self._prepared.items():
            yield step(f"picture{_at(site)}")
            self._views[site] = umap(prepared, seed=self._seed) if self._picture == "umap" else pca(prepared)
            yield step(f"dimension{_at(site)}")
            self._ask_dimension(site, prepared)
        for sites in self._alike:
            yield from map(step, self._ask_loops(sites))
            yield from map(step, self._ask_clusters(sites))
        for site in self._prepared:
            yield step(f"angles{_at(site)}")
            self._ask_coordinates(site)
        if self._attributes:
            yield step("attributes")
            self._ask_attributes()

    def _line(
        self, site: str, question: str, answers: tuple[str, str], found: bool, p: float, corrected: float
    ) -> None:
        yes, no = (answer + _at(site) for answer in answers)
        # what is corrected within its part of alpha is told in units of all of it
        adjusted = float(np.minimum(1.0, corrected * self._alpha / self._level))
        found = bool(found and adjusted <= self._alpha)
        line = {"site": site, "question": question, "answer": yes if found else no, "found": found}
        self._lines.append(line | {"p": p, "p_adjusted": adjusted})

    def _ask_dimension(self, site: str, prepared: Prepared) -> None:
        try:
            dimension = intrinsic_dimension(prepared, seed=self._seed)
        except ValueError as error:
            self._unsaid.append(f"the dimension{_at(site)}: {error}")
            return
        low, high = dimension.interval
        answer = (
            f"{dimension.estimate:.1f} dimensions ({low:.1f} to {high:.1f}) in {_components(dimension.n_components)}"
        )
        self._dimensions[site] = dimension
        self._line(site, "dimension", (answer, answer), False, np.nan, np.nan)

    def _ask_loops(self, sites: Sequence[str]) -> Iterator[str]:
        """Look for loops at sites of the same rows."""
        n = len(self._prepared[sites[0]].rows)
        landmarks = None if n <= ALL_ROWS else min(MOST_LANDMARKS, n // 10)
        looks, diagrams = [], []
        for site in sites:
            for width in _widths(self._prepared[site]):
                yield f"homology{_at(site)}"
                looks.append((site, width))
                diagrams.append(persistence(self._prepared[site].narrowed(width, landmarks)))
        if n < WANTED_POINTS:
            self._unsaid.append(
                f"whether there is a faint loop: {n} rows, and {WANTED_POINTS} are wanted; with labels, give their orders or cycles."
            )

        def conclude(drawn: Drawn[Floats], corrected: Floats) -> None:
            for (site, width), diagram, null, p in zip(looks, diagrams, drawn, corrected, strict=True):
                test = significance_of_drawn(diagram, null, alpha=self._reached(len(null)), seed=self._seed)
                self._loops[site][width] = test
                where = f"in {_components(width)}"
                yes = f"{test.n_found} loop{'' if test.n_found == 1 else 's'} {where}"
                self._line(site, f"loops {where}", (yes, f"no loops {where}"), test.found, test.p, self._n_families * p)

        if diagrams[0].n_points < MIN_POINTS:
            conclude([[np.empty((0, 2))] * FEW_DRAWS] * len(looks), np.full(len(looks), np.nan))
        else:
            drawing = loops_drawn_together(diagrams, self._seed)
            yield from self._drawn("loops", drawing, lambda drawn: joint_loop_p(diagrams, drawn), conclude)

    def _ask_clusters(self, sites: Sequence[str]) -> Iterator[str]:
        """Look for clusters at sites of the same rows."""
        prepared = [self._prepared[site] for site in sites]
        try:
            tested = [validity_of(one.points, *usual_sizes(len(one.points)), self._seed) for one in prepared]
        except ValueError as error:
            self._unsaid.append(f"whether there are clusters: {error}")
            return

        def conclude(drawn: Drawn[float], corrected: Floats) -> None:
            for site, one, cloud, null, p in zip(sites, prepared, tested, drawn, corrected, strict=True):
                groups = clusters_of_drawn(one, cloud, null, alpha=self._reached(len(null)), seed=self._seed)
                self._groups[site] = groups
                yes = f"{groups.n_clusters} clusters, {int((groups.stability >= STABLE).sum())} of them stable"
                no = "more than one hump, but no stable clusters" if groups.verdict == "not stable" else "no clusters"
                found = groups.verdict == "clusters"
                self._line(site, "clusters", (yes, no), found, groups.p, self._n_families * p)

        drawing = validities_drawn_together(tested, self._seed)
        yield from self._drawn("clusters", drawing, lambda drawn: joint_cluster_p(tested, drawn), conclude)

    def _reached(self, n_null: int) -> float:
        """Return the level, or the smallest p that so few draws can give."""
        return max(self._level, 1 / (n_null + 1))

    def _drawn(
        self,
        what: str,
        drawing: Iterator[list[DrawT]],
        judge: Callable[[Drawn[DrawT]], Floats],
        conclude: Callable[[Drawn[DrawT], Floats], None],
    ) -> Iterator[str]:
        """Draw null clouds, as many as it takes, and conclude; what was judged is concluded when it is stopped, too.

        A hundred draws will do where ten of them reach as much as the cloud: a p that stops at the tenth such draw is as
        good as one of all (Besag & Clifford 1991).
        """
        # loops, and clusters, of each set of sites with the same rows
        n_draws = int(np.ceil(self._n_families / self._level)) - 1
        draws: list[list[DrawT]] = []
        judged = None
        try:
            for n_null in sorted({min(FEW_DRAWS, n_draws), n_draws}):
                for draw in islice(drawing, n_null - len(draws)):
                    draws.append(draw)
                    yield f"{what}: null draw {len(draws)} of {n_null}"
                of_each = list(map(list, zip(*draws, strict=True)))
                judged = of_each, judge(of_each)
                if judged[1].min() > 10 / FEW_DRAWS:
                    break
        finally:
            if judged is not None:
                conclude(*judged)

    def _ask_coordinates(self, site: str) -> None:
        best = surest(self._loops[site])
        if not best.found:
            return
        try:
            self._coordinates[site] = circular_coordinates(best.diagram, seed=self._seed)
        except ValueError as error:
            self._unsaid.append(f"angles on the loop{_at(site)}: {error}")

    def _ask_attributes(self) -> None:
        n_attributes = len(self._attributes)
        self._encoding = encoding_map(
            self._prepared,
            self._attributes,
            kinds={name: kind for name, kind in self._kinds.items() if name in self._attributes},
            orders={name: order for name, order in self._orders.items() if name in self._attributes},
            within=self._within,
            alpha=self._level,
            n_folds=self._n_folds,
            n_permutations=max(299, int(np.ceil(n_attributes / self._level)) - 1),
            seed=self._seed,
        )
        for line in self._encoding.frame().to_dict("records"):
            name, place = line["attribute"], line["place"]
            answers = (f"{name} is {place}", f"{name} is not surely there")
            found = place != "not there"
            self._line(str(line["site"]), f"attribute {name}", answers, found, line["p"], line["p"])

    def _askable(self, attributes: Sequence[str] | Mapping[str, Column] | None) -> dict[str, NDArray[Any]]:
        """Return the values ``[row]`` of the attributes that can be asked about; say why where one cannot."""
        first = next(iter(self._prepared.values()))
        named: Mapping[str, Column] | Sequence[str]
        named = list(dict.fromkeys([*self._orders, *_usual(first)])) if attributes is None else attributes
        if unknown := [name for name in self._orders if name not in named]:
            raise LookupError(
                f"got the order of {unknown[0]!r}, which is not among attributes: {', '.join(named) or 'there are none'}."
            )
        kept = np.flatnonzero(first.source.kept)
        groups, _ = groups_of(first.source, self._within, None, kept)
        self._n_folds = max(2, min(5, len(set(groups))))
        askable = {}
        for name in named:
            values = first.source.column(named[name] if isinstance(named, Mapping) else name, name)
            task = task_of(values[kept], self._kinds.get(name, "auto"), self._orders.get(name), name)
            why = None if self._within is None else lost_with_means(name, values[kept], groups, self._within)
            try:
                folds_of(task, groups, self._n_folds, self._seed)
            except ValueError as error:
                why = why or str(error)
            if why is None:
                askable[name] = values
            else:
                self._unsaid.append(f"where {name} stands: {why.rstrip('.')}.")
        return askable

    @property
    def _level(self) -> float:
        """Half of alpha goes to shapes and half to attributes, where there are any."""
        return self._alpha / 2 if self._attributes else self._alpha

    @property
    def _n_families(self) -> int:
        """Sets of looks that are corrected within themselves: loops, and clusters, of sites with the same rows."""
        return 2 * len(self._alike)

    def report(self, *, finished: bool) -> Report:
        """Return the report of what was asked so far."""
        columns = ["site", "question", "answer", "found", "p", "p_adjusted"]
        lines = pd.DataFrame(self._lines, columns=columns).astype({"found": bool, "p": float, "p_adjusted": float})
        order = {site: i for i, site in enumerate(self._prepared)}
        # what was asked of all sites at once is told site by site
        lines = lines.sort_values("site", key=lambda site: site.map(order), kind="stable", ignore_index=True)
        sites = {
            site: Exploration(
                self._prepared[site],
                view,
                self._dimensions.get(site),
                self._loops[site],
                self._groups.get(site),
                self._coordinates.get(site),
            )
            for site, view in self._views.items()
        }
        provenance = next(iter(self._prepared.values())).provenance
        unsaid = tuple(dict.fromkeys(self._unsaid))
        return Report(lines, sites, self._encoding, unsaid, self._alpha, finished, provenance)


def _widths(prepared: Prepared) -> tuple[int, ...]:
    """Return the numbers of principal components at which to look for loops: a plane, and all that stand out."""
    stand_out = min(prepared.scores.shape[1], MOST_COMPONENTS)
    return tuple(sorted({min(2, stand_out), stand_out}))


def _usual(prepared: Prepared) -> list[str]:
    """Return the columns that rows may well be asked about."""
    used = prepared.table[prepared.source.kept] if len(prepared.table.columns) else prepared.table
    names = []
    for name in used.columns:
        counts = used[name].value_counts()
        # what was centred within leaves no mean to be read
        if (
            name not in OWN_COLUMNS
            and name != prepared.within
            and 2 <= len(counts) <= MOST_LABELS
            and counts.min() >= FEWEST_PER_LABEL
        ):
            names.append(str(name))
    return names[:MOST_ATTRIBUTES]


def _components(width: int) -> str:
    return f"{width} principal component{'' if width == 1 else 's'}"


def _at(site: str) -> str:
    return f" at {site}" if site else ""
