"""Between loops and threads: functions in threads for tasks, coroutines in loops for threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from . import _core
from .events import get_event_loop
from .futures import follow, lead

if TYPE_CHECKING:
    from .events import Loop

_P = ParamSpec("_P")
_T = TypeVar("_T")

# The loop whose task has called to_thread(), in the context of the function it calls.
origin: contextvars.ContextVar[Loop] = contextvars.ContextVar("tinycoro_origin")


async def to_thread(func: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call `func(*args, **kwargs)` in a thread of the loop's default executor; return its result.

    The function runs in a copy of the present context, and may call `from_thread.run`. A task
    that is cancelled goes on at once; the function, once begun, is not interrupted.
    """
    loop = _core.get_running_loop()
    context = contextvars.copy_context()
    context.run(origin.set, loop)
    return await loop.run_in_executor(None, functools.partial(context.run, func, *args, **kwargs))


def wrap_future(
    future: concurrent.futures.Future[_T] | _core.Future[_T],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> _core.Future[_T]:
    """Return a future of the loop that ends as the thread-safe `future` does.

    A future of a loop is returned as it is. Cancelling the new future cancels `future`.
    """
    if _core.isfuture(future):
        return future
    if not isinstance(future, concurrent.futures.Future):
        raise TypeError(f"concurrent.futures.Future is expected, got {future!r}")
    return follow(future, cast("Loop", get_event_loop() if loop is None else loop))


def submit(
    loop: Loop, make: Callable[[], Coroutine[Any, Any, _T]], *, tells_loop: bool
) -> concurrent.futures.Future[_T]:
    """Have the loop run the coroutine that `make()` returns, called on its thread; any thread.

    The future ends as the task does; it is cancelled if the loop is closed before that. What
    `make` raises goes to the future, and to the loop's exception handler if `tells_loop`.
    """
    future: concurrent.futures.Future[_T] = concurrent.futures.Future()
    # Known to close() before the loop is asked, so that one of the two sees the other.
    loop._submitted.add(future)
    try:
        loop.call_soon_threadsafe(_start, loop, make, future, tells_loop)
    except BaseException:
        loop._submitted.discard(future)
        raise
    return future


def _start(
    loop: Loop,
    make: Callable[[], Coroutine[Any, Any, _T]],
    future: concurrent.futures.Future[_T],
    tells_loop: bool,
) -> None:
    """What the loop calls for submit()."""
    try:
        task = _core.ensure_future(make(), loop=loop)
    except BaseException as error:
        loop._submitted.discard(future)
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
        if tells_loop or isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise
        return
    task.add_done_callback(functools.partial(_forget, loop, future))
    lead(task, future, loop)


def _forget(loop: Loop, future: concurrent.futures.Future[Any], task: _core.Future[Any]) -> None:
    loop._submitted.discard(future)


def run_coroutine_threadsafe(
    coro: Coroutine[Any, Any, _T], loop: Loop
) -> concurrent.futures.Future[_T]:
    """Run the coroutine as a task of `loop`; return a future for the calling thread.

    Cancelling the future cancels the task, and the other way round. It is cancelled, too, if the
    loop is closed before the task is done.

    Blocks: never, but the future's `result()` does. Thread-safety: any thread.
    Raises: TypeError if it is no coroutine; RuntimeError if the loop is closed.
    """
    if not _core.iscoroutine(coro):
        raise TypeError("A coroutine object is required")
    return submit(loop, lambda: coro, tells_loop=True)


__all__ = ["run_coroutine_threadsafe", "to_thread", "wrap_future"]
