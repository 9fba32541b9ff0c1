"""Does moving along a manifold steer the model, and does the model's answer walk along with it? Against its controls."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from nbinterp.experiment import Experiment
from nbinterp.geometry.told import Told
from nbinterp.interventions import Steer
from nbinterp.spaces import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import altair as alt

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.labels import Centroids
    from nbinterp.model import Model
    from nbinterp.results import Result
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats

METHODS = {
    "manifold": "along the manifold",
    "straight line": "straight to where the manifold leads",
    "mean swap": "the difference of the labels' centroids",
    "random subspace": "the manifold's way, laid into a random subspace",
    "no steering": "nothing",
}
"""What is compared, with what each does."""

BETWEEN = 16
"""Points of the behaviour curve between two neighbouring labels."""

RESAMPLES = 2000
"""Draws of the bootstrap over source labels."""


class Manifold(Protocol):
    """What a fitted circle, line or surface offers."""

    @property
    def concept(self) -> str:
        """What the labels are."""

    @property
    def labels(self) -> tuple[Any, ...]:
        """The labels."""

    @property
    def site(self) -> Site:
        """Where it lives."""

    @property
    def model(self) -> ModelInfo | None:
        """In which model."""

    @property
    def centroids(self) -> Centroids:
        """What it was fitted to, in the same order of labels."""

    @property
    def neighbours(self) -> tuple[tuple[int, int], ...]:
        """Pairs of labels between which nothing lies."""

    @property
    def provenance(self) -> str:
        """What was done."""

    def path(self, source: object, target: object, n_steps: int) -> Floats:
        """Return the way from one label to another: ``[n_steps + 1, d_model]``."""


@dataclass(frozen=True, eq=False)
class SteerReport(Told):
    """How well a manifold steers a model from label to label, beside its controls.

    Parameters
    ----------
    concept : str
        What the labels are.
    labels : tuple, ``[label]``
        The labels.
    prompt : str
        What the model was given, with ``{}`` for the label.
    site, model : Site, ModelInfo
        Where it was steered.
    answers : tuple of str, ``[label]``
        Which of the label tokens the untouched model holds most probable for each label.
    accuracy : float or None
        Share of answers that are what was expected; None where nobody said.
    label_mass : float
        Mean probability that the untouched model gives to all label tokens together.
    steps : DataFrame
        One line for each step of each way: ``method``, ``draw`` (of the random subspace), ``source``, ``target``, ``step`` (from 1),
        ``last``, ``moved`` (length of the way so far, in the units of the activations), ``said`` (the most probable label
        token), ``distance`` (arc of √p from the untouched answer to the source, in radians), ``energy`` (−log Σ√(pq) to the
        nearest point of the behaviour curve), ``label_mass``.
    n_steps, seed : int
        As given.
    provenance : str
        What was done, for people to read.
    """

    concept: str
    labels: tuple[Any, ...]
    prompt: str
    site: Site
    model: ModelInfo
    answers: tuple[str, ...]
    accuracy: float | None
    label_mass: float
    steps: pd.DataFrame = field(repr=False)
    n_steps: int
    seed: int
    provenance: str

    @property
    def behaviour(self) -> str:
        """Whether there is anything to steer, in a sentence."""
        n = len(set(self.answers))
        right = (
            "nobody said which are right"
            if self.accuracy is None
            else f"{self.accuracy:.0%} of its answers are those expected"
        )
        return (
            f"untouched, the model gives {n} different answers to {len(self.labels)} prompts, and {right}; "
            f"the label tokens hold {self.label_mass:.0%} of the probability"
        )

    def ends(self) -> pd.DataFrame:
        """Return the last step of each way with ``hit`` (the model says what it says for the target) and ``differs`` (that is another answer than for the source)."""
        ends = self.steps[self.steps["last"]].reset_index(drop=True)
        says = dict(zip(self.labels, self.answers, strict=True))
        wanted = ends["target"].map(says)
        return ends.assign(hit=ends["said"] == wanted, differs=wanted != ends["source"].map(says))

    def frame(self) -> pd.DataFrame:
        """Return one line a method.

        Returns
        -------
        DataFrame
            ``method``; ``hit_rate``, the share of pairs after which the model's most probable label token is what it says for
            the target; ``low``, ``high``, its 95 % bootstrap interval over source labels; ``hit_rate_differing``, the same over those pairs
            for which source and target have different answers; ``energy``, mean over all steps, and ``energy_end``, at the
            last, in nats; ``isometry``, the correlation of the length of the way with the distance that the output has
            moved; ``length``, mean length of the way in the units of the activations; ``label_mass``, mean over all steps.
            Where a method has no steps, ``energy`` and ``isometry`` are missing.
        """
        ends = self.ends()
        rng = np.random.default_rng(self.seed)
        lines = []
        for method in (m for m in METHODS if (ends["method"] == m).any()):
            end, way = ends[ends["method"] == method], self.steps[self.steps["method"] == method]
            low, high = _interval(end, rng)
            walked = bool((way["step"] > 1).any())
            lines.append(
                {
                    "method": method,
                    "hit_rate": float(end["hit"].mean()),
                    "low": low,
                    "high": high,
                    "hit_rate_differing": float(end.loc[end["differs"], "hit"].mean()),
                    "energy": float(way["energy"].mean()) if walked else np.nan,
                    "energy_end": float(end["energy"].mean()),
                    "isometry": _correlation(way["moved"], way["distance"]) if walked else np.nan,
                    "length": float(end["moved"].mean()),
                    "label_mass": float(way["label_mass"].mean()),
                }
            )
        return pd.DataFrame(lines)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What a claim that the manifold steers has to pass, one sentence each: its numbers and whether it holds."""
        on, line, random, nothing = (
            self._of(method) for method in ("manifold", "straight line", "random subspace", "no steering")
        )
        conditions = {
            f"hits: {on['hit_rate']:.2f} ({on['low']:.2f} to {on['high']:.2f}) along the manifold, {random['hit_rate']:.2f} "
            f"({random['low']:.2f} to {random['high']:.2f}) in random subspaces, {nothing['hit_rate']:.2f} without steering; wanted "
            "intervals apart": on["low"] > max(random["high"], nothing["high"]),
        }
        # a way in one step has nothing between its ends
        if self.n_steps > 1:
            energy = f"energy: {on['energy']:.3g} along the manifold, {line['energy']:.3g} along the straight line; wanted less"
            conditions[energy] = on["energy"] < line["energy"]
        return tuple(f"{text}: {'holds' if holds else 'fails'}." for text, holds in conditions.items())

    def _of(self, method: str) -> dict[str, float]:
        frame = self.frame()
        line = frame[frame["method"] == method].drop(columns="method").iloc[0]
        return {str(name): float(value) for name, value in line.items()}

    def chart(self) -> alt.HConcatChart:
        """Return hit rates with their intervals, and energies."""
        from nbinterp.charts.steering import steering_chart

        return steering_chart(
            self.frame(), title=f"Steering {self.concept} at {self.site} of {self.model.name}", subtitle=self.behaviour
        )

    def __repr__(self) -> str:
        n = len(self.ends().query("method == 'manifold'"))
        return "\n".join(
            [
                f"SteerReport of {self.concept} at {self.site} of {self.model}: {n} pairs of {len(self.labels)} labels",
                f"  {self.prompt!r}: {self.behaviour}.",
                *(f"  {reason}" for reason in self.reasons),
                *(f"  {line}" for line in self.frame().to_string(index=False, float_format="%.3g").splitlines()),
                f"  {self.provenance}",
            ]
        )


def steer_report(
    model: Model,
    manifold: Manifold,
    prompt: str,
    *,
    expected: Sequence[Any] | None = None,
    outputs: Sequence[str] | None = None,
    n_pairs: int | None = None,
    n_steps: int = 8,
    n_random: int = 3,
    seed: int = 0,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> SteerReport:
    """Move a label's token along a manifold to other labels, and see what the model says on the way.

    For an ordered pair of labels the model reads the prompt of the source, and γ(t) − γ(source) is added to the activation of
    the label's last token, in steps from the source to the target. A hit is an end at which the model's most probable
    label token is the one that it says, untouched, for the target: whether that is right does not matter. Controls: the
    straight line to the same end, the whole difference of the labels' centroids, the same way laid into a random subspace
    (all lengths and angles stay), and nothing.

    Parameters
    ----------
    model : Model
        Who is asked.
    manifold : Circle or Line
        What `fit_manifold` gave, at a site of this model.
    prompt : str
        Text that holds ``{}`` once, for the label, and that the model goes on from, e.g. ``"The month after {} is"``.
    expected : sequence, ``[label]``, optional
        The right answer for each label, one of the labels: to say how well the model does untouched.
    outputs : sequence of str, ``[label]``, optional
        The token that stands for each label in the model's answer; by default a space and the label.
    n_pairs : int, optional
        How many ordered pairs, drawn at random; all by default.
    n_steps : int
        Steps of a way.
    n_random : int
        Random subspaces to try.
    seed : int
        Of pairs, random subspaces and bootstrap.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each trace; True stops with KeyboardInterrupt.

    Returns
    -------
    SteerReport
        With `frame`, `chart`, and in `behaviour` first of all whether there is anything to steer.

    Raises
    ------
    ValueError, LookupError
        For a prompt without a place for the label, a label that is no single token in the answer, a manifold of another
        model, and a model that says the same for every label: before anything is steered.

    Notes
    -----
    Energy is that of Wurgaft et al. (2026, arXiv 2605.05115): the mean of −log Σ√(pq) between outputs p on the way and the
    behaviour curve q, over the label tokens. Here the behaviour curve joins the untouched answers of neighbouring labels by
    great circles of √q, and each output is compared with its nearest point.
    """
    asked = _Asked(model, manifold, prompt, outputs)
    if n_steps < 1 or n_random < 1:
        raise ValueError(f"got n_steps={n_steps}, n_random={n_random}; wanted at least 1 of each.")
    if expected is not None and len(expected) != len(manifold.labels):
        raise ValueError(f"got {len(expected)} expected answers for {len(manifold.labels)} labels; wanted one each.")
    pairs = _pairs(len(manifold.labels), n_pairs, seed)
    results = model.run([Experiment(text) for text in asked.prompts], cancel=cancel)
    untouched = np.stack([asked.spoken(result) for result in results])
    said = untouched.argmax(axis=1)
    if len(set(said.tolist())) == 1:
        raise ValueError(
            f"got a prompt to which the model says {asked.outputs[said[0]]!r} whatever the {manifold.concept} in {prompt!r}: there is nothing "
            "to steer; choose a prompt whose answer depends on it."
        )
    roots = np.sqrt(untouched / untouched.sum(axis=1, keepdims=True))
    curve = _behaviour_curve(roots, manifold.neighbours)
    ways = _ways(manifold, pairs, n_steps, n_random, seed)
    lines: list[dict[str, Any]] = []
    sources = sorted({source for source, _ in pairs})
    for source in tqdm(sources, disable=not progress, leave=False, delay=1, file=sys.stdout):
        lines += _walked(asked, source, [way for way in ways if way.source == source], roots[source], curve, cancel)
    accuracy = None
    if expected is not None:
        accuracy = float(np.mean([manifold.labels[at] == right for at, right in zip(said, expected, strict=True)]))
    return SteerReport(
        concept=manifold.concept,
        labels=manifold.labels,
        prompt=prompt,
        site=manifold.site,
        model=model.info,
        answers=tuple(asked.outputs[at] for at in said),
        accuracy=accuracy,
        label_mass=float(untouched.sum(axis=1).mean()),
        steps=pd.DataFrame(lines),
        n_steps=n_steps,
        seed=seed,
        provenance=f"{manifold.provenance}; {len(pairs)} ordered pairs, {n_steps} steps a way, {n_random} random subspaces",
    )


@dataclass(frozen=True, eq=False)
class _Way:
    """What is added to a source's activation, step by step: ``steps [n_steps, d_model]``."""

    method: str
    draw: int
    source: int
    target: int
    steps: Floats


class _Asked:
    """The prompts of all labels, and which tokens to steer and to read."""

    def __init__(self, model: Model, manifold: Manifold, prompt: str, outputs: Sequence[str] | None) -> None:
        if prompt.count("{}") != 1:
            raise ValueError(
                f"got the prompt {prompt!r}; wanted a text that holds '{{}}' once, where the label goes, for example 'The month after {{}} is'."
            )
        self.model, self.manifold = model, manifold
        texts = [str(label) for label in manifold.labels]
        if outputs is not None and len(outputs) != len(texts):
            raise ValueError(f"got {len(outputs)} outputs for {len(texts)} labels; wanted one each.")
        self.outputs = [f" {text}" for text in texts] if outputs is None else list(outputs)
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError(
                f"got the same output for two labels among {self.outputs}; wanted a token of its own for each."
            )
        self.ids = np.array([model.vocabulary.id(text) for text in self.outputs])
        zero = Direction(manifold.site, manifold.model, np.zeros(manifold.centroids.points.shape[1]))
        zero.require(manifold.site, model.info)
        before = prompt.index("{}")
        self.prompts = [prompt.replace("{}", text) for text in texts]
        self.positions = []
        for text, whole in zip(texts, self.prompts, strict=True):
            spans = model.tokens(whole).spans
            touched = [i for i, (start, stop) in enumerate(spans) if start < before + len(text) and stop > before]
            self.positions.append(max(touched))

    def steered(self, label: int, displacements: Sequence[Floats], cancel: Callable[[], bool]) -> list[Result]:
        """Run one label's prompt with each of the displacements ``[d_model]`` in turn."""
        acts = [Experiment(self.prompts[label], self._act(label, vector)) for vector in displacements]
        return self.model.run(acts, cancel=cancel)

    def spoken(self, result: Result) -> Floats:
        """Return the probabilities of the label tokens: ``[label]``."""
        spoken: Floats = result.probabilities[0, self.ids]
        return spoken

    def _act(self, label: int, vector: Floats) -> Steer:
        site = self.manifold.site
        return Steer(site, direction=Direction(site, self.manifold.model, vector), tokens=self.positions[label])


def _pairs(n_labels: int, n_pairs: int | None, seed: int) -> list[tuple[int, int]]:
    every = [(i, j) for i in range(n_labels) for j in range(n_labels) if i != j]
    if n_pairs is None or n_pairs >= len(every):
        return every
    if n_pairs < 1:
        raise ValueError(f"got n_pairs={n_pairs}; wanted at least 1, or None for all.")
    chosen = np.random.default_rng(seed).choice(len(every), n_pairs, replace=False)
    return [every[i] for i in np.sort(chosen)]


def _ways(manifold: Manifold, pairs: Sequence[tuple[int, int]], n_steps: int, n_random: int, seed: int) -> list[_Way]:
    labels, centroids = manifold.labels, manifold.centroids.points
    paths = {(i, j): manifold.path(labels[i], labels[j], n_steps) for i, j in pairs}
    along = {pair: path[1:] - path[0] for pair, path in paths.items()}
    share = np.linspace(0, 1, n_steps + 1)[1:, None]
    _, sizes, directions = np.linalg.svd(np.concatenate(list(along.values())), full_matrices=False)
    basis = directions[sizes > 1e-9 * sizes[0]]
    rng = np.random.default_rng(seed)
    frames = [np.linalg.qr(rng.normal(size=(basis.shape[1], len(basis))))[0].T for _ in range(n_random)]
    ways = []
    for (i, j), steps in along.items():
        ways.append(_Way("manifold", 0, i, j, steps))
        ways.append(_Way("straight line", 0, i, j, share * steps[-1]))
        ways.append(_Way("mean swap", 0, i, j, (centroids[j] - centroids[i])[None]))
        # only the end, which says whether it steers: a way in a random direction leads nowhere
        ways += [_Way("random subspace", d, i, j, steps[-1:] @ basis.T @ frame) for d, frame in enumerate(frames)]
        ways.append(_Way("no steering", 0, i, j, np.zeros((1, basis.shape[1]))))
    return ways


def _walked(
    asked: _Asked, source: int, ways: Sequence[_Way], root: Floats, curve: Floats, cancel: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Run all ways from one source at once, and return a line for each step."""
    vectors = [step for way in ways for step in way.steps]
    # the straight line ends where the manifold ends, and nothing is the same for every target: each is run once
    keys = [vector.tobytes() for vector in vectors]
    different = dict(zip(keys, vectors, strict=True))
    results = asked.steered(source, list(different.values()), cancel)
    spoken = {key: asked.spoken(result) for key, result in zip(different, results, strict=True)}
    labels, lines = asked.manifold.labels, []
    place = iter(keys)
    for way in ways:
        lengths = np.linalg.norm(np.diff(way.steps, axis=0, prepend=np.zeros((1, way.steps.shape[1]))), axis=1).cumsum()
        for step, moved in enumerate(lengths, start=1):
            p = spoken[next(place)]
            here = np.sqrt(p / p.sum())
            lines.append(
                {
                    "method": way.method,
                    "draw": way.draw,
                    "source": labels[way.source],
                    "target": labels[way.target],
                    "step": step,
                    "last": step == len(way.steps),
                    "moved": float(moved),
                    "said": asked.outputs[int(p.argmax())],
                    "distance": float(np.arccos(np.clip(here @ root, -1, 1))),
                    "energy": float(-np.log(np.clip((curve @ here).max(), 1e-12, 1))),
                    "label_mass": float(p.sum()),
                }
            )
    return lines


def _behaviour_curve(roots: Floats, neighbours: Sequence[tuple[int, int]]) -> Floats:
    """Return points of the behaviour curve: great circles between the √q of neighbouring labels: ``[point, label]``."""
    share = np.linspace(0, 1, BETWEEN + 1)[:, None]
    points = [roots]
    for i, j in neighbours:
        arc = np.arccos(np.clip(roots[i] @ roots[j], -1, 1))
        if arc > 1e-9:
            points.append((np.sin((1 - share) * arc) * roots[i] + np.sin(share * arc) * roots[j]) / np.sin(arc))
    return np.concatenate(points)


def _interval(ends: pd.DataFrame, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the hit rate over source labels: pairs of one source go together."""
    by_source = ends.groupby("source", sort=False)["hit"].agg(["sum", "count"]).to_numpy(dtype=np.float64)
    drawn = rng.integers(len(by_source), size=(RESAMPLES, len(by_source)))
    rates = by_source[drawn, 0].sum(axis=1) / by_source[drawn, 1].sum(axis=1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def _correlation(x: pd.Series[float], y: pd.Series[float]) -> float:
    a, b = x.to_numpy(dtype=np.float64), y.to_numpy(dtype=np.float64)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else float("nan")
