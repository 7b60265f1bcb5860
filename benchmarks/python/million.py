"""A million tasks that each give way once, gathered: time and peak memory."""

from bench import Lib, main

TASKS = 1_000_000


async def one(lib: Lib) -> None:
    await lib.sleep(0)


async def body(lib: Lib) -> None:
    await lib.gather(*[one(lib) for _ in range(TASKS)])


main(body, TASKS, once=True)
