"""Collect activations of many prompts into a cloud, batch by batch."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.clouds import Cloud, CloudWriter
from nbinterp.engine.batching import equal_batches
from nbinterp.engine.planning import prompt_edits
from nbinterp.engine.states import states_of
from nbinterp.experiment import Experiment
from nbinterp.sites import COMPONENTS, UNLAYERED, Site
from nbinterp.tokens import SHORTHANDS, select_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tqdm import tqdm

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.engine import Engine
    from nbinterp.engine.execute import SourceReads
    from nbinterp.operations import Intervention
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.tokens import TokensLike


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


class Collection:
    """A collection that is under way: each step of an iteration over it collects one batch.

    Made by `Model.collecting`. It may be left between two batches and iterated again.

    Parameters
    ----------
    executor : Engine
        The model.
    tokens : callable
        Tokenises a prompt.
    texts, sites, at, labels, store, interventions
        As `Model.collect` has them; `at` is its `tokens`.
    """

    def __init__(
        self,
        executor: Engine,
        tokens: Callable[[Prompt], TokenizedPrompt],
        texts: Sequence[str],
        sites: str | Site | Sequence[str | Site],
        at: TokensLike,
        labels: pd.DataFrame | None,
        store: str | Path | None,
        interventions: Intervention | Iterable[Intervention],
    ) -> None:
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"got prompts={texts!r}; wanted a list of at least one text.")
        if labels is not None and len(labels) != len(texts):
            raise ValueError(
                f"got labels with {len(labels)} lines for {len(texts)} prompts; wanted one line a prompt, in the same order."
            )
        info = executor.info
        self._executor, self._tokens = executor, tokens
        self._sites = _sites(sites, info)
        # what an experiment takes for interventions, a collection takes; those that are disabled do nothing in it
        acts = tuple(act.bound(info) for act in Experiment(texts[0], interventions).active)
        # over many texts a shorthand is never the word: some text will hold it
        selection = select_tokens(SHORTHANDS.get(at, at) if isinstance(at, str) else at)
        self._prompts = [tokens(text) for text in texts]
        self._positions = [selection.resolve(prompt) for prompt in self._prompts]
        self._edits = [prompt_edits(acts, prompt, tokens, info) for prompt in self._prompts]
        self._sources: SourceReads = {}
        table = _rows_table(self._prompts, self._positions, labels)
        self._first_row = np.cumsum([0, *map(len, self._positions)])
        self._store = store
        self._writer = CloudWriter(len(table), self._sites, info, table, store, key=self._key(acts), interventions=acts)
        self.total = len(table)

    def _key(self, acts: Sequence[Intervention]) -> str:
        if self._store is None:
            return ""
        prompts, sites = [p.ids for p in self._prompts], [str(site) for site in self._sites]
        asked: list[object] = [prompts, self._positions, sites, self._executor.info.revision]
        # without interventions, as it was before there were any: collections of then go on
        asked += [[act.to_json() for act in acts]] if acts else []
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    @property
    def done(self) -> int:
        """How many of the `total` rows are there."""
        return self.total - len(self._writer.missing)

    def __iter__(self) -> Iterator[int]:
        """Collect batch by batch; yield after each how many rows it had."""
        for batch in self._batches():
            yield self._collect(batch)

    def finish(self, progress: Callable[[int, int], tqdm[None]], cancel: Callable[[], bool]) -> Cloud:
        """Collect all that is missing; see `Model.collect`. `progress` makes a bar from the number of rows and how many are done."""
        with progress(self.total, self.done) as bar:
            try:
                for batch in self._batches():
                    if cancel():
                        raise KeyboardInterrupt
                    bar.update(self._collect(batch))
            except KeyboardInterrupt:
                on = (
                    "give store= to be able to go on"
                    if self._store is None
                    else "call collect again with the same store to go on"
                )
                raise CollectionStopped(
                    f"stopped after {self.done} of {self.total} rows, which are in this exception's .partial; {on}.",
                    self._writer.partial(),
                ) from None
        return self.cloud()

    def cloud(self) -> Cloud:
        """Return the finished cloud; ValueError while rows are missing."""
        return self._writer.cloud()

    def partial(self) -> Cloud:
        """Return the cloud of the rows that are there."""
        return self._writer.partial()

    def _batches(self) -> Iterator[list[int]]:
        """Yield the prompts of which rows are missing, in batches of equal length."""
        missing = set(self._writer.missing.tolist())
        todo = [i for i in range(len(self._prompts)) if not missing.isdisjoint(self._rows(i))]

        def size(group: list[int]) -> int:
            return self._executor.sizes.rows_of(len(self._prompts[group[0]]), self._sites)

        return equal_batches(todo, lambda i: len(self._prompts[i]), size)

    def _rows(self, prompt: int) -> range:
        return range(self._first_row[prompt], self._first_row[prompt + 1])

    def _collect(self, batch: Sequence[int]) -> int:
        """Collect the rows of some prompts of equal length; return how many they are."""
        prompts, positions = [self._prompts[i] for i in batch], [self._positions[i] for i in batch]
        edits = [self._edits[i] for i in batch]
        values = self._executor.call(states_of, self._tokens, prompts, self._sites, positions, edits, self._sources)
        rows = np.concatenate([self._rows(i) for i in batch])
        self._writer.write(rows, values)
        return len(rows)


def _sites(sites: str | Site | Sequence[str | Site], info: ModelInfo) -> tuple[Site, ...]:
    """Return sites of which every prompt has rows of the same width; a component without a layer is meant at all of them."""
    chosen = (sites,) if isinstance(sites, str | Site) else tuple(sites)
    wanted = tuple(dict.fromkeys(site for one in chosen for site in _of_all_layers(one, info)))
    if not wanted:
        raise ValueError("got no site to read; wanted at least one, for example sites=['resid_post.10'].")
    for site in wanted:
        info.check(site)
        if site.component == "pattern":
            raise ValueError(
                f"got {str(site)!r} to collect, whose features are the keys of one prompt; read it with run(…)."
            )
    return wanted


def _of_all_layers(site: str | Site, info: ModelInfo) -> tuple[Site, ...]:
    if isinstance(site, str) and site in COMPONENTS and site not in UNLAYERED:
        return tuple(Site(site, layer) for layer in range(info.n_layers))
    return (Site.of(site),)


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
