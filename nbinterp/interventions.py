"""What to do at a site: ablate, patch, steer, scale, project, rotate. Data only; `nbinterp.arithmetic` computes it."""

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
from nbinterp.sites import Site
from nbinterp.spaces import (
    Activations,
    Basis,
    Direction,
    Floats,
    Loop,
    Plane,
    Subspace,
    subspace_from_json,
    subspace_to_json,
)
from nbinterp.tokens import (
    Chat,
    Positions,
    Prompt,
    Span,
    Steps,
    TokenSelection,
    TokensLike,
    as_prompt,
    as_prompts,
    prompt_to_json,
    select_steps,
    select_tokens,
)

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo


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


def _as_site(site: str | Site) -> Site:
    return Site.of(site)


def _as_number(value: Any) -> Any:
    # 1 and 1.0 are equal, and so should be their JSON; what is no number is left to the validator
    return float(value) if isinstance(value, Real) else value


def _numbers(value: Any, what: str) -> Floats:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"got {what} of type {type(value).__name__}; wanted an array of numbers.") from None


def _as_direction(value: Any) -> Direction:
    return value if isinstance(value, Direction) else Direction(None, None, _numbers(value, "a direction"))


def _is_text(value: Any) -> bool:
    """Whether this is a prompt or a list of prompts, and no numbers."""
    if isinstance(value, list | tuple):
        return not value or _is_text(value[0])
    return isinstance(value, str | Chat | Mapping)


def _as_mean(value: Any) -> Direction | tuple[Prompt, ...] | None:
    if value is None:
        return None
    return as_prompts(value) if _is_text(value) else _as_direction(value)


def _as_prompts_or_none(value: Any) -> tuple[Prompt, ...] | None:
    return None if value is None else as_prompts(value)


def _as_source(value: Any) -> Prompt | SourceExperiment | Activations:
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
    if value is None or _is_text(value):
        return as_prompt(value, "the source of a Patch")
    return Activations(None, None, np.atleast_2d(_numbers(value, "the source of a Patch")))


def _as_tokens_or_none(tokens: TokensLike | None) -> TokenSelection | None:
    return None if tokens is None else select_tokens(tokens)


def _check_finite(act: Intervention, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not (isinstance(value, float) and math.isfinite(value)):
        raise ValueError(f"got {attribute.name}={value!r}; wanted a finite number.")


def _check_flag(act: Intervention, attribute: attrs.Attribute[Any], value: bool) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"got {attribute.name}={value!r}; wanted True or False.")


def _check_seed(act: Intervention, attribute: attrs.Attribute[Any], value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"got {attribute.name}={value!r}; wanted a whole number from 0 up.")


def _check_subspace(act: Intervention, attribute: attrs.Attribute[Any], value: Any) -> None:
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
    """

    function: Callable[..., Any]
    arrays: Mapping[str, Floats] = field(factory=dict)
    numbers: Mapping[str, float | None] = field(factory=dict)


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

    site: Site = field(converter=_as_site)
    tokens: TokenSelection = field(default=Span(), converter=select_tokens, kw_only=True)
    steps: Steps | None = field(default=None, converter=select_steps, kw_only=True)
    enabled: bool = field(default=True, validator=_check_flag, kw_only=True)

    @steps.validator
    def _acts_somewhere(self, attribute: attrs.Attribute[Any], value: Steps | None) -> None:
        if value is None and self.tokens == Positions(()):
            raise ValueError(
                f"got {self._name} at no token of the prompt and no step, which does nothing: choose some with tokens= or steps=."
            )

    @abstractmethod
    def operation(self) -> Operation:
        """Return what is to be computed."""

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
        return {"kind": type(self).__name__} | {name: _value_to_json(value) for name, value in self._values().items()}

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


@frozen
class Ablate(Intervention):
    """Replace an activation by nothing, by a mean, or by what random other tokens have there.

    Parameters
    ----------
    mean : Direction, array ``[n_features]``, or prompts, optional
        What to put there; from prompts (texts or chats), the mean over all their tokens is taken. Zeros by default.
    resample : prompts, optional
        Each token gets the activation of a random token of a random one of these prompts. Give `mean` or `resample`.
    seed : int, default 0
        Of the random choice.

    References
    ----------
    .. [1] Wang et al., "Interpretability in the wild", 2022, section 2.1 (mean ablation). arXiv:2211.00593
    .. [2] Chan et al., "Causal scrubbing", 2022 (resampling ablation). AI Alignment Forum.
    """

    mean: Direction | tuple[Prompt, ...] | None = field(default=None, converter=_as_mean, kw_only=True)
    resample: tuple[Prompt, ...] | None = field(default=None, converter=_as_prompts_or_none, kw_only=True)
    seed: int = field(default=0, validator=_check_seed, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.mean is not None and self.resample is not None:
            raise ValueError("got both mean and resample in an Ablate; give one of the two, or none for zeros.")

    def operation(self) -> Operation:
        """Return the replacement."""
        if self.sources() is not None:
            return Operation(arithmetic.put)
        return Operation(
            arithmetic.put, {"value": self.mean.vector if isinstance(self.mean, Direction) else np.zeros(1)}
        )

    def sources(self) -> Sources | None:
        """Return the reference prompts, where there are some."""
        if self.resample is not None:
            return Sources(self.resample, Span(), "resample", self.seed)
        return Sources(self.mean, Span(), "mean") if isinstance(self.mean, tuple) else None

    def check(self, model: ModelInfo) -> None:
        """Raise ValueError when this cannot be done in `model`."""
        super().check(model)
        if self.site.component == "pattern" and self.sources() is not None:
            raise ValueError(self._no_fixed_width("reference prompts"))


@frozen
class Patch(Intervention):
    """Replace an activation by what another run has there, or by one that is given.

    Parameters
    ----------
    source : str, Chat, Experiment, Activations, Direction or array
        The other prompt, which is run untouched; an experiment with one prompt, whose interventions act in its run (a
        path patch); or the activations themselves, ``[n_features]`` or ``[n_tokens, n_features]``.
    source_tokens : as ``tokens``, optional
        Which tokens of the other prompt to take: as many as are replaced, or one for all. As ``tokens`` by default.

    References
    ----------
    .. [1] Heimersheim & Nanda, "How to use and interpret activation patching", 2024, section 2. arXiv:2404.15255
    """

    source: Prompt | SourceExperiment | Activations = field(converter=_as_source, kw_only=True)
    source_tokens: TokenSelection | None = field(default=None, converter=_as_tokens_or_none, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.source, Activations):
            if self.source_tokens is not None:
                raise ValueError(
                    "got source_tokens in a Patch from an array, whose rows are the tokens; leave them out."
                )
        elif (self.source_tokens or self.tokens) == Positions(()):
            raise ValueError(
                "got no token of the source in a Patch; say which one to take, for example source_tokens=-1."
            )

    def operation(self) -> Operation:
        """Return the replacement; without given activations its ``value [n_tokens, n_features]`` comes from `sources`."""
        if not isinstance(self.source, Activations):
            return Operation(arithmetic.put)
        rows = self.source.values
        return Operation(arithmetic.put, {"value": rows[0] if len(rows) == 1 else rows})

    def sources(self) -> Sources | None:
        """Return the other prompt or experiment, where there is one."""
        if isinstance(self.source, Activations):
            return None
        return Sources((self.source,), self.source_tokens or self.tokens, "each")

    def check(self, model: ModelInfo) -> None:
        """Raise ValueError when this cannot be done in `model`."""
        super().check(model)
        if isinstance(self.source, SourceExperiment):
            self.source.on(model)

    def bound(self, model: ModelInfo) -> Self:
        """Return this intervention, checked, with an experiment as its source bound to `model`."""
        self.check(model)
        return attrs.evolve(self, source=self.source.on(model)) if isinstance(self.source, SourceExperiment) else self


@frozen
class Steer(Intervention):
    """Add a direction to an activation, or set the activation's projection onto it.

    Parameters
    ----------
    direction : Direction or array ``[n_features]``
        What to add, in the units of the activations.
    scale : float, default 1
        How many times.
    to : float, optional
        Instead of adding, move the activation x along the unit direction u until x · u is this value, in the units of
        the activations; what is orthogonal stays.

    References
    ----------
    .. [1] Turner et al., "Steering language models with activation engineering", 2023, section 3. arXiv:2308.10248
    """

    direction: Direction = field(converter=_as_direction, kw_only=True)
    scale: float = field(default=1.0, converter=_as_number, validator=_check_finite, kw_only=True)
    to: float | None = field(default=None, converter=_as_number, validator=_check_finite, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.to is None:
            return
        if self.scale != 1:
            raise ValueError(
                f"got scale={self.scale} and to={self.to} in a Steer; give one of the two: how much to add, or where to go."
            )
        _ = self.direction.unit  # raises where there is none

    def operation(self) -> Operation:
        """Return the sum, or the move."""
        if self.to is not None:
            return Operation(arithmetic.set_projection, {"direction": self.direction.unit.vector}, {"to": self.to})
        return Operation(arithmetic.steer, {"direction": self.direction.vector}, {"scale": self.scale})


@frozen
class Scale(Intervention):
    """Multiply an activation, or its component in a subspace, by a factor.

    Parameters
    ----------
    factor : float
        The factor f; 0 takes away, 1 changes nothing, −1 reflects.
    on : Direction, Plane or Basis, optional
        The subspace with centre c (0 for a Direction) and orthonormal rows B (the unit vector of a Direction): x becomes
        x + (f − 1) BᵀB (x − c). By default x becomes f x.
    """

    factor: float = field(converter=_as_number, validator=_check_finite)
    on: Direction | Plane | Basis | None = field(
        default=None, validator=attrs.validators.optional(_check_subspace), kw_only=True
    )

    def operation(self) -> Operation:
        """Return the product."""
        if self.on is None:
            return Operation(arithmetic.scale, {}, {"factor": self.factor})
        return Operation(arithmetic.scale_within, _frame(self.on), {"factor": self.factor})


@frozen
class Project(Intervention):
    """Keep of an activation only what lies in a subspace, or take that away.

    Parameters
    ----------
    on : Direction, Plane or Basis
        The subspace with centre c (0 for a Direction) and orthonormal rows B (the unit vector of a Direction): x becomes
        c + BᵀB (x − c).
    out : bool, default False
        Take the component away: x becomes x − BᵀB (x − c), which stands in the subspace where its centre stands.

    References
    ----------
    .. [1] Arditi et al., "Refusal in language models is mediated by a single direction", 2024, section 2.4 (directional
       ablation: a Direction taken out). arXiv:2406.11717
    """

    on: Direction | Plane | Basis = field(validator=_check_subspace, kw_only=True)
    out: bool = field(default=False, validator=_check_flag, kw_only=True)

    def operation(self) -> Operation:
        """Return the projection."""
        return Operation(arithmetic.project_out if self.out else arithmetic.project_onto, _frame(self.on))


def _frame(on: Direction | Plane | Basis) -> dict[str, Floats]:
    if isinstance(on, Direction):
        return {"centre": np.zeros(on.n_features), "basis": on.unit.vector[None]}
    return on.arrays()


@frozen
class Rotate(Intervention):
    """Turn an activation about the centre of a plane, or move it along a closed curve; what is orthogonal stays.

    Parameters
    ----------
    on : Plane or Loop
        In a plane the activation's projection is turned about the centre. Along a loop γ the activation moves by
        γ(stop) − γ(start), so that its offset from the curve stays.
    by : float, optional
        Turn by this angle in radians. Give either `by` or `to`.
    to : float, optional
        Turn to this angle in radians.
    start : float, optional
        Where on the loop the activation stands, in radians; the nearest point of the curve by default. For a
        plane the projection says it.
    """

    on: Plane | Loop = field(kw_only=True)
    by: float | None = field(default=None, converter=_as_number, validator=_check_finite, kw_only=True)
    to: float | None = field(default=None, converter=_as_number, validator=_check_finite, kw_only=True)
    start: float | None = field(default=None, converter=_as_number, validator=_check_finite, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.on, Plane | Loop):
            raise TypeError(
                f"got on={type(self.on).__name__} in a Rotate; wanted a Plane or a Loop, for example circle.loop."
            )
        if (self.by is None) == (self.to is None):
            raise ValueError(f"got by={self.by} and to={self.to} in a Rotate; give one of the two, in radians.")
        if self.start is not None and isinstance(self.on, Plane):
            raise ValueError(
                "got a start for a Rotate in a Plane, where the projection says it: leave start out, or turn on a Loop."
            )

    def operation(self) -> Operation:
        """Return the turn."""
        turn = {"by": self.by, "to": self.to}
        if isinstance(self.on, Plane):
            return Operation(arithmetic.turn_in_plane, self.on.arrays(), turn)
        return Operation(arithmetic.move_along_loop, self.on.arrays(), turn | {"start": self.start})


_KINDS: dict[str, type[Intervention]] = {cls.__name__: cls for cls in (Ablate, Patch, Steer, Scale, Project, Rotate)}


def _value_to_json(value: Any) -> Any:
    if isinstance(value, Site):
        return str(value)
    if isinstance(value, Subspace):
        return subspace_to_json(value)
    if isinstance(value, SourceExperiment):
        return value.to_json_value()
    if isinstance(value, tuple):
        return [prompt_to_json(prompt) for prompt in value]
    return value.to_json() if isinstance(value, TokenSelection | Chat) else value


def intervention_from_json(
    value: Mapping[str, Any], read_experiment: Callable[[Mapping[str, Any]], SourceExperiment] | None = None
) -> Intervention:
    """Read back what `Intervention.to_json` gave.

    Parameters
    ----------
    value : mapping
        What `to_json` gave.
    read_experiment : callable, optional
        Reads the experiments that interventions may hold.

    Raises
    ------
    ValueError
        For an unknown kind, an unknown setting, and an experiment that nothing reads.
    """
    if value.get("kind") not in _KINDS:
        raise ValueError(f"got an intervention of kind {value.get('kind')!r}; known are {', '.join(_KINDS)}.")
    kind = _KINDS[value["kind"]]
    arguments = {name: v for name, v in value.items() if name != "kind"}
    known = [f.name for f in attrs.fields(kind)]
    if unknown := [name for name in arguments if name not in known]:
        raise ValueError(f"got the unknown settings {unknown} of a {kind.__name__}; known are {', '.join(known)}.")
    for name, v in arguments.items():
        if isinstance(v, Mapping) and "kind" in v:
            arguments[name] = subspace_from_json(v)
        elif isinstance(v, Mapping) and "nbinterp" in v:
            if read_experiment is None:
                raise ValueError(f"got a {kind.__name__} that holds an experiment; read it with Experiment.from_json.")
            arguments[name] = read_experiment(v)
    return kind(**arguments)


__all__ = [
    "Ablate",
    "Intervention",
    "Operation",
    "Patch",
    "Project",
    "Rotate",
    "Scale",
    "SourceExperiment",
    "Sources",
    "Steer",
    "TokensLike",
    "intervention_from_json",
]
