"""What a page has to load for each widget."""

from __future__ import annotations

import gzip
import pathlib
from typing import TYPE_CHECKING

import nbinterp
from benchmarks.ui.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATIC = pathlib.Path(nbinterp.__file__).parent / "static"
_WANTED, _WITH_VEGA = 200, 300


def rows(quick: bool) -> Iterator[Figure]:
    """Compress each widget's script and style sheet."""
    for script in sorted(_STATIC.glob("*.js")):
        files = [script, *([script.with_suffix(".css")] if script.with_suffix(".css").exists() else [])]
        kilobytes = sum(len(gzip.compress(file.read_bytes(), 9)) for file in files) / 1000
        wanted = _WITH_VEGA if script.stem == "chart" else _WANTED
        yield Figure(f"bundle of {script.stem}, compressed", (kilobytes,), "kB", wanted)
