"""What a selection is made into: a direction, a plane or a circle, each with its test and with what it does not show."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from nbinterp.geometry.contrast import Contrast, contrast
from nbinterp.geometry.coordinates import CircularCoordinates, circular_coordinates
from nbinterp.geometry.manifold import Circle, fit_manifold
from nbinterp.geometry.multiple import adjusted
from nbinterp.geometry.persistence import persistence
from nbinterp.geometry.planes import FlatPlane, flat_plane
from nbinterp.geometry.selections import explained
from nbinterp.geometry.significance import Significance, loop_significance
from nbinterp.interventions import Project, Steer
from nbinterp.spaces import Direction
from nbinterp.widgets.atlas.shapes import LANDMARKS, MOST_EXACT
from nbinterp.widgets.protocol import Claim

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from nbinterp.clouds import Cloud
    from nbinterp.operations import Intervention
    from nbinterp.spaces import Floats, Loop, Plane
    from nbinterp.widgets.atlas.background import Progress
    from nbinterp.widgets.atlas.layouts import Rows

Kind = Literal["direction", "plane", "circle"]

N_NULL = 999
"""Draws behind a direction: p reaches 0.001, which ten looks leave at 0.01."""

_MOST_PICKED = 20_000
_MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class Made:
    """A selection made into something that can be taken hold of.

    Parameters
    ----------
    id, name : str
        How the page and the user call it.
    kind : {"direction", "plane", "circle"}
        What it was made into.
    rows : array of int
        The rows that were picked.
    result : Contrast, FlatPlane, Circle or CircularCoordinates
        What the geometry found, with its charts and tables.
    space : Direction, Plane or Loop
        What an intervention takes.
    test : Significance or None
        Of a circle without labels: whether the picked rows have a loop.
    statement, caveat : str
        How sure it is; what it does not show.
    p, effect : float
        Before the correction for looks; AUC, share of the variance or R², all of what was held out.
    number : int
        Which of all looks it was.
    """

    id: str
    name: str
    kind: Kind
    rows: NDArray[np.intp] = field(repr=False)
    result: Contrast | FlatPlane | Circle | CircularCoordinates = field(repr=False)
    space: Direction | Plane | Loop = field(repr=False)
    test: Significance | None = field(repr=False)
    statement: str
    caveat: str
    p: float
    effect: float
    number: int = -1

    @property
    def site(self) -> str:
        """Where it lives."""
        return str(self.space.site)

    def act(self, how: str = "", scale: float | None = None) -> object:
        """Return what a playground adds: the thing itself, or an intervention that takes it away or keeps nothing else.

        Parameters
        ----------
        how : {"", "steer", "turn", "out", "keep"}
            ``""``, ``"steer"`` and ``"turn"``: a direction is added once, which is the gap between the picked and the others, at
            the last token; a plane or a circle is turned as the playground does it. ``"out"`` takes a direction or a plane out
            of the stream, ``"keep"`` keeps nothing else.
        scale : float, optional
            How often a direction is added; once by default.

        Raises
        ------
        ValueError
            For another word, for a circle to be taken out, which spans no subspace, and for the scale of what is not added.
        """
        if how in ("", "steer", "turn") and isinstance(self.space, Direction):
            once = 1.0 if scale is None else scale
            return Steer(self.site, direction=self.space, scale=once, tokens=-1, steps="all")
        if scale is not None:
            raise ValueError(
                f"got scale={scale!r} for the {self.kind} {self.name!r} with how={how!r}; only a direction that is added has one: leave it out."
            )
        if how in ("", "steer", "turn"):
            return self.result if isinstance(self.result, Circle) else self.space
        if how not in ("out", "keep"):
            raise ValueError(f"got how={how!r}; choose 'steer', 'turn', 'out' or 'keep'.")
        if self.kind == "circle":
            raise ValueError(
                f"got how={how!r} for the circle {self.name!r}, which can be turned: take its plane instead."
            )
        made: Intervention = Project(self.site, on=self.space, out=how == "out")  # type: ignore[arg-type]
        return made


def make(
    kind: str,
    rows: Rows,
    site: int,
    picked: NDArray[np.intp],
    column: str,
    n_components: int | None,
    progress: Progress,
) -> Made:
    """Make a selection into a direction, a plane or a circle, and test it.

    Parameters
    ----------
    kind : {"direction", "plane", "circle"}
        What.
    rows, site
        The cloud, and which of its sites.
    picked : array of int
        The rows that were picked.
    column : str
        The labels of a circle; ``""`` for one without labels.
    n_components : int or None
        Principal components in which a loop without labels is looked for.

    Raises
    ------
    ValueError, LookupError
        As `contrast`, `flat_plane`, `fit_manifold` and `circular_coordinates`.
    """
    check(kind, rows.cloud, picked, column)
    progress()
    cloud = rows.cloud[rows.sites[site]]
    if kind == "circle":
        chosen = cloud.select(_at_most(picked, _MOST_PICKED, rows.seed))
        return (
            _labelled(chosen, rows, picked, column)
            if column
            else _unlabelled(chosen, rows, picked, n_components, progress)
        )
    few = np.union1d(_at_most(picked, _MOST_PICKED, rows.seed), rows.sample)
    part, of_part = (cloud, picked) if len(few) == rows.n else (cloud.select(few), np.flatnonzero(np.isin(few, picked)))
    if kind == "plane":
        flat = flat_plane(
            part, of_part, within=rows.within, n_null=N_NULL if len(picked) <= 100 else 199, progress=progress
        )
        return Made(
            "", "", "plane", picked, flat, flat.plane, None, flat.statement, flat.caveat, flat.p, flat.share_held_out
        )
    found = contrast(part, of_part, within=rows.within, groups=rows.within, n_null=N_NULL, progress=progress)
    if len(few) < rows.n:
        # shares of labels are those of the whole cloud, not of the sample
        mask = np.isin(np.arange(rows.n), picked)
        found = replace(found, explained=explained(rows.table, mask, ~mask))
    return Made(
        "", "", "direction", picked, found, found.direction, None, found.statement, found.caveat, found.p, found.auc
    )


def check(kind: str, cloud: Cloud, picked: NDArray[np.intp], column: str) -> None:
    """Refuse at once what cannot be made.

    Raises
    ------
    ValueError, LookupError
        For another kind, too few rows, every row as a direction, and an unknown column.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"got kind={kind!r} to make; choose {', '.join(get_args(Kind))}.")
    wanted = 2 if kind == "direction" else 3
    if len(picked) < wanted:
        raise ValueError(
            f"got {len(picked)} picked rows to make a {kind} of; wanted {wanted} or more: pick some in a picture first."
        )
    if kind == "direction" and len(picked) == len(cloud):
        raise ValueError("got every row picked to make a direction of; wanted some left, to compare them with.")
    if not column:
        return
    table = cloud.table
    if column not in table.columns:
        known = ", ".join(map(repr, table.columns))
        raise LookupError(f"got column={column!r}, which is no column of the table; choose from {known}.")
    if kind == "circle" and (n := table[column].iloc[picked].nunique()) < 3:
        raise ValueError(
            f"got {n} labels of {column!r} among the picked rows; wanted at least 3 for a circle: pick more, or another column."
        )


def name_of(made: Made, column: str, taken: Sequence[str]) -> str:
    """Return a name for what nobody named, different from those that are taken."""
    stem = f"{made.kind} of {len(made.rows)} rows"
    if column:
        stem = f"circle of {column}"
    elif isinstance(made.result, Contrast) and made.result.labels:
        column, labels = made.result.explained.iloc[0][["column", "labels"]]
        stem = ", ".join(labels) if len(labels) <= _MOST_NAMED else f"{len(labels)} of {column}"
    return unique(stem, taken)


def unique(name: str, taken: Sequence[str]) -> str:
    """Return a name that is not taken yet."""
    return next(one for i in range(1, len(taken) + 2) if (one := name if i == 1 else f"{name} ({i})") not in taken)


def claim_messages(made: Sequence[Made], asked: Sequence[float]) -> list[Claim]:
    """Return claims as the page shows them, corrected for every question that was asked.

    Parameters
    ----------
    made : sequence of Made
        The claims; each knows which of the questions it was.
    asked : sequence of float, ``[look]``
        p of every question so far, dropped claims and tests of loops included; NaN where nothing was tested.
    """
    corrected = adjusted(np.asarray(asked, dtype=np.float64)) if len(asked) else np.empty(0)
    return [
        Claim(
            id=one.id,
            kind=one.kind,
            name=one.name,
            site=one.site,
            n_rows=len(one.rows),
            statement=one.statement,
            caveat=one.caveat,
            p=_number(one.p),
            p_corrected=_number(corrected[one.number] if one.number >= 0 else float("nan")),
            effect=_number(one.effect),
        )
        for one in made
    ]


def _labelled(chosen: Cloud, rows: Rows, picked: NDArray[np.intp], column: str) -> Made:
    order = _order_of(rows.table, chosen, column)
    n = len(order)
    circle = fit_manifold(chosen, by=column, within=rows.within, order=order, harmonics=min(2, (n - 1) // 2))
    test = circle.test
    statement = (
        f"{n} labels of {column}, {test.verdict}: order p {'=' if test.exact else '≤'} {test.p:.2g}, held-out R² {test.r2_circle:.2f} as a circle "
        f"and {test.r2_line:.2f} as a line, last to first {test.wrap_ratio:.2f} times a step."
    )
    caveat = (
        "The labels' order is taken from the table; that they lie in a circle does not show that the model goes round it: turn along "
        "it, beside the same curve in a random subspace, to see."
    )
    return Made("", "", "circle", picked, circle, circle.loop, None, statement, caveat, test.p, test.r2_circle)


def _unlabelled(
    chosen: Cloud, rows: Rows, picked: NDArray[np.intp], n_components: int | None, progress: Progress
) -> Made:
    landmarks = LANDMARKS if len(chosen) > MOST_EXACT else None
    diagram = persistence(chosen, n_components=n_components, within=rows.within, landmarks=landmarks, seed=rows.seed)
    progress()
    if not len(diagram.h1):
        raise ValueError(
            f"got {len(picked)} picked rows without any loop; wanted rows that lie round one: pick more of them."
        )
    test = loop_significance(diagram, n_null=199, seed=rows.seed)
    progress()
    coordinates = circular_coordinates(diagram, seed=rows.seed)
    if np.isfinite(test.p):
        sure = f"{test.verdict}: p = {test.p:.2g} against {test.n_null} Gaussian clouds of the same covariance"
    else:
        sure = f"{test.verdict}: {test.n_points} points"
    statement = f"{len(picked)} rows, {sure}; the curve explains {coordinates.r2:.0%} of rows held out."
    caveat = (
        "A curve can be laid through any rows: the test asks whether they leave its middle free. That the model goes round it is "
        "not shown: turn along it, beside the same curve in a random subspace, to see."
    )
    return Made(
        "", "", "circle", picked, coordinates, coordinates.loop, test, statement, caveat, float(test.p), coordinates.r2
    )


def _order_of(whole: pd.DataFrame, chosen: Cloud, column: str) -> list[object]:
    """Return the labels among the chosen rows in the order of the cloud, or in pandas' own where it knows one."""
    values = chosen.table[column]
    if hasattr(values, "cat") and values.cat.ordered:
        return list(values.cat.remove_unused_categories().cat.categories)
    present = set(values.tolist())
    return [label for label in whole[column].dropna().unique().tolist() if label in present]


def _at_most(rows: NDArray[np.intp], most: int, seed: int) -> NDArray[np.intp]:
    return rows if len(rows) <= most else np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _number(value: Floats | float) -> float:
    # JSON has no word for what is no number
    return float(value) if np.isfinite(value) else None  # type: ignore[return-value]
