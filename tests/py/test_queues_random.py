"""Random programs of tasks over one queue: items, order and turns as on asyncio."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import IS_SLOW_LANE
from sync_programs import IS_313, QUEUES, Script, compare

_NUMBERS = st.integers(0, 3)
_STEPS = [
    st.tuples(st.sampled_from(["put", "put_in_task", "put_nowait"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["get", "get_in_task", "get_nowait"])),
    st.tuples(st.sampled_from(["task_done", "join"])),
    st.just(("look", "queue")),
    st.tuples(st.sampled_from(["turn", "cancel"]), _NUMBERS),
]
if IS_313:
    _STEPS.append(st.tuples(st.just("shutdown"), st.booleans()))


@pytest.mark.parametrize("kind", QUEUES)
def test_queues(kind: str) -> None:
    @settings(
        max_examples=3000 if IS_SLOW_LANE else 150,
        derandomize=not IS_SLOW_LANE,
        database=None,
        deadline=None,
    )
    @given(
        st.lists(st.lists(st.one_of(_STEPS), min_size=1, max_size=7), min_size=1, max_size=5),
        st.integers(0, 2),
    )
    def check(program: list[Script], maxsize: int) -> None:
        compare(program, queue=kind, maxsize=maxsize)

    check()
