"""A pipeline of stages with bounded queues between them: the slowest stage sets the pace."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
S = TypeVar("S")

TEXT = """\
Now is the winter of our discontent
Made glorious summer by this sun of York;
And all the clouds that lour'd upon our house
In the deep bosom of the ocean buried.
Now are our brows bound with victorious wreaths;
Our bruised arms hung up for monuments;
Our stern alarums changed to merry meetings,
Our dreadful marches to delightful measures.
"""


class Pipe(Generic[T]):
    """A bounded queue that several writers close together; reading ends after the last."""

    _end = object()

    def __init__(self, size: int, writers: int = 1) -> None:
        self._queue: asyncio.Queue[object] = asyncio.Queue(size)
        self._writers = writers
        self.most = 0

    async def put(self, item: T) -> None:
        """Wait for room."""
        await self._queue.put(item)
        self.most = max(self.most, self._queue.qsize())

    async def close(self) -> None:
        """One writer is done."""
        self._writers -= 1
        if self._writers == 0:
            await self._queue.put(self._end)

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            item = await self._queue.get()
            if item is self._end:
                await self._queue.put(item)  # for the other readers
                return
            yield item  # type: ignore[misc]


async def produce(lines: Pipe[str]) -> None:
    """Write the lines of the text."""
    for line in TEXT.splitlines():
        await lines.put(line)
    await lines.close()


async def split(lines: Pipe[str], words: Pipe[str]) -> None:
    """Lines in, words out; several of these share the work."""
    async for line in lines:
        for word in re.findall(r"[a-z']+", line.lower()):
            await words.put(word)
    await words.close()


async def select(words: Pipe[str], chosen: Pipe[str], wanted: Callable[[str], bool]) -> None:
    """Let through what is wanted."""
    async for word in words:
        if wanted(word):
            await chosen.put(word)
    await chosen.close()


async def count(words: Pipe[str]) -> Counter[str]:
    """Count, slowly."""
    found: Counter[str] = Counter()
    async for word in words:
        await asyncio.sleep(0)
        found[word] += 1
    return found


async def run_pipeline() -> None:
    """Four stages, the second by two tasks."""
    lines: Pipe[str] = Pipe(2)
    words: Pipe[str] = Pipe(4, writers=2)
    chosen: Pipe[str] = Pipe(1)
    async with asyncio.TaskGroup() as group:
        group.create_task(produce(lines))
        group.create_task(split(lines, words))
        group.create_task(split(lines, words))
        group.create_task(select(words, chosen, lambda word: len(word) > 2))
        counter = group.create_task(count(chosen))
    found = counter.result()
    for word, times in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:6]:
        print(f"{word:10} {times}")
    print(f"{len(found)} different words, {sum(found.values())} in all")
    print("no queue was overfull:", lines.most <= 2 and words.most <= 4 and chosen.most <= 1)


async def run_failing_pipeline() -> None:
    """A stage that fails takes the others with it."""

    def refuse(word: str) -> bool:
        if word == "york":
            raise ValueError(f"no {word} here")
        return True

    lines: Pipe[str] = Pipe(2)
    words: Pipe[str] = Pipe(4)
    chosen: Pipe[str] = Pipe(1)
    tasks = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks.append(group.create_task(produce(lines)))
            tasks.append(group.create_task(split(lines, words)))
            tasks.append(group.create_task(select(words, chosen, refuse)))
            tasks.append(group.create_task(count(chosen)))
    except* ValueError as group_error:
        print("failed:", [str(error) for error in group_error.exceptions])
    print("cancelled:", [task.cancelled() for task in tasks])


async def main() -> None:
    await run_pipeline()
    await run_failing_pipeline()


asyncio.run(main())
