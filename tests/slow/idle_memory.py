"""What an idle connection costs: RSS of the server for each of many.

9,000 of echo after one echo, and 10,000 of HTTP that are kept alive after one answer.
"""

from __future__ import annotations

from collections.abc import Callable

import lane

ECHO_CLIENTS = 9000
ECHO_LIMIT_BYTES = 512
HTTP_CLIENTS = 10_000
HTTP_LIMIT_BYTES = 600
KEEP_ALIVE_MS = 120_000  # longer than the lane


def _rest(server: lane.Server | lane.HTTPServer, count: int) -> None:
    is_at_rest = lane.wait_until(lambda: server.ask("statistics")["resting"] == count)
    lane.check(is_at_rest, f"{count} connections do not rest")


def _measure(server: lane.Server | lane.HTTPServer, talk: Callable[[], None], count: int) -> float:
    """RSS for each connection that `talk` opens."""
    talk()  # what the first connection allocates is no connection's
    _rest(server, 1)
    before = lane.status_bytes(server.pid, "VmRSS")
    for _ in range(count):
        talk()
    _rest(server, count + 1)
    return (lane.status_bytes(server.pid, "VmRSS") - before) / count


def _echo() -> str:
    with lane.Server(runtime_workers=2) as server:
        baseline = server.baseline()
        clients = []

        def talk() -> None:
            client = server.connect()
            client.sendall(b"x" * 106)
            lane.check(lane.receive(client, 106) == b"x" * 106, "a wrong echo")
            clients.append(client)

        each = _measure(server, talk, ECHO_CLIENTS)
        lane.check(each <= ECHO_LIMIT_BYTES, f"echo: {each:.0f} B, limit {ECHO_LIMIT_BYTES}")
        for client in clients:
            client.close()
        took = server.settle(baseline, lane.SETTLE_SECONDS)
    return f"{each:.0f} B for each of {ECHO_CLIENTS} of echo, gone after {took:.2f} s"


def _http() -> str:
    with lane.HTTPServer(idle_timeout_ms=KEEP_ALIVE_MS) as server:
        clients = []

        def talk() -> None:
            client = server.connect()
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: idle\r\n\r\n")
            answer = client.recv(1024)
            lane.check(answer.startswith(b"HTTP/1.1 200 "), f"a wrong answer: {answer!r}")
            clients.append(client)

        each = _measure(server, talk, HTTP_CLIENTS)
        lane.check(each <= HTTP_LIMIT_BYTES, f"HTTP: {each:.0f} B, limit {HTTP_LIMIT_BYTES}")
        for client in clients:
            client.close()
        gone = lane.wait_until(lambda: server.ask("statistics")["connections"] == 0)
        lane.check(gone, "connections are left behind")
    return f"{each:.0f} B for each of {HTTP_CLIENTS} of HTTP"


def idle_memory() -> str:
    limit = lane.raise_descriptor_limit()
    most = max(ECHO_CLIENTS, HTTP_CLIENTS)
    lane.check(limit * 0.8 > most, f"{limit} descriptors are too few for {most} clients")
    return f"RSS of idle connections: {_echo()}; {_http()}"


lane.run(idle_memory, limit=90)
