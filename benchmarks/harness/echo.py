"""run.py echo: servers side by side under the same closed-loop client."""

import argparse
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build import Builder, Unavailable
from harness.machine import congestion_control
from harness.process import free_port, pinned, serving, status_bytes
from harness.report import Limit, Row, ratio, save
from harness.servers import Server, find_servers
from harness.tasks import version_of

METRICS = (
    "rps",
    "server_us",
    "client_us",
    "server_busy",
    "client_busy",
    "batch",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "rss_bytes",
)
SERVER_CPU, CLIENT_CPU = {0}, {1}
# Large replies are compared every so many times, so that the client stays cheaper than the server.
VERIFY_EVERY = 16
CLIENT_BATCH_MAX = 512  # EVENTS_MAX of echoload.c

# What a handler that awaits drain() is promised: peer, metric, bound of the ratio, whether at most.
STREAMS_SMALL = (
    ("uvloop", "rps", 1.0, False),
    ("zuvloop-streams", "rps", 1.25, False),
    ("uvloop-streams", "rps", 1.5, False),
    ("uvloop-streams", "p99_us", 1.0, True),
)
STREAMS_LARGE = (("raw", "rps", 0.7, False), ("uvloop-streams", "p99_us", 1.0, True))
# Python's version → the least share of raw epoll's requests, small messages.
STREAMS_RAW = {"3.13": 0.85, "3.14": 0.88}


@dataclass(frozen=True)
class Case:
    size: int
    conns: int
    workers: int
    secs: float
    warmup: float
    pin: bool

    def __str__(self) -> str:
        size = f"{self.size // 1024} KiB" if self.size % 1024 == 0 else f"{self.size} B"
        pinned = "pinned" if self.pin else "unpinned"
        return f"{size}, {self.conns} connections, {self.workers} worker(s), {pinned}"


def measure(server: Server, case: Case, echoload: Path) -> dict[str, float]:
    """One fresh server under load once. Raises Unavailable if it does not hold out."""
    port = free_port()
    with serving(
        server.command(port, case.workers), port, SERVER_CPU if case.pin else None
    ) as pids:
        command = [str(echoload), "--port", str(port), "--conns", str(case.conns)]
        command += ["--size", str(case.size), "--secs", str(case.secs)]
        command += ["--warmup", str(case.warmup)]
        command += ["--verify-every", str(VERIFY_EVERY if case.size >= 4096 else 1)]
        for pid in pids:
            command += ["--pid", str(pid)]
        with pinned(CLIENT_CPU if case.pin else None):
            client = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        try:
            output, complaint = client.communicate(timeout=case.secs + case.warmup + 60)
        except subprocess.TimeoutExpired:
            client.kill()
            client.communicate()
            raise Unavailable("the client did not come to an end") from None
        if client.returncode != 0:
            raise Unavailable((complaint or output).strip() or "no reply")
        values = dict(pair.split("=") for pair in output.split())
        peak = status_bytes(pids, "VmHWM")
    return {name: float(values[name]) for name in METRICS if name in values} | {"rss_bytes": peak}


def run_case(
    case: Case, servers: Sequence[Server], rounds: int, echoload: Path
) -> tuple[list[Row], list[str]]:
    """Interleaved rounds; who begins moves on by one each round."""
    rows = {server.name: Row(server.name, str(case)) for server in servers}
    notes = []
    for number in range(rounds):
        first = number % len(servers)
        for server in [*servers[first:], *servers[:first]]:
            try:
                values = measure(server, case, echoload)
            except (Unavailable, OSError) as error:
                notes.append(f"{server.name}, round {number + 1}: {error}")
                rows[server.name].add(None, METRICS)
                continue
            rows[server.name].add(values, METRICS)
    for row in rows.values():
        if not row.is_empty and row.median("batch") > 0.75 * min(case.conns, CLIENT_BATCH_MAX):
            notes.append(f"{row.name}: the client was the slower side; requests/s say little")
    return list(rows.values()), notes


def print_case(case: Case, rows: Sequence[Row], base: Row, rounds: int) -> None:
    print(
        f"\n# {case}; {rounds} rounds of {case.secs:g} s; ratios to {base.name}: median [quartiles]"
    )
    print(
        f"{'server':16}{'req/s':>9}{'srv µs':>8}{'cli µs':>8}{'p50 µs':>8}{'p99 µs':>8}"
        f"{'p999 µs':>9}{'MiB':>6}  {'server µs':22}{'requests/s':22}p99"
    )
    for row in rows:
        if row.is_empty:
            print(f"{row.name:16}failed")
            continue
        ratios = [ratio(row, base, metric) for metric in ("server_us", "rps", "p99_us")]
        shown = "".join(f"{r or '-'!s:22}" for r in ratios)
        print(
            f"{row.name:16}{row.median('rps'):9.0f}{row.median('server_us'):8.2f}"
            f"{row.median('client_us'):8.2f}{row.median('p50_us'):8.0f}{row.median('p99_us'):8.0f}"
            f"{row.median('p999_us'):9.0f}{row.median('rss_bytes') / 2**20:6.0f}  {shown.rstrip()}"
            + (f"  ({row.failures} failed)" if row.failures else ""),
            flush=True,
        )


def case_limits(case: Case, rows: Sequence[Row]) -> Iterator[Limit]:
    """What is promised of tinycoro against raw epoll, Go and tokio in this case."""
    by_name = {row.name: row for row in rows}
    large = case.size >= 4096
    bounds = [("server_us", 1.08 if large else 1.03, True), ("rps", 0.95 if large else 0.97, False)]
    if not case.pin:
        bounds = [("server_us", 1.10, True)]
    else:
        bounds.append(("p99_us", 1.2, True))
    for name in ("tinycoro", "tinycoro-c"):
        if name not in by_name:
            continue
        for peer, wanted in (("raw", bounds), ("go", bounds[:1]), ("tokio", bounds[:1])):
            for metric, bound, at_most in wanted:
                base = by_name.get(peer)
                measured = ratio(by_name[name], base, metric) if base is not None else None
                if measured is not None:
                    bound = bound if peer == "raw" else 1.0
                    yield Limit(f"{name} / {peer}, {metric}: {case}", measured, bound, at_most)


def streams_limits(case: Case, rows: Sequence[Row], version: str) -> Iterator[Limit]:
    """What is promised of tinycoro's streams on this version of Python in this case."""
    by_name = {row.name: row for row in rows}
    ours = by_name.get("tinycoro-streams")
    if ours is None or version not in STREAMS_RAW or not case.pin:
        return
    bounds: Sequence[tuple[str, str, float, bool]] = STREAMS_LARGE
    if case.size < 4096:
        bounds = (("raw", "rps", STREAMS_RAW[version], False), *STREAMS_SMALL)
    for peer, metric, bound, at_most in bounds:
        base = by_name.get(peer)
        measured = ratio(ours, base, metric) if base is not None else None
        if measured is not None:
            what = f"tinycoro-streams / {peer}, {metric}, {version}: {case}"
            yield Limit(what, measured, bound, at_most)


def run_echo(arguments: argparse.Namespace, builder: Builder) -> list[Limit]:
    servers = find_servers(arguments.servers, builder, arguments.python, arguments.workers)
    echoload = builder.get("echoload")
    if not servers:
        raise Unavailable("no server to measure")
    rows: list[Row] = []
    limits: list[Limit] = []
    for size in arguments.size:
        for conns in arguments.conns:
            case = Case(
                size, conns, arguments.workers, arguments.secs, arguments.warmup, arguments.pin
            )
            found, notes = run_case(case, servers, arguments.rounds, echoload)
            base = next((row for row in found if row.name == arguments.baseline), found[0])
            print_case(case, found, base, arguments.rounds)
            for note in notes:
                print(f"note: {note}")
            rows += found
            limits += case_limits(case, found)
            if "tinycoro-streams" in (row.name for row in found):
                limits += streams_limits(case, found, version_of(arguments.python))
    if limits:
        print("\n# promised ratios")
        for limit in limits:
            print(limit)
    names = ("size", "conns", "workers", "secs", "warmup", "pin", "rounds", "baseline")
    parameters = {name: getattr(arguments, name) for name in names}
    parameters["congestion"] = congestion_control()
    save("echo", parameters, rows, limits, builder, arguments.python, arguments.out)
    return limits
