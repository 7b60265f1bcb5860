"""Scenarios of a few tasks over locks, and what each must leave when one of them is cancelled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from both import Lib

# A lock, an event, a queue of the library under test.
Thing = Any


class World:
    """What one run of a scenario is made of, and what it must leave."""

    def __init__(self, lib: Lib) -> None:
        self.lib = lib
        self.tasks: list[asyncio.Task[Any]] = []
        self.locks: list[Any] = []
        self.semaphores: list[tuple[Any, int]] = []
        self.events: list[Any] = []
        self.queues: list[Any] = []
        self.put_in: Counter[object] = Counter()
        self.taken: Counter[object] = Counter()
        self.log: list[object] = []
        # What lets the others go on when somebody is gone whom they wait for.
        self.rescue: Callable[[], Awaitable[None]] | None = None

    def spawn(self, *coroutines: Coroutine[Any, Any, Any]) -> None:
        self.tasks += [self.lib.create_task(coroutine) for coroutine in coroutines]

    def lock(self) -> Thing:
        self.locks.append(self.lib.Lock())
        return self.locks[-1]

    def condition(self, lock: Thing = None) -> Thing:
        self.locks.append(self.lib.Condition(lock))
        return self.locks[-1]

    def semaphore(self, value: int, kind: str = "Semaphore") -> Thing:
        self.semaphores.append((getattr(self.lib, kind)(value), value))
        return self.semaphores[-1][0]

    def event(self) -> Thing:
        self.events.append(self.lib.Event())
        return self.events[-1]

    def queue(self, maxsize: int = 0, kind: str = "Queue") -> Thing:
        self.queues.append(getattr(self.lib, kind)(maxsize))
        return self.queues[-1]

    async def turns(self, count: int = 1) -> None:
        for _ in range(count):
            await self.lib.sleep(0)

    async def put(self, queue: Thing, item: object) -> None:
        await queue.put(item)
        self.put_in[item] += 1

    async def get(self, queue: Thing) -> Thing:
        item = await queue.get()
        self.taken[item] += 1
        return item

    # ---- afterwards -----------------------------------------------------------------------------

    def check(self) -> None:
        for lock in self.locks:
            assert not lock.locked(), lock
            assert not lock._waiters, lock
        for semaphore, value in self.semaphores:
            assert semaphore._value == value, semaphore
            assert not semaphore._waiters, semaphore
        assert not any(event._waiters for event in self.events)
        left: Counter[object] = Counter()
        for queue in self.queues:
            assert not queue._getters, queue
            assert not queue._putters, queue
            left.update(queue._queue)
        assert self.put_in == self.taken + left


Scenario = Callable[[World], Awaitable[None]]
SCENARIOS: list[Scenario] = []


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


# ---- locks ---------------------------------------------------------------------------------------


@scenario
async def three_tasks_and_a_lock(world: World) -> None:
    lock = world.lock()

    async def hold() -> None:
        for _ in range(2):
            async with lock:
                await world.turns()

    world.spawn(hold(), hold(), hold())


@scenario
async def acquire_and_release_by_hand(world: World) -> None:
    lock = world.lock()

    async def hold() -> None:
        await lock.acquire()
        try:
            await world.turns(2)
        finally:
            lock.release()

    world.spawn(hold(), hold(), hold())


@scenario
async def two_locks_in_one_order(world: World) -> None:
    first, second = world.lock(), world.lock()

    async def hold() -> None:
        async with first, second:
            await world.turns()

    world.spawn(hold(), hold(), hold())


@scenario
async def an_acquire_in_a_task_of_its_own(world: World) -> None:
    lock = world.lock()

    async def hold() -> None:
        taker = world.lib.create_task(lock.acquire())
        try:
            await taker
        except world.lib.CancelledError:
            if taker.cancelled():  # else it had the lock when the cancel came
                raise
        try:
            await world.turns()
        finally:
            lock.release()

    world.spawn(hold(), hold(), hold())


@scenario
async def a_lock_that_is_passed_on_at_once(world: World) -> None:
    lock = world.lock()

    async def hold(turns: int) -> None:
        for _ in range(3):
            async with lock:
                pass
            await world.turns(turns)

    world.spawn(hold(0), hold(1), hold(2))


# ---- semaphores ----------------------------------------------------------------------------------


@scenario
async def a_semaphore_of_two(world: World) -> None:
    semaphore = world.semaphore(2)

    async def hold() -> None:
        for _ in range(2):
            async with semaphore:
                await world.turns()

    world.spawn(hold(), hold(), hold(), hold())


@scenario
async def a_bounded_semaphore_of_one(world: World) -> None:
    semaphore = world.semaphore(1, "BoundedSemaphore")

    async def hold() -> None:
        await semaphore.acquire()
        try:
            await world.turns()
        finally:
            semaphore.release()

    world.spawn(hold(), hold(), hold())


@scenario
async def two_permits_at_once(world: World) -> None:
    semaphore = world.semaphore(2)

    async def hold_both() -> None:
        async with semaphore, semaphore:
            await world.turns()

    async def hold_one() -> None:
        for _ in range(3):
            async with semaphore:
                await world.turns()

    world.spawn(hold_one(), hold_both(), hold_one())


@scenario
async def permits_that_come_together(world: World) -> None:
    semaphore = world.semaphore(2)
    await semaphore.acquire()
    await semaphore.acquire()

    async def wait() -> None:
        async with semaphore:
            await world.turns()

    world.spawn(wait(), wait(), wait())
    await world.turns(2)
    semaphore.release()
    semaphore.release()


# ---- events --------------------------------------------------------------------------------------


@scenario
async def an_event_and_those_who_wait(world: World) -> None:
    event = world.event()

    async def wait() -> None:
        assert await event.wait()

    async def give() -> None:
        await world.turns(3)
        event.set()

    world.spawn(wait(), wait(), give())

    async def rescue() -> None:  # the giver was gone before it began
        event.set()

    world.rescue = rescue


@scenario
async def an_event_that_is_cleared_at_once(world: World) -> None:
    event = world.event()

    async def wait() -> None:
        for _ in range(2):
            await event.wait()

    async def pulse() -> None:
        for _ in range(3):
            await world.turns(2)
            event.set()
            event.clear()

    world.spawn(wait(), wait(), pulse())

    async def rescue() -> None:
        event.set()

    world.rescue = rescue


# ---- conditions ----------------------------------------------------------------------------------


@scenario
async def a_condition_and_one_notification_each(world: World) -> None:
    condition = world.condition()
    state = {"free": 0}

    async def wait() -> None:
        async with condition:
            while not state["free"]:
                await condition.wait()
            state["free"] -= 1

    async def give() -> None:
        for _ in range(2):
            async with condition:
                state["free"] += 1
                condition.notify()
            await world.turns()

    world.spawn(wait(), wait(), give())

    async def rescue() -> None:
        async with condition:
            state["free"] = 2
            condition.notify_all()

    world.rescue = rescue


@scenario
async def a_condition_and_a_predicate(world: World) -> None:
    condition = world.condition()
    values: list[int] = []

    async def wait(count: int) -> None:
        async with condition:
            await condition.wait_for(lambda: len(values) >= count)

    async def give() -> None:
        for number in range(3):
            async with condition:
                values.append(number)
                condition.notify_all()
            await world.turns()

    world.spawn(wait(1), wait(3), give())

    async def rescue() -> None:
        values.extend([0, 1, 2])
        async with condition:
            condition.notify_all()

    world.rescue = rescue


@scenario
async def two_conditions_with_one_lock(world: World) -> None:
    lock = world.lib.Lock()
    not_empty, not_full = world.condition(lock), world.condition(lock)
    items: list[int] = []

    async def put() -> None:
        for number in range(3):
            async with not_full:
                while items:
                    await not_full.wait()
                items.append(number)
                not_empty.notify()

    async def get() -> None:
        for _ in range(3):
            async with not_empty:
                while not items:
                    await not_empty.wait()
                items.pop()
                not_full.notify()

    world.spawn(put(), get())

    async def rescue() -> None:  # the other one waits for the one that is gone
        for task in world.tasks:
            task.cancel()

    world.rescue = rescue


@scenario
async def readers_and_a_writer(world: World) -> None:
    condition = world.condition()
    state = {"readers": 0, "writing": False}

    async def read() -> None:
        async with condition:
            await condition.wait_for(lambda: not state["writing"])
            state["readers"] += 1
        try:
            await world.turns()
        finally:
            await finish("readers")

    async def write() -> None:
        async with condition:
            await condition.wait_for(lambda: not state["writing"] and not state["readers"])
            state["writing"] = True
        try:
            await world.turns()
        finally:
            await finish("writing")

    async def finish(what: str) -> None:
        async with condition:
            state[what] = state["readers"] - 1 if what == "readers" else False
            condition.notify_all()

    world.spawn(read(), write(), read(), write())

    async def rescue() -> None:
        # A cancel inside `finish` leaves the count wrong: that is the scenario's, not the lock's.
        state.update(readers=0, writing=False)
        async with condition:
            condition.notify_all()

    world.rescue = rescue


# ---- barriers ------------------------------------------------------------------------------------


@scenario
async def a_barrier_of_two(world: World) -> None:
    barrier = world.lib.Barrier(2)

    async def pass_it() -> None:
        for _ in range(2):
            world.log.append(await barrier.wait())

    world.spawn(pass_it(), pass_it(), pass_it(), pass_it())

    async def rescue() -> None:
        for task in world.tasks:
            task.cancel()
        await world.turns(3)
        assert barrier.n_waiting == 0

    world.rescue = rescue


@scenario
async def a_barrier_that_is_aborted(world: World) -> None:
    barrier = world.lib.Barrier(3)

    async def pass_it() -> None:
        with pytest.raises(world.lib.BrokenBarrierError):
            async with barrier:
                pass

    async def abort() -> None:
        await world.turns(3)
        await barrier.abort()

    world.spawn(pass_it(), pass_it(), abort())

    async def rescue() -> None:
        await barrier.abort()

    world.rescue = rescue
