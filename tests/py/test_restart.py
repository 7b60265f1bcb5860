"""Starting and stopping again and again, with and without traffic; 1000 times in the slow lane."""

from __future__ import annotations

from support import IS_SLOW_LANE, Census, connect, exchange, probe, receive
from tinycoro import EchoServer

CYCLES = 1000 if IS_SLOW_LANE else 30


def test_server_can_be_started_again(census: Census) -> None:
    server = EchoServer()
    for cycle in range(CYCLES):
        server.start()
        assert server.listening
        assert server.statistics().accepted == 0
        if cycle % 5 == 0:
            assert probe(server)
        server.close()
        server.wait(10)
        assert server.closed
    assert Census.take() == census


def test_servers_come_and_go_beside_one_that_stays(server: EchoServer) -> None:
    with connect(server) as client:
        for cycle in range(CYCLES):
            with EchoServer() as other:
                if cycle % 5 == 0:
                    assert probe(other)
            assert exchange(client, b"still here") == b"still here"


def test_cycles_with_connections_open_leave_nothing(census: Census) -> None:
    for _ in range(CYCLES // 3):
        server = EchoServer(drain_timeout=0)
        server.start()
        clients = [connect(server) for _ in range(5)]
        for client in clients[:3]:
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
        server.close()
        server.wait(10)
        for client in clients:
            client.close()
    assert Census.take() == census


def test_port_of_a_stopped_server_can_be_taken_at_once() -> None:
    with EchoServer() as first:
        port = first.address[1]
        with connect(first) as client:
            assert exchange(client, b"x") == b"x"
    with EchoServer(port=port) as second:
        assert second.address[1] == port
        assert probe(second)
