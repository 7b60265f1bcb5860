"""Random programs of tasks over locks, events, semaphores, conditions, barriers: as on asyncio."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import IS_SLOW_LANE
from sync_programs import IS_313, Script, compare

# Always the same programs, but for the slow lane.
_SETTINGS = settings(
    max_examples=3000 if IS_SLOW_LANE else 150,
    derandomize=not IS_SLOW_LANE,
    database=None,
    deadline=None,
)

_NUMBERS = st.integers(0, 3)
_CONTROL = [st.tuples(st.just("turn"), _NUMBERS), st.tuples(st.just("cancel"), _NUMBERS)]


def _lock_steps(name: str) -> list[st.SearchStrategy[tuple[object, ...]]]:
    named = st.just(name)
    return [
        st.tuples(st.just("acquire"), named),
        st.tuples(st.just("acquire_in_task"), named),
        st.tuples(st.just("release"), named),
        st.tuples(st.just("hold"), named, _NUMBERS),
        st.tuples(st.sampled_from(["locked", "look"]), named),
        *_CONTROL,
    ]


def _programs(
    steps: list[st.SearchStrategy[tuple[object, ...]]],
) -> st.SearchStrategy[list[Script]]:
    return st.lists(st.lists(st.one_of(steps), min_size=1, max_size=6), min_size=1, max_size=5)


@_SETTINGS
@given(_programs(_lock_steps("lock")))
def test_locks(program: list[Script]) -> None:
    compare(program)


@pytest.mark.skipif(not IS_313, reason="asyncio's semaphores lose permits before 3.13")
@pytest.mark.parametrize("name", ["semaphore", "bounded"])
def test_semaphores(name: str) -> None:
    @_SETTINGS
    @given(_programs(_lock_steps(name)), _NUMBERS)
    def check(program: list[Script], permits: int) -> None:
        compare(program, permits=permits)

    check()


@_SETTINGS
@given(
    _programs(
        [
            st.tuples(st.sampled_from(["wait_event", "set_event", "clear_event"])),
            st.just(("look", "event")),
            *_CONTROL,
        ]
    )
)
def test_events(program: list[Script]) -> None:
    compare(program)


@pytest.mark.skipif(not IS_313, reason="asyncio's conditions lose notifications before 3.13")
@_SETTINGS
@given(
    _programs(
        [
            st.just(("wait_condition",)),
            st.tuples(st.sampled_from(["notify", "notify_all"]), _NUMBERS),
            *_lock_steps("condition"),
        ]
    )
)
def test_conditions(program: list[Script]) -> None:
    compare(program)


@pytest.mark.skipif(not IS_313, reason="asyncio's conditions lose notifications before 3.13")
@_SETTINGS
@given(
    _programs(
        [
            st.just(("wait_barrier",)),
            st.just(("wait_barrier",)),
            st.tuples(st.sampled_from(["reset_barrier", "abort_barrier"])),
            st.just(("look", "barrier")),
            *_CONTROL,
        ]
    )
)
def test_barriers(program: list[Script]) -> None:
    compare(program)
