"""What the atlas and its page say."""

from __future__ import annotations

from typing import Literal, TypedDict


class Layout(TypedDict):
    """One way of laying out the rows; ``note`` is what has to be known about it, ``x`` and ``y`` are its axes' titles."""

    name: str
    x: str
    y: str
    note: str


class AtlasSpec(TypedDict):
    """What stays the same: how many rows, which sites, which layouts, and whether there is a model to ask."""

    n: int
    title: str
    sites: list[str]
    layouts: list[Layout]
    model: str


class AtlasView(TypedDict):
    """What is shown, and changed by the hand: ``site`` is an index, ``x`` and ``y`` are columns for the layout ``columns``."""

    layout: str
    x: str
    y: str
    color: str
    histogram: str
    site: int
    n_neighbors: int
    min_dist: float


class Positions(TypedDict):
    """Where the rows lie in a layout at some of the sites: float32 ``[site, row, 2]``, aligned from one to the next."""

    layout: str
    sites: list[int]
    x: str
    y: str
    note: str
    xy: bytes


class Feature(TypedDict):
    """One class of persistent homology; ``rows`` are those of its representative, in order along it where it is a loop."""

    id: str
    dimension: int
    birth: float
    death: float
    rows: list[int]


class Shapes(TypedDict):
    """Persistent homology at one site: a loop is called one above both limits; ``verdict`` says it in a sentence."""

    site: int
    features: list[Feature]
    threshold: float
    ratio: float
    end: float
    p: float
    verdict: str
    note: str


class Claim(TypedDict):
    """What a selection was made into, and how sure it is: ``p_corrected`` counts all ``looks`` that were taken so far.

    ``p`` is NaN where nothing was tested. ``caveat`` says what it does not show.
    """

    id: str
    kind: Literal["direction", "plane", "circle"]
    name: str
    site: str
    n_rows: int
    statement: str
    caveat: str
    p: float
    p_corrected: float
    effect: float


class Again(TypedDict):
    """The cloud collected again under interventions, in the same layout: float32 ``[row, 2]``."""

    site: int
    layout: str
    what: str
    statement: str
    xy: bytes
