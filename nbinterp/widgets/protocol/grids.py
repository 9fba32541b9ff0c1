"""What a grid of numbers and its page say: a lens, a patching grid."""

from __future__ import annotations

from typing import Literal, TypedDict


class Axis(TypedDict):
    """The rows or columns of a grid: how each is written, and what it is in a selection.

    ``places`` are token positions, layers, heads (of the layer on the other axis) or, for ``pairs``, layer and head one after the
    other; -1 where there is none.
    """

    name: str
    kind: Literal["tokens", "layers", "heads", "pairs", "none"]
    labels: list[str]
    places: list[int]


class Quantity(TypedDict):
    """One number a cell, in words, with the ends of its colour scale; ``low`` is the larger one where little is much, as of a rank.

    With ``words`` each cell has a text as well.
    """

    id: str
    name: str
    unit: str
    scale: Literal["sequential", "diverging", "log"]
    low: float
    high: float
    words: bool


class Cells(TypedDict):
    """The numbers of one quantity: float32 ``[row, column]``, NaN where there is none.

    ``codes`` are uint32 ``[row, column]`` into ``words``; both are empty where cells have no texts.
    """

    quantity: str
    values: bytes
    words: list[str]
    codes: bytes


class GridSpec(TypedDict):
    """What stays the same while a grid is looked at; ``note`` says what has to be known about it."""

    title: str
    note: str
    rows: Axis
    columns: Axis
    quantities: list[Quantity]


class GridView(TypedDict):
    """What is shown, and changed by the hand."""

    quantity: str
    run: Literal["base", "changed", "difference"]
