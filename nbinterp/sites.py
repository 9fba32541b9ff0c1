"""Where in a model: sites (component and layer) and the tokens at which to look or act. Data only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COMPONENTS: dict[str, str] = {
    "resid_post": "the residual stream after a block",
}
"""Component names (the ones that TransformerLens made standard) with what each one is."""


@dataclass(frozen=True, order=True)
class Site:
    """A place in a model, written as text ``component.layer``.

    Parameters
    ----------
    component : str
        A key of `COMPONENTS`.
    layer : int
        The block, counted from 0.

    Raises
    ------
    ValueError
        When the component is unknown or the layer is negative.

    Examples
    --------
    >>> Site.of("resid_post.10")
    Site('resid_post.10')
    """

    component: str
    layer: int

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise ValueError(
                f"got the unknown site component {self.component!r}; known are {', '.join(COMPONENTS)}: "
                "write for example 'resid_post.10'."
            )
        if self.layer < 0:
            raise ValueError(
                f"got layer {self.layer} in a site; layers count from 0: write for example 'resid_post.0'."
            )

    @classmethod
    def of(cls, site: str | Site) -> Site:
        """Return the site that a text such as ``"resid_post.10"`` names; a site is returned as it is."""
        if isinstance(site, Site):
            return site
        if not isinstance(site, str):
            raise TypeError(f"got a site of type {type(site).__name__}; wanted text such as 'resid_post.10' or a Site.")
        component, _, layer = site.rpartition(".")
        if not re.fullmatch(r"\d+", layer) or not component:
            raise ValueError(f"got the site {site!r}; wanted '<component>.<layer>', for example 'resid_post.10'.")
        return cls(component, int(layer))

    def __str__(self) -> str:
        return f"{self.component}.{self.layer}"

    def __repr__(self) -> str:
        return f"Site('{self}')"


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as its model sees it.

    Parameters
    ----------
    text : str
        The prompt.
    ids : tuple of int, ``[n_tokens]``
        Token ids.
    tokens : tuple of str, ``[n_tokens]``
        The text of each token, leading spaces included.
    spans : tuple of (int, int), ``[n_tokens]``
        First and one-past-last character of each token in `text`.
    """

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def _listing(self) -> str:
        return " ".join(f"{i}:{token!r}" for i, token in enumerate(self.tokens))


@dataclass(frozen=True)
class Positions:
    """Tokens by index; negative ones count from the end."""

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
        if self.nth is not None and self.nth < 1:
            raise ValueError(f"got nth={self.nth} in Match({self.text!r}); occurrences count from 1.")

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
        stop = start + len(self.text)
        # a leading space often belongs to the token before or to none: it must not choose a token by itself
        start += len(self.text) - len(self.text.lstrip()) if self.text.strip() else 0
        return tuple(i for i, (a, b) in enumerate(prompt.spans) if a < stop and b > start)

    def to_json(self) -> Any:
        """Return a value that `select_tokens` reads back."""
        return {"text": self.text, "nth": self.nth}


_SHORTHANDS = {"last": ("the last token", "tokens=-1"), "all": ("all tokens", "tokens=slice(None)")}

SHORTHANDS: dict[Any, Positions | Span] = {"last": Positions((-1,)), "all": Span()}
"""What the shorthands stand for where no text is searched."""

TokenSelection = Positions | Span | Match
TokensLike = int | slice | str | Sequence[int] | TokenSelection | dict[str, Any]


def select_tokens(tokens: TokensLike) -> TokenSelection:
    """Return the token selection that `tokens` stands for.

    Parameters
    ----------
    tokens : int, slice, str, sequence of int, or a selection
        An index (negative from the end), a slice, a piece of the prompt's text (``"last"`` and ``"all"`` are
        shorthands), or several indices. What `to_json` of a selection gave is read back.

    Raises
    ------
    TypeError
        When it is none of these.
    """
    match tokens:
        case Positions() | Span() | Match():
            return tokens
        case bool():
            pass
        case int():
            return Positions((tokens,))
        case slice():
            return Span(tokens.start, tokens.stop, tokens.step)
        case str():
            return Match(tokens)
        case {"slice": [start, stop, step]}:
            return Span(start, stop, step)
        case {"text": str(text), "nth": nth}:
            return Match(text, nth)
        case [*indices] if indices and all(isinstance(i, int) and not isinstance(i, bool) for i in indices):
            return Positions(tuple(indices))
    raise TypeError(
        f"got tokens={tokens!r}; wanted an index (-1 is the last token), a slice, a piece of the prompt's text, or a list of indices."
    )
