"""The life of a task: spawn one, wait for it, spawn the next."""

from bench import Lib, main

SPAWNS = 50_000


async def nothing() -> None:
    pass


async def body(lib: Lib) -> None:
    create_task = lib.create_task
    for _ in range(SPAWNS):
        await create_task(nothing())


main(body, SPAWNS)
