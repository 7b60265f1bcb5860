"""Cancel every task of every scenario at every turn: nothing is lost, nobody waits for ever.

A scenario starts a few tasks. It runs once for each of its tasks, for each turn of the loop until
that task is done, and for a cancel that comes before or after the others run in that turn.
Afterwards the others must have come to their end, every lock must be free, every permit back, every
item taken or still there. Where asyncio does it right, its log is the same.
"""

from __future__ import annotations

import asyncio

import pytest

import sync_queue_scenarios  # noqa: F401  # adds to SCENARIOS
import tinycoro
from both import Lib
from sync_programs import IS_313, plain
from sync_scenarios import SCENARIOS, Scenario, World

MOST_TURNS = 80


async def settle(world: World, striker: asyncio.Task[None]) -> bool:
    """Whether all tasks are done, a while after the cancel."""
    patience = 30
    while patience and not all(task.done() for task in world.tasks):
        patience -= striker.done()
        await world.turns()
    await striker
    return patience > 0


async def run_once(lib: Lib, play: Scenario, victim: int, turn: int, late: bool) -> World:
    """One run; world.log says how it went, at last whether the victim was still there."""
    world = World(lib)
    struck = False

    async def strike() -> None:
        nonlocal struck
        for _ in range(turn):
            await lib.sleep(0)
        struck = world.tasks[victim].cancel("swept")

    if late:
        await play(world)
        striker = lib.create_task(strike())
    else:
        striker = lib.create_task(strike())
        await play(world)
    is_over = await settle(world, striker)
    if world.rescue is not None:
        await world.rescue()
        is_over = await settle(world, striker)
    assert is_over, [plain(task) for task in world.tasks if not task.done()]
    results = await lib.gather(*world.tasks, return_exceptions=True)
    world.log.append([plain(result) for result in results])
    world.check()
    world.log.append(struck)
    return world


async def sweep(lib: Lib, play: Scenario) -> list[object]:
    log: list[object] = []
    victims = 1
    victim = 0
    while victim < victims:
        for late in (False, True):
            for turn in range(MOST_TURNS):
                world = await run_once(lib, play, victim, turn, late)
                victims = len(world.tasks)
                log.append((victim, turn, late, world.log))
                if not world.log[-1]:  # it was done before
                    break
        victim += 1
    mine = lib.current_task()
    assert lib.all_tasks() == {mine}
    return log


@pytest.mark.parametrize("play", SCENARIOS, ids=[play.__name__ for play in SCENARIOS])
def test_sweep(play: Scenario) -> None:
    found = tinycoro.run(sweep(tinycoro, play))
    assert len(found) > 3
    if IS_313:
        expected = asyncio.run(sweep(asyncio, play))
        for theirs, ours in zip(expected, found, strict=True):
            assert ours == theirs
