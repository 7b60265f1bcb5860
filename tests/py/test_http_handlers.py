"""Handlers in Python: what they are given, what becomes of what they return, and how they end."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import logging
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import pytest

import tinycoro
from support import PATIENCE, Census, connect, receive, reset, wait_until
from tinycoro import HTTPServer, Request, Response

Answer = tuple[int, bytes, http.client.HTTPResponse]


def ask(
    server: HTTPServer,
    path: str,
    method: str = "GET",
    body: bytes | Iterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    try:
        client.request(method, path, body, headers or {})
        response = client.getresponse()
        return response.status, response.read(), response
    finally:
        client.close()


# ---- requests ----------------------------------------------------------------------------------


def test_a_request_shows_what_was_sent(http_server: HTTPServer) -> None:
    seen: list[object] = []

    @http_server.route("/a/{one}/{rest:path}", methods=["POST"])
    async def handler(request: Request) -> dict[str, object]:
        headers = request.headers
        body, value = (await request.body()).decode(), await request.json()
        seen.append(repr(request))
        seen.append((headers["X-ONE"], headers.get("nope"), headers.get("nope", 3), len(headers)))
        seen.append(("x-Many" in headers, "nope" in headers, headers.get_all("X-MANY")))
        seen.append((headers["x-many"], dict(headers.items())["x-one"], list(headers)[-1]))
        seen.append((request.http_version, [part async for part in request.stream()]))
        return {
            "method": request.method,
            "path": request.path,
            "target": request.target,
            "query": request.query,
            "query_params": request.query_params,
            "path_params": request.path_params,
            "body": body,
            "json": value,
        }

    http_server.start()
    target = "/a/%C3%A9/x/y%20z?q=1&q=2&r=a+b%21&s"
    body = b'{"k": [1]}'
    with connect(http_server.address) as client:
        client.sendall(
            b"POST %s HTTP/1.1\r\nHost: a\r\nx-one: 1\r\nX-Many: a\r\nX-Many: b\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (target.encode(), len(body), body)
        )
        head, _, answer = receive(client, 1 << 16).partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert json.loads(answer) == {
        "method": "POST",
        "path": "/a/\u00e9/x/y z",
        "target": target,
        "query": "q=1&q=2&r=a+b%21&s",
        "query_params": {"q": "2", "r": "a b!", "s": ""},
        "path_params": {"one": "\u00e9", "rest": "x/y z"},
        "body": body.decode(),
        "json": {"k": [1]},
    }
    assert seen == [
        "<Request POST '/a/\u00e9/x/y z'>",
        ("1", None, 3, 5),
        (True, False, ["a", "b"]),
        ("a, b", "1", "connection"),
        ("1.1", [body]),
    ]


@pytest.mark.parametrize("size", [0, 1, 1000, 200_000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_arrives_whole(http_server: HTTPServer, size: int, is_chunked: bool) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)

    @http_server.post("/")
    async def handler(request: Request) -> bytes:
        if request.query == "pieces":
            return b"".join([part async for part in request.stream()])
        return await request.body()

    http_server.start()
    body = payload[:size]
    for target in ("/?whole", "/?pieces"):
        pieces = (body[i : i + 7777] for i in range(0, size, 7777))
        status, answer, _ = ask(http_server, target, "POST", pieces if is_chunked else body)
        assert (status, answer) == (200, body)


def test_a_body_above_the_limit_is_refused() -> None:
    server = HTTPServer(max_body=1000)
    called: list[Request] = []

    @server.post("/")
    def handler(request: Request) -> str:
        called.append(request)
        return "called"

    with server:
        with connect(server.address) as client:  # before a byte of it has come
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
            assert receive(client, 1 << 16).startswith(b"HTTP/1.1 413 ")
        with connect(server.address) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.sendall(b"3e9\r\n" + b"x" * 1001)
            assert receive(client, 1 << 16).startswith(b"HTTP/1.1 413 ")
        assert ask(server, "/", "POST", b"x" * 1000)[0] == 200
    assert len(called) == 1


def test_a_body_that_stops_times_out() -> None:
    server = HTTPServer(body_timeout=0.05)
    server.post("/")(lambda request: "called")
    with server, connect(server.address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfive.")
        assert receive(client, 1 << 16).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_waits_is_told_to_go_on(http_server: HTTPServer) -> None:
    @http_server.post("/")
    async def handler(request: Request) -> bytes:
        return await request.body()

    http_server.start()
    with connect(http_server.address) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert receive(client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert receive(client, 1 << 16).endswith(b"\r\n\r\nhello")


# ---- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "status", "content_type", "body"),
    [
        ("\u00e9", 200, "text/plain; charset=utf-8", "\u00e9".encode()),
        ("", 200, "text/plain; charset=utf-8", b""),
        (b"\0", 200, "application/octet-stream", b"\0"),
        (bytearray(b"ab"), 200, "application/octet-stream", b"ab"),
        ([1, None], 200, "application/json", b"[1, null]"),
        (Response(None, status=204), 204, None, b""),
        (Response("<p>", status=418, content_type="text/html"), 418, "text/html", b"<p>"),
        (Response(b"x" * 300_000), 200, "application/octet-stream", b"x" * 300_000),
    ],
)
def test_what_a_handler_returns_is_answered(
    http_server: HTTPServer,
    value: Response | str,
    status: int,
    content_type: str | None,
    body: bytes,
) -> None:
    @http_server.get("/async")
    async def coroutine(request: Request) -> Response | str:
        return value

    @http_server.get("/later")
    async def later(request: Request) -> Response | str:
        await tinycoro.sleep(0.001)
        return value

    @http_server.get("/plain")
    def function(request: Request) -> Response | str:
        return value

    http_server.start()
    for path in ("/async", "/later", "/plain"):
        got, answer, response = ask(http_server, path)
        assert (got, answer) == (status, body)
        assert response.getheader("Content-Type") == content_type
        head, nothing, response = ask(http_server, path, "HEAD")
        assert (head, nothing) == (status, b"")
        assert response.getheader("Content-Length") == (str(len(body)) if status != 204 else None)


def test_a_response_shows_what_it_is() -> None:
    response = Response({"a": 1}, status=201, headers=[("X-A", "1"), ("X-A", b"2")])
    assert (response.status, response.body) == (201, b'{"a": 1}')
    assert response.content_type == "application/json"
    assert response.headers == (("X-A", "1"), ("X-A", "2"))
    assert repr(response) == "<Response 201, 8 bytes>"
    with pytest.raises(ValueError, match="status=99"):
        Response(status=99)
    with pytest.raises(ValueError, match="one that the server writes"):
        Response(headers={"content-type": "a"})


def test_other_methods_of_a_path_are_405_and_say_what_works(http_server: HTTPServer) -> None:
    http_server.get("/x/{a}")(lambda request: "get")
    http_server.route("/x/{a}", methods=["PUT"])(lambda request: "put")
    http_server.start()
    assert [ask(http_server, "/x/1", method)[:2] for method in ("GET", "PUT")] == [
        (200, b"get"),
        (200, b"put"),
    ]
    status, _, response = ask(http_server, "/x/1", "DELETE")
    assert (status, response.getheader("Allow")) == (405, "GET, HEAD, PUT, OPTIONS")
    status, _, response = ask(http_server, "/x/1", "OPTIONS")
    assert (status, response.getheader("Allow")) == (204, "GET, HEAD, PUT, OPTIONS")
    assert ask(http_server, "/x/")[0] == 404
    assert ask(http_server, "/x/1/2")[0] == 404


def test_a_fixed_answer_and_a_handler_share_a_path(http_server: HTTPServer) -> None:
    http_server.respond("/both", "fixed")
    http_server.route("/both", methods=["POST"])(lambda request: "handled")
    http_server.start()
    assert ask(http_server, "/both")[1] == b"fixed"
    assert ask(http_server, "/both", "POST", b"x")[1] == b"handled"
    status, _, response = ask(http_server, "/both", "DELETE")
    assert (status, response.getheader("Allow")) == (405, "GET, HEAD, POST, OPTIONS")


def test_the_first_that_fits_answers_and_a_literal_before_it(http_server: HTTPServer) -> None:
    for path in ("/{any}", "/{other}", "/literal", "/deep/{rest:path}"):
        http_server.get(path)(lambda request, path=path: path)
    http_server.respond("/fixed", "fixed")
    http_server.start()
    found = [
        ask(http_server, path)[1].decode() for path in ("/a", "/literal", "/fixed", "/deep/a/b")
    ]
    assert found == ["/{any}", "/literal", "fixed", "/deep/{rest:path}"]


def _is_in(text: str, caplog: pytest.LogCaptureFixture) -> bool:
    return text in caplog.text


def test_what_a_handler_raises_is_logged_and_not_told(
    http_server: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    @http_server.get("/async")
    async def coroutine(request: Request) -> str:
        raise ValueError("secret")

    @http_server.get("/later")
    async def later(request: Request) -> str:
        await tinycoro.sleep(0)
        raise ValueError("secret")

    @http_server.get("/plain")
    def function(request: Request) -> str:
        raise ValueError("secret")

    @http_server.get("/none")  # type: ignore[type-var]
    def nothing(request: Request) -> None:
        return None

    http_server.start()
    with caplog.at_level(logging.ERROR, "tinycoro"):
        for path in ("/async", "/later", "/plain", "/none"):
            status, body, response = ask(http_server, path)
            assert (status, body) == (500, b"500 Internal Server Error\n")
            assert "secret" not in str(response.getheaders())
            line = f"<Request GET '{path}'>"
            assert wait_until(functools.partial(_is_in, line, caplog))
    assert caplog.text.count("ValueError: secret") == 3
    assert "return a body or a Response" in caplog.text
    caplog.clear()  # tracebacks hold requests


# ---- order, back-pressure, cancellation ----------------------------------------------------------


def test_pipelined_requests_are_answered_one_after_the_other(http_server: HTTPServer) -> None:
    running: list[str] = []

    @http_server.get("/{n}")
    async def handler(request: Request) -> str:
        running.append(request.path)
        await tinycoro.sleep(0.001)
        assert running.pop() == request.path
        assert not running
        return request.path

    http_server.respond("/fixed", "fixed")
    http_server.start()
    names = [f"/{n}" if n % 3 else "/fixed" for n in range(30)]
    with connect(http_server.address) as client:
        for name in names:
            client.sendall(f"GET {name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.sendall(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        parts = receive(client, 1 << 20).split(b"HTTP/1.1 200 OK")[1:]
    bodies = [part.partition(b"\r\n\r\n")[2].decode() for part in parts]
    assert bodies == [name.removeprefix("/") if name == "/fixed" else name for name in names] + [
        "/last"
    ]


@pytest.mark.parametrize("end", [socket.socket.close, reset])
def test_a_client_that_goes_away_cancels_its_handler(
    http_server: HTTPServer, end: Callable[[socket.socket], None]
) -> None:
    events: list[str] = []

    @http_server.get("/")
    async def handler(request: Request) -> str:
        events.append("called")
        try:
            await tinycoro.sleep(60)
        except tinycoro.CancelledError:
            events.append("cancelled")
            raise
        return "late"

    http_server.start()
    client = connect(http_server.address)
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wait_until(lambda: events == ["called"])
    end(client)
    assert wait_until(lambda: events == ["called", "cancelled"])
    assert wait_until(lambda: http_server.statistics().connections == 0)


def test_a_slow_handler_is_not_cut_off_by_the_keep_alive_timeout() -> None:
    server = HTTPServer(keep_alive_timeout=0.2)
    calls: list[Request] = []

    @server.get("/")
    async def handler(request: Request) -> str:
        calls.append(request)
        await tinycoro.sleep(0.6)
        return "slow"

    with server:
        while not calls:
            try:
                assert ask(server, "/")[:2] == (200, b"slow")
            except ConnectionError:  # the client was too slow between its connect and its request
                assert not calls


def test_a_drain_lets_handlers_finish() -> None:
    server = HTTPServer()
    called, closed = threading.Event(), threading.Event()

    @server.get("/")
    async def handler(request: Request) -> str:
        called.set()
        while not closed.is_set():
            await tinycoro.sleep(0.001)
        return "done"

    server.start()
    with connect(server.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert called.wait(PATIENCE)
        server.close()
        closed.set()
        answer = receive(client, 1 << 16)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close" in answer
        assert answer.endswith(b"done")
    server.wait(10)


def test_abort_ends_handlers_that_wait() -> None:
    server = HTTPServer()
    events: list[str] = []

    @server.get("/")
    async def handler(request: Request) -> str:
        events.append("called")
        try:
            await tinycoro.sleep(60)
        finally:
            events.append("ended")
        return "late"

    server.start()
    clients = [connect(server.address) for _ in range(10)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wait_until(lambda: len(events) == 10)
    server.abort()
    server.wait(10)
    assert wait_until(lambda: len(events) == 20)
    for client in clients:
        client.close()


# ---- loops ---------------------------------------------------------------------------------------


def test_inside_a_loop_that_loop_serves() -> None:
    server = HTTPServer()
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    threads: list[int] = []

    @server.get("/")
    async def handler(request: Request) -> str:
        threads.append(threading.get_ident())
        seen = variable.get()
        variable.set("changed")
        await tinycoro.sleep(0)
        assert tinycoro.current_task() is not None
        assert variable.get() == "changed"
        return seen

    async def main() -> list[bytes]:
        variable.set("server")
        async with server:
            reader, writer = await tinycoro.open_connection(*server.address)
            for _ in range(3):
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"Content-Length: 6" in head
                assert await reader.readexactly(6) == b"server"
            writer.close()
            return []

    tinycoro.run(main())
    assert threads == [threading.get_ident()] * 3


def test_a_handler_may_use_asyncio(http_server: HTTPServer) -> None:
    @http_server.get("/")
    async def handler(request: Request) -> str:
        await asyncio.sleep(0.001)
        return await tinycoro.to_thread(lambda: "from a thread")

    http_server.start()
    assert ask(http_server, "/")[:2] == (200, b"from a thread")


def test_a_handler_that_keeps_its_task_keeps_a_true_one() -> None:
    server = HTTPServer()
    kept: list[tinycoro.Task[object] | None] = []

    @server.get("/")
    async def handler(request: Request) -> str:
        kept.append(tinycoro.current_task())
        return "kept"

    async def main() -> None:
        async with server:
            for _ in range(3):
                assert (await tinycoro.to_thread(ask, server, "/"))[:2] == (200, b"kept")
        assert len(set(map(id, kept))) == 3
        assert [task and task.done() and task.result() for task in kept] == ["kept"] * 3

    tinycoro.run(main())
    kept.clear()


def test_started_twice_it_serves_twice(http_server: HTTPServer) -> None:
    http_server.get("/")(lambda request: "again")
    for _ in range(3):
        with http_server:
            assert ask(http_server, "/")[:2] == (200, b"again")


def test_a_port_that_is_taken_leaves_no_thread(census: Census) -> None:
    with HTTPServer() as first:
        server = HTTPServer(port=first.address[1])
        server.get("/")(lambda request: "x")
        with pytest.raises(OSError, match="cannot listen"):
            server.start()


def test_requests_are_taken_in_batches(http_server: HTTPServer) -> None:
    gate = threading.Event()

    @http_server.get("/wait")
    def wait(request: Request) -> str:
        gate.wait(PATIENCE)  # the loop's thread: the others pile up meanwhile
        return "x"

    http_server.get("/")(lambda request: "y")
    http_server.start()
    clients = [connect(http_server.address) for _ in range(65)]
    clients[0].sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wait_until(lambda: http_server.statistics().handled == 1)
    for client in clients[1:]:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wait_until(lambda: http_server.statistics().bytes_in > 65 * 25)
    gate.set()
    for client in clients:
        assert receive(client, 15) == b"HTTP/1.1 200 OK"
        client.close()
    statistics = http_server.statistics()
    assert statistics.handled == 65
    assert statistics.batches <= 8


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 8192:
        pytest.skip("2400 connections need more descriptors than this system allows")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_more_requests_than_the_desk_holds_are_all_answered() -> None:
    gate = threading.Event()
    server = HTTPServer()

    @server.get("/")
    def handler(request: Request) -> str:
        gate.wait(PATIENCE)
        return "x"

    with server:
        clients = [connect(server.address) for _ in range(1200)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wait_until(lambda: server.statistics().bytes_in >= 1200 * 27)
        gate.set()
        for client in clients:
            assert receive(client, 15) == b"HTTP/1.1 200 OK"
            client.close()


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", "x", "/{", "/{}", "/{a", "/a{b}", "/{a}b", "/{a:path}/b", "/{a b}", "/{1}"]
)
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="it must begin with '/'"):
        HTTPServer().get(path)(lambda request: "x")


def test_routes_that_cannot_be_are_refused() -> None:
    server = HTTPServer()
    server.get("/a")(lambda request: "x")
    server.respond("/b", "fixed")
    for path in ("/a", "/b"):
        with pytest.raises(ValueError, match=f"path='{path}' has a route"):
            server.get(path)(lambda request: "y")
    with pytest.raises(ValueError, match="path='/a' has a route already"):
        server.respond("/a", "y")
    with pytest.raises(TypeError, match="the handler must be a function, not str"):
        server.get("/c")("x")  # type: ignore[type-var]
    with pytest.raises(TypeError, match="path must be a str, not int"):
        server.get(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="methods: 'get' is not one"):
        server.route("/c", methods=["get"])
    with pytest.raises(TypeError, match="not a str"):
        server.route("/c", methods="GET")
    with pytest.raises(ValueError, match="at least one"):
        server.route("/c", methods=[])
    server.post("/a")(lambda request: "another method")
    with server, pytest.raises(RuntimeError, match="its routes are fixed while it runs"):
        server.get("/late")(lambda request: "x")
