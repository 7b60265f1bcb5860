"""Future: asyncio's interface, callbacks, subclasses."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
import weakref
from collections.abc import Generator
from typing import Any
from unittest import mock

import pytest

import tinycoro
from both import Lib, same_on_both
from tinycoro import Future, InvalidStateError, _core


@same_on_both
async def test_states_and_what_they_refuse(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    future = loop.create_future()
    for method in (future.result, future.exception):
        try:
            method()
        except lib.InvalidStateError as error:
            log.append(str(error))
    log.append((future.done(), future.cancelled()))
    future.set_result(3)
    log.append((future.done(), future.cancelled(), future.result(), future.exception()))
    log.append(future.cancel())
    for method, value in ((future.set_result, 1), (future.set_exception, KeyError())):
        try:
            method(value)
        except lib.InvalidStateError as error:
            log.append(str(error).startswith("invalid state"))


@same_on_both
async def test_exceptions_may_be_classes_but_nothing_else(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    future = loop.create_future()
    future.set_exception(KeyError)
    log.append(repr(future.exception()))
    for wrong in (1, "text", int):
        try:
            loop.create_future().set_exception(wrong)
        except TypeError as error:
            log.append(type(error).__name__)


@same_on_both
async def test_callbacks_run_in_order_and_can_be_removed(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    future = loop.create_future()

    def callback(future: object) -> None:
        log.append("once")

    for name in "abc":
        future.add_done_callback(lambda f, name=name: log.append((name, f.result())))
    future.add_done_callback(callback)
    future.add_done_callback(callback)
    log.append(future.remove_done_callback(callback))
    log.append(future.remove_done_callback(callback))
    future.set_result(1)
    log.append("callbacks are not called at once")
    await lib.sleep(0)
    future.add_done_callback(lambda f: log.append("late"))
    await lib.sleep(0)


@same_on_both
async def test_several_tasks_wait_for_one_future(lib: Lib, log: list[object]) -> None:
    future = lib.get_running_loop().create_future()

    async def waiter(name: int) -> None:
        log.append((name, await future))

    tasks = [lib.create_task(waiter(name)) for name in range(5)]
    await lib.sleep(0)
    tasks[2].cancel()
    await lib.sleep(0)
    if not future.done():
        future.set_result("value")
    log.append(await lib.gather(*tasks, return_exceptions=True) == [])
    log.append([task.cancelled() for task in tasks])


@same_on_both
async def test_cancelling_a_future_cancels_who_waits(lib: Lib, log: list[object]) -> None:
    future = lib.get_running_loop().create_future()

    async def waiter() -> None:
        await future

    task = lib.create_task(waiter())
    await lib.sleep(0)
    log.append(future.cancel("why"))
    log.append(future.cancel("again"))
    try:
        await task
    except lib.CancelledError as error:
        log.append(error.args)
    log.append((task.cancelled(), future.cancelled()))


def test_subclasses_behave_and_may_be_awaited() -> None:
    class Special(Future[int]):
        def __init__(self, label: str) -> None:
            super().__init__()
            self.label = label

    async def main() -> None:
        future = Special("label")
        assert future.label == "label"
        tinycoro.get_running_loop().call_soon(future.set_result, 4)
        assert await future == 4
        assert weakref.ref(future)() is future

    tinycoro.run(main())


def test_a_subclass_with_its_own_cancel_is_asked() -> None:
    class Stubborn(Future[None]):
        def cancel(self, msg: object = None) -> bool:
            asked.append(msg)
            return super().cancel(msg)

    asked: list[object] = []

    async def main() -> None:
        future = Stubborn()

        async def waiter() -> None:
            await future

        task = tinycoro.create_task(waiter())
        await tinycoro.sleep(0)
        task.cancel("message")
        with pytest.raises(tinycoro.CancelledError):
            await task

    tinycoro.run(main())
    assert asked == ["message"]


def test_futures_need_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no current event loop in thread 'MainThread'"):
        Future()
    with pytest.raises(TypeError, match=r"tinycoro\.Loop"):
        Future(loop=object())  # type: ignore[arg-type]


def test_while_no_loop_runs_the_one_of_set_event_loop_counts() -> None:
    loop = tinycoro.new_event_loop()
    tinycoro.set_event_loop(loop)
    try:
        assert Future[int]().get_loop() is loop
        assert tinycoro.gather().get_loop() is loop
        task = tinycoro.ensure_future(tinycoro.sleep(0))
        assert task.get_loop() is loop
        gathered = tinycoro.gather(task)
        assert loop.run_until_complete(gathered) == [None]
        with pytest.raises(RuntimeError, match="no running event loop"):
            tinycoro.current_task()
        in_thread: list[object] = []
        thread = threading.Thread(target=lambda: in_thread.append(_core._get_current_loop()))
        thread.start()
        thread.join()
        assert in_thread == [None]
    finally:
        tinycoro.set_event_loop(None)
        loop.close()


def test_a_gather_without_a_loop_takes_that_of_its_first_future() -> None:
    loop = tinycoro.new_event_loop()
    try:
        future = loop.create_future()
        gathered = tinycoro.gather(future)
        future.set_result(1)
        assert loop.run_until_complete(gathered) == [1]
    finally:
        loop.close()


@same_on_both
async def test_an_awaited_failure_has_its_context(lib: Lib, log: list[object]) -> None:
    async def fail() -> None:
        raise ValueError(1)

    for awaitable in (lib.create_task(fail()), lib.create_task(lib.sleep(10))):
        if awaitable.get_coro().__name__ == "sleep":
            awaitable.cancel()
        try:
            raise KeyError(2)
        except KeyError:
            try:
                await awaitable
            except (ValueError, lib.CancelledError) as error:
                log.append((repr(error), repr(error.__context__)))


def test_a_subclass_of_stop_iteration_is_wrapped() -> None:
    class Stop(StopIteration):
        pass

    async def main() -> None:
        future = tinycoro.get_running_loop().create_future()
        future.set_exception(Stop(1))
        with pytest.raises(RuntimeError, match="StopIteration interacts badly") as caught:
            await future
        assert isinstance(caught.value.__cause__, Stop)

    tinycoro.run(main())


def test_ensure_future_leaves_a_future_as_it_is() -> None:
    loop = tinycoro.new_event_loop()
    future = loop.create_future()

    async def main() -> None:
        assert tinycoro.ensure_future(future) is future
        with pytest.raises(ValueError, match="different loop"):
            tinycoro.ensure_future(future, loop=tinycoro.get_running_loop())

    assert tinycoro.ensure_future(future) is future
    with pytest.raises(TypeError, match="awaitable is required"):
        tinycoro.ensure_future("text")  # type: ignore[arg-type]
    tinycoro.run(main())
    loop.close()


@same_on_both
async def test_the_message_of_a_cancel_can_be_replaced(lib: Lib, log: list[object]) -> None:
    task = lib.create_task(lib.sleep(10))
    log.append(task._cancel_message)
    task.cancel("one")
    log.append(task._cancel_message)
    task._cancel_message = "two"
    try:
        await task
    except lib.CancelledError as error:
        log.append(error.args)


@same_on_both
async def test_what_says_it_is_a_future_is_one(lib: Lib, log: list[object]) -> None:
    log.append(lib.isfuture(mock.Mock(lib.Future)))
    log.append(lib.isfuture(mock.Mock()))
    log.append(lib.isfuture(mock.Mock(lib.Task)))


def test_a_task_ended_from_outside_tells_when_it_should_run() -> None:
    told: list[dict[str, Any]] = []

    async def main() -> int:
        return 1

    loop = tinycoro.new_event_loop()
    try:
        loop.set_exception_handler(lambda loop, context: told.append(context))
        main_coro = main()
        task = loop.create_task(main_coro)
        Future.set_result(task, 2)
        assert tinycoro.all_tasks(loop) == set()
        assert loop.run_until_complete(task) == 2
        assert len(told) == 1
        assert isinstance(told[0]["exception"], tinycoro.InvalidStateError)
        assert told[0]["task"] is task
        main_coro.close()
    finally:
        loop.close()


def test_a_future_of_another_loop_is_refused() -> None:
    other = tinycoro.new_event_loop()
    future = other.create_future()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            await future

    tinycoro.run(main())
    other.close()


def test_isfuture_and_ensure_future() -> None:
    async def main() -> None:
        future = tinycoro.get_running_loop().create_future()
        assert tinycoro.isfuture(future)
        assert not tinycoro.isfuture(5)
        assert tinycoro.ensure_future(future) is future

        class Awaitable:
            def __await__(self) -> Generator[Any, None, str]:
                yield from tinycoro.sleep(0).__await__()
                return "awaited"

        assert await tinycoro.ensure_future(Awaitable()) == "awaited"
        with pytest.raises(TypeError):
            tinycoro.ensure_future(5)  # type: ignore[arg-type]
        future.cancel()

    tinycoro.run(main())


def test_an_ended_future_lets_go_of_its_callbacks() -> None:
    class Marker:
        def __call__(self, future: object) -> None:
            pass

    async def main() -> None:
        marker = Marker()
        reference = weakref.ref(marker)
        future = tinycoro.get_running_loop().create_future()
        future.add_done_callback(marker)
        del marker
        future.set_result(None)
        await tinycoro.sleep(0)
        gc.collect()
        assert reference() is None

    tinycoro.run(main())


def test_the_error_classes_are_asyncios() -> None:
    assert tinycoro.CancelledError is asyncio.CancelledError
    assert InvalidStateError is asyncio.InvalidStateError


# ---- driven by hand ------------------------------------------------------------------------------


@same_on_both
async def test_the_iterator_of_a_future_is_a_generator(lib: Lib, log: list[object]) -> None:
    future = lib.get_running_loop().create_future()
    iterator = iter(future)
    log.append(iterator is future)
    log.append(iter(iterator) is iterator)
    log.append(next(iterator) is not None)
    future.set_result((1, 2))
    try:
        iterator.send(None)
    except StopIteration as stop:
        log.append(stop.value)
    iterator = iter(lib.get_running_loop().create_future())
    iterator.close()
    log.append(list(iterator))


@same_on_both
async def test_what_is_thrown_into_the_iterator_is_raised(lib: Lib, log: list[object]) -> None:
    for arguments in ((KeyError("k"),), (KeyError,), (7,), (KeyError("k"), 1), (KeyError, 1, 2)):
        iterator = iter(lib.get_running_loop().create_future())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                iterator.throw(*arguments)
            except Exception as error:
                log.append(repr(error) if isinstance(error, KeyError) else type(error).__name__)


def test_a_task_and_a_gather_have_such_an_iterator_too() -> None:
    async def nothing() -> int:
        return 5

    async def main() -> None:
        task = tinycoro.create_task(nothing())
        gathered: Any = tinycoro.gather(nothing())
        await tinycoro.wait([task, gathered])
        for future, value in ((task, 5), (gathered, [5])):
            with pytest.raises(StopIteration) as stopped:
                iter(future).send(None)
            assert stopped.value.value == value
            iterator = iter(future)
            iterator.close()
            assert list(iterator) == []

    tinycoro.run(main())
