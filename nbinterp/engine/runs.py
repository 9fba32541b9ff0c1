"""What runs gave: to whoever asked, and kept so that changed runs can resume from it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nbinterp.engine.tensors import shaped, whole
from nbinterp.sites import Site

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo
    from nbinterp.prompts import TokenizedPrompt

Cache = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of every layer: each ``[n_rows, n_kv_heads, n_tokens, d_head]``."""


@dataclass(frozen=True)
class Run:
    """What one row gave.

    Parameters
    ----------
    logits : array, ``[n_vocab]``
        At its last token.
    activations : mapping of Site to array
        ``[n_tokens, n_features]``; with heads ``[n_tokens, n_heads, d_head]``, of the pattern ``[n_heads, n_query, n_key]``.
    moved : mapping of int to float
        By the index of an intervention: how far it moved what it acts on, relative to its norm.
    cache : Cache, optional
        Its keys and values, where they were asked for.
    """

    logits: NDArray[np.float32]
    activations: Mapping[Site, NDArray[np.float32]]
    moved: Mapping[int, float] = field(default_factory=dict)
    cache: Cache | None = None


@dataclass(frozen=True)
class Kept:
    """An untouched run: last logits ``[n_vocab]``, residual stream ``[n_layers + 1, n_tokens, d_model]``, keys and values, and reads ``[n_tokens, n_features]``."""

    logits: torch.Tensor
    stream: torch.Tensor
    cache: Cache
    reads: dict[Site, torch.Tensor]

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        tensors = (self.logits, self.stream, *self.reads.values(), *(t for pair in self.cache for t in pair))
        return sum(t.nbytes for t in tensors)

    def read(self, site: Site) -> torch.Tensor:
        """Return what it has at a site, all heads side by side: ``[n_tokens, n_features]``."""
        if in_stream(site):
            assert site.layer is not None
            return self.stream[site.layer + (site.component == "resid_post")]
        return self.reads[whole(site)]

    def has(self, sites: Iterable[Site]) -> bool:
        """Whether sites can be read of it."""
        return all(in_stream(site) or whole(site) in self.reads for site in sites)


def in_stream(site: Site) -> bool:
    """Whether a site is the residual stream between two blocks, which every untouched run keeps."""
    return site.component in ("resid_pre", "resid_post")


class KeptRuns:
    """The untouched runs of the prompts that were seen last, as many as a bound allows, and at least one.

    Parameters
    ----------
    bound : int
        Bytes that they may take together.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._runs: OrderedDict[tuple[int, ...], Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, prompt: TokenizedPrompt) -> bool:
        return prompt.ids in self._runs

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._runs.values())

    def get(self, prompt: TokenizedPrompt) -> Kept | None:
        """Return a prompt's run, which is the last seen then; None where it is not kept."""
        if prompt.ids in self._runs:
            self._runs.move_to_end(prompt.ids)
        return self._runs.get(prompt.ids)

    def put(self, prompt: TokenizedPrompt, run: Kept) -> None:
        """Keep a prompt's run, and drop what was seen longest ago where there is too much."""
        self._runs[prompt.ids] = run
        self._runs.move_to_end(prompt.ids)
        self._evict()

    def clear(self) -> None:
        """Drop all runs."""
        self._runs.clear()

    @property
    def bound(self) -> int:
        """Bytes that they may take together; may be set."""
        return self._bound

    @bound.setter
    def bound(self, size: int) -> None:
        self._bound = size
        self._evict()

    def _evict(self) -> None:
        while len(self._runs) > 1 and sum(run.nbytes for run in self._runs.values()) > self._bound:
            self._runs.popitem(last=False)


class Reads(Mapping[Site, NDArray[np.float32]]):
    """What was read of an untouched run, turned into arrays only where somebody looks."""

    def __init__(self, kept: Kept, sites: Sequence[Site], info: ModelInfo) -> None:
        self._kept, self._sites, self._info = kept, sites, info

    def __getitem__(self, site: Site) -> NDArray[np.float32]:
        return shaped(self._kept.read(site), site, self._info)

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def __reduce__(self) -> tuple[type[dict[Any, Any]], tuple[dict[Site, NDArray[np.float32]]]]:
        # what was asked for, and not the whole run that it is taken from
        return dict, (dict(self),)
