"""Scenarios over queues; see sync_scenarios."""

from __future__ import annotations

from contextlib import suppress

from sync_scenarios import Scenario, World, scenario

# ---- queues --------------------------------------------------------------------------------------


def _bounded(kind: str) -> Scenario:
    async def producers_and_consumers(world: World) -> None:
        queue = world.queue(1, kind)

        async def put(first: int) -> None:
            for number in range(3):
                await world.put(queue, first + number)

        async def get() -> None:
            for _ in range(3):
                await world.get(queue)

        world.spawn(put(0), get(), put(3), get())

        async def rescue() -> None:
            queue.shutdown()

        world.rescue = rescue

    producers_and_consumers.__name__ += f"_on_a_{kind}"
    return producers_and_consumers


for _kind in ("Queue", "LifoQueue", "PriorityQueue"):
    scenario(_bounded(_kind))


@scenario
async def an_item_for_one_of_many(world: World) -> None:
    queue = world.queue()

    async def get() -> None:
        await world.get(queue)

    async def put() -> None:
        for number in range(3):
            await world.turns()
            await world.put(queue, number)

    world.spawn(get(), get(), get(), put())

    async def rescue() -> None:
        for number in range(3):
            await world.put(queue, number)

    world.rescue = rescue


@scenario
async def two_items_in_one_turn(world: World) -> None:
    queue = world.queue()

    async def get() -> None:
        await world.get(queue)

    async def put() -> None:
        await world.turns(2)
        for number in range(2):
            queue.put_nowait(number)
            world.put_in[number] += 1

    world.spawn(get(), get(), put())

    async def rescue() -> None:
        for number in range(2):
            await world.put(queue, number)

    world.rescue = rescue


@scenario
async def a_ping_pong(world: World) -> None:
    there, back = world.queue(1), world.queue(1)

    async def ping() -> None:
        for number in range(3):
            await world.put(there, number)
            await world.get(back)

    async def pong() -> None:
        for _ in range(3):
            await world.put(back, await world.get(there))

    world.spawn(ping(), pong())

    async def rescue() -> None:
        there.shutdown()
        back.shutdown()

    world.rescue = rescue


@scenario
async def a_join(world: World) -> None:
    queue = world.queue()

    async def work() -> None:
        for _ in range(2):
            await world.get(queue)
            try:
                await world.turns()
            finally:
                queue.task_done()

    async def feed() -> None:
        for number in range(4):
            await world.put(queue, number)
        await queue.join()

    world.spawn(work(), work(), feed())

    async def rescue() -> None:
        queue.shutdown(immediate=True)
        world.taken = world.put_in

    world.rescue = rescue


@scenario
async def a_shutdown(world: World) -> None:
    queue = world.queue(1)

    async def put() -> None:
        number = 0
        with suppress(world.lib.QueueShutDown):
            while True:
                await world.put(queue, number)
                number += 1

    async def get() -> None:
        for _ in range(3):
            await world.get(queue)

    async def close() -> None:
        await world.turns(6)
        queue.shutdown()

    world.spawn(put(), get(), close())

    async def rescue() -> None:
        queue.shutdown()

    world.rescue = rescue


@scenario
async def a_queue_with_hooks(world: World) -> None:
    class Counting(world.lib.Queue):  # type: ignore[name-defined, misc]
        def _put(self, item: object) -> None:
            super()._put(item)
            world.log.append(("_put", item))

        def _get(self) -> object:
            item = super()._get()
            world.log.append(("_get", item))
            return item

        def full(self) -> bool:
            return bool(super().full())

    queue = Counting(1)
    world.queues.append(queue)

    async def put(first: int) -> None:
        for number in range(2):
            await world.put(queue, first + number)

    async def get() -> None:
        for _ in range(4):
            await world.get(queue)

    world.spawn(put(0), put(2), get())

    async def rescue() -> None:
        queue.shutdown()

    world.rescue = rescue


@scenario
async def a_pool_of_permits_and_jobs(world: World) -> None:
    queue, semaphore, lock = world.queue(2), world.semaphore(1), world.lock()

    async def work() -> None:
        for _ in range(2):
            item = await world.get(queue)
            async with semaphore:
                await world.turns()
                async with lock:
                    world.log.append(item)

    async def feed() -> None:
        for number in range(4):
            await world.put(queue, number)

    world.spawn(work(), work(), feed())

    async def rescue() -> None:
        queue.shutdown()

    world.rescue = rescue
