"""sleep(0): one turn of the loop."""

from bench import Lib, main

TURNS = 100_000


async def body(lib: Lib) -> None:
    sleep = lib.sleep
    for _ in range(TURNS):
        await sleep(0)


main(body, TURNS)
