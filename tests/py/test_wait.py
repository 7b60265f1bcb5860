"""wait(): sets, return_when, timeouts, order of turns."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

import tinycoro
from both import Lib, Some, same_as_recorded, same_on_both


@same_on_both
async def test_all_first_and_exception(lib: Lib, log: list[object]) -> None:
    async def work(turns: int, *, fails: bool = False) -> int:
        for _ in range(turns):
            await lib.sleep(0)
        if fails:
            raise KeyError(turns)
        return turns

    for mode in (lib.ALL_COMPLETED, lib.FIRST_COMPLETED, lib.FIRST_EXCEPTION):
        for failing in (0, 2, 4, 9):
            tasks = [lib.create_task(work(n, fails=n == failing), name=str(n)) for n in range(6)]
            done, pending = await lib.wait(tasks, return_when=mode)
            log.append((mode, failing, sorted(t.get_name() for t in done), len(pending)))
            await lib.gather(*tasks, return_exceptions=True)


@same_on_both
async def test_turns_until_it_returns(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    done = loop.create_future()
    done.set_result(1)

    async def watch(task: Some) -> None:
        turn = 0
        while not task.done():
            turn += 1
            await lib.sleep(0)
        log.append(turn)

    for futures in ([done], [done, loop.create_future()], [lib.create_task(lib.sleep(0))]):
        await watch(lib.create_task(lib.wait(futures, return_when="FIRST_COMPLETED")))


@same_on_both
async def test_what_is_refused(lib: Lib, log: list[object]) -> None:
    async def work() -> None: ...

    coro = work()
    future = lib.get_running_loop().create_future()
    for argument, options in (
        ([], {}),
        (coro, {}),
        (future, {}),
        ([coro], {}),
        ([future], {"return_when": "NEVER"}),
        (5, {}),
    ):
        try:
            await lib.wait(argument, **options)
        except (TypeError, ValueError) as error:
            log.append(repr(error))
    coro.close()


@same_as_recorded
async def test_timeouts(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    slow = lib.create_task(lib.sleep(10))
    quick = lib.create_task(lib.sleep(1))
    for timeout in (0, -1, 2, 0.5, None):
        tasks = [quick, slow] if timeout is not None else [quick]
        done, pending = await lib.wait(tasks, timeout=timeout)
        log.append((loop.time(), len(done), len(pending)))
    slow.cancel()


@same_on_both
async def test_cancelling_it_cancels_nothing_else(lib: Lib, log: list[object]) -> None:
    future = lib.get_running_loop().create_future()
    for late in (False, True):
        task = lib.create_task(lib.wait([future]))
        await lib.sleep(0)
        if late:
            future.set_result(1)
            await lib.sleep(0)
        log.append(task.cancel("why"))
        try:
            await task
        except lib.CancelledError as error:
            log.append((error.args, future.cancelled()))


def test_futures_of_both_libraries_and_of_derived_classes() -> None:
    class Special(tinycoro.Future[int]):
        def add_done_callback(self, fn: Some, /, *, context: Some = None) -> None:
            added.append(fn)
            super().add_done_callback(fn, context=context)

    added: list[object] = []

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        foreign: asyncio.Future[int] = asyncio.Future(loop=loop)
        special = Special()
        loop.call_soon(foreign.set_result, 1)
        loop.call_soon(special.set_exception, KeyError(1))
        futures: list[Any] = [foreign, special]
        done, pending = await tinycoro.wait(futures)
        assert (done, pending) == ({foreign, special}, set())
        assert len(added) == 1
        never: asyncio.Future[int] = asyncio.Future(loop=loop)
        others: list[Any] = [never, Special()]
        assert (await tinycoro.wait(others, timeout=0))[0] == set()
        assert not never._callbacks
        with pytest.raises(KeyError):
            await special

    tinycoro.run(main())


def test_nothing_is_left_in_the_futures() -> None:
    async def main() -> None:
        never = tinycoro.get_running_loop().create_future()
        task = tinycoro.create_task(tinycoro.wait([never], timeout=100))
        await tinycoro.sleep(0)
        task.cancel()
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        reference = weakref.ref(task)
        del task
        gc.collect()
        assert reference() is None
        assert not gc.get_referents(never)[1:] or all(
            type(kept).__name__ != "_Wait" for kept in gc.get_referents(never)
        )

    tinycoro.run(main())
