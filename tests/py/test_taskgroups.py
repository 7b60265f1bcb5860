"""TaskGroup: asyncio's, and cancel()."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import tinycoro
from both import Lib, Some, same_as_recorded
from programs import describe


@same_as_recorded
async def test_turns_and_results(lib: Lib, log: list[object]) -> None:
    async def work(turns: int) -> int:
        for _ in range(turns):
            await lib.sleep(0)
        log.append(("work", turns))
        return turns

    async def main() -> None:
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(work(n), name=f"work {n}") for n in (3, 0, 1)]
            log.append(group)
        log.append([task.result() for task in tasks])
        async with lib.TaskGroup():
            pass

    task = lib.create_task(main())
    turns = 0
    while not task.done():
        turns += 1
        await lib.sleep(0)
    log.append(turns)


@same_as_recorded
async def test_errors_are_collected(lib: Lib, log: list[object]) -> None:
    async def fails(turns: int) -> None:
        for _ in range(turns):
            await lib.sleep(0)
        raise KeyError(turns)

    async def cleans_up_badly() -> None:
        try:
            await lib.sleep(100)
        finally:
            raise ValueError("cleanup")

    async def body(kind: str) -> None:
        async with lib.TaskGroup() as group:
            group.create_task(fails(0))
            group.create_task(fails(0))
            group.create_task(fails(1))
            group.create_task(cleans_up_badly())
            group.create_task(lib.sleep(100))
            if kind == "raises":
                raise IndexError("body")
            if kind == "waits":
                await lib.sleep(100)

    for kind in ("ends", "waits", "raises"):
        try:
            await body(kind)
        except BaseException as error:
            log.append((kind, describe(error), lib.current_task().cancelling()))


@same_as_recorded
async def test_a_cancel_from_outside(lib: Lib, log: list[object]) -> None:
    async def child(*, fails: bool) -> None:
        try:
            await lib.sleep(100)
        except lib.CancelledError as error:
            log.append(("child", error.args))
            if fails:
                raise KeyError("child") from None
            raise

    async def body(*, waits: bool, fails: bool) -> None:
        async with lib.TaskGroup() as group:
            group.create_task(child(fails=fails))
            if waits:
                await lib.sleep(50)

    for waits in (True, False):
        for fails in (True, False):
            for times in (1, 2):
                task = lib.create_task(body(waits=waits, fails=fails))
                await lib.sleep(1)
                for _ in range(times):
                    task.cancel("why")
                try:
                    await task
                except BaseException as error:
                    log.append((waits, fails, times, describe(error), task.cancelling()))


@same_as_recorded
async def test_what_create_task_refuses(lib: Lib, log: list[object]) -> None:
    group = lib.TaskGroup()

    def attempt() -> None:
        coro = lib.sleep(0)
        try:
            group.create_task(coro)
        except RuntimeError as error:
            log.append(str(error).split(">")[-1])

    async def late() -> None:
        try:
            await lib.sleep(100)
        finally:
            attempt()

    attempt()
    try:
        async with group:
            group.create_task(late())
            await lib.sleep(0)
            raise KeyError
    except ExceptionGroup:
        log.append(group)
    attempt()
    try:
        await group.__aenter__()
    except RuntimeError as error:
        log.append(str(error).split(">")[-1])


@same_as_recorded
async def test_a_task_may_be_added_until_the_last_is_gone(lib: Lib, log: list[object]) -> None:
    async def adds(depth: int) -> None:
        await lib.sleep(0)
        log.append(depth)
        if depth > 0:
            group.create_task(adds(depth - 1))

    async with lib.TaskGroup() as group:
        task = group.create_task(adds(4))
        task.add_done_callback(lambda task: group.create_task(adds(0)))
    log.append(group)


@same_as_recorded
async def test_keyboard_interrupt_is_raised_bare(lib: Lib, log: list[object]) -> None:
    class Fatal(SystemExit):
        pass

    try:
        async with lib.TaskGroup() as group:
            group.create_task(lib.sleep(10))
            await lib.sleep(0)
            raise Fatal("body")
    except Fatal as error:
        log.append(describe(error))


@same_as_recorded
async def test_eager_children(lib: Lib, log: list[object]) -> None:
    async def child(kind: str) -> str:
        if kind == "waits":
            await lib.sleep(1)
        if kind == "fails":
            raise KeyError(kind)
        return kind

    lib.get_running_loop().set_task_factory(lib.eager_task_factory)
    for kinds in (["ends"], ["waits", "ends"], ["fails", "waits"], ["ends", "fails"]):
        try:
            async with lib.TaskGroup() as group:
                tasks = []
                for kind in kinds:
                    tasks.append(group.create_task(child(kind)))
                    log.append([task.done() for task in tasks])
                await lib.sleep(0)
                log.append("body")
        except* KeyError as error:
            log.append(describe(error))
        log.append((kinds, lib.current_task().cancelling()))
    lib.get_running_loop().set_task_factory(None)


# ---- cancel() -----------------------------------------------------------------------------------


async def _long(log: list[object]) -> None:
    try:
        await tinycoro.sleep(1000)
    except tinycoro.CancelledError:
        log.append("cancelled")
        raise


@pytest.mark.parametrize("place", ["before", "body", "child", "outside", "twice", "after"])
def test_cancel_ends_the_group_without_an_error(place: str) -> None:
    async def main() -> None:
        log: list[object] = []
        group = tinycoro.TaskGroup()
        if place == "before":
            group.cancel()

        async def cancels() -> None:
            group.cancel()

        async def block() -> str:
            async with group:
                if place == "before":
                    await tinycoro.sleep(1000)
                group.create_task(_long(log))
                await tinycoro.sleep(0)
                if place in {"body", "twice"}:
                    group.cancel()
                if place == "twice":
                    group.cancel()
                if place == "child":
                    group.create_task(cancels())
                if place != "after":
                    await tinycoro.sleep(1000)
                    log.append("never")
                else:
                    group.create_task(cancels())
            return "went on"

        task = tinycoro.create_task(block())
        await tinycoro.sleep(0.001)
        if place == "outside":
            group.cancel()
        assert await task == "went on"
        assert log == ([] if place == "before" else ["cancelled"])
        assert task.cancelling() == 0
        group.cancel()
        await tinycoro.sleep(0)

    tinycoro.run(main())


def test_cancel_keeps_errors_and_foreign_cancels() -> None:
    async def fails() -> None:
        try:
            await tinycoro.sleep(1000)
        finally:
            raise KeyError("cleanup")

    async def block(group: tinycoro.TaskGroup) -> None:
        async with group:
            group.create_task(fails())
            await tinycoro.sleep(1000)

    async def main() -> None:
        for foreign in (False, True):
            group = tinycoro.TaskGroup()
            task = tinycoro.create_task(block(group))
            await tinycoro.sleep(0.001)
            group.cancel()
            if foreign:
                task.cancel()
            with pytest.raises(ExceptionGroup) as caught:
                await task
            assert [type(error) for error in caught.value.exceptions] == [KeyError]
            assert task.cancelling() == foreign
        group = tinycoro.TaskGroup()

        async def quiet() -> None:
            async with group:
                group.create_task(tinycoro.sleep(1000))

        task = tinycoro.create_task(quiet())
        await tinycoro.sleep(0.001)
        group.cancel()
        task.cancel("from outside")
        with pytest.raises(tinycoro.CancelledError):
            await task

    tinycoro.run(main())


def test_an_eager_child_may_cancel_its_group() -> None:
    async def main() -> None:
        async def child(group: tinycoro.TaskGroup) -> None:
            group.cancel()
            await tinycoro.sleep(1000)

        async with tinycoro.TaskGroup() as group:
            task = group.create_task(child(group), eager_start=True)
            await tinycoro.sleep(1000)
        assert task.cancelled()

    tinycoro.run(main())


# ---- classes, the collector --------------------------------------------------------------------


def test_derived_classes_and_foreign_tasks() -> None:
    class Special(tinycoro.TaskGroup):
        def __init__(self, label: str) -> None:
            super().__init__()
            self.label = label

        async def __aexit__(self, *details: Some) -> bool | None:
            left.append(self.label)
            return await super().__aexit__(*details)

    class SpecialTask(tinycoro.Task[Any]):
        def cancel(self, msg: object | None = None) -> bool:
            left.append(self.get_name())
            return super().cancel(msg)

    left: list[str] = []

    async def fails() -> None:
        raise KeyError

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **options: SpecialTask(coro, loop=loop, **options))
        group = Special("label")
        try:
            async with group:
                group.create_task(tinycoro.sleep(1000), name="sleeps")
                group.create_task(fails(), name="fails")
        except* KeyError:
            left.append("KeyError")
        assert left == ["label", "sleeps", "KeyError"]
        assert weakref.ref(group)() is group

    tinycoro.run(main())
    with pytest.raises(TypeError, match="takes no arguments"):
        tinycoro.TaskGroup(1)  # type: ignore[call-arg]


def test_a_group_and_its_tasks_are_collected() -> None:
    async def main() -> list[weakref.ref[Any]]:
        async with tinycoro.TaskGroup() as group:
            task = group.create_task(tinycoro.sleep(0, group))
        return [weakref.ref(group), weakref.ref(task)]

    references = tinycoro.run(main())
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@pytest.mark.filterwarnings(
    "ignore:unclosed event loop", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_loop_that_is_dropped_with_open_groups() -> None:
    loop = tinycoro.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    references: list[weakref.ref[Any]] = []

    async def block() -> None:
        async with tinycoro.TaskGroup() as group, tinycoro.timeout(1000):
            references.append(weakref.ref(group))
            group.create_task(tinycoro.sleep(1000))
            await tinycoro.wait([group.create_task(tinycoro.sleep(1000))], timeout=1000)

    async def other() -> None:
        async with tinycoro.TaskGroup() as group:
            references.append(weakref.ref(group))
            group.create_task(tinycoro.sleep(1000))

    loop.create_task(block())
    loop.create_task(other())
    loop.run_until_complete(tinycoro.sleep(0.001))
    del loop
    gc.collect()
    assert [reference() for reference in references] == [None, None]
