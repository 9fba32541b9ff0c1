"""What a page asks is answered, or told in a sentence why not."""

from __future__ import annotations

import pytest

from nbinterp.widgets.asking import answer_page, told


class Page:
    def __init__(self):
        self.sent = []

    def on_msg(self, callback):
        self.hear = callback

    def send(self, content, buffers=None):
        self.sent.append((content, buffers))


@pytest.fixture
def page():
    page = Page()

    def fail():
        raise ValueError("got too little; wanted more.")

    answer_page(
        page,
        {
            "double": lambda x: {"twice": 2 * x},
            "bytes": lambda: ({"n": 1}, [b"\x01"]),
            "none": lambda: None,
            "fail": fail,
        },
    )
    return page


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"what": "double", "x": 4}, ({"problem": "", "twice": 8}, [])),
        ({"what": "bytes"}, ({"problem": "", "n": 1}, [b"\x01"])),
        ({"what": "none"}, ({"problem": ""}, [])),
        ({"what": "fail"}, ({"problem": "got too little; wanted more."}, None)),
        (
            {"what": "triple"},
            ({"problem": "got the question 'triple'; wanted one of double, bytes, none, fail."}, None),
        ),
    ],
)
def test_each_question_gets_its_answer(page, question, answer):
    page.hear(page, {"ask": 7, **question}, [])
    content, buffers = answer
    assert page.sent == [({"reply": 7, **content}, buffers)]


def test_wrong_arguments_are_a_sentence_too(page):
    page.hear(page, {"ask": 1, "what": "double", "y": 1}, [])
    assert page.sent[0][0]["problem"].startswith("TypeError: ")


def test_other_messages_are_left_alone(page):
    page.hear(page, {"event": "click"}, [])
    page.hear(page, None, [])
    assert page.sent == []


def test_what_is_told_of_an_error():
    error = KeyError("got 'x'; wanted 'y'.")
    error.add_note("at layer=3")
    assert told(error) == "got 'x'; wanted 'y'. (at layer=3)"
    assert told(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero"
