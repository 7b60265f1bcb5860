"""Without memory: what is done then, and that nothing is lost by it.

What runs while allocations fail is written in C: CPython's own code is not always up to it.
"""

import asyncio
import errno
from collections.abc import Callable

import pytest

import tinycoro
from tinycoro import _core


def failing(
    nth: int, times: int, action: Callable[..., object], *arguments: object
) -> tuple[bool, int]:
    """Call what fails in its nth allocation: whether it raised, and how many did fail."""
    raised = False
    _core._memory_arm(nth, times)
    try:
        action(*arguments)
    except MemoryError:
        raised = True
    finally:
        failed = _core._memory_disarm()
    return raised, failed


def test_an_allocation_fails_when_it_was_asked_to() -> None:
    raised, failed = failing(1, 1, bytes, 1000)
    assert raised
    assert failed == 1
    assert failing(1000, 1, bytes, 1000) == (False, 0)


@pytest.mark.parametrize("nth", range(1, 8))
def test_the_callbacks_of_a_future_need_no_memory(nth: int) -> None:
    """What add_done_callback has taken is called, whatever the end of the future meets."""
    called: list[object] = []
    seen: list[object] = []

    async def main() -> None:
        future = tinycoro.get_running_loop().create_future()
        for _ in range(3):
            future.add_done_callback(called.append)

        async def wait() -> None:
            seen.append(await future)

        task = tinycoro.create_task(wait())
        await tinycoro.sleep(0)
        failing(nth, 1000, future.set_result, None)
        if not future.done():  # the call itself had none
            future.set_result(None)
        await task
        assert called == [future] * 3
        assert seen == [None]

    tinycoro.run(main())


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_callback_is_refused_or_called(nth: int) -> None:
    """add_done_callback, call_soon, call_soon_threadsafe, call_later: raise or keep their word."""
    calls: list[str] = []

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        future = loop.create_future()
        add = calls.append
        actions: list[tuple[str, Callable[..., object], tuple[object, ...]]] = [
            ("done", future.add_done_callback, (lambda _: add("done"),)),
            ("soon", loop.call_soon, (add, "soon")),
            ("threadsafe", loop.call_soon_threadsafe, (add, "threadsafe")),
            ("later", loop.call_later, (0, add, "later")),
        ]
        expected = [
            name
            for name, action, arguments in actions
            if not failing(nth, 1, action, *arguments)[0]
        ]
        future.set_result(None)
        while len(calls) < len(expected):
            await tinycoro.sleep(0)
        await tinycoro.sleep(0.001)
        assert sorted(calls) == sorted(expected)

    tinycoro.run(main())


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_message_without_memory_is_refused(nth: int) -> None:
    """The same from outside of the loop, where a message carries the handle."""
    calls: list[int] = []
    loop = tinycoro.new_event_loop()
    try:
        raised, _ = failing(nth, 1, loop.call_soon_threadsafe, calls.append, nth)
        _core._fault_arm("alloc", 1, errno.ENOMEM)
        try:
            with pytest.raises(MemoryError):
                loop.call_soon_threadsafe(calls.append, 0)
        finally:
            _core._fault_disarm()
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert calls == ([] if raised else [nth])
    finally:
        loop.close()


@pytest.mark.parametrize("times", [1, 1000])
def test_asyncio_knows_that_a_loop_runs_no_more(times: int) -> None:
    """A run that cannot tell asyncio of its end tries again, and the next run does not mind."""
    for nth in range(1, 40):
        loop = tinycoro.new_event_loop()
        loop.stop()
        try:
            failing(nth, times, loop._run)
            if times == 1:
                assert asyncio._get_running_loop() is None
            loop.run_until_complete(tinycoro.sleep(0))
            assert asyncio._get_running_loop() is None
        finally:
            loop.close()
