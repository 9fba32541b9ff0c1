"""A circuit as a graph to pick from: the input below, the logits above, as many edges as the slider keeps."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import traitlets

from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.protocol import (
    CircuitEdges,
    CircuitNode,
    CircuitReceiver,
    CircuitSpec,
    CircuitStop,
    CircuitView,
)
from nbinterp.widgets.saved import origin_of, page, saved_bundle
from nbinterp.widgets.selection import SelectionTrait
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import altair as alt
    import xarray as xr
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
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

    def chart(self) -> Any:
        """Return it as a layered graph."""


class Curve(Protocol):
    """Faithfulness by how many edges are kept; the scores' ``faithfulness`` gives it."""

    points: pd.DataFrame
    how: Any


class CircuitGraph(Widget):
    """A circuit as a layered graph: nodes by layer, edges by weight and sign, as many as the slider keeps.

    Click a node to pick its head or layer, or an edge to pick both of its ends; what is picked in a linked widget is lit here.

    Parameters
    ----------
    circuit : Circuit or EdgeScores
        What ``prune`` or ``minimal`` gave, or the scores of all edges, of which a slider then keeps the largest ones.
    curve : FaithfulnessCurve, optional
        What the scores' ``faithfulness()`` gave: the slider goes from one of its points to the next, and says how much of the
        behaviour is left there.

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
    selection = SelectionTrait()
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(self, circuit: Scored, *, curve: Curve | None = None) -> None:
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
            view=CircuitView(stop=_beginning(stops), drawn=_FIRST_DRAWN),
            edges=CircuitEdges(
                source=node.astype("<u4").tobytes(),
                receiver=receiver.astype("<u4").tobytes(),
                stop=first[receiver, node].astype("<u4").tobytes(),
                score=scores.astype("<f4").tobytes(),
            ),
        )

    @property
    def selectable(self) -> dict[str, int]:
        """How many layers and heads can be picked."""
        info = self.circuit.model
        return {"layers": info.n_layers, "heads": info.n_layers * info.n_heads}

    @property
    def n_edges(self) -> int:
        """How many edges are kept, dead ends left out."""
        return int(self.spec["stops"][self.view["stop"]]["kept"])

    def chart(self) -> alt.TopLevelMixin:
        """Return the circuit's chart."""
        chart: alt.TopLevelMixin = self.circuit.chart()
        return chart

    def frame(self) -> pd.DataFrame:
        """Return one line for each edge that is kept: ``edge``, ``score``, the largest in either direction first."""
        wiring = self.circuit.wiring
        source, receiver, stop = (np.frombuffer(self.edges[k], "<u4") for k in ("source", "receiver", "stop"))
        kept = stop <= self.view["stop"]
        names = [wiring.name(int(r), int(n)) for r, n in zip(receiver[kept], source[kept], strict=True)]
        return pd.DataFrame({"edge": names, "score": np.frombuffer(self.edges["score"], "<f4")[kept]})

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the graph as one HTML file in which the slider still slides, without Python or a network.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        return page(self, "circuit", path, text=repr(self), chart=self.chart(), frame=self.frame())

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = super()._repr_mimebundle_(**kwargs)
        kept = self if sum(map(len, self.edges.values())) < _MOST_KEPT else None
        origin = origin_of(self.spec, zlib.crc32(self.edges["score"]))
        return saved_bundle(view, "circuit", self.chart(), repr(self), self.frame(), widget=kept, origin=origin)

    def __repr__(self) -> str:
        # also of one that could not be made, in the trace of why
        if not self.spec:
            return "CircuitGraph without edges"
        stop = self.spec["stops"][self.view["stop"]]
        left = "" if np.isnan(stop["faithfulness"]) else f", faithfulness {stop['faithfulness']:.2f}"
        return f"CircuitGraph: {self.spec['title']}, {stop['kept']:,} of {self.spec['total']:,} edges{left}"


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
