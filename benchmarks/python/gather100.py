"""gather of 100 coroutines that return at once; an operation is one of them."""

from bench import Lib, main

WIDTH = 100
GATHERS = 500


async def nothing() -> None:
    pass


async def body(lib: Lib) -> None:
    gather = lib.gather
    for _ in range(GATHERS):
        await gather(*[nothing() for _ in range(WIDTH)])


main(body, WIDTH * GATHERS)
