"""A task is cancelled at every point where it can be: no item is lost, nobody is left waiting.

Each scenario is run once undisturbed, to count its victim's turns, and then once for each turn,
with the cancel there, on a loop of ours and on one of asyncio's.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tinycoro
from both import Lib
from support import PATIENCE
from tinycoro import Channel, ChannelClosed, select

_CLOSED_OR_CANCELLED = (ChannelClosed, asyncio.CancelledError, TimeoutError)

# An operation of a channel, whatever it gives.
Op = Any


class World:
    """The channels of one run, what went in and what came out."""

    def __init__(self, lib: Lib) -> None:
        self.lib = lib
        self.channels: list[Channel[int]] = []
        self.sent: Counter[int] = Counter()
        self.received: Counter[int] = Counter()
        self.peers: list[Any] = []
        self.threads: list[threading.Thread] = []

    def channel(self, capacity: int = 0) -> Channel[int]:
        channel: Channel[int] = Channel(capacity)
        self.channels.append(channel)
        return channel

    def peer(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.peers.append(self.lib.create_task(coroutine))

    def thread(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function)
        thread.start()
        self.threads.append(thread)

    async def send(self, channel: Channel[int], item: int) -> None:
        await channel.send(item)
        self.sent[item] += 1

    async def recv(self, channel: Channel[int]) -> int:
        item = await channel.recv()
        self.received[item] += 1
        return item

    async def select(self, *cases: Op, items: dict[int, int], timeout: float | None = None) -> int:
        """items: what the send cases carry, by index."""
        index, item = await select(*cases, timeout=timeout)
        if index in items:
            self.sent[items[index]] += 1
        else:
            self.received[item] += 1
        return index

    async def end(self) -> None:
        for channel in self.channels:
            channel.close()
        for outcome in await self.lib.gather(*self.peers, return_exceptions=True):
            assert outcome is None or isinstance(outcome, (int, *_CLOSED_OR_CANCELLED)), outcome
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for channel in self.channels:
            while len(channel):
                self.received[channel.recv_nowait()] += 1
            now = channel.statistics()
            assert (now.length, now.senders, now.receivers) == (0, 0, 0)
            assert now.sent == now.received
        assert self.sent == self.received, (self.sent, self.received)


Scenario = Callable[[World], Coroutine[Any, Any, None]]
SCENARIOS: list[Scenario] = []


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


async def _send_all(world: World, channel: Channel[int], items: range) -> None:
    for item in items:
        await world.send(channel, item)


async def _recv_for_ever(world: World, channel: Channel[int]) -> None:
    while True:
        await world.recv(channel)


# ---- channels --------------------------------------------------------------------------------


@scenario
async def send_with_a_receiver_that_comes_later(world: World) -> None:
    channel = world.channel()
    world.peer(_recv_for_ever(world, channel))
    await _send_all(world, channel, range(3))


@scenario
async def recv_with_a_sender_that_comes_later(world: World) -> None:
    channel = world.channel()
    world.peer(_send_all(world, channel, range(3)))
    for _ in range(3):
        await world.recv(channel)


@scenario
async def send_into_a_full_ring(world: World) -> None:
    channel = world.channel(1)
    world.peer(_recv_for_ever(world, channel))
    await _send_all(world, channel, range(4))


@scenario
async def recv_from_an_empty_ring(world: World) -> None:
    channel = world.channel(2)
    world.peer(_send_all(world, channel, range(4)))
    for _ in range(4):
        await world.recv(channel)


@scenario
async def many_uncontended_sends(world: World) -> None:
    await _send_all(world, world.channel(200), range(150))


@scenario
async def many_uncontended_recvs(world: World) -> None:
    channel = world.channel(200)
    for item in range(150):
        channel.send_nowait(item)
        world.sent[item] += 1
    while len(channel):
        await world.recv(channel)


@scenario
async def two_senders_compete(world: World) -> None:
    channel = world.channel()
    world.peer(_send_all(world, channel, range(100, 103)))
    world.peer(_recv_for_ever(world, channel))
    await _send_all(world, channel, range(3))


@scenario
async def two_receivers_compete(world: World) -> None:
    channel = world.channel()
    world.peer(_recv_for_ever(world, channel))
    world.peer(_send_all(world, channel, range(6)))
    for _ in range(2):
        await world.recv(channel)


@scenario
async def ping_pong(world: World) -> None:
    forth, back = world.channel(1), world.channel(1)

    async def answer() -> None:
        while True:
            await world.send(back, await world.recv(forth) + 1000)

    world.peer(answer())
    for item in range(3):
        await world.send(forth, item)
        await world.recv(back)


@scenario
async def a_stage_between_two_channels(world: World) -> None:
    source, sink = world.channel(), world.channel()
    world.peer(_send_all(world, source, range(3)))
    world.peer(_recv_for_ever(world, sink))
    for _ in range(3):
        item = await world.recv(source)
        await world.send(sink, item + 1000)


@scenario
async def iteration_until_close(world: World) -> None:
    channel = world.channel(1)

    async def produce() -> None:
        await _send_all(world, channel, range(3))
        channel.close()

    world.peer(produce())
    async for item in channel:
        world.received[item] += 1


@scenario
async def close_while_it_waits(world: World) -> None:
    channel = world.channel()

    async def close() -> None:
        await world.lib.sleep(0)
        channel.close()

    world.peer(close())
    await world.recv(channel)


@scenario
async def cleanup_sends_once_more(world: World) -> None:
    channel = world.channel(1)
    world.peer(_recv_for_ever(world, channel))
    try:
        await _send_all(world, channel, range(3))
    finally:
        await world.send(channel, 999)


@scenario
async def a_thread_receives(world: World) -> None:
    channel = world.channel()

    def receive() -> None:
        try:
            while True:
                world.received[channel.recv_blocking(PATIENCE)] += 1
        except ChannelClosed:
            pass

    world.thread(receive)
    await _send_all(world, channel, range(3))


@scenario
async def a_thread_sends(world: World) -> None:
    channel = world.channel()

    def send() -> None:
        try:
            for item in range(3):
                channel.send_blocking(item, PATIENCE)
                world.sent[item] += 1
        except ChannelClosed:
            pass

    world.thread(send)
    for _ in range(3):
        await world.recv(channel)


# ---- select ----------------------------------------------------------------------------------


@scenario
async def select_between_receives(world: World) -> None:
    a, b = world.channel(), world.channel(1)
    world.peer(_send_all(world, a, range(2)))
    world.peer(_send_all(world, b, range(10, 12)))
    for _ in range(4):
        await world.select(a.recv(), b.recv(), items={})


@scenario
async def select_between_sends(world: World) -> None:
    a, b = world.channel(), world.channel()
    world.peer(_recv_for_ever(world, a))
    world.peer(_recv_for_ever(world, b))
    for item in range(3):
        await world.select(a.send(item), b.send(item + 10), items={0: item, 1: item + 10})


@scenario
async def select_in_both_directions(world: World) -> None:
    a, b = world.channel(), world.channel()
    world.peer(_send_all(world, a, range(2)))
    world.peer(_recv_for_ever(world, b))
    for item in range(10, 14):
        await world.select(a.recv(), b.send(item), items={1: item})


@scenario
async def selects_on_both_sides(world: World) -> None:
    a, b = world.channel(), world.channel()

    async def other() -> None:
        while True:
            await world.select(a.recv(), b.recv(), items={})

    world.peer(other())
    for item in range(3):
        await world.select(a.send(item), b.send(item), items={0: item, 1: item})


@scenario
async def select_with_a_timeout_that_expires(world: World) -> None:
    channel = world.channel()
    with pytest.raises(TimeoutError):
        await world.select(channel.recv(), items={}, timeout=0.002)
    world.peer(_send_all(world, channel, range(1)))
    await world.select(channel.recv(), items={}, timeout=PATIENCE)


@scenario
async def select_and_close(world: World) -> None:
    a, b = world.channel(), world.channel()

    async def close() -> None:
        await world.lib.sleep(0)
        b.close()

    world.peer(close())
    await world.select(a.recv(), b.send(1), items={1: 1})


# ---- with others -----------------------------------------------------------------------------


@scenario
async def sleep_between_operations(world: World) -> None:
    channel = world.channel(1)
    world.peer(_recv_for_ever(world, channel))
    for item in range(3):
        await world.lib.sleep(0)
        await world.send(channel, item)
        await world.lib.sleep(0.0005)


@scenario
async def gather_of_sends_and_receives(world: World) -> None:
    a, b = world.channel(), world.channel()
    receives = [world.recv(channel) for channel in (a, b, a, b)]
    sends = [_send_all(world, a, range(2)), _send_all(world, b, range(10, 12))]
    tasks = [world.lib.create_task(coroutine) for coroutine in (*receives, *sends)]
    world.peers += tasks  # a child that was served outlives a cancelled gather
    await world.lib.gather(*tasks)


@scenario
async def a_task_that_waits_for_a_task(world: World) -> None:
    channel = world.channel()
    world.peer(_recv_for_ever(world, channel))
    task = world.lib.create_task(_send_all(world, channel, range(3)))
    world.peers.append(task)
    await task


# ---- the sweep -------------------------------------------------------------------------------


async def _one_run(lib: Lib, play: Scenario, cancel_at: int) -> int:
    """Cancel the victim in turn `cancel_at` and again later; returns its number of turns."""
    world = World(lib)
    victim = lib.create_task(play(world))
    turns = 0
    while not victim.done():
        if turns == cancel_at or turns == cancel_at + 5:
            victim.cancel()
        turns += 1
        await lib.sleep(0)
        assert turns < 1_000_000
    if not victim.cancelled():
        error = victim.exception()
        assert error is None or isinstance(error, _CLOSED_OR_CANCELLED), error
    await world.end()
    return turns


@pytest.mark.parametrize("lib", [tinycoro, asyncio], ids=["tinycoro", "asyncio"])
@pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)
def test_cancel_at_every_turn(play: Scenario, lib: Lib) -> None:
    turns = lib.run(_one_run(lib, play, 1 << 30))
    for cancel_at in range(min(turns, 40)):
        lib.run(_one_run(lib, play, cancel_at))


# ---- delivery wins -----------------------------------------------------------------------------


@pytest.mark.parametrize("lib", [tinycoro, asyncio], ids=["tinycoro", "asyncio"])
def test_delivery_wins_and_the_cancel_comes_at_the_next_wait(lib: Lib) -> None:
    async def main() -> list[object]:
        channel: Channel[str] = Channel()
        log: list[object] = []

        async def receive() -> None:
            log.append(await channel.recv())
            try:
                await lib.sleep(100)
            except lib.CancelledError as error:
                log.append(error.args)
                raise

        task = lib.create_task(receive())
        await lib.sleep(0)
        channel.send_nowait("kept")
        assert task.cancel("why")
        with pytest.raises(lib.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1
        return log

    assert lib.run(main()) == ["kept", ("why",)]


@pytest.mark.parametrize("lib", [tinycoro, asyncio], ids=["tinycoro", "asyncio"])
def test_a_coroutine_that_returns_first_keeps_its_result(lib: Lib) -> None:
    async def main() -> None:
        for wrapped in (False, True):
            channel: Channel[str] = Channel()

            async def receive(channel: Channel[str] = channel) -> str:
                return await channel.recv()

            task = lib.create_task(receive() if wrapped else channel.recv())
            await lib.sleep(0)
            channel.send_nowait("kept")
            task.cancel()
            assert await task == "kept"
            assert not task.cancelled()

    lib.run(main())


@pytest.mark.parametrize("lib", [tinycoro, asyncio], ids=["tinycoro", "asyncio"])
def test_a_select_that_was_served_keeps_its_item(lib: Lib) -> None:
    async def main() -> None:
        a: Channel[str] = Channel()
        b: Channel[str] = Channel()

        async def choose() -> tuple[int, str]:
            return await select(a.recv(), b.recv(), timeout=100)

        task = lib.create_task(choose())
        await lib.sleep(0)
        b.send_nowait("kept")
        task.cancel()
        assert await task == (1, "kept")

    lib.run(main())


def test_a_tight_loop_can_be_cancelled() -> None:
    """Nothing in it ever waits; the forced yields are where the cancel is raised."""

    async def main() -> None:
        channel: Channel[int] = Channel(1)

        async def spin() -> None:
            while True:
                await channel.send(1)
                await channel.recv()

        task = tinycoro.create_task(spin())
        await tinycoro.sleep(0)
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task
        assert channel.statistics().length <= 1

    tinycoro.run(main())


def test_wait_for_and_timeouts_of_asyncio_work_on_channels() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.recv(), 0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await channel.recv()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(channel.recv())
            await asyncio.sleep(0)
            channel.send_nowait(3)
        assert task.result() == 3
        assert channel.statistics().receivers == 0

    asyncio.run(main())
