"""LensGrid and PatchGrid: what the page gets is what the lens read and what patching found, and what is picked comes back."""

from __future__ import annotations

import numpy as np
import pytest
import traitlets

import nbinterp as nb
from nbinterp.methods.lenses import logit_lens
from nbinterp.methods.patching import activation_patching
from nbinterp.widgets.grid import axis, cells, reach
from nbinterp.widgets.protocol import Quantity
from nbinterp.widgets.saved import WIDGET_MIME
from nbinterp.widgets.selection import link
from tests.conftest import random_module

PROMPT = "The capital of France is"
QUANTITY = Quantity(id="q", name="q", unit="", scale="sequential", low=0, high=1, words=True)


@pytest.fixture(scope="module")
def toy(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="toy", device="cpu")


@pytest.fixture(scope="module")
def changed(toy):
    return nb.Experiment(PROMPT, interventions=[nb.Ablate("resid_post.1", tokens=" France")])


@pytest.fixture(scope="module")
def patching(toy):
    metric = nb.logit_difference(" Paris", " Rome")
    sites = ["resid_post", "mlp_out"]
    return activation_patching(toy, PROMPT, "The capital of Italy is", metric=metric, sites=sites, gate="ignore")


def numbers(message, shape):
    return np.frombuffer(message["values"], "<f4").reshape(shape)


def by_layer(message, shape):
    """Return numbers with the first layer first; the page draws the last one on top."""
    return numbers(message, shape)[::-1]


def words(message, shape):
    codes = np.frombuffer(message["codes"], "<u4").reshape(shape)
    return np.array(message["words"], dtype=object)[codes]


def named(messages, quantity):
    (found,) = [one for one in messages if one["quantity"] == quantity]
    return found


def test_cells_hold_numbers_and_their_words_and_nothing_where_there_is_none():
    message = cells(QUANTITY, [[1, np.inf], [np.nan, -2]], [["a", "b"], ["a", "x" * 10_000]])
    np.testing.assert_array_equal(numbers(message, (2, 2)), [[1, np.nan], [np.nan, -2]])
    assert words(message, (2, 2)).tolist() == [["a", "b"], ["a", "x" * 200]]
    assert cells(QUANTITY, [[1.0]]) == {"quantity": "q", "values": np.float32(1).tobytes(), "words": [], "codes": b""}
    assert axis("head", "pairs", ["3.5"], [[3, 5]])["places"] == [3, 5]
    assert [reach([-3, 2, np.nan]), reach([]), reach([0, 0])] == [3, 1, 1]


def test_a_lens_is_shown_as_it_was_read_untouched_and_changed(toy, changed):
    lens = logit_lens(toy, changed, track=[" Paris"])
    grid = nb.LensGrid(lens)
    shape = lens.data.sizes["layer"], lens.data.sizes["token"]
    for run, messages in (("base", grid.base), ("changed", grid.changed)):
        data = lens.data.sel(run=run)
        top = np.array(lens.vocabulary, dtype=object)[data["top"].to_numpy()[..., 0]]
        assert words(named(messages, "top"), shape)[::-1].tolist() == top.tolist()
        for quantity, name in (("entropy", "entropy"), ("kl", "kl")):
            np.testing.assert_array_equal(by_layer(named(messages, quantity), shape), data[name].astype("f4"))
        for name in ("probability", "rank"):
            found = by_layer(named(messages, f"{name} of  Paris"), shape)
            np.testing.assert_allclose(found, data[name].sel(tracked=" Paris"), rtol=1e-6)
    assert (grid.run, grid.quantity) == ("difference", "top")
    rows, columns = grid.spec["rows"], grid.spec["columns"]
    # what goes into the first block is no layer that can be picked
    assert (rows["labels"], rows["places"]) == (["3", "2", "1", "0", "in"], [3, 2, 1, 0, -1])
    assert (columns["labels"], columns["places"]) == (["The", " capital", " of", " France", " is"], [0, 1, 2, 3, 4])
    assert nb.LensGrid(logit_lens(toy, PROMPT)).changed == []


def test_what_is_shown_may_be_set_and_is_checked(toy):
    grid = nb.LensGrid(logit_lens(toy, PROMPT, track=[" Paris"]))
    assert (grid.run, grid.selectable) == ("base", {"layers": 4, "tokens": 5, "heads": 16})
    grid.quantity = "rank of  Paris"
    assert grid.view == {"quantity": "rank of  Paris", "run": "base"}
    with pytest.raises(ValueError, match=r"got quantity='rnk'; wanted one of 'top', 'entropy'"):
        grid.quantity = "rnk"
    with pytest.raises(ValueError, match=r"got run='both'; wanted one of 'base', 'changed', 'difference'"):
        grid.run = "both"
    with pytest.raises(TypeError, match="got Experiment for a grid; wanted what a lens reads"):
        nb.LensGrid(nb.Experiment(PROMPT))
    with pytest.raises(TypeError, match="got only one of follow= and ask="):
        nb.LensGrid(logit_lens(toy, PROMPT), ask=lambda experiment: logit_lens(toy, experiment))
    with pytest.raises(traitlets.TraitError):
        grid.selection = {"layers": [-1]}


def test_a_lens_follows_a_playground_and_sends_the_untouched_run_once(toy):
    play = nb.Playground(toy, PROMPT, interventions=[nb.Scale("resid_post.1", 2.0, tokens=" France")])
    grid = nb.LensGrid(logit_lens(toy, PROMPT), follow=play, ask=lambda experiment: logit_lens(toy, experiment))
    base = grid.base

    def agrees():
        # what it shows is what the lens reads of what the playground shows
        wanted = logit_lens(toy, play.experiment)
        shape = wanted.data.sizes["layer"], wanted.data.sizes["token"]
        run = wanted.runs[-1]
        shown = by_layer(named(grid.changed or grid.base, "kl"), shape)
        np.testing.assert_allclose(shown, wanted.data["kl"].sel(run=run), rtol=1e-5, atol=1e-5)
        return shown

    before = agrees()
    assert grid.run == "difference"
    play.experiment = nb.Experiment(PROMPT, interventions=[nb.Scale("resid_post.1", -3.0, tokens=" France")])
    play.frame()
    assert np.abs(agrees() - before).max() > 0.01
    assert grid.base is base
    # another prompt has other columns
    play.experiment = nb.Experiment("The capital of Italy, they say, is", interventions=[nb.Scale("resid_post.2", 0.5)])
    play.frame()
    agrees()
    assert grid.spec["columns"]["labels"][3] == " Italy"
    assert grid.selectable["tokens"] == len(grid.spec["columns"]["labels"]) == 9
    # with nothing on the stack nothing is changed
    play.experiment = nb.Experiment(PROMPT)
    play.frame()
    agrees()
    assert grid.changed == []
    grid.close()
    last = grid.lens
    play.experiment = nb.Experiment(PROMPT, interventions=[nb.Ablate("resid_post.1")])
    play.frame()
    assert grid.lens is last
    play.close()


def test_what_is_picked_in_a_lens_is_ablated_in_the_playground(toy):
    play = nb.Playground(toy, PROMPT)
    grid = nb.LensGrid(logit_lens(toy, PROMPT), follow=play, ask=lambda experiment: logit_lens(toy, experiment))
    assert grid.offers == []
    grid.selection = {"layers": [1], "tokens": [3]}
    assert play.selection == grid.selection
    (offer,) = grid.offers
    assert offer == {"words": "Ablate resid_post.1 at “·France”", "done": False}
    grid._put(offer["words"])
    play.frame()
    assert play.experiment.active == (nb.Ablate("resid_post.1", tokens=(3,)),)
    assert (grid.run, grid.offers[0]["done"]) == ("difference", True)
    # more places than these are not acted at in one click
    grid.selection = {"tokens": [3]}
    assert grid.offers == []
    with pytest.raises(LookupError, match="can no longer be done here: pick a place"):
        grid._put(offer["words"])
    play.close()


def test_what_is_picked_in_patching_is_patched_in_the_playground(toy, patching):
    play = nb.Playground(toy, "The capital of Italy is")
    grid = nb.PatchGrid(patching, follow=play)
    grid.quantity = "effect of mlp_out"
    play.selection = {"layers": [2], "tokens": [3]}
    ablate, patch = (one["words"] for one in grid.offers)
    assert ablate == "Ablate mlp_out.2 at “·Italy”"
    assert patch == f"Patch mlp_out.2 at “·Italy” from “{PROMPT}”"
    grid._put(patch)
    assert play.experiment.active == (nb.Patch("mlp_out.2", source=PROMPT, tokens=(3,)),)
    # what was patched is what the grid says
    metric = nb.logit_difference(" Paris", " Rome")
    logits = play.result.logits[0]
    found = metric(logits, logits, toy.vocabulary)
    wanted = patching.values.sel(component="mlp_out", layer=2, token=3, pair=0)
    assert found == pytest.approx(float(wanted), abs=1e-4)
    # from the prompt itself there is nothing to patch
    play.experiment = nb.Experiment(PROMPT)
    play.frame()
    assert [one["words"] for one in grid.offers] == ["Ablate mlp_out.2 at “·France”"]
    play.close()


def test_of_a_long_prompt_a_step_of_the_slider_sends_what_is_shown_alone(toy):
    play = nb.Playground(toy, " word" * 160, interventions=[nb.Scale("resid_post.1", 2.0, tokens=5)])
    start = logit_lens(toy, " word" * 160)
    grid = nb.LensGrid(start, follow=play, ask=lambda experiment: logit_lens(toy, experiment))
    assert [one["quantity"] for one in grid.changed] == ["top"]
    grid.quantity = "kl"
    (shown,) = grid.changed
    wanted = grid.lens.data["kl"].sel(run="changed")
    np.testing.assert_array_equal(by_layer(shown, wanted.shape), wanted.astype("f4"))
    assert len(shown["values"]) == 5 * 160 * 4
    play.close()


def test_a_lens_that_fails_while_it_follows_says_so_and_goes_on(toy):
    play = nb.Playground(toy, PROMPT)

    def ask(experiment):
        if experiment.active:
            raise ValueError("got too much; wanted less.")
        return logit_lens(toy, experiment)

    grid = nb.LensGrid(logit_lens(toy, PROMPT), follow=play, ask=ask)
    assert grid.problem == ""
    play.experiment = nb.Experiment(PROMPT, interventions=[nb.Ablate("resid_post.1")])
    play.frame()
    assert grid.problem == "got too much; wanted less."
    play.experiment = nb.Experiment(PROMPT)
    play.frame()
    assert grid.problem == ""
    play.close()


def test_patching_is_shown_by_component_as_share_and_as_metric(patching):
    grid = nb.PatchGrid(patching)
    shape = 4, 5
    for component in ("resid_post", "mlp_out"):
        effect = by_layer(named(grid.base, f"effect of {component}"), shape)
        np.testing.assert_allclose(effect, patching.effects.sel(component=component), rtol=1e-5, atol=1e-6)
        metric = by_layer(named(grid.base, f"metric of {component}"), shape)
        np.testing.assert_allclose(metric, patching.values.sel(component=component, pair=0), rtol=1e-5, atol=1e-5)
    assert [one["scale"] for one in grid.spec["quantities"]] == ["diverging"] * 4
    # a scale is as long on both sides, and holds every number
    for one in grid.spec["quantities"]:
        assert one["high"] == -one["low"] >= np.nanmax(np.abs(by_layer(named(grid.base, one["id"]), shape))) - 1e-5
    assert "France" in grid.spec["columns"]["labels"][3]
    assert grid.spec["columns"]["kind"] == "tokens"
    with pytest.raises(TypeError, match="got Experiment for a grid; wanted what patching gives"):
        nb.PatchGrid(nb.Experiment(PROMPT))


def test_patched_heads_are_heads_that_can_be_picked(toy):
    metric = nb.logit_difference(" Paris", " Rome")
    found = activation_patching(toy, PROMPT, "The capital of Italy is", metric=metric, sites="z", gate="ignore")
    grid = nb.PatchGrid(found)
    assert (grid.spec["rows"]["kind"], grid.spec["columns"]["kind"]) == ("layers", "heads")
    assert grid.selectable == {"layers": 4, "heads": 16}


def test_estimates_are_shown_with_the_true_values_that_were_checked(toy):
    metric = nb.logit_difference(" Paris", " Rome")
    sites = ["resid_pre", "mlp_out", "z"]
    prompts = PROMPT, "The capital of Italy is"
    found = nb.attribution_patching(toy, *prompts, metric=metric, sites=sites, verify=3, gate="ignore")
    grid = nb.PatchGrid(found)
    assert [one["id"] for one in grid.spec["quantities"]] == [
        f"{kind} of {component}" for component in ("resid_pre", "mlp_out") for kind in ("estimate", "true")
    ]
    estimate = by_layer(named(grid.base, "estimate of mlp_out"), (4, 5))
    np.testing.assert_allclose(estimate, found.estimates["mlp_out"].mean("pair"), rtol=1e-5, atol=1e-6)
    true = by_layer(named(grid.base, "true of mlp_out"), (4, 5))
    checks = found.checks[found.checks["component"] == "mlp_out"]
    assert 0 < (~np.isnan(true)).sum() == len(checks)
    for check in checks.itertuples():
        assert true[check.layer, check.place] == pytest.approx(check.true, abs=1e-5)
    heads = nb.PatchGrid(found, axis="head")
    assert (heads.quantity, heads.spec["columns"]["kind"]) == ("estimate of z", "heads")
    with pytest.raises(LookupError, match="got axis='layer'; this was patched by head and by token"):
        nb.PatchGrid(found, axis="layer")


def test_widgets_of_all_kinds_share_what_is_picked(toy, patching):
    lens, patch = nb.LensGrid(logit_lens(toy, PROMPT)), nb.PatchGrid(patching)
    play = nb.Playground(toy, PROMPT)
    linked = link(lens, patch, play)
    patch.selection = {"layers": [2], "tokens": [3]}
    assert lens.selection == patch.selection == play.selection
    linked.unlink()
    play.close()


def test_the_chart_is_of_what_is_shown_and_of_a_long_prompt_its_end(toy, changed):
    grid = nb.LensGrid(logit_lens(toy, changed, track=" Paris"))
    for quantity, run in (
        ("top", "base"),
        ("kl", "changed"),
        ("probability of  Paris", "difference"),
        ("rank of  Paris", "base"),
    ):
        grid.quantity, grid.run = quantity, run
        color = {"top": "probability", "kl": "kl"}.get(quantity, " Paris")
        assert grid.chart().to_dict() == grid.lens.chart(color, run=run).to_dict()
    assert "capital" not in str(grid.chart(most=2).to_dict())
    assert "France" in str(grid.chart(most=2).to_dict())


def test_a_notebook_keeps_picture_numbers_and_state_and_nothing_of_a_token_is_code(toy, tokenizer, tmp_path):
    wicked = "The <img src=x onerror=alert(1)> </script> \u202e end"
    grid = nb.LensGrid(logit_lens(toy, wicked))
    data, _ = grid._repr_mimebundle_()
    assert data[WIDGET_MIME]["kind"] == "grid"
    assert set(data[WIDGET_MIME]["state"]) >= {"spec", "view", "base", "changed", "selection"}
    assert "<img src=x" not in data["text/html"]
    assert "data:image/png" in data["text/html"]
    text = grid.to_html(tmp_path / "lens.html")
    assert text.count("<script") == text.count("</script") == 3
    assert "<img src=x" not in text
    # a long prompt's numbers are not kept in every notebook
    long = nb.LensGrid(logit_lens(toy, PROMPT))
    long.base = [{**long.base[0], "values": bytes(1_200_000)}]
    assert "state" not in long._repr_mimebundle_()[0][WIDGET_MIME]
