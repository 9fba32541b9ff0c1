"""One number of each experiment, computed where its logits are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from nbinterp.engine.execute import Executor
    from nbinterp.engine.plan import Plan
    from nbinterp.metrics import Metric
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.results import Vocabulary


def measure(
    executor: Executor,
    plan: Plan,
    metric: Metric,
    prompt: TokenizedPrompt,
    vocabulary: Vocabulary,
    cancel: Callable[[], bool],
) -> Iterator[tuple[Hashable, float]]:
    """Yield a metric of each run of a plan under its key, the untouched one before the changed ones; logits are dropped as they come.

    Parameters
    ----------
    executor : Executor
        The model.
    plan : Plan
        What is run.
    metric : Metric
        What is measured.
    prompt : TokenizedPrompt
        That of all experiments, whose untouched run a metric may compare with.
    vocabulary : Vocabulary
        Of the model.
    cancel : callable
        Asked before each trace; True ends it with KeyboardInterrupt.
    """
    base = None
    for key, run in executor.run(plan, cancel):
        if key == prompt:
            base = run.logits
        # what patches take from has no number of its own
        if base is not None and (key == prompt or isinstance(key, tuple)):
            yield key, float(metric(run.logits, base, vocabulary))
