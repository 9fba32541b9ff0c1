import dataclasses
import html
import json

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest

import nbinterp as nb
from nbinterp.anatomy import ModelInfo
from nbinterp.methods.steering_effect import SteeringEffect
from nbinterp.tokens import Positions

METRIC = nb.logit_difference(" good", " bad")


def invented(values, **changes):
    """A SteeringEffect of given effects ``[direction, prompt, site, strength]``, without a model."""
    n, prompts, sites, strengths = values.shape
    coords = {
        "direction": ["vector", *(f"control {i}" for i in range(n - 1))],
        "prompt": [f"prompt {i}" for i in range(prompts)],
        "site": [f"resid_post.{i}" for i in range(sites)],
        "strength": np.arange(1.0, strengths + 1),
    }
    steps = tuple(nb.Direction(nb.Site("resid_post", i), None, np.ones(4)) for i in range(sites))
    ratios = changes.pop("ratios", np.ones((2, sites, strengths)))
    made = SteeringEffect(
        values=xr.DataArray(values, coords, tuple(coords)),
        base=xr.DataArray(np.zeros(prompts), {"prompt": coords["prompt"]}, ("prompt",)),
        losses=xr.DataArray(
            np.log(ratios),
            {name: coords[name] for name in ("site", "strength")} | {"direction": ["vector", "control 0"]},
            ("direction", "site", "strength"),
        ),
        base_loss=0.0,
        steps=steps,
        activation_norms=np.ones(sites),
        unit="direction",
        metric=METRIC,
        tokens=Positions((-1,)),
        model=ModelInfo("toy", "abc", "LlamaForCausalLM", sites, 4, 10, "model.layers"),
        alpha=0.01,
        max_perplexity_ratio=1.5,
        provenance="invented",
    )
    return dataclasses.replace(made, **changes)


def test_p_of_a_direction_that_is_as_random_as_its_controls_is_uniform():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(200):
        # each direction has a gain of its own, and each prompt answers to it a little differently
        gains = rng.normal(size=(9, 1, 1, 1)) + 0.2 * rng.normal(size=(9, 6, 1, 1))
        p.append(invented(gains * np.arange(1.0, 4)).by_site()["p"].iloc[0])
    assert kstest(p, "uniform").pvalue > 0.01
    # and corrected for the sites, the smallest of many does not pretend more
    few = [invented(rng.normal(size=(9, 6, 10, 1))).by_site()["p"].min() for _ in range(100)]
    assert np.mean(np.array(few) <= 0.2) < 0.2 + 3 * np.sqrt(0.16 / 100)


def steering(gains, *, noise=0.1, spread=1.0, seed=0):
    """Effects of sites with these gains, beside random directions' own."""
    rng = np.random.default_rng(seed)
    strengths = np.arange(1.0, 4)
    vector = np.array(gains)[None, :, None] * strengths + noise * rng.normal(size=(6, len(gains), 3))
    controls = spread * rng.normal(size=(8, 1, len(gains), 1)) * strengths + noise * rng.normal(
        size=(8, 6, len(gains), 3)
    )
    return np.concatenate([vector[None], controls])


def test_what_does_nothing_more_than_random_directions_is_said_to():
    found = invented(steering([0.5, -0.7]))
    assert found.statement.startswith(
        "No effect beyond random directions of equal length at any of the 2 sites (smallest p = "
    )
    assert found.best is None
    with pytest.raises(
        LookupError, match=r"^got no layer and strength, and none is best; give both\. No effect beyond"
    ):
        found.steer()


def test_the_best_point_is_within_the_bound_on_side_effects():
    ratios = np.ones((2, 2, 3))
    ratios[0, :, 2] = 4
    found = invented(steering([30, 20]), ratios=ratios)
    assert (found.best["site"], found.best["strength"]) == ("resid_post.0", 2)
    assert found.steer().scale == 2
    assert "2 of 2 sites move logit_difference(' good', ' bad') beyond random directions" in found.statement
    assert "Best with plain text's perplexity within × 1.5 is resid_post.0 at strength 2: +6" in found.statement


def test_what_only_works_where_it_breaks_the_model_is_said_to():
    found = invented(steering([30]), ratios=np.full((2, 1, 3), 2.0))
    assert found.best is None
    assert found.statement.endswith(
        "But wherever it does, plain text's perplexity rises above × 1.5: it breaks the model."
    )


def test_what_goes_against_the_sign_is_said_to():
    found = invented(steering([-30]))
    assert "It goes against the sign: a positive strength lowers it." in found.statement
    assert found.best["effect"] == found.frame()["effect"].min()


def test_what_differs_too_much_between_prompts_does_not_steer():
    values = steering([30])
    # a single prompt goes far, and the others a little the other way
    values[0] *= np.array([3, *[-0.2] * 5])[:, None, None]
    found = invented(values)
    line = found.by_site().iloc[0]
    assert line["p"] < found.alpha
    assert line["low"] < 0 < line["high"]
    assert not line["steers"]
    assert "differs too much between these prompts to hold for others" in found.statement


def test_a_metric_that_is_no_number_is_said():
    values = steering([30])
    values[0, 0, 0, 2] = np.nan
    assert invented(values).statement == "The metric is no number at 1 of 18 points: choose smaller strengths."


def test_monotone_is_one_way_from_each_strength_to_the_next():
    values = steering([30, 30, -30], noise=0)
    values[0, :, 1, 2] = 0
    assert invented(values).by_site()["monotone"].tolist() == [True, False, True]


def test_of_few_prompts_nothing_is_said():
    found = invented(steering([30])[:, :4])
    assert found.statement == "4 prompts are too few to say what holds for others: give 5 or more."
    assert found.frame()["low"].isna().all()
    assert not found.by_site()["steers"].any()


def test_without_plain_texts_side_effects_are_said_to_be_unknown():
    found = invented(steering([30]), ratios=np.full((2, 1, 3), np.nan))
    assert found.best["strength"] == 3
    assert found.statement.endswith("side effects were not measured.")
    assert len(found.chart().to_dict()["vconcat"]) == 1


def test_it_draws_and_says_itself():
    many = invented(steering(np.arange(12)))
    spec = many.chart().to_dict()
    assert [len(row["hconcat"]) for row in spec["vconcat"]] == [8, 8]
    assert "95 % of random ones" in json.dumps(spec)
    assert "Drawn: the 8 of 12 sites" in " ".join(spec["title"]["subtitle"])
    assert len(many.chart(layers=[3, 4]).to_dict()["vconcat"][0]["hconcat"]) == 2
    with pytest.raises(LookupError, match=r"^got no layer of these to draw; wanted some of 0, 1"):
        many.chart(layers=[40])
    assert html.escape(many.statement) in many._repr_html_()
