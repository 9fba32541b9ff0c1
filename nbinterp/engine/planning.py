"""Parse experiments into the fewest and smallest batches of rows, all checked before the model runs.

No torch: what is planned can be tested alone. An intervention at layer L on token t changes nothing before L and nothing
before t. So each prompt is run once untouched; a changed row joins the pass only at the first block that it touches, and
brings only the tokens from its first touched one on: what lies before comes from kept activations and from the
key-value cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.engine.batching import batches
from nbinterp.engine.plan import Edit, Mean, Plan, Row, Stage, Taken
from nbinterp.experiment import Experiment
from nbinterp.prompts import Chat, TokenizedPrompt

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.sizes import Sizes
    from nbinterp.operations import Intervention, Sources
    from nbinterp.prompts import Prompt
    from nbinterp.sites import Site
    from nbinterp.steps import Steps


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


def prompt_edits(
    interventions: Sequence[Intervention],
    prompt: TokenizedPrompt,
    tokens: Callable[[Prompt], TokenizedPrompt],
    model: ModelInfo,
) -> list[Edit]:
    """Return what interventions that are bound to a model do at the tokens of a prompt, in the model's order."""
    return _Parser(tokens, model).edits(interventions, prompt)


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
        edits = self.edits(experiment.interventions, prompt)
        join = self._join(edits[0]) if edits else self._model.n_layers
        start = min((min(edit.positions) for edit in edits), default=0) if self._anatomy.caches else 0
        return Row(key, prompt, tuple(edits), reads, join, start)

    def edits(self, interventions: Iterable[Intervention], prompt: TokenizedPrompt) -> list[Edit]:
        """Return what interventions do at the tokens of a prompt, without what changes nothing, in the model's order."""
        edits = [
            edit
            for index, act in enumerate(interventions)
            if act.enabled and (edit := self.edit(index, act, prompt, act.tokens.resolve(prompt)))
        ]
        edits.sort(key=lambda edit: edit.at)  # stable: at one site the order of writing stays
        while edits and (first := _needed_of(edits[0], prompt)) is not edits[0]:
            edits[:1] = [first] if first else []
        return edits

    def _join(self, first: Edit) -> int:
        layer = first.at[0]
        # a change of what a block hands on needs only the blocks after it
        handed_on = self._model.event(first.site) == (f"{self._model.blocks}.{layer}", "output")
        return layer + 1 if handed_on else layer

    def edit(self, index: int, act: Intervention, prompt: TokenizedPrompt, positions: tuple[int, ...]) -> Edit | None:
        """Return what an intervention does at some tokens of a prompt, and note what it needs of other runs."""
        if not positions:
            return None
        operation, sources = act.operation_in(prompt), act.sources()
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
        return Stage(reads, tuple(batch for wave in waves for batch in batches(wave, sizes, self._anatomy.grows)))

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
