import threading

import pytest

from nbinterp.widgets.atlas.background import Background, Backgrounds, Stopped, awaited, begun


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


def test_what_was_begun_goes_on_when_nobody_waits_any_more_and_is_there_for_the_next():
    going_on, begun_once = threading.Event(), []

    def slow():
        begun_once.append(1)
        assert going_on.wait(10)
        return "done"

    def impatient(done=0, total=0):
        raise Stopped

    future = begun(slow)
    with pytest.raises(Stopped):
        awaited(future, impatient)
    going_on.set()
    assert awaited(future, lambda done=0, total=0: None) == "done"
    assert begun_once == [1]

    def failing():
        raise ValueError("got this; wanted that.")

    with pytest.raises(ValueError, match=r"^got this; wanted that\.$"):
        awaited(begun(failing), lambda done=0, total=0: None)


def test_of_several_pieces_of_work_the_page_shows_the_one_that_began_last():
    shown = []
    work = Backgrounds(["one", "two"], print, shown.append)
    task = {"name": "", "done": 0, "total": 0, "stoppable": True}
    first, second = task | {"name": "first"}, task | {"name": "second"}
    work.announce("one", first)
    work.announce("elsewhere", second)
    work.announce("one", first | {"done": 1})
    work.announce("elsewhere", None)
    work.announce("one", None)
    assert shown == [first, second, second, first | {"done": 1}, None]
    assert work["one"] is not work["two"]
