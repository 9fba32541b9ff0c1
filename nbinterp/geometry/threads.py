"""Small problems on one thread: threads inside them wait for one another longer than they work."""

from __future__ import annotations

import sys
from functools import lru_cache
from threading import local
from typing import Any

from threadpoolctl import ThreadpoolController


class _OneThread(local):
    """A context that may be entered inside itself, each thread's own."""

    def __init__(self) -> None:
        self._entered: list[Any] = []

    def __enter__(self) -> None:
        self._entered.append(_pools(len(sys.modules)).limit(limits=1))
        self._entered[-1].__enter__()

    def __exit__(self, *error: object) -> None:
        self._entered.pop().__exit__(*error)


@lru_cache(maxsize=1)
def _pools(n_modules: int) -> ThreadpoolController:
    # to look for them takes milliseconds, and there are new ones only where modules were imported
    return ThreadpoolController()


one_thread = _OneThread()
"""``with one_thread:`` limits linear algebra and k-means to one thread. With two threads on two cores, one of them busy, the
eigenvectors of a 576 × 576 matrix took up to 50 times the CPU time (0.5 s for 0.01), a matrix product twice, k-means ten times."""
