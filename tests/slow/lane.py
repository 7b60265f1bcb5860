"""What the slow lanes share: one line of result, servers in a process of their own, censuses.

A lane is a program: `python storms.py short`. It prints `ok NAME: figures` and exits with 0, or
`FAIL NAME: what was expected and what was seen` and exits with 1. Environment: TC_SLOW_BIN, the
folder with the C programs of this one; TC_SLOW_SEED, the seed that a failure has printed.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
BIN = Path(os.environ.get("TC_SLOW_BIN", HERE.parents[1] / "build" / "dev" / "bin" / "slow"))
NAME = Path(sys.argv[0]).stem
IS_LONG = sys.argv[1:] == ["long"]
SEED = int(os.environ.get("TC_SLOW_SEED") or time.time_ns() % 1_000_000)
# A call that takes longer waits for something that will not happen.
PATIENCE = 40.0
# What takes a second on a machine that has nothing else to do takes less than this on any.
SETTLE_SECONDS = 10.0


class Failure(Exception):
    """What a lane saw and should not have."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise Failure(message)


def run(lane: Callable[[], str], limit: float) -> None:
    """Run `lane`, print its one line, exit. A lane that takes longer dies.

    `limit` is for a machine that has nothing else to do; a busy one has three times as long.
    """
    faulthandler.dump_traceback_later(3 * limit, exit=True)
    # A shell starts what runs in the background with SIGINT ignored, and the lanes' children too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed(SEED)
    begun = time.monotonic()
    try:
        figures = lane()
    except (Failure, OSError, subprocess.SubprocessError) as error:
        print(f"FAIL {NAME}: {error or repr(error)} (TC_SLOW_SEED={SEED})", flush=True)
        sys.exit(1)
    print(f"ok   {NAME}: {figures} ({time.monotonic() - begun:.1f} s)", flush=True)


def best_of(tries: int, attempt: Callable[[], str]) -> str:
    """For limits close to what is expected: a busy machine makes one attempt late, a fault all."""
    for _ in range(tries - 1):
        try:
            return attempt()
        except Failure as failure:
            print(f"once {NAME}: {failure}", file=sys.stderr, flush=True)
    return attempt()


def wait_until(condition: Callable[[], bool], timeout: float = PATIENCE) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def raise_descriptor_limit() -> int:
    """For the clients, and inherited by servers; returns the limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# ---- looking at a process from outside ----------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads, exact to the nanosecond where the kernel accounts so."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except FileNotFoundError:  # the thread has ended meanwhile
            continue
    return total / 1e9


def status_bytes(pid: int, field: str) -> int:
    """A field of /proc/PID/status that is given in kB, such as VmRSS or VmPTE."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise Failure(f"no {field} in /proc/{pid}/status")


@dataclass(frozen=True)
class Census:
    """What must be at its baseline when the clients are gone."""

    bytes: int
    fibers: int
    timers: int
    watched: int
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items())


# ---- servers ------------------------------------------------------------------------------------


class Server(AbstractContextManager["Server"]):
    """An EchoServer(**options) in a child process, asked for its figures through a pipe."""

    def __init__(self, **options: object) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-X",
                "faulthandler",
                "-W",
                "error",
                str(HERE / "serve.py"),
                json.dumps(options),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.port = int(self._read_line())

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        check(bool(line), f"the server died with {self.process.poll()}")
        return line

    def ask(self, question: str) -> dict[str, int]:
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer: dict[str, int] = json.loads(self._read_line())
        return answer

    def census(self) -> Census:
        return Census(
            **self.ask("census"),
            descriptors=len(os.listdir(f"/proc/{self.pid}/fd")),
            threads=len(os.listdir(f"/proc/{self.pid}/task")),
        )

    def baseline(self) -> Census:
        """The census without a client: called once the pools have seen what they will see."""
        self.probe()
        quiet = wait_until(
            lambda: (
                (now := self.census()).fibers + now.timers == 0
                and self.ask("statistics")["connections"] == 0
            )
        )
        check(quiet, f"the server does not come to rest: {self.census()}")
        return self.census()

    def settle(self, baseline: Census, timeout: float) -> float:
        """Wait until the census is `baseline` again; returns how long that took."""
        begun = time.monotonic()
        if not wait_until(lambda: self.census() == baseline, timeout):
            raise Failure(f"after {timeout} s: {self.census()}; baseline: {baseline}")
        return time.monotonic() - begun

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def probe(self) -> float:
        """One new client, one echo; returns how long it took."""
        begun = time.monotonic()
        with self.connect() as client:
            client.sendall(b"probe")
            check(receive(client, 5) == b"probe", "a probe was not echoed")
        return time.monotonic() - begun

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None:
            self.process.kill()
            self.process.communicate()
            return
        try:
            self.process.communicate("stop\n", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        check(self.process.returncode == 0, f"the server ended with {self.process.returncode}")


class HTTPServer(AbstractContextManager["HTTPServer"]):
    """http_server.c in a process of its own, asked for its figures through a pipe."""

    def __init__(self, listen_fd: int = 0, **options: object) -> None:
        arguments = [f"{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [BIN / "http_server", f"listen_fd={listen_fd}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[listen_fd] if listen_fd else [],
        )
        self.pid = self.process.pid
        self.port = int(self._read_line())

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        check(bool(line), f"the server died with {self.process.poll()}")
        return line

    def ask(self, question: str) -> dict[str, int]:
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer: dict[str, int] = json.loads(self._read_line())
        return answer

    def drain(self) -> None:
        """Stop accepting; the process ends when its connections have."""
        assert self.process.stdin is not None
        self.process.stdin.write("drain\n")
        self.process.stdin.close()

    def has_ended(self) -> bool:
        """True once it has ended, in order."""
        status = self.process.poll()
        check(not status, f"the server ended with {status}")
        return status == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None or self.process.returncode is not None:
            self.kill()
            return
        self.process.communicate("stop\n", timeout=PATIENCE)
        check(self.process.returncode == 0, f"the server ended with {self.process.returncode}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


def receive(client: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end of the stream."""
    parts = bytearray()
    while len(parts) < size and (part := client.recv(min(size - len(parts), 1 << 16))):
        parts += part
    return bytes(parts)


# ---- the storm program --------------------------------------------------------------------------


def _figures(line: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in line.split())


def storm(port: int, mode: str, clients: int, **options: float) -> dict[str, str]:
    """Run storm.c to its end; returns what it printed."""
    arguments = [f"--{name}={value}".split("=") for name, value in options.items()]
    result = subprocess.run(
        [
            BIN / "storm",
            "--port",
            str(port),
            "--mode",
            mode,
            "--clients",
            str(clients),
            *(word for pair in arguments for word in pair),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    check(result.returncode == 0, f"storm: {result.stdout or result.stderr}")
    return _figures(result.stdout)


class Steady(AbstractContextManager["Steady"]):
    """Checked traffic from a process of its own, for as long as the block lasts.

    No answer may be wrong or missing. Afterwards `requests` and `worst_ms` say what was seen.
    """

    requests = 0
    worst_ms = 0.0

    def __init__(self, port: int, clients: int = 20, gangs: int = 1) -> None:
        self.process = subprocess.Popen(
            [
                BIN / "storm",
                "--port",
                str(port),
                "--mode",
                "steady",
                "--clients",
                str(clients),
                "--gangs",
                str(gangs),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def __exit__(self, *exception: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=PATIENCE)
        if exception[0] is None:
            check(self.process.returncode == 0, f"steady traffic was disturbed: {out}")
            figures = _figures(out)
            self.requests = int(figures["requests"])
            self.worst_ms = float(figures["worst_ms"])
            check(self.requests > 0, f"steady traffic did not happen: {out}")
