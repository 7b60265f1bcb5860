"""Bodies that a handler in Python reads while they come, and what can go wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

import tinycoro
from support import PATIENCE, connect, receive, reset, wait_until
from tinycoro import HTTPServer, Request, Response

BIG = 3_000_000  # bytes of a body that has to be waited for
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BIG


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server without routes, to be started by the test; ended when it is over."""
    server = HTTPServer(max_body=BIG)
    yield server
    server.abort()
    with contextlib.suppress(RuntimeError):  # never started
        server.wait(10)


Read = Callable[[Request], Coroutine[Any, Any, bytes]]


async def in_pieces(request: Request) -> bytes:
    return b"".join([piece async for piece in request.stream()])


async def whole(request: Request) -> bytes:
    return await request.body()


def until(client: socket.socket, part: bytes) -> bytes:
    """What comes until `part` has."""
    got = b""
    while part not in got:
        more = client.recv(1 << 16)
        assert more, got
        got += more
    return got


# ---- as they come ------------------------------------------------------------------------------


def test_pieces_are_there_before_the_end_of_the_body(server: HTTPServer) -> None:
    @server.post("/")
    async def handler(request: Request) -> Response:
        return Response(request.stream())

    server.start()
    with connect(server.address) as client:
        client.sendall(CHUNKED)
        for number in range(5):
            client.sendall(b"6\r\npiece%d\r\n" % number)
            assert b"6\r\npiece%d\r\n" % number in until(client, b"piece%d\r\n" % number)
        client.sendall(b"0\r\n\r\n")
        until(client, b"0\r\n\r\n")
        client.sendall(CHUNKED + b"1\r\nx\r\n0\r\n\r\n")  # the connection stays
        assert until(client, b"0\r\n\r\n").endswith(b"\r\n\r\n1\r\nx\r\n0\r\n\r\n")


@pytest.mark.parametrize("read", [in_pieces, whole])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_long_body_arrives_whole(server: HTTPServer, read: Read, is_chunked: bool) -> None:
    @server.post("/")
    async def handler(request: Request) -> str:
        body = await read(request)
        return hashlib.sha256(body).hexdigest()

    server.start()
    body = bytes(range(251)) * (BIG // 251)
    pieces = (body[at : at + 54_321] for at in range(0, len(body), 54_321))
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    for _ in range(2):  # the connection stays
        client.request("POST", "/", body)
        assert client.getresponse().read().decode() == hashlib.sha256(body).hexdigest()
    client.request("POST", "/", pieces, encode_chunked=is_chunked)
    assert client.getresponse().read().decode() == hashlib.sha256(body).hexdigest()
    client.close()


def test_a_body_is_read_again_and_as_json(server: HTTPServer) -> None:
    @server.post("/")
    async def handler(request: Request) -> list[object]:
        values = await request.json(), await request.json()
        body = await request.body()
        assert body == await in_pieces(request)  # from memory
        return [values[0] == values[1], len(values[0])]

    server.start()
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.request("POST", "/", json.dumps(["x"] * 30_000))
    assert json.loads(client.getresponse().read()) == [True, 30_000]
    client.close()


def test_a_slow_handler_stops_the_client_and_needs_no_memory() -> None:
    go = tinycoro.Event()
    loop: list[tinycoro.Loop] = []
    size = 400_000_000
    held: list[int] = []

    server = HTTPServer(max_body=size)

    @server.post("/")
    async def handler(request: Request) -> str:
        loop.append(tinycoro.get_running_loop())
        pieces = request.stream()
        count = len(await anext(pieces))
        await go.wait()
        async for piece in pieces:
            count += len(piece)
            held.append(tinycoro.statistics().bytes_in_use + len(piece))
        return str(count)

    with server, connect(server.address) as client:
        before = tinycoro.statistics().bytes_in_use
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.sendall(b"x" * 100_000)
        assert wait_until(lambda: bool(loop))
        sent = 100_000
        client.settimeout(0.2)
        block = b"x" * 1_000_000
        with contextlib.suppress(TimeoutError):  # a pause for other reasons does no harm
            while sent < size:
                sent += client.send(block[: size - sent])
        assert sent < 64_000_000  # what the kernel keeps, and 256 KiB
        loop[0].call_soon_threadsafe(go.set)
        client.settimeout(PATIENCE)
        while sent < size:
            sent += client.send(block[: size - sent])
        assert until(client, b"%d" % size)
    assert max(held) < before + 1_000_000  # twice the queue at most, and what serves one connection


def test_a_client_that_waits_is_told_to_go_on_when_the_handler_reads(server: HTTPServer) -> None:
    reads = threading.Event()

    @server.post("/")
    async def handler(request: Request) -> bytes:
        await tinycoro.to_thread(reads.wait)
        return await request.body()

    server.start()
    with connect(server.address) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\n\r\n"
        )
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.settimeout(PATIENCE)
        reads.set()
        assert receive(client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert receive(client, 1 << 16).endswith(b"\r\n\r\nhello")


# ---- not read ----------------------------------------------------------------------------------


def test_a_client_that_waits_is_not_told_if_nobody_reads(server: HTTPServer) -> None:
    @server.post("/")
    async def handler(request: Request) -> Response:
        return Response("no", status=403)

    server.start()
    with connect(server.address) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = receive(client, 1 << 16)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" in answer


def test_a_body_that_nobody_reads_is_skipped_or_ends_the_connection(server: HTTPServer) -> None:
    @server.post("/")
    async def handler(request: Request) -> str:
        return "unread"

    server.start()
    with connect(server.address) as client:
        client.sendall(CHUNKED)
        assert b"Connection: close" not in until(client, b"unread")
        client.sendall(b"3\r\nabc\r\n0\r\n\r\n" + LONG)
        assert b"Connection: close" in until(client, b"unread")


# ---- clients that leave, or do not keep to the rules -------------------------------------------


@pytest.mark.parametrize("read", [in_pieces, whole])
@pytest.mark.parametrize("end", [reset, lambda client: client.close()])
@pytest.mark.parametrize("head", [CHUNKED + b"5\r\nhello\r\n", LONG + b"x" * 70_000])
def test_a_client_that_leaves_in_the_middle_is_an_error_for_the_reader(
    server: HTTPServer, read: Read, end: Callable[[socket.socket], None], head: bytes
) -> None:
    reads = threading.Event()
    seen: list[tuple[type, str]] = []

    @server.post("/")
    async def handler(request: Request) -> str:
        reads.set()
        try:
            await read(request)
        except BaseException as error:
            seen.append((type(error), str(error)))
            raise
        return "read"

    server.start()
    client = connect(server.address)
    client.sendall(head)
    assert reads.wait(PATIENCE)
    end(client)
    assert wait_until(lambda: bool(seen))
    assert seen[0][0] is ConnectionResetError
    assert "in the middle of its body" in seen[0][1]
    assert wait_until(lambda: server.statistics().connections == 0)


def test_a_client_that_resets_cancels_a_handler_that_does_not_read(server: HTTPServer) -> None:
    seen: list[str] = []

    @server.post("/")
    async def handler(request: Request) -> str:
        seen.append("called")
        try:
            await tinycoro.Event().wait()
        except tinycoro.CancelledError:
            seen.append("cancelled")
            raise
        return "never"

    server.start()
    client = connect(server.address)
    client.sendall(CHUNKED)
    assert wait_until(lambda: seen == ["called"])
    reset(client)
    assert wait_until(lambda: seen == ["called", "cancelled"])


def test_a_client_that_ends_its_side_behind_the_body_is_answered(server: HTTPServer) -> None:
    @server.post("/")
    async def handler(request: Request) -> str:
        return str(len(await request.body()))

    server.start()
    with connect(server.address) as client:
        client.sendall(LONG + b"x" * BIG)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1 << 16).endswith(b"\r\n\r\n%d" % BIG)


@pytest.mark.parametrize("read", [in_pieces, whole])
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"%x\r\n" % (BIG + 1) + b"x" * (BIG + 1), 413),
        (b"5\r\nhello\r\nno number\r\n", 400),
        (b"5\r\nhel", 408),
    ],
)
def test_what_is_wrong_with_a_body_is_answered_unless_the_handler_does(
    read: Read, rest: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = HTTPServer(max_body=BIG, body_timeout=0.1 if status == 408 else 30)
    reads = threading.Event()

    @server.post("/")
    async def handler(request: Request) -> bytes:
        reads.set()
        return await read(request)

    @server.post("/own")
    async def own(request: Request) -> Response:
        reads.set()
        with pytest.raises(OSError, match="body") as caught:
            await read(request)
        return Response(type(caught.value).__name__, status=418)

    with server, caplog.at_level(logging.ERROR, "tinycoro"):
        with connect(server.address) as client:
            client.sendall(CHUNKED)
            assert reads.wait(PATIENCE)
            with contextlib.suppress(ConnectionError):  # it need not take all of it
                client.sendall(rest)
            assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)
        with connect(server.address) as client:
            reads.clear()
            client.sendall(CHUNKED.replace(b"POST /", b"POST /own"))
            assert reads.wait(PATIENCE)
            with contextlib.suppress(ConnectionError):
                client.sendall(rest)
            answer = until(client, b"Error")
            assert answer.startswith(b"HTTP/1.1 418 ")
            assert b"Connection: close" in answer
    assert not caplog.records  # it is the client's doing


# ---- who reads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [CHUNKED, LONG.replace(b"%d" % BIG, b"5")])
def test_a_body_has_one_reader(server: HTTPServer, head: bytes) -> None:
    @server.post("/")
    async def handler(request: Request) -> str:
        first = request.stream()
        await anext(first)
        for attempt in (request.body, request.json, request.stream().__anext__):
            with pytest.raises(RuntimeError, match="stream"):
                await attempt()
        return "one" if [piece async for piece in first] == [] else "more"

    server.start()
    with connect(server.address) as client:
        body = b"hello" if b"Length" in head else b"5\r\nhello\r\n"
        client.sendall(head + body)
        client.sendall(b"" if b"Length" in head else b"0\r\n\r\n")
        assert until(client, b"one")


def test_two_tasks_cannot_wait_for_one_body(server: HTTPServer) -> None:
    reads = threading.Event()

    @server.post("/")
    async def handler(request: Request) -> str:
        task = tinycoro.create_task(in_pieces(request))
        await tinycoro.sleep(0)
        reads.set()
        with pytest.raises(RuntimeError, match="stream"):
            await request.body()
        pieces = request.stream()
        with pytest.raises(RuntimeError, match="stream"):
            await anext(pieces)
        return str(await task)

    @server.post("/whole")
    async def other(request: Request) -> str:
        task = tinycoro.create_task(whole(request))
        await tinycoro.sleep(0)
        reads.set()
        with pytest.raises(RuntimeError, match="another task"):
            await request.body()
        with pytest.raises(RuntimeError, match=r"body\(\)"):
            await anext(request.stream())
        return str(await task)

    server.start()
    for path in (b"/", b"/whole"):
        with connect(server.address) as client:
            reads.clear()
            client.sendall(CHUNKED.replace(b"/ ", path + b" ", 1))
            assert reads.wait(PATIENCE)  # else it might be there already
            client.sendall(b"1\r\nx\r\n0\r\n\r\n")
            assert until(client, b"b'x'")


def test_a_wait_that_is_cancelled_loses_nothing(server: HTTPServer) -> None:
    waits = threading.Event()

    @server.post("/")
    async def handler(request: Request) -> bytes:
        pieces = request.stream()
        got = []
        while True:
            try:
                got.append(await tinycoro.wait_for(anext(pieces), 0.001))
            except TimeoutError:
                waits.set()
            except StopAsyncIteration:
                return b"".join(got)

    server.start()
    with connect(server.address) as client:
        client.sendall(CHUNKED)
        for number in range(10):
            waits.clear()
            assert waits.wait(PATIENCE)
            client.sendall(b"1\r\n%d\r\n" % number)
        client.sendall(b"0\r\n\r\n")
        assert until(client, b"0123456789")


def test_another_loop_cannot_read_it(server: HTTPServer) -> None:
    @server.post("/")
    async def handler(request: Request) -> str:
        def run() -> str:
            with pytest.raises(RuntimeError, match="different event loop"):
                tinycoro.run(whole(request))
            return "refused"

        return await tinycoro.to_thread(run) + str(len(await request.body()))

    server.start()
    with connect(server.address) as client:
        client.sendall(LONG + b"x" * BIG)
        assert until(client, b"refused%d" % BIG)


def test_a_reader_that_outlives_the_answer_is_told(server: HTTPServer) -> None:
    tasks: list[tinycoro.Task[bytes]] = []
    seen: list[tuple[type, str]] = []

    async def read(request: Request) -> bytes:
        try:
            return await in_pieces(request)
        except OSError as error:
            seen.append((type(error), str(error)))
            return b""

    @server.post("/")
    async def handler(request: Request) -> str:
        tasks.append(tinycoro.create_task(read(request)))
        await tinycoro.sleep(0)
        return "early"

    server.start()
    with connect(server.address) as client:
        client.sendall(CHUNKED)
        until(client, b"early")
        assert wait_until(lambda: bool(seen))
    assert seen[0][0] is ConnectionAbortedError


def test_a_callable_object_that_is_asynchronous_reads_pieces_too(server: HTTPServer) -> None:
    class Handler:
        async def __call__(self, request: Request) -> Response:
            async def pieces() -> AsyncIterator[bytes]:
                async for piece in request.stream():
                    yield piece.upper()

            return Response(pieces())

    server.post("/")(Handler())
    server.start()
    with connect(server.address) as client:
        client.sendall(CHUNKED)
        client.sendall(b"1\r\na\r\n")
        until(client, b"1\r\nA\r\n")
        client.sendall(b"0\r\n\r\n")
        until(client, b"0\r\n\r\n")
