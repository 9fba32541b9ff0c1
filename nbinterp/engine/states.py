"""Activations of chosen tokens of many prompts, taken out where the model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nbinterp.engine.tensors import Change, as_array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nbinterp.engine.execute import Executor, SourceReads
    from nbinterp.engine.plan import Edit
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.sites import Site


def states_of(
    executor: Executor,
    tokens: Callable[[Prompt], TokenizedPrompt],
    prompts: Sequence[TokenizedPrompt],
    sites: Sequence[Site],
    positions: Sequence[tuple[int, ...]],
    edits: Sequence[Sequence[Edit]],
    sources: SourceReads,
) -> dict[Site, NDArray[np.float32]]:
    """Return the activations of prompts of equal length at chosen tokens, prompt after prompt: ``[n_rows, n_features]`` by site.

    Parameters
    ----------
    executor : Executor
        The model.
    tokens : callable
        Tokenises a prompt.
    prompts : sequence of TokenizedPrompt
        What is run, in one pass.
    sites : sequence of Site
        Where is read.
    positions : sequence of tuple of int
        At which tokens of each prompt.
    edits : sequence of sequence of Edit
        What is changed in each prompt.
    sources : SourceReads
        What edits take from other runs, where it is known already; what is found is added.
    """
    changes = [
        Change(row, edit, executor.arguments(edit, tokens, sources), 0)
        for row, mine in enumerate(edits)
        for edit in mine
    ]
    chosen = np.repeat(np.arange(len(prompts)), [len(at) for at in positions]), np.concatenate(positions)
    return {
        site: as_array(state[chosen]) for site, state in zip(sites, executor.read(prompts, sites, changes), strict=True)
    }
