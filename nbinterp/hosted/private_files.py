"""Files that only their owner reads: mode 0600, written in one step, one writer at a time."""

from __future__ import annotations

import os
import stat
import uuid
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator

MODE = 0o600


def folder() -> Path:
    """Return the user's configuration folder of nbinterp; ``NBINTERP_CONFIG`` names another."""
    given = os.environ.get("NBINTERP_CONFIG")
    return Path(given).expanduser().absolute() if given else platformdirs.user_config_path("nbinterp")


@contextmanager
def one_writer() -> Iterator[None]:
    """Let one process at a time read a file, change it and write it back."""
    from filelock import FileLock

    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(folder() / ".lock", mode=MODE):
        yield


def read(path: Path) -> str:
    """Return a file's text, empty where there is none; a file that others may open is closed to them, with a warning."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    tighten(path)
    return text


def tighten(path: Path) -> None:
    """Close a file to all but its owner, and say so where it was open."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name != "posix" or not mode & 0o077:
        return
    try:
        path.chmod(MODE)
    except OSError as error:
        outcome = f"it could not be closed to them ({error.strerror}): run `chmod 600 {path}` as its owner"
    else:
        outcome = "now it has 600"
    warnings.warn(
        f"{path} had the mode {mode:o}, so that others on this machine could open it; {outcome}.", stacklevel=4
    )


def write(path: Path, text: str) -> None:
    """Replace a file in one step; it is never there half-written, nor for a moment with a looser mode."""
    # through a link to what it points at: configuration files are often links into a repository of them
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
