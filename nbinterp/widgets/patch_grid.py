"""Activation patching as a grid to pick from: layers up, tokens or heads to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard, cast

import numpy as np
import xarray as xr

from nbinterp.interventions import Patch
from nbinterp.widgets import grid
from nbinterp.widgets.following import Offer, ablated, listed, where
from nbinterp.widgets.grid import Grid, cells, reach
from nbinterp.widgets.protocol import Axis, GridSpec, Quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import altair as alt
    import pandas as pd
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment
    from nbinterp.widgets.following import Followed


class Patched(Protocol):
    """What patching found; `nbinterp.activation_patching` gives it."""

    values: xr.DataArray
    """The metric with each place patched: ``[pair, component, layer, token or head]``."""

    direction: str

    @property
    def effects(self) -> xr.DataArray:
        """Share of the whole way to the other prompts' metric: ``[component, layer, token or head]``."""

    @property
    def metric(self) -> str:
        """What was measured."""

    @property
    def model(self) -> ModelInfo:
        """The model that was patched."""

    def frame(self) -> pd.DataFrame:
        """Return one line a patch."""

    def chart(self) -> Any:
        """Return it as a chart."""


class Estimated(Protocol):
    """What attribution patching estimated, and what was checked; `nbinterp.attribution_patching` gives it."""

    estimates: Mapping[str, xr.DataArray]
    """By component the estimated change of the metric: ``[pair, layer, token or head]``."""

    checks: pd.DataFrame
    """One line a place that was patched in truth: ``component``, ``layer``, ``place``, ``true``."""

    metric: str
    unit: str
    direction: Any
    model: ModelInfo

    def frame(self) -> pd.DataFrame:
        """Return one line a place."""

    def chart(self) -> Any:
        """Return it as a chart."""


class PatchGrid(Grid):
    """What patching restores or takes away, place by place; a picked cell is a place where something can be done.

    Click a cell to pick its layer and token, or its head; drag, or hold Shift, for several.

    Parameters
    ----------
    patching : Patching or AttributionPatching
        What `nbinterp.activation_patching` or `nbinterp.attribution_patching` gave; of the latter the true values of the places that
        were checked can be shown beside the estimates.
    axis : {"token", "head"}, optional
        Which of the components to show, where some were patched by token and others by head; by default those of the first one.
    follow : Playground, optional
        Where something can be done: what is picked in one is picked in the other, and can be ablated there in one click, or
        patched from the other prompt as it was here.

    Attributes
    ----------
    selection : Selection
        Tokens, layers and heads that are picked; may be set.
    quantity : str
        What is shown: ``"effect of resid_post"``, ``"metric of resid_post"``, ``"estimate of z"``, ``"true of z"``…; may be set.

    Raises
    ------
    TypeError
        For what is no patching.
    LookupError
        For an axis that nothing was patched by.

    Examples
    --------
    >>> nb.PatchGrid(nb.activation_patching(model, clean, corrupted, metric=metric))  # doctest: +SKIP
    """

    def __init__(
        self, patching: Patched | Estimated, *, axis: str | None = None, follow: Followed | None = None
    ) -> None:
        if not hasattr(patching, "estimates") and not all(hasattr(patching, name) for name in ("values", "effects")):
            raise TypeError(
                f"got {type(patching).__name__} for a grid; wanted what patching gives: nb.PatchGrid(nb.activation_patching(…))."
            )
        self._patching = patching
        like, shown = (
            _estimates(patching, axis) if _is_estimated(patching) else _effects(cast("Patched", patching), axis)
        )
        what = "comes back" if patching.direction == "denoising" else "is lost"
        name = "Attribution patching" if _is_estimated(patching) else "Patching"
        rows, columns = _layers(like), _columns(like)
        info = patching.model
        counts = {"layers": info.n_layers, "heads": info.n_layers * info.n_heads}
        if columns["kind"] == "tokens":
            counts["tokens"] = max(columns["places"], default=-1) + 1
        super().__init__(
            GridSpec(
                title=f"{name} ({patching.direction}) on {info.name}: how much of {patching.metric} {what}",
                note="",
                rows=rows,
                columns=columns,
                quantities=[quantity for quantity, _ in shown],
            ),
            [cells(quantity, values) for quantity, values in shown],
            [],
            counts,
        )
        if follow is not None:
            self._follow(follow)

    def chart(self) -> alt.TopLevelMixin:
        """Return the patching's chart."""
        chart: alt.TopLevelMixin = self._patching.chart()
        return chart

    def frame(self) -> pd.DataFrame:
        """Return one line a patch."""
        return self._patching.frame()

    def _offers(self, experiment: Experiment, texts: Sequence[str]) -> Iterator[Offer]:
        component = self.quantity.rpartition(" of ")[2]
        rows, picked = self.spec["rows"]["places"], self.selection
        tokens: list[int] = []
        if self.spec["columns"]["kind"] == "heads":
            sites = [f"{component}.{layer}.{head}" for layer, head in picked.heads if layer in rows]
        else:
            sites = [f"{component}.{layer}" for layer in picked.layers if layer in rows]
            tokens = [token for token in picked.tokens if token < len(texts)]
        if not sites:
            return
        yield ablated(sites, tokens, texts)
        behaviour = getattr(self._patching, "behaviour", None)
        for pair in behaviour.pairs[:1] if behaviour is not None else ():
            source = pair.clean if self._patching.direction == "denoising" else pair.corrupted
            if isinstance(source, str) and source != experiment.prompts[0]:
                acts = [Patch(site, source=source, tokens=tokens or slice(None)) for site in sites]
                yield Offer(f"Patch {listed(sites)} at {where(tokens, texts)} from “{source[:60]}”", acts)


Shown: TypeAlias = "list[tuple[Quantity, NDArray[np.float64]]]"
"""Each quantity with its numbers, ``[layer, token or head]``."""


def _is_estimated(patching: Patched | Estimated) -> TypeGuard[Estimated]:
    return hasattr(patching, "estimates")


def _effects(patching: Patched, axis: str | None) -> tuple[xr.DataArray, Shown]:
    effects, raw = _rising(patching.effects), _rising(patching.values.mean("pair"))
    _require(axis, {str(effects.dims[-1])})
    what = "comes back" if patching.direction == "denoising" else "is lost"
    shown: Shown = []
    for component in map(str, effects["component"].to_numpy()):
        ours, metric = (a.sel(component=component).to_numpy() for a in (effects, raw))
        share = _quantity(f"effect of {component}", f"{component}: share that {what}", "1 = all of it", reach(ours))
        whole = _quantity(f"metric of {component}", f"{component}: {patching.metric}", "", reach(metric))
        shown += [(share, ours), (whole, metric)]
    return effects, shown


def _estimates(patching: Estimated, axis: str | None) -> tuple[xr.DataArray, Shown]:
    axes = {component: str(values.dims[-1]) for component, values in patching.estimates.items()}
    _require(axis, set(axes.values()))
    wanted = axis or next(iter(axes.values()))
    shown: Shown = []
    chosen = [component for component, of in axes.items() if of == wanted]
    for component in chosen:
        estimate = patching.estimates[component].mean("pair")
        # most places are only estimated: there nothing is shown
        true = xr.full_like(estimate, np.nan, dtype=np.float64)
        for line in patching.checks[patching.checks["component"] == component].itertuples():
            true.loc[{"layer": line.layer, wanted: line.place}] = line.true
        end = max(reach(estimate), reach(true))
        for kind, values in (("estimate", estimate), ("true", true)):
            name = f"{component}: {kind} change of {patching.metric}"
            shown.append((_quantity(f"{kind} of {component}", name, patching.unit, end), _rising(values).to_numpy()))
    return _rising(patching.estimates[chosen[0]]), shown


def _rising(found: xr.DataArray) -> xr.DataArray:
    """Return numbers with the last layer first, which is drawn on top, as in the chart."""
    return found.isel(layer=slice(None, None, -1))


def _require(axis: str | None, known: set[str]) -> None:
    if axis is not None and axis not in known:
        raise LookupError(f"got axis={axis!r}; this was patched by {' and by '.join(sorted(known))}.")


def _quantity(id: str, name: str, unit: str, end: float) -> Quantity:
    return Quantity(id=id, name=name, unit=unit, scale="diverging", low=-end, high=end, words=False)


def _layers(found: xr.DataArray) -> Axis:
    layers = np.asarray(found["layer"].to_numpy())
    numbers = [int(layer) if str(layer).lstrip("-").isdigit() else -1 for layer in layers]
    return grid.axis("layer", "layers", [str(layer) for layer in layers], numbers)


def _columns(found: xr.DataArray) -> Axis:
    """Return heads, tokens, or named groups of tokens, which are nowhere in particular."""
    if "head" in found.dims:
        heads = found["head"].to_numpy()
        return grid.axis("head", "heads", [str(head) for head in heads], heads)
    tokens = found["token"].to_numpy()
    if np.issubdtype(tokens.dtype, np.integer):
        texts = found["text"].to_numpy() if "text" in found.coords else tokens
        return grid.axis("token", "tokens", [str(text) for text in texts], tokens)
    return grid.axis("tokens", "none", [str(name) for name in tokens], np.full(len(tokens), -1))
