"""A transformer as a graph of heads and MLPs that read the sum of what those before them wrote. Data only."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mask: TypeAlias = "NDArray[np.bool_]"
"""Which edges, ``[receiver, node]``."""

How: TypeAlias = Literal["top", "greedy"]
"""How edges are chosen by their scores: the largest anywhere, or the largest that lead to what is there already."""


@dataclass(frozen=True)
class Wiring:
    """Which node of a model writes what which receiver reads.

    A node writes to the residual stream: ``input`` (the embeddings), each head (``L3H5``: layer 3, head 5) and each MLP
    (``MLP 3``). A receiver reads the sum of the nodes before it: the queries, keys and values of each head (``L3H5<q>``), each
    MLP, and ``logits``. Where query heads share keys and values, these are one receiver (``L3H3-5<k>``).

    Parameters
    ----------
    n_layers, n_heads, n_kv_heads : int
        Blocks, query heads, and key/value heads of a block.
    parallel : bool
        Whether an MLP reads what the attention beside it reads, and so not what that writes.

    References
    ----------
    .. [1] Elhage et al., "A mathematical framework for transformer circuits", 2021. transformer-circuits.pub
    .. [2] Hanna et al., "Have faith in faithfulness", 2024, section 2. arXiv:2403.17806
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes, in the order in which they write."""
        heads = [[f"L{n}H{h}" for h in range(self.n_heads)] for n in range(self.n_layers)]
        return ("input", *(name for n, row in enumerate(heads) for name in (*row, f"MLP {n}")))

    @cached_property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers: of each layer queries, keys and values head by head, then the MLP; ``logits`` last."""
        group = self.n_heads // self.n_kv_heads
        spans = [f"H{g}" if group == 1 else f"H{g * group}-{(g + 1) * group - 1}" for g in range(self.n_kv_heads)]
        named = [*(f"H{h}<q>" for h in range(self.n_heads)), *(f"{span}<{c}>" for c in "kv" for span in spans)]
        layers = [[*(f"L{n}{name}" for name in named), f"MLP {n}"] for n in range(self.n_layers)]
        return (*(name for layer in layers for name in layer), "logits")

    @property
    def attention_inputs(self) -> int:
        """How many receivers the attention of a block has."""
        return self.n_heads + 2 * self.n_kv_heads

    def nodes_before(self, layer: int) -> int:
        """Return how many nodes write before a block."""
        return 1 + layer * (self.n_heads + 1)

    def receivers_before(self, layer: int) -> int:
        """Return how many receivers read before a block."""
        return layer * (self.attention_inputs + 1)

    @cached_property
    def edges(self) -> Mask:
        """Which edges there are."""
        found = np.zeros((len(self.receivers), len(self.nodes)), dtype=bool)
        for layer in range(self.n_layers):
            first, before = self.receivers_before(layer), self.nodes_before(layer)
            found[first : first + self.attention_inputs + 1, :before] = True
            found[first + self.attention_inputs, : before + (0 if self.parallel else self.n_heads)] = True
        found[-1] = True
        found.flags.writeable = False
        return found

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """By receiver the nodes that what it reads goes into: a head, an MLP, the heads that share a key; none for ``logits``."""
        group = self.n_heads // self.n_kv_heads
        found: list[tuple[int, ...]] = []
        for layer in range(self.n_layers):
            first = self.nodes_before(layer)
            found += [(first + h,) for h in range(self.n_heads)]
            found += 2 * [tuple(range(first + g * group, first + (g + 1) * group)) for g in range(self.n_kv_heads)]
            found.append((first + self.n_heads,))
        return (*found, ())

    @cached_property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """By node the receivers through which it reads."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for receiver, nodes in enumerate(self.readers):
            for node in nodes:
                found[node].append(receiver)
        return tuple(map(tuple, found))

    def name(self, receiver: int, node: int) -> str:
        """Return an edge's name, such as ``L0H5→L1H2<k>``."""
        return f"{self.nodes[node]}→{self.receivers[receiver]}"

    def mask(self, names: list[str] | tuple[str, ...]) -> Mask:
        """Return the edges of these names.

        Raises
        ------
        LookupError
            For an edge that is not there.
        """
        found = np.zeros_like(self.edges)
        for name in names:
            source, _, target = name.partition("→")
            if source not in self.nodes or target not in self.receivers:
                raise LookupError(f"got the edge {name!r}; wanted a name such as {self.name(0, 0)!r}.")
            place = self.receivers.index(target), self.nodes.index(source)
            if not self.edges[place]:
                raise LookupError(f"got the edge {name!r}, but {source} writes only after {target} has read.")
            found[place] = True
        return found

    def alive(self, kept: Mask) -> Mask:
        """Return the edges that lie on a way from the input to the logits; the others change nothing.

        A node all of whose inputs are corrupted writes what it writes in the corrupted run, kept edge or not.
        """
        kept = kept & self.edges
        fed = np.zeros(len(self.nodes), dtype=bool)
        fed[0] = True
        for node, receivers in enumerate(self.inputs):
            if receivers:
                fed[node] = (kept[list(receivers)] & fed).any()
        useful = np.zeros(len(self.nodes), dtype=bool)
        needed = np.zeros(len(self.receivers), dtype=bool)
        needed[-1] = True
        for node in range(len(self.nodes) - 1, -1, -1):
            useful[node] = (kept[:, node] & needed).any()
            if useful[node]:
                needed[list(self.inputs[node])] = True
        alive: Mask = kept & fed & needed[:, None]
        return alive

    def choose(self, scores: NDArray[np.float64], n: int, how: How = "top") -> Mask:
        """Return the `n` edges with the largest scores in either direction, before dead ends are removed.

        Parameters
        ----------
        scores : array, ``[receiver, node]``
            By edge.
        n : int
            How many.
        how : {"top", "greedy"}
            The largest anywhere; or one after the other the largest of those that lead to what is chosen already, from
            ``logits`` on back.
        """
        size = np.where(self.edges, np.abs(scores), -1.0)
        chosen = np.zeros_like(self.edges)
        if how == "top":
            order = np.argsort(-size, axis=None, kind="stable")[: min(n, int(self.edges.sum()))]
            chosen.ravel()[order] = True
            return chosen
        waiting: list[tuple[float, int, int]] = []
        seen: set[int] = set()

        def reach(receiver: int) -> None:
            if receiver not in seen:
                seen.add(receiver)
                for node in np.flatnonzero(self.edges[receiver]):
                    heapq.heappush(waiting, (-size[receiver, node], receiver, int(node)))

        reach(len(self.receivers) - 1)
        while waiting and n > 0:
            _, receiver, node = heapq.heappop(waiting)
            chosen[receiver, node] = True
            n -= 1
            for into in self.inputs[node]:
                reach(into)
        return chosen

    def to_json(self) -> dict[str, Any]:
        """Return its numbers."""
        return {
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "parallel": self.parallel,
        }
