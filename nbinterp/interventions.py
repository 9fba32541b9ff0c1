"""What to do at a site: ablate, patch, steer, scale, cut, project, rotate. Data only; `nbinterp.arithmetic` computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np
from attrs import field, frozen

from nbinterp import arithmetic
from nbinterp.spaces import (
    Activations,
    Basis,
    Direction,
    Floats,
    Loop,
    Plane,
    subspace_from_json,
)
from nbinterp.tokens import Positions, Span, TokenSelection, TokensLike, select_tokens

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo
    from nbinterp.prompts import Prompt, TokenizedPrompt


from nbinterp.operations import (
    Intervention,
    Operation,
    SourceExperiment,
    Sources,
    as_direction,
    as_mean,
    as_number,
    as_prompts_or_none,
    as_source,
    as_tokens_or_none,
    check_finite,
    check_flag,
    check_seed,
    check_share,
    check_subspace,
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
    amount : float, default 1
        The share of the change that is carried out, from 0 to 1: x becomes x + amount (f(x) − x).

    References
    ----------
    .. [1] Wang et al., "Interpretability in the wild", 2022, section 2.1 (mean ablation). arXiv:2211.00593
    .. [2] Chan et al., "Causal scrubbing", 2022 (resampling ablation). AI Alignment Forum.
    """

    mean: Direction | tuple[Prompt, ...] | None = field(default=None, converter=as_mean, kw_only=True)
    resample: tuple[Prompt, ...] | None = field(default=None, converter=as_prompts_or_none, kw_only=True)
    seed: int = field(default=0, validator=check_seed, kw_only=True)
    amount: float = field(default=1.0, converter=as_number, validator=check_share, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.mean is not None and self.resample is not None:
            raise ValueError("got both mean and resample in an Ablate; give one of the two, or none for zeros.")

    def operation(self) -> Operation:
        """Return the replacement."""
        if self.sources() is not None:
            return Operation(arithmetic.put, amount=self.amount)
        value = self.mean.vector if isinstance(self.mean, Direction) else np.zeros(1)
        return Operation(arithmetic.put, {"value": value}, amount=self.amount)

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
    amount : float, default 1
        The share of the change that is carried out, from 0 to 1: x becomes x + amount (f(x) − x).

    References
    ----------
    .. [1] Heimersheim & Nanda, "How to use and interpret activation patching", 2024, section 2. arXiv:2404.15255
    """

    source: Prompt | SourceExperiment | Activations = field(converter=as_source, kw_only=True)
    source_tokens: TokenSelection | None = field(default=None, converter=as_tokens_or_none, kw_only=True)
    amount: float = field(default=1.0, converter=as_number, validator=check_share, kw_only=True)

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
            return Operation(arithmetic.put, amount=self.amount)
        rows = self.source.values
        return Operation(arithmetic.put, {"value": rows[0] if len(rows) == 1 else rows}, amount=self.amount)

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

    direction: Direction = field(converter=as_direction, kw_only=True)
    scale: float = field(default=1.0, converter=as_number, validator=check_finite, kw_only=True)
    to: float | None = field(default=None, converter=as_number, validator=check_finite, kw_only=True)

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

    factor: float = field(converter=as_number, validator=check_finite)
    on: Direction | Plane | Basis | None = field(
        default=None, validator=attrs.validators.optional(check_subspace), kw_only=True
    )

    def operation(self) -> Operation:
        """Return the product."""
        if self.on is None:
            return Operation(arithmetic.scale, {}, {"factor": self.factor})
        return Operation(arithmetic.scale_within, _frame(self.on), {"factor": self.factor})


@contextmanager
def _about_keys() -> Iterator[None]:
    """Say keys where choosing them fails as choosing tokens would."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise type(error)(str(error).replace("tokens=", "keys=")) from None


def _select_keys(keys: TokensLike) -> TokenSelection:
    with _about_keys():
        return select_tokens(keys)


@frozen
class Cut(Intervention):
    """Cut edges of attention: queries at `tokens` no longer look at some keys.

    Parameters
    ----------
    site : str or Site
        ``pattern``, of a layer or of one head.
    tokens : as in every intervention
        The queries.
    keys : as ``tokens``
        The keys: tokens of the same prompt. A query never sees those behind it anyway.
    renormalised : bool, default True
        The weights that are left are scaled to sum to one, as if the keys' scores were −∞ before the softmax; otherwise the
        cut weights are zero and the others stay. A query that has no other key looks at nothing.

    Raises
    ------
    ValueError
        When it should act at generated tokens.

    References
    ----------
    .. [1] Geva et al., "Dissecting recall of factual associations", 2023, section 4 (attention knockout). arXiv:2304.14767
    """

    keys: TokenSelection = field(converter=_select_keys, kw_only=True)
    renormalised: bool = field(default=True, validator=check_flag, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.keys == Positions(()):
            raise ValueError("got no key for a Cut; say which tokens are no longer looked at, for example keys=0.")
        if self.steps is not None:
            raise ValueError(f"got steps={self.steps} for a Cut, which acts on a prompt's own tokens: leave steps out.")

    def operation(self) -> Operation:
        """Return the cut; its ``keep [n_keys]``, 0 for what is cut, comes from `operation_in`."""
        return Operation(arithmetic.cut, {}, {"renormalised": self.renormalised})

    def operation_in(self, prompt: TokenizedPrompt) -> Operation:
        """Return the cut in one prompt."""
        keep = np.ones(len(prompt))
        with _about_keys():
            keep[list(self.keys.resolve(prompt))] = 0
        return attrs.evolve(self.operation(), arrays={"keep": keep})

    def check(self, model: ModelInfo) -> None:
        """Raise ValueError when this cannot be done in `model`."""
        if self.site.component != "pattern":
            raise ValueError(
                f"got a Cut at {self.site}; edges of attention are cut in its pattern: write for example 'pattern.10' or 'pattern.10.3'."
            )
        super().check(model)


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
    amount : float, default 1
        The share of the change that is carried out, from 0 to 1: x becomes x + amount (f(x) − x).

    References
    ----------
    .. [1] Arditi et al., "Refusal in language models is mediated by a single direction", 2024, section 2.4 (directional
       ablation: a Direction taken out). arXiv:2406.11717
    """

    on: Direction | Plane | Basis = field(validator=check_subspace, kw_only=True)
    out: bool = field(default=False, validator=check_flag, kw_only=True)
    amount: float = field(default=1.0, converter=as_number, validator=check_share, kw_only=True)

    def operation(self) -> Operation:
        """Return the projection."""
        function = arithmetic.project_out if self.out else arithmetic.project_onto
        return Operation(function, _frame(self.on), amount=self.amount)


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
    by: float | None = field(default=None, converter=as_number, validator=check_finite, kw_only=True)
    to: float | None = field(default=None, converter=as_number, validator=check_finite, kw_only=True)
    start: float | None = field(default=None, converter=as_number, validator=check_finite, kw_only=True)

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


_KINDS: dict[str, type[Intervention]] = {
    cls.__name__: cls for cls in (Ablate, Patch, Steer, Scale, Cut, Project, Rotate)
}


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
    "Cut",
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
