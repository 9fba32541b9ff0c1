"""What travels by registration: it unpacks nbinterp's own modules beside a model, and does there what was asked for.

A server has never heard of nbinterp. `perform` is sent to it with each job, by its source, as nnsight sends registered
functions; with it go the sources of the modules that the job needs, as data. They are loaded once in a process, under a
name made from their contents, so that no other version of nbinterp is in their way and they are in nobody's.

This module can import nothing of nbinterp, and nothing inside a function; none of its functions may use ``super``.
"""

from __future__ import annotations

import builtins
import io
import json
import linecache
import pickle
import sys
import time
import types
import zlib
from typing import Any

PROGRESS = "nbinterp progress "
"""What a line of a job's log begins with that only says how far it is."""


def perform(model: Any, name: str, sources: bytes, request: bytes) -> bytes:
    """Do what was asked for with the model, and return what came of it, pickled: whether that was yielded, and all of it.

    Parameters
    ----------
    model : nnsight.TransformersModel
        The server's.
    name : str
        Of the package that the modules are loaded as.
    sources : bytes
        Source texts by the modules' names in nbinterp: JSON, compressed.
    request : bytes
        Pickled twice: prompts by how they are tokenised, then the function that does it, given the model, and its arguments.
    """
    package = unpacked(name, sources)
    # a server may forget between two jobs what it did not have before them; nnsight reads a traced block's source there
    for module, text in package.texts.items():
        file = f"<{name}{module.removeprefix('nbinterp')}>"
        if file not in linecache.cache:
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    prompts, call = pickle.loads(request)
    tokens = Reader(io.BytesIO(prompts), package, {}).load()
    function, args = Reader(io.BytesIO(call), package, tokens).load()
    found = function(model, *args)
    streamed = isinstance(found, types.GeneratorType)
    return pickle.dumps((streamed, counted(found) if streamed else found), protocol=5)


def counted(items: Any) -> list[Any]:
    """Return what a generator yields, and say now and then how far it is."""
    found, said = [], time.monotonic()
    for item in items:
        found.append(item)
        if time.monotonic() - said > 0.5:
            said = time.monotonic()
            print(f"{PROGRESS}{len(found)}")
    return found


def unpacked(name: str, sources: bytes) -> Any:
    """Return the package of a name; its modules are loaded as they are needed."""
    if name not in sys.modules:
        package: Any = types.ModuleType(name)
        package.__path__ = []
        package.texts = json.loads(zlib.decompress(sources))
        sys.modules[name] = package
    return sys.modules[name]


def loaded(package: Any, module: str) -> Any:
    """Return a module of the package by its name in nbinterp."""
    inside = package.__name__ + module.removeprefix("nbinterp")
    if inside in sys.modules:
        return sys.modules[inside]
    made: Any = types.ModuleType(inside)
    made.__path__ = []
    made.__file__ = f"<{inside}>"
    made.__package__ = inside.rpartition(".")[0]
    text = package.texts.get(module, "")

    def imported(what: str, globals: Any = None, locals: Any = None, wanted: Any = (), level: int = 0) -> Any:
        if what.partition(".")[0] != "nbinterp":
            return builtins.__import__(what, globals, locals, wanted, level)
        found = loaded(package, what)
        for one in wanted or ():
            if not hasattr(found, one):
                setattr(found, one, loaded(package, f"{what}.{one}"))
        return found

    made.__builtins__ = {**vars(builtins), "__import__": imported}
    sys.modules[inside] = made
    try:
        exec(compile(text, made.__file__, "exec", dont_inherit=True), made.__dict__)
    except BaseException:
        # the next job would find half of it
        del sys.modules[inside]
        raise
    return made


class Reader(pickle.Unpickler):
    """Reads what names things of nbinterp, which it finds in a package.

    Parameters
    ----------
    file : file
        What is read.
    package : module
        From `unpacked`.
    tokens : dict
        Prompts as the model sees them, by the prompts: what stands for a tokenizer is looked up there.
    """

    def __init__(self, file: Any, package: Any, tokens: Any) -> None:
        pickle.Unpickler.__init__(self, file)
        self.package, self.tokens = package, tokens

    def persistent_load(self, name: Any) -> Any:
        """Return what stands for a tokenizer."""
        return self.tokens.__getitem__

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle means by a name in a module."""
        if module.partition(".")[0] != "nbinterp":
            return pickle.Unpickler.find_class(self, module, name)
        found = loaded(self.package, module)
        for part in name.split("."):
            found = getattr(found, part)
        return found
