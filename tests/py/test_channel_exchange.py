"""Everybody exchanges with everybody; ^C, SIGTERM, fork and exit come in the middle."""

from __future__ import annotations

import os

import pytest

import exchange
import tinycoro
from support import assert_success, run_python
from tinycoro import Channel, ChannelClosed, _core, select_blocking

ITEMS = 100_000


def test_nothing_is_lost_duplicated_or_reordered() -> None:
    assert exchange.run(exchange.Exchange(ITEMS)) == []


def test_a_relay_needs_channels_without_python_objects() -> None:
    with pytest.raises(TypeError, match="C fibers cannot touch"):
        _core._testing.relay(Channel(), Channel())
    ints = Channel(items=int)
    with pytest.raises(TypeError, match="a Channel was expected"):
        _core._testing.relay(ints, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [0, 3])
def test_a_relay_moves_every_kind_of_item(capacity: int) -> None:
    ints = Channel(capacity, items=int), Channel(capacity, items=int)
    texts = Channel(capacity, items=bytes), Channel(capacity, items=bytes)
    relays = [_core._testing.relay(*ints), _core._testing.relay(*texts)]

    async def main() -> tuple[list[int], list[bytes]]:
        async def send() -> None:
            for number in range(100):
                await ints[0].send(number)
                await texts[0].send(b"%d" % number)
            ints[0].close()
            texts[0].close()

        task = tinycoro.create_task(send())
        numbers, words = [], []
        for _ in range(100):
            numbers.append(await ints[1].recv())
            words.append(await texts[1].recv())
        await task
        with pytest.raises(ChannelClosed):
            await ints[1].recv()
        return numbers, words

    numbers, words = tinycoro.run(main())
    assert numbers == list(range(100))
    assert words == [b"%d" % number for number in range(100)]
    for relay in relays:
        relay.wait(20)


def test_a_relay_that_is_dropped_ends() -> None:
    ends = Channel(items=bytes), Channel(items=bytes)
    relay = _core._testing.relay(*ends)
    ends[0].send_blocking(b"stuck in the fiber", 20)
    del relay
    assert ends[1].closed


def test_a_relay_serves_blocking_select() -> None:
    ends = Channel(items=int), Channel(items=int)
    relay = _core._testing.relay(*ends)
    for number in range(50):
        assert select_blocking(ends[0].send(number), timeout=20) == (0, None)
        assert select_blocking(ends[1].recv(), timeout=20) == (0, number)
    ends[0].close()
    relay.wait(20)


# ---- in the middle -----------------------------------------------------------------------------

_PROGRAM = """
    import os, signal, sys, threading, time, warnings
    sys.path.insert(0, sys.argv[1])
    import exchange, tinycoro
    from tinycoro import Channel, ChannelClosed

    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
"""


def _run(code: str) -> None:
    result = run_python(_PROGRAM + code, os.path.dirname(exchange.__file__))
    assert_success(result)


def test_the_first_interrupt_cancels_main() -> None:
    _run("""
    traffic = exchange.Exchange(1 << 30, lambda: os.kill(os.getpid(), signal.SIGINT))
    finish = traffic.begin()
    try:
        tinycoro.run(traffic.loop_side(0))
    except KeyboardInterrupt:
        assert not traffic.failures, traffic.failures
        os._exit(0)
    os._exit(1)
    """)


def test_the_second_interrupt_stops_at_once() -> None:
    _run("""
    async def stubborn():
        channel = Channel()
        try:
            await channel.recv()
        except tinycoro.CancelledError:
            os.kill(os.getpid(), signal.SIGINT)
            await channel.recv()

    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        tinycoro.run(stubborn())
    except KeyboardInterrupt:
        sys.exit(0)
    sys.exit(1)
    """)


def test_a_handler_of_the_loop_sees_sigterm() -> None:
    _run("""
    async def main():
        loop = tinycoro.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, traffic.close)
        try:
            await traffic.loop_side(0)
        except ChannelClosed:
            pass

    sent = []
    def pulse():
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))

    traffic = exchange.Exchange(1 << 24, pulse)
    threading.excepthook = lambda args: None  # everybody else meets ChannelClosed
    finish = traffic.begin()
    tinycoro.run(main())
    finish()
    assert not traffic.failures, traffic.failures
    """)


def test_an_interrupt_ends_a_blocking_call() -> None:
    _run("""
    channel = Channel()
    for call in (channel.recv_blocking, lambda: channel.send_blocking(1),
                 lambda: tinycoro.select_blocking(channel.recv(), channel.send(1))):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            call()
        except KeyboardInterrupt:
            continue
        sys.exit(1)
    now = channel.statistics()
    assert (now.senders, now.receivers) == (0, 0)
    """)


def test_a_child_of_fork_finds_channels_closed_and_empty() -> None:
    _run("""
    children = []
    def pulse():
        if len(children) > 4:
            return
        child = os.fork()
        if child:
            children.append(child)
            return
        for channel in (traffic.buffered, traffic.rendezvous, traffic.to_fiber):
            assert channel.closed and len(channel) == 0
            for call in (channel.recv_nowait, lambda: channel.send_nowait(1)):
                try:
                    call()
                except ChannelClosed:
                    continue
                os._exit(3)
            channel.close()
            channel.statistics()
        fresh = Channel(1)
        fresh.send_nowait("x")
        os._exit(0 if fresh.recv_nowait() == "x" else 4)

    traffic = exchange.Exchange(40_000, pulse)
    wrong = exchange.run(traffic)
    assert not wrong, wrong
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
    """)


@pytest.mark.parametrize(
    "call",
    [
        "channel.recv_blocking()",
        "channel.send_blocking(1)",
        "tinycoro.select_blocking(channel.send(1), channel.recv())",
    ],
)
def test_a_handler_that_forks_ends_the_wait_in_the_child(call: str) -> None:
    _run(f"""
    channel = Channel()
    children = []

    def fork(*ignored):
        children.append(os.fork())
        signal.alarm(20)  # ends either, should it hang
        if children[0]:  # the parent waits on, undisturbed
            threading.Thread(target=end).start()

    def end():
        children.append(os.waitpid(children[0], 0)[1])
        channel.close()

    def begin():
        while not sum(channel.statistics()[4:6]):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, fork)
    threading.Thread(target=begin).start()
    try:
        {call}
    except ChannelClosed as error:
        assert error.channel is channel
    else:
        sys.exit(1)
    if children[0] == 0:
        os._exit(0)
    assert children[1] == 0, children
    """)


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)", "pass"])
def test_exit_in_the_middle(end: str) -> None:
    _run(f"""
    reached = threading.Event()
    traffic = exchange.Exchange(1 << 30, reached.set)
    finish = traffic.begin()
    threading.Thread(target=tinycoro.run, args=(traffic.loop_side(0),), daemon=True).start()
    assert reached.wait(20)
    {end}
    """)
