"""HTTPServer.statistics().latency: which route took how long."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path

import pytest

from support import PATIENCE, connect, receive, wait_until
from tinycoro import HTTPServer, Request, RouteLatency

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n"


def ask(server: HTTPServer, path: str, method: str = "GET", body: bytes | None = None) -> int:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.request(method, path, body)
    response = client.getresponse()
    response.read()
    client.close()
    return response.status


def latencies(server: HTTPServer) -> dict[str | None, RouteLatency]:
    """By route: an answer may arrive before it is counted, so the server has to have ended."""
    assert server.closed
    return {
        f"{latency.route} {latency.methods[0]}" if latency.route else None: latency
        for latency in server.statistics().latency
    }


def test_every_kind_of_route_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    server = HTTPServer()
    server.respond("/fixed", "hello")
    server.respond("/unused", "hello")
    server.static("/files", tmp_path)
    server.upload("/in", tmp_path, max_size=1000)

    @server.get("/python/{name}")
    async def hello(request: Request) -> str:
        return request.path_params["name"]

    with server:
        for path, times in (("/fixed", 3), ("/files/file", 2), ("/python/a", 4), ("/none", 1)):
            for _ in range(times):
                ask(server, path)
        assert ask(server, "/in/new", "PUT", b"body") == 201
        assert ask(server, "/fixed", "DELETE") == 405
        with connect(server.address) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert receive(client, 12) == b"HTTP/1.1 400"
    found = latencies(server)
    assert {route: latency.count for route, latency in found.items()} == {
        "/fixed GET": 3,
        "/files GET": 2,
        "/in POST": 1,
        "/python/{name} GET": 4,
        None: 3,
    }
    assert found["/fixed GET"].methods == ("GET", "HEAD")
    assert found[None].methods == ()
    for latency in found.values():
        assert 0 < latency.p50 <= latency.p90 <= latency.p99 <= latency.p999 <= latency.max
        assert latency.max <= latency.sum <= latency.max * latency.count * 1.0001


def test_the_time_of_a_handler_is_in_it() -> None:
    server = HTTPServer()

    @server.get("/")
    def slow(_request: Request) -> str:
        time.sleep(0.05)
        return "done"

    with server:
        ask(server, "/")
    assert latencies(server)["/ GET"].max >= 0.05


@pytest.mark.parametrize("kept", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_comes_in_parts_counts_from_its_first_byte(kept: bytes) -> None:
    server = HTTPServer()
    server.respond("/", "hello")
    request = GET % (b"/", b"Connection: close\r\n")
    with server, connect(server.address) as client:
        client.sendall(kept)
        assert wait_until(lambda: server.statistics().bytes_in == len(kept) or _waits(server))
        time.sleep(0.05)
        client.sendall(request[len(kept) :])
        assert receive(client, 1 << 16).endswith(b"hello")
    assert latencies(server)["/ GET"].max >= 0.05


def _waits(server: HTTPServer) -> bool:
    """Whether a fiber waits for the rest of a head."""
    statistics = server.statistics()
    return statistics.connections == 1 and statistics.resting == 0


def test_pipelined_requests_are_counted_each() -> None:
    server = HTTPServer()
    server.respond("/", "hello")
    server.respond("/other", "hello")
    count = 300  # more than are noted at a time
    with server, connect(server.address) as client:
        requests = (GET % (b"/", b"") + GET % (b"/other", b"")) * count
        sender = threading.Thread(
            target=client.sendall, args=(requests + GET % (b"/", b"Connection: close\r\n"),)
        )
        sender.start()
        assert receive(client, 1 << 22).count(b"HTTP/1.1 200") == 2 * count + 1
        sender.join()
    found = latencies(server)
    assert (found["/ GET"].count, found["/other GET"].count) == (count + 1, count)


def test_an_answer_that_the_client_takes_slowly_counts_to_its_last_byte() -> None:
    large = bytes(1 << 24)
    server = HTTPServer()
    server.respond("/", large)
    with server, connect(server.address) as client:
        client.sendall(GET % (b"/", b"Connection: close\r\n"))
        assert wait_until(lambda: _waits(server))
        time.sleep(0.05)
        assert len(receive(client, len(large) + 1000)) > len(large)
    assert latencies(server)["/ GET"].max >= 0.05


def test_an_answer_that_is_not_taken_is_not_counted() -> None:
    server = HTTPServer(send_timeout=0.05)
    server.respond("/", bytes(1 << 24))
    with server, connect(server.address) as client:
        client.sendall(GET % (b"/", b""))
        assert wait_until(lambda: server.statistics().send_timeouts == 1)
    assert latencies(server) == {}


def test_a_run_begins_anew() -> None:
    server = HTTPServer()
    server.respond("/", "hello")
    for times in (2, 1):
        with server:
            for _ in range(times):
                ask(server, "/")
        assert latencies(server)["/ GET"].count == times
