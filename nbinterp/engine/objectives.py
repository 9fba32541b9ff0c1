"""Metrics in torch, so that they can be differentiated: the counterparts of `nbinterp.metrics` by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.metrics import Metric
    from nbinterp.results import Vocabulary

_OF_BASE = ("kl_divergence",)


@dataclass(frozen=True)
class Objective:
    """A metric of the last token's logits that can be differentiated.

    Parameters
    ----------
    metric : Metric
        Which.
    ids : tuple of int
        Of the tokens that it looks at.
    """

    metric: Metric
    ids: tuple[int, ...]

    @classmethod
    def of(cls, metric: Metric, vocabulary: Vocabulary) -> Objective:
        """Return the objective of a metric.

        Raises
        ------
        ValueError
            For a metric without a derivative.
        LookupError
            For a token that the model does not know.
        """
        if not metric.own and metric.name not in _FUNCTIONS:
            raise ValueError(
                f"got the metric {metric}, which has no derivative; wanted one of {', '.join(_FUNCTIONS)}, or a function of "
                "your own in torch."
            )
        return cls(metric, metric.ids(vocabulary))

    @property
    def needs_base(self) -> bool:
        """Whether it looks at the untouched answer, too."""
        return self.metric.own or self.metric.name in _OF_BASE

    def __call__(self, logits: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return the metric of each row.

        Parameters
        ----------
        logits, base : tensor of float64, ``[row, n_vocab]``
            What the model says, and what it says untouched.

        Returns
        -------
        tensor, ``[row]``

        Raises
        ------
        ValueError
            When a function of the user's own cannot be differentiated.
        """
        if not self.metric.own:
            return _FUNCTIONS[self.metric.name](logits, base, self.ids)
        return torch.stack([self._own(row, untouched) for row, untouched in zip(logits, base, strict=True)])

    def _own(self, logits: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        wanted = "wanted a function written in torch, which takes tensors [n_vocab] and returns one number as a tensor"
        try:
            value: Any = self.metric.function(logits, base)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(
                f"got the metric {self.metric}, which cannot be differentiated ({error}); {wanted}."
            ) from error
        if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
            raise ValueError(
                f"got {_described(value)} from the metric {self.metric}, which cannot be differentiated; {wanted}."
            )
        return value.reshape(())


def each(objectives: Sequence[Objective], logits: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Return every row's own objective: ``[row]``."""
    rows: dict[Objective, list[int]] = {}
    for row, one in enumerate(objectives):
        rows.setdefault(one, []).append(row)
    logits, base = logits.double(), base.double()
    if len(rows) == 1:
        return objectives[0](logits, base)
    order = torch.tensor([row for group in rows.values() for row in group])
    values = torch.cat([one(logits[group], base[group]) for one, group in rows.items()])
    return values[order.argsort().to(values.device)]


def given_arrays(metric: Metric) -> Metric:
    """Return a metric that may be asked with arrays, where a function of the user's own is written in torch."""
    if not metric.own:
        return metric

    def function(logits: NDArray[np.float64], base: NDArray[np.float64]) -> float:
        with torch.no_grad():
            return float(metric.function(torch.tensor(logits), torch.tensor(base)))

    return replace(metric, function=function)


def _difference(logits: torch.Tensor, base: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    return logits[:, ids[0]] - logits[:, ids[1]]


def _logit(logits: torch.Tensor, base: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    return logits[:, ids[0]]


def _probability(logits: torch.Tensor, base: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    return logits.softmax(-1)[:, ids[0]]


def _log_probability(logits: torch.Tensor, base: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    return logits.log_softmax(-1)[:, ids[0]]


def _kl_divergence(logits: torch.Tensor, base: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    untouched = base.log_softmax(-1)
    return (untouched.exp() * (untouched - logits.log_softmax(-1))).sum(-1)


def _entropy(logits: torch.Tensor, base: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


_FUNCTIONS: dict[str, Callable[[torch.Tensor, torch.Tensor, tuple[int, ...]], torch.Tensor]] = {
    "logit_difference": _difference,
    "logit": _logit,
    "probability": _probability,
    "log_probability": _log_probability,
    "kl_divergence": _kl_divergence,
    "entropy": _entropy,
}


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}" + ("" if value.requires_grad else " without a gradient")
    return f"a {type(value).__name__}"
