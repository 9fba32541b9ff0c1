"""Run a plan as nnsight traces. The only module that imports nnsight."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import nnsight
import torch
from transformers import DynamicCache

from nbinterp.engine.dissect import eager
from nbinterp.engine.live import MODEL_LOCK
from nbinterp.engine.plan import Mean, Taken, make_plan
from nbinterp.engine.runs import Cache, Kept, KeptRuns, Reads, Run, in_stream
from nbinterp.engine.sizes import Sizes
from nbinterp.engine.tensors import Change, as_array, first_tensor, head_of, part_of, put_back, shaped, whole
from nbinterp.prompts import TokenizedPrompt
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.plan import Batch, Edit, Plan
    from nbinterp.experiment import Experiment
    from nbinterp.prompts import Prompt


class Executor:
    """A model wrapped by nnsight, with the untouched runs of the prompts that it saw last.

    Parameters
    ----------
    module : torch.nn.Module
        A causal language model of transformers, in evaluation mode.
    tokenizer : tokenizer of transformers
        Its tokenizer.
    info : ModelInfo
        Which model it is, with its anatomy.
    memory_bound : int
        Bytes that a batch may take, that the untouched runs of one stage may take, and that are kept between plans.
    """

    def __init__(self, module: torch.nn.Module, tokenizer: Any, info: ModelInfo, memory_bound: int) -> None:
        assert info.anatomy is not None
        self.nnsight = nnsight.TransformersModel(module, tokenizer=tokenizer, task="text-generation")
        self.info = info
        self.anatomy = info.anatomy
        self.kept = KeptRuns(memory_bound)
        self._means: dict[Hashable, torch.Tensor] = {}
        self._parameters = tuple(module.parameters())
        self._state = self._weights_state()
        self._weights = sum(p.nbytes for p in self._parameters)
        self._unembedding = _plain_unembedding(module)
        self._last_only = "logits_to_keep" in inspect.signature(module.forward).parameters

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device of the model's weights, and so of its activations."""
        return {"dtype": self._parameters[0].dtype, "device": self._parameters[0].device}

    def _weights_state(self) -> int:
        # a parameter counts the operations that changed it in place
        return hash(tuple((p._version, p.dtype, p.device) for p in self._parameters))

    def refresh(self) -> None:
        """Drop what is kept where the weights were changed, or moved, since."""
        state = self._weights_state()
        if state != self._state:
            self._state = state
            self.forget()

    @property
    def memory_bound(self) -> int:
        """Bytes that a batch, the untouched runs of one stage, and those kept between plans may each take."""
        return self.kept.bound

    @memory_bound.setter
    def memory_bound(self, size: int) -> None:
        self.kept.bound = size

    @property
    def sizes(self) -> Sizes:
        """What memory things take here."""
        most = 2048 if self.like["device"].type == "cpu" else 32768
        return Sizes(self.info, self._weights, self.like["dtype"].itemsize, self.memory_bound, most)

    def forget(self) -> None:
        """Drop all kept runs."""
        self.kept.clear()
        self._means.clear()

    def run(
        self, plan: Plan, cancel: Callable[[], bool] = lambda: False, keep_cache: bool = False
    ) -> Iterator[tuple[Hashable, Run]]:
        """Run a plan, and yield each run as soon as its batch is done.

        Parameters
        ----------
        plan : Plan
            What to run.
        cancel : callable
            Asked before each trace; True ends the iteration with KeyboardInterrupt.
        keep_cache : bool
            Whether runs bring their keys and values.

        Yields
        ------
        key, Run
            The untouched run of each prompt under the prompt, and the changed runs under their rows' keys.
        """
        self.refresh()
        for stage in plan.stages:
            # what this stage needs stays within reach even when it outgrows what is kept between plans
            kept: dict[tuple[int, ...], Kept] = {}
            for prompt, base in self._untouched(stage.prompts, cancel):
                kept[prompt.ids] = base
                reads = Reads(base, stage.prompts[prompt], self.info)
                yield prompt, Run(as_array(base.logits), reads, cache=base.cache if keep_cache else None)
            taken: dict[Hashable, dict[Site, torch.Tensor]] = {}
            for batch in stage.batches:
                if cancel():
                    raise KeyboardInterrupt
                yield from self._changed(batch, kept, taken, keep_cache)

    def read(self, prompts: Sequence[TokenizedPrompt], sites: Sequence[Site]) -> list[torch.Tensor]:
        """Return the activations of prompts of equal length, one ``[n_prompts, n_tokens, n_features]`` a site.

        No block after the last site is computed.
        """
        steps = sorted(sites, key=self.info.position)
        last, blocks = self.info.position(steps[-1])[0], self._blocks
        with (
            self._attention(sites),
            torch.no_grad(),
            self.nnsight.trace({"input_ids": self._ids(prompts)}, use_cache=False, **self._logits_of(sites)),
        ):
            found = nnsight.save({})
            for site in steps:
                found[site] = self._features(self._raw(site), site, len(prompts[0])).clone()
            # not tracer.stop(): the exception that it throws keeps the pass's tensors until Python looks for cycles
            if last < self.info.n_layers - 1:
                stream = blocks[0].input if last < 0 else first_tensor(blocks[last].output)
                for layer in range(last + 1, self.info.n_layers):
                    blocks[layer].skip(self._handed_on(stream))
        return [head_of(found[site], site, self.info) for site in sites]

    @property
    def _blocks(self) -> Any:
        return self.nnsight.get(self.info.blocks)

    def _ids(self, prompts: Sequence[TokenizedPrompt], start: int = 0) -> torch.Tensor:
        return torch.tensor([prompt.ids[start:] for prompt in prompts], device=self.like["device"])

    def _attention(self, sites: Sequence[Site]) -> contextlib.AbstractContextManager[Any]:
        """Have the pattern computed where it is read or changed, and hold the lock while a trace runs."""
        stack = contextlib.ExitStack()
        stack.enter_context(MODEL_LOCK)
        if any(site.component == "pattern" for site in sites):
            stack.enter_context(eager(self.nnsight._module))
            # nnsight opens a module's source when it is first asked for, which is too late once the module runs
            for layer in {site.layer for site in sites if site.component == "pattern"}:
                path = self.info.event(Site("pattern", layer))[0].partition(".source.")[0]
                _ = self.nnsight.get(path).source
        return stack

    def _logits_of(self, sites: Sequence[Site]) -> dict[str, int]:
        """Ask for the last token's logits only, unless something behind the blocks is read or changed."""
        after = any(self.info.position(site)[0] == self.info.n_layers for site in sites)
        return {"logits_to_keep": 1} if self._last_only and not after else {}

    # inside a trace

    def _raw(self, site: Site) -> Any:
        """Return a site's tensor as the model has it."""
        if site.component == "logits":
            return self.nnsight.output.logits
        path, side = self.info.event(site)
        envoy = self.nnsight
        for name in path.split("."):
            envoy = envoy[int(name)] if name.isdigit() else getattr(envoy, name)
        return first_tensor(envoy.input if side == "input" else envoy.output)

    def _features(self, raw: torch.Tensor, site: Site, n_tokens: int) -> torch.Tensor:
        """Return ``[row, token, n_features]``, heads side by side; a view where it can be one."""
        if site.component == "pattern":
            return raw.transpose(1, 2).flatten(2)
        if raw.ndim == 2:  # OPT's MLP sees the tokens of all rows one after the other
            raw = raw.view(-1, n_tokens, raw.shape[-1])
        return raw if site.is_path else part_of(raw, self.anatomy.places[site.component])

    # untouched runs

    def _untouched(
        self, prompts: Mapping[TokenizedPrompt, Sequence[Site]], cancel: Callable[[], bool]
    ) -> Iterator[tuple[TokenizedPrompt, Kept]]:
        missing: dict[int, list[TokenizedPrompt]] = {}
        for prompt, sites in prompts.items():
            kept = self.kept.get(prompt)
            if kept is not None and kept.has(sites):
                yield prompt, kept
            else:
                missing.setdefault(len(prompt), []).append(prompt)
        for length, group in sorted(missing.items()):
            wanted = dict.fromkeys(whole(site) for prompt in group for site in prompts[prompt])
            sites = [site for site in wanted if not in_stream(site)]
            size = self.sizes.rows_of(length, sum(self.sizes.read(site, length, length) for site in sites))
            for first in range(0, len(group), size):
                if cancel():
                    raise KeyboardInterrupt
                part = group[first : first + size]
                for prompt, kept in zip(part, self._run_untouched(part, sites), strict=True):
                    self.kept.put(prompt, kept)
                    yield prompt, kept

    def _run_untouched(self, prompts: Sequence[TokenizedPrompt], sites: Sequence[Site]) -> list[Kept]:
        stream_sites = [Site("resid_pre", n) for n in range(self.info.n_layers)]
        stream_sites.append(Site("resid_post", self.info.n_layers - 1))
        steps = sorted([*stream_sites, *sites], key=self.info.position)
        cache = DynamicCache()
        length = len(prompts[0])
        with (
            self._attention(sites),
            torch.no_grad(),
            self.nnsight.trace(
                {"input_ids": self._ids(prompts)}, past_key_values=cache, use_cache=True, **self._logits_of(sites)
            ),
        ):
            found = nnsight.save({})
            for site in steps:
                raw = self._raw(site)
                # a module may go on to change what it handed out: the stream alone is never changed in place
                found[site] = raw if in_stream(site) else self._features(raw, site, length).clone()
            logits = self.nnsight.output.logits[:, -1].save()
        stream = torch.stack([found[site] for site in stream_sites], dim=1)
        return [
            Kept(
                logits[i].clone(),
                stream[i].clone(),
                [(layer.keys[i : i + 1].clone(), layer.values[i : i + 1].clone()) for layer in cache.layers],
                {site: found[site][i].clone() for site in sites},
            )
            for i in range(len(prompts))
        ]

    # changed runs

    def _changed(
        self,
        batch: Batch,
        kept: Mapping[tuple[int, ...], Kept],
        taken: dict[Hashable, dict[Site, torch.Tensor]],
        keep_cache: bool,
    ) -> Iterator[tuple[Hashable, Run]]:
        changes = [
            Change(i, edit, self._arguments(edit, kept, taken), batch.start)
            for i, row in enumerate(batch.rows)
            for edit in row.edits
        ]
        logits, found, caches = self._trace(batch, changes, kept, keep_cache)
        moved: list[dict[int, float]] = [{} for _ in batch.rows]
        for change in changes:
            moved[change.row][change.edit.index] = float(change.moved)
        for i, row in enumerate(batch.rows):
            base = kept[row.prompt.ids]
            reads = {site: self._merged(site, found.get((i, whole(site))), base, batch.start) for site in row.reads}
            if not isinstance(row.key, tuple):
                taken[row.key] = reads
                continue
            activations = {site: shaped(features, site, self.info) for site, features in reads.items()}
            yield row.key, Run(as_array(logits[i]), activations, moved[i], caches[i] if keep_cache else None)

    def _merged(self, site: Site, found: torch.Tensor | None, base: Kept, start: int) -> torch.Tensor:
        """Return what a changed row has at a site; what lies before it was touched is what the untouched run has."""
        untouched = base.read(site)
        return untouched if found is None else torch.cat([untouched[:start], found])

    def _trace(
        self, batch: Batch, changes: Sequence[Change], kept: Mapping[tuple[int, ...], Kept], keep_cache: bool
    ) -> tuple[torch.Tensor, dict[tuple[int, Site], torch.Tensor], list[Cache]]:
        """Run a batch; return last logits ``[n_rows, n_vocab]``, what was read by row and site, and caches by row."""
        found: dict[tuple[int, Site], torch.Tensor] = {}
        arrivals = self._arrivals(batch, changes, kept, found)
        rows = batch.rows
        steps = self._steps(
            [change for change in changes if change.edit.at[0] >= rows[change.row].join],
            [(i, s) for i, row in enumerate(rows) for s in row.reads if self.info.position(s)[0] >= row.join],
        )
        for layer in sorted(arrivals)[1:]:
            steps.setdefault(self.info.position(Site("resid_post", layer - 1)), _Step()).joins = layer
        sites = [site for step in steps.values() for site in step.sites]
        first, length, blocks = batch.rows[0].join, batch.length - batch.start, self._blocks
        # called with one prompt, the model makes masks and positions that every row which joins it can share
        alike = first >= 0 and self.anatomy.grows
        ids = self._ids([row.prompt for row in (batch.rows[:1] if alike else batch.rows)], batch.start)
        cache = self._prefix(batch, kept) if batch.start or keep_cache else None
        with (
            self._attention(sites),
            torch.no_grad(),
            self.nnsight.trace(
                {"input_ids": ids}, past_key_values=cache, use_cache=cache is not None, **self._logits_of(sites)
            ),
        ):
            for layer in range(first):
                blocks[layer].skip(self._handed_on(arrivals[first]))
            if first == 0:
                blocks[0].input = arrivals[0]
            for _, step in sorted(steps.items(), key=_first):
                self._do(step, length, found)
                if step.joins is not None:
                    here = torch.cat([first_tensor(blocks[step.joins - 1].output), arrivals[step.joins]])
                    blocks[step.joins - 1].output = self._handed_on(here)
            self._unembed(len(batch.rows), sites)
            logits = self.nnsight.output.logits[:, -1].save()
        return logits, found, self._caches(batch, cache, kept) if cache is not None and keep_cache else []

    def _unembed(self, rows: int, sites: Sequence[Site]) -> None:
        """Compute the last token's logits of a few rows with the weights as the left factor, where a processor does it.

        Matrix products of 2 to 6 rows by the unembedding take MKL two to four times as long as of one; the other way
        round they do not. It is the only product that is large enough to be worth a detour.
        """
        few = 2 <= rows <= 6 and self.like["device"].type == "cpu"
        if self._unembedding and few and self._last_only and "logits_to_keep" in self._logits_of(sites):
            envoy = self.nnsight.get(self._unembedding)
            hidden = envoy.input
            envoy.skip((envoy._module.weight @ hidden[:, -1].T).T[:, None])

    def _arrivals(
        self,
        batch: Batch,
        changes: Sequence[Change],
        kept: Mapping[tuple[int, ...], Kept],
        found: dict[tuple[int, Site], torch.Tensor],
    ) -> dict[int, torch.Tensor]:
        """Return the residual stream of the rows that join at each block: ``[n_rows, n_tokens, d_model]``.

        What the block before would have handed on is changed here, and read.
        """
        joined: dict[int, list[torch.Tensor]] = {}
        for i, row in enumerate(batch.rows):
            if row.join < 0:
                continue
            stream = kept[row.prompt.ids].stream[row.join, batch.start :].clone()
            early = [change for change in changes if change.row == i and change.edit.at[0] < row.join]
            for change in early:
                change(stream, 0)
            for site in map(whole, row.reads) if early else ():
                if self.info.position(site) == early[0].edit.at:
                    found[i, site] = stream.clone()
            joined.setdefault(row.join, []).append(stream)
        return {layer: torch.stack(streams) for layer, streams in joined.items()}

    def _steps(self, changes: Sequence[Change], readers: Sequence[tuple[int, Site]]) -> dict[tuple[int, float], _Step]:
        """Return what is to be done in a pass by where: changes of rows, and reads of (row, site)."""
        steps: dict[tuple[int, float], _Step] = {}
        for change in changes:
            steps.setdefault(change.edit.at, _Step()).changes.append(change)
        for row, site in readers:
            steps.setdefault(self.info.position(site), _Step()).readers.setdefault(whole(site), []).append(row)
        return steps

    def _do(self, step: _Step, n_tokens: int, found: dict[tuple[int, Site], torch.Tensor]) -> None:
        for change in step.changes:
            self._apply(change, n_tokens)
        for site, rows in step.readers.items():
            features = self._features(self._raw(site), site, n_tokens)
            found.update({(row, site): features[row].clone() for row in rows})

    def _apply(self, change: Change, n_tokens: int) -> None:
        site = whole(change.edit.site)
        raw = self._raw(site)
        if raw.ndim == 2:
            raw = raw.view(-1, n_tokens, raw.shape[-1])
        row = raw[change.row : change.row + 1]
        features = self._features(row, site, n_tokens)
        change(features[0], self.info.heads(site))
        # features that could not be a view are a copy
        if site.component == "pattern":
            # a copy first: of a single query both may be the same memory
            row.copy_(features.view(1, n_tokens, row.shape[1], -1).transpose(1, 2).clone())
        elif not site.is_path:
            put_back(features, row, self.anatomy.places[site.component])

    def _handed_on(self, stream: torch.Tensor) -> Any:
        """Return the residual stream as this model's blocks return it."""
        return (stream, *[None] * self.anatomy.beside) if self.anatomy.beside else stream

    def _prefix(self, batch: Batch, kept: Mapping[tuple[int, ...], Kept]) -> DynamicCache:
        """Return keys and values of the tokens before the first that is run, for the rows that are there in each block."""
        if not batch.start:
            return DynamicCache()
        caches = [kept[row.prompt.ids].cache for row in batch.rows]
        shared = len({row.prompt.ids for row in batch.rows}) == 1
        layers: list[tuple[torch.Tensor | None, ...]] = []
        for layer in range(self.info.n_layers):
            rows = batch.active(layer)
            if not rows and layer:
                layers.append((None, None))
                continue
            # the first block says how many tokens came before, even where nobody runs it
            chosen = [caches[0]] if shared else caches[: max(rows, 1)]
            parts = zip(*(cache[layer] for cache in chosen), strict=True)
            both = (torch.cat(part)[:, :, : batch.start] for part in parts)
            layers.append(tuple(t.expand(max(rows, 1), -1, -1, -1) if shared else t for t in both))
        return DynamicCache(layers)

    def _caches(self, batch: Batch, cache: DynamicCache, kept: Mapping[tuple[int, ...], Kept]) -> list[Cache]:
        return [
            [
                (cache.layers[n].keys[i : i + 1], cache.layers[n].values[i : i + 1])
                if n >= row.join
                else kept[row.prompt.ids].cache[n]
                for n in range(self.info.n_layers)
            ]
            for i, row in enumerate(batch.rows)
        ]

    def change(self, row: int, edit: Edit, arguments: dict[str, Any]) -> Change:
        """Return an edit ready to be applied to the only token of a pass."""
        return Change(row, edit, arguments, 0)

    def continue_(
        self, ids: Sequence[int], cache: DynamicCache, changes: Sequence[Change], readers: Sequence[tuple[int, Site]]
    ) -> tuple[torch.Tensor, dict[tuple[int, Site], NDArray[np.float32]]]:
        """Run one more token of each row, whose keys and values join the cache.

        Parameters
        ----------
        ids : sequence of int, ``[n_rows]``
            The tokens.
        cache : DynamicCache
            Keys and values of what came before.
        changes : sequence of Change
            What is changed on the way.
        readers : sequence of (row, Site)
            What is read.

        Returns
        -------
        logits : tensor, ``[n_rows, n_vocab]``
        reads : dict of (row, Site) to array, ``[1, n_features]``
        """
        steps = self._steps(changes, readers)
        sites = [site for step in steps.values() for site in step.sites]
        found: dict[tuple[int, Site], torch.Tensor] = {}
        tokens = torch.tensor(ids, device=self.like["device"])[:, None]
        with (
            self._attention(sites),
            torch.no_grad(),
            self.nnsight.trace({"input_ids": tokens}, past_key_values=cache, use_cache=True),
        ):
            for _, step in sorted(steps.items(), key=_first):
                self._do(step, 1, found)
            self._unembed(len(ids), sites)
            logits = self.nnsight.output.logits[:, -1].save()
        return logits, {(row, site): shaped(found[row, whole(site)], site, self.info) for row, site in readers}

    def arguments(self, edit: Edit, tokens: Callable[[Prompt], TokenizedPrompt]) -> dict[str, Any]:
        """Return an edit's arguments outside of any plan; what it takes from other runs is run here."""
        arguments = self._constants(edit)
        if isinstance(edit.value, Taken):
            rows = [self._token(run, at, edit.site, tokens) for run, at in edit.value.tokens]
            arguments["value"] = torch.stack(rows)
        return arguments

    def _token(
        self, run: TokenizedPrompt | Experiment, at: int, site: Site, tokens: Callable[[Prompt], TokenizedPrompt]
    ) -> torch.Tensor:
        if isinstance(run, TokenizedPrompt):
            return self.read([run], [site])[0][0, at]
        plan = make_plan([replace(run, read=(site,))], tokens, self.sizes, self.kept.__contains__)
        runs = dict(self.run(plan))
        return torch.tensor(runs[0, 0].activations[site][at].reshape(-1), **self.like)

    def _constants(self, edit: Edit) -> dict[str, Any]:
        arguments: dict[str, Any] = {name: torch.tensor(a, **self.like) for name, a in edit.operation.arrays.items()}
        if isinstance(edit.value, Mean):
            arguments["value"] = self._mean(edit.value.prompts, edit.site)
        return arguments

    def _arguments(
        self, edit: Edit, kept: Mapping[tuple[int, ...], Kept], taken: Mapping[Hashable, Mapping[Site, torch.Tensor]]
    ) -> dict[str, Any]:
        arguments = self._constants(edit)
        if isinstance(edit.value, Taken):
            rows = [
                kept[run.ids].read(edit.site) if isinstance(run, TokenizedPrompt) else taken[run][edit.site]
                for run, _ in edit.value.tokens
            ]
            values = torch.stack([features[at] for features, (_, at) in zip(rows, edit.value.tokens, strict=True)])
            arguments["value"] = head_of(values, edit.site, self.info)
        return arguments

    def _mean(self, prompts: Sequence[TokenizedPrompt], site: Site) -> torch.Tensor:
        """Return the mean activation over all tokens of some prompts: ``[n_features]``."""
        key = (tuple(prompt.ids for prompt in prompts), site)
        if key not in self._means:
            total, count = torch.zeros(1, dtype=torch.float64, device=self.like["device"]), 0
            for length, group in groupby_length(prompts).items():
                size = self.sizes.rows_of(length)
                for first in range(0, len(group), size):
                    (features,) = self.read(group[first : first + size], [site])
                    total = total + features.double().sum((0, 1))
                    count += features.shape[0] * features.shape[1]
            self._means[key] = (total / count).to(self.like["dtype"])
        return self._means[key]


@dataclass
class _Step:
    """What is to be done at one end of one module: change, then read, then let rows join in front of block `joins`."""

    changes: list[Change] = field(default_factory=list)
    readers: dict[Site, list[int]] = field(default_factory=dict)
    joins: int | None = None

    @property
    def sites(self) -> list[Site]:
        return [*(change.edit.site for change in self.changes), *self.readers]


def _plain_unembedding(module: Any) -> str:
    """Return the path of the unembedding where it is a plain product, else an empty text."""
    head = module.get_output_embeddings()
    if type(head) is not torch.nn.Linear or getattr(head, "bias", None) is not None:
        return ""
    return next((path for path, child in module.named_modules() if child is head), "")


def _first(pair: tuple[tuple[int, float], _Step]) -> tuple[int, float]:
    return pair[0]


def groupby_length(prompts: Sequence[TokenizedPrompt]) -> dict[int, list[TokenizedPrompt]]:
    """Return prompts by their number of tokens, in ascending order."""
    groups: dict[int, list[TokenizedPrompt]] = {}
    for prompt in sorted(prompts, key=len):
        groups.setdefault(len(prompt), []).append(prompt)
    return groups
