"""A supervisor in Erlang's manner: children are restarted when they fail, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum


class Restart(Enum):
    """When a child is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on failure"
    NEVER = "never"


@dataclass
class Child:
    """What to run, and how often it has been started."""

    name: str
    start: Callable[[], Awaitable[None]]
    restart: Restart = Restart.ON_FAILURE
    starts: int = field(default=0, init=False)


class GivenUpError(Exception):
    """A child has failed too often."""


class Supervisor:
    """Runs children side by side until stop() or until one fails more than `limit` times."""

    def __init__(self, *children: Child, limit: int = 3) -> None:
        self._children = children
        self._limit = limit
        self._stopping = asyncio.Event()
        self.events: list[str] = []

    def stop(self) -> None:
        """Ask all children to end."""
        self._stopping.set()

    async def _keep(self, child: Child) -> None:
        failures = 0
        while True:
            child.starts += 1
            try:
                await child.start()
            except asyncio.CancelledError:
                self.events.append(f"{child.name} is stopped")
                raise
            except Exception as error:
                failures += 1
                self.events.append(f"{child.name} fails: {error}")
                if child.restart is Restart.NEVER:
                    return
                if failures > self._limit:
                    raise GivenUpError(child.name) from error
            else:
                self.events.append(f"{child.name} ends")
                if child.restart is not Restart.ALWAYS:
                    return
            await asyncio.sleep(0)

    async def run(self) -> None:
        """Start all children; return when all have ended. Raises: GivenUpError."""
        tasks = {asyncio.create_task(self._keep(child), name=child.name): child
                 for child in self._children}  # fmt: skip
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            pending: set[asyncio.Task[object]] = {stopper, *tasks}
            while pending != {stopper}:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if stopper in done:
                    return
                for task in done:
                    task.result()  # raises GivenUpError
        finally:
            stopper.cancel()
            # In reverse order, one after the other, each to its end.
            for task in reversed(tasks):
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})


def failing(times: int) -> Callable[[], Awaitable[None]]:
    """A child that fails so many times before it ends."""
    left = times

    async def run() -> None:
        nonlocal left
        await asyncio.sleep(0)
        if left > 0:
            left -= 1
            raise RuntimeError(f"{left} more to come")

    return run


async def forever() -> None:
    """A child that ends only when it is stopped."""
    await asyncio.Event().wait()


async def tidy() -> None:
    """A child that has something to finish when it is stopped."""
    try:
        await forever()
    finally:
        await asyncio.shield(asyncio.sleep(0.001))


async def recover() -> None:
    supervisor = Supervisor(Child("a", failing(2)), Child("b", failing(0)),
                            Child("c", failing(1), Restart.NEVER))  # fmt: skip
    await supervisor.run()
    print("\n".join(supervisor.events))
    print("starts:", [child.starts for child in supervisor._children])


async def give_up() -> None:
    supervisor = Supervisor(Child("first", forever), Child("second", tidy),
                            Child("bad", failing(99)), limit=2)  # fmt: skip
    try:
        await supervisor.run()
    except GivenUpError as error:
        print("given up:", error, "because", repr(error.__cause__))
    print("\n".join(supervisor.events))


async def stop() -> None:
    supervisor = Supervisor(Child("server", forever, Restart.ALWAYS), Child("cache", tidy))
    asyncio.get_running_loop().call_later(0.01, supervisor.stop)
    await supervisor.run()
    print("\n".join(supervisor.events))
    others = asyncio.all_tasks() - {asyncio.current_task()}
    print("left behind:", len(others))


async def main() -> None:
    await recover()
    await give_up()
    await stop()


asyncio.run(main())
