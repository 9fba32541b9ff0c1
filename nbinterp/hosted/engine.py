"""An engine whose model is elsewhere: every procedure is a job."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import torch

from nbinterp.engine.beside import ask, do, go_on, ignore
from nbinterp.engine.sizes import Sizes
from nbinterp.hosted.jobs import Job, answer_of, send
from nbinterp.hosted.luggage import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.execute import Executor
    from nbinterp.engine.tokenizing import Tokenizer
    from nbinterp.hosted.connection import Connection
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.results import Vocabulary

T = TypeVar("T")
P = ParamSpec("P")

_MAX_TOKENS = 32768


class HostedEngine:
    """Sends what is to be done with an executor to where the model is; see `nbinterp.engine.engine.Engine`.

    Parameters
    ----------
    model : nnsight.TransformersModel
        Without weights.
    info : ModelInfo
        Which model.
    weights : int
        Bytes of its weights, at the server.
    tokenizer : Tokenizer
        Of the model.
    vocabulary : Vocabulary
        Of the model.
    connection : Connection
        To where it is.
    memory_bound : int
        Bytes that a batch may take there.
    """

    def __init__(
        self,
        model: Any,
        info: ModelInfo,
        weights: int,
        tokenizer: Tokenizer,
        vocabulary: Vocabulary,
        connection: Connection,
        memory_bound: int,
    ) -> None:
        self.nnsight, self.info, self.connection = model, info, connection
        self.memory_bound = memory_bound
        self._weights, self._tokenizer, self._vocabulary = weights, tokenizer, vocabulary

    @property
    def sizes(self) -> Sizes:
        """What memory things take there."""
        itemsize = getattr(torch, self.info.dtype).itemsize
        return Sizes(self.info, self._weights, itemsize, self.memory_bound, _MAX_TOKENS)

    def knows(self, prompt: TokenizedPrompt) -> bool:
        """Whether the untouched run of a prompt is kept: nothing is, between two jobs."""
        return False

    def refresh(self) -> None:
        """Do nothing: the weights are the server's."""

    def forget(self) -> None:
        """Do nothing: nothing is kept."""

    def call(self, procedure: Callable[Concatenate[Executor, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a procedure returns: one job."""
        return cast("T", self._do(procedure, args, kwargs))

    def stream(
        self, procedure: Callable[Concatenate[Executor, P], Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[T]:
        """Yield what a procedure yields, once its job has ended."""
        yield from cast("Iterator[T]", self._do(procedure, args, kwargs))

    def beside(self, kind: Callable[Concatenate[Executor, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what stands for an object that is made with an executor; every call is a job."""
        return cast("T", _Afar(self, kind, args))

    def _do(self, procedure: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        going, named, cancel = _parted(procedure, args, kwargs)
        return answer_of(lambda: self._job(procedure, going, named), cancel)

    def asked(
        self,
        kind: Callable[..., Any],
        made_with: Sequence[Any],
        method: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Return what a method of an object returns that is made with an executor there: one job."""
        going, named, cancel = _parted(method, args, kwargs)
        return answer_of(lambda: self._job(ask, (kind, made_with, method.__name__, going, named), {}), cancel)

    def submit(
        self, procedure: Callable[..., Any], *args: Any, id: str | None = None, made: Callable[[Any], Any]
    ) -> Job:
        """Send a procedure and do not wait for it; with an id, find the job of one that was sent before."""
        if id is not None:
            return Job(self.connection, id, made)
        return self._job(procedure, args, {}, made)

    def _job(
        self,
        procedure: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        made: Callable[[Any], Any] = lambda found: found,
    ) -> Job:
        what = (self.info, self.memory_bound, procedure, args, dict(kwargs))
        luggage = packed(do, what, self._tokenizer, self._vocabulary)
        return Job(self.connection, send(self.nnsight, luggage, self.connection), made)


def _parted(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any], Callable[[], bool]]:
    """Return the arguments of a call that can travel, and what is asked on this machine whether to stop."""
    # the first is what is there only: an executor, or what is made with one
    bound = inspect.signature(function).bind(None, *args, **kwargs)
    cancel: Callable[[], bool] = bound.arguments.get("cancel", go_on)
    for name, stand_in in (("cancel", go_on), ("advance", ignore)):
        if name in bound.arguments:
            bound.arguments[name] = stand_in
    return bound.args[1:], bound.kwargs, cancel


class _Afar:
    """Stands for an object that is made with an executor where the model is.

    Parameters
    ----------
    engine : HostedEngine
        How it is reached.
    kind : callable
        What makes it there.
    made_with : sequence
        Its further arguments.
    """

    def __init__(self, engine: HostedEngine, kind: Callable[..., Any], made_with: Sequence[Any]) -> None:
        self._engine, self._kind, self._made_with = engine, kind, made_with
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        method = inspect.getattr_static(self._kind, name, None)
        if inspect.isfunction(method):
            return lambda *args, **kwargs: self._engine.asked(self._kind, self._made_with, method, args, kwargs)
        if name not in self._known:
            self._known[name] = self._engine.call(ask, self._kind, self._made_with, name, (), {})
        return self._known[name]
