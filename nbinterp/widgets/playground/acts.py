"""Acts of the stack: made of what people found, of experiments, and of what Python says about one that is there."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast

import attrs
from attrs import evolve

from nbinterp.operations import Intervention
from nbinterp.sites import Site
from nbinterp.widgets.playground import curves
from nbinterp.widgets.playground.setting import copied, prompt_of, written
from nbinterp.widgets.playground.stack import stack_of
from nbinterp.widgets.protocol import Act, Setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nbinterp.experiment import Experiment
    from nbinterp.widgets.playground.asked import Asked
    from nbinterp.widgets.playground.recipes import Library, Offer


class Acts:
    """Makes the acts of one playground, each with an id of its own.

    Parameters
    ----------
    model : Asked
        Where they act.
    library : Library
        Of the recipes; what has none yet gets one.
    """

    def __init__(self, model: Asked, library: Library) -> None:
        self._model, self._library = model, library
        self._numbers = itertools.count(1)

    def name(self, act: Act) -> str:
        """Return what an act is called."""
        try:
            return self._library.recipe(act["recipe"])["name"]
        except LookupError:
            return act["recipe"]

    def of(self, found: Any, name: str | None, setting: Setting, tokens: Sequence[int] = ()) -> list[Act]:
        """Return what goes onto the stack for something that was found, its recipes on the list.

        Parameters
        ----------
        found : Intervention, Direction, Plane, Loop, Basis, Activations or fitted circle
            What was found.
        name : str, optional
            What to call it.
        setting : Setting
            Where it goes.
        tokens : sequence of int
            Those that are picked.
        """
        if isinstance(found, Intervention):
            return [self._library.act_of(found.bound(self._model.info), self._new_id(setting), name)]
        act = self._first(self._library.add(found, name)[0], tokens, self._new_id(setting))
        if (label := self._label_in_prompt(found, setting)) is not None:
            # it starts where the token stands, as on the dial
            position, angle = label
            return [cast("Act", {**act, "tokens": str(position), "values": {"to": angle}})]
        return [act]

    def put(self, acts: Sequence[Act], setting: Setting) -> Setting:
        """Return a setting with acts at the end of its stack, and the slider of the last one that is on in hand."""
        setting = copied(setting, acts=[*setting["acts"], *acts])
        for act in acts:
            parameters = self._library.recipe(act["recipe"])["parameters"]
            if parameters and (act["on"] or not setting["hand"]):
                setting = copied(setting, hand=act["id"], parameter=parameters[0]["name"])
        return setting

    def setting_of(self, experiment: Experiment, present: Setting) -> Setting:
        """Return the setting of an experiment, whose counters go on from the present one.

        Raises
        ------
        ValueError
            For an experiment of several prompts, or that the model cannot run.
        """
        if len(experiment.prompts) != 1:
            raise ValueError(f"got an experiment of {len(experiment.prompts)} prompts; wanted one of a single prompt.")
        bound = experiment.on(self._model.info)
        self._model.plan(bound)
        text, chat = written(bound.prompts[0])
        acts = [self._library.act_of(one, self._new_id(present)) for one in bound.interventions]
        changes: dict[str, Any] = {"prompt": text, "chat": chat, "acts": acts}
        if bound.generation is not None:
            fields = ("max_new_tokens", "temperature", "seed")
            changes |= {name: getattr(bound.generation, name) for name in fields}
        setting = copied(present, **changes)
        known = curves.sliders(setting, self._library)
        if (setting["hand"], setting["parameter"]) in known:
            return setting
        hand, parameter = known[0] if known else ("", "")
        return copied(setting, hand=hand, parameter=parameter)

    def set(self, which: str | int, changes: Mapping[str, Any], setting: Setting) -> Setting:
        """Return a setting in which an intervention has other fields; its slider is in hand where that was moved.

        Parameters
        ----------
        which : str or int
            Its index, its name or the act's id.
        changes : mapping
            Fields of the intervention.
        setting : Setting
            What is set now.

        Raises
        ------
        LookupError
            Where there is no such intervention, or several of that name.
        TypeError, ValueError
            For fields that it does not have, for values that they cannot have, and for what cannot be done.
        """
        act = self._find(which, setting)
        new = self._changed(act, changes)
        acts = [new if one["id"] == act["id"] else one for one in setting["acts"]]
        moved = next((name for name in new["values"] if name in changes), None)
        hand = {} if moved is None else {"hand": act["id"], "parameter": moved}
        after = copied(setting, acts=acts, **hand)
        if problem := stack_of(after, self._library, self._model).problems.get(act["id"]):
            raise ValueError(problem)
        return after

    def _find(self, which: str | int, setting: Setting) -> Act:
        acts = setting["acts"]
        if isinstance(which, int) and not isinstance(which, bool) and -len(acts) <= which < len(acts):
            return acts[which]
        found = [act for act in acts if which in (act["id"], self.name(act))]
        if len(found) != 1:
            there = ", ".join(f"{i} {self.name(act)!r}" for i, act in enumerate(acts)) or "nothing yet"
            hint = ": give its index" if len(found) > 1 else ""
            raise LookupError(f"got {which!r}, which is {len(found)} of the interventions; there are {there}{hint}.")
        return found[0]

    def _changed(self, act: Act, changes: Mapping[str, Any]) -> Act:
        """Return an act with some fields of its intervention replaced; a value beyond the slider's range makes a longer slider."""
        offer = self._library[act["recipe"]]
        kind = type(offer.template)
        fields = [field.name for field in attrs.fields(kind)]
        if unknown := [name for name in changes if name not in fields]:
            raise TypeError(
                f"got {', '.join(unknown)} for {self.name(act)!r}, whose kind is {kind.__name__}; it has {', '.join(fields)}."
            )
        rest = dict(changes)
        if "site" in rest:
            # an act takes its direction along to another site, an intervention does not
            site = Site.of(rest.pop("site"))
            layer, head = (-1 if number is None else number for number in (site.layer, site.head))
            act = cast("Act", {**act, "component": site.component, "layer": layer, "head": head})
        # what cannot be read there now is no obstacle to what is to stand there
        sound = {name: "all" for name in ("tokens", "steps") if name in rest}
        made = evolve(offer.make(cast("Act", {**act, **sound})), **rest)
        return offer.describe(made, act["id"]) or self._library.act_of(made, act["id"], self.name(act))

    def _new_id(self, setting: Setting) -> str:
        """Return an id that nothing on the stack has, which may come from an earlier kernel."""
        there = {act["id"] for act in setting["acts"]}
        return next(identity for n in self._numbers if (identity := f"act{n}") not in there)

    def _first(self, offer: Offer, tokens: Sequence[int], identity: str) -> Act:
        site = offer.template.site
        return Act(
            id=identity,
            recipe=offer.recipe["id"],
            on=True,
            component=site.component,
            layer=-1 if site.layer is None else site.layer,
            head=-1 if site.head is None else site.head,
            tokens=", ".join(map(str, tokens)) or "last",
            steps="all",
            values={p["name"]: p["start"] for p in offer.recipe["parameters"]},
            texts={},
        )

    def _label_in_prompt(self, circle: Any, setting: Setting) -> tuple[int, float] | None:
        """Return the token of the prompt that is one of a circle's labels, and its angle; None unless it is a single one."""
        if not hasattr(circle, "label_angles"):
            return None
        angles = {str(label).casefold(): float(a) for label, a in zip(circle.labels, circle.label_angles, strict=True)}
        tokens = self._model.tokens(prompt_of(setting)).tokens
        found = [(i, angles[t.strip().casefold()]) for i, t in enumerate(tokens) if t.strip().casefold() in angles]
        return found[0] if len(found) == 1 else None
