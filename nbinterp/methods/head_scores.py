"""Which heads look back in a known way: induction, previous token, duplicate token; on sequences made of random words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats
from tqdm import tqdm

from nbinterp.experiment import Experiment
from nbinterp.geometry.told import Told
from nbinterp.interventions import Patch
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.model import Model

KINDS = {
    "induction": "from a token to what followed it a period ago",
    "previous token": "from each token to the one before it",
    "duplicate token": "from a token to itself a period ago",
}
"""What is scored: where the weight of attention should go."""

LEVEL = 0.05
"""Chance that any head of a model is named which looks nowhere in particular."""

_DRAWS = 100
_WORD = re.compile(r"[ ▁]?[A-Za-z]{2,}")
_TOP = 5
_LEAST_PERIOD = 4


@dataclass(frozen=True, eq=False)
class HeadScores(Told):
    """How much each head looks where its kind would, on sequences of random words that are said twice.

    Parameters
    ----------
    scores : DataArray, ``[kind, sequence, layer, head]``
        Mean weight of attention on the key of its kind, from 0 to 1.
    chance : DataArray, ``[kind, sequence, layer, head]``
        The same where nothing is repeated: queries and keys at the same positions, with new words in the second half. Of
        the previous token, which is a matter of position alone, what a head that looks everywhere alike would have.
    periods : array of int, ``[sequence]``
        After how many tokens each sequence begins anew.
    copying : DataFrame
        Of the heads that are named, and of as many random ones: ``layer``, ``head``, ``named``, ``copy``, the share of words
        that a head which looks at them writes into its own five likeliest tokens.
    model : ModelInfo
        The model.
    least : float
        Score below which no head is named.
    seed : int
        Of the words, periods and random heads.
    """

    scores: xr.DataArray
    chance: xr.DataArray
    periods: NDArray[np.int64]
    copying: pd.DataFrame = field(repr=False)
    model: ModelInfo
    least: float
    seed: int

    def frame(self) -> pd.DataFrame:
        """Return one line a kind and head.

        Returns
        -------
        DataFrame
            ``kind``, ``layer``, ``head``; ``score``, mean over sequences, with ``low`` and ``high``, its 95 % interval; ``chance``; ``p``, of
            a t-test of score above chance over sequences, as often as there are heads (Bonferroni); ``named``; ``copy``, where
            it was measured.
        """
        n_kinds, n, n_layers, n_heads = self.scores.shape
        kind, layer, head = np.indices((n_kinds, n_layers, n_heads)).reshape(3, -1)

        def flat(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return values.reshape(-1)

        scores, above = self.scores.to_numpy(), (self.scores - self.chance).to_numpy()
        mean, reach = scores.mean(1), stats.t.ppf(0.975, n - 1) * scores.std(1, ddof=1) / np.sqrt(n)
        error = above.std(1, ddof=1) / np.sqrt(n)
        t = above.mean(1) / np.maximum(error, np.finfo(np.float64).tiny)
        p = np.minimum(stats.t.sf(t, n - 1) * n_layers * n_heads, 1)
        lines = pd.DataFrame(
            {
                "kind": self.scores["kind"].to_numpy()[kind],
                "layer": self.scores["layer"].to_numpy()[layer],
                "head": head,
                "score": flat(mean),
                "low": flat(np.maximum(mean - reach, 0)),
                "high": flat(np.minimum(mean + reach, 1)),
                "chance": flat(self.chance.to_numpy().mean(1)),
                "p": flat(p),
            }
        )
        lines["named"] = (lines["p"] < LEVEL) & (lines["score"] - lines["chance"] >= self.least)
        return lines.merge(self.copying[["layer", "head", "copy"]], on=["layer", "head"], how="left")

    def named(self, kind: str = "induction") -> pd.DataFrame:
        """Return the heads of a kind, the highest score first: lines of `frame`.

        Raises
        ------
        LookupError
            For a kind that was not scored.
        """
        known = self.scores["kind"].to_numpy().tolist()
        if kind not in known:
            raise LookupError(f"got the kind {kind!r}; scored were {', '.join(map(repr, known))}.")
        frame = self.frame()
        found = frame[(frame["kind"] == kind) & frame["named"]]
        return found.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)

    def chart(self) -> alt.Chart | alt.VConcatChart:
        """Return scores as heat maps, one for each kind: layers run down, heads to the right."""
        from nbinterp.charts.attention import scores_chart

        return scores_chart(self.frame(), title="Weight of attention", subtitle=f"{self.model.name}, {self._made}")

    @property
    def _made(self) -> str:
        return f"{len(self.periods)} sequences of random words said twice, periods {self.periods.min()} to {self.periods.max()}"

    def __repr__(self) -> str:
        _, _, n_layers, n_heads = self.scores.shape
        lines = [f"HeadScores of {n_layers} layers × {n_heads} heads on {self.model}", f"  {self._made}"]
        frame = self.frame()
        for kind in self.scores["kind"].to_numpy():
            part, found = frame[frame["kind"] == kind], self.named(kind)
            said = ", ".join(f"{line.layer}.{line.head} ({line.score:.2f})" for line in found.head(8).itertuples())
            more = f" and {len(found) - 8} more" if len(found) > 8 else ""
            middle, most = part["score"].quantile([0.5, 0.95])
            lines.append(
                f"  {kind}: {said or 'no head'}{more}; chance {part['chance'].mean():.2f}, a random head {middle:.2f} "
                f"(95 % of them at most {most:.2f})"
            )
        if len(self.copying):
            by = self.copying.groupby("named")["copy"].mean()
            lines.append(
                f"  copying: heads that are named write {by.get(True, np.nan):.0%} of the words they look at into their five likeliest tokens, "
                f"random heads {by.get(False, np.nan):.0%}"
            )
        if self.periods.min() == self.periods.max():
            lines.append(
                "  ! all periods are equal, so that a head that looks a fixed way back scores as if it knew the words"
            )
        return "\n".join(lines)


def head_scores(
    model: Model,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    n_sequences: int = 16,
    lengths: tuple[int, int] = (8, 24),
    least: float = 0.25,
    copying: bool = True,
    seed: int = 0,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> HeadScores:
    """Score every head as an induction, previous-token and duplicate-token head, against chance.

    Each sequence is some different random words, said twice; its period is drawn anew, since with a fixed one a head that
    looks a fixed way back scores like an induction head. Beside it runs the same sequence with new words in its second
    half: what a head does there it does by position alone.

    Parameters
    ----------
    model : Model
        The model.
    kinds : sequence of str
        Of ``"induction"``, ``"previous token"``, ``"duplicate token"``.
    n_sequences : int
        How many sequences, at least 3.
    lengths : (int, int)
        Least and greatest period, in tokens.
    least : float
        How far above chance a head must score to be named.
    copying : bool
        Whether the heads that are named, and as many random ones, are also asked if they copy.
    seed : int
        Of the words, periods and random heads.
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    HeadScores

    Raises
    ------
    ValueError
        For settings that make no sense, and where the tokenizer has too few words that are one token each.

    References
    ----------
    .. [1] Olsson et al., "In-context Learning and Induction Heads", 2022. arXiv:2209.11895
    .. [2] Wang et al., "Interpretability in the Wild", 2022, appendix H (copy score). arXiv:2211.00593
    """
    _check(model, kinds, n_sequences, lengths)
    random = np.random.default_rng(seed)
    words = _Words(model, random, lengths[1])
    periods = random.integers(lengths[0], lengths[1] + 1, size=n_sequences)
    info = model.info
    scores = np.empty((2, len(kinds), n_sequences, info.n_layers, info.n_heads))
    with tqdm(total=n_sequences, disable=not progress, leave=False, delay=1) as bar:
        for some in _at_once(model, periods):
            made = [words.sequences(int(periods[s])) for s in some]
            sites = [Site("pattern", layer) for layer in range(info.n_layers)]
            results = model.run([Experiment(text, read=sites) for pair in made for text in pair], cancel=cancel)
            for i, result in enumerate(results):
                period, n = int(periods[some[i // 2]]), len(result.prompts[0])
                pattern = np.stack([result.read(site) for site in sites])
                scores[i % 2, :, some[i // 2]] = [_score(pattern, kind, period, n, bool(i % 2)) for kind in kinds]
            bar.update(len(some))
    coords = {"kind": list(kinds), "layer": range(info.n_layers)}
    scores.flags.writeable = False
    said, chance = (
        xr.DataArray(part, coords, ("kind", "sequence", "layer", "head"), "score", {"units": "weight"})
        for part in scores
    )
    empty = pd.DataFrame({"layer": [], "head": [], "named": [], "copy": []}).astype({"layer": int, "head": int})
    found = HeadScores(said, chance, periods, empty, info, least, seed)
    if not copying:
        return found
    return HeadScores(said, chance, periods, _copying(model, found, words, random, cancel), info, least, seed)


def _check(model: Model, kinds: Sequence[str], n_sequences: object, lengths: tuple[int, int]) -> None:
    model.info.check(Site("pattern", 0))
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong or not kinds or isinstance(kinds, str) or len(set(kinds)) < len(kinds):
        raise ValueError(f"got kinds={kinds!r}; wanted some of {', '.join(map(repr, KINDS))}, each once.")
    if isinstance(n_sequences, bool) or not isinstance(n_sequences, int) or n_sequences < 3:
        raise ValueError(f"got n_sequences={n_sequences!r}; wanted 3 at least, so that there is an interval.")
    if len(lengths) != 2 or not _LEAST_PERIOD <= lengths[0] <= lengths[1]:
        raise ValueError(
            f"got lengths={lengths!r}; wanted a least and a greatest period, from {_LEAST_PERIOD} tokens up."
        )


class _Words:
    """Draws texts of random words that are one token each."""

    def __init__(self, model: Model, random: np.random.Generator, longest: int) -> None:
        self._model, self._random = model, random
        texts = model.vocabulary.tokens
        fit = [i for i, text in enumerate(texts) if text.startswith(" ") and _WORD.fullmatch(text)]
        self._ids = [i for i in fit if model.vocabulary.id(texts[i]) == i]
        if len(self._ids) < 2 * _LEAST_PERIOD:
            raise ValueError(
                f"got {model.info.name}, whose vocabulary has {len(self._ids)} words that begin with a space; wanted at least "
                f"{2 * _LEAST_PERIOD} to make sequences of."
            )
        if longest > len(self._ids) // 2:
            raise ValueError(
                f"got periods of up to {longest} tokens; {model.info.name} has {len(self._ids)} words that begin with a space: choose "
                f"lengths up to {len(self._ids) // 2}."
            )

    def sequences(self, period: int) -> tuple[str, str]:
        """Return a sequence that is said twice, and one whose second half is new."""
        for _ in range(_DRAWS):
            ids = self._random.choice(self._ids, 2 * period, replace=False).tolist()
            first, second = ids[:period], ids[period:]
            pair = tuple(self._text([*first, *after], 2 * period) for after in (first, second))
            if all(pair):
                return pair[0], pair[1]
        raise ValueError(
            f"got no text of {2 * period} single tokens in {_DRAWS} draws from {self._model.info.name}'s words; wanted words that its "
            "tokenizer does not join: choose shorter lengths."
        )

    def single(self, n: int) -> str:
        """Return a text of n different words."""
        for _ in range(_DRAWS):
            if text := self._text(self._random.choice(self._ids, n, replace=False).tolist(), n):
                return text
        raise ValueError(
            f"got no text of {n} single tokens in {_DRAWS} draws; wanted words that the tokenizer does not join."
        )

    def _text(self, ids: list[int], n: int) -> str:
        text = "".join(self._model.vocabulary.tokens[i] for i in ids)
        # what the tokenizer puts in front of every text may stand there
        return text if list(self._model.tokens(text).ids[-n:]) == ids else ""


def _at_once(model: Model, periods: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield sequences whose patterns fit into an eighth of the memory bound together, since runs keep them as well."""
    info = model.info
    part: list[int] = []
    taken = 0
    for s, period in enumerate(periods):
        size = 2 * 4 * info.n_layers * info.n_heads * (2 * int(period) + 1) ** 2
        if part and taken + size > model.memory_bound // 8:
            yield part
            part, taken = [], 0
        part.append(s)
        taken += size
    yield part


def _score(pattern: NDArray[np.float32], kind: str, period: int, n: int, fresh: bool) -> NDArray[np.float64]:
    """Return the mean weight on the key of a kind, or what stands for chance: ``[layer, head]`` of ``pattern [layer, head, query, key]``."""
    first = n - 2 * period
    if kind == "previous token":
        queries = np.arange(max(first, 1), n)
        if fresh:
            return np.full(pattern.shape[:2], float((1 / (queries + 1)).mean()))
        keys = queries - 1
    else:
        queries = np.arange(first + period, n)
        keys = queries - period + (kind == "induction")
    weights: NDArray[np.float64] = pattern[:, :, queries, keys].mean(-1, dtype=np.float64)
    return weights


def _copying(
    model: Model, found: HeadScores, words: _Words, random: np.random.Generator, cancel: Callable[[], bool]
) -> pd.DataFrame:
    """Return how often heads would write the word that they look at, for those that are named and as many others."""
    info = model.info
    frame = found.frame()
    frame = frame[frame["named"] & (frame["kind"] == "induction")]
    named = set(zip(frame["layer"].tolist(), frame["head"].tolist(), strict=True))
    others = [(a, b) for a in range(info.n_layers) for b in range(info.n_heads) if (a, b) not in named]
    chosen = random.choice(len(others), min(len(others), max(len(named), 8)), replace=False)
    heads = [*named, *(others[i] for i in chosen)] if named else []
    n = min(len(words._ids), 48)
    lines = []
    for layer in sorted({layer for layer, _ in heads}):
        # what stands at a word after the first block, as if this block read it: no context has come to it yet
        text = words.single(n)
        ids = model.tokens(text).ids[-n:]
        base = model.run(Experiment(text, read=["resid_post.0"])).read("resid_post.0")
        moved = Experiment(text, Patch(Site("resid_pre", layer), source=base), read=[Site("v", layer)])
        v = model.run(moved, cancel=cancel).read(Site("v", layer))[-n:]
        each = np.repeat(v, info.n_heads // v.shape[1], axis=1)
        outputs = model.head_outputs(layer, each)
        for head in sorted(head for a, head in heads if a == layer):
            logits = model.readout.logits(outputs[:, head])
            own = logits[np.arange(n), ids]
            # a head that writes nothing leaves all tokens equal, and has copied none
            ranks = (logits >= own[:, None]).sum(-1) - 1
            lines.append((layer, head, (layer, head) in named, float((ranks < _TOP).mean())))
    return pd.DataFrame(lines, columns=["layer", "head", "named", "copy"])
