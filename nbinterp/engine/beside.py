"""What is asked of an executor where the model is: the functions that a hosted model's jobs run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbinterp.engine.checksum import weights_checksum
from nbinterp.engine.dissect import Dissection, dissect
from nbinterp.engine.execute import Executor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nbinterp.anatomy import ModelInfo


@dataclass(frozen=True)
class Introduction:
    """What a model says of itself: where its sites are, what tells its weights from others, their precision and size in bytes."""

    dissection: Dissection
    checksum: str
    dtype: str
    nbytes: int


def introduce(model: Any) -> Introduction:
    """Return what a model says of itself."""
    module = model._module
    parameters = list(module.parameters())
    dtype = str(parameters[0].dtype).removeprefix("torch.")
    return Introduction(dissect(module), weights_checksum(module), dtype, sum(p.nbytes for p in parameters))


def do(
    model: Any,
    info: ModelInfo,
    memory_bound: int,
    procedure: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Return what a procedure returns, given an executor of the model."""
    return procedure(Executor(model, info, memory_bound), *args, **kwargs)


def ask(
    executor: Executor,
    kind: Callable[..., Any],
    made_with: Sequence[Any],
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Return an attribute of an object that is made with an executor; what can be called is called."""
    found = getattr(kind(executor, *made_with), name)
    return found(*args, **kwargs) if callable(found) else found


def go_on() -> bool:
    """Say that nobody has cancelled: what was sent cannot be called back."""
    return False


def ignore(*_: Any) -> None:
    """Do nothing with news of how far the work is."""
