"""What came back from a run: frozen, with its axes, its model and its experiment."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment
    from nbinterp.sites import Site
    from nbinterp.tokens import TokenizedPrompt


@dataclass(frozen=True)
class Vocabulary:
    """The text of every token that a model knows.

    Parameters
    ----------
    tokens : tuple of str, ``[n_vocab]``
        Texts by token id, leading spaces included.
    """

    tokens: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        # of tokens with equal texts the first one stands for the text, as in the tokenizers themselves
        return {text: i for i, text in reversed(list(enumerate(self.tokens)))}

    def id(self, text: str) -> int:
        """Return the id of the token with this text; LookupError when no single token has it."""
        if text not in self._ids:
            spaced = f" {text.strip()}"
            hint = f": did you mean {spaced!r}, with a leading space" if spaced in self._ids else ""
            raise LookupError(
                f"got {text!r}, which is not a single token of this model{hint}; model.tokens({text!r}) shows its tokens."
            )
        return self._ids[text]


@dataclass(frozen=True)
class Result:
    """What a model said, untouched and under an experiment's interventions.

    Parameters
    ----------
    experiment : Experiment
        What was run, bound to its model.
    prompts : tuple of TokenizedPrompt, ``[n_prompts]``
        The prompts as the model saw them.
    base_logits, logits : array, ``[n_prompts, n_vocab]``
        Logits at each prompt's last token, without and with the interventions.
    base_activations, activations : mapping of Site to tuple of arrays, each ``[n_tokens, d_model]``
        What was read, one array a prompt, without and with the interventions.
    vocabulary : Vocabulary
        Texts of the tokens.
    moved : tuple of mappings, one a prompt
        By the index of an intervention: how far it moved what it acts on, ‖after − before‖ / ‖before‖.
    """

    experiment: Experiment
    prompts: tuple[TokenizedPrompt, ...]
    base_logits: NDArray[np.float32]
    logits: NDArray[np.float32]
    base_activations: Mapping[Site, tuple[NDArray[np.float32], ...]]
    activations: Mapping[Site, tuple[NDArray[np.float32], ...]]
    vocabulary: Vocabulary = field(repr=False)
    moved: tuple[Mapping[int, float], ...] = field(default=(), repr=False)

    @property
    def model(self) -> ModelInfo:
        """The model that was run."""
        assert self.experiment.model is not None
        return self.experiment.model

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Next-token probabilities with the interventions: ``[n_prompts, n_vocab]``."""
        return softmax(self.logits)

    @cached_property
    def base_probabilities(self) -> NDArray[np.float64]:
        """Next-token probabilities without the interventions: ``[n_prompts, n_vocab]``."""
        return softmax(self.base_logits)

    def top(
        self, k: int = 10, *, prompt: int = 0, by: Literal["changed", "base", "difference"] = "changed"
    ) -> pd.DataFrame:
        """Return the most probable next tokens of one prompt.

        Parameters
        ----------
        k : int
            How many.
        prompt : int
            Which prompt.
        by : {"changed", "base", "difference"}
            Order by the probability with the interventions, without them, or by the size of the difference.

        Returns
        -------
        DataFrame
            Columns ``token``, ``base``, ``changed``, ``difference`` (changed − base).
        """
        base, changed = self.base_probabilities[prompt], self.probabilities[prompt]
        keys = {"changed": changed, "base": base, "difference": np.abs(changed - base)}
        if by not in keys:
            raise ValueError(f"got by={by!r}; choose one of {', '.join(map(repr, keys))}.")
        ids = np.argsort(-keys[by], kind="stable")[:k]
        return pd.DataFrame(
            {
                "token": [self.vocabulary.tokens[i] for i in ids],
                "base": base[ids],
                "changed": changed[ids],
                "difference": changed[ids] - base[ids],
            }
        )

    def said(self, among: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return each prompt's most probable next token with the interventions, of all tokens or `among` some."""
        return self._said(self.logits, among)

    def base_said(self, among: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return each prompt's most probable next token without the interventions."""
        return self._said(self.base_logits, among)

    def _said(self, logits: NDArray[np.float32], among: Sequence[str] | None) -> tuple[str, ...]:
        ids = np.arange(logits.shape[1]) if among is None else np.array([self.vocabulary.id(text) for text in among])
        return tuple(self.vocabulary.tokens[i] for i in ids[logits[:, ids].argmax(axis=1)])

    def logit_difference(self, answer: str, other: str) -> pd.DataFrame:
        """Return logit(answer) − logit(other) for each prompt: columns ``prompt``, ``base``, ``changed``."""
        a, b = self.vocabulary.id(answer), self.vocabulary.id(other)
        return pd.DataFrame(
            {
                "prompt": [p.text for p in self.prompts],
                "base": self.base_logits[:, a] - self.base_logits[:, b],
                "changed": self.logits[:, a] - self.logits[:, b],
            }
        )

    def frame(self, k: int = 10) -> pd.DataFrame:
        """Return `top` of every prompt in one frame, with the column ``prompt`` in front."""
        frames = [self.top(k, prompt=i).assign(prompt=p.text) for i, p in enumerate(self.prompts)]
        return pd.concat(frames, ignore_index=True)[["prompt", "token", "base", "changed", "difference"]]

    def __repr__(self) -> str:
        acts = ", ".join(f"{type(a).__name__} at {a.site}" for a in self.experiment.interventions) or "untouched"
        lines = [f"Result on {self.model} ({acts})"]
        for prompt, before, after in zip(self.prompts, self.base_said(), self.said(), strict=True):
            lines.append(f"  {prompt.text!r}: {before!r} → {after!r}")
        return "\n".join(lines[:9] + ([f"  … {len(lines) - 9} more"] if len(lines) > 9 else []))

    def _repr_html_(self) -> str:
        shown = self.top(8).style.format(dict.fromkeys(("base", "changed", "difference"), "{:.1%}"), escape="html")
        return f"<p>{html.escape(repr(self).splitlines()[0])}<br>{html.escape(repr(self.prompts[0].text))}</p>{shown.hide(axis='index').to_html()}"


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities over the last axis, computed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    probabilities: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
