import asyncio
import threading

from nbinterp.engine.live import Latest


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


def in_a_loop(scenario):
    async def main():
        return await scenario()

    return asyncio.run(main())


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


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
        assert set(threads) == {threading.main_thread()}

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


def test_an_error_goes_to_whoever_asked_and_leaves_it_usable():
    async def scenario():
        errors, done = [], []

        def broken():
            yield
            raise ValueError("no")

        live = Latest(on_error=errors.append)
        live.ask(broken)
        await until(lambda: errors and live.idle)
        assert str(errors[0]) == "no"
        live.ask(lambda: iter([done.append(1)]))
        await until(lambda: done)

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
