"""What the tests of the public API share: clients, child processes, and the census."""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import socket
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import tinycoro
from tinycoro import EchoServer

# A test that waits longer than this waits for something that will not happen.
PATIENCE = 30.0
# Where a duration is asserted, what a busy machine may add to it; still much less than the wait
# that should not be there, a drain of half a minute or a sleep without end.
SLACK = 5.0

IS_SLOW_LANE = bool(os.environ.get("TC_SLOW"))


@dataclass(frozen=True)
class Census:
    """What a test must leave as it found it."""

    descriptors: frozenset[str]
    threads: int
    bytes_in_use: int  # beyond the pools, which keep what they once had
    fibers: int
    timers: int
    watched: int

    @classmethod
    def take(cls) -> Census:
        now = tinycoro.statistics()
        return cls(
            descriptors=open_descriptors(),
            threads=count_threads(),
            bytes_in_use=now.bytes_in_use - now.bytes_reserved,
            fibers=now.fibers,
            timers=now.timers,
            watched=now.descriptors,
        )

    def difference(self, before: Census) -> str:
        """What is not as it was, for people."""
        parts = []
        if self.descriptors != before.descriptors:
            gone = sorted(before.descriptors - self.descriptors)
            new = sorted(self.descriptors - before.descriptors)
            parts.append(f"descriptors: {gone} are gone, {new} are new")
        for name in ("threads", "bytes_in_use", "fibers", "timers", "watched"):
            was, now = getattr(before, name), getattr(self, name)
            if was != now:
                parts.append(f"{name}: {was} before, {now} after")
        return "; ".join(parts)


def count_threads() -> int:
    """Threads of Python and of ours, but for those that watch over the test."""
    ours = 0
    for task in os.listdir("/proc/self/task"):
        try:
            name = Path(f"/proc/self/task/{task}/comm").read_text(encoding="ascii")
        except OSError:  # it has just ended
            continue
        ours += name.startswith("tc-")
    return ours + sum(thread.name != "pytest-timeout" for thread in threading.enumerate())


def open_descriptors() -> frozenset[str]:
    """What the descriptors of this process lead to, each with its number.

    Without the report that ThreadSanitizer opens when it has something to tell.
    """
    report = re.search(r"log_path=(\S+)", os.environ.get("TSAN_OPTIONS", ""))
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if report is None or not target.startswith(report[1]):
            found.add(f"{name} -> {target}")
    return frozenset(found)


def wait_until(condition: Callable[[], bool], timeout: float = PATIENCE) -> bool:
    """Look until `condition` holds; False if it does not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def timely(limit: float, attempt: Callable[[], float]) -> None:
    """Of five attempts, one takes at most `limit` seconds; no more are made than needed.

    For limits close to what is expected: a busy machine makes one attempt late, a fault all.
    """
    took: list[float] = []
    while not took or took[-1] > limit:
        assert len(took) < 5, f"limit {limit} s, took {took}"
        took.append(attempt())


def drop(operation: object) -> None:
    """Let go of an operation that nobody awaits."""


def connect(server: EchoServer | tuple[str, int]) -> socket.socket:
    """A client whose operations fail rather than hang."""
    address = server if isinstance(server, tuple) else server.address
    return socket.create_connection(address, timeout=PATIENCE)


def receive(client: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end of the stream."""
    parts = bytearray()
    while len(parts) < size:
        part = client.recv(min(size - len(parts), 1 << 16))
        if not part:
            break
        parts += part
    return bytes(parts)


def fill(client: socket.socket) -> int:
    """Send without reading until the server waits for us; returns how much was sent.

    That it takes no more for a while is no proof: it may be the machine that does not let it. So
    much of the echo must have come by then, and it is asked again.
    """
    client.settimeout(0.2)
    sent = 0
    silent = 0
    while silent < 2:
        try:
            sent += client.send(b"x" * 65536)
            silent = 0
        except TimeoutError:
            waiting = fcntl.ioctl(client, termios.FIONREAD, b"\0" * 4)
            silent = silent + 1 if int.from_bytes(waiting, sys.byteorder) > 32768 else 0
    client.settimeout(PATIENCE)
    return sent


def exchange(client: socket.socket, payload: bytes) -> bytes:
    """Send `payload` and read as much, both at once: an echo that is not read stops the sender."""
    client.setblocking(False)
    echoed = bytearray()
    sent = 0
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while len(echoed) < len(payload) and time.monotonic() < deadline:
            for _key, events in selector.select(1.0):
                if events & selectors.EVENT_WRITE:
                    sent += client.send(payload[sent : sent + (1 << 16)])
                    if sent == len(payload):
                        selector.modify(client, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    part = client.recv(1 << 16)
                    if not part:
                        client.settimeout(PATIENCE)
                        return bytes(echoed)
                    echoed += part
    client.settimeout(PATIENCE)
    return bytes(echoed)


def probe(server: EchoServer | tuple[str, int]) -> bool:
    """Whether a new client gets its echo."""
    with connect(server) as client:
        client.sendall(b"probe")
        return receive(client, 5) == b"probe"


def reset(client: socket.socket) -> None:
    """Close with a RST instead of a FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def require_ipv6() -> None:
    """Skip the test where the machine has none."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")


def python_command(code: str, *arguments: str) -> list[str]:
    """A child interpreter in which warnings are errors, with the installed package."""
    return [sys.executable, "-P", "-X", "faulthandler", "-W", "error", "-c",
            textwrap.dedent(code), *arguments]  # fmt: skip


def run_python(
    code: str, *arguments: str, env: dict[str, str] | None = None, timeout: float = 110.0
) -> subprocess.CompletedProcess[str]:
    """Run `code` in a child and return its result, output included, whatever it is."""
    return subprocess.run(
        python_command(code, *arguments),
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def run_curl(*arguments: str | Path) -> bytes:
    """What curl prints; it must succeed.

    A sanitizer that is loaded before us must not be loaded before curl: it does not come up.
    """
    result = subprocess.run(
        ["curl", "-sS", "--fail", "--noproxy", "*", "--max-time", str(PATIENCE), *arguments],
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
        capture_output=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def assert_success(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout}{result.stderr}"
    assert not result.stderr, result.stderr


# ---- commands ------------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    """How `python -m tinycoro` is started here."""
    return [sys.executable, "-P", "-W", "error", "-m", "tinycoro", *arguments]


@contextmanager
def serving(
    name: str, *arguments: str, stderr: int = subprocess.PIPE
) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """A running command that serves, and where it listens."""
    scheme = "" if name == "echo" else "http://"
    process = subprocess.Popen(
        command(name, *arguments),
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm"},
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(rf"tinycoro {name} listening on {scheme}(\S+):(\d+)\n", line)
        assert match, (line, process.stderr and process.stderr.read())
        yield process, (match[1], int(match[2]))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
