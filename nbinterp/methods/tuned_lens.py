"""The tuned lens: each layer's states translated to the last layer's by an affine map, so that less is lost than in the logit lens."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from tqdm import tqdm

from nbinterp.anatomy import ModelInfo
from nbinterp.experiment import Experiment
from nbinterp.geometry.told import Told
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.model import Model

RESAMPLES = 2000
"""Draws of the bootstrap over held-out texts."""

_HELD = 0.15
"""Share of the texts on which training is stopped, and again as many on which the lens is then measured."""

_FORMAT = "1"


@dataclass(frozen=True, eq=False)
class TunedLens(Told):
    """Affine translators x ↦ x + W x + b of the states that go into each block, for `nbinterp.logit_lens`.

    Train one with `train`, or read one with `load` or `load_published`.

    Parameters
    ----------
    model : ModelInfo
        Whose states it translates.
    weights, biases : array, ``[layer, d_model, d_model]`` and ``[layer, d_model]``
        W and b for ``resid_pre.0``, ``resid_pre.1`` (which is ``resid_post.0``), …; what the last block gives is left as it is.
    report : DataFrame
        One line a layer, on held-out texts: ``site``, ``tuned_kl`` and ``logit_kl`` (mean KL(model ‖ layer) of this and of the logit
        lens, in nats), ``gain`` (logit − tuned) with ``low``, ``high`` (its 95 % bootstrap interval over texts),
        ``tuned_agreement`` and ``logit_agreement`` (share of tokens at which the likeliest token is the model's). Empty where
        nobody measured.
    provenance : str
        Where it comes from, for people to read.

    References
    ----------
    .. [1] Belrose et al., "Eliciting latent predictions from transformers with the tuned lens", 2023, section 3.
       arXiv:2303.08112
    """

    model: ModelInfo
    weights: NDArray[np.float32] = field(repr=False)
    biases: NDArray[np.float32] = field(repr=False)
    report: pd.DataFrame = field(repr=False)
    provenance: str

    def __post_init__(self) -> None:
        n, width = self.model.n_layers, self.model.d_model
        for what, array, shape in (("weights", self.weights, (n, width, width)), ("biases", self.biases, (n, width))):
            if array.shape != shape:
                raise ValueError(
                    f"got {what} of shape {list(array.shape)} for {self.model.name}; wanted {list(shape)}: a translator for each layer."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"got {what} that are not finite; wanted numbers.")
            array.flags.writeable = False

    @property
    def name(self) -> str:
        """What it is called in titles."""
        return "Tuned lens"

    def check(self, model: ModelInfo, sites: Sequence[Site]) -> None:
        """Raise ValueError when it is of another model, or a site is in the middle of a block."""
        if model != self.model:
            raise ValueError(
                f"got a tuned lens of {self.model} for {model}, whose states it would translate wrongly; train one on this model."
            )
        for site in sites:
            if site.component == "resid_mid":
                raise ValueError(
                    f"got {site} for a tuned lens, which has translators between blocks only: read resid_pre or resid_post."
                )

    def translate(self, states: NDArray[np.float32], site: Site) -> NDArray[np.float32]:
        """Return states ``[token, d_model]`` of a site as states of the last layer."""
        assert site.layer is not None
        at = site.layer + (site.component == "resid_post")
        if at == self.model.n_layers:
            return states
        moved: NDArray[np.float32] = states + states @ self.weights[at].T + self.biases[at]
        return moved

    def frame(self) -> pd.DataFrame:
        """Return `report`."""
        return self.report.copy()

    def chart(self) -> alt.Chart:
        """Return KL from the model's answer by layer, beside the logit lens.

        Raises
        ------
        ValueError
            Where nobody measured it.
        """
        from nbinterp.charts.lenses import tuned_chart

        if self.report.empty:
            raise ValueError("got a tuned lens that nobody measured here; call measured(model, texts) first.")
        return tuned_chart(
            self.report, title=f"Tuned lens of {self.model.name}", subtitle=self.provenance.rpartition("; ")[2]
        )

    def __repr__(self) -> str:
        lines = [f"TunedLens of {self.model}", f"  {self.provenance}"]
        if not self.report.empty:
            report = self.report
            better = report["low"] > 0
            lines.append(
                f"  Held-out texts: mean KL from the model {report['tuned_kl'].mean():.2f} nats over layers, {report['logit_kl'].mean():.2f} with the logit "
                f"lens; better at {better.sum()} of {len(report)} layers, beyond its 95 % interval."
            )
            worse = report.loc[report["high"] < 0, "site"].tolist()
            lines += [f"  Worse than the logit lens at {', '.join(worse)}."] if worse else []
        return "\n".join(lines)

    @classmethod
    def train(
        cls,
        model: Model,
        texts: Sequence[str],
        *,
        steps: int = 200,
        max_tokens: int = 4000,
        seed: int = 0,
        progress: bool = True,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Train a lens on texts.

        Texts are shared out by lot: 70 % to train on, 15 % to stop by, 15 % to measure on. Each layer begins with
        the ridge regression of the last layer's states and goes on by Adam on KL(model ‖ layer), 64 tokens a step, until no
        layer gets better; the best that was seen is kept, layer by layer.

        Parameters
        ----------
        model : Model
            Whose lens.
        texts : sequence of str
            At least 8; the more tokens the better, and of the kind that is to be read.
        steps : int
            At most so many.
        max_tokens : int
            Train on so many tokens at most, of all texts; their states of all layers must fit into ``model.memory_bound``, or fewer are
            taken.
        seed : int
            Of the shares, the tokens and the bootstrap.
        progress : bool
            Whether to show how far it is.
        cancel : callable
            Asked before each step; True stops training, and what was best is kept.

        Raises
        ------
        ValueError, TypeError
            For too few texts and settings that make no sense: before the model runs.
        """
        for what, value in (("steps", steps), ("max_tokens", max_tokens)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"got {what}={value!r}; wanted a whole number from 1 up.")
        listed = _listed(texts, 8)
        order = np.random.default_rng(seed).permutation(len(listed))
        held = max(2, round(_HELD * len(listed)))
        stopping, measuring, training = (
            [listed[i] for i in part] for part in (order[:held], order[held : 2 * held], order[2 * held :])
        )
        # a step's memory is beside this one
        fits = model.memory_bound // (4 * (model.info.n_layers + 1) * model.info.d_model)
        most = max(1, min(max_tokens, int(0.8 * fits)))
        states = _states(model, training, most, seed, cancel)
        held_out = _states(model, stopping, max(128, most // 32), seed, cancel)
        with tqdm(total=steps, disable=not progress, leave=False, delay=1, file=sys.stdout, unit="step") as bar:
            found = model.readout.tuned(states, held_out, steps=steps, seed=seed, cancel=cancel, advance=bar.update)
        provenance = f"trained on {states.shape[1]:,} tokens of {len(training)} texts, seed {seed}; {found.stopped}"
        lens = cls(model.info, found.weights, found.biases, pd.DataFrame(), provenance)
        return lens.measured(model, measuring, seed=seed)

    def measured(self, model: Model, texts: Sequence[str], *, seed: int = 0) -> Self:
        """Return this lens with a `report` on texts, which it should not have been trained on.

        Raises
        ------
        ValueError
            For another model's lens, and fewer than 2 texts.
        """
        self.check(model.info, ())
        sites = _sites(model.info)
        tables = []
        for text in _listed(texts, 2):
            states = _read(model, text)
            moved = np.stack([*(self.translate(x, s) for x, s in zip(states, sites, strict=True))])
            tuned, plain = (model.readout.read(each, top=1) for each in (moved, states))
            right = tuned.top[-1, :, 0]
            agreements = [(each.top[:-1, :, 0] == right).sum(1) for each in (tuned, plain)]
            sums = [each.kl[:-1].sum(1, dtype=np.float64) for each in (tuned, plain)]
            tables.append(np.stack([*sums, *agreements, np.full(len(sites) - 1, states.shape[1])]))
        # [text, quantity, layer], weighted by tokens
        counts = np.stack(tables)
        kl, logit_kl, agreement, logit_agreement = (counts[:, i].sum(0) / counts[:, -1].sum(0) for i in range(4))
        drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
        sampled = counts[drawn].sum(axis=1)
        low, high = np.quantile((sampled[:, 1] - sampled[:, 0]) / sampled[:, -1], [0.025, 0.975], axis=0)
        report = pd.DataFrame(
            {
                "site": [str(site) for site in sites[:-1]],
                "tuned_kl": kl,
                "logit_kl": logit_kl,
                "gain": logit_kl - kl,
                "low": low,
                "high": high,
                "tuned_agreement": agreement,
                "logit_agreement": logit_agreement,
            }
        )
        measured = f"; measured on {int(counts[:, -1, 0].sum()):,} tokens of {len(counts)} other texts"
        return type(self)(
            self.model, self.weights, self.biases, report, self.provenance.partition("; measured on")[0] + measured
        )

    def save(self, path: str | Path) -> Path:
        """Write the lens to one safetensors file, with its model, report and provenance."""
        from safetensors.numpy import save_file

        metadata = {
            "nbinterp": _FORMAT,
            "model": json.dumps(self.model.to_json()),
            "report": self.report.to_json(orient="records", double_precision=15),
            "provenance": self.provenance,
        }
        save_file({"weights": self.weights, "biases": self.biases}, path, metadata)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, model: Model | None = None) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
            The file.
        model : Model, optional
            For which it is wanted: a lens of another model, or of another revision, is refused.

        Raises
        ------
        ValueError
            When it is no such file, or of another model.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("nbinterp") != _FORMAT or "model" not in metadata:
                    raise ValueError(
                        f"got {str(path)!r}, which is no tuned lens of nbinterp; wanted what TunedLens.save wrote."
                    )
                arrays = {name: file.get_tensor(name) for name in ("weights", "biases")}
        except SafetensorError as error:
            raise ValueError(f"got {str(path)!r}, which is no safetensors file ({error}).") from None
        report = pd.DataFrame(json.loads(metadata["report"]))
        lens = cls(
            ModelInfo(**json.loads(metadata["model"])), **arrays, report=report, provenance=metadata["provenance"]
        )
        if model is not None:
            lens.check(model.info, ())
        return lens

    @classmethod
    def load_published(cls, folder: str | Path, model: Model) -> Self:
        """Read a lens as the package tuned-lens publishes it: a folder with ``config.json`` and ``params.pt``.

        The parameters are read as plain tensors: nothing in the file is run.

        Parameters
        ----------
        folder : path
            The folder.
        model : Model
            For which model it was made. The file names it and does not prove it: sizes are checked, and `measured` says
            how good it is here.

        Raises
        ------
        ValueError
            When files are missing, hold something else, or are of a model of another size.
        """
        arrays, named = _published(Path(folder), model.info)
        provenance = f"published by tuned-lens for {named!r}, unmeasured here"
        return cls(model.info, *arrays, pd.DataFrame(), provenance)


def _published(folder: Path, info: ModelInfo) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], str]:
    for name in ("config.json", "params.pt"):
        if not (folder / name).is_file():
            raise ValueError(f"got {str(folder)!r}, which has no {name}; wanted the folder of a published tuned lens.")
    try:
        config = json.loads((folder / "config.json").read_text())
        sizes = (config["num_hidden_layers"], config["d_model"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"got a config.json in {str(folder)!r} that is not a tuned lens's ({error!r}).") from None
    named = str(config.get("base_model_name_or_path", "?"))
    if sizes != (info.n_layers, info.d_model):
        raise ValueError(
            f"got a tuned lens of {named!r} with {sizes[0]} layers of {sizes[1]} features; {info.name} has {info.n_layers} of {info.d_model}."
        )
    from nbinterp.engine.tuning import plain_tensors

    state = plain_tensors(folder / "params.pt")
    width = info.d_model
    zeros = np.zeros(width, dtype=np.float32)
    try:
        weights = np.stack([state[f"{layer}.weight"] for layer in range(info.n_layers)])
        biases = np.stack([state.get(f"{layer}.bias", zeros) for layer in range(info.n_layers)])
    except (KeyError, ValueError) as error:
        raise ValueError(f"got a params.pt in {str(folder)!r} without a translator for each layer ({error}).") from None
    return (weights, biases), named


def _listed(texts: Sequence[str], least: int) -> list[str]:
    if isinstance(texts, str) or not all(isinstance(text, str) and text for text in texts):
        raise TypeError("got texts that are no list of texts; wanted several, none of them empty.")
    if len(texts) < least:
        raise ValueError(f"got {len(texts)} texts; wanted at least {least}, to hold some out.")
    return list(texts)


def _sites(info: ModelInfo) -> list[Site]:
    return [*(Site("resid_pre", n) for n in range(info.n_layers)), Site("resid_post", info.n_layers - 1)]


def _read(model: Model, text: str) -> NDArray[np.float32]:
    """Return states of a text ``[layer + 1, token, d_model]``."""
    sites = _sites(model.info)
    result = model.run(Experiment(text, read=tuple(sites)))
    return np.stack([result.read(site) for site in sites])


def _states(
    model: Model, texts: Sequence[str], most: int, seed: int, cancel: Callable[[], bool]
) -> NDArray[np.float32]:
    """Return states ``[layer + 1, token, d_model]`` of tokens drawn from all texts, at most so many."""
    lengths = [len(model.tokens(text)) for text in texts]
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(sum(lengths))[:most])
    found, before = [], 0
    for text, length in zip(texts, lengths, strict=True):
        if cancel():
            raise KeyboardInterrupt
        here = chosen[(chosen >= before) & (chosen < before + length)] - before
        if len(here):
            found.append(_read(model, text)[:, here])
        before += length
    return np.concatenate(found, axis=1)
