"""What a circuit is, and what is left of a behaviour when all other edges are cut."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbinterp.geometry.told import Told
from nbinterp.methods.behaviour import Explained

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt
    import xarray as xr
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.methods.behaviour import Behaviour, Gate
    from nbinterp.methods.circuits import EdgeScores
    from nbinterp.pairs import Metrics
    from nbinterp.wiring import How, Mask, Wiring


@dataclass(frozen=True, eq=False)
class Circuit(Explained):
    """Some edges of a model, and what is left of a behaviour when all others are cut.

    A cut edge carries what it carries in the corrupted run.

    Parameters
    ----------
    edges : array of bool, ``[receiver, node]``
        Which; without dead ends.
    scored : EdgeScores
        By which they were chosen, with the prompts on which the circuit was checked.
    values : array, ``[n_pairs]``
        The metric with all other edges cut.
    faithfulness : float
        Where its mean lies between the corrupted prompts' (0) and the clean ones' (1).
    complement : float
        The same of all edges but these: large where what was left out does it as well.
    random : array, ``[draw]``
        The same of random circuits of as many edges, each leading to the logits.
    seed : int
        Of these.

    References
    ----------
    .. [1] Hanna et al., "Have faith in faithfulness", 2024, sections 2 and 5. arXiv:2403.17806
    """

    edges: Mask = field(repr=False)
    scored: EdgeScores = field(repr=False)
    values: NDArray[np.float64] = field(repr=False)
    faithfulness: float
    complement: float
    random: NDArray[np.float64]
    seed: int = 0

    @property
    def behaviour(self) -> Behaviour:
        """The metric of the prompts on which it was checked, and whether the model does what is explained."""
        return self.scored.behaviour

    @property
    def scores(self) -> xr.DataArray:
        """By which edges were chosen: ``[receiver, node]``."""
        return self.scored.scores

    @property
    def wiring(self) -> Wiring:
        """The model as a graph."""
        return self.scored.wiring

    @property
    def held_out(self) -> bool:
        """Whether the prompts are others than those on which edges were scored."""
        return self.scored.held_out

    def on(
        self,
        clean: object,
        corrupted: object,
        *,
        metric: Metrics,
        gate: Gate = "warn",
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Circuit:
        """Return the same circuit, checked on other prompts, beside random ones of as many edges: see `EdgeScores.on`."""
        scored = self.scored.on(clean, corrupted, metric=metric, gate=gate, progress=progress, cancel=cancel)
        return scored.circuit(self.edges, draws=len(self.random), seed=self.seed, progress=progress, cancel=cancel)

    @property
    def n_edges(self) -> int:
        """How many edges it has."""
        return int(self.edges.sum())

    @property
    def names(self) -> tuple[str, ...]:
        """The edges' names, such as ``L0H5→L1H2<k>``, in the model's order."""
        return tuple(self.wiring.name(receiver, node) for receiver, node in np.argwhere(self.edges))

    def frame(self) -> pd.DataFrame:
        """Return one line an edge, the largest score in either direction first.

        Returns
        -------
        DataFrame
            ``edge`` (its name), ``source``, ``target``, ``input`` (``"q"``, ``"k"``, ``"v"``; empty for MLPs and logits),
            ``source_layer`` (−1 for the input), ``target_layer`` (the number of layers for the logits), ``score`` (in the
            metric's unit).
        """
        return edges_frame(self.wiring, self.edges, self.scores.to_numpy())

    def nodes(self) -> pd.DataFrame:
        """Return one line a node of the circuit, in the model's order.

        Returns
        -------
        DataFrame
            ``node``, ``layer`` (−1 for the input), ``site`` (where to intervene on it), ``n_in``, ``n_out`` (edges to and from it),
            ``score`` (sum over the edges from it).
        """
        scores = np.where(self.edges, self.scores.to_numpy(), 0)
        rows = []
        for node, name in enumerate(self.wiring.nodes):
            n_out = int(self.edges[:, node].sum())
            if n_out:
                n_in = int(self.edges[list(self.wiring.inputs[node])].sum())
                layer, site = _where(self.wiring, node)
                rows.append((name, layer, site, n_in, n_out, scores[:, node].sum()))
        return pd.DataFrame(rows, columns=["node", "layer", "site", "n_in", "n_out", "score"])

    def to_json(self) -> dict[str, Any]:
        """Return the circuit as data: model, graph, nodes, edges with scores, and what was measured."""
        nodes, edges = (json.loads(frame.to_json(orient="records")) for frame in (self.nodes(), self.frame()))
        return {
            "model": self.model.to_json(),
            "wiring": self.wiring.to_json(),
            "metric": [str(pair.metric) for pair in self.behaviour.pairs],
            "faithfulness": float(self.faithfulness),
            "complement": float(self.complement),
            "random": self.random.tolist(),
            "held_out": self.held_out,
            "nodes": nodes,
            "edges": edges,
        }

    def chart(self) -> alt.LayerChart:
        """Return the circuit as a layered graph: the input below, the logits above."""
        from nbinterp.charts.circuits import circuit_chart

        title = f"Circuit of {many(self.n_edges, 'edge')}: faithfulness {self.faithfulness:.2f}"
        return circuit_chart(self.frame(), title=title, subtitle=self._controls)

    @property
    def _controls(self) -> str:
        drawn = f", random ones {self.random.min():.2f} to {self.random.max():.2f}" if len(self.random) else ""
        return f"{self._rests_on}; {self.model.name}; all other edges {self.complement:.2f}{drawn}"

    @property
    def _rests_on(self) -> str:
        return on_pairs(len(self.values), self.held_out)

    def __repr__(self) -> str:
        total = int(self.wiring.edges.sum())
        nodes = self.nodes()
        heads = [name for name in nodes["node"] if name.startswith("L")]
        mlps = [name for name in nodes["node"] if name.startswith("M")]
        shown = ", ".join(heads[:24]) + (f" and {len(heads) - 24} more" if len(heads) > 24 else "")
        lines = [
            f"Circuit of {many(self.n_edges, 'edge')} ({self.n_edges / total:.2%} of {total:,}) on {self.model}",
            f"  faithfulness {self.faithfulness:.2f} {self._rests_on}",
            f"  of all other edges {self.complement:.2f}"
            + (
                f"; of {len(self.random)} random circuits of as many edges {self.random.min():.2f} to {self.random.max():.2f}"
                if len(self.random)
                else ""
            ),
            *(f"  ! {reason}" for reason in self.behaviour.reasons),
        ]
        if len(self.random) and self.random.max() >= self.faithfulness:
            lines.append("  ! a random circuit does as well: this one explains nothing")
        if self.complement >= self.faithfulness:
            lines.append("  ! what was left out does it as well: the circuit is not needed")
        lines.append(f"  {many(len(heads), 'head')}: {shown}" if heads else "  no heads")
        layers = ", ".join(name.removeprefix("MLP ") for name in mlps)
        return "\n".join([*lines, f"  {many(len(mlps), 'MLP')}: {layers}" if mlps else "  no MLPs"])


@dataclass(frozen=True, eq=False)
class FaithfulnessCurve(Told):
    """What is left of a behaviour as fewer edges are kept.

    Parameters
    ----------
    points : DataFrame
        ``n_edges`` (chosen), ``kept`` (without dead ends), ``share`` (of all edges), ``faithfulness`` (0: the corrupted prompts'
        metric, 1: the clean ones'), ``random_low``, ``random_high`` (extremes over random circuits of as many edges).
    total : int
        How many edges the model has.
    metric : str
        What was measured.
    model : ModelInfo
        The model.
    how : {"greedy", "top"}
        How edges were chosen.
    draws : int
        How many random circuits.
    n_pairs : int
        On how many pairs of prompts.
    held_out : bool
        Whether these are others than those on which edges were scored.
    """

    points: pd.DataFrame = field(repr=False)
    total: int
    metric: str
    model: ModelInfo
    how: How
    draws: int
    n_pairs: int
    held_out: bool

    def frame(self) -> pd.DataFrame:
        """Return `points`."""
        return self.points.copy()

    def chart(self) -> alt.LayerChart:
        """Return faithfulness over the number of kept edges, with the band of the random circuits."""
        from nbinterp.charts.circuits import faithfulness_chart

        return faithfulness_chart(
            self.points,
            title="Faithfulness as edges are kept",
            subtitle=f"{self.metric} {self._rests_on}; {self.model.name}, {self.how}",
        )

    @property
    def _rests_on(self) -> str:
        return on_pairs(self.n_pairs, self.held_out)

    def __repr__(self) -> str:
        reached = []
        for level in (0.5, 0.85, 0.95):
            there = self.points[self.points["faithfulness"] >= level]
            if len(there):
                first = there.iloc[0]
                reached.append(f"{level:.2f} with {int(first['kept']):,} ({first['share']:.2%})")
        random = self.points["random_high"].iloc[:-1].max()
        return "\n".join(
            [
                f"Faithfulness over kept edges of {self.total:,} ({self.how}) on {self.model}",
                f"  {self.metric} {self._rests_on}",
                f"  first reaches {'; '.join(reached)}" if reached else "  never reaches one half",
                *([f"  random circuits of fewer than all edges reach {random:.2f} at most"] if self.draws else []),
            ]
        )


def edges_frame(wiring: Wiring, chosen: Mask, scores: NDArray[np.float64]) -> pd.DataFrame:
    """Return one line a chosen edge, the largest score in either direction first: see `Circuit.frame`."""
    places = np.argwhere(chosen)
    values = scores[chosen]
    order = np.argsort(-np.abs(values), kind="stable")
    rows = []
    for receiver, node in places[order]:
        target, _, into = wiring.receivers[receiver].partition("<")
        readers = wiring.readers[receiver]
        layer = _where(wiring, readers[0])[0] if readers else wiring.n_layers
        rows.append(
            (wiring.name(receiver, node), wiring.nodes[node], target, into[:-1], _where(wiring, node)[0], layer)
        )
    columns = ["edge", "source", "target", "input", "source_layer", "target_layer"]
    return pd.DataFrame(rows, columns=columns).assign(score=values[order])


def _where(wiring: Wiring, node: int) -> tuple[int, str]:
    """Return a node's layer, −1 for the input, and its site."""
    if node == 0:
        return -1, "resid_pre.0"
    layer, at = divmod(node - 1, wiring.n_heads + 1)
    return layer, f"mlp_out.{layer}" if at == wiring.n_heads else f"z.{layer}.{at}"


def many(number: int, of: str) -> str:
    """Return a number with what it counts."""
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def on_pairs(n: int, held_out: bool) -> str:
    """Say on how many pairs of prompts something rests, and whether they had a part in the scores."""
    return f"on {many(n, 'pair')}, " + ("held out" if held_out else "those on which edges were scored")
