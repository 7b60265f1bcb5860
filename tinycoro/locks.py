"""Condition and Barrier: asyncio's, on the locks and waiting lines in C."""

from __future__ import annotations

from asyncio import BrokenBarrierError, CancelledError
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Literal, Protocol, TypeVar

from . import _core
from ._core import Lock

_T = TypeVar("_T")


class _LockLike(Protocol):
    async def acquire(self) -> Literal[True]: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...


class Condition(_core._WaitingLine):
    """Tasks that wait until another says that something has changed; asyncio.Condition's interface.

    Use it by `async with`, which takes its lock. It belongs to no event loop until somebody has to
    wait. Thread-safety: none; see Channel for what threads share.
    """

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock: _LockLike = Lock() if lock is None else lock
        self.locked = self._lock.locked
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        if length := self._length():
            state += f", waiters:{length}"
        return f"{object.__repr__(self)[:-1]} [{state}]>"

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    async def wait(self) -> Literal[True]:
        """Release the lock, wait until notified, take the lock again; return True.

        It may also return without a reason: look at the state again. Blocks: never; await it.
        Raises: RuntimeError if the lock is not held.
        """
        if not self.locked():
            raise RuntimeError("cannot wait on un-acquired lock")
        self._bind()
        self.release()
        try:
            try:
                await self._stand()
                return True
            finally:
                await self._take_again()
        except BaseException:
            # It may have been notified before: somebody else must hear of it.
            self._wake(1)
            raise

    async def _take_again(self) -> None:
        """Acquire, cancelled or not; the last cancel is raised once that is done."""
        cancel: CancelledError | None = None
        while True:
            try:
                await self.acquire()
                break
            except CancelledError as error:
                cancel = error
        if cancel is not None:
            try:
                raise cancel
            finally:
                cancel = None  # it refers to this frame

    async def wait_for(self, predicate: Callable[[], _T]) -> _T:
        """Wait until `predicate()` is true, and return what it gave.

        It is called with the lock held, at first and after each notification. Blocks: never; await
        it. Raises: as wait().
        """
        while not (result := predicate()):
            await self.wait()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` of the tasks that wait; they go on once they get the lock.

        Raises: RuntimeError if the lock is not held, or on another thread than that of the event
        loop in which somebody waited; use loop.call_soon_threadsafe.
        """
        if not self.locked():
            raise RuntimeError("cannot notify on un-acquired lock")
        self._wake(n)

    def notify_all(self) -> None:
        """Wake all tasks that wait. Raises: as notify()."""
        self.notify(self._length())


class _Phase(Enum):
    FILLING = "filling"
    DRAINING = "draining"
    RESETTING = "resetting"
    BROKEN = "broken"


class Barrier:
    """A place where `parties` tasks wait for each other; asyncio.Barrier's interface.

    It can be passed again once all have left. Thread-safety: none.
    """

    def __init__(self, parties: int) -> None:
        if parties < 1:
            raise ValueError("parties must be >= 1")
        self._changed = Condition()
        self._parties = parties
        self._phase = _Phase.FILLING
        self._count = 0

    def __repr__(self) -> str:
        state = self._phase.value
        if not self.broken:
            state += f", waiters:{self.n_waiting}/{self.parties}"
        return f"{object.__repr__(self)[:-1]} [{state}]>"

    async def __aenter__(self) -> int:
        return await self.wait()

    async def __aexit__(self, *args: object) -> None:
        pass

    async def wait(self) -> int:
        """Wait until `parties` tasks do; return a number of one's own, from 0 to parties - 1.

        Blocks: never; await it. Raises: BrokenBarrierError if the barrier is or gets broken, or is
        reset meanwhile.
        """
        async with self._changed:
            await self._enter()
            try:
                number = self._count
                self._count += 1
                if number + 1 == self._parties:
                    self._phase = _Phase.DRAINING
                    self._changed.notify_all()
                else:
                    await self._filled()
                return number
            finally:
                self._count -= 1
                self._leave()

    async def _enter(self) -> None:
        """Wait until those of the round before have left."""
        busy = (_Phase.DRAINING, _Phase.RESETTING)
        await self._changed.wait_for(lambda: self._phase not in busy)
        if self._phase is _Phase.BROKEN:
            raise BrokenBarrierError("Barrier aborted")

    async def _filled(self) -> None:
        """Wait for the last one."""
        await self._changed.wait_for(lambda: self._phase is not _Phase.FILLING)
        if self._phase is not _Phase.DRAINING:
            raise BrokenBarrierError("Abort or reset of barrier")

    def _leave(self) -> None:
        """The last one out opens the next round."""
        if self._count == 0:
            if self._phase in (_Phase.RESETTING, _Phase.DRAINING):
                self._phase = _Phase.FILLING
            self._changed.notify_all()

    async def reset(self) -> None:
        """Begin anew; whoever waits gets BrokenBarrierError. Blocks: never; await it."""
        async with self._changed:
            self._phase = _Phase.RESETTING if self._count > 0 else _Phase.FILLING
            self._changed.notify_all()

    async def abort(self) -> None:
        """Break the barrier, for those who wait and those who come. Blocks: never; await it."""
        async with self._changed:
            self._phase = _Phase.BROKEN
            self._changed.notify_all()

    @property
    def parties(self) -> int:
        """How many tasks it takes."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many tasks wait, while the barrier fills."""
        return self._count if self._phase is _Phase.FILLING else 0

    @property
    def broken(self) -> bool:
        """Whether abort() was called, and no reset() since."""
        return self._phase is _Phase.BROKEN


for _type in (Condition, Barrier):
    _type.__module__ = "tinycoro"
