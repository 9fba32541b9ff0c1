"""Metrics: frozen, named values that turn next-token logits into one number a row."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from nbinterp.results import Vocabulary

Logits: TypeAlias = "NDArray[np.floating[Any]]"
Scores: TypeAlias = "NDArray[np.float64]"
RowFunction: TypeAlias = Callable[[Scores, Scores], float]
"""A user's own metric: a function of one row's logits and of its untouched logits, each ``[n_vocab]``."""

MetricLike: TypeAlias = "Metric | RowFunction"
"""What is accepted wherever a metric is wanted."""


@dataclass(frozen=True)
class Metric:
    """What a model's answer is measured by.

    Make one with `logit_difference`, `logit`, `probability`, `log_probability`, `rank`, `kl_divergence` or `entropy`, or
    of a function of your own with `of`.

    Parameters
    ----------
    name : str
        What it is called, e.g. ``"logit_difference"``.
    unit : str
        Unit of its values: ``"logits"``, ``"probability"``, ``"nats"`` or ``"rank"``; empty for a user's own function.
    tokens : tuple of str or int
        Texts or ids of the tokens that it looks at.
    function : callable
        What computes it: of logits, untouched logits and the ids of `tokens`, or of one row where it is the user's own.
    own : bool
        Whether the function is the user's own.
    """

    name: str
    unit: str
    tokens: tuple[str | int, ...]
    function: Callable[..., Any] = field(repr=False)
    own: bool = False

    @classmethod
    def of(cls, metric: MetricLike) -> Metric:
        """Return a metric as it is, and a function of ``(logits, base_logits)`` as a metric of the function's name.

        The function is given one row at a time, as arrays ``[n_vocab]`` in float64, and returns a number.

        Raises
        ------
        TypeError
            When it is neither, or a maker of metrics that was not called.
        """
        if isinstance(metric, Metric):
            return metric
        maker = next((name for name, maker in _MAKERS.items() if maker is cast("Any", metric)), None)
        if maker is not None:
            raise TypeError(
                f"got the function {maker} itself as metric; wanted what it returns: call it, for example "
                "nb.logit_difference(' Paris', ' Rome') or nb.kl_divergence()."
            )
        if not callable(metric):
            raise TypeError(
                f"got metric={metric!r}; wanted for example nb.logit_difference(' Paris', ' Rome'), or a function of "
                "(logits, base_logits)."
            )
        name = getattr(metric, "__name__", "metric")
        return cls("metric" if name == "<lambda>" else name, "", (), metric, own=True)

    def ids(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """Return the ids of `tokens`; call it to find a wrong token before a model runs.

        Raises
        ------
        LookupError
            When a text is not a single token, or there is no such id.
        """
        for token in self.tokens:
            if isinstance(token, int) and not 0 <= token < len(vocabulary):
                raise LookupError(
                    f"got the token id {token} in {self}; this model's ids go from 0 to {len(vocabulary) - 1}."
                )
        return tuple(token if isinstance(token, int) else vocabulary.id(token) for token in self.tokens)

    def __call__(self, logits: Logits, base_logits: Logits, vocabulary: Vocabulary) -> Scores:
        """Return the metric of each row.

        Parameters
        ----------
        logits : array, ``[..., n_vocab]``
            What the model said.
        base_logits : array, ``[..., n_vocab]``
            What it says untouched; broadcasts against `logits`.
        vocabulary : Vocabulary
            Texts of the tokens.

        Returns
        -------
        array of float64, ``[...]``
            NaN where a row's logits are not numbers.

        Raises
        ------
        LookupError
            For a token that the model does not know.
        ValueError
            For logits of another vocabulary, and when a function of the user's own gives no single number.
        """
        for what, given in (("logits", logits), ("base_logits", base_logits)):
            if given.ndim < 1 or given.shape[-1] != len(vocabulary):
                raise ValueError(
                    f"got {what} of shape {list(given.shape)}; wanted [..., {len(vocabulary)}], one for each token."
                )
        if self.own:
            return self._row_by_row(logits, base_logits)
        with np.errstate(invalid="ignore"):
            values: Scores = self.function(logits, base_logits, self.ids(vocabulary))
        return values

    def _row_by_row(self, logits: Logits, base_logits: Logits) -> Scores:
        base = np.broadcast_to(base_logits, logits.shape)
        values = np.empty(logits.shape[:-1])
        for row in np.ndindex(values.shape):
            value = np.asarray(self.function(logits[row].astype(np.float64), base[row].astype(np.float64)))
            if value.size != 1 or value.dtype.kind not in "bifu":
                raise ValueError(
                    f"got {_described(value)} from the metric {self.name}; wanted one number for logits of shape "
                    f"[{logits.shape[-1]}]."
                )
            values[row] = value.item()
        return values

    def to_json(self) -> dict[str, Any]:
        """Return a JSON form from which `from_json` makes an equal value.

        Raises
        ------
        ValueError
            For a function of the user's own: code is not data.
        """
        if self.own:
            raise ValueError(f"got the metric {self.name}, which is a function of your own; only nbinterp's are saved.")
        return {"metric": self.name, "tokens": list(self.tokens)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Metric:
        """Return the metric that `to_json` wrote.

        Raises
        ------
        ValueError
            When it is none.
        """
        name = value.get("metric")
        if name not in _MAKERS:
            raise ValueError(f"got the metric {name!r}; known metrics are {', '.join(_MAKERS)}.")
        made: Metric = _MAKERS[name](*value["tokens"])
        return made

    def __str__(self) -> str:
        return self.name if self.own else f"{self.name}({', '.join(map(repr, self.tokens))})"


def logit_difference(answer: str | int, other: str | int) -> Metric:
    """Return the metric logit(answer) − logit(other), in logits.

    References
    ----------
    .. [1] Wang et al., "Interpretability in the Wild", 2022, section 3. arXiv:2211.00593
    """
    return Metric("logit_difference", "logits", (_token(answer), _token(other)), _logit_difference)


def logit(token: str | int) -> Metric:
    """Return the metric logit(token), in logits."""
    return Metric("logit", "logits", (_token(token),), _logit)


def probability(token: str | int) -> Metric:
    """Return the metric p(token)."""
    return Metric("probability", "probability", (_token(token),), _probability)


def log_probability(token: str | int) -> Metric:
    """Return the metric log p(token), in nats."""
    return Metric("log_probability", "nats", (_token(token),), _log_probability)


def rank(token: str | int) -> Metric:
    """Return the metric of a token's rank, 0 for the most probable; of equally probable ones the lower id comes first."""
    return Metric("rank", "rank", (_token(token),), _rank)


def kl_divergence() -> Metric:
    """Return the metric KL(base ‖ changed), in nats: how far the answer is from the untouched one."""
    return Metric("kl_divergence", "nats", (), _kl_divergence)


def entropy() -> Metric:
    """Return the metric of the entropy of the next token, in nats."""
    return Metric("entropy", "nats", (), _entropy)


_MAKERS: dict[str, Callable[..., Metric]] = {
    maker.__name__: maker
    for maker in (logit_difference, logit, probability, log_probability, rank, kl_divergence, entropy)
}


def _logit_difference(logits: Logits, base_logits: Logits, ids: tuple[int, ...]) -> Scores:
    answer, other = ids
    return logits[..., answer].astype(np.float64) - logits[..., other].astype(np.float64)


def _logit(logits: Logits, base_logits: Logits, ids: tuple[int, ...]) -> Scores:
    return logits[..., ids[0]].astype(np.float64)


def _probability(logits: Logits, base_logits: Logits, ids: tuple[int, ...]) -> Scores:
    return np.exp(_log_softmax(logits)[..., ids[0]])


def _log_probability(logits: Logits, base_logits: Logits, ids: tuple[int, ...]) -> Scores:
    return _log_softmax(logits)[..., ids[0]]


def _rank(logits: Logits, base_logits: Logits, ids: tuple[int, ...]) -> Scores:
    own = logits[..., ids[0], None]
    before = (logits > own).sum(axis=-1) + (logits[..., : ids[0]] == own).sum(axis=-1)
    # nothing is greater than what is not a number, which would make it the first
    ranks: Scores = np.where(np.isnan(logits).any(axis=-1), np.nan, before)
    return ranks


def _kl_divergence(logits: Logits, base_logits: Logits, ids: tuple[int, ...]) -> Scores:
    base, changed = _log_softmax(base_logits), _log_softmax(logits)
    p = np.exp(base)
    # rounding can take the divergence of equal distributions below 0
    divergences: Scores = np.maximum(np.where(p == 0, 0, p * (base - changed)).sum(axis=-1), 0)
    return divergences


def _entropy(logits: Logits, base_logits: Logits, ids: tuple[int, ...]) -> Scores:
    log_p = _log_softmax(logits)
    p = np.exp(log_p)
    entropies: Scores = -np.where(p == 0, 0, p * log_p).sum(axis=-1)
    return entropies


def _log_softmax(logits: Logits) -> Scores:
    """Return log-probabilities over the last axis in float64, accurate where a probability is near 0."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_p: Scores = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


def _token(token: str | int) -> str | int:
    if isinstance(token, str):
        return token
    try:
        return operator.index(token)
    except TypeError:
        raise TypeError(
            f"got a token of type {type(token).__name__}; wanted its text, such as ' Paris', or its id."
        ) from None


def _described(value: NDArray[Any]) -> str:
    return f"an array of shape {list(value.shape)}" if value.ndim else f"a {type(value.item()).__name__}"
