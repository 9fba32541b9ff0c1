"""Run a plan as nnsight traces. The only module that imports nnsight."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import nnsight
import torch
from transformers import DynamicCache

from nbinterp.engine.batching import equal_batches
from nbinterp.engine.envoys import Envoys, Step, sites_of
from nbinterp.engine.plan import Batch, Mean, Taken
from nbinterp.engine.planning import make_plan
from nbinterp.engine.runs import Cache, Kept, KeptRuns, Reads, Run, in_stream
from nbinterp.engine.sizes import Sizes
from nbinterp.engine.tensors import Change, as_array, first_tensor, head_of, out_of_memory, shaped, whole
from nbinterp.experiment import Experiment
from nbinterp.prompts import TokenizedPrompt
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.plan import Edit, Plan, Row
    from nbinterp.prompts import Prompt


Item = TypeVar("Item")
Given = TypeVar("Given")
P = ParamSpec("P")

SourceReads = dict[tuple[TokenizedPrompt | Experiment, Site], torch.Tensor]
"""What other runs have at sites, ``[n_tokens, n_features]``, kept while something takes from them."""


class Executor:
    """A model wrapped by nnsight, with the untouched runs of the prompts that it saw last.

    Parameters
    ----------
    model : nnsight.TransformersModel
        A causal language model, in evaluation mode.
    info : ModelInfo
        Which model it is, with its anatomy.
    memory_bound : int
        Bytes that a batch may take, that the untouched runs of one stage may take, and that are kept between plans.
    """

    def __init__(self, model: Any, info: ModelInfo, memory_bound: int) -> None:
        self.nnsight, self.info = model, info
        module: torch.nn.Module = model._module
        self.envoys = Envoys(self.nnsight, info)
        self.kept = KeptRuns(memory_bound)
        self._means: dict[Hashable, torch.Tensor] = {}
        self._parameters = tuple(module.parameters())
        self._state = self.weights_state()
        self._weights = sum(p.nbytes for p in self._parameters)

    @classmethod
    def of(cls, module: torch.nn.Module, tokenizer: Any, info: ModelInfo, memory_bound: int) -> Self:
        """Return what runs a model of transformers with its tokenizer."""
        wrapped = nnsight.TransformersModel(module, tokenizer=tokenizer, task="text-generation")
        return cls(wrapped, info, memory_bound)

    def call(self, procedure: Callable[Concatenate[Executor, P], Given], /, *args: P.args, **kwargs: P.kwargs) -> Given:
        """Return what a procedure returns; see `nbinterp.engine.engine.Engine`."""
        return procedure(self, *args, **kwargs)

    stream = call
    beside = call

    @property
    def like(self) -> dict[str, Any]:
        """Precision and device of the model's weights, and so of its activations."""
        return {"dtype": self._parameters[0].dtype, "device": self._parameters[0].device}

    def weights_state(self) -> int:
        """Return a number that is another one when weights were changed in place, or moved."""
        # a parameter counts the operations that changed it in place
        return hash(tuple((p._version, p.dtype, p.device) for p in self._parameters))

    def refresh(self) -> None:
        """Drop what is kept where the weights were changed, or moved, since."""
        state = self.weights_state()
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

    def knows(self, prompt: TokenizedPrompt) -> bool:
        """Whether the untouched run of a prompt is kept."""
        return prompt in self.kept

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

                changed = partial(self._changed, start=batch.start, kept=kept, taken=taken, keep_cache=keep_cache)
                yield from self._halved(batch.rows, changed)

    def _halved(self, items: Sequence[Item], run: Callable[[Sequence[Item]], list[Given]]) -> list[Given]:
        """Return what `run` gives for each item: for all at once, or in halves where memory does not suffice, which is said."""
        try:
            return run(items)
        except (MemoryError, RuntimeError) as error:
            if len(items) == 1 or not out_of_memory(error):
                raise
        # outside of the handler: its exception holds on to the tensors of the failed pass
        warnings.warn(
            f"out of memory with {len(items)} rows at once, though the estimate stays below model.memory_bound = {self.memory_bound:,} "
            "bytes; went on in halves: lower that bound to spare the attempt.",
            RuntimeWarning,
            stacklevel=2,
        )
        half = len(items) // 2
        return [*self._halved(items[:half], run), *self._halved(items[half:], run)]

    def read(
        self, prompts: Sequence[TokenizedPrompt], sites: Sequence[Site], changes: Sequence[Change] = ()
    ) -> list[torch.Tensor]:
        """Return the activations of prompts of equal length, one ``[n_prompts, n_tokens, n_features]`` a site.

        No block after the last site is computed.

        Parameters
        ----------
        prompts : sequence of TokenizedPrompt
            The rows.
        sites : sequence of Site
            What is read.
        changes : sequence of Change
            What is changed on the way.
        """
        reads: dict[tuple[int, float], list[Site]] = {}
        for site in sites:
            reads.setdefault(self.info.position(site), []).append(site)
        end = max(reads)
        steps = self.envoys.steps([change for change in changes if change.edit.at <= end], ())
        touched = [*sites, *sites_of(steps)]
        length, last, blocks = len(prompts[0]), end[0], self.envoys.blocks
        with (
            self.envoys.ready(touched),
            torch.no_grad(),
            self.nnsight.trace({"input_ids": self._ids(prompts)}, use_cache=False, **self.envoys.logits_of(touched)),
        ):
            found = nnsight.save({})
            for at in sorted({*reads, *steps}):
                if at in steps:
                    self.envoys.do(steps[at], length, {})
                for site in reads.get(at, ()):
                    found[site] = self.envoys.features(self.envoys.raw(site), site, length).clone()
            # not tracer.stop(): the exception that it throws keeps the pass's tensors until Python looks for cycles
            if last < self.info.n_layers - 1:
                stream = blocks[0].input if last < 0 else first_tensor(blocks[last].output)
                for layer in range(last + 1, self.info.n_layers):
                    blocks[layer].skip(self.envoys.handed_on(stream))
            self.envoys.forgo_logits(touched)
        return [head_of(found[site], site, self.info) for site in sites]

    def _ids(self, prompts: Sequence[TokenizedPrompt], start: int = 0) -> torch.Tensor:
        return torch.tensor([prompt.ids[start:] for prompt in prompts], device=self.like["device"])

    # untouched runs

    def _untouched(
        self, prompts: Mapping[TokenizedPrompt, Sequence[Site]], cancel: Callable[[], bool]
    ) -> Iterator[tuple[TokenizedPrompt, Kept]]:
        missing = []
        for prompt, sites in prompts.items():
            kept = self.kept.get(prompt)
            if kept is not None and kept.has(sites):
                yield prompt, kept
            else:
                missing.append(prompt)

        def wanted(group: Sequence[TokenizedPrompt]) -> list[Site]:
            sites = dict.fromkeys(whole(site) for prompt in group for site in prompts[prompt])
            return [site for site in sites if not in_stream(site)]

        for batch in equal_batches(missing, len, lambda group: self.sizes.rows_of(len(group[0]), wanted(group))):
            if cancel():
                raise KeyboardInterrupt
            runs = self._halved(batch, partial(self._run_untouched, sites=wanted(batch)))
            for prompt, kept in zip(batch, runs, strict=True):
                self.kept.put(prompt, kept)
                yield prompt, kept

    def _run_untouched(self, prompts: Sequence[TokenizedPrompt], sites: Sequence[Site]) -> list[Kept]:
        stream_sites = [Site("resid_pre", n) for n in range(self.info.n_layers)]
        stream_sites.append(Site("resid_post", self.info.n_layers - 1))
        steps = sorted([*stream_sites, *sites], key=self.info.position)
        cache = DynamicCache()
        length = len(prompts[0])
        with (
            self.envoys.ready(sites),
            torch.no_grad(),
            self.nnsight.trace(
                {"input_ids": self._ids(prompts)}, past_key_values=cache, use_cache=True, **self.envoys.logits_of(sites)
            ),
        ):
            found = nnsight.save({})
            for site in steps:
                raw = self.envoys.raw(site)
                # a module may go on to change what it handed out: the stream alone is never changed in place
                found[site] = raw if in_stream(site) else self.envoys.features(raw, site, length).clone()
            self.envoys.unembed(len(prompts), sites)
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
        rows: Sequence[Row],
        *,
        start: int,
        kept: Mapping[tuple[int, ...], Kept],
        taken: dict[Hashable, dict[Site, torch.Tensor]],
        keep_cache: bool,
    ) -> list[tuple[Hashable, Run]]:
        """Return the runs of changed rows under their keys, and note what later ones take from those that are sources."""
        batch = Batch(start, tuple(rows))
        changes = [
            Change(i, edit, self._arguments(edit, kept, taken), batch.start)
            for i, row in enumerate(batch.rows)
            for edit in row.edits
        ]
        logits, found, caches = self._trace(batch, changes, kept, keep_cache)
        moved: list[dict[int, float]] = [{} for _ in batch.rows]
        for change in changes:
            moved[change.row][change.edit.index] = float(change.moved)
        runs: list[tuple[Hashable, Run]] = []
        for i, row in enumerate(batch.rows):
            base = kept[row.prompt.ids]
            reads = {site: self._merged(site, found.get((i, whole(site))), base, batch.start) for site in row.reads}
            if not isinstance(row.key, tuple):
                taken[row.key] = reads
                continue
            activations = {site: shaped(features, site, self.info) for site, features in reads.items()}
            run = Run(as_array(logits[i]), activations, moved[i], caches[i] if keep_cache else None)
            runs.append((row.key, run))
        return runs

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
        steps = self.envoys.steps(
            [change for change in changes if change.edit.at[0] >= rows[change.row].join],
            [(i, s) for i, row in enumerate(rows) for s in row.reads if self.info.position(s)[0] >= row.join],
        )
        for layer in sorted(arrivals)[1:]:
            steps.setdefault(self.info.position(Site("resid_post", layer - 1)), Step()).joins = layer
        sites = sites_of(steps)
        first, length, blocks = batch.rows[0].join, batch.length - batch.start, self.envoys.blocks
        # called with one prompt, the model makes masks and positions that every row which joins it can share
        alike = first >= 0 and self.envoys.anatomy.grows
        ids = self._ids([row.prompt for row in (batch.rows[:1] if alike else batch.rows)], batch.start)
        cache = self._prefix(batch, kept) if batch.start or keep_cache else None
        with (
            self.envoys.ready(sites),
            torch.no_grad(),
            self.nnsight.trace(
                {"input_ids": ids}, past_key_values=cache, use_cache=cache is not None, **self.envoys.logits_of(sites)
            ),
        ):
            for layer in range(first):
                blocks[layer].skip(self.envoys.handed_on(arrivals[first]))
            if first == 0:
                blocks[0].input = arrivals[0]
            for at in sorted(steps):
                step = steps[at]
                self.envoys.do(step, length, found)
                if step.joins is not None:
                    here = torch.cat([first_tensor(blocks[step.joins - 1].output), arrivals[step.joins]])
                    blocks[step.joins - 1].output = self.envoys.handed_on(here)
            self.envoys.unembed(len(batch.rows), sites)
            logits = self.nnsight.output.logits[:, -1].save()
        return logits, found, self._caches(batch, cache, kept) if cache is not None and keep_cache else []

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

    def _prefix(self, batch: Batch, kept: Mapping[tuple[int, ...], Kept]) -> DynamicCache:
        """Return keys and values of the tokens before the first that is run, for the rows that are there in each block."""
        if not batch.start:
            return DynamicCache()
        caches = [kept[row.prompt.ids].cache for row in batch.rows]
        shared = len({row.prompt.ids for row in batch.rows}) == 1
        cache = DynamicCache()
        for layer in range(self.info.n_layers):
            # the first block says how many tokens came before, even where nobody runs it
            rows = batch.active(layer) or int(layer == 0)
            if not rows:
                continue
            chosen = [caches[0]] if shared else caches[:rows]
            parts = zip(*(one[layer] for one in chosen), strict=True)
            both = (torch.cat(part)[:, :, : batch.start] for part in parts)
            keys, values = (t.expand(rows, -1, -1, -1) if shared else t for t in both)
            cache.update(keys, values, layer)
        return cache

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
        steps = self.envoys.steps(changes, readers)
        sites = sites_of(steps)
        found: dict[tuple[int, Site], torch.Tensor] = {}
        tokens = torch.tensor(ids, device=self.like["device"])[:, None]
        with (
            self.envoys.ready(sites),
            torch.no_grad(),
            self.nnsight.trace({"input_ids": tokens}, past_key_values=cache, use_cache=True),
        ):
            for at in sorted(steps):
                self.envoys.do(steps[at], 1, found)
            self.envoys.unembed(len(ids), sites)
            logits = self.nnsight.output.logits[:, -1].save()
        return logits, {(row, site): shaped(found[row, whole(site)], site, self.info) for row, site in readers}

    def arguments(
        self, edit: Edit, tokens: Callable[[Prompt], TokenizedPrompt], sources: SourceReads
    ) -> dict[str, Any]:
        """Return an edit's arguments outside of any plan; what it takes from other runs is run here, unless `sources` has it."""
        arguments = self._constants(edit)
        if isinstance(edit.value, Taken):
            for run in dict.fromkeys(run for run, _ in edit.value.tokens):
                if (run, edit.site) not in sources:
                    sources[run, edit.site] = self._source(run, edit.site, tokens)
            arguments["value"] = torch.stack([sources[run, edit.site][at] for run, at in edit.value.tokens])
        return arguments

    def _source(
        self, run: TokenizedPrompt | Experiment, site: Site, tokens: Callable[[Prompt], TokenizedPrompt]
    ) -> torch.Tensor:
        """Return what another run has at a site: ``[n_tokens, n_features]``."""
        if isinstance(run, TokenizedPrompt):
            return self.read([run], [site])[0][0]
        plan = make_plan([replace(run, read=(site,))], tokens, self.sizes, self.kept.__contains__)
        array = dict(self.run(plan))[0, 0].activations[site]
        by_token = array.swapaxes(0, 1) if site.component == "pattern" and site.head is None else array
        return torch.tensor(by_token.reshape(len(by_token), -1), **self.like)

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
            for batch in equal_batches(prompts, len, lambda group: self.sizes.rows_of(len(group[0]))):
                (features,) = self.read(batch, [site])
                total = total + features.double().sum((0, 1))
                count += features.shape[0] * features.shape[1]
            self._means[key] = (total / count).to(self.like["dtype"])
        return self._means[key]
