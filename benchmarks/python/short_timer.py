"""A timer that has run out when the loop looks for the first time; set one, wait, set the next."""

from bench import Lib, main

TIMERS = 50_000


async def body(lib: Lib) -> None:
    sleep = lib.sleep
    for _ in range(TIMERS):
        await sleep(1e-9)


main(body, TIMERS)
