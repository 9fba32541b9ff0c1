"""Parse experiments into batches of rows, all checked before the model runs. No torch: what is planned can be tested alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from nbinterp.interventions import Operation, Patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nbinterp.experiment import Experiment
    from nbinterp.sites import Site, TokenizedPrompt

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Edit:
    """One operation on some tokens of one row, after one block."""

    layer: int
    positions: tuple[int, ...]
    operation: Operation
    source: TokenizedPrompt | None = None
    source_positions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """One prompt under one experiment's interventions; `key` says whose it is: (experiment, prompt)."""

    key: tuple[int, int]
    prompt: TokenizedPrompt
    edits: tuple[Edit, ...]
    reads: tuple[Site, ...]

    @property
    def resume(self) -> int:
        """The first block whose output is touched: nothing up to it needs to be computed again."""
        return self.edits[0].layer


@dataclass(frozen=True)
class Batch:
    """Rows of equal length, so that nothing is padded, that resume after the same block."""

    resume: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be run: each prompt untouched once, then the changed rows."""

    prompts: tuple[TokenizedPrompt, ...]
    batches: tuple[Batch, ...]


def make_plan(
    experiments: Sequence[Experiment], tokens: Callable[[str], TokenizedPrompt], max_tokens: int = 2048
) -> Plan:
    """Return the plan for experiments that are bound to their model.

    Parameters
    ----------
    experiments : sequence of Experiment
        What to run.
    tokens : callable
        Tokenises a prompt.
    max_tokens : int
        Bound on rows × tokens of a batch.

    Raises
    ------
    ValueError, LookupError
        For tokens that a prompt does not have, and patches whose numbers of tokens do not fit.
    """
    rows = [
        Row((e, p), tokens(text), _edits(experiment, tokens(text), tokens), experiment.read)
        for e, experiment in enumerate(experiments)
        for p, text in enumerate(experiment.prompts)
    ]
    prompts = dict.fromkeys(row.prompt for row in rows)
    prompts |= dict.fromkeys(edit.source for row in rows for edit in row.edits if edit.source)
    changed = sorted((row for row in rows if row.edits), key=lambda row: (row.resume, len(row.prompt)))
    batches = []
    for (resume, length), group in itertools.groupby(changed, key=lambda row: (row.resume, len(row.prompt))):
        batches += [Batch(resume, tuple(part)) for part in cut(list(group), length, max_tokens)]
    return Plan(tuple(prompts), tuple(batches))


def cut(rows: Sequence[_Row], length: int, max_tokens: int) -> Iterator[Sequence[_Row]]:
    """Yield parts of `rows` of `length` tokens each, of at most `max_tokens` tokens and at least one row."""
    size = max(1, max_tokens // length)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _edits(
    experiment: Experiment, prompt: TokenizedPrompt, tokens: Callable[[str], TokenizedPrompt]
) -> tuple[Edit, ...]:
    edits = []
    for act in experiment.interventions:
        positions = act.tokens.resolve(prompt)
        if not isinstance(act, Patch):
            edits.append(Edit(act.site.layer, positions, act.operation()))
            continue
        source = tokens(act.source)
        taken = (act.source_tokens or act.tokens).resolve(source)
        if len(taken) not in (1, len(positions)):
            raise ValueError(
                f"got a Patch that takes {len(taken)} tokens of {source.text!r} for {len(positions)} of {prompt.text!r}; "
                "take as many or a single one: choose them with tokens= and source_tokens=."
            )
        edits.append(Edit(act.site.layer, positions, act.operation(), source, taken))
    return tuple(sorted(edits, key=lambda edit: edit.layer))
