"""From what runs gave to the result that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nbinterp.results import Result
from nbinterp.tokens import Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from nbinterp.engine.runs import Run
    from nbinterp.experiment import Experiment
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


def _moved(experiment: Experiment, run: Run) -> dict[int, float]:
    """Return how far each intervention moved what it acts on; one that need not be run moves nothing."""
    acts = [index for index, act in enumerate(experiment.interventions) if act.enabled and act.tokens != Positions(())]
    return dict.fromkeys(acts, 0.0) | dict(run.moved)
