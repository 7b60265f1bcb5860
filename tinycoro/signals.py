"""open_signal_receiver(): signals as an asynchronous iterator."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, final

from . import _core

if TYPE_CHECKING:
    from .events import Loop


@final
class SignalReceiver:
    """What `open_signal_receiver()` returns: enter it with `with`, then iterate.

    A signal that arrives several times before it is taken is yielded once. What has arrived is
    yielded in the order of first arrival; a cancelled iteration takes nothing.
    """

    def __init__(self, signals: tuple[int, ...]) -> None:
        self._signals = signals
        self._pending: dict[int, None] = {}  # a set that keeps its order
        self._previous: dict[int, Any] = {}  # what signal.signal() is given to put things back
        self._callbacks: dict[int, Any] = {}  # of the loop, which pause meanwhile
        self._loop: Loop | None = None
        self._waiter: _core.Future[None] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        names = ", ".join(signal.Signals(number).name for number in self._signals)
        state = "closed" if self._is_closed else "open" if self._loop else "not entered"
        return f"<{type(self).__name__} {names} {state}>"

    def __enter__(self) -> Self:
        if self._loop is not None or self._is_closed:
            raise RuntimeError(f"{self!r} can be entered only once")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("signals can be received in the main thread only")
        loop = _core.get_running_loop()
        self._loop = loop
        try:
            for number in self._signals:
                if number in self._previous:
                    continue
                self._previous[number] = signal.signal(number, self._arrived)
                callback = loop._signal_handlers.pop(number, None)
                if callback is not None:
                    self._callbacks[number] = callback
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        """Put the handlers back and hand them what nobody has taken."""
        self._is_closed = True
        for number, handler in self._previous.items():
            # None: a handler that was not installed from Python, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()
        if self._loop is not None:
            self._loop._signal_handlers.update(self._callbacks)
        self._callbacks.clear()
        self._wake()
        while self._pending:
            number, _ = self._pending.popitem()
            signal.raise_signal(number)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        """The handler: in the main thread, between any two instructions of it."""
        self._pending[number] = None
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)  # it may be about to sleep

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        if self._waiter is not None:
            raise RuntimeError(f"another task iterates over {self!r}")
        while not self._pending:
            if self._is_closed or self._loop is None:
                raise RuntimeError(f"{self!r} receives no signals")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        number = next(iter(self._pending))
        del self._pending[number]
        return number


def open_signal_receiver(*signals: int) -> SignalReceiver:
    """Receive signals as an asynchronous iterator, in place of their handlers.

        with open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as received:
            async for number in received:
                ...

    Leaving the block puts the previous handlers back; signals that have arrived and were not taken
    are then raised again, for those handlers.

    Thread-safety: the main thread, in a running loop. Raises: TypeError without signals or for
    what is no number; ValueError for a number that is no signal; on entry RuntimeError elsewhere,
    OSError for a signal that cannot be caught.
    """
    if not signals:
        raise TypeError("open_signal_receiver() needs at least one signal")
    for number in signals:
        if not isinstance(number, int):
            raise TypeError(f"signals must be int, not {number!r}")
        if number not in signal.valid_signals():
            raise ValueError(f"invalid signal number {number}")
    return SignalReceiver(tuple(int(number) for number in signals))


__all__ = ["open_signal_receiver"]
