"""Random programs of groups, deadlines and cancels have the trace that asyncio gives them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinycoro
from both import IS_REFERENCE, record, recorded
from programs import Block, make_program, run_program

_SEEDS = 400
_EXAMPLES = 300 if os.environ.get("TC_SLOW") else 60

pytestmark = pytest.mark.filterwarnings(
    # What a program leaves unfinished is closed by the collector.
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore:operation .* was never awaited:RuntimeWarning",
)


def _program(seed: int) -> Block:
    return make_program(random.Random(seed).randrange)


def _digest(trace: list[str]) -> str:
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()[:12]


@pytest.mark.parametrize("block", range(4))
def test_recorded_programs(block: int) -> None:
    name = f"test_task_trees.{block}"
    seeds = range(block * _SEEDS // 4, (block + 1) * _SEEDS // 4)
    if IS_REFERENCE and os.environ.get("TC_RECORD"):
        record(name, [_digest(run_program(asyncio, _program(seed))) for seed in seeds])
    expected = recorded()[name]
    wrong = [
        seed
        for seed, digest in zip(seeds, expected, strict=True)
        if _digest(run_program(tinycoro, _program(seed))) != digest
    ]
    assert not wrong, f"seeds with another trace than asyncio's: {wrong}"


@settings(
    max_examples=_EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_any_program(data: st.DataObject) -> None:
    program = make_program(lambda bound: data.draw(st.integers(0, bound - 1)), depth=2)
    found = run_program(tinycoro, program)
    if IS_REFERENCE:
        assert found == run_program(asyncio, program), program
    assert found == run_program(tinycoro, program), "the trace differs from run to run"
