"""From what runs gave to what was asked for: a result, or one number of each experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nbinterp.results import Result
from nbinterp.tokens import Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from numpy.typing import NDArray

    from nbinterp.engine.plan import Plan
    from nbinterp.engine.runs import Run
    from nbinterp.experiment import Experiment
    from nbinterp.metrics import Metric
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.results import Vocabulary


def result_of(
    index: int,
    experiment: Experiment,
    prompts: tuple[TokenizedPrompt, ...],
    runs: Mapping[Hashable, Run],
    vocabulary: Vocabulary,
    verify: Callable[..., Any],
) -> Result:
    """Return the result of one of the experiments that were run together.

    Parameters
    ----------
    index : int
        Which of them.
    experiment : Experiment
        Bound to its model.
    prompts : tuple of TokenizedPrompt
        Its prompts.
    runs : mapping
        Untouched runs by their prompts, changed ones by the numbers of experiment and prompt; what no intervention changes has
        no run of its own.
    vocabulary : Vocabulary
        Of the model.
    verify : callable
        What `Result.verify` calls.
    """
    base = [runs[prompt] for prompt in prompts]
    changed = [runs.get((index, p), runs[prompt]) for p, prompt in enumerate(prompts)]
    return Result(
        experiment,
        prompts,
        np.stack([run.logits for run in base]),
        np.stack([run.logits for run in changed]),
        {site: tuple(run.activations[site] for run in base) for site in experiment.read},
        {site: tuple(run.activations[site] for run in changed) for site in experiment.read},
        vocabulary,
        tuple(_moved(experiment, run) for run in changed),
        verify,
    )


def measure(
    metric: Metric,
    runs: Iterable[tuple[Hashable, Run]],
    plan: Plan,
    prompt: TokenizedPrompt,
    n: int,
    vocabulary: Vocabulary,
) -> tuple[NDArray[np.float64], float]:
    """Return a metric of `n` experiments ``[experiment]``, and of their one prompt untouched; logits are dropped as they come.

    Parameters
    ----------
    metric : Metric
        What is measured.
    runs : iterable of (key, Run)
        As they come, the untouched one before the changed ones.
    plan : Plan
        What is run.
    prompt : TokenizedPrompt
        That of all experiments.
    n : int
        How many experiments.
    vocabulary : Vocabulary
        Of the model.
    """
    values = np.full(n, np.nan)
    base: Run | None = None
    for key, run in runs:
        if key == prompt:
            base = run
        elif isinstance(key, tuple) and base is not None:
            values[key[0]] = metric(run.logits, base.logits, vocabulary)
    assert base is not None
    untouched = float(metric(base.logits, base.logits, vocabulary))
    changed = [row.key[0] for batch in plan.batches for row in batch.rows if isinstance(row.key, tuple)]
    # a point that does nothing has no run of its own
    return np.where(np.isin(np.arange(n), changed), values, untouched), untouched


def _moved(experiment: Experiment, run: Run) -> dict[int, float]:
    """Return how far each intervention moved what it acts on; one that need not be run moves nothing."""
    acts = [index for index, act in enumerate(experiment.interventions) if act.enabled and act.tokens != Positions(())]
    return dict.fromkeys(acts, 0.0) | dict(run.moved)
