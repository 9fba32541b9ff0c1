"""UMAP after a parameter was changed, its neighbours known, against umap-learn's own fit with the new parameter."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.pairs import Pairs, Row, Setting
from benchmarks.subjects import smollm2
from nbinterp.geometry import prepare
from nbinterp.geometry.layout import UmapSession
from nbinterp.geometry.neighbors import neighbours_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbinterp.geometry.neighbors import NeighborGraph
    from nbinterp.spaces import Floats

LAYER, N_TOKENS = 15, 200

CHANGES: dict[str, dict[str, tuple[float, ...]]] = {
    "min_dist": {"min_dist": (0.3, 0.5, 0.2, 0.6)},
    "n_neighbors": {"n_neighbors": (30, 20, 40, 10)},
}
"""What is changed, and its values from turn to turn."""

START: dict[str, Any] = {"n_neighbors": 15, "min_dist": 0.1}


@dataclass
class Turn:
    """Seconds and neighbours kept of one turn, ours at the first frame and at rest, and theirs."""

    first: float
    settled: float
    seeded: float
    threaded: float
    kept: dict[str, float]


def rows(setting: Setting) -> Iterator[Row]:
    """Change min_dist, then n_neighbors, in 10,000 and in 100,000 activations."""
    for n, n_turns in ((2_000, 1),) if setting.quick else ((10_000, 4), (100_000, 1)):
        points = activations(n)
        # compiled before anything is timed
        _fit(points[:500], {}, seeded=True)
        _fit(points[:500], {}, seeded=False)
        with UmapSession(points, k_max=50, max_norm_ratio=None) as session:
            for what, changes in CHANGES.items():
                yield from _rows(session, points, n, what, changes, n_turns)


def activations(n: int) -> Floats:
    """Return so many rows of SmolLM2 in the middle of the network, without those of giant norms: ``[row, 576]``."""
    subject = smollm2()
    texts = [subject.text(N_TOKENS, seed=i) for i in range(n // (N_TOKENS - 10) + 1)]
    cloud = subject.model.collect(texts, sites=[f"resid_post.{LAYER}"], tokens="all", progress=False)
    return prepare(cloud, deduplicate=False).points[:n]


def _rows(
    session: UmapSession, points: Floats, n: int, what: str, changes: dict[str, tuple[Any, ...]], n_turns: int
) -> Iterator[Row]:
    session.update(**START)
    session.settle()
    turns = [_turn(session, points, {name: values[i] for name, values in changes.items()}) for i in range(n_turns)]
    kept = {name: float(np.mean([turn.kept[name] for turn in turns])) for name in turns[0].kept}
    for frame, wanted in (("first", 12.0), ("settled", 4.0)):
        for peer in ("seeded", "threaded"):
            notes = [f"neighbours kept {kept[frame]:.3f}, by umap-learn {kept[peer]:.3f}"]
            if frame == "settled" and kept[frame] < kept[peer] - 0.03:
                notes.append("**less faithful by more than 0.03**")
            notes.append(
                f"{np.median([getattr(t, frame) for t in turns]):.2f} s against {np.median([getattr(t, peer) for t in turns]):.1f} s"
            )
            yield Row(
                f"UMAP of {n:,} activations of {points.shape[1]} features, {what} changed: "
                f"{'first frame' if frame == 'first' else 'at rest'}",
                "umap-learn's fit with "
                + ("random_state (one thread)" if peer == "seeded" else "its defaults (all threads)"),
                wanted,
                "speed",
                Pairs(tuple(getattr(t, frame) for t in turns), tuple(getattr(t, peer) for t in turns)),
                None,
                tuple(notes),
            )


def _turn(session: UmapSession, points: Floats, change: dict[str, Any]) -> Turn:
    begin = time.perf_counter()
    shown = session.update(**change)
    first = time.perf_counter() - begin
    rest = session.settle()
    settled = time.perf_counter() - begin
    parameters = {**START, **change}
    kept = {"first": _kept(session.graph, shown.layout), "settled": _kept(session.graph, rest.layout)}
    seconds = {}
    for peer in ("seeded", "threaded"):
        begin = time.perf_counter()
        fitted = _fit(points, parameters, seeded=peer == "seeded")
        seconds[peer] = time.perf_counter() - begin
        kept[peer] = _kept(session.graph, fitted)
    # from the same layout the next time
    session.update(**START)
    session.settle()
    return Turn(first, settled, seconds["seeded"], seconds["threaded"], kept)


def _kept(graph: NeighborGraph, layout: Floats) -> float:
    return neighbours_kept(graph, layout)


def _fit(points: Floats, parameters: dict[str, Any], *, seeded: bool) -> Floats:
    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return UMAP(**parameters, **({"random_state": 0} if seeded else {})).fit_transform(points.astype(np.float32))
