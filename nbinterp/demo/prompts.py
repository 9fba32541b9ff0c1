"""Concepts: words that may lie in an order or a circle, and the sentences to put them in."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

_TAKEN = ("template", "text", "prompt", "token", "position", "row", "feature")


@dataclass(frozen=True)
class Concept:
    """Words in a known order, and sentence beginnings that each of them can end.

    Parameters
    ----------
    name : str
        What one word is, for example ``"month"``; the name of its column in tables.
    labels : tuple of str, ``[label]``
        The words in their order.
    templates : tuple of str, ``[template]``
        Texts that end with ``{}``, where the word goes; so a word is the last token (or the last tokens) of its prompt.
    cyclic : bool
        Whether the first word follows the last, as January follows December. False makes a control.

    Raises
    ------
    ValueError, TypeError
        When a prompt could not be made, or two would be the same.

    Examples
    --------
    >>> seasons = Concept("season", ("spring", "summer", "autumn", "winter"), ("We met in {}",), cyclic=True)
    >>> seasons.prompts()[0]
    'We met in spring'
    """

    name: str
    labels: tuple[str, ...]
    templates: tuple[str, ...]
    cyclic: bool

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or self.name in _TAKEN:
            raise ValueError(
                f"got the concept name {self.name!r}; wanted text that can name a column, and none of {', '.join(_TAKEN)}: "
                "write for example 'month'."
            )
        for what in ("labels", "templates"):
            given = getattr(self, what)
            if isinstance(given, str) or not all(isinstance(text, str) for text in given):
                raise TypeError(f"got {what}={given!r} in the concept {self.name!r}; wanted a list of texts.")
            texts = tuple(given)
            object.__setattr__(self, what, texts)
            twice = next((text for text in texts if texts.count(text) > 1), None)
            if twice is not None:
                raise ValueError(f"got {twice!r} twice in the {what} of the concept {self.name!r}; give each one once.")
        if len(self.labels) < 2:
            raise ValueError(
                f"got {len(self.labels)} labels in the concept {self.name!r}; wanted at least 2, in their order."
            )
        for label in self.labels:
            if not label or label != label.strip():
                raise ValueError(
                    f"got the label {label!r} in the concept {self.name!r}; wanted a word without spaces around it: "
                    "the space before it belongs into the template."
                )
        if not self.templates:
            raise ValueError(
                f"got no templates in the concept {self.name!r}; wanted at least one, for example 'We met in {{}}'."
            )
        for template in self.templates:
            if not template.endswith("{}") or template.count("{}") != 1:
                raise ValueError(
                    f"got the template {template!r} in the concept {self.name!r}; wanted a text that holds '{{}}' once, "
                    "at its end, where the label goes: write for example 'We met in {}'."
                )

    def prompts(self) -> list[str]:
        """Return the prompts: all labels in the first template, then all in the second, and so on."""
        return [template[: -len("{}")] + label for template in self.templates for label in self.labels]

    def table(self) -> pd.DataFrame:
        """Return what each prompt is, in the same order: a column with the concept's name and ``template``."""
        pairs = [(label, template) for template in self.templates for label in self.labels]
        return pd.DataFrame(pairs, columns=[self.name, "template"])


months = Concept(
    "month",
    labels=(
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
    templates=(
        "Let's meet in {}",
        "She was born in {}",
        "The conference takes place in {}",
        "We moved here in {}",
        "My favourite month is {}",
        "It rained a lot in {}",
        "The deadline is in {}",
        "They got married in {}",
        "School starts in {}",
        "He will retire in {}",
        "The festival is held every {}",
        "Prices went up in {}",
        "Our holiday is in {}",
        "The report came out in {}",
        "It all began in {}",
    ),
    cyclic=True,
)
"""The months of the year: ordered and cyclic."""

weekdays = Concept(
    "weekday",
    labels=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    templates=(
        "Let's meet on {}",
        "She was born on {}",
        "The conference takes place on {}",
        "We moved here on {}",
        "My favourite day is {}",
        "It rained a lot on {}",
        "The deadline is on {}",
        "They got married on {}",
        "School starts on {}",
        "He will retire on {}",
        "The festival is held every {}",
        "Prices went up on {}",
        "Our holiday is on {}",
        "The report came out on {}",
        "It all began on {}",
    ),
    cyclic=True,
)
"""The days of the week: ordered and cyclic, but only seven."""

digits = Concept(
    "digit",
    labels=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    templates=(
        "I count to {}",
        "The answer is {}",
        "She has {}",
        "We need {}",
        "There were {}",
        "The number is {}",
        "He scored {}",
        "They ordered {}",
        "Page {}",
        "Room {}",
        "We waited for {}",
        "It costs {}",
        "Choose {}",
        "Level {}",
        "The total is {}",
    ),
    cyclic=False,
)
"""The digits as words: ordered but not cyclic, the control that a test for a circle must not pass."""

MONTHS, WEEKDAYS, DIGITS = months.labels, weekdays.labels, digits.labels

DEMO_CONCEPTS: dict[str, Concept] = {concept.name: concept for concept in (months, weekdays, digits)}
"""The demo's concepts by name: ``"month"``, ``"weekday"`` and ``"digit"``."""
