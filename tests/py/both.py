"""The same scenario on asyncio and on tinycoro: whatever differs is a bug of tinycoro."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

import tinycoro

_T = TypeVar("_T")

# The module under test, "asyncio" for the reference. Its names are those of asyncio.
Lib = Any


def run_both(scenario: Callable[[Lib], Coroutine[Any, Any, _T]]) -> _T:
    """Run `scenario(lib)` on both libraries, demand equal results and return one."""
    expected = asyncio.run(scenario(asyncio))
    found = tinycoro.run(scenario(tinycoro))
    if found != expected:
        pytest.fail(f"asyncio   {expected}\ntinycoro  {found}", pytrace=False)
    return found


def same_on_both(
    scenario: Callable[[Lib, list[object]], Awaitable[None]],
) -> Callable[[], None]:
    """Make a test: what the scenario writes to its log must be equal on both libraries."""

    async def logged(lib: Lib) -> list[object]:
        log: list[object] = []
        await scenario(lib, log)
        return log

    def test() -> None:
        assert run_both(logged), "the scenario has logged nothing"

    test.__name__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test
