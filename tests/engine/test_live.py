import asyncio
import gc
import threading
import weakref

import pytest

from nbinterp.engine.live import DISPATCHER, MODEL_LOCK, Dispatcher, Latest


def in_a_loop(scenario):
    async def main():
        return await scenario()

    return asyncio.run(main())


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def a_few_turns():
    for _ in range(20):
        await asyncio.sleep(0)


def counting(log, name, steps):
    """Work that notes each of its steps."""

    def work():
        for n in range(steps):
            log.append((name, n))
            yield

    return work


def guarded(log, name):
    """Work without end that notes how it began and ended."""

    def work():
        log.append(f"{name} began")
        try:
            while True:
                yield
        finally:
            log.append(f"{name} closed")

    return work


def test_without_a_loop_work_runs_at_once():
    done = []

    def work():
        done.append(1)
        yield
        done.append(2)

    live = Latest(on_error=done.append)
    live.ask(work)
    assert done == [1, 2]
    assert live.idle


def test_the_newest_request_wins_and_nothing_queues_up():
    async def scenario():
        began, ended = [], []

        def work(n):
            def run():
                began.append(n)
                yield
                yield
                ended.append(n)

            return run

        live = Latest(on_error=ended.append)
        for n in range(50):
            live.ask(work(n))
        await until(lambda: began)
        live.ask(work(50))
        live.ask(work(51))
        await until(lambda: live.idle)
        assert began == [49, 51], "requests that were overtaken never began"
        assert ended == [51], "work that was overtaken was dropped"

    in_a_loop(scenario)


def test_work_asked_for_on_other_threads_runs_on_the_main_one():
    async def scenario():
        threads = []

        def work():
            threads.append(threading.current_thread())
            yield
            threads.append(threading.current_thread())

        live = Latest(on_error=threads.append)
        askers = [threading.Thread(target=live.ask, args=(work,)) for _ in range(8)]
        for asker in askers:
            asker.start()
        await until(lambda: len(threads) >= 2 and live.idle)
        for asker in askers:
            asker.join()
        await until(lambda: live.idle)
        assert set(threads) == {threading.main_thread()}

    in_a_loop(scenario)


def test_two_threads_with_a_channel_each_never_run_at_once_and_both_get_their_newest():
    async def scenario():
        inside, overlaps, last = [0], [], {}
        channels = [Latest(on_error=overlaps.append) for _ in range(2)]

        def work(channel, n):
            def run():
                for _ in range(3):
                    inside[0] += 1
                    overlaps.extend([inside[0]] * (inside[0] > 1))
                    inside[0] -= 1
                    yield
                last[channel] = n

            return run

        def ask(channel):
            for n in range(200):
                channels[channel].ask(work(channel, n))

        threads = [threading.Thread(target=ask, args=(channel,)) for channel in range(2)]
        for thread in threads:
            thread.start()
        await until(lambda: not any(thread.is_alive() for thread in threads) and all(c.idle for c in channels))
        assert overlaps == []
        assert last == {0: 199, 1: 199}

    in_a_loop(scenario)


def test_a_channel_that_another_thread_makes_still_works_on_the_main_one():
    async def scenario():
        seen, made = [], []
        Latest(on_error=seen.append)

        def elsewhere():
            made.append(Latest(on_error=seen.append))
            made[0].ask(lambda: iter([seen.append(threading.current_thread())]))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await until(lambda: seen and made and made[0].idle)
        thread.join()
        assert seen == [threading.main_thread()]

    in_a_loop(scenario)


def test_the_loop_of_another_thread_gets_no_work():
    seen = []

    async def scenario():
        live = Latest(on_error=seen.append, dispatcher=dispatcher)
        live.ask(lambda: iter([seen.append(live)]))
        # at once: had the loop taken it, it would come only after this coroutine gave way
        assert seen == [live]

    dispatcher = Dispatcher()
    thread = threading.Thread(target=in_a_loop, args=(scenario,))
    thread.start()
    thread.join()
    assert len(seen) == 1


def test_channels_take_turns_of_one_step():
    async def scenario():
        log = []
        channels = {name: Latest(on_error=log.append) for name in "abc"}
        for name, live in channels.items():
            live.ask(counting(log, name, 3))
        await until(lambda: all(live.idle for live in channels.values()))
        assert log == [(name, n) for n in range(3) for name in "abc"]

    in_a_loop(scenario)


def test_one_that_asks_again_and_again_holds_nobody_up():
    async def scenario():
        log = []
        restless, patient = Latest(on_error=log.append), Latest(on_error=log.append)

        def again():
            log.append("restless")
            restless.ask(again)
            yield

        restless.ask(again)
        patient.ask(counting(log, "patient", 3))
        await until(lambda: patient.idle)
        restless.cancel()
        await until(lambda: restless.idle)
        first = log.index(("patient", 2))
        assert log[: first + 1].count("restless") <= 4

    in_a_loop(scenario)


def test_other_work_of_the_loop_comes_between_the_pieces():
    async def scenario():
        order = []

        def work():
            for n in range(3):
                order.append(n)
                yield

        live = Latest(on_error=order.append)
        live.ask(work)
        await until(lambda: 0 in order)
        order.append("other")
        await until(lambda: live.idle)
        assert order == [0, "other", 1, 2]

    in_a_loop(scenario)


def test_an_error_goes_to_whoever_asked_and_leaves_all_usable():
    async def scenario():
        errors, others, done = [], [], []

        def broken():
            yield
            raise ValueError("no")

        live, other = Latest(on_error=errors.append), Latest(on_error=others.append)
        live.ask(broken)
        other.ask(counting(done, "other", 5))
        await until(lambda: errors and live.idle and other.idle)
        assert [str(error) for error in errors] == ["no"]
        assert others == []
        assert len(done) == 5
        live.ask(lambda: iter([done.append(1)]))
        await until(lambda: done[-1] == 1)

    in_a_loop(scenario)


def test_an_error_in_telling_an_error_stops_nothing():
    async def scenario():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        done = []

        def broken():
            raise ValueError("no")
            yield

        def refuse(error):
            raise RuntimeError("nobody listens")

        live, other = Latest(on_error=refuse), Latest(on_error=done.append)
        live.ask(broken)
        other.ask(counting(done, "other", 2))
        await until(lambda: other.idle and live.idle)
        assert [str(error) for error in told] == ["nobody listens"]
        assert len(done) == 2
        live.ask(counting(done, "live", 1))
        await until(lambda: done[-1] == ("live", 0))

    in_a_loop(scenario)


def test_work_that_is_overtaken_is_closed_before_the_newer_begins():
    async def scenario():
        log = []
        live = Latest(on_error=log.append)
        live.ask(guarded(log, "old"))
        await until(lambda: log)
        live.ask(lambda: iter([log.append("new")]))
        await until(lambda: live.idle)
        assert log == ["old began", "old closed", "new"]

    in_a_loop(scenario)


def test_an_error_in_closing_does_not_lose_the_newer_work():
    async def scenario():
        log = []

        def stubborn():
            try:
                log.append("began")
                yield
            finally:
                raise ValueError("will not go")

        live = Latest(on_error=log.append)
        live.ask(stubborn)
        assert live.step()
        live.ask(lambda: iter([log.append("new")]))
        await until(lambda: live.idle)
        assert [str(entry) for entry in log] == ["began", "will not go", "new"]

    in_a_loop(scenario)


def test_cancel_drops_what_waits_and_closes_what_runs():
    async def scenario():
        log = []
        live = Latest(on_error=log.append)
        live.cancel()
        assert live.idle, "nothing to cancel is no work"
        live.ask(guarded(log, "work"))
        live.cancel()
        await until(lambda: live.idle)
        assert log == [], "what only waited never began"
        live.ask(guarded(log, "work"))
        await until(lambda: log)
        canceller = threading.Thread(target=live.cancel)
        canceller.start()
        await until(lambda: not canceller.is_alive() and live.idle)
        assert log == ["work began", "work closed"]
        live.ask(counting(log, "next", 1))
        await until(lambda: live.idle)
        assert log[-1] == ("next", 0)

    in_a_loop(scenario)


def test_work_may_cancel_itself():
    log = []

    def work():
        try:
            live.cancel()
            log.append("to the next step")
            yield
            log.append("no further")
        finally:
            log.append("closed")

    async def scenario():
        live.ask(work)
        await until(lambda: live.idle)

    live = Latest(on_error=log.append)
    live.ask(work)
    assert log == ["to the next step", "closed"]
    log.clear()
    in_a_loop(scenario)
    assert log == ["to the next step", "closed"]


def test_an_interrupt_on_the_loop_drops_the_work_and_nothing_else():
    async def scenario():
        log = []

        def interrupted():
            try:
                yield
                raise KeyboardInterrupt
            finally:
                log.append("closed")

        live, other = Latest(on_error=log.append), Latest(on_error=log.append)
        live.ask(interrupted)
        other.ask(counting(log, "other", 3))
        await until(lambda: live.idle and other.idle)
        assert log.count("closed") == 1
        assert [entry for entry in log if entry != "closed"] == [("other", n) for n in range(3)]
        live.ask(counting(log, "next", 1))
        await until(lambda: live.idle)
        assert log[-1] == ("next", 0)

    in_a_loop(scenario)


def test_what_was_asked_for_during_an_interrupted_step_still_runs():
    async def scenario():
        log = []

        def interrupted():
            live.ask(counting(log, "next", 2))
            raise KeyboardInterrupt
            yield

        live = Latest(on_error=log.append)
        live.ask(interrupted)
        await until(lambda: live.idle)
        assert log == [("next", 0), ("next", 1)]

    in_a_loop(scenario)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_reaches_whoever_waits_and_leaves_the_channel_usable(interrupt):
    log = []

    def interrupted():
        yield
        raise interrupt

    live = Latest(on_error=log.append)
    with pytest.raises(interrupt):
        live.ask(interrupted)
    assert live.idle
    live.ask(counting(log, "next", 1))
    assert log == [("next", 0)]

    async def scenario():
        live.ask(interrupted)
        with pytest.raises(interrupt):
            live.finish()
        assert live.idle
        live.ask(counting(log, "last", 1))
        await until(lambda: live.idle)
        assert log[-1] == ("last", 0)

    in_a_loop(scenario)


def test_finish_runs_what_is_left_now():
    async def scenario():
        done = []

        def work():
            yield
            done.append(1)

        live = Latest(on_error=done.append)
        live.ask(work)
        live.finish()
        assert done == [1]
        assert live.idle
        await asyncio.sleep(0)
        live.ask(work)
        await until(lambda: done == [1, 1])

    in_a_loop(scenario)


def test_finish_inside_the_work_itself_does_nothing():
    errors, done = [], []

    def work():
        live.finish()
        yield
        done.append(1)

    live = Latest(on_error=errors.append)
    live.ask(work)
    assert (errors, done) == ([], [1])


def test_two_threads_may_ask_where_no_loop_runs():
    done, errors = [], []
    live = Latest(on_error=errors.append, dispatcher=Dispatcher())

    def ask(n):
        for _ in range(200):
            live.ask(lambda: iter([done.append(n)]))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert live.idle
    assert set(done) == {0, 1}


def test_a_channel_that_nobody_holds_is_dropped_and_its_work_closed():
    async def scenario():
        log = []
        live, other = Latest(on_error=log.append), Latest(on_error=log.append)
        live.ask(guarded(log, "forgotten"))
        other.ask(guarded(log, "other"))
        await until(lambda: len(log) == 2)
        gone = weakref.ref(live)
        del live
        gc.collect()
        await a_few_turns()
        assert gone() is None
        assert log == ["forgotten began", "other began", "forgotten closed"]
        assert not other.idle
        other.cancel()
        await until(lambda: other.idle)

    in_a_loop(scenario)


class Widget:
    """What holds a channel and is held by its own work, as widgets are."""

    def __init__(self, log):
        self.log = log
        self.live = Latest(on_error=self.report)
        self.live.ask(self.work)

    def report(self, error):
        self.log.append(error)

    def work(self):
        try:
            while True:
                self.log.append("step")
                yield
        finally:
            self.log.append("closed")


@pytest.mark.parametrize("begun", [False, True])
def test_a_widget_is_not_kept_by_its_own_work(begun):
    async def scenario():
        log = []
        widget = Widget(log)
        if begun:
            await until(lambda: log)
        gone = weakref.ref(widget)
        del widget
        gc.collect()
        assert gone() is None
        steps = len(log)
        await a_few_turns()
        assert len(log) == steps
        assert log == [] or log[-1] == "closed"

    in_a_loop(scenario)


def test_a_channel_outlives_its_loops():
    done = []
    live = Latest(on_error=done.append)

    async def scenario():
        live.ask(counting(done, "looped", 2))
        assert len(done) == before, "not at once"
        await until(lambda: live.idle)

    for _ in range(2):
        before = len(done)
        in_a_loop(scenario)
        assert done[before:] == [("looped", 0), ("looped", 1)]
        live.ask(counting(done, "alone", 1))
        assert done[-1] == ("alone", 0)


def test_work_that_a_dying_loop_left_behind_is_taken_up_by_the_next():
    done = []
    live = Latest(on_error=done.append)

    async def ended_before_its_turn():
        live.ask(counting(done, "left", 1))
        asyncio.get_running_loop().stop()

    async def scenario():
        Latest(on_error=done.append)
        await until(lambda: live.idle)

    loop = asyncio.new_event_loop()
    task = loop.create_task(ended_before_its_turn())
    loop.run_forever()
    loop.close()
    assert task.done()
    assert not live.idle
    in_a_loop(scenario)
    assert done == [("left", 0)]


def test_all_channels_of_a_process_share_one_dispatcher_and_one_may_have_its_own():
    async def scenario():
        log = []
        apart = Latest(on_error=log.append, dispatcher=Dispatcher())
        together = Latest(on_error=log.append, dispatcher=DISPATCHER)
        apart.ask(counting(log, "apart", 2))
        together.ask(counting(log, "together", 2))
        await until(lambda: apart.idle and together.idle)
        assert len(log) == 4

    in_a_loop(scenario)


def test_the_lock_of_models_is_one_for_all_threads_and_may_be_taken_again():
    inside, most = [0], [0]

    def trace():
        for _ in range(200):
            with MODEL_LOCK, MODEL_LOCK:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=trace) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
