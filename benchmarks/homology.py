"""Diagrams of loops against ripser.py: time, memory, equality."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.pairs import Agreement, Measured, Row, Setting, alternate
from nbinterp.geometry import persistence
from nbinterp.geometry.persistence import loop_pairs
from nbinterp.geometry.vectors import bottleneck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

D_MODEL = 576
LAYER = 15


def rows(setting: Setting) -> Iterator[Row | Measured]:
    """Diagrams of 1,000, 2,000 and 5,000 points, and of 200 null clouds of 300."""
    for kind in CLOUDS:
        for n in (200, 400) if setting.quick else (1000, 2000):
            # ripser.py takes minutes for a circle
            slow = kind == "noisy circle" and n > 1000
            yield _row(kind, n, setting.pairs(1 if slow else 5))
    yield from (_large(kind, setting) for kind in ("Gaussian", "activations"))
    for d in (2, D_MODEL):
        yield _nulls(d, setting)


def gaussian(n: int, seed: int = 0) -> np.ndarray:
    """Return a cloud without any shape."""
    return np.random.default_rng(seed).normal(size=(n, D_MODEL))


def power_law(n: int, seed: int = 0) -> np.ndarray:
    """Return a Gaussian cloud with variances k^−1, as the spectra of activations have them."""
    return gaussian(n, seed) * np.arange(1, D_MODEL + 1) ** -0.5


def noisy_circle(n: int, seed: int = 0) -> np.ndarray:
    """Return a unit circle in a random plane, with noise of norm 0.1: the costliest cloud for every engine."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, n)
    plane = np.linalg.qr(rng.normal(size=(D_MODEL, 2)))[0]
    return np.column_stack([np.cos(angles), np.sin(angles)]) @ plane.T + 0.1 / D_MODEL**0.5 * gaussian(n, seed + 1)


def activations(n: int, seed: int = 0) -> np.ndarray:
    """Return activations of tokens of English prose, drawn at random, without those of a giant norm."""
    all_of_them = _activations()
    return all_of_them[np.random.default_rng(seed).choice(len(all_of_them), n, replace=False)]


CLOUDS: dict[str, Callable[..., np.ndarray]] = {
    "Gaussian": gaussian,
    "power law": power_law,
    "activations": activations,
    "noisy circle": noisy_circle,
}


@functools.cache
def _activations(n_tokens: int = 12_000) -> np.ndarray:
    from pydoc_data.topics import topics

    from benchmarks.subjects import smollm2
    from nbinterp.geometry import prepare

    subject = smollm2()
    # the language reference, which every Python carries, in passages of a hundred words
    words = " ".join(text for _, text in sorted(topics.items())).split()
    texts = [" ".join(words[i : i + 100]) for i in range(0, n_tokens, 100)]
    cloud = subject.model.collect(texts, sites=[f"resid_post.{LAYER}"], tokens="all", progress=False)
    return prepare(cloud).points


def _row(kind: str, n: int, pairs: int) -> Row:
    def ours(turn: int) -> tuple[np.ndarray, ...]:
        return persistence(CLOUDS[kind](n, turn), None, max_points=n, max_norm_ratio=None).pairs

    clouds = [CLOUDS[kind](n, turn) for turn in range(pairs)]
    # libraries are loaded before anything is timed; a whole turn of ripser.py more would take minutes
    for way in (lambda p: persistence(p, None), _ripser):
        way(clouds[0][:50])
    theirs: list[tuple[np.ndarray, ...]] = []
    turns = alternate(
        lambda turn: persistence(clouds[turn], None, max_points=n, max_norm_ratio=None),
        lambda turn: theirs.append(_ripser(clouds[turn])),
        pairs,
        warm=0,
    )
    found, wanted = ours(0), theirs[0]
    size = wanted[1][:, 1].max(initial=0)
    apart = max(bottleneck(a, b) for a, b in zip(found, wanted, strict=True)) / size
    peaks = [_peak(how, clouds[0]) for how in ("ours", "ripser")]
    return Row(
        f"H1 diagram, {kind}, n = {n}, d = {D_MODEL}",
        "ripser.py with defaults",
        10,
        "speed",
        turns,
        Agreement(f"bottleneck distance to it, {len(found[1])} loops", apart),
        (
            f"{np.median(turns.ours):.2f} s against {np.median(turns.theirs):.2f} s",
            f"peak memory +{peaks[0]:.0f} MB against +{peaks[1]:.0f} MB",
        ),
    )


def _large(kind: str, setting: Setting) -> Measured:
    n = 1000 if setting.quick else 5000
    points = CLOUDS[kind](n)
    start = time.perf_counter()
    found = persistence(points, None, max_points=n, max_norm_ratio=None)
    taken = time.perf_counter() - start
    sizes = [n // 10, n // 5, 2 * n // 5]
    theirs = [_peak("ripser", CLOUDS[kind](m)) for m in sizes]
    exponent = _exponent(sizes[1:], theirs[1:])
    needed = theirs[-1] * (n / sizes[-1]) ** exponent / 1024
    return Measured(
        f"H1 diagram, {kind}, n = {n}, d = {D_MODEL}",
        "ripser.py with defaults",
        "under 4 GiB",
        f"{taken:.1f} s, peak memory +{_peak('ours', points):.0f} MB, {len(found.h1)} loops; ripser.py would take {needed:.1f} GiB "
        f"({theirs[-1]:.0f} MB at {sizes[-1]}, growing with n^{exponent:.1f})",
    )


def _nulls(d: int, setting: Setting) -> Row:
    n_clouds = 20 if setting.quick else 200
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(n_clouds, 300, d))

    def ours(turn: int) -> list[np.ndarray]:
        return [loop_pairs(cloud + turn) for cloud in clouds]

    def theirs(turn: int) -> list[np.ndarray]:
        return [_ripser(cloud + turn)[1] for cloud in clouds]

    turns = alternate(ours, theirs, setting.pairs(5), warm=1)
    apart = max(bottleneck(a, b) for a, b in zip(ours(0)[:20], theirs(0)[:20], strict=True))
    return Row(
        f"loops of {n_clouds} null clouds, n = 300, {d} components",
        "a loop over ripser.py",
        10,
        "speed",
        turns,
        Agreement("bottleneck distance to it, 20 clouds", apart / float(np.sqrt(d))),
        (f"{1000 * np.median(turns.ours) / n_clouds:.1f} ms a cloud",),
    )


def _ripser(points: np.ndarray) -> list[np.ndarray]:
    from ripser import ripser

    with warnings.catch_warnings():
        # it takes more features than points for a mistake
        warnings.simplefilter("ignore", UserWarning)
        return ripser(points)["dgms"]


def _exponent(sizes: tuple[int, ...] | list[int], values: tuple[float, ...] | list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _peak(how: str, points: np.ndarray) -> float:
    """Return the megabytes by which memory grows at most, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(path := Path(folder) / "points.npy", points)
        command = [sys.executable, "-m", "benchmarks.homology", how, str(path)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def _alone(how: str, path: str) -> None:
    """Do one thing to the points in a file, and print the megabytes by which memory grew."""
    points = np.load(path)
    work = {"ours": lambda p: persistence(p, None, max_points=len(p), max_norm_ratio=None), "ripser": _ripser}[how]
    # libraries are loaded, and their threads started, before anything is measured
    work(points[:50])
    resident = psutil.Process().memory_info().rss
    work(points)
    print(max(0, most_resident() - resident) / 2**20)


def most_resident() -> int:
    """Return the most bytes that this process ever had; getrusage would count those of the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


if __name__ == "__main__":
    _alone(*sys.argv[1:])
