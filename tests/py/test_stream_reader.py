"""StreamReader fed by hand: every read, at every split of the data, as asyncio's."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinycoro
from both import Lib, run_both, same_on_both
from support import IS_SLOW_LANE
from tinycoro import Channel

IS_OLD = not hasattr(asyncio, "QueueShutDown")  # before 3.13: one separator only


async def outcome(awaitable: Awaitable[Lib]) -> object:
    """The result, or what tells the exception apart."""
    try:
        return await awaitable
    except asyncio.IncompleteReadError as error:
        return ("incomplete", error.partial, error.expected)
    except asyncio.LimitOverrunError as error:
        return ("overrun", str(error), error.consumed)
    except Exception as error:
        return (type(error).__name__, str(error))


def call(reader: Lib, name: str, argument: object) -> Awaitable[Lib]:
    if name == "anext":
        return anext(reader)
    method: Callable[..., Awaitable[Lib]] = getattr(reader, name)
    return method() if argument is None else method(argument)


separators = st.sampled_from([b"\n", b"\r\n", b"ab", b"aab", b"b"])
reads = st.one_of(
    st.tuples(st.just("read"), st.one_of(st.none(), st.integers(-1, 12))),
    st.tuples(st.just("readexactly"), st.integers(-1, 12)),
    st.tuples(st.just("readline"), st.none()),
    st.tuples(st.just("anext"), st.none()),
    st.tuples(st.just("readuntil"), separators),
    st.tuples(
        st.just("readuntil"),
        separators if IS_OLD else st.lists(separators, min_size=1, max_size=3).map(tuple),
    ),
)
chunks = st.lists(st.text("ab\r\n", max_size=8).map(str.encode), max_size=8)


@settings(max_examples=2000 if IS_SLOW_LANE else 150, derandomize=not IS_SLOW_LANE, deadline=None)
@given(chunks, st.lists(reads, max_size=8), st.integers(1, 10), st.integers(0, 9))
def test_any_reads_of_any_chunks(
    data: list[bytes], calls: list[tuple[str, Lib]], limit: int, before: int
) -> None:
    """Some chunks come before the first read, the others one at a time while reads wait."""

    async def scenario(lib: Lib) -> list[object]:
        reader = lib.StreamReader(limit=limit, loop=lib.get_running_loop())

        async def feed() -> None:
            for chunk in data[before:]:
                reader.feed_data(chunk)
                await lib.sleep(0)
                await lib.sleep(0)
            reader.feed_eof()

        for chunk in data[:before]:
            reader.feed_data(chunk)
        feeder = lib.create_task(feed())
        log: list[object] = []
        for name, argument in calls:
            log.append(await outcome(call(reader, name, argument)))
            log.append((bytes(reader._buffer), reader.at_eof()))
        await feeder
        return log

    run_both(scenario)


@same_on_both
async def test_a_cancelled_read_loses_nothing(lib: Lib, log: list[object]) -> None:
    for name, argument in [
        ("read", 5),
        ("readexactly", 5),
        ("readline", None),
        ("readuntil", b"\r\n"),
    ]:
        for woken in (False, True):
            reader = lib.StreamReader(loop=lib.get_running_loop())
            if name != "read":
                reader.feed_data(b"ab")
            task = lib.create_task(call(reader, name, argument))
            await lib.sleep(0)
            if woken:
                reader.feed_data(b"cd")
            task.cancel()
            try:
                await task
            except lib.CancelledError:
                log.append((name, "cancelled"))
            reader.feed_data(b"ef\r\n")
            reader.feed_eof()
            log.append(await reader.read())


def test_a_cancelled_read_of_everything_keeps_it() -> None:
    """asyncio loses the blocks that it has collected; we do not."""

    async def main() -> bytes:
        reader = tinycoro.StreamReader()
        reader.feed_data(b"abc")
        task = tinycoro.create_task(reader.read())
        await tinycoro.sleep(0)
        task.cancel()
        with pytest.raises(tinycoro.CancelledError):
            await task
        reader.feed_eof()
        return await reader.read()

    assert tinycoro.run(main()) == b"abc"


@same_on_both
async def test_a_second_reader_is_refused(lib: Lib, log: list[object]) -> None:
    reader = lib.StreamReader(loop=lib.get_running_loop())
    first = lib.create_task(reader.read(1))
    await lib.sleep(0)
    for name, argument in [
        ("read", 1),
        ("readexactly", 1),
        ("readuntil", b"x"),
        ("readline", None),
        ("anext", None),
    ]:
        log.append(await outcome(call(reader, name, argument)))
    reader.feed_data(b"xy")
    log.append(await first)
    log.append(await reader.read(5))


@same_on_both
async def test_exceptions(lib: Lib, log: list[object]) -> None:
    reader = lib.StreamReader(loop=lib.get_running_loop())
    log.append(reader.exception())
    waiting = lib.create_task(outcome(reader.readline()))
    await lib.sleep(0)
    error = ValueError("broken")
    reader.set_exception(error)
    log.append(await waiting)
    log.append(reader.exception() is error)
    reader.feed_data(b"more\n")
    for name in ("read", "readline", "readuntil", "anext"):
        log.append(await outcome(call(reader, name, None)))
    log.append(await outcome(reader.readexactly(0)))
    log.append(bytes(reader._buffer))


@same_on_both
async def test_data_that_was_announced_comes_before_an_exception(
    lib: Lib, log: list[object]
) -> None:
    reader = lib.StreamReader(loop=lib.get_running_loop())
    waiting = lib.create_task(outcome(reader.read(5)))
    await lib.sleep(0)
    reader.feed_data(b"data")
    reader.set_exception(ValueError("broken"))
    log.append(await waiting)
    log.append(await outcome(reader.read(5)))


@same_on_both
async def test_asynchronous_iteration(lib: Lib, log: list[object]) -> None:
    reader = lib.StreamReader(loop=lib.get_running_loop())
    reader.feed_data(b"one\ntwo\n\nthree")
    reader.feed_eof()
    log += [line async for line in reader]


@same_on_both
async def test_bad_arguments(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    reader = lib.StreamReader(loop=loop)
    for limit in (0, -1):
        try:
            lib.StreamReader(limit=limit, loop=loop)
        except ValueError as error:
            log.append(str(error))
    for name, argument in (("readuntil", b""), ("readexactly", -1)):
        try:
            await call(reader, name, argument)
        except ValueError as error:
            log.append(str(error))
    reader.feed_eof()
    try:
        reader.feed_data(b"x")
    except AssertionError as error:
        log.append(str(error))


def test_no_separator_is_refused() -> None:
    async def main() -> None:
        reader = tinycoro.StreamReader()
        with pytest.raises(ValueError, match="at least one element"):
            await reader.readuntil(())
        with pytest.raises(ValueError, match="one-byte"):
            await reader.readuntil((b"x", b""))
        with pytest.raises(TypeError, match="separator"):
            await reader.readuntil("x")  # type: ignore[arg-type]

    tinycoro.run(main())


@same_on_both
async def test_it_can_be_subclassed_and_referred_to_weakly(lib: Lib, log: list[object]) -> None:
    class Counting(lib.StreamReader):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(limit=100, loop=lib.get_running_loop())
            self.fed = 0

        def feed_data(self, data: bytes) -> None:
            self.fed += len(data)
            super().feed_data(data)

    reader = Counting()
    reader.feed_data(b"12345")
    log.append((reader.fed, await reader.readexactly(5)))
    log.append(repr(reader).startswith("<Stream") or repr(reader))
    reference = weakref.ref(reader)
    log.append(reference() is reader)
    del reader
    gc.collect()
    log.append(reference() is None)


def test_a_subclass_that_does_not_call_init_is_told() -> None:
    class Forgetful(tinycoro.StreamReader):
        def __init__(self) -> None:
            """Forgets super().__init__()."""

    reader = Forgetful()
    for name in ("read", "readline", "feed_eof", "at_eof"):
        with pytest.raises(RuntimeError, match="__init__"):
            getattr(reader, name)()
    assert "StreamReader" in repr(reader)


def test_repr() -> None:
    async def main() -> None:
        reader = tinycoro.StreamReader(limit=10)
        reader.feed_data(b"abcd")
        reader.feed_eof()
        assert repr(reader) == "<StreamReader 4 bytes eof limit=10>"

    tinycoro.run(main())


def test_a_read_that_is_not_awaited_is_told() -> None:
    async def main() -> None:
        reader = tinycoro.StreamReader()
        reader.feed_data(b"x")
        _ = reader.read(1)
        del _
        with pytest.warns(RuntimeWarning, match=r"StreamReader\.read' was never awaited"):
            _ = reader.read(1)
        del _
        del reader
        with pytest.warns(RuntimeWarning, match="never awaited"):
            gc.collect()

    tinycoro.run(main())


def test_a_read_is_used_once() -> None:
    async def main() -> None:
        reader = tinycoro.StreamReader()
        reader.feed_data(b"xy")
        operation = reader.read(1)
        assert await operation == b"x"
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await operation
        assert await reader.read(1) == b"y"

    tinycoro.run(main())


def test_reads_that_do_not_wait_let_others_run() -> None:
    """A task that always finds data must not keep the loop for itself."""

    async def main() -> int:
        reader = tinycoro.StreamReader()
        reader.feed_data(b"x" * 1000)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await tinycoro.sleep(0)
                turns += 1

        task = tinycoro.create_task(other())
        for _ in range(1000):
            await reader.readexactly(1)
        task.cancel()
        return turns

    assert 10 <= tinycoro.run(main()) <= 20


async def count_turns(fast: int) -> int:
    """The turns that go by while a task reads and receives `fast` times without need to wait."""
    reader = tinycoro.StreamReader()
    reader.feed_data(b"x" * fast)
    channel: Channel[int] = Channel(fast)
    for number in range(fast):
        channel.send_nowait(number)
    turns = 0
    is_over = False

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not is_over:
            loop.call_soon(turn)

    loop = tinycoro.get_running_loop()
    loop.call_soon(turn)
    await tinycoro.sleep(0)
    before = turns
    for _ in range(fast):
        await reader.readexactly(1)
        await channel.recv()
    is_over = True
    return turns - before


def test_a_task_that_never_waits_yields_by_force() -> None:
    """After 64 operations of one step. Any wait ends the step and begins the count anew."""

    async def main() -> None:
        assert await count_turns(30) == 0
        assert await count_turns(30) == 0, "count_turns() has waited in between"
        assert await count_turns(33) == 1
        assert await count_turns(70) == 2

    tinycoro.run(main())
