"""million.py for TonIO, which has words of its own; needs a free-threaded Python."""

import time

import tonio.colored as tonio
from bench import cpu_ns, report

TASKS = 1_000_000


async def one() -> None:
    await tonio.yield_now()


async def measure() -> None:
    cpu = cpu_ns()
    start = time.perf_counter_ns()
    await tonio.spawn(*[one() for _ in range(TASKS)])
    report([(time.perf_counter_ns() - start) / TASKS], (cpu_ns() - cpu) / TASKS)


tonio.run(measure())
