"""Which tokens: prompts and chats, a prompt as its model sees it, and the ways to choose some of its tokens. Data only."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeGuard


@dataclass(frozen=True)
class Chat:
    """A conversation, which the model's own template turns into text.

    Parameters
    ----------
    messages : sequence of messages
        Who says what, in order: ``{"role": …, "content": …}``, or pairs of the two. A content may be empty (an empty
        system message keeps some templates from writing one of their own).

    Raises
    ------
    ValueError, TypeError
        When there is no message, or one is not a role and a text.

    Examples
    --------
    >>> print(Chat([{"role": "user", "content": "Which month follows March?"}]))
    user: Which month follows March?
    """

    messages: tuple[tuple[str, str], ...]

    def __init__(self, messages: Iterable[Mapping[str, str] | Sequence[str]]) -> None:
        if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
            raise TypeError(
                f"got a chat of type {type(messages).__name__}; wanted a list of messages such as {_MESSAGE}."
            )
        read = tuple(_message(index, message) for index, message in enumerate(messages))
        if not read:
            raise ValueError(f"got a chat without messages; wanted at least one such as {_MESSAGE}.")
        object.__setattr__(self, "messages", read)

    @property
    def text(self) -> str:
        """The conversation to be read by people; what the model reads is up to its template."""
        return "\n".join(f"{role}: {content}" for role, content in self.messages)

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> list[dict[str, str]]:
        """Return the messages as the dictionaries that transformers takes."""
        return [{"role": role, "content": content} for role, content in self.messages]

    @classmethod
    def from_json(cls, value: Sequence[Mapping[str, str]]) -> Self:
        """Return the chat that `to_json` wrote."""
        return cls(value)


_MESSAGE = "{'role': 'user', 'content': 'Hello'}"


def _message(index: int, message: Mapping[str, str] | Sequence[str]) -> tuple[str, str]:
    if isinstance(message, Mapping) and message.keys() == {"role", "content"}:
        pair = (message["role"], message["content"])
    elif isinstance(message, tuple | list) and len(message) == 2:
        pair = (message[0], message[1])
    else:
        raise TypeError(f"got message {index} {message!r}; wanted a role and a content, such as {_MESSAGE}.")
    if not all(isinstance(part, str) for part in pair):
        kinds = " and ".join(type(part).__name__ for part in pair)
        raise TypeError(f"got message {index} whose role and content are {kinds}; wanted text for both.")
    if not pair[0]:
        raise ValueError(f"got message {index} with an empty role; wanted for example 'user'.")
    return pair


Prompt = str | Chat
"""What a model can be given: a text as it is, or a chat through the model's template."""


def as_prompt(value: object, what: str = "the prompt") -> Prompt:
    """Return a text or a chat as it is, and a list of messages as a chat.

    Parameters
    ----------
    value : str, Chat, or sequence of messages
        The prompt.
    what : str
        What it is, for the error text.

    Raises
    ------
    ValueError, TypeError
        When it is empty, or none of these.
    """
    if isinstance(value, Chat):
        return value
    if isinstance(value, str):
        if not value:
            raise ValueError(f"got an empty text as {what}; wanted text with at least one token.")
        return value
    if _are_messages(value):
        return Chat(value)
    raise TypeError(
        f"got {what} of type {type(value).__name__}; wanted text, an nb.Chat, or a list of messages such as {_MESSAGE}."
    )


def as_prompts(value: object) -> tuple[Prompt, ...]:
    """Return one or many prompts as a tuple; one list of messages is one chat.

    Raises
    ------
    ValueError, TypeError
        When there is none, or one is not a prompt.
    """
    if isinstance(value, str | Chat | Mapping) or _are_messages(value) or not isinstance(value, Iterable):
        return (as_prompt(value),)
    prompts = tuple(as_prompt(one, f"prompt {index}") for index, one in enumerate(value))
    if not prompts:
        raise ValueError("got no prompt; wanted at least one text or chat.")
    return prompts


def _are_messages(value: object) -> TypeGuard[Sequence[Mapping[str, str]]]:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, Mapping) for one in value)


def prompt_to_json(prompt: Prompt) -> str | list[dict[str, str]]:
    """Return a JSON form that `as_prompt` reads back."""
    return prompt if isinstance(prompt, str) else prompt.to_json()


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as its model sees it.

    Parameters
    ----------
    text : str
        The prompt; for a chat, what the template made of it.
    ids : tuple of int, ``[n_tokens]``
        Token ids.
    tokens : tuple of str, ``[n_tokens]``
        The text of each token, leading spaces included.
    spans : tuple of (int, int), ``[n_tokens]``
        First and one-past-last character of each token in `text`.
    roles : tuple of str or None, ``[n_tokens]``
        In a chat, the role of the message to whose content each token belongs, None for the template's own tokens;
        empty for a plain text.
    turns : tuple of int or None, ``[n_tokens]``
        In a chat, the index of that message.
    """

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    roles: tuple[str | None, ...] = ()
    turns: tuple[int | None, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def _listing(self) -> str:
        return " ".join(f"{i}:{token!r}" for i, token in enumerate(self.tokens))

    def _overlapping(self, start: int, stop: int) -> list[int]:
        """Return the tokens that hold some of the characters from `start` to `stop`."""
        piece = self.text[start:stop]
        # a leading space often belongs to the token before or to none: it must not choose a token by itself
        start += len(piece) - len(piece.lstrip()) if piece.strip() else 0
        return [i for i, (a, b) in enumerate(self.spans) if a < stop and b > start]


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
        case [*indices] if _are_integers(indices):
            return Positions(tuple(indices))
        case _ if callable(tokens) and not isinstance(tokens, type):
            return Chosen(tokens)
    raise TypeError(
        f"got tokens={tokens!r}; wanted an index (-1 is the last token), a slice, a piece of the prompt's text, a list of "
        "indices, a compiled regex, an nb.Role, or a function."
    )


Steps = Positions | Span
StepsLike = int | slice | str | Sequence[int] | Steps | dict[str, Any]


def select_steps(steps: StepsLike | None) -> Steps | None:
    """Return which generated tokens `steps` stands for; the first one has number 0.

    An intervention at step n changes the pass that reads the n-th generated token.

    Parameters
    ----------
    steps : int, slice, "all", sequence of int, or None
        Numbers, none of them negative: how many tokens there will be is not known beforehand. None and ``[]`` mean none
        of them.

    Raises
    ------
    ValueError, TypeError
        When it is none of these, or holds no step.
    """
    match steps:
        case None | []:
            return None
        case Positions(indices):
            return select_steps(list(indices))
        case Span(start, stop, step) | {"slice": [start, stop, step]}:
            return select_steps(slice(start, stop, step))
        case "all":
            return Span()
        case slice():
            parts = (steps.start, steps.stop, steps.step)
            if not _are_integers([part for part in parts if part is not None]):
                raise TypeError(f"got the steps {steps}; wanted whole numbers for its bounds.")
            start, stop, step = parts
            if min(start or 0, stop or 0) < 0 or (step is not None and step < 1):
                raise ValueError(f"got the steps [{start}:{stop}:{step}]; {_NO_NEGATIVE}")
            if stop is not None and stop <= (start or 0):
                raise ValueError(f"got the steps [{start}:{stop}:{step}], which hold none: widen them.")
            return Span(start, stop, step)
        case bool():
            pass
        case int():
            return select_steps([steps])
        case [*numbers] if _are_integers(numbers):
            if min(numbers) < 0:
                raise ValueError(f"got the steps {numbers}; {_NO_NEGATIVE}")
            return Positions(tuple(dict.fromkeys(numbers)))
    raise TypeError(
        f"got steps={steps!r}; wanted the number of a generated token (the first is 0), a slice, a list of numbers, or 'all'."
    )


_NO_NEGATIVE = "steps count from 0, since how many tokens will be generated is not known beforehand: choose from 0 up."


def holds(steps: Steps | None, step: int) -> bool:
    """Return whether the generated token of number `step`, counted from 0, is one of `steps`."""
    match steps:
        case None:
            return False
        case Positions(indices):
            return step in indices
        case Span(start, stop, stride):
            first = start or 0
            return first <= step and (stop is None or step < stop) and (step - first) % (stride or 1) == 0


def _are_integers(values: Sequence[Any]) -> bool:
    return all(isinstance(i, int) and not isinstance(i, bool) for i in values)
