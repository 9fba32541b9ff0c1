"""Measure every figure of the README against its peers, in one process: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# before anything imports a library that reads them
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from benchmarks.pairs import Absent, Machine, Measured, Row, Setting, as_json, table

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCHMARKS = {
    "live": ("benchmarks.live", "first_token"),
    "live-last": ("benchmarks.live", "last_token"),
    "curve": ("benchmarks.curve", "rows"),
    "grid": ("benchmarks.grid", "rows"),
    "patching": ("benchmarks.patching", "rows"),
    "attribution": ("benchmarks.attribution", "rows"),
    "collect": ("benchmarks.collecting", "rows"),
    "generate": ("benchmarks.generation", "rows"),
    "import": ("benchmarks.importing", "rows"),
    "lens": ("benchmarks.lens", "rows"),
    "homology": ("benchmarks.homology", "rows"),
    "homology-growth": ("benchmarks.growth", "rows"),
    "significance": ("benchmarks.significance", "rows"),
    "embedding": ("benchmarks.embedding", "rows"),
    "explore": ("benchmarks.exploring", "rows"),
}
"""By name: module and function. They are imported when they are run, so that one can be measured while another is broken."""


def main() -> int:
    """Measure, print the table, and return 1 when anything gave another result than its peer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="measure only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few pairs and a small corpus")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn's seconds to this file as well")
    parser.add_argument(
        "--transformer-lens",
        type=Path,
        metavar="DIR",
        help="a folder that 'pip install --no-deps --target DIR' filled with TransformerLens 4",
    )
    given = parser.parse_args()
    if given.transformer_lens is not None:
        # in front: an environment for the tests has TransformerLens 3
        sys.path.insert(0, str(given.transformer_lens.resolve()))
    rows: list[Row | Absent | Measured] = []
    for name in given.only or BENCHMARKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        for row in _measure(name, Setting(given.quick)):
            rows.append(row)
            print("  " + " | ".join(row.cells()), file=sys.stderr, flush=True)
    machine = str(Machine())
    print(table(rows), f"Measured on {machine}.", sep="\n\n")
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": machine, "rows": [as_json(row) for row in rows]}, indent=1))
    return int(any(isinstance(row, Row) and row.agreement is not None and not row.agreement.holds for row in rows))


def _measure(name: str, setting: Setting) -> Iterator[Row | Absent | Measured]:
    module, function = BENCHMARKS[name]
    yield from getattr(importlib.import_module(module), function)(setting)


if __name__ == "__main__":
    sys.exit(main())
