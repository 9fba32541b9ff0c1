"""Estimated effects of patches: what they are everywhere, and how far they hold where patches were made in truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from nbinterp.geometry.told import Told
from nbinterp.methods.grids import largest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import altair as alt
    import xarray as xr
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.methods.behaviour import Behaviour

Method: TypeAlias = Literal["gradient", "integrated gradients"]
"""Where the slope is taken: in the run that is patched, or on the mean of the straight way to the other run."""

FAITHFUL = 0.9
"""Correlation with true patching below which a report says that the estimate is not to be relied on."""


@dataclass(frozen=True, eq=False)
class AttributionPatching(Told):
    """What patching each place would do to a metric: estimated everywhere, and true where it was checked.

    Parameters
    ----------
    estimates : dict of str to DataArray, ``[pair, layer, token]`` or ``[pair, layer, head]``
        By component: the estimated change of the metric, in its unit. ``token`` has a coordinate ``text`` that says what
        stands there; a component of heads is patched at all tokens together.
    checks : DataFrame
        One line a place that was patched in truth: ``component``, ``layer``, ``place`` (token or head), ``why`` (``"top"``,
        ``"first layer"`` or ``"random"``, the first that holds), ``estimate`` and ``true``, both means over `checked_pairs`.
    sample : DataFrame
        The same for the random sample alone, of all places at which the two runs differ.
    checked_pairs : tuple of int
        On which pairs.
    clean, corrupted : array, ``[n_pairs]``
        The metric of the clean and of the corrupted prompts.
    behaviour : Behaviour, optional
        Whether the model does what is explained; None where nobody wanted to know.
    direction : {"denoising", "noising"}
        Into which run is patched.
    method : {"gradient", "integrated gradients"}
        How it was estimated.
    steps, seed : int
        Points on the way that gradients were taken at; seed of the random sample.
    metric, unit, prompts : str
        What was measured, in which unit, on what.
    model : ModelInfo
        The model.
    """

    estimates: Mapping[str, xr.DataArray]
    checks: pd.DataFrame = field(repr=False)
    sample: pd.DataFrame = field(repr=False)
    checked_pairs: tuple[int, ...]
    clean: NDArray[np.float64]
    corrupted: NDArray[np.float64]
    behaviour: Behaviour | None
    direction: Literal["denoising", "noising"]
    method: Method
    steps: int
    seed: int
    metric: str
    unit: str
    prompts: str
    model: ModelInfo

    @property
    def scale(self) -> float:
        """The change from the corrupted to the clean prompts' metric, over which an effect is a share of the whole way."""
        return float((self.clean - self.corrupted).mean())

    def frame(self) -> pd.DataFrame:
        """Return one line a place.

        Returns
        -------
        DataFrame
            ``component``, ``layer``, ``axis`` (``"token"`` or ``"head"``), ``place``, ``text`` (what stands at the token, in
            the first pair), ``estimate`` (mean over pairs, in the metric's unit), and for places that were checked
            ``checked`` (why; else empty), ``estimate_checked`` and ``true`` (means over `checked_pairs`).
        """
        parts = []
        for component, values in self.estimates.items():
            axis = str(values.dims[-1])
            layers, places = (values[name].to_numpy() for name in values.dims[1:])
            texts = values["text"].to_numpy() if "text" in values.coords else np.array([""] * len(places))
            grid = np.indices((len(layers), len(places))).reshape(2, -1)
            columns = {
                "component": component,
                "layer": layers[grid[0]],
                "axis": axis,
                "place": places[grid[1]],
                "text": texts[grid[1]],
                "estimate": values.mean("pair").to_numpy().ravel(),
            }
            parts.append(pd.DataFrame(columns))
        known = self.checks.rename(columns={"why": "checked", "estimate": "estimate_checked"})
        frame = pd.concat(parts, ignore_index=True).merge(known, on=["component", "layer", "place"], how="left")
        return frame.assign(checked=frame["checked"].fillna(""))

    def best(self, k: int = 10) -> pd.DataFrame:
        """Return the `k` lines of `frame` with the largest effects in either direction: true ones where known, else estimates."""
        frame = self.frame()
        size = frame["true"].fillna(frame["estimate"])
        return largest(frame, size, k)

    def quality(self) -> pd.DataFrame:
        """Return how the estimate fares against true patching.

        Returns
        -------
        DataFrame
            One line for each component and all together, of the random sample, of the top places and of the first layer:
            ``component``, ``places`` (which), ``n``, ``correlation`` (Pearson's; NaN of fewer than three places or where
            nothing varies), ``same_sign`` (share of places; those with a true effect below a hundredth of `scale`, either
            way, are left out), ``worst`` (largest error, in the metric's unit).
        """
        groups = {
            "random": self.sample,
            **{why: self.checks[self.checks["why"] == why] for why in ("top", "first layer")},
        }
        rows = []
        for where, lines in groups.items():
            for component in ["all", *self.estimates]:
                of = lines if component == "all" else lines[lines["component"] == component]
                rows.append((component, where, *self._fares(of)))
        return pd.DataFrame(rows, columns=["component", "places", "n", "correlation", "same_sign", "worst"])

    def _fares(self, lines: pd.DataFrame) -> tuple[int, float, float, float]:
        a, b = lines["estimate"].to_numpy(), lines["true"].to_numpy()
        if not len(a):
            return 0, math.nan, math.nan, math.nan
        varies = len(a) > 2 and float(np.std(a)) > 0 and float(np.std(b)) > 0
        large = np.abs(b) >= abs(self.scale) / 100
        return (
            len(a),
            float(np.corrcoef(a, b)[0, 1]) if varies else math.nan,
            float((np.sign(a) == np.sign(b))[large].mean()) if large.any() else math.nan,
            float(np.abs(a - b).max()),
        )

    def chart(self) -> alt.VConcatChart:
        """Return estimates as heat maps, one a component, beside the estimate against the truth where that was checked."""
        from nbinterp.charts.attribution_patching import estimates_chart

        return estimates_chart(
            self.frame(),
            unit=self.unit,
            title="Estimated and true effects of patches",
            subtitle=f"{self.metric}, {self.direction}, {self.method}, {self.model.name}",
        )

    def __repr__(self) -> str:
        how = self.method if self.method == "gradient" else f"{self.method}, {self.steps} steps"
        lines = [
            f"Attribution patching ({self.direction}, {how}) on {self.model}",
            f"  {self.prompts}",
            f"  {self.metric}: {self.clean.mean():.3g} clean, {self.corrupted.mean():.3g} corrupted",
            *(f"  ! {reason}" for reason in (self.behaviour.reasons if self.behaviour else ())),
        ]
        if not len(self.checks):
            return "\n".join([*lines, "  ! nothing was checked by true patching: give verify=…"])
        known = self.frame().dropna(subset=["true"])
        best = largest(known, known["true"], 5)
        named = ", ".join(f"{_named(line)} ({line.true:+.2f})" for line in best.itertuples())
        lines.append(f"  largest of {len(known)} places that were patched in truth: {named}")
        fares = {name: self._fares(self.sample[self.sample["component"] == name]) for name in self.estimates}
        told = [
            f"{name} {r:.2f}" + ("" if math.isnan(same) else f", {same:.0%} of one sign")
            for name, (n, r, same, _) in fares.items()
            if n
        ]
        lines.append(f"  correlation with the truth at {len(self.sample)} random places: {'; '.join(told)}")
        if weak := [
            name for name, (n, correlation, _, _) in fares.items() if n and not round(correlation, 2) >= FAITHFUL
        ]:
            lines.append(
                f"  ! below {FAITHFUL} in {', '.join(weak)}: take estimates there that were not checked as hints"
            )
        return "\n".join([*lines, f"  {self._worst()}"])

    def _worst(self) -> str:
        known = self.frame().dropna(subset=["true"])
        worst = known.iloc[int((known["estimate_checked"] - known["true"]).abs().to_numpy().argmax())]
        return f"largest error: {_named(worst)}, estimated {worst['estimate_checked']:+.2f}, true {worst['true']:+.2f}"


def _named(line: Any) -> str:
    at = f"{line.component}.{line.layer}"
    return f"{at}.{line.place}" if line.axis == "head" else f"{at} at {line.text!r}"
