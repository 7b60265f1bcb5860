"""select: one of several sends and receives takes place, the first that can."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from collections import Counter
from typing import Any

import pytest

import tinycoro
from support import PATIENCE, SLACK, drop, wait_until
from tinycoro import Channel, ChannelClosed, _core, select, select_blocking

# An operation of a channel, whatever it gives.
Op = Any


def ready(item: object = "x") -> Channel[Any]:
    channel: Channel[Any] = Channel(1)
    channel.send_nowait(item)
    return channel


def test_a_ready_case_is_taken_at_once() -> None:
    async def main() -> None:
        empty: Channel[int] = Channel()
        full = ready()
        roomy: Channel[int] = Channel(1)
        assert await select(empty.recv(), full.recv()) == (1, "x")
        assert await select(empty.recv(), roomy.send(7)) == (1, None)
        assert await roomy.recv() == 7
        assert await select(None, empty.recv(), None, ready().recv()) == (3, "x")
        assert empty.statistics().receivers == 0

    tinycoro.run(main())


def test_it_waits_for_the_first() -> None:
    async def main() -> None:
        a: Channel[str] = Channel()
        b: Channel[str] = Channel()

        async def later(case: Op) -> None:
            await tinycoro.sleep(0)
            await case

        task = tinycoro.create_task(later(b.send("to b")))
        assert await select(a.recv(), b.recv()) == (1, "to b")
        await task
        task = tinycoro.create_task(later(a.recv()))
        assert await select(a.send("sent"), b.recv()) == (0, None)
        assert a.statistics()[4:6] == b.statistics()[4:6] == (0, 0)
        await task

    tinycoro.run(main())


def test_two_selects_meet() -> None:
    async def main() -> None:
        a: Channel[int] = Channel()
        b: Channel[int] = Channel()
        left, right = await tinycoro.gather(
            _select(a.send(1), b.recv()), _select(a.recv(), b.send(2))
        )
        assert (left, right) in [((0, None), (0, 1)), ((1, 2), (1, None))]

    tinycoro.run(main())


async def _select(*cases: Op) -> tuple[int, Any]:
    return await select(*cases)


def test_timeout_and_default() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            await select(channel.recv(), channel.send(1), timeout=0.05)
        assert 0.05 <= time.monotonic() - start < 0.05 + SLACK
        with pytest.raises(TimeoutError):
            await select(channel.recv(), timeout=0)
        with pytest.raises(TimeoutError):
            await select(timeout=0.01)
        assert await select(channel.recv(), default=None) == (-1, None)
        assert await select(default=3) == (-1, 3)
        assert await select(ready().recv(), default=3) == (0, "x")
        assert await select(ready().recv(), timeout=0) == (0, "x")
        assert channel.statistics()[4:6] == (0, 0)

    tinycoro.run(main())


def test_a_timeout_that_is_not_needed_leaves_no_timer() -> None:
    async def main() -> None:
        channel: Channel[int] = Channel()

        async def send() -> None:
            await channel.send(1)

        task = tinycoro.create_task(send())
        assert await select(channel.recv(), timeout=1000) == (0, 1)
        await task

    start = time.monotonic()
    tinycoro.run(main())
    assert time.monotonic() - start < 10


def test_a_closed_case_raises_with_its_index() -> None:
    async def main() -> None:
        open_one: Channel[int] = Channel()
        closed: Channel[int] = Channel()
        closed.close()
        for case in (closed.recv(), closed.send(1)):
            with pytest.raises(ChannelClosed) as raised:
                await select(open_one.recv(), None, case)
            assert (raised.value.index, raised.value.channel) == (2, closed)
        draining = ready()
        draining.close()
        assert await select(draining.recv()) == (0, "x")

        async def close() -> None:
            open_one.close()

        task = tinycoro.create_task(close())
        with pytest.raises(ChannelClosed) as raised:
            await select(Channel().recv(), open_one.recv())
        assert raised.value.index == 1
        await task

    tinycoro.run(main())


def test_bad_cases_are_refused() -> None:
    channel: Channel[int] = Channel()
    for other in (tinycoro.sleep(0), channel.__anext__()):
        with pytest.raises(TypeError, match="a case must be"):
            _ = select(other, default=1)
        other.close()
    with pytest.raises(ValueError, match="would wait for ever"):
        _ = select(None, None)
    with pytest.raises(ValueError, match="not both"):
        _ = select(timeout=1, default=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        _ = select(wait=1)  # type: ignore[call-overload]
    case = channel.recv()
    case.close()
    with pytest.raises(RuntimeError, match="already awaited"):
        _ = select(case)
    with pytest.raises(ValueError, match="256"):
        _ = select(*[None] * 257)
    case = channel.recv()
    both = [case, case]
    with pytest.raises(RuntimeError, match="already awaited"):
        _ = select(*both)


def test_a_select_that_is_dropped_warns_and_releases() -> None:
    item = Item()
    reference = weakref.ref(item)
    channel: Channel[Item] = Channel(1)
    with pytest.warns(RuntimeWarning, match="'select' was never awaited"):
        drop(select(channel.send(item)))
    del item
    gc.collect()
    assert reference() is None


class Item:
    pass


def test_losers_release_their_items() -> None:
    async def main() -> None:
        full: Channel[object] = Channel(1)
        await full.send(1)
        for winner in ("ready", "later", "timeout"):
            item = Item()
            reference = weakref.ref(item)
            channel: Channel[int] = Channel(1)
            if winner == "ready":
                channel.send_nowait(1)
            elif winner == "later":
                tinycoro.get_running_loop().call_soon(channel.send_nowait, 1)
            if winner == "timeout":
                with pytest.raises(TimeoutError):
                    await select(full.send(item), channel.recv(), timeout=0.001)
            else:
                assert await select(full.send(item), channel.recv()) == (1, 1)
            del item
            assert reference() is None, winner
        assert len(full) == 1

    tinycoro.run(main())


def test_picks_are_even() -> None:
    """Chi-square with 3 degrees of freedom: 30.66 is p = 1e-6."""
    channels: list[Channel[int]] = [Channel(1) for _ in range(4)]
    for channel in channels:
        channel.send_nowait(0)
    picks: Counter[int] = Counter()
    for _ in range(20_000):
        index, _item = select_blocking(*[channel.recv() for channel in channels])
        channels[index].send_nowait(0)
        picks[index] += 1
    chi = sum((picks[i] - 5000) ** 2 / 5000 for i in range(4))
    assert chi < 30.66, picks


# ---- threads -----------------------------------------------------------------------------------


def test_threads_select() -> None:
    a: Channel[int] = Channel()
    b: Channel[int] = Channel(items=int)
    got: list[tuple[int, int]] = []

    def receive() -> None:
        while True:
            try:
                got.append(select_blocking(a.recv(), b.recv(), timeout=PATIENCE))
            except ChannelClosed:
                return

    thread = threading.Thread(target=receive)
    thread.start()
    for number in range(100):
        (a, b)[number % 2].send_blocking(number, PATIENCE)
    a.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert got == [(n % 2, n) for n in range(100)]


def test_a_thread_selects_with_timeout_and_default() -> None:
    channel: Channel[int] = Channel()
    with pytest.raises(TimeoutError):
        select_blocking(channel.recv(), channel.send(1), timeout=0.01)
    with pytest.raises(TimeoutError):
        select_blocking(timeout=0.01)
    assert select_blocking(channel.recv(), default="no") == (-1, "no")
    assert channel.statistics()[4:6] == (0, 0)


def test_a_task_and_a_thread_select_from_each_other() -> None:
    a: Channel[int] = Channel()
    b: Channel[int] = Channel()
    rounds = 200

    def thread_side() -> None:
        for number in range(rounds):
            select_blocking(a.send(number), b.send(-number), timeout=PATIENCE)

    async def task_side() -> list[int]:
        return [abs((await select(a.recv(), b.recv()))[1]) for _ in range(rounds)]

    thread = threading.Thread(target=thread_side)
    thread.start()
    assert tinycoro.run(task_side()) == list(range(rounds))
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert wait_until(lambda: a.statistics().senders + b.statistics().senders == 0)


# ---- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_in_a_crowd(seed: int) -> None:
    chance = random.Random(seed)
    channels: list[Channel[int]] = [Channel(chance.choice((0, 0, 1, 3))) for _ in range(4)]
    items_each, senders = 60, 6

    async def send(name: int, dice: random.Random) -> None:
        for number in range(items_each):
            cases = [
                channel.send(name * 1000 + number)
                for channel in dice.sample(channels, dice.randint(1, 4))
            ]
            await select(*cases)

    async def receive(dice: random.Random, got: list[int]) -> None:
        while True:
            cases = [channel.recv() for channel in dice.sample(channels, 4)]
            try:
                got.append((await select(*cases))[1])
            except ChannelClosed:
                return

    async def main() -> list[int]:
        got: list[int] = []
        receivers = [
            tinycoro.create_task(receive(random.Random(seed * 100 + n), got)) for n in range(3)
        ]
        await tinycoro.gather(*[send(n, random.Random(seed * 10 + n)) for n in range(senders)])
        while any(len(channel) for channel in channels):
            await tinycoro.sleep(0)
        for channel in channels:
            channel.close()
        await tinycoro.gather(*receivers)
        return got

    expected = [name * 1000 + number for name in range(senders) for number in range(items_each)]
    assert sorted(tinycoro.run(main())) == expected


# ---- evenness ----------------------------------------------------------------------------------

PICKS = 100_000


async def pick_many(picks: int) -> Counter[int]:
    """Which of four cases is taken, when all can be."""
    full = [ready(), ready()]
    empty: list[Channel[Any]] = [Channel(1), Channel(1)]
    picked: Counter[int] = Counter()
    for _ in range(picks):
        index, _ = await select(
            full[0].recv(), empty[0].send("x"), full[1].recv(), empty[1].send("x")
        )
        picked[index] += 1
        if index % 2 == 0:
            full[index // 2].send_nowait("x")
        else:
            empty[index // 2].recv_nowait()
    return picked


def test_among_ready_cases_the_choice_is_even() -> None:
    _core._seed(20260)
    picked = tinycoro.run(pick_many(PICKS))
    expected = PICKS / 4
    chi_square = sum((picked[case] - expected) ** 2 / expected for case in range(4))
    assert chi_square < 30.66, picked  # three degrees of freedom, p > 1e-6


def test_a_seed_makes_the_choices_the_same() -> None:
    def attempt(seed: int) -> Counter[int]:
        _core._seed(seed)
        return tinycoro.run(pick_many(1000))

    assert attempt(7) == attempt(7)
    assert attempt(7) != attempt(8)
