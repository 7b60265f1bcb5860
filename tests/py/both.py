"""The same scenario on asyncio and on tinycoro: whatever differs is a bug of tinycoro.

The reference is the asyncio of CPython 3.13, on every interpreter. Where older or newer ones differ
from it, its answers are in recorded.json, written by `TC_RECORD=1 pytest` on that version.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import selectors
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import tinycoro

_T = TypeVar("_T")

# The module under test, "asyncio" for the reference. Its names are those of asyncio.
Lib = Any
# Whatever the library at hand makes of something.
Some = Any

Scenario = Callable[[Lib, list[object]], Awaitable[None]]

_RECORDED = Path(__file__).with_name("recorded.json")
# Whether the asyncio at hand is the reference; early releases of 3.13 differ a little.
IS_REFERENCE = (3, 13, 5) <= sys.version_info < (3, 14)


def run_both(scenario: Callable[[Lib], Coroutine[Any, Any, _T]]) -> _T:
    """Run `scenario(lib)` on both libraries, demand equal results and return one."""
    expected = asyncio.run(scenario(asyncio))
    found = tinycoro.run(scenario(tinycoro))
    if found != expected:
        pytest.fail(f"asyncio   {expected}\ntinycoro  {found}", pytrace=False)
    return found


async def _logged(scenario: Scenario, lib: Lib) -> list[object]:
    log: list[object] = []
    await scenario(lib, log)
    return log


def same_on_both(scenario: Scenario) -> Callable[[], None]:
    """Make a test: what the scenario writes to its log must be equal on both libraries."""

    def test() -> None:
        assert run_both(lambda lib: _logged(scenario, lib)), "the scenario has logged nothing"

    test.__name__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test


# ---- where asyncio's versions differ ----------------------------------------------------------


def recorded() -> dict[str, Any]:
    """What the reference has answered, by name."""
    answers: dict[str, Any] = json.loads(_RECORDED.read_text(encoding="utf-8"))
    return answers


def record(name: str, answer: object) -> None:
    """With TC_RECORD set, keep an answer of the reference."""
    if not os.environ.get("TC_RECORD"):
        return
    assert IS_REFERENCE, "only CPython 3.13 gives the answers"
    answers = recorded()
    answers[name] = answer
    text = json.dumps(answers, indent=1, sort_keys=True)
    _RECORDED.write_text(text + "\n", encoding="utf-8")


def same_as_recorded(scenario: Scenario) -> Callable[[], None]:
    """Make a test: the scenario's log must be that of the reference, and virtual time is used."""
    name = f"{scenario.__module__.rpartition('.')[2]}.{scenario.__name__}"

    def test() -> None:
        if IS_REFERENCE:
            record(name, run_virtual(asyncio, scenario))
            assert recorded()[name] == run_virtual(asyncio, scenario)
        found = run_virtual(tinycoro, scenario)
        assert found, "the scenario has logged nothing"
        assert found == recorded()[name], f"asyncio   {recorded()[name]}\ntinycoro  {found}"

    test.__name__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test


# ---- virtual time -----------------------------------------------------------------------------


class Stuck(Exception):
    """Nothing is ready, and no deadline is left."""


class _VirtualSelector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Some:
        if timeout is None:
            raise Stuck
        self.now += timeout
        return super().select(0)


class AsyncioLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, for which time passes only while it sleeps, and at once then."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class TinycoroLoop(tinycoro.Loop):
    """The same of tinycoro."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._deadlines: list[float] = []
        self._is_asked_to_stop = False
        self._hold_time(0)

    def stop(self) -> None:
        self._is_asked_to_stop = True
        super().stop()

    def run_forever(self) -> None:
        with self._surroundings():
            while not self._is_asked_to_stop:
                self._run()
                armed = self._take_armed()
                self._deadlines += armed
                is_idle = self._ready_count() == 0 and min(armed, default=math.inf) > self._now
                if is_idle and not self._is_asked_to_stop:
                    self._advance()
        self._is_asked_to_stop = False

    def _advance(self) -> None:
        self._deadlines = [when for when in self._deadlines if when > self._now]
        if not self._deadlines:
            raise Stuck
        self._now = min(self._deadlines)
        self._hold_time(self._now)


_LOOPS: dict[object, Callable[[], Any]] = {asyncio: AsyncioLoop, tinycoro: TinycoroLoop}


class _Texts(list[object]):
    """A log of what its entries were when they were made."""

    def append(self, entry: object, /) -> None:
        super().append(entry if isinstance(entry, str) else repr(entry))

    def __iadd__(self, entries: Iterable[object], /) -> _Texts:  # type: ignore[misc]
        for entry in entries:
            self.append(entry)
        return self


def run_virtual(lib: Lib, scenario: Scenario) -> list[str]:
    """Run the scenario in virtual time; return its log as text.

    A loop of its own, closed afterwards, without lib.run(): that would cancel what is left. A task
    that is left is reported when it dies: ours with its loop, asyncio's when the collector runs.
    """
    loop = _LOOPS[lib]()
    log = _Texts()
    loop.set_exception_handler(lambda loop, context: log.append(("reported", context["message"])))
    try:
        loop.run_until_complete(scenario(lib, log))
        loop.run_until_complete(loop.shutdown_asyncgens())
        return [str(entry) for entry in log]
    finally:
        loop.close()
