"""contextvars: copied where a task or a callback is made, entered around each step."""

from __future__ import annotations

import contextvars
from contextvars import ContextVar

import pytest

import tinycoro
from both import Lib, same_on_both

_VAR: ContextVar[object] = ContextVar("_VAR", default="default")


@same_on_both
async def test_tasks_see_a_copy_and_keep_their_own(lib: Lib, log: list[object]) -> None:
    _VAR.set("outer")

    async def body(name: str) -> None:
        log.append((name, _VAR.get()))
        _VAR.set(name)
        await lib.sleep(0)
        log.append((name, _VAR.get()))
        await lib.sleep(0.001)
        log.append((name, _VAR.get()))

    tasks = [lib.create_task(body(name)) for name in "ab"]
    _VAR.set("changed")
    await lib.gather(*tasks)
    log.append(_VAR.get())
    if lib is tinycoro:
        assert [task.get_context()[_VAR] for task in tasks] == ["a", "b"]


@same_on_both
async def test_callbacks_see_a_copy(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()

    def callback(name: str) -> None:
        log.append((name, _VAR.get()))
        _VAR.set("lost")

    _VAR.set("at call_soon")
    loop.call_soon(callback, "soon")
    _VAR.set("at call_later")
    loop.call_later(0.001, callback, "later")
    context = contextvars.copy_context()
    context.run(_VAR.set, "given")
    loop.call_soon(callback, "given", context=context)
    future = loop.create_future()
    _VAR.set("at add_done_callback")
    future.add_done_callback(lambda f: log.append(_VAR.get()))
    _VAR.set("now")
    future.set_result(None)
    await lib.sleep(0.01)
    log.append(_VAR.get())
    log.append(context[_VAR])


@same_on_both
async def test_a_task_can_share_a_context(lib: Lib, log: list[object]) -> None:
    context = contextvars.copy_context()

    async def body() -> None:
        _VAR.set("from the task")
        await lib.sleep(0)

    task = lib.create_task(body(), context=context)
    await task
    log.append(context[_VAR])
    log.append(_VAR.get())
    if lib is tinycoro:
        assert task.get_context() is context


def test_an_eager_step_runs_in_its_own_context() -> None:
    async def main() -> None:
        _VAR.set("outer")

        async def body() -> None:
            assert _VAR.get() == "outer"
            _VAR.set("inner")

        tinycoro.create_task(body(), eager_start=True)
        assert _VAR.get() == "outer"

    tinycoro.run(main())


def test_runner_keeps_one_context_for_its_runs() -> None:
    async def body(value: object) -> object:
        before = _VAR.get()
        _VAR.set(value)
        return before

    with tinycoro.Runner() as runner:
        assert runner.run(body("first")) == "default"
        assert runner.run(body("second")) == "first"
        own = contextvars.copy_context()
        assert runner.run(body("third"), context=own) == "default"
        assert own[_VAR] == "third"
    assert _VAR.get() == "default"


def test_a_context_that_is_entered_already_is_an_error() -> None:
    async def main() -> None:
        context = contextvars.copy_context()
        coro = tinycoro.sleep(0)

        def within() -> tinycoro.Task[None]:
            return tinycoro.create_task(coro, context=context, eager_start=True)

        task = context.run(within)
        assert task.done()
        with pytest.raises(RuntimeError, match="already entered"):
            task.result()
        coro.close()

    tinycoro.run(main())
