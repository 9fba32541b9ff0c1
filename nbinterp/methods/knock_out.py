"""Attention knock-out: what an answer loses when some tokens may no longer look at others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from nbinterp.geometry.told import Told
from nbinterp.interventions import Cut
from nbinterp.methods.behaviour import Gate, answering, check_gate
from nbinterp.methods.grids import check_count, check_window, largest, layers_of, tidy, window_of
from nbinterp.metrics import Metric
from nbinterp.sites import Site
from nbinterp.tokens import select_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import altair as alt
    import pandas as pd

    from nbinterp.anatomy import ModelInfo
    from nbinterp.metrics import MetricLike
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.tokens import TokensLike

Edges: TypeAlias = "tuple[TokensLike, TokensLike] | Mapping[str, tuple[TokensLike, TokensLike]]"
"""Queries and the keys that they no longer look at; or several such groups, by name."""

_Positions = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class KnockOut(Told):
    """A metric while edges of attention are cut, beside what the same number of other edges costs.

    Parameters
    ----------
    values : DataArray, ``[edges, layer]`` or ``[edges, layer, head]``
        The metric with these edges cut in a window of layers around this one: in all heads, or in one.
    control : DataArray, ``[draw, edges, layer]`` or with heads
        The metric with as many edges cut from the same queries to random other keys, the first token not among them; NaN
        where the prompt has too few.
    first : DataArray, like `values`
        The metric with the same queries cut from the first token alone, on which heads rest; NaN where that is one of the keys.
    base : float
        The metric of the untouched model.
    metric : Metric
        What was measured.
    window : int
        In how many layers the edges are cut at a time.
    prompt : TokenizedPrompt, ``[n_tokens]``
        The prompt.
    positions : mapping of str to (queries, keys)
        What was cut.
    model : ModelInfo
        The model.
    renormalised : bool
        Whether the weights that are left sum to one (scores of −∞), or the cut ones are zero.
    """

    values: xr.DataArray
    control: xr.DataArray = field(repr=False)
    first: xr.DataArray = field(repr=False)
    base: float
    metric: Metric
    window: int
    prompt: TokenizedPrompt = field(repr=False)
    positions: Mapping[str, _Positions]
    model: ModelInfo
    renormalised: bool = True

    def frame(self) -> pd.DataFrame:
        """Return one line a group of edges and layer, and head where heads are apart.

        Returns
        -------
        DataFrame
            ``edges``, ``layer``, perhaps ``head``; ``value``, ``base``, ``change`` (value − base), ``share`` (of the base); and what other edges
            of the same queries change: ``control_low``, ``control_high``, the extremes over draws, and ``first_token``.
        """
        lines = tidy(self.values)
        lines["base"] = self.base
        lines["change"] = lines["value"] - self.base
        lines["share"] = lines["change"] / abs(self.base) if self.base else np.nan
        control = self.control - self.base
        lines["control_low"] = control.min("draw").to_numpy().ravel()
        lines["control_high"] = control.max("draw").to_numpy().ravel()
        lines["first_token"] = self.first.to_numpy().ravel() - self.base
        return lines

    def best(self, k: int = 10) -> pd.DataFrame:
        """Return the `k` lines of `frame` that change most, in either direction."""
        frame = self.frame()
        return largest(frame, frame["change"], k)

    def chart(self) -> alt.Chart | alt.LayerChart | alt.VConcatChart:
        """Return the change over layers with its controls, a chart for each group; over heads heat maps."""
        from nbinterp.charts.patching import knock_out_chart

        where = f"{self.window} layers at a time" if self.window > 1 else "layer by layer"
        return knock_out_chart(
            self.frame(),
            "head" if "head" in self.values.dims else "layer",
            title="what is lost",
            subtitle=f"change of {self.metric}, {self.model.name}, {where}: {self.prompt.text!r}",
            unit=self.metric.unit,
        )

    def __repr__(self) -> str:
        sizes = " × ".join(f"{n} {name}s" for name, n in self.values.sizes.items() if name != "edges")
        how = "scores −∞" if self.renormalised else "weights zero"
        lines = [
            f"KnockOut of attention over {sizes} on {self.model}, {self.window} {'layer' if self.window == 1 else 'layers'} at a time ({how})",
            f"  {self.prompt.text!r}: {self.metric} {self.base:.3g} untouched",
        ]
        frame = self.frame()
        for name, part in frame.groupby("edges", sort=False):
            most = part.iloc[int(np.abs(part["change"].to_numpy()).argmax())]
            place = f"layer {most['layer']}" + (f" head {most['head']}" if "head" in part else "")
            lines.append(
                f"  {name}: at most {_number(most['change'])} (to {most['value']:.3g}), around {place}; there as many other edges "
                f"{_span(most['control_low'], most['control_high'])}, the first token alone {_number(most['first_token'])}"
            )
        return "\n".join(lines)


def knock_out(
    model: Model,
    prompt: Prompt,
    edges: Edges,
    *,
    metric: MetricLike,
    layers: Iterable[int] | None = None,
    window: int = 1,
    by_head: bool = False,
    renormalised: bool = True,
    control: int = 3,
    seed: int = 0,
    gate: Gate = "warn",
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> KnockOut:
    """Cut edges of attention, from some queries to some keys, layer by layer, and see what the answer loses.

    Heads rest on the first token, and cutting that alone can cost most of an answer; so every number comes beside what the
    first token costs, and what as many edges to random other tokens cost.

    Parameters
    ----------
    model : Model
        The model.
    prompt : str or Chat
        The prompt.
    edges : (queries, keys), or mapping of str to that
        Tokens, chosen as in interventions: the queries no longer look at the keys. Several groups are asked for by name.
    metric : Metric or callable
        What is measured at the last token.
    layers : iterable of int, optional
        Around which layers; all by default.
    window : int
        In how many layers around each the edges are cut together; a head's work is often shared by its neighbours.
    by_head : bool
        Cut in one head at a time, instead of all of a layer.
    renormalised : bool
        Scale what is left to sum to one, which is what scores of −∞ do; otherwise cut weights are zero and the rest stays.
    control : int
        Draws of random other keys, at least one.
    seed : int
        Of these draws.
    gate : {"warn", "refuse", "ignore"}
        What to do where the model does not answer as the metric would have it.
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    KnockOut

    Raises
    ------
    ValueError, LookupError, TypeError
        For anything that cannot be done, before the model runs.

    References
    ----------
    .. [1] Geva et al., "Dissecting Recall of Factual Associations in Auto-Regressive Language Models", 2023, section 4.
       arXiv:2304.14767

    Examples
    --------
    >>> nb.knock_out(  # doctest: +SKIP
    ...     model, "The capital of France is", (-1, " France"), metric=nb.probability(" Paris"), window=5
    ... )
    """
    check_gate(gate)
    check_window(window, model.info)
    check_count(control, "control", least=1)
    measured = Metric.of(metric)
    model.info.check(Site("pattern", 0))
    chosen = layers_of(layers, model.info)
    tokens = model.tokens(prompt)
    groups = _groups(edges, tokens)
    answering(model, prompt, measured, gate)
    heads = {"head": range(model.info.n_heads)} if by_head else {}

    def cut(keys: Mapping[str, tuple[int, ...]]) -> tuple[xr.DataArray, float]:
        def make(edges: str, layer: int, head: int | None = None) -> list[Cut]:
            return [
                Cut(Site("pattern", n, head), tokens=groups[edges][0], keys=keys[edges], renormalised=renormalised)
                for n in window_of(layer, window, model.info)
            ]

        there: dict[str, Any] = {"edges": [name for name in groups if keys[name]], "layer": chosen, **heads}
        if not there["edges"]:
            return xr.DataArray(np.nan), np.nan
        swept = model.sweep(prompt, make, metric=measured, progress=progress, cancel=cancel, **there)
        return swept.values, swept.base

    values, base = cut({name: keys for name, (_, keys) in groups.items()})

    def beside(keys: Mapping[str, tuple[int, ...]]) -> xr.DataArray:
        found, _ = cut(keys)
        return found.reindex_like(values) if found.ndim else xr.full_like(values, np.nan)

    first = beside({name: () if 0 in keys else (0,) for name, (_, keys) in groups.items()})
    random = np.random.default_rng(seed)
    drawn = [beside({name: _others(*group, random) for name, group in groups.items()}) for _ in range(control)]
    together = xr.concat(drawn, "draw")
    for found in (first, together):
        found.to_numpy().flags.writeable = False
    return KnockOut(values, together, first, base, measured, window, tokens, groups, model.info, renormalised)


def _groups(edges: object, prompt: TokenizedPrompt) -> dict[str, _Positions]:
    given = edges if isinstance(edges, Mapping) else {"": edges}
    if not given:
        raise ValueError("got no edges; wanted (queries, keys), for example (-1, ' France').")
    found = {}
    for name, pair in given.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"got edges {pair!r}; wanted a tuple (queries, keys), for example (-1, ' France').")
        queries, keys = (select_tokens(part).resolve(prompt) for part in pair)
        if not queries or not keys or min(keys) > max(queries):
            raise ValueError(
                f"got edges from {_listed(queries, prompt)} to {_listed(keys, prompt)}; wanted a key at or before a query: tokens see "
                "nothing behind them."
            )
        found[str(name) or f"{_listed(queries, prompt)} → {_listed(keys, prompt)}"] = (queries, keys)
    return found


def _others(queries: Sequence[int], keys: Sequence[int], random: np.random.Generator) -> tuple[int, ...]:
    """Return as many random other keys that these queries see; none where there are too few."""
    seen = sum(key <= max(queries) for key in keys)
    free = [key for key in range(1, max(queries)) if key not in keys and key not in queries]
    return tuple(sorted(random.choice(free, seen, replace=False).tolist())) if len(free) >= seen else ()


def _listed(positions: Sequence[int], prompt: TokenizedPrompt) -> str:
    texts = [repr(prompt.tokens[i]) for i in positions[:3]]
    return ", ".join(texts) + (" …" if len(positions) > 3 else "")


def _number(value: float) -> str:
    # rounding of the model's own sums is no change
    return "none" if np.isnan(value) else f"{round(value, 9) + 0.0:+.3g}"


def _span(low: float, high: float) -> str:
    return "none to compare" if np.isnan(low) else f"{_number(low)} to {_number(high)}"
