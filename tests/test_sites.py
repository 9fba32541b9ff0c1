import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbinterp.sites import Match, Positions, Site, Span, TokenizedPrompt, select_tokens


def prompt_of(*tokens):
    spans, at = [], 0
    for token in tokens:
        spans.append((at, at + len(token)))
        at += len(token)
    return TokenizedPrompt("".join(tokens), tuple(range(len(tokens))), tokens, tuple(spans))


MARCH = prompt_of("If", " this", " month", " is", " March", ",", " next", " month", " is")


@given(st.integers(0, 200))
def test_a_site_reads_its_own_text(layer):
    site = Site("resid_post", layer)
    assert Site.of(str(site)) == site
    assert Site.of(site) is site


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resid_post", "got the site 'resid_post'; wanted '<component>.<layer>', for example 'resid_post.10'."),
        ("resid_post.x", "got the site 'resid_post.x'; wanted '<component>.<layer>', for example 'resid_post.10'."),
        ("resid_post.-1", "got the site 'resid_post.-1'; wanted '<component>.<layer>', for example 'resid_post.10'."),
        (
            "residual.3",
            "got the unknown site component 'residual'; known are resid_post: write for example 'resid_post.10'.",
        ),
    ],
)
def test_an_unknown_site_is_refused(text, message):
    with pytest.raises(ValueError, match="^got") as caught:
        Site.of(text)
    assert str(caught.value) == message


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
    ],
)
def test_tokens_are_found(tokens, wanted):
    selection = select_tokens(tokens)
    assert selection.resolve(MARCH) == wanted
    assert select_tokens(selection.to_json()) == selection
    assert hash(select_tokens(selection.to_json())) == hash(selection)


def test_a_leading_space_chooses_no_token_by_itself():
    trimmed = TokenizedPrompt("is March", (0, 1, 2), ("is", " ", "March"), ((0, 2), (2, 3), (3, 8)))
    assert Match(" March").resolve(trimmed) == (2,)


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
    ],
)
def test_tokens_that_are_not_there(tokens, error, message):
    with pytest.raises(error) as caught:
        select_tokens(tokens).resolve(MARCH)
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


@pytest.mark.parametrize("tokens", [None, 1.0, True, [], ["a"], [True], {"text": 3}])
def test_what_chooses_no_tokens_is_refused(tokens):
    with pytest.raises(TypeError, match=r"^got tokens=.*; wanted an index"):
        select_tokens(tokens)


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


def test_selections_are_values():
    assert {Positions((1,)), select_tokens(1)} == {Positions((1,))}
    assert select_tokens(slice(1, 3)) == Span(1, 3)
