"""What every intervention is made of: where it acts, what is computed there, and from what."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import attrs
import numpy as np
from attrs import field, frozen

from nbinterp import arithmetic
from nbinterp.prompts import Chat, Prompt, as_prompt, as_prompts, prompt_to_json
from nbinterp.sites import Site
from nbinterp.spaces import (
    Activations,
    Basis,
    Direction,
    Floats,
    Plane,
    Subspace,
    subspace_to_json,
)
from nbinterp.steps import Steps, select_steps
from nbinterp.tokens import Positions, Span, TokenSelection, TokensLike, select_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from nbinterp.anatomy import ModelInfo
    from nbinterp.prompts import TokenizedPrompt


@runtime_checkable
class SourceExperiment(Protocol):
    """What an intervention needs of an experiment from whose run it takes activations."""

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What the model is given."""

    def on(self, model: ModelInfo) -> Self:
        """Return it bound to a model."""

    def to_json_value(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""


def as_site(site: str | Site) -> Site:
    """Return the site that was meant."""
    return Site.of(site)


def as_number(value: Any) -> Any:
    """Return a real number of any library as Python's own; anything else as it is."""
    # 1 and 1.0 are equal, and so should be their JSON; what is no number is left to the validator
    return float(value) if isinstance(value, Real) else value


def numbers(value: Any, what: str) -> Floats:
    """Return an array of numbers, or say what else was got."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"got {what} of type {type(value).__name__}; wanted an array of numbers.") from None


def as_direction(value: Any) -> Direction:
    """Return a direction, made of numbers where only those were given."""
    return value if isinstance(value, Direction) else Direction(None, None, numbers(value, "a direction"))


def is_text(value: Any) -> bool:
    """Whether this is a prompt or a list of prompts, and no numbers."""
    if isinstance(value, list | tuple):
        return not value or is_text(value[0])
    return isinstance(value, str | Chat | Mapping)


def as_mean(value: Any) -> Direction | tuple[Prompt, ...] | None:
    """Return the direction, or the prompts over which a mean is to be taken."""
    if value is None:
        return None
    return as_prompts(value) if is_text(value) else as_direction(value)


def as_prompts_or_none(value: Any) -> tuple[Prompt, ...] | None:
    """Return the prompts, if there are any."""
    return None if value is None else as_prompts(value)


def as_source(value: Any) -> Prompt | SourceExperiment | Activations:
    """Return what a patch takes from: a prompt, an experiment, or numbers."""
    if isinstance(value, Activations):
        return value
    if isinstance(value, Direction):
        return Activations(value.site, value.model, value.vector[None])
    if isinstance(value, SourceExperiment):
        if len(value.prompts) != 1:
            raise ValueError(
                f"got an experiment of {len(value.prompts)} prompts as the source of a Patch; wanted one of a single prompt."
            )
        return value
    if value is None or is_text(value):
        return as_prompt(value, "the source of a Patch")
    return Activations(None, None, np.atleast_2d(numbers(value, "the source of a Patch")))


def as_tokens_or_none(tokens: TokensLike | None) -> TokenSelection | None:
    """Return the token selection, if there is one."""
    return None if tokens is None else select_tokens(tokens)


def check_finite(act: Intervention, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Refuse what is no finite number."""
    if value is not None and not (isinstance(value, float) and math.isfinite(value)):
        raise ValueError(f"got {attribute.name}={value!r}; wanted a finite number.")


def check_share(act: Intervention, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Refuse what is no number from 0 to 1."""
    if not (isinstance(value, float) and 0 <= value <= 1):
        raise ValueError(
            f"got {attribute.name}={value!r} in {act._name}; wanted a number from 0 (nothing changes) to 1 (all of it)."
        )


def check_flag(act: Intervention, attribute: attrs.Attribute[Any], value: bool) -> None:
    """Refuse what is no truth value."""
    if not isinstance(value, bool):
        raise TypeError(f"got {attribute.name}={value!r}; wanted True or False.")


def check_seed(act: Intervention, attribute: attrs.Attribute[Any], value: int) -> None:
    """Refuse what is no seed."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"got {attribute.name}={value!r}; wanted a whole number from 0 up.")


def check_subspace(act: Intervention, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Refuse what is no subspace with a basis."""
    if not isinstance(value, Direction | Plane | Basis):
        raise TypeError(
            f"got {attribute.name}={type(value).__name__} in {act._name}; wanted a Direction, a Plane or a Basis."
        )
    if isinstance(value, Direction):
        _ = value.unit  # raises where there is none


@frozen
class Operation:
    """One of `nbinterp.arithmetic`'s functions with its arguments after ``x``.

    Parameters
    ----------
    function : callable
        The function.
    arrays : mapping of str to array
        Array arguments; their last axis is ``n_features``.
    numbers : mapping of str to float or None
        Scalar arguments.
    amount : float
        The share of the change that is carried out: x becomes x + amount (f(x) − x).
    """

    function: Callable[..., Any]
    arrays: Mapping[str, Floats] = field(factory=dict)
    numbers: Mapping[str, float | None] = field(factory=dict)
    amount: float = 1.0

    def __call__(self, x: Tensor, arguments: Mapping[str, Tensor]) -> Tensor:
        """Return what ``x [..., n_features]`` becomes, given the array arguments as tensors."""
        changed: Tensor = self.function(x, **arguments, **self.numbers)
        # the whole change is taken as it is: on the way from an infinite x there would be no number
        return changed if self.amount == 1 else arithmetic.partly(x, changed, self.amount)


@frozen
class Sources:
    """What an intervention takes from other runs; it becomes the argument ``value`` of `nbinterp.arithmetic.put`.

    Parameters
    ----------
    prompts : tuple of prompts or experiments
        What is run; an experiment's own interventions act in its run.
    tokens : TokenSelection
        Whose activations are taken.
    how : {"each", "mean", "resample"}
        Row by row, ``[n_tokens, n_features]``; their mean over all tokens of all prompts, ``[n_features]``; or for each
        token a row of a random token of a random prompt.
    seed : int
        Of the random choice.
    """

    prompts: tuple[Prompt | SourceExperiment, ...]
    tokens: TokenSelection
    how: Literal["each", "mean", "resample"]
    seed: int = 0


@frozen
class Intervention(ABC):
    """What all interventions share: where and when they act.

    Parameters
    ----------
    site : str or Site
        Where in the model.
    tokens : int, slice, str, re.Pattern, sequence of int, callable, or a selection
        At which tokens of the prompt; all by default, none with ``[]``.
    steps : int, slice, "all" or sequence of int, optional
        At which generated tokens, counted from 0; none by default.
    enabled : bool
        A disabled intervention keeps its place in the stack and does nothing.

    Raises
    ------
    ValueError
        When it acts nowhere, since both tokens and steps are empty.
    """

    site: Site = field(converter=as_site)
    tokens: TokenSelection = field(default=Span(), converter=select_tokens, kw_only=True)
    steps: Steps | None = field(default=None, converter=select_steps, kw_only=True)
    enabled: bool = field(default=True, validator=check_flag, kw_only=True)

    @steps.validator
    def _acts_somewhere(self, attribute: attrs.Attribute[Any], value: Steps | None) -> None:
        if value is None and self.tokens == Positions(()):
            raise ValueError(
                f"got {self._name} at no token of the prompt and no step, which does nothing: choose some with tokens= or steps=."
            )

    @abstractmethod
    def operation(self) -> Operation:
        """Return what is to be computed."""

    def operation_in(self, prompt: TokenizedPrompt) -> Operation:
        """Return what is to be computed in one prompt, where that depends on its tokens."""
        return self.operation()

    def sources(self) -> Sources | None:
        """Return what the operation's ``value`` is to be taken from; None where it needs no other run."""
        return None

    def check(self, model: ModelInfo) -> None:
        """Raise ValueError when this cannot be done in `model`."""
        model.check(self.site)
        for value in self._values().values():
            if not isinstance(value, Subspace):
                continue
            # of the pattern, only whole rows as they are can be given: it has as many features as its prompt has tokens
            if self.site.component == "pattern" and not isinstance(value, Activations):
                raise ValueError(self._no_fixed_width(value._name))
            value.require(self.site, model)

    def bound(self, model: ModelInfo) -> Self:
        """Return this intervention, checked, with experiments that it holds bound to `model`."""
        self.check(model)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return a JSON form from which `intervention_from_json` makes an equal value."""
        return {"kind": type(self).__name__} | {name: value_to_json(value) for name, value in self._values().items()}

    @property
    def _name(self) -> str:
        name = type(self).__name__
        return f"{'an' if name.startswith('A') else 'a'} {name}"

    def _values(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in attrs.fields(type(self))}

    def _no_fixed_width(self, what: str) -> str:
        return (
            f"got {what} in {self._name} at {self.site}, whose features are the keys, as many as the prompt has "
            "tokens: use Ablate, Scale or Patch there without one."
        )


def value_to_json(value: Any) -> Any:
    """Return what JSON can hold of an intervention's value."""
    if isinstance(value, Site):
        return str(value)
    if isinstance(value, Subspace):
        return subspace_to_json(value)
    if isinstance(value, SourceExperiment):
        return value.to_json_value()
    if isinstance(value, tuple):
        return [prompt_to_json(prompt) for prompt in value]
    return value.to_json() if isinstance(value, TokenSelection | Chat) else value
