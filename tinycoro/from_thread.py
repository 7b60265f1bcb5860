"""What a function in another thread may ask of a loop."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from . import _core
from .threads import origin, submit

if TYPE_CHECKING:
    from .events import Loop

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


def run(
    async_func: Callable[[*_Ts], Coroutine[Any, Any, _T]],
    /,
    *args: *_Ts,
    loop: Loop | None = None,
) -> _T:
    """Call `async_func(*args)` as a task of a loop, wait for it and return its result.

    The loop is the one whose task has called `to_thread()`; any other thread names it. The task
    starts with a copy of the calling thread's context. An interrupt of the waiting thread (^C)
    cancels the task.

    Blocks: until the task is done. Thread-safety: any thread that runs no loop.
    Raises: what the function raises; CancelledError if the task was cancelled or the loop closed;
    RuntimeError without a loop, in a thread that runs one, or if the loop is closed already.
    """
    if _core._get_running_loop() is not None:
        raise RuntimeError(
            "from_thread.run() blocks, and this thread runs an event loop: await the function"
        )
    if loop is None:
        loop = origin.get(None)
    if loop is None:
        raise RuntimeError(
            "from_thread.run() needs loop= in a thread that to_thread() has not called"
        )
    future = submit(loop, lambda: async_func(*args), tells_loop=False)
    try:
        return future.result()
    except BaseException:
        if future.cancelled():
            raise CancelledError from None
        future.cancel()
        raise
    finally:
        del future  # its exception refers to this frame


__all__ = ["run"]
