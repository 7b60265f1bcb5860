"""run.py tasks: the programs of python/ on tinycoro, beside the same ones on other loops."""

import argparse
import os
import subprocess
from dataclasses import dataclass

from harness.build import BENCHMARKS, Builder, Unavailable
from harness.machine import first_line
from harness.process import pinned
from harness.report import Limit, Row, ratio, save

METRICS = ("median", "cpu", "min", "max", "peak")
TIMEOUT_S = 120

# Row (a program of python/) → the libraries that it is compared with.
ROWS: dict[str, tuple[str, ...]] = {
    "spawn_join": ("asyncio", "zuvloop"),
    "gather100": ("asyncio", "zuvloop"),
    "taskgroup100": ("asyncio", "zuvloop"),
    "sleep0": ("asyncio", "zuvloop"),
    "switch2": ("asyncio", "zuvloop"),
    "wait_for": ("asyncio", "zuvloop"),
    "short_timer": ("asyncio", "zuvloop"),
    "sleeps": ("asyncio", "zuvloop"),
    "pingpong": ("asyncio",),
    "buffered": ("asyncio",),
    "queue_pingpong": ("asyncio", "zuvloop"),
    "queue_buffered": ("asyncio", "zuvloop"),
    "lock_contended": ("asyncio", "zuvloop"),
    "million": ("uvloop", "tonio"),
}
# Python's version → row, library to compare with, metric, bound of the ratio. The peers are not
# equally fast on all versions, so a ratio is promised for one of them.
LIMITS: dict[str, tuple[tuple[str, str, str, float], ...]] = {
    "3.13": (
        ("spawn_join", "asyncio", "median", 0.08),
        ("gather100", "asyncio", "median", 0.12),
        ("sleep0", "asyncio", "median", 0.10),
        ("sleeps", "asyncio", "median", 0.10),
        ("pingpong", "asyncio", "median", 0.20),
        ("buffered", "asyncio", "median", 0.28),
        ("queue_pingpong", "asyncio", "median", 0.15),
        ("queue_buffered", "asyncio", "median", 0.28),
        ("lock_contended", "asyncio", "median", 0.10),
        ("million", "uvloop", "median", 0.18),
        ("million", "uvloop", "peak", 0.40),
    ),
    "3.13t": (
        ("million", "tonio", "median", 1.0),
        ("million", "tonio", "peak", 1.0),
    ),
    "3.14": (
        ("spawn_join", "zuvloop", "median", 0.40),
        ("gather100", "zuvloop", "median", 0.40),
        ("sleep0", "zuvloop", "median", 0.45),
        ("switch2", "zuvloop", "median", 0.45),
        ("sleeps", "zuvloop", "median", 0.25),
        ("queue_pingpong", "zuvloop", "median", 0.40),
        ("queue_buffered", "asyncio", "median", 0.30),
        ("lock_contended", "zuvloop", "median", 0.35),
    ),
}


@dataclass(frozen=True)
class Program:
    """One program of python/ on one library."""

    row: str
    library: str

    @property
    def name(self) -> str:
        return self.row if self.library == "tinycoro" else f"{self.library}:{self.row}"

    def command(self, python: str, runs: int) -> list[str]:
        folder = BENCHMARKS / "python"
        if self.library == "tonio":  # asyncio's names mean nothing to it
            return [python, str(folder / f"{self.row}_tonio.py")]
        return [python, str(folder / f"{self.row}.py"), self.library, "--runs", str(runs)]


def measure(program: Program, python: str, runs: int) -> dict[str, float]:
    # TonIO's threads are what it is about; the others have one.
    cpus = set(range(os.cpu_count() or 1)) if program.library == "tonio" else {0}
    with pinned(cpus):
        process = subprocess.Popen(
            program.command(python, runs),
            cwd=BENCHMARKS / "python",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        output, complaint = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Unavailable(f"not done after {TIMEOUT_S} s") from None
    if process.returncode != 0:
        lines = complaint.strip().splitlines()
        raise Unavailable(lines[-1] if lines else f"exit status {process.returncode}")
    values = dict(pair.split("=", 1) for pair in output.split())
    return {name: float(values[name]) for name in METRICS}


def version_of(python: str) -> str:
    """Such as "3.13", with a "t" if there is no GIL. Raises Unavailable."""
    show = "import sys; print('%d.%d%s' % (*sys.version_info[:2], sys.abiflags))"
    version = first_line([python, "-P", "-c", show])
    if not version:
        raise Unavailable(f"{os.path.basename(python)} does not run")
    return version


def find_programs(only: list[str], python: str) -> list[Program]:
    """The wanted rows, on the libraries that this Python has."""
    found = []
    libraries = {library for row in ROWS for library in (*ROWS[row], "tinycoro")}
    missing = set()
    for library in sorted(libraries):
        command = [python, "-P", "-c", f"import {library}"]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            print(f"skipping {library}: it cannot be imported by {os.path.basename(python)}")
            missing.add(library)
    for row, peers in ROWS.items():
        if not only or row in only:
            found += [Program(row, lib) for lib in ("tinycoro", *peers) if lib not in missing]
    return found


def print_rows(rows: dict[str, Row]) -> None:
    print(f"\n{'row':28}{'ns':>10}{'min':>10}{'max':>10}{'cpu ns':>10}{'peak MB':>9}   ours / this")
    for name, row in rows.items():
        if row.is_empty:
            print(f"{name:28}failed")
            continue
        ours = rows.get(name.partition(":")[2])
        compared = ratio(ours, row, "median") if ours is not None else None
        print(
            f"{name:28}{row.median('median'):10.1f}{min(row.values('min')):10.1f}"
            f"{max(row.values('max')):10.1f}{row.median('cpu'):10.1f}"
            f"{row.median('peak') / 1e6:9.1f}   {compared or ''}"
        )


def find_limits(rows: dict[str, Row], version: str) -> list[Limit]:
    """What is promised for this version, as far as it was measured."""
    limits = []
    for row, library, metric, bound in LIMITS.get(version, ()):
        ours, theirs = rows.get(row), rows.get(f"{library}:{row}")
        if ours is not None and theirs is not None:
            measured = ratio(ours, theirs, metric)
            what = "peak memory" if metric == "peak" else "elapsed"
            if measured is not None:
                limits.append(Limit(f"{row} / {library}, {what}", measured, bound))
    return limits


def run_tasks(arguments: argparse.Namespace, builder: Builder) -> list[Limit]:
    version = version_of(arguments.python)
    programs = find_programs(arguments.only, arguments.python)
    rows = {program.name: Row(program.name, program.library) for program in programs}
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", flush=True)
        first = number % max(1, len(programs))
        for program in [*programs[first:], *programs[:first]]:
            try:
                values: dict[str, float] | None = measure(program, arguments.python, arguments.runs)
            except Unavailable as error:
                print(f"note: {program.name}: {error}")
                values = None
            rows[program.name].add(values, METRICS)
    print_rows(rows)

    limits = find_limits(rows, version)
    if limits:
        print(f"\n# promised figures on {version}")
        for limit in limits:
            print(limit)
    parameters = {"rounds": arguments.rounds, "runs": arguments.runs}
    out = arguments.out
    save("tasks", parameters, list(rows.values()), limits, builder, arguments.python, out)
    return limits
