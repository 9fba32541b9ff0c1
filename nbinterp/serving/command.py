"""The command line of ``nbinterp serve``: what it takes, what it says, and what it refuses before anything is started."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nbinterp.serving import head, machine, names
from nbinterp.serving.names import ServeError, Service
from nbinterp.serving.processes import Processes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PORT = 8001


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="a demo model's name, a folder, a hub's id (org/name), or NAME=FOLDER to serve a folder under a name",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", type=int, default=PORT, help="port that clients connect to (default: %(default)s)")
    parser.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="copies of each model (default: %(default)s)"
    )
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one"
    )
    parser.add_argument(
        "--dtype", choices=list(machine.BYTES), help="of the weights (default: float32 on a CPU, else bfloat16)"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long a job may run (default: as long as it takes)"
    )
    parser.add_argument("--join", metavar="ADDRESS", help="add this machine to the server whose --join address this is")
    parser.add_argument("--token", type=Path, metavar="FILE", help="with --join: the server's token file, copied here")


def serve(options: argparse.Namespace) -> int:
    """Serve until ctrl-C; return 0 after it, 1 after a sentence on why not."""
    # a service manager ends with SIGTERM what a person ends with ctrl-C; a shell starts what is in the background deaf to both
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _folder() as folder:
            if options.join is None:
                _serve(options, folder)
            else:
                _join(options, folder)
    except ServeError as error:
        print(f"nbinterp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nbinterp: stopped; all that it started has ended.", file=sys.stderr)
        return 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _serve(options: argparse.Namespace, folder: Path) -> None:
    if not options.models:
        raise ServeError("got no model; name one, for example: nbinterp serve smollm2-135m")
    if options.timeout is not None and options.timeout <= 0:
        raise ServeError(f"got --timeout {options.timeout:g}; wanted more than 0 seconds.")
    address = _address(options.host)
    machine.check_port(options.host, options.port)
    machine.valkey()
    here, service = _service(options)
    (ray_port,) = machine.free_ports(address, 1)
    server = head.Server(service, here, options.host, address, options.port, ray_port, folder, options.timeout)
    if options.host == "0.0.0.0" or not ipaddress.ip_address(address).is_loopback:  # noqa: S104
        print(
            f"nbinterp: {options.host} is open to your network: whoever reaches port {options.port} can run code on this "
            "machine as you, since no key is checked; keep it behind a firewall.",
            file=sys.stderr,
        )
    began = time.monotonic()
    print(f"Starting a server of NDIF for {', '.join(service.folders)}; logs are in {folder / 'logs'}", flush=True)

    def ready() -> None:
        for name in service.folders:
            print(f'NDIF serves {name} at {server.url}: nb.Model.open("{name}", host="{server.url}")')
        print(
            f"Ready after {time.monotonic() - began:.0f} s; ctrl-C ends it. Another machine, with a copy of {server.token}: "
            f"nbinterp serve --join {address}:{server.ray_port} --token {server.token.name}",
            flush=True,
        )

    server.run(ready)


def _join(options: argparse.Namespace, folder: Path) -> None:
    given, _, port = options.join.rpartition(":")
    if not given or not port.isdigit():
        raise ServeError(f"got --join {options.join}; wanted HOST:PORT, as the server printed it.")
    if options.token is None or not options.token.is_file():
        raise ServeError(
            f"got --token {options.token}; wanted the server's token file, which it names when it is ready."
        )
    try:
        with socket.create_connection((given, int(port)), timeout=5) as connection:
            address = connection.getsockname()[0]  # ours, as seen from there
    except OSError as error:
        raise ServeError(
            f"got --join {options.join}, where nothing answers ({error}); is the server running?"
        ) from None
    here, service = _service(options)
    (folder / "logs").mkdir()
    with Processes(folder / "logs", head.environment(service, address, options.token.resolve())) as processes:
        processes.start("ray", head.node(here, address, folder, join=options.join))
        processes.wait_for("ray", "Ray runtime started")
        command = [
            sys.executable,
            "-m",
            "nbinterp.serving.join",
            options.join,
            head.node_name(folder),
            str(options.replicas),
        ]
        processes.start("replicas", command)
        served = processes.finish("replicas")
        print(f"This machine serves {options.replicas} more of {served}; ctrl-C ends that.", flush=True)
        while True:
            processes.check()
            time.sleep(1)


def _service(options: argparse.Namespace) -> tuple[machine.Device, Service]:
    """Check what is installed, the models and the memory; return what there is and what is to be done."""
    if options.replicas < 1:
        raise ServeError(f"got --replicas {options.replicas}; wanted 1 or more.")
    machine.check_installed()
    folders = names.find(options.models)
    here = machine.device(options.device)
    dtype = options.dtype or ("float32" if here.kind == "cpu" else "bfloat16")
    left = here
    for name, folder in folders.items():
        known = names.parameters(folder) if folder is not None else None
        left = left._replace(memory=left.memory - machine.check_memory(name, known, dtype, options.replicas, left))
    cores = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    threads = max(1, cores // (options.replicas * max(1, len(folders))))
    return here, Service(folders, here.kind, dtype, options.replicas, threads)


def _address(host: str) -> str:
    """Return the address of this machine that others know, for a host that may stand for all of them."""
    try:
        address = ipaddress.IPv4Address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ServeError(
            f"got --host {host}; wanted an address of this machine, such as 127.0.0.1 or 0.0.0.0."
        ) from None
    if not address.is_unspecified:
        return str(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; names the interface that leads outside
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder for one run, gone afterwards; it stays when something failed, for its logs.

    Ray puts sockets there, whose paths may have 107 characters.
    """
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="nbinterp-", dir=base if len(base) < 24 else "/tmp"))  # noqa: S108
    try:
        yield folder
    except ServeError as error:
        if (folder / "logs").exists():
            raise ServeError(f"{str(error).rstrip('.')}. All logs are in {folder / 'logs'}.") from None
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
