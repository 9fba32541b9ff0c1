"""The model: the only door through which everything else asks one."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from nbinterp.clouds import Cloud, CloudWriter
from nbinterp.engine.architectures import check_blocks, find_blocks
from nbinterp.engine.execute import Executor
from nbinterp.engine.live import Latest
from nbinterp.engine.loading import load
from nbinterp.engine.plan import cut, make_plan
from nbinterp.experiment import Experiment
from nbinterp.interventions import check_site
from nbinterp.results import Result, Vocabulary
from nbinterp.sites import SHORTHANDS, Site, TokenizedPrompt, TokensLike, select_tokens
from nbinterp.spaces import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class CollectionStopped(KeyboardInterrupt):
    """A collection was stopped between two batches; what was collected is in `partial`.

    Parameters
    ----------
    message : str
        What happened and how to go on.
    partial : Cloud
        The rows that were finished.
    """

    def __init__(self, message: str, partial: Cloud) -> None:
        super().__init__(message)
        self.partial = partial


class Model:
    """A causal language model that can be asked, changed while it answers, and read.

    Open one with `Model.open`.
    """

    def __init__(self, executor: Executor, tokenizer: Any, vocabulary: Vocabulary, context: int | None) -> None:
        self._executor = executor
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._context = context

    @classmethod
    def open(
        cls,
        source: str | Path | torch.nn.Module,
        *,
        tokenizer: Any = None,
        name: str | None = None,
        revision: str | None = None,
        dtype: str | torch.dtype = "float32",
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """Open a model.

        Weights are read from safetensors or GGUF, never from pickles.

        Parameters
        ----------
        source : str, Path or torch.nn.Module
            A demo model's name (``"smollm2-135m"``), a directory, a GGUF file, a hub id (``"owner/name"``), or a
            module of transformers.
        tokenizer : tokenizer of transformers, optional
            Needed with a module, and only there.
        name : str, optional
            What to call it; by default after `source`.
        revision : str, optional
            Branch, tag or commit on the hub.
        dtype : str or torch.dtype
            Of the weights and the activations.
        device : str or torch.device, optional
            By default a CUDA device where there is one, else the CPU.
        trust_remote_code : bool
            Whether code that comes with the model may run on this machine.

        Raises
        ------
        ValueError, LookupError
            When there is no such model, or it cannot be opened safely.
        """
        loaded = load(
            source,
            tokenizer=tokenizer,
            revision=revision,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
        )
        module = loaded.module
        blocks = find_blocks(module)
        check_blocks(module, blocks)
        config: Any = module.config
        vocabulary = Vocabulary(_token_texts(loaded.tokenizer, module.get_output_embeddings().weight.shape[0]))  # type: ignore[operator]
        info = ModelInfo(
            name=name or loaded.name,
            revision=loaded.revision,
            architecture=type(module).__name__,
            n_layers=config.num_hidden_layers,
            d_model=config.hidden_size,
            n_vocab=len(vocabulary),
            blocks=blocks,
            source=loaded.source,
            dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
        )
        return cls(
            Executor(module, loaded.tokenizer, info),
            loaded.tokenizer,
            vocabulary,
            getattr(config, "max_position_embeddings", None),
        )

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._executor.info

    @property
    def vocabulary(self) -> Vocabulary:
        """The text of every token."""
        return self._vocabulary

    @property
    def nnsight(self) -> Any:
        """The model as nnsight wraps it, for traces of your own."""
        return self._executor.nnsight

    def __repr__(self) -> str:
        i = self.info
        return f"Model({i.name!r}: {i.architecture}, {i.n_layers} layers, d_model {i.d_model}, {i.n_vocab:,} tokens)"

    def tokens(self, prompt: str) -> TokenizedPrompt:
        """Return a prompt as this model sees it.

        Raises
        ------
        ValueError
            When it is empty, or longer than the model's context.
        """
        if not isinstance(prompt, str) or not prompt:
            raise ValueError(f"got the prompt {prompt!r}; wanted text with at least one token.")
        encoded = self._tokenizer(prompt, return_offsets_mapping=True)
        ids = tuple(encoded["input_ids"])
        if not ids:
            raise ValueError(
                f"got the prompt {prompt!r}, which has no tokens for {self.info.name}; wanted text with at least one."
            )
        if self._context is not None and len(ids) > self._context:
            raise ValueError(
                f"got a prompt of {len(ids)} tokens; {self.info.name} reads at most {self._context}: shorten it."
            )
        spans = tuple((int(a), int(b)) for a, b in encoded["offset_mapping"])
        return TokenizedPrompt(prompt, ids, tuple(self._vocabulary.tokens[i] for i in ids), spans)

    def live(self, on_error: Callable[[Exception], object]) -> Latest:
        """Return what brings a widget's work to the main thread, the newest request first; make it on that thread."""
        return Latest(on_error)

    @overload
    def run(self, experiments: Experiment | str, *, progress: bool = ...) -> Result: ...
    @overload
    def run(self, experiments: Sequence[Experiment], *, progress: bool = ...) -> list[Result]: ...
    def run(
        self, experiments: Experiment | str | Sequence[Experiment], *, progress: bool = False
    ) -> Result | list[Result]:
        """Run an experiment, or many at once, which costs less than one after the other.

        Every prompt is run once untouched and kept; a changed run resumes from there after the first block that an
        intervention touches.

        Parameters
        ----------
        experiments : Experiment, str, or sequence of Experiment
            What to run; a text is an experiment that only asks.
        progress : bool
            Whether to show how far it is.

        Returns
        -------
        Result or list of Result
            In the order given.

        Raises
        ------
        ValueError, LookupError, TypeError
            For anything that cannot be done, before the model runs.
        """
        if isinstance(experiments, str | Experiment):
            one = Experiment(experiments) if isinstance(experiments, str) else experiments
            return self.run([one], progress=progress)[0]
        bound = [experiment.on(self.info) for experiment in experiments]
        plan = make_plan(bound, self.tokens, self._executor.max_tokens)
        rows = len(plan.prompts) + sum(len(batch.rows) for batch in plan.batches)
        with _progress(progress, total=rows) as bar:
            runs = self._executor.run(plan, bar.update)
        results = []
        for e, experiment in enumerate(bound):
            prompts = tuple(self.tokens(text) for text in experiment.prompts)
            base = [runs[prompt] for prompt in prompts]
            changed = [runs.get((e, p), runs[prompt]) for p, prompt in enumerate(prompts)]
            results.append(
                Result(
                    experiment,
                    prompts,
                    np.stack([run.logits for run in base]),
                    np.stack([run.logits for run in changed]),
                    {site: tuple(run.activations[site] for run in base) for site in experiment.read},
                    {site: tuple(run.activations[site] for run in changed) for site in experiment.read},
                    self._vocabulary,
                )
            )
        return results

    def collect(
        self,
        prompts: Sequence[str],
        *,
        sites: str | Site | Sequence[str | Site],
        tokens: TokensLike = "last",
        labels: pd.DataFrame | None = None,
        store: str | Path | None = None,
        progress: bool = True,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Cloud:
        """Collect activations of many prompts.

        Prompts are sorted by length and run in batches of equal length, so that nothing is padded; nothing after the
        last site is computed.

        Parameters
        ----------
        prompts : sequence of str
            The texts.
        sites : str, Site, or sequence of them
            Where to read.
        tokens : as in interventions
            At which tokens; each gives a row. ``"last"`` and ``"all"`` are always shorthands here.
        labels : DataFrame, optional
            Columns of your own, one line a prompt.
        store : path, optional
            A Zarr folder to write to. A collection that was stopped or killed goes on where it was.
        progress : bool
            Whether to show how far it is.
        cancel : callable
            Asked before each batch; True stops the collection.

        Returns
        -------
        Cloud
            One row for each chosen token of each prompt, in the order of the prompts.

        Raises
        ------
        ValueError, LookupError
            For anything that cannot be done, before the model runs; and when activations are not finite.
        CollectionStopped
            When it was cancelled or interrupted; its `partial` holds the finished rows.
        """
        chosen = (sites,) if isinstance(sites, str | Site) else tuple(sites)
        wanted = tuple(dict.fromkeys(Site.of(site) for site in chosen))
        if isinstance(prompts, str) or not len(prompts):
            raise ValueError(f"got prompts={prompts!r}; wanted a list of at least one text.")
        if not wanted:
            raise ValueError("got no site to read; wanted at least one, for example sites=['resid_post.10'].")
        for site in wanted:
            check_site(site, self.info)
        if labels is not None and len(labels) != len(prompts):
            raise ValueError(
                f"got labels with {len(labels)} lines for {len(prompts)} prompts; wanted one line a prompt, in the same order."
            )
        # over many texts a shorthand is never the word: some text will hold it
        selection = select_tokens(SHORTHANDS.get(tokens, tokens) if isinstance(tokens, str) else tokens)
        tokenized = [self.tokens(prompt) for prompt in prompts]
        positions = [selection.resolve(prompt) for prompt in tokenized]
        table = _rows_table(tokenized, positions, labels)
        first_row = np.cumsum([0, *map(len, positions)])
        key = hashlib.sha256(
            json.dumps([[p.ids for p in tokenized], positions, [str(s) for s in wanted], self.info.revision]).encode()
        ).hexdigest()
        writer = CloudWriter(len(table), wanted, self.info, table, store=store, key=key)
        missing = set(writer.missing.tolist())
        todo = [i for i in range(len(tokenized)) if not missing.isdisjoint(range(first_row[i], first_row[i + 1]))]
        todo.sort(key=lambda i: len(tokenized[i]))
        with _progress(progress, total=len(table), initial=len(table) - len(missing)) as bar:
            try:
                for batch in _batches(todo, tokenized, self._executor.max_tokens):
                    if cancel():
                        raise KeyboardInterrupt
                    states = self._executor.read([tokenized[i] for i in batch], wanted)
                    rows = np.concatenate([np.arange(first_row[i], first_row[i + 1]) for i in batch])
                    values = {
                        site: torch.cat([state[n, list(positions[i])] for n, i in enumerate(batch)])
                        .float()
                        .cpu()
                        .numpy()
                        for site, state in zip(wanted, states, strict=True)
                    }
                    writer.write(rows, values)
                    bar.update(len(rows))
            except KeyboardInterrupt:
                done = len(table) - len(writer.missing)
                goes_on = (
                    "call collect again with the same store to go on" if store else "give store= to be able to go on"
                )
                raise CollectionStopped(
                    f"stopped after {done} of {len(table)} rows, which are in this exception's .partial; {goes_on}.",
                    writer.partial(),
                ) from None
        return writer.cloud()


def _progress(shown: bool, **kwargs: int) -> tqdm[Any]:
    # a bar of text that goes when it is done: a widget would stay in the saved notebook as a dead view
    return tqdm(unit="row", disable=not shown, leave=False, delay=1, file=sys.stdout, **kwargs)  # type: ignore[call-overload,no-any-return]


def _rows_table(
    prompts: Sequence[TokenizedPrompt], positions: Sequence[tuple[int, ...]], labels: pd.DataFrame | None
) -> pd.DataFrame:
    rows = [
        (p.text, i, p.tokens[t], t)
        for i, (p, chosen) in enumerate(zip(prompts, positions, strict=True))
        for t in chosen
    ]
    table = pd.DataFrame(rows, columns=["text", "prompt", "token", "position"])
    if labels is None:
        return table
    clash = [c for c in labels.columns if c in table.columns]
    if clash:
        raise ValueError(f"got labels with the columns {clash}, which every cloud has itself; rename them.")
    return table.join(labels.reset_index(drop=True), on="prompt")


def _batches(todo: Sequence[int], prompts: Sequence[TokenizedPrompt], max_tokens: int) -> list[Sequence[int]]:
    by_length: dict[int, list[int]] = {}
    for i in todo:
        by_length.setdefault(len(prompts[i]), []).append(i)
    return [part for length, group in by_length.items() for part in cut(group, length, max_tokens)]


def _token_texts(tokenizer: Any, n_vocab: int) -> tuple[str, ...]:
    known = tokenizer.convert_ids_to_tokens(range(min(n_vocab, len(tokenizer))))
    texts = tokenizer.batch_decode([[i] for i in range(len(known))])
    # SentencePiece drops the leading space of what is decoded alone, and marks it in the piece
    spaced = [
        " " + text if piece and piece.startswith("▁") and not text.startswith(" ") else text
        for piece, text in zip(known, texts, strict=True)
    ]
    # embeddings are often padded to a round number of rows that no token uses
    return (*spaced, *(f"<unused {i}>" for i in range(len(spaced), n_vocab)))
