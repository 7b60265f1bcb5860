"""One task sends, another receives, over a pipe of 128 places; an operation is one item."""

from collections.abc import Awaitable, Callable
from typing import Any

from bench import Lib, main, pipe

ITEMS = 100_000
CAPACITY = 128


async def consume(recv: Callable[[], Awaitable[Any]]) -> None:
    for _ in range(ITEMS):
        await recv()


async def body(lib: Lib) -> None:
    send, recv = pipe(lib, CAPACITY)
    task = lib.create_task(consume(recv))
    for number in range(ITEMS):
        await send(number)
    await task


main(body, ITEMS)
