"""Patchscopes: put a state into another prompt, and let the model say in words what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nbinterp.experiment import Experiment, Generation
from nbinterp.interventions import Patch
from nbinterp.methods.one_prompt import OfOnePrompt, one_prompt
from nbinterp.methods.pieces import piece_of
from nbinterp.sites import Site
from nbinterp.spaces import Activations
from nbinterp.tokens import select_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import altair as alt
    from numpy.typing import NDArray

    from nbinterp.model import Model
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.tokens import TokensLike

TARGET = "cat -> cat; 1135 -> 1135; hello -> hello; ?"
"""The prompt of identity of Ghandeharioun et al.: whatever stands in the place of the last token should be repeated."""


@dataclass(frozen=True, eq=False)
class Patchscope(OfOnePrompt):
    """What the model says of a token's states, layer by layer, when it reads them in another prompt.

    Parameters
    ----------
    rows : DataFrame
        One line a continuation: ``kind`` (``"patched"``, ``"random"``: a random state as long as the layer's, ``"nothing"``: the
        target prompt as it is), ``layer`` (of the source; −1 without one), ``draw`` (of the random states), ``text`` (the
        continuation), ``first`` (its first token), ``probability`` (of that token), ``tracked`` (probability of the tracked
        token as the first; missing where none was asked for), and ``named`` (whether the continuation holds its text).
    prompt : TokenizedPrompt
        Where the state was taken from.
    position : int
        At which of its tokens.
    target : TokenizedPrompt
        Where it was put.
    target_position : int
        In place of which of its tokens.
    target_layers : tuple of int, ``[layer]``
        After which layer each state was put there, in the order of the source's layers.
    tracked : str
        The tracked token; empty where there is none.
    experiment : Experiment
        What ran on the source prompt, bound to its model.
    notes : tuple of str
        What a reader has to know.
    """

    rows: pd.DataFrame = field(repr=False)
    prompt: TokenizedPrompt
    position: int
    target: TokenizedPrompt
    target_position: int
    target_layers: tuple[int, ...]
    tracked: str
    experiment: Experiment
    notes: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """Return `rows`."""
        return self.rows.copy()

    def chart(self) -> alt.LayerChart:
        """Return the probability of the tracked token by layer, beside its controls, with what was said.

        Raises
        ------
        ValueError
            Where no token was tracked.
        """
        from nbinterp.charts.lenses import patchscope_chart

        if not self.tracked:
            raise ValueError("got a patchscope that tracks no token; give track= to draw one's probability.")
        return patchscope_chart(
            self.rows,
            quantity=f"p({self.tracked!r})",
            title=f"{self.prompt.tokens[self.position]!r} of {self.model.name}",
            subtitle=f"read in {self.target.text!r}",
        )

    def __repr__(self) -> str:
        token = self.prompt.tokens[self.position]
        lines = [
            f"Patchscope of {token!r} on {self.model}",
            f"  from {self.prompt.text!r} into {self.target.text!r}, in place of {self.target.tokens[self.target_position]!r}",
        ]
        for kind, part in self.rows.groupby("kind", sort=False):
            if kind == "patched":
                lines += [f"  layer {row.layer}: {row.text!r}" for row in part.itertuples()]
            elif kind == "nothing":
                lines.append(f"  with nothing patched: {part['text'].iloc[0]!r}")
            else:
                texts = part["text"].drop_duplicates().tolist()
                lines.append(f"  with random states of equal length: {', '.join(map(repr, texts[:3]))}")
        if self.tracked:
            parts = self.rows.groupby("kind", sort=False)
            named = "; ".join(f"{kind} {part['named'].sum()} of {len(part)}" for kind, part in parts)
            highest = "; ".join(f"{kind} {part['tracked'].max():.2g}" for kind, part in parts)
            lines.append(f"  Continuations that name {self.tracked.strip()!r}: {named}.")
            lines.append(f"  Highest probability of {self.tracked!r} as the first token: {highest}.")
        return "\n".join([*lines, *(f"  {note}." for note in self.notes)])


def patchscope(
    model: Model,
    prompt: Prompt | Experiment | Sequence[Mapping[str, str]],
    *,
    token: TokensLike,
    layers: Sequence[int] | None = None,
    target: Prompt = TARGET,
    target_token: TokensLike = -1,
    target_layer: int | None = None,
    track: str | int | None = None,
    max_new_tokens: int = 8,
    n_random: int = 1,
    seed: int = 0,
    progress: bool = False,
    cancel: Callable[[], bool] = lambda: False,
) -> Patchscope:
    """Read a token's states in another prompt: put each in the place of one of its tokens, and let the model go on.

    The state after a layer of the source prompt takes the place of that of the target's token, after the same layer or after
    ``target_layer``; all layers are decoded in one batch. Controls: the target prompt as it is, and random states as long as
    those of each layer. What a lens cannot say, that the model itself can read, is said here; but what is said may come from
    the target prompt: compare with the controls.

    Parameters
    ----------
    model : Model
        Who is asked.
    prompt : str, Chat or Experiment
        Where states are taken from; the interventions of an experiment act there.
    token : as in interventions
        Which one token of it.
    layers : sequence of int, optional
        After which layers; all by default.
    target : str or Chat
        The prompt that makes the model say what it reads.
    target_token : as in interventions
        In place of which one token of it.
    target_layer : int, optional
        After which layer to put all states; by default each after its own.
    track : str or int, optional
        A token whose probability as the first one is noted.
    max_new_tokens : int
        Tokens to go on for.
    n_random : int
        Random states for each layer; 0 for none.
    seed : int
        Of the random states.
    progress : bool
        Whether to show how far it is.
    cancel : callable
        Asked before each trace and after each token; True stops with KeyboardInterrupt.

    Returns
    -------
    Patchscope
        With `Patchscope.frame` and, where a token is tracked, `Patchscope.chart`.

    Raises
    ------
    ValueError, LookupError, TypeError
        For several prompts, several tokens or none, and layers that are not there: before the model runs.

    References
    ----------
    .. [1] Ghandeharioun et al., "Patchscopes: a unifying framework for inspecting hidden representations of language
       models", 2024, section 3. arXiv:2401.06102

    Examples
    --------
    >>> nb.patchscope(model, "The Eiffel Tower is in Paris", token=" Paris", track=" Paris")  # doctest: +SKIP
    """
    experiment, info = one_prompt(model, prompt), model.info
    source = model.tokens(experiment.prompts[0])
    into = model.tokens(target)
    position, target_position = _one(token, source, "token"), _one(target_token, into, "target_token")
    chosen = list(range(info.n_layers)) if layers is None else list(dict.fromkeys(layers))
    ends = [target_layer] * len(chosen) if target_layer is not None else chosen
    if not chosen:
        raise ValueError("got no layer to take a state from; wanted at least one.")
    sites, target_sites = ([Site("resid_post", layer) for layer in part] for part in (chosen, ends))
    for site in (*sites, *target_sites):
        info.check(site)
    if isinstance(n_random, bool) or not isinstance(n_random, int) or n_random < 0:
        raise ValueError(f"got n_random={n_random!r}; wanted a whole number from 0 up.")
    generation = Generation(max_new_tokens=max_new_tokens)
    piece = None if track is None else piece_of(model, track)
    result = model.run(Experiment(experiment.prompts[0], experiment.interventions, sites), cancel=cancel)
    states = np.stack([result.read(site)[position] for site in sites])
    kinds: list[tuple[str, int, int]] = [("nothing", -1, 0), *(("patched", layer, 0) for layer in chosen)]
    kinds += [("random", layer, draw) for draw in range(n_random) for layer in chosen]
    random = _random_states(states, n_random, seed)
    put = [*states, *random]
    experiments = [Experiment(target, generation=generation)]
    experiments += [
        _patched(target, site, state, target_position, generation)
        for site, state in zip(target_sites * (1 + n_random), put, strict=True)
    ]
    answers = [one.probabilities[0] for one in model.run(experiments, cancel=cancel)]
    said = model.generate(experiments, progress=progress, cancel=cancel)
    if not all(one.finished for one in said):
        raise KeyboardInterrupt
    lines = [
        {
            "kind": kind,
            "layer": layer,
            "draw": draw,
            "text": continuation.changed[0].text,
            "first": model.vocabulary.tokens[int(p.argmax())],
            "probability": float(p.max()),
            "tracked": np.nan if piece is None else float(p[piece.id]),
            "named": piece is not None and piece.text.strip() in continuation.changed[0].text,
        }
        for (kind, layer, draw), continuation, p in zip(kinds, said, answers, strict=True)
    ]
    return Patchscope(
        pd.DataFrame(lines),
        source,
        position,
        into,
        target_position,
        tuple(ends),
        "" if piece is None else piece.text,
        result.experiment,
        () if piece is None or not piece.note else (piece.note,),
    )


def _patched(
    target: Prompt, site: Site, state: NDArray[np.floating], position: int, generation: Generation
) -> Experiment:
    # the state is meant for a layer that it may not come from: it brings no site of its own
    source = Activations(None, None, np.asarray(state, dtype=np.float64)[None])
    return Experiment(target, Patch(site, source=source, tokens=position), generation=generation)


def _random_states(states: NDArray[np.float32], n_random: int, seed: int) -> list[NDArray[np.floating]]:
    random = np.random.default_rng(seed)
    found: list[NDArray[np.floating]] = []
    for _ in range(n_random):
        directions = random.normal(size=states.shape)
        lengths = np.linalg.norm(states, axis=1, keepdims=True)
        found += list(directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths)
    return found


def _one(tokens: TokensLike, prompt: TokenizedPrompt, what: str) -> int:
    found = select_tokens(tokens).resolve(prompt)
    if len(found) != 1:
        texts = ", ".join(repr(prompt.tokens[i]) for i in found) or "none"
        raise ValueError(
            f"got {what}={tokens!r}, which is {len(found)} tokens of {prompt.text!r} ({texts}); wanted one."
        )
    return found[0]
