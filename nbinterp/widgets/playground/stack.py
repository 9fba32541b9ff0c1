"""From a setting to what is run: the stack's interventions, its control, and what is wrong with each act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from nbinterp.experiment import Experiment, Generation
from nbinterp.interventions import Patch
from nbinterp.prompts import Chat
from nbinterp.widgets.asking import told
from nbinterp.widgets.playground.controls import control_of
from nbinterp.widgets.playground.setting import prompt_of

if TYPE_CHECKING:
    from nbinterp.anatomy import ModelInfo
    from nbinterp.operations import Intervention
    from nbinterp.prompts import Prompt
    from nbinterp.widgets.playground.asked import Asked
    from nbinterp.widgets.playground.recipes import Library
    from nbinterp.widgets.protocol import Setting


@frozen
class Stack:
    """A setting's prompt and interventions, as far as they can be done.

    Parameters
    ----------
    prompt : Prompt
        What the model is given.
    acts : mapping of str to Intervention
        By the id of the act; those that cannot be done are left out.
    problems : mapping of str to str
        Why not, by the id of the act.
    seed : int
        Of the control.
    prompt_only : mapping of str to Intervention
        Those that cannot act on a generated token, as they are while the model goes on, by the id of the act.
    notes : tuple of str
        What is done otherwise than it was said, a sentence each.
    """

    prompt: Prompt
    acts: dict[str, Intervention]
    problems: dict[str, str] = field(factory=dict)
    seed: int = 0
    prompt_only: dict[str, Intervention] = field(factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def experiment(self) -> Experiment:
        """What is run."""
        return Experiment(self.prompt, tuple(self.acts.values()))

    @property
    def control(self) -> Experiment:
        """The same with everything in random directions."""
        return Experiment(self.prompt, control_of(tuple(self.acts.values()), self.seed))

    @property
    def acting(self) -> bool:
        """Whether anything is done at all."""
        return any(act.enabled for act in self.acts.values())

    @property
    def going_on(self) -> Stack:
        """The same as it is while the model generates."""
        return evolve(self, acts={**self.acts, **self.prompt_only})

    def whole(self, rest: Experiment, generation: Generation, info: ModelInfo) -> Experiment:
        """Return the experiment with what a setting does not hold, bound to its model.

        Parameters
        ----------
        rest : Experiment
            What is read, and how tokens are chosen.
        generation : Generation
            How it goes on; left out where nobody said anything about it.
        info : ModelInfo
            Which model.
        """
        default = generation == Generation(max_new_tokens=50, seed=self.seed)
        said = generation if rest.generation is not None or not default else None
        return Experiment(self.prompt, tuple(self.acts.values()), rest.read, None, said).on(info)


def stack_of(setting: Setting, library: Library, model: Asked) -> Stack:
    """Return what a setting describes; each act is tried alone, without running the model.

    Raises
    ------
    ValueError, LookupError, TypeError
        For a prompt that the model cannot be given, and a recipe that there is none of.
    """
    prompt = prompt_of(setting)
    model.tokens(prompt)
    acts: dict[str, Intervention] = {}
    problems: dict[str, str] = {}
    prompt_only: dict[str, Intervention] = {}
    notes: list[str] = []
    for act in setting["acts"]:
        try:
            made = library[act["recipe"]].make(act)
            model.plan(Experiment(prompt, evolve(made, enabled=True)))
            if (n := _tokens_taken(made, model)) > 1:
                prompt_only[act["id"]] = evolve(made, steps=None).bound(model.info)
                if made.enabled:
                    notes.append(
                        f"Patch at {made.site} takes {n} tokens, and a generated token is one: it acts on the prompt only, whatever "
                        "its steps."
                    )
            acts[act["id"]] = made.bound(model.info)
        except (ValueError, LookupError, TypeError) as error:
            problems[act["id"]] = told(error)
    return Stack(prompt, acts, problems, setting["seed"], prompt_only, tuple(dict.fromkeys(notes)))


def _tokens_taken(act: Intervention, model: Asked) -> int:
    """Return how many tokens a patch would bring to each generated one; 0 where it acts on none."""
    if act.steps is None or not isinstance(act, Patch) or (sources := act.sources()) is None:
        return 0
    (given,) = sources.prompts
    prompt = given if isinstance(given, str | Chat) else given.prompts[0]
    return len(sources.tokens.resolve(model.tokens(prompt)))
