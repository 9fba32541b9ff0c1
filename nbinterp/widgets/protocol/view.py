"""What every page says: what is picked, and what is being worked on."""

from __future__ import annotations

from typing import TypedDict


class Picked(TypedDict):
    """What is selected, by kind; see `nbinterp.widgets.selection`.

    ``rows`` and ``examples`` are bits, the first row in the lowest bit of the first byte; empty means that none is.
    """

    rows: bytes
    examples: bytes
    tokens: list[int]
    layers: list[int]
    heads: list[list[int]]


class Task(TypedDict):
    """Work that takes long enough to be shown; ``total`` is 0 where nobody knows it."""

    name: str
    done: int
    total: int
    stoppable: bool


class Offered(TypedDict):
    """Something that can be done in the Playground that a view follows, in words; ``done`` where it is on its stack already."""

    words: str
    done: bool
