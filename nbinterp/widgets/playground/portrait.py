"""What a playground shows, for where no page is: a sentence, a table, a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from attrs import frozen

from nbinterp.widgets.playground.setting import act_of
from nbinterp.widgets.saved import page

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import altair as alt

    from nbinterp.widgets.playground.answering import Answered
    from nbinterp.widgets.protocol import Act, Curve, PlaygroundAnswer, Setting


@frozen
class Portrait:
    """One moment of a playground.

    Parameters
    ----------
    answered : Answered
        What the model said last.
    answer : PlaygroundAnswer
        The same as the page has it.
    setting : Setting
        What is set now.
    curve : Curve or None
        Of the slider in hand.
    name : callable
        Says which act is meant.
    """

    answered: Answered
    answer: PlaygroundAnswer
    setting: Setting
    curve: Curve | None
    name: Callable[[Act], str]

    def sentence(self) -> str:
        """Return what was asked and said."""
        setting, changed = self.answered.setting, self.answered.changed
        names = [self.name(act) for act in setting["acts"] if act["on"]]
        shown = repr(setting["prompt"]) if setting["prompt"] else "a chat"
        (before,), (after,) = changed.base_said(), changed.said()
        return (
            f"Playground: {shown} on {changed.model.name}, {', '.join(names) or 'untouched'}: {before!r} → {after!r}."
        )

    def text(self) -> str:
        """Return the sentence, and what has to be known about the answer, a line each."""
        return "\n".join([self.sentence(), *(f"  ! {warning}" for warning in self.answer["warnings"])])

    def frame(self) -> pd.DataFrame:
        """Return the next tokens: columns ``token``, ``base``, ``changed``, ``control`` (probabilities)."""
        return pd.DataFrame(self.answer["candidates"]).rename(columns={"text": "token"})

    def response(self) -> pd.DataFrame:
        """Return the dose-response curve as a table; ValueError where no slider is in hand."""
        curve = self.curve
        if curve is None:
            raise ValueError("got no slider in hand; add an intervention with a slider first, or touch one.")
        frames = [
            pd.DataFrame(
                {"value": curve["values"], "token": s["text"]} | {k: s[k] for k in ("base", "changed", "control")}
            )
            for s in curve["series"]
        ]
        return pd.concat(frames, ignore_index=True)

    def chart(self) -> alt.VConcatChart:
        """Return all of it as a chart."""
        # altair is slow to load
        from nbinterp.charts.playground import playground_chart

        act = act_of(self.setting, self.setting["hand"])
        parameter = self.setting["parameter"]
        name = "" if act is None else f"{parameter} of {self.name(act)}"
        value = None if act is None else act["values"].get(parameter)
        return playground_chart(self.answer, self.curve, title=self.sentence(), value=value, name=name)

    def page(self, widget: Any, path: str | os.PathLike[str] | None = None) -> str:
        """Return a page of its own for the widget; write it to `path` too."""
        return page(widget, "playground", path, text=self.text(), chart=self.chart(), frame=self.frame())
