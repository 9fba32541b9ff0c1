"""Modules as the affine maps that they are on given states: norms with their scale frozen, pulled back to their input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nbinterp.engine.tolerances import TOLERANCES

if TYPE_CHECKING:
    from collections.abc import Sequence


def pull(
    modules: Sequence[torch.nn.Module], states: torch.Tensor, directions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return v and c such that ``v · x + c`` is what modules, one after the other, make of x, along a direction.

    Linear modules are pulled back as they are. A norm is taken with the scale that it has on these states: an RMSNorm
    x ↦ g ⊙ x / s, a LayerNorm x ↦ g ⊙ (x − mean x) / s + b, with s frozen.

    Parameters
    ----------
    modules : sequence of Module
        Each linear, affine, or a norm.
    states : tensor, ``[row, n_in]``
        What goes in.
    directions : tensor, ``[row, n_out]``
        Along which directions of what comes out.

    Returns
    -------
    vectors : tensor of float64, ``[row, n_in]``
    constants : tensor of float64, ``[row]``

    Raises
    ------
    ValueError
        When a module is neither on these states.
    """
    with torch.no_grad():
        passed = [states]
        for module in modules:
            passed.append(module(passed[-1]))
    vectors = directions.double()
    constants = torch.zeros(len(states), dtype=torch.float64, device=states.device)
    for module, given, made in zip(reversed(modules), passed[-2::-1], passed[:0:-1], strict=True):
        with torch.no_grad():
            # zero goes to the bias of either
            bias = module(torch.zeros_like(given[:1]))[0].double()
        constants = constants + vectors @ bias
        vectors = _through(module, given, made.double() - bias, bias, vectors)
    return vectors, constants


def _through(
    module: torch.nn.Module, given: torch.Tensor, made: torch.Tensor, bias: torch.Tensor, vectors: torch.Tensor
) -> torch.Tensor:
    """Return vectors ``[row, n_out]`` pulled back to what is given, of which `made` (without the bias) came."""
    dtype = str(given.dtype).removeprefix("torch.")

    def same(a: torch.Tensor, b: torch.Tensor) -> bool:
        return bool((a - b).abs().max() <= TOLERANCES[dtype] * b.abs().max())

    with torch.no_grad():
        doubled = module(2 * given).double() - bias
    if same(doubled, 2 * made):
        leaf = given.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            (back,) = torch.autograd.grad(module(leaf), leaf, vectors.to(given.dtype))
        return back.double()
    # what a norm weighs each feature with shows on a state all of whose features are as large, far above its epsilon
    probe = torch.full_like(given[:1], 256.0)
    probe[:, 1::2] *= -1
    with torch.no_grad():
        shown = module(probe).double() - bias
    for centred in (False, True):
        x, p = (_centred(tensor.double()) if centred else tensor.double() for tensor in (given, probe))
        unscaled = shown * p.pow(2).mean().sqrt() / p * x
        scale = (made * unscaled).sum(-1, keepdim=True) / unscaled.pow(2).sum(-1, keepdim=True)
        if same(scale * unscaled, made):
            gain = scale * shown * p.pow(2).mean().sqrt() / p * vectors
            return _centred(gain) if centred else gain
    raise ValueError(
        f"got a {type(module).__name__}, which is neither linear nor a norm on these states, so that what passes it does not split "
        "into a sum; nbinterp cannot attribute logits in this model."
    )


def _centred(tensor: torch.Tensor) -> torch.Tensor:
    return tensor - tensor.mean(-1, keepdim=True)
