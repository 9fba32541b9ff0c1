"""One call that asks a cloud the usual questions, corrects for all of them, and says what it could not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, TypeVar, get_args

import numpy as np
import pandas as pd
from tqdm import tqdm

from nbinterp.geometry.clusters import STABLE, Clusters, clusters
from nbinterp.geometry.coordinates import CircularCoordinates, circular_coordinates
from nbinterp.geometry.dimension import IntrinsicDimension, intrinsic_dimension
from nbinterp.geometry.embedding import Embedding, pca, umap
from nbinterp.geometry.encoding import EncodingMap, encoding_map
from nbinterp.geometry.multiple import adjusted
from nbinterp.geometry.persistence import persistence
from nbinterp.geometry.preparation import Prepared, prepare
from nbinterp.geometry.report import Exploration, ExplorationStopped, Report, surest
from nbinterp.geometry.rows import is_cloud
from nbinterp.geometry.significance import WANTED_POINTS, Significance, significance
from nbinterp.geometry.streaming import MEMORY, prepare_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.clouds import Cloud
    from nbinterp.geometry.rows import Column, Rows

Picture = Literal["pca", "umap"]
Test = TypeVar("Test", Significance, Clusters)

FEW_DRAWS = 99
"""Null clouds of a test that finds nothing; one that may find something has as many as its correction needs."""

ATTRIBUTE = "attribute"
"""What questions about attributes begin with."""

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

    All p-values of all sites are corrected together (Holm 1979), so that a report on noise has a finding with a chance of
    at most `alpha`; half of it goes to attributes, where there are any.

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
        Subtract the mean of each group first, e.g. ``"template"``.
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
    """
    if not 0 < alpha < 1:
        raise ValueError(f"got alpha={alpha}; wanted a number between 0 and 1, such as 0.01.")
    if picture not in get_args(Picture):
        raise ValueError(f"got picture={picture!r}; choose from {', '.join(get_args(Picture))}.")
    prepared, chosen = {}, None
    for site, rows in _by_site(cloud, sites).items():
        prepared[site], chosen = _prepared(rows, within, seed, memory)
    first = next(iter(prepared.values()))
    named = _usual(first) if attributes is None else attributes
    values = {}
    for name in named:
        column = named[name] if isinstance(named, Mapping) else name
        if chosen is not None and not isinstance(column, str):
            column = np.asarray(column, dtype=object)[chosen]
        values[name] = first.source.column(column, name)
    asked = _Asked(prepared, values, orders or {}, cycles or {}, picture, alpha, seed)
    with tqdm(total=asked.n_steps, unit="site", disable=not progress, leave=False, delay=1) as bar:
        try:
            for step in asked.ask(cancel):
                bar.set_description(step)
                bar.update(1)
        except KeyboardInterrupt:
            raise ExplorationStopped(
                "stopped; what was found until then is in this exception's .partial.", asked.report(finished=False)
            ) from None
    return asked.report(finished=True)


class _Asked:
    """What was asked so far, and what came of it."""

    def __init__(
        self,
        prepared: Mapping[str, Prepared],
        attributes: Mapping[str, Column],
        orders: Mapping[str, Sequence[Any]],
        cycles: Mapping[str, Sequence[Any]],
        picture: Picture,
        alpha: float,
        seed: int,
    ) -> None:
        self._prepared, self._attributes, self._orders, self._cycles = prepared, attributes, orders, cycles
        self._picture, self._alpha, self._seed = picture, alpha, seed
        self._widths = {site: _widths(one) for site, one in prepared.items()}
        self._sites: dict[str, Exploration] = {}
        self._encoding: EncodingMap | None = None
        self._lines: list[dict[str, Any]] = []
        self._unsaid: list[str] = []

    @property
    def n_steps(self) -> int:
        """How many steps `ask` has."""
        return len(self._prepared) + bool(self._attributes)

    def ask(self, cancel: Callable[[], bool]) -> Iterator[str]:
        """Ask everything; yield after each step what it was."""

        def asked(question: Callable[..., Any], *given: Any) -> Any:
            if cancel():
                raise KeyboardInterrupt
            return question(*given)

        for site, prepared in self._prepared.items():
            view = asked(self._view, prepared)
            dimension = asked(self._dimension, site, prepared)
            loops = {width: asked(self._loops, site, prepared, width) for width in self._widths[site]}
            groups = asked(self._clusters, site, prepared)
            coordinates = asked(self._coordinates, site, loops)
            self._sites[site] = Exploration(prepared, view, dimension, loops, groups, coordinates)
            yield site or "rows"
        if self._attributes:
            self._encoding = asked(self._places)
            yield "attributes"

    def _view(self, prepared: Prepared) -> Embedding:
        return umap(prepared, seed=self._seed) if self._picture == "umap" else pca(prepared)

    def _line(self, site: str, question: str, yes: str, no: str, found: bool, p: float) -> None:
        line = {"site": site, "question": question, "found": found, "p": p}
        self._lines.append(line | {"yes": yes + _at(site), "no": no + _at(site)})

    def _dimension(self, site: str, prepared: Prepared) -> IntrinsicDimension | None:
        try:
            dimension = intrinsic_dimension(prepared, seed=self._seed)
        except ValueError as error:
            self._unsaid.append(f"the dimension{_at(site)}: {error}")
            return None
        low, high = dimension.interval
        answer = (
            f"{dimension.estimate:.1f} dimensions ({low:.1f} to {high:.1f}) in {_components(dimension.n_components)}"
        )
        self._line(site, "dimension", answer, answer, False, np.nan)
        return dimension

    def _loops(self, site: str, prepared: Prepared, width: int) -> Significance:
        n = len(prepared.rows)
        landmarks = None if n <= ALL_ROWS else min(MOST_LANDMARKS, n // 10)
        diagram = persistence(prepared.narrowed(width, landmarks))
        test = _enough(
            lambda n_null: significance(
                diagram, n_null=n_null, alpha=max(self._level, 1 / (n_null + 1)), seed=self._seed
            ),
            self._n_draws,
        )
        where = f"in {_components(width)}"
        yes = f"{test.n_found} loop{'' if test.n_found == 1 else 's'} {where}"
        self._line(site, f"loops {where}", yes, f"no loops {where}", test.found, test.p)
        if n < WANTED_POINTS:
            self._unsaid.append(
                f"whether there is a faint loop{_at(site)}: {n} rows, and {WANTED_POINTS} are wanted; with labels, give their orders or cycles."
            )
        return test

    def _clusters(self, site: str, prepared: Prepared) -> Clusters | None:
        try:
            groups = _enough(
                lambda n_null: clusters(
                    prepared, n_null=n_null, alpha=max(self._level, 1 / (n_null + 1)), seed=self._seed
                ),
                self._n_draws,
            )
        except ValueError as error:
            self._unsaid.append(f"whether there are clusters{_at(site)}: {error}")
            return None
        stable = int((groups.stability >= STABLE).sum())
        yes = f"{groups.n_clusters} clusters, {stable} of them stable"
        self._line(site, "clusters", yes, "no clusters", groups.verdict == "clusters", groups.p)
        return groups

    def _coordinates(self, site: str, loops: Mapping[int, Significance]) -> CircularCoordinates | None:
        best = surest(loops)
        if not best.found:
            return None
        try:
            return circular_coordinates(best.diagram, seed=self._seed)
        except ValueError as error:
            self._unsaid.append(f"angles on the loop{_at(site)}: {error}")
            return None

    def _places(self) -> EncodingMap:
        found = encoding_map(
            self._prepared,
            self._attributes,
            kinds=dict.fromkeys(self._cycles, "cyclic"),
            orders={**self._orders, **self._cycles},
            alpha=self._level,
            n_permutations=max(299, int(np.ceil(len(self._attributes) / self._level)) - 1),
            seed=self._seed,
        )
        for line in found.frame().to_dict("records"):
            name, place = line["attribute"], line["place"]
            self._line(
                str(line["site"]),
                f"{ATTRIBUTE} {name}",
                f"{name} is {place}",
                f"{name} is not surely there",
                place != "not there",
                line["p"],
            )
        return found

    @property
    def _level(self) -> float:
        """Half of alpha goes to shapes and half to attributes, where there are any."""
        return self._alpha / 2 if self._attributes else self._alpha

    @property
    def _n_draws(self) -> int:
        """Null clouds that a p needs to stay below the level after correction for all looks at shapes."""
        return int(np.ceil(sum(len(widths) + 1 for widths in self._widths.values()) / self._level)) - 1

    def report(self, *, finished: bool) -> Report:
        """Return the report of what was asked so far, its p-values corrected together."""
        lines = pd.DataFrame(self._lines, columns=["site", "question", "found", "p", "yes", "no"])
        lines = lines.astype({"found": bool, "p": float})
        # the map of attributes has corrected its own
        mapped = lines["question"].str.startswith(f"{ATTRIBUTE} ").to_numpy()
        p = lines["p"].to_numpy().copy()
        p[~mapped] = adjusted(p[~mapped])
        lines["p_adjusted"] = np.minimum(1.0, p * self._alpha / self._level)
        lines["found"] &= lines["p_adjusted"] <= self._alpha
        lines.insert(2, "answer", lines["yes"].where(lines["found"], lines["no"]))
        first = next(iter(self._prepared.values()))
        return Report(
            lines.drop(columns=["yes", "no"]),
            self._sites,
            self._encoding,
            tuple(dict.fromkeys(self._unsaid)),
            self._alpha,
            finished,
            first.provenance,
        )


def _enough(ask: Callable[[int], Test], n_draws: int) -> Test:
    """Return a test with as many null clouds as its p needs: a hundred will do where ten of them already reach as much.

    A p that stops at the tenth such draw is as good as one of all draws (Besag & Clifford 1991).
    """
    test = ask(min(FEW_DRAWS, n_draws))
    return test if n_draws <= FEW_DRAWS or test.p > 10 / FEW_DRAWS else ask(n_draws)


def _by_site(cloud: Rows, sites: Sequence[str] | None) -> dict[str, Rows]:
    """Return the rows of each site."""
    known = getattr(cloud, "sites", None)
    if known is None:
        if sites is not None:
            raise ValueError(f"got sites={sites!r} for an array, which has none; leave sites out.")
        return {"": cloud}
    chosen = [str(site) for site in (known if sites is None else sites)]
    if not chosen:
        raise ValueError("got no sites; wanted at least one of the cloud's, or leave sites out.")
    return {site: cloud[site] for site in chosen}  # type: ignore[index,call-overload]


def _prepared(rows: Rows, within: Column | None, seed: int, memory: int) -> tuple[Prepared, NDArray[np.int64] | None]:
    """Return rows on the components that stand out, and which rows these are where they are not all.

    Two components at least: a loop needs a plane.
    """
    # read in float32, then points, rows and scores in float64
    if _on_disk(rows) and 28 * len(rows) * rows.lazy().shape[1] > memory:
        large = prepare_large(rows, "parallel", within=within, landmarks=None, seed=seed, progress=False)
        if large.scores.shape[1] < 2:
            large = prepare_large(rows, 2, within=within, landmarks=None, seed=seed, progress=False)
        return large.prepared, large.sample
    prepared = prepare(rows, "parallel", within=within, seed=seed)
    if prepared.scores.shape[1] < 2 <= min(prepared.rows.shape):
        prepared = prepare(rows, 2, within=within, seed=seed)
    return prepared, None


def _on_disk(rows: Rows) -> TypeGuard[Cloud]:
    # not by isinstance: importing Cloud loads zarr, which rows in memory do not need
    return is_cloud(rows) and getattr(rows, "path", None) is not None


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
