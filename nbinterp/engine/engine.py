"""What a `Model` asks: an executor on this machine, or one that stands beside a model elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.execute import Executor
    from nbinterp.engine.sizes import Sizes
    from nbinterp.prompts import TokenizedPrompt

T = TypeVar("T")
P = ParamSpec("P")


class Engine(Protocol):
    """Does what is to be done with an `Executor`: a procedure, a function whose first argument is one, goes to where the model is.

    What goes there and what comes back is data that can be pickled; of callables only those of nbinterp, and functions of
    the user's own, such as metrics. An argument named ``cancel`` is asked here.
    """

    memory_bound: int

    @property
    def info(self) -> ModelInfo:
        """Which model."""

    @property
    def sizes(self) -> Sizes:
        """What memory things take there."""

    @property
    def nnsight(self) -> Any:
        """The model as nnsight wraps it."""

    def knows(self, prompt: TokenizedPrompt) -> bool:
        """Whether the untouched run of a prompt is kept."""

    def refresh(self) -> None:
        """Drop what is kept where the weights were changed since."""

    def forget(self) -> None:
        """Drop all kept runs."""

    def call(self, procedure: Callable[Concatenate[Executor, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a procedure returns."""

    def stream(
        self, procedure: Callable[Concatenate[Executor, P], Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[T]:
        """Yield what a procedure yields, as it comes where the model is here."""

    def beside(self, kind: Callable[Concatenate[Executor, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return an object that is made with an executor and asks it; every call of one that is elsewhere is a job."""
