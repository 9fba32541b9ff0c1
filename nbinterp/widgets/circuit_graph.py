"""A circuit as a graph to pick from: the input below, the logits above, as many edges as the slider keeps."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import traitlets

from nbinterp.experiment import Experiment
from nbinterp.interventions import Ablate, Patch
from nbinterp.sites import Site
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.following import Follower, Offer, ablated
from nbinterp.widgets.protocol import (
    CircuitEdges,
    CircuitNode,
    CircuitReceiver,
    CircuitSpec,
    CircuitStop,
    CircuitView,
)
from nbinterp.widgets.saved import origin_of, page, saved_bundle

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import altair as alt
    import xarray as xr
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.prompts import Prompt
    from nbinterp.widgets.following import Followed
    from nbinterp.wiring import Wiring

MOST_EDGES = 5000
"""More edges than this a page draws as one blot."""

_STOPS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_FIRST_DRAWN = 400
_MOST_KEPT = 400_000  # bytes of edges that a saved notebook keeps beside the picture


class Scored(Protocol):
    """Scores of a model's edges, or some of them chosen; `nbinterp.circuit` and its ``prune`` give them."""

    scores: xr.DataArray
    """What each edge matters, ``[receiver, node]``, NaN where there is none."""

    wiring: Wiring

    @property
    def model(self) -> ModelInfo:
        """The model."""

    def frame(self) -> pd.DataFrame:
        """Return one line an edge."""


class Curve(Protocol):
    """Faithfulness by how many edges are kept; the scores' ``faithfulness`` gives it."""

    points: pd.DataFrame
    how: Any


class CircuitGraph(Follower):
    """A circuit as a layered graph: nodes by layer, edges by weight and sign, as many as the slider keeps.

    Click a node to pick its head or layer, or an edge to pick both of its ends; what is picked in a linked widget is lit here.

    Parameters
    ----------
    circuit : Circuit or EdgeScores
        What ``prune`` or ``minimal`` gave, or the scores of all edges, of which a slider then keeps the largest ones.
    curve : FaithfulnessCurve, optional
        What the scores' ``faithfulness()`` gave: the slider goes from one of its points to the next, and says how much of the
        behaviour is left there.
    follow : Playground, optional
        Where something can be done: what is picked in one is picked in the other; there picked heads and MLPs can be ablated in
        one click, and a picked edge cut. Nodes on which it acts are marked here.

    Attributes
    ----------
    selection : Selection
        Heads and layers that are picked; may be set.
    n_edges : int
        How many edges are kept, dead ends left out.

    Raises
    ------
    TypeError
        For what holds no edges.

    Examples
    --------
    >>> scores = nb.circuit(model, clean, corrupted, metric=metric)  # doctest: +SKIP
    >>> nb.CircuitGraph(scores, curve=scores.faithfulness())  # doctest: +SKIP
    """

    _esm = Bundle("circuit.js")
    _css = Bundle("circuit.css")

    spec: Any = traitlets.Dict().tag(sync=True)
    view: Any = traitlets.Dict().tag(sync=True)
    edges: Any = traitlets.Dict().tag(sync=True)
    acted: Any = traitlets.List().tag(sync=True)

    def __init__(self, circuit: Scored, *, curve: Curve | None = None, follow: Followed | None = None) -> None:
        if not all(hasattr(circuit, name) for name in ("scores", "wiring", "frame")):
            raise TypeError(
                f"got {type(circuit).__name__} for a graph; wanted a circuit, or the scores of edges: nb.CircuitGraph(nb.circuit(…))."
            )
        self.circuit = circuit
        wiring = circuit.wiring
        stops, masks = _stops(circuit, curve)
        first = np.full(wiring.edges.shape, len(masks), dtype=np.int64)
        for stop in range(len(masks) - 1, -1, -1):
            first[masks[stop]] = stop
        receiver, node = np.nonzero(first < len(masks))
        scores = np.nan_to_num(circuit.scores.to_numpy())[receiver, node]
        order = np.argsort(-np.abs(scores), kind="stable")
        receiver, node, scores = receiver[order], node[order], scores[order]
        behaviour = getattr(circuit, "behaviour", None)
        metric = str(getattr(circuit, "metric", "")) or (
            str(behaviour.pairs[0].metric) if behaviour is not None else ""
        )
        super().__init__(
            spec=CircuitSpec(
                title=f"Circuit of {circuit.model.name}: {metric}",
                note="",
                metric=metric,
                n_layers=wiring.n_layers,
                n_heads=wiring.n_heads,
                total=int(wiring.edges.sum()),
                nodes=_nodes(wiring),
                receivers=[
                    CircuitReceiver(name=name, nodes=list(fed) or [len(wiring.nodes)])
                    for name, fed in zip(wiring.receivers, wiring.readers, strict=True)
                ],
                stops=stops,
            ),
            view=CircuitView(stop=_beginning(stops), drawn=_FIRST_DRAWN, edge=[]),
            edges=CircuitEdges(
                source=node.astype("<u4").tobytes(),
                receiver=receiver.astype("<u4").tobytes(),
                stop=first[receiver, node].astype("<u4").tobytes(),
                score=scores.astype("<f4").tobytes(),
            ),
        )
        if follow is not None:
            self._follow(follow)

    @property
    def selectable(self) -> dict[str, int]:
        """How many layers and heads can be picked."""
        info = self.circuit.model
        return {"layers": info.n_layers, "heads": info.n_layers * info.n_heads}

    @property
    def n_edges(self) -> int:
        """How many edges are kept, dead ends left out."""
        return int(self.spec["stops"][self.view["stop"]]["kept"])

    def chart(self, most: int = 60) -> alt.TopLevelMixin:
        """Return the strongest edges that are kept as a chart that can go on being edited; it says of how many."""
        from nbinterp.charts.circuits import circuit_chart

        wiring = self.circuit.wiring
        rows = []
        for receiver, source, score in self._kept():
            target, _, into = wiring.receivers[receiver].partition("<")
            layers = _place(wiring, source)[0], _input(wiring, receiver)[0]
            rows.append((wiring.name(receiver, source), wiring.nodes[source], target, into[:-1], *layers, score))
        columns = ["edge", "source", "target", "input", "source_layer", "target_layer", "score"]
        stop, metric = self.spec["stops"][self.view["stop"]], self.spec["metric"]
        left = "" if np.isnan(stop["faithfulness"]) else f"faithfulness {stop['faithfulness']:.2f}"
        return circuit_chart(
            pd.DataFrame(rows, columns=columns),
            title=f"Circuit of {self.circuit.model.name}: {stop['kept']:,} of {self.spec['total']:,} edges",
            subtitle=", ".join(filter(None, [metric, left])),
            most=most,
        )

    def frame(self) -> pd.DataFrame:
        """Return one line for each edge that is kept: ``edge``, ``score``, the largest in either direction first."""
        wiring = self.circuit.wiring
        rows = [(wiring.name(receiver, source), score) for receiver, source, score in self._kept()]
        return pd.DataFrame(rows, columns=["edge", "score"])

    def _kept(self) -> list[tuple[int, int, float]]:
        """Return receiver, source and score of each edge that is kept."""
        receiver, source, stop = (np.frombuffer(self.edges[k], "<u4") for k in ("receiver", "source", "stop"))
        kept = stop <= self.view["stop"]
        columns = receiver[kept], source[kept], np.frombuffer(self.edges["score"], "<f4")[kept]
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _take(self, experiment: Experiment) -> bool:
        wiring = self.circuit.wiring
        found = {node for act in experiment.active for node in _nodes_at(act.site, wiring)}
        self.acted = sorted(found)
        return False

    def _offers(self, experiment: Experiment, texts: Sequence[str]) -> Iterator[Offer]:
        wiring, picked = self.circuit.wiring, self.selection
        receiver, source = self.view.get("edge") or (-1, -1)
        known = 0 <= receiver < len(wiring.receivers) and 0 <= source < len(wiring.nodes)
        if known and wiring.edges[receiver, source] and self._holds(receiver, source):
            words = f"Cut {wiring.name(receiver, source)}"
            yield Offer(words, [cut_edge(wiring, receiver, source, experiment.prompts[0])], words)
        # a layer that is picked stands for its MLP here
        sites = [f"z.{layer}.{head}" for layer, head in picked.heads]
        sites += [f"mlp_out.{layer}" for layer in picked.layers if layer < wiring.n_layers]
        if sites:
            yield ablated(sites, (), texts)

    def _holds(self, receiver: int, source: int) -> bool:
        """Whether nothing was picked elsewhere since an edge was, with both of its ends."""
        wiring, picked = self.circuit.wiring, self.selection
        ends = [_place(wiring, node)[1] for node in (source, *wiring.readers[receiver])]
        heads = {(site.layer, site.head) for site in ends if site.component == "z"}
        layers = {site.layer for site in ends if site.component == "mlp_out"}
        return heads.issuperset(picked.heads) and layers.issuperset(picked.layers)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the graph as one HTML file in which the slider still slides, without Python or a network.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        return page(self, "circuit", path, text=repr(self), chart=self.chart(), frame=self.frame(), lines=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = super()._repr_mimebundle_(**kwargs)
        kept = self if sum(map(len, self.edges.values())) < _MOST_KEPT else None
        origin = origin_of(self.spec, zlib.crc32(self.edges["score"]))
        return saved_bundle(
            view, "circuit", self.chart(), repr(self), self.frame(), widget=kept, origin=origin, lines=True
        )

    def __repr__(self) -> str:
        # also of one that could not be made, in the trace of why
        if not self.spec:
            return "CircuitGraph without edges"
        stop = self.spec["stops"][self.view["stop"]]
        left = "" if np.isnan(stop["faithfulness"]) else f", faithfulness {stop['faithfulness']:.2f}"
        return f"CircuitGraph: {self.spec['title']}, {stop['kept']:,} of {self.spec['total']:,} edges{left}"


def cut_edge(wiring: Wiring, receiver: int, source: int, prompt: Prompt) -> Patch:
    """Return what takes from a receiver what one node says to it, in a prompt; everybody else goes on hearing that node.

    The receiver gets what it reads in a run in which the node writes nothing, and all that lies between the two writes what
    it writes in the untouched run: the direct path alone is cut, as in path patching.

    References
    ----------
    .. [1] Goldowsky-Dill et al., "Localizing Model Behavior with Path Patching", 2023. arXiv:2304.05969
    """
    (first, of), (last, reads) = _place(wiring, source), _input(wiring, receiver)
    held: list[Ablate | Patch] = [Ablate(of)]
    for layer in range(max(first, 0), min(last + 1, wiring.n_layers)):
        # what comes beside a head, or before an MLP, does not hear it
        if layer > first and (layer < last or reads.component == "mlp_out"):
            held.append(Patch(f"attn_out.{layer}", source=prompt))
        if layer < last and (layer > first or of.component == "z"):
            held.append(Patch(f"mlp_out.{layer}", source=prompt))
    return Patch(reads, source=Experiment(prompt, held))


def _place(wiring: Wiring, node: int) -> tuple[int, Site]:
    """Return a node's layer, −1 for the input, and where it writes."""
    if node == 0:
        return -1, Site("resid_pre", 0)
    layer, head = divmod(node - 1, wiring.n_heads + 1)
    return layer, Site("mlp_out", layer) if head == wiring.n_heads else Site("z", layer, head)


def _input(wiring: Wiring, receiver: int) -> tuple[int, Site]:
    """Return a receiver's layer, the number of layers for the logits, and where what it makes of its input can be replaced."""
    layer, at = divmod(receiver, wiring.attention_inputs + 1)
    if layer == wiring.n_layers:
        # the last stream is all that the logits read, and lenses read it too
        return layer, Site("resid_post", layer - 1)
    if at == wiring.attention_inputs:
        return layer, Site("mlp_out", layer)
    if at < wiring.n_heads:
        return layer, Site("q", layer, at)
    component, head = divmod(at - wiring.n_heads, wiring.n_kv_heads)
    return layer, Site("kv"[component], layer, head)


def _nodes_at(site: Site, wiring: Wiring) -> range | list[int]:
    """Return the nodes that an intervention at a site acts on; none for one on the stream between them."""
    layer, group = site.layer, wiring.n_heads // wiring.n_kv_heads
    if site.component == "embed" or (site.component, layer) == ("resid_pre", 0):
        return [0]
    if layer is None or site.is_path:
        return []
    first = wiring.nodes_before(layer)
    heads = range(first, first + wiring.n_heads)
    match site.component:
        case "mlp_out" | "mlp_post":
            return [first + wiring.n_heads]
        case "z" | "q" | "pattern" | "attn_out":
            return heads if site.head is None else [first + site.head]
        case "k" | "v":
            return heads if site.head is None else heads[site.head * group : (site.head + 1) * group]
    return []


def _stops(circuit: Any, curve: Curve | None) -> tuple[list[CircuitStop], list[NDArray[np.bool_]]]:
    """Return how many edges can be kept, and which ones those are: ``[receiver, node]`` each."""
    if not hasattr(circuit, "prune"):
        random = circuit.random if len(circuit.random) else np.array([np.nan])
        stop = CircuitStop(
            n_edges=circuit.n_edges,
            kept=circuit.n_edges,
            faithfulness=float(circuit.faithfulness),
            random_low=float(random.min()),
            random_high=float(random.max()),
        )
        return [stop], [circuit.edges]
    wiring, scores = circuit.wiring, np.nan_to_num(circuit.scores.to_numpy())
    if curve is None:
        points = pd.DataFrame({"n_edges": [n for n in _STOPS if n < wiring.edges.sum()]})
        for column in ("faithfulness", "random_low", "random_high"):
            points[column] = np.nan
    else:
        points = curve.points[curve.points["n_edges"] <= MOST_EDGES]
    stops, masks = [], []
    for point in points.to_dict("records"):
        mask = wiring.alive(wiring.choose(scores, int(point["n_edges"]), "greedy" if curve is None else curve.how))
        masks.append(mask)
        stops.append(
            CircuitStop(
                n_edges=int(point["n_edges"]),
                kept=int(mask.sum()),
                faithfulness=float(point["faithfulness"]),
                random_low=float(point["random_low"]),
                random_high=float(point["random_high"]),
            )
        )
    return stops, masks


def _beginning(stops: Sequence[CircuitStop]) -> int:
    """Return the first stop that keeps most of the behaviour; where nobody measured it, one that can be looked at."""
    enough = [i for i, stop in enumerate(stops) if stop["faithfulness"] >= 0.85]
    few = [i for i, stop in enumerate(stops) if stop["kept"] <= 200]
    return enough[0] if enough else few[-1] if few else 0


def _nodes(wiring: Wiring) -> list[CircuitNode]:
    """Return what writes, in its order: the input, then of each layer the heads and the MLP; and the logits, which only read."""
    found = [CircuitNode(name="input", kind="input", layer=-1, head=-1)]
    for at, name in enumerate(wiring.nodes[1:]):
        layer, head = divmod(at, wiring.n_heads + 1)
        is_mlp = head == wiring.n_heads
        found.append(CircuitNode(name=name, kind="mlp" if is_mlp else "head", layer=layer, head=-1 if is_mlp else head))
    return [*found, CircuitNode(name="logits", kind="logits", layer=wiring.n_layers, head=-1)]
