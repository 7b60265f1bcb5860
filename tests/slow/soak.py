"""Mixed traffic for minutes: churn, misbehaving clients, slow readers, large messages.

After the first part, RSS, open descriptors and timers of the server no longer grow, and once the
clients are gone the census is at its baseline.
"""

from __future__ import annotations

import random
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field

import lane

SECONDS = 300.0 if lane.IS_LONG else 20.0
# RSS of the second half may exceed that of the first by the noise of the allocator.
RSS_SLACK_BYTES = 2 << 20
STEADY = 50
STORM_MAX = 400
SLOW_READERS = 20
SLOW_READ_BYTES = 1 << 20
LARGE_BYTES = 8 << 20


@dataclass
class _Figures:
    storms: int = 0
    slow: int = 0
    large: int = 0
    failures: list[BaseException] = field(default_factory=list)


def _exchange(server: lane.Server, size: int, receive_buffer: int, pause: float) -> None:
    """Send `size` bytes while reading them back, with a pause after each read; all are checked."""
    payload = random.Random(size).randbytes(size)
    echoed = bytearray()
    sent = 0
    with socket.socket() as client, selectors.DefaultSelector() as selector:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", server.port))
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        deadline = time.monotonic() + lane.PATIENCE
        while len(echoed) < size:
            lane.check(time.monotonic() < deadline, f"{len(echoed)} of {size} bytes came back")
            for _key, events in selector.select(1.0):
                if events & selectors.EVENT_WRITE:
                    sent += client.send(payload[sent : sent + (1 << 16)])
                    if sent == size:
                        selector.modify(client, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    part = client.recv(1 << 16)
                    lane.check(bool(part), f"closed after {len(echoed)} of {size} bytes")
                    echoed += part
                    time.sleep(pause)
    lane.check(echoed == payload, f"a wrong echo of {size} bytes")


def _churn(server: lane.Server, end: float, figures: _Figures) -> None:
    while time.monotonic() < end:
        mode = random.choice(("reset", "half", "vanish", "kill", "mixed"))
        clients = random.randrange(50, STORM_MAX)
        lane.storm(server.port, mode, clients, seed=lane.SEED + figures.storms)
        figures.storms += 1


def _slow(server: lane.Server, end: float, figures: _Figures) -> None:
    while time.monotonic() < end:
        _exchange(server, SLOW_READ_BYTES, 8192, 0.005)
        figures.slow += 1


def _large(server: lane.Server, end: float, figures: _Figures) -> None:
    while time.monotonic() < end:
        _exchange(server, LARGE_BYTES, 1 << 20, 0.0)
        figures.large += 1


def _start(server: lane.Server, end: float, figures: _Figures) -> list[threading.Thread]:
    def guarded(role: object) -> None:
        assert callable(role)
        try:
            role(server, end, figures)
        except BaseException as error:
            figures.failures.append(error)

    roles = [_churn, _large, *[_slow] * SLOW_READERS]
    threads = [threading.Thread(target=guarded, args=(role,)) for role in roles]
    for thread in threads:
        thread.start()
    return threads


def soak() -> str:
    lane.raise_descriptor_limit()
    figures = _Figures()
    resident, watched, timers = [], [], []
    with lane.Server(runtime_workers=2, idle_timeout=30) as server:
        lane.storm(server.port, "mixed", 1000)
        baseline = server.baseline()
        begun = time.monotonic()
        with lane.Steady(server.port, clients=STEADY) as steady:
            threads = _start(server, begun + SECONDS, figures)
            while time.monotonic() < begun + SECONDS and not figures.failures:
                time.sleep(SECONDS / 100)
                now = server.census()
                resident.append(lane.status_bytes(server.pid, "VmRSS"))
                watched.append(now.descriptors)
                timers.append(now.timers)
            for thread in threads:
                thread.join()
        for failure in figures.failures:
            raise lane.Failure(repr(failure))
        settled = server.settle(baseline, lane.SETTLE_SECONDS)
        seen = server.ask("statistics")
    lane.check(seen["errors"] == 0, f"{seen['errors']} errors of our side")
    fifth, half = len(resident) // 5, len(resident) // 2
    early, late = max(resident[fifth:half]), max(resident[half:])
    lane.check(late <= early + RSS_SLACK_BYTES, f"RSS grew from {early} to {late}: {resident}")
    # The clients of one storm may still be on their way out when those of the next come. A
    # connection has one descriptor and, with its waits, at most three timers.
    most = STEADY + 2 * STORM_MAX + SLOW_READERS + 1 + baseline.descriptors
    lane.check(max(watched) <= most, f"descriptors: at most {most} expected, {watched}")
    lane.check(max(timers) <= 3 * most, f"timers: at most {3 * most} expected, {timers}")
    return (
        f"{SECONDS:.0f} s, {seen['accepted']} connections, {seen['bytes_in'] / 1e9:.1f} GB in,"
        f" {figures.storms} storms, {figures.slow} slow and {figures.large} large exchanges,"
        f" {steady.requests} steady requests (worst {steady.worst_ms:.0f} ms);"
        f" RSS {early / 1e6:.1f} → {late / 1e6:.1f} MB, at most {max(watched)} descriptors and"
        f" {max(timers)} timers; baseline after {settled * 1e3:.0f} ms"
    )


lane.run(soak, limit=SECONDS + 100)
