"""What an atlas can show, and what it cannot: its layouts, its sites, and the settings of its view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import TraitError

from nbinterp.widgets.atlas.lines import numeric_columns
from nbinterp.widgets.protocol import AtlasSpec, AtlasView, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nbinterp.clouds import Cloud
    from nbinterp.sites import Site
    from nbinterp.widgets.atlas.layouts import Rows
    from nbinterp.widgets.playground.asked import Asked

LAYOUTS = (
    Layout(
        name="pca", x="PC 1", y="PC 2", note="Principal components: a shadow, in which distances are true or too small."
    ),
    Layout(
        name="umap",
        x="UMAP 1",
        y="UMAP 2",
        note="UMAP: neighbours stay neighbours, distances and sizes of clusters mean nothing.",
    ),
    Layout(
        name="circular",
        x="cosine",
        y="sine",
        note="Circular coordinates: an angle for each row round the longest-lived loop, or round the circle of its labels.",
    ),
    Layout(name="columns", x="x", y="y", note="Two columns of numbers."),
)


def check_opening(
    cloud: Cloud, model: Asked | None, by: str | None, within: str | None, n_neighbors: int, min_dist: float
) -> None:
    """Refuse at once what no atlas can show.

    Raises
    ------
    ValueError, LookupError
        For unknown columns, too few rows, settings of UMAP out of their range, and a model that the cloud does not come from.
    """
    table = cloud.table
    for name, column in (("by", by), ("within", within)):
        if column is not None and column not in table.columns:
            raise LookupError(
                f"got {name}={column!r}, which is not a column of the cloud's table; choose from {', '.join(map(repr, table.columns))}."
            )
    if len(cloud) < 4:
        raise ValueError(f"got a cloud of {len(cloud)} rows; wanted 4 or more to show: collect more.")
    if n_neighbors < 2 or not 0 <= min_dist <= 1:
        raise ValueError(f"got n_neighbors={n_neighbors}, min_dist={min_dist}; wanted 2 or more, and 0 to 1.")
    if model is not None and cloud.model.revision != model.info.revision:
        raise ValueError(
            f"got a cloud of {cloud.model} and the model {model.info}; wanted the model that it was collected from."
        )


def index_of(site: str | Site, sites: Sequence[str]) -> int:
    """Return which of an atlas's sites is meant; LookupError for another one."""
    if str(site) not in sites:
        raise LookupError(f"got site={str(site)!r}, at which this cloud was not read; choose from {', '.join(sites)}.")
    return list(sites).index(str(site))


def spec_of(cloud: Cloud, model: Asked | None) -> AtlasSpec:
    """Return what stays the same."""
    return AtlasSpec(
        n=len(cloud),
        title=f"Atlas of {cloud.model.name}",
        sites=[str(site) for site in cloud.sites],
        layouts=list(LAYOUTS),
        model="" if model is None else model.info.name,
    )


def first_view(rows: Rows, by: str, site: int, n_neighbors: int, min_dist: float) -> AtlasView:
    """Return what is shown to begin with: principal components at a site, coloured by a column."""
    numbers = numeric_columns(rows.table)
    return AtlasView(
        layout="pca",
        x=numbers[0],
        y=numbers[min(1, len(numbers) - 1)],
        color=by,
        histogram=by,
        site=site,
        n_neighbors=min(n_neighbors, rows.n - 1),
        min_dist=float(min_dist),
    )


def checked_view(old: Mapping[str, Any], new: Mapping[str, Any], rows: Rows) -> AtlasView:
    """Return a view of which a part was changed, its numbers within their bounds.

    Parameters
    ----------
    old, new : mapping
        The view that there was, and what is to be other.
    rows : Rows
        The cloud.

    Raises
    ------
    TraitError
        For what no view has, an unknown layout, and axes that are no numbers.
    """
    fields = list(AtlasView.__annotations__)
    if unknown := [name for name in new if name not in fields]:
        raise TraitError(f"got a view with {unknown[0]!r}; wanted some of {', '.join(fields)}.")
    view: dict[str, Any] = {**old, **new}
    names = [one["name"] for one in LAYOUTS]
    if view["layout"] not in names:
        raise TraitError(f"got layout={view['layout']!r}; choose {', '.join(names)}.")
    numbers = numeric_columns(rows.table)
    for axis in ("x", "y"):
        if view[axis] not in numbers:
            raise TraitError(f"got {axis}={view[axis]!r}; choose a column of numbers: {', '.join(numbers)}.")
    return AtlasView(
        layout=view["layout"],
        x=view["x"],
        y=view["y"],
        color=str(view["color"]),
        histogram=str(view["histogram"]),
        site=min(max(0, int(view["site"])), len(rows.sites) - 1),
        n_neighbors=min(max(2, int(view["n_neighbors"])), rows.n - 1),
        min_dist=min(max(0.0, float(view["min_dist"])), 1.0),
    )
