"""close() of an HTTPServer: clients hear of it in their answers, and lose no request."""

from __future__ import annotations

import http.client
import threading

import pytest

from support import PATIENCE, receive, wait_until
from tinycoro import HTTPServer, Request


def test_a_client_at_rest_is_told_in_its_next_answer() -> None:
    server = HTTPServer(drain_grace=PATIENCE)
    server.respond("/", "hello")
    server.start()
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.request("GET", "/")
    first = client.getresponse()
    assert (first.read(), first.getheader("Connection")) == (b"hello", None)
    server.close()
    client.request("GET", "/")
    last = client.getresponse()
    assert (last.read(), last.getheader("Connection")) == (b"hello", "close")
    server.wait(PATIENCE)  # it was the last connection: the grace is over
    client.close()


def test_requests_in_flight_are_answered_and_told() -> None:
    server = HTTPServer(drain_timeout=PATIENCE)
    begun, may_end = threading.Event(), threading.Event()

    @server.get("/")
    def slow(_request: Request) -> str:
        begun.set()
        assert may_end.wait(PATIENCE)
        return "done"

    server.start()
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.request("GET", "/")
    assert begun.wait(PATIENCE)
    server.close()
    may_end.set()
    response = client.getresponse()
    assert (response.read(), response.getheader("Connection")) == (b"done", "close")
    server.wait(PATIENCE)
    client.close()


@pytest.mark.parametrize("grace", [0, 0.05])
def test_a_connection_at_rest_is_closed_when_the_grace_is_over(grace: float) -> None:
    server = HTTPServer(drain_grace=grace)
    server.start()
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.connect()
    assert wait_until(lambda: server.statistics().connections == 1)
    server.close()
    server.wait(PATIENCE)
    assert receive(client.sock, 1) == b""
    client.close()


def test_abort_ends_the_grace() -> None:
    server = HTTPServer(drain_grace=None, drain_timeout=None)
    server.start()
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.connect()
    assert wait_until(lambda: server.statistics().connections == 1)
    server.close()
    assert not server.closed
    server.abort()
    server.wait(PATIENCE)
    client.close()
