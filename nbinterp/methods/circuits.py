"""Circuits: which edges between a model's heads and MLPs carry a behaviour, scored by slope and checked by cutting the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from nbinterp.engine.objectives import given_arrays
from nbinterp.methods.behaviour import Behaviour, Explained, Gate, check_gate, measured
from nbinterp.methods.circuit_results import Circuit, FaithfulnessCurve, edges_frame, many
from nbinterp.methods.grids import check_count
from nbinterp.pairs import AlignedPair, Metrics, Pair, align, pairs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.model import Model
    from nbinterp.wiring import How, Mask, Wiring

Method: TypeAlias = Literal["EAP", "EAP-IG"]
"""Where slopes are taken: in the clean run, or along the way from the corrupted embeddings to the clean ones."""

DRAWS = 5
"""Random circuits that a circuit is set against."""

_NAMED = 8
"""How many heads a report names."""


@dataclass(frozen=True, eq=False)
class EdgeScores(Explained):
    """How much each edge of a model matters for a behaviour, to first order.

    Parameters
    ----------
    scores : DataArray, ``[receiver, node]``
        What the metric loses, in its unit, when the edge alone carries the corrupted run's activation: the mean over `pairs`.
        NaN where there is no edge.
    wiring : Wiring
        The model as a graph.
    pairs : tuple of AlignedPair
        On which prompts edges were scored.
    checks : tuple of AlignedPair
        On which prompts circuits are checked.
    behaviour : Behaviour
        The metric of the prompts in `checks`, and whether the model does what is explained.
    method : {"EAP", "EAP-IG"}
        How slopes were taken.
    steps : int
        At how many points of the way.
    """

    scores: xr.DataArray
    wiring: Wiring
    pairs: tuple[AlignedPair, ...] = field(repr=False)
    checks: tuple[AlignedPair, ...] = field(repr=False)
    behaviour: Behaviour
    method: Method
    steps: int
    _model: Model = field(repr=False)

    @property
    def n_edges(self) -> int:
        """How many edges the model has."""
        return int(self.wiring.edges.sum())

    @property
    def held_out(self) -> bool:
        """Whether circuits are checked on other prompts than those on which edges were scored."""
        scored = {(pair.clean.ids, pair.corrupted.ids) for pair in self.pairs}
        return scored.isdisjoint((pair.clean.ids, pair.corrupted.ids) for pair in self.checks)

    def on(
        self,
        clean: object,
        corrupted: object,
        *,
        metric: Metrics,
        gate: Gate = "warn",
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> EdgeScores:
        """Return the same scores, with circuits checked on other prompts: other names, another sentence.

        Parameters
        ----------
        clean, corrupted, metric, gate
            As for `nbinterp.circuit`.
        progress, cancel
            As for `Model.run`.

        Raises
        ------
        ValueError, LookupError, TypeError, BehaviourMissing
            As for `nbinterp.circuit`.
        """
        check_gate(gate)
        checks = tuple(align(pair, self._model.tokens) for pair in pairs_of(clean, corrupted, metric))
        return replace(self, checks=checks, behaviour=_shown(self._model, checks, progress, cancel).require(gate))

    def frame(self) -> pd.DataFrame:
        """Return one line an edge, the largest score in either direction first: see `Circuit.frame`."""
        return edges_frame(self.wiring, self.wiring.edges, self.scores.to_numpy())

    def top(self, k: int = 20) -> pd.DataFrame:
        """Return the first `k` lines of `frame`."""
        chosen = self.wiring.choose(np.nan_to_num(self.scores.to_numpy()), max(k, 0))
        return edges_frame(self.wiring, chosen, self.scores.to_numpy())

    def heads(self) -> pd.DataFrame:
        """Return how much what each head writes matters, over all its edges.

        Returns
        -------
        DataFrame
            ``layer``, ``head``, ``score`` (sum over the edges from it), largest in either direction first.
        """
        total = np.nansum(self.scores.to_numpy(), axis=0)
        rows = [
            (layer, head, total[self.wiring.nodes_before(layer) + head])
            for layer in range(self.wiring.n_layers)
            for head in range(self.wiring.n_heads)
        ]
        frame = pd.DataFrame(rows, columns=["layer", "head", "score"])
        return frame.sort_values("score", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def prune(
        self,
        n_edges: int,
        *,
        how: How = "greedy",
        draws: int = DRAWS,
        seed: int = 0,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Circuit:
        """Return the circuit of the edges with the largest scores, dead ends removed, checked by cutting all others.

        Parameters
        ----------
        n_edges : int
            How many to choose, before dead ends are removed.
        how : {"greedy", "top"}
            From the logits on back, always the largest that leads to what is chosen; or the largest anywhere.
        draws, seed
            Random circuits to set it against, of as many edges, each leading to the logits; and their seed.
        progress, cancel
            As for `Model.run`.

        Raises
        ------
        ValueError
            For a number of edges that there is not, before the model runs.
        """
        _check_edges(n_edges, self.n_edges)
        return self.circuit(self._chosen(n_edges, how), draws=draws, seed=seed, progress=progress, cancel=cancel)

    def circuit(
        self,
        edges: Mask | Sequence[str],
        *,
        draws: int = DRAWS,
        seed: int = 0,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Circuit:
        """Return the circuit of given edges, by mask ``[receiver, node]`` or by name, dead ends removed, checked.

        Parameters
        ----------
        edges : array of bool, or sequence of str
            Which; names are such as ``"L0H5→L1H2<k>"``.
        draws, seed, progress, cancel
            As for `prune`.
        """
        kept = edges if isinstance(edges, np.ndarray) else self.wiring.mask(list(edges))
        kept = self.wiring.alive(kept)
        n = int(kept.sum())
        random = [self._random(n, seed + draw) for draw in range(draws)]
        values = self._run([kept, self.wiring.edges & ~kept, *random], progress, cancel)
        faithful = self._normalised(values)
        kept.flags.writeable = False
        return Circuit(kept, self, values[0], faithful[0], faithful[1], faithful[2:], seed)

    def faithfulness(
        self,
        n_edges: Iterable[int] | None = None,
        *,
        how: How = "greedy",
        draws: int = DRAWS,
        seed: int = 0,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> FaithfulnessCurve:
        """Return how much of the behaviour is left as fewer edges are kept, all others truly cut.

        Parameters
        ----------
        n_edges : iterable of int, optional
            How many edges to choose; by default 1, 2, 5, 10, … to all.
        how, draws, seed, progress, cancel
            As for `prune`.
        """
        given = _spread(self.n_edges) if n_edges is None else sorted(set(n_edges))
        for n in given:
            _check_edges(n, self.n_edges)
        kept = [self.wiring.alive(self._chosen(n, how)) for n in given]
        random = [self._random(n, seed + draw) for n in given for draw in range(draws)]
        found = self._normalised(self._run([*kept, *random], progress, cancel))
        by_draw = found[len(given) :].reshape(len(given), draws)
        lines = pd.DataFrame(
            {
                "n_edges": given,
                "kept": [int(mask.sum()) for mask in kept],
                "share": [mask.sum() / self.n_edges for mask in kept],
                "faithfulness": found[: len(given)],
                "random_low": by_draw.min(axis=1) if draws else np.nan,
                "random_high": by_draw.max(axis=1) if draws else np.nan,
            }
        )
        return FaithfulnessCurve(
            lines, self.n_edges, self.metric, self.model, how, draws, len(self.checks), self.held_out
        )

    def minimal(
        self,
        faithfulness: float = 0.85,
        *,
        how: How = "greedy",
        trim: bool = False,
        draws: int = DRAWS,
        seed: int = 0,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Circuit:
        """Return the smallest circuit along the ranking of edges that keeps so much of the behaviour, by bisection.

        Faithfulness may fall as edges come in: between two sizes that were tried a smaller one may do.

        Parameters
        ----------
        faithfulness : float
            What is to be kept: 1 is the clean prompts' metric, 0 the corrupted ones'.
        trim : bool
            Then take out edge after edge, the weakest first, wherever as much is left without it, as in [1]_: that takes a run
            for each edge.
        how, draws, seed, progress, cancel
            As for `prune`.

        Raises
        ------
        ValueError
            For a faithfulness outside of 0 to 1, before the model runs.

        References
        ----------
        .. [1] Conmy et al., "Towards automated circuit discovery for mechanistic interpretability", 2023. arXiv:2304.14997
        """
        if isinstance(faithfulness, bool) or not isinstance(faithfulness, int | float) or not 0 < faithfulness <= 1:
            raise ValueError(f"got faithfulness={faithfulness!r}; wanted a number above 0, up to 1, for example 0.85.")
        few, enough = 0, self.n_edges
        with _bar(progress, int(np.ceil(np.log2(enough)))) as bar:
            while enough - few > 1:
                middle = (few + enough) // 2
                kept = self.wiring.alive(self._chosen(middle, how))
                few, enough = (few, middle) if self._keeps(kept, faithfulness, cancel) else (middle, enough)
                bar.update(1)
        kept = self.wiring.alive(self._chosen(enough, how))
        if trim:
            kept = self._trimmed(kept, faithfulness, progress, cancel)
        return self.circuit(kept, draws=draws, seed=seed, cancel=cancel)

    def _trimmed(self, kept: Mask, faithfulness: float, progress: bool, cancel: Callable[[], bool]) -> Mask:
        """Return what is left when edges without which as much is kept are taken out, the weakest first."""
        places = np.argwhere(kept)
        order = np.argsort(np.abs(self.scores.to_numpy()[kept]), kind="stable")
        with _bar(progress, len(order)) as bar:
            for receiver, node in places[order]:
                if kept[receiver, node]:
                    without = kept.copy()
                    without[receiver, node] = False
                    without = self.wiring.alive(without)
                    kept = without if self._keeps(without, faithfulness, cancel) else kept
                bar.update(1)
        return kept

    def _keeps(self, kept: Mask, faithfulness: float, cancel: Callable[[], bool]) -> bool:
        return bool(self._normalised(self._run([kept], False, cancel))[0] >= faithfulness)

    def _chosen(self, n: int, how: How) -> Mask:
        return self.wiring.choose(np.nan_to_num(self.scores.to_numpy()), n, how)

    def _random(self, n: int, seed: int) -> Mask:
        random = np.random.default_rng(seed)
        return self.wiring.choose(random.random(self.wiring.edges.shape), n, "greedy")

    def _run(self, circuits: Sequence[Mask], progress: bool, cancel: Callable[[], bool]) -> NDArray[np.float64]:
        """Return the metric of each circuit on each pair: ``[circuit, pair]``."""
        values = np.full((len(circuits), len(self.checks)), np.nan)
        clean, corrupted = [pair.clean for pair in self.checks], [pair.corrupted for pair in self.checks]
        with _bar(progress, values.size) as bar:
            runs = self._model.edges.run(clean, corrupted, circuits)
            while not cancel() and (found := next(runs, None)):
                some, batch, logits = found
                for column, i in enumerate(batch):
                    metric = given_arrays(self.checks[i].pair.metric)
                    base = self._model.run(self.checks[i].pair.clean).logits[0]
                    values[some, i] = metric(logits[:, column], base, self._model.vocabulary)
                bar.update(len(some) * len(batch))
        if cancel():
            raise KeyboardInterrupt
        return values

    def _normalised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where each circuit's mean over pairs lies between the corrupted prompts' and the clean ones': ``[circuit]``."""
        return self.behaviour.normalized(values.mean(axis=1))

    def chart(self, k: int = 40) -> alt.LayerChart:
        """Return the `k` edges with the largest scores as a layered graph."""
        from nbinterp.charts.circuits import circuit_chart

        title = f"{k} largest of {self.n_edges:,} edges by {self.method}: {self.metric}"
        return circuit_chart(
            self.top(k), title=title, subtitle=f"{self.model.name}, {len(self.pairs)} pairs of prompts"
        )

    def __repr__(self) -> str:
        how = self.method if self.method == "EAP" else f"{self.method}, {self.steps} steps"
        heads = ", ".join(f"{h.layer}.{h.head} ({h.score:+.2f})" for h in self.heads().head(_NAMED).itertuples())
        edges = ", ".join(f"{e.edge} ({e.score:+.2f})" for e in self.top(5).itertuples())
        return "\n".join(
            [
                f"Edge scores ({how}) of {self.n_edges:,} edges on {self.model}",
                f"  scored on {many(len(self.pairs), 'pair')}"
                + (f", {many(len(self.checks), 'pair')} held out" if self.held_out else ""),
                f"  {self.metric}: {self.clean:.3g} clean, {self.corrupted:.3g} corrupted"
                + (" (held out)" if self.held_out else ""),
                *(f"  ! {reason}" for reason in self.behaviour.reasons),
                f"  largest edges: {edges}",
                f"  heads by the sum of their edges: {heads}",
                "  to first order only: ask .faithfulness(), .prune(n_edges) or .minimal() what is left when edges are cut",
            ]
        )


def circuit(
    model: Model,
    clean: object,
    corrupted: object,
    *,
    metric: Metrics,
    method: Method = "EAP-IG",
    steps: int = 5,
    held_out: int = 0,
    check: Mapping[str, Any] | None = None,
    gate: Gate = "warn",
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> EdgeScores:
    """Score every edge between a model's embeddings, heads, MLPs and logits: edge attribution patching.

    The first step of finding a circuit; the result prunes, and checks by truly cutting edges. An edge goes from what writes to
    the residual stream into the queries, keys or values of one head, into one MLP, or into the logits. Of query heads that
    share keys and values, these are one receiver: scores of its edges are sums over the heads that share it. Where the MLP
    reads the same stream as the attention beside it (GPT-NeoX, Falcon, Phi), there are no edges between the two.

    Parameters
    ----------
    model : Model
        The model.
    clean, corrupted : str, Chat, or sequence of them
        Prompts that show the behaviour, and as many that differ in what the answer depends on: token over token.
    metric : Metric, callable, or list of them
        One for all pairs, or one a pair; it needs a derivative, so that a function of your own is written in torch. What
        compares, such as `kl_divergence`, compares with the clean run.
    method : {"EAP", "EAP-IG"}
        Slopes in the clean run, or their mean over `steps` runs of which the embeddings lie k/steps of the way from the
        corrupted prompt's to the clean one's, k = 1 … steps: dearer, and better where the model saturates.
    steps : int
        How many, for ``"EAP-IG"``.
    held_out : int
        How many of the pairs, the last ones, to leave out of the scores and check circuits on; with 0 they are checked on all.
    check : mapping, optional
        Other pairs to check circuits on: ``{"clean": …, "corrupted": …, "metric": …}``; without ``"metric"``, by `metric`. The
        result's ``on(…)`` checks on still others.
    gate : {"warn", "refuse", "ignore"}
        What to do where the model does not show the behaviour.
    progress, cancel
        As for `Model.run`.

    Returns
    -------
    EdgeScores
        Scores of all edges; ``.prune(n)``, ``.faithfulness()`` and ``.minimal()`` make circuits of them.

    Raises
    ------
    ValueError, LookupError, TypeError
        For anything that cannot be done, before the model runs: prompts of different token length, a metric without a
        derivative, and a model that norms what its heads write together (Gemma 2 and 3), where heads have no edges.
    BehaviourMissing
        With ``gate="refuse"``, where there is nothing to explain.

    References
    ----------
    .. [1] Syed et al., "Attribution patching outperforms automated circuit discovery", 2023 (EAP). arXiv:2310.10348
    .. [2] Hanna et al., "Have faith in faithfulness: going beyond circuit overlap when finding model mechanisms", 2024
       (EAP-IG). arXiv:2403.17806

    Examples
    --------
    >>> scores = nb.circuit(  # doctest: +SKIP
    ...     model, clean, corrupted, metric=nb.logit_difference(" Mary", " John")
    ... )
    >>> scores.minimal(0.85).chart()  # doctest: +SKIP
    """
    check_gate(gate)
    if method not in ("EAP", "EAP-IG"):
        raise ValueError(f"got method={method!r}; wanted 'EAP' or 'EAP-IG'.")
    check_count(steps, "steps", least=1)
    pairs = pairs_of(clean, corrupted, metric)
    if isinstance(held_out, bool) or not isinstance(held_out, int) or not 0 <= held_out < len(pairs):
        raise ValueError(
            f"got held_out={held_out!r} of {many(len(pairs), 'pair')}; wanted a whole number from 0 up that leaves some to "
            "score edges on."
        )
    others = () if check is None else _others(check, metric)
    if held_out and others:
        raise ValueError(f"got held_out={held_out} and check=…; wanted one of the two.")
    aligned, apart = (tuple(align(pair, model.tokens) for pair in some) for some in (pairs, others))
    edges = model.edges
    scored, checks = aligned[: len(aligned) - held_out], aligned[-held_out:] if held_out else apart or aligned
    metrics = [pair.pair.metric for pair in scored]
    batches = edges.attribute(
        [pair.clean for pair in scored],
        [pair.corrupted for pair in scored],
        metrics,
        steps if method == "EAP-IG" else 1,
    )
    behaviour = _shown(model, checks, progress, cancel).require(gate)
    total = np.zeros(edges.wiring.edges.shape)
    with _bar(progress, len(scored)) as bar:
        while not cancel() and (found := next(batches, None)):
            total += found[1]
            bar.update(found[0])
    if cancel():
        raise KeyboardInterrupt
    data = np.where(edges.wiring.edges, total / len(scored), np.nan)
    data.flags.writeable = False
    coords = {"receiver": list(edges.wiring.receivers), "node": list(edges.wiring.nodes)}
    scores = xr.DataArray(data, coords, ("receiver", "node"), "score", {"units": pairs[0].metric.unit})
    return EdgeScores(
        scores, edges.wiring, scored, checks, behaviour, method, steps if method == "EAP-IG" else 1, model
    )


def _others(check: object, metric: Metrics) -> tuple[Pair, ...]:
    """Return the pairs to check on."""
    known = {"clean", "corrupted", "metric"}
    if not isinstance(check, Mapping) or not {"clean", "corrupted"} <= set(check) <= known:
        got = sorted(map(str, check)) if isinstance(check, Mapping) else type(check).__name__
        raise TypeError(
            f"got check={got}; wanted {{'clean': …, 'corrupted': …, 'metric': …}}, with prompts as for nb.circuit."
        )
    return pairs_of(check["clean"], check["corrupted"], check.get("metric", metric))


def _shown(model: Model, pairs: Sequence[AlignedPair], progress: bool, cancel: Callable[[], bool]) -> Behaviour:
    asked = [Pair(p.pair.clean, p.pair.corrupted, given_arrays(p.pair.metric)) for p in pairs]
    return measured(model, asked, progress=progress, cancel=cancel)


def _spread(n: int) -> list[int]:
    """Return 1, 2, 5, 10, … and n."""
    return [*(d * 10**e for e in range(len(str(n))) for d in (1, 2, 5) if d * 10**e < n), n]


def _check_edges(n: object, total: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= total:
        raise ValueError(f"got {n!r} edges to keep; wanted a whole number from 1 to {total:,}.")


def _bar(shown: bool, total: int) -> tqdm[Any]:
    return tqdm(total=total, disable=not shown, leave=False, delay=1)
