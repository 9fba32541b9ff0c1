"""Where heads look: patterns of attention, plain and weighted by what the looked-at values write, untouched and changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

import numpy as np
import pandas as pd
import xarray as xr

from nbinterp.experiment import Experiment
from nbinterp.methods.grids import layers_of
from nbinterp.methods.one_prompt import OfOnePrompt, OfSeveral, positions_of
from nbinterp.prompts import Chat
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.model import Model
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.results import Result
    from nbinterp.tokens import TokensLike

_Part: TypeAlias = "tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]"

_DRAWN = 140
"""More tokens than this a side make more cells than a page can draw."""


@dataclass(frozen=True, eq=False)
class Attention(OfOnePrompt):
    """What every head looks at in one prompt.

    Parameters
    ----------
    pattern : DataArray, ``[layer, head, query, key]``
        Weights of attention, from 0 to 1, with the interventions.
    base : DataArray, ``[layer, head, query, key]``, optional
        The same without the interventions, where there are some.
    values : DataArray, ``[layer, head, key]``, optional
        ‖v W_O‖: how much a head would write if it looked at this token alone, in the units of the residual stream.
    base_values : DataArray, ``[layer, head, key]``, optional
        The same without the interventions.
    prompt : TokenizedPrompt, ``[n_tokens]``
        The prompt.
    experiment : Experiment
        What was run.
    """

    pattern: xr.DataArray
    base: xr.DataArray | None
    values: xr.DataArray | None
    base_values: xr.DataArray | None
    prompt: TokenizedPrompt = field(repr=False)
    experiment: Experiment = field(repr=False)

    @property
    def weighted(self) -> xr.DataArray:
        """Weights times ‖v W_O‖: how much of what each head writes comes from where, ``[layer, head, query, key]``.

        A head that rests looks at a token whose value writes next to nothing: there the plain weight misleads.

        Raises
        ------
        ValueError
            Where values were not asked for.

        References
        ----------
        .. [1] Kobayashi et al., "Attention is not only a weight", 2020, section 3. arXiv:2004.10102
        """
        if self.values is None:
            raise ValueError("got attention without values; ask for them: nb.attention(model, prompt, values=True).")
        return (self.pattern * self.values).assign_attrs(units="norm in the residual stream")

    @property
    def on_first(self) -> xr.DataArray:
        """Mean weight that each head puts on the first token, over the queries after it: ``[layer, head]``."""
        return self.pattern.isel(key=0, query=slice(1, None)).mean("query")

    def weight(self, query: TokensLike, key: TokensLike) -> xr.DataArray:
        """Return how much of what some queries look at lies on some keys, the mean over these queries: ``[layer, head]``.

        Parameters
        ----------
        query, key : as tokens in interventions
            Which tokens look, and where to.

        Raises
        ------
        LookupError
            For tokens that are not there.
        """
        queries, keys = (positions_of(chosen, self.prompt) for chosen in (query, key))
        return self.pattern.isel(query=list(queries), key=list(keys)).sum("key").mean("query")

    def frame(self, *, least: float = 0.01) -> pd.DataFrame:
        """Return one line an edge from a query to a key.

        Parameters
        ----------
        least : float
            Edges of less weight, with and without the interventions, are left out.

        Returns
        -------
        DataFrame
            ``layer``, ``head``, ``query``, ``query_text``, ``key``, ``key_text``, ``weight``; ``base`` and ``difference`` where there are
            interventions; ``weighted`` where values were asked for.
        """
        pattern = self.pattern.to_numpy()
        large = pattern >= least
        if self.base is not None:
            large |= self.base.to_numpy() >= least
        at = np.nonzero(large & np.tri(len(self.prompt), dtype=bool))
        texts = np.array(self.prompt.tokens, dtype=object)
        columns: dict[str, Any] = {
            "layer": self.pattern["layer"].to_numpy()[at[0]],
            "head": at[1],
            "query": at[2],
            "query_text": texts[at[2]],
            "key": at[3],
            "key_text": texts[at[3]],
            "weight": pattern[at],
        }
        if self.base is not None:
            columns["base"] = self.base.to_numpy()[at]
            columns["difference"] = columns["weight"] - columns["base"]
        if self.values is not None:
            columns["weighted"] = columns["weight"] * self.values.to_numpy()[at[0], at[1], at[3]]
        return pd.DataFrame(columns)

    def chart(self, layer: int, head: int, *, weighted: bool = False, tokens: slice = slice(None)) -> alt.Chart:
        """Return one head's pattern as a heat map: queries run down, keys to the right; under interventions, the difference they make.

        Parameters
        ----------
        layer, head : int
            Which head.
        weighted : bool
            Weights times ‖v W_O‖.
        tokens : slice
            Which part of a long prompt.

        Raises
        ------
        ValueError, LookupError
            For a head that was not read, and for more tokens than a page can draw.
        """
        what = "weighted attention" if weighted else "attention"
        shown = self.weighted if weighted else self.pattern
        if self.base is not None and not weighted:
            shown, what = shown - self.base, "change of attention"
        labels = [f"{i}: {token}" for i, token in enumerate(self.prompt.tokens)]
        return _drawn(shown, layer, head, labels, tokens, what, f"{self.model.name}: {self.prompt.text}")

    def __repr__(self) -> str:
        n = self.pattern.sizes
        first = self.on_first
        lines = [
            f"Attention of {n['layer']} layers × {n['head']} heads over {n['key']} tokens on {self.model}",
            f"  {self.prompt.text!r}",
        ]
        if n["query"] > 1:
            lines.append(f"  {_resting(first)}")
        if self.base is not None:
            moved = abs(self.pattern - self.base).sum("key").mean("query") / 2
            places = np.dstack(np.unravel_index(np.argsort(-moved.to_numpy(), axis=None)[:3], moved.shape))[0]
            said = [f"{self.pattern['layer'].to_numpy()[a]}.{b} ({float(moved[a, b]):.0%})" for a, b in places]
            lines.append(f"  the interventions move most of the weight in heads {', '.join(said)}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Attentions(OfSeveral[Attention]):
    """What every head looks at in several prompts.

    Parameters
    ----------
    each : tuple of Attention, ``[prompt]``
        Of each prompt, in the order given.
    """

    @property
    def on_first(self) -> xr.DataArray:
        """Mean weight that each head puts on the first token: ``[prompt, layer, head]``."""
        return xr.concat([one.on_first for one in self.each], "prompt")

    def weight(self, query: TokensLike, key: TokensLike) -> xr.DataArray:
        """Return how much of what some queries look at lies on some keys, in each prompt: ``[prompt, layer, head]``.

        Parameters
        ----------
        query, key : as tokens in interventions
            Which tokens look, and where to, found in each prompt by itself: where it differs from prompt to prompt, a regular
            expression or a function of the prompt's tokens finds them.

        Raises
        ------
        LookupError
            For tokens that are not there.
        """
        return xr.concat([one.weight(query, key) for one in self.each], "prompt")

    def frame(self, *, least: float = 0.01) -> pd.DataFrame:
        """Return the lines of `Attention.frame` of all prompts, with ``prompt``, the prompt's number, in front."""
        frames = [one.frame(least=least) for one in self.each]
        whole = pd.concat(frames, keys=range(len(frames)), names=["prompt"])
        return whole.reset_index("prompt").reset_index(drop=True)

    def chart(self, layer: int, head: int, *, tokens: slice = slice(None)) -> alt.Chart:
        """Return one head's mean pattern over the prompts as a heat map, with the interventions.

        Parameters
        ----------
        layer, head : int
            Which head.
        tokens : slice
            Which part of long prompts.

        Raises
        ------
        ValueError, LookupError
            As `Attention.chart`, and for prompts of different token length.
        """
        lengths = sorted({len(one.prompt) for one in self.each})
        if len(lengths) > 1:
            raise ValueError(
                f"got prompts of {lengths[0]} to {lengths[-1]} tokens to draw as one; wanted equally many in each: draw one of "
                f"them, found[0].chart({layer}, {head})."
            )
        said = [set(texts) for texts in zip(*(one.prompt.tokens for one in self.each), strict=True)]
        labels = [f"{i}: {texts.pop() if len(texts) == 1 else '…'}" for i, texts in enumerate(said)]
        mean = xr.concat([one.pattern for one in self.each], "prompt").mean("prompt")
        return _drawn(mean, layer, head, labels, tokens, "mean attention", f"{self.model.name}: {self._prompts}")

    @property
    def _prompts(self) -> str:
        more = len(self) - 1
        return self.each[0].prompt.text + (f" and {more} more" if more else "")

    def __repr__(self) -> str:
        n = self.each[0].pattern.sizes
        lines = [
            f"Attention of {n['layer']} layers × {n['head']} heads in {len(self)} prompts on {self.model}",
            f"  {self._prompts}",
        ]
        if all(len(one.prompt) > 1 for one in self.each):
            lines.append(f"  {_resting(self.on_first)}")
        return "\n".join(lines)


def _drawn(
    patterns: xr.DataArray, layer: int, head: int, labels: Sequence[str], tokens: slice, what: str, subtitle: str
) -> alt.Chart:
    """Return a head's pattern as a heat map: ``patterns [layer, head, query, key]``."""
    from nbinterp.charts.attention import pattern_chart

    read = patterns["layer"].to_numpy().tolist()
    if layer not in read or not 0 <= head < patterns.sizes["head"]:
        raise LookupError(
            f"got head {layer}.{head}, which was not read; there are layers {read} with heads 0 to {patterns.sizes['head'] - 1}."
        )
    shown = labels[tokens]
    if not 0 < len(shown) <= _DRAWN:
        raise ValueError(
            f"got {len(shown)} tokens to draw; a chart holds 1 to {_DRAWN} a side: choose some, tokens=slice(-{_DRAWN}, None)."
        )
    return pattern_chart(
        patterns.sel(layer=layer, head=head).to_numpy()[tokens, tokens],
        list(shown),
        value=what,
        title=f"{what.capitalize()} of head {layer}.{head}",
        subtitle=subtitle,
    )


def _resting(first: xr.DataArray) -> str:
    return (
        f"the first token gets {float(first.mean()):.0%} of all weight, and more than half of it in {float((first > 0.5).mean()):.0%} "
        "of the heads: heads that rest look there"
    )


@overload
def attention(
    model: Model,
    prompt: Prompt | Experiment,
    *,
    layers: Iterable[int] | None = ...,
    values: bool = ...,
    cancel: Callable[[], bool] = ...,
) -> Attention: ...
@overload
def attention(
    model: Model,
    prompt: list[Prompt] | list[Experiment] | tuple[Prompt | Experiment, ...],
    *,
    layers: Iterable[int] | None = ...,
    values: bool = ...,
    cancel: Callable[[], bool] = ...,
) -> Attentions: ...
def attention(
    model: Model,
    prompt: Prompt | Experiment | Sequence[Prompt | Experiment],
    *,
    layers: Iterable[int] | None = None,
    values: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> Attention | Attentions:
    """Read what every head looks at.

    A model whose attention is computed without a pattern computes it step by step for this run, and goes back after it.

    Parameters
    ----------
    model : Model
        The model.
    prompt : str, Chat or Experiment, or list of them
        An experiment has one prompt; under its interventions both patterns are read, changed and untouched. The prompts of a
        list are run together.
    layers : iterable of int, optional
        Which layers; all by default.
    values : bool
        Also read how much each looked-at value would write: see `Attention.weighted`.
    cancel : callable
        As for `Model.run`.

    Returns
    -------
    Attention, or Attentions for a list

    Raises
    ------
    ValueError
        For an experiment with more than one prompt, and for patterns that take more memory than the model's `memory_bound`: before it runs.
    """
    # a list of messages is one chat
    single = isinstance(prompt, str | Chat | Experiment) or isinstance(next(iter(prompt), None), Mapping)
    given: list[Any] = [prompt] if single else list(cast("Iterable[Any]", prompt))
    asked = [one if isinstance(one, Experiment) else Experiment(one) for one in given]
    if not asked:
        raise ValueError("got no prompt; wanted at least one text or chat.")
    for one in asked:
        if len(one.prompts) != 1:
            raise ValueError(
                f"got an experiment with {len(one.prompts)} prompts; wanted one: give a list of experiments."
            )
    chosen = layers_of(layers, model.info)
    for component in ("pattern", "v", "z") if values else ("pattern",):
        model.info.check(Site(component, 0))
    prompts = [model.tokens(one.prompts[0]) for one in asked]
    # what a run reads it holds beside what is returned: a part of the layers at a time
    at_once = max(1, _fitting(model, asked, prompts, len(chosen)) // 4)
    parts: list[list[list[_Part]]] = []
    for first in range(0, len(chosen), at_once):
        some = chosen[first : first + at_once]
        sites = [Site(c, layer) for layer in some for c in (("pattern", "v") if values else ("pattern",))]
        results = model.run([Experiment(one.prompts, one.interventions, sites) for one in asked], cancel=cancel)
        parts.append(
            [
                [_read(model, result, some, values, base) for base in ((False, True) if one.active else (False,))]
                for one, result in zip(asked, results, strict=True)
            ]
        )
    found = []
    for i, (one, tokens) in enumerate(zip(asked, prompts, strict=True)):
        pattern, norms = _joined([part[i][0] for part in parts], chosen)
        base, base_norms = _joined([part[i][1] for part in parts], chosen) if one.active else (None, None)
        found.append(Attention(pattern, base, norms, base_norms, tokens, one.on(model.info)))
    return found[0] if single else Attentions(tuple(found))


def _fitting(model: Model, asked: Sequence[Experiment], prompts: Sequence[TokenizedPrompt], n_layers: int) -> int:
    """Return of how many layers the patterns fit into memory; ValueError where those that were asked for do not."""
    cells = sum(len(seen) ** 2 * (2 if one.active else 1) for one, seen in zip(asked, prompts, strict=True))
    one = 4 * model.info.n_heads * cells
    most = model.memory_bound // one
    if n_layers > most:
        over = f"{len(prompts[0])} tokens" if len(prompts) == 1 else f"{len(prompts)} prompts"
        raise ValueError(
            f"got {n_layers} layers of {model.info.n_heads} heads over {over} to read, {_size(one * n_layers)} of patterns; "
            f"the model's memory_bound is {_size(model.memory_bound)}: "
            + (
                f"ask for {most} layers at most, layers=[…]."
                if most
                else "raise model.memory_bound, or shorten the prompt."
            )
        )
    return most


def _read(
    model: Model, result: Result, layers: Sequence[int], values: bool, base: bool
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return patterns ``[head, query, key]`` and norms of values ``[head, key]``, layer by layer."""
    patterns = [result.read(Site("pattern", layer), base=base) for layer in layers]
    norms = [value_norms(model, layer, result.read(Site("v", layer), base=base)) for layer in layers] if values else []
    return patterns, norms


def value_norms(model: Model, layer: int, v: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``[head, key]``: ‖v W_O‖ of each head's values ``[key, n_kv_heads, d_head]``."""
    each = np.repeat(v, model.info.n_heads // v.shape[1], axis=1)
    norms: NDArray[np.float32] = np.linalg.norm(model.head_outputs(layer, each), axis=-1).T
    return norms


def _joined(parts: Sequence[tuple[Any, Any]], layers: Sequence[int]) -> tuple[xr.DataArray, xr.DataArray | None]:
    patterns = np.stack([pattern for part in parts for pattern in part[0]])
    patterns.flags.writeable = False
    coords = {"layer": list(layers)}
    found = xr.DataArray(patterns, coords, ("layer", "head", "query", "key"), "attention", {"units": "weight"})
    listed = [norms for part in parts for norms in part[1]]
    if not listed:
        return found, None
    norms = np.stack(listed)
    norms.flags.writeable = False
    units = {"units": "norm in the residual stream"}
    return found, xr.DataArray(norms, coords, ("layer", "head", "key"), "value norm", units)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
