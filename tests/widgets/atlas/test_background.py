import threading

import pytest

from nbinterp.widgets.atlas.background import Background


@pytest.fixture
def lane():
    errors, tasks = [], []
    made = Background(errors.append, tasks.append)
    made.errors, made.tasks = errors, tasks
    yield made
    made.stop()
    made.wait()


def test_newer_work_takes_the_place_of_older(lane):
    begun, done = threading.Event(), []

    def long(progress):
        begun.set()
        while True:
            progress()

    lane.ask("long", long)
    assert begun.wait(10)
    lane.ask("never", lambda progress: done.append("never"))
    lane.ask("newest", lambda progress: done.append("newest"))
    lane.wait()
    assert done[-1] == "newest"
    assert lane.idle


def test_queued_work_waits_its_turn(lane):
    done = []
    for i in range(5):
        lane.ask("one", lambda progress, i=i: done.append(i), queue=True)
    lane.wait()
    assert done == [0, 1, 2, 3, 4]


def test_work_that_stops_shows_nothing_more_and_is_no_error(lane):
    begun = threading.Event()

    def long(progress):
        begun.set()
        while True:
            progress(1, 2)

    lane.ask("long", long)
    assert begun.wait(10)
    lane.stop()
    lane.wait()
    assert lane.errors == []
    assert lane.tasks == [] or lane.tasks[-1] is None


def test_long_work_shows_how_far_it_is(lane, monkeypatch):
    monkeypatch.setattr("nbinterp.widgets.atlas.background._SHOWN_AFTER", 0.0)
    lane.ask("counting", lambda progress: [progress(i, 3) for i in range(3)])
    lane.wait()
    assert [task and (task["name"], task["done"], task["total"]) for task in lane.tasks] == [
        ("counting", 0, 3),
        ("counting", 1, 3),
        ("counting", 2, 3),
        None,
    ]


def test_an_error_is_told_and_the_next_work_runs(lane):
    done = []
    lane.ask("bad", lambda progress: 1 / 0, queue=True)
    lane.ask("good", lambda progress: done.append(1), queue=True)
    lane.wait()
    assert [type(error) for error in lane.errors] == [ZeroDivisionError]
    assert done == [1]
