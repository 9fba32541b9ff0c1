"""What interventions do to activations: one plain function each.

The engine calls these functions and `Experiment.to_code` prints their source, so that both do the same by
construction. They use tensor methods only and are read without their module: no imports, no globals, no calls of
one another. ``x`` is a tensor ``[..., n_features]``; arrays arrive as tensors of its dtype and device; angles are radians;
the rows of a ``basis [k, n_features]`` are orthonormal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def partly(x: Tensor, changed: Tensor, amount: float) -> Tensor:
    """Return the point at a share of the way from x to what it is changed into: 0 is x, 1 the change."""
    return x.lerp(changed, amount)


def put(x: Tensor, value: Tensor) -> Tensor:
    """Return `value`, whatever stood there."""
    return value.expand_as(x)


def steer(x: Tensor, direction: Tensor, scale: float) -> Tensor:
    """Return x pushed along a direction."""
    return x + scale * direction


def set_projection(x: Tensor, direction: Tensor, to: float) -> Tensor:
    """Return x moved along a unit direction until its projection onto it is `to`; what is orthogonal stays."""
    return x + (to - x @ direction)[..., None] * direction


def scale(x: Tensor, factor: float) -> Tensor:
    """Return x multiplied by a factor."""
    return factor * x


def scale_within(x: Tensor, centre: Tensor, basis: Tensor, factor: float) -> Tensor:
    """Return x with its component in a subspace through the centre multiplied by a factor; what is orthogonal stays."""
    return x + (factor - 1) * ((x - centre) @ basis.T @ basis)


def cut(x: Tensor, keep: Tensor, renormalised: bool) -> Tensor:
    """Return weights of attention, heads side by side, times 1 or 0 for each key; the others may sum to one in their place."""
    left = x.reshape(*x.shape[:-1], -1, keep.shape[-1]) * keep
    total = left.sum(-1, keepdim=True)
    # where nothing is left, nothing is looked at
    return (left / (total + (total == 0)) if renormalised else left).flatten(-2)


def project_onto(x: Tensor, centre: Tensor, basis: Tensor) -> Tensor:
    """Return the point nearest to x of the subspace through the centre."""
    return centre + (x - centre) @ basis.T @ basis


def project_out(x: Tensor, centre: Tensor, basis: Tensor) -> Tensor:
    """Return x without its component in the subspace through the centre: there it stands where the centre stands."""
    return x - (x - centre) @ basis.T @ basis


def turn_in_plane(x: Tensor, centre: Tensor, basis: Tensor, by: float | None, to: float) -> Tensor:
    """Return x with its projection onto a plane turned by an angle, or to one; what is orthogonal stays."""
    across, up = ((x - centre) @ basis.T).unbind(-1)
    turn = to - up.atan2(across) if by is None else up * 0 + by
    cos, sin = turn.cos(), turn.sin()
    new_across, new_up = across * cos - up * sin, across * sin + up * cos
    return x + (new_across - across)[..., None] * basis[0] + (new_up - up)[..., None] * basis[1]


def move_along_loop(
    x: Tensor, centre: Tensor, cosines: Tensor, sines: Tensor, start: float | None, by: float | None, to: float
) -> Tensor:
    """Return x moved along a closed curve from where it stands (`start`, or the nearest point); its offset stays."""
    ks = range(1, len(cosines) + 1)
    if start is None:
        grid = x.new_tensor(range(3600)) * (6.283185307179586 / 3600)
        curve = sum(
            (k * grid).cos()[:, None] * c + (k * grid).sin()[:, None] * s
            for k, c, s in zip(ks, cosines, sines, strict=True)
        )
        # |x - curve|² without |x|²: the first token's giant norm would swallow the rest
        here = grid[((x - centre) @ curve.T - (curve * curve).sum(-1) / 2).argmax(dim=-1)]
    else:
        here = x[..., 0] * 0 + start
    there = here * 0 + to if by is None else here + by
    for k, c, s in zip(ks, cosines, sines, strict=True):
        x = x + ((k * there).cos() - (k * here).cos())[..., None] * c
        x = x + ((k * there).sin() - (k * here).sin())[..., None] * s
    return x
