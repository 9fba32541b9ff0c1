"""What a page may say, and what is said to what it may not."""

from __future__ import annotations

import json
import re

import pytest

from nbinterp.widgets.playground.setting import checked, copied, initial, matter, prompt_of, with_value, written
from nbinterp.widgets.protocol import Act


def act(**changes):
    fields = {"id": "a", "recipe": "scale", "on": True, "component": "resid_post", "layer": 1, "head": -1}
    more = {"tokens": "last", "steps": "none", "values": {"factor": 2.0}, "texts": {}}
    return Act(**{**fields, **more, **changes})


def with_act(**changes):
    return copied(initial("x"), acts=[act(**changes)])


def test_a_good_setting_is_what_it_was():
    setting = copied(initial("x", seed=3), acts=[act(texts={"source prompt": "é"})], tracked=[" Paris"])
    assert checked(setting) == setting
    assert checked(json.loads(json.dumps(setting))) == setting


def test_whole_numbers_of_javascript_are_whole_numbers():
    setting = checked({**with_act(layer=1.0, values={"factor": 2}), "moment": 3.0})
    assert (type(setting["moment"]), type(setting["acts"][0]["layer"])) == (int, int)
    assert type(setting["acts"][0]["values"]["factor"]) is float


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (None, "got nothing for setting; wanted its fields by name."),
        ([], "got [] for setting; wanted its fields by name."),
        ({"prompt": "x"}, "got setting without moment, gesture, chat, acts, tracked, hand, "),
        ({**initial(), "prompt": 3}, "got 3 for setting.prompt; wanted text."),
        ({**initial(), "moment": 1.5}, "got 1.5 for setting.moment; wanted a whole number."),
        ({**initial(), "moment": True}, "got True for setting.moment; wanted a whole number."),
        ({**initial(), "acts": {}}, "got {} for setting.acts; wanted a list."),
        ({**initial(), "chat": [{"role": "user"}]}, "got setting.chat[0] without content; wanted all fields of Turn."),
        ({**initial(), "seed": -1}, "got -1 as the seed; wanted 0 to 9,007,199,254,740,992."),
        ({**initial(), "temperature": float("nan")}, "got nan for setting.temperature; wanted a finite number"),
        ({**initial(), "max_new_tokens": 10**6}, "got 1,000,000 max_new_tokens; wanted 1 to 2,000."),
        ({**initial(), "tracked": ["x"] * 33}, "got 33 tracked tokens; wanted 0 to 32."),
        ({**initial(), "prompt": "x" * 300_000}, "got 300,000 characters for setting.prompt; wanted at most 200,000."),
        (with_act(values={"factor": None}), "got nothing for setting.acts[0].values.factor; wanted a number."),
        (with_act(values={"factor": 1e300}), "got 1e+300 for setting.acts[0].values.factor; wanted a finite number"),
        (with_act(values=[1]), "got [1] for setting.acts[0].values; wanted its fields by name."),
        (with_act(on=1), "got 1 for setting.acts[0].on; wanted true or false."),
        ({**initial(), "acts": [act(), act()]}, "got a setting with two acts of the same id; wanted each once."),
        ({**initial(), "acts": [act(id=str(i)) for i in range(65)]}, "got 65 acts; wanted 0 to 64."),
    ],
)
def test_anything_else_gets_a_sentence(sent, sentence):
    with pytest.raises((TypeError, ValueError), match="^" + re.escape(sentence)):
        checked(sent)


def test_half_a_character_becomes_a_whole_one():
    assert checked({**initial(), "prompt": "a\ud800b"})["prompt"] == "a?b"


def test_a_copy_shares_nothing():
    setting = with_act()
    copy = copied(setting)
    copy["acts"][0]["values"]["factor"] = 9.0
    assert setting["acts"][0]["values"]["factor"] == 2.0


def test_a_value_is_set_on_a_copy_which_is_on():
    setting = with_act(on=False)
    moved = with_value(setting, "a", "factor", 7.0)
    assert (moved["acts"][0]["values"], moved["acts"][0]["on"]) == ({"factor": 7.0}, True)
    assert setting == with_act(on=False)


def test_counters_and_the_hand_do_not_matter():
    assert matter(copied(initial("x"), moment=3, gesture=2, hand="a", parameter="b")) == matter(initial("x"))
    assert matter(initial("x")) != matter(initial("y"))


def test_a_chat_is_a_chat_again():
    import nbinterp as nb

    chat = nb.Chat([("user", "hello"), ("assistant", "")])
    assert prompt_of(initial(*written(chat))) == chat
    assert prompt_of(initial(*written("hello"))) == "hello"
