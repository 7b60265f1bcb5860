"""At the limits: max_connections, descriptors, memory, system calls that fail."""

from __future__ import annotations

import errno
import socket

import pytest

from support import assert_success, connect, probe, receive, reset, run_python, wait_until
from tinycoro import EchoServer, _core


def test_connections_above_the_maximum_wait_until_others_leave() -> None:
    with EchoServer(max_connections=3) as server:
        clients = [connect(server) for _ in range(3)]
        for client in clients:
            client.sendall(b"in")
            assert receive(client, 2) == b"in"
        waiting = connect(server)  # the kernel accepts it, the server does not
        waiting.sendall(b"late")
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(4)
        assert server.statistics().connections == 3
        assert wait_until(lambda: server.statistics().paused)
        assert server.statistics().accept_pauses >= 1
        clients.pop().close()
        waiting.settimeout(10)
        assert receive(waiting, 4) == b"late"
        for client in (*clients, waiting):
            client.close()


# Connects 120 times from a process with descriptors of its own, until it is told to end.
_CLIENTS = """
import socket, sys
clients = []
for _ in range(120):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", int(sys.argv[1])))
    clients.append(client)
print("connected", flush=True)
sys.stdin.readline()
"""

_FEW_DESCRIPTORS = """
    import resource, socket, subprocess, sys, time
    import tinycoro

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    server = tinycoro.EchoServer(max_connections=int(sys.argv[1]) or None)
    server.start()
    command = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, %d))\\n" % hard
    clients = subprocess.Popen(
        [sys.executable, "-c", command + sys.argv[2], str(server.address[1])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert clients.stdout.readline() == "connected\\n"
    used = []
    while not used or used[-1] > 0.02:  # what the machine was away counts as ours: once is enough
        assert len(used) < 10, f"{used} s of CPU in a second at the limit"
        time.sleep(0.3)
        before = time.process_time()
        time.sleep(1.0)
        used.append(time.process_time() - before)
    assert server.statistics().connections >= 20, server.statistics()
    clients.communicate("end\\n")
    begun = time.monotonic()
    with socket.create_connection(server.address, timeout=10) as probe:
        probe.sendall(b"probe")
        assert probe.recv(5) == b"probe"
    assert time.monotonic() - begun <= 5, time.monotonic() - begun
    server.abort()
    server.wait(10)
"""


@pytest.mark.parametrize("maximum", [0, 1000])
def test_descriptor_limit_is_survived_without_spinning(maximum: int) -> None:
    """With the cap of 0.8 of the limit, and with a maximum that lies above the limit."""
    assert_success(run_python(_FEW_DESCRIPTORS, str(maximum), _CLIENTS))


_PER_CONNECTION = ("accept4", "epoll_ctl", "recv", "send", "setsockopt", "alloc", "mmap")


@pytest.mark.parametrize("call", _PER_CONNECTION)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_call_that_fails_while_serving_leaves_a_server_that_answers(call: str, nth: int) -> None:
    server = EchoServer()
    server.start()
    _core._fault_arm(call, nth, errno.ENOMEM)
    for _ in range(4):
        try:
            with connect(server) as client:
                client.sendall(b"hello")
                receive(client, 5)
        except ConnectionError:
            continue
    _core._fault_disarm()
    assert probe(server)
    assert wait_until(lambda: server.statistics().connections == 0)
    server.abort()
    server.wait(10)
    assert server.closed


@pytest.mark.parametrize("error", ["ECONNABORTED", "EPROTO", "ENETDOWN", "EPERM", "EAGAIN"])
def test_accept_that_fails_for_one_client_serves_the_next(server: EchoServer, error: str) -> None:
    _core._fault_arm("accept4", 1, getattr(errno, error), 3)
    assert probe(server)
    assert _core._fault_hits("accept4") >= 1


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_accept_at_a_limit_sheds_a_client_and_recovers(server: EchoServer, error: str) -> None:
    _core._fault_arm("accept4", 1, getattr(errno, error), 3)

    def answers() -> bool:
        try:
            return probe(server)
        except ConnectionError:  # this one was shed
            return False

    assert wait_until(answers)
    assert _core._fault_hits("accept4") >= 1


def test_storm_of_bad_clients_leaves_nothing(server: EchoServer) -> None:
    for round_number in range(5):
        clients = [connect(server) for _ in range(60)]
        for number, client in enumerate(clients):
            match (number + round_number) % 4:
                case 0:
                    reset(client)
                case 1:
                    client.sendall(b"cut off")
                    client.close()
                case 2:
                    client.sendall(b"half")
                    client.shutdown(socket.SHUT_WR)
                case _:
                    client.sendall(b"x" * 100_000)
                    reset(client)
        for client in clients:
            client.close()
        assert wait_until(lambda: server.statistics().connections == 0)
    assert server.statistics().errors == 0
    assert probe(server)
