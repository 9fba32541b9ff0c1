"""Attribution patching: what patching every place would do, estimated from gradients and checked by patching some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from nbinterp.engine.objectives import Objective, given_arrays
from nbinterp.experiment import Experiment
from nbinterp.interventions import Patch
from nbinterp.methods.behaviour import Gate, check_gate, measured
from nbinterp.methods.estimates import AttributionPatching
from nbinterp.methods.grids import check_count, components_of
from nbinterp.pairs import AlignedPair, Metrics, Pair, against, align, described, measured_by, pairs_of
from nbinterp.sites import HEADED, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from nbinterp.engine.gradients import Gradients
    from nbinterp.methods.estimates import Method
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt

_Place: TypeAlias = tuple[str, int, int]
"""Component, layer, and token or head."""

TOGETHER = 16
"""Pairs of which activations are held at a time, at most."""

CHECKED_PAIRS = 8
"""Pairs on which places are patched in truth: more make an error surer and cost as much again each."""


def attribution_patching(
    model: Model,
    clean: object,
    corrupted: object,
    *,
    metric: Metrics,
    sites: str | Sequence[str] = ("resid_pre", "attn_out", "mlp_out", "z"),
    direction: Literal["denoising", "noising"] = "denoising",
    method: Method = "gradient",
    steps: int = 5,
    verify: int = 10,
    seed: int = 0,
    gate: Gate = "warn",
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> AttributionPatching:
    """Estimate what patching each place would do, for all places at once, and patch some in truth to see how far that holds.

    The estimate is (source's activation − own activation) · slope of the metric there, to first order. In one pass forward and
    one back it covers every layer and token, or head. It can be wrong by far, and in sign, where the model is not linear on the
    way: of the first layer's MLP above all. So the largest places, all of the first layer, and a random sample are patched.

    Parameters
    ----------
    model : Model
        The model.
    clean, corrupted : str, Chat, or sequence of them
        Prompts that show the behaviour, and as many that differ in what the answer depends on: token over token.
    metric : Metric, callable, or list of them
        One for all pairs, or one a pair; it needs a derivative, so that a function of your own is written in torch.
        `kl_divergence`, and a function of your own, compare with the clean run.
    sites : str or sequence of str
        Components, at all layers: those of the residual stream by token, those made of heads by head, at all tokens together.
    direction : {"denoising", "noising"}
        Put clean activations into the corrupted run, or corrupted ones into the clean run.
    method : {"gradient", "integrated gradients"}
        Take the slope in the run that is patched; or its mean over `steps` runs of which the embeddings lie on the straight
        line from there to the other run, k/steps of the way, k = 1 … steps.
    steps : int
        How many.
    verify : int
        How many of each component's largest places, and how many random ones, to patch in truth on up to 8 of the pairs,
        besides all places of the first layer; 0 checks nothing, and the result says so.
    seed : int
        Of the random places.
    gate : {"warn", "refuse", "ignore"}
        What to do where the model does not show the behaviour; with ``"ignore"`` nobody looks.
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    AttributionPatching
        Estimates of all places, true effects of those that were checked, and how well the two agree.

    Raises
    ------
    ValueError, LookupError, TypeError
        For anything that cannot be done, before the model runs: prompts of different token length first of all.
    BehaviourMissing
        With ``gate="refuse"``, where there is nothing to explain.

    References
    ----------
    .. [1] Nanda, "Attribution patching: activation patching at industrial scale", 2023. neelnanda.io
    .. [2] Syed et al., "Attribution patching outperforms automated circuit discovery", 2023. arXiv:2310.10348
    .. [3] Kramár et al., "AtP*: an efficient and scalable method for localizing LLM behaviour to components", 2024.
       arXiv:2403.00745
    .. [4] Hanna et al., "Have faith in faithfulness", 2024, section 3 (integrated gradients). arXiv:2403.17806
    .. [5] Sundararajan et al., "Axiomatic attribution for deep networks", 2017. arXiv:1703.01365

    Examples
    --------
    >>> nb.attribution_patching(  # doctest: +SKIP
    ...     model,
    ...     "The capital of France is",
    ...     "The capital of Italy is",
    ...     metric=nb.logit_difference(" Paris", " Rome"),
    ... )
    """
    check_gate(gate)
    for value, wanted, name in (
        (direction, ("denoising", "noising"), "direction"),
        (method, ("gradient", "integrated gradients"), "method"),
    ):
        if value not in wanted:
            raise ValueError(f"got {name}={value!r}; wanted {' or '.join(map(repr, wanted))}.")
    check_count(steps, "steps", 1)
    check_count(verify, "verify", 0)
    pairs = pairs_of(clean, corrupted, metric)
    aligned = [align(pair, model.tokens) for pair in pairs]
    components = components_of(sites, model.info, hint="")
    over_tokens = [name for name in components if not model.info.heads(Site(name, 0))]
    if over_tokens and len({len(pair) for pair in aligned}) > 1:
        raise ValueError(
            f"got pairs of different lengths, whose tokens do not mean the same, for {over_tokens[0]!r}; wanted pairs of equal "
            "length, or sites made of heads: sites='z'."
        )
    for pair in pairs:
        Objective.of(pair.metric, model.vocabulary)  # refuses what has no derivative, before anything runs
    behaviour = None
    if gate != "ignore":
        behaviour = measured(model, [_for_arrays(pair) for pair in pairs], progress=progress, cancel=cancel).require(
            gate
        )
    asking = _Asking(model, aligned, components, direction, steps if method == "integrated gradients" else 0)
    at_once = asking.at_once
    parts = [asking.estimated(slice(i, i + at_once), progress, cancel) for i in range(0, len(pairs), at_once)]
    estimates = {name: _whole(name, [part[name] for part in parts], aligned[0]) for name in components}
    chosen = tuple(range(min(len(pairs), CHECKED_PAIRS))) if verify else ()
    checks, sample = asking.checked(estimates, chosen, verify, seed, progress, cancel)
    return AttributionPatching(
        estimates,
        checks,
        sample,
        chosen,
        asking.clean,
        asking.corrupted,
        behaviour,
        direction,
        method,
        steps if method == "integrated gradients" else 1,
        seed,
        measured_by(pairs),
        pairs[0].metric.unit,
        described(pairs),
        model.info,
    )


class _Asking:
    """Pairs of prompts, and what is asked of a model about them.

    Parameters
    ----------
    model : Model
        The model.
    pairs : sequence of AlignedPair
        Whose activations are exchanged.
    components : sequence of str
        Where.
    direction : {"denoising", "noising"}
        Into which run.
    steps : int
        Points on the straight way at which the slope is taken; 0 takes it in the run that is patched.
    """

    def __init__(
        self,
        model: Model,
        pairs: Sequence[AlignedPair],
        components: Sequence[str],
        direction: Literal["denoising", "noising"],
        steps: int,
    ) -> None:
        self.model, self.pairs, self.components, self.steps = model, pairs, components, steps
        self.denoises = direction == "denoising"
        self.sites = {name: [Site(name, layer) for layer in range(model.info.n_layers)] for name in components}
        self.clean, self.corrupted = np.empty(len(pairs)), np.empty(len(pairs))

    @property
    def at_once(self) -> int:
        """Of how many pairs activations may be held: both runs' and slopes take up to half of the memory bound."""
        info, n_tokens = self.model.info, max(map(len, self.pairs))
        widths = [info.width(sites[0]) or info.n_heads * n_tokens for sites in self.sites.values()]
        one = 3 * np.dtype(np.float32).itemsize * info.n_layers * n_tokens * sum(widths)
        return max(1, min(TOGETHER, self.model.memory_bound // (2 * one)))

    def _ends(self, pair: AlignedPair) -> tuple[Prompt, Prompt]:
        """Return the prompt that is patched, and the one from which activations come."""
        clean, corrupted = pair.pair.clean, pair.pair.corrupted
        return (corrupted, clean) if self.denoises else (clean, corrupted)

    def estimated(
        self, part: slice, progress: bool, cancel: Callable[[], bool]
    ) -> dict[str, list[NDArray[np.float64]]]:
        """Return by component each pair's estimates ``[layer, token or head]``, and note the metric of its prompts."""
        pairs = self.pairs[part]
        read = tuple(site for sites in self.sites.values() for site in sites)
        ends = [self._ends(pair) for pair in pairs]
        metrics = tuple(pair.pair.metric for pair in pairs)
        theirs = self.model.run([Experiment(b, read=read) for _, b in ends], progress=progress, cancel=cancel)
        # what a metric compares with is the clean run: the patched one itself, unless it is the source
        base = [run.logits[0] for run in theirs] if self.denoises else None

        def differentiated(experiments: Sequence[Experiment]) -> list[Gradients]:
            return self.model.gradients(
                experiments, metric=metrics, sites=read, base=base, progress=progress, cancel=cancel
            )

        if not self.steps:
            found = differentiated([Experiment(a) for a, _ in ends])
            ours = [one.activations for one in found]
            own = [one.logits for one in found]
            slopes = [one.gradients for one in found]
        else:
            runs = self.model.run([Experiment(a, read=read) for a, _ in ends], progress=progress, cancel=cancel)
            ours = [{site: run.read(site) for site in read} for run in runs]
            own = [run.logits[0] for run in runs]
            slopes = [{site: np.zeros_like(values) for site, values in one.items()} for one in ours]
            for k in range(1, self.steps + 1):
                way = [Experiment(a, interventions=[Patch("embed", source=b, amount=k / self.steps)]) for a, b in ends]
                for total, one in zip(slopes, differentiated(way), strict=True):
                    for site, slope in one.gradients.items():
                        total[site] += slope / np.float32(self.steps)
        start, source = (self.corrupted, self.clean) if self.denoises else (self.clean, self.corrupted)
        for i, (pair, mine, run) in enumerate(zip(pairs, own, theirs, strict=True), part.start):
            measure, clean = _for_arrays(pair.pair).metric, run.logits[0] if self.denoises else mine
            start[i] = float(measure(mine, clean, self.model.vocabulary))
            source[i] = float(measure(run.logits[0], clean, self.model.vocabulary))
        return {
            name: [
                np.array([_product(run.read(site) - here[site], slope[site], site) for site in sites])
                for run, here, slope in zip(theirs, ours, slopes, strict=True)
            ]
            for name, sites in self.sites.items()
        }

    def checked(
        self,
        estimates: Mapping[str, xr.DataArray],
        chosen: Sequence[int],
        n: int,
        seed: int,
        progress: bool,
        cancel: Callable[[], bool],
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Patch some places of some pairs in truth; return all of them, and the random ones."""
        random = np.random.default_rng(seed)
        why: dict[_Place, str] = {}
        drawn: dict[_Place, None] = {}
        for name, values in estimates.items():
            if not chosen:
                break
            mean = np.abs(values.isel(pair=list(chosen)).mean("pair").to_numpy())
            n_places = mean.shape[1]

            def places(flat: Iterable[int], name: str = name, width: int = n_places) -> list[_Place]:
                return [(name, int(i) // width, int(i) % width) for i in flat]

            # where both runs have the same, as at all tokens before the first that differs, there is nothing to get wrong
            differ = np.flatnonzero(mean)
            top = places(differ[np.argsort(-mean.ravel()[differ], kind="stable")[:n]])
            some = places(random.permutation(differ)[:n])
            first = places(differ[differ < n_places])
            for reason, group in (("top", top), ("first layer", first), ("random", some)):
                for place in group:
                    why.setdefault(place, reason)
            drawn |= dict.fromkeys(some)
        true = self._patched(list(why), chosen, progress, cancel)
        lines = [
            (*place, reason, float(estimates[place[0]][list(chosen), place[1], place[2]].mean()), true[place])
            for place, reason in why.items()
        ]
        table = pd.DataFrame(lines, columns=["component", "layer", "place", "why", "estimate", "true"])
        return table, table[[place in drawn for place in why]].reset_index(drop=True)

    def _patched(
        self, places: Sequence[_Place], chosen: Sequence[int], progress: bool, cancel: Callable[[], bool]
    ) -> dict[_Place, float]:
        """Return the mean change of the metric for each place, by true patching."""
        total = np.zeros(len(places))
        for i in chosen:
            start, source = self._ends(self.pairs[i])
            clean = self.model.run(Experiment(self.pairs[i].pair.clean)).logits[0]
            metric = against(_for_arrays(self.pairs[i].pair).metric, clean)

            def make(place: int, source: Prompt = source) -> Patch:
                component, layer, at = places[place]
                if self.model.info.heads(Site(component, layer)):
                    return Patch(Site(component, layer, at), source=source)
                return Patch(Site(component, layer), source=source, tokens=at)

            swept = self.model.sweep(
                start, make, metric=metric, progress=progress, cancel=cancel, place=range(len(places))
            )
            total += swept.values.to_numpy() - swept.base
        return dict(zip(places, (total / max(len(chosen), 1)).tolist(), strict=True))


def _product(difference: NDArray[np.float32], slope: NDArray[np.float32], site: Site) -> NDArray[np.float64]:
    """Return the estimate of each token, or of each head at all tokens together."""
    product = difference.astype(np.float64) * slope
    if site.component == "pattern":
        summed: NDArray[np.float64] = product.sum(axis=(1, 2))
    else:
        summed = product.sum(axis=(0, 2)) if product.ndim == 3 else product.sum(axis=1)
    return summed


def _whole(name: str, parts: Sequence[Sequence[NDArray[np.float64]]], first: AlignedPair) -> xr.DataArray:
    """Return ``[pair, layer, token or head]`` with what stands at each token of the first pair."""
    data = np.array([values for part in parts for values in part])
    data.flags.writeable = False
    axis = "head" if name in HEADED else "token"
    coords: dict[str, object] = {dim: np.arange(n) for dim, n in zip(("pair", "layer", axis), data.shape, strict=True)}
    if axis == "token":
        coords["text"] = ("token", list(first.texts))
    return xr.DataArray(data, coords, ("pair", "layer", axis), name)


def _for_arrays(pair: Pair) -> Pair:
    return replace(pair, metric=given_arrays(pair.metric))
