"""The model: the only door through which everything else asks one."""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import pandas as pd
from tqdm import tqdm

from nbinterp.anatomy import ModelInfo
from nbinterp.continuations import Continuation, Token
from nbinterp.engine.collecting import Collection as Collection
from nbinterp.engine.collecting import CollectionStopped as CollectionStopped
from nbinterp.engine.dissect import dissect
from nbinterp.engine.execute import Executor
from nbinterp.engine.generation import GenerationStopped as GenerationStopped
from nbinterp.engine.generation import Transcript, generate, with_settings
from nbinterp.engine.live import MODEL_LOCK, Latest
from nbinterp.engine.loading import load
from nbinterp.engine.planning import make_plan
from nbinterp.engine.tokenizing import Tokenizer, token_texts
from nbinterp.engine.verification import verify
from nbinterp.experiment import Experiment
from nbinterp.metrics import Metric
from nbinterp.prompts import Chat, Prompt, TokenizedPrompt, as_prompt
from nbinterp.results import Result, Vocabulary
from nbinterp.sites import COMPONENTS, UNLAYERED, Site
from nbinterp.sweeps import Sweep, grid
from nbinterp.tokens import Positions, TokensLike

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from nbinterp.clouds import Cloud
    from nbinterp.engine.plan import Plan
    from nbinterp.engine.runs import Run
    from nbinterp.metrics import MetricLike
    from nbinterp.operations import Intervention
    from nbinterp.sweeps import Make


class Model:
    """A causal language model that can be asked, changed while it answers, and read.

    Open one with `Model.open`.
    """

    def __init__(self, executor: Executor, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
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
    ) -> Self:
        """Open a model.

        Weights are read from safetensors or GGUF, never from pickles.

        Parameters
        ----------
        source : str, Path or torch.nn.Module
            A demo model's name (``"smollm2-135m"``), a directory, a GGUF file, a hub id (``"owner/name"``), or a
            module of transformers.
        tokenizer : tokenizer of transformers, optional
            Needed with a module, and only there.
        name : str, optional
            What to call it; by default after `source`.
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

        Raises
        ------
        ValueError, LookupError
            When there is no such model, or it cannot be opened safely, or it does not hand a residual stream from block
            to block.
        """
        _check_bound(memory_bound)
        loaded = load(
            source,
            tokenizer=tokenizer,
            revision=revision,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
        )
        module = loaded.module
        found = dissect(module)
        config: Any = module.config
        vocabulary = Vocabulary(token_texts(loaded.tokenizer, module.get_output_embeddings().weight.shape[0]))  # type: ignore[operator]
        info = ModelInfo(
            name=name or loaded.name,
            revision=loaded.revision,
            architecture=type(module).__name__,
            n_layers=config.num_hidden_layers,
            d_model=config.hidden_size,
            n_vocab=len(vocabulary),
            blocks=found.blocks,
            n_heads=found.n_heads,
            n_kv_heads=found.n_kv_heads,
            d_head=found.d_head,
            d_mlp=found.d_mlp,
            source=loaded.source,
            dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
            anatomy=found.anatomy,
        )
        context = getattr(config, "max_position_embeddings", None)
        tokenizer = Tokenizer(loaded.tokenizer, vocabulary.tokens, info.name, context)
        return cls(Executor(module, loaded.tokenizer, info, memory_bound), tokenizer, vocabulary)

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
        _check_bound(size)
        self._executor.memory_bound = size

    def sites(self) -> pd.DataFrame:
        """Return which sites this model has.

        Returns
        -------
        DataFrame
            Columns ``component``, ``what``, ``module`` (its path; ``{}`` stands for the layer), ``end``, ``n_heads``,
            ``n_features`` (of all heads), ``lacking`` (why this model does not have it; empty where it does).
        """
        info, rows = self.info, []
        assert info.anatomy is not None
        for component, what in COMPONENTS.items():
            site = Site(component, None if component in UNLAYERED else 0)
            place = info.anatomy.places.get(component)
            module = "" if place is None else info.event(site)[0].replace(f"{info.blocks}.0", f"{info.blocks}.{{}}")
            end, features = ("", None) if place is None else (place.side, info.width(site))
            rows.append(
                (component, what, module, end, info.heads(site), features, info.anatomy.lacking.get(component, ""))
            )
        columns = ["component", "what", "module", "end", "n_heads", "n_features", "lacking"]
        return pd.DataFrame(rows, columns=columns).astype({"n_features": "Int64"})

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
        return make_plan(bound, self.tokens, self._executor.sizes, self._executor.kept.__contains__)

    def _runs(self, plan: Plan, progress: bool, cancel: Callable[[], bool]) -> Iterator[tuple[Hashable, Run]]:
        with _progress(progress, total=len(plan.prompts) + plan.rows) as bar:
            for key, run in self._executor.run(plan, cancel):
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
        values, base = self._measure(measured, [start, *points], progress, cancel)
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

    def _measure(
        self, metric: Metric, bound: Sequence[Experiment], progress: bool, cancel: Callable[[], bool]
    ) -> tuple[NDArray[np.float64], float]:
        """Return a metric of each experiment, and of their one prompt untouched; logits are dropped as they come."""
        plan = self._planned(bound)
        prompt = self.tokens(bound[0].prompts[0])
        values = np.full(len(bound), np.nan)
        base: Run | None = None
        for key, run in self._runs(plan, progress, cancel):
            if key == prompt:
                base = run
            elif isinstance(key, tuple) and base is not None:
                values[key[0]] = metric(run.logits, base.logits, self._vocabulary)
        assert base is not None
        untouched = float(metric(base.logits, base.logits, self._vocabulary))
        # a point that does nothing has no run of its own
        return np.where(np.isin(np.arange(len(bound)), _changed(plan)), values, untouched), untouched

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
                for spoken in generate(self._executor, own, self.tokens, bound, top):
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
        for spoken in generate(self._executor, self._tokenizer.own, self.tokens, bound, top):
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
        base = [runs[prompt] for prompt in prompts]
        changed = [runs.get((index, p), runs[prompt]) for p, prompt in enumerate(prompts)]
        return Result(
            experiment,
            prompts,
            np.stack([run.logits for run in base]),
            np.stack([run.logits for run in changed]),
            {site: tuple(run.activations[site] for run in base) for site in experiment.read},
            {site: tuple(run.activations[site] for run in changed) for site in experiment.read},
            self._vocabulary,
            tuple(_moved(experiment, run) for run in changed),
            functools.partial(verify, self._executor, self.tokens),
        )

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
        return Collection(self._executor, self.tokens, prompts, sites, tokens, labels, store, interventions)


def _listed(experiments: Experiment | Prompt | Sequence[Experiment]) -> list[Experiment]:
    """Return what is to be run as a list; a text or chat is an experiment that only asks."""
    several = [experiments] if isinstance(experiments, str | Chat | Experiment) else experiments
    return [one if isinstance(one, Experiment) else Experiment(one) for one in several]


def _check_bound(size: object) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        raise ValueError(f"got memory_bound={size!r}; wanted a positive number of bytes, for example 2**30.")


def _moved(experiment: Experiment, run: Run) -> dict[int, float]:
    """Return how far each intervention moved what it acts on; one that need not be run moves nothing."""
    acts = [index for index, act in enumerate(experiment.interventions) if act.enabled and act.tokens != Positions(())]
    return dict.fromkeys(acts, 0.0) | dict(run.moved)


def _changed(plan: Plan) -> list[int]:
    return [row.key[0] for batch in plan.batches for row in batch.rows if isinstance(row.key, tuple)]


def _progress(shown: bool, unit: str = "row", **kwargs: int) -> tqdm[Any]:
    # a bar of text that goes when it is done: a widget would stay in the saved notebook as a dead view
    return tqdm(unit=unit, disable=not shown, leave=False, delay=1, file=sys.stdout, **kwargs)  # type: ignore[call-overload,no-any-return]
