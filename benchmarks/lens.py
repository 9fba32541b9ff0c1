"""The logit lens of every layer and token, against the least that it can cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import nbinterp as nb
from benchmarks.pairs import Row, Setting, alternate, compare
from benchmarks.subjects import PEER, Subject, gpt2, smollm2

if TYPE_CHECKING:
    from collections.abc import Iterator

N_TOKENS = 100
ROWS = 256
"""Of a bare product: as many as fit beside the weights in a processor's caches best."""


def rows(setting: Setting) -> Iterator[Row]:
    """Both models against one raw forward pass and the bare product of all states by the unembedding."""
    for subject in (smollm2(), gpt2()):
        yield _row(subject, setting)


def _row(subject: Subject, setting: Setting) -> Row:
    found: dict[str, Any] = {}

    def text(turn: int) -> str:
        return subject.text(N_TOKENS, seed=900 + turn)

    def ours(turn: int) -> None:
        found["ours"] = nb.logit_lens(subject.model, text(turn), track=(" Paris",))

    def theirs(turn: int) -> None:
        found["theirs"] = bare(subject, text(turn))

    pairs = alternate(ours, theirs, setting.pairs(16))
    rows = (subject.n_layers + 1) * N_TOKENS
    # the last turn's grid, against plain torch on the states that the bare pass gave
    wanted = by_hand(subject, *found["theirs"])
    return Row(
        f"{subject.name}: logit lens of {subject.n_layers + 1} layers × {N_TOKENS} tokens: top 5, one tracked token, entropy, KL",
        f"one raw forward pass and the bare product of {rows:,} states by the unembedding",
        1.3,
        "time",
        pairs,
        compare(f"entropies of {rows:,} states by plain torch", found["ours"].data["entropy"].to_numpy()[0], wanted),
    )


@PEER()
def bare(subject: Subject, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the model once and multiply all its states by the unembedding; return the states ``[layer, token, d_model]``.

    Products are written over each other: all logits together would take gigabytes.
    """
    output = subject.raw(subject.ids(text), use_cache=False, output_hidden_states=True, logits_to_keep=1)
    states = torch.cat(output.hidden_states)
    weight = subject.raw.get_output_embeddings().weight
    flat = states.flatten(0, 1)
    logits = torch.empty(ROWS, len(weight))
    for start in range(0, len(flat), ROWS):
        part = flat[start : start + ROWS]
        torch.mm(part, weight.T, out=logits[: len(part)])
    return states, weight


@PEER()
def by_hand(subject: Subject, states: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
    """Return entropies ``[layer, token]``."""
    # transformers hands out the last state behind the final norm
    norm = next(m for n, m in subject.raw.named_modules() if n in ("model.norm", "transformer.ln_f"))
    found = []
    for layer, state in enumerate(states):
        normed = state if layer == len(states) - 1 else norm(state)
        log_p = (normed @ weight.T).double().log_softmax(-1)
        found.append(-(log_p.exp() * log_p).sum(-1).numpy())
    return np.stack(found)
