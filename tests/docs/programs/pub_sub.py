"""A broker with topics: bounded mailboxes, wildcard topics, slow subscribers lose the oldest."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """What is published."""

    topic: str
    body: object


class Subscription:
    """A bounded mailbox; `async for message in subscription` ends when the broker closes."""

    def __init__(self, pattern: str, size: int) -> None:
        self.pattern = pattern
        self.lost = 0
        self._mailbox: asyncio.Queue[Message | None] = asyncio.Queue(size)

    def deliver(self, message: Message | None) -> None:
        """Put a message in, at the cost of the oldest if there is no room."""
        while True:
            try:
                self._mailbox.put_nowait(message)
            except asyncio.QueueFull:
                self._mailbox.get_nowait()
                self.lost += 1
            else:
                return

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        message = await self._mailbox.get()
        if message is None:
            raise StopAsyncIteration
        return message


class Broker:
    """Hands every message to every subscription whose pattern fits its topic."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def subscribe(self, pattern: str, size: int = 16) -> AsyncIterator[Subscription]:
        """Be a subscriber for the length of the block."""
        subscription = Subscription(pattern, size)
        async with self._changed:
            self._subscriptions.append(subscription)
            self._changed.notify_all()
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    async def wait_for_subscribers(self, count: int) -> None:
        """Wait until there are at least `count`."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._subscriptions) >= count)

    def publish(self, topic: str, body: object) -> int:
        """Deliver; returns to how many."""
        fitting = [each for each in self._subscriptions if fnmatch.fnmatch(topic, each.pattern)]
        for subscription in fitting:
            subscription.deliver(Message(topic, body))
        return len(fitting)

    def close(self) -> None:
        """End every subscription once its mailbox is read."""
        for subscription in self._subscriptions:
            subscription.deliver(None)


async def reader(broker: Broker, name: str, pattern: str, size: int = 16) -> str:
    """Read to the end, and say what was seen."""
    seen = []
    async with broker.subscribe(pattern, size) as subscription:
        async for message in subscription:
            seen.append(f"{message.topic}={message.body}")
            await asyncio.sleep(0)
    return f"{name} saw {', '.join(seen)}; lost {subscription.lost}"


async def one_and_leave(broker: Broker) -> str:
    """Read one message, then unsubscribe."""
    async with broker.subscribe("*") as subscription:
        message = await anext(aiter(subscription))
    return f"the third saw {message.topic}={message.body} and left"


async def main() -> None:
    broker = Broker()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(reader(broker, "the first", "weather/*")),
            group.create_task(reader(broker, "the second", "*/paris", size=3)),
            group.create_task(one_and_leave(broker)),
        ]
        await broker.wait_for_subscribers(3)
        for hour in range(4):
            print("delivered:", broker.publish("weather/paris", 20 + hour))
        print("delivered:", broker.publish("traffic/paris", "jam"))
        print("delivered:", broker.publish("traffic/rome", "none"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        print("delivered:", broker.publish("weather/rome", 25))
        broker.close()
    for task in tasks:
        print(task.result())


asyncio.run(main())
