"""A scheduler of jobs: one-off, repeated, cancelled; a heap, one timer, and a virtual minute."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

MINUTE = 0.05  # seconds: the example is not to take an hour


@dataclass(order=True)
class Job:
    """Runs at `when`, in minutes; those of the same minute in the order they were added."""

    when: int
    number: int
    name: str = field(compare=False)
    action: Callable[[], Awaitable[None]] = field(compare=False)
    every: int | None = field(compare=False, default=None)
    is_cancelled: bool = field(compare=False, default=False)

    def cancel(self) -> None:
        """Do not run it again."""
        self.is_cancelled = True


class Scheduler:
    """Runs jobs one after the other, each at its time or as soon after it as possible."""

    def __init__(self) -> None:
        self._heap: list[Job] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Condition()
        self._begun = asyncio.get_running_loop().time()
        self.now = 0
        self.failures: list[str] = []

    async def add(
        self, when: int, name: str, action: Callable[[], Awaitable[None]], every: int | None = None
    ) -> Job:
        """Have `action` run at minute `when`, and then every so many minutes."""
        job = Job(when, next(self._numbers), name, action, every)
        async with self._changed:
            heapq.heappush(self._heap, job)
            self._changed.notify()
        return job

    async def _next(self) -> Job:
        """Wait for the first job that is due."""
        loop = asyncio.get_running_loop()
        async with self._changed:
            while True:
                while self._heap and self._heap[0].is_cancelled:
                    heapq.heappop(self._heap)
                if not self._heap:
                    await self._changed.wait()
                    continue
                due = self._begun + self._heap[0].when * MINUTE
                if loop.time() >= due:
                    return heapq.heappop(self._heap)
                try:
                    async with asyncio.timeout_at(due):
                        await self._changed.wait()  # something earlier may come
                except TimeoutError:
                    pass

    async def run(self) -> None:
        """Run jobs until cancelled."""
        while True:
            job = await self._next()
            self.now = job.when
            try:
                await job.action()
            except Exception as error:
                self.failures.append(f"{job.name} at {job.when}: {error}")
            if job.every is not None and not job.is_cancelled:
                await self.add(job.when + job.every, job.name, job.action, job.every)


async def main() -> None:
    scheduler = Scheduler()
    log: list[str] = []
    finished = asyncio.Event()

    def note(name: str) -> Callable[[], Awaitable[None]]:
        async def action() -> None:
            log.append(f"{scheduler.now:2} {name}")

        return action

    async def broken() -> None:
        log.append(f"{scheduler.now:2} broken")
        raise RuntimeError("out of paper")

    async def plan() -> None:
        log.append(f"{scheduler.now:2} plan")
        await scheduler.add(scheduler.now, "at once", note("at once"))
        await scheduler.add(11, "last", stop)
        backup.cancel()

    async def stop() -> None:
        log.append(f"{scheduler.now:2} stop")
        finished.set()

    await scheduler.add(4, "report", note("report"), every=4)
    await scheduler.add(2, "broken", broken, every=5)
    backup = await scheduler.add(3, "backup", note("backup"), every=3)
    await scheduler.add(7, "plan", plan)
    never = await scheduler.add(5, "never", note("never"))
    never.cancel()
    runner = asyncio.create_task(scheduler.run())
    await asyncio.sleep(0)
    await scheduler.add(1, "first", note("first"))  # earlier than what the runner waits for
    await finished.wait()
    runner.cancel()
    await asyncio.wait({runner})
    print("\n".join(log))
    print("failures:", scheduler.failures)
    print("the runner was cancelled:", runner.cancelled())


asyncio.run(main())
