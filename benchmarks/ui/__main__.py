"""Measure how the widgets feel: ``python -m benchmarks.ui``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# before anything imports a library that reads it
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.pairs import Machine
from benchmarks.ui.figures import Figure, table

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCHMARKS = ("brush", "slider", "paint", "sizes")
"""By name: the modules of this package."""


def main() -> int:
    """Measure, print the table, and return 1 when anything was slower than wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ui", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="measure only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few turns, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value to this file as well")
    given = parser.parse_args()
    figures: list[Figure] = []
    for name in given.only or BENCHMARKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        for figure in _measure(name, quick=given.quick):
            figures.append(figure)
            print("  " + " | ".join(figure.cells()), file=sys.stderr, flush=True)
    machine = f"{Machine()}; Chromium without a graphics card"
    print(table(figures), f"Measured on {machine}.", sep="\n\n")
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": machine, "figures": [f.as_json() for f in figures]}, indent=1))
    return int(not all(figure.met for figure in figures))


def _measure(name: str, *, quick: bool) -> Iterator[Figure]:
    yield from importlib.import_module(f"benchmarks.ui.{name}").rows(quick)


if __name__ == "__main__":
    sys.exit(main())
