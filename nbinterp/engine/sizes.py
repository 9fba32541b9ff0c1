"""How much memory a run takes, estimated before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.plan import Batch
    from nbinterp.sites import Site


@dataclass(frozen=True)
class Sizes:
    """What things take in memory, in bytes, and what they may take.

    Parameters
    ----------
    model : ModelInfo
        Which model.
    weights : int
        Bytes of its weights.
    itemsize : int
        Bytes of a number of its activations.
    bound : int
        What a batch may take, and what the untouched runs of a stage may take.
    max_tokens : int
        How many tokens a batch may have: more do not run faster, and nothing can be stopped in mid-batch.
    """

    model: ModelInfo
    weights: int
    itemsize: int
    bound: int
    max_tokens: int

    @property
    def unembedding_layers(self) -> float:
        """To how many blocks the unembedding is equal, in weights."""
        m = self.model
        block = 4 * m.d_model**2 + 3 * m.d_model * (m.d_mlp or 4 * m.d_model)
        return m.n_vocab * m.d_model / block

    def kept(self, n_tokens: int) -> int:
        """Return what the untouched run of a prompt takes: residual stream, keys and values of every layer, last logits."""
        m = self.model
        per_layer = m.d_model + 2 * m.n_kv_heads * m.d_head
        return self.itemsize * (n_tokens * (m.n_layers + 1) * per_layer + m.n_vocab)

    def pass_(self, rows: int, n_tokens: int, n_keys: int, logits: int = 1, reads: int = 0) -> int:
        """Return what one pass takes at its worst moment.

        Parameters
        ----------
        rows : int
            Rows of the batch.
        n_tokens, n_keys : int
            Tokens that are run, and tokens that these attend to.
        logits : int
            Tokens of each row whose logits are asked for.
        reads : int
            Numbers that are read of each row.
        """
        m = self.model
        # a block holds its input, what its norm gives, queries, and the gate and neurons of its MLP, all at once
        block = n_tokens * (4 * m.d_model + 3 * (m.d_mlp or 4 * m.d_model)) + 3 * m.n_heads * n_tokens * n_keys
        cache = 2 * m.n_layers * n_keys * m.n_kv_heads * m.d_head
        # logits are copied once, in float32
        return rows * (self.itemsize * (block + cache + reads) + (4 + self.itemsize) * logits * m.n_vocab)

    def read(self, site: Site, n_tokens: int, n_keys: int) -> int:
        """Return how many numbers a site has in one row."""
        width = self.model.width(site)
        return n_tokens * (
            self.model.n_heads * n_keys if site.component == "pattern" else width or 4 * self.model.d_model
        )

    def batch(self, batch: Batch) -> int:
        """Return what a batch takes at its worst moment."""
        n = batch.length - batch.start
        sites = {site for row in batch.rows for site in row.reads}
        after = any(s.component == "logits" for s in sites) or any(
            edit.at[0] == self.model.n_layers for row in batch.rows for edit in row.edits
        )
        reads = sum(self.read(site, n, batch.length) for site in sites)
        return self.pass_(len(batch.rows), n, batch.length, n if after else 1, reads)

    def rows_of(self, n_tokens: int, sites: Iterable[Site] = ()) -> int:
        """Return how many rows of untouched prompts of a length may run together and be read at some sites, at least one."""
        reads = sum(self.read(site, n_tokens, n_tokens) for site in sites)
        one = self.pass_(1, n_tokens, n_tokens, 1, reads) + self.kept(n_tokens)
        return max(1, min(self.bound // one, self.max_tokens // n_tokens))
