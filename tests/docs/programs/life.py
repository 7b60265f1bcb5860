"""Conway's game of life, an actor for each cell: mailboxes, a barrier for each generation."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

GLIDER = """\
.#......
..#.....
###.....
........
........
........
........
........
"""


class Cell:
    """An actor: tells its neighbours whether it lives, reads what they tell, decides."""

    def __init__(self, lives: bool) -> None:
        self.lives = lives
        self.neighbours: list[Cell] = []
        self._mailbox: asyncio.Queue[bool] = asyncio.Queue()

    def tell(self, lives: bool) -> None:
        """A neighbour's message."""
        self._mailbox.put_nowait(lives)

    async def run(self, generations: int, told: asyncio.Barrier, drawn: asyncio.Barrier) -> None:
        """Live for so many generations."""
        for _ in range(generations):
            await drawn.wait()
            for neighbour in self.neighbours:
                neighbour.tell(self.lives)
            count = 0
            for _ in self.neighbours:
                count += await self._mailbox.get()
            await told.wait()  # nobody may change before everybody has been counted
            self.lives = count == 3 or (self.lives and count == 2)


class World:
    """A torus of cells."""

    def __init__(self, picture: str) -> None:
        rows = picture.split()
        self._height, self._width = len(rows), len(rows[0])
        self._cells = {
            (y, x): Cell(mark == "#") for y, row in enumerate(rows) for x, mark in enumerate(row)
        }
        for (y, x), cell in self._cells.items():
            cell.neighbours = [self._at(y + dy, x + dx) for dy, dx in self._around()]

    @staticmethod
    def _around() -> Iterable[tuple[int, int]]:
        return (step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0))

    def _at(self, y: int, x: int) -> Cell:
        return self._cells[y % self._height, x % self._width]

    def __str__(self) -> str:
        return "\n".join(
            "".join(".#"[self._at(y, x).lives] for x in range(self._width))
            for y in range(self._height)
        )

    async def run(self, generations: int, every: int) -> None:
        """Run all cells; print every so many generations."""
        told = asyncio.Barrier(len(self._cells))
        drawn = asyncio.Barrier(len(self._cells) + 1)
        async with asyncio.TaskGroup() as group:
            for cell in self._cells.values():
                group.create_task(cell.run(generations, told, drawn))
            for generation in range(generations):
                # The cells stand before the barrier: the picture is that of one generation.
                while drawn.n_waiting < len(self._cells):
                    await asyncio.sleep(0)
                if generation % every == 0:
                    print(f"generation {generation}:\n{self}")
                await drawn.wait()
        print(f"generation {generations}:\n{self}")


async def main() -> None:
    world = World(GLIDER)
    before = str(world)
    await world.run(32, every=8)  # a glider crosses this torus in 32
    print("back where it began:", str(world) == before)


asyncio.run(main())
