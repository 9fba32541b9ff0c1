"""CircuitGraph: at each stop of the slider the page has exactly the edges that the circuit there has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.methods.circuits import circuit
from nbinterp.widgets.saved import WIDGET_MIME
from tests.conftest import random_module


@pytest.fixture(scope="module")
def scores(tokenizer):
    toy = nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")
    metric = nb.logit_difference(" Paris", " Rome")
    prompts = "The capital of France is", "The capital of Italy is"
    return circuit(toy, *prompts, metric=metric, method="EAP", gate="ignore")


@pytest.fixture(scope="module")
def curve(scores):
    return scores.faithfulness([5, 20, 60], draws=1)


def shown(graph, stop):
    """Return the mask ``[receiver, node]`` of the edges that a page shows at a stop."""
    columns = {name: np.frombuffer(graph.edges[name], "<u4") for name in ("source", "receiver", "stop")}
    mask = np.zeros(graph.circuit.wiring.edges.shape, dtype=bool)
    kept = columns["stop"] <= stop
    mask[columns["receiver"][kept], columns["source"][kept]] = True
    return mask


def test_at_each_stop_there_are_the_edges_of_the_circuit_there(scores, curve):
    graph = nb.CircuitGraph(scores, curve=curve)
    for stop, point in enumerate(curve.points.to_dict("records")):
        circuit = scores.prune(point["n_edges"], draws=0)
        np.testing.assert_array_equal(shown(graph, stop), circuit.edges)
        message = graph.spec["stops"][stop]
        assert message["kept"] == circuit.n_edges
        assert message["faithfulness"] == pytest.approx(circuit.faithfulness, abs=1e-5)
    sizes = np.abs(np.frombuffer(graph.edges["score"], "<f4"))
    assert (np.diff(sizes) <= 0).all()


def test_a_circuit_is_shown_whole_with_its_own_faithfulness(scores):
    circuit = scores.prune(30, draws=2)
    graph = nb.CircuitGraph(circuit)
    np.testing.assert_array_equal(shown(graph, 0), circuit.edges)
    (stop,) = graph.spec["stops"]
    assert stop["faithfulness"] == circuit.faithfulness
    assert [stop["random_low"], stop["random_high"]] == [circuit.random.min(), circuit.random.max()]
    assert graph.n_edges == circuit.n_edges
    pd.testing.assert_series_equal(graph.frame()["edge"], circuit.frame()["edge"])
    assert f"{circuit.n_edges} of {scores.n_edges:,} edges, faithfulness {circuit.faithfulness:.2f}" in repr(graph)


def test_without_a_curve_nothing_is_said_of_faithfulness(scores):
    graph = nb.CircuitGraph(scores)
    assert np.isnan([stop["faithfulness"] for stop in graph.spec["stops"]]).all()
    assert "faithfulness" not in repr(graph)
    assert [stop["n_edges"] for stop in graph.spec["stops"]][:3] == [5, 10, 20]


def test_nodes_and_receivers_are_those_of_the_wiring(scores):
    spec = nb.CircuitGraph(scores).spec
    wiring = scores.wiring
    assert [node["name"] for node in spec["nodes"]] == [*wiring.nodes, "logits"]
    assert spec["nodes"][1 + 5 + 2] == {"name": "L1H2", "kind": "head", "layer": 1, "head": 2}
    by_name = {one["name"]: [spec["nodes"][i]["name"] for i in one["nodes"]] for one in spec["receivers"]}
    assert by_name["L2H0-1<k>"] == ["L2H0", "L2H1"]
    assert (by_name["MLP 3"], by_name["logits"]) == (["MLP 3"], ["logits"])


def test_a_notebook_keeps_it_and_what_holds_no_edges_is_refused(scores, curve):
    graph = nb.CircuitGraph(scores, curve=curve)
    data, _ = graph._repr_mimebundle_()
    assert data[WIDGET_MIME]["kind"] == "circuit"
    assert data[WIDGET_MIME]["state"]["view"] == graph.view
    assert graph.selectable == {"layers": 4, "heads": 16}
    with pytest.raises(TypeError, match="got FaithfulnessCurve for a graph; wanted a circuit, or the scores of edges"):
        nb.CircuitGraph(curve)
