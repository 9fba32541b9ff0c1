"""Path patching: the edges of a known circuit, and the same as two runs with hooks, written by hand."""

import numpy as np
import pytest
import torch

import nbinterp as nb
from nbinterp.methods.path_patching import path_patching
from tests.conftest import random_module
from tests.engine.oracle import hooked, same
from tests.methods.induction import INDUCTION, PREVIOUS, WORDS, opened


@pytest.fixture(scope="module")
def model():
    return opened()


def text(*ids):
    return "".join(WORDS[i] for i in ids)


CLEAN, CUE = text(3, 7, 1, 9, 12, 3, 7, 1), text(3, 7, 2, 9, 12, 3, 7, 1)
METRIC = nb.logit_difference(WORDS[9], WORDS[20])
HEARS = INDUCTION.removeprefix("z.")


@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
@pytest.mark.parametrize(
    ("receiver", "speaker"),
    [(f"k.{HEARS}", PREVIOUS), (f"q.{HEARS}", None), (f"v.{HEARS}", None), ("resid_post.1", INDUCTION)],
)
def test_the_edges_of_the_circuit_are_found(model, receiver, speaker, mlps):
    found = path_patching(model, CLEAN, CUE, receivers=receiver, metric=METRIC, mlps=mlps)
    wanted = [float(name == speaker) for name in found.values["sender"].to_numpy()]
    np.testing.assert_allclose(found.effects, wanted, atol=0.01)
    if speaker:
        assert f"most is lost on the paths from {speaker} (+1.00)" in repr(found)
        assert f"{found.metric}: {found.clean:.3g} clean, {found.corrupted:.3g} corrupted" in repr(found)
        assert found.best(1)["sender"].item() == speaker
    # a head of the last block speaks to no head
    assert found.values.sizes["sender"] == (12 if receiver.startswith("resid") else 6)


@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
def test_it_is_what_two_runs_with_hooks_give(tokenizer, mlps):
    llama = nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")
    clean, corrupted, metric = "The red cat sat down", "The old cat sat down", nb.logit_difference(" and", " or")
    receivers = ["q.3.1", "v.2.0"]
    found = path_patching(
        llama,
        clean,
        corrupted,
        receivers=receivers,
        senders=["z.0.2", "mlp_out.1", "z.2.3"],
        metric=metric,
        mlps=mlps,
        gate="ignore",
    )
    everywhere = list(range(len(llama.tokens(clean))))
    others = [f"{c}.{n}" for c in ("attn_out", "mlp_out") for n in range(4)]
    _, plain = hooked(llama, clean, reads=others)

    def put(site, value):
        return site, everywhere, lambda x: torch.tensor(value).to(x)

    for sender in ("z.0.2", "mlp_out.1", "z.2.3"):
        layer = int(sender.split(".")[1])
        spoken = hooked(llama, corrupted, reads=[sender])[1][nb.Site.of(sender)]
        held = [f"attn_out.{n}" for n in range(layer + 1, 4)]
        if mlps == "frozen":
            held += [f"mlp_out.{n}" for n in range(layer + sender.startswith("mlp"), 4)]
        edits = [put(sender, spoken), *(put(site, plain[nb.Site.of(site)]) for site in held)]
        _, heard = hooked(llama, clean, edits=edits, reads=receivers)
        reached = receivers[:1] if sender == "z.2.3" else receivers
        logits, _ = hooked(llama, clean, edits=[put(site, heard[nb.Site.of(site)]) for site in reached])
        same(found.values.sel(sender=sender)[0], metric(logits, logits, llama.vocabulary), 1e-3)


def test_pairs_are_kept_and_the_table_says_who_spoke(model):
    other = text(5, 2, 8, 4, 11, 5, 2, 8), text(5, 2, 6, 4, 11, 5, 2, 8)
    metrics = [METRIC, nb.logit_difference(WORDS[4], WORDS[30])]
    found = path_patching(
        model, [CLEAN, other[0]], [CUE, other[1]], receivers=f"k.{HEARS}", metric=metrics, senders=["z", "mlp_out"]
    )
    assert dict(found.values.sizes) == {"pair": 2, "sender": 7}
    frame = found.frame()
    assert frame["sender"].tolist() == [*(f"z.0.{n}" for n in range(6)), "mlp_out.0"]
    assert frame["head"].isna().tolist() == [False] * 6 + [True]
    assert found.chart().to_dict()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"receivers": "pattern.1.2"}, "got 'pattern.1.2' to receive; wanted queries, keys or values"),
        ({"receivers": []}, r"got receivers=\[\]; wanted at least one, each once"),
        ({"senders": "q.0.1"}, "got 'q.0.1' to send; wanted heads"),
        ({"senders": "z.1.0"}, "got the sender 'z.1.0', before which all receivers lie"),
        ({"senders": "z.0.9"}, "got head 9 in 'z.0.9'"),
        ({"mlps": "gone"}, "got mlps='gone'; wanted 'recomputed' or 'frozen'"),
    ],
)
def test_what_is_no_path_is_refused(model, asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        path_patching(model, CLEAN, CUE, **({"receivers": f"k.{HEARS}", "metric": METRIC} | asked))
