"""Awaits that a task's step does not suspend in: of coroutines that are run by hand, or closed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tinycoro
from both import Some

_Make = Callable[[], Any]

_STRAYS: dict[str, _Make] = {
    "sleep": lambda: tinycoro.sleep(0.001),
    "sleep with a result": lambda: tinycoro.sleep(0, 1),
    "sleep(0)": lambda: tinycoro.sleep(0),
    "future": lambda: tinycoro.get_running_loop().create_future(),
    "task": lambda: tinycoro.create_task(tinycoro.sleep(0)),
    "wait": lambda: tinycoro.wait([tinycoro.create_task(tinycoro.sleep(0))]),
}

_NEXT: dict[str, _Make] = {**_STRAYS, "future": lambda: _later(7), "nothing": lambda: _nothing()}


def _later(result: int) -> tinycoro.Future[int]:
    loop = tinycoro.get_running_loop()
    future: tinycoro.Future[int] = loop.create_future()
    loop.call_later(0.001, future.set_result, result)
    return future


async def _nothing() -> None:
    """Nothing is awaited after the stray one."""


async def _awaits_on_its_way_out(make: _Make) -> None:
    try:
        await tinycoro.sleep(1000)
    finally:
        await make()


@pytest.mark.parametrize("after", _NEXT)
@pytest.mark.parametrize("stray", _STRAYS)
def test_a_coroutine_closed_inside_a_step(stray: str, after: str) -> None:
    async def main() -> None:
        coro = _awaits_on_its_way_out(_STRAYS[stray])
        coro.send(None)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            coro.close()
        await _NEXT[after]()
        await tinycoro.sleep(0.003)

    for _ in range(3):
        tinycoro.run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_coroutine_that_the_collector_closes_inside_a_step() -> None:
    async def main() -> None:
        cycle: list[object] = []
        coro = _awaits_on_its_way_out(lambda: tinycoro.sleep(0, 1))
        cycle += [coro, cycle]
        coro.send(None)
        del coro, cycle
        gc.collect()
        await tinycoro.sleep(0)
        await tinycoro.sleep(0.001)

    tinycoro.run(main())


def test_driving_a_coroutine_by_hand() -> None:
    async def twice() -> str:
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        return "done"

    def drive(coro: Coroutine[Any, Any, Any]) -> Some:
        while True:
            try:
                coro.send(None)
            except StopIteration as stop:
                return stop.value

    async def main() -> None:
        assert drive(twice()) == "done"
        await tinycoro.sleep(0.001)

    tinycoro.run(main())


def test_an_adapter_that_passes_on_what_it_is_given() -> None:
    class Adapter:
        def __init__(self, coro: Some) -> None:
            self.iterator = coro.__await__()

        def __await__(self) -> Some:
            while True:
                try:
                    yielded = next(self.iterator)
                except StopIteration as stop:
                    return stop.value
                yield yielded

    async def main() -> None:
        assert await Adapter(tinycoro.sleep(0.001, 5)) == 5
        assert await Adapter(tinycoro.sleep(0, 6)) == 6
        assert await Adapter(_later(7)) == 7

    tinycoro.run(main())
