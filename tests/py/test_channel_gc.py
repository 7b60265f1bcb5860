"""Channels and the collector: cycles, collection under load, what is dropped half-way."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tinycoro
from support import PATIENCE, wait_until
from tinycoro import Channel, ChannelClosed, select

ROUNDS = 60
# An operation of a channel, whatever it gives.
Op = Any


class Node:
    """Something that can be in a cycle and be watched."""

    def __init__(self, *others: object) -> None:
        self.others = list(others)


@contextmanager
def collecting() -> Iterator[None]:
    """gc.collect() half of the time in another thread: without the GIL it stops all others."""
    stop = threading.Event()

    def collect() -> None:
        pause = 0.0
        while not stop.wait(pause):
            begun = time.monotonic()
            gc.collect()
            pause = time.monotonic() - begun

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def died(reference: weakref.ref[Any]) -> bool:
    gc.collect()
    return reference() is None


# ---- cycles --------------------------------------------------------------------------------


def test_a_channel_that_holds_itself_is_collected() -> None:
    channel: Channel[object] = Channel(2)
    node = Node(channel)
    channel.send_nowait(node)
    channel.send_nowait(channel)
    references = weakref.ref(channel), weakref.ref(node)
    del channel, node
    assert all(died(reference) for reference in references)


def test_the_collector_sees_the_items_of_waiting_senders() -> None:
    async def main() -> list[weakref.ref[Any]]:
        channel: Channel[object] = Channel()
        node = Node(channel)
        tasks = [tinycoro.create_task(channel.send(node)), tinycoro.create_task(_choose(channel))]
        await tinycoro.sleep(0)
        assert node in gc.get_referents(channel)
        gc.collect()
        for task in tasks:
            task.cancel()
        await tinycoro.gather(*tasks, return_exceptions=True)
        return [weakref.ref(channel), weakref.ref(node)]

    async def _choose(channel: Channel[object]) -> None:
        await select(channel.send(Node(channel)), Channel().recv())

    assert all(died(reference) for reference in tinycoro.run(main()))


@pytest.mark.parametrize("kind", ["send", "recv", "select", "iterate"])
def test_a_loop_dropped_with_tasks_in_channels_is_collected(kind: str) -> None:
    def build() -> weakref.ref[Any]:
        channel: Channel[object] = Channel()
        node = Node(channel)

        async def wait() -> None:
            if kind == "send":
                await channel.send(node)
            elif kind == "recv":
                await channel.recv()
            elif kind == "select":
                await select(channel.send(node), channel.recv(), timeout=100)
            else:
                async for _item in channel:
                    pass

        loop = tinycoro.new_event_loop()
        task = loop.create_task(wait())
        task._log_destroy_pending = False
        node.others.append(task)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        return weakref.ref(node)

    reference = build()
    assert died(reference)


def test_what_was_delivered_to_a_loop_that_is_gone_is_released() -> None:
    channel: Channel[object] = Channel()
    node = Node()
    reference = weakref.ref(node)

    def leave_a_task(node: Node) -> None:
        loop = tinycoro.new_event_loop()
        task = loop.create_task(channel.recv())
        task._log_destroy_pending = False
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert channel.statistics().receivers == 1
        channel.send_nowait(node)  # it waits in the mailbox of a loop that does not run
        loop.close()

    leave_a_task(node)
    del node
    assert died(reference)


def test_an_asyncio_task_dropped_in_a_channel_is_collected() -> None:
    channel: Channel[object] = Channel()
    node = Node(channel)
    reference = weakref.ref(node)

    async def wait(item: object) -> None:
        await channel.send(item)

    loop = asyncio.new_event_loop()
    task = loop.create_task(wait(node))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert channel.statistics().senders == 1
    loop.close()
    del node, task, loop
    assert died(reference)
    assert channel.statistics().senders == 0


# ---- under load ------------------------------------------------------------------------------


def test_garbage_goes_through_channels_while_the_collector_runs() -> None:
    alive: weakref.WeakSet[Node] = weakref.WeakSet()

    async def main() -> None:
        forth: Channel[Node] = Channel(8)
        back: Channel[Node] = Channel()

        async def answer() -> None:
            async for node in forth:
                await select(back.send(Node(node, forth)), Channel().recv())

        task = tinycoro.create_task(answer())
        for _ in range(ROUNDS * 20):
            node = Node(forth, back)
            node.others.append(node)
            alive.add(node)
            await forth.send(node)
            answered = await back.recv()
            answered.others.append(answered)
        forth.close()
        await task

    with collecting():
        tinycoro.run(main())
        in_thread(lambda: tinycoro.run(main()))
    gc.collect()
    assert not alive


def test_threads_exchange_garbage_while_the_collector_runs() -> None:
    channel: Channel[Node] = Channel(4)
    alive: weakref.WeakSet[Node] = weakref.WeakSet()

    def produce() -> None:
        for _ in range(ROUNDS * 20):
            node = Node(channel)
            node.others.append(node)
            channel.send_blocking(node, PATIENCE)
        channel.close()

    thread = threading.Thread(target=produce)
    with collecting():
        thread.start()
        for _ in range(ROUNDS * 20):
            alive.add(channel.recv_blocking(PATIENCE))
        thread.join(PATIENCE)
    gc.collect()
    assert not alive


# ---- dropped half-way ----------------------------------------------------------------------------


def test_tasks_are_dropped_by_foreign_threads() -> None:
    async def main() -> None:
        channel: Channel[object] = Channel()
        for _ in range(ROUNDS):
            tasks: list[tinycoro.Task[Any]] = [
                tinycoro.create_task(channel.recv()),
                tinycoro.create_task(channel.send(Node())),
                tinycoro.create_task(channel.recv()),
            ]
            await tinycoro.sleep(0)
            tasks[2].cancel()
            await tinycoro.gather(*tasks, return_exceptions=True)
            box = [tasks]
            del tasks
            in_thread(box.clear)  # the last references

    with collecting():
        tinycoro.run(main())


def test_coroutines_are_closed_while_they_wait() -> None:
    async def main() -> None:
        channel: Channel[Node] = Channel()
        node = Node(channel)

        async def nested(operation: Op) -> None:
            await operation

        for make in (
            channel.recv,
            lambda: channel.send(node),
            lambda: select(channel.recv(), channel.send(node)),
        ):
            coroutine = nested(make())
            task = tinycoro.create_task(coroutine)
            await tinycoro.sleep(0)
            coroutine.close()
            now = channel.statistics()
            assert (now.senders, now.receivers) == (0, 0)
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await task

    tinycoro.run(main())


def test_an_asynchronous_generator_is_closed_half_way() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel(1)
        closed = []

        async def numbers() -> AsyncGenerator[int, None]:
            try:
                while True:
                    yield await channel.recv()
            finally:
                closed.append(True)

        for _ in range(3):
            generator = numbers()
            await channel.send(1)
            assert await anext(generator) == 1
            await generator.aclose()
            await channel.send(2)
            async for _item in numbers():
                break
        gc.collect()
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        assert len(closed) == 6
        assert channel.statistics().receivers == 0

    tinycoro.run(main())


def test_a_delivered_item_dies_with_the_coroutine_that_was_closed() -> None:
    async def main() -> weakref.ref[Node]:
        channel: Channel[Node] = Channel()
        node = Node()
        reference = weakref.ref(node)

        async def receive() -> None:
            await channel.recv()

        coroutine = receive()
        task = tinycoro.create_task(coroutine)
        await tinycoro.sleep(0)
        channel.send_nowait(node)
        coroutine.close()
        del node
        assert reference() is None
        await tinycoro.gather(task, return_exceptions=True)
        return reference

    assert tinycoro.run(main())() is None


class Last:
    """Uses its channel when it dies."""

    def __init__(self, channel: Channel[object], log: list[object]) -> None:
        self.channel = channel
        self.log = log

    def __del__(self) -> None:
        self.log.append(self.channel.statistics().length)
        try:
            self.channel.send_nowait("from the grave")
        except ChannelClosed:
            self.log.append("closed")


def test_items_may_use_the_channel_when_they_die() -> None:
    channel: Channel[object] = Channel(3)
    log: list[object] = []
    channel.send_nowait(Last(channel, log))
    channel.recv_nowait()
    assert channel.recv_nowait() == "from the grave"
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.send_nowait(Last(channel, log))
    assert log == [0, 0, "closed"]


def test_long_chains_of_channels_die_without_recursion() -> None:
    channel: Channel[object] = Channel(1)
    for _ in range(sys.getrecursionlimit() * 50):
        outer: Channel[object] = Channel(1)
        outer.send_nowait(channel)
        channel = outer
    reference = weakref.ref(channel)
    del channel, outer
    assert wait_until(lambda: reference() is None)


def _link_send(channel: Channel[Any], inner: Op) -> Op:
    return channel.send(inner)


def _link_select_send(channel: Channel[Any], inner: Op) -> Op:
    return select(channel.send(inner))


def _link_default(channel: Channel[Any], inner: Op) -> Op:
    return select(channel.recv(), default=inner)


@pytest.mark.parametrize("link", [_link_send, _link_select_send, _link_default])
def test_long_chains_of_operations_die_without_recursion(
    link: Callable[[Channel[Any], Op], Op],
) -> None:
    channel: Channel[Any] = Channel()
    node = Node()
    reference = weakref.ref(node)
    chain: Op = node
    del node
    for _ in range(200_000):
        chain = link(channel, chain)
        chain.close()  # so that it may be dropped without a warning
    del chain
    assert wait_until(lambda: reference() is None)


def test_a_select_that_is_being_made_can_be_looked_at() -> None:
    seen: list[str] = []

    class Timeout:
        def __float__(self) -> float:
            for found in gc.get_objects():
                if type(found).__name__ == "_Select":
                    seen.append(repr(found))
                    with pytest.raises(RuntimeError, match="cannot reuse"):
                        found.send(None)
            return 0.1

    channel: Channel[Any] = Channel()
    timeout: Any = Timeout()
    select(channel.recv(), timeout=timeout).close()
    assert seen == ["<operation select finished>"]


def test_warnings_as_errors_do_not_break_a_drop() -> None:
    caught = []
    channel: Channel[Node] = Channel(1)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: caught.append(args.exc_type)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _ = channel.send(Node())
            del _
    finally:
        sys.unraisablehook = hook
    assert caught == [RuntimeWarning]
