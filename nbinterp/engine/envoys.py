"""A model's modules as nnsight shows them: what is done at each, inside a trace."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from nbinterp.engine.dissect import eager
from nbinterp.engine.live import MODEL_LOCK
from nbinterp.engine.tensors import first_tensor, part_of, put_back, whole
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.tensors import Change


@dataclass
class Step:
    """What is to be done at one end of one module: change, then read, then let rows join in front of block `joins`."""

    changes: list[Change] = field(default_factory=list)
    readers: dict[Site, list[int]] = field(default_factory=dict)
    joins: int | None = None


Steps = dict[tuple[int, float], Step]
"""Steps by where they are in the forward pass: `nbinterp.anatomy.ModelInfo.position`."""


def sites_of(steps: Steps) -> list[Site]:
    """Return the sites that are read or changed."""
    return [site for step in steps.values() for site in (*(change.edit.site for change in step.changes), *step.readers)]


class Envoys:
    """Reads and changes sites of a model that nnsight wraps, while a trace of it runs.

    Parameters
    ----------
    nnsight : nnsight.TransformersModel
        The wrapped model.
    info : ModelInfo
        Which model it is, with its anatomy.
    """

    def __init__(self, nnsight: Any, info: ModelInfo) -> None:
        assert info.anatomy is not None
        self.nnsight, self.info, self.anatomy = nnsight, info, info.anatomy
        module = nnsight._module
        self._unembedding = _plain_unembedding(module)
        self._last_only = "logits_to_keep" in inspect.signature(module.forward).parameters

    @property
    def blocks(self) -> Any:
        """The blocks, in order."""
        return self.nnsight.get(self.info.blocks)

    def ready(self, sites: Sequence[Site]) -> contextlib.AbstractContextManager[Any]:
        """Hold the lock while a trace of these sites runs, and have the pattern computed where it is read or changed."""
        stack = contextlib.ExitStack()
        stack.enter_context(MODEL_LOCK)
        if any(site.component == "pattern" for site in sites):
            stack.enter_context(eager(self.nnsight._module))
            # nnsight opens a module's source when it is first asked for, which is too late once the module runs
            for layer in {site.layer for site in sites if site.component == "pattern"}:
                path = self.info.event(Site("pattern", layer))[0].partition(".source.")[0]
                _ = self.nnsight.get(path).source
        return stack

    def logits_of(self, sites: Sequence[Site]) -> dict[str, int]:
        """Ask for the last token's logits only, unless something behind the blocks is read or changed."""
        after = any(self.info.position(site)[0] == self.info.n_layers for site in sites)
        return {"logits_to_keep": 1} if self._last_only and not after else {}

    def steps(self, changes: Sequence[Change], readers: Sequence[tuple[int, Site]]) -> Steps:
        """Return what is to be done in a pass by where: changes of rows, and reads of (row, site)."""
        steps: Steps = {}
        for change in changes:
            steps.setdefault(change.edit.at, Step()).changes.append(change)
        for row, site in readers:
            steps.setdefault(self.info.position(site), Step()).readers.setdefault(whole(site), []).append(row)
        return steps

    def do(self, step: Step, n_tokens: int, found: dict[tuple[int, Site], torch.Tensor]) -> None:
        """Apply changes and note reads ``[n_tokens, n_features]``, of all heads, by row and site."""
        for change in step.changes:
            self._apply(change, n_tokens)
        for site, rows in step.readers.items():
            features = self.features(self.raw(site), site, n_tokens)
            found.update({(row, site): features[row].clone() for row in rows})

    def _apply(self, change: Change, n_tokens: int) -> None:
        site = whole(change.edit.site)
        raw = self.raw(site)
        if raw.ndim == 2:
            raw = raw.view(-1, n_tokens, raw.shape[-1])
        row = raw[change.row : change.row + 1]
        features = self.features(row, site, n_tokens)
        change(features[0], self.info.heads(site))
        # features that could not be a view are a copy
        if site.component == "pattern":
            # a copy first: of a single query both may be the same memory
            row.copy_(features.view(1, n_tokens, row.shape[1], -1).transpose(1, 2).clone())
        elif not site.is_path:
            put_back(features, row, self.anatomy.places[site.component])

    def raw(self, site: Site) -> Any:
        """Return a site's tensor as the model has it."""
        if site.component == "logits":
            return self.nnsight.output.logits
        path, side = self.info.event(site)
        envoy = self.nnsight
        for name in path.split("."):
            envoy = envoy[int(name)] if name.isdigit() else getattr(envoy, name)
        return first_tensor(envoy.input if side == "input" else envoy.output)

    def features(self, raw: torch.Tensor, site: Site, n_tokens: int) -> torch.Tensor:
        """Return ``[row, token, n_features]``, heads side by side; a view where it can be one."""
        if site.component == "pattern":
            return raw.transpose(1, 2).flatten(2)
        if raw.ndim == 2:  # OPT's MLP sees the tokens of all rows one after the other
            raw = raw.view(-1, n_tokens, raw.shape[-1])
        return raw if site.is_path else part_of(raw, self.anatomy.places[site.component])

    def handed_on(self, stream: torch.Tensor) -> Any:
        """Return the residual stream as this model's blocks return it."""
        return (stream, *[None] * self.anatomy.beside) if self.anatomy.beside else stream

    def unembed(self, rows: int, sites: Sequence[Site]) -> None:
        """Compute the last token's logits of several rows as one product of two matrices.

        The model's own slice of the last tokens does not lie in one piece, so that torch multiplies row by row: ten times
        as slow. On a processor, products of 2 to 6 rows by the unembedding take MKL two to four times as long as
        with the weights as the left factor.
        """
        if rows < 2 or not self._unembedding or not self.logits_of(sites):
            return
        envoy = self.nnsight.get(self._unembedding)
        weight, last = envoy._module.weight, envoy.input[:, -1]
        turned = rows <= 6 and weight.device.type == "cpu"
        envoy.skip(((weight @ last.T).T if turned else last @ weight.T)[:, None])

    def forgo_logits(self, sites: Sequence[Site]) -> None:
        """Leave the unembedding out, where nobody asks for what comes of it."""
        if self._unembedding and self.logits_of(sites):
            envoy = self.nnsight.get(self._unembedding)
            envoy.skip(envoy.input[..., :1])


def _plain_unembedding(module: Any) -> str:
    """Return the path of the unembedding where it is a plain product, else an empty text."""
    head = module.get_output_embeddings()
    if type(head) is not torch.nn.Linear or getattr(head, "bias", None) is not None:
        return ""
    return next((path for path, child in module.named_modules() if child is head), "")
