"""What exact homology costs, as measured, and how many points it is worth it for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nbinterp.geometry.homology import Engine

MEMORY, SECONDS = 4 * 2**30, 120.0
"""Bytes and seconds of one core that homology may take unless `max_points` says otherwise."""


class Cost(NamedTuple):
    """What 1,000 points take, and how it grows: with which power of their number."""

    n_bytes: float
    bytes_exponent: float
    seconds: float
    seconds_exponent: float


COSTS: dict[tuple[Engine, int], Cost] = {
    ("spanning tree", 0): Cost(10e6, 2.0, 0.07, 2.0),
    ("redzed-tda", 1): Cost(45e6, 2.0, 0.42, 3.0),
    ("gudhi", 1): Cost(550e6, 2.85, 11, 3.5),
    ("ripser", 1): Cost(600e6, 2.8, 18, 3.4),
    ("gudhi", 2): Cost(97e9, 4.9, 1100, 4.6),
    ("ripser", 2): Cost(660e9, 4.9, 5600, 4.6),
}
"""By engine and dimension, measured on the costliest clouds known: a noisy circle, for cavities a sphere. Gaussian clouds and
activations take a third to a tenth."""


def costs(n_points: int, name: Engine, max_dimension: int) -> tuple[float, float]:
    """Return the bytes and the seconds that an engine takes for so many points of the costliest cloud known."""
    cost, thousands = COSTS[name, max_dimension], n_points / 1000
    return float(cost.n_bytes * thousands**cost.bytes_exponent), float(cost.seconds * thousands**cost.seconds_exponent)


def most_points(name: Engine, max_dimension: int) -> int:
    """Return how many points an engine handles in 4 GiB and two minutes, whatever the cloud."""
    cost = COSTS[name, max_dimension]
    by_memory = (MEMORY / cost.n_bytes) ** (1 / cost.bytes_exponent)
    by_time = (SECONDS / cost.seconds) ** (1 / cost.seconds_exponent)
    return int(1000 * min(by_memory, by_time))


def check_size(n: int, limit: int, max_dimension: int, name: Engine) -> None:
    """Raise ValueError for more points than the limit, with what they would take and what to do."""
    if n > limit:
        n_bytes, seconds = costs(n, name, max_dimension)
        raise ValueError(
            f"got {n} points for exact homology up to dimension {max_dimension}, which can take {_size(n_bytes)} of memory and "
            f"{_duration(seconds)} with {name}; wanted at most {limit}: pass landmarks={min(300, limit)}, select fewer rows, "
            "or raise max_points."
        )


def _size(n_bytes: float) -> str:
    return _in_units(n_bytes / 2**20, {"MiB": 1, "GiB": 2**10, "TiB": 2**20})


def _duration(seconds: float) -> str:
    return _in_units(seconds, {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "years": 31_556_952})


def _in_units(value: float, units: dict[str, int]) -> str:
    # the largest unit of which there is one
    unit = max((unit for unit in units if units[unit] <= value), key=units.__getitem__, default=next(iter(units)))
    number = value / units[unit]
    return f"about {number:.1f} {unit}" if number < 10 else f"about {number:,.0f} {unit}"
