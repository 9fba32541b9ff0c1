"""Which single token stands for what a user wants to follow."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbinterp.model import Model


@dataclass(frozen=True)
class Piece:
    """A token that is followed.

    Parameters
    ----------
    id : int
        Its id.
    text : str
        Its text.
    note : str
        That it is only the first of several, where it is.
    """

    id: int
    text: str
    note: str = ""


def piece_of(model: Model, token: str | int) -> Piece:
    """Return the token that a text or an id stands for; of a text of several tokens the first, which its note says.

    Raises
    ------
    LookupError, TypeError
        When there is no such token.
    """
    known = model.vocabulary.tokens
    if isinstance(token, str):
        if not token:
            raise LookupError("got an empty text as a token; wanted for example ' Paris'.")
        try:
            index = model.vocabulary.id(token)
        except LookupError:
            return _first(model, token)
        return Piece(index, known[index])
    try:
        index = operator.index(token)
    except TypeError:
        raise TypeError(
            f"got a token of type {type(token).__name__}; wanted its text, such as ' Paris', or its id."
        ) from None
    if not 0 <= index < len(known):
        raise LookupError(f"got the token id {index}; this model's ids go from 0 to {len(known) - 1}.")
    return Piece(index, known[index])


def _first(model: Model, text: str) -> Piece:
    seen = model.tokens(text)
    # what a tokenizer puts in front of every text stands for none of its characters
    pieces = [i for i, (start, stop) in zip(seen.ids, seen.spans, strict=True) if stop > start]
    if not pieces:
        raise LookupError(f"got {text!r}, which has no token in this model; model.tokens({text!r}) shows what it sees.")
    known = model.vocabulary.tokens
    all_of_them = " ".join(repr(known[i]) for i in pieces)
    note = f"{text!r} is {len(pieces)} tokens here ({all_of_them}), of which the first is followed"
    return Piece(pieces[0], known[pieces[0]], note if len(pieces) > 1 else "")
