"""CloudWriter: how a cloud is written, batch by batch and in any order, so that a killed collection can go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.clouds.cloud import Cloud
from nbinterp.clouds.store import RowFile, StoreInfo, create_store, new_folder, read_store, site_width
from nbinterp.clouds.table import standard_table
from nbinterp.sites import Site

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.operations import Intervention


class CloudWriter:
    """Writes rows at their index, in any order; a row counts as done only after its values are written at every site.

    In a folder, a writer that is opened again goes on with what is missing. What is marked as done survives a killed
    process. It may not survive a power cut: nothing is forced to the disk.

    Parameters
    ----------
    n_rows : int
        Number of rows of the finished cloud.
    sites : sequence of Site or str
        The sites to write.
    model : ModelInfo
        The model that the values come from.
    table : DataFrame, optional
        What each row is, as in `Cloud.from_arrays`. A folder that is opened again takes the table that is given now.
    store : path, optional
        The folder to write to, made if absent; None writes to memory.
    key : str
        A fingerprint of the request: its prompts, sites, tokens, interventions and model. A folder goes on only under its
        own key.
    interventions : tuple of Intervention
        What acts in the model.

    Raises
    ------
    ValueError
        When `store` was started with another key, other sites or another number of rows, or is no cloud.
    """

    def __init__(
        self,
        n_rows: int,
        sites: Sequence[Site | str],
        model: ModelInfo,
        table: pd.DataFrame | None,
        store: str | os.PathLike[str] | None = None,
        *,
        key: str,
        interventions: tuple[Intervention, ...] = (),
    ) -> None:
        self.sites = tuple(Site.of(site) for site in sites)
        self.model = model
        self.key = key
        self.interventions = interventions
        if not self.sites or len(set(self.sites)) != len(self.sites):
            raise ValueError(
                f"got the sites [{', '.join(map(str, self.sites))}] to write; wanted at least one, none of them twice."
            )
        self._widths = {site: site_width(site, model) for site in self.sites}
        self._table = standard_table(table, n_rows)
        self._store: StoreInfo | None = None
        self._rows: dict[Site, NDArray[np.float32]] | dict[Site, RowFile]
        if store is None:
            self._rows = {site: np.zeros((n_rows, width), dtype=np.float32) for site, width in self._widths.items()}
            self._done = np.zeros(n_rows, dtype=np.bool_)
        else:
            self._store = self._open(Path(store).expanduser())
            self._rows = {site: self._store.rows(site) for site in self.sites}
            self._done = self._store.done()
            self._marks = self._store.marks()

    def _open(self, path: Path) -> StoreInfo:
        if not path.exists():
            with new_folder(path) as folder:
                create_store(
                    folder,
                    widths=self._widths,
                    model=self.model,
                    table=self._table,
                    key=self.key,
                    interventions=self.interventions,
                )
            return read_store(path)
        info = read_store(path)
        if info.key != self.key:
            raise ValueError(
                f"got the request {self.key!r} for {path}, which was started for the request {info.key!r} "
                "(other prompts, sites, tokens, interventions or another model): choose another folder, or delete that one to start anew."
            )
        if info.n_rows != len(self._table) or info.sites != self.sites:
            raise ValueError(
                f"got {len(self._table)} rows at {', '.join(map(str, self.sites))} for {path}, which was started for "
                f"{info.n_rows} rows at {', '.join(map(str, info.sites))}: choose another folder, or delete that one to start anew."
            )
        info.write_table(self._table)
        return info

    @property
    def missing(self) -> NDArray[np.intp]:
        """The rows that are not written yet, ``[n]``."""
        return np.flatnonzero(~self._done)

    def write(self, indices: ArrayLike, values: Mapping[Site, ArrayLike] | Mapping[str, ArrayLike]) -> None:
        """Write rows, then mark them as done.

        Parameters
        ----------
        indices : int ``[n]``
            Which rows.
        values : mapping of site to array, ``[n, n_features]``
            The activations at every site of the writer.

        Raises
        ------
        IndexError
            When an index is out of range or given twice.
        ValueError
            When the sites or shapes are wrong, or a value is NaN or infinite; nothing is written then.
        """
        rows = np.atleast_1d(np.asarray(indices, dtype=np.intp))
        if len(np.unique(rows)) != len(rows) or ((rows < 0) | (rows >= len(self._done))).any():
            raise IndexError(
                f"got the rows {rows.tolist()} to write; wanted different ones from 0 to {len(self._done) - 1}."
            )
        arrays = {Site.of(site): np.asarray(array, dtype=np.float32) for site, array in values.items()}
        if set(arrays) != set(self.sites):
            raise ValueError(
                f"got values at {', '.join(map(str, arrays)) or 'no site'}; wanted them at {', '.join(map(str, self.sites))}."
            )
        for site, array in arrays.items():
            self._check(site, rows, array)
        self._mark(rows, done=False)  # a row that is written again is not done meanwhile
        for site, array in arrays.items():
            self._rows[site][rows] = array
        self._mark(rows, done=True)

    def _check(self, site: Site, rows: NDArray[np.intp], array: NDArray[np.float32]) -> None:
        width = self._widths[site]
        if array.shape != (len(rows), width):
            raise ValueError(
                f"got values of shape {list(array.shape)} at {site} for {len(rows)} rows; "
                f"wanted [row, feature] = [{len(rows)}, {width}]."
            )
        bad = rows[~np.isfinite(array).all(axis=1)]
        if len(bad):
            text = str(self._table["text"].iloc[bad[0]])
            raise ValueError(
                f"got NaN or infinite activations at {site} in {len(bad)} of {len(rows)} rows, first for the prompt "
                f"{text if len(text) <= 80 else text[:79] + '…'!r}: leave it out, or run the model in float32 where half precision overflowed."
            )

    def _mark(self, rows: NDArray[np.intp], *, done: bool) -> None:
        if self._store is not None:
            self._marks[rows] = done
        self._done[rows] = done

    def cloud(self) -> Cloud:
        """Return the finished cloud; ValueError while rows are missing."""
        if len(self.missing):
            raise ValueError(
                f"got {len(self._done) - len(self.missing)} of {len(self._done)} rows so far: collect the rest, or take these with .partial()."
            )
        return self.partial()

    def partial(self) -> Cloud:
        """Return the cloud of the rows that are done."""
        if self._store is not None:
            return Cloud.open(self._store.path, partial=True)
        rows = {site: values for site, values in self._rows.items() if isinstance(values, np.ndarray)}
        cloud = Cloud.of_rows(rows, self._table, self.model, self.interventions)
        return cloud if self._done.all() else cloud.select(self._done)
