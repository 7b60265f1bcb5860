"""100,000 tasks that sleep for 0 to 9 ms at the same time, gathered; an operation is one task."""

from bench import Lib, main

SLEEPS = 100_000


async def one(lib: Lib, delay: float) -> None:
    await lib.sleep(delay)


async def body(lib: Lib) -> None:
    await lib.gather(*[one(lib, number % 10 / 1000) for number in range(SLEEPS)])


main(body, SLEEPS)
