"""Functions in threads: to_thread, run_in_executor, the default executor and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

import tinycoro
from both import Lib, run_both, same_on_both
from support import PATIENCE, assert_success, run_python, wait_until

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a function in a thread waits for; opened at the end, whatever happens."""
    event = threading.Event()
    yield event
    event.set()


@same_on_both
async def test_to_thread_returns_and_raises(lib: Lib, log: list[object]) -> None:
    def work(a: int, *, b: int) -> tuple[int, bool]:
        return a + b, threading.current_thread() is threading.main_thread()

    log.append(await lib.to_thread(work, 1, b=2))
    for error in (KeyError("k"), concurrent.futures.CancelledError("c")):

        def fail(error: Exception = error) -> None:
            raise error

        try:
            await lib.to_thread(fail)
        except BaseException as caught:
            log.append((type(caught).__module__, type(caught).__name__, str(caught)))


@same_on_both
async def test_to_thread_copies_the_context(lib: Lib, log: list[object]) -> None:
    def work() -> str:
        seen = _variable.get()
        _variable.set("thread")
        return seen

    _variable.set("task")
    log.append(await lib.to_thread(work))
    log.append(_variable.get())


@same_on_both
async def test_run_in_executor_with_an_executor(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        log.append(await loop.run_in_executor(pool, lambda: threading.current_thread().name[:4]))
        future = loop.run_in_executor(pool, divmod, 7, 2)
        log.append((lib.isfuture(future), future.done()))
        log.append(await future)
        # The pool has one thread; what waits for it can be cancelled, and then never runs.
        running = threading.Event()
        go = threading.Event()

        def wait() -> None:
            running.set()
            go.wait(PATIENCE)

        first = loop.run_in_executor(pool, wait)
        second = loop.run_in_executor(pool, log.append, "must not run")
        running.wait(PATIENCE)
        log.append((first.cancel(), second.cancel(), second.cancelled()))
        await lib.sleep(0)  # callbacks, which cancel in the pool, run in the next turn
        go.set()
    log.append("joined")


@same_on_both
async def test_wrong_arguments(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    for executor in (None, concurrent.futures.Executor()):
        with pytest.raises(TypeError) as caught:
            loop.set_default_executor(executor)
        log.append(str(caught.value))
    with pytest.raises(TypeError) as caught:
        lib.run_coroutine_threadsafe(print, loop)
    log.append(str(caught.value))


@same_on_both
async def test_the_default_executor_ends_once(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    await loop.shutdown_default_executor()
    with pytest.raises(RuntimeError) as caught:
        await lib.to_thread(int)
    log.append(str(caught.value))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        log.append(await loop.run_in_executor(pool, int))


@same_on_both
async def test_a_custom_default_executor_is_used(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="custom"))
    name = await lib.to_thread(lambda: threading.current_thread().name)
    log.append(name.split("_")[0])
    await loop.shutdown_default_executor()


def test_run_joins_the_threads_of_the_default_executor() -> None:
    finished: list[int] = []

    def work() -> None:
        time.sleep(0.05)
        finished.append(1)

    async def main() -> str:
        loop = tinycoro.get_running_loop()
        loop.run_in_executor(None, work)
        return await tinycoro.to_thread(lambda: threading.current_thread().name)

    assert tinycoro.run(main()).startswith("tinycoro_")
    assert finished == [1]
    assert threading.active_count() - _watchdogs() == 1


def _watchdogs() -> int:
    return sum(thread.name == "pytest-timeout" for thread in threading.enumerate())


def test_shutdown_gives_up_after_its_timeout(gate: threading.Event) -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        future = loop.run_in_executor(None, gate.wait, PATIENCE)
        text = "The executor did not finishing joining its threads within 0.01 seconds."
        with pytest.warns(RuntimeWarning, match=text):
            await loop.shutdown_default_executor(timeout=0.01)
        gate.set()
        await future

    tinycoro.run(main())
    assert wait_until(lambda: threading.active_count() - _watchdogs() == 1)


def test_a_cancelled_shutdown_can_be_repeated(gate: threading.Event) -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        loop.run_in_executor(None, gate.wait, PATIENCE)
        task = tinycoro.create_task(loop.shutdown_default_executor())
        await tinycoro.sleep(0.001)
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task
        gate.set()
        await loop.shutdown_default_executor(1)

    tinycoro.run(main())


def test_a_cancelled_task_does_not_wait_for_its_thread(gate: threading.Event) -> None:
    async def main() -> None:
        task = tinycoro.create_task(tinycoro.to_thread(gate.wait, PATIENCE))
        await tinycoro.sleep(0.001)
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task
        assert not gate.is_set()
        gate.set()

    tinycoro.run(main())


def test_a_function_that_ends_after_its_loop_is_closed(gate: threading.Event) -> None:
    async def main() -> None:
        tinycoro.get_running_loop().run_in_executor(None, gate.wait, PATIENCE)

    loop = tinycoro.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_in_executor(None, int)
    gate.set()
    assert wait_until(lambda: threading.active_count() - _watchdogs() == 1)


def test_wrap_future_follows_and_is_followed() -> None:
    def scenario(lib: Lib) -> Coroutine[Any, Any, list[object]]:
        # Later versions of asyncio end a future at once if its own thread has ended the source.
        at_once = lib is asyncio and sys.version_info >= (3, 14)

        async def main() -> list[object]:
            log: list[object] = []
            for end in ("result", "error", "cancelled", "cancel"):
                source: concurrent.futures.Future[int] = concurrent.futures.Future()
                future = lib.wrap_future(source)
                again = lib.wrap_future(future)
                if end == "result":
                    source.set_result(1)
                elif end == "error":
                    source.set_exception(KeyError(end))
                elif end == "cancelled":
                    source.cancel()
                else:
                    future.cancel()
                log.append((again is future, future.done() == (at_once or end == "cancel")))
                try:
                    log.append(await future)
                except BaseException as error:
                    log.append(type(error).__name__)
                log.append(source.cancelled())
            return log

        return main()

    run_both(scenario)
    with pytest.raises(TypeError, match="concurrent"):
        tinycoro.wrap_future(functools.partial(int))  # type: ignore[arg-type]


def test_a_stop_iteration_becomes_a_runtime_error() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration interacts badly"):
            await tinycoro.to_thread(next, iter(()))

    tinycoro.run(main())


def test_many_functions_at_once() -> None:
    async def main() -> list[int]:
        return await tinycoro.gather(*[tinycoro.to_thread(pow, n, 2) for n in range(500)])

    assert tinycoro.run(main()) == [n * n for n in range(500)]


def test_no_thread_and_no_executor_until_one_is_needed() -> None:
    result = run_python(
        """
        import sys, threading, tinycoro
        async def main():
            await tinycoro.sleep(0)
        tinycoro.run(main())
        assert "concurrent.futures.thread" not in sys.modules
        assert threading.active_count() == 1
        """
    )
    assert_success(result)
