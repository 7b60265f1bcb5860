"""Servers start and stop again and again, idle, after traffic, and with connections open.

Threads, descriptors and bytes are back at their baseline after every cycle.
"""

from __future__ import annotations

import os
import socket
import time

import lane
import tinycoro

CYCLES = 1000 if lane.IS_LONG else 100
OPEN_CLIENTS = 20


def _held() -> tuple[int, int, int]:
    now = tinycoro.statistics()
    return (
        now.bytes_in_use - now.bytes_reserved,
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
    )


def _probe(server: tinycoro.EchoServer) -> socket.socket:
    client = socket.create_connection(server.address, timeout=lane.PATIENCE)
    client.sendall(b"probe")
    lane.check(lane.receive(client, 5) == b"probe", "a probe was not echoed")
    return client


def _cycle(number: int) -> None:
    server = tinycoro.EchoServer(idle_timeout=30, drain_timeout=0)
    server.start()
    match number % 4:
        case 0:
            clients = []
        case 1:
            clients = [_probe(server)]
            clients.pop().close()
        case 2:
            clients = [_probe(server) for _ in range(OPEN_CLIENTS)]
        case _:  # in the middle of a transfer that nobody reads, or not yet accepted
            clients = [_probe(server) for _ in range(OPEN_CLIENTS)]
            for client in clients:
                client.setblocking(False)
                try:
                    while client.send(b"x" * 65536):
                        pass
                except BlockingIOError:
                    pass
            clients.append(socket.create_connection(server.address, timeout=lane.PATIENCE))
    if number % 8 < 4:
        server.close()
    else:
        server.abort()
    server.wait(lane.PATIENCE)
    for client in clients:
        client.close()


def restart() -> str:
    tinycoro.configure(workers=2)
    for number in range(8):
        _cycle(number)
    before = _held()
    resident = lane.status_bytes(os.getpid(), "VmRSS")
    slowest = 0.0
    for number in range(CYCLES):
        begun = time.monotonic()
        _cycle(number)
        slowest = max(slowest, time.monotonic() - begun)
        lane.check(
            lane.wait_until(lambda: _held() == before, lane.SETTLE_SECONDS),
            f"after cycle {number}: bytes, descriptors, threads {_held()}; before {before}",
        )
    grown = (lane.status_bytes(os.getpid(), "VmRSS") - resident) / 1024
    lane.check(grown < 8192, f"RSS grew by {grown:.0f} KiB in {CYCLES} cycles")
    return (
        f"{CYCLES} cycles, slowest {slowest * 1e3:.0f} ms; bytes, descriptors, threads always back"
        f" at {before}; RSS {grown:+.0f} KiB"
    )


lane.run(restart, limit=600 if lane.IS_LONG else 60)
