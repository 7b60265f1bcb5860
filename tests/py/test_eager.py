"""Eager tasks: factories and eager_start."""

from __future__ import annotations

import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest

import tinycoro
from both import Lib, Some, same_as_recorded
from tinycoro import Task


@same_as_recorded
async def test_the_factory_starts_tasks_at_once(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    outer = lib.current_task()

    async def child(turns: int) -> int:
        log.append((turns, lib.current_task() is outer, lib.current_task() in lib.all_tasks()))
        for _ in range(turns):
            await lib.sleep(0)
        if turns == 2:
            raise KeyError(turns)
        return turns

    loop.set_task_factory(lib.eager_task_factory)
    tasks = [lib.create_task(child(turns)) for turns in range(3)]
    log.append([task.done() for task in tasks])
    log.append([task.get_coro() is None for task in tasks])
    log.append([task in lib.all_tasks() for task in tasks])
    log.append([repr(result) for result in await lib.gather(*tasks, return_exceptions=True)])
    log.append(await lib.gather(child(0), child(0)))
    log.append(lib.gather(child(0), child(0)).done())
    loop.set_task_factory(None)


@same_as_recorded
async def test_the_context_is_a_copy(lib: Lib, log: list[object]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def child() -> None:
        log.append(variable.get())
        variable.set("child")
        await lib.sleep(0)
        log.append(variable.get())

    variable.set("parent")
    lib.get_running_loop().set_task_factory(lib.eager_task_factory)
    task = lib.create_task(child(), name="child")
    log.append(variable.get())
    await task
    log.append((variable.get(), task.get_name()))
    lib.get_running_loop().set_task_factory(None)


@same_as_recorded
async def test_a_child_that_cancels_itself_or_its_parent(lib: Lib, log: list[object]) -> None:
    async def child(whom: Some) -> None:
        (whom or lib.current_task()).cancel("why")
        log.append(lib.current_task().cancelling())
        await lib.sleep(0)
        log.append("after")

    lib.get_running_loop().set_task_factory(lib.eager_task_factory)
    for whom in (None, lib.current_task()):
        try:
            task = lib.create_task(child(whom))
            log.append(task.done())
            await task
        except lib.CancelledError as error:
            log.append((error.args, lib.current_task().cancelling()))
    lib.current_task().uncancel()
    lib.get_running_loop().set_task_factory(None)


def test_a_factory_with_a_constructor_of_its_own() -> None:
    class Special(Task[Any]):
        pass

    def make(coro: Coroutine[Any, Any, Any], **options: Some) -> Task[Any]:
        seen.append(sorted(options))
        return Special(coro, **options)

    seen: list[list[str]] = []

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        loop.set_task_factory(tinycoro.create_eager_task_factory(make))
        task = tinycoro.create_task(tinycoro.sleep(0, 5), name="x")
        assert type(task) is Special
        assert await task == 5
        assert seen == [["eager_start", "loop", "name"]]
        lazy = tinycoro.create_task(tinycoro.sleep(0), eager_start=False)
        assert not lazy.done()
        await lazy

    tinycoro.run(main())


def test_eager_start_without_a_running_loop_is_a_start_in_the_next_turn() -> None:
    loop = tinycoro.new_event_loop()
    started: list[int] = []

    async def child() -> None:
        started.append(1)

    task = Task(child(), loop=loop, eager_start=True)
    assert not started
    loop.run_until_complete(task)
    assert started
    loop.close()


def test_keyboard_interrupt_in_an_eager_start() -> None:
    async def child() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            tinycoro.create_task(child(), eager_start=True)

    tinycoro.run(main())
