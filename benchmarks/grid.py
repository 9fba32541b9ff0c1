"""Activation patching of every layer and token, against nnsight's documented loop and TransformerLens 4."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import nbinterp as nb
from benchmarks.pairs import Absent, Row, Setting, alternate, compare
from benchmarks.subjects import PEER, Subject, gpt2, smollm2, twin

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER, OTHER = " Paris", " Rome"
NAMES = ("Mary", "John", "Tom", "James", "Dan", "Sarah", "Anna", "Peter")

Pairs = Callable[[Subject, int], tuple[str, str]]
"""Clean and corrupted prompt of a turn: new ones each time, since their untouched runs are part of the work."""


def early(subject: Subject, turn: int) -> tuple[str, str]:
    """Return prompts of 16 tokens that differ in the second word, so that nearly every point of the grid changes something."""
    clean = subject.text(16, seed=300 + turn)
    return clean, subject.other(clean, seed=turn)


def late(subject: Subject, turn: int) -> tuple[str, str]:
    """Return prompts of the indirect-object task (Wang et al. 2022), which differ in the tenth token of fourteen."""
    one, two = NAMES[turn % len(NAMES)], NAMES[(turn + 1 + turn // len(NAMES)) % len(NAMES)]
    clean, corrupted = (f"When {one} and {two} went to the store, {who} gave a drink to" for who in (two, one))
    return clean, corrupted


def rows(setting: Setting) -> Iterator[Row | Absent]:
    """Both models against both peers; on SmolLM2 also prompts that begin alike."""
    for subject, pairs in ((smollm2(), early), (smollm2(), late), (gpt2(), early)):
        yield _row(
            subject,
            setting,
            pairs,
            "nnsight's documented loop",
            lambda clean, corrupted, s=subject: nnsight_loop(s, clean, corrupted),
        )
        try:
            bridge = transformer_lens(subject)
        except LookupError as missing:
            yield Absent(_work(subject, pairs), "TransformerLens 4", str(missing))
            continue
        yield _row(
            subject,
            setting,
            pairs,
            "TransformerLens 4's activation patching",
            lambda clean, corrupted, s=subject, b=bridge: lens_patching(s, b, clean, corrupted),
        )


def _work(subject: Subject, pairs: Pairs) -> str:
    clean, corrupted = (subject.ids(text)[0].tolist() for text in pairs(subject, 0))
    first = next(i for i, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if a != b)
    return (
        f"{subject.name}: patching grid of {subject.n_layers} layers × {len(clean)} tokens, logit difference, "
        f"prompts that differ from token {first} on"
    )


def _row(subject: Subject, setting: Setting, texts: Pairs, name: str, peer: Callable[[str, str], np.ndarray]) -> Row:
    metric = nb.logit_difference(ANSWER, OTHER)
    results: dict[Any, np.ndarray] = {}
    n_tokens = subject.ids(texts(subject, 0)[0]).shape[1]

    def prompts(turn: int) -> tuple[str, str]:
        return texts(subject, turn)

    def ours(turn: int) -> None:
        clean, corrupted = prompts(turn)
        results["ours"] = subject.model.sweep(
            corrupted,
            lambda layer, token: nb.Patch(f"resid_pre.{layer}", source=clean, tokens=token),
            metric=metric,
            layer=range(subject.n_layers),
            token=range(n_tokens),
        ).values.to_numpy()

    def theirs(turn: int) -> None:
        results["theirs"] = peer(*prompts(turn))

    pairs = alternate(ours, theirs, setting.pairs(5), warm=0)
    with PEER():
        scale_of_logits = float(subject.raw(subject.ids(prompts(0)[1]), logits_to_keep=1).logits.abs().max())
    clean, corrupted = (subject.ids(text)[0].tolist() for text in prompts(0))
    first = next(i for i, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if a != b)
    done = sum(
        subject.multiplications(subject.n_layers - layer, n_tokens - token)
        for layer in range(subject.n_layers)
        for token in range(first, n_tokens)
    ) / (subject.n_layers * n_tokens * subject.multiplications(subject.n_layers, n_tokens, n_tokens))
    return Row(
        _work(subject, texts),
        name,
        8,
        "speed",
        pairs,
        compare(
            f"{subject.n_layers * n_tokens} logit differences with it",
            results["ours"],
            results["theirs"],
            scale=scale_of_logits,
        ),
        (f"does {done:.2f} of its multiplications",),
    )


@PEER()
def nnsight_loop(subject: Subject, clean: str, corrupted: str) -> np.ndarray:
    """Return the logit differences ``[layer, token]``, one trace after the other."""
    model = subject.nnsight
    blocks = [model.get(f"{subject.blocks}.{layer}") for layer in range(subject.n_layers)]
    a, b = (subject.model.vocabulary.id(text) for text in (ANSWER, OTHER))
    with model.trace(clean):
        kept = [block.input.clone() for block in blocks].save()
    n_tokens = subject.ids(clean).shape[1]
    found = np.empty((len(blocks), n_tokens))
    for layer, block in enumerate(blocks):
        for token in range(n_tokens):
            with model.trace(corrupted):
                block.input[:, token] = kept[layer][:, token]
                logits = model.output.logits[:, -1].save()
            found[layer, token] = float(logits[0, a] - logits[0, b])
    return found


def transformer_lens(subject: Subject) -> Any:
    """Return the model as TransformerLens 4 wraps it.

    Raises
    ------
    LookupError
        When version 4 or later cannot be imported.
    """
    try:
        version = importlib.metadata.version("transformer-lens")
        bridges = importlib.import_module("transformer_lens.model_bridge")
    except ImportError as error:
        raise LookupError(f"not installed ({error})") from None
    if int(version.split(".")[0]) < 4:
        raise LookupError(f"not installed (found {version})")
    # a local folder or a known name is only where it would look for a configuration: the module brings its own
    return bridges.TransformerBridge.boot_transformers(
        "in-memory", hf_model=twin(subject.raw), tokenizer=subject.tokenizer, device="cpu"
    ).eval()


@PEER()
def lens_patching(subject: Subject, bridge: Any, clean: str, corrupted: str) -> np.ndarray:
    """Return the logit differences ``[layer, token]`` by TransformerLens' own function."""
    patching = importlib.import_module("transformer_lens.patching")
    a, b = (subject.model.vocabulary.id(text) for text in (ANSWER, OTHER))
    _, cache = bridge.run_with_cache(subject.ids(clean))
    found = patching.get_act_patch_resid_pre(
        bridge, subject.ids(corrupted), cache, lambda logits: logits[0, -1, a] - logits[0, -1, b]
    )
    return np.asarray(found.numpy())
