"""Null clouds of a significance test, and a circle deep in noise, against ripser.py."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.pairs import Pairs, Row, Setting, alternate, compare
from nbinterp.geometry import persistence
from nbinterp.geometry.nulls import draws, null_cloud
from nbinterp.geometry.significance import significance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nbinterp.geometry import Diagram

N_NULL, N_ROWS, D = 200, 300, 576
BIG, NOISE, LANDMARKS = 5000, 6.0, 64


def rows(setting: Setting) -> Iterator[Row]:
    """200 null clouds of 300 rows, then a circle in 5,000 rows with noise 6 times its radius."""
    yield _nulls(setting)
    yield _deep(setting)


def circle(n: int, noise: float, seed: int) -> NDArray[np.float64]:
    """Return a circle of radius 1 in 576 dimensions, the norm of its noise in all of them `noise`."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, n)
    plane = np.linalg.qr(rng.normal(size=(D, 2)))[0].T
    points: NDArray[np.float64] = np.column_stack([np.cos(angles), np.sin(angles)]) @ plane
    points += noise / np.sqrt(D) * rng.normal(size=(n, D))
    return points


def _nulls(setting: Setting) -> Row:
    from ripser import ripser
    from sklearn.decomposition import PCA

    pairs = setting.pairs(9)
    clouds = [circle(N_ROWS, 3.0, seed) for seed in range(pairs + 1)]
    diagrams = [persistence(cloud) for cloud in clouds]
    n_null = N_NULL // 4 if setting.quick else N_NULL

    def ours(turn: int) -> None:
        draws(diagrams[turn], "gaussian", n=n_null, seed=turn)

    def theirs(turn: int) -> None:
        naive(clouds[turn], n_null, turn)

    def naive(rows: np.ndarray, n: int, seed: int) -> list[NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        spread = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        root = spread.S[:, None] * spread.Vh / np.sqrt(len(rows))
        return [
            ripser(PCA(2).fit_transform(rng.normal(size=(len(rows), len(root))) @ root))["dgms"][1] for _ in range(n)
        ]

    turns = alternate(ours, theirs, pairs, warm=1)
    got, wanted, seconds = _of_the_same_clouds(diagrams[0])
    alone = seconds * n_null
    return Row(
        f"{n_null} Gaussian null clouds of {N_ROWS} rows, two components of {D}, their loops",
        "a loop of draw, PCA, ripser.py",
        10.0,
        "speed",
        turns,
        compare("longest lifetimes of 20 of our clouds by ripser.py", got, wanted),
        (f"ripser.py alone on our {n_null} clouds: {alone:.2f} s, ours {np.median(turns.ours):.2f} s",),
    )


def _of_the_same_clouds(diagram: Diagram) -> tuple[list[float], list[float], float]:
    """Return longest lifetimes of 20 null clouds by us and by ripser.py, and its seconds a cloud."""
    from ripser import ripser

    got = [float(one[0, 1] - one[0, 0]) for one in draws(diagram, "gaussian", n=20, seed=0)]
    wanted, seconds = [], []
    for i in range(20):
        rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(i,)))
        cloud = null_cloud(diagram.prepared, "gaussian", rng)
        start = time.perf_counter()
        loops = ripser(cloud)["dgms"][1]
        seconds.append(time.perf_counter() - start)
        wanted.append(float((loops[:, 1] - loops[:, 0]).max()))
    return got, wanted, float(np.median(seconds))


def _deep(setting: Setting) -> Row:
    n = 2000 if setting.quick else BIG
    cloud = circle(n, NOISE, 0)
    # what is compiled or imported at first is no part of the work
    significance(persistence(cloud[:500], landmarks=50), n_null=19, alpha=0.1)
    start = time.process_time()
    test = significance(persistence(cloud, landmarks=LANDMARKS), n_null=99)
    seconds = time.process_time() - start
    run = [sys.executable, "-m", "benchmarks.significance", str(n)]
    peer = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)  # noqa: S603
    return Row(
        f"a circle in {n:,} × {D}, noise {NOISE:g} × its radius: found, and tested against 99 null clouds (CPU seconds)",
        "ripser.py on the raw cloud, no test",
        3.0 / peer["seconds"],
        "time",
        Pairs((seconds,), (peer["seconds"],)),
        None,
        (
            f"ours {seconds:.1f} s: {test.verdict}, p = {test.p:.2g}, prominence {test.prominence:.1f}",
            f"ripser.py {peer['seconds']:.0f} s, {peer['megabytes']:,.0f} MB: longest loop death / birth {peer['ratio']:.3f}, "
            f"lifetime {peer['prominence']:.2f} × the next",
        ),
        goal="≤ 3 CPU seconds, p ≤ .01",
    )


def main(n: str) -> None:
    """Print as JSON what ripser.py makes of the raw cloud, with CPU seconds and peak memory."""
    import resource

    from ripser import ripser

    cloud = circle(int(n), NOISE, 0)
    start = time.process_time()
    loops = ripser(cloud)["dgms"][1]
    seconds = time.process_time() - start
    lifetimes = np.sort(loops[:, 1] - loops[:, 0])[::-1]
    longest = loops[np.argmax(loops[:, 1] - loops[:, 0])]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
                "ratio": float(longest[1] / longest[0]),
                "prominence": float(lifetimes[0] / lifetimes[1]),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
