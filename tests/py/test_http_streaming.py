"""Answers in pieces: a Response of an iterator, as several clients see it, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import logging
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar

import h11
import pytest

import tinycoro
from support import PATIENCE, connect, receive, reset, run_curl, wait_until
from tinycoro import HTTPServer, Request, Response

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def numbers(count: int, turns: int = 0) -> AsyncIterator[bytes]:
    for number in range(count):
        for _ in range(turns):
            await tinycoro.sleep(0)
        yield b"%d," % number


def serve(server: HTTPServer, make: Callable[[], Response]) -> None:
    @server.route("/", methods=["GET", "POST"])
    async def handler(request: Request) -> Response:
        return make()

    server.start()


def ask(server: HTTPServer, path: str = "/") -> tuple[http.client.HTTPResponse, bytes]:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response, response.read()
    finally:
        client.close()


# ---- whole answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 1])
def test_pieces_arrive_as_one_body(http_server: HTTPServer, turns: int) -> None:
    serve(http_server, lambda: Response(numbers(1000, turns), content_type="text/plain"))
    response, body = ask(http_server)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain")
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.headers["Content-Length"] is None
    assert body == b"".join(b"%d," % number for number in range(1000))


def test_a_strict_parser_reads_it_and_the_connection_stays(http_server: HTTPServer) -> None:
    serve(http_server, lambda: Response(numbers(10, 1)))
    client = h11.Connection(h11.CLIENT)
    with connect(http_server.address) as sock:
        for _ in range(3):
            sock.sendall(
                client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")])) or b""
            )
            client.send(h11.EndOfMessage())
            body = b""
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    client.receive_data(sock.recv(1 << 16))
                elif isinstance(event, h11.Data):
                    body += event.data
            assert body == b"0,1,2,3,4,5,6,7,8,9,"
            client.start_next_cycle()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_it(http_server: HTTPServer) -> None:
    serve(http_server, lambda: Response(numbers(50_000)))
    host, port = http_server.address
    got = run_curl(f"http://{host}:{port}/")
    assert got == b"".join(b"%d," % number for number in range(50_000))


def test_pipelined_ones_follow_each_other(http_server: HTTPServer) -> None:
    serve(http_server, lambda: Response(numbers(3, 1), headers={"Content-Length": "6"}))
    with connect(http_server.address) as client:
        client.sendall(GET + GET + LAST)
        answers = receive(client, 1 << 16)
    assert answers.count(b"\r\n\r\n0,1,2,") == 3


def test_an_old_client_gets_it_without_chunks(http_server: HTTPServer) -> None:
    serve(http_server, lambda: Response(numbers(5, 1)))
    with connect(http_server.address) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = receive(client, 1 << 16).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert body == b"0,1,2,3,4,"


@pytest.mark.parametrize("items", [[b"ab", "\u00e9", bytearray(b"c"), memoryview(b"d"), b""], []])
def test_an_iterator_that_is_not_asynchronous_does_too(
    http_server: HTTPServer, items: list[bytes]
) -> None:
    serve(http_server, lambda: Response(iter(items)))
    expected = "ab\u00e9cd".encode() if items else b""
    assert ask(http_server)[1] == expected


def test_an_async_iterable_of_any_class_does_too(http_server: HTTPServer) -> None:
    class Countdown:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> Countdown:
            return self

        async def __anext__(self) -> bytes:
            await tinycoro.sleep(0)
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return b"%d" % self.left

    serve(http_server, lambda: Response(Countdown()))
    assert ask(http_server)[1] == b"210"


def test_the_handlers_context_is_the_iterators(http_server: HTTPServer) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def pieces() -> AsyncIterator[str]:
        await tinycoro.sleep(0)
        yield variable.get()

    @http_server.get("/def")
    def function(request: Request) -> Response:
        variable.set("of def")
        return Response(pieces())

    @http_server.get("/async")
    async def coroutine(request: Request) -> Response:
        await tinycoro.sleep(0)
        variable.set("of async")
        return Response(pieces())

    http_server.start()
    for path in ("def", "async"):
        assert ask(http_server, "/" + path)[1].decode() == "of " + path


def test_the_head_does_not_wait_for_the_first_piece(http_server: HTTPServer) -> None:
    go = threading.Event()

    async def pieces() -> AsyncIterator[bytes]:
        await tinycoro.to_thread(go.wait)
        yield b"late"

    serve(http_server, lambda: Response(pieces()))
    with connect(http_server.address) as client:
        client.sendall(LAST)
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1 << 16)
        go.set()
        assert receive(client, 1 << 16) == b"4\r\nlate\r\n0\r\n\r\n"


# ---- bodies that are not sent, lengths ---------------------------------------------------------


def test_head_gets_no_body_and_the_iterator_is_closed(http_server: HTTPServer) -> None:
    closed: list[str] = []

    class Pieces:
        def __aiter__(self) -> Pieces:
            return self

        async def __anext__(self) -> bytes:
            closed.append("asked")
            return b"never"

        async def aclose(self) -> None:
            await tinycoro.sleep(0)
            closed.append("closed")

    serve(http_server, lambda: Response(Pieces(), headers=[("Content-Length", b"1234")]))
    with connect(http_server.address) as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head = receive(client, 1 << 16)
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Length: 1234\r\n" in head
    assert wait_until(lambda: closed == ["closed"])


def test_a_content_length_is_told_and_kept_to(http_server: HTTPServer) -> None:
    serve(http_server, lambda: Response(numbers(5), headers={"content-length": "10", "X-A": "b"}))
    response, body = ask(http_server)
    assert response.headers["Content-Length"] == "10"
    assert response.headers["X-A"] == "b"
    assert response.headers["Transfer-Encoding"] is None
    assert body == b"0,1,2,3,4,"


@pytest.mark.parametrize(("length", "got"), [(9, b"0,1,2,3,"), (11, b"0,1,2,3,4,")])
def test_a_body_of_another_length_breaks_the_connection(
    http_server: HTTPServer, caplog: pytest.LogCaptureFixture, length: int, got: bytes
) -> None:
    serve(http_server, lambda: Response(numbers(5, 1), headers={"Content-Length": str(length)}))
    with caplog.at_level(logging.ERROR, "tinycoro"), connect(http_server.address) as client:
        client.sendall(GET)
        assert receive(client, 1 << 16).partition(b"\r\n\r\n")[2] == got
        assert wait_until(lambda: "Content-Length" in caplog.text)
    caplog.clear()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Response(numbers(1), status=204), ValueError, "no body"),
        (lambda: Response(numbers(1), headers={"Content-Length": "x"}), ValueError, "Length"),
        (lambda: Response(numbers(1), headers={"Content-Length": "-1"}), ValueError, "Length"),
        (lambda: Response(b"", headers={"Content-Length": "0"}), ValueError, "the server writes"),
        (lambda: Response(numbers(1), headers={"Date": "x"}), ValueError, "the server writes"),
        (lambda: Response((b"a", b"b")), TypeError, "body must be"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_response(
    make: Callable[[], Response], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_response_in_pieces_shows_what_it_is() -> None:
    response = Response(numbers(1), status=203, headers={"Content-Length": "2", "X-A": "b"})
    assert repr(response) == "<Response 203, streamed>"
    assert response.body == b""
    assert response.headers == (("X-A", "b"),)
    assert response.content_type == "application/octet-stream"


# ---- iterators that fail -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
def test_one_that_raises_breaks_the_connection_and_is_logged(
    http_server: HTTPServer, caplog: pytest.LogCaptureFixture, request_line: bytes
) -> None:
    go = threading.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await tinycoro.to_thread(go.wait)
        raise LookupError("in the middle")

    serve(http_server, lambda: Response(pieces()))
    with caplog.at_level(logging.ERROR, "tinycoro"), connect(http_server.address) as client:
        client.sendall(request_line)
        answer = b""
        while b"first" not in answer:
            answer += client.recv(1 << 16)
        go.set()
        if b"HTTP/1.0" in request_line:  # where the end of the connection ends the body
            with pytest.raises(ConnectionResetError):
                receive(client, 1 << 16)
        else:
            assert b"0\r\n\r\n" not in receive(client, 1 << 16)
        assert wait_until(lambda: "LookupError: in the middle" in caplog.text)
    assert "in pieces" in caplog.text  # the traceback
    caplog.clear()


@pytest.mark.parametrize("item", [1, None, ["x"]])
def test_one_that_yields_something_else_is_told(
    http_server: HTTPServer, caplog: pytest.LogCaptureFixture, item: object
) -> None:
    closed: list[str] = []

    async def pieces() -> AsyncIterator[object]:
        try:
            yield item
        finally:
            closed.append("closed")

    serve(http_server, lambda: Response(pieces()))  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR, "tinycoro"):
        assert ask(http_server)[0].status == 500  # nothing had been sent
        assert wait_until(lambda: "must yield bytes-like objects or str" in caplog.text)
    assert closed == ["closed"]
    caplog.clear()


# ---- slow clients, and clients that leave ------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
def test_a_client_that_does_not_read_stops_the_iterator(
    http_server: HTTPServer, is_async: bool
) -> None:
    asked = 0

    def plain() -> Iterator[bytes]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield b"x" * 65536

    async def asynchronous() -> AsyncIterator[bytes]:
        for item in plain():
            yield item

    @http_server.get("/asked")
    def tell(request: Request) -> str:
        return str(asked)

    serve(http_server, lambda: Response(asynchronous() if is_async else plain()))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.settimeout(PATIENCE)
        client.connect(http_server.address)
        client.sendall(LAST)
        last = -1
        while last != asked or asked == 0:  # until it stands still for some turns of the loop
            last = asked
            for _ in range(20):
                assert ask(http_server, "/asked")[1]
        assert asked < 500  # what the kernel keeps, and some pieces
        got = 0
        while part := client.recv(1 << 20):
            got += len(part)
    assert got > 1000 * 65536
    assert asked == 1000


@pytest.mark.parametrize("does_pause", [True, False])
def test_a_client_that_resets_ends_the_iterator(http_server: HTTPServer, does_pause: bool) -> None:
    ended: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
                if does_pause:
                    await tinycoro.sleep(0.001)
        finally:
            await tinycoro.sleep(0)  # it may await, even so
            ended.append("ended")

    serve(http_server, lambda: Response(pieces()))
    client = connect(http_server.address)
    client.sendall(GET)
    assert receive(client, 1000)
    reset(client)
    assert wait_until(lambda: ended == ["ended"])
    assert wait_until(lambda: http_server.statistics().connections == 0)


def test_an_iterator_that_is_being_closed_is_not_interrupted(http_server: HTTPServer) -> None:
    """The first piece that nobody takes closes it; the loop hears of the end only after that."""
    received = threading.Event()
    held = threading.Event()
    ended: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            while not received.is_set():
                await tinycoro.sleep(0.001)
            held.set()  # from here on the loop does nothing else
            assert wait_until(lambda: http_server.statistics().connections == 0)
            yield b"second"
        finally:
            await tinycoro.sleep(0.01)
            ended.append("ended")

    serve(http_server, lambda: Response(pieces()))
    client = connect(http_server.address)
    client.sendall(GET)
    assert receive(client, 20)
    received.set()
    assert held.wait(PATIENCE)
    reset(client)
    assert wait_until(lambda: ended == ["ended"])


def test_a_client_that_closes_ends_an_iterator_that_waits(http_server: HTTPServer) -> None:
    ended: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await tinycoro.Event().wait()
        except tinycoro.CancelledError:
            ended.append("cancelled")
            raise

    serve(http_server, lambda: Response(pieces()))
    with connect(http_server.address) as client:
        client.sendall(GET)
        assert receive(client, 20)
    assert wait_until(lambda: ended == ["cancelled"])
    assert wait_until(lambda: http_server.statistics().connections == 0)


def test_a_client_that_ends_its_side_gets_all_of_it(http_server: HTTPServer) -> None:
    serve(http_server, lambda: Response(numbers(2000, 3)))
    with connect(http_server.address) as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1 << 20).endswith(b"1999,\r\n0\r\n\r\n")


def test_a_server_that_aborts_ends_the_iterator() -> None:
    ended: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await tinycoro.sleep(0.001)
        finally:
            ended.append("ended")

    server = HTTPServer()
    serve(server, lambda: Response(pieces()))
    with connect(server.address) as client:
        client.sendall(GET)
        assert receive(client, 10)
        server.abort()
        with contextlib.suppress(ConnectionResetError):
            receive(client, 1 << 20)
    server.wait(PATIENCE)
    assert wait_until(lambda: ended == ["ended"])


def test_a_loop_that_is_closed_breaks_what_it_feeds(http_server: HTTPServer) -> None:
    loop = tinycoro.new_event_loop()
    begun = threading.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        await tinycoro.Event().wait()

    async def start() -> None:
        serve(http_server, lambda: Response(pieces()))

    async def serve_one() -> None:
        while not begun.is_set():
            await tinycoro.sleep(0.001)

    loop.run_until_complete(start())
    with connect(http_server.address) as client:
        client.sendall(GET)
        loop.run_until_complete(serve_one())
        loop.close()
        assert b"0\r\n\r\n" not in receive(client, 1 << 16)
