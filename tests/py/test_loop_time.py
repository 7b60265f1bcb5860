"""A loop whose time is held by a test."""

from __future__ import annotations

import math

import pytest

import tinycoro


def test_held_time_moves_only_by_hand() -> None:
    loop = tinycoro.new_event_loop()
    try:
        loop._hold_time(100.0)
        assert loop.time() == 100.0
        done: list[str] = []
        loop.call_later(5.0, done.append, "later")
        loop.call_at(103.0, done.append, "at")

        async def sleeper() -> None:
            await tinycoro.sleep(1000.0)
            done.append("slept")

        task = loop.create_task(sleeper())
        loop._run()  # one turn
        assert loop._take_armed() == [105.0, 103.0, 1100.0]
        assert loop._take_armed() == []
        assert done == []
        loop._hold_time(105.0)
        loop._run()
        assert done == ["at", "later"]
        loop._hold_time(1100.0)
        loop._run()  # the turn that asyncio gives to the timer's callback
        loop._run()
        assert done == ["at", "later", "slept"]
        assert task.done()
    finally:
        loop.close()


def test_time_that_runs_notes_nothing() -> None:
    loop = tinycoro.new_event_loop()
    try:
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert loop._take_armed() == []
        with pytest.raises(ValueError, match="NaN"):
            loop._hold_time(math.nan)
        with pytest.raises(TypeError):
            loop._hold_time("now")  # type: ignore[arg-type]
    finally:
        loop.close()
