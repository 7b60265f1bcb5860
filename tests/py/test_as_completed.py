"""as_completed(): by `for`, by `async for`, timeouts, several who take."""

from __future__ import annotations

import pytest

import tinycoro
from both import Lib, Some, same_as_recorded


@same_as_recorded
async def test_plain_iteration(lib: Lib, log: list[object]) -> None:
    async def work(seconds: int) -> int:
        await lib.sleep(seconds)
        if seconds == 2:
            raise KeyError(seconds)
        return seconds

    for coro in lib.as_completed([work(n) for n in (3, 1, 2)]):
        try:
            log.append(await coro)
        except KeyError as error:
            log.append(repr(error))
        log.append(lib.get_running_loop().time())


@same_as_recorded
async def test_asynchronous_iteration_gives_the_futures(lib: Lib, log: list[object]) -> None:
    tasks = {lib.create_task(lib.sleep(n, n), name=f"task {n}") for n in (3, 1, 2)}
    async for task in lib.as_completed(tasks):
        log.append((task in tasks, task.get_name(), await task))
    async for task in lib.as_completed([lib.sleep(1, "made")]):
        log.append(task.result())
    async for task in lib.as_completed([]):
        log.append(("never", task))
    log.append(list(lib.as_completed([])))


@same_as_recorded
async def test_timeouts(lib: Lib, log: list[object]) -> None:
    tasks = [lib.create_task(lib.sleep(n, n)) for n in (1, 3, 5)]
    for coro in lib.as_completed(tasks, timeout=2):
        try:
            log.append(await coro)
        except TimeoutError as error:
            log.append(repr(error))
    try:
        async for task in lib.as_completed(tasks, timeout=2):
            log.append(task.result())
    except TimeoutError as error:
        log.append(repr(error))
    log.append([task.done() for task in tasks])


@same_as_recorded
async def test_several_takers_and_one_that_is_cancelled(lib: Lib, log: list[object]) -> None:
    async def take(name: str, coro: Some) -> None:
        try:
            log.append((name, await coro))
        except lib.CancelledError:
            log.append((name, "cancelled"))

    coros = list(lib.as_completed([lib.sleep(n, n) for n in (1, 2, 3)]))
    takers = [lib.create_task(take(str(n), coro)) for n, coro in enumerate(coros)]
    await lib.sleep(0)
    takers[0].cancel()
    await lib.wait(takers[1:])


@same_as_recorded
async def test_a_taker_that_is_cancelled_once_it_was_woken(lib: Lib, log: list[object]) -> None:
    async def take(name: str, coro: Some) -> None:
        try:
            log.append((name, await coro))
        except lib.CancelledError:
            log.append((name, "cancelled"))

    future = lib.get_running_loop().create_future()
    coros = list(lib.as_completed([future, lib.sleep(5, "slow")]))
    takers = [lib.create_task(take(str(n), coro)) for n, coro in enumerate(coros)]
    await lib.sleep(0)
    future.set_result("quick")
    await lib.sleep(0)
    takers[0].cancel()
    await lib.wait(takers, timeout=2)
    log.append([task.done() for task in takers])
    takers[1].cancel()


def test_the_same_awaitable_twice_counts_once() -> None:
    async def main() -> None:
        future = tinycoro.get_running_loop().create_future()
        future.set_result(1)
        assert len(list(tinycoro.as_completed([future, future]))) == 1

    with pytest.warns(RuntimeWarning, match="never awaited"):
        tinycoro.run(main())


def test_what_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="expects an iterable of awaitables, not _Sleep"):
            tinycoro.as_completed(tinycoro.sleep(1))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            tinycoro.as_completed([5])  # type: ignore[arg-type]

    with pytest.warns(RuntimeWarning, match="never awaited"):
        tinycoro.run(main())
    coro = tinycoro.sleep(0)
    with pytest.raises(RuntimeError, match="no current event loop"):
        tinycoro.as_completed([coro])
    coro.close()
