"""A channel and a simple model of one do the same, whatever is done to them in whatever order."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tinycoro
from tinycoro import Channel, ChannelClosed, WouldBlock, select

# An operation of a channel, whatever it gives.
Op = Any

SETTINGS = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


class Waiting:
    """An operation that has not ended in the model, with its task."""

    def __init__(self, task: tinycoro.Task[Any], item: int | None = None) -> None:
        self.task = task
        self.item = item


class ChannelMachine(RuleBasedStateMachine):
    """Sends, receives, cancels and closes, by tasks and without waiting, on one channel."""

    @initialize(capacity=st.integers(0, 3))
    def make(self, capacity: int) -> None:
        self.loop = tinycoro.new_event_loop()
        self.channel: Channel[int] = Channel(capacity)
        self.capacity = capacity
        self.ring: deque[int] = deque()
        self.senders: deque[Waiting] = deque()
        self.receivers: deque[Waiting] = deque()
        self.is_closed = False
        self.next_item = 0
        self.ended: list[tuple[tinycoro.Task[Any], Any]] = []  # and what the model says it gave

    # ---- the model -----------------------------------------------------------------------------

    def model_send(self, item: int) -> str:
        if self.is_closed:
            return "closed"
        if self.receivers:
            self.ended.append((self.receivers.popleft().task, item))
            return "sent"
        if len(self.ring) < self.capacity:
            self.ring.append(item)
            return "sent"
        return "wait"

    def model_recv(self) -> int | str:
        if self.ring:
            item = self.ring.popleft()
            if self.senders:
                sender = self.senders.popleft()
                assert sender.item is not None
                self.ring.append(sender.item)
                self.ended.append((sender.task, None))
            return item
        if self.senders:
            sender = self.senders.popleft()
            assert sender.item is not None
            self.ended.append((sender.task, None))
            return sender.item
        return "closed" if self.is_closed else "wait"

    # ---- both ----------------------------------------------------------------------------------

    def turns(self) -> None:
        async def pass_by() -> None:
            for _ in range(4):
                await tinycoro.sleep(0)

        self.loop.run_until_complete(pass_by())
        for task, expected in self.ended:
            assert task.done(), task
            if expected is ChannelClosed:
                assert isinstance(task.exception(), ChannelClosed)
            else:
                assert task.result() == expected
        self.ended.clear()

    def start(self, operation: Op) -> tinycoro.Task[Any]:
        async def perform() -> Op:
            return await operation

        return self.loop.create_task(perform())

    def item(self) -> int:
        self.next_item += 1
        return self.next_item

    @rule(through_select=st.booleans())
    def send(self, through_select: bool) -> None:
        item = self.item()
        operation: Any = self.channel.send(item)
        task = self.start(_only(operation) if through_select else operation)
        outcome = self.model_send(item)
        if outcome == "wait":
            self.senders.append(Waiting(task, item))
        else:
            self.ended.append((task, None if outcome == "sent" else ChannelClosed))
        self.turns()

    @rule(through_select=st.booleans())
    def recv(self, through_select: bool) -> None:
        operation: Any = self.channel.recv()
        task = self.start(_only(operation) if through_select else operation)
        outcome = self.model_recv()
        if outcome == "wait":
            self.receivers.append(Waiting(task))
        else:
            self.ended.append((task, ChannelClosed if outcome == "closed" else outcome))
        self.turns()

    @rule()
    def send_nowait(self) -> None:
        item = self.item()
        try:
            self.channel.send_nowait(item)
            outcome = "sent"
        except WouldBlock:
            outcome = "wait"
        except ChannelClosed:
            outcome = "closed"
        assert outcome == self.model_send(item)
        self.turns()

    @rule()
    def recv_nowait(self) -> None:
        outcome: int | str
        try:
            outcome = self.channel.recv_nowait()
        except WouldBlock:
            outcome = "wait"
        except ChannelClosed:
            outcome = "closed"
        assert outcome == self.model_recv()
        self.turns()

    @precondition(lambda self: self.senders or self.receivers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        queue = self.senders or self.receivers
        waiting = queue[data.draw(st.integers(0, len(queue) - 1))]
        queue.remove(waiting)
        waiting.task.cancel()
        self.turns()
        assert waiting.task.cancelled()

    @precondition(lambda self: self.receivers)
    @rule()
    def deliver_and_cancel(self) -> None:
        item = self.item()
        receiver = self.receivers[0]
        self.channel.send_nowait(item)
        assert receiver.task.cancel()
        assert self.model_send(item) == "sent"
        self.turns()  # delivery wins

    @rule()
    def close(self) -> None:
        self.channel.close()
        self.is_closed = True
        for waiting in (*self.senders, *self.receivers):
            self.ended.append((waiting.task, ChannelClosed))
        self.senders.clear()
        self.receivers.clear()
        self.turns()

    @invariant()
    def says_the_same_of_itself(self) -> None:
        if not hasattr(self, "channel"):
            return
        now = self.channel.statistics()
        assert now.length == len(self.channel) == len(self.ring)
        assert (now.senders, now.receivers) == (len(self.senders), len(self.receivers))
        assert now.closed == self.channel.closed == self.is_closed

    def teardown(self) -> None:
        if hasattr(self, "channel"):
            self.close()
            self.loop.close()


async def _only(operation: Op) -> Op:
    index, item = await select(None, operation)
    assert index == 1
    return item


ChannelMachine.TestCase.settings = SETTINGS
TestChannel = ChannelMachine.TestCase
