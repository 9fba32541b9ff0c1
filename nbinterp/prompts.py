"""What a model is given: a text or a chat, and how the model sees it. Data only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeGuard


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
