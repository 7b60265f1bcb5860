"""Classes derived from Future and Task: which of their methods are asked."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

import tinycoro
from both import Some
from tinycoro import Future, Task


class _Noisy(Future[Any]):
    def __init__(self, log: list[str], **options: Some) -> None:
        super().__init__(**options)
        self.log = log

    def add_done_callback(self, fn: Some, /, *, context: Some = None) -> None:
        self.log.append("add")
        super().add_done_callback(fn, context=context)

    def remove_done_callback(self, fn: Some, /) -> int:
        self.log.append("remove")
        return super().remove_done_callback(fn)

    def cancel(self, msg: object | None = None) -> bool:
        self.log.append("cancel")
        return super().cancel(msg)

    def exception(self) -> BaseException | None:
        self.log.append("exception")
        return super().exception()

    def result(self) -> Some:
        self.log.append("result")
        return super().result()


# What asyncio 3.13 asks, in words; later versions add a callback in shield().
_ASKED = {
    "result": "add await add gather add shield add remove wait",
    "exception": "add KeyError await add gather add KeyError shield add remove wait",
    "cancel": "add cancel CancelledError await add cancel CancelledError gather "
    "add remove CancelledError shield add remove CancelledError wait",
}


@pytest.mark.parametrize("outcome", ["result", "exception", "cancel"])
def test_what_is_asked_while_it_is_awaited(outcome: str) -> None:
    async def scenario(lib: Some, noisy: Some) -> list[str]:
        log: list[str] = []
        loop = lib.get_running_loop()

        async def waits(how: str, future: Some) -> Some:
            if how == "await":
                return await future
            if how == "gather":
                return await lib.gather(future, return_exceptions=True)
            if how == "shield":
                return await lib.shield(future)
            return await lib.wait([future])

        for how in ("await", "gather", "shield", "wait"):
            future = noisy(log)
            task = lib.create_task(waits(how, future))
            await lib.sleep(0)
            if outcome == "result":
                future.set_result(1)
            elif outcome == "exception":
                future.set_exception(KeyError(1))
            else:
                task.cancel()
            try:
                await task
            except (KeyError, lib.CancelledError) as error:
                log.append(type(error).__name__)
            loop.call_soon(log.append, how)
            await lib.sleep(0)
            await lib.sleep(0)
        return [entry for entry in log if entry not in {"result", "exception"}]

    class OfAsyncio(asyncio.Future[Any]):
        def __init__(self, log: list[str]) -> None:
            super().__init__()
            self.log = log

        add_done_callback = _Noisy.add_done_callback
        remove_done_callback = _Noisy.remove_done_callback
        cancel = _Noisy.cancel

    for name in ("add_done_callback", "remove_done_callback", "cancel"):
        setattr(OfAsyncio, name, _with_super(name, asyncio.Future))
    expected = _ASKED[outcome].split()
    if sys.version_info < (3, 14):
        assert asyncio.run(scenario(asyncio, OfAsyncio)) == expected
    assert tinycoro.run(scenario(tinycoro, _Noisy)) == expected


def _with_super(name: str, base: Some) -> Some:
    def method(self: Some, *args: Some, **options: Some) -> Some:
        self.log.append(name.removesuffix("_done_callback"))
        return getattr(base, name)(self, *args, **options)

    return method


def test_a_constructor_with_arguments_of_its_own() -> None:
    class Labelled(Task[int]):
        def __init__(self, label: str, coro: Some, *, loop: Some = None) -> None:
            super().__init__(coro, loop=loop, name=label)
            self.label = label

    async def main() -> None:
        task = Labelled("label", tinycoro.sleep(0, 5))
        assert (await task, task.label, task.get_name()) == (5, "label", "label")

    tinycoro.run(main())


def test_without_super_init_every_use_is_refused() -> None:
    class Forgets(Future[int]):
        def __init__(self) -> None:
            pass

    class ForgetsTask(Task[int]):
        def __init__(self) -> None:
            pass

    async def main() -> None:
        for make in (Forgets, ForgetsTask, lambda: Future.__new__(Future)):
            future: Any = make()
            for use in (
                future.result,
                future.done,
                future.cancel,
                future.get_loop,
                future.exception,
                lambda future=future: tinycoro.shield(future),
                lambda future=future: tinycoro.gather(future),
                lambda future=future: next(future.__await__()),
                lambda future=future: future.add_done_callback(print),
            ):
                with pytest.raises(RuntimeError, match="not initialized"):
                    use()
            with pytest.raises(RuntimeError, match="not initialized"):
                await tinycoro.wait([future])
            assert " at 0x" in repr(future)

    tinycoro.run(main())


def test_a_second_init_is_refused() -> None:
    async def main() -> None:
        future: Future[int] = Future()
        with pytest.raises(RuntimeError, match="called before"):
            future.__init__()  # type: ignore[misc]
        task = tinycoro.create_task(tinycoro.sleep(0))
        coro = tinycoro.sleep(0)
        with pytest.raises(RuntimeError, match="called before"):
            task.__init__(coro)  # type: ignore[misc]
        coro.close()
        await task

    tinycoro.run(main())
