"""Slow clients in thousands do not slow a probe down: headers, bodies and reads that never end.

2,000 connections of each kind at a time, from slow_clients.py; the server ends each when its time
is over, and it comes back. Beside them one client asks 100 times a second, half of the time over a
new connection; 99 of 100 answers come within 50 ms.
"""

from __future__ import annotations

import functools
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import lane

CLIENTS = 2000
SECONDS = 30.0 if lane.IS_LONG else 6.0
TIMEOUT_MS = 10_000 if lane.IS_LONG else 3000
LIMIT_SECONDS = 0.050
# What the server counts when it ends a client of this mode.
_COUNTED = {"header": "header_timeouts", "read": "send_timeouts"}


def _probe(port: int, seconds: float) -> list[float]:
    """How long each answer took, the longest last."""
    taken = []
    until = time.monotonic() + seconds
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=lane.PATIENCE)
    number = 0
    while time.monotonic() < until:
        fresh = http.client.HTTPConnection("127.0.0.1", port, timeout=lane.PATIENCE)
        client = kept if number % 2 else fresh
        begun = time.monotonic()
        client.request("GET", "/")
        body = client.getresponse().read()
        taken.append(time.monotonic() - begun)
        fresh.close()
        lane.check(body == b"ok\n", f"the probe got {body!r}")
        number += 1
        time.sleep(0.01)
    kept.close()
    return sorted(taken)


@contextmanager
def _slow_clients(port: int, mode: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", str(lane.HERE / "slow_clients.py"), str(port), mode]
    with subprocess.Popen(
        [*command, str(CLIENTS), str(SECONDS + 1)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lane.check(process.stdout.readline() == "ready\n", f"{mode}: no clients")
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _attack(mode: str) -> str:
    with lane.HTTPServer(header_timeout_ms=TIMEOUT_MS, send_timeout_ms=TIMEOUT_MS) as server:
        with _slow_clients(server.port, mode) as process:
            taken = _probe(server.port, SECONDS)
            connections = server.ask("statistics")["connections"]
            out, _ = process.communicate(timeout=lane.PATIENCE)
        closed = int(out)
        lane.check(connections >= CLIENTS * 0.9, f"{mode}: only {connections} connections")
        if mode in _COUNTED:
            ended = server.ask("statistics")[_COUNTED[mode]]
            lane.check(ended >= CLIENTS, f"{mode}: {ended} ended by {_COUNTED[mode]}")
        lane.check(closed >= CLIENTS, f"{mode}: {closed} were closed")
        p99 = taken[len(taken) * 99 // 100]
        lane.check(p99 <= LIMIT_SECONDS, f"{mode}: p99 of the probe {p99 * 1e3:.1f} ms")
        left = lane.wait_until(lambda: server.ask("statistics")["connections"] == 0)
        lane.check(left, f"{mode}: connections are left behind")
    return f"{mode} p99 {p99 * 1e3:.1f} ms of {len(taken)}, {closed} closed"


def hostile() -> str:
    lane.raise_descriptor_limit()
    modes = ("header", "body", "read")
    parts = [lane.best_of(3, functools.partial(_attack, mode)) for mode in modes]
    return f"{CLIENTS} slow clients: " + "; ".join(parts)


lane.run(hostile, limit=500 if lane.IS_LONG else 150)
