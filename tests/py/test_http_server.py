"""HTTPServer with fixed answers, through real clients; limits, errors, life cycle."""

from __future__ import annotations

import errno
import gc
import http.client
import json
import shutil
import socket
import threading
from collections.abc import Iterator

import h11
import pytest

import tinycoro
from support import PATIENCE, connect, receive, run_curl, wait_until
from tinycoro import HTTPServer, HTTPServerStatistics

LARGE = bytes(range(256)) * 4096  # more than a socket takes at once


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A running server with some answers, ended at once when the test is over."""
    server = HTTPServer()
    server.respond("/", "hello\n")
    server.respond("/bytes", b"\x00\xff")
    server.respond("/json", {"a": [1, 2, "\u00e9"]})
    server.respond("/none", None, status=204)
    server.respond("/gone", "no", status=410, headers={"X-One": "1", "X-Two": "a b"})
    server.respond("/large", LARGE, content_type="image/png")
    server.respond("/a b", "space")
    server.start()
    yield server
    server.abort()
    server.wait(10)


def ask(
    server: HTTPServer, path: str, method: str = "GET", body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    try:
        client.request(method, path, body)
        response = client.getresponse()
        return response, response.read()
    finally:
        client.close()


# ---- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body"),
    [
        ("/", 200, "text/plain; charset=utf-8", b"hello\n"),
        ("/bytes", 200, "application/octet-stream", b"\x00\xff"),
        ("/none", 204, None, b""),
        ("/gone", 410, "text/plain; charset=utf-8", b"no"),
        ("/large", 200, "image/png", LARGE),
        ("/a%20b", 200, "text/plain; charset=utf-8", b"space"),
        ("/x/../a%20b?query=1", 200, "text/plain; charset=utf-8", b"space"),
        ("/nowhere", 404, "text/plain", b"404 Not Found\n"),
    ],
)
def test_an_answer_arrives_as_it_was_given(
    server: HTTPServer, path: str, status: int, content_type: str | None, body: bytes
) -> None:
    response, got = ask(server, path)
    assert (response.status, response.getheader("Content-Type"), got) == (
        status,
        content_type,
        body,
    )
    assert response.getheader("Date")
    head, nothing = ask(server, path, "HEAD")
    assert (head.status, head.getheader("Content-Length"), nothing) == (
        status,
        response.getheader("Content-Length"),
        b"",
    )


def test_fields_and_json(server: HTTPServer) -> None:
    response, _ = ask(server, "/gone")
    assert (response.getheader("X-One"), response.getheader("X-Two")) == ("1", "a b")
    response, got = ask(server, "/json")
    assert json.loads(got) == {"a": [1, 2, "\u00e9"]}
    assert response.getheader("Content-Type") == "application/json"


def test_other_methods_are_refused_with_those_that_work(server: HTTPServer) -> None:
    response, _ = ask(server, "/", "POST", b"body")
    assert (response.status, response.getheader("Allow")) == (405, "GET, HEAD, OPTIONS")
    response, _ = ask(server, "/", "OPTIONS")
    assert (response.status, response.getheader("Allow")) == (204, "GET, HEAD, OPTIONS")


def test_h11_reads_what_comes_over_one_connection(server: HTTPServer) -> None:
    with connect(server.address) as sock:
        reader = h11.Connection(h11.CLIENT)
        for path, size in [("/", 6), ("/large", len(LARGE)), ("/none", 0), ("/nowhere", 14)]:
            request = h11.Request(method="GET", target=path, headers=[("Host", "a")])
            sock.sendall(reader.send(request) or b"")
            reader.send(h11.EndOfMessage())
            got = 0
            while not isinstance(event := reader.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    reader.receive_data(sock.recv(1 << 16))
                elif isinstance(event, h11.Data):
                    got += len(event.data)
            assert got == size
            reader.start_next_cycle()
    assert server.statistics().requests == 4


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_two_answers_from_one_connection(server: HTTPServer) -> None:
    host, port = server.address
    url = f"http://{host}:{port}"
    printed = run_curl("--no-fail", "-i", f"{url}/", f"{url}/gone")
    assert printed.count(b"HTTP/1.1 200 OK") == 1
    assert printed.endswith(b"\r\n\r\nno")
    assert wait_until(lambda: server.statistics().accepted == 1)


def test_pipelined_requests_are_answered_in_order(server: HTTPServer) -> None:
    with connect(server.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        whole = b""
        while whole.count(b"hello\n") < 50:
            whole += receive(client, 1)
    assert whole.count(b"HTTP/1.1 200 OK\r\n") == 50


# ---- limits ------------------------------------------------------------------------------------


def first_line(server: HTTPServer, request: bytes) -> bytes:
    with connect(server.address) as client:
        client.sendall(request)
        answer = receive(client, 1 << 16)  # up to the end of the stream
    return answer.partition(b"\r\n")[0]


def test_what_breaks_a_rule_is_refused(server: HTTPServer) -> None:
    assert first_line(server, b"GET / HTTP/1.1\r\n\r\n") == b"HTTP/1.1 400 Bad Request"
    assert wait_until(lambda: server.statistics().connections == 0)
    assert server.statistics().refused == 1


def test_a_head_above_the_limit_is_refused() -> None:
    with HTTPServer(max_header_size=256) as server:
        request = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300 + b"\r\n\r\n"
        assert first_line(server, request).startswith(b"HTTP/1.1 431 ")


def test_a_head_that_does_not_end_times_out() -> None:
    with HTTPServer(header_timeout=0.05) as server:
        assert first_line(server, b"GET / HT").startswith(b"HTTP/1.1 408 ")
        assert server.statistics().header_timeouts == 1


def test_a_silent_connection_is_closed() -> None:
    with HTTPServer(keep_alive_timeout=0.05) as server:
        server_end = connect(server.address)
        with server_end as client:
            assert receive(client, 1) == b""
        assert wait_until(lambda: server.statistics().idle_closed == 1)


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"path": "x"}, ValueError, "path='x': it must begin with '/'"),
        ({"path": ""}, ValueError, "path=''"),
        ({"path": "/../x"}, ValueError, "path='/../x'"),
        ({"path": "/\0"}, ValueError, "one that a request can have"),
        ({"path": 1}, TypeError, "path must be a str, not int"),
        ({"body": 1}, TypeError, "body must be bytes-like, str, dict, list or None, not int"),
        ({"body": {1, 2}}, TypeError, "not set"),
        ({"body": [object()]}, TypeError, "not JSON serializable"),
        ({"status": 100}, ValueError, "status=100: it must be between 200 and 599"),
        ({"status": "200"}, TypeError, "status must be an integer, not str"),
        ({"status": 204}, ValueError, "status=204 has no body, and 4 bytes were given"),
        ({"content_type": "a\nb"}, ValueError, "content_type='a\\\\nb'"),
        ({"content_type": 1}, TypeError, "content_type must be str or bytes, not int"),
        ({"headers": {"a b": "c"}}, ValueError, "headers: .'a b', 'c'."),
        ({"headers": {"a": "b\r\nc: d"}}, ValueError, "headers: .*RFC 9110"),
        ({"headers": {"a": "b\0"}}, ValueError, "there is a NUL in it"),
        ({"headers": {"Content-Length": "3"}}, ValueError, "one that the server writes"),
        ({"headers": [("a", "b", "c")]}, ValueError, "is not a name and a value"),
        ({"headers": [("a", 1)]}, TypeError, "the value of a header must be str or bytes"),
        ({"headers": 3}, TypeError, "int"),
        ({"headers": {"a": "x" * 5000}}, ValueError, "headers are longer than 4096 bytes"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(
    arguments: dict[str, object], error: type[Exception], text: str
) -> None:
    server = HTTPServer()
    with pytest.raises(error, match=text):
        server.respond(**{"path": "/", "body": "body", **arguments})  # type: ignore[arg-type]
    server.respond("/", "body")  # the failure has left nothing


def test_a_path_is_answered_in_one_way() -> None:
    server = HTTPServer()
    server.respond("/a b", "1")
    with pytest.raises(ValueError, match=r"path='/x/\.\./a%20b' has a route already"):
        server.respond("/x/../a%20b", "2")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_header_size": 255}, ValueError),
        ({"max_header_size": 65537}, ValueError),
        ({"header_timeout": 0}, ValueError),
        ({"keep_alive_timeout": -1}, ValueError),
        ({"keep_alive_timeout": "1"}, TypeError),
        ({"host": "example.org"}, ValueError),
        ({"port": 65536}, ValueError),
        ({"workers": 0}, ValueError),
        ({"unknown": 0}, TypeError),
    ],
)
def test_a_server_that_cannot_be_is_refused(
    arguments: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        HTTPServer(**arguments)  # type: ignore[arg-type]


def test_routes_are_fixed_while_it_runs() -> None:
    server = HTTPServer()
    with server, pytest.raises(RuntimeError, match="its routes are fixed while it runs"):
        server.respond("/", "late")
    server.respond("/", "in time")


# ---- life --------------------------------------------------------------------------------------


def test_started_again_it_answers_what_it_did_and_more() -> None:
    server = HTTPServer()
    server.respond("/one", "1")
    with server:
        assert ask(server, "/one")[1] == b"1"
    assert server.statistics().requests == 1
    server.respond("/two", "2")
    for _ in range(2):
        with server:
            assert [ask(server, path)[1] for path in ("/one", "/two")] == [b"1", b"2"]
        assert server.statistics().requests == 2


def test_a_port_that_is_taken_is_an_error_and_the_server_stays_usable() -> None:
    with HTTPServer() as first:
        server = HTTPServer(port=first.address[1])
        server.respond("/", "second")
        with pytest.raises(OSError, match="cannot listen"):
            server.start()
    with server:
        assert ask(server, "/")[1] == b"second"


def test_it_says_what_it_is(server: HTTPServer) -> None:
    host, port = server.address
    assert (
        repr(server) == f"<tinycoro.HTTPServer {host}:{port}, listening, connections=0 accepted=0>"
    )
    statistics = server.statistics()
    assert isinstance(statistics, HTTPServerStatistics)
    assert (statistics.requests, statistics.listening) == (0, True)


def test_dropped_while_it_runs_it_warns_and_ends() -> None:
    server = HTTPServer()
    server.respond("/", LARGE)
    server.start()
    held = [server]
    del server
    with pytest.warns(ResourceWarning, match="unclosed <tinycoro.HTTPServer"):
        held.clear()
    gc.collect()


def test_never_started_it_leaves_nothing() -> None:
    server = HTTPServer()
    server.respond("/", LARGE)
    server.close()
    with pytest.raises(RuntimeError, match="was never started"):
        server.wait()


def test_in_a_task() -> None:
    async def main() -> tuple[int, bytes]:
        server = HTTPServer()
        server.respond("/", "from a task")
        async with server:
            response, body = await tinycoro.to_thread(ask, server, "/")
            return response.status, body

    assert tinycoro.run(main()) == (200, b"from a task")


def test_many_threads_ask_at_once(server: HTTPServer) -> None:
    failures: list[object] = []

    def work() -> None:
        for _ in range(20):
            if ask(server, "/large")[1] != LARGE:
                failures.append("differs")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert wait_until(lambda: server.statistics().connections == 0)


# ---- a socket that listens already ---------------------------------------------------------------


def test_a_socket_that_listens_is_handed_on_without_a_refused_connection() -> None:
    """Four servers take turns; who connects between two of them waits for the next."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        for number in range(4):
            server = HTTPServer(fd=listener.fileno())
            assert f"HTTPServer fd {listener.fileno()}, not started" in repr(server)
            server.respond("/", f"server {number}")
            waiting = http.client.HTTPConnection(host, port, timeout=PATIENCE)
            waiting.request("GET", "/")
            with server:
                assert server.address == (host, port)
                assert waiting.getresponse().read() == f"server {number}".encode()
                waiting.close()


def test_a_descriptor_that_does_not_listen_is_refused() -> None:
    with pytest.raises(ValueError, match="fd=2"):
        HTTPServer(fd=2)
    with socket.socket() as idle:
        server = HTTPServer(fd=idle.fileno())
        with pytest.raises(OSError, match=f"cannot listen.*fd {idle.fileno()}") as caught:
            server.start()
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="fd 1000000000") as caught:
        HTTPServer(fd=1_000_000_000).start()
    assert caught.value.errno == errno.EBADF
