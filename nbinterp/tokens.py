"""Which tokens: prompts and chats, a prompt as its model sees it, and the ways to choose some of its tokens. Data only."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nbinterp.prompts import TokenizedPrompt


@dataclass(frozen=True)
class Positions:
    """Tokens by index; negative ones count from the end. Without any index it means no token of the prompt."""

    indices: tuple[int, ...]

    def resolve(self, prompt: TokenizedPrompt) -> tuple[int, ...]:
        """Return the indices in `prompt`, counted from 0; an index out of range raises IndexError."""
        n = len(prompt)
        for index in self.indices:
            if not -n <= index < n:
                raise IndexError(
                    f"got token index {index}, but the prompt {prompt.text!r} has {n} tokens: "
                    f"choose from {-n} to {n - 1} ({prompt._listing()})."
                )
        return tuple(dict.fromkeys(index % n for index in self.indices))

    def to_json(self) -> Any:
        """Return a value that `select_tokens` reads back."""
        return list(self.indices)


@dataclass(frozen=True)
class Span:
    """Tokens by slice, with the meaning of Python's own."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def resolve(self, prompt: TokenizedPrompt) -> tuple[int, ...]:
        """Return the indices in `prompt`; a slice that holds no token raises IndexError."""
        found = tuple(range(len(prompt)))[self.start : self.stop : self.step]
        if not found:
            raise IndexError(
                f"got the token slice [{self.start}:{self.stop}:{self.step}], which holds none of the {len(prompt)} tokens "
                f"of {prompt.text!r}: widen it ({prompt._listing()})."
            )
        return found

    def to_json(self) -> Any:
        """Return a value that `select_tokens` reads back."""
        return {"slice": [self.start, self.stop, self.step]}


@dataclass(frozen=True)
class Match:
    """The tokens that hold a piece of the prompt's text.

    Parameters
    ----------
    text : str
        The text to find. The bare words ``"last"`` and ``"all"`` are shorthands for the last token and all tokens
        where the prompt does not hold them.
    nth : int, optional
        Which occurrence, counted from 1, where there are several.
    """

    text: str
    nth: int | None = None

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError(
                "got an empty text to choose tokens by; give a piece of the prompt, or tokens=-1 for the last token."
            )
        _check_nth(self.nth, f"Match({self.text!r})", "occurrences")

    def resolve(self, prompt: TokenizedPrompt) -> tuple[int, ...]:
        """Return the indices of the tokens that overlap the text; LookupError when it is absent or ambiguous."""
        starts = [hit.start() for hit in re.finditer(f"(?={re.escape(self.text)})", prompt.text)]
        if self.nth is None and self.text in _SHORTHANDS:
            if starts:
                raise LookupError(
                    f"got tokens={self.text!r}, a shorthand for {_SHORTHANDS[self.text][0]}, but the prompt {prompt.text!r} holds that "
                    f"word too: write {_SHORTHANDS[self.text][1]} for the shorthand or nb.Match({self.text!r}, nth=1) for the word."
                )
            return tuple(range(len(prompt)))[-1 if self.text == "last" else 0 :]
        if not starts:
            raise LookupError(
                f"got tokens={self.text!r}, which does not occur in the prompt {prompt.text!r}: its tokens are {prompt._listing()}."
            )
        if self.nth is None and len(starts) > 1:
            raise LookupError(
                f"got tokens={self.text!r}, which occurs {len(starts)} times in the prompt {prompt.text!r}: "
                f"say which one with nb.Match({self.text!r}, nth=1) … nth={len(starts)}."
            )
        if self.nth is not None and self.nth > len(starts):
            raise LookupError(
                f"got nth={self.nth}, but {self.text!r} occurs {len(starts)} times in the prompt {prompt.text!r}: choose 1 to {len(starts)}."
            )
        start = starts[(self.nth or 1) - 1]
        return tuple(prompt._overlapping(start, start + len(self.text)))

    def to_json(self) -> Any:
        """Return a value that `select_tokens` reads back."""
        return {"text": self.text, "nth": self.nth}


@dataclass(frozen=True)
class Regex:
    """The tokens that hold what a regular expression matches.

    Parameters
    ----------
    pattern : re.Pattern or str
        The expression, which is searched in the whole prompt; a compiled one brings its flags.
    nth : int, optional
        Which match, counted from 1; all of them by default.
    """

    pattern: re.Pattern[str]
    nth: int | None = None

    def __init__(self, pattern: re.Pattern[str] | str, nth: int | None = None) -> None:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"got the pattern {pattern!r}, which is no regular expression: {error}.") from None
        if not isinstance(compiled.pattern, str):
            raise TypeError(f"got the pattern {compiled.pattern!r} over bytes; wanted one over text.")
        _check_nth(nth, f"Regex({compiled.pattern!r})", "matches")
        object.__setattr__(self, "pattern", compiled)
        object.__setattr__(self, "nth", nth)

    def resolve(self, prompt: TokenizedPrompt) -> tuple[int, ...]:
        """Return the indices of the tokens that overlap the matches; LookupError when there is none."""
        hits = [hit.span() for hit in self.pattern.finditer(prompt.text) if hit.end() > hit.start()]
        if not hits:
            raise LookupError(
                f"got the pattern {self.pattern.pattern!r}, which matches nothing in the prompt {prompt.text!r}: its tokens are {prompt._listing()}."
            )
        chosen = _nth_of(hits, self.nth, f"the pattern {self.pattern.pattern!r} matches {len(hits)} times", prompt)
        return tuple(sorted({i for start, stop in chosen for i in prompt._overlapping(start, stop)}))

    def to_json(self) -> Any:
        """Return a value that `select_tokens` reads back."""
        return {"regex": self.pattern.pattern, "flags": self.pattern.flags, "nth": self.nth}


@dataclass(frozen=True)
class Role:
    """The tokens of what one role says in a chat; the template's own tokens do not belong to it.

    Parameters
    ----------
    role : str
        For example ``"user"``.
    nth : int, optional
        Which of its messages that have tokens, counted from 1; all of them by default.
    """

    role: str
    nth: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.role, str) or not self.role:
            raise ValueError(f"got the role {self.role!r}; wanted for example 'user'.")
        _check_nth(self.nth, f"Role({self.role!r})", "messages")

    def resolve(self, prompt: TokenizedPrompt) -> tuple[int, ...]:
        """Return the indices of the role's tokens; LookupError when it says nothing, or the prompt is no chat."""
        if not prompt.roles:
            raise LookupError(
                f"got the role {self.role!r}, but the prompt {prompt.text!r} is a plain text: give it as an nb.Chat of messages."
            )
        turns = dict.fromkeys(turn for role, turn in zip(prompt.roles, prompt.turns, strict=True) if role == self.role)
        if not turns:
            roles = ", ".join(dict.fromkeys(role for role in prompt.roles if role is not None))
            raise LookupError(
                f"got the role {self.role!r}, which has no tokens in {prompt.text!r}: choose from {roles}."
            )
        chosen = _nth_of(list(turns), self.nth, f"the role {self.role!r} speaks {len(turns)} times", prompt)
        return tuple(i for i, turn in enumerate(prompt.turns) if turn in chosen)

    def to_json(self) -> Any:
        """Return a value that `select_tokens` reads back."""
        return {"role": self.role, "nth": self.nth}


@dataclass(frozen=True)
class Chosen:
    """The tokens that a function of yours chooses.

    Parameters
    ----------
    function : callable
        Takes the `TokenizedPrompt` and returns indices, of which negative ones count from the end.
    """

    function: Callable[[TokenizedPrompt], Iterable[int]]

    def resolve(self, prompt: TokenizedPrompt) -> tuple[int, ...]:
        """Return what the function chooses; TypeError for what are no indices, LookupError when there are none."""
        found = self.function(prompt)
        try:
            indices = tuple(operator.index(i) for i in found)
        except TypeError:
            raise TypeError(
                f"got {found!r} from the function {self._name} that chooses tokens; wanted a list of indices, such as [0, -1]."
            ) from None
        if not indices:
            raise LookupError(
                f"got no token of {prompt.text!r} from the function {self._name}; wanted at least one of {prompt._listing()}."
            )
        return Positions(indices).resolve(prompt)

    def to_json(self) -> Any:
        """Raise TypeError: a function cannot be written as JSON."""
        raise TypeError(
            f"got tokens that the function {self._name} chooses, which cannot be saved; choose them by index, slice, text, regex or role instead."
        )

    @property
    def _name(self) -> str:
        return repr(getattr(self.function, "__qualname__", self.function))


def _check_nth(nth: int | None, of: str, what: str) -> None:
    if nth is not None and nth < 1:
        raise ValueError(f"got nth={nth} in {of}; {what} count from 1.")


def _nth_of(found: list[Any], nth: int | None, fact: str, prompt: TokenizedPrompt) -> list[Any]:
    if nth is not None and nth > len(found):
        raise LookupError(f"got nth={nth}, but {fact} in the prompt {prompt.text!r}: choose 1 to {len(found)}.")
    return found if nth is None else [found[nth - 1]]


_SHORTHANDS = {"last": ("the last token", "tokens=-1"), "all": ("all tokens", "tokens=slice(None)")}

SHORTHANDS: dict[Any, Positions | Span] = {"last": Positions((-1,)), "all": Span()}
"""What the shorthands stand for where no text is searched."""

TokenSelection = Positions | Span | Match | Regex | Role | Chosen
TokensLike = (
    int
    | slice
    | str
    | re.Pattern[str]
    | Sequence[int]
    | Callable[[TokenizedPrompt], Iterable[int]]
    | TokenSelection
    | dict[str, Any]
)


def select_tokens(tokens: TokensLike) -> TokenSelection:
    """Return the token selection that `tokens` stands for.

    Parameters
    ----------
    tokens : int, slice, str, re.Pattern, sequence of int, callable, or a selection
        An index (negative from the end), a slice, a piece of the prompt's text (``"last"`` and ``"all"`` are
        shorthands), a compiled regular expression, several indices (``[]`` means no token of the prompt), or a function
        from the `TokenizedPrompt` to indices. What `to_json` of a selection gave is read back.

    Raises
    ------
    TypeError
        When it is none of these.
    """
    match tokens:
        case Positions() | Span() | Match() | Regex() | Role() | Chosen():
            return tokens
        case bool():
            pass
        case int():
            return Positions((tokens,))
        case slice():
            return Span(tokens.start, tokens.stop, tokens.step)
        case str():
            return Match(tokens)
        case re.Pattern():
            return Regex(tokens)
        case {"slice": [start, stop, step]}:
            return Span(start, stop, step)
        case {"text": str(text), "nth": nth}:
            return Match(text, nth)
        case {"regex": str(pattern), "flags": int(flags), "nth": nth}:
            return Regex(re.compile(pattern, flags), nth)
        case {"role": str(role), "nth": nth}:
            return Role(role, nth)
        case [*indices] if are_integers(indices):
            return Positions(tuple(indices))
        case _ if callable(tokens) and not isinstance(tokens, type):
            return Chosen(tokens)
    raise TypeError(
        f"got tokens={tokens!r}; wanted an index (-1 is the last token), a slice, a piece of the prompt's text, a list of "
        "indices, a compiled regex, an nb.Role, or a function."
    )


def are_integers(values: Sequence[Any]) -> bool:
    """Whether all values are whole numbers, and none a truth value."""
    return all(isinstance(i, int) and not isinstance(i, bool) for i in values)
