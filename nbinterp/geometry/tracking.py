"""Diagrams of the same rows at many sites, and which loops live on from one site to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.geometry.homology import enclosing_radius
from nbinterp.geometry.persistence import Diagram, persistence
from nbinterp.geometry.told import Told
from nbinterp.geometry.vectors import bottleneck, wasserstein

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.geometry.circular import CloudOfSites
    from nbinterp.geometry.distances import Metric
    from nbinterp.geometry.preparation import Components, LandmarkMethod, Prepared
    from nbinterp.geometry.rows import Column, Rows
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

TRACKED = 3
"""Loops of each site that are followed to the next, the longest-lived ones."""


class DiagramsStopped(KeyboardInterrupt):
    """A run over sites was interrupted; the diagrams that were finished are in `partial`.

    Parameters
    ----------
    message : str
        What happened.
    partial : LayerDiagrams
        What is there.
    """

    def __init__(self, message: str, partial: LayerDiagrams) -> None:
        super().__init__(message)
        self.partial = partial


@dataclass(frozen=True, eq=False)
class LayerDiagrams(Told):
    """Persistence diagrams of the same rows at several sites, in their order.

    Parameters
    ----------
    sites : tuple of str
        Where.
    diagrams : tuple of Diagram, ``[site]``
        What `persistence` gave there.
    n_tracked : int
        How many loops of each site are followed to the next.
    provenance : str
        What was done, for people to read.
    """

    sites: tuple[str, ...]
    diagrams: tuple[Diagram, ...] = field(repr=False)
    n_tracked: int
    provenance: str

    def __getitem__(self, site: str | Site) -> Diagram:
        """Return the diagram of a site; LookupError when there is none."""
        if str(site) not in self.sites:
            raise LookupError(
                f"got {str(site)!r}, which is not among the sites {', '.join(self.sites)}: choose one of them."
            )
        return self.diagrams[self.sites.index(str(site))]

    def __len__(self) -> int:
        return len(self.sites)

    def frame(self) -> pd.DataFrame:
        """Return one line a site and class: ``site``, ``class_id``, ``dimension``, ``birth``, ``death``, ``persistence``, ``ratio``."""
        frames = [
            pd.DataFrame(
                {
                    "site": site,
                    "class_id": [f"H{dimension}.{i}" for i in range(len(pairs))],
                    "dimension": dimension,
                    "birth": pairs[:, 0],
                    "death": pairs[:, 1],
                    "persistence": pairs[:, 1] - pairs[:, 0],
                    "ratio": pairs[:, 1] / np.where(pairs[:, 0] > 0, pairs[:, 0], np.nan),
                }
            )
            for site, diagram in zip(self.sites, self.diagrams, strict=True)
            for dimension, pairs in enumerate(diagram.pairs)
        ]
        return pd.concat(frames, ignore_index=True)

    def lives_on(self) -> pd.DataFrame:
        """Say which of the longest-lived loops of each site are loops at the next one too.

        A loop that stands for a class is a closed walk over rows. The same rows are walked at the next site, whose
        distances they then have: that walk is there from the scale of its longest step on. The class lives on if, at
        this scale, the walk still goes round something: if a cocycle that is alive there is not zero on it. This is exact for
        the walk; another walk that stands for the same class might be drawn at a smaller scale, so that "lives on" is
        proved and "does not" is not. Rows that were set aside at the next site are stepped over. With landmarks, each
        becomes the one that most of its rows belong to there.

        Returns
        -------
        DataFrame
            One line a site but the last and class: ``site``, ``class_id``, ``next_site``, ``scale`` of the walk there,
            ``lives_on``, ``continues_as`` (the longest-lived class that it goes round there, "" where none),
            ``next_classes`` (all that it goes round, separated by spaces: several where a loop has split or runs
            round others).
        """
        return self._steps.copy()

    def lineages(self) -> pd.DataFrame:
        """Return the tracked loops put together: one line a lineage, from its first to its last site.

        Returns
        -------
        DataFrame
            ``first_site``, ``last_site``, ``n_sites``, ``classes`` (one id a site, separated by spaces), most sites
            first. Where two loops go on in one class, the longer-lived keeps the line.
        """
        followed: dict[tuple[str, str], tuple[str, str]] = {}
        for line in self._steps.to_dict("records"):
            target = (str(line["next_site"]), str(line["continues_as"]))
            # the longer-lived come first
            if line["lives_on"] and target not in followed.values():
                followed[str(line["site"]), str(line["class_id"])] = target
        targets = set(followed.values())
        lines = []
        starts = [
            (site, f"H1.{i}")
            for site, diagram in zip(self.sites, self.diagrams, strict=True)
            for i in range(min(self.n_tracked, len(diagram.h1)))
        ]
        for start in starts:
            if start in targets:
                continue
            chain = [start]
            while chain[-1] in followed:
                chain.append(followed[chain[-1]])
            lines.append(
                {
                    "first_site": chain[0][0],
                    "last_site": chain[-1][0],
                    "n_sites": len(chain),
                    "classes": " ".join(class_id for _, class_id in chain),
                }
            )
        found = pd.DataFrame(lines, columns=["first_site", "last_site", "n_sites", "classes"])
        return found.sort_values("n_sites", ascending=False, kind="stable", ignore_index=True)

    def distances(self, which: Literal["bottleneck", "wasserstein"] = "bottleneck", dimension: int = 1) -> pd.DataFrame:
        """Return how far the diagrams of each two sites are from each other: ``[site, site]``.

        Distances are in the units of the activations, which grow from layer to layer in most models.
        """
        measure = {"bottleneck": bottleneck, "wasserstein": wasserstein}.get(which)
        if measure is None:
            raise ValueError(f"got which={which!r}; choose from bottleneck, wasserstein.")
        n = len(self)
        matrix = np.zeros((n, n))
        for i in range(n):
            for j in range(i):
                matrix[i, j] = matrix[j, i] = measure(self.diagrams[i], self.diagrams[j], dimension)
        return pd.DataFrame(matrix, index=list(self.sites), columns=list(self.sites))

    def chart(self) -> alt.LayerChart:
        """Return the longest-lived loops at each site, joined where they live on."""
        from nbinterp.charts.diagrams import layers_chart

        return layers_chart(self.frame(), self.lives_on(), n_classes=self.n_tracked, title="Loops from site to site")

    def __repr__(self) -> str:
        lines = [f"LayerDiagrams at {len(self)} sites"]
        for site, diagram in zip(self.sites, self.diagrams, strict=True):
            longest = "no loop"
            if len(diagram.h1):
                birth, death = diagram.h1[0]
                longest = f"{len(diagram.h1)} loops, the longest-lived from {birth:.3g} to {death:.3g}"
            lines.append(f"  {site}: {longest}")
        return "\n".join([*lines, f"  {self.provenance}"])

    @cached_property
    def _steps(self) -> pd.DataFrame:
        lines = []
        for k in range(len(self) - 1):
            for i, (scale, classes) in enumerate(_continued(self.diagrams[k], self.diagrams[k + 1], self.n_tracked)):
                lines.append(
                    {
                        "site": self.sites[k],
                        "class_id": f"H1.{i}",
                        "next_site": self.sites[k + 1],
                        "scale": scale,
                        "lives_on": bool(classes),
                        "continues_as": f"H1.{classes[0]}" if classes else "",
                        "next_classes": " ".join(f"H1.{j}" for j in classes),
                    }
                )
        columns = ["site", "class_id", "next_site", "scale", "lives_on", "continues_as", "next_classes"]
        return pd.DataFrame(lines, columns=columns)


def diagrams_across(
    clouds: CloudOfSites | Mapping[str, Rows | Prepared],
    sites: Sequence[str | Site] | None = None,
    n_components: Components = 2,
    *,
    n_tracked: int = TRACKED,
    max_dimension: int = 1,
    metric: Metric = "euclidean",
    prime: int = 2,
    within: Column | None = None,
    landmarks: int | None = None,
    landmark_method: LandmarkMethod = "k-means",
    n_neighbors: int = 15,
    max_points: int | None = None,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> LayerDiagrams:
    """Compute the persistent homology of the same rows at several sites.

    Parameters
    ----------
    clouds : Cloud of several sites, or mapping of name to what `persistence` takes
        The same rows, in the same order, at each site.
    sites : sequence of str or Site, optional
        Which, in the order to follow; by default all.
    n_tracked : int
        How many of the longest-lived loops of each site `LayerDiagrams.lives_on` follows to the next.
    n_components, max_dimension, metric, prime, within, landmarks, landmark_method, n_neighbors, max_points, max_norm_ratio, seed
        As for `persistence`.
    progress : callable, optional
        Called with the sites done and wanted, after each.

    Raises
    ------
    ValueError, LookupError
        As for `persistence`; for other numbers of rows at different sites, an unknown site, or none.
    DiagramsStopped
        When interrupted: the diagrams that were finished are in its `partial`.
    """
    if n_tracked < 1:
        raise ValueError(f"got n_tracked={n_tracked}; wanted at least 1 loop to follow.")
    chosen = _chosen(clouds, sites)
    done: dict[str, Diagram] = {}

    def together(note: str = "") -> LayerDiagrams:
        provenance = f"{next(iter(done.values())).provenance}; the same at each site{note}"
        return LayerDiagrams(tuple(done), tuple(done.values()), n_tracked, provenance)

    try:
        for name, cloud in chosen.items():
            found = persistence(
                cloud,
                n_components,
                max_dimension=max_dimension,
                metric=metric,
                prime=prime,
                within=within,
                landmarks=landmarks,
                landmark_method=landmark_method,
                n_neighbors=n_neighbors,
                max_points=max_points,
                max_norm_ratio=max_norm_ratio,
                seed=seed,
            )
            first = next(iter(done.values()), found)
            if len(found.point_of_row) != len(first.point_of_row):
                raise ValueError(
                    f"got {len(found.point_of_row)} rows at {name} and {len(first.point_of_row)} at {next(iter(done))}; "
                    "wanted the same rows at each site."
                )
            done[name] = found
            if progress is not None:
                progress(len(done), len(chosen))
    except KeyboardInterrupt:
        if not done:
            raise
        missing = [name for name in chosen if name not in done]
        raise DiagramsStopped(
            f"stopped after {len(done)} of {len(chosen)} sites, which are in this exception's .partial; missing are {', '.join(missing)}.",
            together(f"; interrupted, without {', '.join(missing)}"),
        ) from None
    return together()


def _chosen(
    clouds: CloudOfSites | Mapping[str, Rows | Prepared], sites: Sequence[str | Site] | None
) -> dict[str, Rows | Prepared]:
    if isinstance(clouds, Mapping):
        known = list(clouds)
    elif hasattr(clouds, "sites"):
        known = [str(site) for site in clouds.sites]
    else:
        raise TypeError(
            f"got {type(clouds).__name__}; wanted a cloud of several sites, or a mapping of names to clouds or arrays."
        )
    names = known if sites is None else [str(site) for site in sites]
    if not names:
        raise ValueError("got no sites; wanted at least one.")
    for name in names:
        if name not in known:
            raise LookupError(f"got site {name!r}; known are {', '.join(map(str, known))}: choose from these.")
    return {name: clouds[name] for name in names}


def _continued(here: Diagram, there: Diagram, n_tracked: int) -> list[tuple[float, list[int]]]:
    """Return for each tracked loop the scale at which its rows are a loop there, and the classes that it goes round."""
    new_point = _moved(here, there)
    loops = [_drawn(here.loop(i), new_point) for i in range(min(n_tracked, len(here.h1)))]
    scales = [float(there.distances[walk, np.roll(walk, -1)].max()) if len(walk) > 2 else np.nan for walk in loops]
    # beyond, one point is joined to all others and no loop is left
    end = enclosing_radius(there.distances)
    living = [scale for scale in scales if scale < end]
    if not living:
        return [(scale, []) for scale in scales]
    found = there.cocycles(max(living))
    names = _numbers(found.pairs, there.h1)
    continued: list[tuple[float, list[int]]] = []
    for walk, scale in zip(loops, scales, strict=True):
        around: list[int] = []
        if scale < end:
            goes_round = found.alive(scale) & (found.around(walk.tolist()) != 0)
            around = sorted(int(names[k]) for k in np.flatnonzero(goes_round))
        continued.append((scale, around))
    return continued


def _moved(here: Diagram, there: Diagram) -> NDArray[np.int64]:
    """Return for each point here the point there that most of its rows became, −1 where all were set aside: ``[point]``."""
    both = (here.point_of_row >= 0) & (there.point_of_row >= 0)
    before, after = here.point_of_row[both], there.point_of_row[both]
    edges, counts = np.unique(np.column_stack([before, after]), axis=0, return_counts=True)
    new_point = np.full(here.n_points, -1, dtype=np.int64)
    # the last one written is the one with most rows
    order = np.argsort(counts, kind="stable")
    new_point[edges[order, 0]] = edges[order, 1]
    return new_point


def _drawn(walk: list[int], new_point: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a closed walk in the points there, those that are missing or come twice in a row left out."""
    points = new_point[walk]
    points = points[points >= 0]
    return points[points != np.roll(points, 1)] if len(np.unique(points)) > 1 else points[:1]


def _numbers(born: Floats, classes: Floats) -> NDArray[np.int64]:
    """Return which of the diagram's classes each of those up to a threshold is: ``[class up to the threshold]``."""
    numbers = np.full(len(born), -1, dtype=np.int64)
    free = np.ones(len(classes), dtype=bool)
    for k, (birth, death) in enumerate(born):
        # the same edges: births are equal but for rounding; a death beyond the threshold is not known
        apart = np.abs(classes[:, 0] - birth) + (np.abs(classes[:, 1] - death) if np.isfinite(death) else 0)
        apart[~free] = np.inf
        numbers[k] = int(apart.argmin())
        free[numbers[k]] = False
    return numbers
