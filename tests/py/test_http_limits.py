"""What each limit of HTTPServer does, by a client that goes beyond it."""

from __future__ import annotations

import time

import pytest

from support import PATIENCE, connect, receive, wait_until
from tinycoro import HTTPServer


def answer_to(server: HTTPServer, request: bytes) -> bytes:
    """All that comes, up to the end of the stream."""
    with connect(server.address) as client:
        client.sendall(request)
        return receive(client, 1 << 16)


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("limit", "request_", "status"),
    [
        ({"max_request_line": 64}, b"GET /" + b"x" * 64 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ({"max_header_size": 256}, GET + b"X: " + b"x" * 256 + b"\r\n\r\n", 431),
        ({"max_headers": 2}, GET + b"A: b\r\nC: d\r\n\r\n", 431),
        ({"header_timeout": 0.05}, GET, 408),
    ],
)
def test_a_head_beyond_a_limit_is_refused(
    limit: dict[str, float], request_: bytes, status: int
) -> None:
    with HTTPServer(**limit) as server:  # type: ignore[arg-type]
        assert answer_to(server, request_).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("limit", "body", "status"),
    [
        ({"max_body": 4}, b"5\r\nhello\r\n0\r\n\r\n", 413),
        ({"max_chunk_extension": 4}, b"1;a=b\r\nx\r\n0\r\n\r\n", 200),
        ({"max_chunk_extension": 2}, b"1;a=b\r\nx\r\n0\r\n\r\n", 400),
        ({"body_timeout": 0.05}, b"5\r\nhe", 408),
        ({"body_grace": 0.05, "min_body_rate": 10**9}, b"5\r\nhe", 408),
    ],
)
def test_a_body_for_a_handler_beyond_a_limit_is_refused(
    limit: dict[str, float], body: bytes, status: int
) -> None:
    server = HTTPServer(**limit)  # type: ignore[arg-type]
    server.post("/")(lambda request: "taken")
    request = CHUNKED.replace(b"Host: a", b"Host: a\r\nConnection: close") + body
    with server:
        assert answer_to(server, request).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(("limit", "is_kept"), [(5, True), (4, False)])
def test_a_body_that_nobody_wants_is_skipped_up_to_a_limit(limit: int, is_kept: bool) -> None:
    server = HTTPServer(max_skipped_body=limit)
    server.respond("/", "hello")
    with server, connect(server.address) as client:
        client.sendall(GET + b"Content-Length: 5\r\n\r\nhello" + GET + b"Connection: close\r\n\r\n")
        answer = receive(client, 1 << 16)
    assert answer.count(b"HTTP/1.1 200 ") == (2 if is_kept else 1)


def test_skipping_a_body_has_its_time() -> None:
    server = HTTPServer(skip_timeout=0.05)
    server.respond("/", "hello")
    with server:
        assert answer_to(server, GET + b"Content-Length: 5\r\n\r\n").count(b"HTTP/1.1 200 ") == 1
        assert wait_until(lambda: server.statistics().connections == 0)


def test_a_client_that_takes_nothing_is_given_up() -> None:
    server = HTTPServer(send_timeout=0.05)
    server.respond("/", bytes(1 << 24))
    with server, connect(server.address) as client:
        began = time.monotonic()
        client.sendall(GET + b"\r\n")
        assert wait_until(lambda: server.statistics().send_timeouts == 1)
        assert time.monotonic() - began < PATIENCE


def test_each_limit_may_be_switched_off_where_it_is_a_time() -> None:
    times = ("keep_alive", "header", "body", "send", "skip", "drain")
    server = HTTPServer(**{f"{name}_timeout": None for name in times}, body_grace=None)  # type: ignore[arg-type]
    server.respond("/", "hello")
    with server:
        assert answer_to(server, GET + b"Connection: close\r\n\r\n").endswith(b"hello")
