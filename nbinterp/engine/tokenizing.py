"""Turn prompts and chats into tokens, as a model's own tokenizer does."""

from __future__ import annotations

import functools
from typing import Any

from nbinterp.prompts import Chat, Prompt, TokenizedPrompt

_MARK = "\ue000"
"""A character of the private-use area, which no text and no template has."""


class Tokenizer:
    """A tokenizer of transformers, with what every token says.

    Parameters
    ----------
    tokenizer : tokenizer of transformers
        The tokenizer; a fast one, which knows where in the text each token lies.
    texts : tuple of str, ``[n_vocab]``
        The text of each token: `token_texts`.
    name : str
        The model's name, for error texts.
    context : int, optional
        How many tokens the model reads at most.
    """

    def __init__(self, tokenizer: Any, texts: tuple[str, ...], name: str, context: int | None) -> None:
        self.own = tokenizer
        self._context = context
        self._texts = texts
        self._name = name
        # sweeps ask for one prompt hundreds of times
        self._seen = functools.lru_cache(4096)(self._tokenize)

    def __call__(self, prompt: Prompt) -> TokenizedPrompt:
        """Return a prompt as the model sees it; ValueError when it has no tokens, or too many, or no template fits."""
        return self._seen(prompt)

    def check_room(self, prompt: Prompt, n_new: int) -> None:
        """Raise ValueError when the model could not read a prompt with so many tokens after it."""
        n_tokens = len(self(prompt))
        if self._context is not None and n_tokens + n_new > self._context:
            raise ValueError(
                f"got a prompt of {n_tokens} tokens to be continued by {n_new}; "
                f"{self._name} reads at most {self._context}: lower max_new_tokens."
            )

    def _tokenize(self, prompt: Prompt) -> TokenizedPrompt:
        chat = prompt if isinstance(prompt, Chat) else None
        text = prompt if isinstance(prompt, str) else self._render(prompt)
        # a template brings its own special tokens
        encoded = self.own(text, return_offsets_mapping=True, add_special_tokens=chat is None)
        ids = tuple(encoded["input_ids"])
        if not ids:
            raise ValueError(
                f"got the prompt {text!r}, which has no tokens for {self._name}; wanted text with at least one."
            )
        if self._context is not None and len(ids) > self._context:
            raise ValueError(
                f"got a prompt of {len(ids)} tokens; {self._name} reads at most {self._context}: shorten it."
            )
        spans = tuple((int(a), int(b)) for a, b in encoded["offset_mapping"])
        texts = tuple(self._texts[i] for i in ids)
        if chat is None:
            return TokenizedPrompt(text, ids, texts, spans)
        turns = self._turns(chat, text, spans)
        roles = tuple(None if turn is None else chat.messages[turn][0] for turn in turns)
        return TokenizedPrompt(text, ids, texts, spans, roles, turns)

    def _render(self, chat: Chat) -> str:
        if not getattr(self.own, "chat_template", None):
            raise ValueError(
                f"got a chat for {self._name}, whose tokenizer has no chat template; write the prompt as text."
            )
        rendered: str = self.own.apply_chat_template(chat.to_json(), tokenize=False, add_generation_prompt=True)
        return rendered

    def _turns(self, chat: Chat, text: str, spans: tuple[tuple[int, int], ...]) -> tuple[int | None, ...]:
        """Return for each token the message whose content it belongs to.

        A content may well be said by the template too ("user", "You are"): where it begins is where a mark stands that
        takes its place.
        """
        turns: list[int | None] = [None] * len(spans)
        for turn, (role, content) in enumerate(chat.messages):
            marked = [*chat.messages[:turn], (role, _MARK), *chat.messages[turn + 1 :]]
            start = self._render(Chat(marked)).find(_MARK)
            # some templates strip contents
            kept = content if text.startswith(content, start) else content.strip()
            stop = start + len(kept)
            if start < 0 or not text.startswith(kept, start):
                raise ValueError(
                    f"got message {turn} of a chat, whose content this model's template changes: write the prompt as text."
                )
            turns = [turn if a < stop and b > start else before for (a, b), before in zip(spans, turns, strict=True)]
        return tuple(turns)


def token_texts(tokenizer: Any, n_vocab: int) -> tuple[str, ...]:
    """Return the text of every token, leading spaces included: ``[n_vocab]``."""
    known = tokenizer.convert_ids_to_tokens(range(min(n_vocab, len(tokenizer))))
    texts = _decoded(tokenizer, len(known))
    # SentencePiece drops the leading space of what is decoded alone, and marks it in the piece
    spaced = [
        " " + text if piece and piece.startswith("▁") and not text.startswith(" ") else text
        for piece, text in zip(known, texts, strict=True)
    ]
    # embeddings are often padded to a round number of rows that no token uses
    return (*spaced, *(f"<unused {i}>" for i in range(len(spaced), n_vocab)))


def _decoded(tokenizer: Any, n: int) -> list[str]:
    """Return what each of the first `n` tokens is decoded to alone."""
    from transformers import PreTrainedTokenizerFast

    alone = [[i] for i in range(n)]
    # transformers decodes one after the other, and does no more than what lies below it, unless it is told to or overridden
    plain = getattr(type(tokenizer), "_decode", None) is PreTrainedTokenizerFast._decode
    if plain and not tokenizer.clean_up_tokenization_spaces:
        texts: list[str] = tokenizer.backend_tokenizer.decode_batch(alone, skip_special_tokens=False)
        return texts
    return list(tokenizer.batch_decode(alone))
