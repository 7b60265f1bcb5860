"""What CPython's tests of asyncio take from `test.test_asyncio.utils`, for tinycoro.

Written for this project: the names and what the tests expect of them are CPython's, the code is
not. The loop of a test runs in virtual time. A test gives a generator that is told every deadline
that is armed, and yields by how many seconds the time moves on.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import time
import unittest
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import tinycoro
from peers import run_test_server, run_test_unix_server, run_udp_echo_server, unix_socket_path
from shim import TestLoop as BaseLoop
from tinycoro.events import logger

# What the tests take from here too.
SERVERS = (run_test_server, run_test_unix_server, run_udp_echo_server, unix_socket_path)
# How far a measured time may be from the expected one, in seconds.
CLOCK_RES = 0.05
# Deadlines are compared in whole nanoseconds here, in floats there.
_TOLERANCE = 1e-9

Clock = Generator[float | None, float, None]


def _standing_clock() -> Clock:
    yield None


class TestLoop(BaseLoop):
    """A loop in virtual time; after each turn `clock` is told the deadlines that it armed."""

    def __init__(self, clock: Callable[[], Clock] | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._must_end = clock is not None
        self._clock = (_standing_clock if clock is None else clock)()
        self._is_asked_to_stop = False
        next(self._clock)
        self._hold_time(_TOLERANCE)

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def advance_time(self, seconds: float | None) -> None:
        """Move the time on."""
        if seconds:
            self._now += seconds
            self._hold_time(self._now + _TOLERANCE)

    @property
    def _ready(self) -> range:
        """What tests count to know whether a turn has something to run."""
        return range(self._ready_count())

    def _run_once(self) -> None:
        """One turn, of a loop that does not run."""
        self._run()

    def stop(self) -> None:
        """End run_forever() after the present turn."""
        self._is_asked_to_stop = True
        super().stop()

    def run_forever(self) -> None:
        """Run turn by turn; between two turns the clock is asked."""
        try:
            with self._surroundings():
                self._turns()
        finally:
            self._is_asked_to_stop = False

    def _turns(self) -> None:
        while True:
            self._run()
            for when in self._take_armed():
                self.advance_time(self._clock.send(when - _TOLERANCE))
            if self._is_asked_to_stop:
                return

    def close(self) -> None:
        """Close the loop; the clock must be at its end."""
        was_open = not self.is_closed()
        super().close()
        if not was_open or not self._must_end:
            return
        try:
            self._clock.send(0)
        except StopIteration:
            return
        raise AssertionError("the test's clock has not been asked to its end")


class TestCase(unittest.TestCase):
    """Loops that are closed after the test, and no thread left behind."""

    def setUp(self) -> None:
        super().setUp()
        self._threads_before = set(threading.enumerate())

    def tearDown(self) -> None:
        tinycoro.set_event_loop(None)
        self.assertIsNone(sys.exception())
        self.doCleanups()
        deadline = time.monotonic() + 10
        for thread in set(threading.enumerate()) - self._threads_before:
            thread.join(max(0.0, deadline - time.monotonic()))
            self.assertFalse(thread.is_alive(), f"{thread} was left behind")
        super().tearDown()

    @staticmethod
    def close_loop(loop: Any) -> None:
        """Shut the executor of `loop` down, and close it."""
        if getattr(loop, "_default_executor", None) is not None and not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def set_event_loop(self, loop: Any, *, cleanup: bool = True) -> None:
        """Have `loop` closed after the test; it is passed explicitly, so none is current."""
        if loop is None:
            raise AssertionError("no loop")
        tinycoro.set_event_loop(None)
        if cleanup:
            self.addCleanup(self.close_loop, loop)

    def new_test_loop(self, gen: Callable[[], Clock] | None = None) -> TestLoop:
        """Return a loop in virtual time that is closed after the test."""
        loop = TestLoop(gen)  # type: ignore[abstract]  # as new_event_loop()
        self.set_event_loop(loop)
        return loop


def run_briefly(loop: Any) -> None:
    """Run one task that does nothing: what is ready runs too."""

    async def nothing() -> None:
        pass

    coro = nothing()
    task = loop.create_task(coro)
    # If the loop is stopped by something else, that is not this task's to report.
    task._log_destroy_pending = False
    try:
        loop.run_until_complete(task)
    finally:
        coro.close()


def run_once(loop: Any) -> None:
    """Run one turn."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def run_until(loop: Any, condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Run until `condition` holds. Raises: TimeoutError."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        loop.run_until_complete(tinycoro.sleep(0.001))


@contextmanager
def disable_logger() -> Iterator[None]:
    """Let nothing through to the log of the loop."""
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def MockCallback(**options: Any) -> mock.Mock:  # CPython's name
    """Return a mock that can only be called."""
    return mock.Mock(spec=["__call__"], **options)


class MockPattern(str):
    """A text that equals whatever its pattern is found in."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.search(str(self), other, re.DOTALL) is not None


class MockInstanceOf:
    """Equals every instance of a class."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self._cls)


def get_function_source(function: Any) -> tuple[str, int]:
    """Return the file and the first line of a function."""
    while hasattr(function, "func"):
        function = function.func
    code = function.__code__
    return code.co_filename, code.co_firstlineno


async def await_without_task(coro: Any) -> None:
    """Drive `coro` in a callback, where no task is current; it must not suspend for long."""
    raised: list[BaseException] = []

    def drive() -> None:
        try:
            for _ in coro.__await__():
                pass
        except BaseException as error:
            raised.append(error)

    asyncio.get_running_loop().call_soon(drive)
    await asyncio.sleep(0)
    if raised:
        raise raised[0]
