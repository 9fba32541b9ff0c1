"""AttentionView: the page gets the patterns that were read, and enlarges the head that is picked anywhere."""

from __future__ import annotations

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.methods.attention import attention
from nbinterp.widgets.saved import WIDGET_MIME
from tests.conftest import random_module

PROMPT = "When Mary and John went to the shop, John gave"


@pytest.fixture(scope="module")
def toy(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")


@pytest.fixture(scope="module")
def found(toy):
    experiment = nb.Experiment(PROMPT, interventions=[nb.Ablate("resid_post.0", tokens=1)])
    return attention(toy, experiment, values=True)


def large(view):
    n = len(view.spec["tokens"])
    return np.frombuffer(view.pattern["values"], "<f2").reshape(n, n).astype(float)


def small(view):
    """Return all heads in small by layer, the first one first; the page draws the last on top."""
    size = view.small["size"]
    levels = np.frombuffer(view.small["values"], np.uint8).reshape(-1, view.spec["n_heads"], size, size).astype(float)
    low, high = view.small["low"], view.small["high"]
    assert view.spec["layers"] == sorted(view.spec["layers"], reverse=True)
    return (levels / 255 * high if low == 0 else (levels - 128) / 127 * high)[::-1]


def below(n):
    return np.tri(n, dtype=bool)


def test_each_measure_is_what_was_read_and_later_tokens_are_hidden(found):
    view = nb.AttentionView(found, head=(2, 3))
    n = len(found.prompt)
    place = {"layer": 2, "head": 3}
    wanted = {
        "attention": found.pattern.sel(place),
        "attention × value norm": found.weighted.sel(place),
        "attention untouched": found.base.sel(place),
        "change of attention": found.pattern.sel(place) - found.base.sel(place),
    }
    assert view.spec["measures"] == list(wanted)
    # what the interventions did is what one wants to see first
    assert view.measure == "change of attention"
    for measure, values in wanted.items():
        view.measure = measure
        shown = large(view)
        end = float(np.abs(values).max())
        np.testing.assert_allclose(shown[below(n)], values.to_numpy()[below(n)], atol=2e-3 * max(1, end))
        assert np.isnan(shown[~below(n)]).all()
        assert view.small["measure"] == measure
        # of a short prompt the small pictures are the patterns themselves, to one of 255 steps
        np.testing.assert_allclose(
            np.where(below(n), small(view)[2, 3], 0), np.where(below(n), values, 0), atol=view.small["high"] / 120
        )


def test_small_pictures_of_long_prompts_keep_what_stands_out(found):
    view = nb.AttentionView(found)
    values = np.zeros((100, 100), np.float32)
    values[80, 3], values[99, 98] = 0.9, -0.7
    from nbinterp.widgets.attention_view import _pooled

    pooled = _pooled(values, 48)
    assert pooled.shape == (48, 48)
    rows, columns = np.nonzero(pooled)
    assert sorted(pooled[rows, columns].tolist()) == pytest.approx([-0.7, 0.9])
    # each lies where it lay
    np.testing.assert_allclose(
        sorted(zip(rows / 48, columns / 48, strict=True)), [(0.8, 0.03), (0.99, 0.98)], atol=0.02
    )
    assert view.small["size"] == len(found.prompt)


def test_the_head_that_is_picked_is_enlarged_wherever_it_was_picked(found, toy):
    view = nb.AttentionView(found, head=(0, 0))
    view.selection = {"heads": [(1, 2)]}
    assert view.head == (1, 2)
    assert (view.pattern["layer"], view.pattern["head"]) == (1, 2)
    # one of several that are picked stays
    view.selection = {"heads": [(0, 1), (1, 2)]}
    assert view.head == (1, 2)
    view.selection = {"tokens": [3]}
    assert view.head == (1, 2)
    with pytest.raises(LookupError, match=r"got head 9\.0, which was not read"):
        view.head = (9, 0)
    assert view.selectable == {"tokens": len(found.prompt), "layers": 4, "heads": 16}


def test_what_the_page_sends_is_checked_and_said(found):
    view = nb.AttentionView(found, head=(0, 0))
    view.view = {**view.view, "layer": 77, "measure": "attention"}
    assert view.problem.startswith("got head 77.0, which was not read")
    view.view = {**view.view, "layer": 1}
    assert (view.problem, view.pattern["layer"]) == ("", 1)


def test_scores_are_told_of_each_head_and_checked(found):
    scores = np.arange(16.0).reshape(4, 4)
    view = nb.AttentionView(found, scores={"induction": scores})
    assert view.spec["scores"] == [{"name": "induction", "values": scores[::-1].ravel().tolist()}]
    with pytest.raises(
        ValueError, match=r"got scores 'x' of shape \(3,\); wanted one for each head that was read, \(4, 4\)"
    ):
        nb.AttentionView(found, scores={"x": [1, 2, 3]})
    with pytest.raises(TypeError, match="got str for a view of attention"):
        nb.AttentionView("attention")


def test_scores_of_heads_are_those_of_the_layers_that_were_read(toy):
    scores = nb.head_scores(toy, kinds=["induction"], n_sequences=3, copying=False)
    view = nb.AttentionView(attention(toy, PROMPT, layers=[3, 1]), scores=scores)
    (told,) = view.spec["scores"]
    assert told["name"] == "induction"
    assert view.spec["layers"] == [3, 1]
    wanted = scores.scores.sel(kind="induction").mean("sequence").sel(layer=[3, 1])
    np.testing.assert_allclose(np.reshape(told["values"], (2, 4)), wanted)


def test_the_table_holds_the_strongest_edges_and_the_notebook_a_picture(found):
    view = nb.AttentionView(found, head=(2, 3))
    view.measure = "attention"
    frame = view.frame(5)
    values = found.pattern.sel(layer=2, head=3).to_numpy()
    assert frame["attention"].tolist() == pytest.approx(np.sort(values, axis=None)[::-1][:5].tolist(), abs=1e-6)
    first = frame.iloc[0]
    assert values[first["query"], first["key"]] == pytest.approx(first["attention"])
    assert first["key_text"] == found.prompt.tokens[first["key"]]
    data, _ = view._repr_mimebundle_()
    assert data[WIDGET_MIME]["kind"] == "attention"
    assert "data:image/png" in data["text/html"]
    assert repr(view) == f"AttentionView: Attention of toy: {PROMPT}, head 2.3"


def test_it_follows_a_playground_under_whose_interventions_the_patterns_are_read(toy):
    play = nb.Playground(toy, PROMPT, interventions=[nb.Scale("resid_post.0", 2.0, tokens=1)])
    view = nb.AttentionView(attention(toy, PROMPT), head=(2, 3), follow=play, ask=lambda e: attention(toy, e))

    def agrees(measure):
        found = attention(toy, play.experiment)
        wanted = found.pattern if measure == "attention" else found.pattern - found.base
        n = len(found.prompt)
        assert view.measure == measure
        shown = np.where(below(n), large(view), 0)
        np.testing.assert_allclose(shown, wanted.sel(layer=2, head=3), atol=2e-3)
        np.testing.assert_allclose(small(view)[2, 3], wanted.sel(layer=2, head=3), atol=view.small["high"] / 120)
        return shown

    # what the interventions do is shown as soon as there are some
    before = agrees("change of attention")
    play.set(0, factor=-3.0)
    play.frame()
    assert np.abs(agrees("change of attention") - before).max() > 0.01
    play.experiment = nb.Experiment("The capital of Italy is", [nb.Scale("resid_post.1", 0.5)])
    play.frame()
    agrees("change of attention")
    assert view.spec["tokens"][3] == " Italy"
    play.experiment = nb.Experiment(PROMPT)
    play.frame()
    agrees("attention")
    view.close()
    last = view.attention
    play.experiment = nb.Experiment(PROMPT, [nb.Ablate("resid_post.1")])
    play.frame()
    assert view.attention is last
    assert last.base is None
    play.close()


def put(view, words):
    """Press the page's button, and return what the page is told."""
    told = []
    view.send = lambda content, buffers=None: told.append(content)
    view._handle_custom_msg({"ask": 7, "what": "put", "words": words}, [])
    return told[0]["problem"]


def offered(view):
    return {one["words"]: one["done"] for one in view.offers}


def test_what_is_picked_is_done_in_the_playground_in_one_click(toy):
    prompt = "The capital of France is"
    play = nb.Playground(toy, prompt)
    view = nb.AttentionView(attention(toy, prompt), head=(0, 0), follow=play, ask=lambda e: attention(toy, e))
    assert offered(view) == {"Ablate z.0.0 at all tokens": False}
    play.selection = {"heads": [(2, 1)], "tokens": [3]}
    assert view.head == (2, 1)
    assert offered(view) == {"Ablate z.2.1 at “·France”": False}
    # a cell of the pattern: a query and a key
    view.selection = {"heads": [(2, 1)], "tokens": [1, 4]}
    view.view = {**view.view, "queries": [4], "keys": [1]}
    cut = "Cut pattern.2.1 at “·is” off “·capital”"
    assert list(offered(view)) == [cut, "Ablate z.2.1 at “·is”"]
    assert put(view, cut) == ""
    play.frame()
    assert play.experiment.active == (nb.Cut("pattern.2.1", tokens=(4,), keys=(1,)),)
    assert offered(view)[cut]
    pattern = view.attention.pattern.sel(layer=2, head=1).to_numpy()
    assert pattern[4, 1] == 0 < view.attention.base.sel(layer=2, head=1).to_numpy()[4, 1]
    # done once is done; taken back it can be done again
    assert put(view, cut) == ""
    assert len(play.experiment.interventions) == 1
    play.undo()
    play.frame()
    assert not offered(view)[cut]
    # of tokens that were picked elsewhere nobody knows which is the query
    play.selection = {"heads": [(2, 1)], "tokens": [2]}
    assert list(offered(view)) == ["Ablate z.2.1 at “·of”"]
    assert put(view, cut).startswith("got 'Cut pattern.2.1 at")
    assert put(view, "Ablate z.2.1 at “·of”") == ""
    assert play.experiment.interventions == (nb.Ablate("z.2.1", tokens=(2,)),)
    with pytest.raises(TypeError, match="got only one of follow= and ask="):
        nb.AttentionView(attention(toy, prompt), follow=play)
    play.close()


def test_of_many_heads_the_one_that_is_shown_goes_first_and_the_others_when_the_hand_rests(toy, monkeypatch):
    monkeypatch.setattr("nbinterp.widgets.attention_view.MOST_A_STEP", 100)
    play = nb.Playground(toy, PROMPT, interventions=[nb.Scale("resid_post.0", 2.0, tokens=1)])
    view = nb.AttentionView(attention(toy, play.experiment), follow=play, ask=lambda e: attention(toy, e))
    sent = []
    view.observe(lambda change: sent.append(change["name"]), names=["small", "pattern"])
    play.set(0, factor=-3.0)
    play.frame()
    assert sent == ["pattern", "small"]
    play.close()
