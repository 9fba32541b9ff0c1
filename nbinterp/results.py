"""What came back from a run: frozen, with its axes, its model and its experiment."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from nbinterp.interventions import Ablate, Cut, Patch, Project, Rotate, Scale, Steer
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.verification import Verification
    from nbinterp.experiment import Experiment
    from nbinterp.operations import Intervention
    from nbinterp.prompts import TokenizedPrompt


@dataclass(frozen=True)
class Vocabulary:
    """The text of every token that a model knows.

    Parameters
    ----------
    tokens : tuple of str, ``[n_vocab]``
        Texts by token id, leading spaces included.
    """

    tokens: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        # of tokens with equal texts the first one stands for the text, as in the tokenizers themselves
        return {text: i for i, text in reversed(list(enumerate(self.tokens)))}

    def id(self, text: str) -> int:
        """Return the id of the token with this text; LookupError when no single token has it."""
        if text not in self._ids:
            spaced = f" {text.strip()}"
            hint = f": did you mean {spaced!r}, with a leading space" if spaced in self._ids else ""
            raise LookupError(
                f"got {text!r}, which is not a single token of this model{hint}; model.tokens({text!r}) shows its tokens."
            )
        return self._ids[text]


@dataclass(frozen=True)
class Result:
    """What a model said, untouched and under an experiment's interventions.

    Parameters
    ----------
    experiment : Experiment
        What was run, bound to its model.
    prompts : tuple of TokenizedPrompt, ``[n_prompts]``
        The prompts as the model saw them.
    base_logits, logits : array, ``[n_prompts, n_vocab]``
        Logits at each prompt's last token, without and with the interventions.
    base_activations, activations : mapping of Site to tuple of arrays, each ``[n_tokens, n_features]``
        What was read, one array a prompt, without and with the interventions; see `read` for the axes.
    vocabulary : Vocabulary
        Texts of the tokens.
    moved : tuple of mappings, one a prompt
        By the index of an intervention: how far it moved what it acts on, ‖after − before‖ / ‖before‖.
    verifier : callable, optional
        Computes a result again on the model that gave it; `Model.run` fills it in.
    """

    experiment: Experiment
    prompts: tuple[TokenizedPrompt, ...]
    base_logits: NDArray[np.float32]
    logits: NDArray[np.float32]
    base_activations: Mapping[Site, tuple[NDArray[np.float32], ...]]
    activations: Mapping[Site, tuple[NDArray[np.float32], ...]]
    vocabulary: Vocabulary = field(repr=False)
    moved: tuple[Mapping[int, float], ...] = field(default=(), repr=False)
    verifier: Callable[[Result], Verification] | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        # a stored result brings its numbers along, and not its model
        return {name: value for name, value in vars(self).items() if name != "verifier"}

    @property
    def model(self) -> ModelInfo:
        """The model that was run."""
        assert self.experiment.model is not None
        return self.experiment.model

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Next-token probabilities with the interventions: ``[n_prompts, n_vocab]``."""
        return softmax(self.logits)

    @cached_property
    def base_probabilities(self) -> NDArray[np.float64]:
        """Next-token probabilities without the interventions: ``[n_prompts, n_vocab]``."""
        return softmax(self.base_logits)

    def read(self, site: str | Site, prompt: int = 0, *, base: bool = False) -> NDArray[np.float32]:
        """Return what was read at a site.

        Parameters
        ----------
        site : str or Site
            One of the experiment's ``read``.
        prompt : int
            Of which prompt.
        base : bool
            Without the interventions.

        Returns
        -------
        array
            ``[n_tokens, n_features]``; of all heads of ``q``, ``k``, ``v`` and ``z`` ``[n_tokens, n_heads, d_head]``; of the
            pattern ``[n_heads, n_query, n_key]``, and of one head ``[n_query, n_key]``.

        Raises
        ------
        LookupError
            When it was not read.
        """
        found = (self.base_activations if base else self.activations).get(Site.of(site))
        if found is None:
            known = ", ".join(map(repr, map(str, self.activations))) or "nothing"
            raise LookupError(f"got {str(site)!r}, which was not read; the experiment reads {known}: add it to read=.")
        return found[prompt]

    def top(
        self, k: int = 10, *, prompt: int = 0, by: Literal["changed", "base", "difference"] = "changed"
    ) -> pd.DataFrame:
        """Return the most probable next tokens of one prompt.

        Parameters
        ----------
        k : int
            How many.
        prompt : int
            Which prompt.
        by : {"changed", "base", "difference"}
            Order by the probability with the interventions, without them, or by the size of the difference.

        Returns
        -------
        DataFrame
            Columns ``token``, ``base``, ``changed``, ``difference`` (changed − base).
        """
        base, changed = self.base_probabilities[prompt], self.probabilities[prompt]
        keys = {"changed": changed, "base": base, "difference": np.abs(changed - base)}
        if by not in keys:
            raise ValueError(f"got by={by!r}; choose one of {', '.join(map(repr, keys))}.")
        ids = np.argsort(-keys[by], kind="stable")[:k]
        return pd.DataFrame(
            {
                "token": [self.vocabulary.tokens[i] for i in ids],
                "base": base[ids],
                "changed": changed[ids],
                "difference": changed[ids] - base[ids],
            }
        )

    def said(self, among: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return each prompt's most probable next token with the interventions, of all tokens or `among` some."""
        return self._said(self.logits, among)

    def base_said(self, among: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return each prompt's most probable next token without the interventions."""
        return self._said(self.base_logits, among)

    def _said(self, logits: NDArray[np.float32], among: Sequence[str] | None) -> tuple[str, ...]:
        ids = np.arange(logits.shape[1]) if among is None else np.array([self.vocabulary.id(text) for text in among])
        return tuple(self.vocabulary.tokens[i] for i in ids[logits[:, ids].argmax(axis=1)])

    def logit_difference(self, answer: str, other: str) -> pd.DataFrame:
        """Return logit(answer) − logit(other) for each prompt: columns ``prompt``, ``base``, ``changed``."""
        a, b = self.vocabulary.id(answer), self.vocabulary.id(other)
        return pd.DataFrame(
            {
                "prompt": [p.text for p in self.prompts],
                "base": self.base_logits[:, a] - self.base_logits[:, b],
                "changed": self.logits[:, a] - self.logits[:, b],
            }
        )

    def frame(self, k: int = 10) -> pd.DataFrame:
        """Return `top` of every prompt in one frame, with the column ``prompt`` in front."""
        frames = [self.top(k, prompt=i).assign(prompt=p.text) for i, p in enumerate(self.prompts)]
        return pd.concat(frames, ignore_index=True)[["prompt", "token", "base", "changed", "difference"]]

    def effects(self) -> pd.DataFrame:
        """Return how much each intervention changed: one line for each prompt that it acts on, disabled ones left out.

        Returns
        -------
        DataFrame
            Columns ``intervention`` (its index in the experiment), ``kind``, ``site``, ``tokens`` (a tuple of the texts of
            the tokens acted on), ``prompt``, ``change`` (‖after − before‖ / ‖before‖ at its site and tokens; missing where
            that is not known), and, of all interventions together, ``logit_change`` (max |changed − base| of the last
            token's logits) and ``kl`` (the divergence KL(base ‖ changed) of the next token, in nats).
        """
        changes, divergences = np.abs(self.logits - self.base_logits).max(axis=-1), _kl(self.base_logits, self.logits)
        rows = [
            (
                index,
                type(act).__name__,
                str(act.site),
                tuple(self.prompts[p].tokens[i] for i in positions),
                self.prompts[p].text,
                self.moved[p].get(index, np.nan) if self.moved else np.nan,
                changes[p],
                divergences[p],
            )
            for index, act in enumerate(self.experiment.interventions)
            for p, positions in self._acted(act).items()
        ]
        columns = ["intervention", "kind", "site", "tokens", "prompt", "change", "logit_change", "kl"]
        return pd.DataFrame(rows, columns=columns)

    def _acted(self, act: Intervention) -> dict[int, tuple[int, ...]]:
        """Return the prompts that an intervention acts on, each with the positions of its tokens."""
        if not act.enabled:
            return {}
        found = {p: act.tokens.resolve(prompt) for p, prompt in enumerate(self.prompts)}
        return {p: positions for p, positions in found.items() if positions}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What has no effect, one sentence for each intervention and reason, in the order of the experiment.

        An intervention changed nothing at its site when ‖after − before‖ is at most eps ‖before‖, where eps is the distance
        from 1 to the next number in the model's precision: 1.2e-7 in float32, 0.001 in float16, 0.008 in bfloat16. The
        answer did not change when max |changed − base| of a prompt's logits is at most what rounding alone does to max
        |base|: 16 eps in float32, 4 eps in half precision. And it cannot change, whatever other interventions do, where
        one acts behind the keys and values of the last layer and not on the last token.
        """
        sentences = []
        for index, act in enumerate(self.experiment.interventions) if self.moved else ():
            acted = self._acted(act)
            still = {p: at for p, at in acted.items() if self.moved[p].get(index, np.nan) <= self._eps}
            moved = {p: at for p, at in acted.items() if p not in still}
            late = {p: at for p, at in moved.items() if self._is_cut_off(act, p, at)}
            lost = {p: at for p, at in moved.items() if p not in late and p in self._unchanged}
            for found, what, why in (
                (still, "changed nothing there", _why_nothing(act)),
                (late, "cannot change the answer", "there only the last token's activation leads on to its logits"),
                (lost, "changed its site and not the answer", "the logits are equal to rounding"),
            ):
                if found:
                    sentences.append(f"{self._name(act, found)} {what}{self._in(found)}: {why}.")
        return tuple(sentences)

    @property
    def _eps(self) -> float:
        # results hold float32, whatever the model computes in
        return {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(self.model.dtype, 2.0**-23)

    @cached_property
    def _unchanged(self) -> frozenset[int]:
        """The prompts whose logits are equal to rounding."""
        changes, sizes = np.abs(self.logits - self.base_logits).max(axis=-1), np.abs(self.base_logits).max(axis=-1)
        rounding = self._eps * (4 if self.model.dtype in ("float16", "bfloat16") else 16)
        return frozenset(np.flatnonzero(changes <= rounding * sizes).tolist())

    def _is_cut_off(self, act: Intervention, prompt: int, positions: tuple[int, ...]) -> bool:
        """Whether nothing leads from an activation to the last token's logits any more."""
        late = act.site.layer == self.model.n_layers - 1 and act.site.component in _BEHIND_KEYS
        return (late or act.site.component == "logits") and len(self.prompts[prompt]) - 1 not in positions

    def _name(self, act: Intervention, acted: Mapping[int, tuple[int, ...]]) -> str:
        """Return what an intervention is, and at which tokens of the first prompt that it acts on."""
        p, positions = next(iter(acted.items()))
        texts = [repr(self.prompts[p].tokens[i]) for i in positions]
        more = f" and {len(texts) - 3} more tokens" if len(texts) > 3 else ""
        where = "all tokens" if len(texts) == len(self.prompts[p]) > 1 else ", ".join(texts[:3]) + more
        return f"{type(act).__name__} at {act.site}, at {where},"

    def _in(self, acted: Mapping[int, tuple[int, ...]]) -> str:
        text = self.prompts[next(iter(acted))].text
        first = repr(text if len(text) <= 60 else text[:59] + "…")
        if len(self.prompts) == 1:
            return f" in {first}"
        return f" in {len(acted)} of {len(self.prompts)} prompts, such as {first}"

    def verify(self) -> Verification:
        """Compute this result again in independent ways on the same model, and return how far each one differs.

        Returns
        -------
        Verification
            What was computed, with the tolerance; see `nbinterp.engine.verification.verify`.

        Raises
        ------
        ValueError
            When it does not come from an open model: made by hand, or read back from where it was stored.
        """
        if self.verifier is None:
            raise ValueError(
                "got a result that has no model to ask, because it was made by hand or stored; run its experiment again: model.run(result.experiment)."
            )
        return self.verifier(self)

    def __repr__(self) -> str:
        acts = ", ".join(f"{type(a).__name__} at {a.site}" for a in self.experiment.active) or "untouched"
        lines = [f"Result on {self.model} ({acts})"]
        for prompt, before, after in zip(self.prompts, self.base_said(), self.said(), strict=True):
            lines.append(f"  {prompt.text!r}: {before!r} → {after!r}")
        more = [f"  … {len(lines) - 9} more"] if len(lines) > 9 else []
        return "\n".join([*lines[:9], *more, *(f"  ! {sentence}" for sentence in self.warnings)])

    def _repr_html_(self) -> str:
        shown = self.top(8).style.format(dict.fromkeys(("base", "changed", "difference"), "{:.1%}"), escape="html")
        title = "<br>".join(map(html.escape, (repr(self).splitlines()[0], repr(self.prompts[0].text))))
        warnings = "".join(f"<p><strong>!</strong> {html.escape(sentence)}</p>" for sentence in self.warnings)
        return f"<p>{title}</p>{warnings}{shown.hide(axis='index').to_html()}"


# what other tokens see of a token in a layer are its keys and values, and what these come from; not these
_BEHIND_KEYS = frozenset({"q", "pattern", "z", "attn_out", "resid_mid", "mlp_post", "mlp_out", "resid_post"})


def _why_nothing(act: Intervention) -> str:
    """Return what is known about why an intervention that changed nothing did not."""
    match act:
        case Steer(to=None, scale=0.0):
            return "its scale is 0"
        case Steer(to=None, direction=direction) if not direction.vector.any():
            return "its direction is zero"
        case Steer(to=None):
            return "the step is too small beside the activation for the model's precision"
        case Ablate(amount=0.0) | Patch(amount=0.0) | Project(amount=0.0):
            return "its amount is 0"
        case Cut():
            return "no weight of attention lay there"
        case Scale(factor=1.0):
            return "its factor is 1"
        case Rotate(by=0.0):
            return "it turns by 0"
        case Ablate(mean=None, resample=None):
            return "the activation was zero there already"
        case Ablate() | Patch():
            return "what it puts there is what was there already"
        case Scale(on=None):
            return "the activation was zero there already"
        case Scale() | Project(out=True):
            return "the activation has no part in its subspace"
        case Project():
            return "the activation lay in its subspace already"
        case _:
            return "the activation was already where it moves it to"


def _kl(base: NDArray[np.float32], changed: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Kullback-Leibler divergence of each prompt's next token, in nats: ``[n_prompts]``."""
    p, log_p, log_q = softmax(base), _log_softmax(base), _log_softmax(changed)
    # a sum of rounded terms can fall below the zero that it stands for
    divergence: NDArray[np.float64] = (p * (log_p - log_q)).sum(axis=-1).clip(0)
    return divergence


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normalised: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities over the last axis, computed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    probabilities: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
