"""wait_for over a coroutine that gives way once, with a deadline that is never reached."""

from bench import Lib, main

CALLS = 50_000


async def body(lib: Lib) -> None:
    wait_for, sleep = lib.wait_for, lib.sleep

    async def one() -> None:
        await sleep(0)

    for _ in range(CALLS):
        await wait_for(one(), 60)


main(body, CALLS)
