import pickle
from dataclasses import replace

import attrs
import numpy as np
import pytest

from nbinterp import Ablate, Basis, Experiment, Patch, Plane, Project, Rotate, Scale, Site, Steer
from nbinterp.prompts import TokenizedPrompt
from nbinterp.results import Result, Vocabulary, softmax


@pytest.fixture
def result(info):
    experiment = Experiment(["a <b>"], Steer("resid_post.1", direction=np.ones(3))).on(info)
    prompt = TokenizedPrompt("a <b>", (0, 1), ("a", " <b>"), ((0, 1), (1, 5)))
    base, changed = np.log([[0.5, 0.2, 0.2, 0.1]]), np.log([[0.1, 0.2, 0.6, 0.1]])
    return Result(
        experiment,
        (prompt,),
        base.astype("f4"),
        changed.astype("f4") + 7,
        {},
        {},
        Vocabulary(("a", " <b>", " c", " c")),
    )


def test_top_says_before_and_after(result):
    top = result.top(2)
    assert list(top.columns) == ["token", "base", "changed", "difference"]
    assert top["token"].tolist() == [" c", " <b>"]
    np.testing.assert_allclose(top[["base", "changed", "difference"]], [[0.2, 0.6, 0.4], [0.2, 0.2, 0]], atol=1e-6)
    assert result.top(1, by="base")["token"].tolist() == ["a"]
    assert result.top(2, by="difference")["token"].tolist() == ["a", " c"]
    with pytest.raises(ValueError, match="got by='size'; choose one of 'changed', 'base', 'difference'."):
        result.top(by="size")


def test_what_was_said(result):
    assert result.said() == (" c",)
    assert result.base_said() == ("a",)
    assert result.said(among=["a", " <b>"]) == (" <b>",)
    difference = result.logit_difference("a", " <b>")
    np.testing.assert_allclose(difference[["base", "changed"]], [[np.log(2.5), np.log(0.5)]], atol=1e-5)


def test_the_users_text_is_data(result):
    page = result._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def test_a_result_prints_itself(result):
    assert repr(result) == "Result on toy@abc (Steer at resid_post.1)\n  'a <b>': 'a' → ' c'"
    assert result.frame(2)["prompt"].tolist() == ["a <b>", "a <b>"]


def test_of_equal_texts_the_first_token_counts(result):
    assert result.vocabulary.id(" c") == 2


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4]], dtype="f4")), [[0.5, 0.5]])


def with_acts(result, acts, moved, **changes):
    """The result of other interventions, with how far each moved its site."""
    experiment = replace(result.experiment, interventions=tuple(acts))
    return replace(result, experiment=experiment, moved=(moved,), **changes)


def test_effects_say_what_each_intervention_did(result):
    acts = [
        Ablate("resid_post.2", tokens=1),
        Scale("attn_out.0", factor=2, enabled=False),
        Steer("resid_post.1", direction=np.ones(3)),
        Steer("resid_post.1", direction=np.ones(3), tokens=[], steps="all"),
    ]
    effects = with_acts(result, acts, {0: 1.0, 2: 0.25}).effects()
    assert list(effects.columns) == [
        *("intervention", "kind", "site", "tokens", "prompt", "change", "logit_change", "kl"),
    ]
    assert effects["intervention"].tolist() == [0, 2]
    assert effects["kind"].tolist() == ["Ablate", "Steer"]
    assert effects["site"].tolist() == ["resid_post.2", "resid_post.1"]
    assert effects["tokens"].tolist() == [(" <b>",), ("a", " <b>")]
    assert effects["prompt"].tolist() == ["a <b>"] * 2
    assert effects["change"].tolist() == [1.0, 0.25]
    p, q = np.array([0.5, 0.2, 0.2, 0.1]), np.array([0.1, 0.2, 0.6, 0.1])
    np.testing.assert_allclose(effects["logit_change"], np.abs(np.log(q) + 7 - np.log(p)).max(), rtol=1e-6)
    np.testing.assert_allclose(effects["kl"], (p * np.log(p / q)).sum(), rtol=1e-6)


def test_effects_of_a_result_made_by_hand_lack_the_change(result):
    assert result.effects()["change"].isna().all()
    assert result.warnings == ()
    assert replace(result, experiment=replace(result.experiment, interventions=())).effects().empty


def test_a_divergence_is_never_below_zero_and_survives_giant_logits(result):
    same = replace(result, logits=result.base_logits)
    assert same.effects()["kl"].tolist() == [0]
    giant = replace(result, base_logits=result.base_logits * 1e4, logits=result.logits * -1e4)
    assert np.isfinite(giant.effects()["kl"]).all()


def still(info):
    """Interventions that changed nothing, and why."""
    ones, frame = np.ones(3), np.eye(3)
    plane, basis = Plane("resid_post.1", info, ones, frame[:2]), Basis("resid_post.1", info, ones, frame[:1])
    return [
        (Steer("resid_post.1", direction=ones, scale=0), "its scale is 0"),
        (Steer("resid_post.1", direction=ones * 0), "its direction is zero"),
        (
            Steer("resid_post.1", direction=ones, scale=1e-9),
            "the step is too small beside the activation for the model's precision",
        ),
        (Steer("resid_post.1", direction=ones, to=1), "the activation was already where it moves it to"),
        (Scale("resid_post.1", factor=1), "its factor is 1"),
        (Scale("resid_post.1", factor=2), "the activation was zero there already"),
        (Scale("resid_post.1", factor=2, on=basis), "the activation has no part in its subspace"),
        (Ablate("resid_post.1"), "the activation was zero there already"),
        (Ablate("resid_post.1", mean=ones), "what it puts there is what was there already"),
        (Ablate("resid_post.1", resample="a"), "what it puts there is what was there already"),
        (Patch("resid_post.1", source="a <b>"), "what it puts there is what was there already"),
        (Project("resid_post.1", on=basis), "the activation lay in its subspace already"),
        (Project("resid_post.1", on=basis, out=True), "the activation has no part in its subspace"),
        (Rotate("resid_post.1", on=plane, by=0), "it turns by 0"),
        (Rotate("resid_post.1", on=plane, to=1), "the activation was already where it moves it to"),
    ]


def test_what_changed_nothing_says_why(result, info):
    for act, why in still(info):
        act = attrs.evolve(act, tokens=1)
        (sentence,) = with_acts(result, [act], {0: 1e-8}).warnings
        assert sentence == f"{type(act).__name__} at resid_post.1, at ' <b>', changed nothing there in 'a <b>': {why}."
        assert with_acts(result, [act], {0: 1e-3}).warnings == ()
        assert with_acts(result, [attrs.evolve(act, enabled=False)], {}).warnings == ()


def test_what_cannot_reach_the_answer_says_so(result):
    late = "there only the last token's activation leads on to its logits"
    for site in ("resid_post.3", "q.3", "pattern.3.1", "mlp_out.3", "logits"):
        assert with_acts(result, [Ablate(site, tokens=0)], {0: 1.0}).warnings == (
            f"Ablate at {site}, at 'a', cannot change the answer in 'a <b>': {late}.",
        )
        assert with_acts(result, [Ablate(site)], {0: 1.0}).warnings == ()
    for site in ("resid_pre.3", "k.3", "v.3", "resid_post.2", "embed"):
        assert with_acts(result, [Ablate(site, tokens=0)], {0: 1.0}).warnings == ()


def test_what_did_not_reach_the_answer_says_so(result):
    equal = result.base_logits * np.float32(1 + 3e-7)
    lost = with_acts(result, [Ablate("resid_post.1"), Scale("v.2", factor=1)], {0: 1.0, 1: 0.0}, logits=equal)
    assert lost.warnings == (
        "Ablate at resid_post.1, at all tokens, changed its site and not the answer in 'a <b>': the logits are equal to rounding.",
        "Scale at v.2, at all tokens, changed nothing there in 'a <b>': its factor is 1.",
    )
    assert repr(lost).splitlines()[-2:] == [f"  ! {sentence}" for sentence in lost.warnings]
    page = lost._repr_html_()
    assert "Scale at v.2, at all tokens, changed nothing there in &#x27;a &lt;b&gt;&#x27;" in page
    assert "<b>" not in page
    assert with_acts(result, [Ablate("resid_post.1")], {0: 1.0}, logits=result.base_logits * 1.001).warnings == ()


def test_in_half_precision_rounding_is_larger(result, info):
    half = replace(info, dtype="bfloat16")
    act = Ablate("resid_post.1")
    for dtype, change, sentences in ((info, 0.004, 0), (half, 0.004, 1), (half, 0.02, 0)):
        experiment = replace(result.experiment, interventions=(act,), model=dtype)
        assert len(replace(result, experiment=experiment, moved=({0: change},)).warnings) == sentences
        near = result.base_logits * np.float32(1 + change)
        found = replace(result, experiment=experiment, moved=({0: 1.0},), logits=near)
        assert len(found.warnings) == (dtype is half)


def test_of_many_prompts_the_first_one_is_named(result):
    prompts = [TokenizedPrompt(text, (0,) * 6, (text[:1], *"bcdef"), ((0, 1),) * 6) for text in ("x" * 70, "y", "z")]
    experiment = replace(result.experiment, interventions=(Scale("v.2", factor=1, tokens=slice(1, None)),))
    many = replace(
        result,
        experiment=experiment,
        prompts=tuple(prompts),
        base_logits=np.eye(3, 4, dtype="f4"),
        logits=2 * np.eye(3, 4, dtype="f4"),
        moved=({0: 0.0}, {0: 1.0}, {0: 0.0}),
    )
    assert many.warnings == (
        f"Scale at v.2, at 'b', 'c', 'd' and 2 more tokens, changed nothing there in 2 of 3 prompts, such as '{'x' * 59}…': its factor is 1.",
    )


def test_a_result_without_a_model_cannot_check_itself(result):
    asked = replace(result, verifier=lambda one: one.said())
    assert asked.verify() == (" c",)
    assert "verifier" not in repr(asked)
    for without in (result, pickle.loads(pickle.dumps(asked))):
        np.testing.assert_array_equal(without.logits, result.logits)
        with pytest.raises(
            ValueError,
            match=r"got a result that has no model to ask, because it was made by hand or stored; run its experiment again: model\.run\(result\.experiment\)\.",
        ):
            without.verify()


def test_what_was_read_is_found_by_its_name(result):
    site, base, changed = Site("z", 2), (np.zeros((2, 4, 8)),), (np.ones((2, 4, 8)),)
    read = replace(result, base_activations={site: base}, activations={site: changed})
    assert read.read("z.2") is changed[0]
    assert read.read(site, 0, base=True) is base[0]
    with pytest.raises(LookupError, match="got 'q.1', which was not read; the experiment reads 'z.2': add it to read="):
        read.read("q.1")
