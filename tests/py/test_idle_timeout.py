"""idle_timeout, counted from the last byte in or out; small here, 10 s in the slow lane."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from support import IS_SLOW_LANE, connect, receive, timely, wait_until
from tinycoro import EchoServer

IDLE = 10.0 if IS_SLOW_LANE else 0.4
# A worker stamps what it finds with the time of its last look at the clock, so a timeout may be
# early by as long as the machine kept it from running meanwhile; it is late by the same token.
OFF = 0.1


@pytest.fixture
def idle_server() -> Iterator[EchoServer]:
    with EchoServer(idle_timeout=IDLE) as server:
        yield server


def test_client_that_never_sends_is_closed_in_time(idle_server: EchoServer) -> None:
    def attempt() -> float:
        closed = idle_server.statistics().idle_closed
        begun = time.monotonic()
        with connect(idle_server) as client:
            assert client.recv(1) == b""
        took = time.monotonic() - begun
        assert wait_until(lambda: idle_server.statistics().idle_closed == closed + 1)
        return abs(took - IDLE)

    timely(OFF, attempt)


def test_time_counts_from_the_last_byte(idle_server: EchoServer) -> None:
    def attempt() -> float:
        with connect(idle_server) as client:
            time.sleep(IDLE / 2)
            begun = time.monotonic()
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
            assert client.recv(1) == b""
            return abs(time.monotonic() - begun - IDLE)

    timely(OFF, attempt)


def test_client_that_keeps_sending_is_kept(idle_server: EchoServer) -> None:
    def attempt() -> float:
        """0 if it was kept; if not, the longest time in which we had sent nothing."""
        pauses = []
        with connect(idle_server) as client, contextlib.suppress(ConnectionError):
            begun = time.monotonic()
            for _ in range(6):
                time.sleep(IDLE / 4)
                client.sendall(b"x")
                pauses.append(time.monotonic() - begun)
                begun = time.monotonic()
                if receive(client, 1) != b"x":
                    break
            else:
                return 0.0
        assert max(pauses) > IDLE / 2, f"closed, with {pauses} between its bytes"
        return max(pauses)

    timely(0.0, attempt)


def test_without_a_timeout_silence_is_no_reason_to_close(server: EchoServer) -> None:
    with connect(server) as client:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_many_idle_connections_are_closed_each_in_its_time(idle_server: EchoServer) -> None:
    def attempt() -> float:
        closed = idle_server.statistics().idle_closed
        clients = []
        begun = []
        off = []
        for _ in range(20):
            begun.append(time.monotonic())
            clients.append(connect(idle_server))
            time.sleep(0.005)
        for client, start in zip(clients, begun, strict=True):
            assert client.recv(1) == b""
            off.append(abs(time.monotonic() - start - IDLE))
            client.close()
        assert wait_until(lambda: idle_server.statistics().idle_closed == closed + 20)
        return max(off)

    timely(OFF, attempt)
