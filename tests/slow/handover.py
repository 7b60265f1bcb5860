"""Servers follow one another on one listening socket, under load: nobody is refused, nothing fails.

A client keeps its connection as long as it may, and asks again over a new one if the old one ended
before the first byte of an answer, as HTTP lets it (RFC 9112 9.3.1). The next server starts while
the last one still drains.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time

import lane

RESTARTS = 200 if lane.IS_LONG else 20
CLIENTS = 16
PAUSE_SECONDS = 0.2  # between two restarts
DRAINING_MAX = 12  # servers that may be ending at a time
ATTEMPTS = 4


class _Client(threading.Thread):
    """Asks without end; counts what went wrong."""

    def __init__(self, port: int, ended: threading.Event) -> None:
        super().__init__()
        self.port = port
        self.ended = ended
        self.requests = 0
        self.repeated = 0
        self.failures: list[str] = []

    def _ask(self, kept: http.client.HTTPConnection) -> None:
        """One request; the connection may turn out to be over."""
        for attempt in range(1, ATTEMPTS + 1):
            if kept.sock is None:
                kept.connect()  # may never be refused
            try:
                kept.request("GET", "/")
                response = kept.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                kept.close()
                if attempt == ATTEMPTS:
                    raise
                self.repeated += 1
                continue
            body = response.read()
            lane.check(response.status == 200 and body == b"ok\n", f"{response.status}: {body!r}")
            return

    def run(self) -> None:
        kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=lane.PATIENCE)
        while not self.ended.is_set():
            try:
                self._ask(kept)
            except (OSError, http.client.HTTPException, lane.Failure) as error:
                self.failures.append(repr(error))
                kept.close()
            self.requests += 1
            if self.requests % 5 == 0:
                kept.close()  # so that there are always some that connect
            time.sleep(0.001)
        kept.close()


def _restart_all(listener: socket.socket) -> float:
    """Returns the longest time from a drain to the end of its process."""
    server = lane.HTTPServer(listener.fileno())
    draining: list[tuple[float, lane.HTTPServer]] = []
    longest = 0.0

    def reap() -> bool:
        nonlocal draining, longest
        for since, old in draining:
            if old.has_ended():
                longest = max(longest, time.monotonic() - since)
        draining = [pair for pair in draining if not pair[1].has_ended()]
        return len(draining) < DRAINING_MAX

    for _ in range(RESTARTS):
        following = lane.HTTPServer(listener.fileno())
        server.drain()
        draining.append((time.monotonic(), server))
        server = following
        time.sleep(PAUSE_SECONDS)
        lane.check(lane.wait_until(reap), "servers that drain do not end")
    server.drain()
    draining.append((time.monotonic(), server))
    lane.check(lane.wait_until(lambda: reap() and not draining), "the last servers do not end")
    return longest


def handover() -> str:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        clients = [_Client(listener.getsockname()[1], ended) for _ in range(CLIENTS)]
        first = lane.HTTPServer(listener.fileno())
        for client in clients:
            client.start()
        try:
            longest = _restart_all(listener)
        finally:
            ended.set()
            for client in clients:
                client.join()
        first.drain()
        lane.check(lane.wait_until(first.has_ended), "the first server does not end")
    failures = [failure for client in clients for failure in client.failures]
    lane.check(not failures, f"{len(failures)} requests failed: {failures[:3]}")
    requests, repeated = (
        sum(getattr(client, name) for client in clients) for name in ("requests", "repeated")
    )
    return (
        f"{RESTARTS} restarts, {requests} requests, 0 refused, 0 failed, {repeated} asked again;"
        f" the longest drain took {longest:.1f} s"
    )


lane.run(handover, limit=400 if lane.IS_LONG else 100)
