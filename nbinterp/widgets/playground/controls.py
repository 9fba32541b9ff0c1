"""The control of a stack: every intervention moves its tokens as far as it would, in directions that mean nothing.

What an intervention with a subspace changes, the control changes within a random subspace: the same coefficients along
random axes, so that every step has the same length and sign, and what cancels still cancels. A replacement moves each token
in a direction of its own; so its control does, by the same length.

The change is taken where the control acts, in its own run, so that the two runs share one pass. For the first intervention
and for all that act with it at one site this is the true change; further down it is what the intervention would do to a
stream that was pushed at random above.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from nbinterp.interventions import Ablate, Patch, Project, Rotate, Scale, Steer
from nbinterp.operations import Intervention, Operation, Sources
from nbinterp.spaces import Direction, Floats, Loop, Plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from nbinterp.prompts import TokenizedPrompt


@frozen
class Control(Intervention):
    """What one intervention, or several at one place, would change, turned into random directions.

    Parameters
    ----------
    acts : tuple of Intervention
        All at the same site, tokens and steps, in the order in which they act.
    seed : int
        Of the directions. Acts in one subspace are given one random subspace.
    """

    acts: tuple[Intervention, ...] = field(kw_only=True)
    seed: int = field(kw_only=True)

    def operation(self) -> Operation:
        """Return the push."""
        return self._push([act.operation() for act in self.acts])

    def operation_in(self, prompt: TokenizedPrompt) -> Operation:
        """Return the push in one prompt."""
        return self._push([act.operation_in(prompt) for act in self.acts])

    def _push(self, parts: Sequence[Operation]) -> Operation:
        axes = [_axes(act) for act in self.acts]
        arrays: dict[str, Floats] = {}
        for i, (part, basis) in enumerate(zip(parts, axes, strict=True)):
            arrays |= {f"{i}_{name}": array for name, array in part.arrays.items()}
            if basis is not None:
                arrays |= {f"{i}_axes": basis, f"{i}_random": _random_axes(basis.tobytes(), basis.shape, self.seed)}
        return Operation(functools.partial(_pushed, parts=parts, seed=self.seed, masked=self._masked), arrays)

    def sources(self) -> Sources | None:
        """Return what a replacement takes from another run."""
        return self.acts[0].sources()

    @property
    def _masked(self) -> bool:
        return self.site.component == "pattern"


def _pushed(x: Tensor, *, parts: Sequence[Operation], seed: int, masked: bool, **arrays: Tensor) -> Tensor:
    """Return ``x [..., n_features]`` pushed as far as the operations would change it."""
    true, pushed = x, x
    for i, part in enumerate(parts):
        own = {name.removeprefix(f"{i}_"): a for name, a in arrays.items() if name.startswith(f"{i}_")}
        axes, random = own.pop("axes", None), own.pop("random", None)
        if "value" in arrays:
            own["value"] = arrays["value"]
        change = part(true, own) - true
        true = true + change
        if axes is not None and random is not None:
            pushed = pushed + change @ axes.T @ random
            continue
        noise = x.new_tensor(np.random.default_rng([seed, i]).standard_normal(tuple(x.shape)))
        # of attention, only what a query sees can take a share
        noise = noise * (x != 0) if masked else noise
        length = noise.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        pushed = pushed + noise * (change.norm(dim=-1, keepdim=True) / length)
    return pushed


def control_of(acts: Sequence[Intervention], seed: int) -> tuple[Intervention, ...]:
    """Return the control of a stack: acts at one place together, since one may take back what another did.

    Parameters
    ----------
    acts : sequence of Intervention
        Bound to their model; disabled ones are left out.
    seed : int
        Of the random directions.
    """
    together: dict[Any, list[Intervention]] = {}
    for index, act in enumerate(acts):
        if act.enabled:
            # what comes from another run reaches an operation under one name, so that it has to act alone
            alone = index if act.sources() is not None else None
            together.setdefault((act.site, act.tokens, act.steps, alone), []).append(act)
    return tuple(
        Control(group[0].site, tokens=group[0].tokens, steps=group[0].steps, acts=tuple(group), seed=seed)
        for group in together.values()
    )


def describe(act: Intervention) -> str:
    """Return in words what the control of an intervention does."""
    match act:
        case Steer(to=None) | Scale(on=Direction()) | Project(on=Direction(), out=True) | Steer():
            return "the same length along a random direction"
        case Rotate(on=Loop()):
            return "the same steps along a curve in a random subspace"
        case Rotate() | Scale(on=Plane()) | Project(on=Plane(), out=True):
            return "the same change within a random plane"
        case Scale(on=on) | Project(on=on, out=True) if on is not None:
            return f"the same change within a random subspace of {len(on.arrays()['basis'])} dimensions"
    keys = ", among the keys that its query sees" if act.site.component == "pattern" else ""
    return f"each token moved by the same length in a random direction{keys}"


def _axes(act: Intervention) -> Floats | None:
    """Return orthonormal rows in whose span the intervention changes an activation; None where it may go anywhere."""
    match act:
        case Steer(direction=direction):
            # of two opposite directions the control is one line
            unit = direction.unit.vector if direction.norm else direction.vector
            line: Floats = (unit * np.sign(unit[np.abs(unit).argmax()] or 1.0))[None]
            return line
        case Rotate(on=Loop() as loop):
            span: Floats = np.linalg.qr(np.concatenate([loop.cosines, loop.sines]).T)[0].T
            return span
        case Scale(on=None) | Project(out=False) | Ablate() | Patch():
            return None
        case Scale(on=Direction() as on) | Project(on=Direction() as on):
            return _axes(Steer(act.site, direction=on))
        case Scale() | Project() | Rotate():
            assert act.on is not None
            return act.on.arrays()["basis"]
    return None


@functools.lru_cache(maxsize=256)
def _random_axes(axes: bytes, shape: tuple[int, ...], seed: int) -> Floats:
    random = np.random.default_rng([seed, zlib.crc32(axes)])
    found: Floats = np.linalg.qr(random.normal(size=shape[::-1]))[0].T
    return found
