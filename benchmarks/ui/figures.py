"""What was measured, beside what was wanted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = ("work", "wanted", "measured: median (quartiles)", "")


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Parameters
    ----------
    work : str
        What is done.
    values : tuple of float, ``[n]``
        What each time gave.
    unit : str
        Of the values.
    wanted : float or None
        What the median should not exceed; None where nothing is wanted of it.
    note : str
        What else belongs to it.
    """

    work: str
    values: tuple[float, ...]
    unit: str
    wanted: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the values."""
        return float(np.median(self.values))

    @property
    def met(self) -> bool:
        """Whether the median is as wanted."""
        return self.wanted is None or self.median <= self.wanted

    def cells(self) -> tuple[str, ...]:
        """Return the line's cells."""
        low, median, high = (
            f"{value:,.{0 if abs(value) >= 10 else 1}f}" for value in np.quantile(self.values, [0.25, 0.5, 0.75])
        )
        spread = f" ({low} to {high}, n = {len(self.values)})" if len(self.values) > 1 else ""
        measured = f"{median} {self.unit}{spread}".replace("  ", " ")
        wanted = "" if self.wanted is None else f"≤ {self.wanted:,g} {self.unit}".rstrip()
        return self.work, wanted, measured if self.met else f"{measured}, missed", self.note

    def as_json(self) -> dict[str, Any]:
        """Return all that is known, every value included."""
        return asdict(self) | {"median": self.median, "met": self.met}


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = [HEADER, ("---",) * len(HEADER), *(figure.cells() for figure in figures)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)
