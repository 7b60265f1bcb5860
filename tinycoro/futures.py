"""Futures of a loop and futures of concurrent.futures, joined: each ends as the other does.

A future of a loop is touched on that loop's thread only; the other side is thread-safe.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from typing import TYPE_CHECKING, Any, TypeVar

from ._core import Future, _get_running_loop

if TYPE_CHECKING:
    from .events import Loop

_T = TypeVar("_T")


def follow(source: concurrent.futures.Future[_T], loop: Loop) -> Future[_T]:
    """Return a future of `loop` that ends as `source` does; cancelling it cancels `source`."""
    future: Future[_T] = loop.create_future()
    future.add_done_callback(functools.partial(_cancel_source, source))
    source.add_done_callback(functools.partial(_post_end, loop, future))
    return future


def lead(future: Future[_T], target: concurrent.futures.Future[_T], loop: Loop) -> None:
    """Have `target` end as `future` of `loop` does; cancelling it cancels `future`."""
    target.add_done_callback(functools.partial(_post_cancel, loop, future))
    future.add_done_callback(functools.partial(_end_target, target))


def cancel_concurrent(target: concurrent.futures.Future[Any]) -> None:
    """Cancel a future that will not be run and tell those who wait for it; once. Thread-safe."""
    if target.cancel():
        target.set_running_or_notify_cancel()


# ---- a thread's future, awaited in a loop --------------------------------------------------------


def _cancel_source(source: concurrent.futures.Future[_T], future: Future[_T]) -> None:
    if future.cancelled():
        source.cancel()


def _post_end(loop: Loop, future: Future[_T], source: concurrent.futures.Future[_T]) -> None:
    # On the thread that ended `source`.
    try:
        loop.call_soon_threadsafe(_copy_end, source, future)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _copy_end(source: concurrent.futures.Future[_T], future: Future[_T]) -> None:
    if future.done():
        return
    if source.cancelled():
        future.cancel()
        return
    exception = source.exception()
    if exception is None:
        future.set_result(source.result())
    else:
        future.set_exception(_ours(exception))


def _ours(exception: BaseException) -> BaseException:
    """The exceptions of concurrent.futures that asyncio has classes of its own for, as those."""
    kind: type[BaseException]
    if type(exception) is concurrent.futures.CancelledError:
        kind = asyncio.CancelledError
    elif type(exception) is concurrent.futures.InvalidStateError:
        kind = asyncio.InvalidStateError
    else:
        return exception
    return kind(*exception.args).with_traceback(exception.__traceback__)


# ---- a loop's future, waited for in a thread -----------------------------------------------------


def _post_cancel(loop: Loop, future: Future[_T], target: concurrent.futures.Future[_T]) -> None:
    # On the thread that ended `target`.
    if not target.cancelled():
        return
    if _get_running_loop() is loop:
        future.cancel()  # now: the loop may be about to stop
        return
    try:
        loop.call_soon_threadsafe(future.cancel)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _end_target(target: concurrent.futures.Future[_T], future: Future[_T]) -> None:
    if future.cancelled():
        target.cancel()
    if not target.set_running_or_notify_cancel():
        return
    exception = future.exception()
    if exception is None:
        target.set_result(future.result())
    else:
        target.set_exception(_ours(exception))
