"""Attention patterns to look through: all heads in small, one of them large, and the tokens that it looks at."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import traitlets

from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.grid import LONGEST_LABEL, reach
from nbinterp.widgets.protocol import AttentionPattern, AttentionShown, AttentionSpec, HeadPictures, HeadScore
from nbinterp.widgets.saved import origin_of, page, saved_bundle
from nbinterp.widgets.selection import SelectionTrait
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import altair as alt
    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.prompts import TokenizedPrompt

_PICTURE_BYTES = 500_000  # of all heads in small together
_LARGEST, _SMALLEST = 48, 8  # pixels a side of a head in small
_MOST_DRAWN = 140  # tokens a side that the stored chart holds
_MOST_KEPT = 600_000  # bytes of patterns that a saved notebook keeps beside the picture
_WEIGHT, _WEIGHTED, _BASE, _DIFFERENCE = (
    "attention",
    "attention × value norm",
    "attention untouched",
    "change of attention",
)


class Patterns(Protocol):
    """What heads look at; `nbinterp.attention` gives it."""

    pattern: xr.DataArray
    """Weights: ``[layer, head, query, key]``."""

    base: xr.DataArray | None
    """The same without interventions, where there are some."""

    values: xr.DataArray | None
    """How much each looked-at value would write: ``[layer, head, key]``."""

    prompt: TokenizedPrompt

    @property
    def model(self) -> ModelInfo:
        """The model that was run."""

    def chart(self, layer: int, head: int, *, weighted: bool = ..., tokens: slice = ...) -> Any:
        """Return one head's pattern as a chart."""


class Scores(Protocol):
    """How much heads are of each kind; `nbinterp.head_scores` gives it."""

    scores: xr.DataArray
    """``[kind, sequence, layer, head]``"""


class AttentionView(Widget):
    """What every head looks at: all of them in small, the one that is picked large, with the tokens that it looks at.

    Click a head to enlarge and pick it; a head that is picked in a linked widget is enlarged here. Move over a query to see what it
    looks at in the line of tokens; click a cell to pick its query and key.

    Parameters
    ----------
    attention : Attention
        What `nbinterp.attention` gave; with ``values=True`` weights can be shown times ‖v W_O‖, with interventions what
        they change.
    head : tuple of (layer, head), optional
        Which to enlarge at first; by default the one whose queries look least at themselves and at the first token.
    scores : HeadScores, or mapping of str to array, ``[layer, head]``, optional
        Numbers that are told of each head, by name; what `nbinterp.head_scores` gave.

    Attributes
    ----------
    selection : Selection
        Heads and tokens that are picked; may be set.
    head : tuple of (layer, head)
        Which is shown large; may be set.
    measure : str
        ``"attention"``, ``"attention × value norm"``, ``"attention untouched"`` or ``"change of attention"``; may be set.

    Raises
    ------
    TypeError
        For what holds no patterns.
    LookupError
        For a head that was not read.

    Examples
    --------
    >>> nb.AttentionView(nb.attention(model, "The capital of France is", values=True))  # doctest: +SKIP
    """

    _esm = Bundle("attention.js")
    _css = Bundle("attention.css")

    spec: Any = traitlets.Dict().tag(sync=True)
    view: Any = traitlets.Dict().tag(sync=True)
    small: Any = traitlets.Dict().tag(sync=True)
    pattern: Any = traitlets.Dict().tag(sync=True)
    selection = SelectionTrait()
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        attention: Patterns,
        *,
        head: tuple[int, int] | None = None,
        scores: Mapping[str, ArrayLike] | Scores | None = None,
    ) -> None:
        if not all(hasattr(attention, name) for name in ("pattern", "prompt", "base", "values")):
            raise TypeError(
                f"got {type(attention).__name__} for a view of attention; wanted what heads look at: nb.AttentionView(nb.attention(…))."
            )
        self.attention = attention
        found = attention.pattern
        self._layers = [int(layer) for layer in found["layer"].to_numpy()]
        self._measures = [
            _WEIGHT,
            *([_WEIGHTED] if attention.values is not None else []),
            *([_BASE, _DIFFERENCE] if attention.base is not None else []),
        ]
        shape = (len(self._layers), found.sizes["head"])
        given = _by_kind(scores, self._layers) if hasattr(scores, "scores") else scores or {}
        named = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
        for name, values in named.items():
            if values.shape != shape:
                raise ValueError(
                    f"got scores {name!r} of shape {values.shape}; wanted one for each head that was read, {shape}."
                )
        first, second = self._first() if head is None else head
        self._require(first, second)
        measure = _DIFFERENCE if attention.base is not None else _WEIGHT
        super().__init__(
            spec=AttentionSpec(
                title=f"Attention of {attention.model.name}: {_short(attention.prompt.text)}",
                note="",
                tokens=[token[:LONGEST_LABEL] for token in attention.prompt.tokens],
                layers=self._layers,
                n_heads=shape[1],
                measures=self._measures,
                scores=[HeadScore(name=name, values=values.ravel().tolist()) for name, values in named.items()],
            ),
            view=AttentionShown(layer=first, head=second, measure=measure),
            small=self._small(measure),
            pattern=self._pattern(first, second, measure),
        )
        self.observe(self._show, names="view")
        self.observe(self._enlarge, names="selection")

    @property
    def selectable(self) -> dict[str, int]:
        """How many tokens, layers and heads can be picked."""
        info = self.attention.model
        return {
            "tokens": len(self.attention.prompt.tokens),
            "layers": info.n_layers,
            "heads": info.n_layers * info.n_heads,
        }

    @property
    def head(self) -> tuple[int, int]:
        """Which head is shown large: layer and head; may be set."""
        return self.view["layer"], self.view["head"]

    @head.setter
    def head(self, head: tuple[int, int]) -> None:
        self._require(*head)
        self.view = {**self.view, "layer": int(head[0]), "head": int(head[1])}

    @property
    def measure(self) -> str:
        """How attention is measured; may be set."""
        return str(self.view["measure"])

    @measure.setter
    def measure(self, measure: str) -> None:
        if measure not in self._measures:
            raise ValueError(f"got measure={measure!r}; wanted one of {', '.join(map(repr, self._measures))}.")
        self.view = {**self.view, "measure": measure}

    def chart(self) -> alt.TopLevelMixin:
        """Return the head that is shown large as a chart; of a long prompt its end."""
        layer, head = self.head
        chart: alt.TopLevelMixin = self.attention.chart(
            layer, head, weighted=self.measure == _WEIGHTED, tokens=slice(-_MOST_DRAWN, None)
        )
        return chart

    def frame(self, most: int = 200) -> pd.DataFrame:
        """Return the `most` strongest edges of the head that is shown: ``query``, ``query_text``, ``key``, ``key_text`` and the measure."""
        values = np.nan_to_num(self._values(*self.head, self.measure))
        order = np.argsort(-np.abs(values), axis=None, kind="stable")[:most]
        query, key = np.unravel_index(order, values.shape)
        texts = self.attention.prompt.tokens
        columns = {
            "query": query,
            "query_text": [texts[i] for i in query],
            "key": key,
            "key_text": [texts[i] for i in key],
            self.measure: values[query, key],
        }
        frame = pd.DataFrame(columns)
        return frame[frame[self.measure] != 0].reset_index(drop=True)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the view as one HTML file in which every head can still be enlarged, without Python or a network.

        Of long prompts only the head that is shown is stored with each of its numbers.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        return page(self, "attention", path, text=repr(self), chart=self.chart(), frame=self.frame())

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = super()._repr_mimebundle_(**kwargs)
        kept = self if len(self.small["values"]) + len(self.pattern["values"]) < _MOST_KEPT else None
        origin = origin_of(self.spec, zlib.crc32(self.small["values"]))
        return saved_bundle(view, "attention", self.chart(), repr(self), self.frame(), widget=kept, origin=origin)

    def __repr__(self) -> str:
        # also of one that could not be made, in the trace of why
        title = self.spec.get("title", "without patterns")
        head = f", head {self.view['layer']}.{self.view['head']}" if self.view else ""
        return f"AttentionView: {title}{head}"

    def _require(self, layer: int, head: int) -> None:
        n = self.attention.pattern.sizes["head"]
        if layer not in self._layers or not 0 <= head < n:
            raise LookupError(
                f"got head {layer}.{head}, which was not read; there are layers {self._layers} with heads 0 to {n - 1}."
            )

    def _first(self) -> tuple[int, int]:
        """Return the head that looks least at its own and the first token: one that rests has nothing to show."""
        pattern = self.attention.pattern
        values = pattern.to_numpy()
        rest = np.einsum("lhqq->lh", values) + values[..., 0].sum(axis=-1)
        layer, head = np.unravel_index(int(np.argmin(rest)), rest.shape)
        return self._layers[int(layer)], int(head)

    def _show(self, change: Any) -> None:
        """Send the pattern that the page, or Python, asked for; on any thread."""
        view = change["new"]
        try:
            layer, head, measure = view["layer"], view["head"], view["measure"]
            self._require(layer, head)
            if measure not in self._measures:
                raise ValueError(f"got measure={measure!r}; wanted one of {', '.join(map(repr, self._measures))}.")
        except (LookupError, ValueError, TypeError) as error:
            self.problem = str(error)
            return
        self.problem = ""
        if self.small["measure"] != measure:
            self.small = self._small(measure)
        if (self.pattern["layer"], self.pattern["head"], self.pattern["measure"]) != (layer, head, measure):
            self.pattern = self._pattern(layer, head, measure)

    def _enlarge(self, change: Any) -> None:
        """Enlarge a head that was picked elsewhere."""
        heads = [pair for pair in change["new"].heads if pair[0] in self._layers]
        if heads and self.head not in heads:
            self.head = heads[0]

    def _values(self, layer: int, head: int, measure: str) -> NDArray[np.float32]:
        """Return ``[query, key]``, NaN where a token may not look."""
        found, place = self.attention, {"layer": layer, "head": head}
        own = (found.base if measure == _BASE and found.base is not None else found.pattern).sel(place).to_numpy()
        if measure == _WEIGHTED and found.values is not None:
            own = own * found.values.sel(place).to_numpy()
        if measure == _DIFFERENCE and found.base is not None:
            own = own - found.base.sel(place).to_numpy()
        # what comes later is hidden from a token; a model that sees both ways has weights there
        hidden = np.tri(len(own), dtype=bool)
        values: NDArray[np.float32] = np.where(hidden | (own != 0), own, np.nan).astype(np.float32)
        return values

    def _pattern(self, layer: int, head: int, measure: str) -> AttentionPattern:
        values = self._values(layer, head, measure)
        low, high = _ends(measure, reach(values))
        sent = values.astype("<f2").tobytes()
        return AttentionPattern(layer=layer, head=head, measure=measure, low=low, high=high, values=sent)

    def _small(self, measure: str) -> HeadPictures:
        n_heads, n = self.attention.pattern.sizes["head"], self.attention.pattern.sizes["key"]
        side = int(np.sqrt(_PICTURE_BYTES / (len(self._layers) * n_heads)))
        size = min(n, max(_SMALLEST, min(_LARGEST, side)))
        pictures = np.stack(
            [_pooled(self._values(layer, head, measure), size) for layer in self._layers for head in range(n_heads)]
        )
        low, high = _ends(measure, reach(pictures))
        # of a diverging scale the middle is a whole number, so that nothing looks like nothing
        scaled = pictures / high * 127 + 128 if low < 0 else pictures / high * 255
        values = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return HeadPictures(measure=measure, size=size, low=low, high=high, values=values.tobytes())


def _by_kind(found: Any, layers: list[int]) -> dict[str, ArrayLike]:
    """Return by kind what these layers' heads have on the mean over sequences: ``[layer, head]``."""
    means = found.scores.mean("sequence").sel(layer=layers)
    return {str(kind): means.sel(kind=kind).to_numpy() for kind in means["kind"].to_numpy()}


def _ends(measure: str, end: float) -> tuple[float, float]:
    """Return the ends of a scale: of plain weights 0 and 1, so that heads can be compared."""
    if measure in (_WEIGHT, _BASE):
        return 0.0, 1.0
    return (-end, end) if measure == _DIFFERENCE else (0.0, end)


def _pooled(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return the value furthest from 0 of each of `size` × `size` blocks."""
    known = np.nan_to_num(values)
    if size == len(known):
        return known
    starts = np.arange(size) * len(known) // size
    high, low = (
        part.reduceat(part.reduceat(known, starts, axis=0), starts, axis=1) for part in (np.maximum, np.minimum)
    )
    pooled: NDArray[np.float32] = np.where(high >= -low, high, low)
    return pooled


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"
