"""Undo and redo behave as a list of settings with a place in it, whatever is done in which order."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import nbinterp as nb
from nbinterp.widgets.playground.setting import copied, initial, matter
from nbinterp.widgets.playground.timeline import Past, label

from .test_setting import act

REST = nb.Experiment("x")


def name(act):
    return act["recipe"]


class Model(RuleBasedStateMachine):
    """The timeline beside the simplest thing that does the same: a list with one entry a step."""

    def __init__(self):
        super().__init__()
        self.past = Past(initial("0"), REST, name)
        self.steps = ["0"]
        self.at = 0
        self.gesture = 0
        self.open = False

    def _page(self, prompt):
        now = self.past.present
        self.past.record(copied(now, prompt=prompt, moment=now["moment"] + 1, gesture=self.gesture))

    @rule(prompt=st.sampled_from("0123456789"))
    def press(self, prompt):
        self.gesture = self.past.present["gesture"] + 1
        self._page(prompt)
        self.open = prompt != self.steps[self.at]
        if self.open:
            self.steps[self.at + 1 :] = [prompt]
            self.at += 1

    @rule(prompt=st.sampled_from("0123456789"))
    def drag(self, prompt):
        if not self.open:
            return
        self._page(prompt)
        self.steps[self.at] = prompt
        if self.at and self.steps[self.at - 1] == prompt:
            # a drag that ends where it began is no step
            del self.steps[self.at :]
            self.at -= 1
            self.open = False

    @rule(prompt=st.sampled_from("0123456789"))
    def python(self, prompt):
        now = self.past.present
        self.past.record(copied(now, prompt=prompt, moment=now["moment"] + 1, gesture=now["gesture"] + 1), sealed=True)
        if prompt != self.steps[self.at]:
            self.steps[self.at + 1 :] = [prompt]
            self.at += 1
        self.open = False

    @rule(hand=st.sampled_from("ab"))
    def touch(self, hand):
        now = self.past.present
        self.past.record(copied(now, hand=hand, moment=now["moment"] + 1))

    @rule()
    def undo(self):
        assert (self.past.undo() is None) == (self.at == 0)
        self.at = max(0, self.at - 1)
        self.open = False

    @rule()
    def redo(self):
        assert (self.past.redo() is None) == (self.at == len(self.steps) - 1)
        self.at = min(len(self.steps) - 1, self.at + 1)
        self.open = False

    @invariant()
    def the_present_is_the_list_s(self):
        assert self.past.present["prompt"] == self.steps[self.at]

    @invariant()
    def what_can_be_done_is_said(self):
        message = self.past.message()
        assert bool(message["undo"]) == (self.at > 0)
        assert bool(message["redo"]) == (self.at < len(self.steps) - 1)


TestModel = Model.TestCase
TestModel.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_counters_only_ever_grow():
    past = Past(initial("a"), REST, name)
    past.record(copied(initial("b"), moment=5, gesture=3))
    assert (past.undo()["moment"], past.present["gesture"]) == (6, 4)
    assert past.redo()["moment"] == 7


def test_a_drag_that_goes_on_after_an_undo_is_a_step_of_its_own():
    past = Past(initial("a"), REST, name)
    past.record(copied(initial("b"), gesture=1))
    past.record(copied(initial("c"), gesture=2))
    past.undo()
    past.record(copied(initial("d"), gesture=1))
    assert past.undo()["prompt"] == "b"
    assert past.undo()["prompt"] == "a"


def test_what_a_setting_does_not_hold_is_undone_with_it():
    past = Past(initial("a"), REST, name)
    other = nb.Experiment("a", read="resid_post.0")
    past.record(initial("a"), rest=other, sealed=True)
    assert past.rest == other
    past.undo()
    assert past.rest == REST
    past.redo()
    assert past.rest == other


def test_steps_are_named_in_words():
    start = copied(initial("x"), acts=[act(id="a"), act(id="b", recipe="ablate", values={})], tracked=[" Paris"])
    first, second = start["acts"]
    cases = [
        ({"prompt": "y"}, "prompt changed"),
        ({"chat": [{"role": "user", "content": "y"}]}, "prompt changed"),
        ({"acts": [first]}, "ablate removed"),
        ({"acts": [first, second, act(id="c")]}, "scale added"),
        ({"acts": [second, first]}, "order changed"),
        ({"acts": [{**first, "on": False}, second]}, "scale switched off"),
        ({"acts": [{**first, "values": {"factor": 3.25}}, second]}, "factor of scale 2 → 3.25"),
        ({"acts": [{**first, "layer": 3, "head": 2}, second]}, "scale moved from resid_post.1 to resid_post.3.2"),
        ({"acts": [{**first, "tokens": "all"}, second]}, "tokens of scale last → all"),
        ({"acts": [{**first, "texts": {"source prompt": "x"}}, second]}, "source prompt of scale changed"),
        ({"tracked": [" Paris", " Rome"]}, "' Rome' tracked"),
        ({"tracked": []}, "' Paris' no longer tracked"),
        ({"seed": 4}, "seed 0 → 4"),
        ({"temperature": 0.7}, "temperature 0 → 0.7"),
        ({"prompt": "y", "seed": 1}, "prompt changed and seed 0 → 1"),
        ({"prompt": "y", "seed": 1, "acts": []}, "scale removed and 3 more changes"),
    ]
    for changes, words in cases:
        assert label(start, copied(start, **changes), name) == words
    assert matter(start) == matter(copied(start))
