"""Every selection has a text from which it is read back, and every wrong text gets a sentence."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbinterp.prompts import TokenizedPrompt
from nbinterp.tokens import Chosen, Match, Positions, Regex, Role, Span
from nbinterp.widgets.playground.places import AS_GIVEN, read_steps, read_tokens, where, write_steps, write_tokens

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
nths = st.none() | st.integers(1, 99)
indices = st.integers(-1000, 1000)
bounds = st.none() | indices
flags = st.sampled_from([re.RegexFlag(0), re.I, re.M | re.S, re.A, re.I | re.X])
patterns = st.sampled_from([r"F\w+", "a/b", "/", "a/i", '"', "#2", "(?i)x", r"\n", "é|ü", " ", "a#1"])
selections = st.one_of(
    st.lists(indices, max_size=8).map(lambda i: Positions(tuple(i))),
    st.builds(Span, bounds, bounds, st.none() | st.integers(-5, 5).filter(bool)),
    st.builds(Match, texts, nths),
    st.builds(lambda p, f, n: Regex(re.compile(p, f), n), patterns, flags, nths),
    st.builds(Role, texts, nths),
)


@given(selections)
def test_a_selection_is_read_back_from_its_text(selection):
    assert read_tokens(write_tokens(selection)) == selection


@given(
    st.none()
    | st.lists(st.integers(0, 1000), min_size=1, unique=True).map(lambda i: Positions(tuple(i)))
    | st.builds(Span, st.none() | st.integers(0, 9), st.none() | st.integers(10, 99), st.none() | st.integers(1, 5))
)
def test_steps_are_read_back_from_their_text(steps):
    assert read_steps(write_steps(steps)) == steps


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_a_sentence(text):
    try:
        read_tokens(text)
    except ValueError as error:
        said = str(error)
    else:
        said = "got it."
    assert said.startswith("got ")
    assert said.endswith(".")


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("all", Span()),
        ("", Span()),
        (" last ", Positions((-1,))),
        ("none", Positions(())),
        ("3", Positions((3,))),
        ("-2", Positions((-2,))),
        ("2:5", Span(2, 5)),
        (":", Span()),
        ("::2", Span(None, None, 2)),
        ("2:5, 7", Positions((2, 3, 4, 7))),
        ("0, :3", Positions((0, 0, 1, 2))),
        ('" France"', Match(" France")),
        ("' France'#2", Match(" France", 2)),
        ('"last"', Match("last")),
        (r"/F\w+/i", Regex(re.compile(r"F\w+", re.I))),
        ("@user#2", Role("user", 2)),
    ],
)
def test_what_people_write(text, selection):
    assert read_tokens(text) == selection


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("France", "got the tokens 'France'; put a piece of the prompt into quotes: \"France\", or write all, "),
        ("3;4", "got the tokens '3;4'; write all, last, 3, "),
        ("/(/", "got the pattern '(', which is no regular expression: "),
        ("2:, 4", "got the range '2:' among others; wanted one with both ends counted from 0, such as 2:5."),
        ("0:999999999, 1", "got the range '0:999999999' among others, which is too long; wanted at most 100,000."),
        ("0:3:0", "got the range '0:3:0' with step 0; wanted another step."),
        ('""', 'got an empty piece of text, ""; write a piece of the prompt between the quotes.'),
        ('"a"b"', 'got the piece of text \'"a"b"\', with a quote or a backslash inside; write '),
        ("x" * 10_000, "got tokens written with 10,000 characters; wanted at most 2,000."),
    ],
)
def test_a_wrong_text_gets_a_sentence(text, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        read_tokens(text)


def test_wrong_steps_get_a_sentence():
    for text, sentence in (
        ("first", "got the steps 'first'; write all, none, 3, 2:5 or 0, 4 (the first generated token is 0)."),
        ("-1", "got the steps [-1]; steps count from 0, since how many tokens will be generated is not known"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(sentence)):
            read_steps(text)


def test_tokens_of_a_function_stay_as_they_are():
    assert write_tokens(Chosen(lambda prompt: [0])) == AS_GIVEN


def test_where_it_acts_is_said_in_words():
    words = ["The", " capital", " of", " France"]
    ends = [3, 11, 14, 21]
    prompt = TokenizedPrompt(
        "The capital of France", (0, 1, 2, 3), tuple(words), tuple(zip([0, *ends], ends, strict=False))
    )
    assert where(Span(), prompt) == "'The', ' capital', ' of' and 1 more"
    assert where(Match("France"), prompt) == "' France'"
