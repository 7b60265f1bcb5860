"""Two tasks, two pipes of one place: a round trip is two sends and two receives."""

from collections.abc import Awaitable, Callable
from typing import Any

from bench import Lib, main, pipe

TRIPS = 20_000


async def answer(
    recv: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    for _ in range(TRIPS):
        await send(await recv())


async def body(lib: Lib) -> None:
    send, other_recv = pipe(lib, 1)
    other_send, recv = pipe(lib, 1)
    task = lib.create_task(answer(other_recv, other_send))
    for number in range(TRIPS):
        await send(number)
        await recv()
    await task


main(body, TRIPS)
