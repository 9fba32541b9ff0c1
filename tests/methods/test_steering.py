import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import t

import nbinterp as nb
from tests.conftest import FEW_TOKENS, random_module
from tests.engine.oracle import hooked, same

PROMPTS = ["The movie was", "I think that", "Her song is so", "What a day it", "We went to the"]
PLAIN = ["The cat sat on the mat.", "Water boils at one hundred degrees."]
GOOD, BAD = " good", " bad"
METRIC = nb.logit_difference(GOOD, BAD)
OPINIONS = {
    "wonderful": "terrible",
    "fantastic": "awful",
    "delightful": "dreadful",
    "excellent": "horrible",
    "superb": "poor",
    "lovely": "ugly",
    "amazing": "disgusting",
    "great": "bad",
    "charming": "disappointing",
    "brilliant": "boring",
}


@pytest.fixture(scope="module")
def linear(tokenizer):
    """A model without a final norm: its logits are linear in the last residual stream."""
    module = random_module("llama")
    module.model.norm = torch.nn.Identity()
    return nb.Model.open(module, tokenizer=tokenizer, name="linear", device="cpu")


@pytest.fixture(scope="module")
def unembedded(linear):
    """The direction along which the last layer's stream says good rather than bad."""
    weight = linear.nnsight._module.lm_head.weight.detach().numpy()
    vector = weight[linear.vocabulary.id(GOOD)] - weight[linear.vocabulary.id(BAD)]
    return nb.Direction(nb.Site("resid_post", 3), linear.info, vector)


@pytest.fixture(scope="module")
def effect(linear, unembedded):
    return nb.steering_effect(
        linear, unembedded, PROMPTS, metric=METRIC, scales=[-0.5, 1, 2], unit="direction", controls=5, plain=PLAIN
    )


def test_at_the_last_layer_the_effect_is_the_closed_form(effect, unembedded):
    squared = unembedded.norm**2
    frame = effect.frame()
    np.testing.assert_allclose(frame["effect"], frame["strength"] * squared, rtol=1e-4)
    # every prompt alike, so that the interval has no width
    np.testing.assert_allclose(frame["low"], frame["high"], rtol=1e-3)
    line = effect.by_site().iloc[0]
    assert line["gain"] == pytest.approx(squared, rel=1e-4)
    assert line["monotone"]
    assert line["steers"]


def test_controls_are_as_long_and_their_effect_is_the_closed_form_too(effect, unembedded, linear):
    controls = effect.effects.to_numpy()[1:, :, 0] / np.array([-0.5, 1, 2])
    gains = controls.mean(axis=(1, 2))
    np.testing.assert_allclose(
        controls, np.broadcast_to(gains[:, None, None], controls.shape), rtol=0.02, atol=1e-3 * unembedded.norm**2
    )
    # directions as long, at any angle: their products with it are within ± ‖v‖², and spread by ‖v‖² / √d
    assert np.abs(gains).max() < unembedded.norm**2
    assert 0.2 < gains.std(ddof=1) / (unembedded.norm**2 / np.sqrt(unembedded.n_features)) < 3
    distance = unembedded.norm**2 - gains.mean()
    p = 2 * t.sf(distance / (gains.std(ddof=1) * np.sqrt(1 + 1 / 5)), 4)
    assert effect.by_site()["p"].iloc[0] == pytest.approx(p, rel=1e-3)
    band = t.ppf(0.975, 4) * gains.std(ddof=1) * np.sqrt(1 + 1 / 5)
    at_1 = effect.frame().query("strength == 1").iloc[0]
    assert at_1["control_high"] == pytest.approx(gains.mean() + band, rel=1e-2)
    assert at_1["control_low"] == pytest.approx(gains.mean() - band, rel=1e-2)


def test_the_same_seed_gives_the_same(linear, unembedded, effect):
    again, other = (
        nb.steering_effect(
            linear, unembedded, PROMPTS, metric=METRIC, scales=[1], unit="direction", controls=5, plain=(), seed=seed
        )
        for seed in (0, 1)
    )
    same(again.effects[:, :, 0, 0], effect.effects.sel(strength=1)[:, :, 0])
    assert np.abs(other.effects[1:] - again.effects[1:]).to_numpy().min() > 0


def test_in_shares_of_the_activations_length(linear, unembedded):
    site = str(unembedded.site)
    found = nb.steering_effect(
        linear, unembedded, PROMPTS, metric=METRIC, scales=[0.5], tokens=-1, controls=3, plain=()
    )
    norms = [np.linalg.norm(hooked(linear, prompt, reads=[site])[1][unembedded.site][-1]) for prompt in PROMPTS]
    assert found.activation_norms[0] == pytest.approx(np.mean(norms), rel=1e-4)
    line = found.frame().iloc[0]
    assert line["added"] == pytest.approx(0.5 * np.mean(norms), rel=1e-4)
    assert line["effect"] == pytest.approx(0.5 * np.mean(norms) * unembedded.norm, rel=1e-3)


def test_everything_is_what_hooks_on_the_bare_model_give(tokenizer):
    model = nb.Model.open(random_module("gpt2"), tokenizer=tokenizer, name="gpt2", device="cpu")
    vector = np.random.default_rng(0).normal(size=32)
    found = nb.steering_effect(
        model,
        nb.Direction(nb.Site("resid_post", 1), None, vector),
        PROMPTS,
        metric=METRIC,
        scales=[-1, 1.5],
        unit="direction",
        controls=3,
        plain=PLAIN,
    )
    good, bad = (model.vocabulary.id(token) for token in (GOOD, BAD))
    for strength in (-1, 1.5):
        edits = [("resid_post.1", slice(None), lambda x, s=strength: x + s * torch.tensor(vector, dtype=torch.float32))]
        logits = [hooked(model, prompt, edits)[0] for prompt in PROMPTS]
        same(found.values.sel(direction="vector", strength=strength)[:, 0], [row[good] - row[bad] for row in logits])
        losses = nb.perplexity(model, PLAIN, interventions=nb.Steer("resid_post.1", direction=vector, scale=strength))
        at = found.frame().query("strength == @strength").iloc[0]
        assert at["perplexity"] == pytest.approx(losses.value, rel=1e-4)
        assert at["perplexity_ratio"] == pytest.approx(losses.ratio, rel=1e-4)
    same(found.base, [row[good] - row[bad] for row in (hooked(model, prompt)[0] for prompt in PROMPTS)])


def test_what_it_gives_to_go_on_with_does_what_it_measured(linear, effect):
    act = effect.steer(strength=1)
    assert act == effect.steer(3, 1)
    assert effect.steer(3, 1, steps="all").steps is not None
    run = linear.run(nb.Experiment(PROMPTS[0], act))
    changed = run.logit_difference(GOOD, BAD)["changed"].iloc[0]
    assert changed == pytest.approx(float(effect.values[0, 0, 0].sel(strength=1)), rel=1e-4)


def test_prompts_that_the_vectors_were_made_from_are_refused(linear):
    positive, negative = [f"{text} good" for text in PROMPTS], [f"{text} bad" for text in PROMPTS]
    vectors = nb.steering_vectors(linear, positive, negative, sites="resid_post.2", method="contrastive", held_out=0.4)
    seen = vectors.made_from[0]
    with pytest.raises(
        ValueError, match=r"^got the prompt '.* (good|bad)', with which .* begins, from which the vectors were made"
    ):
        nb.steering_effect(linear, vectors, [seen], metric=METRIC)
    # a question without its answer gives it away as much
    with pytest.raises(ValueError, match=r"wanted prompts held out: leave it out\.$"):
        nb.steering_effect(linear, vectors, [seen.rsplit(" ", 1)[0]], metric=METRIC)
    found = nb.steering_effect(linear, vectors, vectors.held_out, metric=METRIC, scales=[0.2], controls=3, plain=())
    assert "prompts held out" in found.provenance


def direction(site="resid_post.1", vector=None):
    return nb.Direction(None if site is None else nb.Site.of(site), None, np.ones(32) if vector is None else vector)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"vectors": np.ones(32)},
            TypeError,
            r"^got vectors of type ndarray; wanted what nb\.steering_vectors gives, or a Direction\.$",
        ),
        (
            {"vectors": direction(None)},
            ValueError,
            r"^got a direction without a site; say where it is to be added with \.at",
        ),
        ({"vectors": direction(vector=np.zeros(32))}, ValueError, r"^got a Direction of length 0"),
        ({"vectors": direction(vector=np.ones(5))}, ValueError, r"^got a Direction with 5 features at resid_post\.1"),
        ({"vectors": direction("resid_post.7")}, ValueError, r"^got layer 7 in 'resid_post\.7'"),
        (
            {"vectors": direction("logits", np.ones(FEW_TOKENS))},
            ValueError,
            r"^got Steer at logits, behind the last block",
        ),
        (
            {"layers": [1]},
            ValueError,
            r"^got layers for a single direction, which has a site of its own; leave them out\.$",
        ),
        ({"prompts": "The"}, ValueError, r"^got prompts='The'; wanted a list of at least one prompt\.$"),
        ({"prompts": ["a b", "a b"]}, ValueError, r"^got the prompt 'a b' twice; wanted each once"),
        ({"metric": nb.logit(" no such token")}, LookupError, r"^got ' no such token', which is not a single token"),
        (
            {"scales": [0, 1]},
            ValueError,
            r"^got scales=\[0\.0, 1\.0\]; wanted at least one finite number other than 0, each once",
        ),
        ({"scales": []}, ValueError, r"^got scales=\[\]; wanted at least one"),
        ({"scales": [1, 1]}, ValueError, r"each once"),
        ({"tokens": " song"}, LookupError, r"^got tokens=' song', which does not occur in the prompt 'The movie was'"),
        ({"unit": "metre"}, ValueError, r"^got unit='metre'; choose from activation norm, direction\.$"),
        ({"controls": 2}, ValueError, r"^got controls=2; wanted 3 random directions or more"),
        ({"plain": ["The"]}, ValueError, r"^got the text 'The', which is a single token"),
        (
            {"max_perplexity_ratio": 1.0},
            ValueError,
            r"^got alpha=0\.01, max_perplexity_ratio=1\.0; wanted alpha between",
        ),
    ],
)
def test_bad_input_is_refused_before_the_model_runs(linear, changed, error, message, monkeypatch):
    for name in ("run", "sweep"):
        monkeypatch.setattr(nb.Model, name, lambda *args, **kwargs: pytest.fail("the model was run"))
    settings = {"vectors": direction(), "prompts": PROMPTS, "metric": METRIC} | changed
    with pytest.raises(error, match=message):
        nb.steering_effect(linear, settings.pop("vectors"), settings.pop("prompts"), **settings)


def test_a_direction_of_another_model_is_refused(linear, unembedded):
    other = dataclasses.replace(unembedded, model=dataclasses.replace(linear.info, revision="else"))
    with pytest.raises(ValueError, match=r"^got a Direction of the model linear@else, used on linear@"):
        nb.steering_effect(linear, other, PROMPTS, metric=METRIC)


def test_layers_without_a_direction_are_refused(linear):
    vectors = nb.steering_vectors(linear, ["a good", "b good"], ["a bad", "b bad"], sites="resid_post.2", held_out=0)
    with pytest.raises(
        LookupError, match=r"^got layer 1, at which there are 0 of these directions; they live at resid_post\.2"
    ):
        nb.steering_effect(linear, vectors, PROMPTS, metric=METRIC, layers=[1])
    with pytest.raises(ValueError, match=r"^got no layer to steer at; wanted at least one"):
        nb.steering_effect(linear, vectors, PROMPTS, metric=METRIC, layers=[])


def test_it_can_be_cancelled(linear, unembedded):
    with pytest.raises(KeyboardInterrupt):
        nb.steering_effect(linear, unembedded, PROMPTS, metric=METRIC, cancel=lambda: True)


@pytest.mark.slow
def test_sentiment_steers_the_demo_model(model):
    templates = ["The movie was {}. I", "This book is {}. The author"]
    positive, negative = (
        [template.format(word) for template in templates for word in words]
        for words in zip(*OPINIONS.items(), strict=True)
    )
    vectors = nb.steering_vectors(
        model, positive, negative, sites=["resid_post.15", "resid_post.25"], method="contrastive", held_out=0.4
    )
    assert vectors.frame()["auc"].min() > 0.95
    found = nb.steering_effect(
        model,
        vectors,
        [
            "The food was",
            "My opinion of the hotel is that it was",
            "The concert was",
            "The weather has been",
            "Her phone is",
        ],
        metric=METRIC,
        layers=[25],
        scales=[-0.2, -0.1, 0.1, 0.2],
        controls=6,
        plain=["The library opens at nine in the morning and closes at six."],
    )
    line = found.by_site().iloc[0]
    assert line["steers"]
    assert line["monotone"]
    assert line["gain"] > 10
    assert found.best["perplexity_ratio"] < 1.5
    assert "resid_post.25 moves logit_difference(' good', ' bad') beyond random directions" in found.statement
