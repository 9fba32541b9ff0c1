"""Run a plan as nnsight traces. The only module that imports nnsight."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nnsight
import numpy as np
import torch
from numpy.typing import NDArray

from nbinterp.engine.plan import Batch, Edit, Plan, Row, cut
from nbinterp.sites import Site, TokenizedPrompt

if TYPE_CHECKING:
    from nbinterp.spaces import ModelInfo


@dataclass(frozen=True)
class Run:
    """What one row gave: logits at its last token ``[n_vocab]`` and, by site, activations ``[n_tokens, d_model]``."""

    logits: NDArray[np.float32]
    activations: Mapping[Site, NDArray[np.float32]]


@dataclass(frozen=True)
class _Kept:
    """An untouched run: logits ``[n_vocab]`` and the residual stream after every block ``[n_layers, n_tokens, d_model]``."""

    logits: torch.Tensor
    resid_post: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.logits.nbytes + self.resid_post.nbytes


class Executor:
    """A model wrapped by nnsight, with the untouched runs of the prompts that it saw last.

    Parameters
    ----------
    module : torch.nn.Module
        A causal language model of transformers, in evaluation mode.
    tokenizer : tokenizer of transformers
        Its tokenizer.
    info : ModelInfo
        Which model it is.
    keep_bytes : int
        Bound on the memory of kept untouched runs.
    max_tokens : int
        Bound on rows × tokens of a batch.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        tokenizer: Any,
        info: ModelInfo,
        keep_bytes: int = 256 * 2**20,
        max_tokens: int = 2048,
    ) -> None:
        self.nnsight = nnsight.TransformersModel(module, tokenizer=tokenizer, task="text-generation")
        self.info = info
        self.max_tokens = max_tokens
        self._keep_bytes = keep_bytes
        self._kept: OrderedDict[tuple[int, ...], _Kept] = OrderedDict()
        parameter = next(module.parameters())
        self._like: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
        last_only = "logits_to_keep" in inspect.signature(module.forward).parameters
        self._last_only = {"logits_to_keep": 1} if last_only else {}

    def run(
        self, plan: Plan, progress: Callable[[int], object] = lambda rows: None
    ) -> dict[tuple[int, int] | TokenizedPrompt, Run]:
        """Run a plan.

        Parameters
        ----------
        plan : Plan
            What to run.
        progress : callable
            Told the number of rows after each trace.

        Returns
        -------
        dict
            The untouched run of each prompt under the prompt, and the changed runs under their rows' keys.
        """
        runs: dict[tuple[int, int] | TokenizedPrompt, Run] = {}
        # what this plan needs stays within reach even when it outgrows what is kept between plans
        kept: dict[tuple[int, ...], _Kept] = {}
        for prompt, base in self._untouched(plan.prompts, progress):
            kept[prompt.ids] = base
            runs[prompt] = Run(_array(base.logits), _Activations(base.resid_post))
        for batch in plan.batches:
            runs |= zip((row.key for row in batch.rows), self._changed(batch, kept), strict=True)
            progress(len(batch.rows))
        return runs

    def read(self, prompts: Sequence[TokenizedPrompt], sites: Sequence[Site]) -> list[torch.Tensor]:
        """Return the activations of prompts of equal length, one ``[n_prompts, n_tokens, d_model]`` a site.

        Nothing after the last site is computed.
        """
        blocks = self._blocks
        wanted = sorted({site.layer for site in sites})
        saved: dict[int, torch.Tensor] = {}
        ids = self._ids(prompts)
        with torch.no_grad(), self.nnsight.trace({"input_ids": ids}) as tracer:
            saved = nnsight.save({layer: blocks[layer].output for layer in wanted})
            tracer.stop()
        return [saved[site.layer] for site in sites]

    @property
    def _blocks(self) -> Any:
        return self.nnsight.get(self.info.blocks)

    def _ids(self, prompts: Sequence[TokenizedPrompt]) -> torch.Tensor:
        return torch.tensor([prompt.ids for prompt in prompts], device=self._like["device"])

    def _untouched(
        self, prompts: Sequence[TokenizedPrompt], progress: Callable[[int], object]
    ) -> Iterator[tuple[TokenizedPrompt, _Kept]]:
        missing: dict[int, list[TokenizedPrompt]] = {}
        for prompt in prompts:
            if prompt.ids in self._kept:
                self._kept.move_to_end(prompt.ids)
                yield prompt, self._kept[prompt.ids]
            else:
                missing.setdefault(len(prompt), []).append(prompt)
        for length, group in sorted(missing.items()):
            for part in cut(group, length, self.max_tokens):
                for prompt, kept in zip(part, self._run_untouched(part), strict=True):
                    self._keep(prompt.ids, kept)
                    yield prompt, kept
                progress(len(part))

    def _run_untouched(self, prompts: Sequence[TokenizedPrompt]) -> list[_Kept]:
        blocks = self._blocks
        with torch.no_grad(), self.nnsight.trace({"input_ids": self._ids(prompts)}, use_cache=False, **self._last_only):
            states = nnsight.save([block.output for block in blocks])
            logits = self.nnsight.output.logits[:, -1].save()
        stacked = torch.stack(states, dim=1)
        return [_Kept(logits[i].clone(), stacked[i].clone()) for i in range(len(prompts))]

    def _keep(self, ids: tuple[int, ...], kept: _Kept) -> None:
        self._kept[ids] = kept
        while len(self._kept) > 1 and sum(k.nbytes for k in self._kept.values()) > self._keep_bytes:
            self._kept.popitem(last=False)

    def _changed(self, batch: Batch, kept: Mapping[tuple[int, ...], _Kept]) -> list[Run]:
        edits = {
            layer: self._compiled(batch.rows, layer, kept)
            for layer in {e.layer for row in batch.rows for e in row.edits}
        }
        reads = sorted({site.layer for row in batch.rows for site in row.reads if site.layer > batch.resume})
        hidden = torch.stack([kept[row.prompt.ids].resid_post[batch.resume] for row in batch.rows])
        for edit in edits[batch.resume]:
            edit(hidden)
        blocks = self._blocks
        with (
            torch.no_grad(),
            self.nnsight.trace(
                {"input_ids": self._ids([row.prompt for row in batch.rows])}, use_cache=False, **self._last_only
            ),
        ):
            for layer in range(batch.resume + 1):
                blocks[layer].skip(hidden)
            saved = nnsight.save({})
            for layer in sorted({*edits, *reads} - {batch.resume}):
                for edit in edits.get(layer, ()):
                    edit(blocks[layer].output)
                if layer in reads:
                    saved[layer] = blocks[layer].output
            logits = self.nnsight.output.logits[:, -1].save()
        saved[batch.resume] = hidden
        return [
            Run(_array(logits[i]), {site: self._read(site, row, i, saved, kept) for site in row.reads})
            for i, row in enumerate(batch.rows)
        ]

    @staticmethod
    def _read(
        site: Site, row: Row, index: int, saved: Mapping[int, torch.Tensor], kept: Mapping[tuple[int, ...], _Kept]
    ) -> NDArray[np.float32]:
        # what lies before the first touched block is what the untouched run had
        return _array(saved[site.layer][index] if site.layer in saved else kept[row.prompt.ids].resid_post[site.layer])

    def _compiled(
        self, rows: Sequence[Row], layer: int, kept: Mapping[tuple[int, ...], _Kept]
    ) -> list[Callable[[torch.Tensor], None]]:
        return [
            self._compile(index, edit, kept)
            for index, row in enumerate(rows)
            for edit in row.edits
            if edit.layer == layer
        ]

    def _compile(self, index: int, edit: Edit, kept: Mapping[tuple[int, ...], _Kept]) -> Callable[[torch.Tensor], None]:
        """Return a function that changes ``[row, token, d_model]`` in place at the edit's row and tokens."""
        arguments: dict[str, Any] = {name: torch.tensor(a, **self._like) for name, a in edit.operation.arrays.items()}
        if edit.source is not None:
            arguments["value"] = kept[edit.source.ids].resid_post[edit.layer][list(edit.source_positions)]
        function, positions = edit.operation.function, list(edit.positions)

        def change(hidden: torch.Tensor) -> None:
            hidden[index, positions] = function(hidden[index, positions], **arguments, **edit.operation.numbers)

        return change


class _Activations(Mapping[Site, NDArray[np.float32]]):
    """The residual stream of an untouched run, turned into arrays only where somebody looks."""

    def __init__(self, resid_post: torch.Tensor) -> None:
        self._resid_post = resid_post

    def __getitem__(self, site: Site) -> NDArray[np.float32]:
        return _array(self._resid_post[site.layer])

    def __iter__(self) -> Iterator[Site]:
        return (Site("resid_post", layer) for layer in range(len(self)))

    def __len__(self) -> int:
        return len(self._resid_post)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    # a copy, so that a result never changes and never keeps a whole batch alive
    return tensor.detach().to(dtype=torch.float32, device="cpu", copy=True).numpy()
