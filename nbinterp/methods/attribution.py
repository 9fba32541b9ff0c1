"""Direct logit attribution: what each head and each MLP writes of a logit, to the last bit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import pandas as pd
import xarray as xr

from nbinterp.methods.grids import largest
from nbinterp.methods.one_prompt import OfOnePrompt, OfSeveral, one_prompt, positions_of
from nbinterp.methods.pieces import piece_of
from nbinterp.metrics import Metric
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.experiment import Experiment
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.results import Result
    from nbinterp.tokens import TokensLike

TOLERANCE = 1e-3
"""How far the parts' sum may be from the logit in float32, beside the rounding of the parts themselves."""

_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True, eq=False)
class LogitAttribution(OfOnePrompt):
    """A logit, or a difference of two, as the sum of what the model's parts write into the residual stream.

    Parameters
    ----------
    parts : DataArray, ``[run, token, part]``
        In logits. Axes ``run`` (``"base"``, and ``"changed"`` where there are interventions), ``token`` (its position in the
        prompt), ``part`` (names such as ``"embed"``, ``"L3H5"``, ``"MLP 3"``), with the coordinates ``kind`` (``"embed"``,
        ``"head"``, ``"attention bias"``, ``"mlp"``, ``"constant"``, ``"intervention"``), ``layer`` and ``head`` (−1 where there is none).
    logits : DataArray, ``[run, token]``
        What the model computes: what the parts sum to. Before the soft cap, in a model that has one.
    gap : float
        The largest difference between the two, in logits.
    metric : str
        Which logit, or which difference.
    cap : float or None
        The model's soft cap c, which makes c tanh(z / c) of a logit z.
    prompt : TokenizedPrompt
        What was read.
    experiment : Experiment
        What was run, bound to its model.
    notes : tuple of str
        What a reader has to know.
    """

    parts: xr.DataArray
    logits: xr.DataArray
    gap: float
    metric: str
    cap: float | None
    prompt: TokenizedPrompt
    experiment: Experiment
    notes: tuple[str, ...] = field(default=())

    def frame(self) -> pd.DataFrame:
        """Return one line a part and token.

        Returns
        -------
        DataFrame
            ``position``, ``token``, ``part``, ``kind``, ``layer``, ``head`` (−1 where there is none), ``base``, and where there are
            interventions ``changed`` and ``difference``; in logits.
        """
        token, part = (index.ravel() for index in np.indices(self.parts.shape[1:]))
        positions = self.parts["token"].to_numpy()[token]
        columns: dict[str, Any] = {"position": positions, "token": [self.prompt.tokens[i] for i in positions]}
        columns |= {name: self.parts[name].to_numpy()[part] for name in ("part", "kind", "layer", "head")}
        columns |= {run: self.parts.sel(run=run).to_numpy().ravel() for run in self.runs}
        if "changed" in columns:
            columns["difference"] = columns["changed"] - columns["base"]
        return pd.DataFrame(columns)

    def top(self, k: int = 10, *, by: str | None = None) -> pd.DataFrame:
        """Return the `k` lines of `frame` that are largest in size, by default of the changed run where there is one."""
        frame = self.frame()
        by = self.runs[-1] if by is None else by
        if by not in frame.columns[6:]:
            raise ValueError(f"got by={by!r}; choose one of {', '.join(map(repr, frame.columns[6:]))}.")
        return largest(frame, frame[by], k)

    def chart(self, *, by: str | None = None, token: int = -1) -> alt.HConcatChart:
        """Return the parts at one token: heads, MLPs and the rest by layer, and the largest as bars.

        Parameters
        ----------
        by : {"base", "changed", "difference"}, optional
            By default what was changed, where something was.
        token : int
            Which of the tokens that were read, counted as in a list.
        """
        from nbinterp.charts.attribution import attribution_chart

        by = self.runs[-1] if by is None else by
        frame = self.frame()
        if by not in frame.columns[6:]:
            raise ValueError(f"got by={by!r}; choose one of {', '.join(map(repr, frame.columns[6:]))}.")
        positions = self.parts["token"].to_numpy()
        if not -len(positions) <= token < len(positions):
            raise IndexError(f"got token={token} of {len(positions)} that were read; choose 0 to {len(positions) - 1}.")
        at = int(positions[token])
        total = {run: float(self.logits.sel(run=run, token=at)) for run in self.runs}
        total["difference"] = total[self.runs[-1]] - total["base"]
        return attribution_chart(
            frame[frame["position"] == at],
            value=by,
            title=f"{self.metric} after {self.prompt.tokens[at]!r}",
            subtitle=f"{self.model.name}, {by}: the parts sum to {total[by]:+.3f} logits",
        )

    def __repr__(self) -> str:
        lines = [f"Logit attribution of {self.metric} on {self.model}", f"  {self.prompt.text!r}"]
        for run in self.runs:
            for position in self.parts["token"].to_numpy().tolist()[:4]:
                here = self.parts.sel(run=run, token=position)
                values = here.to_numpy()
                order = np.argsort(-np.abs(values), kind="stable")[:5]
                largest = ", ".join(f"{here['part'].to_numpy()[i]} {values[i]:+.2f}" for i in order)
                total = float(self.logits.sel(run=run, token=position))
                lines.append(
                    f"  {run}, after {self.prompt.tokens[position]!r}: {total:+.3f} logits; largest: {largest}."
                )
        lines.append(f"  The parts sum to that within {self.gap:.1g} logits; {_LINEAR}.")
        if self.cap is not None:
            lines.append(
                f"  The model then caps each logit z to {self.cap:g} tanh(z / {self.cap:g}), which is left out here."
            )
        return "\n".join([*lines, *(f"  {note}." for note in self.notes)])


_LINEAR = "the final norm is folded in, with its scale as it is in this run"


@dataclass(frozen=True, eq=False)
class LogitAttributions(OfSeveral[LogitAttribution]):
    """Several logits, or differences of two, after the same tokens of the same prompt, each as the sum of its parts.

    Parameters
    ----------
    each : tuple of LogitAttribution, ``[logit]``
        Of each logit, in the order given.
    """

    def frame(self) -> pd.DataFrame:
        """Return the lines of `LogitAttribution.frame` of all logits, with ``logit``, which one, in front."""
        return pd.concat([one.frame().assign(logit=one.metric) for one in self.each], ignore_index=True)[
            ["logit", *self.each[0].frame().columns]
        ]

    def chart(self, *, by: str | None = None, token: int = -1) -> alt.VConcatChart:
        """Return the charts of all logits one below the other: see `LogitAttribution.chart`."""
        from nbinterp.charts.theme import together

        return together([[one.chart(by=by, token=token)] for one in self.each])

    def __repr__(self) -> str:
        head = f"Logit attribution of {len(self)} logits on {self.model}"
        return "\n".join([head, *(f"  {line}" for one in self.each for line in repr(one).splitlines())])


Asked: TypeAlias = "str | int | tuple[str | int, str | int] | Metric"
"""A token, a pair of them for the difference of their logits, or a metric of logits."""


@overload
def logit_attribution(
    model: Model,
    prompt: Prompt | Experiment | Sequence[Mapping[str, str]],
    token: Asked,
    *,
    tokens: TokensLike = ...,
    cancel: Callable[[], bool] = ...,
) -> LogitAttribution: ...
@overload
def logit_attribution(
    model: Model,
    prompt: Prompt | Experiment | Sequence[Mapping[str, str]],
    token: list[str] | list[int] | list[Asked],
    *,
    tokens: TokensLike = ...,
    cancel: Callable[[], bool] = ...,
) -> LogitAttributions: ...
def logit_attribution(
    model: Model,
    prompt: Prompt | Experiment | Sequence[Mapping[str, str]],
    token: Asked | list[str] | list[int] | list[Asked],
    *,
    tokens: TokensLike = -1,
    cancel: Callable[[], bool] = lambda: False,
) -> LogitAttribution | LogitAttributions:
    """Split a token's logit, or the difference of two, into what embedding, each head and each MLP write of it.

    The last residual stream is the sum of what went into the first block and of what every attention and MLP adds. The final
    norm is a linear map once its scale is known, and its scale is taken from this run: so that the sum is exact, and says
    nothing of how the scale itself would change. What the norm's bias and the unembedding's add is the part ``"constant"``;
    what the output projection's bias adds is an ``"attention bias"``; in a model that norms what attention adds (Gemma 2, 3),
    that norm's scale is frozen as well. A soft cap is left out: the parts sum to the logit before it.

    Parameters
    ----------
    model : Model
        Who is read.
    prompt : str, Chat or Experiment
        What the model is given. Of an experiment with interventions both runs are split; what an intervention itself writes
        into the stream is a part of its own.
    token : str, int, pair of them, or Metric; or list of these
        Whose logit; of a pair the difference, first − second; or `nbinterp.logit` or `nbinterp.logit_difference`. Of a text of
        several tokens the first is taken, and the result says so. A list asks for each, in one run of the model.
    tokens : as in interventions
        After which tokens of the prompt; ``"last"`` and ``"all"`` are always shorthands here.
    cancel : callable
        Asked before each trace; True stops with KeyboardInterrupt.

    Returns
    -------
    LogitAttribution, or LogitAttributions for a list
        With `LogitAttribution.frame`, `LogitAttribution.top` and `LogitAttribution.chart`.

    Raises
    ------
    ValueError, LookupError, TypeError
        For several prompts, interventions behind the last block, a token that is not there, and a model whose blocks do not
        simply add to the stream: before the model runs. And when the parts do not sum to the logit.

    References
    ----------
    .. [1] Elhage et al., "A mathematical framework for transformer circuits", 2021, section "Transformer overview".
    .. [2] Wang et al., "Interpretability in the wild", 2022, section 3.1. arXiv:2211.00593

    Examples
    --------
    >>> nb.logit_attribution(model, "The capital of France is", (" Paris", " Rome")).top()  # doctest: +SKIP
    """
    experiment = one_prompt(model, prompt)
    asked = [_asked(model, one) for one in (token if isinstance(token, list) else [token])]
    if not asked:
        raise ValueError("got no token; wanted at least one, for example ' Paris'.")
    layers = range(model.info.n_layers)
    sites = [Site("resid_pre", 0), *(Site(c, n) for n in layers for c in ("z", "attn_out", "mlp_out", "resid_post"))]
    for site in sites[:5]:
        model.info.check(site)
    seen = model.tokens(experiment.prompts[0])
    positions = positions_of(tokens, seen)
    result = model.run(replace(experiment, read=tuple(sites)), cancel=cancel)
    found = tuple(_attributed(model, result, seen, positions, *one) for one in asked)
    return LogitAttributions(found) if isinstance(token, list) else found[0]


def _attributed(
    model: Model,
    result: Result,
    prompt: TokenizedPrompt,
    positions: Sequence[int],
    weights: Mapping[int, float],
    name: str,
    notes: tuple[str, ...],
) -> LogitAttribution:
    runs = ["base", "changed"] if result.experiment.active else ["base"]
    split = [_split(model, result, positions, weights, run == "base") for run in runs]
    tables = _tabled([one for one, _ in split], model.info)
    logits = np.stack([total for _, total in split])
    gap = _checked(tables.to_numpy(), logits, model.info, name)
    tables = tables.assign_coords(run=runs, token=list(positions))
    for array in (tables.data, logits):
        array.flags.writeable = False
    return LogitAttribution(
        tables,
        xr.DataArray(logits, {"run": runs, "token": list(positions)}, ("run", "token"), attrs={"units": "logits"}),
        gap,
        name,
        model.readout.cap,
        prompt,
        result.experiment,
        notes,
    )


def _asked(model: Model, token: object) -> tuple[dict[int, float], str, tuple[str, ...]]:
    """Return the weight of each token's logit, what to call it, and what to say of it."""
    if isinstance(token, Metric):
        if token.name not in ("logit", "logit_difference"):
            raise ValueError(
                f"got the metric {token}, which is no sum of logits; wanted nb.logit or nb.logit_difference, a token or a pair of tokens."
            )
        token = token.tokens
    given = token if isinstance(token, tuple) else (token,)
    if len(given) not in (1, 2):
        raise ValueError(
            f"got {len(given)} tokens; wanted one, or a pair for the difference of their logits: for each of several give a list."
        )
    pieces = [piece_of(model, one) for one in given]
    if len({piece.id for piece in pieces}) < len(pieces):
        raise ValueError(f"got {pieces[0].text!r} twice; the difference of a logit from itself is 0: give two tokens.")
    notes = tuple(piece.note for piece in pieces if piece.note)
    if len(pieces) == 1:
        return {pieces[0].id: 1.0}, f"logit({pieces[0].text!r})", notes
    return {pieces[0].id: 1.0, pieces[1].id: -1.0}, f"logit({pieces[0].text!r}) − logit({pieces[1].text!r})", notes


@dataclass(frozen=True, eq=False)
class _Split:
    """What was written of a logit in one run, each ``[token, …]``: heads ``[token, layer, head]``, the rest by layer."""

    embed: NDArray[np.float64]
    heads: NDArray[np.float64]
    bias: NDArray[np.float64]
    mlp: NDArray[np.float64]
    interventions: NDArray[np.float64]
    constant: NDArray[np.float64]


def _split(
    model: Model, result: Result, positions: Sequence[int], weights: Mapping[int, float], base: bool
) -> tuple[_Split, NDArray[np.float64]]:
    def read(component: str, layer: int) -> NDArray[np.float64]:
        states: NDArray[np.float64] = result.read(Site(component, layer), base=base)[list(positions)].astype(np.float64)
        return states

    n_layers = model.info.n_layers
    along, constant, logits = model.readout.toward(read("resid_post", n_layers - 1), weights)
    heads, bias, mlp, rest = [], [], [], []
    before = read("resid_pre", 0)
    embed = (before * along).sum(-1)
    for layer in range(n_layers):
        z, attention, after = read("z", layer), read("attn_out", layer), read("resid_post", layer)
        toward, written = model.readout.toward_heads(layer, z, along)
        heads.append((toward * z).sum(-1))
        bias.append(written)
        mlp.append((read("mlp_out", layer) * along).sum(-1))
        # nothing but an intervention writes anything else
        by_heads = heads[-1].sum(-1) + written
        rest.append(((after - before - attention) * along).sum(-1) - mlp[-1] + (attention * along).sum(-1) - by_heads)
        before = after
    by_head, by_bias, by_mlp, by_act = (np.stack(each, axis=1) for each in (heads, bias, mlp, rest))
    return _Split(embed, by_head, by_bias, by_mlp, by_act, constant), logits


def _tabled(runs: Sequence[_Split], info: ModelInfo) -> xr.DataArray:
    """Return parts ``[run, token, part]``, without what is nowhere anything."""
    columns: list[tuple[str, str, int, int, NDArray[np.float64]]] = []

    def add(part: str, kind: str, layer: int, head: int, values: Sequence[NDArray[np.float64]], always: bool) -> None:
        stacked = np.stack(values)
        if always or bool(stacked.any()):
            columns.append((part, kind, layer, head, stacked))

    rounding = 256 * _EPS[info.dtype] * max(float(np.abs(run.embed).max() + np.abs(run.mlp).max()) for run in runs)
    add("embed", "embed", -1, -1, [run.embed for run in runs], True)
    for layer in range(info.n_layers):
        for head in range(info.n_heads):
            add(f"L{layer}H{head}", "head", layer, head, [run.heads[:, layer, head] for run in runs], True)
        add(f"attention bias {layer}", "attention bias", layer, -1, [run.bias[:, layer] for run in runs], False)
        add(f"MLP {layer}", "mlp", layer, -1, [run.mlp[:, layer] for run in runs], True)
        # of an untouched run this is rounding, which shows as the gap between the parts and the logit
        extra = [run.interventions[:, layer] * (at > 0) for at, run in enumerate(runs)]
        if any(np.abs(one).max() > rounding for one in extra):
            add(f"intervention {layer}", "intervention", layer, -1, extra, False)
    add("constant", "constant", -1, -1, [run.constant for run in runs], False)
    parts, kinds, layers, heads, values = zip(*columns, strict=True)
    return xr.DataArray(
        np.stack(values, axis=-1),
        {
            "part": list(parts),
            "kind": ("part", list(kinds)),
            "layer": ("part", list(layers)),
            "head": ("part", list(heads)),
        },
        ("run", "token", "part"),
        attrs={"units": "logits"},
    )


def _checked(parts: NDArray[np.float64], logits: NDArray[np.float64], info: ModelInfo, name: str) -> float:
    """Return the largest difference between the parts' sum and the logit; ValueError when it is no rounding."""
    gaps = np.abs(parts.sum(axis=-1) - logits)
    allowed = TOLERANCE * _EPS[info.dtype] / _EPS["float32"] + 16 * _EPS[info.dtype] * np.abs(parts).sum(axis=-1)
    if not (gaps <= allowed).all():
        raise ValueError(
            f"got parts of {name} that sum to {parts.sum(axis=-1).ravel()[gaps.argmax()]:.6g} where {info.name} says {logits.ravel()[gaps.argmax()]:.6g}: "
            "its blocks write something that is neither a head nor an MLP; nbinterp cannot attribute logits in this model."
        )
    return float(gaps.max())
