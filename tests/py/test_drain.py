"""close() and the drain: who may finish, who is ended, and when."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from support import SLACK, connect, fill, receive, timely, wait_until
from tinycoro import EchoServer


def test_close_does_not_block() -> None:
    def attempt() -> float:
        server = EchoServer()
        server.start()
        with connect(server) as client:
            fill(client)
            begun = time.monotonic()
            server.close()
            took = time.monotonic() - begun
            assert not server.closed
            assert "draining" in repr(server)
            server.abort()
            server.wait(10)
        return took

    timely(0.1, attempt)


def test_idle_connections_are_closed_at_once() -> None:
    server = EchoServer(drain_timeout=30)
    server.start()
    clients = [connect(server) for _ in range(10)]
    for client in clients:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    assert wait_until(lambda: server.statistics().resting == 10)
    begun = time.monotonic()
    server.close()
    server.wait(10)
    assert time.monotonic() - begun <= SLACK
    for client in clients:
        assert client.recv(1) == b""
        client.close()
    assert server.statistics().cancelled == 0


def test_connection_being_served_may_finish() -> None:
    server = EchoServer(drain_timeout=30)
    server.start()
    with connect(server) as client:
        sent = fill(client)
        server.close()
        with pytest.raises(TimeoutError):
            server.wait(0.1)
        client.shutdown(socket.SHUT_WR)
        assert len(receive(client, sent + 1)) == sent
        server.wait(10)
    assert server.statistics().cancelled == 0


def test_drain_deadline_ends_what_is_left() -> None:
    server = EchoServer(drain_timeout=0.3)
    server.start()
    with connect(server) as client:
        fill(client)
        begun = time.monotonic()
        server.close()
        server.wait(10)
        assert 0.3 <= time.monotonic() - begun <= 0.3 + SLACK
    assert server.statistics().cancelled == 1


def test_drain_timeout_of_zero_ends_everything_at_once() -> None:
    server = EchoServer(drain_timeout=0)
    server.start()
    with connect(server) as client:
        fill(client)
        begun = time.monotonic()
        server.close()
        server.wait(10)
        assert time.monotonic() - begun <= SLACK


def test_abort_cuts_a_drain_short() -> None:
    server = EchoServer(drain_timeout=None)
    server.start()
    with connect(server) as client:
        fill(client)
        server.close()
        with pytest.raises(TimeoutError):
            server.wait(0.1)
        begun = time.monotonic()
        server.abort()
        server.wait(10)
        assert time.monotonic() - begun <= SLACK
    assert server.statistics().cancelled == 1


def test_start_during_a_drain_says_to_wait() -> None:
    server = EchoServer()
    server.start()
    with connect(server) as client:
        fill(client)
        server.close()
        with pytest.raises(RuntimeError, match=r"has not ended: wait\(\) for it"):
            server.start()
        server.abort()
        server.wait(10)
    with server:
        pass


def test_second_interrupt_in_a_with_block_ends_the_drain() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    server = EchoServer(drain_timeout=30)
    clients = []

    def serve() -> None:
        with server:
            clients.append(connect(server))
            fill(clients[0])
            # The block ends, the drain begins; again, should the first come before that.
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)

    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            serve()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert server.closed
    assert time.monotonic() - begun <= 3 + SLACK
    clients[0].close()
