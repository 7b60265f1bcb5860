"""Ten tasks and one lock, which each holds for a turn of the loop at a time."""

from bench import Lib, main

HOLDS = 50_000
TASKS = 10


async def body(lib: Lib) -> None:
    lock = lib.Lock()

    async def hold() -> None:
        for _ in range(HOLDS // TASKS):
            async with lock:
                await lib.sleep(0)

    await lib.gather(*[hold() for _ in range(TASKS)])


main(body, HOLDS)
