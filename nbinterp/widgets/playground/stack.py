"""From a setting to what is run: the stack's interventions, its control, and what is wrong with each act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from nbinterp.experiment import Experiment
from nbinterp.widgets.asking import told
from nbinterp.widgets.playground.controls import control_of
from nbinterp.widgets.playground.setting import prompt_of

if TYPE_CHECKING:
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
    """

    prompt: Prompt
    acts: dict[str, Intervention]
    problems: dict[str, str] = field(factory=dict)
    seed: int = 0

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


def stack_of(setting: Setting, library: Library, model: Asked) -> Stack:
    """Return what a setting describes; each act is tried alone, without running the model.

    Raises
    ------
    ValueError, LookupError, TypeError
        For a prompt that the model cannot be given, and a recipe that there is none of.
    """
    prompt = prompt_of(setting)
    model.tokens(prompt)
    stack = Stack(prompt, {}, {}, setting["seed"])
    for act in setting["acts"]:
        offer = library[act["recipe"]]
        try:
            made = offer.make(act)
            model.plan(Experiment(prompt, evolve(made, enabled=True)))
            stack.acts[act["id"]] = made.bound(model.info)
        except (ValueError, LookupError, TypeError) as error:
            stack.problems[act["id"]] = told(error)
    return stack
