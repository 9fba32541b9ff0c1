"""Which sites a model has, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from nbinterp.sites import COMPONENTS, UNLAYERED, Site

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo

_COLUMNS = ["component", "what", "module", "end", "n_heads", "n_features", "lacking"]


def sites_of(info: ModelInfo) -> pd.DataFrame:
    """Return a line for each component, as `Model.sites` gives it."""
    anatomy, rows = info.anatomy, []
    assert anatomy is not None
    for component, what in COMPONENTS.items():
        site = Site(component, None if component in UNLAYERED else 0)
        place = anatomy.places.get(component)
        module = "" if place is None else info.event(site)[0].replace(f"{info.blocks}.0", f"{info.blocks}.{{}}")
        end, features = ("", None) if place is None else (place.side, info.width(site))
        rows.append((component, what, module, end, info.heads(site), features, anatomy.lacking.get(component, "")))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"n_features": "Int64"})
