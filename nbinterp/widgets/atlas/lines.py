"""The table of an atlas: windows of its lines, sorted and searched, and the columns that its page draws."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbinterp.charts.clouds import is_continuous
from nbinterp.widgets.protocol import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST_LINES = 500
"""Lines that a page gets at once."""

_MOST_CELL = 2000
_MOST_LABELS = 24
_MOST_LEVELS = 1000
_LONG = 60
STANDARD = ("text", "prompt", "token", "position")


class Lines:
    """The table of a cloud as a page asks for it.

    Parameters
    ----------
    table : DataFrame
        One line a row.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        # what the user called something comes before what every cloud has
        self.table = table[sorted(table.columns, key=lambda name: name in STANDARD)]
        self.columns = [str(name) for name in self.table.columns]
        self._lock = threading.Lock()
        self._levels: dict[str, tuple[NDArray[np.intp], list[str]]] = {}
        self._sorted: tuple[tuple[str, bool], NDArray[np.intp]] | None = None

    def facts(self, rows: Sequence[int]) -> list[Facts]:
        """Return rows in words; those that there are not are left out."""
        asked = [int(row) for row in rows if 0 <= int(row) < len(self.table)][:MOST_LINES]
        part = self.table.iloc[asked]
        cells = [[_cell(value) for value in part[name].tolist()] for name in part.columns]
        return [Facts(row=row, cells=[column[i] for column in cells]) for i, row in enumerate(asked)]

    def window(
        self, sort: str, descending: bool, kept: NDArray[np.bool_] | None, start: int, stop: int
    ) -> tuple[list[Facts], int]:
        """Return the lines from `start` to `stop` of those that are kept, in the order of a column, and how many are kept.

        Parameters
        ----------
        sort : str
            The column; ``""`` or ``"row"`` for the order of the rows. Missing values come last.
        descending : bool
            The largest first.
        kept : mask ``[row]`` or None
            Which lines; None for all.
        start, stop : int
            Of those; at most 500 are given.

        Raises
        ------
        LookupError
            For an unknown column.
        """
        order = self._order(sort, descending)
        if kept is not None:
            order = order[kept[order]]
        start = max(0, int(start))
        return self.facts(order[start : max(start, int(stop))].tolist()), len(order)

    def matches(self, text: str) -> NDArray[np.bool_]:
        """Return which rows have `text` in one of their columns of text, whatever its case: ``[row]``."""
        wanted = text.casefold()
        found = np.zeros(len(self.table), dtype=bool)
        for name in self.columns:
            if pd.api.types.is_numeric_dtype(self.table[name]):
                continue
            codes, levels = self._levels_of(name)
            # one more for the missing ones, to which code -1 points
            hits = np.array([wanted in level for level in levels] + [False])
            found |= hits[codes]
        return found

    def answer_rows(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return a `RowsReply` for the question ``rows``."""
        facts = self.facts(rows)
        return {"columns": self.columns, "facts": facts, "total": len(facts)}

    def answer_table(
        self,
        picked: NDArray[np.bool_] | None,
        *,
        sort: str = "",
        descending: bool = False,
        search: str = "",
        start: int = 0,
        stop: int = 50,
    ) -> dict[str, Any]:
        """Return a `RowsReply` for the question ``table``, of the picked rows where a mask ``[row]`` is given."""
        kept = picked
        if search:
            found = self.matches(search)
            kept = found if kept is None else kept & found
        facts, total = self.window(sort, bool(descending), kept, start, stop)
        return {"columns": self.columns, "facts": facts, "total": total}

    def answer_search(self, text: str) -> tuple[dict[str, Any], list[bytes]]:
        """Return how many rows have a text, and which, as bits."""
        found = self.matches(text) if text else np.zeros(len(self.table), dtype=bool)
        return {"count": int(found.sum())}, [np.packbits(found, bitorder="little").tobytes()]

    def framed(self, own: Mapping[str, Any]) -> pd.DataFrame:
        """Return columns of ours before those of the cloud's table that have other names."""
        frame = pd.DataFrame({"row": np.arange(len(self.table)), **own})
        return pd.concat([frame, self.table[[name for name in self.columns if name not in frame.columns]]], axis=1)

    def _levels_of(self, name: str) -> tuple[NDArray[np.intp], list[str]]:
        with self._lock:
            if name not in self._levels:
                codes, values = pd.factorize(self.table[name].map(str, na_action="ignore"))
                self._levels[name] = codes.astype(np.intp), [str(value).casefold() for value in values]
            return self._levels[name]

    def _order(self, sort: str, descending: bool) -> NDArray[np.intp]:
        if sort not in ("", "row") and sort not in self.columns:
            raise LookupError(
                f"got sort={sort!r}, which is no column; known columns are {', '.join(map(repr, self.columns))}."
            )
        with self._lock:
            if self._sorted is None or self._sorted[0] != (sort, descending):
                if sort in ("", "row"):
                    order = np.arange(len(self.table))[:: -1 if descending else 1]
                else:
                    column = self.table[sort]
                    if not pd.api.types.is_numeric_dtype(column) and not isinstance(column.dtype, pd.CategoricalDtype):
                        # values of several kinds cannot be compared
                        column = column.map(str, na_action="ignore")
                    order = (
                        column.reset_index(drop=True)
                        .sort_values(ascending=not descending, kind="stable")
                        .index.to_numpy()
                    )
                self._sorted = ((sort, descending), order)
            return self._sorted[1]


def drawn_columns(table: pd.DataFrame, first: str) -> list[str]:
    """Return a column, and those that a page can colour by as well: not whole texts, nor labels that are nearly all different."""
    return list(dict.fromkeys([first, *(str(name) for name in table.columns if _can_be_drawn(table[name]))]))


def numeric_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of numbers, the user's own first."""
    numeric = [
        str(name)
        for name in table.columns
        if pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name])
    ]
    return sorted(numeric, key=lambda name: name in STANDARD)


def best_labels(table: pd.DataFrame) -> str:
    """Return the column to colour by: the user's first one of 2 to 24 labels, else the tokens, else what there is."""
    own = [str(name) for name in table.columns if name not in STANDARD]
    for name in (*own, "token"):
        if name in table.columns and 2 <= table[name].nunique() <= _MOST_LABELS:
            return name
    return next(iter([*[name for name in own if _can_be_drawn(table[name])], "position"]))


def _can_be_drawn(column: pd.Series[Any]) -> bool:
    if is_continuous(column) or pd.api.types.is_numeric_dtype(column):
        return True
    lengths = column.iloc[:200].astype(str).str.len()
    return bool(lengths.mean() <= _LONG and column.nunique() <= _MOST_LEVELS)


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= _MOST_CELL else text[: _MOST_CELL - 1] + "…"
