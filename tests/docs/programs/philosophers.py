"""Dining philosophers, three ways: forks in order, a waiter, and forks that are asked for."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

SEATS = 5
MEALS = 20


class Table(ABC):
    """Where philosophers sit; checks that no fork is in two hands."""

    def __init__(self) -> None:
        self._holder: list[int | None] = [None] * SEATS
        self.meals = [0] * SEATS
        self.eating = 0
        self.most = 0

    @abstractmethod
    def forks(self, seat: int) -> AsyncIterator[None]:
        """Have both forks for the length of the block."""

    async def eat(self, seat: int) -> None:
        """Eat, with both forks."""
        both = (seat, (seat + 1) % SEATS)
        for fork in both:
            assert self._holder[fork] is None, f"fork {fork} is taken"
            self._holder[fork] = seat
        self.eating += 1
        self.most = max(self.most, self.eating)
        await asyncio.sleep(0)
        self.eating -= 1
        for fork in both:
            self._holder[fork] = None
        self.meals[seat] += 1


class Ordered(Table):
    """Everybody takes the fork with the lower number first: no circle, no deadlock."""

    def __init__(self) -> None:
        super().__init__()
        self._forks = [asyncio.Lock() for _ in range(SEATS)]

    @asynccontextmanager
    async def forks(self, seat: int) -> AsyncIterator[None]:
        first, second = sorted((seat, (seat + 1) % SEATS))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._forks[first])
            await asyncio.sleep(0)
            await stack.enter_async_context(self._forks[second])
            yield


class Waiter(Table):
    """A waiter lets only four reach for forks at once."""

    def __init__(self) -> None:
        super().__init__()
        self._forks = [asyncio.Lock() for _ in range(SEATS)]
        self._waiter = asyncio.BoundedSemaphore(SEATS - 1)

    @asynccontextmanager
    async def forks(self, seat: int) -> AsyncIterator[None]:
        async with self._waiter, self._forks[seat]:
            await asyncio.sleep(0)
            async with self._forks[(seat + 1) % SEATS]:
                yield


class Monitor(Table):
    """Both forks at once, or none: a condition tells when a neighbour is done."""

    def __init__(self) -> None:
        super().__init__()
        self._free = [True] * SEATS
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def forks(self, seat: int) -> AsyncIterator[None]:
        left, right = seat, (seat + 1) % SEATS
        async with self._changed:
            await self._changed.wait_for(lambda: self._free[left] and self._free[right])
            self._free[left] = self._free[right] = False
        try:
            yield
        finally:
            async with self._changed:
                self._free[left] = self._free[right] = True
                self._changed.notify_all()


async def philosopher(table: Table, seat: int, begin: asyncio.Barrier) -> None:
    """Think and eat."""
    await begin.wait()
    while table.meals[seat] < MEALS:
        for _ in range(seat % 3):
            await asyncio.sleep(0)  # think
        async with table.forks(seat):
            await table.eat(seat)


async def dine(table: Table) -> None:
    """Have all of them eat their meals."""
    begin = asyncio.Barrier(SEATS)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for seat in range(SEATS):
            group.create_task(philosopher(table, seat, begin), name=f"philosopher {seat}")
    print(f"{type(table).__name__}: meals {table.meals}, at most {table.most} eat at once")


async def main() -> None:
    for table in (Ordered(), Waiter(), Monitor()):
        await dine(table)


asyncio.run(main())
