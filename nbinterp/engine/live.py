"""Work that follows a hand: it runs on the kernel's main thread, the newest request wins, and nothing queues up.

JupyterLab may call a widget back on another thread while a cell runs, and nnsight cannot trace from two threads at
once. So one dispatcher a process hands work to the main thread's event loop, which takes it up between cells. Whoever
asks has a channel of its own, a `Latest`; long work is a generator that gives way at each ``yield``, so that a newer
request, another channel or anything else can come first.

`MODEL_LOCK` is for what does not come through here: `nbinterp.Model.run` may be called from any thread.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator

Work = Callable[[], Iterator[None]]

MODEL_LOCK = threading.RLock()
"""Held during every trace. One lock for all models: a backward trace of nnsight patches ``Tensor.grad`` process-wide.

It is the innermost lock: whoever holds it must neither ask for work nor wait for another thread.
"""


class Dispatcher:
    """Gives channels turns on the main thread's event loop, one step each, as long as they have work.

    It holds channels weakly: one that is no longer in use gets no more turns. One for the whole process is
    `DISPATCHER`; its loop is the one that runs on the main thread when a channel is made or asked there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: dict[weakref.ref[Latest], None] = {}
        self._scheduled = False

    def attach(self) -> None:
        """Take the event loop that runs here, if this is the main thread and the last one runs no more."""
        # the loops of other threads, JupyterLab's subshells, must not get model work
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        with self._lock:
            if self._loop is None or not self._loop.is_running():
                # a turn that was scheduled on a loop that stopped may never come; one too many does no harm
                self._loop, self._scheduled = loop, False
                self._schedule()

    def enqueue(self, channel: Latest) -> bool:
        """Give a channel turns until it is idle; return False where no event loop runs. Any thread may call this."""
        with self._lock:
            if self._loop is None or not self._loop.is_running():
                return False
            self._queue.setdefault(weakref.ref(channel))
            self._schedule()
            return True

    def _schedule(self) -> None:
        if self._queue and not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        """Give the channel that has waited longest one step."""
        with self._lock:
            reference = next(iter(self._queue), None)
            if reference is not None:
                del self._queue[reference]
        channel = None if reference is None else reference()
        try:
            if channel is not None:
                channel.step()
        except KeyboardInterrupt:
            # the work is dropped already; any further, the interrupt would end the loop and with it the kernel
            pass
        finally:
            again = channel is not None and not channel.idle
            with self._lock:
                if again and reference is not None:
                    self._queue.setdefault(reference)
                self._scheduled = False
                self._schedule()


DISPATCHER = Dispatcher()
"""The one that all channels of this process belong to."""


class Latest:
    """A channel that runs the newest piece of work that was asked for, and drops older ones.

    Make it on the main thread, and keep it: a channel that nobody holds is dropped with its work, whose ``finally``
    clauses run. Where no event loop runs on the main thread, as in a plain script, work runs at once.

    Parameters
    ----------
    on_error : callable
        Told every exception that a piece of work raises. A KeyboardInterrupt drops the work and is not told: in
        `finish`, and where work runs at once, it reaches the caller.
    dispatcher : Dispatcher
        Who gives the turns; by default the process's own.
    """

    def __init__(self, on_error: Callable[[Exception], object], dispatcher: Dispatcher = DISPATCHER) -> None:
        self._on_error = on_error
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._step_lock = threading.RLock()
        self._stepping = False
        self._waiting: Work | None = None
        self._running: Iterator[None] | None = None
        dispatcher.attach()

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        with self._lock:
            return self._waiting is None and self._running is None and not self._stepping

    def ask(self, work: Work) -> None:
        """Run `work` as soon as possible, in place of whatever was asked before. Any thread may call this."""
        with self._lock:
            self._waiting = work
        self._dispatcher.attach()
        if not self._dispatcher.enqueue(self):
            self.finish()

    def cancel(self) -> None:
        """Drop what waits, and close what runs after its current step. Any thread may call this."""
        if not self.idle:
            self.ask(lambda: iter(()))

    def finish(self) -> None:
        """Run what was asked for to its end, now; inside the work itself this does nothing.

        Call it on the main thread only.
        """
        while self.step():
            pass

    def step(self) -> bool:
        """Do one piece of the newest work; return whether there is more to do."""
        with self._step_lock:
            # only the same thread can come here during a step: from inside the work
            if self._stepping:
                return False
            try:
                with self._lock:
                    self._stepping = True
                    newest, self._waiting = self._waiting, None
                    # kept only if the step ends well: an interrupt must leave nothing behind
                    running, self._running = self._running, None
                if newest is not None:
                    self._close(running)
                    running = newest()
                if running is not None:
                    next(running)
                    self._running = running
            except StopIteration:
                pass
            except Exception as error:  # whatever work raises goes to whoever asked
                self._on_error(error)
            finally:
                with self._lock:
                    self._stepping = False
                    more = self._running is not None or self._waiting is not None
        return more

    def _close(self, running: Iterator[None] | None) -> None:
        """End work that was overtaken, so that its ``finally`` clauses run here and now."""
        close = getattr(running, "close", None)
        if close is not None:
            try:
                close()
            except Exception as error:  # it must not keep the newer work from running
                self._on_error(error)
