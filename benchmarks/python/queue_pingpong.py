"""Two tasks, two queues of one place: an item there and one back. One operation: put and get."""

from bench import Lib, main

OPERATIONS = 100_000


async def body(lib: Lib) -> None:
    there, back = lib.Queue(1), lib.Queue(1)

    async def ping() -> None:
        for _ in range(OPERATIONS // 2):
            await there.put(1)
            await back.get()

    async def pong() -> None:
        for _ in range(OPERATIONS // 2):
            await there.get()
            await back.put(1)

    await lib.gather(ping(), pong())


main(body, OPERATIONS)
