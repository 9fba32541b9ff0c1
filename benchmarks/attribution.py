"""Attribution patching against one pass forward and back, with and without slopes of the weights; edge attribution (EAP-IG) against its reference's hooks."""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.machinery
import importlib.util
import sys
import tempfile
import types
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import nbinterp as nb
from benchmarks.grid import NAMES
from benchmarks.pairs import Absent, Agreement, Row, Setting, alternate, compare
from benchmarks.subjects import Subject, smollm2, twin

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS, PAIRS, AT_ONCE = 5, 100, 20
SITES = ("resid_pre", "attn_out", "mlp_out", "z")

Pair = tuple[str, str, "nb.metrics.Metric"]


def rows(setting: Setting) -> Iterator[Row | Absent]:
    """Attribution patching at all sites, and all edges' scores."""
    subject = smollm2()
    yield _patching(subject, setting, weights=False)
    yield _patching(subject, setting, weights=True)
    n = 8 if setting.quick else PAIRS
    work = f"{subject.name}: EAP-IG of all edges, {STEPS} steps, {n} pairs of 14 tokens"
    against = "the reference's hooks (Hanna et al.) on TransformerLens 3.9"
    try:
        oracle = hooked(subject)
    except LookupError as missing:
        yield Absent(work, against, str(missing))
        return
    yield _edges(subject, oracle, setting, n, work, against)


def ioi(turn: int, n: int) -> list[Pair]:
    """Return pairs of the indirect-object task (Wang et al. 2022), others in each turn."""
    found = []
    for i in range(turn * n, (turn + 1) * n):
        one, other = NAMES[i % len(NAMES)], NAMES[(i + 1 + i // len(NAMES) % (len(NAMES) - 1)) % len(NAMES)]
        place = ("store", "school", "park", "office", "station", "market", "garden", "museum")[i // 56 % 8]
        text = f"When {one} and {other} went to the {place}, {{}} gave a drink to"
        found.append((text.format(one), text.format(other), nb.logit_difference(f" {other}", f" {one}")))
    return found


def _patching(subject: Subject, setting: Setting, *, weights: bool) -> Row:
    results: dict[str, Any] = {}

    def ours(turn: int) -> None:
        clean, corrupted, metric = ioi(turn, 1)[0]
        found = nb.attribution_patching(
            subject.model, clean, corrupted, metric=metric, sites=SITES, verify=0, gate="ignore"
        )
        results["ours"] = found.estimates["resid_pre"][0, 0].to_numpy()

    def theirs(turn: int) -> None:
        clean, corrupted, metric = ioi(turn, 1)[0]
        a, b = metric.ids(subject.model.vocabulary)
        with torch.no_grad():
            start = subject.raw.get_input_embeddings()(subject.ids(corrupted))
        start.requires_grad_()
        subject.raw.requires_grad_(weights)
        try:
            logits = subject.raw(inputs_embeds=start, use_cache=False, logits_to_keep=1).logits[0, -1]
            (logits[a] - logits[b]).backward()
        finally:
            subject.raw.zero_grad(set_to_none=True)
            subject.raw.requires_grad_(False)
        slope = start.grad
        results["theirs"] = lambda: (
            ((subject.raw.get_input_embeddings()(subject.ids(clean)) - start) * slope).sum(-1)[0].detach().numpy()
        )

    pairs = alternate(ours, theirs, setting.pairs(15), warm=2)
    return Row(
        f"{subject.name}: attribution patching of {len(SITES)} components at all {subject.n_layers} layers × 14 tokens, "
        "with the clean run that it needs",
        "torch's own pass forward and loss.backward()"
        + (", slopes of the weights with it" if weights else ", slopes of the weights left out"),
        1.5,
        "time",
        pairs,
        compare("estimates at the embeddings with it", results["ours"], results["theirs"]()),
        ()
        if weights
        else ("two passes forward and one back are 1.5 where the way back takes as long as the way there",),
    )


def _edges(subject: Subject, oracle: Any, setting: Setting, n: int, work: str, against: str) -> Row:
    results: dict[str, np.ndarray] = {}

    def ours(turn: int) -> None:
        clean, corrupted, metrics = map(list, zip(*ioi(turn, n), strict=True))
        found = nb.circuit(subject.model, clean, corrupted, metric=metrics, steps=STEPS, gate="ignore")
        results["ours"] = np.nan_to_num(found.scores.to_numpy())

    def theirs(turn: int) -> None:
        results["theirs"] = reference(subject, oracle, ioi(turn, n)) / n

    pairs = alternate(ours, theirs, setting.pairs(3), warm=0)
    edges = subject.model.edges.wiring.edges
    correlation = float(np.corrcoef(results["ours"][edges], results["theirs"][edges])[0, 1])
    # what counts is that edges are ranked alike
    return Row(
        work,
        against,
        1.5,
        "speed",
        pairs,
        Agreement(f"{int(edges.sum()):,} edges, 1 − correlation", 1 - correlation),
        (f"correlation {correlation:.6f}",),
    )


@functools.cache
def hooked(subject: Subject) -> Any:
    """Return the model as TransformerLens 3.9 has it, set as the reference wants it.

    Raises
    ------
    LookupError
        When it cannot be imported.
    """
    _leave_out_datasets()
    try:
        lens = importlib.import_module("transformer_lens")
        loading = importlib.import_module("transformer_lens.loading_from_pretrained")
        lens.HookedTransformer  # noqa: B018  version 4 has none
    except (ImportError, AttributeError) as error:
        raise LookupError(f"TransformerLens 3.9 is not installed ({error})") from None
    config = copy.deepcopy(subject.raw.config)
    config.architectures = [type(subject.raw).__name__]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config.save_pretrained(folder)
        fields = loading.convert_hf_model_config(folder) | {
            "n_ctx": 64,
            "original_architecture": type(subject.raw).__name__,
            "tokenizer_name": None,
            "device": "cpu",
            "dtype": torch.float32,
        }
        oracle = lens.HookedTransformer(lens.HookedTransformerConfig.from_dict(fields))
        oracle.load_and_process_state_dict(
            loading.get_pretrained_state_dict(folder, oracle.cfg, twin(subject.raw)),
            fold_ln=False,
            center_writing_weights=False,
            center_unembed=False,
            fold_value_biases=False,
        )
    oracle.set_use_attn_result(True)
    oracle.set_use_split_qkv_input(True)
    oracle.set_use_hook_mlp_in(True)
    oracle.set_ungroup_grouped_query_attention(True)
    return oracle.eval()


def reference(subject: Subject, oracle: Any, given: list[Pair]) -> np.ndarray:
    """Return the sum of all edges' scores ``[receiver, node]`` the way the reference does it.

    Hooks note every node's output, corrupted minus clean, and every receiver's gradient is multiplied by those before it as
    it comes; the metric is −1 times ours. Keys and values are each query head's own there, and summed here.
    """
    m, wiring = subject.model.info, subject.model.edges.wiring
    total = torch.zeros(len(wiring.nodes), m.n_layers * (3 * m.n_heads + 1) + 1)
    for first in range(0, len(given), AT_ONCE):
        _reference_batch(subject, oracle, given[first : first + AT_ONCE], total)
    found = np.zeros(wiring.edges.shape)
    scores, group = total.numpy().T / STEPS, m.n_heads // m.n_kv_heads
    for layer in range(m.n_layers):
        theirs, ours = layer * (3 * m.n_heads + 1), wiring.receivers_before(layer)
        found[ours : ours + m.n_heads] = scores[theirs : theirs + m.n_heads]
        shared = scores[theirs + m.n_heads : theirs + 3 * m.n_heads].reshape(2 * m.n_kv_heads, group, -1).sum(1)
        found[ours + m.n_heads : ours + wiring.attention_inputs] = shared
        found[ours + wiring.attention_inputs] = scores[theirs + 3 * m.n_heads]
    found[-1] = scores[-1]
    return found * wiring.edges


def _reference_batch(subject: Subject, oracle: Any, given: list[Pair], total: torch.Tensor) -> None:
    m, wiring = subject.model.info, subject.model.edges.wiring
    clean, corrupted = (torch.cat([subject.ids(pair[:2][side]) for pair in given]) for side in (0, 1))
    answers = torch.tensor([pair[2].ids(subject.model.vocabulary) for pair in given])
    difference = torch.zeros(*clean.shape, len(wiring.nodes), m.d_model)

    def note(sign: int, at: int | slice) -> Any:
        def hook(activation: torch.Tensor, hook: Any) -> None:
            difference[:, :, at] += sign * activation.detach()

        return hook

    def score(n_nodes: int, at: int | slice) -> Any:
        def hook(slope: torch.Tensor, hook: Any) -> None:
            slope = slope.detach() if slope.ndim == 4 else slope.detach()[:, :, None]
            found = torch.einsum("bpnd,bprd->nr", difference[:, :, :n_nodes], slope)
            total[:n_nodes, at] += found if isinstance(at, slice) else found[:, 0]

        return hook

    written: list[tuple[str, int | slice]] = [("hook_embed", 0)]
    back = []
    for layer in range(m.n_layers):
        before, first = wiring.nodes_before(layer), layer * (3 * m.n_heads + 1)
        written.append((f"blocks.{layer}.attn.hook_result", slice(before, before + m.n_heads)))
        written.append((f"blocks.{layer}.hook_mlp_out", before + m.n_heads))
        for i, letter in enumerate("qkv"):
            at = slice(first + i * m.n_heads, first + (i + 1) * m.n_heads)
            back.append((f"blocks.{layer}.hook_{letter}_input", score(before, at)))
        back.append((f"blocks.{layer}.hook_mlp_in", score(before + m.n_heads, first + 3 * m.n_heads)))
    back.append((f"blocks.{m.n_layers - 1}.hook_resid_post", score(len(wiring.nodes), -1)))
    with torch.inference_mode():
        for ids, sign in ((corrupted, 1), (clean, -1)):
            with oracle.hooks(fwd_hooks=[(name, note(sign, at)) for name, at in written]):
                oracle(ids)
    with torch.no_grad():
        ends = [oracle.embed(ids) for ids in (corrupted, clean)]
    for k in range(1, STEPS + 1):
        start = (ends[0] + k / STEPS * (ends[1] - ends[0])).requires_grad_()
        with oracle.hooks(fwd_hooks=[("hook_embed", lambda _, hook, start=start: start)], bwd_hooks=back):
            logits = oracle(clean)[:, -1]
            rows = torch.arange(len(given))
            (logits[rows, answers[:, 1]] - logits[rows, answers[:, 0]]).sum().backward()
    oracle.zero_grad(set_to_none=True)


def _leave_out_datasets() -> None:
    """Let TransformerLens be imported without `datasets`, from which it takes texts to train on."""
    if importlib.util.find_spec("datasets") is not None:
        return
    for name in ("datasets", "datasets.arrow_dataset", "datasets.iterable_dataset", "datasets.load"):
        module: Any = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        module.Dataset = module.DatasetDict = module.IterableDataset = module.load_dataset = object
        sys.modules[name] = module
