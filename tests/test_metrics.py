import json

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nbinterp import metrics
from nbinterp.metrics import Metric
from nbinterp.results import Vocabulary

VOCABULARY = Vocabulary(("a", " b", " c", " d", " e"))
MAKERS = {
    "logit_difference": (metrics.logit_difference, ("a", " c"), "logits"),
    "logit": (metrics.logit, (" b",), "logits"),
    "probability": (metrics.probability, (" b",), "probability"),
    "log_probability": (metrics.log_probability, (3,), "nats"),
    "rank": (metrics.rank, (" d",), "rank"),
    "kl_divergence": (metrics.kl_divergence, (), "nats"),
    "entropy": (metrics.entropy, (), "nats"),
}
every_metric = pytest.mark.parametrize("name", sorted(MAKERS))

finite = st.floats(-50, 50, width=32)
rows = hnp.array_shapes(min_dims=1, max_dims=3, max_side=3).map(lambda shape: (*shape[:-1], 5))
logits = rows.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=finite))
pairs = rows.flatmap(lambda s: st.tuples(*[hnp.arrays(np.float32, s, elements=finite)] * 2))


def made(name):
    maker, tokens, _ = MAKERS[name]
    return maker(*tokens)


@given(pairs)
def test_values_are_those_of_scipy(pair):
    changed, base = pair
    q, p = (scipy.special.softmax(x.astype(np.float64), axis=-1) for x in (changed, base))
    expected = {
        "logit_difference": changed[..., 0].astype(float) - changed[..., 2],
        "logit": changed[..., 1],
        "probability": q[..., 1],
        "log_probability": scipy.special.log_softmax(changed.astype(np.float64), axis=-1)[..., 3],
        "kl_divergence": scipy.stats.entropy(p, q, axis=-1),
        "entropy": scipy.stats.entropy(q, axis=-1),
        "rank": np.argsort(np.argsort(-changed, axis=-1, kind="stable"), axis=-1)[..., 3],
    }
    assert set(expected) == set(MAKERS)
    for name, values in expected.items():
        got = made(name)(changed, base, VOCABULARY)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, values, rtol=1e-9, atol=1e-12, err_msg=name)


@given(pairs, st.integers(-20, 20))
def test_what_rests_on_probabilities_ignores_a_shift_of_all_logits(pair, shift):
    # sixteenths, so that no addition rounds and makes two ranks equal
    changed, base = (np.round(x.astype(np.float64) * 16) / 16 for x in pair)
    for name in set(MAKERS) - {"logit"}:
        np.testing.assert_allclose(
            made(name)(changed + shift, base - shift, VOCABULARY), made(name)(changed, base, VOCABULARY), atol=1e-9
        )


@given(pairs)
def test_divergence_and_entropy_keep_their_bounds(pair):
    changed, base = pair
    assert (metrics.kl_divergence()(changed, base, VOCABULARY) >= 0).all()
    assert (metrics.kl_divergence()(base, base, VOCABULARY) == 0).all()
    entropy = metrics.entropy()(changed, base, VOCABULARY)
    assert ((entropy >= 0) & (entropy <= np.log(5) + 1e-12)).all()


@given(logits)
def test_ranks_of_all_tokens_are_a_permutation(x):
    ranks = np.stack([metrics.rank(token)(x, x, VOCABULARY) for token in range(5)], axis=-1)
    assert (np.sort(ranks, axis=-1) == np.arange(5)).all()
    assert ((ranks == 0).argmax(axis=-1) == x.argmax(axis=-1)).all()


def test_of_equally_probable_tokens_the_lower_id_comes_first():
    x = np.array([1.0, 2.0, 1.0, 2.0, 0.0])
    assert [float(metrics.rank(token)(x, x, VOCABULARY)) for token in range(5)] == [2, 0, 3, 1, 4]


def test_hand_computed():
    base, changed = np.log([0.5, 0.25, 0.125, 0.125, 1e-300]), np.log([0.25, 0.25, 0.25, 0.25, 1e-300])
    nats = 0.5 * np.log(2) - 2 * 0.125 * np.log(2)
    np.testing.assert_allclose(metrics.kl_divergence()(changed, base, VOCABULARY), nats, rtol=1e-12)
    np.testing.assert_allclose(metrics.entropy()(changed, base, VOCABULARY), np.log(4), rtol=1e-12)
    np.testing.assert_allclose(metrics.logit_difference("a", " c")(base, base, VOCABULARY), np.log(4), rtol=1e-12)


def test_a_token_that_cannot_come_counts_nothing():
    base, changed = np.array([0, 0, -np.inf, -np.inf, -np.inf]), np.array([0, 0, 0, 0, -np.inf])
    np.testing.assert_allclose(metrics.entropy()(base, base, VOCABULARY), np.log(2))
    np.testing.assert_allclose(metrics.kl_divergence()(changed, base, VOCABULARY), np.log(2))
    assert metrics.kl_divergence()(base, changed, VOCABULARY) == np.inf


def test_a_probability_near_nothing_keeps_its_logarithm():
    x = np.array([0, -2000, 0, 0, 0], dtype=np.float32)
    np.testing.assert_allclose(metrics.log_probability(" b")(x, x, VOCABULARY), -2000 - np.log(4))


@every_metric
def test_what_is_not_a_number_stays_so(name):
    x = np.array([[1, 2, 3, 4, 5], [np.nan] * 5], dtype=np.float32)
    assert np.isnan(made(name)(x, x, VOCABULARY)).tolist() == [False, True]


@every_metric
def test_one_base_serves_all_rows(name):
    x, base = np.random.default_rng(0).normal(size=(2, 3, 5)), np.arange(5.0)
    values = made(name)(x, base, VOCABULARY)
    assert values.shape == (2, 3)
    np.testing.assert_array_equal(values, made(name)(x, np.broadcast_to(base, x.shape), VOCABULARY))


@every_metric
def test_a_metric_is_a_value(name):
    metric = made(name)
    assert (metric.name, metric.unit) == (name, MAKERS[name][2])
    assert metric == made(name)
    assert hash(metric) == hash(made(name))
    assert Metric.of(metric) is metric
    assert Metric.from_json(json.loads(json.dumps(metric.to_json()))) == metric


def test_a_metric_says_what_it_is():
    assert str(metrics.logit_difference(" Paris", 7)) == "logit_difference(' Paris', 7)"
    assert str(metrics.entropy()) == "entropy()"


def test_tokens_are_texts_or_ids():
    assert metrics.logit_difference(" b", np.int64(4)).ids(VOCABULARY) == (1, 4)
    assert metrics.logit(np.int64(4)) == metrics.logit(4)
    with pytest.raises(
        LookupError, match=r"^got 'b', which is not a single token of this model: did you mean ' b', with a leading"
    ):
        metrics.logit("b").ids(VOCABULARY)
    with pytest.raises(LookupError, match=r"^got the token id 5 in rank\(5\); this model's ids go from 0 to 4\.$"):
        metrics.rank(5).ids(VOCABULARY)
    with pytest.raises(LookupError, match=r"^got the token id -1 in logit\(-1\); this model's ids go from 0 to 4\.$"):
        metrics.logit(-1)(np.zeros(5), np.zeros(5), VOCABULARY)
    with pytest.raises(TypeError, match=r"^got a token of type float; wanted its text, such as ' Paris', or its id\.$"):
        metrics.probability(1.5)


@given(logits)
def test_a_function_of_ones_own_is_a_metric(x):
    def margin(row, base):
        return row[0] - base[..., 2]

    metric = Metric.of(margin)
    assert (metric.name, metric.unit, str(metric)) == ("margin", "", "margin")
    got = metric(x, x, VOCABULARY)
    np.testing.assert_array_equal(got, metrics.logit_difference("a", " c")(x, x, VOCABULARY))
    assert got.dtype == np.float64
    assert Metric.of(margin) == metric
    assert Metric.of(lambda row, base: 0.0).name == "metric"


def test_a_function_of_ones_own_must_give_a_number():
    x = np.zeros((3, 5))
    with pytest.raises(
        ValueError, match=r"^got an array of shape \[5\] from the metric metric; wanted one number for logits of shape"
    ):
        Metric.of(lambda row, base: row - base)(x, x, VOCABULARY)

    def said(row, base):
        return "a"

    with pytest.raises(ValueError, match=r"^got a str from the metric said; wanted one number for logits of shape"):
        Metric.of(said)(x, x, VOCABULARY)
    with pytest.raises(ValueError, match=r"^got the metric said, which is a function of your own; only nbinterp's are"):
        Metric.of(said).to_json()


@pytest.mark.parametrize("wrong", ["kl", np.zeros(3), 3])
def test_what_is_no_metric_is_refused(wrong):
    with pytest.raises(TypeError, match=r"^got metric=[\s\S]*; wanted for example nb.logit_difference\(' Paris', ' R"):
        Metric.of(wrong)


def test_a_maker_that_was_not_called_is_refused():
    with pytest.raises(
        TypeError, match=r"^got the function kl_divergence itself as metric; wanted what it returns: call it, for"
    ):
        Metric.of(metrics.kl_divergence)


def test_logits_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match=r"^got logits of shape \[2, 4\]; wanted \[\.\.\., 5\], one for each token\.$"):
        metrics.entropy()(np.zeros((2, 4)), np.zeros((2, 5)), VOCABULARY)
    with pytest.raises(
        ValueError, match=r"^got base_logits of shape \[\]; wanted \[\.\.\., 5\], one for each token\.$"
    ):
        metrics.entropy()(np.zeros((2, 5)), np.array(0.0), VOCABULARY)


def test_unknown_json_is_refused():
    with pytest.raises(ValueError, match=r"^got the metric 'loss'; known metrics are logit_difference, logit, "):
        Metric.from_json({"metric": "loss", "tokens": []})
