"""Attribution patching: the estimate is its formula, the truth is true patching, and where the two part it says so."""

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.methods.behaviour import BehaviourMissing
from tests.conftest import random_module

CLEAN = ["The capital of France is", "The capital of Spain is"]
CORRUPTED = ["The capital of Italy is", "The capital of Norway is"]
METRIC = nb.logit_difference(" Paris", " Rome")


@pytest.fixture(scope="module")
def llama(tokenizer):
    return nb.Model.open(random_module("llama"), tokenizer=tokenizer, name="llama", device="cpu")


@pytest.fixture(scope="module")
def found(llama):
    return nb.attribution_patching(llama, CLEAN, CORRUPTED, metric=METRIC, verify=4, gate="ignore")


def metric_of(run):
    return METRIC(run.logits, run.logits, run.vocabulary)[0]


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_the_estimate_is_difference_times_slope(llama, direction):
    found = nb.attribution_patching(
        llama,
        CLEAN,
        CORRUPTED,
        metric=METRIC,
        sites=("mlp_out", "z", "k"),
        direction=direction,
        verify=0,
        gate="ignore",
    )
    ends = (CORRUPTED[1], CLEAN[1]) if direction == "denoising" else (CLEAN[1], CORRUPTED[1])
    own, source = llama.run([nb.Experiment(p, read=["mlp_out.2", "z.2", "k.2"]) for p in ends])
    slopes = llama.gradients(ends[0], metric=METRIC, sites=["mlp_out.2", "z.2", "k.2"]).gradients
    for component, axes in (("mlp_out", 1), ("z", (0, 2)), ("k", (0, 2))):
        site = nb.Site(component, 2)
        wanted = ((source.read(site) - own.read(site)) * slopes[site]).sum(axis=axes)
        np.testing.assert_allclose(found.estimates[component][1, 2], wanted, rtol=1e-3, atol=1e-5)
    assert found.estimates["k"].dims == ("pair", "layer", "head")
    assert found.estimates["k"].sizes["head"] == 2
    assert found.clean[1] == pytest.approx(metric_of(llama.run(CLEAN[1])), abs=1e-4)
    assert found.corrupted[1] == pytest.approx(metric_of(llama.run(CORRUPTED[1])), abs=1e-4)


def test_what_is_checked_is_true_patching(llama, found):
    frame = found.frame()
    known = frame[frame["true"].notna()]
    assert set(known["checked"]) <= {"top", "first layer", "random"}
    for line in known.groupby("component").head(3).itertuples():
        effects = []
        for clean, corrupted in zip(CLEAN, CORRUPTED, strict=True):
            head = line.place if line.axis == "head" else None
            patch = nb.Patch(
                nb.Site(line.component, line.layer, head),
                source=clean,
                tokens=slice(None) if head is not None else line.place,
            )
            patched, plain = llama.run([nb.Experiment(corrupted, [patch]), nb.Experiment(corrupted)])
            effects.append(metric_of(patched) - metric_of(plain))
        assert line.true == pytest.approx(np.mean(effects), abs=1e-4)


def test_the_largest_places_and_all_of_the_first_layer_are_checked(found):
    frame = found.frame()
    for component, lines in frame.groupby("component"):
        differ = lines[lines["estimate"] != 0]
        assert differ.loc[differ["layer"] == 0, "true"].notna().all(), component
        largest = differ.iloc[np.argsort(-differ["estimate"].abs().to_numpy())[:4]]
        assert largest["true"].notna().all(), component
    # tokens before the first that differs have the same in both runs: nothing to draw at random from
    assert not len(found.sample[(found.sample["component"] != "z") & (found.sample["place"] < 3)])


def test_the_straight_way_adds_up_to_the_whole_difference(llama):
    """Sundararajan's completeness, at the embeddings: the estimates of all tokens together are the difference of the ends."""
    metric = nb.logit_difference(" the", " Rome")
    found = nb.attribution_patching(
        llama, CLEAN, CORRUPTED, metric=metric, sites="resid_pre", method="integrated gradients", steps=60, verify=0,
        gate="ignore",
    )  # fmt: skip
    whole = found.clean - found.corrupted
    np.testing.assert_allclose(found.estimates["resid_pre"][:, 0].sum("token"), whole, rtol=0.05, atol=0.05)
    assert np.abs(whole).max() > 0.5


def test_the_report_says_how_far_it_is_to_be_trusted(found):
    quality = found.quality()
    assert set(quality["places"]) == {"random", "top", "first layer"}
    whole = quality[(quality["component"] == "all") & (quality["places"] == "random")].iloc[0]
    a, b = found.sample["estimate"], found.sample["true"]
    assert whole["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert whole["worst"] == pytest.approx((a - b).abs().max())
    text = repr(found)
    assert "correlation with the truth" in text
    assert "largest error" in text
    assert " and 1 more" in text


def test_unchecked_estimates_say_so(llama):
    found = nb.attribution_patching(llama, CLEAN[0], CORRUPTED[0], metric=METRIC, sites="z", verify=0, gate="ignore")
    assert "! nothing was checked" in repr(found)
    assert found.frame()["true"].isna().all()
    assert len(found.best(3)) == 3


def test_a_divergence_is_from_the_clean_run(llama):
    found = nb.attribution_patching(
        llama, CLEAN[0], CORRUPTED[0], metric=nb.kl_divergence(), sites="resid_pre", verify=2, gate="ignore"
    )
    assert found.clean[0] == pytest.approx(0, abs=1e-6)
    assert found.corrupted[0] > 0.01
    # the whole stream of the last token put back takes the divergence away
    patch = nb.Patch("resid_post.3", source=CLEAN[0], tokens=-1)
    assert llama.run(nb.Experiment(CORRUPTED[0], [patch])).logits == pytest.approx(llama.run(CLEAN[0]).logits, abs=1e-3)
    swept = found.frame().dropna(subset=["true"])
    assert (swept["true"] > -found.corrupted[0] - 1e-4).all()


def test_a_metric_of_ones_own_in_torch(llama):
    a, b = llama.vocabulary.id(" Paris"), llama.vocabulary.id(" Rome")
    own = nb.attribution_patching(
        llama, CLEAN[0], CORRUPTED[0], metric=lambda x, _: x.log_softmax(0)[a] - x.log_softmax(0)[b], sites="z", verify=2,
        gate="ignore",
    )  # fmt: skip
    ours = nb.attribution_patching(llama, CLEAN[0], CORRUPTED[0], metric=METRIC, sites="z", verify=2, gate="ignore")
    np.testing.assert_allclose(own.estimates["z"], ours.estimates["z"], atol=1e-4)
    np.testing.assert_allclose(own.checks["true"], ours.checks["true"], atol=1e-4)


def test_charts_show_every_component_and_what_was_checked(found):
    drawn = found.chart().to_dict()
    assert len(drawn["vconcat"]) == 5
    scatter = drawn["vconcat"][0]["hconcat"][0]["layer"][1]
    assert len(drawn["datasets"][scatter["data"]["name"]]) == len(found.checks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sites": "z.3"}, "got sites='z.3'"),
        ({"sites": ("z", "z")}, "each once"),
        ({"direction": "sideways"}, "got direction='sideways'"),
        ({"method": "guess"}, "got method='guess'"),
        ({"steps": 0}, "got steps=0"),
        ({"verify": -1}, "got verify=-1"),
        ({"metric": nb.rank(" Rome")}, "no derivative"),
        ({"corrupted": ["The capital of Italy is", "Spain"]}, "5 tokens"),
    ],
)
def test_bad_input_gets_one_sentence(llama, change, message):
    given = {"corrupted": CORRUPTED, "metric": METRIC, "gate": "ignore"} | change
    with pytest.raises(ValueError, match=message):
        nb.attribution_patching(llama, CLEAN, given.pop("corrupted"), **given)


def test_a_behaviour_that_is_not_there_is_refused(llama):
    # one way round or the other, a random model does worse on what is called clean
    ways = (CLEAN, CORRUPTED), (CORRUPTED, CLEAN)
    refused = 0
    for clean, corrupted in ways:
        try:
            nb.attribution_patching(llama, clean, corrupted, metric=METRIC, sites="z", verify=0, gate="refuse")
        except BehaviourMissing:
            refused += 1
    assert refused >= 1


def test_the_first_mlp_of_the_demo_model_has_the_wrong_sign_and_is_caught(model):
    found = nb.attribution_patching(
        model, "The key to the cabinets", "The keys to the cabinets", metric=nb.logit_difference(" is", " are"),
        sites="mlp_out", verify=3,
    )  # fmt: skip
    frame = found.frame()
    first = frame[(frame["layer"] == 0) & (frame["place"] == 1)].iloc[0]
    assert first["estimate"] < -1
    assert first["true"] > 4
    assert "largest error: mlp_out.0 at ' key/keys', estimated -1.6" in repr(found)
