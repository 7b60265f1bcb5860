"""Cancellation, at every place where a task can be."""

from __future__ import annotations

from typing import cast

import pytest

import tinycoro
from both import Lib, same_on_both


@same_on_both
async def test_before_the_first_step_the_coroutine_never_starts(
    lib: Lib, log: list[object]
) -> None:
    async def body() -> None:
        log.append("started")

    task = lib.create_task(body())
    log.append(task.cancel("early"))
    try:
        await task
    except lib.CancelledError as error:
        log.append(error.args)
    log.append(task.cancelled())


@same_on_both
async def test_in_a_sleep_it_is_raised_there(lib: Lib, log: list[object]) -> None:
    for delay in (0, 0.001, 100):

        async def body(delay: float = delay) -> None:
            try:
                await lib.sleep(delay)
            except lib.CancelledError as error:
                log.append(("inside", delay, error.args))
                raise

        task = lib.create_task(body())
        await lib.sleep(0)
        log.append(task.cancel(delay))
        try:
            await task
        except lib.CancelledError as error:
            log.append(("outside", error.args))
        log.append(task.cancelling())


@same_on_both
async def test_in_another_task_it_goes_inwards(lib: Lib, log: list[object]) -> None:
    async def inner() -> None:
        try:
            await lib.sleep(100)
        except lib.CancelledError:
            log.append("inner")
            raise

    async def middle() -> None:
        try:
            await lib.create_task(inner())
        finally:
            log.append("middle")

    task = lib.create_task(middle())
    for _ in range(3):
        await lib.sleep(0)
    task.cancel()
    turns = 0
    while not task.done():
        turns += 1
        await lib.sleep(0)
    log.append(turns)
    log.append(task.cancelled())


@same_on_both
async def test_after_the_future_is_done_it_still_wins(lib: Lib, log: list[object]) -> None:
    future = lib.get_running_loop().create_future()

    async def body() -> None:
        try:
            log.append(await future)
        except lib.CancelledError:
            log.append("cancelled")
            raise

    task = lib.create_task(body())
    await lib.sleep(0)
    future.set_result("value")
    log.append(task.cancel())
    try:
        await task
    except lib.CancelledError:
        log.append(task.cancelled())


@same_on_both
async def test_it_can_be_caught_and_taken_back(lib: Lib, log: list[object]) -> None:
    async def body() -> str:
        try:
            await lib.sleep(100)
        except lib.CancelledError:
            log.append(lib_task().cancelling())
            log.append(lib_task().uncancel())
        await lib.sleep(0)
        return "survived"

    def lib_task() -> tinycoro.Task[str]:
        return cast(tinycoro.Task[str], lib.current_task())

    task = lib.create_task(body())
    await lib.sleep(0)
    task.cancel()
    log.append(await task)
    log.append(task.cancelled())
    log.append(task.uncancel())


@same_on_both
async def test_twice_before_it_is_raised_counts_twice(lib: Lib, log: list[object]) -> None:
    async def body() -> None:
        try:
            await lib.sleep(100)
        except lib.CancelledError as error:
            log.append(error.args)
        await lib.sleep(0)
        log.append("still there")

    task = lib.create_task(body())
    await lib.sleep(0)
    task.cancel("first")
    task.cancel("second")
    log.append(task.cancelling())
    result = await lib.gather(task, return_exceptions=True)
    log.append([repr(value) for value in result])


@same_on_both
async def test_cancelling_oneself_is_raised_at_the_next_wait(lib: Lib, log: list[object]) -> None:
    async def body() -> None:
        lib.current_task().cancel("self")
        log.append("goes on")
        try:
            await lib.sleep(100)
        except lib.CancelledError as error:
            log.append(error.args)
            raise

    task = lib.create_task(body())
    result = await lib.gather(task, return_exceptions=True)
    log.append(repr(result))


@same_on_both
async def test_a_coroutine_that_returns_with_a_cancel_pending(lib: Lib, log: list[object]) -> None:
    async def body() -> str:
        lib.current_task().cancel("late")
        return "result"

    task = lib.create_task(body())
    try:
        await task
    except lib.CancelledError as error:
        log.append(error.args)
    log.append(task.cancelled())


@same_on_both
async def test_a_done_task_cannot_be_cancelled(lib: Lib, log: list[object]) -> None:
    task = lib.create_task(lib.sleep(0, "value"))
    await task
    log.append((task.cancel(), task.cancelled(), task.result(), task.cancelling()))


@same_on_both
async def test_an_error_in_the_cleanup_replaces_it(lib: Lib, log: list[object]) -> None:
    async def body() -> None:
        try:
            await lib.sleep(100)
        finally:
            raise KeyError("cleanup")

    task = lib.create_task(body())
    await lib.sleep(0)
    task.cancel()
    try:
        await task
    except KeyError as error:
        log.append((repr(error), type(error.__context__).__name__))


def test_a_timer_that_fired_before_the_cancel_gives_way() -> None:
    """The sleep is over, its turn has not come: asyncio's rule says that the cancel wins."""

    async def main() -> None:
        loop = tinycoro.get_running_loop()

        async def body() -> None:
            await tinycoro.sleep(0.005)

        task = tinycoro.create_task(body())
        loop.call_later(0.005, lambda: None)
        loop.call_later(0.004, task.cancel)
        with pytest.raises(tinycoro.CancelledError):
            await task

    tinycoro.run(main())


def test_cancel_at_every_step_leaves_nothing_behind() -> None:
    """The census fixture checks the rest."""

    async def scenario() -> None:
        async def child(depth: int) -> int:
            if depth == 0:
                await tinycoro.sleep(0.0005)
                return 1
            await tinycoro.sleep(0)
            parts: list[int] = await tinycoro.gather(child(depth - 1), child(depth - 1))
            return sum(parts)

        await tinycoro.create_task(child(3))

    async def main() -> int:
        for steps in range(60):
            task = tinycoro.create_task(scenario())
            for _ in range(steps):
                if task.done():
                    break
                await tinycoro.sleep(0)
            task.cancel()
            await tinycoro.gather(task, return_exceptions=True)
            for _ in range(6):
                await tinycoro.sleep(0)
            others = tinycoro.all_tasks() - {tinycoro.current_task()}
            assert not others
        return steps

    assert tinycoro.run(main()) == 59
