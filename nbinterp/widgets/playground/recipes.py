"""What can be put on the stack: each recipe is a complete intervention of which some numbers and texts are the hand's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs
import numpy as np
from attrs import evolve, field, frozen

from nbinterp.interventions import Ablate, Cut, Patch, Project, Rotate, Scale, Steer
from nbinterp.sites import COMPONENTS, UNLAYERED, Site
from nbinterp.spaces import Activations, Basis, Direction, Floats, Loop, Plane, Subspace
from nbinterp.widgets.playground import keeping, ranges
from nbinterp.widgets.playground.places import AS_GIVEN, read_steps, read_tokens, write_steps, write_tokens
from nbinterp.widgets.protocol import Act, Added, Component, Parameter, Recipe

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo
    from nbinterp.operations import Intervention

Around = Callable[[Site], "Floats"]
"""Gives the untouched activations ``[n_tokens, n_features]`` of the prompt at a site."""

SubspaceT = TypeVar("SubspaceT", bound=Subspace)


class Labelled(Protocol):
    """A fitted circle: labels at angles of a loop."""

    concept: str
    labels: tuple[Any, ...]
    label_angles: Floats
    loop: Loop


@frozen
class Offer:
    """A recipe: what the page knows of it, and the intervention that it makes.

    Parameters
    ----------
    recipe : Recipe
        What the page knows.
    template : Intervention
        What is made, but for the place and for what the hand says.
    """

    recipe: Recipe
    template: Intervention = field(repr=False)

    def make(self, act: Act) -> Intervention:
        """Return the intervention that an act describes.

        Raises
        ------
        ValueError, TypeError, LookupError
            Where it describes none.
        """
        site = Site(act["component"], _or_none(act["layer"]), _or_none(act["head"]))
        given = act["tokens"].strip() == AS_GIVEN
        changes: dict[str, Any] = {
            "site": site,
            "tokens": self.template.tokens if given else read_tokens(act["tokens"]),
            "steps": read_steps(act["steps"]),
            "enabled": act["on"],
        }
        for one in attrs.fields(type(self.template)):
            value = getattr(self.template, one.name)
            if isinstance(value, Subspace):
                changes[one.name] = _placed(value, site)
        for parameter in self.recipe["parameters"]:
            changes[parameter["name"]] = act["values"].get(parameter["name"], parameter["start"])
        for name in self.recipe["texts"]:
            attribute, read, _ = _TEXTS[name]
            changes[attribute] = read(act["texts"].get(name, ""))
        return evolve(self.template, **changes)

    def describe(self, intervention: Intervention, identity: str) -> Act | None:
        """Return the act from which `make` makes an equal intervention, or None where this recipe makes no such one."""
        if type(intervention) is not type(self.template):
            return None
        values = {
            parameter["name"]: getattr(intervention, parameter["name"]) for parameter in self.recipe["parameters"]
        }
        bounds = {parameter["name"]: parameter for parameter in self.recipe["parameters"]}
        if any(v is None or not bounds[n]["low"] <= v <= bounds[n]["high"] for n, v in values.items()):
            return None
        site = intervention.site
        try:
            act = Act(
                id=identity,
                recipe=self.recipe["id"],
                on=intervention.enabled,
                component=site.component,
                layer=-1 if site.layer is None else site.layer,
                head=-1 if site.head is None else site.head,
                tokens=write_tokens(intervention.tokens),
                steps=write_steps(intervention.steps),
                values=values,
                texts={name: _TEXTS[name][2](getattr(intervention, _TEXTS[name][0])) for name in self.recipe["texts"]},
            )
            return act if self.make(act) == intervention else None
        except (ValueError, TypeError, LookupError):
            return None


def components(model: ModelInfo) -> list[Component]:
    """Return where in a model interventions can act."""
    assert model.anatomy is not None
    places = {name: Site(name, None if name in UNLAYERED else 0) for name in COMPONENTS if name in model.anatomy.places}
    return [
        Component(name=name, what=COMPONENTS[name], heads=model.heads(site), layered=name not in UNLAYERED)
        for name, site in places.items()
    ]


class Library:
    """The recipes of one playground; they are only ever added to.

    Parameters
    ----------
    model : ModelInfo
        Where they act.
    around : callable
        Gives the untouched activations of the prompt at a site, for the ranges of sliders.
    """

    def __init__(self, model: ModelInfo, around: Around) -> None:
        self._model, self._around = model, around
        self._offers: dict[str, Offer] = {}
        # what a kernel that ended took along: what the page knows of it, and why it was not kept
        self._missing: dict[str, tuple[Recipe, str]] = {}
        self._first = 0
        self._numbers = itertools.count(1)
        start = Site("resid_post", model.n_layers // 2)
        prose = _STATEMENTS
        self._put("ablate", "Ablate", prose["ablate"], Ablate(start), [ranges.amount()])
        self._put("scale", "Scale", prose["scale"], Scale(start, 1.0), [ranges.factor(0.5)])
        patch = Patch(start, source="…")
        self._put(
            "patch",
            "Patch from another prompt",
            prose["patch"],
            patch,
            [ranges.amount()],
            ("source prompt", "source tokens"),
        )
        mean = Ablate(start, mean=("…",))
        self._put(
            "mean", "Ablate to the mean of prompts", prose["mean"], mean, [ranges.amount()], ("reference prompts",)
        )

    @property
    def recipes(self) -> list[Recipe]:
        """What the page knows of them."""
        return [*(offer.recipe for offer in self._offers.values()), *(recipe for recipe, _ in self._missing.values())]

    def __getitem__(self, identity: str) -> Offer:
        if identity in self._missing:
            recipe, why = self._missing[identity]
            raise LookupError(
                f"got {recipe['name']!r}, which was not kept when its kernel ended ({why}); add it again under the same name, and "
                "it acts as before."
            )
        if identity not in self._offers:
            raise LookupError(f"got the recipe {identity[:40]!r}; known are {', '.join(self._offers)}.")
        return self._offers[identity]

    def recipe(self, identity: str) -> Recipe:
        """Return what the page knows of a recipe, also of one that was not kept; LookupError where there is none."""
        return self._missing[identity][0] if identity in self._missing else self[identity].recipe

    def started(self) -> None:
        """Note that what is there now is there whenever the playground is made; what comes later is `added`."""
        self._first = len(self._offers)

    @property
    def added(self) -> Added:
        """What came after the start, as data."""
        later = list(self._offers.values())[self._first :]
        return keeping.written(((offer.recipe, offer.template) for offer in later), self._missing.values())

    def take_back(self, added: Added) -> None:
        """Take in what was added in an earlier kernel; what is here already stays as it is.

        Raises
        ------
        ValueError
            For what is no such thing, or belongs to another model.
        """
        for recipe, found in list(keeping.read(added)):
            identity = recipe["id"]
            if identity in self._offers:
                continue
            if isinstance(found, str):
                self._missing[identity] = (recipe, found)
                continue
            for one in attrs.fields(type(found)):
                if isinstance(value := getattr(found, one.name), Subspace):
                    value.require(None, self._model)
            self._missing.pop(identity, None)
            self._offers[identity] = Offer(recipe, found)

    def act_of(self, intervention: Intervention, identity: str, name: str | None = None) -> Act:
        """Return the act of an intervention, with a recipe of its own where none makes it."""
        if name is None:
            for offer in self._offers.values():
                if (act := offer.describe(intervention, identity)) is not None:
                    return act
        offer = self._own(intervention, name)
        act = offer.describe(intervention, identity)
        assert act is not None
        return act

    def add(self, found: object, name: str | None = None) -> list[Offer]:
        """Add what can be done with a direction, a plane, a loop, a basis, activations or a fitted circle.

        Raises
        ------
        TypeError, ValueError
            For anything else, and for what does not belong to the model.
        """
        if not isinstance(found, Subspace):
            loop = getattr(found, "loop", None)
            if not isinstance(loop, Loop):
                raise TypeError(
                    f"got {type(found).__name__} to add; wanted an intervention such as nb.Steer(…), a Direction, a Plane, a "
                    "Loop, a Basis, Activations, or a circle of nb.fit_manifold(…)."
                )
            circle: Any = found
            return self._loop(loop, name or str(circle.concept), _labels(circle))
        # the place is anybody's choice, the model is not
        found.require(None, self._model)
        home = found.site or Site("resid_post", self._model.n_layers // 2)
        if found.site is None and self._model.width(home) != found.n_features:
            raise ValueError(
                f"got {found._name} of {found.n_features} features without a site; {self._model.name} has "
                f"{self._model.d_model} in its residual stream: say where it belongs, with .at('z.3.5') for example."
            )
        called = name or f"{type(found).__name__.lower()}{'' if found.site is None else f' of {found.site}'}"
        match found:
            case Direction():
                return self._direction(found, home, called)
            case Plane():
                return [*self._turns(found, home, called), *self._within(found, home, called)]
            case Loop():
                return self._loop(found, called, "")
            case Basis():
                return self._within(found, home, called)
            case Activations():
                patch = Patch(home, source=found)
                return [self._new("Patch", f"Patch {called}", "puts these activations there", patch, [ranges.amount()])]
        raise TypeError(f"got {found._name} to add; wanted a Direction, a Plane, a Loop, a Basis or Activations.")

    def _direction(self, found: Direction, home: Site, name: str) -> list[Offer]:
        around, length = self._around(home), f"{found.norm:.3g}"
        return [
            self._new(
                "Steer",
                f"Steer along {name}",
                f"adds the direction of length {length} so many times",
                Steer(home, direction=found),
                [ranges.scale(found, around)],
            ),
            self._new(
                "Project out",
                f"Take {name} out",
                "takes away what an activation has along the direction",
                Project(home, on=found, out=True),
                [ranges.amount()],
            ),
            self._new(
                "Steer to",
                f"Set {name}",
                "moves an activation along the direction until it projects to this value",
                Steer(home, direction=found, to=0.0),
                [ranges.projection(found, around)],
            ),
            self._new(
                "Scale",
                f"Scale {name}",
                "multiplies what an activation has along the direction",
                Scale(home, 1.0, on=found),
                [ranges.factor(2.0)],
            ),
        ]

    def _within(self, on: Plane | Basis, home: Site, name: str) -> list[Offer]:
        out, onto = Project(home, on=on, out=True), Project(home, on=on)
        scale = Scale(home, 1.0, on=on)
        share = [ranges.amount()]
        return [
            self._new("Project out", f"Take {name} out", "takes away what lies in the subspace", out, share),
            self._new("Project", f"Keep only {name}", "keeps only what lies in the subspace", onto, share),
            self._new("Scale", f"Scale {name}", "multiplies what lies in the subspace", scale, [ranges.factor(2.0)]),
        ]

    def _turns(self, on: Plane | Loop, home: Site, name: str, labels: str = "") -> list[Offer]:
        to, by = Rotate(home, on=on, to=0.0), Rotate(home, on=on, by=0.0)
        what = "an activation in the plane" if isinstance(on, Plane) else "an activation along the curve"
        around = self._around(home)
        return [
            self._new(
                "Rotate to", f"Turn {name} to", f"turns {what} to an angle{labels}", to, [ranges.turn_to(on, around)]
            ),
            self._new("Rotate by", f"Turn {name} by", f"turns {what} by an angle", by, [ranges.turn_by()]),
        ]

    def _loop(self, loop: Loop, name: str, labels: str) -> list[Offer]:
        loop.require(None, self._model)
        return self._turns(loop, loop.site or Site("resid_post", self._model.n_layers // 2), name, labels)

    def _own(self, intervention: Intervention, name: str | None) -> Offer:
        """Add the recipe of an intervention that was given whole; its number gets a slider where it has one."""
        parameters: list[Parameter] = []
        match intervention:
            case Ablate() | Patch() | Project():
                parameters = [ranges.amount()]
            case Scale():
                parameters = [ranges.factor(2.0)]
            case Steer(to=None, direction=direction):
                parameters = [ranges.scale(direction, self._around_or_one(intervention.site))]
            case Steer(direction=direction):
                parameters = [ranges.projection(direction, self._around_or_one(intervention.site))]
            case Rotate(by=None, on=on):
                parameters = [ranges.turn_to(on, self._around_or_one(intervention.site))]
            case Rotate():
                parameters = [ranges.turn_by()]
        reached = [ranges.reaching(p, getattr(intervention, p["name"])) for p in parameters]
        kind = type(intervention).__name__
        said = _said(intervention)
        return self._new(kind, name or f"{kind}{said}", f"as it was given{said}", intervention, reached)

    def _around_or_one(self, site: Site) -> Floats:
        try:
            return self._around(site)
        except (ValueError, LookupError):
            # it cannot act there, which its act will say
            return np.ones((1, 1))

    def _new(self, kind: str, name: str, statement: str, template: Intervention, parameters: list[Parameter]) -> Offer:
        for offer in self._offers.values():
            # what is added again is there already
            if offer.template == template and (offer.recipe["kind"], offer.recipe["name"]) == (kind, name):
                return offer
        identity = self._identity(kind, name)
        self._missing.pop(identity, None)
        return self._put(identity, name, statement, template, parameters, kind=kind)

    def _identity(self, kind: str, name: str) -> str:
        """Return the id of a new recipe: that of the missing one whose place it takes, or one that was never there."""
        for identity, (recipe, _) in self._missing.items():
            if (recipe["kind"], recipe["name"]) == (kind, name):
                return identity
        while True:
            identity = f"{kind.lower().replace(' ', '-')}-{next(self._numbers)}"
            if identity not in self._offers and identity not in self._missing:
                return identity

    def _put(
        self,
        identity: str,
        name: str,
        statement: str,
        template: Intervention,
        parameters: list[Parameter],
        texts: Sequence[str] = (),
        kind: str = "",
    ) -> Offer:
        value = next(
            (v for v in (getattr(template, f.name) for f in attrs.fields(type(template))) if isinstance(v, Subspace)),
            None,
        )
        found = -1 if value is None or value.site is None or value.site.layer is None else value.site.layer
        offer = Offer(
            Recipe(
                id=identity,
                kind=kind or type(template).__name__,
                name=name,
                statement=statement,
                components=self._components(template, value),
                layers=[] if template.site.is_path else list(range(self._model.n_layers)),
                found=found,
                parameters=parameters,
                texts=list(texts),
            ),
            template,
        )
        self._offers[identity] = offer
        return offer

    def _components(self, template: Intervention, value: Subspace | None) -> list[str]:
        """Return the components where an intervention of this kind can act, the likeliest first."""
        if template.site.is_path or isinstance(template, Cut):
            return [template.site.component]
        found = []
        for component in components(self._model):
            site = Site(component["name"], 0 if component["layered"] else None)
            head = Site(component["name"], 0, 0) if component["heads"] else site
            widths = {self._model.width(site), self._model.width(head)}
            takes_any = value is None and not (component["name"] == "pattern" and template.sources() is not None)
            if takes_any or (value is not None and value.n_features in widths):
                found.append(component["name"])
        home = value.site.component if value is not None and value.site is not None else "resid_post"
        return sorted(found, key=lambda name: (name != home, name != "resid_post"))


def _placed(value: SubspaceT, site: Site) -> SubspaceT:
    """Return a subspace as used at a site: the page's hand on the layer says that it is meant."""
    try:
        value.require(site)
    except ValueError:
        return value.at(site)
    return value


def _or_none(number: int) -> int | None:
    return None if number < 0 else number


def _labels(circle: Labelled) -> str:
    pairs = zip(circle.labels, circle.label_angles, strict=True)
    return ": " + ", ".join(f"{label} {math.degrees(angle):.0f}°" for label, angle in pairs)


def _said(intervention: Intervention) -> str:
    """Return what an intervention takes, in words."""
    for f in attrs.fields(type(intervention)):
        value = getattr(intervention, f.name)
        if isinstance(value, Subspace) and value.site is not None:
            return f" with {value._name} found at {value.site}"
        if isinstance(value, Subspace):
            return f" with {value._name}"
    if isinstance(intervention, Patch):
        return " from another experiment" if not isinstance(intervention.source, str) else " from another prompt"
    if isinstance(intervention, Cut):
        return f" off {write_tokens(intervention.keys)}"
    return ""


def _written(text: str, what: str) -> str:
    if not text.strip():
        raise ValueError(f"got no {what}; write it down.")
    return text


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in _written(text, "reference prompts, one a line").splitlines() if line.strip())


def _joined(prompts: object) -> str:
    return "\n".join(prompts) if isinstance(prompts, tuple) and all(isinstance(p, str) for p in prompts) else ""


_TEXTS: Mapping[str, tuple[str, Callable[[str], Any], Callable[[Any], str]]] = {
    "source prompt": (
        "source",
        lambda text: _written(text, "source prompt for the Patch"),
        lambda source: source if isinstance(source, str) else "",
    ),
    "source tokens": (
        "source_tokens",
        lambda text: read_tokens(text) if text.strip() else None,
        lambda tokens: "" if tokens is None else write_tokens(tokens),
    ),
    "reference prompts": ("mean", _lines, _joined),
}
"""What can be written down: the intervention's field, how its text is read, and how it is written."""

_STATEMENTS = {
    "ablate": "puts zeros in the place of activations",
    "scale": "multiplies activations",
    "patch": "puts there what another prompt has at the same site: as many tokens, or one for all; the same ones where none are named",
    "mean": "puts the mean over all tokens of other prompts there (one prompt a line)",
}
