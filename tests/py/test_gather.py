"""gather(): results, failures, cancellation, turns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import tinycoro
from both import Lib, same_on_both


@same_on_both
async def test_results_keep_the_order_of_the_arguments(lib: Lib, log: list[object]) -> None:
    async def work(value: int) -> int:
        for _ in range(5 - value):
            await lib.sleep(0)
        return value

    log.append(await lib.gather(*[work(value) for value in range(5)]))
    log.append(await lib.gather())
    coro = work(3)
    log.append(await lib.gather(coro, coro, work(1)))
    task = lib.create_task(work(2))
    log.append(await lib.gather(task, task))
    log.append(await lib.gather(task, work(1)))
    log.append(await lib.gather(task))


@same_on_both
async def test_the_first_exception_ends_it_and_the_rest_go_on(lib: Lib, log: list[object]) -> None:
    async def work(value: int) -> int:
        for _ in range(value):
            await lib.sleep(0)
        log.append(("finished", value))
        if value % 2:
            raise KeyError(value)
        return value

    try:
        await lib.gather(*[work(value) for value in range(6)])
    except KeyError as error:
        log.append(error.args)
    for _ in range(10):
        await lib.sleep(0)
    log.append([repr(x) for x in await lib.gather(*map(work, range(4)), return_exceptions=True)])


@same_on_both
async def test_cancelling_the_gather_cancels_the_children(lib: Lib, log: list[object]) -> None:
    children = [lib.create_task(lib.sleep(100)) for _ in range(3)]
    future = lib.gather(*children, return_exceptions=True)
    await lib.sleep(0)
    log.append(future.cancel("message"))
    try:
        await future
    except lib.CancelledError:
        log.append("cancelled")
    log.append([child.cancelled() for child in children])
    log.append(future.cancel())
    log.append(future.cancelled())


@same_on_both
async def test_cancelling_who_waits_for_a_gather(lib: Lib, log: list[object]) -> None:
    children: list[Any] = []

    async def waiter() -> None:
        children.extend(lib.create_task(lib.sleep(100)) for _ in range(3))
        await lib.gather(*children)

    task = lib.create_task(waiter())
    await lib.sleep(0)
    await lib.sleep(0)
    task.cancel()
    try:
        await task
    except lib.CancelledError:
        log.append([child.cancelled() for child in children])


@same_on_both
async def test_a_cancelled_child_counts_as_a_failure(lib: Lib, log: list[object]) -> None:
    child = lib.create_task(lib.sleep(100))
    other = lib.create_task(lib.sleep(0))
    future = lib.gather(child, other)
    await lib.sleep(0)
    child.cancel("why")
    try:
        await future
    except lib.CancelledError as error:
        log.append(error.args)
    log.append(future.cancelled())
    results = await lib.gather(child, other, return_exceptions=True)
    log.append([repr(result) for result in results])


@same_on_both
async def test_it_takes_as_many_turns(lib: Lib, log: list[object]) -> None:
    async def work(turns: int) -> None:
        for _ in range(turns):
            await lib.sleep(0)

    async def watch() -> None:
        turn = 0
        while not task.done():
            turn += 1
            await lib.sleep(0)
        log.append(turn)

    for turns in (0, 1, 5):

        async def main(turns: int = turns) -> None:
            await lib.gather(work(turns), work(0))

        task = lib.create_task(main())
        await watch()


def test_asyncio_futures_can_be_children() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        foreign: asyncio.Future[int] = asyncio.Future(loop=loop)
        failing: asyncio.Future[int] = asyncio.Future(loop=loop)
        loop.call_soon(foreign.set_result, 5)
        loop.call_soon(failing.set_exception, KeyError("x"))
        results: Any = await tinycoro.gather(
            foreign,
            failing,
            tinycoro.sleep(0, 6),
            return_exceptions=True,
        )
        assert results[0] == 5
        assert isinstance(results[1], KeyError)
        assert results[2] == 6

    tinycoro.run(main())


def test_asyncio_gather_takes_our_tasks() -> None:
    async def main() -> None:
        tasks = [tinycoro.create_task(tinycoro.sleep(0, value)) for value in range(3)]
        assert await asyncio.gather(*tasks) == [0, 1, 2]

    tinycoro.run(main())


@pytest.mark.parametrize("count", [2, 100, 3000])
def test_repeated_arguments_have_one_task(count: int) -> None:
    async def main() -> None:
        runs: list[int] = []

        async def work(number: int) -> int:
            runs.append(number)
            await tinycoro.sleep(0)
            return number

        coros = [work(number) for number in range(count)]
        assert await tinycoro.gather(*coros, *coros) == [*range(count), *range(count)]
        assert runs == list(range(count))

    tinycoro.run(main())
