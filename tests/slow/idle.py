"""idle_timeout counts from the last byte in or out: three kinds of clients, at the same time.

One byte and then silence: closed that long after the byte. A byte every half of it: kept open.
Never a byte: closed that long after it was accepted. Long: the 10 seconds of the requirement.
"""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass

import lane

IDLE_SECONDS = 10.0 if lane.IS_LONG else 2.0
TOLERANCE_SECONDS = 0.1
OF_EACH_KIND = 10
FIRST_BYTE_SECONDS = IDLE_SECONDS / 10
KEPT_SECONDS = 2.6 * IDLE_SECONDS  # how long the talking ones are watched


@dataclass
class _Client:
    socket: socket.socket
    kind: str  # silent, once, talking
    since: float  # what idle_timeout is counted from
    next_byte: float | None
    ended: float | None = None


def _send_what_is_due(clients: list[_Client]) -> None:
    now = time.monotonic()
    for client in clients:
        if client.next_byte is None or now < client.next_byte or client.ended is not None:
            continue
        client.socket.send(b"x")
        client.since = time.monotonic()
        client.next_byte = now + IDLE_SECONDS / 2 if client.kind == "talking" else None


def _watch(clients: list[_Client], until: float) -> None:
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.socket.setblocking(False)
            selector.register(client.socket, selectors.EVENT_READ, client)
        while time.monotonic() < until:
            for key, _ in selector.select(0.005):
                if key.data.socket.recv(10):
                    continue
                key.data.ended = time.monotonic()
                selector.unregister(key.data.socket)
            _send_what_is_due(clients)


def _error(clients: list[_Client], kind: str) -> float:
    """The largest deviation from the moment when clients of this kind should have been closed."""
    worst = 0.0
    for client in clients:
        if client.kind == kind:
            lane.check(client.ended is not None, f"a client ({kind}) was not closed")
            assert client.ended is not None
            off = client.ended - client.since - IDLE_SECONDS
            lane.check(abs(off) <= TOLERANCE_SECONDS, f"{kind}: closed {off:+.3f} s off")
            worst = max(worst, abs(off))
    return worst


def idle() -> str:
    clients = []
    with lane.Server(runtime_workers=2, idle_timeout=IDLE_SECONDS) as server:
        baseline = server.baseline()
        for number in range(3 * OF_EACH_KIND):
            kind = ("silent", "once", "talking")[number % 3]
            connection = server.connect()
            now = time.monotonic()
            first = None if kind == "silent" else now + FIRST_BYTE_SECONDS
            clients.append(_Client(connection, kind, now, first))
        _watch(clients, time.monotonic() + KEPT_SECONDS)
        silent, once = _error(clients, "silent"), _error(clients, "once")
        cut = sum(client.ended is not None for client in clients if client.kind == "talking")
        lane.check(cut == 0, f"{cut} clients that kept sending were closed")
        counted = server.ask("statistics")["idle_closed"]
        lane.check(counted == 2 * OF_EACH_KIND, f"idle_closed={counted}")
        for client in clients:
            client.socket.close()
        server.settle(baseline, lane.SETTLE_SECONDS)
    return (
        f"idle_timeout={IDLE_SECONDS:.0f}: closed {IDLE_SECONDS:.0f} s after the accept ± "
        f"{silent * 1e3:.0f} ms, after the last byte ± {once * 1e3:.0f} ms; who sends stays"
    )


lane.run(lambda: lane.best_of(3, idle), limit=150)
