"""The playground: a stack of interventions that the hand tunes while the model answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import traitlets

from nbinterp.experiment import Experiment, Generation
from nbinterp.operations import Intervention
from nbinterp.widgets.asking import answer_page, told
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.playground import answering, curves, speaking
from nbinterp.widgets.playground.answering import Answered, tracked_ids
from nbinterp.widgets.playground.export import exported
from nbinterp.widgets.playground.history import Comparison, History
from nbinterp.widgets.playground.recipes import Library, Offer, components
from nbinterp.widgets.playground.setting import (
    act_of,
    checked,
    checked_runs,
    copied,
    initial,
    matter,
    prompt_of,
    written,
)
from nbinterp.widgets.playground.stack import Stack, stack_of
from nbinterp.widgets.playground.timeline import Past
from nbinterp.widgets.protocol import Act, Curve, Kept, PlaygroundSpec, Setting, Task
from nbinterp.widgets.saved import origin_of, page, saved_bundle
from nbinterp.widgets.selection import SelectionTrait
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import altair as alt

    from nbinterp.prompts import Prompt
    from nbinterp.results import Result
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats
    from nbinterp.widgets.playground.asked import Asked, Work

_MOST_SWEEPS = 16


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

    _channels: tuple[Work, ...] = ()
    _answered: Answered | None = None

    spec: Any = traitlets.Dict().tag(sync=True)
    recipes: Any = traitlets.List().tag(sync=True)
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
        self._model = model
        self._lock = threading.RLock()
        self._library = Library(model.info, self._around)
        self._history = History()
        self._sweeps: dict[tuple[str, str, str], curves.Sweep] = {}
        self._own = 0
        start = prompt if isinstance(prompt, Experiment) else Experiment(cast("Prompt", prompt))
        tracked = [track] if isinstance(track, str) else list(track)
        _, wrong = tracked_ids(tracked, model.vocabulary)
        if wrong:
            raise LookupError(wrong)
        self._past = Past(initial(*written(start.prompts[0]), seed=seed), start, self._name)
        self._past = Past(copied(self._setting_of(start), tracked=tracked), start, self._name)
        super().__init__(
            spec=PlaygroundSpec(
                model=model.info.name,
                n_layers=model.info.n_layers,
                chat=_has_template(model),
                components=components(model.info),
            ),
            setting=self._past.present,
            recipes=self._library.recipes,
            timeline=self._past.message(),
        )
        for name, found in (directions or {}).items():
            self._library.add(found, name)
        for found in interventions:
            self._put(*self._acts_of(found, None), record=False)
        self.set_trait("recipes", self._library.recipes)
        stack = self._stack()
        for act, sentence in stack.problems.items():
            raise ValueError(f"{sentence.rstrip('.')} (in {self._name(cast('Act', act_of(self._present, act)))}).")
        # the first answer comes with the widget, so that it never shows an empty picture
        next(self._respond())
        self._live = model.live(self._report)
        self._speech = model.live(self._report)
        self._channels = (self._live, self._speech)
        self.observe(self._moved_on, names="setting")
        self.observe(self._remembered, names="kept")
        self._ask()
        answer_page(
            self,
            {
                "undo": self.undo,
                "redo": self.redo,
                "generate": self._start_speaking,
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
        """What is shown, as an experiment bound to the model; acts that cannot be done are left out."""
        return self._experiment(self._stack())

    @experiment.setter
    def experiment(self, experiment: Experiment) -> None:
        with self._lock:
            setting = self._setting_of(experiment)
            self.set_trait("recipes", self._library.recipes)
            self._change(setting, experiment)

    @property
    def result(self) -> Result:
        """What the model said to the last setting."""
        self._finish()
        return self._last.changed

    @property
    def selectable(self) -> dict[str, int]:
        """How many tokens, layers and heads can be picked."""
        info = self._model.info
        return {"tokens": len(self.answer["tokens"]), "layers": info.n_layers, "heads": info.n_layers * info.n_heads}

    def frame(self) -> pd.DataFrame:
        """Return the next tokens: columns ``token``, ``base``, ``changed``, ``control`` (probabilities)."""
        self._finish()
        return self._candidates()

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
        curve = self._curve()
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
        """Return what is shown as a chart that can go on being edited."""
        # altair is slow to load
        from nbinterp.charts.playground import playground_chart

        setting = self._present
        act = act_of(setting, setting["hand"])
        name = "" if act is None else f"{setting['parameter']} of {self._name(act)}"
        value = None if act is None else act["values"].get(setting["parameter"])
        return playground_chart(self.answer, self._curve(), title=self._summary(), value=value, name=name)

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
            acts = self._acts_of(found, name)
            if not isinstance(found, Intervention) and not on:
                acts = []
            if isinstance(found, Intervention) and not on:
                acts = [cast("Act", {**act, "on": False}) for act in acts]
            self.set_trait("recipes", self._library.recipes)
            self._put(*acts)

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
            As in `nbinterp.Generation`; by default as set in the page.

        Returns
        -------
        DataFrame
            One line a step: ``step``, ``base``, ``changed``, ``control`` (texts) and their probabilities.
        """
        given = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        if changes := {name: value for name, value in given.items() if value is not None}:
            self._change(checked(copied(self._present, **changes)))
        self._start_speaking()
        self._speech.finish()
        if self.problem:
            raise ValueError(self.problem)
        return speaking.frame(self.generated)

    def stop(self) -> None:
        """Stop generating; what was said stays."""
        self._speech.cancel()

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
        return self._history.compare(first, second, self._answer_to)

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
        for act, name in curves.sliders(self._present, self._library):
            for _ in self._sweep(self._present, act, name):
                pass
        return self._page(path)

    def close(self) -> None:
        """Stop all work, and close the widget."""
        # a widget that could not be made is closed too, and has none
        for channel in self._channels:
            channel.cancel()
        super().close()

    # how it is done

    @property
    def _present(self) -> Setting:
        return self._past.present

    @property
    def _last(self) -> Answered:
        assert self._answered is not None
        return self._answered

    def _finish(self) -> None:
        self._live.finish()
        # a setting that could not be answered leaves the answer of another one
        if self.problem and self._last.setting["moment"] != self._present["moment"]:
            raise ValueError(self.problem)

    def _around(self, site: Site) -> Floats:
        """Return the untouched activations of the prompt at a site: ``[n_tokens, n_features]``."""
        prompt = self._last.stack.prompt if self._answered else prompt_of(self._present)
        (result,) = self._model.run([Experiment(prompt, read=site)])
        found = result.base_activations[site][0]
        return found.reshape(found.shape[0], -1).astype(np.float64)

    def _stack(self) -> Stack:
        return stack_of(self._present, self._library, self._model)

    def _experiment(self, stack: Stack) -> Experiment:
        """Return a stack's experiment with what a setting does not hold: what is read, how tokens are chosen."""
        generation = self._generation()
        given = self._past.rest.generation
        default = generation == Generation(max_new_tokens=50, seed=self._present["seed"])
        kept = given if given == generation or (given is None and default) else generation
        acts = tuple(stack.acts.values())
        return Experiment(stack.prompt, acts, self._past.rest.read, None, kept).on(self._model.info)

    def _generation(self) -> Generation:
        setting, rest = self._present, self._past.rest.generation or Generation()
        return Generation(
            setting["max_new_tokens"], setting["temperature"], rest.top_k, rest.top_p, setting["seed"], rest.stop
        )

    def _setting_of(self, experiment: Experiment) -> Setting:
        """Return the setting of an experiment, whose counters go on from the present one."""
        if len(experiment.prompts) != 1:
            raise ValueError(f"got an experiment of {len(experiment.prompts)} prompts; wanted one of a single prompt.")
        bound = experiment.on(self._model.info)
        self._model.plan(bound)
        text, chat = written(bound.prompts[0])
        acts = [self._library.act_of(one, self._new_id()) for one in bound.interventions]
        generation = bound.generation
        changes: dict[str, Any] = {"prompt": text, "chat": chat, "acts": acts}
        if generation is not None:
            fields = ("max_new_tokens", "temperature", "seed")
            changes |= {name: getattr(generation, name) for name in fields}
        return self._in_hand(copied(self._present, **changes))

    def _in_hand(self, setting: Setting) -> Setting:
        """Return a setting whose slider in hand is there: the first one, where it is gone."""
        known = curves.sliders(setting, self._library)
        if (setting["hand"], setting["parameter"]) in known:
            return setting
        hand, parameter = known[0] if known else ("", "")
        return copied(setting, hand=hand, parameter=parameter)

    def _new_id(self) -> str:
        self._own += 1
        return f"act{self._own}"

    def _name(self, act: Act) -> str:
        try:
            return self._library[act["recipe"]].recipe["name"]
        except LookupError:
            return act["recipe"]

    def _acts_of(self, found: Any, name: str | None) -> list[Act]:
        """Return what goes onto the stack for something that was found, its recipes on the list."""
        if isinstance(found, Intervention):
            return [self._library.act_of(found.bound(self._model.info), self._new_id(), name)]
        act = self._first_act(self._library.add(found, name)[0])
        if (label := self._label_in_prompt(found)) is not None:
            # it starts where the token stands, as on the dial
            position, angle = label
            return [cast("Act", {**act, "tokens": str(position), "values": {"to": angle}})]
        return [act]

    def _label_in_prompt(self, circle: Any) -> tuple[int, float] | None:
        """Return the token of the prompt that is one of a circle's labels, and its angle; None unless it is a single one."""
        if not hasattr(circle, "label_angles"):
            return None
        angles = {str(label).casefold(): float(a) for label, a in zip(circle.labels, circle.label_angles, strict=True)}
        tokens = self._model.tokens(prompt_of(self._present)).tokens
        found = [(i, angles[t.strip().casefold()]) for i, t in enumerate(tokens) if t.strip().casefold() in angles]
        return found[0] if len(found) == 1 else None

    def _first_act(self, offer: Offer) -> Act:
        site = offer.template.site
        return Act(
            id=self._new_id(),
            recipe=offer.recipe["id"],
            on=True,
            component=site.component,
            layer=-1 if site.layer is None else site.layer,
            head=-1 if site.head is None else site.head,
            tokens=", ".join(map(str, self.selection.tokens)) or "last",
            steps="all",
            values={p["name"]: p["start"] for p in offer.recipe["parameters"]},
            texts={},
        )

    def _put(self, *acts: Act, record: bool = True) -> None:
        """Put acts at the end of the stack, and take the slider of the last one that is on in hand."""
        if not acts:
            return
        setting = copied(self._present, acts=[*self._present["acts"], *acts])
        for act in acts:
            parameters = self._library[act["recipe"]].recipe["parameters"]
            if parameters and (act["on"] or not setting["hand"]):
                setting = copied(setting, hand=act["id"], parameter=parameters[0]["name"])
        if record:
            self._change(setting)
            return
        self._past = Past(setting, self._past.rest, self._name)
        self.setting = setting

    def _change(self, setting: Setting, rest: Experiment | None = None) -> None:
        """Take up a setting that Python made, as a step of its own."""
        with self._lock:
            now = self._present
            setting = copied(setting, moment=now["moment"] + 1, gesture=now["gesture"] + 1)
            self._past.record(setting, rest=rest, sealed=True)
            self._take_up(self._present)

    def _travel(self, way: Any) -> None:
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
                    _ = self._library[act["recipe"]]
            except (TypeError, ValueError, LookupError) as error:
                self.problem = told(error)
                return
            if setting != self._present:
                same = matter(setting) == matter(self._present)
                self._past.record(setting)
                if not same:
                    self._history.back_at(setting)
                self.timeline = self._past.message()
            self._ask()

    def _remembered(self, change: Any) -> None:
        """Take in the kept runs of an earlier kernel, which a page that outlived it brings back."""
        with self._lock:
            if change["new"] == self._history.messages:
                return
            try:
                self._history.adopt(checked_runs(change["new"]))
            except (TypeError, ValueError) as error:
                self.problem = told(error)
            self.kept = self._history.messages

    def _answer_to(self, setting: Setting) -> Answered:
        return answering.answer(setting, stack_of(setting, self._library, self._model), self._model)

    def _ask(self) -> None:
        self._live.ask(self._respond)

    def _report(self, error: Exception) -> None:
        self.problem = told(error)

    def _respond(self) -> Iterator[None]:
        # read once: the page may move on, on another thread, while this runs
        setting = self._present
        if self._answered is None or matter(self._answered.setting) != matter(setting):
            self._answered = self._answer_to(setting)
        else:
            self._answered = Answered(
                setting,
                self._answered.stack,
                self._answered.changed,
                self._answered.control,
                self._answered.milliseconds,
            )
        message, problem = self._answered.message()
        self.problem = problem
        self.answer = message
        yield
        if act_of(setting, setting["hand"]) is not None:
            yield from self._sweep(setting, setting["hand"], setting["parameter"])

    def _sweep(self, setting: Setting, act: str, name: str) -> Iterator[None]:
        """Complete the curve of a slider; a hand that comes back to it takes it up where it was."""
        reach = curves.slider(setting, self._library, act, name)
        if reach is None:
            return
        place = (act, name, curves.key_of(setting, act, name))
        sweep = self._sweeps.pop(place, None) or curves.Sweep(setting, act, name, reach, self._last.milliseconds / 1000)
        self._sweeps[place] = sweep
        while len(self._sweeps) > _MOST_SWEEPS:
            del self._sweeps[next(iter(self._sweeps))]
        if sweep.curve is not None:
            self._show(setting, sweep.curve)
        for curve in sweep.advance(self._library, self._model):
            self._show(setting, curve)
            yield

    def _show(self, setting: Setting, curve: Curve) -> None:
        """Put a curve in the place of the slider's last one; those of acts that are gone go."""
        there = {act["id"] for act in setting["acts"]}
        place = (curve["act"], curve["parameter"])
        others = [c for c in self.curves if c["act"] in there and (c["act"], c["parameter"]) != place]
        shown = [*others, curve]
        if shown != self.curves:
            self.curves = shown

    def _curve(self) -> Curve | None:
        setting = self._present
        place = (setting["hand"], setting["parameter"])
        key = curves.key_of(setting, *place)
        found = (c for c in self.curves if (c["act"], c["parameter"], c["key"]) == (*place, key))
        return next(found, None)

    def _start_speaking(self) -> None:
        self.problem = ""
        self._speech.ask(self._speak)

    def _speak(self) -> Iterator[None]:
        setting, stack, generation = self._present, self._stack(), self._generation()
        total = generation.max_new_tokens
        self.generated = {"moment": setting["moment"], "running": True, "base": [], "changed": [], "control": []}
        self.task = Task(name="generating", done=0, total=total, stoppable=True)
        try:
            for said in speaking.speak(setting, stack, self._model, generation):
                if said is not None:
                    self.generated = said
                    done = max(len(said["base"]), len(said["changed"]), len(said["control"]))
                    self.task = Task(name="generating", done=done, total=total, stoppable=True)
                yield
        finally:
            self.generated = {**self.generated, "running": False}
            self.task = None

    def _keep_from_page(self, name: str = "") -> Kept:
        with self._lock:
            answered = self._last
            said = ""
            if self.generated is not None and self.generated["moment"] == answered.setting["moment"]:
                said = speaking.text(self.generated["changed"])
            kept = self._history.keep(answered, name, said, self._name)
            self.kept = self._history.messages
            return kept

    def _export(self, kind: str) -> dict[str, str]:
        if kind == "html":
            return {"name": "playground.html", "mime": "text/html", "text": self._page(None)}
        name, mime, text = exported(kind, self.experiment)
        return {"name": name, "mime": mime, "text": text}

    def _page(self, path: str | os.PathLike[str] | None) -> str:
        return page(self, "playground", path, text=self._summary(), chart=self.chart(), frame=self._candidates())

    def _candidates(self) -> pd.DataFrame:
        return pd.DataFrame(self.answer["candidates"]).rename(columns={"text": "token"})

    def _summary(self) -> str:
        setting = self._last.setting
        names = [self._name(act) for act in setting["acts"] if act["on"]]
        shown = repr(setting["prompt"]) if setting["prompt"] else "a chat"
        (before,), (after,) = self._last.changed.base_said(), self._last.changed.said()
        return f"Playground: {shown} on {self._model.info.name}, {', '.join(names) or 'untouched'}: {before!r} → {after!r}."

    def __repr__(self) -> str:
        # also of one that could not be made, in the trace of why
        return "Playground without an answer" if self._answered is None else self._summary()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # the picture that a notebook keeps shows the answer to what the view shows
        self._live.finish()
        view = super()._repr_mimebundle_(**kwargs)
        origin = origin_of(self.spec, self.recipes)
        table = self._candidates()
        return saved_bundle(view, "playground", self.chart(), self._summary(), table, widget=self, origin=origin)


def _has_template(model: Asked) -> bool:
    from nbinterp.prompts import Chat

    try:
        model.tokens(Chat([("user", "x")]))
    except ValueError:
        return False
    return True
