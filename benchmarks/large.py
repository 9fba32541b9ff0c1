"""A cloud of a million rows on disk, in passes over its chunks: memory and time of each step.

``python -m benchmarks.large`` writes 2.3 GB to a temporary folder (or to ``--folder``) and removes them at the end;
``--quick`` a tenth of that.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbinterp.clouds import Cloud

SITE = "resid_post.10"
WIDTH = 576
NOISE = 6.0
"""Length of the noise of a row over all features, as a multiple of the circle's radius."""
GIANT_EVERY = 20_000
"""One row in so many has 200 times its length."""
QUERIES = 1000
DRAWS = 99
LIMIT_GIB = 4.0


def write(folder: Path, n_rows: int, seed: int = 0) -> None:
    """Write a circle in noise, with a few rows of a giant norm, chunk by chunk."""
    from nbinterp.anatomy import ModelInfo
    from nbinterp.clouds import CloudWriter

    needed = int(1.05 * 4 * n_rows * WIDTH)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise SystemExit(
            f"got {free / 1e9:.1f} GB free at {folder}; wanted {needed / 1e9:.1f}: give another --folder, or --quick."
        )
    rng = np.random.default_rng(seed)
    plane = np.linalg.qr(rng.normal(size=(WIDTH, 2)))[0].T.astype(np.float32)
    model = ModelInfo("planted", "0" * 40, "Planted", 12, WIDTH, 100, "model.layers")
    writer = CloudWriter(n_rows, [SITE], model, None, folder / "cloud", key="a circle in noise")
    for rows in np.array_split(np.arange(n_rows), max(1, n_rows // 20_000)):
        angles = rng.uniform(0, 2 * np.pi, len(rows)).astype(np.float32)
        values = rng.standard_normal(size=(len(rows), WIDTH), dtype=np.float32) * np.float32(NOISE / np.sqrt(WIDTH))
        values += np.column_stack([np.cos(angles), np.sin(angles)]) @ plane
        values[rows % GIANT_EVERY == 0] *= 200
        writer.write(rows, {SITE: values})


def measure(folder: Path) -> Iterator[dict[str, str | float]]:
    """Go through all steps, and give seconds and peak memory after each."""
    steps: list[dict[str, str | float]] = []

    @contextmanager
    def step(what: str) -> Iterator[None]:
        start, worked = time.perf_counter(), time.process_time()
        yield
        steps.append(
            {
                "step": what,
                "seconds": time.perf_counter() - start,
                "cpu": time.process_time() - worked,
                "peak": peak_gib(),
            }
        )

    with step("import"):
        from nbinterp.clouds import Cloud
        from nbinterp.geometry.explore import explore
        from nbinterp.geometry.persistence import persistence
        from nbinterp.geometry.significance import significance
        from nbinterp.geometry.streaming import nearest_rows, prepare_large
    with step("open"):
        cloud: Cloud = Cloud.open(folder / "cloud")
    yield from _new(steps)
    started: dict[str, float] = {}

    def progress(what: str, done: int, total: int) -> None:
        if done == 0:
            started[what] = time.perf_counter()
        elif done == total:
            steps.append({"step": f"pass: {what}", "seconds": time.perf_counter() - started[what], "peak": peak_gib()})

    with step("prepare_large(cloud, 2), all passes"):
        large = prepare_large(cloud, 2, progress=progress)
    yield from _new(steps)
    with step("every row to its landmark"):
        point_of_row, error = large.assigned()
    yield from _new(steps)
    with step("means of the landmarks in the full space"):
        large.means(point_of_row)
    yield from _new(steps)
    with step("persistence"):
        diagram = persistence(large.prepared)
    yield from _new(steps)
    with step(f"significance, {DRAWS} draws"):
        test = significance(diagram, n_null=DRAWS)
    yield from _new(steps)
    used = np.flatnonzero(large.groups >= 0)
    queries = np.random.default_rng(0).choice(len(used), QUERIES, replace=False)
    with step(f"15 neighbours of {QUERIES} rows among all scores"):
        nearest_rows(large.scores, queries, 15)
    yield from _new(steps)
    with step(f"15 neighbours of {QUERIES} rows among all rows"):
        nearest_rows(large, used[queries], 15)
    yield from _new(steps)
    with step('prepare_large(cloud, "parallel")'):
        found = prepare_large(cloud, "parallel", progress=progress).prepared.preparation.n_components_
    yield from _new(steps)
    with step("explore(cloud): all of the usual questions"):
        report = explore(cloud, progress=False)
    yield from _new(steps)
    print(
        f"{report!r}\n{large!r}\n{test!r}\nlandmark error {error:.3g}; parallel analysis: {found} components",
        file=sys.stderr,
    )


def peak_gib() -> float:
    """Return the most memory that this process has had at once, in GiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # the rusage of a child starts with the memory of its parent
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1)) / 2**20  # type: ignore[union-attr]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def _new(steps: list[dict[str, str | float]]) -> Iterator[dict[str, str | float]]:
    while steps:
        yield steps.pop(0)


def main() -> int:
    """Write the cloud, measure in a process of its own, and return 1 when it took too much memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10⁵ rows in place of 10⁶")
    parser.add_argument("--rows", type=int, help="another number of rows")
    parser.add_argument("--folder", type=Path, help="where to put the cloud meanwhile; by default a temporary folder")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        for line in measure(given.measure):
            print(json.dumps(line), flush=True)
        return 0
    n_rows = given.rows or (100_000 if given.quick else 1_000_000)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        start = time.perf_counter()
        write(Path(folder), n_rows)
        size = 4 * n_rows * WIDTH / 1e9
        print(f"{n_rows:,} × {WIDTH} float32, {size:.1f} GB, written in {time.perf_counter() - start:.0f} s\n")
        print("| step | seconds | CPU seconds | peak memory so far, GiB |\n|---|---|---|---|", flush=True)
        command = [sys.executable, "-m", "benchmarks.large", "--measure", folder]
        peak = 0.0
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
            for line in child.stdout or ():
                found = json.loads(line)
                peak = max(peak, found["peak"])
                cpu = f"{found['cpu']:.1f}" if "cpu" in found else ""
                print(f"| {found['step']} | {found['seconds']:.1f} | {cpu} | {found['peak']:.2f} |", flush=True)
        if child.returncode:
            return child.returncode
    print(f"\nPeak {peak:.2f} GiB; wanted under {LIMIT_GIB:g}.")
    return int(peak > LIMIT_GIB)


if __name__ == "__main__":
    sys.exit(main())
