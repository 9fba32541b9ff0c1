"""A question to whoever sits at the notebook or the terminal, and the certainty that nobody does."""

from __future__ import annotations

import builtins
import getpass
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class NobodyThereError(RuntimeError):
    """Nobody can answer: a script, a batch run of a notebook, a callback between two cells."""


def ask(question: str) -> str:
    """Return what the user answers to a question.

    Raises
    ------
    NobodyThereError
        When nobody can answer; nothing waits for ever.
    """
    return _answer(builtins.input, question)


def ask_hidden(question: str) -> str:
    """Return what the user types into a password field; raises as `ask` does."""
    return _answer(getpass.getpass, question)


def _answer(asker: Callable[[str], str], question: str) -> str:
    kernel = _kernel()
    if kernel is None:
        # getpass would open the controlling terminal even where standard input is a pipe, and wait there
        there = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    else:
        # a kernel puts its own functions in these places while a cell runs; the real ones would wait on its terminal
        there = getattr(asker, "__self__", None) is kernel
    if not there:
        raise NobodyThereError
    try:
        return asker(question).strip()
    except (EOFError, NotImplementedError):  # the second: a frontend without input, as nbconvert is
        raise NobodyThereError from None


def _kernel() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else getattr(ipython.get_ipython(), "kernel", None)
