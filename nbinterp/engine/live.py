"""Work that follows a hand: it runs on the kernel's main thread, the newest request wins, and nothing queues up.

JupyterLab may call a widget back on another thread while a cell runs, and nnsight cannot trace one model from two
threads. So work is handed to the main thread's event loop, which takes it up between cells; long work is a generator
that gives way at each ``yield``, so that a newer request, or anything else, can come first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

Work = Callable[[], Iterator[None]]


class Latest:
    """Runs the newest piece of work that was asked for, and drops older ones.

    Make it on the main thread. Where no event loop runs there, as in a plain script, work runs at once.

    Parameters
    ----------
    on_error : callable
        Told every exception that a piece of work raises.
    """

    def __init__(self, on_error: Callable[[Exception], object]) -> None:
        self._on_error = on_error
        self._lock = threading.Lock()
        self._waiting: Work | None = None
        self._running: Iterator[None] | None = None
        self._scheduled = False
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        with self._lock:
            return not self._scheduled

    def ask(self, work: Work) -> None:
        """Run `work` as soon as possible, in place of whatever was asked before. Any thread may call this."""
        with self._lock:
            self._waiting = work
            fresh, self._scheduled = not self._scheduled, True
        if self._loop is None:
            if fresh:
                self.finish()
        elif fresh:
            self._loop.call_soon_threadsafe(self._step)

    def finish(self) -> None:
        """Run what was asked for to its end, now. Call it on the main thread only."""
        while self._advance():
            pass

    def _step(self) -> None:
        if self._advance() and self._loop is not None:
            self._loop.call_soon(self._step)

    def _advance(self) -> bool:
        """Do one piece of the newest work; return whether there is more to do."""
        with self._lock:
            newest, self._waiting = self._waiting, None
        try:
            if newest is not None:
                self._running = newest()
            if self._running is not None:
                next(self._running)
        except StopIteration:
            self._running = None
        except Exception as error:  # whatever work raises goes to whoever asked
            self._running = None
            self._on_error(error)
        with self._lock:
            self._scheduled = self._running is not None or self._waiting is not None
            return self._scheduled
