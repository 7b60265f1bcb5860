"""sleep(): durations, order, misuse."""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Generator
from typing import Any

import pytest

import tinycoro
from both import Lib, same_on_both
from support import SLACK


@pytest.mark.parametrize("delay", [0.001, 0.01, 0.05])
def test_a_sleep_is_never_short(delay: float) -> None:
    async def main() -> float:
        start = time.monotonic()
        await tinycoro.sleep(delay)
        return time.monotonic() - start

    took = tinycoro.run(main())
    assert delay <= took < delay + SLACK


@same_on_both
async def test_sleepers_wake_in_the_order_of_their_deadlines(lib: Lib, log: list[object]) -> None:
    async def sleeper(delay: float) -> None:
        await lib.sleep(delay)
        log.append(delay)

    await lib.gather(*[sleeper(delay) for delay in (0.05, 0.01, 0.03, 0, 0.02, -1)])


@same_on_both
async def test_results_are_returned(lib: Lib, log: list[object]) -> None:
    for delay in (0, -1, 0.001, False):
        log.append(await lib.sleep(delay))
        log.append(await lib.sleep(delay, result="result"))
        log.append(await lib.sleep(delay, (1, 2)))


@same_on_both
async def test_zero_yields_exactly_one_turn(lib: Lib, log: list[object]) -> None:
    async def other() -> None:
        for turn in range(3):
            log.append(turn)
            await lib.sleep(0)

    task = lib.create_task(other())
    for turn in "abc":
        log.append(turn)
        await lib.sleep(0, turn)
    await task


def test_wrong_arguments_are_refused() -> None:
    sleep: Any = tinycoro.sleep
    for wrong, error in (("1", TypeError), (None, TypeError), (math.nan, ValueError)):
        with pytest.raises(error):
            sleep(wrong)
    with pytest.raises(TypeError):
        sleep()


@pytest.mark.parametrize("delay", [0, 1])
def test_dropped_unawaited_it_warns(delay: float) -> None:
    def drop() -> None:
        _ = tinycoro.sleep(delay)

    with pytest.warns(RuntimeWarning, match="'sleep' was never awaited"):
        drop()


@pytest.mark.parametrize("delay", [0, 0.001])
def test_it_can_be_awaited_once(delay: float) -> None:
    async def main() -> None:
        operation: Any = tinycoro.sleep(delay)
        await operation
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            await operation

    tinycoro.run(main())


def test_outside_a_task_it_says_so() -> None:
    operation: Any = tinycoro.sleep(1)
    with pytest.raises(RuntimeError, match="only in a task"):
        operation.send(None)


@pytest.mark.parametrize("delay", [0, 100])
def test_close_and_throw_withdraw_the_wait(delay: float) -> None:
    async def main() -> None:
        operation: Any = tinycoro.sleep(delay)
        operation.close()

        class ByHand:
            def __await__(self) -> Generator[None, None, None]:
                operation: Any = tinycoro.sleep(delay)
                operation.send(None)
                with pytest.raises(KeyError):
                    operation.throw(KeyError("thrown"))
                yield

        await ByHand()
        await tinycoro.sleep(0)

    tinycoro.run(main())


def test_infinity_sleeps_until_cancelled() -> None:
    async def main() -> None:
        task = tinycoro.create_task(tinycoro.sleep(math.inf))
        await tinycoro.sleep(0.001)
        assert not task.done()
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task

    tinycoro.run(main())


def test_what_was_never_awaited_may_be_kept_by_the_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for delay in (0, 1):
        kept: list[object] = []
        monkeypatch.setattr(sys, "unraisablehook", kept.append)
        dropped = tinycoro.sleep(delay)
        del dropped  # a warning that is an error here, and so goes to the hook
        (args,) = kept
        assert "finished" in repr(args.object)  # type: ignore[attr-defined]
        kept.clear()
        del args
        gc.collect()
