"""The command ``nbinterp``: fetch a demo model, open the lab, serve a model, know a server."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nbinterp import __version__
from nbinterp.demo import models
from nbinterp.serving import command

if TYPE_CHECKING:
    from collections.abc import Sequence

DEMO = "smollm2-135m"
TUTORIAL = Path("notebooks/01_the_circle_of_months.ipynb")
# defaults that the user's own settings replace: a fresh JupyterLab asks for news over the tutorial, and looks for updates
SETTINGS = Path(__file__).parent / "lab"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 for success, 1 for a failure, 2 for a wrong call."""
    parser = argparse.ArgumentParser(
        prog="nbinterp", description="Interpretability of language models in Jupyter.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"nbinterp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    fetch = commands.add_parser("fetch", help="make a demo model ready on this machine", allow_abbrev=False)
    fetch.add_argument("name", choices=list(models.DEMO_MODELS), help="which one: %(choices)s")
    fetch.add_argument("--verify", action="store_true", help="only check the files of one that is here")
    commands.add_parser(
        "lab",
        help="fetch the demo model if it is absent, and open JupyterLab",
        description=f"Open JupyterLab, on {TUTORIAL} where that exists. Further arguments go to JupyterLab.",
        usage="nbinterp lab [-h] [arguments of JupyterLab ...]",
        allow_abbrev=False,
    )
    serve = commands.add_parser("serve", help="start a server of NDIF on this machine", allow_abbrev=False)
    command.add_arguments(serve)
    login = commands.add_parser("login", help="ask for a server's API key and store it", allow_abbrev=False)
    login.add_argument("host", nargs="?", default="ndif", help='the server\'s address, else "ndif"')
    trust = commands.add_parser("trust", help="put a server on your list of trusted ones", allow_abbrev=False)
    trust.add_argument("host", help="the server's address")
    parsed, rest = parser.parse_known_args(arguments)
    if parsed.command == "lab":
        return _lab(rest)
    if rest:
        commands.choices[parsed.command].error(f"unrecognized arguments: {' '.join(rest)}")
    if parsed.command == "serve":
        return command.serve(parsed)
    if parsed.command in ("login", "trust"):
        return _hosted(parsed.command, parsed.host)
    return _fetch(parsed.name, verify=parsed.verify)


def _fetch(name: str, *, verify: bool) -> int:
    try:
        folder = models.verify(name) if verify else models.fetch(name)
    except (models.FetchError, OSError) as error:
        print(f"nbinterp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nbinterp: stopped; nothing is left half-made.", file=sys.stderr)
        return 130
    print(f"{name} is {'whole' if verify else 'ready'} in {folder}")
    return 0


def _hosted(name: str, host: str) -> int:
    try:
        getattr(importlib.import_module("nbinterp"), name)(host)
    except (OSError, ValueError) as error:
        print(f"nbinterp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nbinterp: stopped; nothing is stored.", file=sys.stderr)
        return 130
    return 0


def _lab(rest: Sequence[str]) -> int:
    # without the demo model the lab is still of use: _fetch has said what is wrong
    if models.directory(DEMO) is None and _fetch(DEMO, verify=False) == 130:
        return 130
    chosen = any(not argument.startswith("-") and Path(argument).exists() for argument in rest)
    # an address and not a file to run, so that the one that is printed, for a machine without a browser, leads there too
    tutorial = [f"--LabApp.default_url=/lab/tree/{TUTORIAL.as_posix()}"] if TUTORIAL.is_file() and not chosen else []
    # in a container one is often root; JupyterLab refuses that unless told, and listens to this machine only
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    folders = [str(SETTINGS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    command = [sys.executable, "-m", "jupyterlab", *root, *tutorial, *rest]
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(folders)}
    with subprocess.Popen(command, env=environment) as lab:  # noqa: S603
        while True:
            try:
                return lab.wait()
            except KeyboardInterrupt:  # JupyterLab gets it too, and asks
                continue


if __name__ == "__main__":
    sys.exit(main())
