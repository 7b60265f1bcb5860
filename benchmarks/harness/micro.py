"""run.py micro: the programs of micro/ beside the same ones in Go."""

import argparse
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.build import Builder, Unavailable
from harness.process import pinned
from harness.report import Limit, Row, quartiles, ratio, save

METRICS = ("median", "cpu", "min", "max")
TIMEOUT_S = 120
MEMORY_METRICS = ("rss_bytes", "pte_bytes", "resumed")


@dataclass(frozen=True)
class Program:
    """One row: how to run it, ours or Go's."""

    name: str  # the row's
    source: str  # micro/SOURCE.c, or the program's name in micro/go
    workers: int = 1
    width: int | None = None
    is_go: bool = False
    runs: bool = True

    def command(self, path: Path, runs: int) -> list[str]:
        if self.source == "switch":
            return [str(path)]
        if self.is_go:
            words = ["-workers", str(self.workers), "-runs", str(runs), self.source]
            return [str(path), *words]
        words = ["--workers", str(self.workers)]
        if self.runs:
            words += ["--runs", str(runs)]
        return [str(path), *words] + (["--width", str(self.width)] if self.width else [])

    @property
    def metrics(self) -> tuple[str, ...]:
        return METRICS if self.runs else MEMORY_METRICS


def _pairs() -> list[Program]:
    programs = [Program("switch", "switch")]
    both = [
        ("yield", "yield", None, (1, 2)),
        ("yield64", "yield", 64, (1, 2)),
        ("spawn_join", "spawn_join", None, (1, 2)),
        ("spawn_wg100", "spawn_wg100", None, (1, 2)),
        ("spawn_tree", "spawn_tree", None, (1, 2)),
        ("handoff", "handoff", None, (1, 2)),
        ("handoff16", "handoff", 16, (1, 2)),
        ("wake_across", "wake_across", None, (2,)),
        ("chan_pingpong", "chan_pingpong", None, (1, 2)),
        ("chan_buffered", "chan_buffered", None, (1, 2)),
        ("mutex_contended", "mutex_contended", None, (1, 2)),
        ("skynet", "skynet", None, (1, 2)),
        ("timers_sleep", "timers_sleep", None, (1,)),
        ("timers_cancel", "timers_cancel", None, (1,)),
    ]
    for name, source, width, worker_counts in both:
        for workers in worker_counts:
            suffix = "" if workers == 1 else f"/{workers}"
            programs.append(Program(name + suffix, source, workers, width))
            programs.append(Program(f"go:{name}{suffix}", name, workers, is_go=True))
    for width, size in enumerate(("small", "typical", "large"), 1):
        programs.append(Program(f"http_parse/{size}", "http_parse", width=width))
    return programs


PROGRAMS = _pairs()
PARKED = Program("parked_million", "parked_million", runs=False)
# Row, row to compare with, bound of the ratio.
LIMITS = (
    ("switch", "go:yield", 0.08),
    ("yield", "go:yield", 0.35),
    ("spawn_join", "go:spawn_join", 0.4),
    ("spawn_join", "go:spawn_wg100", 0.6),
    ("spawn_wg100", "go:spawn_wg100", 0.6),
    ("yield/2", "yield", 1.15),
    ("yield64/2", "yield64", 1.15),
    ("spawn_tree/2", "spawn_tree", 1.15),
    ("spawn_wg100/2", "spawn_wg100", 1.15),
    ("handoff/2", "handoff", 1.15),
    ("handoff16/2", "handoff16", 1.15),
    ("chan_pingpong", "go:chan_pingpong", 0.6),
    ("chan_buffered", "go:chan_buffered", 1.0),
    ("mutex_contended", "go:mutex_contended", 0.5),
    ("skynet", "go:skynet", 0.5),
    ("chan_pingpong/2", "chan_pingpong", 1.15),
    ("chan_buffered/2", "chan_buffered", 1.15),
    ("mutex_contended/2", "mutex_contended", 1.15),
    ("skynet/2", "skynet", 1.15),
)
# Row, metric, bound of the figure itself.
BOUNDS = (
    ("parked_million", "rss_bytes", 4400.0),
    ("parked_million", "pte_bytes", 200.0),
)


def measure(program: Program, path: Path, runs: int) -> dict[str, float]:
    cpus = {0} if program.workers == 1 else set(range(min(program.workers, os.cpu_count() or 1)))
    with pinned(cpus):
        process = subprocess.Popen(
            program.command(path, runs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    try:
        output, complaint = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Unavailable(f"not done after {TIMEOUT_S} s") from None
    if process.returncode != 0:
        raise Unavailable(complaint.strip() or f"exit status {process.returncode}")
    values = dict(pair.split("=", 1) for pair in output.split())
    values.setdefault("cpu", values.get("median", "0"))  # switch: never leaves the processor
    return {name: float(values[name]) for name in program.metrics}


def find_programs(names: list[str], builder: Builder) -> list[tuple[Program, Path]]:
    """The wanted rows whose programs can be built."""
    found = []
    skipped: set[str] = set()
    for program in [*PROGRAMS, PARKED]:
        plain = program.name.removeprefix("go:").split("/")[0]
        if (plain not in names) if names else program is PARKED:
            continue
        target = "go_micro" if program.is_go else f"micro_{program.source}"
        try:
            found.append((program, builder.get(target)))
        except Unavailable as error:
            if target not in skipped:
                print(f"skipping {target}: {error}", flush=True)
            skipped.add(target)
    return found


def print_rows(rows: dict[str, Row]) -> None:
    print(f"\n{'row':16}{'ns':>10}{'min':>10}{'max':>10}{'cpu ns':>10}   / Go: median [quartiles]")
    for name, row in rows.items():
        if row.is_empty:
            print(f"{name:16}failed")
        elif "rss_bytes" in row.metrics:
            rss, tables = row.median("rss_bytes"), row.median("pte_bytes")
            print(
                f"{name:16}{rss:.0f} B resident and {tables:.0f} B of page tables per fiber, "
                f"{row.median('resumed'):.0f} resumed"
            )
        else:
            base = rows.get(f"go:{name}")
            compared = ratio(row, base, "median") if base is not None else None
            low, high = min(row.values("min")), max(row.values("max"))
            print(
                f"{name:16}{row.median('median'):10.2f}{low:10.2f}{high:10.2f}"
                f"{row.median('cpu'):10.2f}   {compared or ''}"
            )


def run_micro(arguments: argparse.Namespace, builder: Builder) -> list[Limit]:
    programs = find_programs(arguments.only, builder)
    rows = {
        program.name: Row(program.name, f"{program.workers} worker(s)") for program, _ in programs
    }
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", flush=True)
        first = number % max(1, len(programs))
        for program, path in [*programs[first:], *programs[:first]]:
            try:
                values: dict[str, float] | None = measure(program, path, arguments.runs)
            except Unavailable as error:
                print(f"note: {program.name}: {error}")
                values = None
            rows[program.name].add(values, program.metrics)
    print_rows(rows)

    limits = []
    for name, base, bound in LIMITS:
        if name in rows and base in rows:
            for metric in ("median", "cpu") if "/" not in name else ("median",):
                measured = ratio(rows[name], rows[base], metric)
                clock = "elapsed" if metric == "median" else "processor time"
                if measured is not None:
                    limits.append(Limit(f"{name} / {base}, {clock}", measured, bound))
    for name, metric, bound in BOUNDS:
        if name in rows and not rows[name].is_empty:
            measured = quartiles(rows[name].values(metric))
            limits.append(Limit(f"{name}, {metric}", measured, bound))
    if limits:
        print("\n# promised figures")
        for limit in limits:
            print(limit)
    parameters = {"rounds": arguments.rounds, "runs": arguments.runs}
    save("micro", parameters, list(rows.values()), limits, builder, arguments.python, arguments.out)
    return limits
