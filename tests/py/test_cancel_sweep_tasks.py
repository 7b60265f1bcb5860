"""Cancel a task at every point where it waits: it ends, and nothing is left behind.

Each scenario is run over and over in virtual time. In run number n its task is cancelled right
before the n-th turn of the loop in which it is not done, once or twice. Afterwards no task and no
deadline may be left, and whatever the scenario has made must be dead.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tinycoro
from both import Some, TinycoroLoop
from tinycoro import (
    CancelledError,
    Task,
    TaskGroup,
    create_task,
    gather,
    shield,
    sleep,
    wait,
    wait_for,
)

Keep = Callable[[Any], Any]
Scenario = Callable[[Keep], Coroutine[Any, Any, Any]]

_SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Make it part of the sweep."""
    _SCENARIOS[function.__name__] = function
    return function


async def _work(turns: int = 2, seconds: float = 1) -> int:
    for _ in range(turns):
        await sleep(0)
    await sleep(seconds)
    return turns


async def _fail(seconds: float = 1) -> None:
    await _work(1, seconds)
    raise KeyError("fails")


@scenario
async def sleeps(keep: Keep) -> None:
    await sleep(0)
    await sleep(1)
    await sleep(0, keep(Thing()))
    await sleep(1, keep(Thing()))


@scenario
async def a_future(keep: Keep) -> None:
    loop = tinycoro.get_running_loop()
    future = keep(loop.create_future())
    handle = loop.call_later(1, future.set_result, keep(Thing()))
    try:
        await future
    finally:
        handle.cancel()


@scenario
async def a_child(keep: Keep) -> None:
    task = keep(create_task(_work()))
    try:
        await task
    finally:
        task.cancel()


@scenario
async def a_chain_of_children(keep: Keep) -> None:
    async def chain(depth: int) -> None:
        if depth == 0:
            await _work()
        else:
            await keep(create_task(chain(depth - 1)))

    await chain(4)


@scenario
async def a_gather(keep: Keep) -> None:
    await keep(gather(_work(), _work(3), sleep(2), sleep(0)))


@scenario
async def a_gather_with_errors(keep: Keep) -> None:
    results = await keep(gather(_work(), _fail(), return_exceptions=True))
    assert isinstance(results[1], KeyError)


@scenario
async def gathers_in_gathers(keep: Keep) -> None:
    await gather(keep(gather(_work(), _work())), keep(gather(_work(), sleep(3))))


@scenario
async def wait_for_a_coroutine(keep: Keep) -> None:
    await wait_for(_work(), 5)


@scenario
async def wait_for_a_task(keep: Keep) -> None:
    await wait_for(keep(create_task(_work())), 5)


@scenario
async def wait_for_that_expires(keep: Keep) -> None:
    with pytest.raises(TimeoutError):
        await wait_for(keep(create_task(_work(1, 10))), 1)


@scenario
async def wait_for_without_time(keep: Keep) -> None:
    with pytest.raises(TimeoutError):
        await wait_for(keep(create_task(_work())), 0)


@scenario
async def wait_for_in_wait_for(keep: Keep) -> None:
    with pytest.raises(TimeoutError):
        await wait_for(wait_for(_work(1, 10), 2), 5)


@scenario
async def wait_all(keep: Keep) -> None:
    tasks = [keep(create_task(_work(n))) for n in range(3)]
    try:
        await wait(tasks, timeout=10)
    finally:
        _cancel(tasks)


@scenario
async def wait_first(keep: Keep) -> None:
    tasks = [keep(create_task(_work(n, n))) for n in range(1, 4)]
    try:
        await wait(tasks, return_when=tinycoro.FIRST_COMPLETED)
    finally:
        _cancel(tasks)


@scenario
async def wait_with_a_timeout(keep: Keep) -> None:
    future = keep(tinycoro.get_running_loop().create_future())
    await wait([future], timeout=1)


@scenario
async def shielded(keep: Keep) -> None:
    await shield(keep(create_task(_work())))


@scenario
async def shielded_and_awaited_after_all(keep: Keep) -> None:
    task = keep(create_task(_work()))
    try:
        await shield(task)
    except CancelledError:
        await task
        raise


@scenario
async def as_completed_plain(keep: Keep) -> None:
    tasks = [keep(create_task(_work(n, n))) for n in range(3)]
    coros = list(tinycoro.as_completed(tasks, timeout=10))
    try:
        for coro in coros:
            await coro
    finally:
        _cancel(tasks)
        for coro in coros:
            coro.close()


@scenario
async def as_completed_asynchronous(keep: Keep) -> None:
    tasks = [keep(create_task(_work(n, n))) for n in range(3)]
    try:
        async for task in tinycoro.as_completed(tasks, timeout=10):
            await task
    finally:
        _cancel(tasks)


@scenario
async def a_timeout(keep: Keep) -> None:
    async with keep_state(tinycoro.timeout(5), keep):
        await _work()


@scenario
async def a_timeout_that_expires(keep: Keep) -> None:
    with pytest.raises(TimeoutError):
        async with tinycoro.timeout(1):
            await _work(2, 10)


@scenario
async def timeouts_in_timeouts(keep: Keep) -> None:
    async with tinycoro.timeout(100) as outer:
        try:
            async with tinycoro.timeout(50) as inner:
                await sleep(0)
                inner.reschedule(outer.when())
                inner.reschedule(tinycoro.get_running_loop().time() + 1)
                await sleep(10)
        except TimeoutError:
            await sleep(1)


@scenario
async def a_scope(keep: Keep) -> None:
    with tinycoro.move_on_after(1):
        await sleep(10)
    with tinycoro.move_on_after(1) as scope:
        scope.cancel()
        await sleep(10)
    await sleep(0)


@scenario
async def a_group(keep: Keep) -> None:
    async with TaskGroup() as group:
        keep(group)
        keep(group.create_task(_work()))
        keep(group.create_task(_work(3)))
        await sleep(0)


@scenario
async def a_group_that_fails(keep: Keep) -> None:
    try:
        async with TaskGroup() as group:
            keep(group.create_task(_work(2, 10)))
            keep(group.create_task(_fail()))
            await sleep(20)
    except* KeyError:
        pass


@scenario
async def groups_in_groups(keep: Keep) -> None:
    async def inner() -> None:
        async with TaskGroup() as group:
            for _ in range(3):
                keep(group.create_task(_work()))

    async with TaskGroup() as group:
        keep(group.create_task(inner()))
        keep(group.create_task(inner()))


@scenario
async def a_group_with_slow_cleanups(keep: Keep) -> None:
    async def child() -> None:
        try:
            await sleep(1)
        finally:
            await sleep(0)
            await sleep(1)

    async with TaskGroup() as group:
        keep(group.create_task(child()))
        keep(group.create_task(child()))


@scenario
async def a_cancelled_group(keep: Keep) -> None:
    async with TaskGroup() as group:
        keep(group.create_task(_work(1, 50)))
        tinycoro.get_running_loop().call_later(1, group.cancel)
        await sleep(100)
    await sleep(0)


@scenario
async def eager_children(keep: Keep) -> None:
    async with TaskGroup() as group:
        keep(group.create_task(_work(), eager_start=True))
        keep(group.create_task(sleep(0), eager_start=True))
    await keep(create_task(_work(), eager_start=True))


@scenario
async def everything_at_once(keep: Keep) -> None:
    async with tinycoro.timeout(50), TaskGroup() as group:
        keep(group.create_task(wait_for(shield(keep(create_task(_work()))), 10)))
        keep(group.create_task(_drained(keep(gather(_work(), _work())))))
        await wait([keep(group.create_task(_work()))], timeout=20)


async def _drained(future: Some) -> None:
    await future


class Thing:
    """Something whose end can be seen."""


def keep_state(timeout: Some, keep: Keep) -> Some:
    keep(Thing())
    return timeout


def _cancel(tasks: list[Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


class _SweepLoop(TinycoroLoop):
    """Cancels a task before a certain turn."""

    victim: Task[Any] | None = None
    turns_left = 0
    cancels = 1

    def _run(self) -> None:
        if self.victim is not None and not self.victim.done():
            self.turns_left -= 1
            if self.turns_left == 0:
                for _ in range(self.cancels):
                    self.victim.cancel("sweep")
        super()._run()


def _run_once(function: Scenario, turn: int, cancels: int) -> bool:
    """Cancel before turn number `turn`; return whether the scenario lasted that long."""
    things: list[weakref.ref[Any]] = []
    reports: list[object] = []

    def keep(thing: Some) -> Some:
        things.append(weakref.ref(thing))
        return thing

    loop = _SweepLoop()  # type: ignore[abstract]  # as new_event_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    try:
        loop.victim = loop.create_task(function(keep))
        loop.turns_left = turn
        loop.cancels = cancels
        try:
            loop.run_until_complete(loop.victim)
        except CancelledError:
            assert loop.turns_left <= 0
        was_cancelled = loop.turns_left <= 0
        loop.victim = None
        loop.run_until_complete(sleep(1000))
        assert not tinycoro.all_tasks(loop), "a task is left"
        assert loop._ready_count() == 0, "the ready queue is not empty"
    finally:
        loop.close()
    del loop
    gc.collect(0)
    if any(reference() is not None for reference in things):
        gc.collect()
    left = [reference() for reference in things if reference() is not None]
    assert not left, f"still alive: {left}"
    assert not reports, reports
    return was_cancelled


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("name", _SCENARIOS)
def test_cancel_at_every_turn(name: str, cancels: int) -> None:
    turn = 1
    while _run_once(_SCENARIOS[name], turn, cancels):
        turn += 1
        assert turn < 200, "the scenario does not end"
    assert turn > 2, "it was not cancelled anywhere"


def test_the_sweep_is_wide() -> None:
    assert len(_SCENARIOS) >= 20
