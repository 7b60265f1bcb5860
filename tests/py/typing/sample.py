"""Typed use of the public surface: `mypy --strict` must accept this file as it stands."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Literal, assert_type

import tinycoro
from tinycoro import EchoServer, RuntimeStatistics, ServerStatistics, TinycoroError


def serve(seconds: float | None) -> int:
    tinycoro.configure(workers=2)
    tinycoro.configure(workers=None)
    with EchoServer("localhost", 0, workers=1, idle_timeout=2.5, drain_timeout=None) as server:
        assert_type(server, EchoServer)
        assert_type(server.address, tuple[str, int])
        assert_type(server.listening, bool)
        assert_type(server.closed, bool)
        statistics = server.statistics()
        assert_type(statistics, ServerStatistics)
        assert_type(statistics.accepted, int)
        assert_type(statistics.listening, bool)
        try:
            server.wait(seconds)
        except (TimeoutError, TinycoroError):
            server.close()
        server.abort()
    assert_type(tinycoro.statistics(), RuntimeStatistics)
    assert_type(tinycoro.__version__, str)
    return tinycoro.statistics().fibers


async def synchronize(stack: AsyncExitStack) -> int:
    lock, event, semaphore = tinycoro.Lock(), tinycoro.Event(), tinycoro.Semaphore(2)
    condition, barrier = tinycoro.Condition(lock), tinycoro.Barrier(1)
    async with lock, semaphore, condition as nothing, barrier as number:
        assert_type(nothing, None)
        assert_type(number, int)
        assert_type(await condition.wait_for(lambda: "text"), str)
    await stack.enter_async_context(tinycoro.BoundedSemaphore())
    event.set()
    assert_type(await event.wait(), Literal[True])
    assert_type(await lock.acquire(), Literal[True])
    queue: tinycoro.Queue[int] = tinycoro.PriorityQueue(maxsize=3)
    await queue.put(1)
    try:
        queue.put_nowait(2)
    except (tinycoro.QueueFull, tinycoro.QueueShutDown):
        queue.shutdown(immediate=True)
    assert_type(tinycoro.create_task(queue.get()), tinycoro.Task[int])
    return await queue.get()


def refused() -> None:
    """Each of these is an error of types: an ignore that is not needed fails the check."""
    EchoServer(host=None)  # type: ignore[arg-type]
    EchoServer("127.0.0.1", 0, 2)  # type: ignore[call-arg]
    EchoServer(port="80")  # type: ignore[arg-type]
    EchoServer().wait("1")  # type: ignore[arg-type]
    tinycoro.configure(2)  # type: ignore[call-arg]
    tinycoro.statistics().fibers = 1  # type: ignore[misc]
    tinycoro.Queue[int]().put_nowait("1")  # type: ignore[arg-type]
