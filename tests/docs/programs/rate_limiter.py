"""Two ways to limit a rate: a token bucket for bursts, a window for at most N calls at a time."""

from __future__ import annotations

import asyncio
from collections import deque


class TokenBucket:
    """`await take()` waits for one of `rate` tokens a second; `burst` may be saved up."""

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._tokens = burst
        self._burst = burst
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._refill: asyncio.TimerHandle | None = None
        self.waited = 0

    async def take(self) -> None:
        """Take a token, in the order of the calls."""
        if self._tokens > 0 and not self._waiters:
            self._tokens -= 1
            self._schedule()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.waited += 1
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give()  # it had been given a token that nobody uses
            else:
                self._waiters.remove(waiter)
            raise

    def _schedule(self) -> None:
        if self._refill is None:
            loop = asyncio.get_running_loop()
            self._refill = loop.call_later(self._interval, self._on_refill)

    def _on_refill(self) -> None:
        self._refill = None
        self._give()
        if self._waiters or self._tokens < self._burst:
            self._schedule()

    def _give(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._tokens = min(self._tokens + 1, self._burst)

    def close(self) -> None:
        """Stop refilling."""
        if self._refill is not None:
            self._refill.cancel()


class Throttle:
    """`async with throttle` lets at most `limit` callers be inside at once, and counts them."""

    def __init__(self, limit: int) -> None:
        self._semaphore = asyncio.Semaphore(limit)
        self._inside = 0
        self.peak = 0

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()
        self._inside += 1
        self.peak = max(self.peak, self._inside)

    async def __aexit__(self, *exception: object) -> None:
        self._inside -= 1
        self._semaphore.release()


async def use_bucket() -> None:
    """Eight calls at 100 a second with a burst of three: the first three are free."""
    loop = asyncio.get_running_loop()
    bucket = TokenBucket(rate=100, burst=3)
    begun = loop.time()
    order = []
    times = []

    async def client(name: str) -> None:
        await bucket.take()
        order.append(name)
        times.append(loop.time() - begun)

    await asyncio.gather(*(client(f"client {n}") for n in range(8)))
    print("in the order of their calls:", order == [f"client {n}" for n in range(8)])
    print("had to wait:", bucket.waited)
    # The clock may be a moment behind that of the timers.
    print("not faster than the rate:", all(times[n] > 0.0099 * (n - 2) for n in range(3, 8)))

    # One that gives up leaves its token to the next.
    impatient = asyncio.create_task(bucket.take())
    patient = asyncio.create_task(bucket.take())
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    print("impatient:", "cancelled" if impatient.cancelled() else "served")
    bucket.close()


async def use_throttle() -> None:
    """Twenty calls, at most four at a time."""
    throttle = Throttle(4)
    finished = 0

    async def call(number: int) -> None:
        nonlocal finished
        async with throttle:
            for _ in range(number % 3 + 1):
                await asyncio.sleep(0)
            finished += 1

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(call(number))
    print(f"{finished} calls, at most {throttle.peak} at a time")


async def main() -> None:
    await use_bucket()
    await use_throttle()


asyncio.run(main())
