"""Channels in a plain asyncio program."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

import tinycoro
from support import PATIENCE
from tinycoro import Channel, ChannelClosed, _core, select


class Item:
    """Something that a weak reference can be made of."""


def test_tasks_of_asyncio_exchange() -> None:
    async def main(capacity: int) -> list[int]:
        channel: Channel[int] = Channel(capacity)

        async def produce() -> None:
            for number in range(200):
                await channel.send(number)
            channel.close()

        task = asyncio.create_task(produce())
        received = [item async for item in channel]
        await task
        return received

    for capacity in (0, 1, 64):
        assert asyncio.run(main(capacity)) == list(range(200))
        assert asyncio.run(main(capacity), debug=True) == list(range(200))


def test_a_task_of_asyncio_and_one_of_tinycoro_exchange() -> None:
    forth: Channel[int] = Channel()
    back: Channel[int] = Channel()

    async def answer() -> None:
        async for number in forth:
            await back.send(number + 1)
        back.close()

    async def ask() -> list[int]:
        answers = []
        for number in range(100):
            await forth.send(number)
            answers.append(await back.recv())
        forth.close()
        with pytest.raises(ChannelClosed):
            await back.recv()
        return answers

    thread = threading.Thread(target=lambda: tinycoro.run(answer()))
    thread.start()
    assert asyncio.run(ask()) == list(range(1, 101))
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_fiber_serves_asyncio() -> None:
    ends = Channel(items=bytes), Channel(items=bytes)
    relay = _core._testing.relay(*ends)

    async def main() -> None:
        for number in range(50):
            await ends[0].send(b"%d" % number)
            assert await ends[1].recv() == b"%d" % number
        ends[0].close()

    asyncio.run(main())
    relay.wait(20)


def test_select_with_timeout() -> None:
    async def main() -> None:
        a: Channel[int] = Channel()
        b: Channel[int] = Channel()
        with pytest.raises(TimeoutError):
            await select(a.recv(), b.send(1), timeout=0.01)
        with pytest.raises(TimeoutError):
            await select(timeout=0.001)
        assert await select(a.recv(), default=0) == (-1, 0)
        task = asyncio.create_task(b.recv())
        assert await select(a.recv(), b.send(1), timeout=100) == (1, None)
        assert await task == 1
        assert a.statistics()[4:6] == b.statistics()[4:6] == (0, 0)

    asyncio.run(main())


def test_an_error_in_a_wait_is_the_operations() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()
        task = asyncio.create_task(channel.recv())
        await asyncio.sleep(0)
        channel.close()
        with pytest.raises(ChannelClosed):
            await task

    asyncio.run(main())


def test_many_loops_one_after_the_other_leave_nothing() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()
        await asyncio.gather(channel.send(1), channel.recv())

    for _ in range(20):
        asyncio.run(main())


def test_a_fast_loop_gives_way() -> None:
    async def main() -> int:
        channel: Channel[int] = Channel(1)
        turns = 0
        done = False

        async def count() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(count())
        for number in range(1000):
            await channel.send(number)
            await channel.recv()
        done = True
        await task
        return turns

    assert asyncio.run(main()) >= 2000 // 65


def test_the_context_is_that_of_the_task() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def main() -> str:
        channel: Channel[int] = Channel()

        async def receive() -> str:
            variable.set("mine")
            await channel.recv()
            return variable.get()

        task = asyncio.create_task(receive())
        await asyncio.sleep(0)
        variable.set("other")
        channel.send_nowait(1)
        return await task

    assert asyncio.run(main()) == "mine"


def test_what_is_yielded_follows_the_protocol() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()
        operation: Any = channel.recv()
        future = operation.send(None)
        assert asyncio.isfuture(future)
        assert future.get_loop() is asyncio.get_running_loop()
        assert future._asyncio_future_blocking is True
        assert (future.done(), future.cancelled()) == (False, False)
        called: list[Any] = []
        future.add_done_callback(called.append)
        future.add_done_callback(called.append)
        future.add_done_callback(print)
        assert future.remove_done_callback(print) == 1
        channel.send_nowait(5)
        while not called:
            await asyncio.sleep(0)
        assert called == [future, future]
        assert future.done()
        assert future.result() is None
        assert future.cancel() is False
        with pytest.raises(StopIteration) as stopped:
            operation.send(None)
        assert stopped.value.value == 5

    asyncio.run(main())


def test_a_wait_that_was_cancelled_by_hand_says_so() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()
        operation: Any = channel.recv()
        future = operation.send(None)
        assert future.cancel("by hand")
        assert future.cancelled()
        with pytest.raises(asyncio.CancelledError, match="by hand"):
            future.result()
        with pytest.raises(asyncio.CancelledError):
            operation.send(None)
        assert channel.statistics().receivers == 0

    asyncio.run(main())


def test_two_loops_of_asyncio_in_threads() -> None:
    channel: Channel[int] = Channel()

    async def send() -> None:
        for number in range(100):
            await channel.send(number)
        channel.close()

    async def receive() -> list[int]:
        return [item async for item in channel]

    thread = threading.Thread(target=lambda: asyncio.run(send()))
    thread.start()
    assert asyncio.run(receive()) == list(range(100))
    thread.join(PATIENCE)
    assert not thread.is_alive()


# ---- a loop that is closed while tasks wait ------------------------------------------------------


def leave_waiting(*waits: Coroutine[Any, Any, None]) -> asyncio.AbstractEventLoop:
    """A closed loop of asyncio, some tasks of which were waiting; they are kept alive by it."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.kept = [loop.create_task(wait) for wait in waits]  # type: ignore[attr-defined]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return loop


def test_a_task_of_a_closed_loop_takes_nothing() -> None:
    rendezvous: Channel[int] = Channel()
    buffered: Channel[int] = Channel(1)
    chosen: Channel[int] = Channel()

    async def receive(channel: Channel[int]) -> None:
        await channel.recv()

    async def choose() -> None:
        await select(chosen.recv(), Channel().recv(), timeout=3600)

    loop = leave_waiting(receive(rendezvous), receive(buffered), choose())
    for channel in (rendezvous, buffered, chosen):
        assert channel.statistics().receivers == 0
    with pytest.raises(tinycoro.WouldBlock):
        rendezvous.send_nowait(1)
    with pytest.raises(tinycoro.WouldBlock):
        chosen.send_nowait(1)
    buffered.send_nowait(1)
    assert buffered.recv_nowait() == 1
    del loop
    gc.collect()


def test_a_task_of_a_closed_loop_gives_nothing() -> None:
    channel: Channel[object] = Channel()

    async def send(item: Item) -> None:
        await channel.send(item)

    item = Item()
    left = weakref.ref(item)
    loop = leave_waiting(send(item))
    assert channel.statistics().senders == 0
    with pytest.raises(tinycoro.WouldBlock):
        channel.recv_nowait()
    del item, loop
    gc.collect()
    assert left() is None


def test_what_was_under_way_to_a_closed_loop_is_freed() -> None:
    """The delivery has won: the item belongs to a task that never runs."""
    channel: Channel[object] = Channel()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def receive() -> None:
        await channel.recv()

    task = loop.create_task(receive())
    loop.run_until_complete(asyncio.sleep(0))
    item = Item()
    left = weakref.ref(item)
    channel.send_nowait(item)
    loop.close()
    del item, loop, task
    gc.collect()
    assert left() is None


def test_a_loop_that_stops_watching_ends_its_waits_too() -> None:
    """Another inbox is made for the next wait."""

    async def main() -> None:
        channel: Channel[int] = Channel()
        loop: Any = asyncio.get_running_loop()
        task = asyncio.create_task(channel.recv())
        await asyncio.sleep(0)
        for fd in [fd for fd in loop._selector.get_map() if fd != loop._ssock.fileno()]:
            loop.remove_reader(fd)
        assert channel.statistics().receivers == 0
        task.cancel()
        await asyncio.wait([task])
        other = asyncio.create_task(channel.recv())
        await asyncio.sleep(0)
        channel.send_nowait(2)
        assert await other == 2

    asyncio.run(main())
