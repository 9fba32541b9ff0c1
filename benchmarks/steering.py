"""Steering months along their curve, and the coordinate of a circle planted in real activations: ``python -m benchmarks.steering``."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import nbinterp as nb
from benchmarks.pairs import Machine
from nbinterp.demo.prompts import months
from nbinterp.geometry import fit_manifold
from nbinterp.geometry.coordinates import circular_coordinates
from nbinterp.methods import steer_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbinterp.spaces import Floats

LAYERS = (5, 11, 17)
HARMONICS = (1, 2, 3, 5)
NEXT = (*months.labels[1:], months.labels[0])
PROMPTS = {"The month after {} is": NEXT, "The month is {}. The month is": months.labels}
"""Prompts and what is right for each month: sums that this model cannot do, and copying, which it can."""

STEPS, RANDOM = 4, 2
"""Steps of a way, and random subspaces."""


def steering(model: nb.Model, layers: Sequence[int], harmonics: Sequence[int], n_pairs: int | None) -> pd.DataFrame:
    """Return one line for each prompt, layer, number of harmonics and method."""
    cloud = model.collect(
        months.prompts(),
        sites=[f"resid_post.{layer}" for layer in layers],
        tokens="last",
        labels=months.table(),
        progress=False,
    )
    frames = []
    for prompt, expected in PROMPTS.items():
        for layer, k in itertools.product(layers, harmonics):
            circle = fit_manifold(cloud[f"resid_post.{layer}"], "month", "template", harmonics=k)
            start = time.perf_counter()
            report = steer_report(
                model, circle, prompt, expected=expected, n_pairs=n_pairs, n_steps=STEPS, n_random=RANDOM
            )
            frame = report.frame()
            print(
                f"layer {layer}, K = {k}, {time.perf_counter() - start:.0f} s", repr(report), sep="\n", file=sys.stderr
            )
            sys.stderr.flush()
            # what the mean swap and no steering do has nothing to do with harmonics
            kept = frame if k == harmonics[0] else frame[~frame["method"].isin(["mean swap", "no steering"])]
            frames.append(kept.assign(prompt=prompt, layer=layer, harmonics=k, r2=circle.r2))
    return pd.concat(frames, ignore_index=True)


def planted(model: nb.Model, layers: Sequence[int], *, quick: bool = False) -> pd.DataFrame:
    """Return how far a planted circle's coordinate is off, for circles of several sizes in real activations.

    Noise is the norm of the activations about their mean, in units of the circle's radius; the floor is the error of one
    who knows the circle's plane, its centre and its radius.
    """
    from benchmarks.subjects import smollm2

    subject = smollm2()
    texts = [subject.text(40, seed=i) for i in range(10 if quick else 60)]
    lines = []
    for layer in layers:
        cloud = model.collect(texts, sites=[f"resid_post.{layer}"], tokens="all", progress=False)
        points = np.asarray(cloud.points, dtype=np.float64)
        norms = np.linalg.norm(points - np.median(points, axis=0), axis=1)
        points = points[norms <= 3 * np.median(norms)]
        for noise in (0.5, 1.0, 2.0):
            for seed in range(1 if quick else 3):
                lines.append(_planted(points, layer, noise, seed))
                print(lines[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(lines)


def _planted(points: Floats, layer: int, noise: float, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    spread = np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())
    radius = spread / noise
    frame = np.linalg.qr(rng.normal(size=(points.shape[1], 2)))[0].T
    angles = rng.uniform(0, 2 * np.pi, len(points))
    rows = points + radius * np.column_stack([np.cos(angles), np.sin(angles)]) @ frame
    across, up = ((rows - points.mean(axis=0)) @ frame.T).T
    start = time.perf_counter()
    found = circular_coordinates(rows, max_norm_ratio=None)
    seconds = time.perf_counter() - start
    error, floor = off(found.angles, angles), off(np.arctan2(up, across), angles)
    inside = np.abs(_turned(found.angles, angles)) <= 1.96 * found.uncertainty
    return {
        "layer": layer,
        "noise": noise,
        "seed": seed,
        "rows": len(rows),
        "error": error,
        "floor": floor,
        "ratio": error / floor,
        "coverage": float(inside.mean()),
        "harmonics": found.harmonics,
        "r2": found.r2,
        "seconds": seconds,
    }


def off(found: Floats, angles: Floats) -> float:
    """Return the mean error of angles in degrees, after the best turn in the better direction."""
    return float(np.degrees(np.abs(_turned(found, angles)).mean()))


def _turned(found: Floats, angles: Floats) -> Floats:
    both = []
    for sign in (1, -1):
        difference = sign * found - angles
        both.append(np.angle(np.exp(1j * (difference - np.angle(np.exp(1j * difference).mean())))))
    return min(both, key=lambda error: float(np.abs(error).mean()))


def _markdown(frame: pd.DataFrame) -> str:
    head = "| " + " | ".join(map(str, frame.columns)) + " |\n|" + "---|" * len(frame.columns)
    cells = [
        ["" if pd.isna(v) else f"{v:.3g}" if isinstance(v, float) else str(v) for v in row]
        for row in frame.to_numpy(dtype=object)
    ]
    return "\n".join([head, *("| " + " | ".join(row) + " |" for row in cells)])


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steering", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pairs and few texts")
    parser.add_argument("--only", choices=["steering", "planted"], help="measure only this one")
    parser.add_argument("--layer", type=int, action="append", help="only this layer; may be repeated")
    parser.add_argument("--harmonics", type=int, action="append", help="only so many harmonics; may be repeated")
    given = parser.parse_args()
    layers, harmonics = given.layer or LAYERS, given.harmonics or HARMONICS
    model = nb.Model.open("smollm2-135m", device="cpu")
    if given.only != "planted":
        columns = ["prompt", "layer", "harmonics", "method", "hit_rate", "low", "high", "hit_rate_differing"]
        columns += ["energy", "energy_end", "isometry", "length"]
        frame = steering(model, layers, harmonics, 24 if given.quick else None)
        print(_markdown(frame[columns].round(4)), end="\n\n")
    if given.only != "steering":
        frame = planted(model, layers, quick=given.quick)
        print(_markdown(frame.groupby(["layer", "noise"], as_index=False).mean().round(4)), end="\n\n")
    print(f"Measured on {Machine()}.")


if __name__ == "__main__":
    main()
