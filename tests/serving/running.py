"""A real server, started by the product's own command, and a way for a test to be where it is.

The whole of it runs in a network namespace of its own where the system allows that, with loopback only: nothing that it
opens can be reached from elsewhere, and nothing that a test does leaves the machine.
"""

import ctypes
import fcntl
import functools
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 300  # seconds; a start takes 20 on two idle cores
# of the kernel: CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP
_NETWORK, _SET_FLAGS, _UP = 0x40000000, 0x8914, 1


@functools.cache
def isolated():
    """Whether this process may give others a network namespace."""
    try:
        subprocess.run(["true"], preexec_fn=_isolate, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@dataclass
class Serving:
    """A run of ``nbinterp serve``; `url` is where clients connect."""

    process: subprocess.Popen
    log: Path
    url: str

    @classmethod
    def start(cls, log, port, *arguments, beside=None, **environment):
        """Start it, in a namespace of its own or in that of another run."""
        command = [sys.executable, "-m", "nbinterp", "serve", *map(str, arguments), "--port", str(port)]
        settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
        alone = _isolate if beside is None and isolated() else None
        with log.open("wb") as output, nullcontext() if beside is None else beside.entered():
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | settings, preexec_fn=alone
            )
        return cls(process, log, f"http://127.0.0.1:{port}")

    @contextmanager
    def entered(self):
        """Be in the server's network: this thread, and the threads and processes that it starts."""
        if not isolated():
            yield
            return
        with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{self.process.pid}/ns/net") as theirs:
            _enter(theirs)
            try:
                yield
            finally:
                _enter(ours)

    @property
    def text(self):
        """What it has printed."""
        return self.log.read_text()

    def wait_for(self, text):
        """Wait until it has printed this."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)

    def end(self, number):
        """Send it a signal, and return its exit code when all is over."""
        self.process.send_signal(number)
        return self.process.wait(60)


def _isolate():
    """Leave the machine's network for a new one that has nothing but loopback."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))


def _enter(namespace):
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")
