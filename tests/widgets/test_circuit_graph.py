"""CircuitGraph: at each stop of the slider the page has exactly the edges that the circuit there has."""

from __future__ import annotations

import base64
import re

import numpy as np
import pandas as pd
import pytest
import torch

import nbinterp as nb
from nbinterp.methods.circuits import circuit
from nbinterp.widgets.circuit_graph import cut_edge
from nbinterp.widgets.saved import WIDGET_MIME
from tests.conftest import random_module

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def toy(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")


@pytest.fixture(scope="module")
def scores(toy):
    metric = nb.logit_difference(" Paris", " Rome")
    prompts = PROMPT, "The capital of Italy is"
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


def test_the_picture_says_how_many_edges_are_drawn_of_how_many_and_is_small(scores):
    graph = nb.CircuitGraph(scores)
    graph.view = {**graph.view, "stop": len(graph.spec["stops"]) - 1}
    kept = graph.n_edges
    assert kept > 60
    assert f"{kept:,} of {scores.n_edges:,} edges" in repr(graph)
    html = graph._repr_mimebundle_()[0]["text/html"]
    assert len(html) < 100_000
    picture = base64.b64decode(re.search(r"svg\+xml;base64,([^\"]*)", html)[1]).decode()
    assert f"Circuit of toy: {kept:,} of {scores.n_edges:,} edges" in picture
    assert f"the 60 edges with the largest scores of {kept:,} drawn" in picture
    title = graph.chart().to_dict()["title"]
    assert max(map(len, [*title["text"], *title["subtitle"]])) < 120
    whole = graph.chart(10_000).to_dict()
    assert "drawn" not in str(whole["title"])
    (edges,) = [rows for rows in whole["datasets"].values() if "line" in rows[0]]
    assert {point["edge"] for point in edges} == set(graph.frame()["edge"])


@pytest.mark.parametrize(
    "edge",
    [
        "L0H1→logits",
        "input→logits",
        "MLP 3→logits",
        "L1H0→MLP 3",
        "L3H0→MLP 3",
        "input→MLP 3",
        "L0H1→L2H3<q>",
        "MLP 1→L2H0-1<k>",
    ],
)
def test_a_cut_edge_takes_what_a_node_says_from_one_reader_alone(toy, scores, edge):
    # by hand: what the receiver reads, less what the node writes
    wiring = scores.wiring
    source, receiver = (
        names.index(part) for names, part in zip((wiring.nodes, wiring.receivers), edge.split("→"), strict=True)
    )
    read = [f"{name}.{layer}" for layer in range(4) for name in ("z", "mlp_out")]
    (clean,) = toy.run(
        [nb.Experiment(PROMPT, read=[*read, "resid_pre.0", "resid_pre.2", "resid_mid.3", "resid_post.3", "q.2", "k.2"])]
    )
    layer, head = divmod(source - 1, 5)
    said = (
        clean.read("resid_pre.0")
        if source == 0
        else clean.read(f"mlp_out.{layer}")
        if head == 4
        else toy.head_outputs(layer, clean.read(f"z.{layer}"))[:, head]
    )
    patch = cut_edge(wiring, receiver, source, PROMPT)
    (got,) = toy.run([nb.Experiment(PROMPT, [patch], read=["q.2", "k.2", "mlp_out.3", "logits"])])
    blocks = toy._executor.nnsight._module.model.layers
    with torch.no_grad():
        if edge.endswith("logits"):
            found, wanted = got.read("logits"), toy.readout.logits(clean.read("resid_post.3") - said)
        elif "MLP 3" in edge.split("→")[1]:
            heard = torch.tensor(clean.read("resid_mid.3") - said)
            found, wanted = got.read("mlp_out.3"), blocks[3].mlp(blocks[3].post_attention_layernorm(heard)).numpy()
        else:
            name, head = patch.site.component, patch.site.head
            heard = blocks[2].input_layernorm(torch.tensor(clean.read("resid_pre.2") - said))
            found = got.read(f"{name}.2")
            wanted = clean.read(f"{name}.2").copy()
            wanted[:, head] = getattr(blocks[2].self_attn, f"{name}_proj")(heard).numpy().reshape(wanted.shape)[:, head]
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_what_is_picked_is_done_in_the_playground_and_marked_here(toy, scores, curve):
    play = nb.Playground(toy, PROMPT, interventions=[nb.Ablate("mlp_out.1"), nb.Scale("resid_post.2", 2.0)])
    graph = nb.CircuitGraph(scores, curve=curve, follow=play)
    names = [node["name"] for node in graph.spec["nodes"]]
    assert [names[node] for node in graph.acted] == ["MLP 1"]
    assert graph.offers == []
    graph.selection = {"heads": [(2, 1)], "layers": [3]}
    assert play.selection.heads == ((2, 1),)
    (words,) = [one["words"] for one in graph.offers]
    assert words == "Ablate z.2.1, mlp_out.3 at all tokens"
    graph._put(words)
    play.frame()
    assert [str(act.site) for act in play.experiment.active] == ["mlp_out.1", "resid_post.2", "z.2.1", "mlp_out.3"]
    assert [names[node] for node in graph.acted] == ["MLP 1", "L2H1", "MLP 3"]
    assert graph.offers == [{"words": words, "done": True}]
    # an edge is picked with both of its ends
    receiver, source = scores.wiring.receivers.index("L2H0-1<k>"), scores.wiring.nodes.index("MLP 0")
    graph.selection = {"heads": [(2, 1)], "layers": [0]}
    graph.view = {**graph.view, "edge": [receiver, source]}
    assert [one["words"] for one in graph.offers] == ["Cut MLP 0→L2H0-1<k>", "Ablate z.2.1, mlp_out.0 at all tokens"]
    graph._put("Cut MLP 0→L2H0-1<k>")
    play.frame()
    assert play.experiment.interventions[-1] == cut_edge(scores.wiring, receiver, source, PROMPT).bound(toy.info)
    assert [one["done"] for one in graph.offers] == [True, False]
    assert play.problem == ""
    assert play.setting["acts"][-1]["values"] == {"amount": 1.0}
    assert [names[node] for node in graph.acted] == ["MLP 1", "L2H0", "L2H1", "MLP 3"]
    # what is picked elsewhere is another place
    play.selection = {"heads": [(0, 0)]}
    assert [one["words"] for one in graph.offers] == ["Ablate z.0.0 at all tokens"]
    graph.close()
    play.selection = {}
    assert graph.selection.heads == ((0, 0),)
    play.close()
