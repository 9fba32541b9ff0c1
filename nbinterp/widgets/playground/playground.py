"""The playground: a stack of interventions that the hand tunes while the model answers."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any, cast

import traitlets

from nbinterp.experiment import Experiment
from nbinterp.operations import Intervention
from nbinterp.widgets.asking import answer_page, told
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.playground import speaking
from nbinterp.widgets.playground.acts import Acts
from nbinterp.widgets.playground.answering import tracked_ids
from nbinterp.widgets.playground.asked import takes_chats
from nbinterp.widgets.playground.curves import sliders
from nbinterp.widgets.playground.export import exported, sliding
from nbinterp.widgets.playground.history import Comparison, History
from nbinterp.widgets.playground.inquiry import Inquiry
from nbinterp.widgets.playground.portrait import Portrait
from nbinterp.widgets.playground.recipes import Library, components
from nbinterp.widgets.playground.setting import (
    act_of,
    checked,
    checked_added,
    checked_runs,
    copied,
    generation_of,
    initial,
    matter,
    written,
)
from nbinterp.widgets.playground.stack import stack_of
from nbinterp.widgets.playground.timeline import Past
from nbinterp.widgets.protocol import Act, Kept, PlaygroundSpec, Setting
from nbinterp.widgets.saved import origin_of, saved_bundle
from nbinterp.widgets.selection import SelectionTrait
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import altair as alt
    import pandas as pd

    from nbinterp.prompts import Prompt
    from nbinterp.results import Result
    from nbinterp.widgets.playground.asked import Asked, Work


class Playground(Widget):
    """Change a model while it answers: a stack of interventions with sliders, beside a control that should do nothing.

    What the hand does is one value, `setting`; from it comes an `Experiment`, from that the answer. The next token is
    shown untouched, changed, and under the control: everything that the stack moves is moved as far in random directions,
    so that what the control does as well is no evidence for the stack.

    Parameters
    ----------
    model : Model
        Who is asked.
    prompt : str, Chat or Experiment
        What the model is given; an experiment brings its interventions.
    interventions : sequence
        What is on the stack at first: interventions, or anything that `add` takes.
    directions : mapping of str to Direction, Plane, Loop, Basis or Activations
        What can be put on the stack, by name.
    track : sequence of str
        Tokens to follow; the first two give the logit difference. By default the untouched model's next token, and the
        one that gains most on it.
    seed : int
        Of the control's random directions, and of sampling.

    Attributes
    ----------
    experiment : Experiment
        What is shown. May be set.
    setting, answer, curves, generated, kept, timeline : dict or list
        What the page shows; `frame`, `response` and `generate` give the same as tables.
    selection : Selection
        Tokens, layers and heads that are picked.

    Raises
    ------
    ValueError, LookupError, TypeError
        For what cannot be done, before the model runs.

    Examples
    --------
    >>> nb.Playground(model, "The capital of France is", directions={"Italy": v})  # doctest: +SKIP
    """

    _esm = Bundle("playground.js")
    _css = Bundle("playground.css")

    spec: Any = traitlets.Dict().tag(sync=True)
    recipes: Any = traitlets.List().tag(sync=True)
    # what came onto the list after the start; a page that outlived its kernel brings it back
    added: Any = traitlets.Any().tag(sync=True)
    # whatever the page sends is looked at by `checked`, which says in a sentence what is wrong
    setting: Any = traitlets.Any().tag(sync=True)
    selection = SelectionTrait()
    answer: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    curves: Any = traitlets.List().tag(sync=True)
    generated: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    kept: Any = traitlets.List().tag(sync=True)
    timeline: Any = traitlets.Dict().tag(sync=True)
    task: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        model: Asked,
        prompt: Prompt | Sequence[Mapping[str, str]] | Experiment,
        *,
        interventions: Iterable[Any] = (),
        directions: Mapping[str, Any] | None = None,
        track: str | Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self._model, self._lock, self._history = model, threading.RLock(), History()
        self._library = Library(model.info, lambda site: self._inquiry.around(site))
        self._acts = Acts(model, self._library)
        self._inquiry = Inquiry(model, self._library, lambda: self._past, self._show)
        start = prompt if isinstance(prompt, Experiment) else Experiment(cast("Prompt", prompt))
        tracked = [track] if isinstance(track, str) else list(track)
        if wrong := tracked_ids(tracked, model.vocabulary)[1]:
            raise LookupError(wrong)
        self._past = Past(initial(*written(start.prompts[0]), seed=seed), start, self._acts.name)
        setting = copied(self._acts.setting_of(start, self._present), tracked=tracked)
        for name, found in (directions or {}).items():
            self._library.add(found, name)
        for found in interventions:
            setting = self._acts.put(self._acts.of(found, None, setting), setting)
        self._library.started()
        self._past = Past(setting, start, self._acts.name)
        for identity, sentence in stack_of(setting, self._library, model).problems.items():
            act = cast("Act", act_of(setting, identity))
            raise ValueError(f"{sentence.rstrip('.')} (in {self._acts.name(act)}).")
        super().__init__(
            spec=PlaygroundSpec(
                model=model.info.name,
                n_layers=model.info.n_layers,
                chat=takes_chats(model),
                components=components(model.info),
            ),
            setting=setting,
            recipes=self._library.recipes,
            added=self._library.added,
            timeline=self._past.message(),
        )
        # the first answer comes with the widget, so that it never shows an empty picture
        self._inquiry.first()
        self.observe(self._taken_back, names="added")
        self.observe(self._moved_on, names="setting")
        self.observe(self._remembered, names="kept")
        self._inquiry.ask()
        answer_page(
            self,
            {
                "undo": self.undo,
                "redo": self.redo,
                "generate": lambda: self._inquiry.speak({}),
                "complete": self._inquiry.complete,
                "stop": self.stop,
                "keep": self._keep_from_page,
                "rename": self.rename,
                "drop": self.drop,
                "restore": self.restore,
                "export": self._export,
            },
        )

    # what is shown

    @property
    def experiment(self) -> Experiment:
        """What is shown, as an experiment bound to the model, with the last generation from here; acts that cannot be done are left out."""
        setting, rest = self._present, self._past.rest
        if (spoken := self._inquiry.spoken(setting)) is not None:
            rest = dataclasses.replace(rest, generation=spoken)
        else:
            spoken = generation_of(setting, rest.generation)
        return stack_of(setting, self._library, self._model).whole(rest, spoken, self._model.info)

    @experiment.setter
    def experiment(self, experiment: Experiment) -> None:
        with self._lock:
            setting = self._acts.setting_of(experiment, self._present)
            self._list()
            self._change(setting, experiment)

    @property
    def result(self) -> Result:
        """What the model said to the last setting."""
        self._finish()
        return self._inquiry.last.changed

    @property
    def selectable(self) -> dict[str, int]:
        """How many tokens, layers and heads can be picked."""
        n, info = len(self.answer["tokens"]), self._model.info
        return {"tokens": n, "layers": info.n_layers, "heads": info.n_layers * info.n_heads}

    def live(self, on_error: Callable[[Exception], object]) -> Work:
        """Return a channel for work on the model, for what follows what is shown here: the newest piece of work wins."""
        return self._model.live(on_error)

    def frame(self) -> pd.DataFrame:
        """Return the next tokens: columns ``token``, ``base``, ``changed``, ``control`` (probabilities)."""
        self._finish()
        return self._portrait().frame()

    def response(self) -> pd.DataFrame:
        """Return the dose-response curve of the slider in hand.

        Returns
        -------
        DataFrame
            One line a value and token: ``value`` (of the slider), ``token``, ``base``, ``changed``, ``control``
            (probabilities).

        Raises
        ------
        ValueError
            When no slider is in hand.
        """
        self._finish()
        return self._portrait().response()

    def chart(self) -> alt.VConcatChart:
        """Return what is shown as a chart that can go on being edited."""
        return self._portrait().chart()

    # what is done

    def add(self, found: Any, name: str | None = None, *, on: bool = True) -> None:
        """Put an intervention on the stack, or what can be done with a direction, plane, loop… on the list.

        Parameters
        ----------
        found : Intervention, Direction, Plane, Loop, Basis, Activations or fitted circle
            What was found.
        name : str, optional
            What to call it.
        on : bool
            Whether to put it on the stack: an intervention switched on, of anything else the first recipe.

        Raises
        ------
        TypeError, ValueError
            For anything else, and for what does not belong to the model.
        """
        with self._lock:
            acts = self._acts.of(found, name, self._present, self.selection.tokens)
            if not on:
                whole = isinstance(found, Intervention)
                acts = [cast("Act", {**act, "on": False}) for act in acts] if whole else []
            self._list()
            if acts:
                self._change(self._acts.put(acts, self._present))
            else:
                self._inquiry.ask()

    def set(self, which: str | int, **changes: Any) -> None:
        """Change an intervention of the stack, in one step of undo.

        Parameters
        ----------
        which : str or int
            Its name, or its index in the stack.
        **changes
            Fields of the intervention: its slider, such as ``scale``, ``factor``, ``amount``, ``to`` or ``by``, and ``site``,
            ``tokens``, ``steps``, ``enabled``, as in its constructor. A value beyond the slider's range makes a longer slider.

        Raises
        ------
        LookupError
            Where there is no such intervention, or several of that name.
        TypeError
            For fields that it does not have.
        ValueError
            For values that it cannot have, and for what cannot be done; the stack stays as it was.

        Examples
        --------
        >>> play.set("Steer along Italy", scale=2.0, tokens=" France")  # doctest: +SKIP
        >>> play.set(0, enabled=False)  # doctest: +SKIP
        """
        with self._lock:
            setting = checked(self._acts.set(which, changes, self._present))
            self._list()
            self._change(setting)

    def undo(self) -> None:
        """Take the last step back; at the start nothing happens."""
        self._travel(self._past.undo)

    def redo(self) -> None:
        """Take a step again that was taken back; where there is none nothing happens."""
        self._travel(self._past.redo)

    def generate(self, max_new_tokens: int | None = None, temperature: float | None = None) -> pd.DataFrame:
        """Let the model go on, untouched, changed and under the control, and return what it said.

        Parameters
        ----------
        max_new_tokens, temperature
            As in `nbinterp.Generation`; by default as set in the page, which stays as it is.

        Returns
        -------
        DataFrame
            One line a step: ``step``, ``base``, ``changed``, ``control`` (texts) and their probabilities.
        """
        given = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        said = {name: value for name, value in given.items() if value is not None}
        checked(copied(self._present, **said))
        self._inquiry.speak(said, wait=True)
        if self.problem:
            raise ValueError(self.problem)
        return speaking.frame(self.generated)

    def stop(self) -> None:
        """Stop generating, or computing curves for an export; what there is stays."""
        self._inquiry.stop()

    def keep(self, name: str = "") -> str:
        """Keep this run in the history, and return its id.

        Parameters
        ----------
        name : str
            What to call it; by default what was done and what came of it.
        """
        self._finish()
        return self._keep_from_page(name)["id"]

    def rename(self, id: str, name: str) -> None:
        """Give a kept run another name; LookupError where it is unknown."""
        with self._lock:
            self._history.rename(id, name)
            self.kept = self._history.messages

    def drop(self, id: str) -> None:
        """Forget a kept run; LookupError where it is unknown."""
        with self._lock:
            self._history.drop(id)
            self.kept = self._history.messages

    def restore(self, id: str) -> None:
        """Go back to a kept run, by its id or name; what is kept next grows out of it."""
        with self._lock:
            self._change(self._history[id]["setting"])

    def compare(self, first: str, second: str) -> Comparison:
        """Return two kept runs, by their ids or names, side by side; its `frame` and `chart` show them."""
        return self._history.compare(first, second, self._inquiry.answer_to)

    def to_code(self) -> str:
        """Return what is shown as a script of plain nnsight, which runs without nbinterp."""
        return self.experiment.to_code()

    def to_json(self) -> str:
        """Return what is shown as an experiment's JSON."""
        return self.experiment.to_json()

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the playground as one HTML file, in which every slider still slides, without Python or a network.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        self._finish()
        self._inquiry.complete(wait=True)
        return self._portrait().page(self, path)

    def close(self) -> None:
        """Stop all work, and close the widget."""
        # a widget that could not be made is closed too, and may have none
        if "_inquiry" in vars(self):
            self._inquiry.close()
        super().close()

    # how it is done

    @property
    def _present(self) -> Setting:
        return self._past.present

    def _show(self, **traits: Any) -> None:
        for name, value in traits.items():
            setattr(self, name, value)

    def _finish(self) -> None:
        self._inquiry.finish()
        # a setting that could not be answered leaves the answer of another one
        if self.problem and self._inquiry.last.setting["moment"] != self._present["moment"]:
            raise ValueError(self.problem)

    def _portrait(self) -> Portrait:
        setting = self._present
        curve = self._inquiry.curves.of_hand(setting)
        return Portrait(self._inquiry.last, self.answer, setting, curve, self._acts.name)

    def _list(self) -> None:
        """Tell the page what is on the list now."""
        self.set_trait("recipes", self._library.recipes)
        self.added = self._library.added

    # from one setting to the next

    def _change(self, setting: Setting, rest: Experiment | None = None) -> None:
        """Take up a setting that Python made, as a step of its own."""
        with self._lock:
            now = self._present
            setting = copied(setting, moment=now["moment"] + 1, gesture=now["gesture"] + 1)
            self._past.record(setting, rest=rest, sealed=True)
            self._take_up(self._present)

    def _travel(self, way: Callable[[], Setting | None]) -> None:
        with self._lock:
            setting = way()
            if setting is not None:
                self._take_up(setting)

    def _take_up(self, setting: Setting) -> None:
        """Show a setting that is noted already, and ask what the model says to it."""
        self._history.back_at(setting)
        self.timeline = self._past.message()
        # the observer finds it noted, and asks
        self.setting = setting

    def _moved_on(self, change: Any) -> None:
        """Take up what the page, or Python, set; on any thread."""
        with self._lock:
            try:
                setting = checked(change["new"])
                for act in setting["acts"]:
                    self._library.recipe(act["recipe"])
            except (TypeError, ValueError, LookupError) as error:
                self.problem = told(error)
                return
            if setting != self._present:
                same = matter(setting) == matter(self._present)
                self._past.record(setting)
                if not same:
                    self._history.back_at(setting)
                self.timeline = self._past.message()
            self._inquiry.ask()

    # what an earlier kernel left, which a page that outlived it brings back

    def _remembered(self, change: Any) -> None:
        with self._lock:
            if change["new"] == self._history.messages:
                return
            try:
                self._history.adopt(checked_runs(change["new"]))
            except (TypeError, ValueError) as error:
                self.problem = told(error)
            self.kept = self._history.messages

    def _taken_back(self, change: Any) -> None:
        with self._lock:
            if change["new"] == self._library.added:
                return
            try:
                self._library.take_back(checked_added(change["new"]))
            except (TypeError, ValueError) as error:
                self.problem = told(error)
            self._list()

    # what is kept, and taken away

    def _keep_from_page(self, name: str = "") -> Kept:
        with self._lock:
            answered = self._inquiry.last
            spoke = self.generated is not None and self.generated["moment"] == answered.setting["moment"]
            said = speaking.text(self.generated["changed"]) if spoke else ""
            kept = self._history.keep(answered, name, said, self._acts.name)
            self.kept = self._history.messages
            return kept

    def _export(self, kind: str) -> dict[str, str]:
        if kind == "html":
            n, there = len(sliders(self._present, self._library)), self._inquiry.curves.true_of(self._present)
            text, note = self._portrait().page(self), sliding(n, len(there))
            return {"name": "playground.html", "mime": "text/html", "text": text, "note": note}
        name, mime, text = exported(kind, self.experiment)
        return {"name": name, "mime": mime, "text": text, "note": ""}

    def __repr__(self) -> str:
        # also of one that could not be made, in the trace of why
        return "Playground without an answer" if self.answer is None else self._portrait().sentence()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # the picture that a notebook keeps shows the answer to what the view shows
        self._inquiry.finish()
        view, shown = super()._repr_mimebundle_(**kwargs), self._portrait()
        origin = origin_of(self.spec, self.recipes)
        return saved_bundle(view, "playground", shown.chart(), shown.text(), shown.frame(), widget=self, origin=origin)
