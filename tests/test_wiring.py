"""The graph of a model: which edges there are, how they are chosen, and which are dead ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbinterp.wiring import Wiring

GROUPED = Wiring(n_layers=3, n_heads=4, n_kv_heads=2)
PARALLEL = Wiring(n_layers=2, n_heads=2, n_kv_heads=2, parallel=True)


def test_names_say_where():
    assert GROUPED.nodes[:6] == ("input", "L0H0", "L0H1", "L0H2", "L0H3", "MLP 0")
    assert GROUPED.receivers[:9] == (
        "L0H0<q>", "L0H1<q>", "L0H2<q>", "L0H3<q>", "L0H0-1<k>", "L0H2-3<k>", "L0H0-1<v>", "L0H2-3<v>", "MLP 0",
    )  # fmt: skip
    assert PARALLEL.receivers[4:7] == ("L0H0<v>", "L0H1<v>", "MLP 0")
    assert GROUPED.receivers[-1] == "logits"


@pytest.mark.parametrize("wiring", [GROUPED, PARALLEL], ids=["sequential", "parallel"])
def test_edges_are_those_from_what_writes_before_it_is_read(wiring):
    """Counted out by name: (layer, stage) of what writes must lie before that of what reads."""

    def written(node):
        return (
            (-1, 0)
            if node == "input"
            else (int(node[4:]), 1)
            if node[0] == "M"
            else (int(node[1 : node.index("H")]), 0)
        )

    def read(receiver):
        if receiver == "logits":
            return (wiring.n_layers, 0)
        if receiver[0] == "M":
            return (int(receiver[4:]), 0 if wiring.parallel else 1)
        return (int(receiver[1 : receiver.index("H")]), 0)

    wanted = [[written(node) < read(receiver) for node in wiring.nodes] for receiver in wiring.receivers]
    np.testing.assert_array_equal(wiring.edges, wanted)


def _ways(wiring, kept):
    """The edges on a way from the input to the logits, by following each way."""
    found = np.zeros_like(kept)

    def follow(node, way):
        for receiver in np.flatnonzero(kept[:, node]):
            onward = [*way, (receiver, node)]
            if receiver == len(wiring.receivers) - 1:
                for edge in onward:
                    found[edge] = True
            for reader in wiring.readers[receiver]:
                follow(reader, onward)

    follow(0, [])
    return found


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.35), st.booleans())
def test_alive_edges_are_those_on_a_way_from_input_to_logits(seed, share, parallel):
    wiring = Wiring(2, 2, 1, parallel)
    kept = wiring.edges & (np.random.default_rng(seed).random(wiring.edges.shape) < share)
    alive = wiring.alive(kept)
    np.testing.assert_array_equal(alive, _ways(wiring, kept))
    np.testing.assert_array_equal(wiring.alive(alive), alive)


def test_top_takes_the_largest_anywhere_and_greedy_only_what_leads_on():
    scores = np.zeros(GROUPED.edges.shape)
    names = ["input→L0H0-1<v>", "L0H1→L2H3<q>", "L2H3→logits", "input→logits", "MLP 0→MLP 1"]
    for size, name in zip((9.0, -8.0, 1.0, 0.5, 7.0), names, strict=True):
        scores[GROUPED.mask([name])] = size
    assert set(np.flatnonzero(GROUPED.choose(scores, 3, "top"))) == set(
        np.flatnonzero(GROUPED.mask([names[0], names[1], names[4]]))
    )
    np.testing.assert_array_equal(GROUPED.choose(scores, 3, "greedy"), GROUPED.mask(names[:3]))
    assert GROUPED.choose(scores, 10**9, "greedy").sum() == GROUPED.edges.sum()
    np.testing.assert_array_equal(GROUPED.choose(scores, 10**9), GROUPED.edges)


def test_every_edge_has_a_name_that_finds_it():
    for receiver, node in np.argwhere(GROUPED.edges):
        mask = GROUPED.mask([GROUPED.name(receiver, node)])
        assert mask.sum() == 1
        assert mask[receiver, node]


@pytest.mark.parametrize("name", ["L0H9→logits", "input", "MLP 1→MLP 0", "logits→input"])
def test_an_edge_that_is_not_there_is_refused(name):
    with pytest.raises(LookupError, match="got the edge"):
        GROUPED.mask([name])


def test_an_mlp_beside_its_attention_does_not_read_it():
    with pytest.raises(LookupError, match="writes only after"):
        PARALLEL.mask(["L1H0→MLP 1"])
    assert GROUPED.mask(["L1H0→MLP 1"]).sum() == 1
