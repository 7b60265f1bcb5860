"""Deadlines for blocks of code in trio's words; asyncio's `timeout` is in C."""

from __future__ import annotations

import math
from types import TracebackType

from . import _core
from ._core import Timeout


class CancelScope:
    """A block that can be given up; what `move_on_after` and `fail_after` return.

    It is entered by `with`, or `async with`, in a task. When the deadline has passed, or after
    `cancel()`, CancelledError is raised at the block's next await, and ends with the block.
    Unlike in trio it is raised once; an `except` clause that swallows it lets the block go on.

    Thread-safety: only on the thread of the loop.
    """

    def __init__(self, seconds: float, *, fails: bool = False) -> None:
        if math.isnan(seconds):
            raise ValueError("seconds must not be NaN")
        self._seconds = seconds
        self._fails = fails
        self._timeout: Timeout | None = None
        self._is_cancelled = False
        self._caught = False

    @property
    def deadline(self) -> float:
        """The time of `loop.time()` at which the block is given up; infinity: never.

        It may be set while the block runs.
        """
        if self._timeout is None:
            return _core.get_running_loop().time() + self._seconds
        when = self._timeout.when()
        return math.inf if when is None else when

    @deadline.setter
    def deadline(self, when: float) -> None:
        if self._timeout is None:
            self._seconds = when - _core.get_running_loop().time()
        else:
            self._timeout.reschedule(None if when == math.inf else when)

    @property
    def cancel_called(self) -> bool:
        """True once the deadline has passed, or `cancel()` was called."""
        return self._is_cancelled or (self._timeout is not None and self._timeout.expired())

    @property
    def cancelled_caught(self) -> bool:
        """True if the block was ended by this scope's cancellation."""
        return self._caught

    def cancel(self) -> None:
        """Give the block up. Does nothing once it has ended."""
        self._is_cancelled = True
        if self._timeout is not None:
            self._timeout._expire()

    def __enter__(self) -> CancelScope:
        if self._timeout is not None:
            raise RuntimeError("CancelScope has already been entered")
        seconds = self._seconds
        timeout = _core.timeout(None if seconds == math.inf else seconds)
        timeout._enter()
        self._timeout = timeout
        if self._is_cancelled:
            timeout._expire()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        timeout = self._timeout
        if timeout is None:
            raise RuntimeError("CancelScope is not entered")
        try:
            timeout._exit(exc_type, exc_value)
        except TimeoutError:
            self._caught = True
            if self._fails:
                raise
            return True
        return False

    async def __aenter__(self) -> CancelScope:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self.__exit__(exc_type, exc_value, traceback)

    def __repr__(self) -> str:
        if self._timeout is None:
            state = f"{self._seconds:g} s"
        elif self._caught:
            state = "cancelled"
        else:
            state = repr(self._timeout)
        return f"<CancelScope {state}>"


def move_on_after(seconds: float) -> CancelScope:
    """Return a `with` block that is given up after `seconds`, without an error.

    `scope.cancelled_caught` tells afterwards whether it was. Blocks: never.
    """
    return CancelScope(seconds)


def fail_after(seconds: float) -> CancelScope:
    """Return a `with` block that ends by TimeoutError after `seconds`. Blocks: never."""
    return CancelScope(seconds, fails=True)


__all__ = ["CancelScope", "fail_after", "move_on_after"]
