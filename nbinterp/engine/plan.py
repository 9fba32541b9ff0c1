"""Parse experiments into the fewest and smallest batches of rows, all checked before the model runs.

No torch: what is planned can be tested alone. An intervention at layer L on token t changes nothing before L and nothing
before t. So each prompt is run once untouched; a changed row joins the pass only at the first block that it touches, and
brings only the tokens from its first touched one on: what lies before comes from kept activations and from the
key-value cache.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.experiment import Experiment
from nbinterp.prompts import Chat, TokenizedPrompt

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.sizes import Sizes
    from nbinterp.operations import Intervention, Operation, Sources
    from nbinterp.prompts import Prompt
    from nbinterp.sites import Site
    from nbinterp.steps import Steps

OVERHEAD = 20
"""How many tokens a block could run in the time that it takes to stream its weights from memory, on a processor.

A line through the times of raw passes of SmolLM2-135M over 12, 50 and 200 tokens meets zero at minus 19 tokens.
"""


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


def make_plan(
    experiments: Sequence[Experiment],
    tokens: Callable[[Prompt], TokenizedPrompt],
    sizes: Sizes,
    knows: Callable[[TokenizedPrompt], bool] = lambda prompt: False,
) -> Plan:
    """Return the plan for experiments that are bound to one model.

    Parameters
    ----------
    experiments : sequence of Experiment
        What to run.
    tokens : callable
        Tokenises a prompt.
    sizes : Sizes
        What memory things take, and the bound on it.
    knows : callable
        Whether the untouched run of a prompt is kept.

    Raises
    ------
    ValueError, LookupError
        For tokens that a prompt does not have, and values whose numbers of tokens do not fit.
    """
    parser = _Parser(tokens, sizes.model)
    for e, experiment in enumerate(experiments):
        for p, prompt in enumerate(experiment.prompts):
            parser.add((e, p), experiment, tokens(prompt), experiment.read)
    prompts = parser.prompts
    return Plan(sizes.model, tuple(parser.stages(sizes)), frozenset(filter(knows, prompts)), sizes, parser.asked)


def step_edits(
    experiment: Experiment, prompt: TokenizedPrompt, tokens: Callable[[Prompt], TokenizedPrompt]
) -> list[tuple[Edit, Steps]]:
    """Return what interventions do at generated tokens, each the only token of its pass, in the model's order."""
    assert experiment.model is not None
    parser = _Parser(tokens, experiment.model)
    edits = [
        (edit, act.steps)
        for index, act in enumerate(experiment.interventions)
        if act.enabled and act.steps is not None and (edit := parser.edit(index, act, prompt, (0,)))
    ]
    return sorted(edits, key=lambda pair: pair[0].at)


class _Parser:
    """Turns experiments into rows, and notes what they need of other runs."""

    def __init__(self, tokens: Callable[[Prompt], TokenizedPrompt], model: ModelInfo) -> None:
        self._tokens = tokens
        self._model = model
        assert model.anatomy is not None
        self._anatomy = model.anatomy
        # what a changed run has to give to a patch is read from it: (row, sites to read)
        self._sources: dict[Hashable, tuple[Row, dict[Site, None]]] = {}
        self._rows: list[Row] = []
        self.asked = 0
        self.prompts: dict[TokenizedPrompt, dict[Site, None]] = {}

    def add(self, key: Hashable, experiment: Experiment, prompt: TokenizedPrompt, reads: Iterable[Site]) -> None:
        """Add one prompt of an experiment."""
        row = self._row(key, experiment, prompt, tuple(reads))
        self.asked += len(prompt) if experiment.active else 0
        self.prompts.setdefault(prompt, {}).update(dict.fromkeys(row.reads))
        if row.edits:
            self._rows.append(row)

    def _row(self, key: Hashable, experiment: Experiment, prompt: TokenizedPrompt, reads: tuple[Site, ...]) -> Row:
        edits = [
            edit
            for index, act in enumerate(experiment.interventions)
            if act.enabled and (edit := self.edit(index, act, prompt, act.tokens.resolve(prompt)))
        ]
        edits.sort(key=lambda edit: edit.at)  # stable: at one site the order of writing stays
        while edits and (first := _needed_of(edits[0], prompt)) is not edits[0]:
            edits[:1] = [first] if first else []
        join = self._join(edits[0]) if edits else self._model.n_layers
        start = min((min(edit.positions) for edit in edits), default=0) if self._anatomy.caches else 0
        return Row(key, prompt, tuple(edits), reads, join, start)

    def _join(self, first: Edit) -> int:
        layer = first.at[0]
        # a change of what a block hands on needs only the blocks after it
        handed_on = self._model.event(first.site) == (f"{self._model.blocks}.{layer}", "output")
        return layer + 1 if handed_on else layer

    def edit(self, index: int, act: Intervention, prompt: TokenizedPrompt, positions: tuple[int, ...]) -> Edit | None:
        """Return what an intervention does at some tokens of a prompt, and note what it needs of other runs."""
        if not positions:
            return None
        operation, sources = act.operation(), act.sources()
        value = None if sources is None else self._value(act, sources, positions, prompt)
        given = operation.arrays.get("value")
        if given is not None and given.ndim == 2 and len(given) not in (1, len(positions)):
            raise ValueError(
                f"got a {type(act).__name__} with values for {len(given)} tokens, for {len(positions)} of {prompt.text!r}; "
                "give as many or a single one."
            )
        return Edit(index, act.site, self._model.position(act.site), positions, operation, value)

    def _value(
        self, act: Intervention, sources: Sources, positions: tuple[int, ...], prompt: TokenizedPrompt
    ) -> Taken | Mean:
        if sources.how == "mean":
            return Mean(tuple(self._tokens(_prompt(text)) for text in sources.prompts))
        if sources.how == "resample":
            pool = [self._tokens(_prompt(text)) for text in sources.prompts]
            random = np.random.default_rng([sources.seed, *prompt.ids])
            chosen = [pool[i] for i in random.integers(len(pool), size=len(positions))]
            taken = tuple((source, int(random.integers(len(source)))) for source in chosen)
            for source in chosen:
                self.prompts.setdefault(source, {})[act.site] = None
            return Taken(taken)
        (given,) = sources.prompts
        source = self._tokens(given.prompts[0] if isinstance(given, Experiment) else _prompt(given))
        run = self._source(given, source, act.site) if isinstance(given, Experiment) else source
        found = sources.tokens.resolve(source)
        if len(found) not in (1, len(positions)):
            raise ValueError(
                f"got a {type(act).__name__} that takes {len(found)} tokens of {source.text!r} for {len(positions)} of {prompt.text!r}; "
                "take as many or a single one: choose them with tokens= and source_tokens=."
            )
        if act.site.component == "pattern" and len(source) != len(prompt):
            raise ValueError(
                f"got a {type(act).__name__} at {act.site} from {source.text!r} with {len(source)} tokens to {prompt.text!r} with {len(prompt)}; "
                "a pattern is over the tokens of its own prompt: take one of equal length."
            )
        self.prompts.setdefault(source, {})[act.site] = None
        return Taken(tuple((run, position) for position in found))

    def _source(self, experiment: Experiment, prompt: TokenizedPrompt, site: Site) -> TokenizedPrompt | Experiment:
        """Note that a site is to be read in an experiment's run; return the run's key."""
        if experiment not in self._sources:
            self.asked += len(prompt) if experiment.active else 0
            self._sources[experiment] = (self._row(experiment, experiment, prompt, ()), {})
        row, sites = self._sources[experiment]
        sites[site] = None
        return experiment if row.edits else prompt

    def stages(self, sizes: Sizes) -> Iterator[Stage]:
        """Yield rows with the prompts that they need, as many at a time as memory allows, in batches."""
        sources = {
            key: Row(key, row.prompt, row.edits, tuple(sites), row.join, row.start)
            for key, (row, sites) in self._sources.items()
            if row.edits
        }
        needs: list[tuple[list[TokenizedPrompt], Row | None]] = [
            (self._needed(row, sources), row) for row in sorted(self._rows, key=lambda row: len(row.prompt))
        ]
        needed = {prompt for prompts, _ in needs for prompt in prompts}
        needs += [([prompt], None) for prompt in self.prompts if prompt not in needed]
        stage: dict[TokenizedPrompt, None] = {}
        rows: list[Row] = []
        for prompts, row in needs:
            new = [prompt for prompt in prompts if prompt not in stage]
            if stage and sum(sizes.kept(len(p)) for p in (*stage, *new)) > sizes.bound:
                yield self._stage(stage, rows, sources, sizes)
                stage, rows = {}, []
            stage |= dict.fromkeys(prompts)
            rows += [row] if row else []
        if stage:
            yield self._stage(stage, rows, sources, sizes)

    def _stage(
        self, prompts: Iterable[TokenizedPrompt], rows: list[Row], sources: dict[Hashable, Row], sizes: Sizes
    ) -> Stage:
        reads = {prompt: tuple(self.prompts[prompt]) for prompt in prompts}
        waves = _waves(rows, sources)
        return Stage(reads, tuple(batch for wave in waves for batch in _batches(wave, sizes, self._anatomy.grows)))

    def _needed(self, row: Row, sources: dict[Hashable, Row]) -> list[TokenizedPrompt]:
        found = {row.prompt: None}
        for source in _takes_from(row):
            if isinstance(source, Experiment):
                found |= dict.fromkeys(self._needed(sources[source], sources))
            else:
                found[source] = None
        return list(found)


def _needed_of(first: Edit, prompt: TokenizedPrompt) -> Edit | None:
    """Return what of a row's first edit can change anything, or None.

    A token's activation depends on the tokens up to it only, so that an untouched prompt that begins alike has there
    exactly what stands there already.
    """
    if not isinstance(first.value, Taken) or len(first.value.tokens) != len(first.positions):
        return first
    pairs = [
        (at, (run, taken))
        for at, (run, taken) in zip(first.positions, first.value.tokens, strict=True)
        if not (isinstance(run, TokenizedPrompt) and at == taken and run.ids[: at + 1] == prompt.ids[: at + 1])
    ]
    if len(pairs) == len(first.positions):
        return first
    at, tokens = zip(*pairs, strict=True) if pairs else ((), ())
    return replace(first, positions=at, value=Taken(tokens)) if pairs else None


def _prompt(source: object) -> Prompt:
    assert isinstance(source, str | Chat)
    return source


def _takes_from(row: Row) -> Iterator[TokenizedPrompt | Experiment]:
    for edit in row.edits:
        if isinstance(edit.value, Taken):
            yield from dict.fromkeys(run for run, _ in edit.value.tokens)


def _waves(rows: list[Row], sources: dict[Hashable, Row]) -> list[list[Row]]:
    """Return rows, and the source rows that they need, such that what a row takes from a changed run is in an earlier wave."""
    depth: dict[Hashable, int] = {}

    def visit(row: Row) -> int:
        if row.key not in depth:
            needed = [sources[run] for run in _takes_from(row) if isinstance(run, Experiment)]
            depth[row.key] = 1 + max((visit(source) for source in needed), default=-1)
        return depth[row.key]

    for row in rows:
        visit(row)
    everything = [*rows, *(row for key, row in sources.items() if key in depth)]
    return [
        [row for row in everything if depth[row.key] == wave] for wave in range(1 + max(depth.values(), default=-1))
    ]


def _batches(rows: list[Row], sizes: Sizes, grows: bool) -> Iterator[Batch]:
    """Yield batches of rows: of one length each, and with starts that are worth running together."""

    def kind(row: Row) -> tuple[int, int]:
        # rows changed at the embeddings bring their own tokens; where rows cannot join later, all of a batch join at once
        return len(row.prompt), row.join if not grows or row.join < 0 else 0

    for _, group in itertools.groupby(sorted(rows, key=kind), key=kind):
        for start, together in _by_start(list(group), sizes):
            together.sort(key=lambda row: row.join)
            for part in _cut(together, start, sizes):
                yield Batch(start, tuple(part))


def _by_start(rows: list[Row], sizes: Sizes) -> list[tuple[int, list[Row]]]:
    """Split rows by their first token so that the cost, in token-layers, is least.

    Rows that begin together share the weights that are streamed; a row that begins later than its batch runs tokens
    for nothing. The best split of the sorted starts is found exactly, by dynamic programming.
    """
    starts = sorted({row.start for row in rows})
    length, n_layers = len(rows[0].prompt), sizes.model.n_layers
    # joined[i, l]: how many rows of the first i starts have joined when block l runs
    joined = np.zeros((len(starts) + 1, n_layers), dtype=np.int64)
    order = {start: i + 1 for i, start in enumerate(starts)}
    for row in rows:
        joined[order[row.start], max(row.join, 0) :] += 1
    joined = joined.cumsum(axis=0)
    best = [0.0]
    cut: list[int] = []
    for stop in range(1, len(starts) + 1):
        costs = []
        for first in range(stop):
            active = joined[stop] - joined[first]
            run = (length - starts[first]) * active.sum() + OVERHEAD * ((active > 0).sum() + sizes.unembedding_layers)
            costs.append(best[first] + float(run))
        cut.append(int(np.argmin(costs)))
        best.append(min(costs))
    groups = []
    stop = len(starts)
    while stop:
        first = cut[stop - 1]
        chosen = set(starts[first:stop])
        groups.append((starts[first], [row for row in rows if row.start in chosen]))
        stop = first
    return groups[::-1]


def _cut(rows: list[Row], start: int, sizes: Sizes) -> Iterator[list[Row]]:
    """Yield rows in parts that stay within the bounds of `sizes`, of at least one row."""
    part: list[Row] = []
    taken = 0
    most = max(1, sizes.max_tokens // (len(rows[0].prompt) - start))
    for row in rows:
        size = sizes.batch(Batch(start, (row,)))
        if part and (taken + size > sizes.bound or len(part) >= most):
            yield part
            part, taken = [], 0
        part.append(row)
        taken += size
    yield part
