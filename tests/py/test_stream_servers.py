"""Server, and the lives of streams: cancellation, collection, threads, fork, exit."""

from __future__ import annotations

import errno
import gc
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

import tinycoro
from both import Lib, run_both
from support import assert_success, probe, require_ipv6, reset, run_python
from tinycoro import StreamReader, StreamWriter, _core


def address_of(server: tinycoro.Server) -> tuple[str, int]:
    host, port = server.sockets[0].getsockname()[:2]
    return host, port


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


# ---- Server --------------------------------------------------------------------------------------


def test_several_hosts_and_both_families() -> None:
    async def scenario(lib: Lib) -> list[object]:
        server = await lib.start_server(lambda r, w: w.close(), ["127.0.0.1", "::1"], 0)
        log: list[object] = [sorted(sock.family for sock in server.sockets), server.is_serving()]
        for sock in sorted(server.sockets, key=lambda sock: sock.family):
            reader, writer = await lib.open_connection(*sock.getsockname()[:2])
            log.append((len(writer.get_extra_info("peername")), await reader.read()))
            writer.close()
        server.close()
        await server.wait_closed()
        log.append((server.sockets, server.is_serving()))
        return log

    run_both(scenario)


def test_without_a_host_all_addresses_are_served() -> None:
    async def main() -> None:
        server = await tinycoro.start_server(echo, None, 0)
        for sock in server.sockets:
            host = "::1" if sock.family == socket.AF_INET6 else "127.0.0.1"
            reader, writer = await tinycoro.open_connection(host, sock.getsockname()[1])
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            writer.close()
        server.close()

    tinycoro.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "0.0.0.0"])
def test_connections_over_loopback_are_not_paced(host: str) -> None:
    if ":" in host:
        require_ipv6()

    def congestion_control(sock: Lib) -> bytes:
        name: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return name.rstrip(b"\0")

    async def main() -> bytes:
        found: tinycoro.Future[bytes] = tinycoro.get_running_loop().create_future()

        async def handle(reader: StreamReader, writer: StreamWriter) -> None:
            found.set_result(congestion_control(writer.get_extra_info("socket")))
            writer.close()

        async with await tinycoro.start_server(handle, host, 0) as server:
            _, writer = await tinycoro.open_connection(*address_of(server))
            name = await found
            writer.close()
        return name

    with socket.socket() as plain:
        usual = congestion_control(plain)
    assert tinycoro.run(main()) == (usual if host == "0.0.0.0" else b"reno")


def test_serving_starts_when_it_is_told_to() -> None:
    async def scenario(lib: Lib) -> list[object]:
        server = await lib.start_server(lambda r, w: w.close(), "127.0.0.1", 0, start_serving=False)
        log: list[object] = [server.is_serving()]
        try:
            await lib.open_connection(*server.sockets[0].getsockname())
        except ConnectionRefusedError:
            log.append("refused")
        await server.start_serving()
        await server.start_serving()
        reader, writer = await lib.open_connection(*server.sockets[0].getsockname())
        log.append(await reader.read())
        writer.close()
        log.append(server.get_loop() is lib.get_running_loop())
        server.close()
        server.close()
        await server.wait_closed()
        try:
            await server.serve_forever()
        except RuntimeError as error:
            log.append(str(error).split()[-1])
        return log

    run_both(scenario)


def test_serve_forever_until_it_is_cancelled() -> None:
    async def scenario(lib: Lib) -> list[object]:
        log: list[object] = []
        async with await lib.start_server(lambda r, w: w.close(), "127.0.0.1", 0) as server:
            task = lib.create_task(server.serve_forever())
            await lib.sleep(0.01)
            try:
                await server.serve_forever()
            except RuntimeError:
                log.append("twice")
            task.cancel()
            try:
                await task
            except lib.CancelledError:
                log.append("cancelled")
            log.append((server.is_serving(), server.sockets))
        return log

    run_both(scenario)


def test_serve_forever_is_told_of_what_happens_in_its_first_turn() -> None:
    """A close ends it, and another one is refused."""

    async def scenario(lib: Lib) -> list[object]:
        log: list[object] = []
        for count in (1, 2):
            server = await lib.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
            tasks = [lib.create_task(server.serve_forever()) for _ in range(count)]
            await lib.sleep(0)
            server.close()
            _, pending = await lib.wait(tasks, timeout=1)
            for task in tasks:
                if task in pending:
                    task.cancel()
            ends = await lib.gather(*tasks, return_exceptions=True)
            log.append(([type(end).__name__ for end in ends], len(pending)))
        return log

    ended = run_both(scenario)
    assert ended == [(["CancelledError"], 0), (["CancelledError", "RuntimeError"], 0)]


def test_close_lets_connections_go_on_and_wait_closed_waits_for_them() -> None:
    """As asyncio since 3.12."""

    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        reader, writer = await tinycoro.open_connection(*address_of(server))
        writer.write(b"a")
        assert await reader.read(1) == b"a"
        server.close()
        waiting = tinycoro.create_task(server.wait_closed())
        writer.write(b"b")
        assert await reader.read(1) == b"b"
        assert not waiting.done()
        writer.close()
        await waiting
        await server.wait_closed()

    tinycoro.run(main())


@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_clients_can_be_closed(how: str) -> None:
    async def main() -> None:
        waiting = []

        async def handle(reader: StreamReader, writer: StreamWriter) -> None:
            waiting.append(writer)
            try:
                assert await reader.read() == b""
            finally:
                writer.close()

        server = await tinycoro.start_server(handle, "127.0.0.1", 0)
        clients = [await tinycoro.open_connection(*address_of(server)) for _ in range(3)]
        while len(waiting) < 3:
            await tinycoro.sleep(0.001)
        server.close()
        getattr(server, how)()
        await server.wait_closed()
        for reader, writer in clients:
            assert await reader.read() == b""
            writer.close()

    tinycoro.run(main())


def test_a_server_that_nobody_holds_goes_on_serving() -> None:
    async def main() -> None:
        address = address_of(await tinycoro.start_server(echo, "127.0.0.1", 0))
        gc.collect()
        reader, writer = await tinycoro.open_connection(*address)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        writer.close()

    with pytest.warns(ResourceWarning, match="unclosed"):
        tinycoro.run(main())


def test_reuse_port_and_address_in_use() -> None:
    async def main() -> None:
        first = await tinycoro.start_server(echo, "127.0.0.1", 0, reuse_port=True)
        port = address_of(first)[1]
        second = await tinycoro.start_server(echo, "127.0.0.1", port, reuse_port=True)
        with pytest.raises(OSError, match="error while attempting to bind on address"):
            await tinycoro.start_server(echo, "127.0.0.1", port)
        first.close()
        second.close()

    tinycoro.run(main())


def test_running_out_of_descriptors_is_reported_and_passes() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        told = loop.create_future()

        def handler(loop: object, context: dict[str, object]) -> None:
            told.set_result(context["message"])

        loop.set_exception_handler(handler)
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        _core._fault_arm("accept4", 1, errno.EMFILE)
        client = socket.create_connection(address_of(server))
        assert await told == "socket.accept() out of system resource"
        client.setblocking(False)
        await loop.sock_sendall(client, b"x")
        assert await loop.sock_recv(client, 1) == b"x"  # after a second
        client.close()
        server.close()
        await server.wait_closed()

    tinycoro.run(main())


# ---- cancellation --------------------------------------------------------------------------------


def test_cancelling_at_every_await_loses_nothing() -> None:
    """Bytes that were there before a cancel are there after it."""

    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        reader, writer = await tinycoro.open_connection(*address_of(server))
        reads: list[Callable[[], Coroutine[object, object, bytes]]] = [
            lambda: reader.readexactly(8),
            lambda: reader.readuntil(b"8"),
            lambda: reader.readline(),
        ]
        for turns in range(6):
            for read in reads:
                task = tinycoro.create_task(read())
                writer.write(b"1234")
                await writer.drain()
                for _ in range(turns):
                    await tinycoro.sleep(0.0005)
                task.cancel()
                with pytest.raises(tinycoro.CancelledError):
                    await task
                writer.write(b"5678")
                assert await reader.readexactly(8) == b"12345678"
        writer.close()
        server.close()

    tinycoro.run(main())


def test_cancelling_drain_and_wait_closed() -> None:
    async def main() -> None:
        release = tinycoro.get_running_loop().create_future()

        async def handle(reader: StreamReader, writer: StreamWriter) -> None:
            await release
            assert len(await reader.read()) == 10_000_000
            writer.close()

        server = await tinycoro.start_server(handle, "127.0.0.1", 0)
        _, writer = await tinycoro.open_connection(*address_of(server))
        writer.write(b"x" * 10_000_000)
        draining = tinycoro.create_task(writer.drain())
        await tinycoro.sleep(0)
        draining.cancel()
        writer.close()
        closing = tinycoro.create_task(writer.wait_closed())
        await tinycoro.sleep(0)
        closing.cancel()
        for task in (draining, closing):
            with pytest.raises(tinycoro.CancelledError):
                await task
        release.set_result(None)
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    tinycoro.run(main())


def test_cancelling_a_connect_closes_the_socket() -> None:
    async def main() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            for delay in (None, 0.01):
                task = tinycoro.create_task(
                    tinycoro.open_connection(*full.getsockname(), happy_eyeballs_delay=delay)
                )
                await tinycoro.sleep(0.02)
                task.cancel()
                with pytest.raises(tinycoro.CancelledError):
                    await task
            for filler in fillers:
                filler.close()

    tinycoro.run(main())  # the census finds a socket that is left


# ---- collection and threads ---------------------------------------------------------------------


def test_a_writer_that_is_dropped_closes_its_connection() -> None:
    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        reader, writer = await tinycoro.open_connection(*address_of(server))
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del writer
        assert await reader.read() == b""
        server.close()
        await server.wait_closed()

    tinycoro.run(main())


def test_a_connection_in_a_cycle_is_collected() -> None:
    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)

        class Owner:
            pass

        owner = Owner()
        owner.me = owner  # type: ignore[attr-defined]
        owner.streams = await tinycoro.open_connection(  # type: ignore[attr-defined]
            *address_of(server)
        )
        del owner
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            gc.collect()
        server.close()
        await server.wait_closed()

    tinycoro.run(main())


def test_the_last_reference_may_go_on_another_thread() -> None:
    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        streams = [await tinycoro.open_connection(*address_of(server))]
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            await tinycoro.to_thread(streams.clear)
        server.close()
        await server.wait_closed()

    tinycoro.run(main())


def test_a_foreign_thread_is_refused() -> None:
    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        reader, writer = await tinycoro.open_connection(*address_of(server))
        errors = []

        def use() -> None:
            for call in (
                lambda: reader.read(1),
                lambda: reader.feed_data(b"x"),
                lambda: reader.at_eof(),
                lambda: writer.write(b"x"),
                lambda: writer.drain(),
                lambda: writer.close(),
                lambda: writer.transport.abort(),
                lambda: writer.get_extra_info("socket"),
                lambda: server.close(),
            ):
                try:
                    call()
                except RuntimeError as error:
                    errors.append(str(error))

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert len(errors) == 9
        assert all("call_soon_threadsafe" in text for text in errors)
        writer.close()
        server.close()
        await server.wait_closed()

    tinycoro.run(main())


def test_the_loop_may_be_closed_before_its_streams() -> None:
    kept: list[object] = []

    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        kept.extend(await tinycoro.open_connection(*address_of(server)))
        kept[1].write(b"unsent")  # type: ignore[attr-defined]
        server.close()

    tinycoro.run(main())
    with pytest.raises(RuntimeError, match="closed"):
        kept[1].close()  # type: ignore[attr-defined]
    with pytest.warns(ResourceWarning, match="loop is closed"):
        kept.clear()


def test_a_destructor_may_write() -> None:
    """Python code that runs in the midst of our own."""

    class Nasty(bytes):
        def __del__(self) -> None:
            writers[0].write(b"!")

    writers: list[StreamWriter] = []

    async def main() -> bytes:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        reader, writer = await tinycoro.open_connection(*address_of(server))
        writers.append(writer)
        writer.write(Nasty(b"abc"))
        writer.writelines(Nasty(b"x") for _ in range(3))
        writer.write_eof()
        data = await reader.read()
        writer.close()
        server.close()
        return data

    assert sorted(tinycoro.run(main())) == sorted(b"abc!x!x!x!")
    writers.clear()


def test_a_storm_of_resets_leaves_nothing() -> None:
    async def main() -> None:
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        tinycoro.get_running_loop().set_exception_handler(lambda loop, context: None)
        for turn in range(100):
            clients = [socket.create_connection(address_of(server)) for _ in range(5)]
            await tinycoro.sleep(0.001 if turn % 2 else 0)
            for number, client in enumerate(clients):
                if number % 2:
                    client.send(b"x" * number)
                reset(client)
        assert await tinycoro.to_thread(probe, address_of(server))
        server.close()
        await server.wait_closed()

    tinycoro.run(main())  # then the census is taken


# ---- fork and exit ------------------------------------------------------------------------------


def test_the_child_of_a_fork() -> None:
    """It has no connections: those of the parent go on, and end when the parent ends them."""
    assert_success(
        run_python(
            """
            import os, socket, warnings
            import tinycoro
            warnings.simplefilter("ignore", DeprecationWarning)

            async def echo(reader, writer):
                while data := await reader.read(100):
                    writer.write(data)
                writer.close()

            async def main():
                server = await tinycoro.start_server(echo, "127.0.0.1", 0)
                reader, writer = await tinycoro.open_connection(*server.sockets[0].getsockname())
                writer.write(b"a")
                assert await reader.read(1) == b"a"
                before, after = os.pipe()
                pid = os.fork()
                if pid == 0:
                    for call in (lambda: writer.write(b"x"), lambda: reader.read(1),
                                 writer.close, server.close):
                        try:
                            call()
                        except RuntimeError as error:
                            assert "fork" in str(error)
                        else:
                            os._exit(1)
                    sockets = [fd for fd in os.listdir("/proc/self/fd")
                               if os.path.exists(f"/proc/self/fd/{fd}")
                               and "socket" in os.readlink(f"/proc/self/fd/{fd}")]
                    os.close(after)
                    os.read(before, 1)  # lives longer than the parent's connection
                    os._exit(0 if len(sockets) <= 2 else 2)  # the loop's wake-up pair
                os.close(before)
                writer.write(b"b")
                assert await reader.read(1) == b"b"
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
                server.close()
                await server.wait_closed()
                os.close(after)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

            tinycoro.run(main())
            """
        )
    )


def test_a_program_may_end_with_connections_open() -> None:
    result = run_python(
        """
        import warnings
        import tinycoro
        warnings.simplefilter("ignore")
        kept = []

        async def echo(reader, writer):
            kept.append((reader, writer))
            await reader.read()

        async def main():
            server = await tinycoro.start_server(echo, "127.0.0.1", 0)
            kept.append(await tinycoro.open_connection(*server.sockets[0].getsockname()))
            kept.append(server)
            await tinycoro.sleep(0.01)

        tinycoro.run(main())
        """
    )
    assert_success(result)


def test_without_memory_a_connection_is_refused_and_the_server_lives() -> None:
    async def main() -> None:
        tinycoro.get_running_loop().set_exception_handler(lambda loop, context: None)
        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        for count in range(1, 4):
            _core._fault_arm("alloc", count, errno.ENOMEM)
            client = socket.create_connection(address_of(server))
            for _ in range(20):
                with suppress(MemoryError):
                    await tinycoro.sleep(0)
            _core._fault_disarm()
            client.close()
        reader, writer = await tinycoro.open_connection(*address_of(server))
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        writer.close()
        server.close()
        await server.wait_closed()

    tinycoro.run(main())
