"""run.py http: HTTP servers side by side under wrk."""

import argparse
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build import Builder, Unavailable
from harness.http_servers import FOLDER, HttpServer, Start, find_http_servers, make_files
from harness.machine import congestion_control
from harness.process import free_port, pinned, process_tree, serving, status_bytes
from harness.report import Limit, Row, quartiles, ratio, save

METRICS = (
    "rps",
    "server_us",
    "client_us",
    "per_cpu",
    "server_busy",
    "client_busy",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "batch",
    "rss_bytes",
)
SERVER_CPU, CLIENT_CPU = {0}, {1}
DEPTH = 16  # requests that are on their way at a time, where a row is pipelined
# Where the server was idle for more than this share of the time, it was waiting for the client.
IDLE_SHARE = 0.1


@dataclass(frozen=True)
class Entry:
    """A row of a case: a server, and how many requests a connection sends at a time."""

    server: str
    depth: int = 1

    @property
    def name(self) -> str:
        return self.server if self.depth == 1 else f"{self.server} x{self.depth}"


@dataclass(frozen=True)
class Case:
    title: str
    path: str
    entries: tuple[Entry, ...]  # the first is what the others are compared with


def _plain(*servers: str) -> tuple[Entry, ...]:
    return tuple(Entry(server) for server in servers)


_FILE_SERVERS = ("nginx", "nginx-nopush", "nginx-read", "tinycoro", "go")
CASES = {
    "fixed": Case("fixed answer", "/hello", _plain("nginx", "tinycoro", "go", "axum")),
    "4k": Case("file of 4 KiB", "/files/4k.bin", _plain(*_FILE_SERVERS)),
    "1m": Case("file of 1 MiB", "/files/1m.bin", _plain(*_FILE_SERVERS)),
    "python": Case("async handler", "/python", _plain("granian", "tinycoro-python", "uvicorn")),
    "pipelined": Case(
        f"fixed answer, {DEPTH} at a time",
        "/hello",
        (Entry("tinycoro"), Entry("tinycoro", DEPTH), Entry("nginx", DEPTH), Entry("go", DEPTH)),
    ),
}

# What is promised: case, row, the row it is compared with, metric, bound, whether at most.
# The better of nginx's two ways is the one whose ratio is the worse.
LIMITS = (
    ("fixed", "tinycoro", "nginx", "server_us", 0.9, True),
    ("fixed", "tinycoro", "nginx", "rps", 1.0, False),
    ("fixed", "tinycoro", "axum", "server_us", 1.0, True),
    ("fixed", "tinycoro", "go", "server_us", 1.0, True),
    ("4k", "tinycoro", "nginx", "per_cpu", 1.4, False),
    ("4k", "tinycoro", "nginx-nopush", "per_cpu", 1.4, False),
    ("1m", "tinycoro", "nginx", "per_cpu", 1.0, False),
    ("1m", "tinycoro", "nginx-nopush", "per_cpu", 1.0, False),
    ("python", "tinycoro-python", "granian", "rps", 2.5, False),
    ("python", "tinycoro-python", "uvicorn", "rps", 3.0, False),
    ("pipelined", f"tinycoro x{DEPTH}", "tinycoro", "server_us", 0.35, True),
)
BATCH_LEAST, BATCH_CONNS = 8.0, 64  # requests that a loop takes at one attachment


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """GET a path on a connection of its own. Returns the bytes of the answer, and its body."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _receive(client)
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if lines[0].split()[1] != b"200":
            raise Unavailable(f"{path}: {lines[0].decode(errors='replace')}")
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(fields[b"content-length"])
        while len(body) < length:
            body += _receive(client)
    return len(head) + 4 + len(body), body


def _receive(client: socket.socket) -> bytes:
    data = client.recv(1 << 20)
    if not data:
        raise Unavailable("closed by the server")
    return data


def _load(port: int, path: str, depth: int, conns: int, secs: int, pids: list[int]) -> str:
    command = ["wrk", "-t1", f"-c{conns}", f"-d{secs}s", "-s", str(FOLDER / "load.lua")]
    command += [f"http://127.0.0.1:{port}{path}", "--", str(depth), *map(str, pids)]
    with pinned(CLIENT_CPU):
        client = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    try:
        output, _ = client.communicate(timeout=secs + 60)
    except subprocess.TimeoutExpired:
        client.kill()
        client.communicate()
        raise Unavailable("wrk did not come to an end") from None
    lines = output.strip().splitlines()
    if client.returncode != 0 or not lines or not lines[-1].startswith("load: "):
        raise Unavailable(f"wrk: {lines[-1] if lines else client.returncode}")
    return lines[-1].removeprefix("load: ")


def _statistics(port: int) -> dict[str, int]:
    numbers: dict[str, int] = json.loads(fetch(port, "/statistics")[1])
    return numbers


def measure(
    server: HttpServer,
    case: Case,
    depth: int,
    start: Start,
    body: bytes,
    times: tuple[int, int, int],
) -> dict[str, float]:
    """One fresh server under load once; `times`: connections, seconds of warm-up, and measured.

    Raises Unavailable if it does not answer as it should.
    """
    conns, warmup, secs = times
    with serving(server.command(start), start.port, SERVER_CPU) as pids:
        size, answer = fetch(start.port, case.path)
        if answer != body:
            raise Unavailable(f"{case.path}: another body than the others'")
        pids = process_tree(pids[0])  # an answer shows that the workers have been started
        if warmup != 0:
            _load(start.port, case.path, depth, conns, warmup, pids)
        before = _statistics(start.port) if server.has_statistics else {}
        pairs = _load(start.port, case.path, depth, conns, secs, pids).split()
        after = _statistics(start.port) if server.has_statistics else {}
        peak = status_bytes(pids, "VmHWM")
    values = {name: float(value) for name, value in (pair.split("=") for pair in pairs)}
    if values["requests"] == 0 or values["failed"] != 0:
        raise Unavailable(f"{values['failed']:.0f} of {values['requests']:.0f} requests failed")
    # What was on its way at the end has been counted in bytes, not in requests.
    least, most = size * values["requests"], size * (values["requests"] + conns * depth)
    if not 0.999 * least <= values["bytes"] <= 1.001 * most:
        raise Unavailable(f"{values['bytes']:.0f} bytes in {values['requests']:.0f} answers")
    values["per_cpu"] = 1e6 / values["server_us"]
    values["rss_bytes"] = peak
    values["batch"] = 0.0
    if after:
        handled = after["handled"] - before["handled"]
        if handled < values["requests"]:
            raise Unavailable(f"handled {handled} of {values['requests']:.0f} requests")
        values["batch"] = handled / max(1, after["batches"] - before["batches"])
    if depth > 1:  # wrk's percentiles are of single requests
        values |= dict.fromkeys(("p50_us", "p99_us", "p999_us"), 0.0)
    return {name: values[name] for name in METRICS}


def run_case(
    case: Case,
    entries: Sequence[Entry],
    servers: dict[str, HttpServer],
    options: argparse.Namespace,
) -> tuple[list[Row], list[str]]:
    """Interleaved rounds; who begins moves on by one each round."""
    rows = {entry.name: Row(entry.name, case.title) for entry in entries}
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        files.mkdir()
        body = make_files(files)[case.path]
        for number in range(options.rounds):
            first = number % len(entries)
            for entry in [*entries[first:], *entries[:first]]:
                start = Start(free_port(), 1, Path(folder), files)
                times = (options.conns, options.warmup, options.secs)
                try:
                    values: dict[str, float] | None = measure(
                        servers[entry.server], case, entry.depth, start, body, times
                    )
                except (Unavailable, OSError) as error:
                    notes.append(f"{entry.name}, round {number + 1}: {error}")
                    values = None
                rows[entry.name].add(values, METRICS)
    for row in rows.values():
        if not row.is_empty and row.median("server_busy") < 1 - IDLE_SHARE:
            share = row.median("server_busy")
            notes.append(f"{row.name}: busy for {share:.0%}: wrk was the slower side")
    return list(rows.values()), notes


def print_case(case: Case, rows: Sequence[Row], base: Row, options: argparse.Namespace) -> None:
    print(
        f"\n# {case.title}; {options.conns} connections, pinned; {options.rounds} rounds of "
        f"{options.secs} s; ratios to {base.name}: median [quartiles]"
    )
    print(
        f"{'server':16}{'req/s':>9}{'srv µs':>9}{'cli µs':>9}{'srv %':>7}{'cli %':>7}{'p50 µs':>8}"
        f"{'p99 µs':>8}{'MiB':>5}{'batch':>7}  {'server µs':22}requests/s"
    )
    for row in rows:
        if row.is_empty:
            print(f"{row.name:16}failed")
            continue
        shown = "".join(f"{ratio(row, base, m) or '-'!s:22}" for m in ("server_us", "rps"))
        batch = row.median("batch")
        print(
            f"{row.name:16}{row.median('rps'):9.0f}{row.median('server_us'):9.2f}"
            f"{row.median('client_us'):9.2f}{row.median('server_busy'):7.0%}"
            f"{row.median('client_busy'):7.0%}{row.median('p50_us') or '-':>8}"
            f"{row.median('p99_us') or '-':>8}{row.median('rss_bytes') / 2**20:5.0f}"
            f"{format(batch, '.1f') if batch else '-':>7}  {shown.rstrip()}"
            + (f"  ({row.failures} failed)" if row.failures else ""),
            flush=True,
        )


def find_limits(name: str, rows: Sequence[Row], conns: int) -> Iterator[Limit]:
    """What is promised in this case, as far as it was measured."""
    by_name = {row.name: row for row in rows}
    for case, row, peer, metric, bound, at_most in LIMITS:
        if case == name and row in by_name and peer in by_name:
            measured = ratio(by_name[row], by_name[peer], metric)
            if measured is not None:
                what = f"{row} / {peer}, {metric}: {CASES[name].title}"
                yield Limit(what, measured, bound, at_most)
    python = by_name.get("tinycoro-python")
    if python is not None and python.values("batch") and conns == BATCH_CONNS:
        what = f"tinycoro-python, requests at one attachment: {CASES[name].title}"
        yield Limit(what, quartiles(python.values("batch")), BATCH_LEAST, False)


def run_http(arguments: argparse.Namespace, builder: Builder) -> list[Limit]:
    if shutil.which("wrk") is None:
        raise Unavailable("wrk is not installed")
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        raise Unavailable(f"no case {', '.join(unknown)}; known are {', '.join(CASES)}")
    wanted = [entry.server for name in arguments.cases for entry in CASES[name].entries]
    if arguments.servers:
        wanted = [name for name in wanted if name in arguments.servers]
    servers = find_http_servers(wanted, builder, arguments.python)
    rows: list[Row] = []
    limits: list[Limit] = []
    for name in arguments.cases:
        case = CASES[name]
        entries = [entry for entry in case.entries if entry.server in servers]
        if not entries:
            continue
        found, notes = run_case(case, entries, servers, arguments)
        print_case(case, found, found[0], arguments)
        for note in notes:
            print(f"note: {note}")
        rows += found
        limits += find_limits(name, found, arguments.conns)
    if limits:
        print("\n# promised ratios")
        for limit in limits:
            print(limit)
    names = ("cases", "conns", "secs", "warmup", "rounds")
    parameters = {name: getattr(arguments, name) for name in names} | {"workers": 1, "pin": True}
    parameters["congestion"] = congestion_control()
    save("http", parameters, rows, limits, builder, arguments.python, arguments.out)
    return limits
