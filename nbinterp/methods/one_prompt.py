"""One prompt that is read, perhaps under interventions: what is asked, at which tokens, and which runs there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from nbinterp.experiment import Experiment
from nbinterp.geometry.told import Told
from nbinterp.tokens import SHORTHANDS, select_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.tokens import TokensLike


class OfOnePrompt(Told):
    """A result of an experiment of one prompt, bound to its model."""

    experiment: Experiment

    @property
    def model(self) -> ModelInfo:
        """Which model was run."""
        assert self.experiment.model is not None
        return self.experiment.model

    @property
    def runs(self) -> tuple[str, ...]:
        """``("base",)``, or ``("base", "changed")`` where there are interventions."""
        return ("base", "changed") if self.experiment.active else ("base",)


One = TypeVar("One", bound=OfOnePrompt)


@dataclass(frozen=True, eq=False)
class OfSeveral(Told, Generic[One]):
    """Results of one kind, of one model: a sequence of them.

    Parameters
    ----------
    each : tuple
        In the order in which they were asked for.
    """

    each: tuple[One, ...]

    def __len__(self) -> int:
        return len(self.each)

    def __iter__(self) -> Iterator[One]:
        return iter(self.each)

    def __getitem__(self, index: int) -> One:
        return self.each[index]

    @property
    def model(self) -> ModelInfo:
        """Which model was run."""
        return self.each[0].model


def one_prompt(model: Model, prompt: Prompt | Experiment | Sequence[Mapping[str, str]]) -> Experiment:
    """Return an experiment of one prompt, bound to the model, none of whose interventions act behind the blocks.

    Raises
    ------
    ValueError
        For several prompts, and for such an intervention.
    """
    experiment = (prompt if isinstance(prompt, Experiment) else Experiment(prompt)).on(model.info)
    if len(experiment.prompts) != 1:
        raise ValueError(f"got {len(experiment.prompts)} prompts; wanted one: ask for each prompt on its own.")
    for act in experiment.active:
        if model.info.position(act.site)[0] == model.info.n_layers:
            raise ValueError(
                f"got {type(act).__name__} at {act.site}, behind the last block, where the residual stream is already read; "
                "wanted interventions inside the blocks or before them."
            )
    return experiment


def positions_of(tokens: TokensLike, prompt: TokenizedPrompt) -> tuple[int, ...]:
    """Return which tokens of a prompt are to be read, in order; ``"last"`` and ``"all"`` are always shorthands.

    Raises
    ------
    ValueError, LookupError
        When there are none.
    """
    found = select_tokens(SHORTHANDS.get(tokens, tokens) if isinstance(tokens, str) else tokens).resolve(prompt)
    if not found:
        raise ValueError("got no token to read at; wanted at least one, for example tokens='last'.")
    return tuple(sorted(found))
