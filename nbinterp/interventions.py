"""What to do at a site: ablate, patch, steer, rotate. Data only; `nbinterp.arithmetic` has what each one computes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import field, frozen

from nbinterp import arithmetic
from nbinterp.sites import Site, Span, TokenSelection, TokensLike, select_tokens
from nbinterp.spaces import (
    Direction,
    Floats,
    Loop,
    ModelInfo,
    Plane,
    Subspace,
    subspace_from_json,
    subspace_to_json,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def _as_site(site: str | Site) -> Site:
    return Site.of(site)


def _as_direction(value: Direction | ArrayLike) -> Direction:
    return value if isinstance(value, Direction) else Direction(None, None, np.asarray(value, dtype=np.float64))


def _as_direction_or_none(value: Direction | ArrayLike | None) -> Direction | None:
    return None if value is None else _as_direction(value)


def _as_tokens_or_none(tokens: TokensLike | None) -> TokenSelection | None:
    return None if tokens is None else select_tokens(tokens)


def _check_finite(act: Intervention, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise ValueError(f"got {attribute.name}={value}; wanted a finite number.")


@frozen
class Operation:
    """One of `nbinterp.arithmetic`'s functions with its arguments after ``x``.

    Parameters
    ----------
    function : callable
        The function.
    arrays : mapping of str to array
        Array arguments; their last axis is ``d_model``.
    numbers : mapping of str to float or None
        Scalar arguments.
    """

    function: Callable[..., Any]
    arrays: Mapping[str, Floats] = field(factory=dict)
    numbers: Mapping[str, float | None] = field(factory=dict)


@frozen
class Intervention(ABC):
    """What all interventions share: where they act.

    Parameters
    ----------
    site : str or Site
        Where in the model.
    tokens : int, slice, str, sequence of int, or a selection
        At which tokens of the prompt; all by default.
    """

    site: Site = field(converter=_as_site)
    tokens: TokenSelection = field(default=Span(), converter=select_tokens, kw_only=True)

    @abstractmethod
    def operation(self) -> Operation:
        """Return what is to be computed."""

    def check(self, model: ModelInfo) -> None:
        """Raise ValueError when this cannot be done in `model`."""
        check_site(self.site, model)
        for value in self._values().values():
            if isinstance(value, Subspace):
                value.require(self.site, model)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON form from which `intervention_from_json` makes an equal value."""
        return {"kind": type(self).__name__} | {name: _value_to_json(value) for name, value in self._values().items()}

    def _values(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in attrs.fields(type(self))}


def check_site(site: Site, model: ModelInfo) -> None:
    """Raise ValueError when `model` has no such layer."""
    if site.layer >= model.n_layers:
        raise ValueError(
            f"got layer {site.layer} in {str(site)!r}; {model.name} has {model.n_layers} layers: choose 0 to {model.n_layers - 1}."
        )


@frozen
class Ablate(Intervention):
    """Replace an activation by nothing, or by its mean over a reference.

    Parameters
    ----------
    mean : Direction or array ``[d_model]``, optional
        What to put there, e.g. the mean over a reference set; zeros by default.
    """

    mean: Direction | None = field(default=None, converter=_as_direction_or_none, kw_only=True)

    def operation(self) -> Operation:
        """Return the replacement by the mean."""
        value = np.zeros(1) if self.mean is None else self.mean.vector
        return Operation(arithmetic.put, {"value": value})


@frozen
class Patch(Intervention):
    """Replace an activation by what another prompt has there.

    Parameters
    ----------
    source : str
        The other prompt; it is run untouched.
    source_tokens : as ``tokens``, optional
        Which of its tokens to take: as many as are replaced, or one for all. As ``tokens`` by default.

    References
    ----------
    .. [1] Heimersheim & Nanda, "How to use and interpret activation patching", 2024, section 2. arXiv:2404.15255
    """

    source: str = field(kw_only=True)
    source_tokens: TokenSelection | None = field(default=None, converter=_as_tokens_or_none, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.source, str) or not self.source:
            raise ValueError(
                f"got source={self.source!r} in a Patch; wanted the text of a prompt to take the activation from."
            )

    def operation(self) -> Operation:
        """Return the replacement; its ``value [n_tokens, d_model]`` comes from the run of `source`."""
        return Operation(arithmetic.put)


@frozen
class Steer(Intervention):
    """Add a direction to an activation.

    Parameters
    ----------
    direction : Direction or array ``[d_model]``
        What to add, in the units of the activations.
    scale : float, default 1
        How many times.

    References
    ----------
    .. [1] Turner et al., "Steering language models with activation engineering", 2023, section 3. arXiv:2308.10248
    """

    direction: Direction = field(converter=_as_direction, kw_only=True)
    scale: float = field(default=1.0, validator=_check_finite, kw_only=True)

    def operation(self) -> Operation:
        """Return the sum."""
        return Operation(arithmetic.steer, {"direction": self.direction.vector}, {"scale": self.scale})


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
    by: float | None = field(default=None, validator=_check_finite, kw_only=True)
    to: float | None = field(default=None, validator=_check_finite, kw_only=True)
    start: float | None = field(default=None, validator=_check_finite, kw_only=True)

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


_KINDS: dict[str, type[Intervention]] = {cls.__name__: cls for cls in (Ablate, Patch, Steer, Rotate)}


def _value_to_json(value: Any) -> Any:
    if isinstance(value, Site):
        return str(value)
    if isinstance(value, Subspace):
        return subspace_to_json(value)
    return value.to_json() if isinstance(value, TokenSelection) else value


def intervention_from_json(value: Mapping[str, Any]) -> Intervention:
    """Read back what `Intervention.to_json` gave; ValueError for an unknown kind."""
    if value.get("kind") not in _KINDS:
        raise ValueError(f"got an intervention of kind {value.get('kind')!r}; known are {', '.join(_KINDS)}.")
    arguments = {name: v for name, v in value.items() if name not in ("kind", "site")}
    for name, v in arguments.items():
        if isinstance(v, Mapping) and v.get("kind"):
            arguments[name] = subspace_from_json(v)
    return _KINDS[value["kind"]](value["site"], **arguments)


__all__ = [
    "Ablate",
    "Intervention",
    "Operation",
    "Patch",
    "Rotate",
    "Steer",
    "TokensLike",
    "check_site",
    "intervention_from_json",
]
