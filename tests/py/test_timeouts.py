"""timeout(), timeout_at(), move_on_after(), fail_after()."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest

import tinycoro
from both import Lib, Some, TinycoroLoop, same_as_recorded


@same_as_recorded
async def test_states_and_reprs(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    timeout = lib.timeout(5)
    log += [timeout, timeout.when(), timeout.expired()]
    async with timeout as same:
        log += [same is timeout, timeout]
        await lib.sleep(1)
        timeout.reschedule(None)
        log += [timeout, timeout.when()]
        timeout.reschedule(loop.time() + 2)
        log += [timeout, timeout.when()]
    log += [timeout, timeout.expired()]
    for use in (timeout.__aenter__, timeout.reschedule):
        try:
            await use(*[1][: use == timeout.reschedule])
        except RuntimeError as error:
            log.append(str(error))
    try:
        async with lib.timeout_at(loop.time() + 1) as timeout:
            try:
                await lib.sleep(10)
            finally:
                log += [timeout, timeout.expired()]
    except TimeoutError:
        log += [timeout, timeout.when(), loop.time()]


@same_as_recorded
async def test_a_deadline_that_has_passed(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    await lib.sleep(5)
    for when in (0, loop.time(), -math.inf):
        try:
            async with lib.timeout_at(when):
                log.append("runs")
                await lib.sleep(0)
                log.append("one turn")
                await lib.sleep(0)
                log.append("two turns")
        except TimeoutError as error:
            log.append((repr(error), repr(error.__cause__)))


@same_as_recorded
async def test_rescheduling_again_and_again(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()

    async def steps(deadlines: list[float | None]) -> None:
        async with lib.timeout(0) as timeout:
            for when in deadlines:
                timeout.reschedule(None if when is None else loop.time() + when)
            for turn in range(5):
                log.append((turn, timeout))
                await lib.sleep(0)
            await lib.sleep(3)

    sequences: list[list[float | None]] = [
        [0],
        [0, 0],
        [1, 0],
        [0, 1],
        [0, None],
        [None, 0],
        [2, 5],
        [5, 2],
    ]
    for deadlines in sequences:
        try:
            await steps(deadlines)
        except TimeoutError:
            log.append(("expired", deadlines, loop.time()))


@same_as_recorded
async def test_nested(lib: Lib, log: list[object]) -> None:
    for outer, inner in ((1, 2), (2, 1), (1, None), (None, 1)):
        try:
            async with lib.timeout(outer) as first:
                try:
                    async with lib.timeout(inner) as second:
                        await lib.sleep(10)
                finally:
                    log.append((first.expired(), second.expired()))
        except TimeoutError:
            log.append((outer, inner, lib.current_task().cancelling()))


@same_as_recorded
async def test_an_error_during_the_cleanup_keeps_the_chain(lib: Lib, log: list[object]) -> None:
    def chain(error: BaseException | None) -> list[str]:
        return [] if error is None else [repr(error), *chain(error.__context__)]

    try:
        async with lib.timeout(1):
            try:
                await lib.sleep(10)
            finally:
                raise KeyError("cleanup")
    except KeyError as error:
        log.append(chain(error))
    try:
        async with lib.timeout(1):
            try:
                await lib.sleep(10)
            except lib.CancelledError as error:
                raise ExceptionGroup("two", [KeyError(1), ValueError(2)]) from error
    except ExceptionGroup as group:
        log.append([chain(error) for error in (group, *group.exceptions)])
    try:
        async with lib.timeout(1):
            try:
                await lib.sleep(10)
            except lib.CancelledError:
                log.append("swallowed")
    except TimeoutError:
        log.append("never")
    log.append(lib.current_task().cancelling())


@same_as_recorded
async def test_a_cancel_from_outside_is_no_timeout(lib: Lib, log: list[object]) -> None:
    async def waits() -> None:
        async with lib.timeout(5) as timeout:
            try:
                await lib.sleep(10)
            finally:
                log.append(timeout.expired())

    task = lib.create_task(waits())
    await lib.sleep(1)
    task.cancel("why")
    try:
        await task
    except lib.CancelledError as error:
        log.append(error.args)
    task = lib.create_task(waits())
    await lib.sleep(5)
    task.cancel("at the same time")
    try:
        await task
    except BaseException as error:
        log.append(repr(error))


@same_as_recorded
async def test_only_who_awaits_enters(lib: Lib, log: list[object]) -> None:
    timeout = lib.timeout(1)
    entering = timeout.__aenter__()
    log.append(timeout)
    await lib.create_task(entering)
    log.append(timeout)
    leaving = timeout.__aexit__(None, None, None)
    log.append(timeout)
    await leaving
    log.append(timeout)


def test_misuse() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="NaN"):
            tinycoro.timeout(math.nan)
        with pytest.raises(TypeError):
            tinycoro.timeout("soon")  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="not entered"):
            await tinycoro.timeout(1).__aexit__(None, None, None)
        assert tinycoro.Timeout(when=None).when() is None

    tinycoro.run(main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        tinycoro.timeout(1)


def test_a_dropped_block_leaves_nothing() -> None:
    async def main() -> weakref.ref[Any]:
        async def block() -> None:
            async with tinycoro.timeout(1000):
                await tinycoro.sleep(1000)

        task = tinycoro.create_task(block())
        await tinycoro.sleep(0)
        reference = weakref.ref(task)
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task
        return reference

    reference = tinycoro.run(main())
    gc.collect()
    assert reference() is None


# ---- trio's words -------------------------------------------------------------------------------


def _virtual(main: Some) -> None:
    loop = TinycoroLoop()  # type: ignore[abstract]  # as new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_move_on_after() -> None:
    async def main() -> None:
        with tinycoro.move_on_after(1) as scope:
            assert not scope.cancel_called
            await tinycoro.sleep(10)
            raise AssertionError("goes on")
        assert scope.cancelled_caught
        assert scope.cancel_called
        with tinycoro.move_on_after(1) as scope:
            await tinycoro.sleep(0.5)
        assert not scope.cancelled_caught
        assert not scope.cancel_called
        async with tinycoro.move_on_after(1) as scope:
            await tinycoro.sleep(10)
        assert scope.cancelled_caught
        with tinycoro.move_on_after(math.inf) as scope:
            assert scope.deadline == math.inf
            scope.deadline = tinycoro.get_running_loop().time() + 2
            await tinycoro.sleep(10)
        assert scope.cancelled_caught
        task = tinycoro.current_task()
        assert task is not None
        assert task.cancelling() == 0

    _virtual(main)


def test_fail_after() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError), tinycoro.fail_after(1) as scope:
            await tinycoro.sleep(10)
        assert scope.cancelled_caught
        with tinycoro.fail_after(1):
            pass
        with pytest.raises(KeyError), tinycoro.fail_after(1):
            raise KeyError

    _virtual(main)


def test_cancelling_a_scope() -> None:
    async def main() -> None:
        with tinycoro.move_on_after(100) as scope:
            scope.cancel()
            scope.cancel()
            await tinycoro.sleep(0)
            raise AssertionError("goes on")
        assert scope.cancelled_caught
        scope.cancel()
        await tinycoro.sleep(0)
        early = tinycoro.move_on_after(100)
        early.cancel()
        with early:
            await tinycoro.sleep(0)
            raise AssertionError("goes on")
        assert early.cancelled_caught
        with tinycoro.move_on_after(100) as scope:
            scope.cancel()  # and nothing is awaited
        assert not scope.cancelled_caught
        await tinycoro.sleep(0)
        with pytest.raises(RuntimeError, match="already been entered"), scope:
            pass
        with pytest.raises(ValueError, match="NaN"):
            tinycoro.move_on_after(math.nan)

    _virtual(main)


def test_a_scope_passes_on_a_cancel_from_outside() -> None:
    async def block() -> None:
        with tinycoro.move_on_after(100):
            await tinycoro.sleep(1000)

    async def main() -> None:
        task = tinycoro.create_task(block())
        await tinycoro.sleep(0)
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task

    _virtual(main)
