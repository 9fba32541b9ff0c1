"""Undo and redo: the settings that were, one step for each gesture, and what each step did in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbinterp.widgets.playground.setting import copied, matter
from nbinterp.widgets.protocol import Act, Setting, Timeline

if TYPE_CHECKING:
    from nbinterp.experiment import Experiment

MOST_STEPS = 500

Name = Callable[[Act], str]
"""Says which act is meant, in words."""


@dataclass
class Step:
    """One step: what was before it, and its name."""

    before: Setting
    rest: Experiment
    label: str
    gesture: int
    sealed: bool


class Past:
    """What was done to a setting.

    Parameters
    ----------
    setting : Setting
        Where it starts.
    rest : Experiment
        What a setting does not hold: what is read, and how sampled tokens are chosen.
    name : callable
        Says which act is meant.

    Attributes
    ----------
    rest : Experiment
        What the present setting does not hold.
    """

    def __init__(self, setting: Setting, rest: Experiment, name: Name) -> None:
        self._present = copied(setting)
        self.rest = rest
        self._name = name
        self._done: list[Step] = []
        self._undone: list[Step] = []

    @property
    def present(self) -> Setting:
        """The setting as it is."""
        return self._present

    def record(self, setting: Setting, *, rest: Experiment | None = None, sealed: bool = False) -> None:
        """Note a change; one of the same gesture as the last goes into the same step.

        Parameters
        ----------
        setting : Setting
            What is now.
        rest : Experiment, optional
            What it does not hold; as before by default.
        sealed : bool
            Whether this is a step by itself, whatever the gesture.
        """
        setting = copied(setting)
        rest = self.rest if rest is None else rest
        if matter(setting) == matter(self._present) and rest == self.rest:
            self._present = setting
            return
        self._undone.clear()
        last = self._done[-1] if self._done else None
        if last is not None and not (sealed or last.sealed) and last.gesture == setting["gesture"]:
            last.label = label(last.before, setting, self._name)
            if matter(last.before) == matter(setting):
                self._done.pop()
        else:
            words = label(self._present, setting, self._name)
            self._done.append(Step(self._present, self.rest, words, setting["gesture"], sealed))
            del self._done[:-MOST_STEPS]
        self._present, self.rest = setting, rest

    def undo(self) -> Setting | None:
        """Go one step back, and return the setting; None at the start."""
        return self._go(self._done, self._undone)

    def redo(self) -> Setting | None:
        """Go one step forward, and return the setting; None at the end."""
        return self._go(self._undone, self._done)

    def _go(self, source: list[Step], target: list[Step]) -> Setting | None:
        if not source:
            return None
        step = source.pop()
        target.append(Step(self._present, self.rest, step.label, -1, sealed=True))
        # what comes next is a step of its own, also where a drag goes on
        if self._done:
            self._done[-1].sealed = True
        # the counters only ever grow, so that nobody takes an old setting for a new one
        now = self._present
        self._present = copied(step.before, moment=now["moment"] + 1, gesture=now["gesture"] + 1)
        self.rest = step.rest
        return self._present

    def message(self) -> Timeline:
        """Return what undo and redo would do."""
        return Timeline(
            undo=self._done[-1].label if self._done else "", redo=self._undone[-1].label if self._undone else ""
        )


def label(before: Setting, after: Setting, name: Name) -> str:
    """Return in words what was changed."""
    said = [*_acts(before["acts"], after["acts"], name)]
    if (before["prompt"], before["chat"]) != (after["prompt"], after["chat"]):
        said.append("prompt changed")
    if before["tracked"] != after["tracked"]:
        said += [f"{text!r} tracked" for text in after["tracked"] if text not in before["tracked"]]
        said += [f"{text!r} no longer tracked" for text in before["tracked"] if text not in after["tracked"]]
        said = said or ["tracked tokens reordered"]
    numbers = [(s["seed"], s["max_new_tokens"], s["temperature"]) for s in (before, after)]
    for words, old, new in zip(("seed", "tokens to generate", "temperature"), *numbers, strict=True):
        if old != new:
            said.append(f"{words} {old:g} → {new:g}")
    if len(said) > 2:
        return f"{said[0]} and {len(said) - 1} more changes"
    return " and ".join(said) or "nothing"


def _acts(before: Sequence[Act], after: Sequence[Act], name: Name) -> list[str]:
    old, new = {act["id"]: act for act in before}, {act["id"]: act for act in after}
    said = [f"{name(act)} added" for i, act in new.items() if i not in old]
    said += [f"{name(act)} removed" for i, act in old.items() if i not in new]
    common = [i for i in old if i in new]
    if common != [i for i in new if i in old]:
        said.append("order changed")
    for i in common:
        said += _act(old[i], new[i], name(new[i]))
    return said


def _act(old: Act, new: Act, name: str) -> list[str]:
    said = []
    if old["on"] != new["on"]:
        said.append(f"{name} switched {'on' if new['on'] else 'off'}")
    for parameter, value in new["values"].items():
        was = old["values"].get(parameter)
        if was != value:
            said.append(f"{parameter} of {name} {'' if was is None else f'{was:.4g} '}→ {value:.4g}")
    if _site(old) != _site(new):
        said.append(f"{name} moved from {_site(old)} to {_site(new)}")
    said += [f"{key} of {name} {old[key]} → {new[key]}" for key in ("tokens", "steps") if old[key] != new[key]]
    said += [f"{text} of {name} changed" for text in new["texts"] if new["texts"][text] != old["texts"].get(text)]
    if old["recipe"] != new["recipe"]:
        said.append(f"{name} in the place of another")
    return said


def _site(act: Act) -> str:
    return ".".join(str(part) for part in (act["component"], act["layer"], act["head"]) if part != -1)
