"""run() and Runner: a loop for the length of a program."""

from __future__ import annotations

import contextvars
import functools
import signal
import threading
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar, final

from . import _core
from ._core import Task
from .events import Loop, new_event_loop, set_event_loop

_T = TypeVar("_T")

# Seconds that run() gives the threads of the default executor when all else is done.
_THREAD_JOIN_TIMEOUT = 300


@final
class Runner:
    """A loop and a context for several calls of `run()`, closed together.

    The first ^C cancels the main task, and `run()` raises KeyboardInterrupt; the second
    interrupts at once.

        with tinycoro.Runner() as runner:
            runner.run(main())
    """

    def __init__(
        self, *, debug: bool | None = None, loop_factory: Callable[[], Loop] | None = None
    ) -> None:
        self._debug = debug
        self._loop_factory = loop_factory
        self._loop: Loop | None = None
        self._context: contextvars.Context | None = None
        self._is_closed = False
        self._interrupts = 0
        self._set_loop = False

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def get_loop(self) -> Loop:
        """Return the loop. Raises: RuntimeError after close()."""
        return self._start()

    def run(
        self, coro: Coroutine[Any, Any, _T], *, context: contextvars.Context | None = None
    ) -> _T:
        """Run the coroutine as a task and return its result.

        Blocks: until the task is done. Raises: what the coroutine raises; KeyboardInterrupt
        after ^C; RuntimeError if a loop runs in this thread.
        """
        if not _core.iscoroutine(coro):
            raise ValueError(f"a coroutine was expected, got {coro!r}")
        if _core._get_running_loop() is not None:
            raise RuntimeError("Runner.run() cannot be called from a running event loop")
        loop = self._start()
        task: Task[_T] = loop.create_task(
            coro, context=self._context if context is None else context
        )
        handler = self._take_sigint(task)
        try:
            return loop.run_until_complete(task)
        except CancelledError:
            # What a task factory has made may know no uncancel().
            uncancel = getattr(task, "uncancel", None)
            if self._interrupts > 0 and uncancel is not None and uncancel() == 0:
                raise KeyboardInterrupt from None
            raise
        except BaseException:
            if task.done() and not task.cancelled():
                task.exception()  # it is what was raised, or is told by what was
            raise
        finally:
            if handler is not None and signal.getsignal(signal.SIGINT) is handler:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        """Cancel what is left, close asynchronous generators, join threads, close the loop."""
        loop = self._loop
        if loop is None or self._is_closed:
            self._is_closed = True
            return
        self._is_closed = True
        try:
            _cancel_all_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor(_THREAD_JOIN_TIMEOUT))
        finally:
            if self._set_loop:
                set_event_loop(None)
            loop.close()
            self._loop = None

    def _start(self) -> Loop:
        if self._is_closed:
            raise RuntimeError("Runner is closed")
        if self._loop is None:
            loop = new_event_loop() if self._loop_factory is None else self._loop_factory()
            if self._debug is not None:
                try:
                    loop.set_debug(self._debug)
                except BaseException:
                    loop.close()
                    raise
            if self._loop_factory is None:
                set_event_loop(loop)
                self._set_loop = True
            self._loop = loop
            self._context = contextvars.copy_context()
        return self._loop

    def _take_sigint(self, task: Task[Any]) -> Callable[[int, FrameType | None], None] | None:
        """Install our handler of ^C, unless the program has one of its own."""
        self._interrupts = 0
        if threading.current_thread() is not threading.main_thread():
            return None
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return None
        handler = functools.partial(self._on_sigint, task=task)
        try:
            signal.signal(signal.SIGINT, handler)
        except ValueError:  # an embedded interpreter may have no signals
            return None
        return handler

    def _on_sigint(self, number: int, frame: FrameType | None, *, task: Task[Any]) -> None:
        self._interrupts += 1
        if self._interrupts == 1 and not task.done():
            task.cancel()
            task.get_loop().call_soon_threadsafe(_nothing)  # it may be about to sleep
            return
        raise KeyboardInterrupt


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], Loop] | None = None,
) -> _T:
    """Run the coroutine `main` on a new loop and return its result.

    Afterwards all other tasks are cancelled, asynchronous generators closed, and the threads of
    the default executor waited for, up to 5 minutes.

    Blocks: until `main` is done. Raises: what `main` raises; KeyboardInterrupt after ^C;
    RuntimeError if a loop runs in this thread.
    """
    if _core._get_running_loop() is not None:
        raise RuntimeError("run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


def _nothing() -> None:
    """What a loop is woken for."""


def _cancel_all_tasks(loop: Loop) -> None:
    tasks = _core.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    loop.run_until_complete(_wait_for_all(tasks))
    for task in tasks:
        if task.cancelled():
            continue
        exception = task.exception()
        if exception is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during tinycoro.run() shutdown",
                    "exception": exception,
                    "task": task,
                }
            )


async def _wait_for_all(tasks: set[Task[Any]]) -> None:
    await _core.gather(*tasks, return_exceptions=True)


__all__ = ["Runner", "run"]
