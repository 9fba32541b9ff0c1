"""Generating with a steering vector at every step, steered and untouched at once, against two plain calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import nbinterp as nb
from benchmarks.pairs import Agreement, Row, Setting, alternate, compare
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

    def ours(turn: int) -> nb.Continuation:
        return subject.model.generate(nb.Experiment(PROMPT, steer), max_new_tokens=STEPS)

    def theirs(turn: int) -> None:
        plain(subject)
        plain(subject)

    pairs = alternate(ours, theirs, setting.pairs(9), warm=1)
    got = ours(0)
    base = spoken(subject)
    add = torch.tensor(direction, dtype=torch.float32)
    hook = subject.raw_blocks[LAYER].register_forward_hook(lambda module, args, output: output + add)
    changed = spoken(subject)
    hook.remove()
    assert len(base[0]) == len(changed[0]) == STEPS, "the model ended early: choose another prompt or strength"
    assert base[0] != changed[0], "the steering changes nothing: choose a larger strength"
    texts = (got.base[0].ids, got.changed[0].ids) == (base[0], changed[0])
    probabilities = compare(
        f"both texts of {STEPS} tokens, their probabilities, with a torch hook",
        [got.base[0].probabilities, got.changed[0].probabilities],
        [base[1], changed[1]],
        scale=1.0,
    )
    return Row(
        f"{subject.name}: generating {STEPS} tokens with a steering vector at every step, untouched and steered",
        "two plain calls of generate",
        0.75,
        "time",
        pairs,
        probabilities if texts else Agreement("both texts with a torch hook", float("inf")),
    )


@PEER()
def plain(subject: Subject, **more: bool) -> Any:
    """Return what one call of transformers' ``generate`` gives."""
    ids = subject.ids(PROMPT)
    return subject.raw.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=STEPS, **more)


def spoken(subject: Subject) -> tuple[tuple[int, ...], list[float]]:
    """Return the new tokens of one such call, and the probability that each had."""
    out = plain(subject, return_dict_in_generate=True, output_logits=True)
    ids = out.sequences[0, -len(out.logits) :]
    return tuple(ids.tolist()), [
        float(logits[0].softmax(-1)[token]) for logits, token in zip(out.logits, ids, strict=True)
    ]
