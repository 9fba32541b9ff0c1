"""Collect activations of many prompts into a cloud, batch by batch."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.clouds import Cloud, CloudWriter
from nbinterp.engine.batching import equal_batches
from nbinterp.sites import COMPONENTS, UNLAYERED, Site
from nbinterp.tokens import SHORTHANDS, select_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tqdm import tqdm

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.execute import Executor
    from nbinterp.prompts import TokenizedPrompt
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


def collect(
    executor: Executor,
    tokens: Callable[[str], TokenizedPrompt],
    texts: Sequence[str],
    sites: str | Site | Sequence[str | Site],
    at: TokensLike,
    labels: pd.DataFrame | None,
    store: str | Path | None,
    progress: Callable[[int, int], tqdm[None]],
    cancel: Callable[[], bool],
) -> Cloud:
    """Collect; see `nbinterp.model.Model.collect`. `progress` makes a bar from the number of rows and how many are done."""
    sites = _sites(sites, executor.info)
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"got prompts={texts!r}; wanted a list of at least one text.")
    if labels is not None and len(labels) != len(texts):
        raise ValueError(
            f"got labels with {len(labels)} lines for {len(texts)} prompts; wanted one line a prompt, in the same order."
        )
    # over many texts a shorthand is never the word: some text will hold it
    selection = select_tokens(SHORTHANDS.get(at, at) if isinstance(at, str) else at)
    prompts = [tokens(text) for text in texts]
    positions = [selection.resolve(prompt) for prompt in prompts]
    table = _rows_table(prompts, positions, labels)
    first_row = np.cumsum([0, *map(len, positions)])
    key = hashlib.sha256(
        json.dumps([[p.ids for p in prompts], positions, [str(s) for s in sites], executor.info.revision]).encode()
    ).hexdigest()
    writer = CloudWriter(len(table), sites, executor.info, table, store=store, key=key)
    missing = set(writer.missing.tolist())
    todo = [i for i in range(len(prompts)) if not missing.isdisjoint(range(first_row[i], first_row[i + 1]))]
    with progress(len(table), len(table) - len(missing)) as bar:
        try:
            for batch in equal_batches(
                todo, lambda i: len(prompts[i]), lambda group: executor.sizes.rows_of(len(prompts[group[0]]), sites)
            ):
                if cancel():
                    raise KeyboardInterrupt
                states = executor.read([prompts[i] for i in batch], sites)
                rows = np.concatenate([np.arange(first_row[i], first_row[i + 1]) for i in batch])
                chosen = (
                    np.repeat(np.arange(len(batch)), [len(positions[i]) for i in batch]),
                    np.concatenate([positions[i] for i in batch]),
                )
                values = {site: state[chosen].float().cpu().numpy() for site, state in zip(sites, states, strict=True)}
                writer.write(rows, values)
                bar.update(len(rows))
        except KeyboardInterrupt:
            done = len(table) - len(writer.missing)
            goes_on = "call collect again with the same store to go on" if store else "give store= to be able to go on"
            raise CollectionStopped(
                f"stopped after {done} of {len(table)} rows, which are in this exception's .partial; {goes_on}.",
                writer.partial(),
            ) from None
    return writer.cloud()


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
