"""Which generated tokens: the steps of a generation, counted from 0. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbinterp.tokens import Positions, Span, are_integers

Steps = Positions | Span
StepsLike = int | slice | str | Sequence[int] | Steps | dict[str, Any]


def select_steps(steps: StepsLike | None) -> Steps | None:
    """Return which generated tokens `steps` stands for; the first one has number 0.

    An intervention at step n changes the pass that reads the n-th generated token.

    Parameters
    ----------
    steps : int, slice, "all", sequence of int, or None
        Numbers, none of them negative: how many tokens there will be is not known beforehand. None and ``[]`` mean none
        of them.

    Raises
    ------
    ValueError, TypeError
        When it is none of these, or holds no step.
    """
    match steps:
        case None | []:
            return None
        case Positions(indices):
            return select_steps(list(indices))
        case Span(start, stop, step) | {"slice": [start, stop, step]}:
            return select_steps(slice(start, stop, step))
        case "all":
            return Span()
        case slice():
            parts = (steps.start, steps.stop, steps.step)
            if not are_integers([part for part in parts if part is not None]):
                raise TypeError(f"got the steps {steps}; wanted whole numbers for its bounds.")
            start, stop, step = parts
            if min(start or 0, stop or 0) < 0 or (step is not None and step < 1):
                raise ValueError(f"got the steps [{start}:{stop}:{step}]; {_NO_NEGATIVE}")
            if stop is not None and stop <= (start or 0):
                raise ValueError(f"got the steps [{start}:{stop}:{step}], which hold none: widen them.")
            return Span(start, stop, step)
        case bool():
            pass
        case int():
            return select_steps([steps])
        case [*numbers] if are_integers(numbers):
            if min(numbers) < 0:
                raise ValueError(f"got the steps {numbers}; {_NO_NEGATIVE}")
            return Positions(tuple(dict.fromkeys(numbers)))
    raise TypeError(
        f"got steps={steps!r}; wanted the number of a generated token (the first is 0), a slice, a list of numbers, or 'all'."
    )


_NO_NEGATIVE = "steps count from 0, since how many tokens will be generated is not known beforehand: choose from 0 up."


def holds(steps: Steps | None, step: int) -> bool:
    """Return whether the generated token of number `step`, counted from 0, is one of `steps`."""
    match steps:
        case None:
            return False
        case Positions(indices):
            return step in indices
        case Span(start, stop, stride):
            first = start or 0
            return first <= step and (stop is None or step < stop) and (step - first) % (stride or 1) == 0
