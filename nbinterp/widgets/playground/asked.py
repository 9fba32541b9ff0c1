"""What the playground needs of a model; `nbinterp.Model` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from nbinterp.prompts import Chat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.continuations import Token
    from nbinterp.experiment import Experiment
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.results import Result, Vocabulary


class Work(Protocol):
    """A channel in which the newest work wins."""

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""

    def ask(self, work: Callable[[], Iterator[None]]) -> None:
        """Run this in place of what was asked before."""

    def finish(self) -> None:
        """Run what was asked for to its end."""

    def cancel(self) -> None:
        """Drop it."""


class Asked(Protocol):
    """A model that is asked."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The text of every token."""

    def tokens(self, prompt: Prompt) -> TokenizedPrompt:
        """Return a prompt as the model sees it."""

    def plan(self, experiments: Experiment) -> Any:
        """Check an experiment without running it."""

    def run(self, experiments: Sequence[Experiment]) -> list[Result]:
        """Run experiments."""

    def stream(self, experiments: Sequence[Experiment], /, *, top: int = ..., **settings: Any) -> Iterator[Token]:
        """Yield tokens as they are generated."""

    def live(self, on_error: Callable[[Exception], object]) -> Work:
        """Return what runs the newest piece of work on the main thread."""


def takes_chats(model: Asked) -> bool:
    """Return whether a model has a template for chats."""
    try:
        model.tokens(Chat([("user", "x")]))
    except ValueError:
        return False
    return True
