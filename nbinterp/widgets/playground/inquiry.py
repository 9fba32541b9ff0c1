"""What is asked of the model for a playground: its answers, the curves of the sliders, what it goes on to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve

from nbinterp.experiment import Experiment, Generation
from nbinterp.widgets.asking import told
from nbinterp.widgets.playground import answering, curves, speaking
from nbinterp.widgets.playground.setting import copied, generation_of, matter, prompt_of
from nbinterp.widgets.playground.stack import stack_of
from nbinterp.widgets.protocol import Generated, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nbinterp.sites import Site
    from nbinterp.spaces import Floats
    from nbinterp.widgets.playground.answering import Answered
    from nbinterp.widgets.playground.asked import Asked
    from nbinterp.widgets.playground.recipes import Library
    from nbinterp.widgets.playground.timeline import Past
    from nbinterp.widgets.protocol import Setting

_GENERATING = "generating"
_COMPLETING = "computing the curves"  # js/src/widgets/playground/top.ts waits for its end


class Inquiry:
    """Asks the model, on the thread that belongs to it; the newest question wins.

    Parameters
    ----------
    model : Asked
        Who is asked.
    library : Library
        Of the recipes.
    past : callable
        Returns the past, whose present setting is asked about.
    show : callable
        Is given what the page is to show, by the names of the traits: ``answer``, ``problem``, ``curves``, ``generated``, ``task``.

    Attributes
    ----------
    curves : Curves
        Of the sliders.
    """

    def __init__(self, model: Asked, library: Library, past: Callable[[], Past], show: Callable[..., object]) -> None:
        self._model, self._library, self._past, self._show = model, library, past, show
        self._answered: Answered | None = None
        self._spoken: tuple[int, Generation] | None = None
        self.curves = curves.Curves(library, model)
        # a hand that moves does not end what takes long: a generation, or the curves for an export
        self._live = model.live(self._report)
        self._long = model.live(self._report)

    @property
    def answered(self) -> Answered | None:
        """The last answer; None before the first."""
        return self._answered

    @property
    def last(self) -> Answered:
        """The last answer, once there is one."""
        assert self._answered is not None
        return self._answered

    def spoken(self, setting: Setting) -> Generation | None:
        """Return how the model went on from a setting; None where it has not."""
        return self._spoken[1] if self._spoken is not None and self._spoken[0] == setting["moment"] else None

    @property
    def idle(self) -> bool:
        """Whether every answer, and the curve of the slider in hand, has come."""
        return self._live.idle

    def around(self, site: Site) -> Floats:
        """Return the untouched activations of the prompt at a site: ``[n_tokens, n_features]``."""
        prompt = prompt_of(self._past().present) if self._answered is None else self._answered.stack.prompt
        (result,) = self._model.run([Experiment(prompt, read=site)])
        found = result.base_activations[site][0]
        return found.reshape(found.shape[0], -1).astype(np.float64)

    def first(self) -> None:
        """Get the first answer, here and now."""
        next(self._respond())

    def ask(self) -> None:
        """Ask about the present setting."""
        self._live.ask(self._respond)

    def finish(self) -> None:
        """Wait for the answer and its curve."""
        self._live.finish()

    def answer_to(self, setting: Setting) -> Answered:
        """Return the answer to any setting, at once."""
        return answering.answer(setting, stack_of(setting, self._library, self._model), self._model)

    def speak(self, said: Mapping[str, Any], *, wait: bool = False) -> None:
        """Let the model go on.

        Parameters
        ----------
        said : mapping of str to number
            What stands in the place of the setting's ``max_new_tokens`` and ``temperature``.
        wait : bool
            Whether to wait for its end.
        """
        self._start(self._speech(said), _GENERATING)
        if wait:
            self._long.finish()

    def complete(self, *, wait: bool = False) -> None:
        """Compute what is missing of the curves of all sliders, so that each slides without a model."""
        self._start(self._completion(), _COMPLETING)
        if wait:
            self._long.finish()

    def stop(self) -> None:
        """End what takes long; what there is stays."""
        self._long.cancel()
        # what had not begun yet has nothing to end
        self._show(task=None)

    def close(self) -> None:
        """End everything."""
        self._live.cancel()
        self._long.cancel()

    def _report(self, error: Exception) -> None:
        self._show(problem=told(error))

    def _respond(self) -> Iterator[None]:
        # read once: the page may move on, on another thread, while this runs
        setting = self._past().present
        before = self._answered
        # what was missing may have been added meanwhile
        if before is None or before.stack.problems or matter(before.setting) != matter(setting):
            self._answered = self.answer_to(setting)
        else:
            self._answered = evolve(before, setting=setting)
        answer, problem = self._answered.message([*self.curves.keys(setting).values()])
        self._show(problem=problem, answer=answer)
        yield
        yield from self._sweep(setting, setting["hand"], setting["parameter"])

    def _sweep(self, setting: Setting, act: str, name: str) -> Iterator[None]:
        for _ in self.curves.sweep(setting, act, name, self.last.milliseconds / 1000):
            self._show(curves=self.curves.shown)
            yield

    def _start(self, work: Iterator[None], name: str) -> None:
        # the page knows of it before its question is answered
        self._show(problem="", task=Task(name=name, done=0, total=0, stoppable=True))
        self._long.ask(lambda: work)

    def _speech(self, said: Mapping[str, Any]) -> Iterator[None]:
        past = self._past()
        setting = past.present
        generation = generation_of(copied(setting, **said), past.rest.generation)
        total = generation.max_new_tokens
        self._spoken = setting["moment"], generation
        so_far = Generated(moment=setting["moment"], running=True, base=[], changed=[], control=[])
        self._show(generated=so_far, task=Task(name=_GENERATING, done=0, total=total, stoppable=True))
        try:
            stack = stack_of(setting, self._library, self._model)
            for news in speaking.speak(setting, stack, self._model, generation):
                if news is not None:
                    so_far = news
                    done = max(len(so_far["base"]), len(so_far["changed"]), len(so_far["control"]))
                    task = Task(name=_GENERATING, done=done, total=total, stoppable=True)
                    self._show(generated=so_far, task=task)
                yield
        finally:
            self._show(generated={**so_far, "running": False}, task=None)

    def _completion(self) -> Iterator[None]:
        try:
            # an answer that is on its way comes first
            while not self.idle:
                yield
            setting = self._past().present
            places = curves.sliders(setting, self._library)
            total = len(places) * curves.POINTS
            for place in places:
                for _ in self._sweep(setting, *place):
                    done = sum(len(curve["values"]) for curve in self.curves.true_of(setting))
                    self._show(task=Task(name=_COMPLETING, done=done, total=total, stoppable=True))
                    yield
        finally:
            self._show(task=None)
