"""How well a model predicts texts, untouched and under interventions."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from nbinterp.experiment import Experiment
from nbinterp.geometry.told import Told
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.model import Model
    from nbinterp.operations import Intervention
    from nbinterp.spaces import Floats


_ROWS = 256
"""Tokens whose logits are asked for at once: more are not faster."""


@dataclass(frozen=True, eq=False)
class Perplexity(Told):
    """How well a model predicts each token of some texts from those before it.

    Parameters
    ----------
    texts : DataFrame
        What `frame` gives.
    interventions : tuple of Intervention
        What acted.
    model : ModelInfo
        The model that was asked.
    """

    texts: pd.DataFrame = field(repr=False)
    interventions: tuple[Intervention, ...]
    model: ModelInfo

    @property
    def value(self) -> float:
        """Perplexity under the interventions: e to the mean loss of a token, over all texts."""
        return self._of("loss")

    @property
    def base(self) -> float:
        """Perplexity of the untouched model."""
        return self._of("base")

    @property
    def ratio(self) -> float:
        """`value` over `base`: above 1 where the interventions make the texts less likely."""
        return self.value / self.base

    def _of(self, column: str) -> float:
        return float(np.exp(np.average(self.texts[column], weights=self.texts["n_tokens"])))

    def frame(self) -> pd.DataFrame:
        """Return one line a text.

        Returns
        -------
        DataFrame
            ``text``; ``n_tokens``, those predicted, all but the first; ``base`` and ``loss``, the mean −log p of these in nats,
            untouched and under the interventions.
        """
        return self.texts.copy()

    def __repr__(self) -> str:
        acts = ", ".join(f"{type(act).__name__} at {act.site}" for act in self.interventions)
        tokens = f"{len(self.texts)} texts, {self.texts['n_tokens'].sum()} tokens"
        under = f"  under {acts}: {self.value:.4g}, × {self.ratio:.3g}"
        return "\n".join(
            [f"Perplexity of {tokens} on {self.model}: {self.base:.4g} untouched", *([under] if acts else [])]
        )


def perplexity(
    model: Model,
    texts: Sequence[str],
    *,
    interventions: Intervention | Iterable[Intervention] = (),
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> Perplexity:
    """Measure how well a model predicts texts, untouched and under interventions.

    Parameters
    ----------
    model : Model
        Who is asked.
    texts : sequence of str
        Texts of two tokens or more.
    interventions : Intervention or several
        What acts in every text.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each trace; True stops with KeyboardInterrupt.

    Raises
    ------
    ValueError, LookupError, TypeError
        For texts without a token to predict, and interventions that cannot be done: before the model runs.

    Examples
    --------
    >>> nb.perplexity(model, texts, interventions=nb.Ablate("attn_out.3")).ratio  # doctest: +SKIP
    """
    check_texts(model, texts)
    acts = Experiment(texts[0], interventions).on(model.info).active
    check_within(model, acts)
    lines = []
    for text in tqdm(texts, unit="text", disable=not progress, leave=False, delay=1, file=sys.stdout):
        means = losses(model, text, [(), acts] if acts else [()], cancel)
        lines.append((text, len(model.tokens(text)) - 1, means[0], means[-1]))
    return Perplexity(pd.DataFrame(lines, columns=["text", "n_tokens", "base", "loss"]), acts, model.info)


def check_texts(model: Model, texts: Sequence[str]) -> None:
    """Refuse what is no list of texts, and texts in which no token is predicted."""
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"got texts={texts!r}; wanted a list of at least one text.")
    for text in texts:
        if len(model.tokens(text)) < 2:
            raise ValueError(
                f"got the text {text!r}, which is a single token, so that nothing in it is predicted; wanted two or more."
            )


def losses(
    model: Model,
    text: str,
    stacks: Sequence[Sequence[Intervention]],
    cancel: Callable[[], bool] = lambda: False,
) -> Floats:
    """Return the mean loss of a text's tokens but the first under each of some stacks of interventions, in nats: ``[stack]``."""
    # each result brings the logits of its last token along, changed and untouched
    at_once = max(1, model.memory_bound // (32 * model.info.n_vocab))
    parts = [stacks[start : start + at_once] for start in range(0, len(stacks), at_once)]
    found: Floats = np.concatenate([_losses(model, text, part, cancel) for part in parts])
    return found


def _losses(model: Model, text: str, stacks: Sequence[Sequence[Intervention]], cancel: Callable[[], bool]) -> Floats:
    ids = np.array(model.tokens(text).ids[1:])
    last = Site("resid_post", model.info.n_layers - 1)
    results = model.run([Experiment(text, acts, read=[last]) for acts in stacks], cancel=cancel)
    states = np.concatenate([result.read(last)[:-1] for result in results])
    # logits, and what they are exponentiated in
    at_once = max(1, min(_ROWS, model.memory_bound // (16 * model.info.n_vocab)))
    found = []
    for start in range(0, len(states), at_once):
        if cancel():
            raise KeyboardInterrupt
        logits = model.readout.logits(states[start : start + at_once])
        targets = np.take(ids, np.arange(start, start + len(logits)), mode="wrap")
        largest = logits.max(axis=1)
        total = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1, dtype=np.float64))
        found.append(total - logits[np.arange(len(logits)), targets])
    means: Floats = np.concatenate(found).reshape(len(stacks), len(ids)).mean(axis=1)
    return means


def check_within(model: Model, interventions: Iterable[Intervention]) -> None:
    """Refuse what acts behind the last block, whose residual stream is what is read."""
    for act in interventions:
        act.check(model.info)
        if model.info.position(act.site)[0] >= model.info.n_layers:
            raise ValueError(
                f"got {type(act).__name__} at {act.site}, behind the last block, where perplexity is not measured; wanted a site in a "
                "block."
            )
