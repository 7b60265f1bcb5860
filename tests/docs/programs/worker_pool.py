"""Workers that share a queue of jobs, survive jobs that fail, and drain it before they stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Job:
    """What is to be done, and where its result goes."""

    number: int
    work: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any] = field(repr=False)


class Pool:
    """`async with Pool(size) as pool`: submit() gives futures, leaving waits for all of them."""

    def __init__(self, size: int, backlog: int = 0) -> None:
        self._size = size
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(backlog)
        self._workers: list[asyncio.Task[None]] = []
        self._submitted = 0
        self.handled = [0] * size

    async def __aenter__(self) -> Pool:
        self._workers = [
            asyncio.create_task(self._work(index), name=f"worker-{index}")
            for index in range(self._size)
        ]
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._jobs.join()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def submit(self, work: Callable[[], Awaitable[Any]]) -> asyncio.Future[Any]:
        """Queue a job; waits while the backlog is full."""
        self._submitted += 1
        job = Job(self._submitted, work, asyncio.get_running_loop().create_future())
        await self._jobs.put(job)
        return job.done

    async def _work(self, index: int) -> None:
        while True:
            job = await self._jobs.get()
            try:
                result = await job.work()
            except Exception as error:
                if not job.done.cancelled():
                    job.done.set_exception(error)
            else:
                if not job.done.cancelled():
                    job.done.set_result(result)
            finally:
                self.handled[index] += 1
                self._jobs.task_done()


async def square(number: int) -> int:
    """Pretend to compute, in as many steps as the number says."""
    for _ in range(number % 4):
        await asyncio.sleep(0)
    if number % 7 == 0:
        raise ValueError(f"{number} is a multiple of 7")
    return number * number


async def run_jobs() -> None:
    """Thirty jobs on four workers, some of which fail."""
    async with Pool(4, backlog=8) as pool:
        futures = [await pool.submit(lambda n=n: square(n)) for n in range(1, 31)]
    for number, future in enumerate(futures, 1):
        error = future.exception()
        print(f"{number:2}: {future.result() if error is None else repr(error)}")
    print("jobs by worker add up:", sum(pool.handled) == len(futures))
    print("each worker was used:", all(pool.handled))


async def run_with_a_cancelled_client() -> None:
    """A client that no longer wants its result does not hurt the pool."""
    async with Pool(1) as pool:
        gate = asyncio.Event()
        first = await pool.submit(gate.wait)
        second = await pool.submit(lambda: square(5))
        print("cancelled:", first.cancel())
        gate.set()
        print("the next one gets", await second)


async def main() -> None:
    await run_jobs()
    await run_with_a_cancelled_client()


asyncio.run(main())
