"""What a view of attention patterns and its page say."""

from __future__ import annotations

from typing import TypedDict


class HeadScore(TypedDict):
    """A number for each head, ``[layer, head]`` one after another."""

    name: str
    values: list[float]


class AttentionSpec(TypedDict):
    """What stays the same: the tokens, the layers that were read, how many heads each has, and how attention can be measured."""

    title: str
    note: str
    tokens: list[str]
    layers: list[int]
    n_heads: int
    measures: list[str]
    scores: list[HeadScore]


class AttentionShown(TypedDict):
    """Which head is shown large, how attention is measured, and which edges of it are picked; changed by the hand."""

    layer: int
    head: int
    measure: str
    queries: list[int]
    keys: list[int]


class HeadPictures(TypedDict):
    """All heads in small: uint8 ``[layer, head, size, size]``, from ``low`` to ``high``; where tokens are more, the largest of several."""

    measure: str
    size: int
    low: float
    high: float
    values: bytes


class AttentionPattern(TypedDict):
    """One head's pattern, query down and key to the right: float16 ``[query, key]``, NaN where no token may look.

    ``low`` and ``high`` are the ends of its scale, which is diverging where ``low`` is below 0.
    """

    layer: int
    head: int
    measure: str
    low: float
    high: float
    values: bytes
