"""A grid of numbers over layers, heads and tokens, drawn by nbinterp's own canvas, that shares what is picked."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import traitlets

from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.following import Follower
from nbinterp.widgets.protocol import Axis, Cells, GridSpec, GridView, Quantity
from nbinterp.widgets.saved import origin_of, page, saved_bundle

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import altair as alt
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

LONGEST_LABEL = 200
"""Letters of a token that a page gets: nobody reads more of it in a grid."""

_MOST_KEPT = 250_000  # numbers that a saved notebook keeps beside the picture
_RUNS = ("base", "changed", "difference")


class Grid(Follower):
    """What `LensGrid` and `PatchGrid` are: numbers by row and column, some of them in two runs.

    Parameters
    ----------
    spec : GridSpec
        Axes, quantities and title.
    base, changed : list of Cells
        The numbers, of the untouched run and, of some quantities, of the changed one.
    counts : mapping of str to int
        How many tokens, layers and heads there are to pick.
    """

    _esm = Bundle("grid.js")
    _css = Bundle("grid.css")

    spec: Any = traitlets.Dict().tag(sync=True)
    view: Any = traitlets.Dict().tag(sync=True)
    base: Any = traitlets.List().tag(sync=True)
    changed: Any = traitlets.List().tag(sync=True)
    task: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(
        self, spec: GridSpec, base: list[Cells], changed: list[Cells], counts: Mapping[str, int], run: str = "base"
    ) -> None:
        self._counts = dict(counts)
        view = GridView(quantity=spec["quantities"][0]["id"], run=_run(run))
        super().__init__(spec=spec, base=base, changed=changed, view=view)

    @property
    def selectable(self) -> Mapping[str, int]:
        """How many tokens, layers and heads can be picked."""
        return dict(self._counts)

    @property
    def quantity(self) -> str:
        """What is shown, by its id; may be set."""
        return str(self.view["quantity"])

    @quantity.setter
    def quantity(self, id: str) -> None:
        known = [one["id"] for one in self.spec["quantities"]]
        if id not in known:
            raise ValueError(f"got quantity={id!r}; wanted one of {', '.join(map(repr, known))}.")
        self.view = {**self.view, "quantity": id}

    @property
    def run(self) -> str:
        """Which run is shown: ``base``, ``changed`` or ``difference``; may be set."""
        return str(self.view["run"])

    @run.setter
    def run(self, run: str) -> None:
        self.view = {**self.view, "run": _run(run)}

    def chart(self) -> alt.TopLevelMixin:
        """Return what is shown as a chart that can go on being edited."""
        raise NotImplementedError

    def frame(self) -> pd.DataFrame:
        """Return the numbers as a table."""
        raise NotImplementedError

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the grid as one HTML file in which it can still be looked through, without Python or a network.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        return page(self, "grid", path, text=repr(self), chart=self._picture(), frame=self.frame())

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = super()._repr_mimebundle_(**kwargs)
        cells = [*self.base, *self.changed]
        kept = self if sum(len(one["values"]) for one in cells) < 4 * _MOST_KEPT else None
        origin = origin_of(self.spec, [zlib.crc32(one["values"]) for one in cells])
        return saved_bundle(view, "grid", self._picture(), repr(self), self.frame(), widget=kept, origin=origin)

    def _picture(self) -> alt.TopLevelMixin:
        """Return the chart of which a notebook keeps a picture."""
        return self.chart()

    def __repr__(self) -> str:
        # also of one that could not be made, in the trace of why
        return f"{type(self).__name__}: {self.spec.get('title', 'without numbers')}"


def axis(
    name: str, kind: Literal["tokens", "layers", "heads", "pairs", "none"], labels: Sequence[str], places: ArrayLike
) -> Axis:
    """Return rows or columns as a page draws them.

    Parameters
    ----------
    name : str
        What one of them is: ``"token"``.
    kind : str
        What it is in a selection.
    labels : sequence of str, ``[n]``
        How each is written.
    places : array of int, ``[n]``, of ``pairs`` ``[n, 2]``
        Where each is: a position, a layer, a head; -1 for what is none.
    """
    listed: list[int] = np.asarray(places, dtype=np.intp).ravel().tolist()
    return Axis(name=name, kind=kind, labels=[label[:LONGEST_LABEL] for label in labels], places=listed)


def cells(quantity: Quantity, values: ArrayLike, words: ArrayLike | None = None) -> Cells:
    """Return one quantity's numbers as a page reads them.

    Parameters
    ----------
    quantity : Quantity
        What they are.
    values : array, ``[row, column]``
        The numbers; NaN where there is none.
    words : array of str, ``[row, column]``, optional
        What stands in each cell.
    """
    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    sent = np.where(np.isfinite(numbers), numbers, np.nan).astype("<f4").tobytes()
    if words is None:
        return Cells(quantity=quantity["id"], values=sent, words=[], codes=b"")
    texts = [str(word)[:LONGEST_LABEL] for word in np.asarray(words, dtype=object).ravel()]
    index = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    codes = np.array([index[text] for text in texts], dtype="<u4")
    return Cells(quantity=quantity["id"], values=sent, words=list(index), codes=codes.tobytes())


def reach(values: ArrayLike) -> float:
    """Return the end of a scale that holds these numbers, on both sides of 0 where they lie there; 1 where there are none."""
    numbers = np.abs(np.asarray(values, dtype=np.float64))
    most = float(np.max(numbers, initial=0.0, where=np.isfinite(numbers)))
    return most or 1.0


def _run(run: str) -> Literal["base", "changed", "difference"]:
    for known in _RUNS:
        if run == known:
            return known  # type: ignore[return-value]
    raise ValueError(f"got run={run!r}; wanted one of {', '.join(map(repr, _RUNS))}.")
