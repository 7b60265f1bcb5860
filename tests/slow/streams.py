"""Stream connections by the thousand, churned: descriptors, tasks and memory are flat.

Each round opens them all; they echo, are timed out, or are flooded and read slowly; they end by a
close, a half-close or a reset. Afterwards every task and descriptor is gone; the memory is that of
the first rounds. While slow readers are flooded, the server keeps no more for each of them than its
water mark and one block. Long: 5 minutes.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from contextlib import AbstractContextManager

import lane

SECONDS = 300 if lane.IS_LONG else 12
CONNECTIONS = min(5000, int(0.35 * lane.raise_descriptor_limit()))
SLOW_READERS = 200
# The allocator has its size after so many rounds; it may gain this much in those that follow.
WARM_ROUNDS = 8
LEAST_ROUNDS = 12
GROWTH_BYTES = 6 << 20
BLOCK = 64 * 1024
HIGH_WATER = 64 * 1024
# What a slow reader may cost: the water mark, a block, and the connection itself.
SLOW_READER_BYTES = HIGH_WATER + BLOCK + 32 * 1024
RECEIVE_BUFFER = 16 * 1024
RESET = struct.pack("ii", 1, 0)


class Server(AbstractContextManager["Server"]):
    """serve_streams.py, asked for its figures through a pipe."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-X", "faulthandler", "-W", "error"]
        self.process = subprocess.Popen(
            [*command, str(lane.HERE / "serve_streams.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        lane.check(bool(line), f"the server died with {self.process.poll()}")
        return line

    def figures(self) -> dict[str, int]:
        assert self.process.stdin is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        answer: dict[str, int] = json.loads(self._line())
        return answer

    def census(self) -> tuple[int, int]:
        """Tasks and descriptors."""
        descriptors = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return self.figures()["tasks"], descriptors

    def rss(self) -> int:
        return lane.status_bytes(self.process.pid, "VmRSS")

    def connect(self, kind: bytes, buffer: int | None = None) -> socket.socket:
        client = socket.socket()
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(lane.PATIENCE)
        client.connect(("127.0.0.1", self.port))
        client.sendall(kind)
        return client

    def settle(self, baseline: tuple[int, int]) -> None:
        if not lane.wait_until(lambda: self.census() == baseline):
            raise lane.Failure(f"tasks and descriptors {self.census()}; baseline {baseline}")

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self.process.kill()
        self.process.communicate(timeout=lane.PATIENCE)
        if exception[0] is None:
            code = self.process.returncode
            lane.check(code == 0, f"the server ended with {code}")


def end(client: socket.socket) -> None:
    """One of three ways, some of them with bytes on their way in either direction."""
    way = random.choice(("close", "half", "reset"))
    if way == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    elif way == "half":
        client.shutdown(socket.SHUT_WR)
        while client.recv(BLOCK):
            pass
    client.close()


def echo(client: socket.socket) -> None:
    data = random.randbytes(random.randrange(1, 4000))
    client.sendall(data)
    if random.random() < 0.8:
        lane.check(lane.receive(client, len(data)) == data, "an echo is wrong")


def churn(server: Server) -> None:
    """One round: all connections are open at the same time."""
    kinds = random.choices((b"e", b"t"), (9, 1), k=CONNECTIONS)
    clients = [(kind, server.connect(kind)) for kind in kinds]
    random.shuffle(clients)
    for kind, client in clients:
        if kind == b"e":
            echo(client)
            end(client)
    for kind, client in clients:
        if kind == b"t":
            lane.check(client.recv(1) == b"", "bytes instead of the end")
            client.close()


def is_stalled(server: Server) -> bool:
    """Whether nothing was written for a while."""
    before = server.figures()["blocks"]
    time.sleep(0.05)
    return server.figures()["blocks"] == before


def flood(server: Server) -> int:
    """Slow readers; returns how much the server has grown for each."""
    before = server.rss()
    clients = [server.connect(b"f", RECEIVE_BUFFER) for _ in range(SLOW_READERS)]
    for _ in range(5):
        for client in clients:
            lane.check(len(client.recv(1000)) > 0, "a slow reader was given up")
    lane.check(lane.wait_until(lambda: is_stalled(server)), "the flood does not wait")
    most = server.figures()["unsent_most"]
    lane.check(most <= HIGH_WATER + BLOCK, f"{most} bytes were kept for a slow reader")
    each = (server.rss() - before) // SLOW_READERS
    lane.check(each <= SLOW_READER_BYTES, f"a slow reader costs {each} bytes")
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
    return each


def streams() -> str:
    rounds, each, first = 0, 0, 0
    with Server() as server:
        baseline = server.census()
        deadline = time.monotonic() + SECONDS
        while rounds < LEAST_ROUNDS or time.monotonic() < deadline:
            churn(server)
            each = max(each, flood(server))
            server.settle(baseline)
            rounds += 1
            if rounds == WARM_ROUNDS:
                first = server.rss()
        growth = server.rss() - first
        lane.check(growth <= GROWTH_BYTES, f"RSS has grown by {growth} B in {rounds} rounds")
        figures = server.figures()
    return (
        f"{rounds} rounds of {CONNECTIONS} connections, {figures['timeouts']} timed out, "
        f"{figures['resets']} errors seen; RSS {growth / 1024:+.0f} KiB; a slow reader costs "
        f"{each / 1024:.0f} KiB, of which unsent {figures['unsent_most'] / 1024:.0f} KiB at most"
    )


lane.run(streams, limit=SECONDS + 120)
