"""What ``import nbinterp`` costs, against ``import numpy``."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.pairs import Agreement, Pairs, Row, Setting, alternate

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = ("torch", "nnsight", "transformers", "sklearn", "altair", "pandas")


def rows(setting: Setting) -> Iterator[Row]:
    """Yield the one line: a fresh interpreter in each turn, and a bare one's time taken off."""
    bare = float(np.median([_seconds("pass") for _ in range(setting.pairs(21))]))
    both = alternate(lambda turn: _run("import nbinterp"), lambda turn: _run("import numpy"), setting.pairs(21), warm=2)
    pairs = Pairs(tuple(s - bare for s in both.ours), tuple(s - bare for s in both.theirs))
    loaded = _run(f"import sys, nbinterp; print(*(m for m in {HEAVY} if m in sys.modules))").split()
    seconds = float(np.median(pairs.ours))
    yield Row(
        "import nbinterp",
        "import numpy",
        0.5 / float(np.median(pairs.theirs)),
        "time",
        pairs,
        Agreement("no torch, no nnsight loaded", float("torch" in loaded or "nnsight" in loaded)),
        (f"{seconds:.3f} s over a bare interpreter", f"loads {', '.join(loaded) or 'none'} of {', '.join(HEAVY)}"),
        goal="< 0.5 s, no torch, no nnsight",
    )


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout


def _seconds(code: str) -> float:
    start = time.perf_counter()
    _run(code)
    return time.perf_counter() - start
