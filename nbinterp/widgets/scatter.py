"""A scatter plot of any table: altair's up to 20,000 rows, above that one of our own that draws millions."""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd
import traitlets

from nbinterp.charts.clouds import scatter as scatter_chart
from nbinterp.charts.data import MAX_ROWS
from nbinterp.geometry.embedding import Embedding
from nbinterp.widgets.asking import answer_page
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.chart import Chart
from nbinterp.widgets.columns import column_message
from nbinterp.widgets.protocol import Column, Facts, ScatterPoints, ScatterSpec
from nbinterp.widgets.saved import origin_of, page, saved_bundle
from nbinterp.widgets.selection import SelectionTrait
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


_MOST_TIPS = 8
_MOST_LETTERS = 500
_MOST_SAVED = 2_000  # points in a saved picture: altair takes seconds for more
_MOST_KEPT = 20_000  # points that a saved notebook may keep, if their columns allow
_MOST_BYTES = 2_000_000  # of the columns that go to the page before somebody asks for them

Source = pd.DataFrame | Embedding


class Scatter(Widget):
    """A scatter plot of up to millions of rows, drawn by nbinterp's own WebGL, that shares what is picked.

    Draw a lasso or a box to pick rows, click one, or a label in the legend; Shift adds, Alt takes away. The wheel zooms once the
    plot is focused. What is picked is `selection`, which `nbinterp.link` shares with other widgets.

    Parameters
    ----------
    source : DataFrame or Embedding
        One line a row. Of an embedding the first two coordinates are drawn.
    x, y : str, optional
        Columns of numbers; rows where one is missing are not drawn.
    color : str, optional
        Column to colour by: numbers of more than 12 values on a scale, all else as labels. May be changed, here and in the page.
    tooltip : sequence of str, optional
        Columns that are told of the row under the pointer; by default the first eight.
    cyclic : bool
        Whether the colour column goes round.
    title, note : str
        Above and below the picture.

    Attributes
    ----------
    selection : Selection
        What is picked; may be set. `selected` gives the lines.
    color : str
        The column to colour by; empty for none.

    Raises
    ------
    LookupError
        For an unknown column.
    ValueError
        For columns that hold no numbers, or a table without lines.

    Examples
    --------
    >>> nb.Scatter(nb.umap(cloud), color="month")  # doctest: +SKIP
    """

    _esm = Bundle("scatter.js")
    _css = Bundle("scatter.css")

    spec = traitlets.Dict().tag(sync=True)
    points = traitlets.Dict().tag(sync=True)
    columns: Any = traitlets.List().tag(sync=True)
    color = traitlets.Unicode("").tag(sync=True)
    selection = SelectionTrait()
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        source: Source,
        x: str | None = None,
        y: str | None = None,
        *,
        color: str | None = None,
        tooltip: Sequence[str] | None = None,
        cyclic: bool = False,
        title: str = "",
        note: str = "",
    ) -> None:
        frame, x, y = _table(source, x, y, color)
        tips = [name for name in frame.columns if name not in (x, y)][:_MOST_TIPS] if tooltip is None else list(tooltip)
        for name in tips:
            _require(frame, name, "tooltip")
        xy = np.stack([_numbers(frame, x), _numbers(frame, y)], axis=1)
        self._frame, self._x, self._y, self._tips, self._title = frame, x, y, tips, title
        self._cyclic = color if cyclic else None
        self._lock = threading.Lock()
        names = [str(name) for name in frame.columns]
        first = [] if color is None else [color]
        few = [name for name in names if name != color][: max(0, _MOST_BYTES // (4 * len(frame)))]
        super().__init__(
            spec=ScatterSpec(n=len(frame), title=title, x=x, y=y, choices=names, note=note),
            points=ScatterPoints(xy=xy.astype("<f4").tobytes()),
            columns=[self._column(name) for name in [*first, *few]],
            color=color or "",
        )
        self.observe(self._bring, names="color")
        answer_page(self, {"rows": self._rows})

    @property
    def selectable(self) -> Mapping[str, int]:
        """How many rows there are."""
        return {"rows": len(self._frame)}

    @property
    def selected(self) -> pd.DataFrame:
        """The lines that are picked, in their order; none where nothing is."""
        rows = self.selection.rows
        return self._frame.iloc[rows[rows < len(self._frame)]]

    def chart(self, most: int = MAX_ROWS) -> alt.LayerChart:
        """Return the scatter as an altair chart that can go on being edited, of `most` rows taken at random where there are more.

        The chart says so where it is a sample.
        """
        n = len(self._frame)
        rows: NDArray[np.intp] = np.arange(n)
        subtitle = ""
        if n > most:
            rows = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
            subtitle = f"{most:,} of {n:,} rows, taken at random"
        shown = list(dict.fromkeys([self._x, self._y, *([self.color] if self.color else []), *self._tips]))
        return scatter_chart(
            self._frame[shown].iloc[rows],
            self._x,
            self._y,
            color=self.color or None,
            cyclic=self.color == self._cyclic,
            title=self._title,
            subtitle=subtitle,
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = super()._repr_mimebundle_(**kwargs)
        # many points in every saved notebook would weigh more than their picture is worth
        kept = self if len(self._frame) <= _MOST_KEPT else None
        return saved_bundle(view, "scatter", **self._told(), widget=kept, origin=self._origin())

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the scatter as one HTML file in which it can still be zoomed and picked from, without Python or a network.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        return page(self, "scatter", path, **self._told())

    def _told(self) -> dict[str, Any]:
        """Return what stands where no script runs: a picture, its text, and the lines that are picked, else the first ones."""
        shown = self.selected if len(self.selection.rows) else self._frame
        return {"chart": self.chart(_MOST_SAVED), "text": self._summary(), "frame": shown.head(200)}

    def _origin(self) -> str:
        return origin_of(self.spec, zlib.crc32(self.points["xy"]))

    def _summary(self) -> str:
        named = f"{self._title}: " if self._title else ""
        coloured = f", coloured by {self.color}" if self.color else ""
        return f"{named}scatter of {len(self._frame):,} points, {self._x} across and {self._y} up{coloured}."

    def _column(self, name: str) -> Column:
        return column_message(self._frame[name], name, cyclic=name == self._cyclic)

    def _bring(self, change: Any) -> None:
        """Send the column that was chosen, unless the page has it."""
        name = change["new"]
        with self._lock:
            if not name or any(column["name"] == name for column in self.columns):
                return
            try:
                _require(self._frame, name, "color")
            except LookupError as error:
                self.problem = str(error)
                return
            self.problem = ""
            # of many rows the page keeps one column
            kept = self.columns if len(self._frame) * 4 * len(self.columns) < _MOST_BYTES else []
            self.columns = [*kept, self._column(name)]

    def _rows(self, rows: Sequence[int]) -> Mapping[str, Any]:
        asked = [int(row) for row in rows if 0 <= int(row) < len(self._frame)][:500]
        names = [self._x, self._y, *(name for name in self._tips if name not in (self._x, self._y))]
        part = self._frame[names].iloc[asked]
        cells = [[_cell(value) for value in part[name].tolist()] for name in names]
        facts = [Facts(row=row, cells=[column[i] for column in cells]) for i, row in enumerate(asked)]
        # the rest of a `RowsReply`: its number is put to it
        return {"columns": names, "facts": facts, "total": len(self._frame)}


def scatter(
    source: Source,
    x: str | None = None,
    y: str | None = None,
    *,
    color: str | None = None,
    tooltip: Sequence[str] | None = None,
    cyclic: bool = False,
    title: str = "",
) -> Chart | Scatter:
    """Draw a scatter plot of any number of rows: with altair up to 20,000, above that with nbinterp's own WebGL.

    Parameters
    ----------
    source, x, y, color, tooltip, cyclic, title
        As of `Scatter`.

    Returns
    -------
    Chart
        Up to 20,000 rows: an altair chart whose brush and clicks pick rows, in its `selection` too.
    Scatter
        Above that; its note says so.

    Raises
    ------
    LookupError, ValueError
        As `Scatter`.
    """
    frame, x, y = _table(source, x, y, color)
    if len(frame) > MAX_ROWS:
        note = (
            f"{len(frame):,} points, drawn by nbinterp's own WebGL scatter: altair draws up to {MAX_ROWS:,} smoothly."
        )
        return Scatter(frame, x, y, color=color, tooltip=tooltip, cyclic=cyclic, title=title, note=note)
    for name in tooltip or []:
        _require(frame, name, "tooltip")
    for name in (x, y):
        _numbers(frame, name)
    shown = frame if tooltip is None else frame[list(dict.fromkeys([x, y, *([color] if color else []), *tooltip]))]
    # the chart's marks know their rows by this name, unless the user's own column of that name is drawn
    rows = "" if "row" in (x, y, color) and not _counts(frame) else "row"
    chart = scatter_chart(
        shown.assign(row=np.arange(len(frame))) if rows else shown, x, y, color=color, cyclic=cyclic, title=title
    )
    brush = alt.selection_interval(name="brush", encodings=["x", "y"])
    chart.layer = [chart.layer[0].add_params(brush), *chart.layer[1:]]
    named = f"{title}: " if title else ""
    described = f"{named}scatter of {len(frame):,} points, {x} across and {y} up"
    return Chart(chart, description=described, table=frame, rows=rows)


def _counts(frame: pd.DataFrame) -> bool:
    return bool(pd.Series(np.arange(len(frame))).equals(frame["row"].reset_index(drop=True)))


def _table(source: Source, x: str | None, y: str | None, color: str | None) -> tuple[pd.DataFrame, str, str]:
    """Return the table and the two columns that are meant."""
    if isinstance(source, Embedding):
        frame, own = source.frame(), source.columns
        if len(own) < 2 and (x is None or y is None):
            raise ValueError(f"got an embedding with the one coordinate {own[0]!r}; name two columns: x=…, y=….")
        x, y = x or own[0], y or own[1]
    elif isinstance(source, pd.DataFrame):
        frame = source
    else:
        raise TypeError(
            f"got {type(source).__name__} to draw; wanted a DataFrame, such as cloud.table, or what nb.pca(…) or nb.umap(…) gives."
        )
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"got a table with two columns {twice!r}; rename one of them.")
    if x is None or y is None:
        raise ValueError(f"got x={x!r} and y={y!r}; name two columns of the table: {_listed(frame)}.")
    for name, what in ((x, "x"), (y, "y"), (color, "color")):
        if name is not None:
            _require(frame, name, what)
    if not len(frame):
        raise ValueError("got a table without lines to draw; wanted at least one.")
    return frame, x, y


def _require(frame: pd.DataFrame, name: str, what: str) -> None:
    if name not in frame.columns:
        raise LookupError(f"got {what}={name!r}, which is no column; known columns are {_listed(frame)}.")


def _listed(frame: pd.DataFrame) -> str:
    return ", ".join(map(repr, frame.columns))


def _numbers(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
        raise ValueError(
            f"got column {name!r} of {column.dtype} for an axis; wanted numbers: make them with pd.to_numeric."
        )
    numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
