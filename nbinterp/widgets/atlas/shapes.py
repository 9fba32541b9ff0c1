"""Persistent homology of a cloud as the atlas shows it: which classes, which rows stand for them, and how sure they are."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nbinterp.geometry.persistence import Diagram, persistence
from nbinterp.geometry.significance import Significance, significance
from nbinterp.widgets.protocol import Feature, Shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nbinterp.widgets.atlas.background import Background, Progress
    from nbinterp.widgets.atlas.layouts import Rows

N_NULL = 199
"""Gaussian clouds behind the verdict on loops: p reaches 0.005."""

SETTLED = 0.25
"""Seconds that the hand rests at a site before loops are looked for there: each look counts."""

_POLL = 0.02

MOST_BARS = 60
"""Longest-lived classes of each dimension that are shown."""

MOST_EXACT = 400
"""Rows up to which homology sees each of them: 199 null clouds of as many take seconds."""

SAMPLE = 3000
LANDMARKS = 300
MOST_FOR_CAVITIES = 120
"""Points up to which cavities are looked for; their cost grows with the fifth power."""


@dataclass(frozen=True, eq=False)
class Found:
    """The shapes of a cloud at one site, for Python and for the page."""

    diagram: Diagram
    test: Significance
    rows: NDArray[np.intp] = field(repr=False)  # of the cloud, by those that homology saw
    message: Shapes = field(repr=False)


class Homology:
    """The shapes of a cloud at its sites, each looked for once, in the background.

    Parameters
    ----------
    rows : Rows
        The cloud.
    n_components : int or None
        Principal components that homology sees.
    seed : int
        Of samples, landmarks and null clouds.
    background : Background
        Where it works.
    on_found : callable
        Given what was found at a site, and whether that is new, which makes it a look.
    """

    def __init__(
        self,
        rows: Rows,
        n_components: int | None,
        seed: int,
        background: Background,
        on_found: Callable[[Found, bool], object],
    ) -> None:
        self.known: dict[int, Found] = {}
        self._rows = rows
        self._n_components = n_components
        self._seed = seed
        self._background = background
        self._on_found = on_found
        self._lock = threading.Lock()

    def look_soon(self, site: int) -> None:
        """Look for shapes at a site when the hand has rested there; those that are known are found at once."""
        if site in self.known:
            self._on_found(self.known[site], False)
            return

        def look(progress: Progress) -> None:
            rested = time.monotonic() + (SETTLED if self.known else 0)
            while time.monotonic() < rested:
                progress()
                time.sleep(_POLL)
            self.at(site, progress)

        self._background.ask("looking for loops", look)

    def at(self, site: int, progress: Progress) -> Found:
        """Return the shapes at a site, looked for if need be."""
        # two threads that want the same are one look
        while not self._lock.acquire(timeout=_POLL):
            progress()
        try:
            new = site not in self.known
            if new:
                self.known[site] = shapes_at(self._rows, site, self._n_components, N_NULL, self._seed, progress)
        finally:
            self._lock.release()
        if new:
            self._on_found(self.known[site], True)
        return self.known[site]

    def now(self, site: int) -> Found:
        """Return the shapes at a site, waiting for what is looked for already."""
        self._background.wait()
        return self.at(site, lambda done=0, total=0: None)


def shapes_at(rows: Rows, site: int, n_components: int | None, n_null: int, seed: int, progress: Progress) -> Found:
    """Compute persistent homology at a site, test its loops, and find rows that stand for its classes.

    Raises
    ------
    ValueError
        For fewer than three different rows, and what else `persistence` refuses.
    """
    cloud, chosen = rows.few(site, SAMPLE)
    landmarks = LANDMARKS if len(cloud) > MOST_EXACT else None
    seen = landmarks or len(cloud)
    width = cloud.points.shape[1] if n_components is None else n_components
    deepest = 2 if width > 2 and seen <= MOST_FOR_CAVITIES else 1
    progress()
    diagram = persistence(
        cloud, n_components=n_components, max_dimension=deepest, within=rows.within, landmarks=landmarks, seed=seed
    )
    progress(0, n_null)
    test = significance(diagram, n_null=n_null, seed=seed, progress=progress)
    features = [one for dimension in range(deepest + 1) for one in _features(diagram, dimension, chosen, progress)]
    finite = [value for pairs in diagram.pairs for value in pairs[np.isfinite(pairs)].tolist()]
    end = 1.08 * max(finite, default=1.0)
    for feature in features:
        # JSON has no infinity: what never dies ends with the picture
        feature["death"] = min(feature["death"], end)
    threshold, ratio = test.limits
    message = Shapes(
        site=site,
        features=features,
        threshold=threshold,
        ratio=ratio,
        end=end,
        p=float(test.p) if np.isfinite(test.p) else None,  # type: ignore[typeddict-item]
        verdict=_verdict(test),
        note=_note(rows, diagram, landmarks, len(chosen), deepest),
    )
    return Found(diagram, test, chosen, message)


def _features(diagram: Diagram, dimension: int, chosen: NDArray[np.intp], progress: Progress) -> list[Feature]:
    pairs = diagram.pairs[dimension]
    of_class: dict[str, list[int]] = {}
    if dimension != 1:
        members = diagram.members(dimension)
        of_class = {str(name): part.tolist() for name, part in members.groupby("class_id", sort=False)["row"]}
    order = np.argsort(diagram.point_of_row, kind="stable")
    starts = np.searchsorted(diagram.point_of_row[order], np.arange(diagram.n_points + 1))
    features = []
    for i in range(min(len(pairs), MOST_BARS)):
        progress()
        name = f"H{dimension}.{i}"
        if dimension == 1:
            # the order of the walk, which `Diagram.cycles` gives up
            rows = [int(row) for point in diagram.loop(i) for row in order[starts[point] : starts[point + 1]]]
        else:
            rows = of_class.get(name, [])
        features.append(
            Feature(
                id=name,
                dimension=dimension,
                birth=float(pairs[i, 0]),
                death=float(pairs[i, 1]),
                rows=chosen[rows].tolist(),
            )
        )
    return features


def _verdict(test: Significance) -> str:
    if not np.isfinite(test.p):
        return f"{test.verdict}: {test.n_points} points."
    several = f"{test.n_found} loops" if test.n_found > 1 else test.verdict
    return (
        f"{several}: p = {test.p:.2g} against {test.n_null} Gaussian clouds of the same covariance; the longest-lived class lives "
        f"{test.lifetime:.3g}, and {test.prominence:.1f} times as long as the next."
    )


def _note(rows: Rows, diagram: Diagram, landmarks: int | None, n_chosen: int, deepest: int) -> str:
    said = [f"on {_components(diagram)}"]
    if n_chosen < rows.n:
        said.append(f"a sample of {n_chosen:,} of {rows.n:,} rows")
    if landmarks is not None:
        off = diagram.prepared.landmark_error
        said.append(f"{landmarks} landmarks stand for the rows: births and deaths are off by at most {2 * off:.3g}")
    if deepest < 2:
        said.append("cavities were not looked for")
    return "; ".join(said)


def _components(diagram: Diagram) -> Any:
    n = diagram.points.shape[1]
    return f"{n} principal components" if diagram.prepared.preparation.n_components is not None else f"all {n} features"
