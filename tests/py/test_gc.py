"""The collector: cycles through tasks, futures, handles and loops are found."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import tinycoro


class _Marker:
    """Something whose end can be seen."""


def _collected(reference: weakref.ref[Any]) -> bool:
    gc.collect()
    return reference() is None


def test_a_task_and_a_future_that_refer_to_each_other() -> None:
    async def tangle() -> weakref.ref[Any]:
        marker = _Marker()
        future = tinycoro.Future[Any]()
        future.set_result([future, marker])

        async def body() -> object:
            return future, tinycoro.current_task()

        await tinycoro.create_task(body())
        return weakref.ref(marker)

    async def main() -> None:
        reference = await tangle()
        await tinycoro.sleep(0)
        assert _collected(reference)

    tinycoro.run(main())


def test_a_future_waiting_for_itself_in_a_callback() -> None:
    async def main() -> None:
        future = tinycoro.Future[None]()
        reference = weakref.ref(future)
        future.add_done_callback(lambda f, future=future: None)  # type: ignore[misc]
        del future
        assert _collected(reference)

    tinycoro.run(main())


def _loop_full_of_work(*, close: bool) -> weakref.ref[Any]:
    marker = _Marker()
    loop = tinycoro.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def body(marker: _Marker) -> None:
        await tinycoro.sleep(100)

    async def waits(marker: _Marker) -> None:
        await loop.create_future()

    async def gathers(marker: _Marker) -> None:
        await tinycoro.gather(body(marker), waits(marker))

    for function in (body, waits, gathers):
        loop.create_task(function(marker))
    loop.call_later(100, print, marker, loop)
    loop.run_until_complete(tinycoro.sleep(0.001))
    loop.call_soon(print, marker)
    if close:
        loop.close()
    return weakref.ref(marker)


@pytest.mark.filterwarnings("ignore:unclosed event loop")
@pytest.mark.parametrize("close", [True, False])
def test_a_dropped_loop_with_everything_in_it(close: bool) -> None:
    assert _collected(_loop_full_of_work(close=close))


def test_a_coroutine_that_outlives_its_dropped_task() -> None:
    loop = tinycoro.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def body() -> None:
        await tinycoro.sleep(100)

    coro = body()
    loop.create_task(coro)
    loop.run_until_complete(tinycoro.sleep(0))
    loop.close()
    del loop
    gc.collect()
    coro.close()


def test_results_are_not_kept_by_the_loop() -> None:
    async def give() -> _Marker:
        return _Marker()

    async def main() -> None:
        reference = weakref.ref(await tinycoro.create_task(give()))
        await tinycoro.sleep(0)
        assert reference() is None
        marker = _Marker()
        reference = weakref.ref(marker)
        await tinycoro.sleep(0.001, marker)
        del marker
        await tinycoro.sleep(0)
        assert reference() is None

    tinycoro.run(main())


def test_many_runs_leave_no_objects() -> None:
    async def child(number: int) -> int:
        await tinycoro.sleep(0)
        return number

    async def main() -> None:
        await tinycoro.gather(*[child(n) for n in range(100)])
        await tinycoro.create_task(tinycoro.sleep(0.0001))

    for _ in range(5):
        tinycoro.run(main())
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(20):
        tinycoro.run(main())
    gc.collect()
    assert len(gc.get_objects()) - before < 20
