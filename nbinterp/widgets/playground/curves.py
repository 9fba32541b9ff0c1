"""Dose and response: what the model says over the whole range of one slider, beside the control."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.results import Result, softmax
from nbinterp.widgets.playground import ranges
from nbinterp.widgets.playground.answering import Logits, automatic, largest, tracked_ids
from nbinterp.widgets.playground.setting import act_of, matter, with_value
from nbinterp.widgets.playground.stack import stack_of
from nbinterp.widgets.protocol import Curve, Parameter, Response, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.widgets.playground.asked import Asked
    from nbinterp.widgets.playground.recipes import Library

POINTS = 41
_SERIES = 10
_STRIDE = 4
_PATIENCE = 0.4  # seconds that a part may take
_MOST_SWEEPS = 16  # one that is not whole holds all logits of its values
_ALIKE = 8  # values that run together in the time of a few


def slider(setting: Setting, library: Library, act: str, name: str) -> Parameter | None:
    """Return a slider of a stack, or None where it has no such one."""
    found = act_of(setting, act)
    parameters = [] if found is None else library.recipe(found["recipe"])["parameters"]
    return next((p for p in parameters if p["name"] == name), None)


def sliders(setting: Setting, library: Library) -> list[tuple[str, str]]:
    """Return all sliders of a stack: the act's id and the parameter's name."""
    return [(act["id"], p["name"]) for act in setting["acts"] for p in library.recipe(act["recipe"])["parameters"]]


def key_of(setting: Setting, act: str, name: str) -> str:
    """Return a name for all that the curve of a slider depends on, but the slider itself."""
    depends = matter(with_value(setting, act, name, 0.0))
    for other in ("max_new_tokens", "temperature"):
        del depends[other]
    # acts that are switched off have no part in it
    depends["acts"] = [one for one in depends["acts"] if one["on"]]
    return hashlib.sha256(json.dumps([act, name, depends], sort_keys=True).encode()).hexdigest()[:16]


class Curves:
    """The curves of a playground's sliders, as far as they are known.

    Parameters
    ----------
    library : Library
        Of the recipes that are on the stack.
    model : Asked
        Who is asked.

    Attributes
    ----------
    shown : list of Curve
        The last one of each slider of the stack; it may be older than the rest of the setting.
    """

    def __init__(self, library: Library, model: Asked) -> None:
        self._library, self._model = library, model
        self._sweeps: dict[tuple[str, str, str], Sweep] = {}
        self.shown: list[Curve] = []

    def sweep(self, setting: Setting, act: str, name: str, seconds: float) -> Iterator[None]:
        """Complete the curve of a slider, part by part; a hand that comes back to it takes it up where it was.

        Parameters
        ----------
        setting : Setting
            Where it is swept.
        act, name : str
            Which slider.
        seconds : float
            How long one answer took.
        """
        reach = slider(setting, self._library, act, name)
        if reach is None:
            return
        place = (act, name, key_of(setting, act, name))
        sweep = self._sweeps.pop(place, None) or Sweep(setting, act, name, reach, seconds)
        self._sweeps[place] = sweep
        while len(self._sweeps) > _MOST_SWEEPS:
            del self._sweeps[next(iter(self._sweeps))]
        if sweep.curve is not None:
            self._show(setting, sweep.curve)
            yield
        for curve in sweep.advance(self._library, self._model):
            self._show(setting, curve)
            yield

    def keys(self, setting: Setting) -> dict[tuple[str, str], str]:
        """Return what a curve of each slider has to depend on to be true of a setting."""
        return {place: key_of(setting, *place) for place in sliders(setting, self._library)}

    def true_of(self, setting: Setting) -> list[Curve]:
        """Return the curves that are true of a setting."""
        keys = self.keys(setting)
        return [c for c in self.shown if keys.get((c["act"], c["parameter"])) == c["key"]]

    def of_hand(self, setting: Setting) -> Curve | None:
        """Return the curve of the slider in hand, where it is true of the setting."""
        place = (setting["hand"], setting["parameter"])
        return next((c for c in self.true_of(setting) if (c["act"], c["parameter"]) == place), None)

    def _show(self, setting: Setting, curve: Curve) -> None:
        """Put a curve in the place of the slider's last one; those of acts that are gone go."""
        there = {act["id"] for act in setting["acts"]}
        place = (curve["act"], curve["parameter"])
        self.shown = [c for c in self.shown if c["act"] in there and (c["act"], c["parameter"]) != place] + [curve]


class Sweep:
    """The response over one slider's range, as far as it is known; coarse first.

    Parameters
    ----------
    setting : Setting
        Where it is swept.
    act, parameter : str
        Which slider.
    reach : Parameter
        How far it goes.
    seconds : float
        How long one answer took: the hand must not wait much longer than that.

    Attributes
    ----------
    curve : Curve or None
        What is known.
    """

    def __init__(self, setting: Setting, act: str, parameter: str, reach: Parameter, seconds: float) -> None:
        self.key = key_of(setting, act, parameter)
        self.curve: Curve | None = None
        self._setting, self._act, self._parameter = setting, act, parameter
        self._grid = ranges.grid(reach, POINTS)
        self._left = _coarse_to_fine(POINTS, _STRIDE)
        self._part = max(1, min(len(range(0, POINTS, _STRIDE)), round(_ALIKE * _PATIENCE / max(seconds, 1e-3))))
        self._base: Logits | None = None
        self._changed: dict[int, Logits] = {}
        self._control: dict[int, Logits] = {}
        self._texts: Sequence[str] = ()
        self._tracked: list[int] = []

    def advance(self, library: Library, model: Asked) -> Iterator[Curve]:
        """Compute what is missing, and yield the curve after each part; it can be taken up again later."""
        while self._left:
            began = time.perf_counter()
            part = self._left[: self._part]
            settings = [with_value(self._setting, self._act, self._parameter, self._grid[i]) for i in part]
            stacks = [stack_of(setting, library, model) for setting in settings]
            # a value that cannot be taken has no place on the curve
            doable = [(i, stack) for i, stack in zip(part, stacks, strict=True) if self._act in stack.acts]
            asked = [stack.experiment for _, stack in doable] + [stack.control for _, stack in doable]
            results = model.run(asked) if asked else []
            self._add([i for i, _ in doable], results[: len(doable)], results[len(doable) :])
            del self._left[: len(part)]
            # many values at once cost less each, but the hand must not wait for them
            self._part = max(1, round(len(part) * min(_PATIENCE / (time.perf_counter() - began), POINTS)))
            if self._changed:
                self.curve = self._message()
                yield self.curve
        # a curve is small, and what it was drawn from is not
        self._changed, self._control = {}, {}

    def _add(self, part: Sequence[int], changed: Sequence[Result], control: Sequence[Result]) -> None:
        for i, one, other in zip(part, changed, control, strict=True):
            if self._base is None:
                self._base, self._texts = one.base_logits[0], one.vocabulary.tokens
                self._tracked = tracked_ids(self._setting["tracked"], one.vocabulary)[0]
            if np.isfinite(one.logits).all() and np.isfinite(other.logits).all():
                self._changed[i], self._control[i] = one.logits[0], other.logits[0]

    def _message(self) -> Curve:
        assert self._base is not None
        order = sorted(self._changed)
        changed = np.stack([self._changed[i] for i in order])
        control = np.stack([self._control[i] for i in order])
        base_p, changed_p, control_p = softmax(self._base[None])[0], softmax(changed), softmax(control)
        most = changed_p.max(axis=0)
        tracked = self._tracked or automatic(base_p, most)
        best = largest(np.maximum(most, base_p), _SERIES)
        series = [
            Response(
                text=self._texts[i],
                base=_short(base_p[i]),
                changed=_list(changed_p[:, i]),
                control=_list(control_p[:, i]),
            )
            for i in dict.fromkeys([*tracked, *best])
        ]
        return Curve(
            act=self._act,
            parameter=self._parameter,
            key=self.key,
            values=[self._grid[i] for i in order],
            total=POINTS,
            series=series,
            difference=self._difference(tracked, changed, control),
        )

    def _difference(self, tracked: Sequence[int], changed: Logits, control: Logits) -> list[Response]:
        if len(tracked) < 2:
            return []
        assert self._base is not None
        a, b = tracked[:2]
        return [
            Response(
                text=f"{self._texts[a]!r} − {self._texts[b]!r}",
                base=_short(self._base[a] - self._base[b]),
                changed=_list(changed[:, a] - changed[:, b]),
                control=_list(control[:, a] - control[:, b]),
            )
        ]


def _coarse_to_fine(n: int, stride: int) -> list[int]:
    """Return the indices below `n`: every `stride`-th, those half-way between, and the rest."""
    coarse, between = range(0, n, stride), range(stride // 2, n, stride)
    return [*coarse, *between, *(i for i in range(n) if i % stride not in (0, stride // 2))]


def _list(values: NDArray[np.floating]) -> list[float]:
    return [_short(value) for value in values]


def _short(value: float | np.floating) -> float:
    # what a page draws; the file of a saved notebook stays small
    return float(f"{float(value):.5g}")
