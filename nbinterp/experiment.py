"""The experiment: what to ask of a model, as one immutable value."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from typing import Any, Protocol

import attrs

from nbinterp.anatomy import ModelInfo
from nbinterp.code import nnsight_code
from nbinterp.interventions import intervention_from_json
from nbinterp.operations import Intervention
from nbinterp.prompts import Prompt, as_prompts, prompt_to_json
from nbinterp.sites import Site

_FORMAT = 3


@dataclass(frozen=True)
class Generation:
    """How the model goes on after the prompt.

    Parameters
    ----------
    max_new_tokens : int, default 50
        How many tokens at most.
    temperature : float, default 0
        0 always takes the likeliest token, and then `top_k`, `top_p` and `seed` do nothing; above, tokens are drawn from
        softmax(logits / temperature).
    top_k : int, optional
        Draw from this many likeliest tokens only.
    top_p : float, optional
        Draw from the fewest likeliest tokens whose probabilities sum to this at least.
    seed : int, default 0
        Of the draw.
    stop : str or sequence of str
        Texts after which to stop.

    Raises
    ------
    ValueError
        For numbers that make no sense.

    References
    ----------
    .. [1] Holtzman et al., "The curious case of neural text degeneration", 2020, section 3.1 (top-p). arXiv:1904.09751
    """

    max_new_tokens: int = 50
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("top_k", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is None and name == "top_k":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"got {name}={value!r} in a Generation; wanted a whole number from {least} up.")
        if not (_is_number(self.temperature) and 0 <= self.temperature < math.inf):
            raise ValueError(f"got temperature={self.temperature!r} in a Generation; wanted a finite number from 0 up.")
        if self.top_p is not None and not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise ValueError(f"got top_p={self.top_p!r} in a Generation; wanted a number above 0, at most 1.")
        given: str | Iterable[str] = self.stop
        stop = (given,) if isinstance(given, str) else tuple(given)
        if not all(isinstance(text, str) and text for text in stop):
            raise ValueError(f"got stop={self.stop!r} in a Generation; wanted texts that are not empty.")
        # equal values have equal JSON
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "top_p", None if self.top_p is None else float(self.top_p))
        object.__setattr__(self, "stop", stop)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


@dataclass(frozen=True)
class Experiment:
    """Prompts, what is done to the model on the way, what is to be read, and how the model goes on.

    Parameters
    ----------
    prompts : prompt or sequence of prompts
        What the model is given: texts, `Chat` values, or lists of messages (one list of messages is one chat).
    interventions : sequence of Intervention
        What is done; applied in the model's order, and at one site in the order of writing.
    read : sequence of str or Site
        Which activations come back, besides the logits at each prompt's last token.
    model : ModelInfo, optional
        The model it ran on; `Model.run` fills it in.
    generation : Generation, optional
        How many tokens the model adds, and how they are chosen; none by default.

    Raises
    ------
    ValueError, TypeError
        For an empty prompt and for what is not a prompt, an intervention or a site.
    """

    prompts: tuple[Prompt, ...]
    interventions: tuple[Intervention, ...] = ()
    read: tuple[Site, ...] = ()
    model: ModelInfo | None = None
    generation: Generation | None = None

    def __init__(
        self,
        prompts: Prompt | Sequence[Prompt | Sequence[Mapping[str, str]]] | Sequence[Mapping[str, str]],
        interventions: Intervention | Iterable[Intervention] = (),
        read: str | Site | Iterable[str | Site] = (),
        model: ModelInfo | None = None,
        generation: Generation | None = None,
    ) -> None:
        given = as_prompts(prompts)
        acts = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
        for act in acts:
            _check_intervention(act)
        if isinstance(read, Intervention):
            raise TypeError(
                f"got {type(read).__name__} as what to read; wanted sites: give several interventions as a list, "
                "nb.Experiment(prompt, [first, second])."
            )
        sites = (read,) if isinstance(read, str | Site) else tuple(read)
        if generation is not None and not isinstance(generation, Generation):
            raise TypeError(
                f"got a generation of type {type(generation).__name__}; wanted for example nb.Generation(max_new_tokens=50)."
            )
        object.__setattr__(self, "prompts", given)
        object.__setattr__(self, "interventions", acts)
        object.__setattr__(self, "read", tuple(dict.fromkeys(Site.of(site) for site in sites)))
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "generation", generation)

    @property
    def active(self) -> tuple[Intervention, ...]:
        """The interventions that are enabled."""
        return tuple(act for act in self.interventions if act.enabled)

    def with_(self, *interventions: Intervention) -> Experiment:
        """Return this experiment with more interventions, appended."""
        return replace(self, interventions=(*self.interventions, *interventions))

    def without(self, *interventions: Intervention | int) -> Experiment:
        """Return this experiment without some interventions, given as values or by index.

        Raises
        ------
        LookupError
            When one is not there.
        """
        all_of_them = dict(enumerate(self.interventions))
        left = dict(all_of_them)
        for one in interventions:
            index = _index_in(all_of_them if isinstance(one, int) else left, one)
            if index not in left:
                raise LookupError(
                    f"got {one!r} to leave out, but this experiment has {len(self.interventions)} interventions and it is not one of them."
                )
            del left[index]
        return replace(self, interventions=tuple(left.values()))

    def replaced(self, index: int, intervention: Intervention) -> Experiment:
        """Return this experiment with another intervention in the place of one.

        Raises
        ------
        IndexError
            When there is none at this index.
        """
        _check_intervention(intervention)
        acts = list(self.interventions)
        acts[self._index(index)] = intervention
        return replace(self, interventions=tuple(acts))

    def moved(self, index: int, to: int) -> Experiment:
        """Return this experiment with one intervention moved to another place in the stack.

        Raises
        ------
        IndexError
            When there is no such place.
        """
        acts = list(self.interventions)
        start, stop = self._index(index), self._index(to)
        acts.insert(stop, acts.pop(start))
        return replace(self, interventions=tuple(acts))

    def toggled(self, index: int) -> Experiment:
        """Return this experiment with one intervention enabled if it was disabled, and the other way round.

        Raises
        ------
        IndexError
            When there is none at this index.
        """
        act = self.interventions[self._index(index)]
        return self.replaced(index, attrs.evolve(act, enabled=not act.enabled))

    def on(self, model: ModelInfo) -> Experiment:
        """Return this experiment bound to a model.

        Raises
        ------
        ValueError
            When an intervention or a site to read does not exist in, or does not belong to, that model.
        """
        acts = tuple(act.bound(model) for act in self.interventions)
        for site in self.read:
            model.check(site)
        return replace(self, interventions=acts, model=model)

    def diff(self, other: Experiment) -> dict[str, tuple[Any, Any]]:
        """Return what differs: for each field the two values.

        Of the interventions only those that the other one lacks are given, unless the order of the common ones differs
        too: then both stacks are given whole. An intervention that was toggled differs.
        """
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        mine, my_common = _without(self.interventions, other.interventions)
        theirs, their_common = _without(other.interventions, self.interventions)
        if my_common == their_common:
            pairs["interventions"] = (mine, theirs)
        return {name: (a, b) for name, (a, b) in pairs.items() if a != b}

    def to_json(self) -> str:
        """Return a JSON text from which `from_json` makes an equal value.

        Raises
        ------
        TypeError
            When an intervention's tokens are chosen by a function.
        """
        return json.dumps(self.to_json_value(), ensure_ascii=False)

    def to_json_value(self) -> dict[str, Any]:
        """Return what `to_json` writes, as dictionaries and lists."""
        return {
            "nbinterp": _FORMAT,
            "prompts": [prompt_to_json(prompt) for prompt in self.prompts],
            "interventions": [act.to_json() for act in self.interventions],
            "read": [str(site) for site in self.read],
            "model": None if self.model is None else self.model.to_json(),
            "generation": None if self.generation is None else asdict(self.generation),
        }

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Return the experiment that `to_json` wrote, in this format or an earlier one.

        Raises
        ------
        ValueError
            When the text is no such JSON, or comes from a later format.
        """
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"got text that is not JSON ({error}); wanted what Experiment.to_json() wrote.") from None
        return cls.from_json_value(value)

    @classmethod
    def from_json_value(cls, value: Any) -> Experiment:
        """Return the experiment that `to_json_value` described; raises as `from_json` does."""
        if not isinstance(value, Mapping) or value.get("nbinterp") not in range(1, _FORMAT + 1):
            raise ValueError(
                f"got JSON that is not an nbinterp experiment of format 1 to {_FORMAT}; wanted what Experiment.to_json() wrote."
            )
        wanted = ("prompts", "interventions", "read", "model")
        if lacking := [name for name in wanted if name not in value]:
            raise ValueError(
                f"got an nbinterp experiment without {', '.join(lacking)}; wanted what Experiment.to_json() wrote."
            )
        generation = value.get("generation")
        return cls(
            value["prompts"],
            [intervention_from_json(act, cls.from_json_value) for act in value["interventions"]],
            value["read"],
            None if value["model"] is None else ModelInfo(**value["model"]),
            None if generation is None else Generation(**generation),
        )

    @property
    def fingerprint(self) -> str:
        """A short checksum of `to_json`, the same on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def plan(self, model: _Planner) -> Any:
        """Return what a model would run for this, and at what cost: see `nbinterp.Model.plan`."""
        return model.plan(self)

    def to_code(self) -> str:
        """Return the experiment as a script of plain nnsight, which runs without nbinterp and gives the same logits.

        Raises
        ------
        ValueError
            When the experiment is not bound to a model yet.
        TypeError
            When tokens are chosen by a function: that cannot be printed.
        """
        if self.model is None or self.model.anatomy is None:
            raise ValueError(
                "got an experiment that no model has run; run it (run.experiment.to_code()) or bind it with experiment.on(model.info)."
            )
        return nnsight_code(self)

    def _index(self, index: int) -> int:
        n = len(self.interventions)
        if not -n <= index < n:
            choices = f"choose from {-n} to {n - 1}" if n else "add one with with_(…)"
            raise IndexError(f"got the index {index} of an intervention; this experiment has {n}: {choices}.")
        return index % n


class _Planner(Protocol):
    def plan(self, experiments: Experiment, /) -> Any: ...


def _check_intervention(act: object) -> None:
    if not isinstance(act, Intervention):
        raise TypeError(f"got an intervention of type {type(act).__name__}; wanted for example nb.Steer(…).")


def _without(
    acts: Sequence[Intervention], others: Sequence[Intervention]
) -> tuple[tuple[Intervention, ...], tuple[Intervention, ...]]:
    """Return the interventions that `others` lack and those that they have too, each in their order."""
    left = Counter(others)
    own: list[Intervention] = []
    common: list[Intervention] = []
    for act in acts:
        (common if left[act] else own).append(act)
        left[act] -= bool(left[act])
    return tuple(own), tuple(common)


def _index_in(acts: Mapping[int, Intervention], one: Intervention | int) -> int | None:
    if isinstance(one, int):
        return one % len(acts) if acts and -len(acts) <= one < len(acts) else None
    return next((index for index, act in acts.items() if act == one), None)
