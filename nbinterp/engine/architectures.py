"""Where each model family keeps its components. What is written here is proved on every model that is opened: see `dissect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOFTMAX = "source.attention_interface_1.source.nn_functional_softmax_0.output"


@dataclass(frozen=True)
class Family:
    """Where the models of a family keep their components.

    Parameters
    ----------
    blocks : str
        Path of the list of blocks.
    sites : mapping of str to str
        By component: the path of a module and its end; inside the block for components with a layer.
    fused : tuple of str
        How queries, keys and values may lie in the output of one module, where they do: see `layout`.
    """

    blocks: str
    sites: Mapping[str, str]
    fused: tuple[str, ...] = ()


LLAMA = {
    "embed": "model.embed_tokens.output",
    "q": "self_attn.q_proj.output",
    "k": "self_attn.k_proj.output",
    "v": "self_attn.v_proj.output",
    "pattern": f"self_attn.{_SOFTMAX}",
    "z": "self_attn.o_proj.input",
    "attn_out": "self_attn.o_proj.output",
    "resid_mid": "post_attention_layernorm.input",
    "mlp_post": "mlp.down_proj.input",
    "mlp_out": "mlp.down_proj.output",
}
_NORMED_TWICE = {
    "attn_out": "post_attention_layernorm.output",
    "resid_mid": "pre_feedforward_layernorm.input",
    "mlp_out": "post_feedforward_layernorm.output",
}
_PHI = {"z": "self_attn.dense.input", "attn_out": "self_attn.dense.output"}
_PHI_MLP = {"mlp_post": "mlp.fc2.input", "mlp_out": "mlp.fc2.output"}
GPT2 = {
    "embed": "transformer.wte.output",
    **dict.fromkeys("qkv", "attn.c_attn.output"),
    "pattern": f"attn.{_SOFTMAX}",
    "z": "attn.c_proj.input",
    "attn_out": "attn.c_proj.output",
    "resid_mid": "ln_2.input",
    "mlp_post": "mlp.c_proj.input",
    "mlp_out": "mlp.c_proj.output",
}
NEOX = {
    "embed": "gpt_neox.embed_in.output",
    **dict.fromkeys("qkv", "attention.query_key_value.output"),
    "pattern": f"attention.{_SOFTMAX}",
    "z": "attention.dense.input",
    "attn_out": "attention.dense.output",
    "resid_mid": "post_attention_layernorm.input",
    "mlp_post": "mlp.dense_4h_to_h.input",
    "mlp_out": "mlp.dense_4h_to_h.output",
}
OPT = LLAMA | {
    "embed": "model.decoder.embed_tokens.output",
    "z": "self_attn.out_proj.input",
    "attn_out": "self_attn.out_proj.output",
    "resid_mid": "final_layer_norm.input",
    "mlp_post": "fc2.input",
    "mlp_out": "fc2.output",
}
FALCON = {
    "embed": "transformer.word_embeddings.output",
    **dict.fromkeys("qkv", "self_attention.query_key_value.output"),
    "pattern": "self_attention.source.F_softmax_0.output",
    "z": "self_attention.dense.input",
    "attn_out": "self_attention.dense.output",
    "resid_mid": "post_attention_layernorm.input",
    "mlp_post": "mlp.dense_4h_to_h.input",
    "mlp_out": "mlp.dense_4h_to_h.output",
}

FAMILIES = (
    Family("model.layers", LLAMA | _NORMED_TWICE),  # Gemma 2, Gemma 3
    Family("model.layers", LLAMA),  # Llama, Mistral, Qwen 2, Qwen 3, Gemma, SmolLM3
    Family("model.layers", LLAMA | _PHI | _PHI_MLP),  # Phi 1, 1.5, 2
    Family("model.layers", LLAMA | dict.fromkeys("qkv", "self_attn.qkv_proj.output"), ("in a row",)),  # Phi 3, Phi 4
    Family("transformer.h", GPT2, ("stacked",)),  # GPT-2
    Family("transformer.h", FALCON, ("by group", "in a row", "by head")),  # Falcon
    Family("gpt_neox.layers", NEOX, ("by head",)),  # GPT-NeoX, Pythia
    Family("model.decoder.layers", OPT),
)
"""The first family whose modules a model has is the one that is tried on it."""

BLOCKS = tuple(dict.fromkeys(family.blocks for family in FAMILIES))
"""Paths of the list of blocks inside transformers' causal language models."""


@dataclass(frozen=True)
class Part:
    """Which part of a module's last axis a component is: see `nbinterp.anatomy.Place`."""

    split: tuple[int, ...]
    axis: int
    start: int
    length: int


def layout(name: str, heads: int, kv_heads: int, d_head: int) -> dict[str, Part]:
    """Return which part of a fused projection's output queries, keys and values are.

    Parameters
    ----------
    name : {"stacked", "by head", "in a row", "by group"}
        All queries, then all keys, then all values, of as many heads each; those of one head after those of another; the
        first with fewer heads for keys and values; the second with several query heads to a key and a value.
    heads, kv_heads, d_head : int
        Number of query heads, of key/value heads, and width of a head.
    """
    group = heads // kv_heads
    if name == "stacked":
        return {c: Part((3, heads, d_head), 0, i, 1) for i, c in enumerate("qkv")}
    if name == "by head":
        return {c: Part((heads, 3, d_head), 1, i, 1) for i, c in enumerate("qkv")}
    lengths = {"q": heads, "k": kv_heads, "v": kv_heads} if name == "in a row" else {"q": group, "k": 1, "v": 1}
    split, axis = ((heads + 2 * kv_heads, d_head), 0) if name == "in a row" else ((kv_heads, group + 2, d_head), 1)
    starts = {"q": 0, "k": lengths["q"], "v": lengths["q"] + lengths["k"]}
    return {c: Part(split, axis, starts[c], lengths[c]) for c in "qkv"}
