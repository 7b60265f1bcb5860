"""Calls to a service that fails: retries with growing pauses, time limits, a circuit breaker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class ServiceError(Exception):
    """The service has failed; trying again may help."""


class OpenCircuitError(Exception):
    """The service has failed too often: it is left alone for a while."""


def pauses(first: float, factor: float, highest: float, seed: int) -> Callable[[int], float]:
    """Exponential pauses with jitter: pause(attempt) in seconds, the same for the same seed."""
    source = random.Random(seed)

    def pause(attempt: int) -> float:
        return min(first * factor**attempt, highest) * source.uniform(0.5, 1.0)

    return pause


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    patience: float,
    pause: Callable[[int], float],
    notes: list[str],
) -> T:
    """Call until it succeeds, at most so often, each time for at most `patience` seconds."""
    for attempt in range(attempts):
        try:
            return await asyncio.wait_for(call(), patience)
        except (ServiceError, TimeoutError) as error:
            notes.append(f"attempt {attempt + 1}: {type(error).__name__}")
            if attempt == attempts - 1:
                raise
        await asyncio.sleep(pause(attempt))
    raise ValueError("attempts must be positive")


class CircuitBreaker:
    """Lets calls through until `threshold` have failed in a row, then none for `rest` seconds."""

    def __init__(self, threshold: int, rest: float) -> None:
        self._threshold = threshold
        self._rest = rest
        self._failures = 0
        self._opened: float | None = None
        self._probe = asyncio.Lock()

    @property
    def state(self) -> str:
        """closed, open, or half-open: one call may try."""
        if self._opened is None:
            return "closed"
        waited = asyncio.get_running_loop().time() - self._opened
        return "open" if waited < self._rest else "half-open"

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call through the breaker."""
        if self.state == "closed":
            return await self._attempt(function)
        if self.state == "open" or self._probe.locked():
            raise OpenCircuitError
        async with self._probe:
            return await self._attempt(function)

    async def _attempt(self, function: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await function()
        except ServiceError:
            self._failures += 1
            if self._failures >= self._threshold:
                self._opened = asyncio.get_running_loop().time()
            raise
        self._failures = 0
        self._opened = None
        return result


class Service:
    """Plays a script: for each call "ok", "fail" or "hang"."""

    def __init__(self, script: str) -> None:
        self._script = iter(script.split())
        self.cancelled = 0

    async def call(self) -> str:
        """Do what the script says."""
        word = next(self._script)
        await asyncio.sleep(0)
        if word == "fail":
            raise ServiceError
        if word == "hang":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return word


async def use_retries(script: str) -> None:
    service = Service(script)
    notes: list[str] = []
    pause = pauses(first=0.001, factor=2, highest=0.004, seed=7)
    try:
        result = await retry(service.call, attempts=4, patience=0.6, pause=pause, notes=notes)
    except (ServiceError, TimeoutError) as error:
        result = f"given up after {type(error).__name__}"
    print(f"{script}: {'; '.join(notes) or 'no trouble'} → {result}; hung: {service.cancelled}")


async def use_breaker() -> None:
    breaker = CircuitBreaker(threshold=2, rest=0.6)
    service = Service("ok fail fail ok ok")
    for _ in range(5):
        try:
            print("through the breaker:", await breaker.call(service.call), breaker.state)
        except (ServiceError, OpenCircuitError) as error:
            print("through the breaker:", type(error).__name__, breaker.state)
    await asyncio.sleep(0.65)
    print("after a rest:", breaker.state)
    results = await asyncio.gather(
        *(breaker.call(service.call) for _ in range(3)), return_exceptions=True
    )
    print("three at once:", [each if isinstance(each, str) else repr(each) for each in results])
    print("then:", await breaker.call(service.call), breaker.state)


async def main() -> None:
    for script in ("ok", "fail fail ok", "hang ok", "fail hang fail fail"):
        await use_retries(script)
    await use_breaker()


asyncio.run(main())
