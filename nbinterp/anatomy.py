"""What a model is made of: its card, and where in its tree of modules each site's tensor is found. Data only."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbinterp.sites import COMPONENTS, Site

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Place:
    """Where a component's tensor is found: at which end of which module, and which part of its last axis it is.

    Parameters
    ----------
    module : str
        Path of the module: inside its block, or inside the model where the component has no layer; empty for the block,
        or the model, itself. Steps through a module's source, as nnsight names them, may follow.
    side : {"input", "output"}
        Which end of it.
    heads : int
        How many heads lie side by side along the features; 0 for a component without heads.
    split : tuple of int
        How the last axis divides, where the component is a part of it: e.g. ``(n_heads, 3, d_head)``.
    axis, start, length : int
        Which part of the divided axes it is: ``length`` entries from ``start`` along this axis of `split`.
    """

    module: str
    side: str
    heads: int = 0
    split: tuple[int, ...] = ()
    axis: int = 0
    start: int = 0
    length: int = 0


@dataclass(frozen=True)
class Anatomy:
    """The order in which a model's modules are called, and where each component is found among them.

    Parameters
    ----------
    before, inside, after : mapping of str to int
        Ends of modules in the order in which data pass them (``"model.norm.input"``), before, inside and after the
        blocks, with the number of features that pass there; those inside are written once for all blocks and relative to
        the block (``"mlp.input"``, ``"input"``).
    places : mapping of str to Place
        By component.
    lacking : mapping of str to str
        Why this model lacks the other components.
    grows : bool
        Whether rows can join a batch in front of any block, so that each is run only from where it is touched.
    caches : bool
        Whether tokens before the first touched one can come from the key-value cache.
    beside : int
        How many values a block returns in a tuple beside the residual stream.
    """

    before: Mapping[str, int]
    inside: Mapping[str, int]
    after: Mapping[str, int]
    places: Mapping[str, Place]
    lacking: Mapping[str, str]
    grows: bool = True
    caches: bool = True
    beside: int = 0


@dataclass(frozen=True)
class ModelInfo:
    """Which model: enough to tell two models apart, and to write code that opens this one again.

    Parameters
    ----------
    name : str
        The name under which it was opened.
    revision : str
        What tells these very weights from others: a hub commit, or a checksum of the weights.
    architecture : str
        The class in transformers, e.g. ``"LlamaForCausalLM"``.
    n_layers, d_model, n_vocab : int
        Number of blocks, width of the residual stream, number of tokens known.
    blocks : str
        Path of the list of blocks inside the module, e.g. ``"model.layers"``.
    n_heads, n_kv_heads, d_head, d_mlp : int
        Query heads, key/value heads, width of a head, number of neurons of an MLP; 0 where unknown.
    source : str
        What transformers opens it from: a directory, a GGUF file or a hub id; empty for a module given in memory.
    dtype : str
        Of its weights and activations, by its name in torch.
    anatomy : Anatomy, optional
        Where its sites are; known once the model is open, and not part of a saved card.
    """

    name: str
    revision: str
    architecture: str
    n_layers: int
    d_model: int
    n_vocab: int
    blocks: str
    n_heads: int = field(default=0, compare=False)
    n_kv_heads: int = field(default=0, compare=False)
    d_head: int = field(default=0, compare=False)
    d_mlp: int = field(default=0, compare=False)
    source: str = field(default="", compare=False)
    dtype: str = field(default="float32", compare=False)
    anatomy: Anatomy | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:12]}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields, without `source` (where the weights lie is this machine's affair) and `anatomy`."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("source", "anatomy")}

    def heads(self, site: Site) -> int:
        """Return how many heads a site's component has; 0 where it has none."""
        return {
            "q": self.n_heads,
            "k": self.n_kv_heads,
            "v": self.n_kv_heads,
            "z": self.n_heads,
            "pattern": self.n_heads,
        }.get(site.component, 0)

    def width(self, site: Site) -> int | None:
        """Return the number of features at a site, all heads side by side where no head is chosen; None if unknown."""
        if site.component == "logits":
            return self.n_vocab
        if site.component == "mlp_post":
            return self.d_mlp or None
        if site.component in ("q", "k", "v", "z"):
            return (self.d_head if site.head is not None else self.d_head * self.heads(site)) or None
        if site.is_path:
            return None if self.anatomy is None else self._call(site)[2]
        return None if site.component == "pattern" else self.d_model

    def check(self, site: Site) -> None:
        """Raise ValueError when this model has no such site."""
        if site.layer is not None and site.layer >= self.n_layers:
            raise ValueError(
                f"got layer {site.layer} in {str(site)!r}; {self.name} has {self.n_layers} layers: choose 0 to {self.n_layers - 1}."
            )
        if self.anatomy is None:
            return
        if site.component in self.anatomy.lacking:
            raise ValueError(
                f"got {str(site)!r}, which {self.name} ({self.architecture}) does not have: {self.anatomy.lacking[site.component]}."
            )
        heads = self.heads(site)
        if site.head is not None and site.head >= heads:
            shared = f", each shared by {self.n_heads // heads} query heads" if heads < self.n_heads else ""
            raise ValueError(
                f"got head {site.head} in {str(site)!r}; {self.name} has {heads} there{shared}: choose {'0' if heads == 1 else f'0 to {heads - 1}'}."
            )
        if site.is_path:
            self.position(site)

    def event(self, site: Site) -> tuple[str, str]:
        """Return the module, by its path, and the end of it at which a site's tensor is found."""
        if site.is_path:
            path, _, side = site.component.partition(":")
            return path, side or "output"
        assert self.anatomy is not None
        place = self.anatomy.places[site.component]
        parts = ["" if site.layer is None else f"{self.blocks}.{site.layer}", place.module]
        return ".".join(filter(None, parts)), place.side

    def position(self, site: Site) -> tuple[int, float]:
        """Return where in the forward pass a site is: its layer (−1 before, ``n_layers`` after the blocks) and its rank there.

        Raises
        ------
        ValueError
            When no module of that path is called.
        """
        assert self.anatomy is not None
        if site.component == "pattern":
            # a step inside the attention's source, right before what takes the heads' outputs
            layer, rank = self.position(Site("z", site.layer))
            return layer, rank - 0.5
        return self._call(site)[:2]

    def _call(self, site: Site) -> tuple[int, float, int]:
        """Return the layer, rank and number of features of the end of a module at which a site is."""
        assert self.anatomy is not None
        path, side = self.event(site)
        inside = re.fullmatch(rf"{re.escape(self.blocks)}\.(\d+)(?:\.(.+))?", path)
        call = ".".join(filter(None, [path if inside is None else inside[2], side]))
        places = (
            {-1: self.anatomy.before, self.n_layers: self.anatomy.after}
            if inside is None
            else {int(inside[1]): self.anatomy.inside}
        )
        for layer, calls in places.items():
            if call in calls and (inside is None or layer < self.n_layers):
                return layer, self._ranks[layer if inside is None else 0][call], calls[call]
        known = (*COMPONENTS, *(c.removesuffix(".output") for c in (*self.anatomy.before, *self.anatomy.after)))
        close = difflib.get_close_matches(site.component, known, 2, 0.6)
        hint = f"; did you mean {' or '.join(map(repr, close))}" if close else ""
        raise ValueError(
            f"got the site {str(site)!r}, which is neither a component ({', '.join(COMPONENTS)}) nor the path of a module that "
            f"{self.name} calls{hint}."
        )

    @cached_property
    def _ranks(self) -> dict[int, dict[str, int]]:
        assert self.anatomy is not None
        places = {-1: self.anatomy.before, 0: self.anatomy.inside, self.n_layers: self.anatomy.after}
        return {layer: {call: rank for rank, call in enumerate(calls)} for layer, calls in places.items()}
