"""The answer to one setting: the next token untouched, changed and under the control, all from one run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nbinterp.metrics import kl_divergence
from nbinterp.widgets.playground.controls import describe
from nbinterp.widgets.protocol import Chance, Moved, PlaygroundAnswer, Setting, Standing, Tracked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbinterp.results import Result, Vocabulary
    from nbinterp.widgets.playground.asked import Asked
    from nbinterp.widgets.playground.stack import Stack

_CANDIDATES = 10

_GAIN = 1e-3  # a token that gains less has not come forward

Logits = NDArray[np.float32]
Chances = NDArray[np.float64]


@frozen
class Answered:
    """What a model said to a stack.

    Parameters
    ----------
    setting : Setting
        What was asked.
    stack : Stack
        What was run.
    changed, control : Result
        Under the stack, and under its control; both hold the untouched logits.
    milliseconds : float
        How long it took.
    """

    setting: Setting
    stack: Stack
    changed: Result
    control: Result
    milliseconds: float

    @property
    def rows(self) -> tuple[Logits, Logits, Logits]:
        """Logits ``[n_vocab]`` untouched, changed and under the control."""
        return self.changed.base_logits[0], self.changed.logits[0], self.control.logits[0]

    def message(self, curves: Sequence[str] = ()) -> tuple[PlaygroundAnswer, str]:
        """Return what the page is told, and what is wrong with the tokens that were to be tracked.

        Parameters
        ----------
        curves : sequence of str
            Keys of the curves that are true of this setting.
        """
        base, changed, control = self.rows
        vocabulary = self.changed.vocabulary
        ids, problem = tracked_ids(self.setting["tracked"], vocabulary)
        divergence = kl_divergence()
        chances = (self.changed.base_probabilities[0], self.changed.probabilities[0], self.control.probabilities[0])
        answer = PlaygroundAnswer(
            moment=self.setting["moment"],
            tokens=list(self.changed.prompts[0].tokens),
            candidates=_candidates(chances, vocabulary),
            tracked=_tracked(ids or automatic(*chances[:2]), self.rows, chances, vocabulary),
            moved=self._moved(),
            warnings=[*self.changed.warnings, *self.stack.notes],
            curves=list(curves),
            kl=float(divergence(changed, base, vocabulary)),
            kl_control=float(divergence(control, base, vocabulary)),
            milliseconds=self.milliseconds,
        )
        return answer, problem

    def _moved(self) -> list[Moved]:
        moved = self.changed.moved[0]
        places = {identity: i for i, identity in enumerate(self.stack.acts)}
        return [
            Moved(
                act=act["id"],
                moved=float(moved.get(places.get(act["id"], -1), 0.0)),
                control=describe(self.stack.acts[act["id"]]) if act["id"] in self.stack.acts else "",
                problem=self.stack.problems.get(act["id"], ""),
            )
            for act in self.setting["acts"]
        ]


def answer(setting: Setting, stack: Stack, model: Asked) -> Answered:
    """Ask the model: changed and control in one run, where there is anything to change.

    Raises
    ------
    ValueError
        When the logits are not finite.
    """
    began = time.perf_counter()
    if stack.acting:
        changed, control = model.run([stack.experiment, stack.control])
    else:
        (changed,) = model.run([stack.experiment])
        control = changed
    if not (np.isfinite(changed.logits).all() and np.isfinite(control.logits).all()):
        raise ValueError("got logits that are not finite from the changed model; take less of what was changed.")
    return Answered(setting, stack, changed, control, 1000 * (time.perf_counter() - began))


def tracked_ids(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[list[int], str]:
    """Return the ids of the tokens that are to be tracked, and a sentence about those that are none."""
    ids, problems = [], []
    for text in texts:
        try:
            ids.append(vocabulary.id(text))
        except LookupError as error:
            problems.append(str(error.args[0]))
    return ids, " ".join(problems)


def automatic(base: Chances, changed: Chances) -> list[int]:
    """Return which two tokens to follow where nobody said: the untouched model's, and the one that gains most on it.

    Parameters
    ----------
    base : array, ``[n_vocab]``
        Untouched probabilities.
    changed : array, ``[n_vocab]``
        Changed ones, or the largest ones over a sweep.
    """
    first = int(base.argmax())
    gain = changed - base
    gain[first] = -np.inf
    if gain.max() > _GAIN:
        return [first, int(gain.argmax())]
    return largest(base, 2)


def largest(values: Chances, k: int) -> list[int]:
    """Return the indices of the `k` largest values, the largest first, without sorting all of them."""
    k = min(k, len(values))
    found = np.sort(np.argpartition(-values, k - 1)[:k])
    order: list[int] = found[np.argsort(-values[found], kind="stable")].tolist()
    return order


def _candidates(chances: Sequence[Chances], vocabulary: Vocabulary) -> list[Chance]:
    base, changed, control = chances
    best = largest(np.maximum(base, changed), _CANDIDATES)
    return [
        Chance(text=vocabulary.tokens[i], base=float(base[i]), changed=float(changed[i]), control=float(control[i]))
        for i in best
    ]


def _tracked(
    ids: Sequence[int], rows: Sequence[Logits], chances: Sequence[Chances], vocabulary: Vocabulary
) -> list[Tracked]:
    def standing(run: int, token: int) -> Standing:
        logits = rows[run]
        return Standing(
            probability=float(chances[run][token]),
            logit=float(logits[token]),
            rank=1 + int((logits > logits[token]).sum()),
        )

    return [
        Tracked(text=vocabulary.tokens[i], base=standing(0, i), changed=standing(1, i), control=standing(2, i))
        for i in ids
    ]
