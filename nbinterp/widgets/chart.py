"""A linked chart: an altair chart whose selections reach Python, drawn without any address outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.saved import MOST_ROWS, AltairChart, draw_png, saved_bundle
from nbinterp.widgets.selection import SelectionTrait
from nbinterp.widgets.sharing import sharing
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


class Chart(Widget):
    """An altair chart that lives in the notebook and tells Python what is selected in it.

    The chart is drawn by our own copy of Vega, so that it works where the internet does not. It follows JupyterLab's
    theme, and a saved notebook keeps its picture.

    Parameters
    ----------
    chart
        An altair chart of any kind, data included. A chart that reads its data from an address is not drawn.
    description
        What the chart shows, in words, for those who do not see it.
    table
        The numbers behind the picture: shown below it on request, and kept in a saved notebook (the first 200 rows).
    rows
        The field of the chart's data that says which row each mark is. The chart then takes part in a shared selection:
        what is picked here by a click or by a selection of the chart's own reaches `selection`, and what is picked
        elsewhere stands out here.

    Attributes
    ----------
    selections : dict
        What is selected, by the name of the selection; set by the page, empty while nothing is selected. An interval
        is ``{field: [lowest, highest]}``; points are a list of ``{field: value}``, or of row numbers where the
        selection names no fields. Observe it to follow the hand.
    selection : Selection
        The rows that are picked, where the chart has `rows`; may be set, and shared with `nbinterp.link`.
    spec : dict
        The Vega-Lite specification that is drawn; `draw` replaces it.
    description : str
        What the chart shows, in words. May be set.

    Raises
    ------
    TypeError, ValueError
        For something else than an altair chart.

    Examples
    --------
    >>> brush = alt.selection_interval(name="brush")  # doctest: +SKIP
    >>> chart = Chart(alt.Chart(frame).mark_point().encode(x="x:Q", y="y:Q").add_params(brush))  # doctest: +SKIP
    >>> chart.observe(lambda change: print(change.new.get("brush")), names="selections")  # doctest: +SKIP
    """

    _esm = Bundle("chart.js")
    _css = Bundle("chart.css")

    spec = traitlets.Dict().tag(sync=True)
    selections = traitlets.Dict().tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    row_field = traitlets.Unicode().tag(sync=True)
    table = traitlets.Dict().tag(sync=True)
    selection = SelectionTrait()

    def __init__(
        self, chart: AltairChart, *, description: str = "", table: pd.DataFrame | None = None, rows: str = ""
    ) -> None:
        self._frame = table
        spec = _specification(chart, rows)
        super().__init__(spec=spec, description=description or _title(spec), row_field=rows, table=_words(table))

    @property
    def selectable(self) -> Mapping[str, int]:
        """What can be picked here; a chart does not know how many rows its table has."""
        return {}

    def draw(self, chart: AltairChart) -> None:
        """Draw another chart in the place of this one; what was selected is forgotten."""
        self.set_trait("spec", _specification(chart, self.row_field))

    def to_dict(self) -> dict[str, Any]:
        """Return the Vega-Lite specification that is drawn."""
        return dict(self.spec)

    def png(self, *, scale: float = 2.0) -> bytes:
        """Return the chart as a PNG picture on white, without what is selected.

        Parameters
        ----------
        scale
            Pixels for each pixel of the chart.
        """
        return draw_png(self.spec, scale=scale)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        live = super()._repr_mimebundle_(**kwargs)
        return saved_bundle(live, "chart", self, self.description, self._frame)


def _specification(chart: AltairChart, rows: str) -> dict[str, Any]:
    if not callable(getattr(chart, "to_dict", None)):
        raise TypeError(
            f"got {type(chart).__name__}; wanted an altair chart: give something like alt.Chart(frame).mark_point()."
        )
    spec = chart.to_dict()
    schema = str(spec.get("$schema", ""))
    if "vega-lite" not in schema:
        raise ValueError(f"got a chart of $schema {schema!r}; wanted Vega-Lite: give the altair chart itself.")
    return sharing(spec, rows) if rows else spec


def _words(table: pd.DataFrame | None) -> dict[str, Any]:
    """Return the first lines of a table as texts."""
    if table is None:
        return {"columns": [], "rows": []}
    rows = [[str(value) for value in row] for row in table.head(MOST_ROWS).itertuples(index=False)]
    return {"columns": [str(name) for name in table.columns], "rows": rows}


def _title(spec: dict[str, Any]) -> str:
    title = spec.get("title", "")
    text = title.get("text", "") if isinstance(title, dict) else title
    return (" ".join(text) if isinstance(text, list) else str(text)) or "Chart"
