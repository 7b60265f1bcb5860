"""Other threads: refused by name, and harmless where objects only die there."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import tinycoro


def _in_a_thread(function: Callable[[], object]) -> BaseException | None:
    caught: list[BaseException] = []

    def target() -> None:
        try:
            function()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return caught[0] if caught else None


_CALLS: list[Callable[[Any], object]] = [
    lambda o: o.task.cancel(),
    lambda o: o.task.uncancel(),
    lambda o: o.task.done(),
    lambda o: o.task.get_name(),
    lambda o: o.task.result(),
    lambda o: o.task.add_done_callback(print),
    lambda o: o.future.set_result(1),
    lambda o: o.future.set_exception(KeyError()),
    lambda o: o.future.cancel(),
    lambda o: o.loop.call_soon(print),
    lambda o: o.loop.call_later(1, print),
    lambda o: o.loop.create_future(),
    lambda o: o.loop.create_task(None),
    lambda o: o.loop.stop(),
    lambda o: o.handle.cancel(),
    lambda o: tinycoro.all_tasks(o.loop),
    lambda o: tinycoro.current_task(o.loop),
]


@pytest.mark.parametrize("call", _CALLS)
def test_methods_are_refused_on_another_thread(call: Callable[[Any], object]) -> None:
    class Objects:
        loop: Any
        task: Any
        future: Any
        handle: Any

    async def main() -> None:
        Objects.loop = tinycoro.get_running_loop()
        Objects.task = tinycoro.create_task(tinycoro.sleep(0.01))
        Objects.future = Objects.loop.create_future()
        Objects.handle = Objects.loop.call_later(10, print)
        error = _in_a_thread(lambda: call(Objects))
        assert isinstance(error, RuntimeError)
        assert "call_soon_threadsafe" in str(error)
        assert Objects.task.get_loop() is Objects.loop
        shown: list[str] = []
        assert _in_a_thread(lambda: shown.append(repr(Objects.task))) is None
        assert shown[0].startswith("<Task at 0x")
        Objects.handle.cancel()
        await Objects.task

    tinycoro.run(main())


def test_tasks_and_futures_may_die_on_another_thread() -> None:
    async def fail() -> None:
        raise KeyError("nobody looks")

    async def main() -> list[threading.Thread]:
        loop = tinycoro.get_running_loop()
        reports: list[threading.Thread] = []
        loop.set_exception_handler(lambda loop, context: reports.append(threading.current_thread()))
        tasks: list[Any] = [tinycoro.create_task(fail()) for _ in range(50)]
        tasks += [loop.create_future() for _ in range(50)]
        tasks += [loop.call_later(0, int) for _ in range(50)]
        await tinycoro.sleep(0.001)
        assert _in_a_thread(tasks.clear) is None
        assert _in_a_thread(gc.collect) is None
        await tinycoro.sleep(0.01)
        return reports

    reports = tinycoro.run(main())
    assert len(reports) == 50
    assert set(reports) == {threading.current_thread()}


def test_an_asynchronous_generator_may_die_on_another_thread() -> None:
    closed: list[threading.Thread] = []

    async def generator() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(threading.current_thread())

    async def main() -> None:
        agens = [generator() for _ in range(10)]
        for agen in agens:
            await anext(agen)
        del agen
        assert _in_a_thread(agens.clear) is None
        for _ in range(10):
            await tinycoro.sleep(0.001)
        assert closed == [threading.current_thread()] * 10

    tinycoro.run(main())


def test_collections_on_another_thread_while_tasks_run() -> None:
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            gc.collect()

    async def body(depth: int) -> int:
        own: list[Any] = []
        own.append(own)
        await tinycoro.sleep(0)
        if depth == 0:
            return 1
        parts: list[int] = await tinycoro.gather(body(depth - 1), body(depth - 1))
        return sum(parts)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for _ in range(5):
            assert tinycoro.run(body(6)) == 64
    finally:
        stop.set()
        thread.join()
