"""Loop: callbacks, timers, running and closing, what comes later."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest

import tinycoro
from both import Lib, same_on_both
from support import PATIENCE, SLACK, assert_success, run_python
from tinycoro import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = tinycoro.new_event_loop()
    yield loop
    loop.close()


@same_on_both
async def test_callbacks_run_in_order_with_their_arguments(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    for arguments in ((), (1,), (1, 2), (1, 2, 3)):
        loop.call_soon(lambda *args: log.append(args), *arguments)
    handle = loop.call_soon(log.append, "cancelled")
    handle.cancel()
    log.append((handle.cancelled(), loop.call_soon(log.append, "last").cancelled()))
    loop.call_soon(loop.call_soon, log.append, "a turn later")
    await lib.sleep(0)
    log.append("one turn")
    await lib.sleep(0)


@same_on_both
async def test_timers_run_when_they_are_due(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    now = loop.time()
    for delay in (0.03, 0.01, 0.02, 0, -5):
        loop.call_later(delay, log.append, delay)
    loop.call_at(now + 0.015, log.append, "at")
    loop.call_later(0.012, log.append, "cancelled").cancel()
    loop.call_soon(log.append, "soon")
    await lib.sleep(0.05)


def test_a_timer_handle_tells_its_time(loop: Loop) -> None:
    handle = loop.call_at(12.5, print)
    assert handle.when() == 12.5
    later = loop.call_later(10, print)
    assert later.when() - loop.time() > 10 - SLACK
    assert "print" in repr(handle)
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    assert repr(handle) == "<TimerHandle cancelled when=12.5>"


def test_time_is_the_monotonic_clock(loop: Loop) -> None:
    before = time.monotonic()
    assert before <= loop.time() <= time.monotonic()


def test_run_until_complete_and_its_errors(loop: Loop) -> None:
    async def value() -> int:
        return 3

    assert loop.run_until_complete(value()) == 3
    future = loop.create_future()
    loop.call_soon(future.set_result, 4)
    assert loop.run_until_complete(future) == 4
    assert loop.run_until_complete(future) == 4
    forever = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        loop.run_until_complete(forever)


def test_stop_before_the_run_runs_what_is_ready(loop: Loop) -> None:
    log: list[object] = []

    def first() -> None:
        log.append("first")
        loop.call_soon(log.append, "second")

    loop.call_soon(first)
    loop.stop()
    loop.run_forever()
    assert log == ["first"]
    loop.stop()
    loop.run_forever()
    assert log == ["first", "second"]


def test_loops_do_not_nest(loop: Loop) -> None:
    other = tinycoro.new_event_loop()

    async def main() -> None:
        assert loop.is_running()
        assert repr(loop) == "<Loop running=True closed=False debug=False>"
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        with pytest.raises(RuntimeError, match="another loop is running"):
            other.run_forever()
        with pytest.raises(RuntimeError, match="Cannot close a running"):
            loop.close()

    loop.run_until_complete(main())
    other.close()

    async def inside_asyncio() -> None:
        with pytest.raises(RuntimeError, match="another loop is running"):
            loop.run_forever()

    asyncio.run(inside_asyncio())


def test_a_closed_loop_refuses_everything(loop: Loop) -> None:
    loop.call_later(100, print)
    loop.call_soon(print)
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert repr(loop) == "<Loop running=False closed=True debug=False>"
    coro = tinycoro.sleep(0)
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.create_task(coro),
        loop.run_forever,
        lambda: loop.run_until_complete(coro),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    coro.close()


def test_an_unclosed_loop_warns() -> None:
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        tinycoro.new_event_loop()


def test_what_is_no_callback_is_refused(loop: Loop) -> None:
    async def body() -> None:
        pass

    coro: Any = body()
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.call_soon(coro)
    with pytest.raises(TypeError, match="callable"):
        loop.call_soon(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), print)
    coro.close()


def test_call_soon_threadsafe_wakes_a_sleeping_loop() -> None:
    async def main() -> float:
        loop = tinycoro.get_running_loop()
        future = loop.create_future()
        thread = threading.Timer(
            0.02, lambda: loop.call_soon_threadsafe(future.set_result, time.monotonic())
        )
        thread.start()
        sent: float = await future
        took = time.monotonic() - sent
        thread.join()
        return took

    assert tinycoro.run(main()) < SLACK


def test_many_threads_reach_the_loop() -> None:
    count, threads = 500, 8

    async def main() -> list[int]:
        loop = tinycoro.get_running_loop()
        done = loop.create_future()
        seen: list[tuple[int, int]] = []

        def arrive(thread: int, number: int) -> None:
            seen.append((thread, number))
            if len(seen) == count * threads:
                done.set_result(None)

        def send(thread: int) -> None:
            for number in range(count):
                loop.call_soon_threadsafe(arrive, thread, number)

        workers = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        await done
        for worker in workers:
            worker.join(PATIENCE)
        for thread in range(threads):
            assert [n for t, n in seen if t == thread] == list(range(count))
        return [len(seen)]

    assert tinycoro.run(main()) == [count * threads]


def test_it_is_asyncios_running_loop_too() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        assert asyncio.get_running_loop() is loop
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert tinycoro.get_event_loop() is loop

    tinycoro.run(main())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    with pytest.raises(RuntimeError):
        tinycoro.get_running_loop()


def test_set_event_loop_is_per_thread(loop: Loop) -> None:
    tinycoro.set_event_loop(loop)
    assert tinycoro.get_event_loop() is loop
    errors = []

    def other() -> None:
        try:
            tinycoro.get_event_loop()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=other, name="other")
    thread.start()
    thread.join()
    assert errors == ["There is no current event loop in thread 'other'."]
    tinycoro.set_event_loop(None)
    with pytest.raises(RuntimeError, match="no current event loop"):
        tinycoro.get_event_loop()


def test_asynchronous_generators_are_closed_at_the_end() -> None:
    closed: list[str] = []

    async def generator(name: str) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await tinycoro.sleep(0)
            closed.append(name)

    async def main() -> None:
        async for _ in (dropped := generator("dropped")):
            break
        del dropped
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        assert closed == ["dropped"]
        kept.append(generator("kept"))
        await anext(kept[0])

    kept: list[Any] = []
    tinycoro.run(main())
    assert closed == ["dropped", "kept"]


def test_an_inherited_loop_refuses_in_the_child_of_a_fork() -> None:
    result = run_python(
        """
        import os, sys, warnings
        import tinycoro
        warnings.simplefilter("ignore", DeprecationWarning)

        async def fresh():
            await tinycoro.sleep(0.001)
            return 5

        async def main():
            loop = tinycoro.get_running_loop()
            task = tinycoro.create_task(tinycoro.sleep(0.01))
            pid = os.fork()
            if pid:
                await task
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            for call in (lambda: loop.call_soon(print), loop.stop, task.cancel,
                         lambda: loop.call_soon_threadsafe(print), loop.close):
                try:
                    call()
                except RuntimeError as error:
                    assert "fork" in str(error), error
                else:
                    os._exit(3)
            try:
                tinycoro.get_running_loop()
            except RuntimeError:
                pass
            else:
                os._exit(4)
            os._exit(0 if tinycoro.run(fresh()) == 5 else 6)

        sys.exit(tinycoro.run(main()))
        """
    )
    assert_success(result)


def test_descriptors_are_given_back() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        loop = tinycoro.new_event_loop()
        loop.run_until_complete(tinycoro.sleep(0))
        loop.close()
    assert set(os.listdir("/proc/self/fd")) == before


# ---- tasks of a closed loop ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(3))
@pytest.mark.filterwarnings("ignore:.* was never awaited:RuntimeWarning")
def test_tasks_die_with_the_loop_they_wait_in(steps: int) -> None:
    """Ready, sleeping, or waiting for what nobody holds: they end as the loop is closed."""
    loop = tinycoro.new_event_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    async def give_way() -> None:
        while True:
            await tinycoro.sleep(0)

    async def wait() -> None:
        await loop.create_future()

    waits: list[Coroutine[Any, Any, None]] = [give_way(), wait(), tinycoro.sleep(3600)]
    tasks = [loop.create_task(it) for it in waits]
    left = [weakref.ref(task) for task in tasks]
    for _ in range(steps):
        loop.call_soon(loop.stop)
        loop.run_forever()
    del tasks, waits
    loop.close()
    gc.collect()
    assert [it() for it in left] == [None] * 3
    assert reports == ["Task was destroyed but it is pending!"] * 3


def test_a_task_that_is_held_outlives_its_loop() -> None:
    loop = tinycoro.new_event_loop()
    future = loop.create_future()

    async def wait(future: tinycoro.Future[None]) -> None:
        await future

    task = loop.create_task(wait(future))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    future.set_result(None)
    assert not task.done()
    assert "wait" in repr(task)
    task._log_destroy_pending = False
    del task, loop, future
    gc.collect()
