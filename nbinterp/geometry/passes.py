"""Passes over rows that do not fit in memory: what is asked of each chunk by dask, and how the answers are merged."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dask.array import Array
    from numpy.typing import NDArray

    from nbinterp.geometry.preparation import Preparation
    from nbinterp.geometry.rows import Mask
    from nbinterp.spaces import Floats

    Integers = NDArray[np.int64]
    Task = Callable[..., Any]

Progress = bool | Callable[[str, int, int], object]
"""Whether to show a bar; or what is called with the pass's name, the rows done and all rows."""

BATCH = 64
"""Chunks that dask is given at a time: progress is told, and memory is bounded, from batch to batch."""

FAN = 8
"""Answers that are merged into one at a time."""

SCRATCH = 16 * 2**20
"""Bytes of the table of distances that a chunk's task holds at a time."""

CANCELLED = 1e-6
"""A squared distance below this share of the squared lengths that it is the difference of is computed anew."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and scatter of rows, which add up to those of the rows together.

    Parameters
    ----------
    count : int
        Number of rows.
    mean : array, ``[feature]``
        Their mean; zero without rows.
    scatter : array, ``[feature, feature]``
        Sum of the outer products of their deviations from it.
    """

    count: int
    mean: Floats = field(repr=False)
    scatter: Floats = field(repr=False)

    @classmethod
    def of(cls, rows: Floats) -> Moments:
        """Return the moments of ``rows [row, feature]``."""
        mean: Floats = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both (Chan, Golub and LeVeque 1979): no large sums are subtracted from one another."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        step = other.mean - self.mean
        share = other.count / count
        return Moments(
            count,
            self.mean + share * step,
            self.scatter + other.scatter + np.outer(self.count * share * step, step),
        )

    @property
    def covariance(self) -> Floats:
        """With n − 1: ``[feature, feature]``."""
        return self.scatter / (self.count - 1)


@dataclass(frozen=True, eq=False)
class Passes:
    """Passes over the chunks of rows.

    Dask does the work: in threads of this process, or wherever the user's own scheduler or cluster is. Each answer is
    made of the chunk alone, in float64, and only answers come back.

    In what follows, ``groups [row]`` holds the group of each row, −1 where the row is left out, and ``offsets
    [group, feature]`` what is subtracted from the rows of a group; None for nothing.

    Parameters
    ----------
    rows : dask array, ``[row, feature]``
        The rows, every chunk as wide as they are.
    memory : int
        Bytes that a pass may take in this process.
    progress : bool or callable
        Whether to show a bar; or what is called with the pass's name, the rows done and all rows.
    """

    rows: Array = field(repr=False)
    memory: int
    progress: Progress = False

    def run(
        self,
        what: str,
        task: Task,
        take: Callable[[int, int, Any], None],
        *,
        along: Sequence[NDArray[Any]] = (),
        shared: Sequence[Any] = (),
        merge: Task | None = None,
        held: int = 0,
    ) -> None:
        """Ask `task` of every chunk and hand the answers over, in the order of the rows.

        Parameters
        ----------
        what : str
            What the pass finds, for the bar.
        task : callable
            Called with a chunk, its part of each array in `along`, and `shared`.
        take : callable
            Called with the first row, the row after the last, and the answer: for each chunk, or for each batch of
            chunks where answers are merged.
        along : sequence of array, each ``[row, …]``
            What belongs to each row.
        shared : sequence
            What all chunks are told.
        merge : callable, optional
            Makes one answer of several.
        held : int
            Bytes of an answer and of what is needed to make it, beside copies of the chunk.

        Raises
        ------
        ValueError
            When a chunk takes more memory than there may be.
        KeyboardInterrupt
            With how far the pass was.
        """
        # dask takes time that only users of large clouds should pay
        from dask.base import compute
        from dask.delayed import delayed

        sizes = self.rows.chunks[0]
        ends = np.cumsum((0, *sizes)).tolist()
        workers, batch = self._room(held)
        asked = delayed(task)
        merged = None if merge is None else delayed(merge)
        told = [value if value is None else delayed(value, traverse=False) for value in shared]
        done = 0
        # chunks are worked on side by side: more threads inside each would only get in each other's way
        with _reporting(self.progress, what, ends[-1]) as report, threadpool_limits(limits=1, user_api="blas"):
            try:
                for first in range(0, len(sizes), batch):
                    spans = list(zip(ends[first : first + batch], ends[first + 1 : first + batch + 1], strict=False))
                    blocks = self.rows.blocks[first : first + batch].to_delayed().ravel()
                    answers = [
                        asked(block, *(values[start:stop] for values in along), *told)
                        for block, (start, stop) in zip(blocks, spans, strict=True)
                        if stop > start
                    ]
                    spans = [(start, stop) for start, stop in spans if stop > start]
                    if merged is not None and answers:
                        answers, spans = [_tree(answers, merged)], [(spans[0][0], spans[-1][1])]
                    found = compute(*answers, num_workers=workers)  # type: ignore[no-untyped-call]
                    for (start, stop), answer in zip(spans, found, strict=True):
                        take(start, stop, answer)
                    done = ends[min(first + batch, len(sizes))]
                    report(done)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped in the pass for {what} after {done} of {ends[-1]} rows; nothing was written."
                ) from None

    def norms(self) -> tuple[Floats, Mask]:
        """Return the norm of each row, ``[row]``, and whether it has only finite numbers, ``[row]``."""
        norms, finite = np.empty(len(self.rows)), np.empty(len(self.rows), dtype=np.bool_)

        def take(start: int, stop: int, found: tuple[Floats, Mask]) -> None:
            norms[start:stop], finite[start:stop] = found

        self.run("norms", _norms, take)
        return norms, finite

    def means(
        self, labels: Integers, n: int, groups: Integers, offsets: Floats | None, *, what: str = "means"
    ) -> tuple[Floats, Integers]:
        """Return the mean of the rows of each label, offsets subtracted, ``[label, feature]``, and their number, ``[label]``.

        Parameters
        ----------
        labels : array of int, ``[row]``
            Below `n`; −1 for rows to leave out, which those that `groups` leaves out are as well.
        n : int
            Number of labels; one without a row has a mean of NaN.
        groups, offsets
            As above.
        what : str
            For the bar.
        """
        width = self.rows.shape[1]
        sums, counts = np.zeros((n, width)), np.zeros(n, dtype=np.int64)

        def take(start: int, stop: int, found: tuple[Integers, Integers, Floats]) -> None:
            present, how_many, of_chunk = found
            counts[present] += how_many
            sums[present] += of_chunk

        held = 8 * width * min(n, max(self.rows.chunks[0]))
        self.run(what, _sums, take, along=(labels, groups), shared=(offsets,), held=held)
        with np.errstate(invalid="ignore"):
            return sums / counts[:, None], counts

    def moments(self, groups: Integers, offsets: Floats | None) -> Moments:
        """Return the moments of the rows, offsets subtracted."""
        width = self.rows.shape[1]
        nothing = Moments(0, np.zeros(width), np.zeros((width, width)))
        total: Moments = self._total("mean and covariance", _moments, nothing, groups, offsets)
        return total

    def squares(self, groups: Integers, offsets: Floats | None) -> Floats:
        """Return Σ xᵢ² xⱼ² over the rows x, offsets subtracted: ``[feature, feature]``."""
        width = self.rows.shape[1]
        total: Floats = self._total("parallel analysis", _squares, np.zeros((width, width)), groups, offsets)
        return total

    def _total(
        self, what: str, function: Callable[..., Any], nothing: Any, groups: Integers, offsets: Floats | None
    ) -> Any:
        """Return the sum of what a function gives of each chunk, `nothing` being the sum of none."""
        total = nothing

        def take(start: int, stop: int, found: Any) -> None:
            nonlocal total
            total += found

        held = 3 * 8 * self.rows.shape[1] ** 2
        self.run(what, function, take, along=(groups,), shared=(offsets,), merge=_added, held=held)
        return total

    def scores(
        self, groups: Integers, offsets: Floats | None, preparation: Preparation, chosen: Integers
    ) -> tuple[NDArray[np.float32], Floats]:
        """Return the scores of the rows that are not left out, ``[row used, component]``, and of some the rows themselves.

        Parameters
        ----------
        groups, offsets
            As above.
        preparation : Preparation
            Fitted to such rows.
        chosen : array of int, ``[n]``
            The rows to return, offsets subtracted, ``[n, feature]``: some that are not left out, ascending, each once.
        """
        before = np.cumsum(np.append(0, groups >= 0))
        scores = np.empty((before[-1], preparation.n_components_), dtype=np.float32)
        wanted = np.zeros(len(groups), dtype=np.bool_)
        wanted[chosen] = True
        rows: list[Floats] = []

        def take(start: int, stop: int, found: tuple[NDArray[np.float32], Floats]) -> None:
            scores[before[start] : before[stop]] = found[0]
            rows.append(found[1])

        self.run("scores", _scores, take, along=(groups, wanted), shared=(offsets, preparation))
        return scores, np.concatenate(rows)

    def pick(self, rows: Integers, groups: Integers, offsets: Floats | None) -> Floats:
        """Return some rows, offsets subtracted, ``[row, feature]``; in ascending order, each once."""
        chosen = np.full(len(self.rows), -1, dtype=np.int64)
        chosen[rows] = groups[rows]
        parts: list[Floats] = []
        self.run("queries", _used, lambda start, stop, found: parts.append(found), along=(chosen,), shared=(offsets,))
        return np.concatenate(parts)

    def nearest(
        self, queries: Floats, own: Integers, k: int, groups: Integers, offsets: Floats | None
    ) -> tuple[Integers, Floats]:
        """Return the k nearest rows of each query, nearest first, and their distances: ``[query, k]`` each.

        Parameters
        ----------
        queries : array, ``[query, feature]``
            Points, offsets subtracted.
        own : array of int, ``[query]``
            The row that a query is, which is no neighbour of itself.
        k : int
            How many; at most as many as rows that are not left out, less one.
        groups, offsets
            As above.
        """
        found = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), np.inf)

        def take(start: int, stop: int, more: tuple[Integers, Floats]) -> None:
            nonlocal found
            found = _closest(found, more)

        # distances are differences of squared lengths, which should be short
        centre = queries.mean(axis=0)
        self.run(
            "neighbours",
            _nearest,
            take,
            along=(np.arange(len(self.rows)), groups),
            shared=(offsets, centre, queries - centre, own, k),
            merge=_closest,
            held=5 * SCRATCH + 32 * found[0].size,
        )
        return found[0], np.sqrt(found[1])

    def _room(self, held: int) -> tuple[int, int]:
        """Return how many chunks may be worked on at once, and how many answers may be there before they are taken."""
        from dask import config
        from dask.system import CPU_COUNT

        largest, width = max(self.rows.chunks[0]), self.rows.shape[1]
        half = self.memory // 2
        # a chunk as it was read, in float64, and two copies in passing
        each = 4 * 8 * largest * width + held
        if each > half:
            raise ValueError(
                f"got chunks of {largest} rows of {width} features, each of which takes {each / 2**20:.0f} MiB to work on; "
                f"wanted at most {half / 2**20:.0f}: rechunk the rows, or raise memory."
            )
        return min(config.get("num_workers", None) or CPU_COUNT, half // each), max(1, min(BATCH, half // max(1, held)))


@contextmanager
def _reporting(progress: Progress, what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Give what is called with the rows done so far."""
    if callable(progress):
        progress(what, 0, total)
        yield lambda done: progress(what, done, total)
        return
    from tqdm import tqdm

    with tqdm(
        total=total, desc=what, unit="row", unit_scale=True, disable=not progress, leave=False, delay=1, file=sys.stdout
    ) as bar:
        yield lambda done: bar.update(done - bar.n)


def _tree(answers: list[Any], merge: Task) -> Any:
    while len(answers) > 1:
        answers = [merge(*answers[i : i + FAN]) for i in range(0, len(answers), FAN)]
    return answers[0]


def _added(*parts: Any) -> Any:
    return functools.reduce(operator.add, parts)


# What is asked of a chunk: functions of modules, so that they travel to other processes.


def _used(block: NDArray[Any], groups: Integers, offsets: Floats | None) -> Floats:
    """Return the rows of a chunk that are not left out, in float64, offsets subtracted; always a copy."""
    kept = groups >= 0
    rows = np.array(block if kept.all() else block[kept], dtype=np.float64)
    if offsets is not None:
        rows -= offsets[0] if len(offsets) == 1 else offsets[groups[kept]]
    return rows


def _norms(block: NDArray[Any]) -> tuple[Floats, Mask]:
    rows = np.asarray(block, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        norms: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return norms, np.asarray(np.isfinite(rows).all(axis=1))


def _sums(
    block: NDArray[Any], labels: Integers, groups: Integers, offsets: Floats | None
) -> tuple[Integers, Integers, Floats]:
    """Return the labels that a chunk's rows have, how many rows each has, and their sums ``[label, feature]``."""
    kept = (labels >= 0) & (groups >= 0)
    rows = _used(block, np.where(kept, groups, -1), offsets)
    present, which, counts = np.unique(labels[kept], return_inverse=True, return_counts=True)
    if not len(rows):
        return present, counts.astype(np.int64), rows
    belongs = csr_array((np.ones(len(rows)), (which.reshape(-1), np.arange(len(rows)))))
    return present, counts.astype(np.int64), np.asarray(belongs @ rows)


def _moments(block: NDArray[Any], groups: Integers, offsets: Floats | None) -> Moments:
    return Moments.of(_used(block, groups, offsets))


def _squares(block: NDArray[Any], groups: Integers, offsets: Floats | None) -> Floats:
    squares = _used(block, groups, offsets) ** 2
    return squares.T @ squares


def _scores(
    block: NDArray[Any], groups: Integers, wanted: Mask, offsets: Floats | None, preparation: Preparation
) -> tuple[NDArray[np.float32], Floats]:
    rows = _used(block, groups, offsets)
    if not len(rows):
        return np.empty((0, preparation.n_components_), dtype=np.float32), rows
    return preparation.transform(rows).astype(np.float32), rows[wanted[groups >= 0]]


def _nearest(
    block: NDArray[Any],
    numbers: Integers,
    groups: Integers,
    offsets: Floats | None,
    centre: Floats,
    queries: Floats,
    own: Integers,
    k: int,
) -> tuple[Integers, Floats]:
    """Return the numbers and squared distances of the k rows of a chunk that are nearest to each query; −1 and infinity where it has fewer."""
    rows = _used(block, groups, offsets) - centre
    numbers = numbers[groups >= 0]
    found = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), np.inf)
    if not len(rows):
        return found
    lengths = np.einsum("ij,ij->i", rows, rows)
    if not np.isfinite(lengths).all():
        bad = numbers[~np.isfinite(lengths)]
        raise ValueError(f"got NaN or infinite numbers in row {bad[0]}; wanted finite numbers: drop such rows.")
    n = min(k, len(rows))
    size = max(1, SCRATCH // (8 * len(rows)))
    for first in range(0, len(queries), size):
        part = queries[first : first + size]
        scale = np.einsum("ij,ij->i", part, part)[:, None] + lengths
        squares = scale - 2 * part @ rows.T
        at = np.searchsorted(numbers, own[first : first + size])
        itself = np.flatnonzero(numbers[np.minimum(at, len(numbers) - 1)] == own[first : first + size])
        squares[itself, at[itself]] = np.inf
        nearest = (
            np.argpartition(squares, n - 1, axis=1)[:, :n] if n < len(rows) else np.tile(np.arange(n), (len(part), 1))
        )
        chosen = np.take_along_axis(squares, nearest, axis=1)
        cancelled = chosen < CANCELLED * np.take_along_axis(scale, nearest, axis=1)
        for j in range(n):
            again = np.flatnonzero(cancelled[:, j])
            chosen[again, j] = ((part[again] - rows[nearest[again, j]]) ** 2).sum(axis=1)
        found[1][first : first + size, :n] = np.maximum(chosen, 0)
        found[0][first : first + size, :n] = np.where(np.isfinite(chosen), numbers[nearest], -1)
    return found


def _closest(*parts: tuple[Integers, Floats]) -> tuple[Integers, Floats]:
    """Return the k nearest of several times k rows for each query; equally near ones in the order of the rows."""
    numbers = np.concatenate([part[0] for part in parts], axis=1)
    squares = np.concatenate([part[1] for part in parts], axis=1)
    order = np.lexsort((numbers, squares), axis=1)[:, : parts[0][0].shape[1]]
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(squares, order, axis=1)
