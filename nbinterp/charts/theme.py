"""One look for all charts: readable on light and on dark pages, and without telling red from green."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import altair as alt
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

ChartT = TypeVar("ChartT", bound=Any)

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999999")
"""The colours of Okabe & Ito (2008), without the black and the yellow that vanish on a dark or a light page."""

INK = "#797979"
"""A grey with a contrast of 4.3 to 1 on white and on JupyterLab's dark page: for text and axes."""

FAINT = "#79797955"
"""The same grey for grids and for what is not selected."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def themed(chart: ChartT) -> ChartT:
    """Return a top-level chart in the theme, with a transparent background.

    Where altair would load Vega from the internet to show it, `nbinterp.widgets.renderer` takes over.
    """
    # absent where the package is on the path without being installed
    if alt.renderers.active == "default" and "nbinterp" in alt.renderers.names():
        alt.renderers.enable("nbinterp")
    styled: ChartT = chart.configure(**_look())
    return styled


def theme() -> dict[str, Any]:
    """Return the theme for charts of your own: ``alt.theme.enable("nbinterp")`` finds it here."""
    return {"config": alt.Config(**_look()).to_dict()}


def _look() -> dict[str, Any]:
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    return {
        "background": "transparent",
        "font": _FONT,
        "view": alt.ViewConfig(stroke=FAINT),
        "axis": alt.AxisConfig(gridColor=FAINT, gridOpacity=0.6, domainColor=INK, tickColor=INK, tickCount=5, **text),
        "legend": alt.LegendConfig(labelLimit=140, symbolOpacity=1, **text),
        "header": alt.HeaderConfig(**text),
        "title": alt.TitleConfig(
            color=INK, subtitleColor=INK, fontSize=14, subtitleFontSize=11, anchor="start", limit=380
        ),
        "text": alt.MarkConfig(color=INK),
    }


def together(rows: Sequence[Sequence[Any]], titles: Sequence[str] = ()) -> alt.VConcatChart:
    """Return themed charts in rows, each with colours of its own and each row under its title; the theme stands once for all."""
    plain = [[chart.copy() for chart in row] for row in rows]
    for row in plain:
        for chart in row:
            chart.config = alt.Undefined
    # what means a label in one chart means something else beside it
    own: Any = {"color": "independent", "shape": "independent"}
    beside = [alt.hconcat(*row).resolve_scale(**own).resolve_legend(**own) for row in plain]
    named = beside
    if titles:
        above = [alt.TitleParams(title, fontSize=16, offset=14) for title in titles]
        named = [row.properties(title=title) for row, title in zip(beside, above, strict=True)]
    return themed(alt.vconcat(*named).resolve_scale(**own))


def cyclic_palette(n: int, *, turn: float = 1.0) -> list[str]:
    """Return `n` colours in a cycle, told apart by lightness and blue against yellow alone.

    A circle of hues at equal lightness folds onto a line for the red-green blind. This one is a circle in the plane
    of lightness and b* of CIELAB, which they see whole; a* adds hue for the others.

    Parameters
    ----------
    n : int
        How many.
    turn : float
        How much of the cycle to use; 0.8 for labels that do not go round.
    """
    angle = 2 * np.pi * turn * np.arange(n) / max(n, 1)
    lightness = 60 - 17 * np.cos(angle)
    a, b = 38 * np.cos(2 * angle + 0.6), 52 * np.sin(angle)
    return [_hex(rgb) for rgb in _srgb(lightness, a, b)]


def palette(labels: Sequence[Any], *, cyclic: bool = False) -> list[str]:
    """Return a colour for each label; neighbours in a cycle get neighbouring colours."""
    if cyclic:
        return cyclic_palette(len(labels))
    return list(OKABE_ITO[: len(labels)]) if len(labels) <= len(OKABE_ITO) else cyclic_palette(len(labels), turn=0.8)


def _srgb(lightness: np.ndarray[Any, Any], a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert CIELAB (D65) to sRGB in 0 to 1, clipped to what a screen shows: ``[colour, 3]``."""
    fy = (lightness + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], axis=1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1, 1.08883]
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    linear = np.clip(xyz @ matrix.T, 0, 1)
    encoded: np.ndarray[Any, Any] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded


def _hex(rgb: np.ndarray[Any, Any]) -> str:
    return "#" + "".join(f"{round(float(255 * channel)):02X}" for channel in rgb)
