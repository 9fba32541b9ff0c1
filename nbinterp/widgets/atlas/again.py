"""The cloud collected again under interventions: the same prompts, read at the same tokens, beside a random control."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from nbinterp.experiment import Experiment
from nbinterp.geometry.rows import centre_within
from nbinterp.widgets.playground.controls import control_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.clouds import Cloud
    from nbinterp.operations import Intervention
    from nbinterp.results import Result
    from nbinterp.spaces import Floats

MOST_PROMPTS = 2000
"""Prompts that are run again; of more, those of picked rows first."""

_CHUNK = 8
_SAME = 0.02


class Runs(Protocol):
    """What collecting again needs of a model."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""

    def run(self, experiments: Sequence[Experiment]) -> list[Result]:
        """Run experiments."""


@dataclass(eq=False)
class Recollection:
    """Activations of rows as they are under interventions, as far as they have come.

    Parameters
    ----------
    rows : array of int, ``[row again]``
        Rows of the cloud, in the order in which they come back.
    before, after, control : list of array, ``[d_model]``
        Of each: in the cloud's own prompts run untouched, changed, and under the control.
    """

    rows: list[int] = field(default_factory=list)
    before: list[Floats] = field(default_factory=list)
    after: list[Floats] = field(default_factory=list)
    control: list[Floats] = field(default_factory=list)


def check(cloud: Cloud, model: Runs, interventions: Sequence[Intervention], site: str) -> None:
    """Refuse at once what cannot be collected again.

    Raises
    ------
    ValueError
        Without interventions, for a cloud of another model, for rows whose prompts or tokens nobody knows, and for interventions
        that come after the site.
    """
    if not any(act.enabled for act in interventions):
        raise ValueError(
            "got no intervention to collect under; wanted one at least: add one in the playground and switch it on."
        )
    if cloud.model.revision != model.info.revision:
        raise ValueError(
            f"got a cloud of {cloud.model} and the model {model.info}; wanted the model that it was collected from."
        )
    table = cloud.table
    if (unknown := int(((table["text"] == "") | (table["position"] < 0)).sum())) > 0:
        raise ValueError(
            f"got {unknown} of {len(table)} rows whose text or position is not known; wanted a cloud that model.collect(…) made."
        )
    layers = [act.site.layer for act in interventions if act.enabled]
    here = cloud[site].site.layer
    if here is not None and all(layer is not None and layer > here for layer in layers):
        raise ValueError(
            f"got interventions at layer {min(layer for layer in layers if layer is not None)} and a cloud read at {site}, which they cannot reach; "
            "wanted one at that layer or before: move it, or show a later layer."
        )


def collect_again(
    model: Runs,
    cloud: Cloud,
    site: str,
    interventions: Sequence[Intervention],
    picked: NDArray[np.intp],
    into: Recollection,
    seed: int = 0,
) -> Iterator[tuple[int, int]]:
    """Run the prompts behind the rows again, a few at a time, into a `Recollection`; yields the prompts done and wanted.

    Parameters
    ----------
    model : Model
        Who is asked, on the thread that belongs to models.
    cloud, site
        The rows, and where they were read.
    interventions : sequence of Intervention
        What is done.
    picked : array of int
        Rows whose prompts come first.
    into : Recollection
        What is filled.
    seed : int
        Of the control.
    """
    table = cloud.table
    enabled = [act for act in interventions if act.enabled]
    acts = [act.bound(model.info) for act in enabled]
    pushed = control_of(acts, seed)
    texts_of = table["text"].tolist()
    by_text: dict[str, list[int]] = {}
    for row in [*picked.tolist(), *np.setdiff1d(np.arange(len(table)), picked).tolist()]:
        by_text.setdefault(texts_of[row], []).append(row)
    texts = list(by_text)[:MOST_PROMPTS]
    positions = table["position"].to_numpy()
    yield 0, len(texts)
    for begin in range(0, len(texts), _CHUNK):
        chunk = texts[begin : begin + _CHUNK]
        changed = model.run([Experiment(text, acts, read=[site]) for text in chunk])
        control = model.run([Experiment(text, pushed, read=[site]) for text in chunk])
        for text, one, other in zip(chunk, changed, control, strict=True):
            for row in by_text[text]:
                at = int(positions[row])
                into.rows.append(row)
                into.before.append(_vector(one.read(site, base=True), at))
                into.after.append(_vector(one.read(site), at))
                into.control.append(_vector(other.read(site), at))
        yield min(begin + _CHUNK, len(texts)), len(texts)


@dataclass(frozen=True, eq=False)
class Moved:
    """How far rows moved under interventions.

    Parameters
    ----------
    table : DataFrame
        One line a row: ``row``, ``picked``, ``moved`` and ``control`` (shares of the cloud's spread), ``towards`` (the share of the way from
        the mean of its side to the mean of the other that it went), ``towards_control``.
    statement : str
        In words.
    """

    table: pd.DataFrame = field(repr=False)
    statement: str


def movement(cloud: Cloud, again: Recollection, picked: NDArray[np.intp], within: str | None = None) -> Moved:
    """Say how far rows moved, of which the picked ones towards the others and the others towards the picked.

    Parameters
    ----------
    cloud : Cloud
        At one site.
    again : Recollection
        What came back; at least one row.
    picked : array of int
        Rows that were picked; may be none.
    within : str, optional
        Column of groups: the spread is that of rows less the means of their groups.
    """
    before, after, control = (
        np.asarray(values, dtype=np.float64) for values in (again.before, again.after, again.control)
    )
    rows = np.asarray(again.rows, dtype=np.intp)
    mask = np.isin(rows, picked)
    groups = np.zeros(len(rows)) if within is None else cloud.table[within].to_numpy()[rows]
    level = centre_within(before, groups)
    spread = float(np.sqrt((level**2).sum(axis=1).mean())) or 1.0
    lengths = [np.linalg.norm(moved - before, axis=1) / spread for moved in (after, control)]
    towards = [np.full(len(rows), np.nan), np.full(len(rows), np.nan)]
    if mask.any() and not mask.all():
        across = level[mask].mean(axis=0) - level[~mask].mean(axis=0)
        sign = np.where(mask, -1.0, 1.0)
        towards = [
            sign * ((moved - before) @ across) / max(float(across @ across), 1e-300) for moved in (after, control)
        ]
    table = pd.DataFrame(
        {
            "row": rows,
            "picked": mask,
            "moved": lengths[0],
            "control": lengths[1],
            "towards": towards[0],
            "towards_control": towards[1],
        }
    )
    said = [
        f"{len(rows)} rows moved by {np.median(lengths[0]):.2g} of the cloud's spread (median; the random control {np.median(lengths[1]):.2g})"
    ]
    for side, name, goal in ((mask, "the picked", "the others"), (~mask, "the others", "the picked")):
        if side.any() and np.isfinite(towards[0][side]).all():
            went, pushed = (float(np.median(one[side])) for one in towards)
            said.append(
                f"{name} went {abs(went):.0%} of the way {_way(went)} {goal} (the control {abs(pushed):.0%} {_way(pushed)})"
            )
    stored = cloud.select(rows).points
    off = float(np.median(np.linalg.norm(stored - before, axis=1))) / spread
    if off > _SAME:
        said.append(
            f"run untouched, the rows lie {off:.2g} of the spread off the cloud's: it was collected with other settings"
        )
    return Moved(table, "; ".join(said) + ".")


def _way(share: float) -> str:
    """Return where a share of the gap leads."""
    return "to" if share >= 0 else "away from"


def _vector(read: NDArray[Any], at: int) -> Floats:
    values: Floats = np.asarray(read[at], dtype=np.float64).reshape(-1)
    return values
