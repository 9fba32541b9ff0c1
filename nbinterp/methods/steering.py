"""Does adding a direction steer the model, more than a random one does, and before it breaks it? On prompts held out."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import xarray as xr
from tqdm import tqdm

from nbinterp.experiment import Experiment
from nbinterp.interventions import Steer
from nbinterp.methods.perplexity import check_texts, check_within, losses
from nbinterp.methods.steering_effect import SteeringEffect, Unit, many
from nbinterp.methods.steering_vectors import SteeringVectors, typical_norm
from nbinterp.metrics import Metric
from nbinterp.spaces import Direction
from nbinterp.tokens import SHORTHANDS, TokenSelection, select_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nbinterp.metrics import MetricLike
    from nbinterp.model import Model
    from nbinterp.prompts import Prompt
    from nbinterp.sites import Site
    from nbinterp.spaces import Floats
    from nbinterp.tokens import TokensLike

PLAIN_TEXTS = (
    "The library opens at nine in the morning and closes at six, except on Sundays, when it is shut all day.",
    "Water boils at a lower temperature on a mountain, because the pressure of the air is lower there.",
    "She put the keys on the table, took off her coat, and went to the kitchen to make some tea.",
    "To reset the device, hold the button for ten seconds, then wait until the light stops blinking.",
    "The river rises in the hills to the north and flows through three towns before it reaches the sea.",
    "In 1969, two astronauts walked on the surface of the Moon while a third stayed in orbit around it.",
    "A list in Python can hold items of different types, and you can add one to its end with append.",
    "The committee will meet again on the first Tuesday of March to discuss the budget for next year.",
)
"""What side effects are measured on by default: plain sentences about all sorts of things."""


def steering_effect(
    model: Model,
    vectors: SteeringVectors | Direction,
    prompts: Sequence[Prompt],
    *,
    metric: MetricLike,
    layers: Iterable[int] | None = None,
    scales: Iterable[float] = (-0.4, -0.2, -0.1, 0.1, 0.2, 0.4),
    unit: Unit = "activation norm",
    tokens: TokensLike = "all",
    controls: int = 8,
    plain: Sequence[str] = PLAIN_TEXTS,
    max_perplexity_ratio: float = 1.5,
    alpha: float = 0.01,
    seed: int = 0,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> SteeringEffect:
    """Measure what adding directions does: to a metric on held-out prompts, and to plain text, beside random directions.

    Parameters
    ----------
    model : Model
        Who is steered.
    vectors : SteeringVectors or Direction
        What to add: what `steering_vectors` gave, or a direction that knows its site.
    prompts : sequence of str or Chat
        Prompts that the vectors were not made from; 5 or more, for anything to be said of others.
    metric : Metric or callable
        What a positive strength should raise, measured at each prompt's last token, e.g. ``nb.logit_difference(" good", " bad")``.
    layers : iterable of int, optional
        At which layers of the vectors; all by default.
    scales : iterable of float
        Strengths, of both signs where both matter.
    unit : {"activation norm", "direction"}
        What a strength of 1 adds: the direction at the length of the mean activation of the steered tokens there (giant
        ones set aside), so that strengths compare between layers, models and methods; or the direction as it is.
    tokens : as in interventions, "all" or "last"
        Which tokens of the prompts to steer.
    controls : int
        Random directions of equal length at each site, 3 or more.
    plain : sequence of str
        Texts whose perplexity is measured under the same steering, of all of their tokens, as if the model went on
        writing under it; none to save the time.
    max_perplexity_ratio : float
        How much larger plain text's perplexity may become where a point is to be the best.
    alpha : float
        Level of the test.
    seed : int
        Of the random directions.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each trace; True stops with KeyboardInterrupt.

    Returns
    -------
    SteeringEffect
        With `frame`, `by_site`, `chart`, `best`, `steer`.

    Raises
    ------
    ValueError, LookupError, TypeError
        For prompts that the vectors were made from, directions of another model, layers without a direction, strengths
        that are none: before the model runs.

    Notes
    -----
    A random direction's gain is the sum of many small ones, one a feature, and so nearly normal; p asks whether the vector's
    is a further draw of the same, by the t-distribution with as many degrees of freedom as there are controls, less one. That
    only few of a few controls go as far says less: with 8 no rank could fall below 1/9.

    Many sites ask for many controls: at ``alpha=0.01`` a gain must lie 3.7 standard deviations from those of 8 random
    directions at one site, 6.5 at each of 20 sites, and with 16 directions 4.6.

    References
    ----------
    .. [1] Turner et al., "Steering language models with activation engineering", 2023. arXiv:2308.10248
    .. [2] Rimsky et al., "Steering Llama 2 via Contrastive Activation Addition", 2023. arXiv:2312.06681
    .. [3] Tan et al., "Analyzing the generalization and reliability of steering vectors", 2024. arXiv:2407.12404

    Examples
    --------
    >>> vectors = nb.steering_vectors(model, loved, hated)  # doctest: +SKIP
    >>> effect = nb.steering_effect(model, vectors, prompts, metric=nb.logit_difference(" good", " bad"))  # doctest: +SKIP
    >>> model.generate(nb.Experiment("The film was", effect.steer()))  # doctest: +SKIP
    """
    if unit not in get_args(Unit):
        raise ValueError(f"got unit={unit!r}; choose from {', '.join(get_args(Unit))}.")
    measured = Metric.of(metric)
    measured.ids(model.vocabulary)
    directions = _directions(model, vectors, layers)
    strengths = _strengths(scales)
    if isinstance(controls, bool) or not isinstance(controls, int) or controls < 3:
        raise ValueError(f"got controls={controls!r}; wanted 3 random directions or more, to know how far they go.")
    if not 0 < alpha < 1 or not max_perplexity_ratio > 1:
        raise ValueError(
            f"got alpha={alpha}, max_perplexity_ratio={max_perplexity_ratio}; wanted alpha between 0 and 1, and a ratio above 1."
        )
    _check_prompts(model, vectors, prompts)
    if len(plain):
        check_texts(model, plain)
        check_within(model, [Steer(site, direction=direction) for direction in directions if (site := direction.site)])
    selection = select_tokens(SHORTHANDS.get(tokens, tokens) if isinstance(tokens, str) else tokens)
    sites = [site for direction in directions if (site := direction.site) is not None]
    norms = _activation_norms(model, prompts, sites, selection, cancel)
    steps = directions
    if unit == "activation norm":
        steps = tuple(direction.unit * float(n) for direction, n in zip(directions, norms, strict=True))
    draws = np.random.default_rng(seed).integers(2**31, size=(controls, len(steps)))
    ways = [steps, *(tuple(step.control(int(i)) for step, i in zip(steps, draw, strict=True)) for draw in draws)]

    def added(way: int, site: int, strength: float, at: TokenSelection = selection) -> Steer:
        return Steer(sites[site], direction=ways[way][site], scale=strength, tokens=at)

    values, base = [], []
    in_plain = [
        (added(way, site, strength, SHORTHANDS["all"]),)
        for way in (0, 1)
        for site in range(len(sites))
        for strength in strengths
    ]
    with tqdm(total=len(prompts) + len(plain), disable=not progress, leave=False, delay=1, file=sys.stdout) as bar:
        for prompt in prompts:
            sweep = model.sweep(
                prompt,
                added,
                metric=measured,
                cancel=cancel,
                way=range(len(ways)),
                site=range(len(sites)),
                strength=strengths,
            )
            values.append(sweep.values.to_numpy())
            base.append(sweep.base)
            bar.update(1)
        base_loss, *changed = _mean_losses(model, plain, [(), *in_plain], cancel, bar.update)
    names = ["vector", *(f"control {i}" for i in range(controls))]
    coords = {"site": list(map(str, sites)), "strength": np.array(strengths)}
    texts = [model.tokens(prompt).text for prompt in prompts]
    known = (
        "prompts held out" if isinstance(vectors, SteeringVectors) else "nobody said what the direction was made from"
    )
    return SteeringEffect(
        values=_labelled(
            np.stack(values, axis=1), {"direction": names, "prompt": texts, **coords}, measured.name, measured.unit
        ),
        base=_labelled(np.array(base), {"prompt": texts}, measured.name, measured.unit),
        losses=_labelled(
            np.reshape(changed, (2, len(sites), len(strengths))), {"direction": names[:2], **coords}, "loss", "nats"
        ),
        base_loss=base_loss,
        steps=steps,
        activation_norms=norms,
        unit=unit,
        metric=measured,
        tokens=selection,
        model=model.info,
        alpha=alpha,
        max_perplexity_ratio=float(max_perplexity_ratio),
        provenance=f"{known}; {controls} random directions of equal length at each site; perplexity of {many(len(plain), 'plain text')}",
    )


def _directions(
    model: Model, vectors: SteeringVectors | Direction, layers: Iterable[int] | None
) -> tuple[Direction, ...]:
    """Return the directions to be added, checked to be of this model."""
    if isinstance(vectors, SteeringVectors):
        given = vectors.directions
        if layers is not None:
            given = tuple(vectors.direction(layer) for layer in dict.fromkeys(layers))
    elif not isinstance(vectors, Direction):
        raise TypeError(
            f"got vectors of type {type(vectors).__name__}; wanted what nb.steering_vectors gives, or a Direction."
        )
    elif layers is not None:
        raise ValueError("got layers for a single direction, which has a site of its own; leave them out.")
    else:
        given = (vectors,)
    if not given:
        raise ValueError("got no layer to steer at; wanted at least one, for example layers=[12].")
    for direction in given:
        if direction.site is None:
            raise ValueError("got a direction without a site; say where it is to be added with .at('resid_post.12').")
        _ = direction.unit  # raises where there is none
        Steer(direction.site, direction=direction).check(model.info)
    return given


def _strengths(scales: Iterable[float]) -> list[float]:
    strengths = sorted(float(scale) for scale in scales)
    wrong = [scale for scale in strengths if not math.isfinite(scale) or scale == 0]
    if wrong or not strengths or len(set(strengths)) < len(strengths):
        raise ValueError(
            f"got scales={strengths}; wanted at least one finite number other than 0, each once (the untouched model is always measured)."
        )
    return strengths


def _check_prompts(model: Model, vectors: SteeringVectors | Direction, prompts: Sequence[Prompt]) -> None:
    """Refuse what is no list of prompts, and prompts that the vectors were made from."""
    if isinstance(prompts, str) or not len(prompts):
        raise ValueError(f"got prompts={prompts!r}; wanted a list of at least one prompt.")
    texts = [model.tokens(prompt).text for prompt in prompts]
    if len(set(texts)) < len(texts):
        twice = next(text for i, text in enumerate(texts) if text in texts[:i])
        raise ValueError(f"got the prompt {twice!r} twice; wanted each once, so that none counts double.")
    for text in texts:
        seen = next((own for own in getattr(vectors, "made_from", ()) if own.startswith(text)), None)
        if seen is not None:
            raise ValueError(
                f"got the prompt {text!r}, with which {seen!r} begins, from which the vectors were made; wanted prompts "
                "held out: leave it out."
            )


def _activation_norms(
    model: Model, prompts: Sequence[Prompt], sites: Sequence[Site], tokens: TokenSelection, cancel: Callable[[], bool]
) -> Floats:
    """Return the mean length of the activations of the prompts' steered tokens, giant ones set aside: ``[site]``."""
    positions = [list(tokens.resolve(model.tokens(prompt))) for prompt in prompts]
    rows: list[list[Floats]] = [[] for _ in sites]
    for prompt, at in zip(prompts, positions, strict=True):
        result = model.run(Experiment(prompt, read=sites), cancel=cancel)
        for own, site in zip(rows, sites, strict=True):
            read = result.read(site)
            own.append(read.reshape(len(read), -1)[at].astype(np.float64))
    norms = np.array([typical_norm(np.concatenate(own)) for own in rows])
    norms.setflags(write=False)
    return norms


def _mean_losses(
    model: Model,
    texts: Sequence[str],
    stacks: Sequence[Sequence[Steer]],
    cancel: Callable[[], bool],
    advance: Callable[[int], object],
) -> list[float]:
    """Return the mean loss of all texts' tokens under each stack of interventions, NaN without texts: ``[stack]``."""
    total, n_tokens = np.zeros(len(stacks)), 0
    for text in texts:
        n = len(model.tokens(text)) - 1
        total, n_tokens = total + n * losses(model, text, stacks, cancel), n_tokens + n
        advance(1)
    return (total / n_tokens).tolist() if n_tokens else [math.nan] * len(stacks)


def _labelled(data: Floats, coords: dict[str, Any], name: str, unit: str) -> xr.DataArray:
    data = np.array(data, dtype=np.float64)
    data.setflags(write=False)
    return xr.DataArray(data, coords, tuple(coords), name, {"units": unit})
