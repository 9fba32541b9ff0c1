"""The dial: take hold of a circle in a model's activations and turn it while the model answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import traitlets

from nbinterp.charts.dial import dial_chart
from nbinterp.experiment import Experiment
from nbinterp.interventions import Rotate
from nbinterp.tokens import TokensLike, select_tokens
from nbinterp.widgets.bundle import Bundle
from nbinterp.widgets.protocol import Candidate, DialAnswer, DialSpec, DialSweep, Label, Layer, Series
from nbinterp.widgets.saved import origin_of, page, saved_bundle
from nbinterp.widgets.widget import Widget

if TYPE_CHECKING:
    import os

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.geometry.manifold import Circle
    from nbinterp.prompts import TokenizedPrompt
    from nbinterp.results import Result

_CANDIDATES = 8
_SERIES = 14
_STEPS_A_LABEL = 6


class _Work(Protocol):
    def ask(self, work: Callable[[], Iterator[None]]) -> None: ...
    def finish(self) -> None: ...


class Asked(Protocol):
    """What the dial needs of a model."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""

    def tokens(self, prompt: str) -> TokenizedPrompt:
        """Return a prompt as the model sees it."""

    def run(self, experiments: Sequence[Experiment]) -> list[Result]:
        """Run experiments."""

    def live(self, on_error: Callable[[Exception], object]) -> _Work:
        """Return what runs the newest piece of work on the main thread."""


class Dial(Widget):
    """Turn a token's activation around a circle and watch the model's next word follow.

    The token moves along the circle's curve from where it stands to where the hand points, and the model runs on from
    there. Beside it the control does the same along the same curve laid into a random subspace, so that every step has
    the same length: what the control does as well is no evidence for the circle.

    Parameters
    ----------
    model : Model
        Who is asked.
    circle : Circle or sequence of Circle
        The fitted circle, or one for each layer at which the dial can turn.
    prompt : str
        What the model is given.
    tokens : int or str
        The token to turn: an index, or a piece of the prompt that is one token.
    harmonics : int, optional
        Harmonics of the curve to turn on; by default those that the circle was fitted with. One harmonic is a plain
        circle in a plane.
    seed : int
        Of the random subspace.

    Attributes
    ----------
    angle : float
        Where the hand points, in radians; label ``j`` of ``n`` sits at ``2πj/n``. May be set.
    layer, token : int
        Where the turn acts. May be set.
    answer, sweep : dict
        What the page shows; `frame` and `response` give the same as tables.

    Raises
    ------
    ValueError, LookupError
        For a circle of another model, an empty prompt, or a token that is not one, before the model runs.

    Examples
    --------
    >>> nb.Dial(model, circle, prompt="If this month is March, next month is", tokens=" March")  # doctest: +SKIP
    """

    _esm = Bundle("dial.js")
    _css = Bundle("dial.css")

    spec = traitlets.Dict().tag(sync=True)
    angle = traitlets.Float(0.0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    token = traitlets.Int(0).tag(sync=True)
    answer: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    sweep: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        model: Asked,
        circle: Circle | Sequence[Circle],
        *,
        prompt: str,
        tokens: TokensLike,
        harmonics: int | None = None,
        seed: int = 0,
    ) -> None:
        circles = list(circle) if isinstance(circle, Sequence) else [circle]
        if not circles:
            raise ValueError(
                "got no circle to turn; wanted one, or one for each layer: fit them with nb.fit_manifold(…)."
            )
        layers = [_layer(c) for c in circles]
        if len(set(layers)) < len(layers):
            raise ValueError(f"got several circles for one layer (layers {layers}); wanted one a layer.")
        if any(c.labels != circles[0].labels for c in circles):
            raise ValueError("got circles of different labels; wanted the same concept at every layer.")
        for one in circles:
            one.loop.require(one.site, model.info)
        tokenized = model.tokens(prompt)
        position = _one_token(tokens, tokenized)
        self._model = model
        self._prompt = tokenized
        self._circles = dict(zip(layers, circles, strict=True))
        self._loops = {n: c.loop if harmonics is None else c.loop_with(harmonics) for n, c in self._circles.items()}
        self._controls = {layer: loop.control(seed) for layer, loop in self._loops.items()}
        self._starts: dict[tuple[int, int], float] = {}
        self._sweeping: _Sweep | None = None
        super().__init__(
            spec=_spec(circles, tokenized),
            layer=layers[0],
            token=position,
            angle=self._start(layers[0], position),
        )
        # the first answer and a coarse sweep come with the widget, so that it never shows an empty picture
        first = self._respond()
        next(first)
        next(first, None)
        self._live = model.live(self._report)
        self.observe(lambda _: self._live.ask(self._respond), names=["angle", "layer", "token"])
        self._live.ask(self._respond)

    @property
    def experiment(self) -> Experiment:
        """What the dial shows, as an experiment; its `to_code` prints plain nnsight."""
        layer, token = self.layer, self.token
        return self._turn(self._loops[layer], self.angle, layer, token).on(self._model.info)

    def frame(self) -> pd.DataFrame:
        """Return the next tokens at the hand: columns ``token``, ``base``, ``turned``, ``control`` (probabilities)."""
        self._live.finish()
        return self._candidates()

    def response(self) -> pd.DataFrame:
        """Return the response over the whole turn, after computing what is still missing of it.

        Returns
        -------
        DataFrame
            One line an angle and token: ``angle`` (radians), ``label`` (the nearest one), ``token``, ``base``,
            ``turned``, ``control`` (probabilities).
        """
        self._live.finish()
        circle = self._circles[self.layer]
        angles = self.sweep["angles"]
        frames = [
            pd.DataFrame(
                {
                    "angle": angles,
                    "label": [circle.nearest_label(angle) for angle in angles],
                    "token": series["text"],
                    "base": series["base"],
                    "turned": series["turned"],
                    "control": series["control"],
                }
            )
            for series in self.sweep["series"]
        ]
        return pd.concat(frames, ignore_index=True)

    def _report(self, error: Exception) -> None:
        self.problem = f"{type(error).__name__}: {error}"

    def _start(self, layer: int, token: int) -> float:
        """Return the angle at which the token stands: its label's, or the nearest point of the curve."""
        if (layer, token) not in self._starts:
            circle = self._circles[layer]
            try:
                angle = circle.angle_of(self._prompt.tokens[token])
            except LookupError:
                (result,) = self._model.run([Experiment(self._prompt.text, read=circle.site)])
                angle = self._loops[layer].angle_of(result.activations[circle.site][0][token])
            self._starts[layer, token] = angle
        return self._starts[layer, token]

    def _turn(self, loop: Any, angle: float, layer: int, token: int) -> Experiment:
        start = self._start(layer, token)
        act = Rotate(self._circles[layer].site, on=loop, to=angle, start=start, tokens=token)
        return Experiment(self._prompt.text, act)

    def _respond(self) -> Iterator[None]:
        began = time.perf_counter()
        # read once: the page may move on, on another thread, while this runs
        angle, layer, token = self.angle, self.layer, self.token
        start = self._start(layer, token)
        loop, control = self._loops[layer], self._controls[layer]
        turned, pushed = self._model.run([self._turn(each, angle, layer, token) for each in (loop, control)])
        self.problem = ""
        self.answer = DialAnswer(
            angle=angle,
            layer=layer,
            token=token,
            start=start,
            candidates=_candidates(turned, pushed),
            milliseconds=1000 * (time.perf_counter() - began),
        )
        yield
        # a hand that moves on before the sweep is whole takes it up where it was
        if self._sweeping is None or self._sweeping.place != (layer, token):
            self._sweeping = _Sweep((layer, token), turned, len(self._circles[layer].labels))
        sweep = self._sweeping
        while sweep.parts:
            part = sweep.parts[0]
            angles = sweep.grid[part]
            turns = [self._turn(each, angle, layer, token) for each in (loop, control) for angle in angles]
            results = self._model.run(turns)
            sweep.add(results[: len(part)], results[len(part) :])
            self.sweep = sweep.message(start)
            yield

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        view = super()._repr_mimebundle_(**kwargs)
        picture, table = self.chart(), self._candidates()
        return saved_bundle(view, "dial", picture, self._summary(), table, widget=self, origin=origin_of(self.spec))

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the dial as one HTML file in which it still turns, over the whole sweep, without Python or a network.

        Parameters
        ----------
        path : path, optional
            Write the page there too.
        """
        self._live.finish()
        return page(self, "dial", path, text=self._summary(), chart=self.chart(), frame=self._candidates())

    def chart(self) -> alt.VConcatChart:
        """Return what the dial shows as a chart that can go on being edited."""
        labels = next(layer["labels"] for layer in self.spec["layers"] if layer["layer"] == self.layer)
        return dial_chart(labels, self.answer, self.sweep, self._summary())

    def _candidates(self) -> pd.DataFrame:
        return pd.DataFrame(self.answer["candidates"]).rename(columns={"text": "token"})

    def _summary(self) -> str:
        circle = self._circles[self.layer]
        return (
            f"Dial: in {self.spec['prompt']!r} the token {self.spec['tokens'][self.token]!r} is turned to {circle.nearest_label(self.angle)} "
            f"on the circle of {circle.concept} in {circle.site} of {self._model.info.name}."
        )


class _Sweep:
    """Probabilities over the angles of a sweep as far as they are known."""

    def __init__(self, place: tuple[int, int], result: Result, n_labels: int) -> None:
        steps = n_labels * _STEPS_A_LABEL
        self.place = place
        self.grid: NDArray[np.float64] = 2 * math.pi * np.arange(steps + 1) / steps
        self.parts = _coarse_to_fine(len(self.grid), _STEPS_A_LABEL)
        self._base = result.base_probabilities[0]
        self._vocabulary = result.vocabulary
        self._turned: dict[int, NDArray[np.float32]] = {}
        self._control: dict[int, NDArray[np.float32]] = {}

    def add(self, turned: Sequence[Result], control: Sequence[Result]) -> None:
        """Note the results of the first part that is missing."""
        part = self.parts.pop(0)
        for known, results in ((self._turned, turned), (self._control, control)):
            known |= {i: r.probabilities[0].astype(np.float32) for i, r in zip(part, results, strict=True)}

    def message(self, start: float) -> DialSweep:
        order = sorted(self._turned)
        turned = np.stack([self._turned[i] for i in order])
        control = np.stack([self._control[i] for i in order])
        best = np.maximum(turned.max(axis=0), self._base)
        series = [
            Series(
                text=self._vocabulary.tokens[token],
                base=float(self._base[token]),
                turned=turned[:, token].round(5).tolist(),
                control=control[:, token].round(5).tolist(),
            )
            for token in np.argsort(-best, kind="stable")[:_SERIES]
        ]
        return DialSweep(
            layer=self.place[0],
            token=self.place[1],
            start=start,
            total=len(self.grid),
            angles=self.grid[order].tolist(),
            series=series,
        )


def _coarse_to_fine(n: int, stride: int) -> list[list[int]]:
    """Return the indices below `n` in parts: every `stride`-th one, those half-way between, and then the rest."""
    offsets = sorted(range(stride), key=lambda k: (k != 0, 2 * k != stride, k))
    return [list(range(offset, n, stride)) for offset in offsets]


def _candidates(turned: Result, control: Result) -> list[Candidate]:
    base, there, pushed = turned.base_probabilities[0], turned.probabilities[0], control.probabilities[0]
    best = np.argsort(-np.maximum(base, there), kind="stable")[:_CANDIDATES]
    return [
        Candidate(
            text=turned.vocabulary.tokens[i], base=float(base[i]), turned=float(there[i]), control=float(pushed[i])
        )
        for i in best
    ]


def _layer(circle: Circle) -> int:
    if circle.site.layer is None:
        raise ValueError(
            f"got a circle at {circle.site}, which belongs to no layer; a dial turns one found in a layer's site."
        )
    return circle.site.layer


def _one_token(tokens: TokensLike, prompt: TokenizedPrompt) -> int:
    positions = select_tokens(tokens).resolve(prompt)
    if len(positions) != 1:
        chosen = [prompt.tokens[i] for i in positions]
        raise ValueError(
            f"got tokens={tokens!r}, which chooses {len(positions)} tokens ({chosen}); a dial turns one: choose it by its index."
        )
    return positions[0]


def _spec(circles: Sequence[Circle], prompt: TokenizedPrompt) -> DialSpec:
    layers = [Layer(layer=_layer(c), labels=_labels(c), statement=statement(c)) for c in circles]
    return DialSpec(concept=circles[0].concept, prompt=prompt.text, tokens=list(prompt.tokens), layers=layers)


def _labels(circle: Circle) -> list[Label]:
    frame = circle.frame()
    columns = (circle.labels, frame["angle"].tolist(), frame["x"].tolist(), frame["y"].tolist())
    return [Label(text=str(text), angle=angle, x=x, y=y) for text, angle, x, y in zip(*columns, strict=True)]


def statement(circle: Circle) -> str:
    """Return in one line how sure the circle is."""
    test = circle.test
    order = f"p = {test.p_order:.4f}" if test.exact else f"p ≤ {test.p_order:.4f}"
    return (
        f"{test.verdict} in {circle.site}: order {order}, held-out R² {test.r2_circle:.2f} as a circle and {test.r2_line:.2f} as a line, "
        f"last to first {test.wrap_ratio:.2f} times a step"
    )
