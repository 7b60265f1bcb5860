"""Coroutines in loops for threads: run_coroutine_threadsafe, from_thread.run, many loops."""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tinycoro
from both import Lib, run_both
from support import PATIENCE, assert_success, run_python
from tinycoro import CancelledError, Loop, from_thread

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def _echo(value: object) -> object:
    await tinycoro.sleep(0)
    return value


async def _fail(error: BaseException) -> None:
    await tinycoro.sleep(0)
    raise error


@contextmanager
def _loop_thread() -> Iterator[Loop]:
    """A loop that runs in a thread of its own."""
    loop = tinycoro.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        loop.close()


# ---- run_coroutine_threadsafe --------------------------------------------------------------------


def test_run_coroutine_threadsafe_is_asyncios() -> None:
    def scenario(lib: Lib) -> Coroutine[Any, Any, list[object]]:
        async def sleep(log: list[object], begun: threading.Event) -> None:
            begun.set()
            try:
                await lib.sleep(PATIENCE)
            except BaseException as error:
                log.append(type(error).__name__)
                raise

        async def give(value: object) -> object:
            await lib.sleep(0)
            if isinstance(value, BaseException):
                raise value
            return value

        async def main() -> list[object]:
            log: list[object] = []
            loop = lib.get_running_loop()

            def thread() -> None:
                log.append(lib.run_coroutine_threadsafe(give(1), loop).result(PATIENCE))
                future = lib.run_coroutine_threadsafe(give(KeyError("k")), loop)
                log.append(repr(future.exception(PATIENCE)))
                begun = threading.Event()
                future = lib.run_coroutine_threadsafe(sleep(log, begun), loop)
                begun.wait(PATIENCE)
                try:
                    future.result(0.005)
                except TimeoutError:
                    log.append((future.cancel(), future.cancelled()))

            await lib.to_thread(thread)
            for _ in range(5):
                await lib.sleep(0)
            log.sort(key=repr)  # the thread and the task write at the same time
            # The other way round: the task is cancelled.
            future = lib.run_coroutine_threadsafe(sleep(log, threading.Event()), loop)
            for _ in range(3):
                await lib.sleep(0)
            (task,) = lib.all_tasks() - {lib.current_task()}
            task.cancel()
            for _ in range(3):
                await lib.sleep(0)
            log.append((future.cancelled(), task.cancelled()))
            return log

        return main()

    assert len(run_both(scenario)) > 5


def test_a_cancel_before_the_task_starts() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        future = tinycoro.run_coroutine_threadsafe(tinycoro.sleep(PATIENCE), loop)
        assert future.cancel()
        for _ in range(4):
            await tinycoro.sleep(0)
        assert tinycoro.all_tasks() == {tinycoro.current_task()}

    tinycoro.run(main())


def test_a_closed_loop_refuses_and_a_closing_one_cancels() -> None:
    loop = tinycoro.new_event_loop()
    coro = _echo(1)
    posted = tinycoro.run_coroutine_threadsafe(coro, loop)
    loop.close()
    assert posted.cancelled()
    coro.close()
    with pytest.raises(RuntimeError, match="closed"):
        tinycoro.run_coroutine_threadsafe(coro, loop)


def test_a_task_left_in_a_closed_loop_cancels_its_future() -> None:
    loop = tinycoro.new_event_loop()
    future = tinycoro.run_coroutine_threadsafe(tinycoro.sleep(PATIENCE), loop)
    loop.run_until_complete(tinycoro.sleep(0.001))
    (task,) = tinycoro.all_tasks(loop)
    task._log_destroy_pending = False
    loop.close()
    done, _ = concurrent.futures.wait([future], PATIENCE)
    assert done == {future}
    assert future.cancelled()


def test_a_cancel_on_the_loops_own_thread_takes_effect_at_once() -> None:
    tasks: list[tinycoro.Task[Any]] = []

    def factory(loop: tinycoro.Loop, coro: Coroutine[Any, Any, Any]) -> tinycoro.Task[Any]:
        tasks.append(tinycoro.Task(coro, loop=loop))
        return tasks[-1]

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        loop.set_task_factory(factory)
        future = tinycoro.run_coroutine_threadsafe(tinycoro.sleep(PATIENCE), loop)
        await tinycoro.sleep(0)
        future.cancel()

    loop = tinycoro.new_event_loop()
    loop.run_until_complete(main())  # no turn of the loop comes after that of main()'s end
    assert [task.cancelled() for task in tasks] == [True]
    loop.close()


# ---- from_thread.run -----------------------------------------------------------------------------


def test_a_function_of_to_thread_asks_its_loop() -> None:
    def work() -> list[object]:
        _variable.set("worker")
        seen = [from_thread.run(_echo, n) for n in range(3)]
        with pytest.raises(KeyError):
            from_thread.run(_fail, KeyError("k"))
        with pytest.raises(CancelledError):
            from_thread.run(_fail, CancelledError())
        with pytest.raises(TypeError):
            from_thread.run(_echo)  # type: ignore[arg-type]

        async def where() -> tuple[object, str]:
            return tinycoro.get_running_loop(), _variable.get()

        return [*seen, *from_thread.run(where)]

    async def main() -> list[object]:
        result = await tinycoro.to_thread(work)
        assert result[3] is tinycoro.get_running_loop()
        assert _variable.get() == "unset"
        return result

    result = tinycoro.run(main())
    assert result[:3] == [0, 1, 2]
    assert result[4] == "worker"


def test_a_plain_thread_names_the_loop() -> None:
    with pytest.raises(RuntimeError, match="needs loop="):
        from_thread.run(_echo, 1)
    with _loop_thread() as loop:
        assert from_thread.run(_echo, 7, loop=loop) == 7
    with pytest.raises(RuntimeError, match="closed"):
        from_thread.run(_echo, 7, loop=loop)


def test_a_thread_that_runs_a_loop_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="blocks"):
            from_thread.run(_echo, 1, loop=tinycoro.get_running_loop())

    tinycoro.run(main())


def test_a_nested_call_goes_to_the_loop_and_back() -> None:
    def inner(depth: int) -> int:
        return from_thread.run(outer, depth - 1) + 1 if depth else 0

    async def outer(depth: int) -> int:
        return await tinycoro.to_thread(inner, depth)

    assert tinycoro.run(outer(4)) == 4


def _end_by_close(loop: Loop) -> None:
    loop.call_soon_threadsafe(loop.stop)


def _end_by_cancel(loop: Loop) -> None:
    def cancel() -> None:
        for task in tinycoro.all_tasks(loop):
            task.cancel()
        loop.call_soon(loop.call_soon, loop.call_soon, loop.stop)

    loop.call_soon_threadsafe(cancel)


@pytest.mark.parametrize("end", [_end_by_close, _end_by_cancel])
def test_a_wait_ends_with_the_loop(end: Callable[[Loop], None]) -> None:
    loop = tinycoro.new_event_loop()
    started = threading.Event()
    caught: list[type[BaseException]] = []

    async def wait() -> None:
        started.set()
        await tinycoro.sleep(PATIENCE)

    def ask() -> None:
        try:
            from_thread.run(wait, loop=loop)
        except BaseException as error:
            caught.append(type(error))

    def run() -> None:
        loop.run_forever()
        for task in tinycoro.all_tasks(loop):
            task._log_destroy_pending = False
        loop.close()

    threads = [threading.Thread(target=ask), threading.Thread(target=run)]
    for thread in threads:
        thread.start()
    assert started.wait(PATIENCE)
    end(loop)
    for thread in threads:
        thread.join(PATIENCE)
    assert caught == [CancelledError]


def test_calls_race_with_the_end_of_the_loop() -> None:
    for _ in range(30):
        loop = tinycoro.new_event_loop()
        ready = threading.Event()
        outcomes: list[object] = []

        def ask(
            loop: Loop = loop, ready: threading.Event = ready, outcomes: list[object] = outcomes
        ) -> None:
            ready.set()
            while not outcomes:
                try:
                    from_thread.run(_echo, 1, loop=loop)
                except (CancelledError, RuntimeError) as error:
                    outcomes.append(error)

        asker = threading.Thread(target=ask)
        asker.start()
        assert ready.wait(PATIENCE)
        loop.run_until_complete(tinycoro.sleep(0.0003))
        for task in tinycoro.all_tasks(loop):
            task._log_destroy_pending = False
        loop.close()
        asker.join(PATIENCE)
        assert not asker.is_alive()
        assert len(outcomes) == 1
    gc.collect()


def test_an_interrupted_wait_cancels_the_task() -> None:
    result = run_python(
        """
        import os, signal, threading
        import tinycoro
        from tinycoro import from_thread

        ended = threading.Event()

        async def wait():
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await tinycoro.sleep(60)
            finally:
                ended.set()

        loop = tinycoro.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            from_thread.run(wait, loop=loop)
        except KeyboardInterrupt:
            print("interrupted", ended.wait(10))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        """
    )
    assert_success(result)
    assert result.stdout.split() == ["interrupted", "True"]


# ---- several loops -------------------------------------------------------------------------------


def test_loops_in_several_threads_call_each_other() -> None:
    with _loop_thread() as first, _loop_thread() as second:

        async def bounce(count: int, here: Loop, there: Loop) -> int:
            assert tinycoro.get_running_loop() is here
            if count == 0:
                return 0
            future = tinycoro.run_coroutine_threadsafe(bounce(count - 1, there, here), there)
            return await tinycoro.wrap_future(future) + 1

        rounds = [
            tinycoro.run_coroutine_threadsafe(bounce(20, first, second), first) for _ in range(20)
        ]
        assert [future.result(PATIENCE) for future in rounds] == [20] * 20


def test_posts_from_many_threads_arrive_in_order() -> None:
    with _loop_thread() as loop:
        seen: list[tuple[int, int]] = []

        def post(thread: int) -> None:
            for number in range(500):
                loop.call_soon_threadsafe(seen.append, (thread, number))

        threads = [threading.Thread(target=post, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        from_thread.run(_echo, None, loop=loop)
    assert len(seen) == 2000
    for number in range(4):
        assert [n for t, n in seen if t == number] == list(range(500))
