"""`nb.activation_patching`, all of it (behaviour gate, alignment, table), against TransformerLens 4's functions of the same grids."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

import nbinterp as nb
from benchmarks.grid import ANSWER, OTHER, Pairs, early, late, lens_patching, transformer_lens
from benchmarks.pairs import Absent, Row, Setting, alternate, compare
from benchmarks.subjects import PEER, Subject, smollm2

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(setting: Setting) -> Iterator[Row | Absent]:
    """Grids over tokens and over heads, of prompts that differ early and late."""
    subject = smollm2()
    try:
        bridge = transformer_lens(subject)
    except LookupError as missing:
        yield Absent(f"{subject.name}: activation patching", "TransformerLens 4", str(missing))
        return
    for sites, texts in (("resid_pre", early), ("z", early), ("z", late)):
        yield _row(subject, bridge, sites, texts, setting)


def _row(subject: Subject, bridge: Any, sites: str, texts: Pairs, setting: Setting) -> Row:
    metric = nb.logit_difference(ANSWER, OTHER)
    found: dict[str, Any] = {}

    def ours(turn: int) -> None:
        clean, corrupted = texts(subject, turn)
        found["ours"] = nb.activation_patching(
            subject.model, clean, corrupted, metric=metric, sites=sites, gate="ignore"
        )

    def theirs(turn: int) -> None:
        clean, corrupted = texts(subject, turn)
        function = lens_patching if sites == "resid_pre" else lens_heads
        found["theirs"] = function(subject, bridge, clean, corrupted)

    pairs = alternate(ours, theirs, setting.pairs(3 if sites == "z" else 5), warm=0)
    grid = found["ours"].values[0, 0]
    # a grid is read on the scale from corrupted to clean, which may lie close together on prompts without the behaviour
    scale = max(abs(found["ours"].clean - found["ours"].corrupted), float(np.abs(found["theirs"]).max()))
    n_tokens = subject.ids(texts(subject, 0)[0]).shape[1]
    names = "layers × tokens" if sites == "resid_pre" else "layers × heads, all tokens"
    return Row(
        f"{subject.name}: nb.activation_patching of {' × '.join(map(str, grid.shape))} {names}, {n_tokens} tokens that differ from "
        f"{'the second' if texts is early else 'the tenth'} on",
        "TransformerLens 4's own",
        8,
        "speed",
        pairs,
        compare(f"{grid.size} logit differences with it", grid.to_numpy(), found["theirs"], scale=scale),
    )


@PEER()
def lens_heads(subject: Subject, bridge: Any, clean: str, corrupted: str) -> np.ndarray:
    """Return the logit differences ``[layer, head]`` by TransformerLens' own function."""
    patching = importlib.import_module("transformer_lens.patching")
    a, b = (subject.model.vocabulary.id(text) for text in (ANSWER, OTHER))
    _, cache = bridge.run_with_cache(subject.ids(clean))
    found = patching.get_act_patch_attn_head_out_all_pos(
        bridge, subject.ids(corrupted), cache, lambda logits: logits[0, -1, a] - logits[0, -1, b]
    )
    return np.asarray(found.numpy())
