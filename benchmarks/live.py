"""One change of a strength, the prompt being known, against a raw forward pass that keeps the last logits only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import nbinterp as nb
from benchmarks.pairs import Row, Setting, alternate, compare
from benchmarks.subjects import PEER, Subject, gpt2, smollm2

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


def first_token(setting: Setting) -> Iterator[Row]:
    """Touch the first token: every later token has to be computed again, from layer L on."""
    for n_tokens in (12, 50, 200):
        for layer in (5, 10, 20, 25):
            yield _row(smollm2(), setting, n_tokens, layer, token=0)
    for n_tokens in (12, 200):
        yield _row(gpt2(), setting, n_tokens, layer=8, token=0)


def last_token(setting: Setting) -> Iterator[Row]:
    """Touch the last token: nothing but itself has to be computed again."""
    yield _row(smollm2(), setting, n_tokens=200, layer=20, token=-1)


def _row(subject: Subject, setting: Setting, n_tokens: int, layer: int, token: int) -> Row:
    text, site, direction = subject.text(n_tokens, seed=0), layer - 1, subject.vector(layer - 1)
    ids = subject.ids(text)

    def experiment(scale: float) -> nb.Experiment:
        return nb.Experiment(text, nb.Steer(f"resid_post.{site}", direction=direction, scale=scale, tokens=token))

    def ours(turn: int) -> object:
        # a new strength in each turn, as a hand gives it
        return subject.model.run(experiment(1 + turn / 7)).logits

    @PEER()
    def theirs(turn: int) -> torch.Tensor:
        return subject.raw(ids, use_cache=False, logits_to_keep=1).logits

    pairs = alternate(ours, theirs, setting.pairs(41), warm=3)
    # the same change by a hook of torch
    add = subject.ids(text).new_tensor(direction, dtype=subject.raw.dtype)

    def steer(module: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        changed[:, token] += 2.5 * add
        return changed

    hook = subject.raw_blocks[site].register_forward_hook(steer)
    wanted = theirs(0)[0, -1]
    hook.remove()
    result = subject.model.run(experiment(2.5))
    n, which = subject.n_layers, "first" if token == 0 else "last"
    return Row(
        f"{subject.name}: one change at layer {layer} of {n}, {n_tokens} tokens, {which} token touched",
        "raw forward pass, last logits only",
        (n - layer) / n + 0.10 if token == 0 else 0.10,
        "time",
        pairs,
        compare("logits with a torch hook", result.logits[0], wanted),
        (_floor(subject, setting, layer, ids, token),),
    )


def _floor(subject: Subject, setting: Setting, layer: int, ids: torch.Tensor, token: int) -> str:
    """Say the share of a raw pass that cannot be left out: blocks from `layer` on, and the unembedding.

    With few tokens the weights' way from memory takes the time (unless a large cache still has them from the last turn),
    with many the multiplications by them; attention's own work is left out. Where one token of many is touched, what is
    left is to read the weights once: that is timed, by raw passes of one token, which read them all.
    """
    n, n_tokens, (block, unembedding) = subject.n_layers, ids.shape[1], subject.sizes
    weights = (block * (n - layer) + unembedding) / (block * n + unembedding)
    if token == 0:
        arithmetic = subject.multiplications(n - layer, n_tokens) / subject.multiplications(n, n_tokens)
        return f"reads {weights:.2f} of the weights, does {arithmetic:.2f} of the multiplications"

    @PEER()
    def raw(length: int) -> None:
        subject.raw(ids[:, :length], use_cache=False, logits_to_keep=1)

    reading = alternate(lambda turn: raw(1), lambda turn: raw(n_tokens), setting.pairs(21), warm=2).quotient("time")
    return f"reading its {weights:.2f} of the weights takes {weights * float(np.median(reading)):.3f}"
