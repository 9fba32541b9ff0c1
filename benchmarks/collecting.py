"""Collecting activations of a corpus, against a bare loop that batches as well as the corpus allows."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import psutil
import torch

from benchmarks.pairs import Row, Setting, alternate, compare
from benchmarks.subjects import PEER, Subject, smollm2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LAYERS = (0, 4, 8, 12, 16, 20, 24, 28)
SITES = [f"resid_post.{layer}" for layer in LAYERS]
BATCH = 2048
"""Rows × tokens of the bare loop's batches: 16 texts of 128 tokens."""
PART = 20_000
"""Tokens of one turn; a corpus of 200,000 takes ten turns, each with texts of its own."""


def rows(setting: Setting) -> Iterator[Row]:
    """Texts of one length, which suits the loop, and of all lengths from 16 to 128 tokens."""
    yield _row(smollm2(), setting, "texts of 128 tokens", even, setting.pairs(10))
    yield _row(smollm2(), setting, "texts of 16 to 128 tokens", uneven, setting.pairs(4))


def even(n_tokens: int) -> list[int]:
    """Return the lengths of texts of 128 tokens, of so many tokens together."""
    return [128] * (n_tokens // 128)


def uneven(n_tokens: int) -> list[int]:
    """Return the lengths of texts of 16 to 128 tokens, of about so many tokens together."""
    return np.random.default_rng(0).integers(16, 129, n_tokens // 72).tolist()


def _row(subject: Subject, setting: Setting, kind: str, lengths: Callable[[int], list[int]], pairs: int) -> Row:
    part = lengths(PART)
    corpus = [_texts(subject, part, turn) for turn in range(pairs)]
    turns = alternate(
        lambda turn: _collect(subject, corpus[turn]), lambda turn: _loop(subject, corpus[turn]), pairs, warm=0
    )
    some = corpus[0][:20]
    with tempfile.TemporaryDirectory() as folder:
        cloud = subject.model.collect(some, sites=SITES, tokens="all", store=Path(folder) / "cloud", progress=False)
        got = np.stack([cloud[site].points for site in SITES], axis=1)
    wanted = np.empty_like(got)
    starts = np.cumsum([0, *part])
    for which, values in bare_loop(subject, some):
        wanted[starts[which] : starts[which] + len(values)] = values
    # each row by its own length: a few tokens are a hundred times larger than all others
    sizes = np.linalg.norm(wanted, axis=-1, keepdims=True)
    per_second = [sum(part) / float(np.median(seconds)) for seconds in (turns.ours, turns.theirs)]
    return Row(
        f"{subject.name}: collecting resid_post of {len(LAYERS)} layers into a store, {pairs} × {sum(part):,} tokens, {kind}",
        "bare batched loop, output_hidden_states, nothing stored",
        0.95,
        "speed",
        turns,
        compare(f"{len(got):,} tokens × {len(LAYERS)} layers with it", got / sizes, wanted / sizes),
        (f"{per_second[0]:,.0f} against {per_second[1]:,.0f} tokens/s", _memory(setting, lengths.__name__)),
    )


def _texts(subject: Subject, lengths: Sequence[int], seed: int) -> list[str]:
    return [subject.text(length, seed=(seed + 1) * 1_000_000 + i) for i, length in enumerate(lengths)]


def _collect(subject: Subject, texts: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subject.model.collect(texts, sites=SITES, tokens="all", store=Path(folder) / "cloud", progress=False)


def _loop(subject: Subject, texts: Sequence[str]) -> None:
    for _ in bare_loop(subject, texts):
        pass


def _memory(setting: Setting, lengths: str) -> str:
    """Say by how much memory grows at most, each way in a process of its own."""
    whole = PART if setting.quick else 200_000
    if lengths != "even":
        whole = PART
    runs = (("collect", whole), ("collect", whole // 4), ("loop", PART // 4))
    command = [sys.executable, "-m", "benchmarks.collecting"]
    growths = [
        float(subprocess.run([*command, how, lengths, str(n)], check=True, capture_output=True, text=True).stdout)  # noqa: S603
        for how, n in runs
    ]
    ours, quarter, loop = growths
    return f"peak memory +{ours:.0f} MB for {whole:,} tokens, +{quarter:.0f} for a quarter of them, against +{loop:.0f}"


@PEER()
def bare_loop(subject: Subject, texts: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each text's index and its activations ``[n_tokens, n_layers, d_model]``, longest texts first."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    encoded = [subject.tokenizer(texts[i])["input_ids"] for i in order]
    start = 0
    while start < len(order):
        size = max(1, BATCH // max(len(ids) for ids in encoded[start : start + 16]))
        batch = encoded[start : start + size]
        longest = max(map(len, batch))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        out = subject.raw(
            ids, attention_mask=mask, use_cache=False, output_hidden_states=True, logits_to_keep=1
        ).hidden_states
        values = torch.stack([out[layer + 1] for layer in LAYERS], dim=2).numpy()
        for index, row, value in zip(order[start : start + size], batch, values, strict=True):
            yield index, value[: len(row)]
        start += size


class Peak:
    """How much the process's memory grows at most inside a ``with`` block."""

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._before = self._most = self._now()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> float:
        """In megabytes."""
        return (self._most - self._before) / 1e6

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._most = max(self._most, self._now())

    @staticmethod
    @functools.cache
    def _process() -> psutil.Process:
        return psutil.Process()

    def _now(self) -> int:
        return int(self._process().memory_info().rss)


def main(how: str, lengths: str, n_tokens: str) -> None:
    """Print by how many megabytes this process grows at most while it collects."""
    subject = smollm2()
    texts = _texts(subject, {"even": even, "uneven": uneven}[lengths](int(n_tokens)), 0)
    with Peak() as peak:
        {"collect": _collect, "loop": _loop}[how](subject, texts)
    print(peak.growth)


if __name__ == "__main__":
    main(*sys.argv[1:])
