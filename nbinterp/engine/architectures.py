"""Where each model family keeps its blocks, and a check on opening that they are what their name says."""

from __future__ import annotations

import operator

import torch

BLOCKS = (
    "model.layers",  # Llama, Mistral, Qwen, Gemma, Phi, OLMo
    "transformer.h",  # GPT-2, GPT-J, Falcon, Bloom
    "gpt_neox.layers",  # GPT-NeoX, Pythia
    "model.decoder.layers",  # OPT
)
"""Paths of the list of blocks inside transformers' causal language models, with families that use them."""


def find_blocks(module: torch.nn.Module) -> str:
    """Return the path of the module's list of blocks.

    Raises
    ------
    ValueError
        When it stands at none of `BLOCKS`.
    """
    for path in BLOCKS:
        try:
            found = operator.attrgetter(path)(module)
        except AttributeError:
            continue
        if isinstance(found, torch.nn.ModuleList) and len(found):
            return path
    raise ValueError(
        f"got a model of class {type(module).__name__} with its blocks at none of {', '.join(BLOCKS)}; nbinterp knows decoder-only language models "
        "of transformers' Llama, GPT-2, GPT-NeoX and OPT families: open one of those."
    )


def check_blocks(module: torch.nn.Module, path: str) -> None:
    """Prove on this very model that each block's output is the residual stream that the next block reads.

    Raises
    ------
    ValueError
        When it is not, so that ``resid_post`` would not mean what it says.
    """
    blocks: torch.nn.ModuleList = operator.attrgetter(path)(module)
    device = next(module.parameters()).device
    inputs: list[torch.Tensor] = []
    outputs: list[object] = []

    def note(
        block: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor], output: object
    ) -> None:
        inputs.append(args[0] if args else kwargs["hidden_states"])
        outputs.append(output)

    hooks = [block.register_forward_hook(note, with_kwargs=True) for block in blocks]
    try:
        with torch.no_grad():
            module(torch.tensor([[1, 2]], device=device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, (output, following) in enumerate(zip(outputs, inputs[1:], strict=False)):
        # nan_to_num: weights with NaN are for whoever reads activations to complain of, and NaN ≠ NaN
        if not isinstance(output, torch.Tensor) or not torch.equal(output.nan_to_num(), following.nan_to_num()):
            raise ValueError(
                f"got a model of class {type(module).__name__} in which block {layer} does not hand its output to block {layer + 1} as it is, "
                "so that 'resid_post' would not be the residual stream there; nbinterp cannot work on this model."
            )
