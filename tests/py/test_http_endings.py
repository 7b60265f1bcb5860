"""Handlers in Python whose client, or whose loop, leaves before they have answered."""

from __future__ import annotations

import socket

import pytest

import tinycoro
from support import connect, receive, wait_until
from tinycoro import HTTPServer, Request


@pytest.mark.parametrize("turns", [None, 1, 20])
def test_a_client_that_ends_its_side_is_answered(
    http_server: HTTPServer, turns: int | None
) -> None:
    @http_server.post("/def")
    def function(request: Request) -> str:
        return request.headers["X-Number"]

    @http_server.post("/async")
    async def coroutine(request: Request) -> bytes:
        for _ in range(turns or 0):
            await tinycoro.sleep(0)
        return await request.body()

    http_server.start()
    path = b"/def" if turns is None else b"/async"
    with connect(http_server.address) as client:
        for number in b"12":  # both are answered: the second had come before the end
            client.sendall(
                b"POST %s HTTP/1.1\r\nHost: a\r\nX-Number: %c\r\nContent-Length: 1\r\n\r\n%c"
                % (path, number, number)
            )
        client.shutdown(socket.SHUT_WR)
        answers = receive(client, 1 << 16)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\n\r\n1HTTP" in answers
    assert answers.endswith(b"\r\n\r\n2")
    assert wait_until(lambda: http_server.statistics().connections == 0)


def test_a_loop_that_is_closed_answers_503_at_once(http_server: HTTPServer) -> None:
    called: list[str] = []
    loop = tinycoro.new_event_loop()

    @http_server.get("/")
    async def handler(request: Request) -> str:
        called.append(request.path)
        await tinycoro.Event().wait()
        return "never"

    async def serve_one() -> None:
        while not called:
            await tinycoro.sleep(0.001)

    async def start() -> None:
        http_server.start()

    loop.run_until_complete(start())
    clients = [connect(http_server.address) for _ in range(3)]
    clients[0].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    loop.run_until_complete(serve_one())
    clients[1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # while nobody runs the loop
    loop.close()
    clients[2].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1 << 16).startswith(b"HTTP/1.1 503 ")
        client.close()
