"""Shows altair charts without the internet: altair's own renderers load Vega from elsewhere."""

from __future__ import annotations

from typing import Any

from nbinterp.widgets.chart import Chart


class _Specification(dict[str, Any]):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


def render(spec: dict[str, Any], **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what altair shows of a chart: a live one, and beside it the picture that stays in a saved notebook.

    Altair finds this by its name, ``nbinterp``, among its renderers; `nbinterp.charts.theme` chooses it where nobody
    has chosen another one.
    """
    return Chart(_Specification(spec))._repr_mimebundle_()
