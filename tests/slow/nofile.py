"""RLIMIT_NOFILE 64 with 120 clients: no spinning at the limit, and work as soon as there is room.

Once with the default cap, once with `max_connections` above the limit.
"""

from __future__ import annotations

import socket
import time

import lane

LIMIT = 64
CLIENTS = 120
WINDOW_SECONDS = 3.0
CPU_SECONDS = 0.05
RECOVERY_SECONDS = 0.1


def _crowd(maximum: int | None = None) -> str:
    with lane.Server(runtime_workers=2, nofile=LIMIT, max_connections=maximum) as server:
        baseline = server.baseline()
        clients = []
        for _ in range(CLIENTS):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", server.port))
            clients.append(client)
        lane.check(
            lane.wait_until(lambda: server.ask("statistics")["accept_pauses"] > 0),
            "the listener never paused",
        )
        before = lane.cpu_seconds(server.pid)
        time.sleep(WINDOW_SECONDS)
        used = lane.cpu_seconds(server.pid) - before
        seen = server.ask("statistics")
        lane.check(used <= CPU_SECONDS, f"{used:.3f} s of CPU in {WINDOW_SECONDS} s, {seen}")
        if maximum is None:
            lane.check(seen["connections"] == LIMIT // 5 * 4, f"the default cap: {seen}")
        for client in clients:
            client.close()
        recovery = server.probe()
        lane.check(recovery <= RECOVERY_SECONDS, f"{recovery:.3f} s until a probe was answered")
        server.settle(baseline, lane.SETTLE_SECONDS)
    return (
        f"max_connections={maximum}: {seen['connections']} served, {seen['shed']} shed,"
        f" {used * 1e3:.1f} ms CPU in {WINDOW_SECONDS:.0f} s, probe after {recovery * 1e3:.1f} ms"
    )


def nofile() -> str:
    lane.raise_descriptor_limit()
    return f"{lane.best_of(3, _crowd)}; {lane.best_of(3, lambda: _crowd(1000))}"


lane.run(nofile, limit=90)
