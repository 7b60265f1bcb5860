"""Tasks of two loops, two threads and a C fiber exchange numbers; every one is accounted for.

Four senders: a task in each of two loops, two plain threads; as many receivers. Four ways: a
channel of objects with places, one without, and two of ints with a C fiber between them. A sender
goes from way to way, now by send, now by select over all; receivers select. Each receiver checks
that what one sender sent on one way arrives in order; in the end every number has come once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any

import tinycoro
from tinycoro import Channel, ChannelClosed, _core, select, select_blocking

SENDERS = 4
_SHIFT = 32


class Exchange:
    """One run. `pulse` is called now and then by the sender of the first loop."""

    def __init__(self, items: int, pulse: Callable[[], None] = lambda: None) -> None:
        self.each = items // SENDERS
        self.pulse = pulse
        self.buffered: Channel[int] = Channel(64)
        self.rendezvous: Channel[int] = Channel()
        self.to_fiber = Channel(64, items=int)
        self.from_fiber = Channel(64, items=int)
        self.seen = [bytearray(self.each) for _ in range(SENDERS)]
        self.failures: list[str] = []
        self.senders_left = SENDERS
        self.lock = threading.Lock()

    # ---- accounting --------------------------------------------------------------------------

    def note(self, last: dict[tuple[int, int], int], way: int, item: int) -> None:
        """`last`: what the calling receiver got before, by sender and way."""
        sender, number = item >> _SHIFT, item & ((1 << _SHIFT) - 1)
        if last.get((sender, way), -1) >= number:
            self.failures.append(f"sender {sender}, way {way}: {number} is late")
        last[sender, way] = number
        if self.seen[sender][number]:
            self.failures.append(f"sender {sender}: {number} twice")
        self.seen[sender][number] = 1

    def sender_done(self) -> None:
        with self.lock:
            self.senders_left -= 1
            if self.senders_left:
                return
        for channel in (self.buffered, self.rendezvous, self.to_fiber):
            channel.close()

    def verdict(self) -> list[str]:
        lost = [
            f"sender {sender}: {seen.count(0)} are lost"
            for sender, seen in enumerate(self.seen)
            if seen.count(0)
        ]
        return self.failures[:5] + lost

    # ---- those who take part -------------------------------------------------------------------

    async def task_sends(self, sender: int) -> None:
        ways = (self.buffered, self.buffered, self.to_fiber, self.rendezvous)
        try:
            for number in range(self.each):
                item = sender << _SHIFT | number
                if number % 8 == 7:
                    await select(*[way.send(item) for way in ways[1:]])
                else:
                    await ways[number & 3].send(item)
                if sender == 0 and number % 1000 == 0:
                    self.pulse()
        finally:
            self.sender_done()

    def thread_sends(self, sender: int) -> None:
        ways = (self.buffered, self.to_fiber, self.buffered, self.rendezvous)
        for number in range(self.each):
            item = sender << _SHIFT | number
            if number % 8 == 7:
                select_blocking(*[way.send(item) for way in ways[1:]])
            else:
                ways[number & 3].send_blocking(item)
        self.sender_done()

    async def task_receives(self) -> None:
        last: dict[tuple[int, int], int] = {}
        ways: list[Channel[int] | None] = [self.buffered, self.rendezvous, self.from_fiber]
        while any(ways):
            try:
                way, item = await select(*[channel and channel.recv() for channel in ways])
            except ChannelClosed as error:
                ways[error.index or 0] = None
            else:
                self.note(last, way, item)

    def thread_receives(self) -> None:
        last: dict[tuple[int, int], int] = {}
        ways: list[Channel[int] | None] = [self.buffered, self.rendezvous, self.from_fiber]
        while any(ways):
            try:
                way, item = select_blocking(*[channel and channel.recv() for channel in ways])
            except ChannelClosed as error:
                ways[error.index or 0] = None
            else:
                self.note(last, way, item)

    # ---- the run -----------------------------------------------------------------------------

    async def loop_side(self, sender: int) -> None:
        await tinycoro.gather(self.task_sends(sender), self.task_receives())

    def begin(self) -> Callable[[], None]:
        """Start everything but the first loop; returns what waits for the end of it all."""
        relay = _core._testing.relay(self.to_fiber, self.from_fiber)
        calls: list[Callable[[], object]] = [
            lambda: tinycoro.run(self.loop_side(1)),
            lambda: self.thread_sends(2),
            lambda: self.thread_sends(3),
            self.thread_receives,
            self.thread_receives,
        ]
        threads = [threading.Thread(target=call, daemon=True) for call in calls]
        for thread in threads:
            thread.start()

        def finish() -> None:
            for thread in threads:
                thread.join()
            relay.wait(20)

        return finish

    def close(self) -> None:
        """End it early: everybody meets ChannelClosed."""
        for channel in (self.buffered, self.rendezvous, self.to_fiber, self.from_fiber):
            channel.close()


def run(
    exchange: Exchange,
    start: Callable[[Coroutine[Any, Any, None]], None] = tinycoro.run,
) -> list[str]:
    """Run the exchange to its end; returns what went wrong."""
    finish = exchange.begin()
    start(exchange.loop_side(0))
    finish()
    return exchange.verdict()
