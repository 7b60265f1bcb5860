"""Loops in parallel: nothing is shared that is not safe."""

from __future__ import annotations

import gc
import random
import sys
import sysconfig
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

import tinycoro
from support import PATIENCE, assert_success, run_python
from tinycoro import Loop, from_thread
from tinycoro.threads import submit

_THREADS = 4


def _in_threads(target: Callable[[int], None], count: int = _THREADS) -> None:
    """Run target(0), target(1), … at once; raise what one of them raises."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait(PATIENCE)
            target(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_the_import_leaves_the_gil_off() -> None:
    result = run_python(
        """
        import sys, tinycoro
        print(tinycoro._core._build["free_threaded"], getattr(sys, "_is_gil_enabled", bool)())
        """
    )
    assert_success(result)
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    has_gil = not free_threaded and sys.version_info >= (3, 13)
    assert result.stdout.split() == [str(free_threaded), str(has_gil)]


@pytest.mark.parametrize("thing", [tinycoro.Task, tinycoro.Future, tinycoro.sleep])
def test_what_every_thread_uses_is_not_counted(thing: object) -> None:
    before = sys.getrefcount(thing)
    more = [thing] * 1000
    counted = sys.getrefcount(thing) - before
    assert counted == (0 if sysconfig.get_config_var("Py_GIL_DISABLED") else len(more))


async def _numbers() -> AsyncGenerator[int, None]:
    for number in range(3):
        yield number
        await tinycoro.sleep(0)


async def _busy(depth: int) -> int:
    """Something of everything."""
    loop = tinycoro.get_running_loop()
    own: list[Any] = []
    own.append(own)
    future = loop.create_future()
    loop.call_soon(future.set_result, 1)
    loop.call_later(0, int).cancel()
    agen = _numbers()
    await anext(agen)
    if depth:
        parts = await tinycoro.gather(_busy(depth - 1), _busy(depth - 1))
    else:
        parts = [0]
        await tinycoro.sleep(0.0001)
    task = tinycoro.create_task(tinycoro.sleep(PATIENCE))
    await tinycoro.sleep(0)
    task.cancel()
    value: int = await future
    return sum(parts) + value


def test_loops_in_parallel() -> None:
    results: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            results.append(tinycoro.run(_busy(3)))

    _in_threads(work)
    assert results == [15] * 5 * _THREADS


def test_loops_in_parallel_in_debug_mode() -> None:
    results: list[int] = []
    _in_threads(lambda number: results.append(tinycoro.run(_busy(3), debug=number % 2 == 0)))
    assert results == [15] * _THREADS


def test_objects_made_in_one_thread_and_dropped_in_another() -> None:
    bins: list[list[Any]] = [[] for _ in range(_THREADS)]

    async def make(number: int) -> None:
        loop = tinycoro.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        for n in range(200):
            there = bins[(number + n) % _THREADS]
            future = loop.create_future()
            future.set_exception(KeyError(n))
            agen = _numbers()
            await anext(agen)
            there.append([future, agen, loop.call_later(PATIENCE, int), loop.create_future()])
            there.append(tinycoro.create_task(tinycoro.sleep(0)))
            there.append(tinycoro.sleep(0) if n % 2 else loop)
            if n % 8 == 0:
                bins[number].clear()
                await tinycoro.sleep(0)
        for thing in bins[number]:
            if hasattr(thing, "close") and not isinstance(thing, Loop):
                thing.close()
        await tinycoro.sleep(0.001)

    def make_and_drop() -> None:
        _in_threads(lambda number: tinycoro.run(make(number)))
        bins.clear()
        gc.collect()

    with pytest.warns(RuntimeWarning, match="never awaited"):
        make_and_drop()


def test_loops_that_post_to_each_other_while_they_end() -> None:
    loops = [tinycoro.new_event_loop() for _ in range(_THREADS)]
    counts = [0] * _THREADS

    def count(number: int) -> None:
        counts[number] += 1

    async def talk(number: int) -> None:
        for n in range(300):
            there = random.Random(n).randrange(_THREADS)
            try:
                loops[there].call_soon_threadsafe(count, there)
                future = submit(loops[there], lambda: tinycoro.sleep(0), tells_loop=False)
            except RuntimeError:  # it has ended
                continue
            if n % 7 == 0:
                future.cancel()
            await tinycoro.sleep(0)

    def work(number: int) -> None:
        loop = loops[number]
        try:
            loop.run_until_complete(talk(number))
        finally:
            # What came in the last turn has a task, and no step: it would rightly be warned about.
            for task in tinycoro.all_tasks(loop):
                task._log_destroy_pending = False
                coro = task.get_coro()
                assert coro is not None
                coro.close()
            loop.close()

    _in_threads(work)
    assert all(counts)


def test_looking_from_other_threads() -> None:
    stop = threading.Event()
    seen: set[str] = set()

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        tasks = [tinycoro.create_task(_busy(1), name=f"n{n}") for n in range(10)]

        def look() -> None:
            while not stop.is_set():
                for task in tasks:
                    seen.add(repr(task).split(" at ")[0])
                    assert task.get_loop() is loop
                    assert task.get_coro() is not None
                    assert task.get_context() is not None
                assert loop.is_running()
                assert not loop.is_closed()
                assert "running=True" in repr(loop)

        def refused() -> None:
            while not stop.is_set():
                for call in (tasks[0].cancel, tasks[1].done, tasks[2].get_name, loop.stop):
                    with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                        call()

        looking = [loop.run_in_executor(None, function) for function in (look, look, refused)]
        for _ in range(20):
            await _busy(2)
        await tinycoro.gather(*tasks)
        stop.set()
        await tinycoro.gather(*looking)

    try:
        tinycoro.run(main())
    finally:
        stop.set()
    assert seen == {"<Task"}


def test_threads_that_ask_one_loop() -> None:
    loop = tinycoro.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:

        async def add(a: int, b: int) -> int:
            await tinycoro.sleep(0)
            return a + b

        def ask(number: int) -> None:
            for n in range(50):
                assert from_thread.run(add, number, n, loop=loop) == number + n

        _in_threads(ask)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_subclass_used_by_several_loops() -> None:
    class MyTask(tinycoro.Task[int]):
        def __init__(self, coro: Coroutine[Any, Any, int]) -> None:
            super().__init__(coro)
            self.mine = 1

    class MyFuture(tinycoro.Future[int]):
        pass

    async def main() -> int:
        total = 0
        for n in range(100):
            future = MyFuture()
            tinycoro.get_running_loop().call_soon(future.set_result, n)
            task = MyTask(_value(n))
            total += await task + task.mine + await future
        return total

    async def _value(value: int) -> int:
        return value

    results: list[int] = []
    _in_threads(lambda number: results.append(tinycoro.run(main())))
    assert results == [10000] * _THREADS
