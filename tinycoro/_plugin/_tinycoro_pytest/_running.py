"""Running a coroutine for pytest: on a Runner, within a time limit that holds whatever it does."""

from __future__ import annotations

import contextvars
import signal
import threading
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Coroutine
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

import pytest

import tinycoro

from ._report import describe_tasks

_T = TypeVar("_T")

# Seconds for what is over time to end when it is cancelled, and for the loop to act at all.
_GRACE = 1.0
# Interrupts Python code that does not return to the loop. No program is known to use it.
_SIGNAL = signal.SIGVTALRM


class _Stuck(KeyboardInterrupt):
    """Leaves a loop at once, through code that catches exceptions."""


class LoopScope:
    """The Runner of a node of pytest's tree."""

    def __init__(self) -> None:
        self._runner = tinycoro.Runner(loop_factory=tinycoro.new_event_loop)
        self._loop = self._runner.get_loop()
        self._given_up_by: str | None = None

    def check(self, otherwise: str) -> None:
        """Fail if the loop has been given up."""
        if self._given_up_by is not None:
            pytest.fail(
                f"{otherwise}: its event loop was given up when {self._given_up_by} did not end",
                pytrace=False,
            )

    def run(
        self,
        coro: Coroutine[Any, Any, _T],
        context: contextvars.Context,
        timeout: float,
        title: str,
        what: str,
    ) -> _T:
        """Run a coroutine as a task called `title`; fail after `timeout` seconds, 0: never."""
        __tracebackhide__ = True
        limit = _Limit(self._loop, timeout)
        failure: BaseException | None = None
        result: Any = None
        try:
            with limit:
                result = self._runner.run(_supervised(coro, limit, title), context=context)
        except BaseException as error:
            failure = error
        if limit.report is not None:
            if limit.task is not None and not limit.task.done():
                self._give_up(what)
            pytest.fail(f"{what} did not end within {timeout:g} s\n{limit.report}", pytrace=False)
        if failure is not None:
            raise failure
        return result  # type: ignore[no-any-return]

    def close(self, timeout: float, what: str) -> None:
        """Cancel what is left, wait for it, close the loop."""
        __tracebackhide__ = True
        if self._given_up_by is not None:
            return
        limit = _Limit(self._loop, timeout)
        try:
            with limit:
                limit.start(None)
                self._runner.close()
        except _Stuck:
            self._give_up(what)
        if limit.report is not None:
            pytest.fail(f"{what} did not end within {timeout:g} s\n{limit.report}", pytrace=False)

    def _give_up(self, what: str) -> None:
        self._given_up_by = what
        if not self._loop.is_closed():
            self._loop.close()


async def _supervised(coro: Coroutine[Any, Any, _T], limit: _Limit, title: str) -> _T:
    __tracebackhide__ = True
    task = tinycoro.current_task()
    assert task is not None
    task.set_name(title)
    limit.start(task)
    return await coro


class _Limit:
    """A time limit in three steps, each a second after the one before it.

    1. The loop notes where all tasks are, and cancels the one that is over time.
    2. The loop, if the task still has not ended, is left.
    3. What runs in the thread, if the loop did not get to that, is interrupted by a signal.
    """

    def __init__(self, loop: tinycoro.Loop, seconds: float) -> None:
        self.report: str | None = None
        self.task: tinycoro.Task[Any] | None = None
        self._loop = loop
        self._seconds = seconds
        self._timer: tinycoro.TimerHandle | None = None
        self._thread: threading.Timer | None = None
        self._previous: Any = None
        self._is_over = False

    def __enter__(self) -> Self:
        if self._seconds and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(_SIGNAL, self._interrupt)
            self._thread = threading.Timer(
                self._seconds + 2 * _GRACE, signal.pthread_kill, (threading.get_ident(), _SIGNAL)
            )
            self._thread.name = "pytest-tinycoro"
            self._thread.daemon = True
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True  # first: from here on the signal does nothing
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.cancel()
            self._thread.join()
            signal.signal(_SIGNAL, self._previous or signal.SIG_DFL)

    def start(self, task: tinycoro.Task[Any] | None) -> None:
        """Begin to measure, for `task`; None: for the loop as a whole."""
        self.task = task
        if self._seconds:
            self._timer = self._loop.call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self.report = describe_tasks(self._loop, None)
        if self.task is None:
            raise _Stuck
        self.task.cancel()
        self._timer = self._loop.call_later(_GRACE, self._leave)

    def _leave(self) -> None:
        assert self.report is not None
        self.report += "\nIt did not end when it was cancelled either."
        raise _Stuck

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: in the thread that is stuck, between any two instructions of it."""
        if self._is_over:
            return
        if self.report is None:
            self.report = describe_tasks(self._loop, frame)
        raise _Stuck


class AsyncGeneratorFixture:
    """An asynchronous generator that is run by one task from its beginning to its end.

    So a task group, a timeout or a cancel scope may be open while it yields.
    """

    def __init__(
        self, generator: AsyncGenerator[Any, Any], title: str, context: contextvars.Context
    ) -> None:
        self._generator = generator
        self._title = title
        self._context = context
        self._value: Any = None
        self._task: tinycoro.Task[None] | None = None
        self._has_value: tinycoro.Future[None] | None = None
        self._is_over: tinycoro.Future[None] | None = None

    async def enter(self) -> Any:  # noqa: ANN401
        """Run it up to its `yield`, and return what that yields."""
        __tracebackhide__ = True
        loop = tinycoro.get_running_loop()
        self._has_value = loop.create_future()
        self._is_over = loop.create_future()
        self._task = loop.create_task(self._live(), name=self._title, context=self._context)
        waited: list[tinycoro.Future[Any]] = [self._task, self._has_value]
        try:
            await tinycoro.wait(waited, return_when=tinycoro.FIRST_COMPLETED)
        except CancelledError:
            self._task.cancel()
            await tinycoro.wait([self._task])
            raise
        if not self._has_value.done():
            await self._task  # raises
        return self._value

    async def leave(self) -> None:
        """Run it from its `yield` to its end."""
        __tracebackhide__ = True
        assert self._task is not None
        assert self._is_over is not None
        if not self._is_over.done():
            self._is_over.set_result(None)
        await self._task

    async def _live(self) -> None:
        __tracebackhide__ = True
        assert self._has_value is not None
        assert self._is_over is not None
        try:
            self._value = await anext(self._generator)
        except StopAsyncIteration:
            pytest.fail(f"{self._title} ends without having yielded a value", pytrace=False)
        self._has_value.set_result(None)
        try:
            try:
                await self._is_over
            except CancelledError as error:
                # A task group in the fixture, say, one of whose tasks has failed.
                await self._generator.athrow(error)
            else:
                await anext(self._generator)
        except StopAsyncIteration:
            return
        pytest.fail(f"{self._title} yields more than once", pytrace=False)
