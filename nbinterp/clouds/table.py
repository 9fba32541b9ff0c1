"""The table of a cloud: what each row is. Its standard columns, its checks, and its JSON form."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STANDARD_COLUMNS = ("text", "prompt", "token", "position")
"""The columns that every table starts with: the prompt, its index, the token's text and its position."""

_Json = None | bool | int | float | str | dict[str, str]

RESERVED_COLUMNS = ("row", "feature")
"""The names of a cloud's axes, which no column may bear."""


def standard_table(table: pd.DataFrame | None, n_rows: int) -> pd.DataFrame:
    """Return a checked copy of a table, the standard columns first.

    Parameters
    ----------
    table : DataFrame, optional
        One row for each row of the cloud. A standard column that is missing is filled in: each row is its own
        ``prompt``; ``text`` and ``token`` are empty and ``position`` is -1, for "not known".
    n_rows : int
        Number of rows of the cloud.

    Raises
    ------
    ValueError
        When the number of rows or a column's name is wrong.
    TypeError
        When a column holds what cannot be saved.
    """
    given = pd.DataFrame(index=range(n_rows)) if table is None else table.reset_index(drop=True)
    if len(given) != n_rows:
        raise ValueError(f"got a table of {len(given)} rows for {n_rows} rows of activations; wanted one row for each.")
    names = list(given.columns)
    wrong = [
        n
        for n in names
        if not isinstance(n, str) or n in RESERVED_COLUMNS or re.fullmatch(r"\w+\.\d+", n) or names.count(n) > 1
    ]
    if wrong:
        raise ValueError(
            f"got the table's column {wrong[0]!r}; wanted names that are text, differ from one another, are no site's "
            f"name and none of {', '.join(RESERVED_COLUMNS)}: rename it."
        )
    unknown = {"text": "", "prompt": np.arange(n_rows), "token": "", "position": -1}
    columns = {name: given[name] if name in names else unknown[name] for name in STANDARD_COLUMNS}
    columns |= {name: given[name] for name in names if name not in STANDARD_COLUMNS}
    full = pd.DataFrame(columns, index=pd.RangeIndex(n_rows)).copy()
    for name in ("text", "token"):
        if not all(isinstance(value, str) for value in full[name]):
            raise TypeError(f"got the table's column {name!r} with values that are not text; wanted text in every row.")
    for name in ("prompt", "position"):
        if not types.is_integer_dtype(full[name].dtype):
            raise TypeError(f"got the table's column {name!r} of dtype {full[name].dtype}; wanted whole numbers.")
    table_to_json(full)  # what cannot be saved is found now, not after hours of collecting
    return full


def table_to_json(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a JSON form of a table, column by column, from which `table_from_json` makes an equal one.

    Raises
    ------
    TypeError
        When a column's values are not numbers, text, true or false, dates or categories of these.
    """
    return [{"name": name, **_column_to_json(str(name), table[name])} for name in table.columns]


def table_from_json(columns: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Read back what `table_to_json` gave."""
    return pd.DataFrame({column["name"]: _column_from_json(column) for column in columns})


def _column_to_json(name: str, column: pd.Series[Any]) -> dict[str, Any]:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = _column_to_json(name, pd.Series(dtype.categories))
        codes = column.cat.codes.tolist()
        return {"dtype": "category", "ordered": bool(dtype.ordered), "categories": categories, "values": codes}
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return {"dtype": str(dtype), "values": column.to_numpy().view("i8").tolist()}
    plain = types.is_bool_dtype(dtype) or types.is_integer_dtype(dtype) or types.is_float_dtype(dtype)
    if not (plain or types.is_string_dtype(dtype) or types.is_object_dtype(dtype)):
        raise TypeError(
            f"got the table's column {name!r} of dtype {dtype}; wanted numbers, text, true or false, dates without "
            "a time zone, or categories: turn it into one of these, for example with .astype(str)."
        )
    values = [_value_to_json(name, value) for value in column.tolist()]
    if plain or not all(isinstance(value, str) for value in values):
        return {"dtype": str(dtype), "values": values}
    # every token of a prompt has its whole text: each text is written once
    number = {text: i for i, text in enumerate(dict.fromkeys(values))}
    return {"dtype": str(dtype), "values": list(number), "codes": [number[text] for text in values]}


def _value_to_json(name: str, value: object) -> _Json:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or value is pd.NA:
        return None
    if not isinstance(value, bool | int | float | str):
        raise TypeError(
            f"got a value of type {type(value).__name__} in the table's column {name!r}; wanted numbers, text, "
            "true or false: turn it into one of these, for example with .astype(str)."
        )
    return value


def _column_from_json(column: Mapping[str, Any]) -> pd.Series[Any]:
    dtype, values = column["dtype"], column["values"]
    if "codes" in column:
        values = [values[code] for code in column["codes"]]
    if dtype == "category":
        categories = pd.Index(_column_from_json(column["categories"]))
        return pd.Series(pd.Categorical.from_codes(values, categories=categories, ordered=column["ordered"]))
    if dtype.startswith(("datetime64", "timedelta64")):
        return pd.Series(np.array(values, dtype="i8").view(dtype))
    read: pd.Series[Any] = pd.Series([float(v["float"]) if isinstance(v, dict) else v for v in values], dtype=dtype)
    return read
