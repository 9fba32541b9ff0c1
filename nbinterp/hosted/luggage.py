"""What goes along with a job: the call, and the sources of nbinterp's modules that it needs."""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import json
import pickle
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnsight.intervention.serialization import CustomCloudPickler

from nbinterp.engine.tokenizing import Tokenizer
from nbinterp.experiment import Experiment
from nbinterp.metrics import Metric
from nbinterp.results import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nbinterp.prompts import Prompt

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Luggage:
    """A call, packed: what `nbinterp.hosted.courier.perform` is given.

    Parameters
    ----------
    name : str
        Of the package that a server loads nbinterp's modules as, made from their contents.
    sources : bytes
        Their texts, compressed.
    request : bytes
        The function and its arguments.
    """

    name: str
    sources: bytes = field(repr=False)
    request: bytes = field(repr=False)

    @property
    def nbytes(self) -> int:
        """How many bytes go up."""
        return len(self.sources) + len(self.request)


def packed(function: Callable[..., Any], args: Sequence[Any], tokenizer: Tokenizer, vocabulary: Vocabulary) -> Luggage:
    """Return a call, packed for a server.

    What is nbinterp's is named and brought along as source, and so are functions of the user's own. Metrics name their tokens
    by ids; in the place of the tokenizer go the prompts of the experiments that are sent.

    Parameters
    ----------
    function : callable
        Of nbinterp; it will be given the model and `args`.
    args : sequence
        Plain data, and values of nbinterp.
    tokenizer : Tokenizer
        Of the model.
    vocabulary : Vocabulary
        Of the model.

    Raises
    ------
    TypeError
        For what cannot be sent.
    """
    call, spelled = _Packer(vocabulary), _Packer(vocabulary)
    request = call.pack((function, tuple(args)))
    prompts = spelled.pack({prompt: tokenizer(prompt) for prompt in call.prompts})
    name, sources = _sources(frozenset(call.modules | spelled.modules))
    return Luggage(name, sources, pickle.dumps((prompts, request)))


class _Packer(CustomCloudPickler):  # type: ignore[misc]
    """Pickles for a server, and notes which modules of nbinterp and which prompts that needs."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._file, self._vocabulary = io.BytesIO(), vocabulary
        self.modules: set[str] = set()
        self.prompts: dict[Prompt, None] = {}
        super().__init__(self._file, protocol=4)

    def pack(self, value: object) -> bytes:
        """Return a value, pickled."""
        try:
            self.dump(value)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise TypeError(
                f"got something that cannot be sent to a hosted model ({error}); wanted plain data: a function of your own may "
                "use torch, numpy and what the notebook defines, but no open file, lock or model."
            ) from error
        return self._file.getvalue()

    def persistent_id(self, obj: Any) -> Any:
        """Let a name stand for a tokenizer."""
        return "tokens" if isinstance(obj, Tokenizer) else None

    def reducer_override(self, obj: Any) -> Any:
        """Replace what must not travel, and note what has to."""
        if isinstance(obj, Vocabulary):
            # metrics name ids, so that only their number counts
            return range, (len(obj),)
        if isinstance(obj, Metric) and any(isinstance(token, str) for token in obj.tokens):
            return Metric, (obj.name, obj.unit, obj.ids(self._vocabulary), obj.function, obj.own)
        if isinstance(obj, Experiment):
            self.prompts |= dict.fromkeys(obj.prompts)
        module = getattr(obj, "__module__", None) or ""
        if (isinstance(obj, type) or callable(obj)) and module.partition(".")[0] == "nbinterp":
            self.modules.add(module)
            return NotImplemented
        return super().reducer_override(obj)


@functools.lru_cache(64)
def _sources(modules: frozenset[str]) -> tuple[str, bytes]:
    """Return the sources of modules and of all that they import when they are loaded, packed, under a name made from them."""
    texts: dict[str, str] = {}
    for module in sorted(modules):
        _gather(module, texts)
    packed = zlib.compress(json.dumps(dict(sorted(texts.items()))).encode(), 9)
    return f"nbinterp_{hashlib.sha256(packed).hexdigest()[:16]}", packed


def _gather(module: str, texts: dict[str, str]) -> None:
    if module in texts or (text := _text(module)) is None:
        return
    texts[module] = text
    for name in _imports(ast.parse(text).body):
        _gather(name, texts)


@functools.lru_cache(1024)
def _text(module: str) -> str | None:
    """Return the source of a module of nbinterp; None for any other, and for packages, which only gather names."""
    top, *parts = module.split(".")
    file = Path(_ROOT, *parts).with_suffix(".py")
    return file.read_text(encoding="utf-8") if top == "nbinterp" and parts and file.is_file() else None


def _imports(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield what statements import when they are run, apart from what only type checkers read."""
    for statement in body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.unparse(statement.test):
            yield from _imports([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from _imports([*statement.body, *statement.orelse, *statement.finalbody])


class Opened(pickle.Unpickler):
    """Reads what a server pickled, where nbinterp's modules had another name."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what is meant by a name in a module."""
        top, dot, rest = module.partition(".")
        return super().find_class("nbinterp" + dot + rest if top.startswith("nbinterp_") else module, name)
