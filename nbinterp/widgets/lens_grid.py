"""What a lens reads at every layer and token, as a grid to pick from that can follow a Playground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nbinterp.widgets.following import MOST_A_STEP, ablated, require_both
from nbinterp.widgets.grid import Grid, axis, cells, reach
from nbinterp.widgets.protocol import Cells, GridSpec, Quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import altair as alt
    import pandas as pd
    import xarray as xr

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.widgets.following import Followed, Offer

_DRAWN = 12  # tokens in the picture that a notebook keeps at first


class Lens(Protocol):
    """What a lens read; `nbinterp.logit_lens` gives it."""

    data: xr.Dataset
    """Along ``layer`` also ``site``; ``top`` (ids), ``top_probability`` ``[run, layer, token, place]``; ``entropy``, ``kl`` ``[run, layer, token]``; ``probability``
    and ``rank`` ``[run, tracked, layer, token]``."""

    prompt: TokenizedPrompt
    vocabulary: Sequence[str]
    name: str
    notes: tuple[str, ...]

    @property
    def model(self) -> ModelInfo:
        """The model that was read."""

    @property
    def runs(self) -> tuple[str, ...]:
        """``base``, and ``changed`` where something was."""

    def frame(self) -> pd.DataFrame:
        """Return one line a cell."""

    def chart(self, color: str = ..., *, run: str | None = ..., tokens: Any = ...) -> Any:
        """Return it as a chart."""


class LensGrid(Grid):
    """What a lens reads: layers up, tokens to the right, in each cell the likeliest token there.

    Choose what colours it: the likeliest token's probability, that of a tracked token or its rank, entropy, the distance from the
    model's own answer. Of a lens under interventions base, changed and their difference can be shown. Click a cell to pick its
    layer and token; drag, or hold Shift, for several.

    Parameters
    ----------
    lens : Lens
        What `nbinterp.logit_lens` gave.
    follow : Playground, optional
        Whose interventions are read through the lens as well, while its sliders move. What is picked in one is picked in the
        other, and can be ablated there in one click.
    ask : callable, optional
        Reads an experiment: ``lambda experiment: nb.logit_lens(model, experiment)``. Needed with `follow`.

    Attributes
    ----------
    lens : Lens
        What is shown.
    selection : Selection
        Tokens and layers that are picked; may be set.
    quantity, run : str
        What is shown, of which run; may be set.

    Raises
    ------
    TypeError
        For what is no lens, and where only one of `follow` and `ask` is given.

    Examples
    --------
    >>> nb.LensGrid(nb.logit_lens(model, "The capital of France is", track=" Paris"))  # doctest: +SKIP
    """

    def __init__(
        self, lens: Lens, *, follow: Followed | None = None, ask: Callable[[Experiment], Lens] | None = None
    ) -> None:
        if not all(hasattr(lens, name) for name in ("data", "prompt", "vocabulary", "runs")):
            raise TypeError(
                f"got {type(lens).__name__} for a grid; wanted what a lens reads: nb.LensGrid(nb.logit_lens(model, prompt))."
            )
        require_both(follow, ask, "reads its experiment through the lens")
        self.lens = lens
        self._ask = ask
        info = lens.model
        counts = {"layers": info.n_layers, "tokens": len(lens.prompt.tokens), "heads": info.n_layers * info.n_heads}
        spec = _spec(lens)
        run = "difference" if len(lens.runs) > 1 else "base"
        super().__init__(spec, _cells(lens, "base", spec), _cells(lens, "changed", spec), counts, run)
        if follow is not None:
            self.observe(self._put_changed, names="view")
            self._follow(follow)

    def chart(self, most: int = 60) -> alt.TopLevelMixin:
        """Return what is shown as a chart that can go on being edited, of the last `most` tokens that were read."""
        name, _, text = self.quantity.partition(" of ")
        color = text or {"top": "probability"}.get(name, name)
        tokens = [int(position) for position in self.lens.data["token"].to_numpy()[-most:]]
        # what nothing was changed in has no other run
        run = self.run if len(self.lens.runs) > 1 else "base"
        chart: alt.TopLevelMixin = self.lens.chart(color, run=run, tokens=tokens)
        return chart

    def frame(self) -> pd.DataFrame:
        """Return one line a cell."""
        return self.lens.frame()

    def _picture(self) -> alt.TopLevelMixin:
        # words take long to draw, and people wait for the widget; JupyterLab keeps a picture of all that is seen
        return self.chart(_DRAWN)

    def _take(self, experiment: Experiment) -> bool:
        assert self._ask is not None
        before, lens = self.lens, self._ask(experiment)
        self.lens = lens
        spec = _spec(lens)
        same = before.prompt == lens.prompt and _axes(spec) == _axes(self.spec)
        with self.hold_trait_notifications():
            # of the untouched run, which stays while a slider moves, nothing is sent again
            if not same:
                self._counts["tokens"] = len(lens.prompt.tokens)
                self.spec, self.base = spec, _cells(lens, "base", spec)
            if len(lens.runs) > 1 and len(before.runs) < 2:
                self.run = "difference"
            self._put_changed()
        return False

    def _offers(self, experiment: Experiment, texts: Sequence[str]) -> Iterator[Offer]:
        places = {
            int(n): str(site)
            for n, site in zip(self.lens.data["layer"], self.lens.data["site"].to_numpy(), strict=True)
        }
        picked = self.selection
        sites = [places[layer] for layer in picked.layers if layer in places]
        if sites:
            yield ablated(sites, [token for token in picked.tokens if token < len(texts)], texts)

    def _put_changed(self, change: object = None) -> None:
        """Send the changed run: of many cells, at each step of a slider, the quantity that is shown alone."""
        spec = self.spec
        n_cells = len(spec["rows"]["labels"]) * len(spec["columns"]["labels"])
        every = n_cells * 4 * (len(spec["quantities"]) + 1) <= MOST_A_STEP
        self.changed = _cells(self.lens, "changed", spec, None if every else self.quantity)


def _axes(spec: GridSpec) -> tuple[Any, ...]:
    return spec["rows"], spec["columns"], [one["id"] for one in spec["quantities"]]


def _spec(lens: Lens) -> GridSpec:
    data = _rising(lens)
    layers = [int(layer) for layer in data["layer"].to_numpy()]
    positions = [int(position) for position in data["token"].to_numpy()]
    base = data.sel(run="base")
    ends = [reach(data[name].to_numpy()) for name in ("entropy", "kl")]
    quantities = [
        _quantity("top", "likeliest token", "probability", 1.0, words=True),
        _quantity("entropy", "entropy", "nats", ends[0]),
        _quantity("kl", "KL from the model's answer", "nats", ends[1]),
    ]
    for text in map(str, base["tracked"].to_numpy()):
        quantities.append(_quantity(f"probability of {text}", f"probability of {text!r}", "", 1.0))
        rank = _quantity(f"rank of {text}", f"rank of {text!r}", "0 is the likeliest", 1.0)
        quantities.append(Quantity(**{**rank, "scale": "log", "low": float(len(lens.vocabulary))}))
    prompt = lens.prompt.text
    return GridSpec(
        title=f"{lens.name} of {lens.model.name}: {prompt if len(prompt) <= 120 else prompt[:119] + '…'}",
        note=" ".join(f"{note}." for note in lens.notes),
        rows=axis("layer", "layers", ["in" if layer < 0 else str(layer) for layer in layers], layers),
        columns=axis("token", "tokens", [lens.prompt.tokens[i] for i in positions], positions),
        quantities=quantities,
    )


def _rising(lens: Lens) -> Any:
    """Return a lens's numbers with the last layer first, which is drawn on top, as in its chart."""
    return lens.data.isel(layer=slice(None, None, -1))


def _quantity(id: str, name: str, unit: str, high: float, *, words: bool = False) -> Quantity:
    return Quantity(id=id, name=name, unit=unit, scale="sequential", low=0.0, high=high, words=words)


def _cells(lens: Lens, run: str, spec: GridSpec, only: str | None = None) -> list[Cells]:
    """Return all quantities of a run, or `only` one of them; none of a run that was not read."""
    if run not in lens.runs:
        return []
    data = _rising(lens).sel(run=run)
    found = []
    for quantity in (one for one in spec["quantities"] if only in (None, one["id"])):
        name, _, text = quantity["id"].partition(" of ")
        if name == "top":
            words = np.asarray(lens.vocabulary, dtype=object)[data["top"].to_numpy()[..., 0]]
            found.append(cells(quantity, data["top_probability"].to_numpy()[..., 0], words))
        else:
            values = data[name].sel(tracked=text) if text else data[name]
            found.append(cells(quantity, values.to_numpy()))
    return found
