"""shield(): what is cancelled and what is not."""

from __future__ import annotations

import asyncio
import gc

import tinycoro
from both import Lib, Some, same_as_recorded, same_on_both


@same_on_both
async def test_results_and_errors_pass_through(lib: Lib, log: list[object]) -> None:
    async def work(error: BaseException | None) -> int:
        await lib.sleep(0)
        if error is not None:
            raise error
        return 5

    for error in (None, KeyError("x"), lib.CancelledError("own")):
        try:
            log.append(await lib.shield(work(error)))
        except BaseException as caught:
            log.append(repr(caught))
    done = lib.get_running_loop().create_future()
    done.set_result(1)
    log.append(lib.shield(done) is done)
    log.append(type(lib.shield(lib.get_running_loop().create_future())).__name__)


@same_on_both
async def test_cancelling_who_waits_leaves_the_inner_one(lib: Lib, log: list[object]) -> None:
    async def waits() -> None:
        await lib.shield(inner)

    inner = lib.create_task(lib.sleep(0.01, "done"))
    task = lib.create_task(waits())
    await lib.sleep(0)
    log.append(task.cancel("why"))
    try:
        await task
    except lib.CancelledError as error:
        log.append((error.args, inner.done()))
    log.append(await inner)


@same_on_both
async def test_cancelling_the_inner_one(lib: Lib, log: list[object]) -> None:
    inner = lib.create_task(lib.sleep(10))
    outer = lib.shield(inner)
    await lib.sleep(0)
    inner.cancel("why")
    turns = 0
    while not outer.done():
        turns += 1
        await lib.sleep(0)
    log.append((turns, outer.cancelled()))


@same_as_recorded
async def test_an_error_after_the_cancel(lib: Lib, log: list[object]) -> None:
    async def fails(inner: Some) -> None:
        await inner
        raise KeyError("late")

    for turns in range(3):
        inner = lib.get_running_loop().create_future()
        outer = lib.shield(inner)
        outer.cancel()
        for _ in range(turns):
            await lib.sleep(0)
        inner.set_exception(KeyError(turns))
        await lib.sleep(0)
        await lib.sleep(0)
        log.append(inner._log_traceback)
        inner._log_traceback = False


def test_futures_of_asyncio_and_of_derived_classes() -> None:
    class Special(tinycoro.Future[int]):
        def result(self) -> int:
            return 2 * super().result()

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        foreign: asyncio.Future[int] = asyncio.Future(loop=loop)
        special = Special()
        loop.call_soon(foreign.set_result, 1)
        assert await tinycoro.shield(foreign) == 1
        loop.call_soon(special.set_result, 2)
        assert await tinycoro.shield(special) == 4
        never: asyncio.Future[int] = asyncio.Future(loop=loop)
        outer = tinycoro.shield(never)
        outer.cancel()
        await tinycoro.sleep(0)
        assert not never._callbacks

    tinycoro.run(main())


def test_a_shield_that_nobody_awaits_goes_with_its_future() -> None:
    async def main() -> None:
        inner = tinycoro.get_running_loop().create_future()
        tinycoro.shield(inner)
        del inner
        gc.collect()
        assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "_Shield"]

    tinycoro.run(main())
