"""The logit lens: what the model would say if it stopped after each layer."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from nbinterp.methods.one_prompt import OfOnePrompt, one_prompt, positions_of
from nbinterp.methods.pieces import piece_of
from nbinterp.sites import COMPONENTS, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.readout import Reading
    from nbinterp.experiment import Experiment
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.results import Result
    from nbinterp.tokens import TokensLike

_STREAM = ("resid_pre", "resid_mid", "resid_post")
_EMBEDDINGS = Site("resid_pre", 0)


class Translator(Protocol):
    """What reads states of a layer as if they were the last, such as a `TunedLens`."""

    @property
    def name(self) -> str:
        """What it is called."""

    def check(self, model: ModelInfo, sites: Sequence[Site]) -> None:
        """Raise ValueError when it is not for this model, or not for one of these sites."""

    def translate(self, states: NDArray[np.float32], site: Site) -> NDArray[np.float32]:
        """Return states ``[token, d_model]`` of a site as states of the last layer."""


@dataclass(frozen=True, eq=False)
class Lens(OfOnePrompt):
    """What the residual stream says of the next token, at each layer and token.

    Parameters
    ----------
    data : Dataset
        Axes ``run`` (``"base"``, and ``"changed"`` where there are interventions), ``layer`` (−1 for what goes into the first
        block; the coordinate ``site`` names each), ``token`` (its position in the prompt), ``place``, ``tracked`` (texts).
        ``top`` (ids) and ``top_probability`` ``[run, layer, token, place]``; ``entropy`` and ``kl`` (of this layer's answer
        from the model's own of the same run, KL(model ‖ layer)) ``[run, layer, token]``, in nats; ``logit``, ``probability``,
        ``log_probability`` (nats) and ``rank`` (0 for the likeliest) ``[run, tracked, layer, token]``; and what the model itself
        says, ``said`` (id) ``[run, token]``.
    prompt : TokenizedPrompt
        What was read.
    experiment : Experiment
        What was run, bound to its model.
    name : str
        Which lens.
    notes : tuple of str
        What a reader has to know.
    vocabulary : tuple of str, ``[n_vocab]``
        Texts of the tokens.
    """

    data: xr.Dataset
    prompt: TokenizedPrompt
    experiment: Experiment
    name: str
    notes: tuple[str, ...]
    vocabulary: tuple[str, ...] = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """Return one line a cell.

        Returns
        -------
        DataFrame
            ``run``, ``layer``, ``site``, ``position``, ``token``, ``top`` (the likeliest token) and its ``probability``,
            ``entropy``, ``kl``.
        """
        frame = self._cells(self.data[["entropy", "kl"]])
        top = self.data["top"].to_numpy()[..., 0].ravel()
        frame.insert(5, "top", [self.vocabulary[i] for i in top])
        frame.insert(6, "probability", self.data["top_probability"].to_numpy()[..., 0].ravel())
        return frame

    def tracked(self) -> pd.DataFrame:
        """Return one line a cell and tracked token: ``run``, ``layer``, ``site``, ``position``, ``token``, ``tracked``, ``logit``, ``probability``, ``log_probability``, ``rank``."""
        names = ["logit", "probability", "log_probability", "rank"]
        data = self.data[names].transpose("run", "layer", "token", "tracked")
        frame = self._cells(data.isel(tracked=0, drop=True)) if len(data["tracked"]) else self._cells(data[[]])
        n = len(data["tracked"])
        lines = frame[["run", "layer", "site", "position", "token"]].loc[frame.index.repeat(n)].reset_index(drop=True)
        texts = np.tile(data["tracked"].to_numpy(), len(frame))
        return lines.assign(tracked=texts, **{name: data[name].to_numpy().ravel() for name in names})

    def difference(self) -> xr.Dataset:
        """Return changed − base of all numbers, with the axes of `data` but ``run``.

        Raises
        ------
        ValueError
            Where nothing was changed.
        """
        if len(self.runs) < 2:
            raise ValueError(
                "got a lens of an untouched run, which has nothing to differ from; give logit_lens an Experiment with interventions."
            )
        numbers = self.data[["entropy", "kl", "logit", "probability", "log_probability", "rank"]]
        return numbers.sel(run="changed", drop=True) - numbers.sel(run="base", drop=True)

    def by_layer(self) -> pd.DataFrame:
        """Return one line a layer, over its tokens.

        Returns
        -------
        DataFrame
            ``run``, ``layer``, ``site``, ``agreement`` (share of tokens at which its likeliest token is the model's), ``kl`` and
            ``entropy`` (means, in nats).
        """
        frame = self.frame()
        said = self.data["said"].to_numpy()[:, None]
        frame["agreement"] = (self.data["top"].to_numpy()[..., 0] == said).ravel()
        means = frame.groupby(["run", "layer", "site"], sort=False)[["agreement", "kl", "entropy"]].mean()
        return means.reset_index()

    def _cells(self, data: xr.Dataset) -> pd.DataFrame:
        shape = tuple(data.sizes.get(axis, 1) for axis in ("run", "layer", "token"))
        run, layer, token = (index.ravel() for index in np.indices(shape))
        positions = self.data["token"].to_numpy()[token]
        columns: dict[str, Any] = {
            "run": self.data["run"].to_numpy()[run],
            "layer": self.data["layer"].to_numpy()[layer],
            "site": self.data["site"].to_numpy()[layer],
            "position": positions,
            "token": [self.prompt.tokens[i] for i in positions],
        }
        numbers = {str(name): data[name].to_numpy().ravel() for name in data.data_vars}
        return pd.DataFrame(columns | numbers)

    def chart(
        self, color: str = "probability", *, run: str | None = None, tokens: TokensLike = "all"
    ) -> alt.LayerChart:
        """Return the grid of layers and tokens: the likeliest token in each cell, coloured.

        Parameters
        ----------
        color : str
            ``"probability"`` (of the likeliest token), ``"entropy"``, ``"kl"``, or a tracked token, for its probability.
        run : {"base", "changed", "difference"}, optional
            By default what was changed, where something was. Of a difference the texts are those of the changed run.
        tokens : as in interventions
            Which of the tokens that were read.

        Raises
        ------
        ValueError, LookupError
            For an unknown colour, run or token, and for more cells than a page can draw.
        """
        from nbinterp.charts.lenses import lens_chart

        run = self.runs[-1] if run is None else run
        if run not in (*self.runs, *(["difference"] if len(self.runs) > 1 else [])):
            raise ValueError(f"got run={run!r}; this lens has {', '.join(map(repr, self.runs))}.")
        frame = self.frame()
        if color in self.data["tracked"].to_numpy().tolist():
            followed = self.tracked()
            values = followed.loc[followed["tracked"] == color, "probability"].to_numpy()
            title = f"p({color!r})"
        elif color in ("probability", "entropy", "kl"):
            values, title = frame[color].to_numpy(), _TITLES[color]
        else:
            known = [*_TITLES, *self.data["tracked"].to_numpy().tolist()]
            raise LookupError(f"got color={color!r}; choose one of {', '.join(map(repr, known))}.")
        frame = frame.assign(value=values)
        if run == "difference":
            base, frame = (frame[frame["run"] == name].reset_index(drop=True) for name in ("base", "changed"))
            frame["value"] -= base["value"]
            title = f"{title}, changed − base"
        else:
            frame = frame[frame["run"] == run]
        shown = positions_of(tokens, self.prompt)
        return lens_chart(
            frame[frame["position"].isin(shown)],
            quantity=title,
            signed=run == "difference",
            title=f"{self.name} of {self.model.name}",
            subtitle=f"{run}: {self.notes[0]}" if self.notes else run,
        )

    def __repr__(self) -> str:
        sizes = self.data.sizes
        lines = [
            f"{self.name} of {sizes['layer']} layers × {sizes['token']} tokens on {self.model}",
            f"  {_cut(self.prompt.text)!r}",
        ]
        for run in self.runs:
            data = self.data.sel(run=run).isel(token=-1)
            says = self.vocabulary[int(data["said"])]
            names = data["top"].to_numpy()[:, 0] == int(data["said"])
            layers = data["layer"].to_numpy()
            # the first layer from which on every later one agrees
            settled = layers[np.flatnonzero(~names)[-1] + 1] if not names.all() and names[-1] else layers[0]
            where = (
                f"its likeliest token from {_layer(int(settled))} on" if names[-1] else "never the likeliest to the end"
            )
            token = self.prompt.tokens[int(data["token"])]
            lines.append(f"  {run}: after {token!r} the model says {says!r}, {where}.")
            lines += [f"    {line}" for line in self._followed(data)]
        return "\n".join([*lines, *(f"  {note}." for note in self.notes)])

    def _followed(self, data: xr.Dataset) -> list[str]:
        layers = data["layer"].to_numpy()
        lines = []
        for text in data["tracked"].to_numpy().tolist():
            one = data.sel(tracked=text)
            ranks = one["rank"].to_numpy()
            best = int(ranks.argmin())
            lines.append(
                f"{text!r}: rank {ranks[-1]:,} at the end with p = {float(one['probability'][-1]):.2g}; best rank {ranks[best]:,} at {_layer(int(layers[best]))}."
            )
        return lines


_TITLES = {
    "probability": "probability of the likeliest token",
    "entropy": "entropy (nats)",
    "kl": "KL from the model's answer (nats)",
}


def logit_lens(
    model: Model,
    prompt: Prompt | Experiment | Sequence[Mapping[str, str]],
    *,
    sites: str | Sequence[str | Site] = "resid_post",
    track: str | int | Sequence[str | int] = (),
    top: int = 5,
    tokens: TokensLike = "all",
    lens: Translator | None = None,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> Lens:
    """Read the residual stream at every layer as the model reads its end: through the final norm and the unembedding.

    Parameters
    ----------
    model : Model
        Who is read.
    prompt : str, Chat or Experiment
        What the model is given. Of an experiment with interventions both the untouched and the changed run are read.
    sites : str, or sequence of sites of one component
        ``"resid_post"`` (with what goes into the first block as layer −1), ``"resid_mid"`` (the same) or ``"resid_pre"`` at all
        layers; or some of their sites.
    track : str, int, or sequence of them
        Tokens to follow, by text or id; of a text of several tokens the first is followed, and the result says so.
    top : int
        How many of the likeliest tokens to name.
    tokens : as in interventions
        At which tokens to read. ``"last"`` and ``"all"`` are always shorthands here.
    lens : TunedLens, optional
        What translates each layer's states to the last layer's first; without one this is the logit lens.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each trace and product; True stops with KeyboardInterrupt.

    Returns
    -------
    Lens
        With `Lens.frame`, `Lens.tracked`, `Lens.by_layer`, `Lens.difference` and `Lens.chart`.

    Raises
    ------
    ValueError, LookupError, TypeError
        For several prompts, sites that are not the residual stream, interventions behind the last block, tokens that are not
        there, and a model or lens that does not fit: before the model runs.

    References
    ----------
    .. [1] nostalgebraist, "interpreting GPT: the logit lens", 2020. LessWrong.
    .. [2] Belrose et al., "Eliciting latent predictions from transformers with the tuned lens", 2023. arXiv:2303.08112

    Examples
    --------
    >>> nb.logit_lens(model, "The capital of France is", track=" Paris").chart()  # doctest: +SKIP
    """
    if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= len(model.vocabulary):
        raise ValueError(f"got top={top!r}; wanted how many of the likeliest tokens to name, at least 1.")
    experiment = one_prompt(model, prompt)
    chosen = _sites(sites, model.info)
    end = Site("resid_post", model.info.n_layers - 1)
    read = (*chosen, *([] if end in chosen else [end]))
    if lens is not None:
        lens.check(model.info, chosen)
    asked = (track,) if isinstance(track, str | int) else tuple(track)
    pieces = [piece_of(model, token) for token in asked]
    seen = model.tokens(experiment.prompts[0])
    positions = positions_of(tokens, seen)
    readout = model.readout
    result = model.run(replace(experiment, read=read), cancel=cancel)
    runs = ["base", "changed"] if experiment.active else ["base"]
    ids = [piece.id for piece in pieces]
    rows = len(runs) * len(read) * len(positions)
    with tqdm(total=rows, disable=not progress, leave=False, delay=1, file=sys.stdout, unit="state") as bar:
        ask = functools.partial(readout.read, top=top, track=ids, cancel=cancel, advance=bar.update)
        untouched = _states(result, read, positions, True, lens)
        readings = [ask(untouched, keep=True)]
        if experiment.active:
            changed = _states(result, read, positions, False, lens)
            # a token that nothing reaches says what it said
            moved = np.flatnonzero((changed != untouched).any(axis=(0, 2)))
            readings += [readings[0].with_(ask(changed[:, moved]), moved.tolist()) if len(moved) else readings[0]]
    name = "Logit lens" if lens is None else lens.name
    return Lens(
        _dataset(readings, runs, chosen, positions, [piece.text for piece in pieces]),
        seen,
        result.experiment,
        name,
        tuple(piece.note for piece in pieces if piece.note),
        model.vocabulary.tokens,
    )


def _sites(sites: str | Sequence[str | Site], info: ModelInfo) -> tuple[Site, ...]:
    if isinstance(sites, str) and sites in _STREAM:
        every = [Site(sites, layer) for layer in range(info.n_layers)]
        chosen = every if sites == "resid_pre" else [_EMBEDDINGS, *every]
    else:
        # a component alone is meant at all layers
        given = (f"{sites}.0" if sites in COMPONENTS else sites,) if isinstance(sites, str) else sites
        chosen = sorted(
            {Site.of(site) for site in given}, key=lambda site: (site.layer or 0, site.component == "resid_post")
        )
    components = {site.component for site in chosen if site != _EMBEDDINGS}
    strange = sorted(components - set(_STREAM))
    if strange or not chosen or len(components) > 1:
        what = f"{strange[0]!r}" if strange else f"{sorted(components)} together" if components else "no site"
        raise ValueError(
            f"got {what} to read through a lens; wanted one of {', '.join(_STREAM)}: what a single layer adds is no state of the stream, "
            "and the final norm would blow it up to the size of one; nb.logit_attribution says what each layer adds to a logit."
        )
    for site in chosen:
        info.check(site)
    return tuple(chosen)


def _states(
    result: Result, sites: Sequence[Site], positions: Sequence[int], base: bool, lens: Translator | None
) -> NDArray[np.float32]:
    """Return states ``[site, token, d_model]``, the last one of the model's end."""
    every = [result.read(site, base=base)[list(positions)] for site in sites]
    if lens is not None:
        every = [lens.translate(states, site) for states, site in zip(every, sites, strict=True)]
    return np.stack(every)


def _dataset(
    readings: Sequence[Reading],
    runs: Sequence[str],
    sites: Sequence[Site],
    positions: Sequence[int],
    tracked: Sequence[str],
) -> xr.Dataset:
    n = len(sites)

    def stacked(name: str, axis: int = 0) -> NDArray[Any]:
        """Return one array of all runs, without the model's end where that was not asked for."""
        arrays = [getattr(reading, name) for reading in readings]
        return np.stack([array.take(range(n), axis=axis) for array in arrays])

    grid = ("run", "layer", "token")
    follow = ("run", "tracked", "layer", "token")
    log_probability = stacked("log_probability", 1)
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any], str]] = {
        "top": ((*grid, "place"), stacked("top"), "token id"),
        "top_probability": ((*grid, "place"), stacked("top_probability"), "probability"),
        "entropy": (grid, stacked("entropy"), "nats"),
        "kl": (grid, stacked("kl"), "nats"),
        "logit": (follow, stacked("logit", 1), "logits"),
        "probability": (follow, np.exp(log_probability), "probability"),
        "log_probability": (follow, log_probability, "nats"),
        "rank": (follow, stacked("rank", 1), "rank"),
        "said": (("run", "token"), np.stack([reading.top[-1, :, 0] for reading in readings]), "token id"),
    }
    for _, array, _ in variables.values():
        array.flags.writeable = False
    layers = [
        -1 if site == _EMBEDDINGS and n > 1 and sites[1].component != "resid_pre" else site.layer for site in sites
    ]
    return xr.Dataset(
        {name: (dims, array, {"units": unit}) for name, (dims, array, unit) in variables.items()},
        coords={
            "run": list(runs),
            "layer": layers,
            "site": ("layer", [str(site) for site in sites]),
            "token": list(positions),
            "tracked": np.array(tracked, dtype=object),
        },
    )


def _layer(layer: int) -> str:
    return "the embeddings" if layer < 0 else f"layer {layer}"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
