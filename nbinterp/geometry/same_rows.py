"""The same rows at several sites, prepared: what is set aside at one is left out at all, and what can be drawn together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np

from nbinterp.geometry.preparation import Prepared, prepare
from nbinterp.geometry.rows import checked, is_cloud
from nbinterp.geometry.streaming import prepare_large

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nbinterp.clouds import Cloud
    from nbinterp.geometry.rows import Checked, Column, Mask, Rows

ColumnT = TypeVar("ColumnT", bound="Column | None")


def by_site(cloud: Rows, sites: Sequence[str] | None) -> dict[str, Rows]:
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


def prepared_sites(
    sites: Mapping[str, Rows], within: Column | None, seed: int, memory: int
) -> tuple[dict[str, Prepared], NDArray[np.int64] | None]:
    """Return the same rows of each site on the components that stand out, and which rows these are where they are not all.

    Two components at least: a loop needs a plane.
    """
    # read in float32, then points, rows and scores in float64
    if any(_on_disk(rows) and 28 * len(rows) * rows.lazy().shape[1] > memory for rows in sites.values()):
        return _sampled(sites, within, seed)
    known = {site: rows if isinstance(rows, Prepared) else checked(rows) for site, rows in sites.items()}
    kept = np.logical_and.reduce([(one.source if isinstance(one, Prepared) else one).kept for one in known.values()])
    prepared = {}
    for site, rows in known.items():
        given = _left_out(rows, kept) if not isinstance(rows, Prepared) else rows
        prepared[site] = prepare(given, "parallel", within=within, seed=seed)
        if prepared[site].scores.shape[1] < 2 <= min(prepared[site].rows.shape):
            prepared[site] = prepare(given, 2, within=within, seed=seed)
    return prepared, None


def _left_out(rows: Checked, kept: Mask) -> Checked:
    """Return rows of which those that are set aside at any site are set aside."""
    more = int(rows.kept.sum() - kept.sum())
    said = f"; {more} set aside as at other sites" if more else ""
    return replace(rows, kept=kept, provenance=rows.provenance + said)


def _sampled(
    sites: Mapping[str, Rows], within: Column | None, seed: int
) -> tuple[dict[str, Prepared], NDArray[np.int64]]:
    """Return a sample of the rows of clouds that are read in passes, and which rows these are."""
    prepared: dict[str, Prepared] = {}
    sample: NDArray[np.int64] | None = None
    for site, rows in sites.items():
        large = prepare_large(rows, "parallel", within=within, landmarks=None, seed=seed, progress=False)
        if large.scores.shape[1] < 2:
            large = prepare_large(rows, 2, within=within, landmarks=None, seed=seed, progress=False)
        if sample is not None and not np.array_equal(sample, large.sample):
            raise ValueError(
                f"got other rows of a giant norm at {site} than at {next(iter(sites))}, so that other rows are drawn from a cloud "
                "that does not fit in memory; wanted the same rows: explore one site at a time, or raise memory."
            )
        prepared[site], sample = large.prepared, large.sample
    assert sample is not None
    return prepared, sample


def _on_disk(rows: Rows) -> TypeGuard[Cloud]:
    # not by isinstance: importing Cloud loads zarr, which rows in memory do not need
    return is_cloud(rows) and getattr(rows, "path", None) is not None


def chosen_rows(column: ColumnT, chosen: NDArray[np.int64] | None) -> ColumnT | NDArray[Any]:
    """Return the values of some rows; what is the name of a column, or nothing, stays so."""
    if chosen is None or column is None or isinstance(column, str):
        return column
    return np.asarray(column, dtype=object)[chosen]


def alike(prepared: Mapping[str, Prepared]) -> list[list[str]]:
    """Return the sites in sets that have the same rows, equal ones merged in the same way: what can be drawn together."""
    sets: dict[tuple[bytes, bytes], list[str]] = {}
    for site, one in prepared.items():
        sets.setdefault((one.source.kept.tobytes(), one.point_of_row.tobytes()), []).append(site)
    return list(sets.values())
