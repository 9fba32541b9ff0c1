"""The future lens: what the state at one token says of the tokens that come several steps later."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from nbinterp.experiment import Experiment, Generation
from nbinterp.geometry.told import Told
from nbinterp.interventions import Patch
from nbinterp.sites import Site
from nbinterp.spaces import Activations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.model import Model

    Ids = NDArray[np.int64]
    States = NDArray[np.float32]

PROMPT = 'Hello! Could you please tell me more about "'
"""The fixed prompt into which states are put: the generic one of Pal et al. (2023)."""

PREDICTORS = {
    "linear": "a linear map of the state to the last layer's state that many tokens later",
    "patched": "what the model says after a fixed prompt at whose last token the state stands",
    "shuffled": "the linear map, fitted to states of other tokens",
    "bigram": "how often a token came that many tokens after this one, in the training texts",
    "unigram": "how often a token came, in the training texts",
    "model": "the model itself, which has read up to there",
}
"""What is compared, with what each does."""

RESAMPLES = 2000
"""Draws of the bootstrap over held-out texts."""

_ROWS = 64


@dataclass(frozen=True, eq=False)
class FutureLens(Told):
    """How well later tokens are told from one token's state, beside what must be beaten.

    Parameters
    ----------
    tokens : DataFrame
        One line for each held-out token, number of tokens ahead, and predictor (see `PREDICTORS`): ``text``, ``position``, ``ahead`` (1 is the
        next token), ``predictor``, ``hit`` (whether its likeliest token is the text's), ``surprisal`` (−log p of the text's token,
        in nats; missing for ``"patched"``, which only speaks).
    site, model : Site, ModelInfo
        Whose states.
    n_texts : (int, int)
        Texts to learn from, and held out.
    seed : int
        Of shares, shuffling and bootstrap.
    provenance : str
        What was done, for people to read.
    """

    tokens: pd.DataFrame = field(repr=False)
    site: Site
    model: ModelInfo
    n_texts: tuple[int, int]
    seed: int
    provenance: str

    def frame(self) -> pd.DataFrame:
        """Return one line for each number of tokens ahead and predictor.

        Returns
        -------
        DataFrame
            ``ahead``, ``predictor``, ``precision`` (share of tokens whose likeliest prediction is right) with ``low``, ``high``
            (its 95 % bootstrap interval over held-out texts), ``surprisal`` (mean, in nats), ``n`` (tokens).
        """
        rng = np.random.default_rng(self.seed)
        lines = []
        for (ahead, predictor), part in self.tokens.groupby(["ahead", "predictor"], sort=False):
            by_text = part.groupby("text", sort=False)["hit"].agg(["sum", "count"]).to_numpy(dtype=np.float64)
            drawn = by_text[rng.integers(len(by_text), size=(RESAMPLES, len(by_text)))].sum(axis=1)
            low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
            lines.append(
                {
                    "ahead": ahead,
                    "predictor": predictor,
                    "precision": float(part["hit"].mean()),
                    "low": float(low),
                    "high": float(high),
                    "surprisal": float(part["surprisal"].mean()),
                    "n": len(part),
                }
            )
        return pd.DataFrame(lines)

    @property
    def reasons(self) -> tuple[str, ...]:
        """For each number of tokens ahead, whether the state says more of that token than the bigram and the shuffled map, in a sentence."""
        sentences = []
        for ahead, part in self.frame().groupby("ahead", sort=False):
            by = part.set_index("predictor")
            linear, others = by.loc["linear"], by.loc[["shuffled", "bigram", "unigram"]]
            holds = linear["low"] > others["precision"].max() and linear["surprisal"] < others["surprisal"].min()
            sentences.append(
                f"{ahead} ahead: right {linear['precision']:.1%} ({linear['low']:.1%} to {linear['high']:.1%}), surprisal {linear['surprisal']:.2f} nats; best "
                f"of shuffled, bigram and unigram {others['precision'].max():.1%}, {others['surprisal'].min():.2f} nats; wanted better in both: "
                f"{'holds' if holds else 'fails'}."
            )
        return tuple(sentences)

    def chart(self) -> alt.LayerChart:
        """Return precision by how many tokens ahead, of all predictors, with intervals."""
        from nbinterp.charts.lenses import future_chart

        return future_chart(
            self.frame(), title=f"Future lens at {self.site} of {self.model.name}", subtitle=self.provenance
        )

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"FutureLens at {self.site} of {self.model}",
                *(f"  {reason}" for reason in self.reasons),
                *(f"  {line}" for line in self.frame().to_string(index=False, float_format="%.3g").splitlines()),
                f"  {self.provenance}",
            ]
        )


def future_lens(
    model: Model,
    texts: Sequence[str],
    *,
    layer: int,
    ahead: Sequence[int] = (1, 2, 3),
    held_out: float = 0.25,
    n_patched: int = 32,
    prompt: str = PROMPT,
    seed: int = 0,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> FutureLens:
    """Measure what the state after a layer at token t says of token t + k.

    Two ways of asking. A linear map, learnt by ridge regression on some texts, from the state to the last layer's state at
    t + k − 1, which the model's readout turns into a prediction. And without learning anything: the state is put at the last
    token of a fixed prompt, after the same layer, and the model goes on for k tokens. To be beaten: how often tokens follow k
    after one another in the same texts, and the same map fitted to shuffled pairs. All are measured on held-out texts.

    Parameters
    ----------
    model : Model
        Who is asked.
    texts : sequence of str
        At least 8, of more tokens than the largest k.
    layer : int
        Whose states.
    ahead : sequence of int
        The k; 1 is the next token.
    held_out : float
        Share of the texts that are measured on.
    n_patched : int
        At how many held-out tokens the fixed prompt is asked; 0 for none.
    prompt : str
        The fixed prompt.
    seed : int
        Of shares, shuffling, choice and bootstrap.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each text; True stops with KeyboardInterrupt.

    Returns
    -------
    FutureLens
        With `FutureLens.frame`, `FutureLens.reasons` and `FutureLens.chart`.

    Raises
    ------
    ValueError, TypeError
        For a layer that is not there, too few or too short texts, and settings that make no sense: before the model runs.

    References
    ----------
    .. [1] Pal et al., "Future lens: anticipating subsequent tokens from a single hidden state", 2023, sections 3.1
       (linear) and 3.2 (fixed prompt). arXiv:2311.04897
    """
    site, end = Site("resid_post", layer), Site("resid_post", model.info.n_layers - 1)
    model.info.check(site)
    steps = sorted(dict.fromkeys(ahead))
    if not steps or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in steps):
        raise ValueError(f"got ahead={ahead!r}; wanted whole numbers from 1 up.")
    if not 0 < held_out < 1:
        raise ValueError(f"got held_out={held_out!r}; wanted a share between 0 and 1.")
    training, testing = _shares(model, texts, steps[-1], held_out, seed)
    everything = [*training, *testing]
    runs: list[_Run] = []
    for text in tqdm(everything, disable=not progress, leave=False, delay=1, file=sys.stdout, unit="text"):
        if cancel():
            raise KeyboardInterrupt
        result = model.run(Experiment(text, read=(site, end)))
        runs.append(_Run(np.array(result.prompts[0].ids), result.read(site), result.read(end)))
    known, unknown = runs[: len(training)], runs[len(training) :]
    lines: list[pd.DataFrame] = []
    for k in steps:
        if cancel():
            raise KeyboardInterrupt
        lines += _measured(model, known, unknown, k, seed)
    if n_patched:
        lines += _patched(model, site, unknown, steps, n_patched, prompt, seed, cancel)
    n_tokens = sum(len(run.ids) for run in known)
    return FutureLens(
        pd.concat(lines, ignore_index=True),
        site,
        model.info,
        (len(training), len(testing)),
        seed,
        f"learnt from {n_tokens:,} tokens of {len(training)} texts, measured on {len(testing)} others, seed {seed}",
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """Ids of a text ``[token]``, and its states ``[token, d_model]`` after the layer and at the end."""

    ids: Ids
    states: States
    end: States


def _shares(model: Model, texts: Sequence[str], most: int, held_out: float, seed: int) -> tuple[list[str], list[str]]:
    if isinstance(texts, str) or len(texts) < 8:
        raise ValueError(f"got {'one text' if isinstance(texts, str) else f'{len(texts)} texts'}; wanted at least 8.")
    for text in texts:
        if len(model.tokens(text)) <= most:
            raise ValueError(
                f"got {text!r} of {len(model.tokens(text))} tokens, to look {most} ahead in; wanted longer texts."
            )
    order = np.random.default_rng(seed).permutation(len(texts))
    n = min(max(2, round(held_out * len(texts))), len(texts) - 2)
    return [texts[i] for i in order[n:]], [texts[i] for i in order[:n]]


def _measured(model: Model, known: list[_Run], unknown: list[_Run], k: int, seed: int) -> Iterator[pd.DataFrame]:
    """Yield lines of what predicts tokens k ahead."""
    x = np.concatenate([run.states[: len(run.ids) - k] for run in known])
    y = np.concatenate([run.end[k - 1 : len(run.ids) - 1] for run in known])
    shuffled = np.random.default_rng(seed).permutation(len(y))
    maps = {"linear": model.readout.fitted(x, y), "shuffled": model.readout.fitted(x, y[shuffled])}
    bigram, unigram = _counted(known, k, len(model.vocabulary))
    for text, run in enumerate(unknown):
        n = len(run.ids) - k
        wanted, here = run.ids[k:], run.ids[:n]
        found: dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]] = {}
        for name, (turn, shift) in maps.items():
            found[name] = _judged(model, run.states[:n] @ turn.T + shift, wanted)
        found["model"] = _judged(model, run.end[k - 1 : k - 1 + n], wanted)
        for name, said in (("bigram", [bigram(i) for i in here]), ("unigram", [unigram] * n)):
            p = np.array([each[i] for each, i in zip(said, wanted, strict=True)])
            found[name] = np.array([each.argmax() == i for each, i in zip(said, wanted, strict=True)]), -np.log(p)
        for name, (hit, surprisal) in found.items():
            yield _lines(text, np.arange(n), k, name, hit, surprisal)


def _counted(
    known: list[_Run], k: int, n_vocab: int
) -> tuple[Callable[[int], NDArray[np.float64]], NDArray[np.float64]]:
    """Return the distribution k after a token, and that of any token: counts, smoothed as by Witten & Bell (1991)."""
    after: dict[int, list[int]] = {}
    counts = np.bincount(np.concatenate([run.ids for run in known]), minlength=n_vocab).astype(np.float64)
    kinds = np.count_nonzero(counts)
    unigram = (counts + kinds / n_vocab) / (counts.sum() + kinds)
    for run in known:
        for here, there in zip(run.ids[:-k].tolist(), run.ids[k:].tolist(), strict=True):
            after.setdefault(here, []).append(there)

    def bigram(token: int) -> NDArray[np.float64]:
        seen = after.get(int(token), [])
        kinds = len(set(seen))
        found: NDArray[np.float64] = unigram
        if seen:
            found = (np.bincount(seen, minlength=n_vocab) + kinds * unigram) / (len(seen) + kinds)
        return found

    return bigram, unigram


def _judged(model: Model, states: NDArray[Any], wanted: Ids) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return whether the likeliest token of each state is the wanted one, and the wanted one's surprisal."""
    hits, surprisals = [], []
    for first in range(0, len(states), _ROWS):
        logits = model.readout.logits(states[first : first + _ROWS]).astype(np.float64)
        ids = wanted[first : first + _ROWS]
        logits -= logits.max(axis=-1, keepdims=True)
        hits.append(logits.argmax(axis=-1) == ids)
        surprisals.append(np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(ids)), ids])
    return np.concatenate(hits), np.concatenate(surprisals)


def _patched(
    model: Model,
    site: Site,
    unknown: list[_Run],
    steps: Sequence[int],
    n: int,
    prompt: str,
    seed: int,
    cancel: Callable[[], bool],
) -> Iterator[pd.DataFrame]:
    """Yield lines of what the model says after a fixed prompt at whose last token a state stands."""
    places = [(text, at) for text, run in enumerate(unknown) for at in range(len(run.ids) - steps[-1])]
    order = np.random.default_rng(seed).permutation(len(places))[:n]
    chosen = [places[i] for i in np.sort(order)]
    settings = Generation(max_new_tokens=steps[-1])
    sources = [Activations(None, None, unknown[text].states[at][None].astype(np.float64)) for text, at in chosen]
    asked = [Experiment(prompt, Patch(site, source=one, tokens=-1), generation=settings) for one in sources]
    said = model.generate(asked, cancel=cancel)
    for (text, at), one in zip(chosen, said, strict=True):
        if not one.finished:
            raise KeyboardInterrupt
        ids = one.changed[0].ids
        for k in steps:
            hit = k <= len(ids) and ids[k - 1] == unknown[text].ids[at + k]
            yield _lines(text, np.array([at]), k, "patched", np.array([hit]), np.array([np.nan]))


def _lines(
    text: int, positions: Ids, k: int, predictor: str, hit: NDArray[np.bool_], surprisal: NDArray[np.float64]
) -> pd.DataFrame:
    columns = {"text": text, "position": positions, "ahead": k, "predictor": predictor, "hit": hit}
    return pd.DataFrame(columns | {"surprisal": surprisal})
