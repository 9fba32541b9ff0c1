"""Pairs of prompts that differ in what is asked about, with what tells their answers apart. Data only."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nbinterp.metrics import Metric
from nbinterp.prompts import Chat, Prompt, TokenizedPrompt, as_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbinterp.metrics import Logits, MetricLike

Metrics: TypeAlias = "MetricLike | list[MetricLike] | tuple[MetricLike, ...]"
"""One metric for all pairs, or one for each."""

_SHOWN = 4


@dataclass(frozen=True)
class Pair:
    """A clean prompt, a corrupted one, and what tells their answers apart.

    Parameters
    ----------
    clean, corrupted : str or Chat
        The prompt that shows the behaviour, and one that differs in what the answer depends on.
    metric : Metric
        What is measured at the last token; large where the model answers as it should on `clean`.
    """

    clean: Prompt
    corrupted: Prompt
    metric: Metric


@dataclass(frozen=True)
class AlignedPair:
    """A pair as a model sees it, token over token.

    Parameters
    ----------
    pair : Pair
        The prompts and the metric.
    clean, corrupted : TokenizedPrompt, ``[n_tokens]``
        The prompts, of equal length.
    """

    pair: Pair
    clean: TokenizedPrompt
    corrupted: TokenizedPrompt

    def __len__(self) -> int:
        return len(self.clean)

    @property
    def differing(self) -> tuple[int, ...]:
        """Positions of the tokens that differ."""
        return tuple(i for i, (a, b) in enumerate(zip(self.clean.ids, self.corrupted.ids, strict=True)) if a != b)

    @property
    def texts(self) -> tuple[str, ...]:
        """What stands at each token, both where they differ: ``[n_tokens]``."""
        both = zip(self.clean.tokens, self.corrupted.tokens, strict=True)
        return tuple(a if a == b else f"{a}/{b.strip()}" for a, b in both)


def pairs_of(clean: object, corrupted: object, metric: Metrics) -> tuple[Pair, ...]:
    """Return pairs of prompts with their metrics.

    Parameters
    ----------
    clean, corrupted : str, Chat, or sequence of them
        As many of one as of the other.
    metric : Metric, callable, or list or tuple of them
        One for all pairs, or one a pair.

    Raises
    ------
    ValueError, TypeError
        When their numbers differ, and for what is no prompt or no metric.
    """
    ours, theirs = as_prompts(clean), as_prompts(corrupted)
    if len(ours) != len(theirs):
        raise ValueError(
            f"got {len(ours)} clean and {len(theirs)} corrupted prompts; wanted one corrupted prompt for each clean one, in "
            "the same order."
        )
    metrics = tuple(map(Metric.of, metric)) if isinstance(metric, list | tuple) else (Metric.of(metric),) * len(ours)
    if len(metrics) != len(ours):
        raise ValueError(
            f"got {len(metrics)} metrics for {len(ours)} pairs of prompts; wanted one for all, or one a pair."
        )
    return tuple(Pair(a, b, m) for a, b, m in zip(ours, theirs, metrics, strict=True))


def align(pair: Pair, tokens: Callable[[Prompt], TokenizedPrompt]) -> AlignedPair:
    """Return a pair with both prompts tokenised, token over token.

    Parameters
    ----------
    pair : Pair
        The prompts.
    tokens : callable
        Tokenises a prompt, as `Model.tokens`.

    Raises
    ------
    ValueError
        When the prompts have different numbers of tokens, or are the same.
    """
    clean, corrupted = tokens(pair.clean), tokens(pair.corrupted)
    if len(clean) != len(corrupted):
        raise ValueError(
            f"got a clean prompt of {len(clean)} tokens and a corrupted one of {len(corrupted)}; wanted as many, so that each "
            f"token has its counterpart: {_where(clean, corrupted)}; choose words with equally many tokens (model.tokens(…) "
            "shows them)."
        )
    if clean.ids == corrupted.ids:
        raise ValueError(
            f"got the same text as clean and corrupted prompt, {_short(pair.clean)}; wanted prompts that differ in what the "
            "answer depends on."
        )
    return AlignedPair(pair, clean, corrupted)


def measured_by(pairs: Sequence[Pair]) -> str:
    """Return what pairs are measured by: the metric that all share, or its name alone where each has its own."""
    names = {str(pair.metric) for pair in pairs}
    return names.pop() if len(names) == 1 else pairs[0].metric.name


def described(pairs: Sequence[Pair]) -> str:
    """Return the prompts of the first pair, and how many more pairs there are."""
    more = len(pairs) - 1
    text = f"{_short(pairs[0].clean)} against {_short(pairs[0].corrupted)}"
    return f"{text} and {more} more {'pair' if more == 1 else 'pairs'}" if more else text


def against(metric: Metric, base_logits: Logits) -> Metric:
    """Return a metric that compares with these untouched logits ``[n_vocab]``, whatever run it is asked about.

    A run on the corrupted prompt is untouched where nothing is patched; what a divergence is wanted from is the clean
    answer all the same.
    """
    base = base_logits.astype(np.float64) if metric.own else base_logits
    return replace(metric, function=functools.partial(_instead, metric.function, base))


def _instead(function: Callable[..., Any], base: Logits, logits: Logits, _: Logits, *ids: Any) -> Any:
    return function(logits, base, *ids)


def _where(clean: TokenizedPrompt, corrupted: TokenizedPrompt) -> str:
    """Say where two prompts of different length part, and where they meet again."""
    shortest = min(len(clean), len(corrupted))
    first = next((i for i in range(shortest) if clean.ids[i] != corrupted.ids[i]), shortest)
    alike = next((i for i in range(shortest - first) if clean.ids[-1 - i] != corrupted.ids[-1 - i]), shortest - first)
    ours, theirs = (_listed(p.tokens[first : len(p) - alike]) for p in (clean, corrupted))
    return f"from token {first} on the one has {ours} where the other has {theirs}"


def _listed(tokens: Sequence[str]) -> str:
    shown = " ".join(map(repr, tokens[:_SHOWN]))
    return f"{shown} …" if len(tokens) > _SHOWN else shown or "nothing"


def _short(prompt: Prompt) -> str:
    text = prompt.text if isinstance(prompt, Chat) else prompt
    return repr(text if len(text) <= 60 else text[:59] + "…")
