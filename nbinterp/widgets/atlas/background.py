"""Geometry beside the kernel: it runs on a thread of its own, shows how far it is, and stops when told to.

Only what needs no model comes here. Traces of a model belong to the main thread, and go through `Model.live`.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol, TypeVar

from nbinterp.widgets.protocol import Task

_SHOWN_AFTER = 0.2
"""Seconds after which work shows that it runs, and between two reports of how far it is."""


_POLL = 0.03

T = TypeVar("T")


class Stopped(Exception):
    """Work was stopped by hand, or overtaken by newer work."""


class Progress(Protocol):
    """What work calls now and then; it raises `Stopped` when the work is no longer wanted."""

    def __call__(self, done: int = 0, total: int = 0) -> None:
        """Say how far the work is; a `total` of 0 where nobody knows."""


Work = Callable[[Progress], object]


def unseen(done: int = 0, total: int = 0) -> None:
    """Be the `Progress` of work that nobody watches."""


def begun(work: Callable[[], T]) -> Future[T]:
    """Begin work that cannot say how far it is, nor be stopped, on a thread of its own; `awaited` waits for it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # it goes to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name="nbinterp-atlas-begun").start()
    return future


def awaited(future: Future[T], progress: Progress) -> T:
    """Wait for what was begun, showing that it runs; stopped, it goes on for whoever asks next."""
    progress()
    while not future.done():
        time.sleep(_POLL)
        progress()
    return future.result()


class Background:
    """One thread's worth of work, which ends with it: a newer piece takes the place of an older one unless it waits.

    Parameters
    ----------
    on_error : callable
        Told every exception that a piece of work raises, in the thread.
    on_task : callable
        Told what runs, after 0.2 s and then as it goes on; and None when it has ended.
    """

    def __init__(self, on_error: Callable[[Exception], object], on_task: Callable[[Task | None], object]) -> None:
        self._on_error = on_error
        self._on_task = on_task
        self._state = threading.Condition()
        self._waiting: list[tuple[str, Work]] = []
        self._generation = 0
        self._thread: threading.Thread | None = None

    def ask(self, name: str, work: Work, *, queue: bool = False) -> None:
        """Run `work`, which the page calls `name`; with `queue` after what was asked before, else in its place."""
        with self._state:
            if not queue:
                self._generation += 1
                self._waiting.clear()
            self._waiting.append((name, work))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nbinterp-atlas")
                self._thread.start()

    def stop(self) -> None:
        """Drop what waits, and end what runs at its next report."""
        with self._state:
            self._generation += 1
            self._waiting.clear()

    def wait(self) -> None:
        """Wait until there is nothing left to do; inside the work itself this does nothing."""
        if threading.current_thread() is self._thread:
            return
        with self._state:
            # in steps, so that an interrupt of the kernel comes through
            while self._thread is not None:
                self._state.wait(0.1)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        with self._state:
            return self._thread is None

    def _run(self) -> None:
        while True:
            with self._state:
                if not self._waiting:
                    self._thread = None
                    self._state.notify_all()
                    return
                name, work = self._waiting.pop(0)
                generation = self._generation
            reporting = _Reporting(self, name, generation)
            try:
                work(reporting)
            except Stopped:
                pass
            except Exception as error:  # whatever work raises goes to whoever asked
                self._on_error(error)
            finally:
                if reporting.shown:
                    self._on_task(None)

    def wanted(self, generation: int) -> bool:
        """Whether work of this generation is still to be done, and the interpreter not about to exit."""
        return generation == self._generation and threading.main_thread().is_alive()

    def show(self, task: Task) -> None:
        """Show what runs."""
        self._on_task(task)


class _Reporting:
    """The `Progress` of one piece of work."""

    def __init__(self, background: Background, name: str, generation: int) -> None:
        self._background = background
        self._name = name
        self._generation = generation
        self._told = time.monotonic()
        self.shown = False

    def __call__(self, done: int = 0, total: int = 0) -> None:
        if not self._background.wanted(self._generation):
            raise Stopped
        now = time.monotonic()
        if now - self._told >= _SHOWN_AFTER:
            self._told, self.shown = now, True
            self._background.show(Task(name=self._name, done=done, total=total, stoppable=True))


class Backgrounds:
    """Several pieces of work beside one another, each in a `Background` of its own; a page shows the one that began last.

    Parameters
    ----------
    names : sequence of str
        What the backgrounds are called.
    on_error : callable
        Told every exception.
    show : callable
        Given what runs, or None.
    """

    def __init__(
        self, names: Sequence[str], on_error: Callable[[Exception], object], show: Callable[[Task | None], object]
    ) -> None:
        self._show = show
        self._running: dict[str, Task] = {}
        self._all = {name: Background(on_error, functools.partial(self.announce, name)) for name in names}

    def __getitem__(self, name: str) -> Background:
        return self._all[name]

    def announce(self, where: str, task: Task | None) -> None:
        """Show what runs somewhere, here or elsewhere; None when it has ended."""
        if task is None:
            self._running.pop(where, None)
        else:
            self._running[where] = task
        running = list(self._running.values())
        self._show(running[-1] if running else None)

    def stop(self) -> None:
        """End all work at its next report."""
        for one in self._all.values():
            one.stop()

    def wait(self) -> None:
        """Wait until there is nothing left to do."""
        for one in self._all.values():
            one.wait()
