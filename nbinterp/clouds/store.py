"""A cloud as a folder: Zarr v3 arrays, one a site, with the table of its rows beside them as JSON.

The arrays are not compressed (activations hardly shrink), so a row lies at a fixed place in a chunk's file and is
written there, in any order, without rewriting its neighbours. The folder is plain Zarr: any reader opens it.

The table is JSON: the attributes of a Zarr group of its own. Zarr v3 has no settled text type, a column's dtype must
come back as it was, and a Parquet file would ask for another library. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from nbinterp.anatomy import ModelInfo
from nbinterp.clouds.table import table_from_json, table_to_json
from nbinterp.experiment import Experiment
from nbinterp.interventions import intervention_from_json
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.operations import Intervention

FORMAT = 2
"""Version of the folder's layout; a reader refuses a newer one."""

CHUNK_BYTES = 4 * 2**20
"""The size of a chunk's file, at most (a row is never split)."""

_ATTRIBUTE = "nbinterp_cloud"
_TABLE = "table"
_DONE = "done"


def site_width(site: Site, model: ModelInfo) -> int:
    """Return the number of features of a site; ValueError where it has no fixed number, or none that is known."""
    width = model.width(site)
    if width is None:
        raise ValueError(
            f"got {str(site)!r}, whose number of features is not known; choose a site whose features are always the same."
        )
    return width


def feature_axis(width: int, model: ModelInfo) -> str:
    """Return what the axis of features is called: sites of one cloud may have different numbers of them."""
    return "feature" if width == model.d_model else f"feature_{width}"


def chunk_rows(n_rows: int, width: int) -> int:
    """Return how many rows a chunk of float32 has, of an array of so many rows and features."""
    return max(1, min(n_rows, CHUNK_BYTES // (4 * width)))


def read_sizes(rows: NDArray[np.intp], rows_of_file: int) -> tuple[int, ...]:
    """Return how many rows to read at a time, in their order.

    Each file is opened once where rows ascend, as those of a collection that is not finished do; rows in another order are
    read as they come, as many at a time as a file has.

    Parameters
    ----------
    rows : array of int, ``[n]``
        The rows of the folder that are wanted, in the order in which they are.
    rows_of_file : int
        How many rows a chunk's file has.
    """
    steps = np.diff(rows // rows_of_file)
    sizes = np.diff(np.r_[0, np.flatnonzero(steps) + 1, len(rows)])
    if (steps < 0).any() or sizes.max() > rows_of_file:
        sizes = np.diff(np.r_[np.arange(0, len(rows), rows_of_file), len(rows)])
    return tuple(sizes.tolist())


@dataclass(frozen=True)
class StoreInfo:
    """What a cloud's folder says about itself.

    Parameters
    ----------
    path : Path
        The folder.
    sites : tuple of Site
        The sites that it has values for.
    model : ModelInfo
        Where the values come from.
    key : str
        The fingerprint of the request that it was started for; empty for a saved cloud.
    n_rows : int
        Number of rows, written or not.
    interventions : tuple of Intervention
        What acted in the model.
    """

    path: Path
    sites: tuple[Site, ...]
    model: ModelInfo
    key: str
    n_rows: int
    interventions: tuple[Intervention, ...] = ()

    def table(self) -> pd.DataFrame:
        """Read the table; ValueError when it does not fit the arrays."""
        group: Any = json.loads((self.path / _TABLE / "zarr.json").read_text(encoding="utf-8"))
        table = table_from_json(group["attributes"]["columns"])
        if len(table) != self.n_rows:
            raise ValueError(
                f"got a table of {len(table)} rows for {self.n_rows} rows of activations in {self.path}: "
                "its files do not belong together; collect the cloud again."
            )
        return table

    def done(self) -> NDArray[np.bool_]:
        """Read which rows are written: ``[row]``."""
        return np.array(zarr.open_array(self.path / _DONE, mode="r")[:], dtype=np.bool_)

    def rows(self, site: Site) -> RowFile:
        """Return the values of a site, for writing: ``[row, feature]``."""
        return RowFile(self.path / str(site))

    def rows_of_file(self, site: Site) -> int:
        """Return how many rows of a site lie in one file."""
        return int(zarr.open_array(self.path / str(site), mode="r").chunks[0])

    def marks(self) -> RowFile:
        """Return the mask of written rows, for writing: ``[row]``."""
        return RowFile(self.path / _DONE)

    def write_table(self, table: pd.DataFrame) -> None:
        """Replace the table, in one step."""
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"columns": table_to_json(table)}}
        folder = self.path / _TABLE
        folder.mkdir(exist_ok=True)
        fresh = folder / f"zarr.json.{uuid.uuid4().hex}"
        fresh.write_text(json.dumps(group), encoding="utf-8")
        os.replace(fresh, folder / "zarr.json")


class RowFile:
    """An uncompressed Zarr array on disk whose rows are written in place, as ``rows[indices] = values``.

    Parameters
    ----------
    folder : Path
        The array's folder.
    """

    def __init__(self, folder: Path) -> None:
        array = zarr.open_array(folder, mode="r")
        self._folder = folder
        self._chunk = array.chunks
        self._dtype = np.dtype(array.dtype).newbyteorder("<")

    def __setitem__(self, indices: NDArray[np.intp], values: ArrayLike) -> None:
        """Write ``values [n, …]`` (or one value for all) at the rows ``indices [n]``."""
        if not len(indices):
            return
        row_shape, chunk_rows = self._chunk[1:], self._chunk[0]
        rows = np.broadcast_to(np.asarray(values, dtype=self._dtype), (len(indices), *row_shape))
        row_bytes = self._dtype.itemsize * int(np.prod(row_shape, dtype=int))
        order = np.argsort(indices)
        ordered = indices[order]
        # neighbours are written in one go: it is faster, and a kill falls between writes
        new_run = (np.diff(ordered) != 1) | (np.diff(ordered // chunk_rows) != 0)
        runs = np.split(order, np.flatnonzero(new_run) + 1)
        for number, group in groupby(runs, key=lambda run: int(indices[run[0]]) // chunk_rows):
            with self._file(number, row_bytes * chunk_rows).open("r+b") as file:
                for run in group:
                    file.seek(int(indices[run[0]]) % chunk_rows * row_bytes)
                    file.write(rows[run].tobytes())

    def _file(self, number: int, size: int) -> Path:
        path = self._folder.joinpath("c", str(number), *("0" for _ in self._chunk[1:]))
        if not path.exists() or path.stat().st_size != size:  # a killed process may have left it shorter
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.truncate(size)
        return path


def create_store(
    folder: Path,
    *,
    widths: Mapping[Site, int],
    model: ModelInfo,
    table: pd.DataFrame,
    key: str = "",
    interventions: tuple[Intervention, ...] = (),
) -> StoreInfo:
    """Lay out an empty store in an existing folder: one array a site, as wide as is said, none of its rows written."""
    n_rows = len(table)
    info = StoreInfo(folder, tuple(widths), model, key, n_rows, interventions)
    description = {
        "format": FORMAT,
        "sites": [str(s) for s in widths],
        "model": model.to_json(),
        "key": key,
        "interventions": [act.to_json() for act in interventions],
    }
    zarr.create_group(folder, zarr_format=3, attributes={_ATTRIBUTE: description})
    for site, width in widths.items():
        size = chunk_rows(n_rows, width)
        dims = ("row", feature_axis(width, model))
        _create_array(folder / str(site), (n_rows, width), (size, width), "float32", float("nan"), dims)
    _create_array(folder / _DONE, (n_rows,), (max(1, n_rows),), "bool", False, ("row",))
    info.write_table(table)
    return info


def _create_array(
    folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, fill: float, dims: tuple[str, ...]
) -> None:
    zarr.create_array(
        folder,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        dimension_names=dims,
        compressors=None,
        filters=None,
        zarr_format=3,
    )


def read_store(path: Path) -> StoreInfo:
    """Read what a folder says about itself.

    Raises
    ------
    FileNotFoundError
        When there is nothing at `path`.
    ValueError
        When it is not a cloud's folder, or one of a newer nbinterp.
    """
    if not path.exists():
        raise FileNotFoundError(f"got {path}, where there is nothing; give the folder of a saved cloud.")
    try:
        description: Any = zarr.open_group(path, mode="r", zarr_format=3).attrs[_ATTRIBUTE]
    except (FileNotFoundError, NotADirectoryError, KeyError, ValueError):
        raise ValueError(
            f"got {path}, which is not a cloud; give a folder that Cloud.save or a collection made."
        ) from None
    if description["format"] > FORMAT:
        raise ValueError(
            f"got the cloud {path} in format {description['format']}; this nbinterp reads up to {FORMAT}: "
            "open it with a newer nbinterp."
        )
    sites = tuple(Site.of(site) for site in description["sites"])
    n_rows = int(zarr.open_array(path / _DONE, mode="r").shape[0])
    # the first format had no interventions
    acts = [intervention_from_json(act, Experiment.from_json_value) for act in description.get("interventions", ())]
    return StoreInfo(path, sites, ModelInfo(**description["model"]), description["key"], n_rows, tuple(acts))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder to fill, which becomes `path` in one rename when the block ends well, else goes away.

    Raises
    ------
    FileExistsError
        When there is something at `path`.
    """
    if path.exists():
        raise FileExistsError(
            f"got {path}, where there is something already; choose another path, or delete that first."
        )
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
