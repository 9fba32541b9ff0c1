"""Circuits: on a model whose circuit is known by hand, the smallest is exactly that one; a random one explains nothing."""

import json

import numpy as np
import pandas as pd
import pytest

import nbinterp as nb
from nbinterp.methods.behaviour import BehaviourMissing, BehaviourWarning
from tests.conftest import random_module
from tests.methods import induction

N_TOKENS = 8


def texts(ids):
    return "".join(induction.WORDS[i] for i in ids)


def swapped(n, seed=0):
    """Pairs that differ in which of two words stands before which of two others: what was before is all that matters."""
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(n):
        ids = random.permutation(30)[:N_TOKENS]
        i, j = 2 * np.sort(random.choice(N_TOKENS // 2, 2, replace=False))
        other = ids.copy()
        other[[i, j]] = ids[[j, i]]
        metric = nb.logit_difference(induction.WORDS[ids[i + 1]], induction.WORDS[ids[j + 1]])
        pairs.append((texts([*ids, ids[i]]), texts([*other, ids[i]]), metric))
    return map(list, zip(*pairs, strict=True))


def asked_another(n, seed=0):
    """Pairs that differ in the last word alone: what is asked for is all that matters."""
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(n):
        ids = random.permutation(30)[:N_TOKENS]
        i, j = random.choice(N_TOKENS - 1, 2, replace=False)
        metric = nb.logit_difference(induction.WORDS[ids[i + 1]], induction.WORDS[ids[j + 1]])
        pairs.append((texts([*ids, ids[i]]), texts([*ids, ids[j]]), metric))
    return map(list, zip(*pairs, strict=True))


@pytest.fixture(scope="module")
def model():
    return induction.opened()


@pytest.fixture(scope="module")
def scores(model):
    clean, corrupted, metric = swapped(6)
    return nb.circuit(model, clean, corrupted, metric=metric, held_out=2)


def edge(text):
    """An edge by the names that tests/methods/induction.py has for the heads."""
    for name, site in (("previous", induction.PREVIOUS), ("induction", induction.INDUCTION)):
        _, layer, head = site.split(".")
        text = text.replace(name, f"L{layer}H{head}")
    return text


@pytest.mark.parametrize("method", ["EAP", "EAP-IG"])
@pytest.mark.parametrize(
    ("pairs", "known"),
    [
        # what stood before is written by the head of block 0 from its values, and read as a key
        (swapped, ["input→previous<v>", "previous→induction<k>", "induction→logits"]),
        (asked_another, ["input→induction<q>", "induction→logits"]),
    ],
    ids=["keys", "queries"],
)
def test_the_smallest_circuit_is_the_known_one(model, pairs, known, method):
    clean, corrupted, metric = pairs(4)
    found = nb.circuit(model, clean, corrupted, metric=metric, method=method)
    known = list(map(edge, known))
    given = found.circuit(known)
    assert given.faithfulness == pytest.approx(1, abs=1e-3)
    assert given.complement < 1e-3
    assert max(given.random) < 1e-3
    smallest = found.minimal(0.9)
    assert set(known) <= set(smallest.names)
    # nothing that is written at random, and no edge that a ranking by slopes does not hold for one of the circuit's heads
    assert set(smallest.nodes()["node"]) == set(given.nodes()["node"])
    # each of them is needed
    for left_out in known:
        rest = [name for name in smallest.names if name != left_out]
        assert found.circuit(rest, draws=0).faithfulness < 0.1


def test_trimmed_it_is_the_known_circuit_and_nothing_else(model):
    clean, corrupted, metric = swapped(4)
    found = nb.circuit(model, clean, corrupted, metric=metric).minimal(0.9, trim=True)
    assert set(found.names) == set(map(edge, ["input→previous<v>", "previous→induction<k>", "induction→logits"]))
    assert found.faithfulness == pytest.approx(1, abs=1e-3)


def test_without_induction_there_is_nothing_to_find():
    clean, corrupted, metric = swapped(4)
    model = induction.opened(attends=N_TOKENS)
    with pytest.raises(BehaviourMissing, match="do no worse"):
        nb.circuit(model, clean, corrupted, metric=metric, gate="refuse")
    with pytest.warns(BehaviourWarning):
        nb.circuit(model, clean, corrupted, metric=metric)


def test_the_result_says_what_was_found(scores, model):
    assert scores.scores.dims == ("receiver", "node")
    assert scores.scores.attrs["units"] == "logits"
    assert not scores.scores.to_numpy().flags.writeable
    assert np.isnan(scores.scores.to_numpy()).sum() == (~model.edges.wiring.edges).sum()
    top = scores.top(5)
    assert list(top.columns) == ["edge", "source", "target", "input", "source_layer", "target_layer", "score"]
    assert top["edge"].iloc[0] == edge("induction→logits")
    assert (np.diff(np.abs(scores.frame()["score"])) <= 0).all()
    assert len(scores.frame()) == scores.n_edges
    best = scores.heads().iloc[0]
    assert f"z.{best.layer:.0f}.{best['head']:.0f}" == induction.INDUCTION
    assert edge("induction→logits") in repr(scores)
    assert "scored on 4 pairs, 2 pairs held out" in repr(scores)


def test_a_circuit_is_tried_on_other_prompts(scores, model):
    clean, corrupted, metric = swapped(3, seed=5)
    known = list(map(edge, ["input→previous<v>", "previous→induction<k>", "induction→logits"]))
    circuit = scores.circuit(known, draws=2, seed=4)
    other = circuit.on(clean, corrupted, metric=metric)
    assert other.names == circuit.names
    assert other.scores is circuit.scores
    assert len(other.values) == len(other.behaviour.pairs) == 3
    assert other.faithfulness == pytest.approx(1, abs=1e-3)
    assert other.held_out
    # as if it had been checked there from the beginning, random circuits and all
    again = scores.on(clean, corrupted, metric=metric).circuit(known, draws=2, seed=4)
    np.testing.assert_allclose(other.values, again.values)
    np.testing.assert_allclose(other.random, again.random)
    # on the prompts on which edges were scored nothing is held out
    scored = [pair.pair for pair in scores.pairs]
    own = circuit.on([p.clean for p in scored], [p.corrupted for p in scored], metric=[p.metric for p in scored])
    assert not own.held_out
    # where another head is asked, it does nothing: what is asked for differs here, and not what stood before it
    asked = circuit.on(*(found := [*asked_another(3)])[:2], metric=found[2])
    assert asked.faithfulness < 0.1


def test_pairs_to_check_on_may_be_given_apart(scores, model):
    clean, corrupted, metric = swapped(6)
    some = {"clean": clean[4:], "corrupted": corrupted[4:], "metric": metric[4:]}
    found = nb.circuit(model, clean[:4], corrupted[:4], metric=metric[:4], check=some)
    np.testing.assert_array_equal(found.scores, scores.scores)
    assert found.held_out
    np.testing.assert_allclose(found.prune(5, draws=0).values, scores.prune(5, draws=0).values)
    with pytest.raises(ValueError, match=r"got held_out=1 and check=…; wanted one of the two"):
        nb.circuit(model, clean, corrupted, metric=metric, held_out=1, check=some)
    with pytest.raises(TypeError, match=r"got check=\['clean', 'corupted'\]; wanted {'clean': …"):
        nb.circuit(model, clean, corrupted, metric=metric, check={"clean": clean, "corupted": corrupted})


def test_a_circuit_is_data(scores):
    found = scores.prune(10)
    value = json.loads(json.dumps(found.to_json()))
    assert {e["edge"] for e in value["edges"]} == set(found.names)
    assert value["faithfulness"] == pytest.approx(found.faithfulness)
    assert value["nodes"][0] == {
        "node": "input", "layer": -1, "site": "resid_pre.0", "n_in": 0,
        "n_out": value["nodes"][0]["n_out"], "score": pytest.approx(value["nodes"][0]["score"]),
    }  # fmt: skip
    assert found.held_out
    assert len(found.values) == 2
    assert "held out" in repr(found)
    assert "random circuits" in found._repr_html_()


def test_a_circuit_that_is_none_says_so(scores):
    nothing = scores.circuit(["input→L0H0<v>"])
    assert nothing.n_edges == 0
    assert nothing.faithfulness == pytest.approx(0, abs=1e-4)
    assert "! a random circuit does as well" in repr(nothing)
    assert "! what was left out does it as well" in repr(nothing)


def test_faithfulness_falls_as_edges_are_cut(scores):
    curve = scores.faithfulness(draws=2)
    frame = curve.frame()
    assert frame["n_edges"].tolist() == [1, 2, 5, 10, 20, 50, 100, scores.n_edges]
    assert frame["faithfulness"].iloc[[0, -1]].tolist() == pytest.approx([0, 1], abs=1e-4)
    assert (frame["random_high"].iloc[:5] < 0.1).all()
    assert "first reaches 0.50" in repr(curve)
    assert "on 2 pairs, held out" in repr(curve)
    drawn = curve.chart().to_dict()
    assert drawn["layer"]
    assert "on 2 pairs, held out" in drawn["title"]["subtitle"]


def test_charts_draw_every_edge_between_its_nodes(scores):
    found = scores.prune(10)
    drawn = found.chart().to_dict()
    lines, nodes = (drawn["datasets"][drawn["layer"][i]["data"]["name"]] for i in (0, 1))
    assert {line["edge"] for line in lines} == set(found.names)
    at = {node["node"]: (node["x"], node["y"]) for node in nodes}
    ways = pd.DataFrame(lines).sort_values("step").groupby("line")
    for _, way in ways:
        source, target = way["edge"].iloc[0].split("→")
        assert tuple(way[["x", "y"]].iloc[0]) == at[source]
        assert tuple(way[["x", "y"]].iloc[-1]) == at[target.split("<")[0]]
        assert way["y"].iloc[-1] > way["y"].iloc[0]
    assert scores.chart(8).to_dict()["layer"]


def test_shared_keys_are_drawn_to_the_heads_that_share_them(tokenizer):
    model = nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")
    found = nb.circuit(
        model,
        "The capital of France is",
        "The capital of Italy is",
        metric=nb.logit_difference(" a", " b"),
        gate="ignore",
    )
    kept = found.circuit(["input→L1H2-3<v>", "L1H3→logits", "L1H2→logits"], draws=0)
    assert kept.n_edges == 3
    assert kept.nodes()["node"].tolist() == ["input", "L1H2", "L1H3"]
    drawn = kept.chart().to_dict()
    lines = drawn["datasets"][drawn["layer"][0]["data"]["name"]]
    assert len({line["line"] for line in lines if line["edge"] == "input→L1H2-3<v>"}) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "ACDC"}, "got method='ACDC'"),
        ({"steps": 0}, "got steps=0"),
        ({"held_out": 1}, "got held_out=1 of 1 pair"),
        ({"metric": nb.rank(" ba")}, "no derivative"),
        ({"gate": "maybe"}, "got gate='maybe'"),
        ({"corrupted": " ba bi"}, "2"),
    ],
)
def test_bad_input_gets_one_sentence(model, change, message):
    given = {"clean": " ba bi bo", "corrupted": " ba bi bu", "metric": nb.logit_difference(" ba", " bi")} | change
    clean, corrupted = given.pop("clean"), given.pop("corrupted")
    with pytest.raises(ValueError, match=message):
        nb.circuit(model, clean, corrupted, **given)


def test_sizes_and_levels_that_are_none_are_refused(scores):
    with pytest.raises(ValueError, match="got 0 edges"):
        scores.prune(0)
    with pytest.raises(ValueError, match="got 199 edges"):
        scores.faithfulness([1, 199])
    with pytest.raises(ValueError, match=r"faithfulness=1\.5"):
        scores.minimal(1.5)
    with pytest.raises(LookupError, match="got the edge"):
        scores.circuit(["L0H9→logits"])


def test_it_can_be_cancelled(scores, model):
    with pytest.raises(KeyboardInterrupt):
        scores.prune(5, cancel=lambda: True)
    clean, corrupted, metric = swapped(2)
    with pytest.raises(KeyboardInterrupt):
        nb.circuit(model, clean, corrupted, metric=metric, cancel=lambda: True)
