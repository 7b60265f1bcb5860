"""wait_for(): results, timeouts, cancellation."""

from __future__ import annotations

import pytest

import tinycoro
from both import Lib, Some, same_as_recorded


@same_as_recorded
async def test_results_errors_and_timeouts(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()

    async def work(seconds: float, error: BaseException | None = None) -> float:
        await lib.sleep(seconds)
        if error is not None:
            raise error
        return seconds

    for seconds, error, timeout in (
        (0, None, 1),
        (0, None, None),
        (1, None, 2),
        (2, None, 1),
        (0, KeyError("x"), 1),
        (1, None, 0),
        (1, None, -1),
        (0, lib.CancelledError("own"), 1),
    ):
        for make in (lambda coro: coro, lib.create_task):
            try:
                log.append(await lib.wait_for(make(work(seconds, error)), timeout))
            except BaseException as caught:
                log.append((repr(caught), repr(caught.__cause__), repr(caught.__context__)))
            log.append((loop.time(), lib.current_task().cancelling()))


@same_as_recorded
async def test_a_coroutine_runs_in_the_task_of_the_caller(lib: Lib, log: list[object]) -> None:
    async def who() -> Some:
        return lib.current_task()

    for timeout in (None, 1):
        log.append(await lib.wait_for(who(), timeout) is lib.current_task())


@same_as_recorded
async def test_with_no_time_a_coroutine_is_not_started(lib: Lib, log: list[object]) -> None:
    async def work() -> None:
        log.append("started")

    done = lib.get_running_loop().create_future()
    done.set_result("there already")
    log.append(await lib.wait_for(done, 0))
    with pytest.raises(TimeoutError):
        await lib.wait_for(work(), 0)
    log.append("not started")


@same_as_recorded
async def test_a_result_in_spite_of_the_cancel(lib: Lib, log: list[object]) -> None:
    async def stubborn() -> str:
        try:
            await lib.sleep(10)
        except lib.CancelledError:
            log.append(lib.current_task().cancelling())
            return "all the same"
        return "never"

    log.append(await lib.wait_for(stubborn(), 1))
    log.append(await lib.wait_for(lib.create_task(stubborn()), 1))
    log.append(lib.current_task().cancelling())


@same_as_recorded
async def test_cancelled_from_outside(lib: Lib, log: list[object]) -> None:
    async def work() -> None:
        await lib.sleep(10)

    async def waits(inner: Some, timeout: float | None) -> None:
        try:
            await lib.wait_for(inner, timeout)
        finally:
            log.append(lib.current_task().cancelling())

    for timeout in (None, 5):
        inner = lib.create_task(work())
        task = lib.create_task(waits(inner, timeout))
        await lib.sleep(1)
        task.cancel("why")
        try:
            await task
        except lib.CancelledError as error:
            log.append((error.args, inner.cancelled()))


@same_as_recorded
async def test_timeout_and_cancel_in_the_same_turn(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    for first in (True, False):
        task = lib.create_task(lib.wait_for(lib.sleep(10), 1))
        if first:
            loop.call_at(loop.time() + 1, task.cancel)
            await lib.sleep(0)
        else:
            await lib.sleep(0)
            loop.call_at(loop.time() + 1.0001, task.cancel)
        try:
            await task
        except BaseException as error:
            log.append(repr(error))


def test_any_awaitable_may_be_waited_for() -> None:
    class Awaitable:
        def __await__(self) -> Some:
            yield from tinycoro.sleep(0.001).__await__()
            return 7

    async def main() -> None:
        assert await tinycoro.wait_for(Awaitable(), 10) == 7
        with pytest.raises(TypeError):
            await tinycoro.wait_for(7, 10)  # type: ignore[arg-type]

    tinycoro.run(main())
