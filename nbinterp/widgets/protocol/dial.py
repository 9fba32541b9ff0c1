"""What the dial and its page say."""

from __future__ import annotations

from typing import TypedDict


class Label(TypedDict):
    """One label of the circle: its place on the dial, and where its centroid truly lies in the plane."""

    text: str
    angle: float
    x: float
    y: float


class Layer(TypedDict):
    """One layer at which the dial can turn, with the circle that was fitted there."""

    layer: int
    labels: list[Label]
    statement: str


class DialSpec(TypedDict):
    """What stays the same while the hand moves."""

    concept: str
    prompt: str
    tokens: list[str]
    layers: list[Layer]


class Candidate(TypedDict):
    """A next token with its probability in the untouched, the turned and the randomly pushed run."""

    text: str
    base: float
    turned: float
    control: float


class DialAnswer(TypedDict):
    """The model's answer to one position of the hand; the page is up to date when it equals what it shows."""

    angle: float
    layer: int
    token: int
    start: float
    candidates: list[Candidate]
    milliseconds: float


class Series(TypedDict):
    """One next token's probability over the angles of a sweep."""

    text: str
    base: float
    turned: list[float]
    control: list[float]


class DialSweep(TypedDict):
    """The response over the whole turn; ``angles`` and the series grow while it is being computed up to ``total``."""

    layer: int
    token: int
    start: float
    total: int
    angles: list[float]
    series: list[Series]
