"""Attention patterns to look through: all heads in small, one of them large, and the tokens that it looks at."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import traitlets

from nbinterp.interventions import Cut
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.following import MOST_A_STEP, Follower, Offer, ablated, require_both, where
from nbinterp.widgets.grid import LONGEST_LABEL, reach
from nbinterp.widgets.protocol import AttentionPattern, AttentionShown, AttentionSpec, HeadPictures, HeadScore
from nbinterp.widgets.saved import origin_of, page, saved_bundle

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import altair as alt
    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.widgets.following import Followed

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


class AttentionView(Follower):
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
    follow : Playground, optional
        Whose interventions the patterns are read under, while its sliders move. What is picked in one is picked in the other;
        there a picked head can be ablated in one click, and the edges of picked cells cut.
    ask : callable, optional
        Reads an experiment: ``lambda experiment: nb.attention(model, experiment)``. Needed with `follow`.

    Attributes
    ----------
    attention : Attention
        What is shown.
    selection : Selection
        Heads and tokens that are picked; may be set.
    head : tuple of (layer, head)
        Which is shown large; may be set.
    measure : str
        ``"attention"``, ``"attention × value norm"``, ``"attention untouched"`` or ``"change of attention"``; may be set.

    Raises
    ------
    TypeError
        For what holds no patterns, and where only one of `follow` and `ask` is given.
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

    def __init__(
        self,
        attention: Patterns,
        *,
        head: tuple[int, int] | None = None,
        scores: Mapping[str, ArrayLike] | Scores | None = None,
        follow: Followed | None = None,
        ask: Callable[[Experiment], Patterns] | None = None,
    ) -> None:
        if not all(hasattr(attention, name) for name in ("pattern", "prompt", "base", "values")):
            raise TypeError(
                f"got {type(attention).__name__} for a view of attention; wanted what heads look at: nb.AttentionView(nb.attention(…))."
            )
        require_both(follow, ask, "reads the attention of its experiment")
        self.attention, self._ask = attention, ask
        read = [int(layer) for layer in attention.pattern["layer"].to_numpy()]
        # the last layer is drawn on top, as in every grid
        self._layers = sorted(read, reverse=True)
        self._measures = _measures(attention)
        self._named = _scores(scores, read, self._layers, attention.pattern.sizes["head"])
        first, second = self._first() if head is None else head
        self._require(first, second)
        measure = _DIFFERENCE if attention.base is not None else _WEIGHT
        super().__init__(
            spec=self._spec(),
            view=AttentionShown(layer=first, head=second, measure=measure, queries=[], keys=[]),
            small=self._small(measure),
            pattern=self._pattern(first, second, measure),
        )
        self.observe(self._show, names="view")
        self.observe(self._enlarge, names="selection")
        if follow is not None:
            self._follow(follow)

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
        return int(pattern["layer"][layer]), int(head)

    def _spec(self) -> AttentionSpec:
        found = self.attention
        return AttentionSpec(
            title=f"Attention of {found.model.name}: {_short(found.prompt.text)}",
            note="",
            tokens=[token[:LONGEST_LABEL] for token in found.prompt.tokens],
            layers=self._layers,
            n_heads=found.pattern.sizes["head"],
            measures=self._measures,
            scores=self._named,
        )

    def _take(self, experiment: Experiment) -> bool:
        assert self._ask is not None
        before, found = self.attention, self._ask(experiment)
        layers = sorted(map(int, found.pattern["layer"].to_numpy()), reverse=True)
        if layers != self._layers:
            raise ValueError(
                f"got attention of the layers {layers[::-1]} to follow; wanted those that are shown, {self._layers[::-1]}."
            )
        self.attention, self._measures = found, _measures(found)
        measure = self.measure if self.measure in self._measures else _WEIGHT
        if found.base is not None and before.base is None:
            measure = _DIFFERENCE
        layer, head = self.head
        n = len(found.prompt)
        with self.hold_sync():
            self.spec = self._spec()
            same = before.prompt == found.prompt and measure == self.measure
            # all heads in small are many bytes: while the hand moves, the head that is shown goes first
            later = same and len(self.small["values"]) > MOST_A_STEP
            if not later:
                self.small = self._small(measure)
            self.pattern = self._pattern(layer, head, measure)
            self.view = {**self.view, "measure": measure, **_within(self.view, n)}
        return later

    def _take_more(self) -> None:
        self.small = self._small(self.measure)

    def _offers(self, experiment: Experiment, texts: Sequence[str]) -> Iterator[Offer]:
        layer, head = self.head
        tokens = [token for token in self.selection.tokens if token < len(texts)]
        queries, keys = (sorted(set(self.view.get(side, []))) for side in ("queries", "keys"))
        # what was picked elsewhere since says of no token whether it looks or is looked at
        if queries and keys and set(tokens) == {*queries, *keys} and min(keys) <= max(queries):
            cut = Cut(f"pattern.{layer}.{head}", tokens=tuple(queries), keys=tuple(keys))
            yield Offer(f"Cut {cut.site} at {where(queries, texts)} off {where(keys, texts)}", [cut])
            tokens = queries
        picked = [pair for pair in self.selection.heads if pair[0] in self._layers] or [self.head]
        yield ablated([f"z.{first}.{second}" for first, second in picked], tokens, texts)

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


def _measures(found: Patterns) -> list[str]:
    """Return how attention can be shown."""
    weighted = [_WEIGHTED] if found.values is not None else []
    return [_WEIGHT, *weighted, *([_BASE, _DIFFERENCE] if found.base is not None else [])]


def _scores(
    given: Mapping[str, ArrayLike] | Scores | None, read: list[int], layers: list[int], n_heads: int
) -> list[HeadScore]:
    """Return what is told of each head, layers in the order in which they are drawn; of scores by kind, the mean over sequences."""
    found: Any = given
    if hasattr(found, "scores"):
        means = found.scores.mean("sequence").sel(layer=read)
        found = {str(kind): means.sel(kind=kind).to_numpy() for kind in means["kind"].to_numpy()}
    named = []
    for name, array in (found or {}).items():
        values = np.asarray(array, dtype=np.float64)
        if values.shape != (len(read), n_heads):
            raise ValueError(
                f"got scores {name!r} of shape {values.shape}; wanted one for each head that was read, {(len(read), n_heads)}."
            )
        drawn = values[[read.index(layer) for layer in layers]]
        named.append(HeadScore(name=name, values=drawn.ravel().tolist()))
    return named


def _within(view: Mapping[str, Any], n: int) -> dict[str, list[int]]:
    """Return the queries and keys that are picked, of those that there still are."""
    return {side: [token for token in view.get(side, []) if token < n] for side in ("queries", "keys")}


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
