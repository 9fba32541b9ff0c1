"""What a graph of a circuit and its page say."""

from __future__ import annotations

from typing import Literal, TypedDict


class CircuitNode(TypedDict):
    """What writes to the residual stream, or reads it last; ``head`` is -1 where it is none, ``layer`` -1 for the input."""

    name: str
    kind: Literal["input", "head", "mlp", "logits"]
    layer: int
    head: int


class CircuitReceiver(TypedDict):
    """What reads: its name, and which nodes it feeds; heads that share keys or values are fed together."""

    name: str
    nodes: list[int]


class CircuitStop(TypedDict):
    """One number of edges to keep; ``faithfulness`` is NaN where nobody measured it, ``kept`` is without dead ends."""

    n_edges: int
    kept: int
    faithfulness: float
    random_low: float
    random_high: float


class CircuitSpec(TypedDict):
    """What stays the same: the model as a graph, how many edges it has, and how many can be kept."""

    title: str
    note: str
    metric: str
    n_layers: int
    n_heads: int
    total: int
    nodes: list[CircuitNode]
    receivers: list[CircuitReceiver]
    stops: list[CircuitStop]


class CircuitEdges(TypedDict):
    """Edges, the largest score in either direction first.

    uint32 ``[edge]``: ``source`` (node), ``receiver``, ``stop`` (the first at which it is kept); float32 ``[edge]``: ``score``.
    """

    source: bytes
    receiver: bytes
    stop: bytes
    score: bytes


class CircuitView(TypedDict):
    """How many edges are kept, as an index of the stops, and how many of them are drawn; changed by the hand.

    ``edge`` is the one that is picked, as receiver and source; empty where none is.
    """

    stop: int
    drawn: int
    edge: list[int]
