"""Generating with a steering vector at every step, steered and untouched at once, against two plain calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

import nbinterp as nb
from benchmarks.pairs import Agreement, Row, Setting, alternate
from benchmarks.subjects import PEER, Subject, smollm2

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYER, STEPS, PROMPT = 15, 50, "Once upon a time there was a little girl who lived in"


def rows(setting: Setting) -> Iterator[Row]:
    """Greedy decoding of 50 tokens."""
    yield _row(smollm2(), setting)


def _row(subject: Subject, setting: Setting) -> Row:
    direction = subject.vector(LAYER)
    steer = nb.Steer(f"resid_post.{LAYER}", direction=direction, scale=1.0, tokens="all", steps="all")

    def ours(turn: int) -> tuple[np.ndarray, np.ndarray]:
        generated = subject.model.generate(nb.Experiment(PROMPT, steer), max_new_tokens=STEPS)
        return np.ravel(generated.base), np.ravel(generated.changed)

    def theirs(turn: int) -> None:
        plain(subject)
        plain(subject)

    pairs = alternate(ours, theirs, setting.pairs(9), warm=1)
    got = ours(0)
    base = plain(subject)
    add = torch.tensor(direction, dtype=torch.float32)
    hook = subject.raw_blocks[LAYER].register_forward_hook(lambda module, args, output: output + add)
    changed = plain(subject)
    hook.remove()
    different = sum(not np.array_equal(a, b) for a, b in zip(got, (base, changed), strict=True))
    assert len(base) == len(changed) == STEPS, "the model ended early: choose another prompt or strength"
    assert not np.array_equal(base, changed), "the steering changes nothing: choose a larger strength"
    return Row(
        f"{subject.name}: generating {STEPS} tokens with a steering vector at every step, untouched and steered",
        "two plain calls of generate",
        0.75,
        "time",
        pairs,
        Agreement(f"both texts of {STEPS} tokens with a torch hook", float(different)),
    )


@PEER()
def plain(subject: Subject) -> np.ndarray:
    """Return the ids of the new tokens of one call of transformers' ``generate``."""
    ids = subject.ids(PROMPT)
    out = subject.raw.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=STEPS)
    return np.asarray(out[0, ids.shape[1] :])
