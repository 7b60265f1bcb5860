"""Lock, Event, Semaphore, Condition, Barrier: asyncio's words, order and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import tinycoro
from both import Lib, same_on_both
from sync_programs import IS_313, plain

# A lock of the library under test.
Thing = Any

_LOCKS = ("Lock", "Semaphore", "BoundedSemaphore", "Condition")


@same_on_both
async def test_who_comes_first_is_served_first(lib: Lib, log: list[object]) -> None:
    for name in _LOCKS:
        lock = getattr(lib, name)()

        async def hold(number: int, lock: Thing = lock) -> None:
            async with lock:
                log.append((number, plain(lock)))
                await lib.sleep(0)

        async def count() -> None:
            for turn in range(12):
                log.append(turn)
                await lib.sleep(0)

        await lib.gather(*[hold(number) for number in range(4)], count())


@same_on_both
async def test_without_contention_nothing_switches(lib: Lib, log: list[object]) -> None:
    async def other() -> None:
        log.append("other")

    task = lib.create_task(other())
    for name in _LOCKS:
        async with getattr(lib, name)() as nothing:
            log.append((name, nothing))
    event = lib.Event()
    event.set()
    log.append(await event.wait())
    log.append(await lib.Lock().acquire())
    log.append(await lib.Semaphore(2).acquire())
    await task


@same_on_both
async def test_reprs(lib: Lib, log: list[object]) -> None:
    locks = [getattr(lib, name)() for name in _LOCKS]
    waiters = []
    for lock in locks:
        log.append(plain(lock))
        await lock.acquire()
        waiters += [lib.create_task(lock.acquire()) for _ in range(2)]
    event = lib.Event()
    log.append(plain(event))
    waiters.append(lib.create_task(event.wait()))
    await lib.sleep(0)
    log.extend(plain(each) for each in (*locks, event, lib.Semaphore(7), lib.Barrier(3)))
    event.set()
    log.append(plain(event))
    for lock in locks:
        lock.release()
        lock.locked()
        log.append(plain(lock))
        waiters[-1].cancel()
        await lib.sleep(0)
        log.append(plain(lock))
    for waiter in waiters:
        waiter.cancel()
    await lib.gather(*waiters, return_exceptions=True)

    class Sub(lib.Lock):  # type: ignore[misc]
        pass

    log.append(plain(Sub()).partition("<locals>.")[2])


@same_on_both
async def test_misuse(lib: Lib, log: list[object]) -> None:
    async def attempt(call: Callable[[], Any]) -> None:
        try:
            result = call()
            if hasattr(result, "__await__"):
                await result
        except (RuntimeError, ValueError, TypeError) as error:
            log.append((type(error).__name__, str(error)))
        else:
            log.append("accepted")

    condition = lib.Condition()
    bounded = lib.BoundedSemaphore(2)
    await attempt(lib.Lock().release)
    await attempt(condition.release)
    await attempt(condition.wait)
    await attempt(condition.notify)
    await attempt(condition.notify_all)
    await attempt(bounded.release)
    await attempt(lambda: lib.Semaphore(-1))
    await attempt(lambda: lib.BoundedSemaphore(-1))
    await attempt(lambda: lib.Lock(loop=1))
    await attempt(lambda: lib.Event(loop=1))
    await attempt(lambda: lib.Semaphore(1, loop=1))
    await attempt(lambda: lib.Semaphore(wrong=1))
    await attempt(lambda: lib.Lock(1))
    await attempt(lambda: lib.Semaphore(1, 2))
    await attempt(lambda: lib.Semaphore(1, value=2))
    for name in ("Lock", "Semaphore", "Event", "Condition"):
        try:
            await getattr(lib, name)()
        except TypeError as error:
            log.append(str(error).partition(" can't be")[0])
        with pytest.raises((TypeError, AttributeError)), getattr(lib, name)():
            pass


@same_on_both
async def test_an_event_lets_everybody_go_even_if_it_is_cleared(
    lib: Lib, log: list[object]
) -> None:
    event = lib.Event()

    async def wait(number: int) -> None:
        log.append((number, await event.wait(), event.is_set()))

    tasks = [lib.create_task(wait(number)) for number in range(3)]
    await lib.sleep(0)
    event.set()
    event.clear()
    event.set()
    event.clear()
    tasks.append(lib.create_task(wait(3)))
    await lib.sleep(0)
    await lib.sleep(0)
    log.append([task.done() for task in tasks])
    event.set()
    await lib.gather(*tasks)


@same_on_both
async def test_a_condition_with_a_lock_of_its_own_choice(lib: Lib, log: list[object]) -> None:
    lock = lib.Lock()
    first, second = lib.Condition(lock), lib.Condition(lock=lock)

    async def wait() -> None:
        async with first:
            log.append((first.locked(), second.locked(), lock.locked()))
            log.append(await first.wait())

    task = lib.create_task(wait())
    await lib.sleep(0)
    async with lock:
        first.notify(5)
        second.notify_all()
    await task


@same_on_both
async def test_a_condition_waits_for_a_predicate(lib: Lib, log: list[object]) -> None:
    condition = lib.Condition()
    values: list[int] = []

    def predicate() -> list[int]:
        log.append(len(values))
        return values if len(values) > 2 else []

    async def wait() -> None:
        async with condition:
            log.append(await condition.wait_for(predicate))

    task = lib.create_task(wait())
    while not task.done():
        await lib.sleep(0)
        async with condition:
            values.append(1)
            condition.notify()


@same_on_both
async def test_a_barrier_is_passed_by_all_or_none(lib: Lib, log: list[object]) -> None:
    barrier = lib.Barrier(3)

    async def party(name: str) -> None:
        for turn in range(3):
            try:
                async with barrier as number:
                    log.append((name, turn, number, plain(barrier)))
            except lib.BrokenBarrierError as error:
                log.append((name, str(error), plain(barrier)))

    tasks = [lib.create_task(party(name)) for name in "abc"]
    await lib.gather(*tasks)
    log.append((barrier.parties, barrier.n_waiting, barrier.broken))
    tasks = [lib.create_task(party(name)) for name in "de"]
    await lib.sleep(0)
    log.append(barrier.n_waiting)
    await barrier.reset()
    await lib.sleep(0)
    await barrier.abort()
    await lib.gather(*tasks)
    log.append((plain(barrier), barrier.broken))


def test_a_barrier_needs_somebody() -> None:
    with pytest.raises(ValueError, match="parties must be >= 1"):
        tinycoro.Barrier(0)


# ---- cancelled waits -----------------------------------------------------------------------------


@same_on_both
async def test_the_cancel_of_who_was_woken_wakes_the_next(lib: Lib, log: list[object]) -> None:
    for name in ("Lock", "Condition"):
        lock = getattr(lib, name)()
        await lock.acquire()

        async def acquire(number: int, lock: Thing = lock) -> None:
            try:
                log.append((number, await lock.acquire()))
            except lib.CancelledError as error:
                log.append((number, error.args))

        tasks = [lib.create_task(acquire(number)) for number in range(3)]
        await lib.sleep(0)
        lock.release()
        tasks[0].cancel("too late")
        log.append(plain(lock))
        for turn in range(3):
            await lib.sleep(0)
            log.append((turn, plain(lock)))
        lock.release()
        await lib.gather(*tasks)


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_a_semaphore_gives_back_the_permit_of_a_cancelled_wait(name: str) -> None:
    """asyncio's, from 3.13 on."""

    async def scenario(lib: Lib, log: list[object]) -> None:
        semaphore = getattr(lib, name)(1)
        await semaphore.acquire()

        async def acquire(number: int) -> None:
            await semaphore.acquire()
            log.append(number)

        tasks = [lib.create_task(acquire(number)) for number in range(3)]
        await lib.sleep(0)
        semaphore.release()
        tasks[0].cancel()
        log.append(semaphore.locked())
        await lib.sleep(0)
        log.append([task.done() for task in tasks])
        await lib.sleep(0)
        log.append([task.done() for task in tasks])
        semaphore.release()
        await lib.gather(*tasks, return_exceptions=True)
        log.append(plain(semaphore))

    if IS_313:
        same_on_both(scenario)()
    log: list[object] = []
    tinycoro.run(scenario(tinycoro, log))
    assert log == [
        True,
        [True, False, False],
        1,
        [True, True, False],
        2,
        f"<{name} object at 0x [locked]>",
    ]


def test_a_notification_that_a_cancel_meets_goes_to_another() -> None:
    """asyncio's, from 3.13 on."""

    async def scenario(lib: Lib, log: list[object]) -> None:
        condition = lib.Condition()

        async def wait(number: int) -> None:
            try:
                async with condition:
                    await condition.wait()
                log.append(number)
            except lib.CancelledError as error:
                log.append((number, error.args))

        tasks = [lib.create_task(wait(number)) for number in range(3)]
        await lib.sleep(0)
        async with condition:
            condition.notify()
            tasks[0].cancel("first")
            await lib.sleep(0)
            tasks[0].cancel("second")
        await lib.gather(*tasks[:2])
        log.append(condition.locked())
        tasks[2].cancel()
        await tasks[2]

    if IS_313:
        same_on_both(scenario)()
    log: list[object] = []
    tinycoro.run(scenario(tinycoro, log))
    assert log == [(0, ("second",)), 1, False, (2, ())]


# ---- subclasses ----------------------------------------------------------------------------------


@same_on_both
async def test_async_with_calls_what_a_subclass_overrides(lib: Lib, log: list[object]) -> None:
    for base in (lib.Lock, lib.Semaphore, lib.BoundedSemaphore):

        class Loud(base):  # type: ignore[misc, valid-type]
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            async def acquire(self) -> bool:
                log.append(("acquire", self.name))
                return bool(await super().acquire())

            def release(self) -> None:
                log.append(("release", self.name))
                super().release()

        lock = Loud(base.__name__)
        async with lock:
            log.append(lock.locked())
        log.append(lock.locked())


@same_on_both
async def test_a_semaphore_asks_locked_of_a_subclass(lib: Lib, log: list[object]) -> None:
    class Closed(lib.Semaphore):  # type: ignore[misc]
        def locked(self) -> bool:
            if log and log[-1] == "broken":
                raise KeyError("locked")
            return True

    semaphore = Closed(3)
    task = lib.create_task(semaphore.acquire())
    await lib.sleep(0)
    log.append((task.done(), plain(semaphore).partition("object")[2]))
    semaphore.release()
    log.append(await task)
    log.append("broken")
    try:
        await semaphore.acquire()
    except KeyError as error:
        log.append(repr(error))


# ---- beyond asyncio's tests ----------------------------------------------------------------------


@same_on_both
async def test_a_semaphore_without_a_limit(lib: Lib, log: list[object]) -> None:
    for value in (math.inf, 2.0, True, 10**6):
        semaphore = lib.Semaphore(value)
        async with semaphore:
            log.append((semaphore.locked(), plain(semaphore).replace("True", "1")))


def test_a_semaphore_of_something_else_is_refused() -> None:
    wrong: Any = "1"
    with pytest.raises(TypeError):
        tinycoro.Semaphore(wrong)
    with pytest.raises(TypeError):
        tinycoro.BoundedSemaphore(None)  # type: ignore[arg-type]


def test_locks_made_before_run_serve_several_loops_until_somebody_waits() -> None:
    lock, event = tinycoro.Lock(), tinycoro.Event()
    semaphore, condition = tinycoro.Semaphore(), tinycoro.Condition()
    barrier = tinycoro.Barrier(1)

    async def use() -> None:
        event.set()
        assert await event.wait()
        for each in (lock, semaphore, condition):
            async with each:
                pass
        assert await barrier.wait() == 0

    async def contend() -> None:
        await lock.acquire()
        await semaphore.acquire()
        event.clear()
        waits = [lock.acquire(), semaphore.acquire(), event.wait()]
        tasks = [tinycoro.create_task(wait) for wait in waits]
        await tinycoro.sleep(0)
        lock.release()
        semaphore.release()
        event.set()
        await tinycoro.gather(*tasks)
        event.clear()

    async def wait_for_condition() -> None:
        async with condition:
            await condition.wait()

    async def wait_twice() -> None:
        task = tinycoro.create_task(wait_for_condition())
        await tinycoro.sleep(0)
        async with condition:
            condition.notify()
        await task

    async def elsewhere() -> None:
        calls: tuple[tuple[Any, Callable[[], Any]], ...] = (
            (lock, lock.acquire),
            (semaphore, semaphore.acquire),
            (event, event.wait),
            (condition, wait_for_condition),
        )
        for owner, call in calls:
            with pytest.raises(RuntimeError) as caught:
                await call()
            bound = repr(owner).split()[0]
            assert str(caught.value).startswith(bound)
            assert str(caught.value).endswith("]> is bound to a different event loop")

    for _ in range(2):
        tinycoro.run(use())
    tinycoro.run(contend())
    tinycoro.run(wait_twice())
    tinycoro.run(elsewhere())
