"""A server of NDIF: the settings of its processes, their start in the right order, and the wait until it serves."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.error import URLError

from nbinterp.serving import machine
from nbinterp.serving.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nbinterp.serving.names import Service

_KEEP = 24 * 3600.0  # seconds that an answer is kept for those who ask again


@dataclass(frozen=True)
class Server:
    """A server and where it is reached.

    Parameters
    ----------
    service : Service
        What it serves.
    here : Device
        What it runs on.
    bind, address : str
        Where the web service listens, and the address of this machine that all parts are reached by.
    port, ray_port : int
        Of the web service, and of Ray, which other machines join.
    folder : Path
        For logs, answers and secrets, readable by the user only; its path is short, since Ray puts sockets there.
    timeout : float, optional
        Seconds that a job may run.
    """

    service: Service
    here: machine.Device
    bind: str
    address: str
    port: int
    ray_port: int
    folder: Path
    timeout: float | None = None

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"http://{self.address}:{self.port}"

    @property
    def token(self) -> Path:
        """The file without which nobody gives this cluster work."""
        return self.folder / "token"

    def run(self, ready: Callable[[], None]) -> None:
        """Start all processes, call `ready` once it serves, and stay until one ends or ctrl-C; ServeError for the former."""
        valkey = machine.valkey()
        logs, answers = self.folder / "logs", self.folder / "answers"
        logs.mkdir()
        answers.mkdir()
        write_secret(self.token, secrets.token_hex(32))
        key_value, store, client, *_ = machine.free_ports(self.address, 3)
        password, access, secret = (secrets.token_hex(16) for _ in range(3))
        settings = {
            "NDIF_REDIS_URL": f"redis://:{password}@{self.address}:{key_value}",
            "NDIF_OBJECT_STORE_URL": f"http://{self.address}:{store}",
            "NDIF_OBJECT_STORE_ACCESS_KEY": access,
            "NDIF_OBJECT_STORE_SECRET_KEY": secret,
            "NDIF_RAY_ADDRESS": f"{self.address}:{self.ray_port}",
            "NDIF_CONTROLLER_IMPORT_PATH": "nbinterp.serving.actors.Controller",
            "NDIF_MODEL_IMPORT_PATH": f"nbinterp.serving.actors.{'GPUActor' if self.here.kind == 'cuda' else 'CPUActor'}",
            "NDIF_DEFAULT_DTYPE": self.service.dtype,
            # replicas are as many as asked for; more would take memory that nobody promised
            "NDIF_AUTOSCALING_MAX_REPLICAS": str(self.service.replicas),
            "NDIF_MINIMUM_DEPLOYMENT_TIME_SECONDS": "0",
            "NDIF_CONTROLLER_SYNC_INTERVAL_S": "5",
        }
        if self.here.kind == "cpu":
            settings["NDIF_DEFAULT_PADDING_BIAS"] = "0"  # of CUDA's own memory, which is not used
        if self.timeout is not None:
            settings["NDIF_DEFAULT_EXECUTION_TIMEOUT_SECONDS"] = str(self.timeout)
        python = [sys.executable, "-m"]
        with Processes(logs, environment(self.service, self.address, self.token) | settings) as processes:
            conf = write_secret(
                self.folder / "valkey.conf",
                f'bind {self.address}\nport {key_value}\nrequirepass {password}\nsave ""\nappendonly no\ndir {self.folder}\n',
            )
            processes.start("valkey", [valkey, str(conf)])
            where = ["--host", self.address, "--port", str(store), "--data-dir", str(answers)]
            keys = {"NANIO_ACCESS_KEY": access, "NANIO_SECRET_KEY": secret}
            processes.start("store", [*python, "nanio", "serve", *where, "--no-access-log"], keys)
            processes.start("ray", node(self.here, self.address, self.folder, head=(self.ray_port, client)))
            processes.start("dispatcher", [*python, "nbinterp.serving.dispatch"])
            listen = ["--host", self.bind, "--port", str(self.port), "--no-access-log"]
            processes.start("web", [*python, "uvicorn", "ndif.services.api.app:app", *listen])
            while not _connected(f"http://{self.address}:{self.port}/connected"):
                processes.check()
                time.sleep(0.2)
            ready()
            for second in itertools.count():
                processes.check()
                if second % 60 == 0:
                    forget(answers, time.time() - _KEEP)
                time.sleep(1)


def environment(service: Service, address: str, token: Path) -> dict[str, str]:
    """Return the environment of all processes; settings of another NDIF or Ray in the user's shell do not reach them."""
    # Ray refuses a GPU that stands for the CPU where the user has hidden all GPUs
    foreign = ("NDIF_", "RAY_", *(["CUDA_VISIBLE_DEVICES"] if service.device == "cpu" else []))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        **service.to_environment(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "DASHBOARD_METRIC_PORT": str(machine.free_ports("127.0.0.1", 1)[0]),
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        # with it, one process in six that Ray forks dies at once (measured by NDIF's authors)
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        # models run in Ray's workers, which would wait (niceness 15) for everything else on the machine
        "RAY_worker_niceness": "0",
        "PYTHONUNBUFFERED": "1",
        # see node.py
        **({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if address == "127.0.0.1" else {}),
    }


def node(
    here: machine.Device, address: str, folder: Path, *, head: tuple[int, int] | None = None, join: str = ""
) -> list[str]:
    """Return the command for a node of Ray that stays in the foreground; NDIF reads the node's memory from its resources.

    A CPU counts as one GPU whose memory is the machine's: NDIF places models on GPUs only.
    """
    import psutil

    (agent,) = machine.free_ports(
        address, 1
    )  # else one port for all, which a second server on this machine could not have
    resources = {
        f"node:{node_name(folder)}": 1,
        "cuda_memory_bytes": here.memory,
        "cpu_memory_bytes": psutil.virtual_memory().total,
        **({"head": 10} if head else {}),
    }
    role = [f"--address={join}"]
    if head:
        role = [
            "--head",
            f"--port={head[0]}",
            f"--ray-client-server-port={head[1]}",
            "--include-dashboard=false",
            f"--temp-dir={folder / 'ray'}",  # which Ray opens to all users of the machine; the folder around it stays closed
        ]
    return [
        *(sys.executable, "-m", "nbinterp.serving.node", "start", "--block", "--disable-usage-stats"),
        *role,
        f"--node-ip-address={address}",
        f"--num-gpus={here.number}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--no-monitor",
        f"--dashboard-agent-listen-port={agent}",
        "--include-log-monitor=false",
        f"--object-store-memory={200 * 2**20}",
        f"--resources={json.dumps(resources)}",
    ]


def node_name(folder: Path) -> str:
    """Return a node's name, one for each folder: two nodes on one machine have one address."""
    return f"nbinterp-{folder.name}"


def write_secret(path: Path, text: str) -> Path:
    """Write a file that only the user can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def forget(folder: Path, before: float) -> None:
    """Delete the answers that are older than a moment in seconds of the epoch."""
    for file in folder.rglob("*"):
        try:
            if file.is_file() and file.stat().st_mtime < before:
                file.unlink()
        except FileNotFoundError:  # fetched and deleted meanwhile
            continue


def _connected(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
