"""What pages are told of a table: its columns, its rows in words, and where they lie in a scatter."""

from __future__ import annotations

from typing import Literal, TypedDict


class Column(TypedDict):
    """One column of a table as a page draws it.

    ``values`` are float32 ``[row]`` of a number (NaN where it is missing), or, of a label, codes ``[row]`` into ``levels``
    as unsigned integers of ``width`` bytes (the largest one where it is missing).
    """

    name: str
    kind: Literal["number", "label"]
    cyclic: bool
    levels: list[str]
    low: float
    high: float
    width: int
    values: bytes


class Facts(TypedDict):
    """One row of a table in words, in the order of the columns that the page knows from ``RowsReply.columns``."""

    row: int
    cells: list[str]


class RowsReply(TypedDict):
    """Lines of a table that the page asked for; ``total`` lines there are in that order."""

    reply: int
    columns: list[str]
    facts: list[Facts]
    total: int


class ScatterSpec(TypedDict):
    """A scatter of ``n`` rows; ``note`` says why it is drawn this way, ``choices`` are the columns to colour by."""

    n: int
    title: str
    x: str
    y: str
    choices: list[str]
    note: str


class ScatterPoints(TypedDict):
    """Where the rows lie: float32 ``[row, 2]``."""

    xy: bytes
