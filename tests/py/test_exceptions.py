"""Exceptions that nobody catches: asyncio's texts, our logger."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

import tinycoro
from support import assert_success, run_python


async def _fail() -> None:
    raise KeyError("nobody looks")


def test_an_exception_nobody_retrieved_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        task = tinycoro.create_task(_fail(), name="forgotten")
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        del task
        gc.collect()

    tinycoro.run(main())
    (record,) = [record for record in caplog.records if record.name == "tinycoro"]
    assert record.levelno == logging.ERROR
    first, *rest = record.getMessage().splitlines()
    assert first == "Task exception was never retrieved"
    assert rest[0].startswith("future: <Task finished name='forgotten' coro=<_fail() done")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_a_future_with_a_forgotten_exception_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        future = tinycoro.get_running_loop().create_future()
        future.set_exception(KeyError("forgotten"))
        del future

    tinycoro.run(main())
    assert "Future exception was never retrieved" in caplog.text


@pytest.mark.parametrize("look", ["result", "exception", "await", "_log_traceback"])
def test_an_exception_somebody_saw_is_not_logged(
    look: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        task = tinycoro.create_task(_fail())
        await tinycoro.sleep(0)
        if look == "exception":
            assert isinstance(task.exception(), KeyError)
        elif look == "_log_traceback":
            task._log_traceback = False
        else:
            with pytest.raises(KeyError):
                await task if look == "await" else task.result()

    tinycoro.run(main())
    assert not caplog.records


def test_an_exception_in_a_callback_is_reported() -> None:
    reports: list[dict[str, Any]] = []

    def callback(number: int) -> None:
        raise KeyError(number)

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        assert loop.get_exception_handler() is not None
        handle = loop.call_soon(callback, 7)
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        assert reports[0]["handle"] is handle

    tinycoro.run(main())
    (report,) = reports
    assert report["message"].startswith("Exception in callback test_an_exception_in_a_callback")
    assert "test_exceptions.py" in report["message"]
    assert isinstance(report["exception"], KeyError)


def test_a_broken_handler_falls_back_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken(loop: object, context: object) -> None:
        raise ValueError("broken handler")

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        loop.set_exception_handler(broken)
        loop.call_exception_handler({"message": "first"})

    tinycoro.run(main())
    assert "Unhandled error in exception handler" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["task", "callback"])
def test_exits_leave_the_loop_at_once(error: type[BaseException], where: str) -> None:
    async def raise_it() -> None:
        raise error("now")

    def call_it() -> None:
        raise error("now")

    async def main() -> None:
        if where == "task":
            await tinycoro.create_task(raise_it())
        else:
            tinycoro.get_running_loop().call_soon(call_it)
            await tinycoro.sleep(10)

    with pytest.raises(error):
        tinycoro.run(main())


def test_the_traceback_names_the_lines() -> None:
    async def inner() -> None:
        await tinycoro.sleep(0)
        raise KeyError("deep")

    async def main() -> None:
        await tinycoro.create_task(inner())

    with pytest.raises(KeyError) as caught:
        tinycoro.run(main())
    assert [entry.name for entry in caught.traceback][-2:] == ["main", "inner"]


def test_a_loop_dropped_with_a_pending_task_says_so() -> None:
    result = run_python(
        """
        import gc, logging, sys, warnings
        import tinycoro
        warnings.simplefilter("ignore")
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        loop = tinycoro.new_event_loop()
        loop.create_task(tinycoro.sleep(100))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        del loop
        gc.collect()
        """
    )
    assert_success(result)
    assert "Task was destroyed but it is pending!" in result.stdout


def test_gather_marks_later_failures_as_seen(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            await tinycoro.gather(_fail(), _fail(), _fail())
        for _ in range(3):
            await tinycoro.sleep(0)
        gc.collect()

    tinycoro.run(main())
    assert not caplog.records
