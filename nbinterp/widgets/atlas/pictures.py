"""The pictures that an atlas shows: which layout at which sites is wanted, made in the background, the newest wish first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.widgets.atlas.background import unseen
from nbinterp.widgets.atlas.layouts import (
    MOST_AT_ONCE,
    Laid,
    Principal,
    Rows,
    Umap,
    circular,
    columns,
    labelled_circle,
    outwards,
)
from nbinterp.widgets.protocol import Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nbinterp.spaces import Floats
    from nbinterp.widgets.atlas.background import Progress
    from nbinterp.widgets.atlas.layouts import Places
    from nbinterp.widgets.atlas.shapes import Found
    from nbinterp.widgets.protocol import AtlasView


@dataclass(eq=False)
class Pictures:
    """Layouts of a cloud at its sites, each made once.

    Parameters
    ----------
    rows : Rows
        The cloud.
    labels : str
        Column of labels that go round; ``""`` where they do not, so that a loop is looked for.
    seed : int
        Of UMAP.
    show : callable
        Given a layout's name and its places by site whenever there are more.
    shapes_at : callable
        Returns the shapes at a site, for circular coordinates.
    found_angles : callable
        Given the angles ``[row]`` when there are some.
    """

    rows: Rows
    labels: str
    seed: int
    show: Callable[[str, Mapping[int, Laid]], object]
    shapes_at: Callable[[int, Progress], Found]
    found_angles: Callable[[Floats], object]
    _circular: dict[int, Laid] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.principal = Principal(self.rows)
        self.umap = Umap(self.rows, self.seed)

    def bring(self, view: AtlasView, progress: Progress) -> None:
        """Make the picture that a view wants, and show it as it comes."""
        layout, site = view["layout"], view["site"]
        if layout == "pca":
            known = {site: self.principal.at(site, progress)}
            self.show(layout, known)
            wanted = list(outwards(site, self._wanted(site)))
            for done, (other, _) in enumerate(wanted):
                progress(done, len(wanted))
                known[other] = self.principal.at(other, progress)
            if wanted:
                self.show(layout, known)
        elif layout == "umap":
            self._bring_umap(site, (view["n_neighbors"], view["min_dist"]), progress)
        elif layout == "circular":
            self.show(layout, {site: self._round(site, progress)})
        else:
            # the same wherever the slider over the layers is
            self.show(layout, {site: columns(self.rows, view["x"], view["y"])})

    def place(self, view: AtlasView, site: int, points: Floats, which: Sequence[int]) -> Floats | None:
        """Return where other activations ``[row, feature]`` of these rows lie in the picture of a view; None where they have no place."""
        settings = view["n_neighbors"], view["min_dist"]
        if view["layout"] == "pca":
            return self.principal.place(site, points, which)
        if view["layout"] == "umap" and site in self.umap.known(*settings):
            return self.umap.place(site, *settings, points, which)
        place = self._circular[site].place if view["layout"] == "circular" and site in self._circular else None
        return None if place is None else place(points, which)

    def both(self, view: AtlasView) -> tuple[Places, Places]:
        """Return the rows' places ``[row, 2]`` by principal components and by UMAP at the site of a view, waiting for them."""
        site, settings = view["site"], (view["n_neighbors"], view["min_dist"])
        flat = self.principal.at(site, unseen)
        return flat.xy, self.umap.lay_out(site, *settings, lambda frame: None, unseen).xy

    def _bring_umap(self, site: int, settings: tuple[int, float], progress: Progress) -> None:
        if not self.principal.known and site not in self.umap.known(*settings):
            # neighbours of many rows take a while: until then there is something to see
            self.show("pca", {site: self.principal.at(site, progress)})
        laid = self.umap.lay_out(site, *settings, lambda frame: self.show("umap", {site: frame}), progress)
        known = {**self.umap.known(*settings), site: laid}
        self.show("umap", known)
        wanted = [(other, beside) for other, beside in outwards(site, self._wanted(site)) if other not in known]
        for done, (other, beside) in enumerate(wanted):
            progress(done, len(wanted))
            known[other] = self.umap.follow(other, beside, *settings, progress)
            # the next ones soon, all of them at the end: each message holds all sites so far
            if done in (1, len(wanted) - 1):
                self.show("umap", known)

    def _wanted(self, site: int) -> list[int]:
        """Return the sites to lay out: all, or the one that is shown with those beside it."""
        n = len(self.rows.sites)
        if n * self.rows.n <= MOST_AT_ONCE:
            return list(range(n))
        return [other for other in (site - 1, site, site + 1) if 0 <= other < n]

    def _round(self, site: int, progress: Progress) -> Laid:
        if site not in self._circular:
            if self.labels:
                self._circular[site] = labelled_circle(self.rows, site, self.labels, progress)
            else:
                self._circular[site], angles = circular(self.rows, site, self.shapes_at(site, progress), progress)
                self.found_angles(angles)
        return self._circular[site]


def positions_of(layout: str, laid: Mapping[int, Laid], site: int) -> Positions:
    """Return layouts by site as the page gets them, with titles and note of the site that is shown."""
    sites = sorted(laid)
    shown = laid[site] if site in laid else laid[sites[0]]
    xy = np.stack([laid[one].xy for one in sites]).astype("<f4")
    return Positions(layout=layout, sites=sites, x=shown.x, y=shown.y, note=shown.note, xy=xy.tobytes())
