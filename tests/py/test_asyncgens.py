"""Asynchronous generators: closed by whoever runs the loop, wherever they die."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
import warnings
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import tinycoro
from both import Lib, same_on_both
from support import PATIENCE, assert_success, run_python


async def _numbers(lib: Lib, log: list[object], label: str = "") -> AsyncGenerator[int, None]:
    try:
        for number in range(5):
            yield number
            await lib.sleep(0)
    except BaseException as error:
        log.append(f"{label}{type(error).__name__}")
        raise
    finally:
        await lib.sleep(0)
        log.append(f"{label}closed")


@same_on_both
async def test_a_generator_used_up_is_not_closed_again(lib: Lib, log: list[object]) -> None:
    log.append([number async for number in _numbers(lib, log)])


@same_on_both
async def test_a_generator_left_in_the_middle_is_closed_soon(lib: Lib, log: list[object]) -> None:
    async for number in _numbers(lib, log):
        if number == 2:
            break
    log.append("left")
    gc.collect()
    for _ in range(5):
        await lib.sleep(0)
        log.append(".")


def test_generators_still_open_are_closed_by_run() -> None:
    for lib in (asyncio, tinycoro):
        log: list[object] = []
        kept: list[Any] = []

        async def main(lib: Lib = lib, log: list[object] = log, kept: list[Any] = kept) -> None:
            for n in range(3):
                kept.append(_numbers(lib, log))
                if n:
                    await anext(kept[-1])

        lib.run(main())
        assert log == ["GeneratorExit"] * 2 + ["closed"] * 2
        kept.clear()


@same_on_both
async def test_shutdown_reports_errors_and_goes_on(lib: Lib, log: list[object]) -> None:
    async def broken() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise KeyError("while closing")

    loop = lib.get_running_loop()
    loop.set_exception_handler(
        lambda loop, context: log.append(
            (context["message"].split(" 0x")[0], repr(context["exception"]), sorted(context))
        )
    )
    agens = [broken(), _numbers(lib, log)]
    for agen in agens:
        await anext(agen)
    await loop.shutdown_asyncgens()
    log.append("shut down")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        late = _numbers(lib, log)
        await anext(late)
        await late.aclose()
    log.append([str(warning.message).split(" at 0x")[0] for warning in caught])
    log.append(str(caught[0].message).rpartition(">")[2])


@same_on_both
async def test_a_failure_while_closing_is_told(lib: Lib, log: list[object]) -> None:
    async def broken() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise KeyError("while closing")

    loop = lib.get_running_loop()
    loop.set_exception_handler(lambda loop, context: log.append(context["message"]))
    agen = broken()
    await anext(agen)
    del agen
    for _ in range(4):
        await lib.sleep(0)
        gc.collect()
    log.append("end")


@same_on_both
async def test_explicit_ends(lib: Lib, log: list[object]) -> None:
    agen = _numbers(lib, log, "aclose ")
    await anext(agen)
    await agen.aclose()
    agen = _numbers(lib, log, "athrow ")
    await anext(agen)
    with contextlib.suppress(KeyError):
        await agen.athrow(KeyError)
    async with contextlib.aclosing(_numbers(lib, log, "aclosing ")) as managed:
        async for _ in managed:
            break
    agen = _numbers(lib, log, "never started ")
    await agen.aclose()
    log.append("end")


@same_on_both
async def test_a_cancelled_iteration_closes(lib: Lib, log: list[object]) -> None:
    async def slow() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await lib.sleep(PATIENCE)
        finally:
            await lib.sleep(0)
            log.append("closed")

    async def iterate() -> None:
        async for _ in slow():
            log.append("item")

    task = lib.create_task(iterate())
    await lib.sleep(0)
    await lib.sleep(0)
    task.cancel()
    try:
        await task
    except lib.CancelledError:
        log.append("cancelled")


def test_the_hooks_are_put_back() -> None:
    def first(agen: object) -> None:
        pass

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(first, None)
    try:
        tinycoro.run(tinycoro.sleep(0))
        assert sys.get_asyncgen_hooks() == (first, None)
    finally:
        sys.set_asyncgen_hooks(*before)


def _die_in_a_thread(agens: list[Any]) -> None:
    thread = threading.Thread(target=agens.clear)
    thread.start()
    thread.join()


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_generators_may_die_on_another_thread(in_a_cycle: bool) -> None:
    closed: list[threading.Thread] = []

    async def generator(own: list[Any]) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            closed.append(threading.current_thread())

    async def main() -> None:
        agens: list[Any] = []
        for _ in range(20):
            own: list[Any] = []
            agens.append(generator(own))
            if in_a_cycle:
                own.append(agens[-1])
            await anext(agens[-1])
        del own
        if in_a_cycle:
            agens.clear()
            thread = threading.Thread(target=gc.collect)
            thread.start()
            thread.join()
        else:
            _die_in_a_thread(agens)
        for _ in range(4):
            await tinycoro.sleep(0.001)
        assert closed == [threading.current_thread()] * 20

    tinycoro.run(main())


def test_generators_that_die_while_others_are_shut_down() -> None:
    async def generator() -> AsyncGenerator[int, None]:
        yield 1

    async def main() -> None:
        dying: list[list[Any]] = [[] for _ in range(2)]
        kept: list[Any] = []
        for n in range(200):
            for agens in (*dying, kept):
                agens.append(generator())
                await anext(agens[n])
        threads = [threading.Thread(target=agens.clear) for agens in dying]
        for thread in threads:
            thread.start()
        await tinycoro.get_running_loop().shutdown_asyncgens()
        for thread in threads:
            thread.join()

    tinycoro.run(main())


def test_a_generator_that_outlives_its_loop() -> None:
    result = run_python(
        """
        import gc, sys, warnings
        import tinycoro

        async def generator():
            yield 1

        async def main():
            agen = generator()
            await anext(agen)
            return agen

        loop = tinycoro.new_event_loop()
        agen = loop.run_until_complete(main())
        loop.close()
        del agen
        gc.collect()
        print("done")
        """
    )
    assert_success(result)
    assert result.stdout == "done\n"
