"""A linked chart: an altair chart whose selections reach Python, drawn without any address outside."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from nbinterp.widgets.saved import AltairChart, draw_png, saved_bundle

if TYPE_CHECKING:
    import pandas as pd

_STATIC = pathlib.Path(__file__).parent.parent / "static"


class Chart(anywidget.AnyWidget):
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
        The numbers behind the picture, kept beside it in a saved notebook (the first 200 rows).

    Attributes
    ----------
    selections : dict
        What is selected, by the name of the selection; set by the page, empty while nothing is selected. An interval
        is ``{field: [lowest, highest]}``; points are a list of ``{field: value}``, or of row numbers where the
        selection names no fields. Observe it to follow the hand.
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

    _esm = _STATIC / "chart.js"
    _css = _STATIC / "chart.css"

    spec = traitlets.Dict().tag(sync=True)
    selections = traitlets.Dict().tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)

    def __init__(self, chart: AltairChart, *, description: str = "", table: pd.DataFrame | None = None) -> None:
        self._table = table
        spec = _specification(chart)
        super().__init__(spec=spec, description=description or _title(spec))

    def draw(self, chart: AltairChart) -> None:
        """Draw another chart in the place of this one; what was selected is forgotten."""
        self.set_trait("spec", _specification(chart))

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
        return saved_bundle(live, "chart", self, self.description, self._table)


def _specification(chart: AltairChart) -> dict[str, Any]:
    if not callable(getattr(chart, "to_dict", None)):
        raise TypeError(
            f"got {type(chart).__name__}; wanted an altair chart: give something like alt.Chart(frame).mark_point()."
        )
    spec = chart.to_dict()
    schema = str(spec.get("$schema", ""))
    if "vega-lite" not in schema:
        raise ValueError(f"got a chart of $schema {schema!r}; wanted Vega-Lite: give the altair chart itself.")
    return spec


def _title(spec: dict[str, Any]) -> str:
    title = spec.get("title", "")
    text = title.get("text", "") if isinstance(title, dict) else title
    return (" ".join(text) if isinstance(text, list) else str(text)) or "Chart"
