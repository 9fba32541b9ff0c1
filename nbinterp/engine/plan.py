"""What a plan is made of, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.sizes import Sizes
    from nbinterp.experiment import Experiment
    from nbinterp.operations import Operation
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.sites import Site


@dataclass(frozen=True)
class Taken:
    """Activations of single tokens of other runs, one for each token that is replaced, or one for all of them.

    Parameters
    ----------
    tokens : tuple of (run, position)
        A run is a prompt (untouched) or an experiment (changed).
    """

    tokens: tuple[tuple[TokenizedPrompt | Experiment, int], ...]


@dataclass(frozen=True)
class Mean:
    """The mean activation over all tokens of some prompts."""

    prompts: tuple[TokenizedPrompt, ...]


@dataclass(frozen=True)
class Edit:
    """One operation on some tokens of one row.

    Parameters
    ----------
    index : int
        Of the intervention in its experiment.
    site : Site
        Where.
    at : (int, float)
        Where that is in the forward pass: `nbinterp.anatomy.ModelInfo.position`.
    positions : tuple of int
        At which tokens of the prompt.
    operation : Operation
        What.
    value : Taken or Mean, optional
        What the operation's argument ``value`` has to be computed from.
    """

    index: int
    site: Site
    at: tuple[int, float]
    positions: tuple[int, ...]
    operation: Operation
    value: Taken | Mean | None = None


@dataclass(frozen=True)
class Row:
    """One prompt under one experiment's interventions.

    Parameters
    ----------
    key : hashable
        Whose it is: (experiment, prompt), or the experiment that a patch takes something from.
    prompt : TokenizedPrompt
        The prompt.
    edits : tuple of Edit
        In the model's order, and at one site in the order of writing.
    reads : tuple of Site
        What is to come back.
    join : int
        The first block that must run: −1 for the embeddings, ``n_layers`` where no block need run.
    start : int
        The first token that must run.
    """

    key: Hashable
    prompt: TokenizedPrompt
    edits: tuple[Edit, ...]
    reads: tuple[Site, ...]
    join: int
    start: int


@dataclass(frozen=True)
class Batch:
    """Rows of equal length, so that nothing is padded, in the order in which they join the pass.

    Parameters
    ----------
    start : int
        The first token that is run; tokens before it come from the key-value cache.
    rows : tuple of Row
        By ascending `Row.join`.
    """

    start: int
    rows: tuple[Row, ...]

    @property
    def length(self) -> int:
        """Number of tokens of each prompt."""
        return len(self.rows[0].prompt)

    def active(self, layer: int) -> int:
        """Return how many rows have joined when a block runs."""
        return sum(row.join <= layer for row in self.rows)


@dataclass(frozen=True)
class Stage:
    """Prompts whose untouched runs fit into memory together, and the batches that start from them.

    Parameters
    ----------
    prompts : mapping of TokenizedPrompt to tuple of Site
        What to run untouched, and what to read of it.
    batches : tuple of Batch
        Changed rows; what a patch takes from a changed run stands before it.
    """

    prompts: dict[TokenizedPrompt, tuple[Site, ...]]
    batches: tuple[Batch, ...]


@dataclass(frozen=True)
class Plan:
    """What will be run, and what it costs.

    Parameters
    ----------
    model : ModelInfo
        On which model.
    stages : tuple of Stage
        One after the other.
    known : frozenset of TokenizedPrompt
        Prompts whose untouched runs are kept already.
    sizes : Sizes
        How much memory things take.
    asked : int
        Tokens of all prompts under interventions, those included of which nothing need be run.
    """

    model: ModelInfo
    stages: tuple[Stage, ...]
    known: frozenset[TokenizedPrompt] = field(repr=False)
    sizes: Sizes = field(repr=False)
    asked: int

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """Batches of changed rows, in the order in which they run."""
        return tuple(batch for stage in self.stages for batch in stage.batches)

    @cached_property
    def prompts(self) -> tuple[TokenizedPrompt, ...]:
        """Prompts that are run untouched, unless they are `known`."""
        return tuple(dict.fromkeys(prompt for stage in self.stages for prompt in stage.prompts))

    @property
    def rows(self) -> int:
        """Number of changed rows."""
        return sum(len(batch.rows) for batch in self.batches)

    @property
    def work(self) -> int:
        """Tokens times blocks that will run."""
        layers = self.model.n_layers
        changed = sum(
            (batch.length - batch.start) * sum(batch.active(layer) for layer in range(layers)) for batch in self.batches
        )
        return changed + layers * sum(len(prompt) for prompt in self.prompts if prompt not in self.known)

    @property
    def naive_work(self) -> int:
        """Tokens times blocks of a full pass for each row, and for each prompt untouched."""
        return self.model.n_layers * (self.asked + sum(map(len, self.prompts)))

    @property
    def share(self) -> float:
        """`work` over `naive_work`."""
        return self.work / self.naive_work if self.naive_work else 0.0

    @property
    def memory(self) -> int:
        """Estimated bytes beside the weights, at the worst moment."""
        kept = max((sum(self.sizes.kept(len(p)) for p in stage.prompts) for stage in self.stages), default=0)
        return kept + max((self.sizes.batch(batch) for batch in self.batches), default=0)

    def __str__(self) -> str:
        todo = [prompt for prompt in self.prompts if prompt not in self.known]
        layers = self.model.n_layers
        lines = [
            f"Plan on {self.model}: {_many(self.rows, 'changed row')} in {_many(len(self.batches), 'trace')}, {len(todo)} of {_many(len(self.prompts), 'prompt')} still to be run untouched",
            f"  work: {self.work:,} of {self.naive_work:,} token-layers, {self.share:.1%} of a full pass for each row and prompt",
            f"  memory: {_mib(self.memory)} beside the weights' {_mib(self.sizes.weights)}, batches cut to {_mib(self.sizes.bound)}",
        ]
        for batch in self.batches[:8]:
            first, last = batch.rows[0].join, batch.rows[-1].join
            blocks = f"{max(first, 0)}" if first == last else f"{max(first, 0)} to {last}"
            lines.append(
                f"  {_many(len(batch.rows), 'row')} from block {blocks} of {layers} on, tokens {batch.start} to {batch.length - 1}"
            )
        return "\n".join(
            lines + ([f"  … {_many(len(self.batches) - 8, 'more trace')}"] if len(self.batches) > 8 else [])
        )

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"


def _many(number: int, of: str) -> str:
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
