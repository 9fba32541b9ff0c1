"""Cloud: many activations of one model, with a table of what each row is."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import xarray as xr

from nbinterp.clouds.store import (
    chunk_rows,
    create_store,
    feature_axis,
    new_folder,
    read_sizes,
    read_store,
    site_width,
)
from nbinterp.clouds.table import standard_table
from nbinterp.sites import Site

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.operations import Intervention
    from nbinterp.spaces import Floats


@dataclass(frozen=True, eq=False, repr=False)
class Cloud:
    """Many activations, with a table of what each row is.

    Made by `Model.collect`, `Cloud.from_arrays` or `Cloud.open`. A cloud in a folder is read when its numbers are
    asked for, and only the rows and sites that are.

    Parameters
    ----------
    model : ModelInfo
        The model that they come from.
    path : Path, optional
        The folder that the numbers are read from; None in memory.
    interventions : tuple of Intervention
        What acted in the model when they were collected.
    """

    _values: xr.Dataset
    _table: pd.DataFrame
    model: ModelInfo
    path: Path | None = None
    interventions: tuple[Intervention, ...] = ()
    _rows: NDArray[np.intp] | None = None  # of the folder; None for all

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str | Site, ArrayLike] | Mapping[str, ArrayLike] | Mapping[Site, ArrayLike],
        table: pd.DataFrame | None,
        model: ModelInfo,
    ) -> Cloud:
        """Make a cloud in memory.

        Parameters
        ----------
        arrays : mapping of site to array, ``[row, n_features]``
            The activations; kept as float32 copies.
        table : DataFrame, optional
            One row for each row of the arrays; its index is not kept. The columns ``text``, ``prompt``, ``token`` and
            ``position`` come first; one that is missing is filled in ("" or -1 for "not known", each row its own prompt).
        model : ModelInfo
            The model that they come from.

        Raises
        ------
        ValueError
            When shapes do not fit, or values are NaN or infinite.
        TypeError
            When a column of the table holds what cannot be saved.
        """
        rows = {Site.of(site): np.array(values, dtype=np.float32) for site, values in arrays.items()}
        if not rows:
            raise ValueError("got no arrays for a Cloud; give at least one, for example {'resid_post.10': array}.")
        n_rows = len(np.atleast_1d(next(iter(rows.values()))))
        for site, values in rows.items():
            width = site_width(site, model)
            if values.shape != (n_rows, width):
                raise ValueError(
                    f"got an array of shape {list(values.shape)} at {site}; "
                    f"wanted [row, feature] = [{n_rows}, {width}], the same rows at every site."
                )
        bad = {site: ~np.isfinite(values).all(axis=1) for site, values in rows.items()}
        count = int(np.logical_or.reduce(list(bad.values())).sum())
        if count:
            places = ", ".join(str(site) for site, mask in bad.items() if mask.any())
            raise ValueError(
                f"got {count} of {n_rows} rows with NaN or infinite values, at {places}: "
                "leave those rows out, or run the model in float32 where half precision overflowed."
            )
        return cls.of_rows(rows, standard_table(table, n_rows), model)

    @classmethod
    def of_rows(
        cls,
        rows: Mapping[Site, NDArray[np.float32]],
        table: pd.DataFrame,
        model: ModelInfo,
        interventions: tuple[Intervention, ...] = (),
    ) -> Cloud:
        """Make a cloud in memory of rows and a table that are checked already, without a copy."""
        views = {str(site): values.view() for site, values in rows.items()}
        for view in views.values():
            view.setflags(write=False)
        arrays = {name: (("row", feature_axis(view.shape[1], model)), view) for name, view in views.items()}
        return cls(xr.Dataset(arrays), table, model, interventions=interventions)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, partial: bool = False) -> Cloud:
        """Open the folder of a saved or collected cloud; its numbers stay on disk until they are asked for.

        Parameters
        ----------
        path : path
            The folder.
        partial : bool
            Take the rows that are there from a collection that is not finished.

        Raises
        ------
        FileNotFoundError
            When there is nothing at `path`.
        ValueError
            When it is not a cloud, or not finished and `partial` is False.
        """
        info = read_store(Path(path).expanduser())
        done = info.done()
        if not done.all() and not partial:
            raise ValueError(
                f"got {info.path}, a collection of which {int(done.sum())} of {info.n_rows} rows are written: "
                "run the same collection again to go on, or take these rows with partial=True."
            )
        values = xr.open_dataset(
            info.path, engine="zarr", consolidated=False, zarr_format=3, chunks=None, mask_and_scale=False, cache=False
        )
        names = [str(site) for site in info.sites]
        cloud = cls(values[names].drop_attrs(), info.table(), info.model, info.path, info.interventions)
        return cloud if done.all() else cloud.select(done)

    def save(self, path: str | os.PathLike[str]) -> Cloud:
        """Save to a new folder (Zarr v3), in one step, and return the cloud that reads from it.

        Raises
        ------
        FileExistsError
            When there is something at `path`.
        """
        target = Path(path).expanduser()
        with new_folder(target) as folder:
            widths = {site: self._values[str(site)].shape[1] for site in self.sites}
            store = create_store(
                folder, widths=widths, model=self.model, table=self._table, interventions=self.interventions
            )
            for site in self.sites:
                rows = store.rows(site)
                for block in np.array_split(np.arange(len(self)), max(1, len(self) // 1000)):
                    rows[block] = self[site].select(block)._read(site)
            store.marks()[np.arange(len(self))] = True
        return Cloud.open(target)

    @staticmethod
    def concat(clouds: Sequence[Cloud]) -> Cloud:
        """Put clouds of the same model, sites and columns one below the other, in memory.

        Each cloud keeps its prompts apart: the ``prompt`` column counts on from the cloud before.

        Raises
        ------
        ValueError
            When there is none, or models, interventions, sites or columns differ.
        """
        if not clouds:
            raise ValueError("got no clouds to concatenate; give at least one.")
        first, tables, start = clouds[0], [], 0
        for cloud in clouds:
            if cloud.model.revision != first.model.revision:
                raise ValueError(
                    f"got clouds of the models {first.model} and {cloud.model}; wanted one model: collect both in it."
                )
            if cloud.interventions != first.interventions:
                raise ValueError(
                    f"got clouds collected {first._under} and {cloud._under}; wanted the same interventions in all, so that the "
                    "cloud can say what acted: keep them apart."
                )
            for what, one, other in (
                ("sites", sorted(map(str, first.sites)), sorted(map(str, cloud.sites))),
                ("columns", sorted(first._columns()), sorted(cloud._columns())),
            ):
                if one != other:
                    raise ValueError(
                        f"got clouds with the {what} {', '.join(one)} and {', '.join(other)}; wanted the same {what} in all: "
                        "leave out what they do not share."
                    )
            table = cloud._table[first._columns()]
            prompts, codes = np.unique(table["prompt"].to_numpy(), return_inverse=True)
            tables.append(table.assign(prompt=codes + start if len(clouds) > 1 else table["prompt"]))
            start += len(prompts)
        rows = {site: np.concatenate([cloud._read(site) for cloud in clouds]) for site in first.sites}
        return Cloud.of_rows(rows, pd.concat(tables, ignore_index=True), first.model, first.interventions)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that it has values for."""
        return tuple(Site.of(str(name)) for name in self._values.data_vars)

    @property
    def site(self) -> Site:
        """The site of a cloud that has one; ValueError when it has several."""
        if len(self.sites) > 1:
            raise ValueError(
                f"got a cloud with the sites {self._listing()}, where one is wanted: choose it, for example cloud['{self.sites[0]}']."
            )
        return self.sites[0]

    @property
    def table(self) -> pd.DataFrame:
        """What each row is: ``text``, ``prompt``, ``token``, ``position``, then your columns (a copy)."""
        return self._table.copy()

    @cached_property
    def points(self) -> Floats:
        """The activations of a cloud with one site, ``[row, n_features]``: float64 for the geometry's sake, read-only.

        ValueError when the cloud has several sites.
        """
        points = self._read(self.site).astype(np.float64)
        points.setflags(write=False)
        return points

    @property
    def dataset(self) -> xr.Dataset:
        """The same as an `xarray.Dataset`: a float32 variable a site, dims ``row`` and ``feature``, the table as coordinates."""
        columns = {name: ("row", self._table[name].to_numpy()) for name in self._columns()}
        return self._values.assign_coords(columns).assign_attrs(model=str(self.model))

    def lazy(self, site: str | Site | None = None) -> xr.DataArray:
        """Return the activations at a site without reading them: float32, dims ``row`` and ``feature``, in chunks of dask.

        The chunks are those of the folder, so that a pass over the rows reads each file once. Rows that were selected in
        another order than that of the folder are read from its files over and over: select ascending rows of a large cloud.

        Parameters
        ----------
        site : str or Site, optional
            The site; not needed where there is one.

        Raises
        ------
        ValueError, LookupError
            When the cloud has several sites and none is given; when it has not the one that is.
        """
        one = self if site is None else self[site]
        values = one._values[str(one.site)]
        n_rows, width = values.shape
        size = chunk_rows(n_rows, width) if self.path is None else read_store(self.path).rows_of_file(one.site)
        rows = np.arange(n_rows) if self.path is None or self._rows is None else self._rows
        return values.chunk({values.dims[0]: read_sizes(rows, size) if n_rows else (0,), values.dims[1]: -1})

    def frame(self, site: str | Site | None = None) -> pd.DataFrame:
        """Return the table with the activations at a site beside it, one column (``resid_post.10[0]``) a feature."""
        one = self if site is None else self[site]
        features = pd.DataFrame(one._read(one.site)).rename(columns=lambda i: f"{one.site}[{i}]")
        return pd.concat([one.table, features], axis="columns")

    def __getitem__(self, site: str | Site) -> Cloud:
        """Return the cloud of one site; LookupError when there is none."""
        if str(site) not in self._values.data_vars:
            raise LookupError(
                f"got {site if isinstance(site, Site) else repr(site)}, which is no site of this cloud: "
                f"it has {self._listing()} (columns are in cloud.table)."
            )
        return replace(self, _values=self._values[[str(site)]])

    def select(self, rows: ArrayLike | slice) -> Cloud:
        """Return the cloud of some rows.

        Parameters
        ----------
        rows : mask ``[row]``, indices ``[n]`` or slice
            Which rows, for example ``cloud.table["month"] == "May"``. Indices may be negative and may repeat.

        Raises
        ------
        IndexError
            When a mask has the wrong length or an index is out of range.
        TypeError
            When it is neither a mask nor indices.
        """
        if isinstance(rows, slice):
            indices = np.arange(len(self))[rows]
        else:
            given = np.atleast_1d(np.asarray(rows))
            if given.dtype == object and all(isinstance(value, bool | np.bool_) for value in given):
                given = given.astype(np.bool_)
            if given.ndim != 1 or (len(given) and given.dtype.kind not in "bui"):
                raise TypeError(
                    f"got rows of dtype {given.dtype} and shape {list(given.shape)} to select; wanted a mask of {len(self)} "
                    "true or false, row numbers, or a slice."
                )
            if given.dtype.kind == "b" and len(given) != len(self):
                raise IndexError(
                    f"got a mask of length {len(given)} for a cloud of {len(self)} rows; wanted one entry for each row."
                )
            indices = np.flatnonzero(given) if given.dtype.kind == "b" else given.astype(np.intp)
            wrong = indices[(indices < -len(self)) | (indices >= len(self))]
            if len(wrong):
                raise IndexError(
                    f"got row {wrong[0]}, but the cloud has {len(self)} rows: choose from {-len(self)} to {len(self) - 1}."
                )
            indices = indices % max(1, len(self))
        table = self._table.iloc[indices].reset_index(drop=True)
        of_folder = self._rows
        if self.path is not None:
            of_folder = indices if of_folder is None else of_folder[indices]
        return replace(self, _values=self._values.isel(row=indices), _table=table, _rows=of_folder)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        head, *facts = self._facts()
        return "\n".join([f"Cloud: {head[1]}", *(f"  {name:<8} {value}" for name, value in facts)])

    def _repr_html_(self) -> str:
        cell = '<tr><th scope="row" style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>'
        head, *facts = ((name, html.escape(value)) for name, value in self._facts())
        body = "".join(cell.format(name, value) for name, value in facts)
        return f'<table class="tex2jax_ignore mathjax_ignore"><caption>Cloud: {head[1]}</caption><tbody>{body}</tbody></table>'

    def _facts(self) -> list[tuple[str, str]]:
        widths = " or ".join(str(width) for width in sorted({values.shape[1] for values in self._values.values()}))
        return [
            (
                "size",
                f"{len(self)} rows, {len(self.sites)} {'site' if len(self.sites) == 1 else 'sites'}, {widths} features",
            ),
            ("sites", self._listing()),
            ("model", str(self.model)),
            *([("changed", self._under)] if self.interventions else []),
            ("columns", ", ".join(self._columns())),
            ("lives", "in memory" if self.path is None else f"in {self.path}"),
        ]

    @property
    def _under(self) -> str:
        acts = ", ".join(f"{type(act).__name__} at {act.site}" for act in self.interventions)
        return f"under {acts}" if acts else "untouched"

    def _columns(self) -> list[str]:
        return [str(name) for name in self._table.columns]

    def _listing(self) -> str:
        return ", ".join(str(site) for site in self.sites)

    def _read(self, site: Site) -> NDArray[np.float32]:
        """Return the activations at a site as they are kept, ``[row, feature]``; ValueError when the folder has lost them."""
        values = cast("Any", self._values[str(site)]).to_numpy()
        if self.path is not None and not np.isfinite(values).all():
            raise ValueError(
                f"got rows without values at {site} from {self.path}: the folder was changed or deleted; collect the cloud again."
            )
        return cast("NDArray[np.float32]", values)
