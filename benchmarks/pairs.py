"""Time two ways of doing one thing in turns, compare what they give, and put it into a table."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike, NDArray

TOLERANCE = 1e-4
"""Largest difference that counts as equal, as a share of the logits' scale, in float32."""


@dataclass(frozen=True)
class Pairs:
    """Seconds that two ways took, measured in turns so that a machine's drift hits both.

    Parameters
    ----------
    ours, theirs : tuple of float, ``[n_pairs]``
        Seconds of each turn.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    def quotient(self, of: Literal["time", "speed"]) -> NDArray[np.float64]:
        """Return each pair's quotient: our time over theirs, or our speed over theirs."""
        ours, theirs = np.array(self.ours), np.array(self.theirs)
        quotient: NDArray[np.float64] = ours / theirs if of == "time" else theirs / ours
        return quotient


def alternate(ours: Callable[[int], object], theirs: Callable[[int], object], pairs: int, *, warm: int = 1) -> Pairs:
    """Call both in turns, first `warm` turns that are not timed, and return the seconds.

    Each is told the number of the turn, so that it can do new work in each one and no answer comes from a memory of
    the last. Who goes first changes from turn to turn.
    """
    seconds: dict[Callable[[int], object], list[float]] = {ours: [], theirs: []}
    for turn in range(warm + pairs):
        gc.collect()
        for way in (ours, theirs) if turn % 2 else (theirs, ours):
            start = time.perf_counter()
            way(turn)
            taken = time.perf_counter() - start
            if turn >= warm:
                seconds[way].append(taken)
    return Pairs(tuple(seconds[ours]), tuple(seconds[theirs]))


@dataclass(frozen=True)
class Agreement:
    """How far two results lie apart.

    Parameters
    ----------
    what : str
        What was compared, and with what.
    difference : float
        Largest difference, as a share of the scale.
    """

    what: str
    difference: float

    @property
    def holds(self) -> bool:
        """Whether they are equal to `TOLERANCE`."""
        return self.difference <= TOLERANCE

    def __str__(self) -> str:
        if self.difference == 0:
            return f"{self.what}, exactly"
        return f"{self.what}: {self.difference:.0e}" + ("" if self.holds else " **NOT EQUAL**")


def compare(what: str, got: ArrayLike, wanted: ArrayLike, *, scale: float | None = None) -> Agreement:
    """Return how far `got` is from `wanted`, as a share of `scale`, by default the largest value of `wanted`.

    Raises
    ------
    ValueError
        When their shapes differ: then different things were measured.
    """
    a, b = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"got results of shapes {a.shape} and {b.shape} for {what}; wanted one shape.")
    return Agreement(what, float(np.abs(a - b).max() / (np.abs(b).max() if scale is None else scale)))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    work, against : str
        What is done, and the other way of doing it.
    wanted : float
        The figure aimed at.
    of : {"time", "speed"}
        What the figure is a quotient of: of times it should be small, of speeds large.
    pairs : Pairs
        The measurement.
    agreement : Agreement or None
        That both gave the same; None where there is nothing to compare.
    notes : tuple of str
        What else belongs to it: a physical floor, memory.
    goal : str
        The figure aimed at in other words, where it is no quotient.
    """

    work: str
    against: str
    wanted: float
    of: Literal["time", "speed"]
    pairs: Pairs
    agreement: Agreement | None
    notes: tuple[str, ...] = ()
    goal: str = ""

    @property
    def met(self) -> bool:
        """Whether the median is as wanted."""
        median = float(np.median(self.pairs.quotient(self.of)))
        return median <= self.wanted if self.of == "time" else median >= self.wanted

    def cells(self) -> tuple[str, ...]:
        """Return the line's cells."""
        low, median, high = np.quantile(self.pairs.quotient(self.of), [0.25, 0.5, 0.75])
        digits = 2 if self.of == "time" or median < 2 else 1
        measured = f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}, n = {len(self.pairs.ours)})"
        goal = f"≤ {self.wanted:.2f} of its time" if self.of == "time" else f"≥ {self.wanted:g} × its speed"
        return (
            self.work,
            self.against,
            self.goal or goal,
            "; ".join((measured if self.met else f"{measured}, missed", *self.notes)),
            "" if self.agreement is None else str(self.agreement),
        )


@dataclass(frozen=True)
class Absent:
    """A line that could not be measured, and why."""

    work: str
    against: str
    why: str

    def cells(self) -> tuple[str, ...]:
        """Return the line's cells."""
        return self.work, self.against, "", self.why, ""


@dataclass(frozen=True)
class Setting:
    """How thoroughly to measure.

    Parameters
    ----------
    quick : bool
        Few pairs and small corpora: to see that everything runs.
    """

    quick: bool = False

    def pairs(self, full: int) -> int:
        """Return how many pairs to time where a full measurement takes so many."""
        return max(1, full // 8) if self.quick else full


@dataclass(frozen=True)
class Machine:
    """What was measured on, in words that name no machine."""

    cores: int = field(
        default_factory=lambda: (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
    )

    def __str__(self) -> str:
        import platform

        import nnsight
        import torch
        import transformers

        versions = ", ".join(
            f"{name} {version}"
            for name, version in (
                ("Python", platform.python_version()),
                ("torch", torch.__version__),
                ("transformers", transformers.__version__),
                ("nnsight", nnsight.__version__),
            )
        )
        return f"{self.cores} cores ({platform.machine()}), torch on {torch.get_num_threads()} of them, {versions}; float32"


HEADER = ("work", "against", "wanted", "measured: median (quartiles)", "equal to")


def table(rows: Iterable[Row | Absent | Measured]) -> str:
    """Return the rows as one Markdown table."""
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


@dataclass(frozen=True)
class Measured:
    """A line of one side only.

    Parameters
    ----------
    work, against, wanted, measured, equal : str
        As the table has them.
    """

    work: str
    against: str
    wanted: str
    measured: str
    equal: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the line's cells."""
        return self.work, self.against, self.wanted, self.measured, self.equal


def as_json(row: Row | Absent | Measured) -> dict[str, Any]:
    """Return all that is known of a row, seconds of every turn included."""
    return asdict(row) | ({"met": row.met} if isinstance(row, Row) else {})
