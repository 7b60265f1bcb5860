"""A TaskGroup of 100 coroutines that return at once; an operation is one of them."""

from bench import Lib, main

WIDTH = 100
GROUPS = 500


async def nothing() -> None:
    pass


async def body(lib: Lib) -> None:
    for _ in range(GROUPS):
        async with lib.TaskGroup() as group:
            create_task = group.create_task
            for _ in range(WIDTH):
                create_task(nothing())


main(body, WIDTH * GROUPS)
