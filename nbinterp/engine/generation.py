"""Generate text untouched and changed at once: all rows of a length are decoded together, one token a pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from nbinterp import continuations
from nbinterp.continuations import Continuation
from nbinterp.engine.batching import equal_batches
from nbinterp.engine.plan import Edit
from nbinterp.engine.planning import make_plan, step_edits
from nbinterp.engine.tensors import Change
from nbinterp.experiment import Generation
from nbinterp.steps import Steps, holds

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.engine.execute import Executor, SourceReads
    from nbinterp.engine.runs import Cache, Run
    from nbinterp.experiment import Experiment
    from nbinterp.prompts import Prompt, TokenizedPrompt
    from nbinterp.results import Vocabulary
    from nbinterp.sites import Site


Key = tuple[int, int, bool]
Later = tuple[tuple[Edit, Steps, dict[str, Any]], ...]


@dataclass(frozen=True)
class Spoken:
    """One generated token.

    Parameters
    ----------
    keys : tuple of (experiment, prompt, changed)
        Whose; rows that cannot differ are generated once.
    step : int
        Which generated token, counted from 0.
    id : int
        The token.
    log_probability : float
        Of the token, in nats, under the model as it was at that step (before temperature and filters).
    reads : mapping of Site to array
        What was read at the token from which this one was predicted: ``[n_features]``, with heads ``[n_heads, d_head]``.
    top : tuple of (int, float)
        The likeliest tokens at that step with their log-probabilities.
    """

    keys: tuple[Key, ...]
    step: int
    id: int
    log_probability: float
    reads: Mapping[Site, NDArray[np.float32]]
    top: tuple[tuple[int, float], ...] = ()

    def alternatives(self, vocabulary: Vocabulary) -> tuple[tuple[str, float], ...]:
        """Return the texts and probabilities of the likeliest tokens."""
        return tuple((vocabulary.tokens[id], math.exp(log)) for id, log in self.top)


class GenerationStopped(KeyboardInterrupt):
    """A generation was interrupted; what was generated is in `partial`.

    Parameters
    ----------
    message : str
        What happened.
    partial : Continuation or list of Continuation
        What is there, in the form in which all of it would have been returned.
    """

    def __init__(self, message: str, partial: Continuation | list[Continuation]) -> None:
        super().__init__(message)
        self.partial = partial


def with_settings(experiment: Experiment, settings: Mapping[str, Any]) -> Experiment:
    """Return an experiment with settings of its generation by name.

    Raises
    ------
    TypeError, ValueError
        For a setting that there is none of, and for a value that makes no sense.
    """
    known = [f.name for f in fields(Generation)]
    for name in settings:
        if name not in known:
            raise TypeError(f"got the setting {name!r} of a generation; known are {', '.join(known)}.")
    return replace(experiment, generation=replace(experiment.generation or Generation(), **settings))


class Transcript:
    """Writes down what one experiment's rows say.

    Parameters
    ----------
    index : int
        Which of the experiments that are run.
    experiment : Experiment
        The experiment.
    prompts : tuple of TokenizedPrompt
        Its prompts.
    tokenizer : tokenizer of transformers
        Turns tokens into text.
    vocabulary : Vocabulary
        Texts of single tokens.
    """

    def __init__(
        self,
        index: int,
        experiment: Experiment,
        prompts: tuple[TokenizedPrompt, ...],
        tokenizer: Any,
        vocabulary: Vocabulary,
    ) -> None:
        self._index, self._experiment, self._prompts = index, experiment, prompts
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._said: dict[tuple[int, bool], list[Spoken]] = {}

    def add(self, spoken: Sequence[Spoken]) -> None:
        """Write down the tokens of one pass."""
        for one in spoken:
            for experiment, prompt, changed in one.keys:
                if experiment == self._index:
                    self._said.setdefault((prompt, changed), []).append(one)

    def continuation(self, finished: bool) -> Continuation:
        """Return what was said."""
        base, changed = (
            tuple(self._one(self._said.get((prompt, which), [])) for prompt in range(len(self._prompts)))
            for which in (False, True)
        )
        return Continuation(self._experiment, self._prompts, base, changed, finished, self._vocabulary)

    def _one(self, said: Sequence[Spoken]) -> continuations.Spoken:
        ids = tuple(one.id for one in said)
        return continuations.Spoken(
            ids,
            self._tokenizer.decode(ids, skip_special_tokens=True),
            tuple(math.exp(one.log_probability) for one in said),
            {site: tuple(one.reads[site] for one in said) for site in self._experiment.read},
            tuple(one.alternatives(self._vocabulary) for one in said if one.top),
        )


@dataclass
class _Voice:
    """One row that is being generated."""

    keys: list[Key]
    prompt: TokenizedPrompt
    settings: Generation
    reads: tuple[Site, ...]
    later: Later
    cache: Cache
    logits: torch.Tensor
    seen: Mapping[Site, NDArray[np.float32]]
    ids: list[int] = field(default_factory=list)
    random: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        self.random.manual_seed(self.settings.seed)


def generate(
    executor: Executor,
    tokens: Callable[[Prompt], TokenizedPrompt],
    experiments: Sequence[Experiment],
    top: int = 0,
) -> Iterator[list[Spoken]]:
    """Yield the tokens of each pass, of all rows that still speak.

    Each prompt is continued untouched, and under each experiment's interventions. The prompt's pass applies them at its
    tokens, and gives token 0; token n goes in again with pass n + 1, where interventions act whose steps hold n.

    Parameters
    ----------
    executor : Executor
        The model.
    tokens : callable
        Tokenises a prompt.
    experiments : sequence of Experiment
        Bound to the model, with their settings of generation.
    top : int
        How many of the likeliest tokens to note at each step.
    """
    voices, tokenizer = _voices(executor, tokens, experiments), executor.nnsight.tokenizer
    ends = _ends(executor, tokenizer)

    def rows(together: Sequence[_Voice]) -> int:
        return max(1, executor.sizes.bound // executor.sizes.pass_(1, 1, _longest(together)))

    for together in equal_batches(voices, lambda voice: len(voice.prompt), rows):
        yield from _decode(executor, tokenizer, together, ends, top)


def _longest(voices: Sequence[_Voice]) -> int:
    return max(len(voice.prompt) + voice.settings.max_new_tokens for voice in voices)


def _decode(
    executor: Executor, tokenizer: Any, voices: list[_Voice], ends: frozenset[int], top: int
) -> Iterator[list[Spoken]]:
    cache = DynamicCache(
        [
            tuple(torch.cat([voice.cache[layer][which] for voice in voices]) for which in (0, 1))
            for layer in range(executor.info.n_layers)
        ]
    )
    step = 0
    while voices:
        spoken = []
        for voice in voices:
            token = _choose(voice.logits, voice.settings, voice.random)
            voice.ids.append(token)
            certainties = voice.logits.float().log_softmax(-1)
            best = certainties.topk(min(top, len(certainties)))
            likeliest = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            spoken.append(Spoken(tuple(voice.keys), step, token, float(certainties[token]), voice.seen, likeliest))
        yield spoken
        alive = [i for i, voice in enumerate(voices) if not _ended(voice, tokenizer, ends)]
        if len(alive) < len(voices):
            voices = [voices[i] for i in alive]
            if voices:
                cache.batch_select_indices(torch.tensor(alive, device=executor.like["device"]))
        if voices:
            _next(executor, voices, cache, step)
        step += 1


def _next(executor: Executor, voices: Sequence[_Voice], cache: DynamicCache, step: int) -> None:
    """Feed every row its last token, and note what comes of it."""
    changes = [
        Change(row, edit, arguments, 0)
        for row, voice in enumerate(voices)
        for edit, steps, arguments in voice.later
        if holds(steps, step)
    ]
    readers = [(row, site) for row, voice in enumerate(voices) for site in voice.reads]
    logits, seen = executor.continue_([voice.ids[-1] for voice in voices], cache, changes, readers)
    for row, voice in enumerate(voices):
        voice.logits = logits[row]
        voice.seen = {site: _last(seen[row, site], site) for site in voice.reads}


def _voices(
    executor: Executor, tokens: Callable[[Prompt], TokenizedPrompt], experiments: Sequence[Experiment]
) -> list[_Voice]:
    plan = make_plan(experiments, tokens, executor.sizes, executor.kept.__contains__)
    sources: SourceReads = {}
    later = {
        (e, p): tuple(
            (edit, steps, executor.arguments(edit, tokens, sources))
            for edit, steps in step_edits(experiment, tokens(text), tokens)
        )
        for e, experiment in enumerate(experiments)
        for p, text in enumerate(experiment.prompts)
    }
    runs = dict(executor.run(plan, keep_cache=True))
    voices: dict[Hashable, _Voice] = {}
    for (e, p), edits in later.items():
        experiment = experiments[e]
        prompt, settings = tokens(experiment.prompts[p]), experiment.generation
        assert settings is not None
        untouched = (prompt, settings, experiment.read)
        is_changed = (e, p) in runs or bool(edits)
        for changed, alike in ((False, untouched), (True, (e, p) if is_changed else untouched)):
            if alike not in voices:
                run = runs[e, p] if changed and (e, p) in runs else runs[prompt]
                voices[alike] = _voice(prompt, settings, experiment.read, edits if changed else (), run)
            voices[alike].keys.append((e, p, changed))
    return list(voices.values())


def _voice(prompt: TokenizedPrompt, settings: Generation, reads: tuple[Site, ...], later: Later, run: Run) -> _Voice:
    assert run.cache is not None
    seen = {site: _last(run.activations[site], site) for site in reads}
    return _Voice([], prompt, settings, reads, later, run.cache, torch.from_numpy(run.logits), seen)


def _last(array: NDArray[np.float32], site: Site) -> NDArray[np.float32]:
    """Return what an activation is at the last token."""
    last: NDArray[np.float32] = array[:, -1] if site.component == "pattern" and site.head is None else array[-1]
    return last


def _ends(executor: Executor, tokenizer: Any) -> frozenset[int]:
    config = getattr(executor.nnsight._module, "generation_config", None)
    ids = getattr(config, "eos_token_id", None)
    ids = tokenizer.eos_token_id if ids is None else ids
    return frozenset([ids] if isinstance(ids, int) else ids or ())


def _ended(voice: _Voice, tokenizer: Any, ends: frozenset[int]) -> bool:
    if voice.ids[-1] in ends or len(voice.ids) >= voice.settings.max_new_tokens:
        return True
    return bool(voice.settings.stop) and any(text in tokenizer.decode(voice.ids) for text in voice.settings.stop)


def _choose(logits: torch.Tensor, settings: Generation, random: torch.Generator) -> int:
    """Return the next token for ``logits [n_vocab]``: the best one, or one drawn from what the filters leave.

    Nucleus sampling (top-p) is that of Holtzman et al., "The curious case of neural text degeneration", 2019,
    section 3.1. arXiv:1904.09751
    """
    # drawn on the processor in float32, so that a seed gives the same text wherever the logits are the same
    logits = logits.float().cpu()
    if settings.temperature == 0:
        return int(logits.argmax())
    logits = logits / settings.temperature
    if settings.top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(settings.top_k, len(logits))).values[-1], -torch.inf)
    probabilities = logits.softmax(-1)
    if settings.top_p is not None:
        ordered, order = probabilities.sort(descending=True)
        # a token stays while what is more probable has not reached top_p yet
        left_out = order[ordered.cumsum(-1) - ordered >= settings.top_p]
        probabilities[left_out] = 0
    return int(torch.multinomial(probabilities, 1, generator=random))
