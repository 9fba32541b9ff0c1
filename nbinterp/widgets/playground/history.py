"""Runs that were kept: named, branched, compared."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from attrs import field, frozen

from nbinterp.results import Vocabulary, softmax
from nbinterp.widgets.playground.setting import copied, matter
from nbinterp.widgets.protocol import Act, Kept, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.widgets.playground.answering import Answered

_LONGEST_NAME = 200


@frozen
class Comparison:
    """Two kept runs side by side.

    Parameters
    ----------
    names : tuple of (str, str)
        What they are called.
    prompts : tuple of (str, str)
        What they were given.
    probabilities : array, ``[2, n_vocab]``
        Of the next token, each with its interventions.
    vocabulary : Vocabulary
        Texts of the tokens.
    """

    names: tuple[str, str]
    prompts: tuple[str, str]
    probabilities: NDArray[np.float64] = field(repr=False, eq=False)
    vocabulary: Vocabulary = field(repr=False)

    def frame(self, k: int = 10) -> pd.DataFrame:
        """Return the `k` likeliest tokens of either.

        Returns
        -------
        DataFrame
            Columns ``token``, the two names (probabilities), ``difference`` (second − first).
        """
        first, second = self.probabilities
        best = np.argsort(-self.probabilities.max(axis=0), kind="stable")[:k]
        a, b = self.names if self.names[0] != self.names[1] else (f"{self.names[0]} (1)", f"{self.names[1]} (2)")
        tokens = [self.vocabulary.tokens[i] for i in best]
        return pd.DataFrame({"token": tokens, a: first[best], b: second[best], "difference": (second - first)[best]})

    def chart(self) -> alt.Chart:
        """Return the same as bars side by side."""
        # altair is slow to load
        from nbinterp.charts.playground import comparison_chart

        frame = self.frame()
        return comparison_chart(frame, list(frame.columns[1:3]))

    def __repr__(self) -> str:
        head = f"Comparison of {self.names[0]!r} and {self.names[1]!r}"
        return f"{head}\n{self.frame(8).to_string(index=False)}"

    def _repr_html_(self) -> str:
        shown = self.frame(8).style.format(precision=4, escape="html").format_index(escape="html", axis=1)
        return str(shown.hide(axis="index").to_html())


class History:
    """The kept runs of one playground, oldest first."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._said: dict[str, NDArray[np.float32]] = {}
        self._vocabulary: Vocabulary | None = None
        self._parent = ""
        self._count = 0

    @property
    def messages(self) -> list[Kept]:
        """What the page knows of them."""
        return list(self._kept.values())

    def __getitem__(self, identity: str) -> Kept:
        """Return a run by its id, or by its name where it is the only one of that name."""
        if identity in self._kept:
            return self._kept[identity]
        named = [kept for kept in self._kept.values() if kept["name"] == identity]
        if len(named) != 1:
            known = ", ".join(f"{i} ({kept['name']!r})" for i, kept in self._kept.items()) or "nothing yet"
            raise LookupError(f"got {identity!r}, which is {len(named)} of the kept runs; kept are {known}.")
        return named[0]

    def keep(self, answered: Answered, name: str, said: str, name_of: Callable[[Act], str]) -> Kept:
        """Keep a run, as a child of the one that was kept or restored last."""
        message, _ = answered.message()
        self._count += 1
        summary = _summary(answered, name_of)
        kept = Kept(
            id=f"run{self._count}",
            name=checked_name(name) if name.strip() else summary[:_LONGEST_NAME],
            parent=self._parent,
            when=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            summary=summary,
            setting=copied(answered.setting),
            candidates=message["candidates"],
            tracked=message["tracked"],
            said=said,
        )
        self._kept[kept["id"]] = kept
        self._said[kept["id"]] = answered.changed.logits[0]
        self._vocabulary = answered.changed.vocabulary
        self._parent = kept["id"]
        return kept

    def rename(self, identity: str, name: str) -> None:
        """Give a run another name."""
        kept = self[identity]
        self._kept[kept["id"]] = cast("Kept", {**kept, "name": checked_name(name)})

    def drop(self, identity: str) -> None:
        """Forget a run; what grew out of it then grew out of its parent."""
        gone = self[identity]
        del self._kept[gone["id"]]
        self._said.pop(gone["id"], None)
        for child, kept in self._kept.items():
            if kept["parent"] == gone["id"]:
                self._kept[child] = cast("Kept", {**kept, "parent": gone["parent"]})
        if self._parent == gone["id"]:
            self._parent = gone["parent"]

    def back_at(self, setting: Setting) -> None:
        """Note that a setting was taken up: if it is a kept one, what is kept next grows out of that."""
        same = [kept["id"] for kept in self._kept.values() if matter(kept["setting"]) == matter(setting)]
        if same and self._parent not in same:
            self._parent = same[-1]

    def adopt(self, runs: Sequence[Kept]) -> None:
        """Take in the runs of an earlier kernel, as a page remembers them, before those that are here."""
        known = {run["id"]: run for run in runs if run["id"] not in self._kept}
        self._kept = {**known, **self._kept}
        # what is kept next must have an id of its own
        self._count += len(known)
        while f"run{self._count + 1}" in self._kept:
            self._count += 1

    def compare(self, first: str, second: str, again: Callable[[Setting], Answered]) -> Comparison:
        """Return two runs side by side.

        Parameters
        ----------
        first, second : str
            Their ids or names.
        again : callable
            Asks the model for the answer to a setting, where it was given in an earlier kernel.
        """
        a, b = self[first], self[second]
        for kept in (a, b):
            if kept["id"] not in self._said:
                answered = again(kept["setting"])
                self._said[kept["id"]] = answered.changed.logits[0]
                self._vocabulary = answered.changed.vocabulary
        assert self._vocabulary is not None
        logits = np.stack([self._said[a["id"]], self._said[b["id"]]])
        prompts = (_given(a["setting"]), _given(b["setting"]))
        return Comparison((a["name"], b["name"]), prompts, softmax(logits), self._vocabulary)


def checked_name(name: str) -> str:
    """Return a name for a run; ValueError for an empty or endless one."""
    if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST_NAME:
        raise ValueError(f"got a name of {len(str(name).strip())} characters for a run; wanted 1 to {_LONGEST_NAME}.")
    return name.strip()


def _given(setting: Setting) -> str:
    return setting["prompt"] or "\n".join(f"{turn['role']}: {turn['content']}" for turn in setting["chat"])


def _summary(answered: Answered, name_of: Callable[[Act], str]) -> str:
    (before,), (after,) = answered.changed.base_said(), answered.changed.said()
    acts = [name_of(act) for act in answered.setting["acts"] if act["on"] and act["id"] in answered.stack.acts]
    return f"{', '.join(acts) or 'untouched'}: {before!r} → {after!r}"
