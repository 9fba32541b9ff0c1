import itertools
import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbinterp.prompts import Chat, TokenizedPrompt, as_prompt, as_prompts, prompt_to_json
from nbinterp.steps import holds, select_steps
from nbinterp.tokens import Chosen, Match, Positions, Regex, Role, Span, select_tokens


def prompt_of(*tokens, roles=(), turns=()):
    spans, at = [], 0
    for token in tokens:
        spans.append((at, at + len(token)))
        at += len(token)
    return TokenizedPrompt("".join(tokens), tuple(range(len(tokens))), tokens, tuple(spans), roles, turns)


MARCH = prompt_of("If", " this", " month", " is", " March", ",", " next", " month", " is")
TALK = prompt_of(
    *("<user>", "Which", " month", "<end>", "<assistant>", "May", "<end>", "<user>", "And", " then", "<end>"),
    roles=(None, "user", "user", None, None, "assistant", None, None, "user", "user", None),
    turns=(None, 0, 0, None, None, 1, None, None, 2, 2, None),
)

texts = st.text(min_size=1, max_size=5)
nths = st.none() | st.integers(1, 3)
bounds = st.none() | st.integers(-3, 3)
selections = st.one_of(
    st.integers(-5, 5).map(select_tokens),
    st.lists(st.integers(-5, 5), max_size=3).map(select_tokens),
    st.builds(Span, bounds, bounds, st.none() | st.sampled_from([-1, 1, 2])),
    st.builds(Match, texts, nths),
    st.builds(Regex, st.builds(re.compile, texts.map(re.escape), st.sampled_from([0, re.I, re.S | re.M])), nths),
    st.builds(Role, texts, nths),
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=9)}),
    min_size=1,
    max_size=3,
)
prompts = st.one_of(st.text(min_size=1, max_size=9), messages.map(Chat))
steps = st.one_of(
    st.integers(0, 9),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
    st.just("all"),
    st.builds(slice, st.none() | st.integers(0, 3), st.none() | st.integers(4, 9), st.none() | st.integers(1, 3)),
)


@given(selections)
def test_json_gives_the_same_selection_back(selection):
    again = select_tokens(json.loads(json.dumps(selection.to_json())))
    assert again == selection
    assert hash(again) == hash(selection)


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        (-1, (8,)),
        (4, (4,)),
        ("last", (8,)),
        ("all", tuple(range(9))),
        (" March", (4,)),
        ("March", (4,)),
        ("Mar", (4,)),
        ("this month is March", (1, 2, 3, 4)),
        (Match(" month", nth=2), (7,)),
        (slice(-2, None), (7, 8)),
        ([0, -1, 8], (0, 8)),
        ((1, 2), (1, 2)),
        ([], ()),
        (re.compile("month|next"), (2, 6, 7)),
        (re.compile(r"\s(month|next)"), (2, 6, 7)),
        (re.compile("MARCH", re.IGNORECASE), (4,)),
        (re.compile("march|$", re.IGNORECASE), (4,)),
        (Regex("is March"), (3, 4)),
        (Regex("month", nth=2), (7,)),
        (re.compile("If.*next"), tuple(range(7))),
        (lambda prompt: [i for i, token in enumerate(prompt.tokens) if token == " is"], (3, 8)),
        (Chosen(lambda prompt: (-1, len(prompt) - 1)), (8,)),
    ],
)
def test_tokens_are_found(tokens, wanted):
    assert select_tokens(tokens).resolve(MARCH) == wanted


@pytest.mark.parametrize(
    ("role", "wanted"),
    [
        (Role("user"), (1, 2, 8, 9)),
        (Role("user", nth=1), (1, 2)),
        (Role("user", nth=2), (8, 9)),
        (Role("assistant"), (5,)),
    ],
)
def test_a_role_has_the_tokens_of_what_it_says(role, wanted):
    assert role.resolve(TALK) == wanted


def test_a_leading_space_chooses_no_token_by_itself():
    trimmed = TokenizedPrompt("is March", (0, 1, 2), ("is", " ", "March"), ((0, 2), (2, 3), (3, 8)))
    assert Match(" March").resolve(trimmed) == (2,)
    assert Regex(r"\sMarch").resolve(trimmed) == (2,)
    assert Regex(r"\s").resolve(trimmed) == (1,)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        (
            9,
            IndexError,
            "got token index 9, but the prompt 'If this month is March, next month is' has 9 tokens: choose from -9 to 8 (0:'If' 1:' this' 2:' month' 3:' is' 4:' March' 5:',' 6:' next' 7:' month' 8:' is').",
        ),
        (
            slice(9, None),
            IndexError,
            "got the token slice [9:None:None], which holds none of the 9 tokens of 'If this month is March, next month is': widen it (0:'If' 1:' this' 2:' month' 3:' is' 4:' March' 5:',' 6:' next' 7:' month' 8:' is').",
        ),
        (
            "June",
            LookupError,
            "got tokens='June', which does not occur in the prompt 'If this month is March, next month is': its tokens are 0:'If' 1:' this' 2:' month' 3:' is' 4:' March' 5:',' 6:' next' 7:' month' 8:' is'.",
        ),
        (
            " month",
            LookupError,
            "got tokens=' month', which occurs 2 times in the prompt 'If this month is March, next month is': say which one with nb.Match(' month', nth=1) … nth=2.",
        ),
        (
            Match(" month", nth=3),
            LookupError,
            "got nth=3, but ' month' occurs 2 times in the prompt 'If this month is March, next month is': choose 1 to 2.",
        ),
        (
            re.compile("June|July"),
            LookupError,
            "got the pattern 'June|July', which matches nothing in the prompt 'If this month is March, next month is': its tokens are 0:'If' 1:' this' 2:' month' 3:' is' 4:' March' 5:',' 6:' next' 7:' month' 8:' is'.",
        ),
        (
            Regex("month", nth=3),
            LookupError,
            "got nth=3, but the pattern 'month' matches 2 times in the prompt 'If this month is March, next month is': choose 1 to 2.",
        ),
        (
            Role("user"),
            LookupError,
            "got the role 'user', but the prompt 'If this month is March, next month is' is a plain text: give it as an nb.Chat of messages.",
        ),
        (
            Chosen(len),
            TypeError,
            "got 9 from the function 'len' that chooses tokens; wanted a list of indices, such as [0, -1].",
        ),
        (
            Chosen(lambda prompt: prompt.tokens[:1]),
            TypeError,
            "got ('If',) from the function '<lambda>' that chooses tokens; wanted a list of indices, such as [0, -1].",
        ),
        (
            Chosen(lambda prompt: []),
            LookupError,
            "got no token of 'If this month is March, next month is' from the function '<lambda>'; wanted at least one of 0:'If' 1:' this' 2:' month' 3:' is' 4:' March' 5:',' 6:' next' 7:' month' 8:' is'.",
        ),
        (
            Chosen(lambda prompt: [9]),
            IndexError,
            "got token index 9, but the prompt 'If this month is March, next month is' has 9 tokens: choose from -9 to 8 (0:'If' 1:' this' 2:' month' 3:' is' 4:' March' 5:',' 6:' next' 7:' month' 8:' is').",
        ),
    ],
)
def test_tokens_that_are_not_there(tokens, error, message):
    with pytest.raises(error) as caught:
        select_tokens(tokens).resolve(MARCH)
    assert caught.value.args[0].replace("test_tokens_that_are_not_there.<locals>.", "") == message


@pytest.mark.parametrize(
    ("role", "message"),
    [
        (
            Role("system"),
            f"got the role 'system', which has no tokens in {TALK.text!r}: choose from user, assistant.",
        ),
        (
            Role("user", nth=3),
            f"got nth=3, but the role 'user' speaks 2 times in the prompt {TALK.text!r}: choose 1 to 2.",
        ),
    ],
)
def test_a_role_that_is_not_there(role, message):
    with pytest.raises(LookupError) as caught:
        role.resolve(TALK)
    assert caught.value.args[0] == message


def test_a_shorthand_that_is_also_a_word_is_ambiguous():
    prompt = prompt_of("The", " last", " month")
    with pytest.raises(LookupError) as caught:
        select_tokens("last").resolve(prompt)
    assert caught.value.args[0] == (
        "got tokens='last', a shorthand for the last token, but the prompt 'The last month' holds that word too: "
        "write tokens=-1 for the shorthand or nb.Match('last', nth=1) for the word."
    )
    assert Match("last", nth=1).resolve(prompt) == (1,)


@pytest.mark.parametrize("tokens", [None, 1.0, True, ["a"], [True], {"text": 3}, {"regex": "a"}, Match])
def test_what_chooses_no_tokens_is_refused(tokens):
    with pytest.raises(TypeError) as caught:
        select_tokens(tokens)
    assert str(caught.value) == (
        f"got tokens={tokens!r}; wanted an index (-1 is the last token), a slice, a piece of the prompt's text, a list of "
        "indices, a compiled regex, an nb.Role, or a function."
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Match(""),
            ValueError,
            "got an empty text to choose tokens by; give a piece of the prompt, or tokens=-1 for the last token.",
        ),
        (lambda: Match("a", nth=0), ValueError, "got nth=0 in Match('a'); occurrences count from 1."),
        (lambda: Regex("a", nth=0), ValueError, "got nth=0 in Regex('a'); matches count from 1."),
        (lambda: Role("user", nth=-1), ValueError, "got nth=-1 in Role('user'); messages count from 1."),
        (lambda: Role(""), ValueError, "got the role ''; wanted for example 'user'."),
        (
            lambda: Regex("("),
            ValueError,
            "got the pattern '(', which is no regular expression: missing ), unterminated subpattern at position 0.",
        ),
        (
            lambda: select_tokens(re.compile(b"a")),
            TypeError,
            "got the pattern b'a' over bytes; wanted one over text.",
        ),
        (
            lambda: Chosen(len).to_json(),
            TypeError,
            "got tokens that the function 'len' chooses, which cannot be saved; choose them by index, slice, text, regex or role instead.",
        ),
    ],
)
def test_a_selection_that_cannot_be_is_refused(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


@given(st.text(min_size=1, max_size=12), st.integers(1, 6), st.data())
def test_a_match_covers_its_text(text, pieces, data):
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=pieces))})
    prompt = prompt_of(*(text[a:b] for a, b in itertools.pairwise(cuts)))
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    piece = text[start:stop]
    occurrence = sum(text.startswith(piece, i) for i in range(start + 1))
    found = Match(piece, nth=occurrence).resolve(prompt)
    assert "".join(prompt.tokens[i] for i in found).find(piece.strip()) >= 0
    assert list(found) == list(range(found[0], found[-1] + 1)) if found else not piece.strip()


@given(st.text("ab ", min_size=1, max_size=12), st.text("ab", min_size=1, max_size=3), st.data())
def test_a_regex_without_specials_finds_what_the_matches_find(text, piece, data):
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=5))})
    prompt = prompt_of(*(text[a:b] for a, b in itertools.pairwise(cuts)))
    # occurrences that do not overlap, as str.split and re count them
    starts, at = [], text.find(piece)
    while at >= 0:
        starts.append(at)
        at = text.find(piece, at + len(piece))
    assume(starts)
    wanted = {i for s in starts for i, (a, b) in enumerate(prompt.spans) if a < s + len(piece) and b > s}
    assert set(Regex(re.escape(piece)).resolve(prompt)) == wanted
    each = [set(Regex(re.escape(piece), nth=n + 1).resolve(prompt)) for n in range(len(starts))]
    assert set().union(*each) == wanted


def test_selections_are_values():
    assert {Positions((1,)), select_tokens(1)} == {Positions((1,))}
    assert select_tokens(slice(1, 3)) == Span(1, 3)
    assert select_tokens(re.compile("a", re.I)) == Regex(re.compile("a", re.I)) != Regex("a")
    assert select_tokens(len) == Chosen(len)
    assert hash(select_tokens(len)) == hash(Chosen(len))


@given(steps)
def test_json_gives_the_same_steps_back(value):
    chosen = select_steps(value)
    assert select_steps(chosen) == chosen
    assert select_steps(json.loads(json.dumps(chosen.to_json()))) == chosen


@given(steps)
def test_steps_hold_what_a_range_of_them_holds(value):
    everything = range(20)
    if value == "all":
        wanted = set(everything)
    elif isinstance(value, slice):
        wanted = set(everything[value])
    else:
        wanted = {value} if isinstance(value, int) else set(value)
    assert {step for step in everything if holds(select_steps(value), step)} == wanted


@pytest.mark.parametrize("value", [None, [], (), Positions(())])
def test_no_steps_hold_nothing(value):
    assert select_steps(value) is None
    assert not holds(None, 0)


NEGATIVE = "steps count from 0, since how many tokens will be generated is not known beforehand: choose from 0 up."
WANTED = "wanted the number of a generated token (the first is 0), a slice, a list of numbers, or 'all'."


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, f"got the steps [-1]; {NEGATIVE}"),
        ([0, -2], ValueError, f"got the steps [0, -2]; {NEGATIVE}"),
        (slice(-3, None), ValueError, f"got the steps [-3:None:None]; {NEGATIVE}"),
        (slice(None, -1), ValueError, f"got the steps [None:-1:None]; {NEGATIVE}"),
        (slice(None, None, -1), ValueError, f"got the steps [None:None:-1]; {NEGATIVE}"),
        (Span(-1), ValueError, f"got the steps [-1:None:None]; {NEGATIVE}"),
        (slice(3, 3), ValueError, "got the steps [3:3:None], which hold none: widen them."),
        (slice(0, 0), ValueError, "got the steps [0:0:None], which hold none: widen them."),
        (
            slice("a"),
            TypeError,
            "got the steps slice(None, 'a', None); wanted whole numbers for its bounds.",
        ),
        ("last", TypeError, f"got steps='last'; {WANTED}"),
        (True, TypeError, f"got steps=True; {WANTED}"),
        (1.0, TypeError, f"got steps=1.0; {WANTED}"),
        (["a"], TypeError, f"got steps=['a']; {WANTED}"),
    ],
)
def test_what_chooses_no_steps_is_refused(value, error, message):
    with pytest.raises(error) as caught:
        select_steps(value)
    assert str(caught.value) == message


@given(messages)
def test_a_chat_is_a_value_that_json_gives_back(given):
    chat = Chat(given)
    assert Chat.from_json(json.loads(json.dumps(chat.to_json()))) == chat
    assert chat.to_json() == given
    assert hash(Chat(chat.messages)) == hash(chat)
    assert Chat([(m["role"], m["content"]) for m in given]) == chat
    assert all(m["content"] in str(chat) for m in given)


@given(st.lists(prompts, min_size=1, max_size=3))
def test_json_gives_the_same_prompts_back(given):
    assert as_prompts(json.loads(json.dumps([prompt_to_json(prompt) for prompt in given]))) == tuple(given)
    assert as_prompts(given[0]) == (given[0],)


def test_a_list_of_messages_is_one_chat():
    one = [{"role": "user", "content": "Hello"}]
    assert as_prompts(one) == (Chat(one),)
    assert as_prompts([one, "Hello"]) == (Chat(one), "Hello")
    assert as_prompt(one) == Chat(one)


MESSAGE = "{'role': 'user', 'content': 'Hello'}"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Chat([]), ValueError, f"got a chat without messages; wanted at least one such as {MESSAGE}."),
        (lambda: Chat("a"), TypeError, f"got a chat of type str; wanted a list of messages such as {MESSAGE}."),
        (lambda: Chat(3), TypeError, f"got a chat of type int; wanted a list of messages such as {MESSAGE}."),
        (
            lambda: Chat([{"role": "user"}]),
            TypeError,
            f"got message 0 {{'role': 'user'}}; wanted a role and a content, such as {MESSAGE}.",
        ),
        (
            lambda: Chat([{"role": "user", "content": "a", "name": "b"}]),
            TypeError,
            f"got message 0 {{'role': 'user', 'content': 'a', 'name': 'b'}}; wanted a role and a content, such as {MESSAGE}.",
        ),
        (
            lambda: Chat(["ab"]),
            TypeError,
            f"got message 0 'ab'; wanted a role and a content, such as {MESSAGE}.",
        ),
        (
            lambda: Chat([("user", "a"), ("user", ["a"])]),
            TypeError,
            "got message 1 whose role and content are str and list; wanted text for both.",
        ),
        (
            lambda: Chat([("", "a")]),
            ValueError,
            "got message 0 with an empty role; wanted for example 'user'.",
        ),
        (lambda: as_prompt(""), ValueError, "got an empty text as the prompt; wanted text with at least one token."),
        (
            lambda: as_prompt(3, "prompt 1"),
            TypeError,
            f"got prompt 1 of type int; wanted text, an nb.Chat, or a list of messages such as {MESSAGE}.",
        ),
        (lambda: as_prompts([]), ValueError, "got no prompt; wanted at least one text or chat."),
        (
            lambda: as_prompts(["a", ""]),
            ValueError,
            "got an empty text as prompt 1; wanted text with at least one token.",
        ),
        (
            lambda: as_prompts(None),
            TypeError,
            f"got the prompt of type NoneType; wanted text, an nb.Chat, or a list of messages such as {MESSAGE}.",
        ),
        (
            lambda: as_prompts({"role": "user", "content": "a"}),
            TypeError,
            f"got the prompt of type dict; wanted text, an nb.Chat, or a list of messages such as {MESSAGE}.",
        ),
    ],
)
def test_what_is_no_prompt_is_refused(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message
