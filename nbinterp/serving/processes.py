"""Starting processes, and ending them and whatever they started: nothing else, and nothing is left."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nbinterp.serving.names import ServeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_PATIENCE = 2.0  # seconds that a process may take to end by itself


class Processes:
    """The processes of a server; leaving the ``with`` block ends them, the last one started first.

    On Linux an orphan of theirs becomes a child of this process, so that a worker whose parent has died is found; and
    each gets SIGTERM when this process is killed.

    Parameters
    ----------
    logs : Path
        A folder; each process writes to a file of its name there.
    environment : mapping of str to str
        What all of them get.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # a second ctrl-C must not leave half of them running
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._end()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process in a session of its own, so that a ctrl-C in the terminal reaches only this one."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._started[name] = subprocess.Popen(  # noqa: S603
                command,
                env=self._environment | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def check(self) -> None:
        """Raise ServeError when one of them has ended: a server works with all of its parts only."""
        for name, process in self._started.items():
            if process.poll() is not None:
                raise ServeError(
                    f"got the end of {name} (exit code {process.returncode}), which should run; its last words: {self.last_line(name)}"
                )

    def finish(self, name: str) -> str:
        """Wait for one that is meant to end and return its last line; ServeError with that line when it failed."""
        while (code := self._started[name].poll()) is None:
            self.check()
            time.sleep(0.2)
        del self._started[name]
        if code != 0:
            raise ServeError(self.last_line(name))
        return self.last_line(name)

    def wait_for(self, name: str, text: str) -> None:
        """Wait until a process has written something."""
        while text not in self._log(name):
            self.check()
            time.sleep(0.1)

    def last_line(self, name: str) -> str:
        """Return the last line that a process wrote."""
        return next((line.strip() for line in reversed(self._log(name).split("\n")) if line.strip()), "none")

    def _log(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _end(self) -> None:
        """Ask, wait for a moment, and kill what is left among our descendants; none of them holds what is not elsewhere."""
        import psutil

        for process in self._started.values():
            process.terminate()
        psutil.wait_procs(
            [psutil.Process(process.pid) for process in self._started.values() if process.poll() is None], _PATIENCE
        )
        while left := psutil.Process().children(recursive=True):
            for child in left:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(left, timeout=1)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.umask(0o077)
