"""Activation patching: what of one run, put into another, brings an answer back or takes it away."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import xarray as xr
from scipy import stats

from nbinterp.experiment import Experiment
from nbinterp.interventions import Patch
from nbinterp.methods.behaviour import Behaviour, Explained, Gate, check_gate, measured
from nbinterp.methods.grids import check_count, components_of, deciding, heads_of, largest, layers_of, tidy
from nbinterp.pairs import AlignedPair, Metrics, against, align, described, pairs_of
from nbinterp.sites import Site
from nbinterp.tokens import select_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt
    import pandas as pd

    from nbinterp.metrics import Metric
    from nbinterp.model import Model
    from nbinterp.tokens import TokensLike

Direction: TypeAlias = Literal["denoising", "noising"]
"""Into which run is patched: clean activations into the corrupted run, or corrupted ones into the clean run."""

Tokens: TypeAlias = "TokensLike | Mapping[str, TokensLike]"
"""Tokens of the clean prompt: each of a selection by itself, or groups of them by name."""

_LEAST = 0.05
"""Share of the whole way below which no head is named, however little the others do."""

_LEVEL = 0.05
"""Chance that any head of a grid is named that is no more than a random one."""

_SHUFFLES = 999

_NAMED = 5
"""How many heads or runs of layers a report names."""


@dataclass(frozen=True, eq=False)
class Patching(Explained):
    """A metric over a grid of patches, for each pair of prompts.

    Parameters
    ----------
    values : DataArray, ``[pair, component, layer, token or head]``
        The metric with the activation at that place replaced, in the metric's unit. ``token`` holds positions, or the names of
        the groups that were asked for; its coordinate ``text`` says what stands there.
    behaviour : Behaviour
        The metric of the clean and of the corrupted prompts, untouched, and whether the model does what is explained.
    direction : {"denoising", "noising"}
        Into which run was patched.
    control : DataArray, ``[draw, pair, component, layer, token or head]``, optional
        The metric with the activation moved as far as the patch moves it, in a random direction.
    seed : int
        Of the random directions.
    """

    values: xr.DataArray
    behaviour: Behaviour
    direction: Direction
    control: xr.DataArray | None = field(default=None, repr=False)
    seed: int = 0

    @property
    def normalized(self) -> xr.DataArray:
        """The mean over pairs as `Behaviour.normalized`, 0 the corrupted prompts' metric and 1 the clean ones': ``[component, layer, token or head]``."""
        return self._scaled(self.values.mean("pair"))

    @property
    def effects(self) -> xr.DataArray:
        """What each patch does of all that could be done: 0 nothing, 1 the whole way to the other prompts' metric.

        In denoising `normalized`: how much comes back. In noising 1 − `normalized`: how much is lost.
        """
        return self._effect(self.values)

    @property
    def control_effects(self) -> xr.DataArray | None:
        """The same of the random control: ``[draw, component, layer, token or head]``."""
        return None if self.control is None else self._effect(self.control)

    def _effect(self, values: xr.DataArray) -> xr.DataArray:
        return self._toward(values.mean("pair"))

    def _toward(self, values: xr.DataArray) -> xr.DataArray:
        scaled = self._scaled(values)
        return scaled if self.direction == "denoising" else 1 - scaled

    def _scaled(self, values: xr.DataArray) -> xr.DataArray:
        return self.behaviour.normalized(values).assign_attrs(units="0 = corrupted, 1 = clean")

    @property
    def _axis(self) -> str:
        return str(self.values.dims[-1])

    def frame(self, *, by_pair: bool = False) -> pd.DataFrame:
        """Return one line a patch, or one for each pair of prompts.

        Parameters
        ----------
        by_pair : bool
            One line for each pair, with the metric alone.

        Returns
        -------
        DataFrame
            ``component``, ``layer``, ``head`` or ``token`` and ``text``, ``value`` (the metric; its mean over pairs), then
            ``normalized`` and ``effect``, and with a control ``control_low``, ``control_high``, the extremes of its effects over draws.
            By pair: ``pair`` in front, and ``clean`` and ``corrupted``, the metric of its prompts.
        """
        if by_pair:
            lines = tidy(self.values)
            lines["clean"] = self.behaviour.clean[lines["pair"]]
            lines["corrupted"] = self.behaviour.corrupted[lines["pair"]]
            return lines
        lines = tidy(self.values.mean("pair"))
        lines["normalized"] = self.normalized.to_numpy().ravel()
        lines["effect"] = self.effects.to_numpy().ravel()
        control = self.control_effects
        if control is not None:
            lines["control_low"] = control.min("draw").to_numpy().ravel()
            lines["control_high"] = control.max("draw").to_numpy().ravel()
        return lines

    def best(self, k: int = 10) -> pd.DataFrame:
        """Return the `k` lines of `frame` with the largest effects, in either direction."""
        frame = self.frame()
        return largest(frame, frame["effect"], k)

    @cached_property
    def baseline(self) -> float:
        """What the largest of random heads would do: the 95th percentile of its effect, in size; NaN of a single pair.

        In each pair of prompts, at random, heads (and components) take each other's effects; means over pairs then differ by
        chance alone, and the largest of them is noted, 999 times. A head beyond it stands out among all that were looked at.

        References
        ----------
        .. [1] Westfall & Young, "Resampling-based multiple testing", 1993, chapter 2 (single-step maxima).
        """
        if self.values.sizes["pair"] < 2:
            return math.nan
        each = self._toward(self.values).to_numpy().reshape(self.values.sizes["pair"], -1)
        random = np.random.default_rng(self.seed)
        largest = [np.abs(random.permuted(each, axis=1).mean(0)).max() for _ in range(_SHUFFLES)]
        return float(np.quantile(largest, 1 - _LEVEL))

    def named(self) -> pd.DataFrame:
        """Return the heads that stand out: lines of `best` that reach a twentieth of the whole way and lie beyond all that there is to compare with.

        That is what the largest of as many random heads would do (`baseline`), where there are several pairs of prompts; every
        control; and the fences of the bulk of all heads, so wide that of normally distributed effects none would lie beyond in
        95 of 100 grids of this size [1]_.

        Raises
        ------
        ValueError
            When no heads were patched.

        References
        ----------
        .. [1] Hoaglin & Iglewicz, "Fine-tuning some resistant rules for outlier labeling", 1987. JASA 82.
        """
        if self._axis != "head":
            raise ValueError("got a grid over tokens to name heads in; wanted one over heads: sites='z'.")
        frame = self.best(self.values[0].size)
        effect = frame["effect"]
        first, third = map(float, effect.quantile([0.25, 0.75]))
        # quartiles of a normal distribution lie .67 standard deviations from its middle
        spread = float(stats.norm.ppf(1 - _LEVEL / 2 / len(frame)) / stats.norm.ppf(0.75))
        reach = (spread - 1) / 2 * (third - first)
        control = self.control_effects
        drawn = [] if control is None else [float(control.min()), float(control.max())]
        low, high = min([first - reach, *drawn]), max([third + reach, *drawn])
        least = _LEAST if math.isnan(self.baseline) else max(_LEAST, self.baseline)
        return frame[((effect < low) | (effect > high)) & (effect.abs() > least)].reset_index(drop=True)

    def chart(self) -> alt.Chart:
        """Return effects as heat maps, one for each component: layers run up, tokens or heads to the right."""
        from nbinterp.charts.patching import patching_chart

        what = "comes back" if self.direction == "denoising" else "is lost"
        return patching_chart(
            self.frame(),
            self._axis,
            title=f"what {what}",
            subtitle=f"share of {self.metric}, {self.direction}, {self.model.name}: {described(self.behaviour.pairs)}",
        )

    def __repr__(self) -> str:
        sizes = f"{self.values.sizes['layer']} layers × {self.values.sizes[self._axis]} {self._axis}s"
        components = ", ".join(map(str, self.values["component"].to_numpy()))
        lines = [
            f"Patching ({self.direction}) of {components} over {sizes} on {self.model}",
            f"  {described(self.behaviour.pairs)}",
            f"  {self.metric}: {self.clean:.3g} clean, {self.corrupted:.3g} corrupted",
            *(f"  ! {reason}" for reason in self.behaviour.reasons),
        ]
        try:
            effects = self.effects
        except ValueError as error:
            return "\n".join([*lines, f"  ! {error}"])
        tell = _told_heads if self._axis == "head" else _told_tokens
        for component in effects["component"].to_numpy():
            lines += [f"  {component}: {text}" for text in tell(self, effects.sel(component=component))]
        return "\n".join(lines)


def activation_patching(
    model: Model,
    clean: object,
    corrupted: object,
    *,
    metric: Metrics,
    sites: str | Sequence[str] = "resid_post",
    layers: Iterable[int] | None = None,
    tokens: Tokens = "all",
    direction: Direction = "denoising",
    control: int = 0,
    seed: int = 0,
    gate: Gate = "warn",
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> Patching:
    """Replace one activation at a time by what another prompt has there, and see how far the answer follows.

    Components of the residual stream are patched layer by layer and token by token; those made of heads layer by layer and
    head by head, at all chosen tokens together. All of it runs in as few passes as the memory bound allows, each patched run
    only from the block and token on that it changes.

    Parameters
    ----------
    model : Model
        The model.
    clean, corrupted : str, Chat, or sequence of them
        Prompts that show the behaviour, and as many that differ in what the answer depends on: token over token.
    metric : Metric, callable, or list of them
        One for all pairs, or one a pair; large where the model answers as it should. `kl_divergence`, and a function of your
        own, compare with the *clean* run, whichever run is patched.
    sites : str or sequence of str
        Components, such as ``"resid_post"``, ``"attn_out"`` or ``"mlp_out"``; or of heads: ``"z"``, ``"q"``, ``"k"``, ``"v"``, ``"pattern"``.
    layers : iterable of int, optional
        Which layers; all by default.
    tokens : as in interventions, or mapping of str to that
        Tokens of the clean prompt, each by itself; or groups by name, each patched as one, which need not lie at the same
        positions in all pairs.
    direction : {"denoising", "noising"}
        Put clean activations into the corrupted run: what suffices for the answer; or corrupted ones into the clean run: what it
        needs.
    control : int
        How many times each place is also moved in a random direction, as far as the patch moves it.
    seed : int
        Of the random directions.
    gate : {"warn", "refuse", "ignore"}
        What to do where the model does not show the behaviour, or the corrupted prompts do no worse.
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    Patching
        The metric over the grid for each pair, normalised on demand, with its chart.

    Raises
    ------
    ValueError, LookupError, TypeError
        For anything that cannot be done, before the model runs: prompts of different token length first of all.
    BehaviourMissing
        With ``gate="refuse"``, where there is nothing to explain.

    References
    ----------
    .. [1] Heimersheim & Nanda, "How to use and interpret activation patching", 2024. arXiv:2404.15255
    .. [2] Zhang & Nanda, "Towards Best Practices of Activation Patching in Language Models", 2023. arXiv:2309.16042

    Examples
    --------
    >>> nb.activation_patching(  # doctest: +SKIP
    ...     model,
    ...     "The capital of France is",
    ...     "The capital of Italy is",
    ...     metric=nb.logit_difference(" Paris", " Rome"),
    ... )
    """
    check_gate(gate)
    if direction not in ("denoising", "noising"):
        raise ValueError(f"got direction={direction!r}; wanted 'denoising' or 'noising'.")
    check_count(control, "control")
    pairs = pairs_of(clean, corrupted, metric)
    aligned = [align(pair, model.tokens) for pair in pairs]
    components = components_of(sites, model.info)
    heads = heads_of(components, model.info)
    chosen = layers_of(layers, model.info)
    groups = [_groups(tokens, pair) for pair in aligned]
    _check_groups(groups, aligned)
    found = measured(model, pairs, progress=progress, cancel=cancel).require(gate)
    axes = {"component": components, "layer": chosen} | (
        {"head": range(heads)} if heads else {"token": list(groups[0])}
    )
    asks = [_Asking(model, pair, axes, group, direction) for pair, group in zip(aligned, groups, strict=True)]
    values = [ask.patched(progress, cancel) for ask in asks]
    drawn = [[ask.randomly(seed + draw, progress, cancel) for ask in asks] for draw in range(control)]
    labels = None if heads else _labels(aligned, groups[0])
    return Patching(
        _grid([values], labels, found.pairs[0].metric).isel(draw=0, drop=True),
        found,
        direction,
        _grid(drawn, labels, found.pairs[0].metric) if drawn else None,
        seed,
    )


class _Asking:
    """One pair's grid, as sweeps that are asked of a model."""

    def __init__(
        self,
        model: Model,
        pair: AlignedPair,
        axes: Mapping[str, Any],
        groups: Mapping[int | str, tuple[int, ...]],
        direction: Direction,
    ) -> None:
        self.model, self.axes, self.groups = model, axes, groups
        self.together = tuple(sorted({position for group in groups.values() for position in group}))
        self.start, self.source = pair.pair.corrupted, pair.pair.clean
        if direction == "noising":
            self.start, self.source = self.source, self.start
        self.clean = pair.pair.clean
        self.metric = pair.pair.metric

    def patched(self, progress: bool, cancel: Callable[[], bool]) -> xr.DataArray:
        """Return the metric with each place replaced by what the other prompt has there."""

        def make(component: str, layer: int, head: int | None = None, token: int | str | None = None) -> Patch:
            return Patch(Site(component, layer, head), source=self.source, tokens=self._positions(token))

        return self._swept(make, progress, cancel)

    def randomly(self, seed: int, progress: bool, cancel: Callable[[], bool]) -> xr.DataArray:
        """Return the metric with each place moved as far, in a random direction."""
        sites = [Site(component, layer) for component in self.axes["component"] for layer in self.axes["layer"]]
        own, other = self.model.run([Experiment(prompt, read=sites) for prompt in (self.start, self.source)])
        random = np.random.default_rng(seed)

        def make(component: str, layer: int, head: int | None = None, token: int | str | None = None) -> Patch:
            site, positions = Site(component, layer), self._positions(token)
            here, there = (run.read(site)[list(positions)] for run in (own, other))
            if head is not None:
                here, there = here[:, head], there[:, head]
            way = random.normal(size=here.shape)
            way *= np.linalg.norm(there - here, axis=-1, keepdims=True) / np.linalg.norm(way, axis=-1, keepdims=True)
            return Patch(Site(component, layer, head), source=here + way, tokens=positions)

        return self._swept(make, progress, cancel)

    def _positions(self, token: int | str | None) -> tuple[int, ...]:
        return self.together if token is None else self.groups[token]

    def _swept(self, make: Callable[..., Patch], progress: bool, cancel: Callable[[], bool]) -> xr.DataArray:
        clean = self.model.run(Experiment(self.clean)).logits[0]
        metric = against(self.metric, clean)
        swept = self.model.sweep(self.start, make, metric=metric, progress=progress, cancel=cancel, **self.axes)
        return swept.values


def _grid(drawn: Sequence[Sequence[xr.DataArray]], labels: list[str] | None, metric: Metric) -> xr.DataArray:
    """Return ``[draw, pair, component, layer, token or head]``; tokens are named by the first pair's."""
    first = drawn[0][0]
    data = np.array([[values.to_numpy() for values in pairs] for pairs in drawn])
    data.flags.writeable = False
    coords: dict[str, Any] = {str(name): first[name].to_numpy() for name in first.dims}
    coords |= {"draw": np.arange(len(drawn)), "pair": np.arange(len(drawn[0]))}
    if labels is not None:
        coords["text"] = ("token", labels)
    return xr.DataArray(data, coords, ("draw", "pair", *first.dims), "value", {"units": metric.unit})


def _groups(tokens: Tokens, pair: AlignedPair) -> dict[int | str, tuple[int, ...]]:
    """Return the positions of each column of the grid, in one pair."""
    if isinstance(tokens, Mapping) and not tokens:
        raise ValueError("got tokens={}; wanted at least one group, for example {'subject': ' France'}.")
    if isinstance(tokens, Mapping):
        return {str(name): select_tokens(chosen).resolve(pair.clean) for name, chosen in tokens.items()}
    return {position: (position,) for position in select_tokens(tokens).resolve(pair.clean)}


def _check_groups(groups: Sequence[Mapping[int | str, object]], pairs: Sequence[AlignedPair]) -> None:
    """Refuse columns that do not mean the same in all pairs."""
    n = {len(pair) for pair in pairs}
    by_position = any(isinstance(name, int) for name in groups[0])
    if (by_position and len(n) > 1) or any(list(group) != list(groups[0]) for group in groups):
        raise ValueError(
            f"got pairs of {min(n)} to {max(n)} tokens, whose positions do not mean the same; wanted pairs of equal length, or "
            "groups of tokens by name: tokens={'subject': …, 'last': -1}."
        )


def _labels(pairs: Sequence[AlignedPair], groups: Mapping[int | str, tuple[int, ...]]) -> list[str]:
    """Return what stands at each column: the first pair's tokens, both where they differ; or the group's name."""
    texts = pairs[0].texts
    return [name if isinstance(name, str) else texts[name] for name in groups]


def _told_tokens(patching: Patching, effects: xr.DataArray) -> list[str]:
    return [deciding(effects, "comes back" if patching.direction == "denoising" else "is lost")]


def _told_heads(patching: Patching, effects: xr.DataArray) -> list[str]:
    """Name the heads that stand out, with what the others do: ``effects [layer, head]``."""
    component = str(effects["component"].to_numpy())
    named = patching.named()
    named = named[named["component"] == component]
    others = tidy(effects).set_index(["layer", "head"])["value"]
    others = others.drop(list(zip(named["layer"], named["head"], strict=True)))
    low, middle, high = others.quantile([0.025, 0.5, 0.975])
    baseline = f"of the others a random one does {middle:+.3f} (95 % of them {low:+.3f} to {high:+.3f})"
    if not math.isnan(patching.baseline):
        baseline += f", the largest of {patching.values[0].size} random ones up to {patching.baseline:.2f}"
    control = patching.control_effects
    if control is not None:
        part = control.sel(component=component)
        baseline += f", a random direction of the same length {float(part.min()):+.3f} to {float(part.max()):+.3f}"
    if not len(named):
        return [f"no head stands out; {baseline}"]
    heads = [f"{line.layer}.{line.head} ({line.effect:+.2f})" for line in named.head(_NAMED).itertuples()]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    if math.isnan(patching.baseline):
        baseline += "; whether it is so in other prompts, only several pairs tell"
    return [f"heads {', '.join(heads)}{more} stand out; {baseline}"]
