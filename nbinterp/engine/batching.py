"""Put rows into the batches that cost least and stay within a memory bound."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nbinterp.engine.plan import Batch, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nbinterp.engine.sizes import Sizes


Item = TypeVar("Item")

OVERHEAD = 20
"""How many tokens a block could run in the time that it takes to stream its weights from memory, on a processor.

A line through the times of raw passes of SmolLM2-135M over 12, 50 and 200 tokens meets zero at minus 19 tokens.
"""


def equal_batches(
    items: Iterable[Item], length: Callable[[Item], int], rows: Callable[[list[Item]], int]
) -> Iterator[list[Item]]:
    """Yield items of equal length together, the shortest first, so that nothing is padded.

    Parameters
    ----------
    items : iterable
        What is to be run.
    length : callable
        Number of tokens of one.
    rows : callable
        Given all items of a length, how many of them may run at once.
    """
    for _, equal in itertools.groupby(sorted(items, key=length), key=length):
        group = list(equal)
        size = rows(group)
        for first in range(0, len(group), size):
            yield group[first : first + size]


def batches(rows: list[Row], sizes: Sizes, grows: bool) -> Iterator[Batch]:
    """Yield batches of rows: of one length each, and with starts that are worth running together."""

    def kind(row: Row) -> tuple[int, int]:
        # rows changed at the embeddings bring their own tokens; where rows cannot join later, all of a batch join at once
        return len(row.prompt), row.join if not grows or row.join < 0 else 0

    for _, group in itertools.groupby(sorted(rows, key=kind), key=kind):
        for start, together in _by_start(list(group), sizes):
            together.sort(key=lambda row: row.join)
            for part in _cut(together, start, sizes):
                yield Batch(start, tuple(part))


def _by_start(rows: list[Row], sizes: Sizes) -> list[tuple[int, list[Row]]]:
    """Split rows by their first token so that the cost, in token-layers, is least.

    Rows that begin together share the weights that are streamed; a row that begins later than its batch runs tokens
    for nothing. The best split of the sorted starts is found exactly, by dynamic programming.
    """
    starts = sorted({row.start for row in rows})
    length, n_layers = len(rows[0].prompt), sizes.model.n_layers
    # joined[i, l]: how many rows of the first i starts have joined when block l runs
    joined = np.zeros((len(starts) + 1, n_layers), dtype=np.int64)
    order = {start: i + 1 for i, start in enumerate(starts)}
    for row in rows:
        joined[order[row.start], max(row.join, 0) :] += 1
    joined = joined.cumsum(axis=0)
    best = [0.0]
    cut: list[int] = []
    for stop in range(1, len(starts) + 1):
        costs = []
        for first in range(stop):
            active = joined[stop] - joined[first]
            run = (length - starts[first]) * active.sum() + OVERHEAD * ((active > 0).sum() + sizes.unembedding_layers)
            costs.append(best[first] + float(run))
        cut.append(int(np.argmin(costs)))
        best.append(min(costs))
    groups = []
    stop = len(starts)
    while stop:
        first = cut[stop - 1]
        chosen = set(starts[first:stop])
        groups.append((starts[first], [row for row in rows if row.start in chosen]))
        stop = first
    return groups[::-1]


def _cut(rows: list[Row], start: int, sizes: Sizes) -> Iterator[list[Row]]:
    """Yield rows in parts that stay within the bounds of `sizes`, of at least one row."""
    part: list[Row] = []
    taken = 0
    most = max(1, sizes.max_tokens // (len(rows[0].prompt) - start))
    for row in rows:
        size = sizes.batch(Batch(start, (row,)))
        if part and (taken + size > sizes.bound or len(part) >= most):
            yield part
            part, taken = [], 0
        part.append(row)
        taken += size
    yield part
