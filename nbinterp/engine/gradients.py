"""How a metric changes with what stands at many sites: one pass forward and one back for a batch of prompts."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from nbinterp.engine.batching import equal_batches
from nbinterp.engine.objectives import Objective, each
from nbinterp.engine.plan import Taken
from nbinterp.engine.planning import make_plan, prompt_edits
from nbinterp.engine.runs import in_stream
from nbinterp.engine.tensors import Change, shaped, whole
from nbinterp.experiment import Experiment
from nbinterp.prompts import TokenizedPrompt
from nbinterp.sites import COMPONENTS, UNLAYERED, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.engine.envoys import Envoys
    from nbinterp.engine.execute import Executor, SourceReads
    from nbinterp.engine.plan import Edit
    from nbinterp.engine.sizes import Sizes
    from nbinterp.metrics import Metric
    from nbinterp.prompts import Prompt
    from nbinterp.results import Vocabulary

_EMBED, _LOGITS = Site("embed"), Site("logits")


@dataclass(frozen=True, eq=False)
class Gradients:
    """What one prompt has at sites, and how a metric of the next token changes with it.

    Parameters
    ----------
    experiment : Experiment
        What was run.
    prompt : TokenizedPrompt, ``[n_tokens]``
        Its prompt.
    metric : Metric
        What was differentiated.
    value : float
        The metric, in its unit.
    logits : array, ``[n_vocab]``
        At the last token.
    activations, gradients : mapping of Site to array
        What stands at a site, and the metric's derivative with respect to it, in the metric's unit by the activations':
        ``[n_tokens, n_features]``; with heads ``[n_tokens, n_heads, d_head]``, of the pattern ``[n_heads, n_query, n_key]``.
    """

    experiment: Experiment
    prompt: TokenizedPrompt
    metric: Metric
    value: float
    logits: NDArray[np.float32] = field(repr=False)
    activations: Mapping[Site, NDArray[np.float32]] = field(repr=False)
    gradients: Mapping[Site, NDArray[np.float32]] = field(repr=False)

    def __repr__(self) -> str:
        sites = list(self.gradients)
        shown = ", ".join(map(str, sites[:3])) + (f" and {len(sites) - 3} more sites" if len(sites) > 3 else "")
        return f"Gradients of {self.metric} = {self.value:.4g} {self.metric.unit} with respect to {shown}"


@dataclass(frozen=True)
class Differentiated:
    """What a batch gave, as the engine has it.

    Parameters
    ----------
    values : tensor, ``[row]``
        Each row's metric.
    logits : tensor, ``[row, n_vocab]``
        At the last token.
    activations, gradients : dict of Site to tensor, ``[row, n_tokens, n_features]``
        All heads side by side.
    """

    values: torch.Tensor
    logits: torch.Tensor
    activations: dict[Site, torch.Tensor]
    gradients: dict[Site, torch.Tensor]


def differentiate(
    executor: Executor,
    tokens: Callable[[Prompt], TokenizedPrompt],
    vocabulary: Vocabulary,
    experiments: Sequence[Experiment],
    metrics: Sequence[Metric],
    sites: str | Site | Sequence[str | Site],
    base: Sequence[NDArray[np.float32]] | None,
) -> Iterator[dict[int, Gradients]]:
    """Yield the gradients of experiments that are bound to the model by their indices, batch by batch.

    Parameters
    ----------
    executor : Executor
        The model.
    tokens : callable
        Tokenises a prompt.
    vocabulary : Vocabulary
        Texts of the tokens.
    experiments : sequence of Experiment
        What to run, each with one prompt.
    metrics : sequence of Metric
        One for each.
    sites : str, Site, or sequence of them
        Where; a component without a layer is meant at all of them.
    base : sequence of array ``[n_vocab]``, optional
        For each experiment the logits that a metric compares with; by default those of its prompt, untouched.

    Raises
    ------
    ValueError, LookupError
        For what cannot be done, before the model runs.
    """
    wanted = sites_in(sites, executor.info)
    for what, number in (("metrics", len(metrics)), ("base logits", len(metrics) if base is None else len(base))):
        if number != len(experiments):
            raise ValueError(f"got {number} {what} for {len(experiments)} experiments; wanted one for each.")
    objectives = [Objective.of(metric, vocabulary) for metric in metrics]
    for experiment in experiments:
        if len(experiment.prompts) != 1:
            raise ValueError(
                f"got an experiment with {len(experiment.prompts)} prompts to differentiate; wanted one prompt in each: make "
                "an experiment of every prompt."
            )
    prompts = [tokens(experiment.prompts[0]) for experiment in experiments]
    edits = [
        prompt_edits([act for act in experiment.interventions if act.enabled], prompt, tokens, executor.info)
        for experiment, prompt in zip(experiments, prompts, strict=True)
    ]
    chosen = list(dict.fromkeys(map(whole, wanted)))

    def rows(group: Sequence[int]) -> int:
        return rows_of(executor.sizes, len(prompts[group[0]]), chosen)

    for batch in equal_batches(range(len(prompts)), lambda i: len(prompts[i]), rows):
        needs = any(objectives[i].needs_base for i in batch)
        untouched = _base(executor, tokens, [experiments[i] for i in batch]) if needs and base is None else None
        given = [base[i] for i in batch] if base is not None and needs else untouched
        sources: SourceReads = {}
        _prefetch(executor, [edit for i in batch for edit in edits[i]], sources)
        found = backward(
            executor,
            [prompts[i] for i in batch],
            [objectives[i] for i in batch],
            chosen,
            base=None if given is None else torch.stack([torch.as_tensor(row) for row in given]),
            changes=[
                Change(row, edit, executor.arguments(edit, tokens, sources), 0)
                for row, i in enumerate(batch)
                for edit in edits[i]
            ],
        )
        yield {
            i: _told(found, row, experiments[i], prompts[i], metrics[i], wanted, executor)
            for row, i in enumerate(batch)
        }


def sites_in(sites: str | Site | Sequence[str | Site], info: ModelInfo) -> tuple[Site, ...]:
    """Return sites that a model has, each once; a component without a layer stands for all its layers.

    Raises
    ------
    ValueError
        For none, and for one that the model does not have.
    """
    given = (sites,) if isinstance(sites, str | Site) else tuple(sites)
    wanted = tuple(
        dict.fromkeys(
            site
            for one in given
            for site in (
                [Site(one, layer) for layer in range(info.n_layers)]
                if isinstance(one, str) and one in COMPONENTS and one not in UNLAYERED
                else [Site.of(one)]
            )
        )
    )
    if not wanted:
        raise ValueError("got no site; wanted at least one, for example sites=['resid_post.10'].")
    for site in wanted:
        info.check(site)
    return wanted


def backward(
    executor: Executor,
    prompts: Sequence[TokenizedPrompt],
    objectives: Sequence[Objective],
    sites: Sequence[Site],
    *,
    base: torch.Tensor | None = None,
    changes: Sequence[Change] = (),
    stream: torch.Tensor | None = None,
    forks: Sequence[Site] = (),
    reads: Sequence[Site] = (),
) -> Differentiated:
    """Run prompts of equal length forward and back once, and return activations and gradients.

    The model is left as it was: its parameters take no part, so that nothing is accumulated at them.

    Parameters
    ----------
    executor : Executor
        The model.
    prompts : sequence of TokenizedPrompt
        The rows.
    objectives : sequence of Objective
        What is differentiated of each row.
    sites : sequence of Site
        Where gradients are taken, without heads.
    base : tensor ``[row, n_vocab]``, optional
        What the objectives compare with.
    changes : sequence of Change
        What is changed on the way; gradients are taken behind it.
    stream : tensor ``[row, n_tokens, d_model]``, optional
        What enters the first block, in place of the prompts' embeddings.
    forks : sequence of Site
        Inputs of modules of which only what goes through that very module is to be followed back, and not what the
        residual stream carries past it.
    reads : sequence of Site
        Where activations are wanted without gradients.
    """
    envoys, info = executor.envoys, executor.info
    tape = _Tape(envoys, [*sites, *reads], forks, changes, len(prompts[0]))
    begin = _EMBED if stream is None else Site("resid_pre", 0)
    ids = torch.tensor([prompt.ids for prompt in prompts], device=executor.like["device"])
    wanted = [*sites, *forks]
    with (
        envoys.ready(tape.sites),
        _parameters_at_rest(executor.nnsight._module),
        torch.enable_grad(),
        executor.nnsight.trace({"input_ids": ids}, use_cache=False, **envoys.logits_of(tape.sites)),
    ):
        tape.begin(begin, stream)
        for at in tape.stops(info.position(begin)):
            tape.visit(at)
        envoys.unembed(len(prompts), tape.sites)
        tape.end(objectives, base, wanted)
    activations = {site: tape.features(site, tensor.detach()) for site, tensor in tape.seen.items()}
    gradients = {site: tape.features(site, slope) for site, slope in zip(wanted, tape.slopes, strict=True)}
    return Differentiated(tape.values, tape.logits, activations, gradients)


def rows_of(sizes: Sizes, n_tokens: int, sites: Sequence[Site]) -> int:
    """Return how many prompts of a length may run forward and back together, at least one."""
    reads = sum(sizes.read(site, n_tokens, n_tokens) for site in sites)
    # what is read is there twice: as it was, and its gradient
    one = graph_size(sizes, n_tokens) + sizes.pass_(1, n_tokens, n_tokens, 1, 2 * reads)
    return max(1, min(sizes.bound // one, sizes.max_tokens // n_tokens))


def graph_size(sizes: Sizes, n_tokens: int) -> int:
    """Return what one row of a forward pass keeps for the way back, in bytes."""
    m = sizes.model
    neurons = m.d_mlp or 4 * m.d_model
    # per block: two norms with their inputs, the projections' inputs and outputs, rotated queries and keys, and the MLP's steps
    block = n_tokens * (20 * m.d_model + 6 * neurons) + 2 * m.n_heads * n_tokens**2
    # probabilities and their logarithms, in float64
    return sizes.itemsize * m.n_layers * block + 4 * 8 * m.n_vocab


class _Tape:
    """Notes the tensors of one pass, so that what follows from them can be followed back.

    Parameters
    ----------
    envoys : Envoys
        The model's modules.
    sites, forks : sequence of Site
        See `backward`.
    changes : sequence of Change
        What is changed on the way.
    length : int
        Number of tokens of each row.
    """

    def __init__(
        self, envoys: Envoys, sites: Sequence[Site], forks: Sequence[Site], changes: Sequence[Change], length: int
    ) -> None:
        self._envoys, self._length = envoys, length
        self._changes = envoys.steps(changes, [])
        self._forks = frozenset(forks)
        self._watched: dict[tuple[int, float], list[Site]] = {}
        self.sites = list(dict.fromkeys([*sites, *forks, *(change.edit.site for change in changes)]))
        for site in self.sites:
            self._watched.setdefault(envoys.info.position(site), []).append(whole(site))
        self._end = self._watched.pop(envoys.info.position(_LOGITS), [])
        self.seen: dict[Site, torch.Tensor] = {}

    def stops(self, begin: tuple[int, float]) -> list[tuple[int, float]]:
        """Return where in the pass there is something to do, after its beginning."""
        return sorted(at for at in self._watched if at != begin)

    def begin(self, site: Site, stream: torch.Tensor | None) -> None:
        """Put a tensor that is followed where the pass begins."""
        at = self._envoys.info.position(site)
        leaf = (self._envoys.raw(site) if stream is None else stream).detach().clone()
        if at in self._changes:
            put(self._envoys, site, leaf)
            self._envoys.do(self._changes[at], self._length, {})
        leaf.requires_grad_()
        put(self._envoys, site, leaf.clone())
        self.seen |= dict.fromkeys([site, *self._watched.get(at, ())], leaf)

    def visit(self, at: tuple[int, float]) -> None:
        """Note what stands at one end of one module, changed before where it is to be."""
        sites = self._watched[at]
        raw = self._envoys.raw(sites[0])
        if at not in self._changes and all(map(in_stream, sites)):
            # the stream alone is never changed in place
            self.seen |= dict.fromkeys(sites, raw)
            return
        # a module may change what it was given, or what it gave, in place: it goes on with a copy
        copy = raw.clone()
        put(self._envoys, sites[0], copy)
        if at in self._changes:
            self._envoys.do(self._changes[at], self._length, {})
            raw = copy
        self.seen |= {site: copy if site in self._forks else raw for site in sites}

    def end(self, objectives: Sequence[Objective], base: torch.Tensor | None, wanted: Sequence[Site]) -> None:
        """Measure every row, and follow what was measured back to some sites."""
        full = self._envoys.nnsight.output.logits
        self.seen |= dict.fromkeys(self._end, full)
        logits = full[:, -1]
        values = each(objectives, logits, (logits if base is None else base.to(logits.device)).detach())
        tensors = {id(self.seen[site]): self.seen[site] for site in wanted}
        slopes = torch.autograd.grad(values.sum(), list(tensors.values()), allow_unused=True)
        found = dict(zip(tensors, slopes, strict=True))
        # nothing follows from some: the last block's values of a token that is not the last, say
        zero = torch.zeros_like
        self.slopes = [zero(self.seen[s]) if (slope := found[id(self.seen[s])]) is None else slope for s in wanted]
        self.values, self.logits = values.detach(), logits.detach()

    def features(self, site: Site, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor of a site's shape as ``[row, token, n_features]``."""
        return self._envoys.features(tensor, site, self._length)


def put(envoys: Envoys, site: Site, tensor: torch.Tensor) -> None:
    """Let the model go on with another tensor at a site, inside a trace."""
    path, side = envoys.info.event(site)
    envoy = envoys.nnsight
    for name in path.split("."):
        envoy = envoy[int(name)] if name.isdigit() else getattr(envoy, name)
    if side == "input":
        envoy.input = tensor
        return
    given = envoy.output
    envoy.output = (tensor, *given[1:]) if isinstance(given, tuple) else tensor


@contextlib.contextmanager
def _parameters_at_rest(module: torch.nn.Module) -> Iterator[None]:
    """Keep gradients away from a model's parameters, and leave each as it was."""
    asked = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_()


def _base(
    executor: Executor, tokens: Callable[[Prompt], TokenizedPrompt], experiments: Sequence[Experiment]
) -> list[NDArray[np.float32]]:
    """Return what each experiment's prompt says untouched."""
    plain = [Experiment(experiment.prompts[0]).on(executor.info) for experiment in experiments]
    runs = dict(executor.run(make_plan(plain, tokens, executor.sizes, executor.kept.__contains__)))
    return [runs[tokens(experiment.prompts[0])].logits for experiment in experiments]


def _rows_read(sizes: Sizes, site: Site, group: Sequence[TokenizedPrompt]) -> int:
    return sizes.rows_of(len(group[0]), [site])


def _prefetch(executor: Executor, edits: Sequence[Edit], sources: SourceReads) -> None:
    """Read in batches what edits take from untouched runs."""
    wanted: dict[Site, dict[TokenizedPrompt, None]] = {}
    for edit in edits:
        if isinstance(edit.value, Taken):
            runs = [run for run, _ in edit.value.tokens if isinstance(run, TokenizedPrompt)]
            wanted.setdefault(edit.site, {}).update(dict.fromkeys(runs))
    for site, prompts in wanted.items():
        for batch in equal_batches(prompts, len, functools.partial(_rows_read, executor.sizes, site)):
            for prompt, features in zip(batch, executor.read(batch, [site])[0], strict=True):
                sources[prompt, site] = features


def _told(
    found: Differentiated,
    row: int,
    experiment: Experiment,
    prompt: TokenizedPrompt,
    metric: Metric,
    sites: Sequence[Site],
    executor: Executor,
) -> Gradients:
    def arrays(of: Mapping[Site, torch.Tensor]) -> Mapping[Site, NDArray[np.float32]]:
        return {site: frozen(shaped(of[whole(site)][row], site, executor.info)) for site in sites}

    return Gradients(
        experiment,
        prompt,
        metric,
        float(found.values[row]),
        frozen(found.logits[row].float().cpu().numpy()),
        arrays(found.activations),
        arrays(found.gradients),
    )


def frozen(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an array that can no longer be written to."""
    array.flags.writeable = False
    return array
