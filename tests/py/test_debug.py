"""Debug mode: where things were made, what takes long, and that it is off when it is off."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tinycoro
from both import Lib
from support import assert_success, run_python
from tinycoro import EchoServer, Loop

_LIBS = [asyncio, tinycoro]


@contextmanager
def _logged(lib: Lib) -> Iterator[list[str]]:
    """What the library's logger says meanwhile."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(lib.__name__)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _last_here(stack: traceback.StackSummary | None) -> str | None:
    """The innermost line of this file in a stack."""
    assert stack is not None
    lines = [frame.line for frame in stack if frame.filename == __file__]
    return lines[-1] if lines else None


async def _fail() -> None:
    raise KeyError("nobody looks")


# ---- switching -----------------------------------------------------------------------------------


def test_debug_is_off_and_can_be_switched(recwarn: pytest.WarningsRecorder) -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        assert loop.get_debug() is False
        assert loop.create_future()._source_traceback is None
        loop.set_debug(True)
        assert loop.get_debug() is True
        future = loop.create_future()
        assert sys.get_coroutine_origin_tracking_depth() == 10
        loop.set_debug(False)
        assert sys.get_coroutine_origin_tracking_depth() == depth
        assert loop.create_future()._source_traceback is None
        assert future._source_traceback is not None

    depth = sys.get_coroutine_origin_tracking_depth()
    tinycoro.run(main(), debug=False)
    assert sys.get_coroutine_origin_tracking_depth() == depth


def test_origin_tracking_ends_with_the_run() -> None:
    async def depth() -> int:
        return sys.get_coroutine_origin_tracking_depth()

    before = sys.get_coroutine_origin_tracking_depth()
    assert tinycoro.run(depth(), debug=True) == 10
    assert sys.get_coroutine_origin_tracking_depth() == before


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ([], {}, False),
        ([], {"PYTHONASYNCIODEBUG": "1"}, True),
        ([], {"PYTHONASYNCIODEBUG": ""}, False),
        (["-E"], {"PYTHONASYNCIODEBUG": "1"}, False),
        (["-X", "dev"], {}, True),
    ],
)
def test_the_default_comes_from_the_interpreter(
    options: list[str], environment: dict[str, str], expected: bool
) -> None:
    code = """
        import subprocess, sys
        code = (
            "import tinycoro; loop = tinycoro.new_event_loop(); print(loop.get_debug()); "
            "loop.close()"
        )
        print(subprocess.check_output([sys.executable, "-P", *sys.argv[1:], "-c", code], text=True))
        """
    result = run_python(code, *options, env={"PYTHONASYNCIODEBUG": "", **environment})
    assert_success(result)
    assert result.stdout.strip() == str(expected)


def test_set_debug_decides_for_what_comes() -> None:
    result = run_python(
        """
        import tinycoro

        async def main():
            loop = tinycoro.get_running_loop()
            seen = [loop.get_debug()]
            tinycoro.set_debug(True)
            seen.append(loop.get_debug())
            return seen

        print(tinycoro.run(main()))
        print(tinycoro.run(main()))
        tinycoro.set_debug(False)
        print(tinycoro.run(main(), debug=True))
        """,
        env={"PYTHONASYNCIODEBUG": ""},
    )
    assert_success(result)
    assert result.stdout.split("\n")[:3] == ["[False, True]", "[True, True]", "[True, True]"]


# ---- where things were made ----------------------------------------------------------------------


def test_objects_remember_where_they_were_made() -> None:
    async def main() -> None:
        lib = tinycoro
        loop = lib.get_running_loop()
        objects: list[Any] = [
            loop.create_future(),  # create_future
            lib.Future(),  # Future
            loop.create_task(lib.sleep(0)),  # create_task
            lib.create_task(lib.sleep(0)),  # create_task
            lib.ensure_future(lib.sleep(0)),  # ensure_future
            loop.call_soon(int),  # call_soon
            loop.call_later(0, int),  # call_later
            loop.call_at(0, int),  # call_at
            loop.call_soon_threadsafe(int),  # call_soon_threadsafe
        ]
        for thing in objects:
            line = thing._source_traceback[-1].line
            assert line.split("(")[0].split(".")[-1] == line.split("# ")[1]
            assert len(thing._source_traceback) <= 10
            assert f"created at {thing._source_traceback[-1].filename}:" in repr(thing)
        await lib.sleep(0.001)

    tinycoro.run(main(), debug=True)


def _without_places(text: str) -> str:
    text = re.sub(r" created at [^>\s]+:\d+", " created at PLACE", text)
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    return re.sub(r"when=[\d.]+", "when=TIME", text)


@pytest.mark.parametrize("debug", [False, True])
def test_reprs_are_asyncios(debug: bool) -> None:
    # Before 3.13, asyncio shows arguments outside of debug mode too.
    arguments = (7, 2) if debug or sys.version_info >= (3, 13) else ()

    async def scenario(lib: Lib) -> list[str]:
        loop = lib.get_running_loop()
        shown = []
        for handle in (
            loop.call_soon(divmod, *arguments),
            loop.call_later(5, _without_places, *arguments),
        ):
            shown.append(repr(handle))
            handle.cancel()
            shown.append(repr(handle))
        task = loop.create_task(lib.sleep(0), name="T")
        task.cancel()
        future = loop.create_future()
        future.add_done_callback(print)
        shown += [repr(future), repr(loop).replace("_UnixSelectorEventLoop", "Loop")]
        return [_without_places(text) for text in shown]

    found = tinycoro.run(scenario(tinycoro), debug=debug)
    assert found == asyncio.run(scenario(asyncio), debug=debug)


def test_arguments_are_shown_in_debug_mode_only() -> None:
    async def main() -> str:
        handle = tinycoro.get_running_loop().call_soon(divmod, 7, 2)
        return repr(handle)

    assert tinycoro.run(main(), debug=False) == "<Handle divmod()>"
    assert tinycoro.run(main(), debug=True).startswith("<Handle divmod(7, 2) created at ")


def test_reports_say_where(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ValueError("broken")

    async def scenario(lib: Lib) -> list[list[str]]:
        loop = lib.get_running_loop()
        reports: list[list[str]] = []

        def handler(loop: object, context: dict[str, Any]) -> None:
            assert isinstance(context["source_traceback"], list)
            reports.append([context["message"].split(" at ")[0], *sorted(context)])

        loop.set_exception_handler(handler)
        task = lib.create_task(_fail())
        await lib.sleep(0)
        await lib.sleep(0)
        del task
        loop.create_future().set_exception(KeyError("k"))
        loop.call_soon(broken)
        await lib.sleep(0)
        gc.collect()
        return reports

    found = tinycoro.run(scenario(tinycoro), debug=True)
    assert found == asyncio.run(scenario(asyncio), debug=True)
    assert len(found) == 3


@pytest.mark.parametrize("lib", _LIBS)
def test_the_log_shows_the_stacks(lib: Lib) -> None:
    async def main() -> None:
        loop = lib.get_running_loop()
        loop.create_future().set_exception(KeyError("k"))
        loop.call_soon(loop.call_exception_handler, {"message": "by hand"})  # the handle's line
        await lib.sleep(0)

    with _logged(lib) as lines:
        lib.run(main(), debug=True)
    first, second = lines
    assert first.startswith("Future exception was never retrieved\nfuture: <Future finished")
    assert "\nsource_traceback: Object created at (most recent call last):\n  File " in first
    assert first.rstrip().endswith('set_exception(KeyError("k"))') or "create_future" in first
    assert second.startswith(
        "by hand\nhandle_traceback: Handle created at (most recent call last):\n"
    )
    assert "# the handle's line" in second


def test_a_dropped_task_says_where_it_was_made() -> None:
    loop = tinycoro.new_event_loop()
    loop.set_debug(True)
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.create_task(tinycoro.sleep(100))
    loop.run_until_complete(tinycoro.sleep(0))
    loop.close()
    del loop
    gc.collect()
    (context,) = contexts
    assert context["message"] == "Task was destroyed but it is pending!"
    assert _last_here(context["source_traceback"]) == "loop.create_task(tinycoro.sleep(100))"


def test_what_was_never_awaited_says_where_it_was_made() -> None:
    async def coroutine() -> None:
        pass

    def dropped(awaitable: object) -> None:
        pass

    async def main() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dropped(coroutine())  # the coroutine's line
            dropped(tinycoro.sleep(1))  # the sleep's line
            dropped(tinycoro.sleep(0))  # the yield's line
        return [str(warning.message) for warning in caught]

    shown = tinycoro.run(main(), debug=True)
    assert "was never awaited\nCoroutine created at (most recent call last)\n" in shown[0]
    assert "# the coroutine's line" in shown[0]
    for text, line in zip(shown[1:], ("sleep's", "yield's"), strict=True):
        assert text.startswith(
            "operation 'sleep' was never awaited\n"
            "Operation created at (most recent call last):\n  File "
        )
        assert text.endswith(f"# the {line} line\n")
    assert len(tinycoro.run(main(), debug=False)[1].splitlines()) == 1


def test_unclosed_loops_and_servers_say_where_they_were_made() -> None:
    result = run_python(
        """
        import warnings
        import tinycoro

        def show(message, category, *others, **more):
            print(category.__name__, message)

        warnings.showwarning = show
        warnings.simplefilter("always")
        for _ in range(2):
            loop = tinycoro.new_event_loop()  # the loop's line
            loop._close() or loop.is_closed()
            loop = tinycoro.Loop()  # the loop's line
            del loop
            server = tinycoro.EchoServer()
            server.start()  # the server's line
            del server
            print("--")
            tinycoro.set_debug(True)
        """,
        env={"PYTHONASYNCIODEBUG": ""},
    )
    assert_success(result)
    before, after, _ = result.stdout.split("--\n")
    assert len(before.splitlines()) == 2
    assert "Loop created at (most recent call last):\n  File " in after
    assert re.search(
        r"unclosed <[^>]*EchoServer[^>]*>\nServer started at \(most recent call last\):\n", after
    )


def test_a_server_that_is_waited_for_forgets_its_stack() -> None:
    tinycoro.set_debug(True)
    try:
        for _ in range(3):
            server = EchoServer()
            server.start()
            server.abort()
            server.wait(10)
    finally:
        tinycoro.set_debug(False)


# ---- what takes long -----------------------------------------------------------------------------


def _comparable(line: str) -> str:
    line = re.sub(r"took \d+\.\d+ seconds", "took SOME seconds", line)
    line = re.sub(r"running at [^>]+:\d+", "running at PLACE", line)
    line = re.sub(r" created at [^>\s]+:\d+", " created at PLACE", line)
    line = re.sub(r" wait_for=<.*?>", "", line)  # of sleep: asyncio has a future there
    line = re.sub(r" cb=\[.*?\]", "", line)
    return re.sub(r":\d+", ":LINE", line)


def test_slow_steps_are_logged_as_asyncio_does() -> None:
    def block(seconds: float) -> None:
        time.sleep(seconds)

    def cancel_and_block(handles: list[Any]) -> None:
        handles[0].cancel()
        time.sleep(0.021)

    async def slow(lib: Lib) -> None:
        time.sleep(0.021)
        await lib.sleep(0.001)
        time.sleep(0.021)

    async def scenario(lib: Lib) -> None:
        loop = lib.get_running_loop()
        assert loop.slow_callback_duration == 0.1
        loop.slow_callback_duration = 0.02
        loop.call_soon(block, 0.021)
        handles: list[Any] = []
        handles.append(loop.call_soon(cancel_and_block, handles))
        await loop.create_task(slow(lib), name="slow")
        loop.slow_callback_duration = 10
        loop.call_soon(block, 0.021)
        await lib.sleep(0)

    found: dict[str, list[str]] = {}
    for lib in _LIBS:
        for _ in range(5):  # on a busy machine other steps may take long, too
            with _logged(lib) as lines:
                lib.run(scenario(lib), debug=True)
            found[lib.__name__] = [_comparable(line) for line in lines]
            if len(lines) == 4:
                break
    assert found["tinycoro"] == found["asyncio"]
    assert len(found["tinycoro"]) == 4
    assert found["tinycoro"][0].startswith("Executing <Handle ")
    assert (
        "coro=<test_slow_steps_are_logged_as_asyncio_does.<locals>.slow() "
        in (found["tinycoro"][2])
    )


def test_without_debug_nothing_is_timed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        tinycoro.get_running_loop().slow_callback_duration = 0.0001
        time.sleep(0.002)
        await tinycoro.sleep(0)

    tinycoro.run(main(), debug=False)
    assert not caplog.records


def test_an_error_in_the_logger_does_not_stop_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    class Broken(Loop):
        def _ran_slowly(self, node: object, seconds: float) -> None:
            raise ValueError(node)

    async def main() -> int:
        tinycoro.get_running_loop().slow_callback_duration = 0.001
        time.sleep(0.002)
        await tinycoro.sleep(0)
        return 1

    assert tinycoro.run(main(), debug=True, loop_factory=Broken) == 1
    assert isinstance(unraisable[0].exc_value, ValueError)
    unraisable.clear()


# ---- exception handlers --------------------------------------------------------------------------


def test_a_handler_runs_in_the_context_of_what_failed() -> None:
    from contextvars import ContextVar

    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def fail() -> None:
        variable.set("task's")
        raise KeyError

    def broken() -> None:
        variable.set("handle's")
        raise KeyError

    async def scenario(lib: Lib) -> list[str]:
        seen: list[str] = []
        loop = lib.get_running_loop()
        loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
        task = lib.create_task(fail())
        await lib.sleep(0)
        await lib.sleep(0)
        del task
        loop.call_soon(broken)
        await lib.sleep(0)
        loop.call_exception_handler({"message": "m", "task": None, "future": 1})
        gc.collect()
        return seen

    found = tinycoro.run(scenario(tinycoro))
    assert sorted(found) == ["handle's", "task's", "unset"]
    if sys.version_info >= (3, 12):
        assert found == asyncio.run(scenario(asyncio))


@pytest.mark.parametrize("lib", _LIBS)
def test_broken_handlers_are_told_of(lib: Lib) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("broken repr")

    def handler(loop: object, context: object) -> None:
        raise ValueError("broken handler")

    async def main() -> None:
        loop = lib.get_running_loop()
        loop.call_exception_handler({"exception": KeyError("k")})
        loop.call_exception_handler({"message": "m", "x": Broken()})
        loop.set_exception_handler(handler)
        loop.call_exception_handler({"message": "m", "x": 1})
        loop.call_exception_handler({"message": "m", "x": Broken()})
        with pytest.raises(TypeError, match="A callable object or None is expected, got 1"):
            loop.set_exception_handler(1)

    with _logged(lib) as lines:
        lib.run(main(), debug=False)
    assert lines == [
        "Unhandled exception in event loop",
        "Exception in default exception handler",
        "Unhandled error in exception handler\ncontext: {'message': 'm', 'x': 1}",
        "Exception in default exception handler while handling an unexpected error in custom "
        "exception handler",
    ]


# ---- the table -----------------------------------------------------------------------------------


def test_nothing_stays_in_the_table() -> None:
    async def work(depth: int) -> None:
        loop = tinycoro.get_running_loop()
        loop.call_soon(int).cancel()
        own: list[Any] = [loop.create_future()]
        own.append(own)
        await tinycoro.sleep(0)
        await tinycoro.sleep(0.0001)
        if depth:
            await tinycoro.gather(work(depth - 1), work(depth - 1))

    tinycoro.run(work(5), debug=True)
    gc.collect()
    referrers = [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, traceback.StackSummary) and _last_here(thing) is not None
    ]
    assert not referrers
