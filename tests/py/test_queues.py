"""Queue, LifoQueue, PriorityQueue: asyncio's words, order, hooks and refusals."""

from __future__ import annotations

import collections
import math
from collections.abc import Awaitable, Callable
from types import GenericAlias
from typing import Any

import pytest

import tinycoro
from both import Lib, same_on_both
from sync_programs import IS_313, QUEUES, plain


@same_on_both
async def test_items_come_in_the_order_of_the_type(lib: Lib, log: list[object]) -> None:
    for name in QUEUES:
        queue = getattr(lib, name)()
        for item in (3, 1, 2, 5, 4):
            await queue.put(item)
        log.append((name, queue.qsize(), queue.empty(), queue.full(), queue.maxsize))
        log.append([await queue.get() for _ in range(3)])
        log.append([queue.get_nowait() for _ in range(2)])
        log.append(queue.empty())


@same_on_both
async def test_waiting_and_the_turns_it_takes(lib: Lib, log: list[object]) -> None:
    queue = lib.Queue(2)

    async def put(name: str) -> None:
        for number in range(4):
            log.append((name, number, await queue.put(name + str(number))))

    async def get(name: str) -> None:
        for _ in range(4):
            log.append((name, await queue.get(), plain(queue)))

    async def count() -> None:
        for turn in range(12):
            log.append(turn)
            await lib.sleep(0)

    await lib.gather(put("a"), put("b"), get("c"), get("d"), count())


@same_on_both
async def test_reprs(lib: Lib, log: list[object]) -> None:
    tasks = []
    for name in QUEUES:
        empty, full = getattr(lib, name)(), getattr(lib, name)(1)
        full.put_nowait(1)
        tasks += [lib.create_task(empty.get()) for _ in range(2)]
        tasks += [lib.create_task(full.put(2)) for _ in range(2)]
        await lib.sleep(0)
        log.append([plain(empty), str(empty), plain(full), str(full)])
    for task in tasks:
        task.cancel()
    await lib.gather(*tasks, return_exceptions=True)

    class Named(lib.Queue):  # type: ignore[misc]
        def _format(self) -> str:
            return "of mine"

    log.append(str(Named()))


@same_on_both
async def test_join_waits_for_what_was_put(lib: Lib, log: list[object]) -> None:
    queue = lib.Queue()
    await queue.join()
    for item in range(3):
        queue.put_nowait(item)

    async def join(name: str) -> None:
        await queue.join()
        log.append(name)

    tasks = [lib.create_task(join(name)) for name in "ab"]
    for item in range(3):
        queue.get_nowait()
        await lib.sleep(0)
        log.append(item)
        queue.task_done()
    queue.put_nowait("more")  # whoever was woken goes on all the same
    tasks.append(lib.create_task(join("c")))
    await lib.sleep(0)
    await lib.sleep(0)
    log.append([task.done() for task in tasks])
    queue.task_done()
    await lib.gather(*tasks)
    try:
        queue.task_done()
    except ValueError as error:
        log.append(str(error))


@same_on_both
async def test_misuse(lib: Lib, log: list[object]) -> None:
    def attempt(call: Callable[[], object]) -> None:
        try:
            log.append(call())
        except Exception as error:
            log.append((type(error).__name__, str(error)))

    full, empty = lib.Queue(1), lib.PriorityQueue()
    full.put_nowait(1)
    attempt(lambda: full.put_nowait(2))
    attempt(empty.get_nowait)
    empty.put_nowait(1)
    attempt(lambda: empty.put_nowait("not comparable"))
    log.append(plain(empty))
    attempt(lambda: lib.Queue(loop=1))
    attempt(lambda: lib.Queue(1, 2))
    attempt(lambda: lib.Queue(maxsize="x").full())
    attempt(lambda: lib.Queue(None).full())
    for method in ("put", "put_nowait"):
        with pytest.raises(TypeError):
            getattr(full, method)()
        with pytest.raises(TypeError):
            getattr(full, method)(1, 2)


@same_on_both
async def test_sizes_that_are_no_plain_numbers(lib: Lib, log: list[object]) -> None:
    for maxsize in (math.inf, 1.5, True, -3, -(10**30), 10**30):
        queue = lib.Queue(maxsize)
        sizes = []
        for item in range(3):
            sizes.append(queue.full())
            if not sizes[-1]:
                await queue.put(item=item)
        log.append((maxsize, queue.maxsize is maxsize, sizes, queue.qsize()))


@same_on_both
async def test_the_items_can_be_looked_at_and_changed(lib: Lib, log: list[object]) -> None:
    queue = lib.Queue()
    for item in range(4):
        queue.put_nowait(item)
    log.append((type(queue._queue), queue._queue[0], list(queue._queue)))
    queue._queue.remove(2)
    log.append([await queue.get(), queue.qsize()])
    queue._queue = [7, 8]
    log.append((queue.qsize(), queue.empty(), plain(queue)))
    try:
        queue.get_nowait()
    except AttributeError as error:
        log.append(str(error).partition(". Did")[0])
    queue.put_nowait(9)
    log.append(queue._queue)
    del queue._queue
    for call in (queue.qsize, queue.empty, queue.get_nowait):
        try:
            call()
        except AttributeError as error:
            log.append(str(error).partition(". Did")[0])
    log.append(str(queue))


# ---- cancelled waits -----------------------------------------------------------------------------


@same_on_both
async def test_a_cancel_that_meets_an_item_leaves_it_to_the_next(
    lib: Lib, log: list[object]
) -> None:
    queue = lib.Queue()

    async def get(number: int) -> None:
        try:
            log.append((number, await queue.get()))
        except lib.CancelledError as error:
            log.append((number, error.args, plain(queue)))

    tasks = [lib.create_task(get(number)) for number in range(3)]
    await lib.sleep(0)
    queue.put_nowait("item")
    tasks[0].cancel("late")
    tasks[1].cancel()
    log.append(plain(queue))
    await lib.sleep(0)
    log.append(plain(queue))
    await lib.gather(*tasks)


@same_on_both
async def test_a_cancel_that_meets_a_free_place_leaves_it_to_the_next(
    lib: Lib, log: list[object]
) -> None:
    queue = lib.Queue(1)
    queue.put_nowait("first")

    async def put(number: int) -> None:
        try:
            log.append((number, await queue.put(number)))
        except lib.CancelledError as error:
            log.append((number, error.args, plain(queue)))

    tasks = [lib.create_task(put(number)) for number in range(3)]
    await lib.sleep(0)
    log.append(queue.get_nowait())
    tasks[0].cancel("late")
    await lib.sleep(0)
    await lib.sleep(0)
    log.append((plain(queue), queue.get_nowait()))
    await lib.sleep(0)
    log.append((plain(queue), queue.get_nowait()))
    await lib.gather(*tasks)


# ---- shutdown ------------------------------------------------------------------------------------


async def _shut_down(lib: Lib, log: list[object]) -> None:
    for kind in QUEUES:
        for immediate in (False, True):
            queue = getattr(lib, kind)(2)

            async def attempt(name: str, awaitable: Awaitable[object]) -> None:
                try:
                    log.append((name, await awaitable))
                except lib.QueueShutDown as error:
                    log.append((name, repr(error)))

            queue.put_nowait(1)
            queue.put_nowait(2)
            tasks = [lib.create_task(attempt("put", queue.put(3))) for _ in range(2)]
            tasks.append(lib.create_task(attempt("join", queue.join())))
            await lib.sleep(0)
            queue.shutdown(immediate)
            log.append(plain(queue))
            await lib.gather(*tasks[:2])
            await attempt("get", queue.get())
            await attempt("get", queue.get())
            await attempt("get", queue.get())
            await attempt("put", queue.put(4))
            for call in (queue.get_nowait, lambda queue=queue: queue.put_nowait(1)):
                with pytest.raises(lib.QueueShutDown):
                    call()
            log.append((tasks[2].done(), plain(queue)))
            while not tasks[2].done():
                queue.task_done()
                await lib.sleep(0)

    queue = lib.Queue()
    getter = lib.create_task(queue.get())
    await lib.sleep(0)
    queue.shutdown()
    queue.shutdown(immediate=True)
    with pytest.raises(lib.QueueShutDown):
        await getter


def test_shutdown() -> None:
    """asyncio's, from 3.13 on."""
    if IS_313:
        same_on_both(_shut_down)()
    log: list[object] = []
    tinycoro.run(_shut_down(tinycoro, log))
    assert len(log) == 3 * 2 * 9
    assert log[:8] == [
        "<Queue at 0x maxsize=2 _queue=[1, 2] tasks=2 shutdown>",
        ("put", "QueueShutDown()"),
        ("put", "QueueShutDown()"),
        ("get", 1),
        ("get", 2),
        ("get", "QueueShutDown()"),
        ("put", "QueueShutDown()"),
        (False, "<Queue at 0x maxsize=2 tasks=2 shutdown>"),
    ]
    assert log[9] == "<Queue at 0x maxsize=2 shutdown>"


# ---- subclasses ----------------------------------------------------------------------------------


@same_on_both
async def test_a_subclass_keeps_its_items_where_it_likes(lib: Lib, log: list[object]) -> None:
    class Unique(lib.Queue):  # type: ignore[misc]
        def _init(self, maxsize: int) -> None:
            log.append(("init", maxsize))
            self._queue: Any = collections.OrderedDict()

        def _put(self, item: object) -> None:
            self._queue[item] = True

        def _get(self) -> object:
            return self._queue.popitem(last=False)[0]

    queue = Unique(3)
    for item in "abab":
        await queue.put(item)
    log.append((queue.qsize(), queue.full(), plain(queue).partition("maxsize")[2]))
    log.append([await queue.get(), queue.get_nowait(), queue.empty()])
    getter = lib.create_task(queue.get())
    await lib.sleep(0)
    queue.put_nowait("c")
    log.append(await getter)
    with pytest.raises(lib.QueueEmpty):
        queue.get_nowait()


@same_on_both
async def test_overridden_sizes_are_asked(lib: Lib, log: list[object]) -> None:
    class Weighed(lib.Queue):  # type: ignore[misc]
        def qsize(self) -> int:
            log.append("qsize")
            return sum(self._queue)

        def empty(self) -> bool:
            log.append("empty")
            return bool(super().empty())

        def full(self) -> bool:
            log.append("full")
            return bool(super().full())

        def put_nowait(self, item: int) -> str:
            log.append("put_nowait")
            super().put_nowait(item)
            return "put"

        def get_nowait(self) -> object:
            log.append("get_nowait")
            return super().get_nowait()

    queue = Weighed(10)
    log.append(await queue.put(4))
    putter = lib.create_task(queue.put(7))
    await lib.sleep(0)
    log.append(await queue.get())
    blocked = lib.create_task(queue.put(9))
    await lib.sleep(0)
    log.append((putter.done(), blocked.done(), queue.qsize()))
    log.append(await queue.get())
    await lib.gather(putter, blocked)
    await queue.get()
    getter = lib.create_task(queue.get())
    await lib.sleep(0)
    getter.cancel()
    await lib.gather(getter, return_exceptions=True)


@same_on_both
async def test_base_hooks_work_on_any_container(lib: Lib, log: list[object]) -> None:
    class Bag(list):  # type: ignore[type-arg]
        pass

    for base in (lib.LifoQueue, lib.PriorityQueue):

        class Sub(base):  # type: ignore[misc, valid-type]
            def _init(self, maxsize: int) -> None:
                super()._init(maxsize)
                log.append(type(self._queue))
                self._queue: Any = Bag()

            def _put(self, item: object) -> None:
                super()._put(item)
                log.append(list(self._queue))

        queue = Sub()
        for item in (2, 1, 3):
            queue.put_nowait(item)
        log.append([queue.get_nowait() for _ in range(3)])


@same_on_both
async def test_hooks_that_raise(lib: Lib, log: list[object]) -> None:
    class Faulty(lib.Queue):  # type: ignore[misc]
        fault = ""

        def _check(self, name: str) -> None:
            if self.fault == name:
                raise KeyError(name)

        def _put(self, item: object) -> None:
            self._check("_put")
            super()._put(item)

        def _get(self) -> object:
            self._check("_get")
            return super()._get()

        def full(self) -> bool:
            self._check("full")
            return bool(super().full())

        def empty(self) -> bool:
            self._check("empty")
            return bool(super().empty())

    queue = Faulty(1)

    async def attempt(fault: str, awaitable: Awaitable[object]) -> None:
        queue.fault = fault
        try:
            log.append((fault, await awaitable))
        except (KeyError, lib.CancelledError) as error:
            log.append((fault, repr(error), repr(error.__context__)))
        queue.fault = ""
        log.append(plain(queue).partition("maxsize")[2])

    await attempt("full", queue.put(1))
    await attempt("_put", queue.put(1))
    await attempt("empty", queue.get())
    queue.put_nowait(2)
    await attempt("_get", queue.get())
    for fault in ("full", ""):  # in the cleanup of a cancelled wait
        task = lib.create_task(attempt("", queue.put(3)))
        await lib.sleep(0)
        queue.fault = fault
        task.cancel()
        await task
    log.append(queue.get_nowait())
    for fault in ("empty", ""):
        task = lib.create_task(attempt("", queue.get()))
        await lib.sleep(0)
        queue.fault = fault
        task.cancel()
        await task


@same_on_both
async def test_a_subclass_that_never_initializes(lib: Lib, log: list[object]) -> None:
    class Bare(lib.Queue):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        def _init(self, maxsize: int) -> None:
            pass

    class NoItems(lib.Queue):  # type: ignore[misc]
        def _init(self, maxsize: int) -> None:
            pass

    for queue in (Bare(), NoItems()):
        for call in (queue.qsize, queue.empty, queue.get_nowait):
            try:
                call()
            except AttributeError as error:
                log.append(str(error))


# ---- beyond asyncio's tests ----------------------------------------------------------------------


def test_generic_aliases() -> None:
    assert isinstance(tinycoro.Queue[int], GenericAlias)
    queue = tinycoro.PriorityQueue[int](maxsize=3)
    assert type(queue) is tinycoro.PriorityQueue
    assert queue.maxsize == 3


def test_exceptions_are_those_of_asyncio() -> None:
    import asyncio

    assert tinycoro.QueueEmpty is asyncio.QueueEmpty
    assert tinycoro.QueueFull is asyncio.QueueFull
    if IS_313:
        assert tinycoro.QueueShutDown is asyncio.QueueShutDown  # type: ignore[attr-defined]
    assert tinycoro.BrokenBarrierError is asyncio.BrokenBarrierError


def test_a_queue_serves_several_loops_until_somebody_waits() -> None:
    queue = tinycoro.Queue[int](1)
    queue.put_nowait(1)

    async def use() -> None:
        assert await queue.get() == 1
        await queue.put(1)

    async def wait() -> None:
        task = tinycoro.create_task(queue.put(2))
        await tinycoro.sleep(0)
        assert await queue.get() == 1
        await task

    async def elsewhere() -> None:
        for operation in (queue.put(3), queue.join()):
            with pytest.raises(RuntimeError) as caught:
                await operation
            assert str(caught.value) == f"{queue!r} is bound to a different event loop"
        assert await queue.get() == 2

    for _ in range(2):
        tinycoro.run(use())
    tinycoro.run(wait())
    tinycoro.run(elsewhere())


def test_items_that_use_the_queue_when_they_go() -> None:
    """A destructor runs in the middle of shutdown(immediate=True)."""
    queue = tinycoro.Queue[Any]()
    ends = []

    class Item:
        def __del__(self) -> None:
            ends.append(queue.qsize())
            with pytest.raises(tinycoro.QueueShutDown):
                queue.put_nowait(0)
            if queue.qsize():
                queue.get_nowait()

    for _ in range(5):
        queue.put_nowait(Item())
    queue.shutdown(immediate=True)
    assert sorted(ends) == [0, 1, 2, 3, 4]
    assert queue.empty()
    del Item.__del__


def test_an_item_whose_comparison_replaces_the_items() -> None:
    queue = tinycoro.PriorityQueue[Any]()

    class Item:
        def __lt__(self, other: object) -> bool:
            queue._queue = []
            return True

    queue.put_nowait(Item())
    queue.put_nowait(Item())
    assert queue.empty()
