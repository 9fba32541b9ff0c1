"""Causal tracing: blur the subject with noise, put single states back, and see which of them bring the answer back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nbinterp.experiment import Experiment
from nbinterp.geometry.told import Told
from nbinterp.interventions import Patch
from nbinterp.methods.behaviour import Gate, answering, check_gate
from nbinterp.methods.grids import check_count, check_window, components_of, deciding, layers_of, tidy, window_of
from nbinterp.metrics import Metric, probability
from nbinterp.pairs import against
from nbinterp.sites import Site
from nbinterp.tokens import select_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import altair as alt
    import pandas as pd
    import xarray as xr

    from nbinterp.anatomy import ModelInfo
    from nbinterp.metrics import MetricLike
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.tokens import TokensLike


@dataclass(frozen=True, eq=False)
class CausalTrace(Told):
    """How far each state, put back into runs whose subject is noise, brings the answer back.

    Parameters
    ----------
    values : DataArray, ``[sample, component, layer, token]``
        The metric with this state restored, and those of the layers around it.
    blurred : array, ``[sample]``
        The metric under the noise alone.
    base : float
        The metric of the untouched model.
    metric : Metric
        What was measured.
    prompt : TokenizedPrompt, ``[n_tokens]``
        The prompt.
    subject : tuple of int
        Positions of the blurred tokens.
    scale : float
        Standard deviation of the noise, in the units of the embeddings.
    window : mapping of str to int
        By component, how many layers are restored together.
    seed : int
        Of the noise.
    model : ModelInfo
        The model.
    """

    values: xr.DataArray
    blurred: np.ndarray[tuple[int], np.dtype[np.float64]]
    base: float
    metric: Metric
    prompt: TokenizedPrompt = field(repr=False)
    subject: tuple[int, ...]
    scale: float
    window: dict[str, int]
    seed: int
    model: ModelInfo

    @property
    def effects(self) -> xr.DataArray:
        """Indirect effect of each state: the metric with it restored, minus that under the noise alone; mean over samples."""
        return (self.values - self.blurred[:, None, None, None]).mean("sample").assign_attrs(units=self.metric.unit)

    def frame(self) -> pd.DataFrame:
        """Return one line a state.

        Returns
        -------
        DataFrame
            ``component``, ``layer``, ``token``, ``text``, ``value`` (mean over samples), ``effect`` (value − blurred) with ``low`` and ``high``, its
            95 % interval over samples.
        """
        from scipy import stats

        lines = tidy(self.values.mean("sample"))
        each = self.values.to_numpy() - self.blurred[:, None, None, None]
        n = len(each)
        reach = (
            stats.t.ppf(0.975, n - 1) * each.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.full(each.shape[1:], np.nan)
        )
        lines["effect"] = each.mean(0).ravel()
        lines["low"], lines["high"] = ((each.mean(0) + sign * reach).ravel() for sign in (-1, 1))
        return lines

    def best(self, k: int = 10) -> pd.DataFrame:
        """Return the `k` lines of `frame` with the largest effects."""
        return self.frame().nlargest(max(k, 0), "effect", keep="first").reset_index(drop=True)

    def chart(self) -> alt.Chart | alt.VConcatChart:
        """Return effects as heat maps, one for each component: the last layer on top, tokens to the right."""
        from nbinterp.charts.patching import patching_chart

        return patching_chart(
            self.frame(),
            "token",
            title="indirect effect",
            subtitle=f"on {self.metric}, {self.model.name}: {self.prompt.text!r}, {self._noise}",
            unit=self.metric.unit,
        )

    @property
    def _noise(self) -> str:
        tokens = " ".join(repr(self.prompt.tokens[i]) for i in self.subject)
        return f"noise of {self.scale:.3g} at {tokens}, {len(self.blurred)} samples"

    def __repr__(self) -> str:
        sizes = self.values.sizes
        lines = [
            f"CausalTrace over {sizes['layer']} layers × {sizes['token']} tokens on {self.model}",
            f"  {self.prompt.text!r}, {self._noise}",
            f"  {self.metric}: {self.base:.3g} untouched, {self.blurred.mean():.3g} under the noise",
        ]
        harm = self.base - float(self.blurred.mean())
        if not harm > 0:
            lines.append("  ! the noise does the answer no harm, so that there is nothing to bring back: raise noise")
        frame = self.frame()
        for component, part in frame.groupby("component", sort=False):
            if str(component).startswith("resid") and harm > 0:
                # behind the last block the last token alone is the answer: where it lies says more than where it is largest
                lines.append(f"  {component}: {deciding(self.effects.sel(component=component) / harm, 'comes back')}")
                continue
            most = part.iloc[int(part["effect"].to_numpy().argmax())]
            n = self.window[str(component)]
            around = f"layer {most['layer']} at {most['text']!r} brings"
            if n > 1:
                around = f"{n} layers around {most['layer']} at {most['text']!r} bring"
            lines.append(
                f"  {component}: {around} back most, {most['effect']:+.3g} ({most['low']:+.3g} to {most['high']:+.3g})"
            )
        return "\n".join(lines)


def causal_tracing(
    model: Model,
    prompt: Prompt,
    *,
    subject: TokensLike,
    answer: str | int | None = None,
    metric: MetricLike | None = None,
    sites: str | Sequence[str] = ("resid_post", "mlp_out", "attn_out"),
    layers: Iterable[int] | None = None,
    tokens: TokensLike = "all",
    noise: float = 3.0,
    samples: int = 10,
    window: int = 1,
    seed: int = 0,
    gate: Gate = "warn",
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> CausalTrace:
    """Add noise to the subject's embeddings, then restore one state at a time to what it is without noise.

    Parameters
    ----------
    model : Model
        The model.
    prompt : str or Chat
        The prompt.
    subject : as tokens in interventions
        Which tokens are blurred, e.g. ``" Eiffel Tower"``.
    answer : str or int, optional
        The token whose probability is measured; or give `metric`.
    metric : Metric or callable, optional
        What is measured at the last token.
    sites : str or sequence of str
        Components that are restored, each on its own.
    layers : iterable of int, optional
        Which layers; all by default.
    tokens : as in interventions
        At which tokens states are restored, each on its own.
    noise : float
        Standard deviation of the Gaussian noise, in standard deviations of the prompt's embeddings.
    samples : int
        How many times noise is drawn.
    window : int
        How many layers of ``mlp_out`` and ``attn_out`` are restored together; of the residual stream always one.
    seed : int
        Of the noise.
    gate : {"warn", "refuse", "ignore"}
        What to do where the model does not answer as the metric would have it.
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    CausalTrace

    Raises
    ------
    ValueError, LookupError, TypeError
        For anything that cannot be done, before the model runs.

    References
    ----------
    .. [1] Meng et al., "Locating and Editing Factual Associations in GPT", 2022, section 2.1. arXiv:2202.05262

    Examples
    --------
    >>> nb.causal_tracing(model, "The capital of France is", subject=" France", answer=" Paris")  # doctest: +SKIP
    """
    check_gate(gate)
    if (answer is None) == (metric is None):
        raise ValueError(f"got answer={answer!r} and metric={metric!r}; wanted one of the two.")
    measured = (
        Metric.of(metric) if answer is None and metric is not None else probability(answer if answer is not None else 0)
    )
    check_count(samples, "samples", least=1)
    check_window(window, model.info)
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 < noise < np.inf:
        raise ValueError(f"got noise={noise!r}; wanted how many standard deviations, a positive number.")
    components = components_of(sites, model.info)
    if any(model.info.heads(Site(name, 0)) for name in components):
        raise ValueError(
            f"got sites={list(components)}; wanted components without heads, such as 'resid_post' or 'mlp_out'."
        )
    chosen = layers_of(layers, model.info)
    seen = model.tokens(prompt)
    blurred = select_tokens(subject).resolve(seen)
    positions = select_tokens(tokens).resolve(seen)
    clean = answering(model, prompt, measured, gate)
    measured_to_clean = against(measured, clean.logits[0])
    embedded = model.run(Experiment(prompt, read="embed")).read("embed")
    scale = noise * float(embedded.std())
    random = np.random.default_rng(seed)
    # what comes before the subject stays as it was: only from there on need anything be put into the stream
    behind = slice(min(blurred), None)
    draws = []
    for _ in range(samples):
        noisy = embedded[list(blurred)] + scale * random.normal(size=(len(blurred), embedded.shape[1]))
        draws.append(Experiment(prompt, Patch("embed", source=noisy, tokens=blurred)).on(model.info))
    widths = {name: 1 if name.startswith("resid") else window for name in components}

    def make(sample: int, component: str, layer: int, token: int) -> list[Patch]:
        near = window_of(layer, widths[component], model.info)
        # the noisy run goes on in the middle: all that a block hands on is put there as the noise left it
        start = Site("resid_pre", near[0]) if component != "resid_post" else Site("resid_post", layer)
        blur = Patch(start, source=draws[sample], tokens=behind)
        return [blur, *(Patch(Site(component, n), source=prompt, tokens=token) for n in near)]

    swept = model.sweep(
        prompt,
        make,
        metric=measured_to_clean,
        progress=progress,
        cancel=cancel,
        sample=range(samples),
        component=components,
        layer=chosen,
        token=positions,
    )
    alone = model.sweep(
        prompt, lambda sample: draws[sample], metric=measured_to_clean, cancel=cancel, sample=range(samples)
    ).values.to_numpy()
    values = swept.values.assign_coords(text=("token", [seen.tokens[i] for i in positions]))
    return CausalTrace(values, alone, swept.base, measured, seen, blurred, scale, widths, seed, model.info)
