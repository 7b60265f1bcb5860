"""Small programs of several tasks over locks and queues, run on any library with their names.

A program is a list of scripts, one per task; a script is a list of steps; a step is a tuple: the
name of a method of Machine and its arguments. Every outcome is logged with the task and the step,
and a ticker logs the turns of the loop. So two libraries agree on the log only if they wake the
same tasks in the same order after the same number of turns.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

import tinycoro
from both import Lib

Step = tuple[Any, ...]
Script = list[Step]

# Older versions of asyncio lack Queue.shutdown, and their Semaphore and Condition have errors.
IS_313 = sys.version_info >= (3, 13)

TURNS = 40  # after which the tasks that still wait are cancelled
QUEUES = ("Queue", "LifoQueue", "PriorityQueue")


def plain(value: object) -> str:
    """A repr without addresses, and without the module of a class."""
    text = re.sub(r"0x[0-9a-f]+", "0x", repr(value))
    return re.sub(r"\b(?:asyncio\.(?:locks|queues|exceptions)|tinycoro)\.", "", text)


class Machine:
    """The shared objects, the log, and a method per step."""

    def __init__(
        self, lib: Lib, *, queue: str = "Queue", maxsize: int = 0, permits: int = 1
    ) -> None:
        self.lib = lib
        self.log: list[object] = []
        self.lock = lib.Lock()
        self.event = lib.Event()
        self.semaphore = lib.Semaphore(permits)
        self.bounded = lib.BoundedSemaphore(permits)
        self.condition = lib.Condition()
        self.barrier = lib.Barrier(2)
        self.queue = getattr(lib, queue)(maxsize)
        self.tasks: list[asyncio.Task[None]] = []

    # ---- steps --------------------------------------------------------------------------------

    async def turn(self, count: int) -> None:
        for _ in range(count):
            await self.lib.sleep(0)

    async def cancel(self, number: int) -> bool:
        return self.tasks[number % len(self.tasks)].cancel()

    async def acquire(self, name: str) -> object:
        return await getattr(self, name).acquire()

    async def acquire_in_task(self, name: str) -> object:
        return await self.lib.create_task(getattr(self, name).acquire())

    async def release(self, name: str) -> None:
        getattr(self, name).release()

    async def hold(self, name: str, turns: int) -> object:
        async with getattr(self, name) as value:
            await self.turn(turns)
            return value

    async def locked(self, name: str) -> object:
        return getattr(self, name).locked()

    async def look(self, name: str) -> str:
        return plain(getattr(self, name))

    async def wait_event(self) -> object:
        return await self.event.wait()

    async def set_event(self) -> None:
        self.event.set()

    async def clear_event(self) -> None:
        self.event.clear()

    async def wait_condition(self) -> object:
        async with self.condition:
            return await self.condition.wait()

    async def notify(self, count: int) -> None:
        async with self.condition:
            self.condition.notify(count)

    async def notify_all(self, turns: int) -> None:
        async with self.condition:
            self.condition.notify_all()
            await self.turn(turns)

    async def wait_barrier(self) -> object:
        return await self.barrier.wait()

    async def reset_barrier(self) -> None:
        await self.barrier.reset()

    async def abort_barrier(self) -> None:
        await self.barrier.abort()

    async def put(self, value: int) -> object:
        return await self.queue.put(value)

    async def put_in_task(self, value: int) -> object:
        return await self.lib.create_task(self.queue.put(value))

    async def get(self) -> object:
        return await self.queue.get()

    async def get_in_task(self) -> object:
        return await self.lib.create_task(self.queue.get())

    async def put_nowait(self, value: int) -> None:
        self.queue.put_nowait(value)

    async def get_nowait(self) -> object:
        return self.queue.get_nowait()

    async def task_done(self) -> None:
        self.queue.task_done()

    async def join(self) -> object:
        return await self.queue.join()

    async def shutdown(self, immediate: bool) -> None:
        self.queue.shutdown(immediate)

    # ---- running ------------------------------------------------------------------------------

    async def play(self, number: int, script: Script) -> None:
        for place, (name, *arguments) in enumerate(script):
            step: Callable[..., Awaitable[object]] = getattr(self, name)
            try:
                outcome = plain(await step(*arguments))
            except self.lib.CancelledError as error:
                outcome = plain(error)
            except Exception as error:
                outcome = f"{type(error).__name__}{error.args}"
            self.log.append((number, place, name, outcome))

    async def run(self, scripts: list[Script]) -> list[object]:
        for number, script in enumerate(scripts):
            self.tasks.append(self.lib.create_task(self.play(number, script)))
        for turn in range(TURNS):
            self.log.append(turn)
            await self.lib.sleep(0)
        while pending := [task for task in self.tasks if not task.done()]:
            self.log.append(f"{len(pending)} wait")
            for task in pending:
                task.cancel()
            for lock in (self.lock, self.condition):  # which a condition takes in any case
                if lock.locked():
                    lock.release()
            await self.turn(4)
        for name in ("lock", "event", "semaphore", "bounded", "condition", "barrier", "queue"):
            self.log.append(plain(getattr(self, name)))
        self.log.append([task.cancelled() for task in self.tasks])
        return self.log


def compare(scripts: list[Script], **options: str | int) -> None:
    """Run the program on both libraries; fail at the first line where their logs differ."""

    async def scenario(lib: Lib) -> list[object]:
        return await Machine(lib, **cast(Any, options)).run(scripts)

    expected = asyncio.run(scenario(asyncio))
    found = tinycoro.run(scenario(tinycoro))
    for place, (theirs, ours) in enumerate(zip(expected, found, strict=False)):
        before = expected[max(0, place - 6) : place]
        assert ours == theirs, f"after {before}: asyncio {theirs}, tinycoro {ours}"
    assert len(found) == len(expected)
