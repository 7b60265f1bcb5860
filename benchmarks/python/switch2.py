"""Two tasks that give way to each other by sleep(0); an operation is one turn of one of them."""

from bench import Lib, main

TURNS = 100_000


async def give_way(lib: Lib) -> None:
    sleep = lib.sleep
    for _ in range(TURNS // 2):
        await sleep(0)


async def body(lib: Lib) -> None:
    await lib.gather(give_way(lib), give_way(lib))


main(body, TURNS)
