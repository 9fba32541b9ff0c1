"""What adding directions did: to a metric at each site and strength, to plain text, and whether that is more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import t

from nbinterp.geometry.multiple import adjusted
from nbinterp.geometry.told import Told
from nbinterp.interventions import Steer

if TYPE_CHECKING:
    from collections.abc import Iterable

    import altair as alt
    import xarray as xr

    from nbinterp.anatomy import ModelInfo
    from nbinterp.metrics import Metric
    from nbinterp.spaces import Direction, Floats
    from nbinterp.steps import StepsLike
    from nbinterp.tokens import TokenSelection

Unit = Literal["activation norm", "direction"]

MIN_PROMPTS = 5
"""With fewer, nothing is said about other prompts."""

RESAMPLES = 2000
"""Draws of the bootstrap over prompts."""

_UNITS = {"activation norm": "share of the mean activation's length", "direction": "multiples of the direction"}


@dataclass(frozen=True, eq=False)
class SteeringEffect(Told):
    """What adding directions does to a metric and to plain text, at each site and strength, beside random directions.

    Parameters
    ----------
    values : DataArray, ``[direction, prompt, site, strength]``
        The metric of the steered model: by the vector, and by each of the random directions (``control 0``, …).
    base : DataArray, ``[prompt]``
        The metric of the untouched model.
    losses : DataArray, ``[direction, site, strength]``
        Mean loss of plain text's tokens in nats, under the vector and the first control, which act on all of its
        tokens. NaN where none was measured.
    base_loss : float
        The same of the untouched model.
    steps : tuple of Direction, ``[site]``
        What strength 1 adds.
    activation_norms : array, ``[site]``
        Mean length of the activations of the prompts' steered tokens, giant ones set aside.
    unit : {"activation norm", "direction"}
        What a strength of 1 is: as long as the mean activation there, or the direction as it was given.
    metric : Metric
        What was measured at each prompt's last token.
    tokens : TokenSelection
        Which tokens of the prompts were steered.
    model : ModelInfo
        The model that was steered.
    alpha, max_perplexity_ratio : float
        Level of the test; how much larger plain text's perplexity may become.
    provenance : str
        What was done, for people to read.
    """

    values: xr.DataArray = field(repr=False)
    base: xr.DataArray = field(repr=False)
    losses: xr.DataArray = field(repr=False)
    base_loss: float
    steps: tuple[Direction, ...] = field(repr=False)
    activation_norms: Floats = field(repr=False)
    unit: Unit
    metric: Metric
    tokens: TokenSelection
    model: ModelInfo
    alpha: float
    max_perplexity_ratio: float
    provenance: str

    @property
    def effects(self) -> xr.DataArray:
        """By how much the metric differs from the untouched model's: ``[direction, prompt, site, strength]``."""
        return self.values - self.base

    @cached_property
    def _points(self) -> pd.DataFrame:
        effects = self.effects.to_numpy()
        means = effects.mean(axis=1)
        low, high = _interval(effects[0])
        middle, spread, degrees = _spread(means[1:])
        reach = t.ppf(0.975, degrees) * spread
        sites, strengths = (self.values[name].to_numpy() for name in ("site", "strength"))
        lengths = np.array([step.norm for step in self.steps])
        perplexity = np.exp(self.losses.to_numpy())
        ratio = np.exp(self.losses.to_numpy() - self.base_loss)
        columns = {
            "site": np.repeat(sites, len(strengths)),
            "layer": np.repeat(np.array(self._layers, dtype=object), len(strengths)),
            "strength": np.tile(strengths, len(sites)),
            "added": np.outer(lengths, np.abs(strengths)).ravel(),
            "effect": means[0].ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "control": middle.ravel(),
            "control_low": (middle - reach).ravel(),
            "control_high": (middle + reach).ravel(),
            "perplexity": perplexity[0].ravel(),
            "perplexity_ratio": ratio[0].ravel(),
            "control_perplexity_ratio": ratio[1].ravel(),
        }
        return pd.DataFrame(columns).astype({"layer": "Int64"})

    @property
    def _layers(self) -> list[int | None]:
        return [None if step.site is None else step.site.layer for step in self.steps]

    def frame(self) -> pd.DataFrame:
        """Return one line a site and strength.

        Returns
        -------
        DataFrame
            ``site``, ``layer``, ``strength``; ``added``, the length of what was added, in the units of the activations;
            ``effect``, by how much the metric differs from the untouched model's, mean over prompts, with ``low`` and ``high``, its
            95 % bootstrap interval over prompts (NaN for fewer than 5 prompts); ``control``, the mean effect of the random directions,
            with ``control_low`` and ``control_high``, between which a further random direction lies with a chance of
            95 %; ``perplexity`` of plain text, ``perplexity_ratio`` to the untouched model's, and
            ``control_perplexity_ratio``, the same under a random direction.
        """
        return self._points.copy()

    @cached_property
    def _sites(self) -> pd.DataFrame:
        strengths = self.values["strength"].to_numpy()
        gains = (self.effects.to_numpy() / strengths).mean(axis=-1)
        low, high = _interval(gains[0])
        means = gains.mean(axis=1)
        middle, spread, degrees = _spread(means[1:])
        distance = np.abs(means[0] - middle)
        # where random directions do nothing at all, what does something is beyond them
        far = np.divide(distance, spread, out=np.where(distance > 0, np.inf, 0.0), where=spread > 0)
        # steps up, from one strength to the next, through the untouched model
        order = np.sort(np.append(strengths, 0.0))
        path = np.zeros((len(self.steps), len(order)))
        path[:, np.searchsorted(order, strengths)] = self.effects.to_numpy()[0].mean(axis=0)
        up = np.diff(path, axis=1)
        p = adjusted(2 * t.sf(far, degrees))
        apart = (low > 0) | (high < 0)
        columns = {
            "site": self.values["site"].to_numpy(),
            "layer": self._layers,
            "gain": means[0],
            "low": low,
            "high": high,
            "control": middle,
            "control_spread": means[1:].std(axis=0, ddof=1),
            "p": p,
            "monotone": (up > 0).all(axis=1) | (up < 0).all(axis=1),
            "steers": (p <= self.alpha) & apart,
        }
        return pd.DataFrame(columns).astype({"layer": "Int64"})

    def by_site(self) -> pd.DataFrame:
        """Return one line a site: whether its direction steers at all.

        Returns
        -------
        DataFrame
            ``site``, ``layer``; ``gain``, effect / strength, mean over strengths and prompts, with ``low`` and ``high``, its 95 % bootstrap
            interval over prompts; ``control`` and ``control_spread``, mean and standard deviation of the random directions'
            gains; ``p``, that a random direction has a gain as far from theirs (t-test, two-sided, corrected by Holm for the sites);
            ``monotone``, whether the effect moves one way from each strength to the next; ``steers``, whether p ≤ `alpha` and
            the interval leaves 0 out.
        """
        return self._sites.copy()

    @cached_property
    def _best(self) -> pd.Series[Any] | None:
        sites = self._sites[self._sites["steers"]].set_index("site")["gain"]
        points = self._points[self._points["site"].isin(sites.index)]
        points = points[~(points["perplexity_ratio"] > self.max_perplexity_ratio)]
        along = points["effect"] * np.sign(points["strength"]) * np.sign(points["site"].map(sites))
        return points.loc[along.idxmax()] if (along > 0).any() else None

    @property
    def best(self) -> pd.Series[Any] | None:
        """The line of `frame` with the largest effect among sites that steer, plain text's perplexity within the bound; None where there is none."""
        return None if self._best is None else self._best.copy()

    def steer(
        self, layer: int | None = None, strength: float | None = None, *, steps: StepsLike | None = None
    ) -> Steer:
        """Return the intervention at a layer and strength, or that of `best`, to go on with.

        Parameters
        ----------
        layer : int, optional
            By default that of `best`.
        strength : float, optional
            In the unit of the strengths; by default that of `best`.
        steps : int, slice, "all" or sequence of int, optional
            At which generated tokens to steer too; at none by default.

        Raises
        ------
        LookupError
            When there is no best one, or none or several at the layer.
        """
        if layer is not None:
            at = [i for i, own in enumerate(self._layers) if own == layer]
            if len(at) != 1:
                raise LookupError(
                    f"got layer {layer!r}, at which {len(at)} directions were tried; choose one of "
                    f"{', '.join(str(own) for own in self._layers)}."
                )
            step = self.steps[at[0]]
        elif len(self.steps) == 1 and strength is not None:
            step = self.steps[0]
        else:
            step = self.steps[self.values["site"].to_numpy().tolist().index(self._needed_best["site"])]
        assert step.site is not None
        scale = float(self._needed_best["strength"]) if strength is None else strength
        return Steer(step.site, direction=step, scale=scale, tokens=self.tokens, steps=steps)

    @property
    def _needed_best(self) -> pd.Series[Any]:
        if self._best is None:
            raise LookupError(f"got no layer and strength, and none is best; give both. {self.statement}")
        return self._best

    def chart(self, layers: Iterable[int] | None = None) -> alt.VConcatChart:
        """Return effect against strength beside random directions, above plain text's perplexity, one column a site.

        Parameters
        ----------
        layers : iterable of int, optional
            Which layers; by default those with the largest gains, as many as are readable.
        """
        from nbinterp.charts.steering_vectors import effect_chart

        points, sites = self._points, self._sites
        if layers is not None:
            wanted = set(layers)
            points, sites = (frame[frame["layer"].isin(wanted)] for frame in (points, sites))
        if not len(sites):
            raise LookupError(
                f"got no layer of these to draw; wanted some of {', '.join(str(own) for own in self._layers)}."
            )
        return effect_chart(
            points,
            sites,
            bound=self.max_perplexity_ratio,
            metric=_titled(str(self.metric), self.metric.unit),
            strength=_UNITS[self.unit],
            title=f"Steering {self.model.name}",
            subtitle=self.statement,
        )

    @property
    def statement(self) -> str:
        """What was found, in a sentence or two."""
        sites, n, n_prompts = self._sites, len(self._sites), self.values.sizes["prompt"]
        found = sites[sites["steers"]]
        tried = f"any of the {n} sites" if n > 1 else "the site"
        corrected = f", corrected for {n} sites" if n > 1 else ""
        if n_prompts < MIN_PROMPTS:
            return f"{n_prompts} prompts are too few to say what holds for others: give {MIN_PROMPTS} or more."
        if missing := int(np.isnan(self.values.to_numpy()[0]).sum()):
            return f"The metric is no number at {missing} of {self.values[0].size} points: choose smaller strengths."
        if not len(found) and (sites["p"] <= self.alpha).any():
            return (
                f"The effect is beyond random directions of equal length (p ≤ {self.alpha:g}{corrected}), but differs too much between "
                "these prompts to hold for others."
            )
        if not len(found):
            return f"No effect beyond random directions of equal length at {tried} (smallest p = {sites['p'].min():.2g}{corrected})."
        where = f"{len(found)} of {n} sites move" if n > 1 else f"{found['site'].iloc[0]} moves"
        steady = int(found["monotone"].sum())
        said = (
            f"{where} {self.metric} beyond random directions of equal length (p ≤ {self.alpha:g}{corrected}), "
            f"{'' if n == 1 else f'{steady} of them '}{'steadily' if steady or n > 1 else 'not steadily'} with the strength."
        )
        wrong = int((found["gain"] < 0).sum())
        if wrong:
            said += (
                f" {'It goes' if n == 1 else f'At {wrong} it goes'} against the sign: a positive strength lowers it."
            )
        return f"{said} {self._said_of_best}"

    @property
    def _said_of_best(self) -> str:
        bound = f"× {self.max_perplexity_ratio:g}"
        best = self._best
        if best is None:
            return f"But wherever it does, plain text's perplexity rises above {bound}: it breaks the model."
        effect = f"{best['effect']:+.3g} [{best['low']:+.3g}, {best['high']:+.3g}]"
        random = f"random directions {best['control_low']:+.3g} to {best['control_high']:+.3g}"
        at = f"{best['site']} at strength {best['strength']:g}: {effect}, {random}"
        if math.isnan(best["perplexity_ratio"]):
            return f"Best is {at}; side effects were not measured."
        side = f"× {best['perplexity_ratio']:.3g} (random × {best['control_perplexity_ratio']:.3g})"
        return f"Best with plain text's perplexity within {bound} is {at}; perplexity {side}."

    def __repr__(self) -> str:
        sizes = self.values.sizes
        return "\n".join(
            [
                f"SteeringEffect on {_titled(str(self.metric), self.metric.unit)} of {self.model}: {many(sizes['site'], 'site')} × "
                f"{many(sizes['strength'], 'strength')}, {many(sizes['prompt'], 'prompt')}",
                f"  {self.statement}",
                f"  Strengths are in {_UNITS[self.unit]}; untouched, the metric is {float(self.base.mean()):.3g} on average.",
                f"  {self.provenance}",
            ]
        )


def _interval(by_prompt: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % bootstrap interval of means over prompts ``[prompt, …]``; NaN where there are too few."""
    n = len(by_prompt)
    if n < MIN_PROMPTS:
        nan = np.full(by_prompt.shape[1:], np.nan)
        return nan, nan
    # how often each prompt is drawn, of a fixed seed: the same numbers give the same interval
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    low, high = np.quantile(np.tensordot(drawn, by_prompt, axes=1), [0.025, 0.975], axis=0)
    return low, high


def _spread(controls: Floats) -> tuple[Floats, Floats, int]:
    """Return mean of controls ``[control, …]``, the standard deviation of a further one about it, and degrees of freedom."""
    n = len(controls)
    return controls.mean(axis=0), controls.std(axis=0, ddof=1) * math.sqrt(1 + 1 / n), n - 1


def _titled(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit and unit != name else name


def many(number: int, of: str) -> str:
    """Return how many of a thing there are, in words."""
    return f"{number} {of}{'' if number == 1 else 's'}"
