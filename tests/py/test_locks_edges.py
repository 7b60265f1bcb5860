"""Locks and queues where asyncio has coroutines: as operations, on other threads, at their ends."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import threading
import warnings
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

import tinycoro
from support import assert_success, run_python

Operation = Any

_MAKERS: list[Callable[[], Operation]] = [
    lambda: tinycoro.Lock().acquire(),
    lambda: tinycoro.Lock().__aenter__(),
    lambda: tinycoro.Lock().__aexit__(None, None, None),
    lambda: tinycoro.Semaphore().acquire(),
    lambda: tinycoro.Semaphore().__aenter__(),
    lambda: tinycoro.BoundedSemaphore().__aexit__(),
    lambda: tinycoro.Event().wait(),
    lambda: tinycoro.Queue[int]().put(1),
    lambda: tinycoro.LifoQueue[int]().get(),
    lambda: tinycoro.Queue[int]().join(),
]
_NAMES = [
    *("Lock.acquire", "Lock.__aenter__", "Lock.__aexit__"),
    *("Semaphore.acquire", "Semaphore.__aenter__", "Semaphore.__aexit__"),
    *("Event.wait", "Queue.put", "Queue.get", "Queue.join"),
]
_OPERATIONS = list(zip(_MAKERS, _NAMES, strict=True))


# ---- operations as coroutines --------------------------------------------------------------------


@pytest.mark.parametrize(("make", "name"), _OPERATIONS)
def test_dropped_unawaited_it_warns(make: Callable[[], Operation], name: str) -> None:
    with pytest.warns(RuntimeWarning, match=f"operation '{name}' was never awaited"):
        make()


@pytest.mark.parametrize(("make", "name"), _OPERATIONS)
def test_it_looks_like_a_coroutine(make: Callable[[], Operation], name: str) -> None:
    operation: Operation = make()
    assert operation.__qualname__ == name
    assert isinstance(operation, collections.abc.Coroutine)
    assert tinycoro.iscoroutine(operation)
    assert inspect.isawaitable(operation)
    assert repr(operation) == f"<operation {name} new>"
    operation.close()
    assert repr(operation) == f"<operation {name} finished>"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
        operation.send(None)


def test_it_can_be_awaited_once() -> None:
    async def main() -> None:
        lock = tinycoro.Lock()
        operation: Operation = lock.acquire()
        assert await operation
        for _ in range(2):
            with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
                await operation
        lock.release()
        assert not lock.locked()

    tinycoro.run(main())


def test_nothing_is_taken_until_it_is_awaited() -> None:
    async def main() -> None:
        lock, queue = tinycoro.Lock(), tinycoro.Queue[int]()
        queue.put_nowait(1)
        for operation in (lock.acquire(), queue.get(), queue.put(2)):
            assert not lock.locked()
            assert queue.qsize() == 1
            operation.close()
        lock_of_another = tinycoro.Lock()
        await lock_of_another.acquire()
        leaving = lock_of_another.__aexit__(None, None, None)
        assert lock_of_another.locked()
        await leaving
        assert not lock_of_another.locked()

    tinycoro.run(main())


def test_create_task_gather_run_and_ensure_future_take_it() -> None:
    async def main() -> None:
        lock, queue = tinycoro.Lock(), tinycoro.Queue[str]()
        task = tinycoro.create_task(lock.acquire(), name="taker")
        assert "Lock.acquire" in repr(task)
        assert await task
        waiting = tinycoro.gather(lock.acquire(), queue.get(), queue.put("item"), queue.join())
        await tinycoro.sleep(0)
        lock.release()
        queue.task_done()
        assert await waiting == [True, "item", None, None]
        future = tinycoro.ensure_future(lock.acquire())
        await tinycoro.sleep(0)
        future.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await future

    tinycoro.run(main())
    assert tinycoro.run(tinycoro.Lock().acquire())


def test_driven_by_hand_without_a_loop() -> None:
    lock, queue = tinycoro.Lock(), tinycoro.Queue[int](1)
    with pytest.raises(StopIteration) as stop:
        lock.acquire().send(None)
    assert stop.value.value is True
    with pytest.raises(StopIteration) as stop:
        queue.put(1).send(None)
    assert stop.value.value is None
    with pytest.raises(StopIteration) as stop:
        queue.get().send(None)
    assert stop.value.value == 1
    for operation in (lock.acquire(), queue.get(), queue.join(), tinycoro.Event().wait()):
        with pytest.raises(RuntimeError, match="only in a task of a tinycoro loop"):
            operation.send(None)
    lock.release()


def test_in_a_loop_of_asyncio_only_waiting_is_refused() -> None:
    lock, queue = tinycoro.Lock(), tinycoro.Queue[int](1)

    async def main() -> None:
        async with lock:
            with pytest.raises(RuntimeError, match=r"Lock\.acquire\(\) can be awaited only in a"):
                await lock.acquire()
        await queue.put(1)
        with pytest.raises(RuntimeError, match=r"Queue\.put\(\) can be awaited only in a task"):
            await queue.put(2)
        assert await queue.get() == 1

    asyncio.run(main())


@pytest.mark.parametrize("how", ["close", "throw"])
@pytest.mark.parametrize("woken", [False, True])
def test_given_up_by_hand_it_passes_on_what_it_had(how: str, woken: bool) -> None:
    """A driver inside a task: the wait is started, perhaps woken, and given up."""

    async def main() -> None:
        lock, semaphore = tinycoro.Lock(), tinycoro.Semaphore()
        full, empty = tinycoro.Queue[int](1), tinycoro.Queue[int]()
        await lock.acquire()
        await semaphore.acquire()
        full.put_nowait(0)
        hands_over: list[Callable[[], object]] = [
            lock.release,
            semaphore.release,
            full.get_nowait,
            lambda: empty.put_nowait(1),
        ]
        makers: list[Callable[[], Operation]] = [
            lock.acquire,
            semaphore.acquire,
            lambda: full.put(1),
            empty.get,
        ]
        for make, hand_over in zip(makers, hands_over, strict=True):

            async def drive(make: Callable[[], Operation] = make) -> None:
                operation = make()

                class Once:
                    def __await__(self) -> Generator[None]:
                        yield operation.send(None)

                if woken:
                    await Once()
                    assert repr(operation).endswith("woken>")
                else:
                    operation.send(None)
                    with pytest.raises(RuntimeError, match="is being awaited already"):
                        operation.send(None)
                if how == "close":
                    operation.close()
                else:
                    with pytest.raises(KeyError):
                        operation.throw(KeyError("given up"))
                assert repr(operation).endswith("finished>")

            driver = tinycoro.create_task(drive())
            await tinycoro.sleep(0)
            heir = tinycoro.create_task(make())
            await tinycoro.sleep(0)
            hand_over()
            await driver
            await heir

    tinycoro.run(main())


def test_a_hook_that_uses_the_operation_it_serves() -> None:
    """It finds it at work, and cannot start it again, give it up or wait for it."""
    caught: list[str] = []
    operation: Operation = None

    class Nosy(tinycoro.Queue[int]):
        def full(self) -> bool:
            for call in (
                lambda: operation.send(None),
                operation.close,
                lambda: operation.throw(KeyError()),
            ):
                with pytest.raises((ValueError, RuntimeError)) as error:
                    call()
                caught.append(str(error.value))
            return super().full()

    async def main() -> None:
        nonlocal operation
        queue = Nosy(1)
        operation = queue.put(1)
        await operation
        operation = queue.put(2)
        task = tinycoro.create_task(operation)
        await tinycoro.sleep(0)
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task

    tinycoro.run(main())
    assert set(caught) == {"'Queue.put' is already executing"}


# ---- threads -------------------------------------------------------------------------------------


def test_a_foreign_thread_is_refused_and_told_the_way() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        lock, semaphore, event = tinycoro.Lock(), tinycoro.Semaphore(0), tinycoro.Event()
        condition = tinycoro.Condition()
        full, empty = tinycoro.Queue[int](1), tinycoro.Queue[int]()
        await lock.acquire()
        full.put_nowait(1)

        async def wait_for_condition() -> None:
            async with condition:
                await condition.wait()

        waits = [lock.acquire(), semaphore.acquire(), event.wait(), full.put(2), empty.get()]
        tasks = [tinycoro.create_task(wait) for wait in (*waits, full.join())]
        tasks.append(tinycoro.create_task(wait_for_condition()))
        await tinycoro.sleep(0)
        await condition.acquire()
        calls: list[Callable[[], object]] = [
            *(lock.release, semaphore.release, event.set, event.clear, condition.notify),
            *(full.get_nowait, lambda: full.put_nowait(1), full.task_done, full.shutdown),
            *(empty.get_nowait, lambda: empty.put_nowait(1), empty.shutdown),
        ]
        errors: list[str] = []

        def target() -> None:
            for call in calls:
                with pytest.raises(RuntimeError) as error:
                    call()
                errors.append(str(error.value))
            for release in (lock.release, semaphore.release, event.set, full.get_nowait):
                loop.call_soon_threadsafe(release)
            loop.call_soon_threadsafe(empty.put_nowait, 3)
            loop.call_soon_threadsafe(full.task_done)
            loop.call_soon_threadsafe(condition.notify)

        thread = threading.Thread(target=target)
        thread.start()
        await tinycoro.gather(*tasks[:-3])
        thread.join()
        condition.release()
        await full.get()
        full.task_done()
        await tinycoro.gather(*tasks)
        assert len(errors) == len(calls)
        assert all("call_soon_threadsafe" in error for error in errors)

    tinycoro.run(main())


def test_loops_in_several_threads_have_locks_of_their_own() -> None:
    failures: list[BaseException] = []

    def target() -> None:
        async def main() -> None:
            lock, queue = tinycoro.Lock(), tinycoro.Queue[int](2)

            async def work() -> None:
                for number in range(300):
                    async with lock:
                        await tinycoro.sleep(0)
                    await queue.put(number)

            async def drain() -> None:
                for _ in range(900):
                    await queue.get()

            await tinycoro.gather(work(), work(), work(), drain())

        try:
            tinycoro.run(main())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=target) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_queue_that_is_bound_to_no_loop_serves_plain_threads() -> None:
    """Nobody waits, so it belongs to nobody: the interpreter must at least survive it."""
    queue = tinycoro.Queue[int]()
    taken: list[int] = []

    def target(number: int) -> None:
        for item in range(2000):
            queue.put_nowait(number * 2000 + item)
            taken.append(queue.get_nowait())

    threads = [threading.Thread(target=target, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(6000))


# ---- ends ----------------------------------------------------------------------------------------


def _loop_with_waiters(*, close: bool) -> list[weakref.ref[Any]]:
    lock, semaphore, event = tinycoro.Lock(), tinycoro.Semaphore(0), tinycoro.Event()
    condition, queue = tinycoro.Condition(), tinycoro.Queue[Any](1)
    loop = tinycoro.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def wait_for_condition() -> None:
        async with condition:
            await condition.wait()

    async def fill() -> None:
        await lock.acquire()
        waits = [lock.acquire(), lock.acquire(), semaphore.acquire(), event.wait()]
        tasks: list[Any] = [loop.create_task(wait) for wait in waits]
        await queue.put(tasks)  # a cycle: queue, task, operation, queue
        tasks += [loop.create_task(queue.put(tasks)), loop.create_task(queue.join())]
        tasks.append(loop.create_task(wait_for_condition()))
        await tinycoro.sleep(0)
        lock.release()
        tasks[1].cancel()

    loop.run_until_complete(fill())
    if close:
        loop.close()
    return [weakref.ref(each) for each in (lock, semaphore, event, condition, queue)]


@pytest.mark.filterwarnings("ignore:unclosed event loop")
@pytest.mark.parametrize("close", [True, False])
def test_a_dropped_loop_goes_with_all_who_wait(close: bool) -> None:
    references = _loop_with_waiters(close=close)
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


def _leave_waiters(
    lock: tinycoro.Lock, semaphore: tinycoro.Semaphore, queue: tinycoro.Queue[int]
) -> None:
    """A loop that ends with tasks in line that were woken, cancelled, or neither."""
    loop = tinycoro.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(lock.acquire())
    tasks: list[Any] = []
    makers: list[Callable[[], Operation]] = [lock.acquire, semaphore.acquire, queue.get]
    for make in makers:
        tasks += [loop.create_task(make()) for _ in range(5)]

    def strike() -> None:
        lock.release()
        semaphore.release()
        queue.put_nowait(1)
        for task in tasks[1::5]:
            task.cancel()
        loop.stop()  # before any of them takes its next step

    loop.call_soon(strike)
    loop.run_forever()
    assert len(lock._waiters) == len(semaphore._waiters) == 5
    loop.close()


def test_a_lock_outlives_the_loop_of_those_who_wait() -> None:
    lock, semaphore, queue = tinycoro.Lock(), tinycoro.Semaphore(0), tinycoro.Queue[int]()
    _leave_waiters(lock, semaphore, queue)
    gc.collect()
    assert lock._waiters == semaphore._waiters == queue._getters == []
    assert not lock.locked()

    async def use() -> None:
        async with tinycoro.Lock(), lock:
            await queue.get()

    tinycoro.run(use())
    assert not lock.locked()


def test_a_cycle_through_an_operation_that_was_never_awaited() -> None:
    queue = tinycoro.Queue[Any]()
    queue.put_nowait(queue.get())
    reference = weakref.ref(queue)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del queue
        gc.collect()
    assert [str(each.message) for each in caught] == ["operation 'Queue.get' was never awaited"]
    assert reference() is None


def test_they_can_be_referred_to_weakly() -> None:
    for make in (
        *(tinycoro.Lock, tinycoro.Event, tinycoro.Semaphore, tinycoro.BoundedSemaphore),
        *(tinycoro.Condition, tinycoro.Queue, tinycoro.LifoQueue, tinycoro.PriorityQueue),
        lambda: tinycoro.Barrier(1),
    ):
        thing: Any = make()
        ends: list[object] = []
        reference = weakref.ref(thing, ends.append)
        assert reference() is thing
        del thing
        assert ends == [reference]


def test_a_lock_of_before_a_fork_is_refused_in_the_child() -> None:
    assert_success(
        run_python(
            """
            import os, sys
            import tinycoro

            lock, queue = tinycoro.Lock(), tinycoro.Queue()

            async def main():
                await lock.acquire()
                tasks = [tinycoro.create_task(w) for w in (lock.acquire(), queue.get())]
                await tinycoro.sleep(0)
                child = os.fork()
                if child == 0:
                    for call in (lock.release, lambda: queue.put_nowait(1)):
                        try:
                            call()
                        except RuntimeError as error:
                            assert "before fork()" in str(error), error
                        else:
                            os._exit(1)
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                lock.release()
                queue.put_nowait(1)
                await tinycoro.gather(*tasks)

            tinycoro.run(main())
            """
        )
    )


def test_many_who_wait_leave_nothing_behind() -> None:
    """More than the operations whose memory is kept for reuse."""

    async def main() -> None:
        lock = tinycoro.Lock()
        served: list[int] = []

        async def hold(number: int) -> None:
            async with lock:
                served.append(number)

        await lock.acquire()
        tasks = [tinycoro.create_task(hold(number)) for number in range(500)]
        await tinycoro.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        lock.release()
        await tinycoro.gather(*tasks, return_exceptions=True)
        assert served == list(range(500))[1::2]

    tinycoro.run(main())
