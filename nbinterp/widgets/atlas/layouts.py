"""Where the rows of a cloud lie: principal components, UMAP, circular coordinates, two columns; at one layer or at all.

Layouts are made of a sample where there are many rows, and the others are placed in them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import orthogonal_procrustes

from nbinterp.geometry.coordinates import circular_coordinates
from nbinterp.geometry.embedding import Embedding, pca, umap_embedding, umap_graph
from nbinterp.geometry.forces import advance, curve_of, decay, fuzzy_graph
from nbinterp.geometry.layout import UmapSession
from nbinterp.geometry.manifold import fit_manifold
from nbinterp.widgets.atlas.background import awaited, begun, unseen

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from nbinterp.clouds import Cloud
    from nbinterp.geometry.circular import CircleTest
    from nbinterp.geometry.neighbors import NeighborGraph
    from nbinterp.spaces import Floats
    from nbinterp.widgets.atlas.background import Progress
    from nbinterp.widgets.atlas.shapes import Found

    Places = NDArray[np.float32]

MOST_ROWS = 20_000
"""Layouts are made of so many rows at most; the others are placed among them."""

MOST_AT_ONCE = 500_000
"""With so many rows and sites together all sites are laid out; with more the one that is shown and its neighbours."""

MOST_NEIGHBOURS = 50
"""Neighbours that are found at once, so that the slider up to there finds them; for more they are found again."""

MOST_KEPT = 2**28
"""Numbers in the neighbour graphs that are kept: those of the last two sites always."""

Placing = Callable[["Floats", Sequence[int]], "Floats"]
"""Places other activations ``[row, feature]`` of these rows of the cloud: ``[row, 2]``."""

_FOLLOW_EPOCHS, _FOLLOW_ALPHA, _PULL = 200, 0.25, 0.5  # as geometry.align has them
_POLL = 0.03
_CHUNK = 5000
_SHOWN_EVERY = 2.0  # seconds between two pictures of rows that are placed one after the other


@dataclass(frozen=True, eq=False)
class Laid:
    """A layout at one site: ``xy [row, 2]``, NaN for rows set aside, what its axes are, and what to know of it."""

    xy: Places = field(repr=False)
    x: str
    y: str
    note: str
    place: Placing | None = field(default=None, repr=False)


class Rows:
    """The rows of a cloud at its sites, as layouts and tests take them.

    Parameters
    ----------
    cloud : Cloud
        At one site or several.
    within : str, optional
        Column of groups whose means are subtracted.
    seed : int
        Of the sample.
    """

    def __init__(self, cloud: Cloud, within: str | None, seed: int) -> None:
        self.cloud = cloud
        self.table = cloud.table
        self.within = within
        self.seed = seed
        self.sites = [str(site) for site in cloud.sites]
        self.n = len(cloud)
        self.sample = self._drawn(MOST_ROWS)

    def _drawn(self, most: int) -> NDArray[np.intp]:
        if self.n <= most:
            return np.arange(self.n)
        return np.sort(np.random.default_rng(self.seed).choice(self.n, most, replace=False))

    def at(self, site: int) -> Cloud:
        """Return the rows that layouts are made of, at one site."""
        one = self.cloud[self.sites[site]]
        return one if len(self.sample) == self.n else one.select(self.sample)

    def few(self, site: int, most: int) -> tuple[Cloud, NDArray[np.intp]]:
        """Return at most so many rows at one site, and which they are."""
        chosen = self._drawn(most)
        one = self.cloud[self.sites[site]]
        return (one if len(chosen) == self.n else one.select(chosen)), chosen

    def groups(self, rows: Sequence[int] | NDArray[np.intp]) -> list[Any] | None:
        """Return the group of each of these rows, where they are centred within groups."""
        if self.within is None:
            return None
        return list(self.table[self.within].iloc[list(rows)].tolist())

    def spread(
        self,
        places: Floats,
        place: Callable[[Cloud, Sequence[int]], Floats],
        site: int,
        progress: Progress,
        show: Callable[[Places], object] | None = None,
    ) -> Places:
        """Return the places of all rows ``[row, 2]``, given those of the sample, and what places others; `show` gets them as they come."""
        xy = np.full((self.n, 2), np.nan, dtype=np.float32)
        xy[self.sample] = places
        rest = np.setdiff1d(np.arange(self.n), self.sample, assume_unique=True)
        one = self.cloud[self.sites[site]]
        told = time.monotonic()
        for begin in range(0, len(rest), _CHUNK):
            progress(begin, len(rest))
            chunk = rest[begin : begin + _CHUNK]
            xy[chunk] = place(one.select(chunk), chunk.tolist())
            if show is not None and time.monotonic() - told >= _SHOWN_EVERY:
                show(xy)
                told = time.monotonic()
        return xy

    def level(self, points: Floats, which: Sequence[int], means: Mapping[Any, Floats]) -> Floats:
        """Return activations of these rows ``[row, feature]`` less the means of their groups, where rows are centred within groups."""
        groups = self.groups(which)
        return points if groups is None else points - np.stack([means[group] for group in groups])

    def means(self, cloud: Cloud) -> dict[Any, Floats]:
        """Return by how much each group's mean lies off the mean of all: ``[feature]`` each; nothing without groups."""
        if self.within is None:
            return {}
        points, whole = cloud.points, cloud.points.mean(axis=0)
        return {group: points[which].mean(axis=0) - whole for group, which in _by_group(cloud, self.within)}

    @property
    def note(self) -> str:
        """What to know of layouts of a sample; empty where it is all rows."""
        if len(self.sample) == self.n:
            return ""
        return f"; made of {len(self.sample):,} of {self.n:,} rows, the others placed in it"


class Principal:
    """Principal components at each site, each picture turned onto its neighbour's, in units of its own extent: `known` by site."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.known: dict[int, Laid] = {}
        self._turns: dict[int, Floats] = {}

    def at(self, site: int, progress: Progress) -> Laid:
        """Return the layout at a site."""
        if site not in self.known:
            shown = pca(self._rows.at(site), 2, within=self._rows.within)
            places, turn = shown.coordinates, self._turn(site, shown)
            self._turns[site] = turn
            xy = self._rows.spread(
                places @ turn,
                lambda rows, which: shown.transform(rows, groups=self._rows.groups(which)) @ turn,
                site,
                progress,
            )
            ratio = shown.explained_variance_ratio
            shares = ratio if ratio is not None else np.zeros(2)
            note = f"{shares.sum():.0%} of the variance ({shares[0]:.0%} and {shares[1]:.0%}); {kept(shown)}{self._rows.note}"
            # turned onto a neighbour's picture, the axes are no single components any more
            titles = ("first principal component", "second principal component")
            if len(self.known):
                titles = ("first axis of the principal plane, turned", "second axis of the principal plane, turned")
            self.known[site] = Laid(xy, *titles, note)
        return self.known[site]

    def place(self, site: int, rows: Floats, which: Sequence[int]) -> Floats:
        """Return where other activations ``[row, feature]`` of these rows lie in the layout."""
        shown = pca(self._rows.at(site), 2, within=self._rows.within)
        placed: Floats = shown.transform(rows, groups=self._rows.groups(which)) @ self._turns[site]
        return placed

    def _turn(self, site: int, shown: Embedding) -> Floats:
        """Return what turns, mirrors and scales a picture ``[2, 2]``: onto the nearest site that is known, to a spread of 1."""
        places = shown.coordinates
        there = np.isfinite(places).all(axis=1)
        scale = float(np.sqrt(places[there].var(axis=0).sum())) or 1.0
        if not self.known:
            return np.eye(2) / scale
        nearest = min(self.known, key=lambda known: abs(known - site))
        goal = self.known[nearest].xy[self._rows.sample].astype(np.float64)
        both = there & np.isfinite(goal).all(axis=1)
        turn = np.asarray(orthogonal_procrustes(places[both], goal[both])[0], dtype=np.float64)
        return turn / scale


class Umap:
    """UMAP that follows the sliders at the site that is shown, and then the layers beside it, one after the other."""

    def __init__(self, rows: Rows, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._known: dict[tuple[int, float], dict[int, Laid]] = {}
        self._session: tuple[int, UmapSession] | None = None
        self._graphs: OrderedDict[int, tuple[int, Future[NeighborGraph]]] = OrderedDict()
        self._onto: Callable[[Floats], Floats] = _as_it_is

    def known(self, n_neighbors: int, min_dist: float) -> Mapping[int, Laid]:
        """Return the settled layouts of these settings, by site."""
        return self._known.get((n_neighbors, min_dist), {})

    def lay_out(
        self, site: int, n_neighbors: int, min_dist: float, show: Callable[[Laid], object], progress: Progress
    ) -> Laid:
        """Lay out one site: `show` gets the first frame soon, and then others until the layout is at rest."""
        key = (n_neighbors, min_dist)
        if site in self._known.get(key, {}):
            return self._known[key][site]
        graph = self._graph(site, n_neighbors, progress)
        if self._session is None or self._session[0] != site or self._session[1].graph is not graph:
            self.close()
            # its threads need no frames of ours: they are fetched below, by the thread that may be stopped
            session = UmapSession(graph, n_neighbors=n_neighbors, min_dist=min_dist, seed=self._seed)
            self._session = (site, session)
            progress()
            first = session.update()
            self._onto = self._laid_onto_old(site, first)
        else:
            session = self._session[1]
            first = session.update(n_neighbors=n_neighbors, min_dist=min_dist)
        frame = first
        show(self._sampled(frame))
        while not session.settled:
            progress()
            time.sleep(_POLL)
            if session.embedding is not frame:
                frame = session.embedding
                show(self._sampled(frame))
        frame = session.settle()
        onto = self._onto
        xy = self._rows.spread(
            onto(frame.coordinates),
            lambda rows, which: onto(frame.transform(rows, groups=self._rows.groups(which))),
            site,
            progress,
            lambda placed: show(_umap_laid(placed, f"placing the other rows{self._rows.note}")),
        )
        laid = _umap_laid(xy, f"{kept(frame)}; distances between clusters mean nothing{self._rows.note}")
        self._known.setdefault(key, {})[site] = laid
        return laid

    def follow(self, site: int, beside: int, n_neighbors: int, min_dist: float, progress: Progress) -> Laid:
        """Lay out a site so that its rows stay near their places at the one beside it, which is known."""
        key = (n_neighbors, min_dist)
        known = self._known[key]
        if site in known:
            return known[site]
        graph = self._graph(site, n_neighbors, progress)
        fuzzy = fuzzy_graph(graph, n_neighbors)
        progress()
        anchor = _by_point(known[beside].xy[self._rows.sample], graph)
        alphas = decay(_FOLLOW_EPOCHS, _FOLLOW_ALPHA)
        moved = advance(anchor, fuzzy, curve_of(min_dist), alphas, seed=self._seed, anchor=anchor, pull=_PULL)
        assert moved is not None  # nobody told it to stop
        layout = _onto(moved.astype(np.float64), anchor.astype(np.float64))(moved.astype(np.float64))
        shown = self._made(graph, layout.astype(np.float32), n_neighbors, min_dist)
        xy = self._rows.spread(
            shown.coordinates,
            lambda rows, which: shown.transform(rows, groups=self._rows.groups(which)),
            site,
            progress,
        )
        note = f"{kept(shown)}; laid out from the layer beside{self._rows.note}"
        known[site] = _umap_laid(xy, note)
        return known[site]

    def place(self, site: int, n_neighbors: int, min_dist: float, rows: Floats, which: Sequence[int]) -> Floats:
        """Return where other activations ``[row, feature]`` of these rows lie in a layout that is known."""
        graph = self._graph(site, n_neighbors, unseen)
        known = self._known[n_neighbors, min_dist][site].xy[self._rows.sample]
        shown = self._made(graph, _by_point(known, graph), n_neighbors, min_dist)
        return shown.transform(rows, groups=self._rows.groups(which))

    def _graph(self, site: int, n_neighbors: int, progress: Progress) -> NeighborGraph:
        """Return the neighbours at a site, which are found once, whatever sliders do; who stops waiting loses nothing."""
        rows = self._rows
        k = min(max(n_neighbors, MOST_NEIGHBOURS), rows.n)
        known, finding = self._graphs.pop(site, (0, None))
        if finding is None or known < n_neighbors or (finding.done() and finding.exception() is not None):

            def find() -> NeighborGraph:
                chosen = {"within": rows.within, "max_norm_ratio": 3.0, "seed": self._seed}
                return umap_graph(rows.at(site), n_neighbors, k_max=k, **chosen)  # type: ignore[arg-type]

            known, finding = k, begun(find)
        self._graphs[site] = known, finding
        graph = awaited(finding, progress)
        # its points are there as they were given, centred and projected
        while len(self._graphs) > max(2, MOST_KEPT // (3 * graph.source.points.size)):
            self._graphs.popitem(last=False)
        return graph

    def _made(self, graph: NeighborGraph, layout: Places, n_neighbors: int, min_dist: float) -> Embedding:
        settings = {"n_neighbors": n_neighbors, "min_dist": min_dist, "seed": self._seed}
        return umap_embedding(graph, layout, settings, densmap=False)

    def close(self) -> None:
        """End the background."""
        if self._session is not None:
            self._session[1].close()
            self._session = None

    def _laid_onto_old(self, site: int, first: Embedding) -> Callable[[Floats], Floats]:
        """Return what lays the frames of a new session onto the picture that there was of this site or one beside it."""
        for known in self._known.values():
            if known:
                old = known[min(known, key=lambda other: abs(other - site))].xy[self._rows.sample].astype(np.float64)
                both = np.isfinite(old).all(axis=1) & np.isfinite(first.coordinates).all(axis=1)
                return _onto(first.coordinates[both], old[both])
        return _as_it_is

    def _sampled(self, frame: Embedding) -> Laid:
        xy = np.full((self._rows.n, 2), np.nan, dtype=np.float32)
        xy[self._rows.sample] = self._onto(frame.coordinates)
        return _umap_laid(xy, f"still moving{self._rows.note}")


def circular(rows: Rows, site: int, found: Found, progress: Progress) -> tuple[Laid, Floats]:
    """Return the rows round the longest-lived loop: angle and distance from its middle; and the angles ``[row]``."""
    progress()
    coordinates = circular_coordinates(found.diagram, seed=rows.seed)
    frame = coordinates.frame()
    angles, radius = np.full(rows.n, np.nan), np.full(rows.n, np.nan)
    angles[found.rows] = frame["angle"].to_numpy()
    distance = np.hypot(frame["x"].to_numpy(), frame["y"].to_numpy())
    radius[found.rows] = distance / np.nanmedian(distance)
    test = found.test
    sure = (
        f"a loop (p = {test.p:.2g})"
        if test.found
        else f"not significant: {test.verdict} (p = {test.p:.2g}), an angle is drawn all the same"
    )
    typical = np.degrees(np.nanmedian(coordinates.uncertainty))
    note = f"circular coordinate of {coordinates.class_id}; {sure}; held-out R² {coordinates.r2:.2f}, an angle is known to ± {typical:.0f}°"
    if len(found.rows) < rows.n:
        note += f"; {len(found.rows):,} of {rows.n:,} rows have an angle"
    titles = ("cosine of the angle × distance", "sine of the angle × distance")
    loop, middle = coordinates.loop, np.nanmedian(distance)
    basis = np.linalg.svd(np.concatenate([loop.cosines, loop.sines]), full_matrices=False)[2][:2]
    means = rows.means(rows.cloud[rows.sites[site]].select(found.rows))

    def place(other: Floats, which: Sequence[int]) -> Floats:
        level = rows.level(other, which, means)
        lengths = np.linalg.norm((level - loop.centre) @ basis.T, axis=1) / middle
        return _round(coordinates.decoder.transform(level).reshape(-1), lengths).astype(np.float64)

    return Laid(_round(angles, radius), *titles, note, place), angles


def labelled_circle(rows: Rows, site: int, by: str, progress: Progress) -> Laid:
    """Return the rows in the plane of the circle of their labels."""
    progress()
    cloud = rows.at(site)
    circle = fit_manifold(cloud, by=by, within=rows.within, harmonics=1)
    radius = np.linalg.norm(circle.plane.coordinates(circle.centroids.points + circle.plane.centre), axis=1).mean()
    means = rows.means(cloud)

    def place(other: Floats, which: Sequence[int]) -> Floats:
        places: Floats = circle.plane.coordinates(rows.level(other, which, means)) / radius
        return places

    xy = rows.spread(
        place(cloud.points, rows.sample.tolist()), lambda rest, which: place(rest.points, which), site, progress
    )
    note = _circle_note(by, circle.test) + rows.note
    return Laid(xy, "plane of the circle (mean radius 1)", "second axis of the plane", note, place)


def columns(rows: Rows, x: str, y: str) -> Laid:
    """Return two columns of numbers as places."""
    xy = np.stack([rows.table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in (x, y)], axis=1)
    xy[~np.isfinite(xy)] = np.nan
    return Laid(xy.astype(np.float32), x, y, "two columns of the table")


def outwards(site: int, sites: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the other sites, nearest first, each with the one beside it that came before.

    Examples
    --------
    >>> list(outwards(2, range(4)))
    [(1, 2), (3, 2), (0, 1)]
    """
    for other in sorted((s for s in sites if s != site), key=lambda s: (abs(s - site), s)):
        yield other, other + (1 if other < site else -1)


def kept(shown: Embedding) -> str:
    """Return how faithful a picture is, against chance."""
    if np.isnan(shown.faithfulness):
        return "too few rows to say how faithful it is"
    return f"keeps {shown.faithfulness:.0%} of the true 15 nearest neighbours ({shown.faithfulness_null:.0%} by chance)"


def _circle_note(by: str, test: CircleTest) -> str:
    sure = "a circle" if test.found else f"{test.verdict}, drawn all the same"
    return f"plane of the circle of {by}: {sure} (order p = {test.p:.2g}, last to first {test.wrap_ratio:.2f} times a step)"


def _umap_laid(xy: Places, note: str) -> Laid:
    return Laid(xy, "UMAP 1", "UMAP 2", note)


def _round(angles: Floats, radius: Floats) -> Places:
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1).astype(np.float32)


def _by_point(places: Places, graph: NeighborGraph) -> Places:
    """Return the places ``[row, 2]`` of rows as those of the points of a graph: ``[point, 2]``."""
    of_row = graph.source.point_of_row
    layout = np.zeros((len(graph.source.points), 2), dtype=np.float32)
    layout[of_row[of_row >= 0]] = np.nan_to_num(places[of_row >= 0])
    return layout


def _by_group(cloud: Cloud, within: str) -> Iterator[tuple[Any, NDArray[np.intp]]]:
    for group, rows in cloud.table.groupby(within, sort=False).indices.items():
        yield group, np.asarray(rows)


def _as_it_is(places: Floats) -> Floats:
    return places


def _onto(places: Floats, goal: Floats) -> Callable[[Floats], Floats]:
    """Return what turns, mirrors and shifts places onto others of the same rows, which changes no distance."""
    middle, aim = places.mean(axis=0), goal.mean(axis=0)
    turn = orthogonal_procrustes(places - middle, goal - aim)[0]
    return lambda moved: np.asarray((moved - middle) @ turn + aim, dtype=np.float64)
