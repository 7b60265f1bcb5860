"""What the programs of this folder share: choose the library, warm up, time, print one line.

A program is `NAME.py LIBRARY [--runs N]`. It defines `body(lib)`, a coroutine function that
performs a fixed number of operations, and calls `main(body, operations)`. `lib` has asyncio's
names.
"""

import argparse
import asyncio
import importlib
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

# The library under test, with asyncio's names.
Lib = Any
Body = Callable[[Lib], Coroutine[Any, Any, None]]

# Library → where its `run` is found; the loops of asyncio share asyncio's other names.
LOOPS = {"asyncio": "asyncio", "uvloop": "uvloop", "zuvloop": "zuvloop", "tinycoro": "tinycoro"}


def load(name: str) -> tuple[ModuleType, Callable[[Coroutine[Any, Any, Any]], Any]]:
    """The module with asyncio's names, and the function that runs a coroutine."""
    module = importlib.import_module(LOOPS[name])
    return (module if name == "tinycoro" else asyncio), module.run


def pipe(
    lib: Lib, capacity: int
) -> tuple[Callable[[Any], Awaitable[None]], Callable[[], Awaitable[Any]]]:
    """send and recv of a Channel, or put and get of asyncio's Queue: no layer that costs."""
    if hasattr(lib, "Channel"):
        channel = lib.Channel(capacity)
        return channel.send, channel.recv
    queue = lib.Queue(capacity)
    return queue.put, queue.get


def peak_bytes() -> int:
    """Peak resident memory. Not ru_maxrss, which begins with that of the parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def report(times: list[float], cpu: float) -> None:
    """times: nanoseconds an operation in each run; cpu: the same of the processor, over all."""
    print(
        f"median={statistics.median(times):.2f} cpu={cpu:.2f} min={min(times):.2f}"
        f" max={max(times):.2f} peak={peak_bytes()}"
    )


def main(body: Body, operations: int, *, once: bool = False) -> None:
    """Time `body`. `once`: one run without a warm-up, for what fills the memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=LOOPS)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    lib, run = load(arguments.library)
    runs = 1 if once else arguments.runs

    async def measure() -> None:
        times = []
        if not once:
            await body(lib)
        cpu = cpu_ns()
        for _ in range(runs):
            start = time.perf_counter_ns()
            await body(lib)
            times.append((time.perf_counter_ns() - start) / operations)
        report(times, (cpu_ns() - cpu) / operations / runs)

    run(measure())
