"""Check a result against independent recomputations on the same model, at the moment of asking."""

from __future__ import annotations

import contextlib
import copy
import html
import inspect
import io
import itertools
import linecache
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nbinterp.code import nnsight_code
from nbinterp.engine.envoys import sites_of
from nbinterp.engine.live import MODEL_LOCK
from nbinterp.engine.plan import Edit, Mean, Row, Taken
from nbinterp.engine.planning import make_plan
from nbinterp.engine.runs import KeptRuns
from nbinterp.engine.tensors import Change, as_array, head_of, shaped, whole
from nbinterp.engine.tolerances import TOLERANCES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.execute import Executor
    from nbinterp.experiment import Experiment
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.results import Result
    from nbinterp.sites import Site

_PAD = 3


@dataclass(frozen=True)
class Check:
    """One recomputation, and how far it is from the result.

    Parameters
    ----------
    name : str
        What should equal what.
    difference : float or None
        The largest one, relative to the size of what is compared; None where the recomputation is not possible.
    tolerance : float
        How large it may be.
    note : str
        Where the difference is largest, or why the recomputation is not possible.
    """

    name: str
    difference: float | None
    tolerance: float
    note: str

    @property
    def passed(self) -> bool | None:
        """Whether the difference is within the tolerance; None where the recomputation is not possible."""
        return None if self.difference is None else self.difference <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """What came of checking a result.

    Parameters
    ----------
    model : ModelInfo
        The model, in whose precision the tolerance is stated.
    checks : tuple of Check
        One a recomputation.
    """

    model: ModelInfo
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every recomputation that is possible gives the result again."""
        return all(check.passed is not False for check in self.checks)

    def frame(self) -> pd.DataFrame:
        """Return one line a check: ``check``, ``difference``, ``tolerance``, ``passed``, ``note``.

        ``difference`` and ``passed`` are missing where a recomputation is not possible.
        """
        rows = [(c.name, c.difference, c.tolerance, c.passed, c.note) for c in self.checks]
        import pandas as pd  # where the model is, nobody draws a table

        frame = pd.DataFrame(rows, columns=["check", "difference", "tolerance", "passed", "note"])
        return frame.astype({"difference": "float64", "passed": "boolean"})

    def __repr__(self) -> str:
        lines = [f"{self._title}:"]
        for check in self.checks:
            sign = "≤" if check.passed else ">"
            size = "" if check.difference is None else f"{check.difference:.1e} {sign} {check.tolerance:.1e}; "
            lines.append(f"  {check.name}: {size}{check.note}")
        return "\n".join(lines)

    @property
    def _title(self) -> str:
        return f"Verification on {self.model} in {self.model.dtype}: {'passed' if self.passed else 'FAILED'}"

    def _repr_html_(self) -> str:
        shown = self.frame().to_html(index=False, escape=True, na_rep="–", float_format=lambda x: f"{x:.1e}")
        return f"<p>{html.escape(self._title)}</p>{shown}"


@dataclass(frozen=True)
class Compared:
    """What of a result is compared; the fields are `nbinterp.results.Result`'s."""

    experiment: Experiment
    prompts: tuple[TokenizedPrompt, ...]
    base_logits: NDArray[np.float32]
    logits: NDArray[np.float32]
    base_activations: Mapping[Site, tuple[NDArray[np.float32], ...]]
    activations: Mapping[Site, tuple[NDArray[np.float32], ...]]

    @classmethod
    def of(cls, result: Result) -> Compared:
        """Return what of a result is compared."""
        return cls(**{one.name: getattr(result, one.name) for one in fields(cls)})


def verify(executor: Executor, tokens: Callable[[Prompt], TokenizedPrompt], result: Compared | Result) -> Verification:
    """Return how far a result is from independent recomputations.

    Parameters
    ----------
    executor : Executor
        The model that the result comes from.
    tokens : callable
        Tokenises a prompt.
    result : Compared or Result
        What to check. What is compared are the logits at the last token and everything that was read, untouched and
        changed.

    Returns
    -------
    Verification
        With these checks, each the largest difference over everything compared:

        - resumed = full: each prompt alone, in one pass from the embeddings to the logits. Nothing is resumed or taken
          from a key-value cache, and neither is what a patch or a mean takes from other runs.
        - batched = alone: each prompt of the experiment planned and run alone, nothing known beforehand.
        - padded = unpadded: the same full passes behind masked tokens.
        - code = itself: what `Experiment.to_code` writes, run on the open model; it says nothing of the untouched run.

        A difference is max |Δ| over the features of one token (one token and head), over max |x| there, or over the
        median of that in the untouched run where that is larger: a sink token's giant norm hides nothing, and an ablated
        activation is measured against what stood there.
    """
    experiment = replace(result.experiment, generation=None)
    rows = _rows(executor, tokens, experiment)
    tolerance = TOLERANCES.get(executor.info.dtype, TOLERANCES["bfloat16"])

    def check(name: str, recompute: Callable[[], Iterator[_Answer]]) -> Check:
        try:
            difference, note = _worst(result, recompute())
        except _NotPossible as error:
            return Check(name, None, tolerance, f"not possible: {error}")
        return Check(name, difference, tolerance, note)

    prompts = [tokens(text) for text in experiment.prompts]
    return Verification(
        executor.info,
        (
            check("resumed = full", lambda: _in_full(executor, rows, prompts, experiment, 0)),
            check("batched = alone", lambda: _alone(executor, tokens, experiment)),
            check("padded = unpadded", lambda: _in_full(executor, rows, prompts, experiment, _PAD)),
            _check_code(executor, experiment, result, tolerance),
        ),
    )


class _NotPossible(Exception):
    """Says why something cannot be computed again in this way."""


@dataclass(frozen=True)
class _Answer:
    """One prompt's logits ``[n_vocab]`` and reads, untouched or changed."""

    prompt: int
    changed: bool
    logits: NDArray[np.float32]
    reads: Mapping[Site, NDArray[np.float32]]


def _rows(
    executor: Executor, tokens: Callable[[Prompt], TokenizedPrompt], experiment: Experiment
) -> dict[Hashable, Row]:
    """Return what each changed run does, without how it was planned to be run."""
    plan = make_plan([experiment], tokens, executor.sizes)
    return {row.key: row for batch in plan.batches for row in batch.rows}


def _in_full(
    executor: Executor,
    rows: Mapping[Hashable, Row],
    prompts: Sequence[TokenizedPrompt],
    experiment: Experiment,
    padding: int,
) -> Iterator[_Answer]:
    passes = _FullPasses(executor, rows, padding)
    for p, prompt in enumerate(prompts):
        row = rows.get((0, p))
        for changed, edits in ((False, ()), (True, row.edits if row else ())):
            logits, found = passes.run(prompt, edits, experiment.read)
            reads = {site: shaped(found[site], site, executor.info) for site in found}
            yield _Answer(p, changed, as_array(logits), reads)


class _FullPasses:
    """Runs prompts alone from the embeddings to the logits: nothing is resumed, batched, cached or kept.

    Parameters
    ----------
    executor : Executor
        The model.
    rows : mapping of Row
        What the runs do that something is taken from.
    padding : int
        How many masked tokens stand before each prompt.
    """

    def __init__(self, executor: Executor, rows: Mapping[Hashable, Row], padding: int) -> None:
        self._executor, self._rows, self._padding = executor, rows, padding
        self._taken: dict[tuple[Hashable, Site], torch.Tensor] = {}
        module = executor.nnsight._module
        self._takes = inspect.signature(module.forward).parameters
        lacking = [name for name in ("attention_mask", "position_ids") if name not in self._takes]
        if padding and lacking:
            raise _NotPossible(f"the forward pass of {type(module).__name__} takes no {' and no '.join(lacking)}")

    def run(
        self, prompt: TokenizedPrompt, edits: Sequence[Edit], reads: Sequence[Site]
    ) -> tuple[torch.Tensor, dict[Site, torch.Tensor]]:
        """Return last logits ``[n_vocab]``, and by site ``[n_tokens, n_features]`` of all heads."""
        executor, n = self._executor, self._padding + len(prompt)
        steps = executor.envoys.steps(
            [self._change(edit, len(prompt)) for edit in edits], [(0, site) for site in reads]
        )
        found: dict[tuple[int, Site], torch.Tensor] = {}
        inputs = self._inputs(prompt)
        with (
            executor.envoys.ready(sites_of(steps)),
            torch.no_grad(),
            executor.nnsight.trace(inputs, use_cache=False),
        ):
            for at in sorted(steps):
                executor.envoys.do(steps[at], n, found)
            logits = executor.nnsight.output.logits[0, -1].clone().save()
        return logits, {site: self._unpadded(found[0, whole(site)], site, len(prompt)) for site in reads}

    def _inputs(self, prompt: TokenizedPrompt) -> dict[str, torch.Tensor]:
        def row(values: Sequence[int]) -> torch.Tensor:
            return torch.tensor([values], device=self._executor.like["device"])

        if not self._padding:
            return {"input_ids": row(prompt.ids)}
        before = [0] * self._padding
        return {
            "input_ids": row([*prompt.ids[:1] * self._padding, *prompt.ids]),
            "attention_mask": row([*before, *[1] * len(prompt)]),
            "position_ids": row([*before, *range(len(prompt))]),
        }

    def _change(self, edit: Edit, n_tokens: int) -> Change:
        like, pattern = self._executor.like, edit.site.component == "pattern"
        arguments: dict[str, Any] = {name: torch.tensor(a, **like) for name, a in edit.operation.arrays.items()}
        if isinstance(edit.value, Mean):
            every = torch.cat([self._source(prompt, edit.site) for prompt in edit.value.prompts])
            arguments["value"] = every.double().mean(0).to(like["dtype"])
        elif isinstance(edit.value, Taken):
            taken = [self._source(run, edit.site)[at] for run, at in edit.value.tokens]
            arguments["value"] = torch.stack(taken)
        if pattern:
            arguments = {name: self._wider(value, n_tokens) for name, value in arguments.items()}
        moved = replace(edit, positions=tuple(position + self._padding for position in edit.positions))
        return Change(0, moved, arguments, 0)

    def _source(self, run: TokenizedPrompt | Experiment, site: Site) -> torch.Tensor:
        """Return what another run has at a site: ``[n_tokens, n_features]`` of its head, where it is one's."""
        if (run, site) not in self._taken:
            row = self._rows.get(run)
            prompt, edits = (run, ()) if row is None else (row.prompt, row.edits)
            self._taken[run, site] = head_of(self.run(prompt, edits, [site])[1][site], site, self._executor.info)  # type: ignore[arg-type]
        return self._taken[run, site]

    def _wider(self, value: torch.Tensor, n_tokens: int) -> torch.Tensor:
        """Return attention over the keys of a prompt as attention over the padding too, none of which is attended to."""
        if value.shape[-1] % n_tokens:  # a single number for all keys
            return value
        by_head = value.reshape(*value.shape[:-1], -1, n_tokens)
        return torch.nn.functional.pad(by_head, (self._padding, 0)).flatten(-2)

    def _unpadded(self, features: torch.Tensor, site: Site, n_tokens: int) -> torch.Tensor:
        if site.component == "pattern":
            by_head = features.reshape(len(features), -1, self._padding + n_tokens)
            return by_head[self._padding :, :, self._padding :].flatten(1)
        if len(features) != self._padding + n_tokens:  # some module's own tensor; unpadded it is compared as it is
            if self._padding:
                raise _NotPossible(f"the tensor at {site} has no axis of tokens")
            return features
        return features[self._padding :]


def _alone(
    executor: Executor, tokens: Callable[[Prompt], TokenizedPrompt], experiment: Experiment
) -> Iterator[_Answer]:
    for p, text in enumerate(experiment.prompts):
        fresh = copy.copy(executor)
        fresh.kept, fresh._means = KeptRuns(executor.memory_bound), {}
        one = replace(experiment, prompts=(text,))
        runs = dict(fresh.run(make_plan([one], tokens, fresh.sizes)))
        base = runs[tokens(text)]
        for changed, run in ((False, base), (True, runs.get((0, 0), base))):
            yield _Answer(p, changed, run.logits, {site: run.activations[site] for site in experiment.read})


_SCRIPTS = itertools.count()


def _check_code(executor: Executor, experiment: Experiment, result: Compared | Result, tolerance: float) -> Check:
    try:
        script = nnsight_code(experiment, opening=False)
    except (ValueError, TypeError) as error:
        return Check("code = itself", None, tolerance, f"not possible: {error}")
    try:
        difference, note = _worst(result, _by_code(executor, experiment, script))
    except Exception as error:  # whatever a wrong script may raise
        difference, note = float("inf"), f"the script raises {type(error).__name__}: {error}"
    return Check("code = itself", difference, tolerance, note)


def _by_code(executor: Executor, experiment: Experiment, script: str) -> Iterator[_Answer]:
    # nnsight reads a trace's source where linecache has it, and keeps what it read by the file's name
    name = f"<nbinterp to_code {next(_SCRIPTS)}>"
    linecache.cache[name] = (len(script), None, script.splitlines(keepends=True), name)
    space: dict[str, Any] = {"__name__": name, "model": executor.nnsight}
    try:
        with MODEL_LOCK, contextlib.redirect_stdout(io.StringIO()):
            exec(compile(script, name, "exec"), space)  # noqa: S102 — our own text, in which the user's is data
    finally:
        del linecache.cache[name]
    for p in range(len(experiment.prompts)):
        found = space["activations"][p] if experiment.read else {}
        yield _Answer(
            p, True, as_array(space["logits"][p]), {site: as_array(found[str(site)]) for site in experiment.read}
        )


def _worst(result: Compared | Result, answers: Iterator[_Answer]) -> tuple[float, str]:
    """Return the largest difference between a result and its recomputation, and where it is."""
    worst, note = 0.0, "equal to the last bit"
    for answer in answers:
        p = answer.prompt
        mine = (result.logits if answer.changed else result.base_logits)[p]
        reads = result.activations if answer.changed else result.base_activations
        pairs = [("the logits", mine, answer.logits, result.base_logits[p])]
        pairs += [(str(site), reads[site][p], x, result.base_activations[site][p]) for site, x in answer.reads.items()]
        for where, a, b, base in pairs:
            difference = _difference(a, b, base)
            if difference > worst:
                run = "changed" if answer.changed else "untouched"
                worst, note = difference, f"largest in {where}, {run}, of {_short(result.prompts[p].text)}"
    return worst, note


def _difference(a: NDArray[np.float32], b: NDArray[np.float32], base: NDArray[np.float32]) -> float:
    """Return max |a − b| over the features of a token, over the size of b there or of the median token in `base`."""
    if a.shape != b.shape:
        return float("inf")
    usual = np.median(np.abs(base).max(-1))
    size = np.maximum(np.abs(b).max(-1), usual)
    with np.errstate(invalid="ignore", divide="ignore"):
        # equal infinities, and zeros of a site that has nothing, do not differ
        apart = np.where(a == b, 0, np.abs(a.astype(np.float64) - b)).max(-1)
        relative = np.where(apart == 0, 0, apart / size)
    return float(np.where(np.isnan(relative), np.inf, relative).max())


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
