"""The model: the only door through which everything else asks one."""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from tqdm import tqdm

from nbinterp.continuations import Continuation, Token
from nbinterp.engine.answers import result_of
from nbinterp.engine.collecting import Collection as Collection
from nbinterp.engine.collecting import CollectionStopped as CollectionStopped
from nbinterp.engine.edges import Edges
from nbinterp.engine.execute import Executor
from nbinterp.engine.generation import GenerationStopped as GenerationStopped
from nbinterp.engine.generation import Transcript, generate, with_settings
from nbinterp.engine.gradients import Gradients as Gradients
from nbinterp.engine.gradients import differentiate
from nbinterp.engine.heads import head_outputs
from nbinterp.engine.listing import sites_of
from nbinterp.engine.live import MODEL_LOCK, Latest
from nbinterp.engine.loading import load
from nbinterp.engine.measuring import measure
from nbinterp.engine.opening import check_bound, opened
from nbinterp.engine.planning import make_plan
from nbinterp.engine.readout import Readout
from nbinterp.engine.verification import Compared, Verification, verify
from nbinterp.experiment import Experiment
from nbinterp.metrics import Metric
from nbinterp.prompts import Chat, Prompt, TokenizedPrompt, as_prompt
from nbinterp.sweeps import Sweep, grid

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd
    import torch
    from numpy.typing import ArrayLike, NDArray

    from nbinterp.anatomy import ModelInfo
    from nbinterp.clouds import Cloud
    from nbinterp.engine.engine import Engine
    from nbinterp.engine.plan import Plan
    from nbinterp.engine.runs import Run
    from nbinterp.engine.tokenizing import Tokenizer
    from nbinterp.hosted.jobs import Job
    from nbinterp.metrics import MetricLike
    from nbinterp.operations import Intervention
    from nbinterp.pairs import Metrics
    from nbinterp.results import Result, Vocabulary
    from nbinterp.sites import Site
    from nbinterp.sweeps import Make
    from nbinterp.tokens import TokensLike


class Model:
    """A causal language model that can be asked, changed while it answers, and read.

    Open one with `Model.open`.
    """

    def __init__(self, executor: Engine, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
        self._executor = executor
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    @classmethod
    def open(
        cls,
        source: str | Path | torch.nn.Module,
        *,
        tokenizer: Any = None,
        name: str | None = None,
        revision: str | None = None,
        dtype: str | torch.dtype = "float32",
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
        memory_bound: int = 2**30,
        host: str | None = None,
    ) -> Self:
        """Open a model, on this machine or on a server.

        Weights are read from safetensors or GGUF, never from pickles.

        Parameters
        ----------
        source : str, Path or torch.nn.Module
            A demo model's name (``"smollm2-135m"``), a directory, a GGUF file, a hub id (``"owner/name"``), or a
            module of transformers.
        tokenizer : tokenizer of transformers, optional
            Needed with a module, and only there.
        name : str, optional
            What to call it; by default after `source`. With `host`, what the server calls it.
        revision : str, optional
            Branch, tag or commit on the hub.
        dtype : str or torch.dtype
            Of the weights and the activations.
        device : str or torch.device, optional
            By default a CUDA device where there is one, else the CPU.
        trust_remote_code : bool
            Whether code that comes with the model may run on this machine.
        memory_bound : int
            Bytes that a batch may take beside the weights, and the same again for untouched runs that are kept; see
            `memory_bound`.
        host : str, optional
            Where the model is: ``"ndif"`` for the public service, or the address of a server of NDIF, such as one that
            ``nbinterp serve`` started. No weights are downloaded; every call is a job there.

        Raises
        ------
        ValueError, LookupError
            When there is no such model, or it cannot be opened safely, or it does not hand a residual stream from block
            to block.
        """
        check_bound(memory_bound)
        if host is not None:
            from nbinterp.hosted.opening import opened as hosted  # who has a model here need not wait for it

            return cls(*hosted(str(source), host, name, revision, memory_bound))
        loaded = load(
            source,
            tokenizer=tokenizer,
            revision=revision,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
        )
        return cls(*opened(loaded, name, memory_bound))

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._executor.info

    @property
    def vocabulary(self) -> Vocabulary:
        """The text of every token."""
        return self._vocabulary

    @property
    def memory_bound(self) -> int:
        """Bytes that a batch may take beside the weights, and the same again for untouched runs that are kept.

        May be set; batches are cut so that the estimate of what they take stays below it.
        """
        return self._executor.memory_bound

    @memory_bound.setter
    def memory_bound(self, size: int) -> None:
        check_bound(size)
        self._executor.memory_bound = size

    @functools.cached_property
    def readout(self) -> Readout:
        """What the model does behind its blocks, from any state of the residual stream to logits; proved on this model."""
        return self._executor.beside(Readout)

    @functools.cached_property
    def edges(self) -> Edges:
        """The model as a graph of heads and MLPs: what each edge carries, and runs in which some are cut.

        Raises
        ------
        ValueError
            Where heads have no output of their own, as in Gemma 2.
        """
        return self._executor.beside(Edges, self._vocabulary)

    def head_outputs(self, layer: int, z: ArrayLike) -> NDArray[np.float32]:
        """Return what each head of a layer adds to its attention's output, given ``z [n, n_heads, d_head]``: ``[n, n_heads, d_model]``.

        The projection's bias belongs to no head and is left out; a norm behind it (Gemma 2 and 3) is still to come.

        Raises
        ------
        ValueError
            For a layer that the model does not have, and an array of another shape.
        """
        return self._executor.call(head_outputs, layer, z)

    def sites(self) -> pd.DataFrame:
        """Return which sites this model has.

        Returns
        -------
        DataFrame
            Columns ``component``, ``what``, ``module`` (its path; ``{}`` stands for the layer), ``end``, ``n_heads``,
            ``n_features`` (of all heads), ``lacking`` (why this model does not have it; empty where it does).
        """
        return sites_of(self.info)

    @property
    def nnsight(self) -> Any:
        """The model as nnsight wraps it, for traces of your own; hold `lock` where other threads may ask at the same time."""
        return self._executor.nnsight

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held during every trace of every model: nnsight traces from one thread at a time, and a backward pass of one model concerns all."""
        return MODEL_LOCK

    def forget(self) -> None:
        """Drop all kept untouched runs.

        Weights that were changed in place, or moved, are noticed; call this after changing them behind torch's back, through
        ``.data`` or by putting another parameter in a parameter's place.
        """
        self._executor.forget()

    def __repr__(self) -> str:
        i = self.info
        return f"Model({i.name!r}: {i.architecture}, {i.n_layers} layers, d_model {i.d_model}, {i.n_vocab:,} tokens)"

    def tokens(self, prompt: Prompt | Sequence[Mapping[str, str]]) -> TokenizedPrompt:
        """Return a prompt, or a chat in this model's template, as this model sees it.

        Raises
        ------
        ValueError
            When it is empty, longer than the model's context, or a chat for a model without a template.
        """
        return self._tokenizer(as_prompt(prompt))

    def live(self, on_error: Callable[[Exception], object]) -> Latest:
        """Return what brings a widget's work to the main thread, the newest request first; make it on that thread."""
        return Latest(on_error)

    @overload
    def run(
        self, experiments: Experiment | Prompt, *, progress: bool = ..., cancel: Callable[[], bool] = ...
    ) -> Result: ...
    @overload
    def run(
        self, experiments: Sequence[Experiment], *, progress: bool = ..., cancel: Callable[[], bool] = ...
    ) -> list[Result]: ...
    def run(
        self,
        experiments: Experiment | Prompt | Sequence[Experiment],
        *,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Result | list[Result]:
        """Run an experiment, or many at once, which costs less than one after the other.

        Every prompt is run once untouched and kept. A changed run resumes from there at the first block and the first
        token that an intervention touches; `plan` says what that saves.

        Parameters
        ----------
        experiments : Experiment, str, Chat, or sequence of Experiment
            What to run; a text or chat is an experiment that only asks.
        progress : bool
            Whether to show how far it is.
        cancel : callable
            Asked before each trace; True stops the run with KeyboardInterrupt.

        Returns
        -------
        Result or list of Result
            In the order given.

        Raises
        ------
        ValueError, LookupError, TypeError
            For anything that cannot be done, before the model runs.
        """
        bound = self._bound(_listed(experiments))
        runs = dict(self._runs(self._planned(bound), progress, cancel))
        results = [self._result(e, experiment, runs) for e, experiment in enumerate(bound)]
        return results[0] if isinstance(experiments, str | Chat | Experiment) else results

    def submit(self, experiments: Experiment | Prompt | Sequence[Experiment]) -> Job:
        """Send experiments to a hosted model, and do not wait.

        Parameters
        ----------
        experiments : Experiment, str, Chat, or sequence of Experiment
            As for `run`.

        Returns
        -------
        Job
            Its ``wait()`` returns what `run` returns; its ``id`` finds it again, from another notebook too: see `attach`.

        Raises
        ------
        ValueError, LookupError, TypeError
            As `run`; and for a model on this machine, which answers at once.
        """
        return self._sent(experiments, None)

    def attach(self, id: str, experiments: Experiment | Prompt | Sequence[Experiment]) -> Job:
        """Return the job of experiments that were submitted before, by its id.

        Parameters
        ----------
        id : str
            Of the job.
        experiments : Experiment, str, Chat, or sequence of Experiment
            What was submitted; nothing is sent again.

        Raises
        ------
        ValueError, LookupError, TypeError
            As `submit`.
        """
        return self._sent(experiments, id)

    def _sent(self, experiments: Experiment | Prompt | Sequence[Experiment], id: str | None) -> Job:
        submit = getattr(self._executor, "submit", None)
        if submit is None:
            raise ValueError(
                f"got {self.info.name}, which is on this machine; wanted a hosted model: call run, which answers at once."
            )
        bound = self._bound(_listed(experiments))

        def made(found: Iterator[tuple[Hashable, Run]]) -> Result | list[Result]:
            runs = dict(found)
            results = [self._result(e, experiment, runs) for e, experiment in enumerate(bound)]
            return results[0] if isinstance(experiments, str | Chat | Experiment) else results

        job: Job = submit(Executor.run, self._planned(bound), id=id, made=made)
        return job

    def plan(self, experiments: Experiment | Prompt | Sequence[Experiment]) -> Plan:
        """Return what `run` would do, and what that would cost, without running anything.

        Raises
        ------
        ValueError, LookupError, TypeError
            As `run`.
        """
        return self._planned(self._bound(_listed(experiments)))

    def _bound(self, experiments: Iterable[Experiment]) -> list[Experiment]:
        return [experiment.on(self.info) for experiment in experiments]

    def _planned(self, bound: Sequence[Experiment]) -> Plan:
        self._executor.refresh()
        return make_plan(bound, self.tokens, self._executor.sizes, self._executor.knows)

    def _runs(self, plan: Plan, progress: bool, cancel: Callable[[], bool]) -> Iterator[tuple[Hashable, Run]]:
        with _progress(progress, total=len(plan.prompts) + plan.rows) as bar:
            for key, run in self._executor.stream(Executor.run, plan, cancel):
                bar.update(1)
                yield key, run

    def sweep(
        self,
        experiment: Experiment | Prompt,
        make: Make,
        /,
        *,
        metric: MetricLike,
        control: Make | None = None,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
        **axes: Iterable[Any],
    ) -> Sweep:
        """Measure one number over a grid of interventions, in as few passes as possible.

        Parameters
        ----------
        experiment : Experiment, str or Chat
            What every point starts from; with one prompt.
        make : callable
            Given one value of each axis by name, returns what is added at that point: an intervention, several, or the
            whole experiment.
        metric : Metric or callable
            What is measured at the last token, e.g. ``nb.logit_difference(" Paris", " Rome")``; or a function of
            ``(logits [n_vocab], base_logits [n_vocab])``.
        control : callable, optional
            As `make`: something of equal size that should have no effect.
        progress : bool
            Whether to show how far it is.
        cancel : callable
            Asked before each trace; True stops the sweep with KeyboardInterrupt.
        **axes : iterable
            The grid: values by the name of a parameter of `make`; a mapping gives them labels.

        Returns
        -------
        Sweep
            Values over the labelled grid, with the untouched model's.

        Raises
        ------
        ValueError, LookupError, TypeError
            For anything that cannot be done, before the model runs.

        Examples
        --------
        >>> model.sweep(
        ...     clean,
        ...     lambda layer, token: nb.Patch(f"resid_post.{layer}", source=corrupted, tokens=token),
        ...     metric=nb.logit_difference(" Paris", " Rome"),
        ...     layer=range(30),
        ...     token=range(12),
        ... )  # doctest: +SKIP
        """
        measured = Metric.of(metric)
        measured.ids(self._vocabulary)
        start = (experiment if isinstance(experiment, Experiment) else Experiment(experiment)).on(self.info)
        grids = [grid(start, each, axes) for each in (make, control) if each is not None]
        points = [point.on(self.info) for one in grids for point in one.experiments]
        bound = [start, *points]
        plan, prompt = self._planned(bound), self.tokens(start.prompts[0])
        found: dict[Hashable, float] = {}
        with _progress(progress, total=1 + plan.rows) as bar:
            for key, value in self._executor.stream(measure, plan, measured, prompt, self._vocabulary, cancel):
                found[key] = value
                bar.update(1)
        base = found[prompt]
        # a point that does nothing has no run of its own
        values = np.array([found.get((e, 0), base) for e in range(len(bound))])
        n = len(grids[0].experiments)
        return Sweep.of(
            values[1 : n + 1],
            grids[0],
            base=base,
            metric=measured,
            experiment=start,
            model=self.info,
            control=values[n + 1 :] if control is not None else None,
        )

    @overload
    def gradients(
        self,
        experiments: Experiment | Prompt,
        /,
        *,
        metric: Metrics,
        sites: str | Site | Sequence[str | Site],
        base: Sequence[NDArray[np.float32]] | None = ...,
        progress: bool = ...,
        cancel: Callable[[], bool] = ...,
    ) -> Gradients: ...
    @overload
    def gradients(
        self,
        experiments: Sequence[Experiment],
        /,
        *,
        metric: Metrics,
        sites: str | Site | Sequence[str | Site],
        base: Sequence[NDArray[np.float32]] | None = ...,
        progress: bool = ...,
        cancel: Callable[[], bool] = ...,
    ) -> list[Gradients]: ...
    def gradients(
        self,
        experiments: Experiment | Prompt | Sequence[Experiment],
        /,
        *,
        metric: Metrics,
        sites: str | Site | Sequence[str | Site],
        base: Sequence[NDArray[np.float32]] | None = None,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Gradients | list[Gradients]:
        """Differentiate a metric with respect to what stands at sites, all of them in one pass forward and one back.

        Interventions act; gradients are taken behind them. The model's weights take no part, and the model stays as it was.

        Parameters
        ----------
        experiments : Experiment, str, Chat, or sequence of Experiment
            What to run, each with one prompt.
        metric : Metric, callable, or list or tuple of them
            One for all experiments, or one for each; a function of your own is written in torch: of the last token's logits
            and of `base`, both ``[n_vocab]``.
        sites : str, Site, or sequence of them
            Where; a component alone, ``"z"``, is meant at all layers.
        base : sequence of array ``[n_vocab]``, optional
            For each experiment the logits that a metric compares with; by default those of its prompt, untouched.
        progress : bool
            Whether to show how far it is.
        cancel : callable
            Asked before each batch; True stops with KeyboardInterrupt.

        Returns
        -------
        Gradients or list of Gradients
            Activations, gradients and the metric's value; in the order given.

        Raises
        ------
        ValueError, LookupError, TypeError
            For a metric without a derivative, and anything else that cannot be done, before the model runs.
        """
        bound = self._bound(_listed(experiments))
        given = list(metric) if isinstance(metric, list | tuple) else [metric] * len(bound)
        metrics = [Metric.of(one) for one in given]
        batches = self._executor.stream(differentiate, self._tokenizer, self._vocabulary, bound, metrics, sites, base)
        found: dict[int, Gradients] = {}
        with _progress(progress, total=len(bound)) as bar:
            while not cancel() and (batch := next(batches, None)):
                found |= batch
                bar.update(len(batch))
        if len(found) < len(bound):
            raise KeyboardInterrupt
        return found[0] if isinstance(experiments, str | Chat | Experiment) else [found[i] for i in range(len(bound))]

    @overload
    def generate(
        self,
        experiments: Experiment | Prompt,
        /,
        *,
        top: int = ...,
        progress: bool = ...,
        cancel: Callable[[], bool] = ...,
        **settings: Any,
    ) -> Continuation: ...
    @overload
    def generate(
        self,
        experiments: Sequence[Experiment],
        /,
        *,
        top: int = ...,
        progress: bool = ...,
        cancel: Callable[[], bool] = ...,
        **settings: Any,
    ) -> list[Continuation]: ...
    def generate(
        self,
        experiments: Experiment | Prompt | Sequence[Experiment],
        /,
        *,
        top: int = 0,
        progress: bool = False,
        cancel: Callable[[], bool] = lambda: False,
        **settings: Any,
    ) -> Continuation | list[Continuation]:
        """Let the model go on after its prompts, untouched and changed, all decoded in one batch.

        Interventions act at their `tokens` of the prompt, and at generated tokens that their `steps` hold.

        Parameters
        ----------
        experiments : Experiment, str, Chat, or sequence of Experiment
            What to run; of several that start from the same prompt, the untouched text is decoded once.
        top : int
            How many of the likeliest tokens to note at each step.
        progress : bool
            Whether to show how far it is.
        cancel : callable
            Asked after each token; True stops, and what is there is returned.
        **settings
            Fields of `nbinterp.Generation` (``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``, ``stop``),
            in place of the experiments' own.

        Returns
        -------
        Continuation or list of Continuation
            Texts, tokens, probabilities, and what the experiment reads at each step; in the order given.

        Raises
        ------
        ValueError, LookupError, TypeError
            For anything that cannot be done, before the model runs.
        GenerationStopped
            When it was interrupted; its `partial` holds what is there.
        """
        one = isinstance(experiments, str | Chat | Experiment)
        bound = self._speaking(experiments, top, settings)
        own, vocabulary = self._tokenizer.own, self._vocabulary
        transcripts = [
            Transcript(e, experiment, tuple(self.tokens(p) for p in experiment.prompts), own, vocabulary)
            for e, experiment in enumerate(bound)
        ]

        def written(finished: bool) -> Continuation | list[Continuation]:
            texts = [transcript.continuation(finished) for transcript in transcripts]
            return texts[0] if one else texts

        steps = max((e.generation.max_new_tokens for e in bound if e.generation), default=0)
        try:
            with _progress(progress, total=steps, unit="token") as bar:
                for spoken in self._executor.stream(generate, self._tokenizer, bound, top):
                    for transcript in transcripts:
                        transcript.add(spoken)
                    bar.update(1)
                    if cancel():
                        return written(finished=False)
        except KeyboardInterrupt:
            raise GenerationStopped(
                "stopped; what was generated is in this exception's .partial.", written(finished=False)
            ) from None
        return written(finished=True)

    def stream(
        self, experiments: Experiment | Prompt | Sequence[Experiment], /, *, top: int = 0, **settings: Any
    ) -> Iterator[Token]:
        """Yield tokens as they are generated, those of all rows of a step in turn, untouched before changed; see `generate`.

        Stop by not asking for more.

        Parameters
        ----------
        experiments : Experiment, str, Chat, or sequence of Experiment
            What to run. Rows that cannot differ, such as the untouched ones of one prompt, are decoded once and yielded
            for each experiment.
        top : int
            How many of the likeliest tokens each token brings with it.
        **settings
            As for `generate`.
        """
        bound = self._speaking(experiments, top, settings)
        for spoken in self._executor.stream(generate, self._tokenizer, bound, top):
            for said in spoken:
                text, alternatives = self._vocabulary.tokens[said.id], said.alternatives(self._vocabulary)
                probability = math.exp(said.log_probability)
                for experiment, prompt, changed in said.keys:
                    yield Token(prompt, changed, said.step, said.id, text, probability, experiment, alternatives)

    def _speaking(
        self, experiments: Experiment | Prompt | Sequence[Experiment], top: object, settings: Mapping[str, Any]
    ) -> list[Experiment]:
        """Return experiments with their settings, bound and checked."""
        if isinstance(top, bool) or not isinstance(top, int) or top < 0:
            raise ValueError(
                f"got top={top!r}; wanted how many of the likeliest tokens to note, a whole number from 0 up."
            )
        bound = self._bound([with_settings(experiment, settings) for experiment in _listed(experiments)])
        for experiment in bound:
            assert experiment.generation is not None
            for prompt in experiment.prompts:
                self._tokenizer.check_room(prompt, experiment.generation.max_new_tokens)
        return bound

    def _result(self, index: int, experiment: Experiment, runs: Mapping[Hashable, Run]) -> Result:
        prompts = tuple(self.tokens(text) for text in experiment.prompts)

        def checked(result: Result) -> Verification:
            return self._executor.call(verify, self._tokenizer, Compared.of(result))

        return result_of(index, experiment, prompts, runs, self._vocabulary, checked)

    def collect(
        self,
        prompts: Sequence[str],
        *,
        sites: str | Site | Sequence[str | Site],
        tokens: TokensLike = "last",
        interventions: Intervention | Iterable[Intervention] = (),
        labels: pd.DataFrame | None = None,
        store: str | Path | None = None,
        progress: bool = True,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Cloud:
        """Collect activations of many prompts, untouched or while interventions act.

        Prompts are sorted by length and run in batches of equal length, so that nothing is padded; nothing after the
        last site is computed.

        Parameters
        ----------
        prompts : sequence of str
            The texts.
        sites : str, Site, or sequence of them
            Where to read; a component alone, ``"resid_post"``, is read at all layers.
        tokens : as in interventions
            At which tokens; each gives a row. ``"last"`` and ``"all"`` are always shorthands here.
        interventions : Intervention or several, optional
            What acts in every prompt; the cloud keeps them in `Cloud.interventions`.
        labels : DataFrame, optional
            Columns of your own, one line a prompt.
        store : path, optional
            A Zarr folder to write to. A collection that was stopped or killed goes on where it was, with the same prompts,
            sites, tokens, interventions and model.
        progress : bool
            Whether to show how far it is.
        cancel : callable
            Asked before each batch; True stops the collection.

        Returns
        -------
        Cloud
            One row for each chosen token of each prompt, in the order of the prompts.

        Raises
        ------
        ValueError, LookupError
            For anything that cannot be done, before the model runs; and when activations are not finite.
        CollectionStopped
            When it was cancelled or interrupted; its `partial` holds the finished rows.
        """

        def bar(total: int, done: int) -> tqdm[Any]:
            return _progress(progress, total=total, initial=done)

        asked = self.collecting(
            prompts, sites=sites, tokens=tokens, interventions=interventions, labels=labels, store=store
        )
        return asked.finish(bar, cancel)

    def collecting(
        self,
        prompts: Sequence[str],
        *,
        sites: str | Site | Sequence[str | Site],
        tokens: TokensLike = "last",
        interventions: Intervention | Iterable[Intervention] = (),
        labels: pd.DataFrame | None = None,
        store: str | Path | None = None,
    ) -> Collection:
        """Begin what `collect` does, checked, and leave each of its batches to whoever iterates.

        Parameters
        ----------
        prompts, sites, tokens, interventions, labels, store
            As for `collect`.

        Returns
        -------
        Collection
            Each step of an iteration collects one batch and gives the number of its rows; ``done``, ``total``, ``cloud()``
            and ``partial()`` say what is there.

        Raises
        ------
        ValueError, LookupError
            As `collect`.

        Examples
        --------
        >>> collection = model.collecting(prompts, sites="resid_post.12")  # doctest: +SKIP
        >>> for _ in collection:  # in a live channel: give way after each batch
        ...     print(f"{collection.done} of {collection.total}")  # doctest: +SKIP
        >>> cloud = collection.cloud()  # doctest: +SKIP
        """
        return Collection(self._executor, self._tokenizer, prompts, sites, tokens, labels, store, interventions)


def _listed(experiments: Experiment | Prompt | Sequence[Experiment]) -> list[Experiment]:
    """Return what is to be run as a list; a text or chat is an experiment that only asks."""
    several = [experiments] if isinstance(experiments, str | Chat | Experiment) else experiments
    return [one if isinstance(one, Experiment) else Experiment(one) for one in several]


def _progress(shown: bool, unit: str = "row", **kwargs: int) -> tqdm[Any]:
    # a bar of text that goes when it is done: a widget would stay in the saved notebook as a dead view
    return tqdm(unit=unit, disable=not shown, leave=False, delay=1, file=sys.stdout, **kwargs)  # type: ignore[call-overload,no-any-return]
