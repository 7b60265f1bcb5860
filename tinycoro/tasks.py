"""What there is about tasks and futures beside the functions in C."""

from __future__ import annotations

import concurrent.futures
import inspect
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from . import _core
from ._core import Future, Task, ensure_future

_T = TypeVar("_T")

FIRST_COMPLETED = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION = concurrent.futures.FIRST_EXCEPTION
ALL_COMPLETED = concurrent.futures.ALL_COMPLETED


async def wait_for(fut: Awaitable[_T], timeout: float | None) -> _T:
    """Await `fut` for at most `timeout` seconds; None: for ever.

    When time is up, `fut` is cancelled and awaited; what it returns all the same is the result.
    A coroutine runs in the task of the caller, unless `timeout` is 0 or less: then it is not
    started. Blocks: never. Raises: TimeoutError, and what `fut` raises.
    """
    if timeout is not None and timeout <= 0:
        return await _poll(ensure_future(fut))
    async with _core.timeout(timeout):
        return await fut


async def _poll(future: Future[_T]) -> _T:
    """Return the result of `future` if it is done; else cancel it and wait for that."""
    if future.done():
        return future.result()
    future.cancel()
    await _core.wait((future,))
    try:
        return future.result()
    except CancelledError as error:
        raise TimeoutError from error


def iscoroutinefunction(func: object) -> bool:
    """Return True for functions that return coroutines when they are called."""
    return inspect.iscoroutinefunction(func)


# ---- eager tasks ---------------------------------------------------------------------------------


def create_eager_task_factory(
    custom_task_constructor: Callable[..., Task[Any]],
) -> Callable[..., Task[Any]]:
    """Return a task factory that starts tasks at once, up to their first wait.

    `custom_task_constructor` is called as Task is, with `eager_start=True`.
    """

    def factory(
        loop: _core.LoopBase,
        coro: Coroutine[Any, Any, Any],
        *,
        eager_start: bool = True,
        **options: object,
    ) -> Task[Any]:
        return custom_task_constructor(coro, loop=loop, eager_start=eager_start, **options)

    return factory


eager_task_factory = create_eager_task_factory(Task)


__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "create_eager_task_factory",
    "eager_task_factory",
    "iscoroutinefunction",
    "wait_for",
]
