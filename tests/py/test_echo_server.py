"""EchoServer from a plain thread: traffic, life cycle, errors, what it shows of itself."""

from __future__ import annotations

import contextlib
import errno
import gc
import inspect
import math
import random
import signal
import socket
import threading
import time
import warnings
import weakref

import pytest

from support import (
    SLACK,
    connect,
    exchange,
    probe,
    receive,
    require_ipv6,
    reset,
    timely,
    wait_until,
)
from tinycoro import EchoServer, ServerStatistics, TinycoroError, _core

# ---- traffic -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 106, 16 * 1024, 1 << 20])
def test_what_is_sent_comes_back(server: EchoServer, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    with connect(server) as client:
        assert exchange(client, payload) == payload
        assert exchange(client, payload[::-1]) == payload[::-1]


def test_many_clients_are_served_at_once(server: EchoServer) -> None:
    clients = [connect(server) for _ in range(100)]
    for turn in range(3):
        for number, client in enumerate(clients):
            client.sendall(b"%d:%d" % (turn, number))
        for number, client in enumerate(clients):
            expected = b"%d:%d" % (turn, number)
            assert receive(client, len(expected)) == expected
    assert server.statistics().connections == 100
    for client in clients:
        client.close()
    assert wait_until(lambda: server.statistics().connections == 0)


def test_half_closed_client_gets_everything_and_then_the_end(server: EchoServer) -> None:
    with connect(server) as client:
        client.sendall(b"x" * 50_000)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1 << 20) == b"x" * 50_000
    assert wait_until(lambda: server.statistics().connections == 0)


def test_resets_are_counted_and_leave_nothing(server: EchoServer) -> None:
    for _ in range(20):
        client = connect(server)
        client.sendall(b"unread" * 1000)
        reset(client)
    assert wait_until(lambda: server.statistics().connections == 0)
    assert server.statistics().errors == 0
    assert probe(server)


def test_ipv6_is_served_where_the_machine_has_it() -> None:
    require_ipv6()
    with EchoServer("::1") as server:
        assert server.address[0] == "::1"
        assert f"[::1]:{server.address[1]}" in repr(server)
        assert probe(server)


# ---- life cycle --------------------------------------------------------------------------------


def test_clients_can_connect_once_start_has_returned() -> None:
    server = EchoServer()
    assert (server.listening, server.closed) == (False, False)
    server.start()
    assert (server.listening, server.closed) == (True, False)
    assert probe(server)
    server.close()
    server.wait(10)
    assert (server.listening, server.closed) == (False, True)
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_start_of_a_running_server_is_an_error(server: EchoServer) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        server.start()
    with pytest.raises(RuntimeError, match="running already"), server:
        pass
    assert probe(server)


def test_with_block_starts_and_ends_the_server() -> None:
    with EchoServer() as server:
        assert server.listening
        assert probe(server)
    assert server.closed


def test_with_block_passes_exceptions_on_and_ends_the_server() -> None:
    server = EchoServer()
    with pytest.raises(ZeroDivisionError), server:
        _ = 1 // 0
    assert server.closed


def test_with_block_may_end_a_server_that_was_waited_for() -> None:
    with EchoServer() as server:
        server.close()
        server.wait(10)
    assert server.closed


def test_close_and_abort_are_idempotent_in_every_state() -> None:
    server = EchoServer()
    for _ in range(2):
        server.close()
        server.abort()
    server.start()
    for _ in range(3):
        server.close()
        server.abort()
    server.wait(10)
    server.close()
    server.abort()
    server.wait()
    assert server.closed


def test_workers_end_with_the_last_server(census: object) -> None:
    first, second = EchoServer(), EchoServer()
    first.start()
    second.start()
    first.close()
    first.wait(10)
    assert probe(second)
    second.close()
    second.wait(10)  # the census fixture counts the threads


# ---- waiting -----------------------------------------------------------------------------------


def test_wait_times_out_and_names_the_server(server: EchoServer) -> None:
    before = time.monotonic()
    with pytest.raises(TimeoutError, match=r"EchoServer .*has not stopped after 0\.1 seconds"):
        server.wait(0.1)
    assert 0.1 <= time.monotonic() - before <= 0.1 + SLACK
    for timeout in (0, -1, -1.5):
        with pytest.raises(TimeoutError):
            server.wait(timeout)


def test_wait_before_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="never started"):
        EchoServer().wait()


def test_wait_returns_in_every_waiting_thread() -> None:
    server = EchoServer()
    server.start()
    threads = [threading.Thread(target=server.wait, args=(30,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    server.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    server.wait(0)


def test_wait_lets_other_threads_run(server: EchoServer) -> None:
    closer = threading.Timer(0.1, server.close)
    closer.start()
    server.wait(10)
    closer.join()


def test_wait_runs_signal_handlers_and_resumes(server: EchoServer) -> None:
    def attempt() -> float:
        """When the fourth handler ran; signals that a busy machine lets pile up are one."""
        seen: list[float] = []
        begun = time.monotonic()
        previous = signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic() - begun))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            with pytest.raises(TimeoutError):
                server.wait(0.4)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert time.monotonic() - begun >= 0.4
        return seen[3] if len(seen) > 3 else math.inf

    timely(0.39, attempt)


def test_wait_is_ended_by_an_exception_of_a_signal_handler(server: EchoServer) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            server.wait(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert probe(server)


def test_wait_raises_what_failed_on_a_worker() -> None:
    server = EchoServer()
    server.start()
    _core._fault_arm("epoll_ctl", 1, errno.EPERM)
    with connect(server) as client:
        assert client.recv(1) == b""
    assert _core._fault_hits("epoll_ctl") == 1
    assert server.statistics().errors == 1
    assert server.statistics().last_error == errno.EPERM
    assert probe(server)
    address = server.address
    server.close()
    for _ in range(2):  # whoever waits is told
        with pytest.raises(PermissionError, match=r"1 failure\(s\) while serving") as caught:
            server.wait(10)
    assert caught.value.filename == f"{address[0]}:{address[1]}"
    assert server.closed


def test_wait_does_not_raise_for_a_limit_that_was_survived() -> None:
    with EchoServer() as server:
        _core._fault_arm("accept4", 1, errno.EMFILE)
        with connect(server) as client, contextlib.suppress(ConnectionError):  # it was shed
            client.recv(1)
        assert wait_until(lambda: server.statistics().shed == 1)
        assert probe(server)


# ---- dropped -----------------------------------------------------------------------------------


def test_dropping_a_running_server_warns_and_ends_it() -> None:
    servers = [EchoServer()]
    servers[0].start()
    address = servers[0].address
    with connect(address) as client:
        assert exchange(client, b"served") == b"served"
        begun = time.monotonic()
        with pytest.warns(ResourceWarning, match=r"unclosed <tinycoro\.EchoServer 127"):
            servers.clear()
        assert time.monotonic() - begun <= 1 + SLACK
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(address)


def test_dropping_a_server_that_has_stopped_is_silent() -> None:
    servers = [EchoServer()]
    servers[0].start()
    servers[0].close()
    assert wait_until(lambda: servers[0].closed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        servers.clear()
        gc.collect()


def test_server_can_be_referenced_weakly_and_collected_in_a_cycle() -> None:
    class Holder:
        def __init__(self) -> None:
            self.server = EchoServer()
            self.me = self

    holder = Holder()
    reference = weakref.ref(holder.server)
    assert reference() is holder.server
    del holder
    gc.collect()
    assert reference() is None


# ---- what it shows -----------------------------------------------------------------------------


def test_address_before_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no address before it is started"):
        _ = EchoServer().address


def test_address_stays_readable_after_close() -> None:
    with EchoServer() as server:
        address = server.address
        assert address[0] == "127.0.0.1"
        assert 0 < address[1] < 65536
    assert server.address == address


def test_repr_shows_state_address_and_counts() -> None:
    server = EchoServer(port=0)
    assert (
        repr(server) == "<tinycoro.EchoServer 127.0.0.1:0, not started, connections=0 accepted=0>"
    )
    server.start()
    where = f"127.0.0.1:{server.address[1]}"
    with connect(server):
        # The two counters are summed one after the other.
        assert wait_until(lambda: server.statistics().connections == 1)
        assert wait_until(lambda: server.statistics().accepted == 1)
        assert repr(server) == f"<tinycoro.EchoServer {where}, listening, connections=1 accepted=1>"
    server.close()
    server.wait(10)
    assert repr(server) == f"<tinycoro.EchoServer {where}, closed, connections=0 accepted=1>"


def test_statistics_count_and_are_frozen(server: EchoServer) -> None:
    with connect(server) as client:
        assert exchange(client, b"12345") == b"12345"
        # A worker adds the bytes up when it has sent them: the echo may be here before.
        assert wait_until(lambda: server.statistics().bytes_out == 5)
        now = server.statistics()
    assert isinstance(now, ServerStatistics)
    assert (now.accepted, now.connections, now.bytes_in, now.bytes_out) == (1, 1, 5, 5)
    assert now.listening is True
    assert now.paused is False
    assert "accepted=1" in repr(now)
    with pytest.raises(AttributeError):
        now.accepted = 2  # type: ignore[misc]


def test_statistics_of_the_last_run_stay_readable() -> None:
    server = EchoServer()
    assert server.statistics().accepted == 0
    with server:
        assert probe(server)
    last = server.statistics()
    assert (last.accepted, last.connections, last.listening) == (1, 0, False)


def test_methods_tell_their_signatures() -> None:
    assert str(inspect.signature(EchoServer)) == (
        "(host='127.0.0.1', port=0, *, workers=None, max_connections=None, idle_timeout=None, "
        "drain_timeout=30, backlog=None, reuse_port=False)"
    )
    assert str(inspect.signature(EchoServer.wait)) == "(self, /, timeout=None)"
    for name in ("start", "close", "abort", "wait", "statistics"):
        assert getattr(EchoServer, name).__doc__


def test_type_is_final_and_immutable() -> None:
    with pytest.raises(TypeError):
        type("Derived", (EchoServer,), {})
    with pytest.raises(TypeError):
        EchoServer.start = None  # type: ignore[method-assign, assignment]


# ---- wrong use ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"host": 1}, TypeError, "host must be a str, not int"),
        ({"host": "example.com"}, ValueError, "host='example.com': it must be a numeric"),
        ({"host": ""}, ValueError, "host=''"),
        ({"host": "127.0.0.1\0"}, ValueError, "host="),
        ({"port": "80"}, TypeError, "port must be an integer, not str"),
        ({"port": 65536}, ValueError, "port=65536: it must be between 0 and 65535"),
        ({"port": -1}, ValueError, "port=-1"),
        ({"port": 1 << 80}, ValueError, "port=1208925819614629174706176"),
        ({"workers": 0}, ValueError, "workers=0: it must be between 1 and 256, or None"),
        ({"workers": 2.0}, TypeError, "workers must be an integer or None, not float"),
        ({"max_connections": 0}, ValueError, "max_connections=0"),
        ({"backlog": 0}, ValueError, "backlog=0"),
        ({"idle_timeout": 0}, ValueError, "idle_timeout=0: it must be more than 0 seconds"),
        ({"idle_timeout": "1"}, TypeError, "idle_timeout must be a number of seconds or None"),
        ({"idle_timeout": float("nan")}, ValueError, "idle_timeout=nan"),
        ({"drain_timeout": -1}, ValueError, "drain_timeout=-1: it must be at least 0 seconds"),
        ({"colour": 1}, TypeError, "colour"),
    ],
)
def test_wrong_arguments_are_named_with_their_limits(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        EchoServer(**arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_limits_beyond_the_range_of_time_mean_none() -> None:
    for forever in (None, float("inf"), 1e300, 10**12):
        EchoServer(idle_timeout=forever, drain_timeout=forever)


def test_more_workers_than_there_are_is_an_error() -> None:
    server = EchoServer(workers=256)
    with pytest.raises(ValueError, match=r"workers=256: the runtime has \d+"):
        server.start()
    assert not server.listening


def test_wait_arguments_are_checked(server: EchoServer) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str"):
        server.wait("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout=nan"):
        server.wait(float("nan"))
    with pytest.raises(TypeError, match="at most 1 positional"):
        server.wait(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no parameter 'seconds'"):
        server.wait(seconds=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="got 'timeout' twice"):
        server.wait(1, timeout=1)  # type: ignore[misc]


def test_port_that_is_taken_is_named(server: EchoServer) -> None:
    port = server.address[1]
    second = EchoServer(port=port)
    with pytest.raises(OSError, match="cannot listen") as caught:
        second.start()
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.filename == f"127.0.0.1:{port}"
    assert not second.listening
    server.abort()
    server.wait(10)
    second.start()
    second.abort()
    second.wait(10)


def test_port_can_be_shared_on_request() -> None:
    with EchoServer(reuse_port=True) as first:
        second = EchoServer(port=first.address[1], reuse_port=True)
        with second:
            assert second.address == first.address


@pytest.mark.parametrize("call", ["socket", "bind", "listen", "epoll_ctl"])
def test_start_that_fails_leaves_nothing_and_can_be_repeated(call: str) -> None:
    server = EchoServer()
    _core._fault_arm(call, 1, errno.EACCES, None)
    with pytest.raises(PermissionError):
        server.start()
    _core._fault_disarm()
    assert not server.listening
    with server:
        assert probe(server)


def test_workers_that_cannot_start_are_reported() -> None:
    server = EchoServer()
    _core._fault_arm("thread_create", 1, errno.EAGAIN)
    with pytest.raises(BlockingIOError) as caught:
        server.start()
    assert caught.value.errno == errno.EAGAIN
    with server:
        assert probe(server)


def test_root_of_our_errors_is_an_exception() -> None:
    assert issubclass(TinycoroError, Exception)
    assert not issubclass(TinycoroError, OSError)


# ---- threads -----------------------------------------------------------------------------------


def test_any_thread_may_look_while_another_starts_and_stops() -> None:
    server = EchoServer()
    done = threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not done.is_set():
                server.statistics()
                repr(server)
                _ = server.listening, server.closed
                server.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        server.start()
        server.abort()
        server.wait(10)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_start_from_many_threads_succeeds_once() -> None:
    server = EchoServer()
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        try:
            server.start()
            outcomes.append("started")
        except RuntimeError:
            outcomes.append("refused")

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "refused", "refused", "started"]
    assert probe(server)
    server.abort()
    server.wait(10)
