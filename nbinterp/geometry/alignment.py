"""The same rows at one layer after the other, in pictures that follow each other smoothly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd
from scipy.linalg import orthogonal_procrustes

from nbinterp.geometry.embedding import Embedding, check_parameters, pca, umap_embedding, umap_graph
from nbinterp.geometry.forces import advance, curve_of, decay, fuzzy_graph, start
from nbinterp.geometry.preparation import Prepared, prepare
from nbinterp.geometry.rows import CloudLike, Column, checked
from nbinterp.geometry.told import Told

if TYPE_CHECKING:
    import altair as alt
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.geometry.rows import Checked
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

PULL = 0.5
"""Share of the way back to its place at the layer before that a point goes in each epoch, with a step of 1."""

FIRST_EPOCHS, NEXT_EPOCHS, NEXT_ALPHA = 500, 200, 0.25
"""Epochs of UMAP at the first layer and at each that starts from the one before, and the step that these begin with."""


class LayeredCloud(Protocol):
    """What is asked of a cloud at several sites."""

    @property
    def sites(self) -> Sequence[Site]:
        """Its sites."""

    def __getitem__(self, site: str, /) -> CloudLike:
        """Return the cloud at one of them."""


@dataclass(frozen=True, eq=False, repr=False)
class LayerEmbeddings(Told):
    """Pictures of the same rows at several layers, laid so that rows move as little as their neighbourhoods allow.

    Parameters
    ----------
    sites : tuple of str
        The layers, in order.
    embeddings : tuple of Embedding
        The picture at each; a row that was set aside at one layer is set aside at all.
    method : {"pca", "umap"}
        What they were made by.
    """

    sites: tuple[str, ...]
    embeddings: tuple[Embedding, ...] = field()
    method: Literal["pca", "umap"]

    @cached_property
    def coordinates(self) -> Floats:
        """Where the rows are at each layer: ``[site, row, 2]``, NaN for rows set aside.

        UMAP has no units. PCA: in units of the layer's own root mean square distance from the middle, since the norm of
        activations grows from layer to layer.
        """
        places = np.stack([shown.coordinates for shown in self.embeddings])
        return places / self.scale[:, None, None] if self.method == "pca" else places

    @cached_property
    def scale(self) -> Floats:
        """Root mean square distance of the points from their middle, in the units of each picture: ``[site]``."""
        scale = np.array([np.sqrt(shown.layout.var(axis=0).sum()) for shown in self.embeddings])
        return np.where(scale > 0, scale, 1.0)

    @cached_property
    def displacement(self) -> Floats:
        """How far rows move from each layer to the next, root mean square, as a share of the picture's: ``[site - 1]``."""
        places = self.coordinates[:, self.embeddings[0].source.point_of_row >= 0]
        steps = np.sqrt(((places[1:] - places[:-1]) ** 2).sum(axis=2).mean(axis=1))
        extent = np.sqrt(places.var(axis=1).sum(axis=1))
        return np.asarray(steps / np.maximum((extent[1:] + extent[:-1]) / 2, 1e-12))

    def __getitem__(self, site: str | Site) -> Embedding:
        """Return the picture at one layer; LookupError when there is none."""
        if str(site) not in self.sites:
            raise LookupError(f"got {str(site)!r}, which is none of these layers: {', '.join(self.sites)}.")
        return self.embeddings[self.sites.index(str(site))]

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def table(self) -> pd.DataFrame:
        """The cloud's table, one line a row."""
        return self.embeddings[0].table

    @property
    def provenance(self) -> str:
        """What was done, for people to read."""
        first = self.embeddings[0].provenance
        how = (
            "turned onto the layer before" if self.method == "pca" else "started from the layer before and pulled to it"
        )
        return f"{len(self)} layers, each {how}; the first: {first}"

    def frame(self) -> pd.DataFrame:
        """Return one line a layer and row: ``site``, ``row``, ``x``, ``y``, then the columns of the cloud's table."""
        own, table = ("site", "row", "x", "y"), self.table.reset_index(drop=True)
        if clash := [name for name in own if name in table.columns]:
            raise ValueError(
                f"got a table with a column {clash[0]!r}, which this frame needs for itself: rename the column."
            )
        parts = [
            pd.concat(
                [pd.DataFrame({"site": site, "row": np.arange(len(xy)), "x": xy[:, 0], "y": xy[:, 1]}), table], axis=1
            )
            for site, xy in zip(self.sites, self.coordinates, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """Return one line a layer: ``site``, ``faithfulness`` and its ``null``, ``displacement`` from the layer before."""
        return pd.DataFrame(
            {
                "site": list(self.sites),
                "faithfulness": [shown.faithfulness for shown in self.embeddings],
                "null": [shown.faithfulness_null for shown in self.embeddings],
                "displacement": [np.nan, *self.displacement],
            }
        )

    def chart(self, color: str | None = None, *, cyclic: bool = False) -> alt.LayerChart:
        """Return a scatter chart with a slider over the layers, between which the points glide."""
        from nbinterp.charts.layers import layer_slider

        return layer_slider(
            self.frame(), self.sites, color=color, cyclic=cyclic, title=f"{self.method.upper()} over layers"
        )

    def __repr__(self) -> str:
        kept = [shown.faithfulness for shown in self.embeddings]
        moved = f", rows move {self.displacement.mean():.2f} of the picture a layer" if len(self) > 1 else ""
        return (
            f"LayerEmbeddings by {self.method.upper()}: {len(self)} layers, {self.sites[0]} to {self.sites[-1]}{moved}\n"
            f"  keep {min(kept):.0%} to {max(kept):.0%} of true 15 neighbours\n  {self.provenance}"
        )


def align(
    cloud: LayeredCloud | Mapping[str, ArrayLike],
    sites: Sequence[str | Site] | None = None,
    *,
    method: Literal["pca", "umap"] = "umap",
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    pull: float = PULL,
    within: Column | None = None,
    max_norm_ratio: float | None = 3.0,
    seed: int = 0,
) -> LayerEmbeddings:
    """Lay out the same rows at several layers so that they move smoothly from one to the next.

    PCA: each picture is turned and mirrored onto the one before (orthogonal Procrustes), which changes no distance.
    UMAP: each layout starts from the one before, a weak pull holds points near their old places, and the whole is turned
    and shifted onto the one before. `LayerEmbeddings.summary` says how faithful each is.

    Parameters
    ----------
    cloud : Cloud at several sites, or mapping of site to array ``[row, n_features]``
        The same rows at every site.
    sites : sequence of str or Site, optional
        Which, in order; by default all.
    method : {"umap", "pca"}
        How.
    n_neighbors, min_dist, seed
        Of UMAP.
    pull : float
        Of UMAP: the share of the way back to its place at the layer before that a point goes in each epoch, with a step
        of 1; 0 for a warm start alone.
    within : str or sequence ``[row]``, optional
        Subtract the mean of each group at each layer first, e.g. ``"template"``.
    max_norm_ratio : float or None
        Set aside rows of a norm above this multiple of the median at any layer.

    Raises
    ------
    ValueError, LookupError
        For no or unknown sites, other numbers of rows at another site, or parameters that `umap` would refuse.
    """
    if method not in ("pca", "umap"):
        raise ValueError(f"got method={method!r}; choose 'umap' or 'pca'.")
    if not 0 <= pull <= 1:
        raise ValueError(f"got pull={pull}; wanted a number from 0 to 1.")
    names = _names(cloud, sites)
    layers = [checked(cloud[name], max_norm_ratio=max_norm_ratio) for name in names]
    sizes = [len(layer.points) for layer in layers]
    if len(set(sizes)) > 1:
        other = next(i for i, size in enumerate(sizes) if size != sizes[0])
        raise ValueError(
            f"got {sizes[0]} rows at {names[0]} and {sizes[other]} at {names[other]}; wanted the same rows at every site."
        )
    kept = np.logical_and.reduce([layer.kept for layer in layers])
    sources = [_source(replace(layer, kept=kept), within) for layer in layers]
    if method == "pca":
        return LayerEmbeddings(names, tuple(_turned(sources)), "pca")
    return LayerEmbeddings(names, tuple(_followed(sources, n_neighbors, min_dist, pull, seed)), "umap")


def _names(cloud: LayeredCloud | Mapping[str, Any], sites: Sequence[str | Site] | None) -> tuple[str, ...]:
    known = [str(site) for site in (cloud if isinstance(cloud, Mapping) else cloud.sites)]
    wanted = known if sites is None else [str(site) for site in sites]
    if unknown := [name for name in wanted if name not in known]:
        raise LookupError(f"got the site {unknown[0]!r}; known sites are {', '.join(known)}.")
    if not wanted:
        raise ValueError("got no sites to align; wanted at least one.")
    return tuple(wanted)


def _source(layer: Checked, within: Column | None) -> Prepared:
    """Prepare the rows that are kept at every layer, and remember all."""
    groups = None if within is None else layer.column(within, "within")[layer.kept]
    used = prepare(layer.points[layer.kept], within=groups, deduplicate=False, max_norm_ratio=None)
    of_row = np.full(len(layer.points), -1, dtype=np.int64)
    of_row[layer.kept] = used.point_of_row
    n_aside = int((~layer.kept).sum())
    provenance = f"{len(layer.points)} rows of {layer.points.shape[1]} features" + (
        f" at {layer.site}" if layer.site else ""
    )
    if n_aside:
        provenance += f"; {n_aside} set aside, of a giant norm at one of the layers"
    name = within if isinstance(within, str) else used.within
    if name:
        provenance += f"; centred within {name}"
    return replace(used, source=layer, point_of_row=of_row, within=name, provenance=provenance)


def _turned(sources: Sequence[Prepared]) -> list[Embedding]:
    shown: list[Embedding] = []
    for source in sources:
        fresh = pca(source, 2)
        if shown:
            turn = np.asarray(orthogonal_procrustes(fresh.layout, shown[-1].layout)[0], dtype=np.float64)
            fresh = _rotated(fresh, turn)
        shown.append(fresh)
    return shown


def _rotated(shown: Embedding, turn: Floats) -> Embedding:
    place = shown._placed
    assert place is not None  # PCA can
    return replace(shown, layout=shown.layout @ turn, _placed=lambda rows: place(rows) @ turn)


def _laid_onto(layout: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn, mirror and shift a layout onto another of the same points, which changes no distance."""
    middle, goal = layout.mean(axis=0), before.mean(axis=0)
    turn = orthogonal_procrustes(layout - middle, before - goal)[0]
    return np.asarray((layout - middle) @ turn + goal, dtype=np.float32)


def _followed(
    sources: Sequence[Prepared], n_neighbors: int, min_dist: float, pull: float, seed: int
) -> list[Embedding]:
    shown: list[Embedding] = []
    layout = None
    curve = curve_of(min_dist)
    for source in sources:
        graph = umap_graph(source, n_neighbors, within=None, max_norm_ratio=None, seed=seed)
        check_parameters(graph, n_neighbors, min_dist)
        fuzzy = fuzzy_graph(graph, n_neighbors)
        if layout is None:
            begun = start(graph, fuzzy, "pca", seed)
            moved = advance(begun, fuzzy, curve, decay(FIRST_EPOCHS), seed=seed)
        else:
            alphas = decay(NEXT_EPOCHS, NEXT_ALPHA)
            moved = advance(layout, fuzzy, curve, alphas, seed=seed, anchor=layout, pull=pull)
        assert moved is not None  # nobody told it to stop
        # UMAP does not care how a picture is turned and where it lies
        layout = moved if layout is None else _laid_onto(moved, layout)
        parameters = {"n_neighbors": n_neighbors, "min_dist": min_dist, "pull": pull, "seed": seed}
        shown.append(umap_embedding(graph, layout, parameters, densmap=False))
    return shown
