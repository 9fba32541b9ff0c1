"""Through what a model's blocks read the residual stream, seen in a run of the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.pytorch_utils import Conv1D

from nbinterp.engine.tensors import first_tensor

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo


@dataclass(frozen=True)
class Reading:
    """Through what attention and MLP of a block read the residual stream.

    Parameters
    ----------
    attention, mlp : str
        Path of the norm inside the block; empty where there is none.
    tap : str
        Path of the module whose input is the MLP's own, from the stream or, where the norm is shared, from it.
    shared : bool
        Whether both read through the same norm.
    """

    attention: str
    mlp: str
    tap: str
    shared: bool


def reading(module: torch.nn.Module, info: ModelInfo) -> Reading:
    """Return through what the blocks of a model read the residual stream, seen in one run of the first.

    Raises
    ------
    ValueError
        When that cannot be told.
    """
    assert info.anatomy is not None
    places = info.anatomy.places
    block = module.get_submodule(f"{info.blocks}.0")
    taken, given = _passed(module, block)
    stream, q = taken[""], places["q"].module
    attention = next((path for path in given if path and given[path] is taken[q]), "")
    if (taken[attention] if attention else taken[q]) is not stream:
        raise ValueError(
            f"got {info.name} ({info.architecture}), whose attention reads the residual stream in a way that nbinterp cannot "
            "follow; circuits need a norm, or nothing, between the two."
        )
    if "resid_mid" in places:
        norm = places["resid_mid"].module
        return Reading(attention, norm, norm, False)
    apart = [path for path in taken if path and taken[path] is stream and path != attention]
    if apart:
        return Reading(attention, min(apart, key=len), min(apart, key=len), False)
    within = q.rpartition(".")[0]
    behind = [path for path in taken if attention and taken[path] is given[attention] and not path.startswith(within)]
    if not behind:
        raise ValueError(
            f"got {info.name} ({info.architecture}), whose MLP reads the residual stream in a way that nbinterp cannot follow."
        )
    return Reading(attention, attention, min(behind, key=len), True)


def _passed(module: torch.nn.Module, block: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the very tensors that each module of a block is given and gives, in a run on three tokens."""
    taken: dict[str, Any] = {}
    given: dict[str, Any] = {}

    def keep(into: dict[str, Any], path: str, values: Any) -> None:
        into.setdefault(path, first_tensor(values))

    hooks = []
    for path, child in block.named_modules():
        hooks += [
            child.register_forward_pre_hook(
                lambda _, args, kwargs, path=path: keep(taken, path, (*args, *kwargs.values())), with_kwargs=True
            ),
            child.register_forward_hook(lambda _, args, output, path=path: keep(given, path, output)),
        ]
    try:
        device = next(module.parameters()).device
        with torch.no_grad():
            module(torch.arange(1, 4, device=device)[None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return taken, given


def matrix(module: Any) -> torch.Tensor:
    """Return the matrix of an affine module, ``[n_in, n_out]``: what its input is multiplied by from the right."""
    weight: torch.Tensor = module.weight.detach()
    if isinstance(module, torch.nn.Linear) and weight.shape == (module.out_features, module.in_features):
        return weight.T
    if isinstance(module, Conv1D):
        return weight
    raise ValueError(
        f"got a model with a {type(module).__name__} of weights {list(weight.shape)} in its attention, where nbinterp cannot tell "
        "heads apart; wanted plain or GPT-2's linear modules: open the model unquantized, and merge its adapters."
    )
