"""How time and memory of each step of geometry grow with the number of points, and where a laptop's memory ends.

``python -m benchmarks.growth --save docs/cost-growth.svg`` measures all steps (about three minutes), prints a table and saves
the picture; ``--quick`` takes the two smallest sizes of each.

Every step runs in a process of its own, on one thread. Seconds are the processor's, the least of up to three turns. Memory is
the most that was resident while the step ran, its input included, above what libraries take. Exponents are slopes through the
three largest sizes, that of memory above a constant; beside them stands what the smaller sizes foretell of the largest.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.homology import CLOUDS, D_MODEL, most_resident
from benchmarks.pairs import Machine, Measured, Setting, table
from nbinterp.geometry import neighbor_graph, persistence, prepare, umap
from nbinterp.geometry.cycles import birth_edges, loop
from nbinterp.geometry.distances import distances
from nbinterp.geometry.homology import cocycles, diagrams
from nbinterp.geometry.nulls import draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import altair as alt
    import pandas as pd

LAPTOP = 16 * 2**10
"""Megabytes of a laptop's memory."""

N_DRAWS = 20
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
SHORT = 0.5
"""Seconds below which a step is measured three times."""

MANY = (2000, 4000, 8000, 16_000)


class Step(NamedTuple):
    """What is there beforehand, what is measured, and on how many points of which cloud."""

    before: Callable[[np.ndarray], Any]
    work: Callable[[Any], object]
    sizes: tuple[int, ...]
    cloud: str = "power law"


def _all_loops(matrix: np.ndarray) -> object:
    edges, ordered = birth_edges(matrix, diagrams(matrix, 1)[1])
    return [loop(ordered, edge) for edge in edges]


STEPS: dict[str, dict[str, Step]] = {
    "rows, neighbours, pictures": {
        "10 principal components": Step(lambda points: points, lambda points: prepare(points, 10), MANY),
        "300 landmarks": Step(lambda points: prepare(points, 10), lambda rows: rows.narrowed(10, landmarks=300), MANY),
        f"{N_DRAWS} null clouds, 64 landmarks": Step(
            lambda points: persistence(points, landmarks=64),
            lambda diagram: draws(diagram, "gaussian", n=N_DRAWS, seed=0),
            MANY,
        ),
        "distances": Step(lambda points: points, distances, MANY),
        "15 neighbours, exact": Step(prepare, lambda rows: neighbor_graph(rows, 15, exact=True), MANY),
        "15 neighbours, searched": Step(prepare, lambda rows: neighbor_graph(rows, 15, exact=False), MANY),
        "50 epochs of UMAP": Step(
            lambda points: neighbor_graph(points, 14),
            lambda graph: umap(graph, n_epochs=50),
            (1000, 2000, 4000, 8000),
        ),
    },
    "homology of every point": {
        "clusters (H0)": Step(distances, lambda matrix: diagrams(matrix, 0), (1000, 2000, 4000, 8000)),
        "loops (H1)": Step(distances, lambda matrix: diagrams(matrix, 1), (500, 1000, 2000, 4000)),
        "loops of a noisy circle": Step(
            distances, lambda matrix: diagrams(matrix, 1), (500, 1000, 2000, 4000), "noisy circle"
        ),
        "rows of every loop": Step(distances, _all_loops, (500, 1000, 2000)),
        "cocycles": Step(distances, cocycles, (250, 500, 1000)),
        "cavities (H2)": Step(distances, lambda matrix: diagrams(matrix, 2), (150, 300, 600)),
        f"{N_DRAWS} null clouds": Step(
            persistence, lambda diagram: draws(diagram, "gaussian", n=N_DRAWS, seed=0), (500, 1000, 2000)
        ),
    },
}
"""By group and name."""


class Law(NamedTuple):
    """``constant + factor * n ** exponent``."""

    constant: float
    factor: float
    exponent: float

    @classmethod
    def through(cls, sizes: tuple[int, ...], values: tuple[float, ...], *, above: bool = False) -> Law:
        """Return the law through the three largest sizes, each twice the one before; with a constant only if `above` one."""
        sizes, values = sizes[-3:], values[-3:]
        steps = np.diff(values)
        # increments of a power of n grow as the power itself does, and know of no constant
        above = above and len(steps) == 2 and steps[1] > steps[0] > 0
        constant = max(0.0, values[-1] - steps[1] ** 2 / (steps[1] - steps[0])) if above else 0.0
        exponent, at_one = np.polyfit(np.log(sizes), np.log(np.array(values) - constant), 1)
        return cls(float(constant), float(np.exp(at_one)), float(exponent))

    def at(self, n: float) -> float:
        """Return the value for n points."""
        return float(self.constant + self.factor * n**self.exponent)

    def reaches(self, value: float) -> float:
        """Return for how many points it is `value`."""
        if self.exponent <= 0:
            return float("inf")
        return float(((value - self.constant) / self.factor) ** (1 / self.exponent))


@dataclass(frozen=True)
class Growth:
    """What a step took, by number of points: megabytes, and seconds of one core."""

    group: str
    step: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    megabytes: tuple[float, ...]

    @property
    def of_time(self) -> Law:
        """Seconds by number of points."""
        return Law.through(self.sizes, self.seconds)

    @property
    def of_memory(self) -> Law:
        """Megabytes by number of points."""
        return Law.through(self.sizes, self.megabytes, above=True)

    @property
    def stops(self) -> float:
        """The number of points at which a laptop's memory is full."""
        return self.of_memory.reaches(LAPTOP)

    def row(self) -> Measured:
        """Return a line of the table."""
        measured = "; ".join(
            f"{n}: {s:.2g} s, {m:.0f} MB" for n, s, m in zip(self.sizes, self.seconds, self.megabytes, strict=True)
        )
        foretold = ""
        if len(self.sizes) > 2:
            smaller = Growth(self.group, self.step, self.sizes[:-1], self.seconds[:-1], self.megabytes[:-1])
            n = self.sizes[-1]
            foretold = (
                f"the smaller sizes foretell {smaller.of_time.at(n) / self.seconds[-1]:.2f} of the largest's time, "
                f"{smaller.of_memory.at(n) / self.megabytes[-1]:.2f} of its memory"
            )
        return Measured(
            f"{self.step}, d = {D_MODEL}",
            "",
            "",
            f"time n^{self.of_time.exponent:.1f}, memory n^{self.of_memory.exponent:.1f}: 16 GiB end at "
            f"n = {self.stops:,.0f}, after {_duration(self.of_time.at(self.stops))} ({measured})",
            foretold,
        )

    def frame(self) -> pd.DataFrame:
        """Return one line a size, and a last one, not ``measured``, where memory ends."""
        import pandas as pd

        measured = pd.DataFrame(
            {"points": self.sizes, "seconds": self.seconds, "megabytes": self.megabytes, "measured": True}
        )
        end = {
            "points": self.stops,
            "seconds": self.of_time.at(self.stops),
            "megabytes": LAPTOP,
            "measured": False,
        }
        # the line goes on from what was measured last
        lines = pd.concat([measured, measured.tail(1).assign(measured=False), pd.DataFrame([end])], ignore_index=True)
        return lines.assign(group=self.group, step=self.step)


def rows(setting: Setting) -> Iterator[Measured]:
    """Measure the exponents of every step."""
    for one in grown(setting):
        yield one.row()


def grown(setting: Setting) -> Iterator[Growth]:
    """Measure every step, each in a process of its own."""
    for group, steps in STEPS.items():
        for name, step in steps.items():
            sizes = step.sizes[:2] if setting.quick else step.sizes
            command = [sys.executable, "-m", "benchmarks.growth", "--step", group, name, "--sizes", *map(str, sizes)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)  # noqa: S603
            seconds, megabytes = zip(*json.loads(done.stdout.splitlines()[-1]), strict=True)
            yield Growth(group, name, sizes, seconds, megabytes)


def growth_chart(measured: list[Growth]) -> alt.Chart:
    """Return seconds and megabytes of each step over the number of points; dashed beyond what was measured."""
    import altair as alt
    import pandas as pd

    from nbinterp.charts.theme import INK, OKABE_ITO, together

    decades = [float(10**k) for k in range(-4, 10)]
    lines = pd.concat([one.frame() for one in measured])
    titles = {"seconds": "seconds of one core", "megabytes": "megabytes"}

    def panel(group: str, value: str) -> alt.LayerChart:
        of_group = lines[lines["group"] == group]
        x = alt.X(
            "points:Q",
            title="points",
            # a power of n that is hardly one has no end that would be worth a place
            scale=alt.Scale(type="log", domain=[100, 1e7], clamp=True),
            axis=alt.Axis(format="~s", values=[10**k for k in range(2, 8)]),
        )
        y = alt.Y(
            f"{value}:Q", title=titles[value], scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", values=decades)
        )
        color = alt.Color(
            "step:N",
            title=group,
            scale=alt.Scale(domain=list(STEPS[group]), range=list(OKABE_ITO)),
            legend=alt.Legend(labelLimit=240) if value == "megabytes" else None,
        )
        base = alt.Chart(of_group).encode(x, y, color)
        layers = [
            base.transform_filter("datum.measured").mark_line(point=True),
            base.transform_filter("!datum.measured").mark_line(strokeDash=[3, 3], opacity=0.7),
        ]
        if value == "megabytes":
            full = alt.Chart(pd.DataFrame({"megabytes": [LAPTOP], "says": ["16 GiB"], "points": [130]}))
            layers += [
                full.mark_rule(color=INK).encode(alt.Y("megabytes:Q")),
                full.mark_text(color=INK, align="left", dy=-8).encode(
                    alt.X("points:Q"), alt.Y("megabytes:Q"), text="says:N"
                ),
            ]
        return alt.layer(*layers).properties(width=300, height=240)

    return together([[panel(group, value) for value in titles] for group in STEPS])


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 3600:.1f} h"


def _alone(group: str, name: str, sizes: list[int]) -> None:
    """Print seconds and megabytes of a step for each number of points."""
    step = STEPS[group][name]
    # libraries are loaded, and what is compiled is compiled, before anything is measured
    step.work(step.before(CLOUDS[step.cloud](400 if sizes[0] > 400 else sizes[0])))
    found = []
    for n in sizes:
        empty = _forgotten()
        given = step.before(CLOUDS[step.cloud](n))
        _forgotten()
        seconds = [_seconds(step, given)]
        megabytes = max(1.0, (most_resident() - empty) / 2**20)
        while seconds[0] < SHORT and len(seconds) < 3:
            # draws are remembered with what they were drawn for
            given = step.before(CLOUDS[step.cloud](n))
            seconds.append(_seconds(step, given))
        found.append((min(seconds), megabytes))
        del given
    print(json.dumps(found))


def _seconds(step: Step, given: object) -> float:
    start = time.process_time()
    step.work(given)
    return time.process_time() - start


def _forgotten() -> int:
    """Give freed memory back, let the most that was resident be what is resident now, and return it in bytes."""
    ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return most_resident()


def main() -> int:
    """Measure every step, print the table and save the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes of each step")
    parser.add_argument("--save", type=Path, metavar="FILE", help="save the picture here (.svg, .png or .html)")
    parser.add_argument("--step", nargs=2, metavar=("GROUP", "STEP"), help="measure this one only, and print JSON")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="N", help="of that step")
    given = parser.parse_args()
    if given.step is not None:
        _alone(*given.step, given.sizes)
        return 0
    measured = []
    for one in grown(Setting(given.quick)):
        measured.append(one)
        print("  " + " | ".join(one.row().cells()), file=sys.stderr, flush=True)
    print(table([one.row() for one in measured]), f"Measured on one core of {Machine()}.", sep="\n\n")
    if given.save is not None:
        growth_chart(measured).save(str(given.save))
    return 0


if __name__ == "__main__":
    sys.exit(main())
