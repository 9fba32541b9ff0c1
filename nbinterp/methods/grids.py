"""Grids over a model's places: which components and layers are asked for, and values over them as tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbinterp.sites import COMPONENTS, UNLAYERED, Site

if TYPE_CHECKING:
    import xarray as xr

    from nbinterp.anatomy import ModelInfo

_LEAST = 0.1
"""Share below which no run of layers is named."""

_RUNS = 5
"""How many runs of layers are named."""


def tidy(values: xr.DataArray) -> pd.DataFrame:
    """Return one line a value, the last axis running fastest."""
    places = np.indices(values.shape).reshape(values.ndim, -1)
    columns: dict[str, Any] = {}
    for name, place in zip(map(str, values.dims), places, strict=True):
        columns[name] = values[name].to_numpy()[place]
        if name == "token":
            columns["text"] = values["text"].to_numpy()[place]
    return pd.DataFrame(columns | {"value": values.to_numpy().ravel()})


def largest(frame: pd.DataFrame, values: pd.Series, k: int) -> pd.DataFrame:
    """Return the `k` lines of a table whose values are largest, whichever their sign; equal ones keep their order."""
    order = np.argsort(-np.abs(values.to_numpy()), kind="stable")
    return frame.iloc[order[: max(k, 0)]].reset_index(drop=True)


def deciding(shares: xr.DataArray, did: str) -> str:
    """Say at which token each run of layers does most: ``shares [layer, token]`` of what can be done, and what that is."""
    table = np.nan_to_num(shares.to_numpy(), nan=-np.inf)
    layers, texts = shares["layer"].to_numpy(), shares["text"].to_numpy()
    top = table.argmax(axis=1)
    if table.max() < _LEAST:
        return f"at no single token {did} a tenth of it"
    starts = [0, *(np.flatnonzero(np.diff(top)) + 1), len(top)]
    runs = [(first, stop, float(table[first:stop, top[first]].max())) for first, stop in itertools.pairwise(starts)]
    longest = sorted((run for run in runs if run[2] >= _LEAST), key=lambda run: (run[0] - run[1], -run[2]))
    said = []
    for first, stop, size in sorted(longest[:_RUNS]):
        where = f"layer {layers[first]}" if stop == first + 1 else f"layers {layers[first]} to {layers[stop - 1]}"
        said.append(f"{where} at {str(texts[top[first]])!r} (up to {size:.2f})")
    return f"most {did} in {'; '.join(said)}"


def components_of(sites: object, info: ModelInfo, *, hint: str = ", layers=[…]") -> tuple[str, ...]:
    """Return the components that were asked for; ValueError for what not every layer has, with a hint how to choose layers."""
    given = (sites,) if isinstance(sites, str) else tuple(sites) if isinstance(sites, Iterable) else (sites,)
    fit = [name for name in COMPONENTS if name not in UNLAYERED]
    for name in given:
        if name not in fit:
            meant = f"sites={str(name).split('.', 1)[0]!r}{hint}" if "." in str(name) else "sites='resid_post'"
            raise ValueError(
                f"got sites={name!r}; wanted components that every layer has ({', '.join(fit)}): write {meant}."
            )
        info.check(Site(str(name), 0))
    if not given or len(set(given)) < len(given):
        raise ValueError(f"got sites={list(given)}; wanted at least one component, each once.")
    return tuple(map(str, given))


def heads_of(components: Iterable[str], info: ModelInfo) -> int:
    """Return the number of heads that all these components have, 0 for those of the stream; ValueError where they differ."""
    heads = {name: info.heads(Site(name, 0)) for name in components}
    if len(set(heads.values())) > 1:
        counts = ", ".join(f"{name} {n or 'no'} heads" for name, n in heads.items())
        raise ValueError(f"got sites that make no common grid ({counts}); ask for them one after the other.")
    return next(iter(heads.values()))


def layers_of(layers: Iterable[int] | None, info: ModelInfo) -> list[int]:
    """Return the layers that were asked for, all by default; ValueError for what is no layer, or twice there."""
    chosen = list(range(info.n_layers) if layers is None else layers)
    wrong = [
        n for n in chosen if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 0 <= n < info.n_layers
    ]
    if wrong or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"got layers={chosen}; wanted each once, from 0 to {info.n_layers - 1}, for example layers=range({info.n_layers})."
        )
    return [int(n) for n in chosen]


def check_count(value: object, name: str, least: int = 0) -> None:
    """Raise ValueError for what is no whole number from `least` up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"got {name}={value!r}; wanted a whole number from {least} up.")


def check_window(window: object, info: ModelInfo) -> None:
    """Raise ValueError for what is no number of layers."""
    if isinstance(window, bool) or not isinstance(window, int) or not 1 <= window <= info.n_layers:
        raise ValueError(f"got window={window!r}; wanted how many layers at a time, from 1 to {info.n_layers}.")


def window_of(layer: int, window: int, info: ModelInfo) -> range:
    """Return so many layers around one; at the ends of the model those that there are."""
    first = layer - (window - 1) // 2
    return range(max(first, 0), min(first + window, info.n_layers))
