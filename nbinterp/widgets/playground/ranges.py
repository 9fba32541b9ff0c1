"""How far a slider goes: in the units of the activations that it moves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.widgets.protocol import Parameter

if TYPE_CHECKING:
    from nbinterp.spaces import Direction, Floats, Loop, Plane

_TURN = 2 * math.pi
_DIGITS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def amount() -> Parameter:
    """Return the share of a change that is carried out."""
    return Parameter(name="amount", low=0.0, high=1.0, step=0.01, home=0.0, start=1.0, unit="")


def factor(start: float) -> Parameter:
    """Return the factor of a Scale."""
    return Parameter(name="factor", low=-2.0, high=4.0, step=0.02, home=1.0, start=start, unit="×")


def scale(direction: Direction, around: Floats) -> Parameter:
    """Return how many times a direction is added: to about twice the length of what stands there.

    Parameters
    ----------
    direction : Direction
        What is added.
    around : array, ``[n_tokens, n_features]``
        Activations at the site.
    """
    high = nice(2 * typical_norm(around) / max(direction.norm, 1e-12))
    start = 1.0 if high / 50 <= 1 <= high else nice(high / 5)
    return Parameter(name="scale", low=-high, high=high, step=fine(high), home=0.0, start=start, unit="×")


def projection(direction: Direction, around: Floats) -> Parameter:
    """Return where an activation's projection onto a direction may be put, about where the tokens' own ones lie."""
    high = nice(typical_norm(around))
    step = fine(high)
    here = float(np.median(around @ direction.unit.vector))
    home = min(max(round(here / step) * step, -high), high)
    return Parameter(name="to", low=-high, high=high, step=step, home=home, start=home, unit="")


def turn_by() -> Parameter:
    """Return by how much something is turned."""
    return Parameter(name="by", low=-math.pi, high=math.pi, step=_TURN / 360, home=0.0, start=math.pi / 2, unit="rad")


def turn_to(on: Plane | Loop, around: Floats) -> Parameter:
    """Return where something is turned to, home where the last token stands."""
    step = _TURN / 360
    home = round(on.angle_of(around[-1]) / step) * step if around.shape[1] == on.n_features else 0.0
    return Parameter(name="to", low=0.0, high=_TURN, step=step, home=home, start=home, unit="rad")


def reaching(parameter: Parameter, value: float) -> Parameter:
    """Return a parameter whose range holds a value."""
    low, high = min(parameter["low"], value), max(parameter["high"], value)
    return Parameter(**{**parameter, "low": low, "high": high, "start": value})


def grid(parameter: Parameter, n: int) -> list[float]:
    """Return `n` values over the whole range, home among them where it lies inside."""
    values = np.linspace(parameter["low"], parameter["high"], n)
    inside = slice(1, -1)
    nearest = int(np.abs(values[inside] - parameter["home"]).argmin()) + 1
    if values[0] < parameter["home"] < values[-1]:
        values[nearest] = parameter["home"]
    return [float(value) for value in values]


def typical_norm(around: Floats) -> float:
    """Return the median length of activations: a first token's giant one does not count."""
    return float(np.median(np.linalg.norm(around, axis=1))) or 1.0


def nice(value: float) -> float:
    """Return the next larger number of few digits.

    Examples
    --------
    >>> nice(34), nice(0.012), nice(5)
    (40.0, 0.015, 5.0)
    """
    if not (math.isfinite(value) and value > 0):
        return 1.0
    power = math.floor(math.log10(value))
    # from decimals: 2 times 10**-2 would be 0.02 and a bit
    numbers = [float(f"{digit}e{power}") for digit in _DIGITS]
    return next((number for number in numbers if number >= value * (1 - 1e-9)), numbers[-1])


def fine(high: float) -> float:
    """Return a round step that divides the range from ``-high`` to ``high`` finely enough for the hand.

    Examples
    --------
    >>> fine(5), fine(300)
    (0.05, 2.0)
    """
    most = high / 100 * (1 + 1e-9)
    power = math.floor(math.log10(most))
    return max(number for digit in (1, 2, 5) if (number := float(f"{digit}e{power}")) <= most)
