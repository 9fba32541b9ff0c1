"""Pairs of prompts: made, refused, and laid token over token."""

import numpy as np
import pytest

import nbinterp as nb
from nbinterp.metrics import Metric
from nbinterp.pairs import against, align, pairs_of
from nbinterp.prompts import TokenizedPrompt
from nbinterp.results import Vocabulary

METRIC = nb.logit_difference(" a", " b")


def words(prompt):
    """A tokenizer for which each word is a token."""
    tokens = tuple(prompt.split(" "))
    return TokenizedPrompt(prompt, tuple(sum(map(ord, token)) for token in tokens), tokens, ())


def test_one_metric_serves_all_pairs_or_each_has_its_own():
    assert [pair.metric for pair in pairs_of(["x", "y"], ["z", "w"], METRIC)] == [METRIC, METRIC]
    others = [nb.logit(" a"), nb.logit(" b")]
    assert [pair.metric for pair in pairs_of(["x", "y"], ["z", "w"], others)] == others
    (pair,) = pairs_of("x", "y", METRIC)
    assert (pair.clean, pair.corrupted) == ("x", "y")


@pytest.mark.parametrize(
    ("clean", "corrupted", "metric", "sentence"),
    [
        (
            ["x", "y"],
            ["z"],
            METRIC,
            "got 2 clean and 1 corrupted prompts; wanted one corrupted prompt for each clean one",
        ),
        (["x", "y"], ["z", "w"], [METRIC], "got 1 metrics for 2 pairs of prompts; wanted one for all, or one a pair"),
        ("x", "", METRIC, "got an empty text as the prompt"),
    ],
)
def test_what_makes_no_pairs_is_refused(clean, corrupted, metric, sentence):
    with pytest.raises(ValueError, match=sentence):
        pairs_of(clean, corrupted, metric)


def test_aligned_prompts_say_where_they_differ():
    (pair,) = pairs_of("a b c d", "a x c y", METRIC)
    aligned = align(pair, words)
    assert len(aligned) == 4
    assert aligned.differing == (1, 3)


def test_prompts_of_different_length_are_refused_with_the_place_where_they_part():
    (pair,) = pairs_of("the capital of France is", "the capital of San Marino is", METRIC)
    with pytest.raises(ValueError, match="from token 3 on the one has 'France' where the other has 'San' 'Marino'"):
        align(pair, words)


def test_a_word_too_many_is_shown_against_nothing():
    (pair,) = pairs_of("a b", "a b c", METRIC)
    with pytest.raises(ValueError, match="from token 2 on the one has nothing where the other has 'c'"):
        align(pair, words)


def test_the_same_prompt_twice_is_refused():
    (pair,) = pairs_of("a b", "a b", METRIC)
    with pytest.raises(
        ValueError, match="got the same text as clean and corrupted prompt, 'a b'; wanted prompts that differ"
    ):
        align(pair, words)


def test_a_metric_against_given_logits_forgets_the_untouched_run():
    vocabulary = Vocabulary((" a", " b", " c"))
    logits, clean, untouched = np.array([1.0, 0, 0]), np.array([0, 2.0, 0]), np.array([0, 0, 3.0])
    divergence = nb.kl_divergence()
    got = against(divergence, clean)(logits, untouched, vocabulary)
    assert got == divergence(logits, clean, vocabulary)
    assert got != divergence(logits, untouched, vocabulary)
    own = Metric.of(lambda row, base: float(row @ base) + base[1])
    assert against(own, clean)(logits, untouched, vocabulary) == 2
    assert against(METRIC, clean)(logits, untouched, vocabulary) == 1
