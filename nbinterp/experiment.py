"""The experiment: what to ask of a model, as one immutable value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nbinterp.code import nnsight_code
from nbinterp.interventions import Intervention, check_site, intervention_from_json
from nbinterp.sites import Site
from nbinterp.spaces import ModelInfo

_FORMAT = 1


@dataclass(frozen=True)
class Experiment:
    """Prompts, what is done to the model on the way, and what is to be read.

    Parameters
    ----------
    prompts : str or sequence of str
        What the model is given.
    interventions : sequence of Intervention
        What is done; applied in the model's order, and at one site in the order of writing.
    read : sequence of str or Site
        Which activations come back, besides the logits at each prompt's last token.
    model : ModelInfo, optional
        The model it ran on; `Model.run` fills it in.

    Raises
    ------
    ValueError, TypeError
        For an empty prompt and for what is not a prompt, an intervention or a site.
    """

    prompts: tuple[str, ...]
    interventions: tuple[Intervention, ...] = ()
    read: tuple[Site, ...] = ()
    model: ModelInfo | None = None

    def __init__(
        self,
        prompts: str | Sequence[str],
        interventions: Intervention | Iterable[Intervention] = (),
        read: str | Site | Iterable[str | Site] = (),
        model: ModelInfo | None = None,
    ) -> None:
        given = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        if not given:
            raise ValueError("got no prompt; wanted at least one text.")
        for index, prompt in enumerate(given):
            if not isinstance(prompt, str):
                raise TypeError(f"got prompt {index} of type {type(prompt).__name__}; wanted text.")
            if not prompt:
                raise ValueError(f"got an empty prompt at index {index}; wanted text with at least one token.")
        acts = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
        for act in acts:
            if not isinstance(act, Intervention):
                raise TypeError(f"got an intervention of type {type(act).__name__}; wanted for example nb.Steer(…).")
        sites = (read,) if isinstance(read, str | Site) else tuple(read)
        object.__setattr__(self, "prompts", given)
        object.__setattr__(self, "interventions", acts)
        object.__setattr__(self, "read", tuple(dict.fromkeys(Site.of(site) for site in sites)))
        object.__setattr__(self, "model", model)

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

    def on(self, model: ModelInfo) -> Experiment:
        """Return this experiment bound to a model.

        Raises
        ------
        ValueError
            When an intervention or a site to read does not exist in, or does not belong to, that model.
        """
        for act in self.interventions:
            act.check(model)
        for site in self.read:
            check_site(site, model)
        return replace(self, model=model)

    def diff(self, other: Experiment) -> dict[str, tuple[Any, Any]]:
        """Return what differs: for each field the two values, interventions without those that both have."""
        mine = [act for act in self.interventions if act not in other.interventions]
        theirs = [act for act in other.interventions if act not in self.interventions]
        pairs: dict[str, tuple[Any, Any]] = {
            "prompts": (self.prompts, other.prompts),
            "interventions": (tuple(mine), tuple(theirs)),
            "read": (self.read, other.read),
            "model": (self.model, other.model),
        }
        return {name: (a, b) for name, (a, b) in pairs.items() if a != b}

    def to_json(self) -> str:
        """Return a JSON text from which `from_json` makes an equal value."""
        return json.dumps(
            {
                "nbinterp": _FORMAT,
                "prompts": self.prompts,
                "interventions": [act.to_json() for act in self.interventions],
                "read": [str(site) for site in self.read],
                "model": None if self.model is None else self.model.to_json(),
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Return the experiment that `to_json` wrote.

        Raises
        ------
        ValueError
            When the text is no such JSON, or comes from a later format.
        """
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"got text that is not JSON ({error}); wanted what Experiment.to_json() wrote.") from None
        if not isinstance(value, Mapping) or value.get("nbinterp") != _FORMAT:
            raise ValueError(
                f"got JSON that is not an nbinterp experiment of format {_FORMAT}; wanted what Experiment.to_json() wrote."
            )
        return cls(
            value["prompts"],
            [intervention_from_json(act) for act in value["interventions"]],
            value["read"],
            None if value["model"] is None else ModelInfo(**value["model"]),
        )

    @property
    def fingerprint(self) -> str:
        """A short checksum of `to_json`, the same on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_code(self) -> str:
        """Return the experiment as a script of plain nnsight, which runs without nbinterp and gives the same logits.

        Raises
        ------
        ValueError
            When the experiment is not bound to a model yet.
        """
        if self.model is None:
            raise ValueError(
                "got an experiment that no model has run; run it (run.experiment.to_code()) or bind it with experiment.on(model.info)."
            )
        return nnsight_code(self.prompts, self.interventions, self.read, self.model, self.fingerprint)


def _index_in(acts: Mapping[int, Intervention], one: Intervention | int) -> int | None:
    if isinstance(one, int):
        return one % len(acts) if acts and -len(acts) <= one < len(acts) else None
    return next((index for index, act in acts.items() if act == one), None)
