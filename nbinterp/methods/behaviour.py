"""Is the behaviour there at all? What every method that explains one asks first."""

from __future__ import annotations

import html
import math
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from nbinterp.experiment import Experiment
from nbinterp.geometry.told import Told
from nbinterp.pairs import Metrics, Pair, measured_by, pairs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.metrics import Metric
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt
    from nbinterp.results import Result

Values = TypeVar("Values", "xr.DataArray", "NDArray[np.float64]")

Gate: TypeAlias = Literal["warn", "refuse", "ignore"]
"""What a method does where the behaviour that it should explain is not there."""

ACCURACY = 0.75
"""Share of prompts that a model must answer as it should for the behaviour to count as there."""

_ANSWERED = {"logit_difference", "logit", "probability", "log_probability", "rank"}
"""Metrics that name an answer, so that it can be said whether the model gives it."""


_AT_ONCE = 64
"""Pairs that are run together: each keeps the logits of its two prompts until it is measured."""


class BehaviourMissing(ValueError):
    """A model does not do what was to be explained."""


class BehaviourWarning(UserWarning):
    """A model hardly does what is being explained."""


@dataclass(frozen=True, eq=False)
class Behaviour:
    """How well a model does what is to be explained, and how far corrupted prompts put it off.

    Parameters
    ----------
    pairs : tuple of Pair, ``[n_pairs]``
        The prompts, each with its metric.
    clean, corrupted : array, ``[n_pairs]``
        The metric on the clean and on the corrupted prompts.
    answered : array of float, ``[n_pairs]``
        1 where the model answers the clean prompt as it should (a positive logit difference, or the answer as most probable
        token), 0 where it does not, NaN where the metric names no answer.
    model : ModelInfo
        The model that was asked.
    """

    pairs: tuple[Pair, ...]
    clean: NDArray[np.float64]
    corrupted: NDArray[np.float64]
    answered: NDArray[np.float64] = field(repr=False)
    model: ModelInfo

    @property
    def metric(self) -> str:
        """What is measured."""
        return measured_by(self.pairs)

    @property
    def accuracy(self) -> float:
        """Share of clean prompts that are answered as they should; NaN where the metrics name no answer."""
        known = self.answered[~np.isnan(self.answered)]
        return float(known.mean()) if len(known) else np.nan

    @property
    def margins(self) -> NDArray[np.float64]:
        """How much better each clean prompt does than its corrupted one, in the metric's unit: ``[n_pairs]``."""
        better = np.array([-1.0 if pair.metric.unit == "rank" else 1.0 for pair in self.pairs])
        # a distance from the untouched answer is 0 on the clean prompt, and large where the corruption worked
        far = np.array([pair.metric.name == "kl_divergence" for pair in self.pairs])
        return np.where(far, self.corrupted, better * (self.clean - self.corrupted))

    @property
    def margin(self) -> float:
        """Mean of `margins`."""
        return float(self.margins.mean())

    def normalized(self, values: Values) -> Values:
        """Return means of the metric over pairs on the scale where 0 is the corrupted prompts' and 1 the clean ones'.

        Means are taken first, so that no pair counts more because its two prompts hardly differ. Of KL it is
        1 − KL / KL(corrupted).

        Raises
        ------
        ValueError
            When the metric does not tell clean from corrupted.

        References
        ----------
        .. [1] Heimersheim & Nanda, "How to use and interpret activation patching", 2024, section 4. arXiv:2404.15255
        .. [2] Zhang & Nanda, "Towards Best Practices of Activation Patching", 2023, section 2. arXiv:2309.16042
        """
        clean, corrupted = float(self.clean.mean()), float(self.corrupted.mean())
        span = clean - corrupted
        if not math.isfinite(span) or span == 0:
            raise ValueError(
                f"got {self.metric} {clean:.4g} on clean and {corrupted:.4g} on corrupted prompts; wanted numbers that "
                "differ: choose prompts, or a metric, that the model tells apart."
            )
        return (values - corrupted) / span

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """Why the behaviour counts as not there; empty where it is."""
        found = []
        if self.accuracy < ACCURACY:
            found.append(
                f"the model answers {self.accuracy:.0%} of the clean prompts as it should, and {ACCURACY:.0%} were wanted"
            )
        if not self.margin > 0:
            found.append(f"the corrupted prompts do no worse (mean margin {self.margin:+.3g})")
        return tuple(found)

    @property
    def is_there(self) -> bool:
        """Whether there is something to explain."""
        return not self.reasons

    def require(self, gate: Gate = "warn") -> Behaviour:
        """Return itself, and refuse or warn where the behaviour is not there.

        Parameters
        ----------
        gate : {"warn", "refuse", "ignore"}
            What to do.

        Raises
        ------
        BehaviourMissing
            Where it is not there, and `gate` is ``"refuse"``.
        ValueError
            For another `gate`.
        """
        check_gate(gate)
        if self.reasons and gate != "ignore":
            text = f"{self._told}: {'; '.join(self.reasons)}; what is explained here may not be there: choose prompts that the model can answer"
            if gate == "refuse":
                raise BehaviourMissing(f"{text}, or say gate='ignore'.")
            warnings.warn(f"{text}.", BehaviourWarning, stacklevel=3)
        return self

    def frame(self) -> pd.DataFrame:
        """Return one line a pair: ``clean_prompt``, ``corrupted_prompt``, ``metric``, ``clean``, ``corrupted``, ``margin``, ``answered``."""
        return pd.DataFrame(
            {
                "clean_prompt": [str(pair.clean) for pair in self.pairs],
                "corrupted_prompt": [str(pair.corrupted) for pair in self.pairs],
                "metric": [str(pair.metric) for pair in self.pairs],
                "clean": self.clean,
                "corrupted": self.corrupted,
                "margin": self.margins,
                "answered": pd.array([pd.NA if np.isnan(a) else bool(a) for a in self.answered], dtype="boolean"),
            }
        )

    @property
    def _told(self) -> str:
        n = len(self.pairs)
        return f"behaviour on {n} {'pair' if n == 1 else 'pairs'} of prompts, {self.model.name}"

    def __repr__(self) -> str:
        answered = "" if np.isnan(self.accuracy) else f"accuracy {self.accuracy:.0%}, "
        verdict = "there" if self.is_there else f"not there: {'; '.join(self.reasons)}"
        return (
            f"{self._told}: {answered}{self.pairs[0].metric.name} {self.clean.mean():.3g} clean, "
            f"{self.corrupted.mean():.3g} corrupted; {verdict}"
        )

    def _repr_html_(self) -> str:
        table = self.frame().head(8).style.format(precision=3, escape="html").hide(axis="index").to_html()
        return f"<p>{html.escape(repr(self))}</p>{table}"


class Explained(Told):
    """A result that explains a behaviour."""

    if TYPE_CHECKING:

        @property
        def behaviour(self) -> Behaviour:
            """Whether the model does what is explained."""

    @property
    def model(self) -> ModelInfo:
        """The model that was run."""
        return self.behaviour.model

    @property
    def metric(self) -> str:
        """What was measured."""
        return self.behaviour.metric

    @property
    def clean(self) -> float:
        """The metric of the clean prompts, untouched: their mean."""
        return float(self.behaviour.clean.mean())

    @property
    def corrupted(self) -> float:
        """The metric of the corrupted prompts, untouched: their mean."""
        return float(self.behaviour.corrupted.mean())


def behaviour(
    model: Model,
    clean: object,
    corrupted: object,
    *,
    metric: Metrics,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> Behaviour:
    """Measure whether a model does what is to be explained, before anybody explains it.

    Parameters
    ----------
    model : Model
        The model.
    clean, corrupted : str, Chat, or sequence of them
        Prompts that show the behaviour, and as many that differ in what the answer depends on.
    metric : Metric, callable, or sequence of them
        One for all pairs, or one a pair; large where the model answers as it should (`rank`: small).
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    Behaviour
        Accuracy, and margin of the clean over the corrupted prompts.

    Raises
    ------
    ValueError, LookupError, TypeError
        For prompts that are no pairs, and for tokens that the model does not know, before it runs.

    Examples
    --------
    >>> behaviour(  # doctest: +SKIP
    ...     model,
    ...     "The capital of France is",
    ...     "The capital of Italy is",
    ...     metric=nb.logit_difference(" Paris", " Rome"),
    ... )
    """
    return measured(model, pairs_of(clean, corrupted, metric), progress=progress, cancel=cancel)


def measured(
    model: Model, pairs: Sequence[Pair], *, progress: bool = False, cancel: Callable[[], bool] = lambda: False
) -> Behaviour:
    """Return the behaviour on pairs that were made already; see `behaviour`."""
    for pair in pairs:
        pair.metric.ids(model.vocabulary)
    lines: list[tuple[float, float, float]] = []
    for first in range(0, len(pairs), _AT_ONCE):
        some = pairs[first : first + _AT_ONCE]
        asked = [Experiment(prompt) for pair in some for prompt in (pair.clean, pair.corrupted)]
        results = model.run(asked, progress=progress, cancel=cancel)
        lines += [_line(*each) for each in zip(some, results[::2], results[1::2], strict=True)]
    clean, corrupted, answered = np.array(lines).T
    return Behaviour(tuple(pairs), clean, corrupted, answered, model.info)


def answering(model: Model, prompt: Prompt, metric: Metric, gate: Gate) -> Result:
    """Return the untouched run of one prompt, and refuse or warn where the model does not answer it as the metric would have it.

    Raises
    ------
    BehaviourMissing
        Where it does not, and `gate` is ``"refuse"``.
    """
    metric.ids(model.vocabulary)
    result = model.run(Experiment(prompt))
    value = float(metric(result.logits[0], result.logits[0], model.vocabulary))
    if gate != "ignore" and _answered(Pair(prompt, prompt, metric), result, value) == 0:
        text = (
            f"{model.info.name} does not answer {str(prompt)!r} as {metric} would have it ({value:.3g}; its likeliest token is "
            f"{result.said()[0]!r}); what is explained here may not be there: choose a prompt that the model can answer"
        )
        if gate == "refuse":
            raise BehaviourMissing(f"{text}, or say gate='ignore'.")
        warnings.warn(f"{text}.", BehaviourWarning, stacklevel=3)
    return result


def check_gate(gate: object) -> None:
    """Raise ValueError for what is no `Gate`."""
    if gate not in ("warn", "refuse", "ignore"):
        raise ValueError(f"got gate={gate!r}; wanted 'warn', 'refuse' or 'ignore'.")


def _line(pair: Pair, clean: Result, corrupted: Result) -> tuple[float, float, float]:
    """Return a pair's metric on its clean and on its corrupted prompt, and whether the clean one is answered."""
    base, vocabulary = clean.logits[0], clean.vocabulary
    value, other = (float(pair.metric(result.logits[0], base, vocabulary)) for result in (clean, corrupted))
    return value, other, _answered(pair, clean, value)


def _answered(pair: Pair, result: Result, value: float) -> float:
    if pair.metric.name not in _ANSWERED or pair.metric.own:
        return np.nan
    if pair.metric.name == "logit_difference":
        return float(value > 0)
    (answer,) = pair.metric.ids(result.vocabulary)
    return float(result.logits[0].argmax() == answer)
