"""A native server from a task: `async with`, serve_forever, wait_closed."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Iterator

import pytest

import support
import tinycoro
from both import Lib
from support import PATIENCE, assert_success, connect, drop, fill, probe, receive, run_python
from tinycoro import EchoServer, _core

LIBS = pytest.mark.parametrize("lib", [tinycoro, asyncio], ids=["tinycoro", "asyncio"])


@pytest.fixture
def stopped() -> Iterator[EchoServer]:
    """A server that was not started, ended in any case."""
    server = EchoServer(drain_timeout=PATIENCE)
    yield server
    server.abort()
    if server.closed or server.listening:
        server.wait(PATIENCE)


@LIBS
def test_async_with_starts_and_ends(lib: Lib, stopped: EchoServer) -> None:
    async def main() -> None:
        async with stopped as server:
            assert server is stopped
            assert server.listening
            assert probe(server)
        assert stopped.closed

    lib.run(main())


@LIBS
def test_wait_closed_returns_when_it_has_stopped(lib: Lib, server: EchoServer) -> None:
    async def main() -> None:
        waits = [lib.create_task(server.wait_closed()) for _ in range(3)]
        await lib.sleep(0.01)
        assert not any(wait.done() for wait in waits)
        server.close()
        await lib.gather(*waits)
        assert server.closed
        await server.wait_closed()  # again is harmless

    lib.run(main())


@LIBS
def test_serve_forever_is_ended_by_cancel(lib: Lib, stopped: EchoServer) -> None:
    async def main() -> None:
        task = lib.create_task(stopped.serve_forever())
        await lib.sleep(0)
        assert stopped.listening
        assert probe(stopped)
        task.cancel()
        with pytest.raises(lib.CancelledError):
            await task
        assert stopped.closed

    lib.run(main())


@LIBS
def test_serve_forever_inside_async_with(lib: Lib, stopped: EchoServer) -> None:
    async def serve() -> None:
        async with stopped as server:
            await server.serve_forever()

    async def main() -> None:
        task = lib.create_task(serve())
        while not stopped.listening:
            await lib.sleep(0)
        assert probe(stopped)
        task.cancel()
        with pytest.raises(lib.CancelledError):
            await task
        assert stopped.closed

    lib.run(main())


@LIBS
def test_serve_forever_returns_when_somebody_closes(lib: Lib, stopped: EchoServer) -> None:
    async def main() -> None:
        task = lib.create_task(stopped.serve_forever())
        await lib.sleep(0)
        stopped.close()
        await task
        assert stopped.closed

    lib.run(main())


@LIBS
def test_the_first_cancel_drains_and_the_second_ends_it(lib: Lib, stopped: EchoServer) -> None:
    async def main() -> None:
        task = lib.create_task(stopped.serve_forever())
        await lib.sleep(0)
        with connect(stopped) as busy:
            fill(busy)  # a connection that is being served, and will not end by itself
            task.cancel()
            await lib.sleep(0.05)
            assert not task.done()
            assert not stopped.listening
            start = time.monotonic()
            task.cancel()
            with pytest.raises(lib.CancelledError):
                await task
            assert stopped.closed
            assert time.monotonic() - start < 5

    lib.run(main())


@LIBS
def test_a_cancelled_wait_leaves_the_server_alone(lib: Lib, server: EchoServer) -> None:
    async def main() -> None:
        task = lib.create_task(server.wait_closed())
        await lib.sleep(0)
        task.cancel()
        with pytest.raises(lib.CancelledError):
            await task
        assert server.listening
        assert probe(server)

    lib.run(main())


def test_an_exception_in_the_block_closes_the_server(stopped: EchoServer) -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            async with stopped:
                raise KeyError
        assert stopped.closed

    tinycoro.run(main())


def test_a_served_connection_may_finish(stopped: EchoServer) -> None:
    async def main() -> None:
        async with stopped:
            client = connect(stopped)
            client.sendall(b"last words")
            assert receive(client, 10) == b"last words"
        client.close()

    tinycoro.run(main())


def test_it_cannot_start_where_another_listens(server: EchoServer) -> None:
    async def main() -> None:
        other = EchoServer(port=server.address[1])
        with pytest.raises(OSError, match="cannot listen"):
            await other.serve_forever()
        with pytest.raises(OSError, match="cannot listen"):
            async with other:
                pass
        with pytest.raises(RuntimeError, match="was never started"):
            await other.wait_closed()

    tinycoro.run(main())


def test_a_failure_of_a_worker_is_raised() -> None:
    async def main() -> None:
        server = EchoServer()
        server.start()
        _core._fault_arm("epoll_ctl", 1, 1, None)
        client = connect(server)
        client.settimeout(PATIENCE)
        assert client.recv(1) == b""
        _core._fault_disarm()
        client.close()
        server.close()
        with pytest.raises(OSError, match="failure"):
            await server.wait_closed()

    tinycoro.run(main())


def test_operations_that_nobody_awaits_warn(server: EchoServer) -> None:
    with pytest.warns(RuntimeWarning, match="'serve_forever' was never awaited"):
        drop(server.serve_forever())
    assert str(inspect.signature(EchoServer.serve_forever)) == "(self, /)"


def test_a_task_dropped_while_it_serves_closes_the_server() -> None:
    server = EchoServer()
    loop = tinycoro.new_event_loop()
    task = loop.create_task(server.serve_forever())
    task._log_destroy_pending = False
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert server.listening
    loop.close()
    del task, loop
    server.abort()
    server.wait(PATIENCE)


def test_interrupt_drains_and_a_second_one_ends_it() -> None:
    result = run_python(
        """
    import os, signal, socket, sys, threading, time
    sys.path.insert(0, sys.argv[1])
    import support, tinycoro

    async def main():
        async with tinycoro.EchoServer(drain_timeout=60) as server:
            client = socket.create_connection(server.address)
            support.fill(client)

            def interrupt():
                os.kill(os.getpid(), signal.SIGINT)
                while server.listening:  # or the two might arrive as one
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)

            threading.Timer(0.1, interrupt).start()
            try:
                await server.serve_forever()
            finally:
                client.close()

    try:
        tinycoro.run(main())
    except KeyboardInterrupt:
        raise SystemExit(0)
    raise SystemExit(1)
    """,
        os.path.dirname(support.__file__),
    )
    assert_success(result)
