"""Channel: what it hands over, in which order, and what it refuses."""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, get_origin

import pytest

import tinycoro
from both import Lib
from support import PATIENCE, SLACK, drop, wait_until
from tinycoro import Channel, ChannelClosed, WouldBlock, _core


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


# ---- between tasks -------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, 1, 3, 100])
def test_items_arrive_in_order(capacity: int) -> None:
    async def main() -> list[int]:
        channel: Channel[int] = Channel(capacity)

        async def produce() -> None:
            for number in range(500):
                await channel.send(number)
            channel.close()

        task = tinycoro.create_task(produce())
        received = [item async for item in channel]
        await task
        return received

    assert tinycoro.run(main()) == list(range(500))


def test_a_rendezvous_waits_for_its_receiver() -> None:
    async def main() -> list[str]:
        log = []
        channel: Channel[str] = Channel()

        async def send() -> None:
            await channel.send("x")
            log.append("sent")

        task = tinycoro.create_task(send())
        await tinycoro.sleep(0)
        assert not log
        assert channel.statistics().senders == 1
        assert len(channel) == 0
        log.append(await channel.recv())
        await task
        return log

    assert tinycoro.run(main()) == ["x", "sent"]


def test_who_waits_is_served_in_order_of_arrival() -> None:
    async def main() -> list[tuple[int, int]]:
        channel: Channel[int] = Channel()
        got = []

        async def receive(name: int) -> None:
            got.append((name, await channel.recv()))

        tasks = [tinycoro.create_task(receive(name)) for name in range(5)]
        await tinycoro.sleep(0)
        for item in range(5):
            channel.send_nowait(item)
        await tinycoro.gather(*tasks)
        return got

    assert tinycoro.run(main()) == [(n, n) for n in range(5)]


def test_uncontended_operations_do_not_switch_until_the_65th() -> None:
    async def main() -> int:
        channel: Channel[int] = Channel(1000)
        turns = 0
        done = False

        async def count() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await tinycoro.sleep(0)

        task = tinycoro.create_task(count())
        await tinycoro.sleep(0)
        before = turns
        for number in range(64):
            await channel.send(number)
        assert turns == before
        await channel.send(64)
        assert turns == before + 1
        done = True
        await task
        return turns

    tinycoro.run(main())


@pytest.mark.parametrize("value", [None, (), (1, 2), ValueError("x"), StopIteration(3), [1]])
def test_any_object_passes_unchanged(value: object) -> None:
    async def main() -> None:
        channel: Channel[object] = Channel(1)
        await channel.send(value)
        assert await channel.recv() is value

    tinycoro.run(main())


def test_a_task_can_be_made_of_an_operation() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()
        receiver = tinycoro.create_task(channel.recv())
        assert await tinycoro.gather(channel.send(5), receiver) == [None, 5]

    tinycoro.run(main())


# ---- close -----------------------------------------------------------------------------------


def test_a_closed_channel_is_drained_first() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel(3)
        await channel.send(1)
        await channel.send(2)
        channel.close()
        channel.close()
        assert channel.closed
        with pytest.raises(ChannelClosed) as raised:
            await channel.send(3)
        assert raised.value.channel is channel
        assert raised.value.index is None
        assert [item async for item in channel] == [1, 2]
        with pytest.raises(ChannelClosed):
            await channel.recv()
        with pytest.raises(ChannelClosed):
            channel.recv_nowait()
        with pytest.raises(ChannelClosed):
            channel.send_nowait(4)

    tinycoro.run(main())


def test_close_wakes_all_who_wait() -> None:
    async def main() -> None:
        for direction in ("send", "recv"):
            channel: Channel[object] = Channel()
            operations = [
                channel.recv() if direction == "recv" else channel.send(object()) for _ in range(4)
            ]
            tasks = [tinycoro.create_task(operation) for operation in operations]
            del operations
            await tinycoro.sleep(0)
            channel.close()
            results = await tinycoro.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [ChannelClosed] * 4

    tinycoro.run(main())


def test_errors_belong_to_the_family() -> None:
    assert issubclass(ChannelClosed, tinycoro.TinycoroError)
    assert issubclass(WouldBlock, tinycoro.TinycoroError)


# ---- without waiting ---------------------------------------------------------------------------


def test_nowait_needs_no_loop() -> None:
    channel: Channel[str] = Channel(1)
    channel.send_nowait("a")
    with pytest.raises(WouldBlock, match="full"):
        channel.send_nowait("b")
    assert channel.recv_nowait() == "a"
    with pytest.raises(WouldBlock, match="empty"):
        channel.recv_nowait()


def test_what_it_says_of_itself() -> None:
    channel: Channel[int] = Channel(2, items=int)
    assert channel  # although it is empty
    assert (len(channel), channel.capacity, channel.closed) == (0, 2, False)
    channel.send_nowait(1)
    now = channel.statistics()
    assert (now.capacity, now.length, now.sent, now.received) == (2, 1, 1, 0)
    assert (now.senders, now.receivers, now.closed) == (0, 0, False)
    assert repr(channel) == "<Channel items=int 1/2 open senders=0 receivers=0>"
    channel.close()
    assert "closed" in repr(channel)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": -1}, ValueError),
        ({"capacity": 1 << 31}, ValueError),
        ({"capacity": 1.5}, TypeError),
        ({"items": str}, ValueError),
        ({"size": 1}, TypeError),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Channel(**arguments)


def test_signatures_can_be_read() -> None:
    assert str(inspect.signature(Channel.send_blocking)) == "(self, item, /, timeout=None)"
    assert list(inspect.signature(tinycoro.select).parameters) == ["cases", "timeout", "default"]


def test_it_is_generic_and_weakly_referenced() -> None:
    assert get_origin(Channel[int]) is Channel
    channel: Channel[int] = Channel[int](3)
    assert channel.capacity == 3
    reference = weakref.ref(channel)
    del channel
    gc.collect()
    assert reference() is None


# ---- typed items -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "given", "taken"),
    [
        (int, -(1 << 63), -(1 << 63)),
        (int, (1 << 63) - 1, (1 << 63) - 1),
        (int, True, 1),
        (float, 2.5, 2.5),
        (float, 3, 3.0),
        (bytes, b"", b""),
        (bytes, bytearray(b"ab"), b"ab"),
        (bytes, memoryview(b"abcd")[1:3], b"bc"),
    ],
)
def test_typed_items_are_converted(items: type[Any], given: object, taken: object) -> None:
    channel: Channel[Any] = Channel(1, items=items)
    channel.send_nowait(given)
    found = channel.recv_nowait()
    assert (type(found), found) == (type(taken), taken)


@pytest.mark.parametrize(
    ("items", "given", "error"),
    [
        (int, 1 << 63, OverflowError),
        (int, -(1 << 63) - 1, OverflowError),
        (int, 1.0, TypeError),
        (int, "1", TypeError),
        (float, "1", TypeError),
        (bytes, "text", TypeError),
        (bytes, 5, TypeError),
        (bytes, memoryview(b"abcd")[::2], BufferError),
    ],
)
def test_items_of_other_types_are_refused(
    items: type[Any], given: object, error: type[Exception]
) -> None:
    channel: Channel[Any] = Channel(1, items=items)
    for send in (channel.send, channel.send_nowait, channel.send_blocking):
        with pytest.raises(error):
            send(given)
    assert len(channel) == 0


# ---- threads and loops -------------------------------------------------------------------------


@pytest.mark.parametrize("items", [object, int])
@pytest.mark.parametrize("capacity", [0, 5])
def test_threads_exchange(items: type[Any], capacity: int) -> None:
    channel: Channel[int] = Channel(capacity, items=items)
    received = []

    def produce() -> None:
        for number in range(300):
            channel.send_blocking(number)
        channel.close()

    def consume() -> None:
        while True:
            try:
                received.append(channel.recv_blocking())
            except ChannelClosed:
                return

    join(in_thread(produce), in_thread(consume))
    assert received == list(range(300))


def test_blocking_calls_time_out() -> None:
    channel: Channel[object] = Channel()
    for timeout in (0, -1, 0.01):
        with pytest.raises(TimeoutError, match="could not send"):
            channel.send_blocking(object(), timeout)
        with pytest.raises(TimeoutError, match="received nothing"):
            channel.recv_blocking(timeout=timeout)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.recv_blocking(0.05)
    assert 0.05 <= time.monotonic() - start < 0.05 + SLACK
    assert channel.statistics()[4:6] == (0, 0)


def test_blocking_calls_end_with_close() -> None:
    channel: Channel[int] = Channel()
    errors = []

    def wait(call: Callable[[], object]) -> None:
        try:
            call()
        except ChannelClosed as error:
            errors.append(error)

    threads = [in_thread(lambda: wait(channel.recv_blocking))]
    assert wait_until(lambda: channel.statistics().receivers == 1)
    channel.close()
    join(*threads)
    channel = Channel()
    threads = [in_thread(lambda: wait(lambda: channel.send_blocking(1)))]
    assert wait_until(lambda: channel.statistics().senders == 1)
    channel.close()
    join(*threads)
    assert len(errors) == 2


def test_blocking_calls_are_refused_where_a_loop_runs() -> None:
    channel: Channel[int] = Channel(1)

    async def main() -> None:
        calls: list[Callable[[], object]] = [
            channel.recv_blocking,
            lambda: channel.send_blocking(1),
            lambda: tinycoro.select_blocking(timeout=0),
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match="would block the event loop"):
                call()

    tinycoro.run(main())
    asyncio.run(main())


def test_a_thread_talks_to_a_task() -> None:
    requests: Channel[tuple[int, Channel[int]]] = Channel()

    async def serve() -> None:
        async for number, answer in requests:
            await answer.send(number * 2)

    def ask() -> None:
        for number in range(50):
            answer: Channel[int] = Channel()
            requests.send_blocking((number, answer), PATIENCE)
            assert answer.recv_blocking(PATIENCE) == number * 2
        requests.close()

    thread = in_thread(ask)
    tinycoro.run(serve())
    join(thread)


def test_two_loops_exchange() -> None:
    forth: Channel[int] = Channel()
    back: Channel[int] = Channel(2)

    async def answer() -> None:
        async for number in forth:
            await back.send(number + 1)
        back.close()

    async def ask() -> list[int]:
        answers = []
        for number in range(200):
            await forth.send(number)
            answers.append(await back.recv())
        forth.close()
        return answers

    thread = in_thread(lambda: tinycoro.run(answer()))
    assert tinycoro.run(ask()) == list(range(1, 201))
    join(thread)


def test_a_loop_that_sleeps_is_woken() -> None:
    channel: Channel[str] = Channel()

    def send() -> None:
        assert wait_until(lambda: channel.statistics().receivers == 1)
        channel.send_nowait("late")

    async def main() -> str:
        return await channel.recv()

    thread = in_thread(send)
    assert tinycoro.run(main()) == "late"
    join(thread)


# ---- misuse --------------------------------------------------------------------------------------


def test_an_operation_that_is_dropped_warns() -> None:
    channel: Channel[object] = Channel(1)
    item = Dropped()
    reference = weakref.ref(item)
    with pytest.warns(RuntimeWarning, match="'Channel.send' was never awaited"):
        drop(channel.send(item))
    del item
    assert reference() is None

    async def main() -> None:
        await channel.send(1)  # leaves an object for reuse
        with pytest.warns(RuntimeWarning, match="'Channel.recv' was never awaited"):
            drop(channel.recv())
        assert len(channel) == 1

    tinycoro.run(main())


class Dropped:
    pass


def test_an_operation_is_awaited_once() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel(3)
        operation = channel.send(1)
        await operation
        for _ in range(3):  # it is not handed out again while somebody holds it
            other = channel.send(2)
            assert other is not operation
            other.close()
        with pytest.raises(RuntimeError, match=r"cannot reuse already awaited 'Channel\.send'"):
            await operation

    tinycoro.run(main())


def test_without_a_loop_what_can_be_had_is_given() -> None:
    channel: Channel[int] = Channel(1)
    with pytest.raises(StopIteration):
        channel.send(1).send(None)
    with pytest.raises(StopIteration) as stopped:
        channel.recv().send(None)
    assert stopped.value.value == 1
    with pytest.raises(RuntimeError, match="only in a task of a running loop"):
        channel.recv().send(None)
    assert channel.statistics().receivers == 0


# ---- without memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("lib", [tinycoro, asyncio], ids=["tinycoro", "asyncio"])
def test_a_shortage_of_memory_is_an_exception(lib: Lib, nth: int) -> None:
    async def attempt() -> None:
        ring: Channel[bytes] = Channel(4, items=bytes)
        rendezvous: Channel[object] = Channel()
        await ring.send(b"x" * 100)
        task = lib.create_task(rendezvous.recv())
        try:
            await lib.sleep(0)
            await tinycoro.select(rendezvous.send(1), ring.recv(), default=None)
            with pytest.raises(TimeoutError):
                await tinycoro.select(Channel().recv(), timeout=0.001)
        finally:
            rendezvous.close()
            await lib.gather(task, return_exceptions=True)

    async def main() -> None:
        _core._fault_arm("alloc", nth, errno.ENOMEM)
        try:
            await attempt()
        except MemoryError:
            assert _core._fault_hits("alloc") == 1
        finally:
            _core._fault_disarm()
        await attempt()

    lib.run(main())
