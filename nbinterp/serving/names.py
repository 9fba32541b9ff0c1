"""What is served, under which name, and where it lies on a machine.

A client and the server agree on a model by the key that nnsight sends along: the wrapper's import path, the name
(``repo_id``), the revision and the task. The name is the same on all machines; the folder may be another on each.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nbinterp.demo import models as demo

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "NBINTERP_SERVE"
"""The environment variable that carries `Service` to the processes of the server."""

WRAPPER = "nnsight.modeling.transformers.TransformersModel"
TASK = "text-generation"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class ServeError(RuntimeError):
    """The server cannot be started; the text says why and what to do, in one sentence."""


@dataclass(frozen=True)
class Service:
    """What the processes of the server have to know beyond NDIF's own settings.

    Parameters
    ----------
    folders : dict of str to str or None
        Where each model lies on this machine, by the name that it is served under; None where the hub has it.
    device : str
        ``"cpu"`` or ``"cuda"``.
    dtype : str
        Of the weights.
    replicas : int
        How many of each model.
    threads : int
        Of torch, in each replica on a CPU.
    """

    folders: dict[str, str | None]
    device: str
    dtype: str
    replicas: int
    threads: int

    def to_environment(self) -> dict[str, str]:
        """Return the variable that carries this to another process."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        """Read what the main process handed over."""
        return cls(**json.loads(os.environ[VARIABLE]))

    @property
    def keys(self) -> list[str]:
        """The key of each model."""
        return [model_key(name) for name in self.folders]

    def located(self, key: str) -> str:
        """Return a key with the model's folder on this machine in the place of its name, for those who load it."""
        wrapper, _, suffix = key.partition(":")
        fields = json.loads(suffix)
        fields["repo_id"] = self._folder(fields["repo_id"])
        return f"{wrapper}:{json.dumps(fields)}"

    def _folder(self, name: str) -> str:
        given = self.folders.get(name)
        if given is not None:
            return given
        # a machine that joined has its own copy of a demo model; a path or a hub's id means the same everywhere
        return str(demo.directory(name) or name) if name in demo.DEMO_MODELS else name


def model_key(name: str) -> str:
    """Return the key by which a client of nnsight 0.8 names a model of the default revision."""
    return f"{WRAPPER}:{json.dumps({'repo_id': name, 'revision': None, 'task': TASK})}"


def model_name(key: str) -> str:
    """Return the name in a key."""
    return str(json.loads(key.partition(":")[2])["repo_id"])


def find(texts: Iterable[str]) -> dict[str, str | None]:
    """Return the folder of each model by its name; see `_find` for what may be given.

    Raises
    ------
    ServeError
        When one cannot be served.
    """
    folders: dict[str, str | None] = {}
    for text in texts:
        name, folder = _find(text)
        if name in folders:
            raise ServeError(f"got the model {name!r} twice; name each once, and give --replicas for several of it.")
        folders[name] = folder
    return folders


def parameters(folder: str) -> int | None:
    """Return how many parameters the safetensors files in a folder hold; None where there are none of these."""
    files = sorted(Path(folder).glob("*.safetensors"))
    return sum(_parameters(file) for file in files) if files else None


def _find(text: str) -> tuple[str, str | None]:
    """Read a demo model's name, a folder, a hub's id, or NAME=FOLDER; return the name and the folder."""
    name, separator, given = text.partition("=")
    if separator:
        if not name:
            raise ServeError(f"got {text!r}; wanted NAME=FOLDER: give the name that clients will ask for.")
        return name, _folder(given)
    if name in demo.DEMO_MODELS:
        folder = demo.directory(name)
        if folder is None:
            raise ServeError(
                f"got the demo model {name!r}, which is not on this machine yet; run: nbinterp fetch {name}"
            )
        return name, str(folder)
    if Path(name).expanduser().is_dir() or name.startswith((".", "/", "~")):
        folder = Path(_folder(name))
        return str(folder), str(folder)
    if _HUB_ID.fullmatch(name):
        return _on_hub(name)
    raise ServeError(
        f"got the model {name!r}; wanted a demo model ({', '.join(demo.DEMO_MODELS)}), a folder, NAME=FOLDER, "
        "or a hub's id such as org/name."
    )


def _folder(text: str) -> str:
    folder = Path(text).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise ServeError(f"got {folder}, which has no config.json; wanted a folder of a model saved by transformers.")
    return str(folder)


def _on_hub(name: str) -> tuple[str, str | None]:
    """Return the canonical id, and the copy of it on this machine when the hub cannot be asked."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return HfApi().model_info(name, timeout=10).id, None
    except (RepositoryNotFoundError, HFValidationError):
        raise ServeError(
            f"got the model {name!r}, which the hub does not have or does not show you; check the name, or log in."
        ) from None
    except Exception:  # the hub cannot be reached, in one of many ways
        try:
            return name, snapshot_download(name, local_files_only=True)
        except LocalEntryNotFoundError:
            raise ServeError(
                f"got the model {name!r}, which is not on this machine, and the hub cannot be reached; "
                "give NAME=FOLDER to serve a copy under that name."
            ) from None


def _parameters(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
