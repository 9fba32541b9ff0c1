"""A dose-response curve of 41 strengths against the loop of traces that nnsight's documentation shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

import nbinterp as nb
from benchmarks.pairs import Row, Setting, alternate, compare
from benchmarks.subjects import PEER, Subject, smollm2

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYER, N_TOKENS, ANSWER, OTHER = 15, 14, " Paris", " Rome"


def rows(setting: Setting) -> Iterator[Row]:
    """First or last token touched, of a prompt that was seen before and of one that was not."""
    for token, wanted in ((0, 6.0), (-1, 30.0)):
        for seen in (True, False):
            yield _row(smollm2(), setting, token, wanted, seen=seen)


def _row(subject: Subject, setting: Setting, token: int, wanted: float, *, seen: bool) -> Row:
    direction = subject.vector(LAYER)
    metric = nb.logit_difference(ANSWER, OTHER)

    def prompt(turn: int) -> str:
        return subject.text(N_TOKENS, seed=100 if seen else 200 + turn)

    def scales(turn: int) -> np.ndarray:
        return np.linspace(-8, 8, 41) + turn / 1000

    def ours(turn: int) -> np.ndarray:
        return subject.model.sweep(
            prompt(turn),
            lambda scale: nb.Steer(f"resid_post.{LAYER}", direction=direction, scale=scale, tokens=token),
            metric=metric,
            scale=scales(turn),
        ).values.to_numpy()

    def theirs(turn: int) -> np.ndarray:
        return np.array(documented_loop(subject, prompt(turn), direction, scales(turn), token))

    pairs = alternate(ours, theirs, setting.pairs(9), warm=1)
    with PEER():
        scale_of_logits = float(subject.raw(subject.ids(prompt(0)), logits_to_keep=1).logits.abs().max())
    done = subject.multiplications(subject.n_layers - LAYER - 1, N_TOKENS if token == 0 else 1)
    return Row(
        f"{subject.name}: curve of 41 strengths at layer {LAYER}, {N_TOKENS} tokens, "
        f"{'first' if token == 0 else 'last'} token touched, prompt {'seen before' if seen else 'new'}",
        "nnsight's documented loop",
        wanted,
        "speed",
        pairs,
        compare("41 logit differences with nnsight", ours(1), theirs(1), scale=scale_of_logits),
        (f"does {done / subject.multiplications(subject.n_layers, N_TOKENS, N_TOKENS):.2f} of its multiplications",),
    )


@PEER()
def documented_loop(
    subject: Subject, prompt: str, direction: np.ndarray, scales: np.ndarray, token: int
) -> list[float]:
    """Return the logit difference at each strength, one trace after the other."""
    model = subject.nnsight
    add = torch.tensor(direction, dtype=torch.float32)
    a, b = (subject.model.vocabulary.id(text) for text in (ANSWER, OTHER))
    block = model.get(f"{subject.blocks}.{LAYER}")
    found = []
    for scale in scales.tolist():
        with model.trace(prompt):
            block.output[:, token] += scale * add
            logits = model.output.logits[:, -1].save()
        found.append(float(logits[0, a] - logits[0, b]))
    return found
