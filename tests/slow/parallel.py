"""Without the GIL, two loop threads on two processors do nearly twice the work of one.

The work is tasks that compute and tell each result over one channel that all threads share. Each
round measures it, and as a control the same computing in plain threads, with one thread and with
two. A thread's time is that of the clock less that for which it waited for a processor: other
programs do not count then, waiting for each other does. Threads that seldom run seldom meet, so
the half of the rounds counts that waited least. What the interpreter and the machine give to two
threads is what the control gets; of that, the loops must get 90 %, which is 1.8 of 2. CPU time
alone must say the same.
"""

from __future__ import annotations

import os
import statistics
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lane
import tinycoro

ROUNDS = 25 if lane.IS_LONG else 7
ITEMS = 4000  # of each thread in each measurement
CROWD = 10  # tasks of one loop at a time
WANTED = 0.9


class _Times(NamedTuple):
    clock: float  # seconds, without the delay; or how many times the work of one thread
    cpu: float  # of CPU time; likewise
    delay: float  # seconds in which the threads could have run and another program did


def compute(factor: int) -> int:
    total = 0
    for number in range(1000):
        total += number * factor
    return total


def plain() -> None:
    for number in range(ITEMS):
        compute(number % CROWD)


def loop(channel: tinycoro.Channel[int]) -> None:
    async def child(factor: int) -> None:
        await channel.send(compute(factor))
        await channel.recv()

    async def main() -> None:
        for _ in range(ITEMS // CROWD):
            async with tinycoro.TaskGroup() as group:
                for number in range(CROWD):
                    group.create_task(child(number))

    tinycoro.run(main())


def _delay() -> float:
    """Seconds for which this thread was ready to run and another had the processor."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def _measure(work: Callable[[], None], processor: int, barrier: threading.Barrier) -> _Times:
    os.sched_setaffinity(0, {processor})
    barrier.wait(lane.PATIENCE)
    began, began_cpu, began_delay = time.perf_counter(), time.thread_time(), _delay()
    work()
    delay = _delay() - began_delay
    return _Times(time.perf_counter() - began - delay, time.thread_time() - began_cpu, delay)


def timed(work: Callable[[], None], processors: list[int]) -> _Times:
    """What the slower of several threads needs for `work`, each on a processor of its own."""
    barrier = threading.Barrier(len(processors))
    times: list[_Times] = []
    threads = [
        threading.Thread(target=lambda n: times.append(_measure(work, n, barrier)), args=(number,))
        for number in processors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lane.check(len(times) == len(processors), "a thread has failed")
    clock, cpu, delay = zip(*times, strict=True)
    return _Times(max(clock), max(cpu), sum(delay))


def gain(work: Callable[[], None], processors: list[int]) -> _Times:
    """How many times the work of one thread two do."""
    alone = timed(work, processors[:1])
    both = timed(work, processors)
    return _Times(2 * alone.clock / both.clock, 2 * alone.cpu / both.cpu, alone.delay + both.delay)


def parallel() -> str:
    lane.check(not getattr(sys, "_is_gil_enabled", bool)(), "the GIL is on")
    channel: tinycoro.Channel[int] = tinycoro.Channel(64)
    processors = sorted(os.sched_getaffinity(0))[:2]
    rounds = [
        (gain(plain, processors), gain(lambda: loop(channel), processors)) for _ in range(ROUNDS)
    ]
    rounds.sort(key=lambda pair: pair[0].delay + pair[1].delay)
    rounds = rounds[: (ROUNDS + 1) // 2]
    clock = statistics.median(ours.clock / control.clock for control, ours in rounds)
    cpu = statistics.median(ours.cpu / control.cpu for control, ours in rounds)
    seen = (
        f"two loop threads do {statistics.median(ours.clock for _, ours in rounds):.2f} × the work"
        f" of one, plain threads {statistics.median(control.clock for control, _ in rounds):.2f} ×;"
        f" {clock:.0%} of that by the clock, {cpu:.0%} by CPU time"
    )
    lane.check(min(clock, cpu) >= WANTED, f"{seen}; wanted {WANTED:.0%}")
    return seen


def main() -> None:
    # The option, not the state: an import that turns the GIL on is a fault.
    if not sysconfig.get_config_var("Py_GIL_DISABLED") or len(os.sched_getaffinity(0)) < 2:
        print("none parallel: needs a Python without the GIL, and two processors")
        sys.exit(0)
    lane.run(lambda: lane.best_of(3, parallel), limit=300.0)


if __name__ == "__main__":
    main()
