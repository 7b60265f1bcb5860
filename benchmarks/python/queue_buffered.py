"""A queue of 128 places between two tasks. One operation is a put and a get."""

from bench import Lib, main

ITEMS = 100_000


async def body(lib: Lib) -> None:
    queue = lib.Queue(128)

    async def put() -> None:
        for i in range(ITEMS):
            await queue.put(i)

    async def get() -> None:
        for _ in range(ITEMS):
            await queue.get()

    await lib.gather(put(), get())


main(body, ITEMS)
