"""Tasks: making, running, naming, order of turns."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

import tinycoro
from both import Lib, same_on_both
from tinycoro import Loop, Task


async def _echo(value: object) -> object:
    await tinycoro.sleep(0)
    return value


@same_on_both
async def test_order_of_turns_of_tasks_and_callbacks(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()

    async def worker(name: str, turns: int) -> None:
        for turn in range(turns):
            log.append((name, turn))
            loop.call_soon(log.append, ("callback", name, turn))
            await lib.sleep(0)

    tasks = [lib.create_task(worker(name, 3)) for name in "abc"]
    loop.call_soon(log.append, "first")
    for task in tasks:
        task.add_done_callback(lambda task: log.append("done"))
    await tasks[1]
    log.append("b is done")
    await lib.sleep(0)
    log.append([task.done() for task in tasks])


@same_on_both
async def test_order_when_futures_and_timers_wake_tasks(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    future = loop.create_future()

    async def waiter(name: str) -> None:
        log.append((name, await future))

    tasks = [lib.create_task(waiter(name)) for name in "ab"]
    await lib.sleep(0)
    loop.call_soon(log.append, "before")
    future.add_done_callback(lambda f: log.append("callback"))
    future.set_result(7)
    loop.call_soon(log.append, "after")
    for turn in range(4):
        log.append(turn)
        await lib.sleep(0)
    await lib.gather(*tasks)


@same_on_both
async def test_a_chain_of_tasks_takes_as_many_turns(lib: Lib, log: list[object]) -> None:
    async def chain(depth: int) -> int:
        if depth == 0:
            return 0
        inner: int = await lib.create_task(chain(depth - 1))
        return 1 + inner

    async def count() -> None:
        turn = 0
        while not task.done():
            turn += 1
            await lib.sleep(0)
        log.append(turn)

    task = lib.create_task(chain(10))
    await lib.create_task(count())
    log.append(task.result())


@same_on_both
async def test_results_and_exceptions_come_back(lib: Lib, log: list[object]) -> None:
    async def give(value: object) -> object:
        return value

    async def fail() -> None:
        raise KeyError("lost")

    for value in (None, 1, (1, 2), (), ValueError("as a value"), StopIteration(3)):
        result = await lib.create_task(give(value))
        log.append(result is value)
    try:
        await lib.create_task(fail())
    except KeyError as error:
        log.append(repr(error))


def test_names_count_up_and_can_be_set() -> None:
    async def main() -> None:
        first = tinycoro.create_task(_echo(1))
        second = tinycoro.create_task(_echo(2))
        numbers = [int(task.get_name().removeprefix("Task-")) for task in (first, second)]
        assert numbers[1] == numbers[0] + 1
        first.set_name(7)
        assert first.get_name() == "7"
        third = tinycoro.create_task(_echo(3), name="third")
        assert third.get_name() == "third"
        assert "name='third'" in repr(third)
        assert await tinycoro.gather(first, second, third) == [1, 2, 3]

    tinycoro.run(main())


def test_the_loop_keeps_live_tasks() -> None:
    async def main() -> None:
        finished = []

        async def body() -> None:
            await tinycoro.sleep(0.001)
            finished.append(True)

        tinycoro.create_task(body())
        gc.collect()
        assert len(tinycoro.all_tasks()) == 2
        await tinycoro.sleep(0.02)
        assert finished == [True]
        assert tinycoro.all_tasks() == {tinycoro.current_task()}

    tinycoro.run(main())


def test_current_task_is_the_one_that_runs() -> None:
    async def main() -> None:
        task = tinycoro.current_task()
        assert isinstance(task, Task)
        assert task.get_coro() is coro
        seen: list[object] = []
        tinycoro.get_running_loop().call_soon(lambda: seen.append(tinycoro.current_task()))
        await tinycoro.sleep(0)
        assert seen == [None]
        assert tinycoro.current_task() is task

    coro = main()
    tinycoro.run(coro)
    with pytest.raises(RuntimeError, match="no running event loop"):
        tinycoro.current_task()


def test_eager_start_runs_up_to_the_first_wait() -> None:
    async def main() -> None:
        log: list[object] = []

        async def body() -> str:
            log.append(tinycoro.current_task())
            await tinycoro.sleep(0)
            return "late"

        async def at_once() -> str:
            return "at once"

        outer = tinycoro.current_task()
        task = tinycoro.create_task(body(), eager_start=True)
        assert log == [task]
        assert tinycoro.current_task() is outer
        done = tinycoro.create_task(at_once(), eager_start=True)
        assert done.done()
        assert done not in tinycoro.all_tasks()
        assert await done == "at once"
        assert await task == "late"

    tinycoro.run(main())


def test_operations_are_coroutines_for_create_task() -> None:
    async def main() -> None:
        assert tinycoro.iscoroutine(coro := tinycoro.sleep(0.001, "value"))
        assert await tinycoro.create_task(coro) == "value"
        done: object = await tinycoro.create_task(tinycoro.sleep(0, None))
        assert done is None

    tinycoro.run(main())


@pytest.mark.parametrize("wrong", [None, 1, "text", print, _echo])
def test_what_is_no_coroutine_is_refused(wrong: object) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="a coroutine was expected"):
            tinycoro.create_task(wrong)  # type: ignore[arg-type]

    tinycoro.run(main())


def test_create_task_without_a_loop_is_refused() -> None:
    coro = _echo(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        tinycoro.create_task(coro)
    coro.close()


def test_a_task_cannot_await_itself() -> None:
    async def main() -> None:
        async def body() -> None:
            await holder[0]

        holder = [tinycoro.create_task(body())]
        with pytest.raises(RuntimeError, match="await on itself"):
            await holder[0]

    tinycoro.run(main())


@same_on_both
async def test_a_yield_of_something_else_is_an_error(lib: Lib, log: list[object]) -> None:
    class Wrong:
        def __await__(self) -> Generator[int, None, None]:
            yield 42

    async def body() -> None:
        await Wrong()

    try:
        await lib.create_task(body())
    except RuntimeError as error:
        log.append("bad yield: 42" in str(error))


def test_subclasses_weak_references_and_generic_aliases() -> None:
    class Special(Task[int]):
        def __init__(self, coro: Coroutine[Any, Any, int], *, name: str) -> None:
            super().__init__(coro, name=name)
            self.extra = "extra"

    async def body() -> int:
        await tinycoro.sleep(0)
        return 5

    async def main() -> None:
        task = Special(body(), name="special")
        assert task.extra == "extra"
        reference = weakref.ref(task)
        assert reference() is task
        assert await task == 5
        del task
        gc.collect()
        assert reference() is None

    tinycoro.run(main())
    assert Task[int].__origin__ is Task  # type: ignore[attr-defined]


def test_a_task_factory_makes_the_tasks() -> None:
    class Special(Task[Any]):
        pass

    def factory(loop: Loop, coro: Coroutine[Any, Any, Any], **options: Any) -> Special:  # noqa: ANN401
        return Special(coro, loop=loop, **options)

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        assert loop.get_task_factory() is None
        loop.set_task_factory(factory)
        task = tinycoro.create_task(_echo(1), name="made")
        assert type(task) is Special
        assert task.get_name() == "made"
        assert await tinycoro.gather(_echo(2), task) == [2, 1]
        loop.set_task_factory(None)

    tinycoro.run(main())


def test_the_stack_of_a_waiting_task_shows_where_it_waits() -> None:
    async def main() -> None:
        task = tinycoro.create_task(_echo(1))
        await tinycoro.sleep(0)
        frames = task.get_stack()
        assert [frame.f_code.co_name for frame in frames] == ["_echo"]
        assert "_echo() running at" in repr(task)
        await task
        assert "finished" in repr(task)

    tinycoro.run(main())


def test_the_size_of_a_task_is_bounded() -> None:
    assert Task.__basicsize__ <= 152
