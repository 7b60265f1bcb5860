"""asyncio's own awaitables inside tinycoro, and tinycoro's loop under asyncio's runner."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import tinycoro
from tinycoro import Loop


def test_asyncio_sleep_queue_event_and_lock_work() -> None:
    async def main() -> None:
        log: list[object] = []
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        event = asyncio.Event()
        lock = asyncio.Lock()

        async def produce() -> None:
            for number in range(5):
                async with lock:
                    await queue.put(number)
                await asyncio.sleep(0.001)
            event.set()

        async def consume() -> None:
            for _ in range(5):
                log.append(await queue.get())

        await tinycoro.gather(produce(), consume())
        await event.wait()
        assert log == list(range(5))
        assert await asyncio.sleep(0, "value") == "value"
        assert await asyncio.sleep(0.001, "value") == "value"

    tinycoro.run(main())


def test_asyncio_future_results_and_exceptions() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        future: asyncio.Future[int] = asyncio.Future(loop=loop)
        loop.call_later(0.001, future.set_result, 5)
        assert await future == 5
        assert await future == 5
        failing: asyncio.Future[int] = asyncio.Future(loop=loop)
        loop.call_soon(failing.set_exception, KeyError("x"))
        with pytest.raises(KeyError):
            await failing

    tinycoro.run(main())


def test_cancelling_a_task_that_waits_for_asyncio() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        future: asyncio.Future[int] = asyncio.Future(loop=loop)

        async def body() -> None:
            await future

        task = tinycoro.create_task(body())
        await tinycoro.sleep(0)
        assert task.cancel("message")
        with pytest.raises(tinycoro.CancelledError):
            await task
        assert future.cancelled()

    tinycoro.run(main())


def test_an_asyncio_future_of_another_loop_is_refused() -> None:
    other = asyncio.new_event_loop()
    future: asyncio.Future[int] = asyncio.Future(loop=other)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="different loop"):
            await future

    tinycoro.run(main())
    other.close()


def test_asyncio_create_task_makes_our_tasks() -> None:
    async def main() -> None:
        task: Any = asyncio.create_task(asyncio.sleep(0, "value"))
        assert isinstance(task, tinycoro.Task)
        assert await task == "value"
        both: Any = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))
        assert both == [1, 2]
        done, pending = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))])
        assert len(done) == 1
        assert not pending

    tinycoro.run(main())


def test_an_asyncio_task_on_our_loop_awaits_our_futures() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        future = loop.create_future()

        async def body() -> object:
            return await future

        task: Any = asyncio.Task(body(), loop=loop)
        await tinycoro.sleep(0)
        future.set_result("value")
        assert await task == "value"

    tinycoro.run(main())


def test_asyncio_runner_with_our_loop() -> None:
    async def main() -> str:
        await asyncio.sleep(0.001)
        await tinycoro.sleep(0.001)
        return type(asyncio.get_running_loop()).__name__

    def factory() -> asyncio.AbstractEventLoop:
        return tinycoro.new_event_loop()

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) == Loop.__name__


def test_sleep_zero_works_in_plain_asyncio() -> None:
    async def main() -> str:
        await tinycoro.sleep(0)
        return "done"

    assert asyncio.run(main()) == "done"
