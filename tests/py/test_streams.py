"""Streams over real connections, as asyncio's."""

from __future__ import annotations

import socket
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable
from pathlib import Path

import pytest

import tinycoro
from both import Lib, run_both, same_on_both
from support import reset


async def kind(awaitable: Awaitable[object]) -> object:
    """The result, or the exception's type."""
    try:
        return await awaitable
    except Exception as error:
        return type(error).__name__


def address_of(server: object) -> tuple[str, int]:
    host, port = server.sockets[0].getsockname()[:2]  # type: ignore[attr-defined]
    return host, port


@same_on_both
async def test_echo_and_half_close(lib: Lib, log: list[object]) -> None:
    done = lib.get_running_loop().create_future()

    async def handle(reader: Lib, writer: Lib) -> None:
        log.append((type(reader).__name__, type(writer).__name__))
        while line := await reader.readline():
            writer.write(b"<" + line)
            await writer.drain()
        log.append(("handler", reader.at_eof(), writer.is_closing()))
        writer.write(b"bye")
        writer.close()
        await writer.wait_closed()
        log.append(("closed", writer.is_closing()))
        done.set_result(None)

    server = await lib.start_server(handle, "127.0.0.1", 0)
    reader, writer = await lib.open_connection(*address_of(server))
    for message in (b"one\n", b"two\n", b"three"):
        writer.write(message)
    log.append(await reader.readline())
    log.append(writer.can_write_eof())
    writer.write_eof()
    try:
        writer.write(b"more")
    except RuntimeError as error:
        log.append(str(error))
    log.append(await reader.read())
    log.append((reader.at_eof(), writer.is_closing()))
    await done
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@same_on_both
async def test_what_may_be_written(lib: Lib, log: list[object]) -> None:
    received = lib.get_running_loop().create_future()

    async def handle(reader: Lib, writer: Lib) -> None:
        received.set_result(await reader.read())
        writer.close()

    server = await lib.start_server(handle, "127.0.0.1", 0)
    _, writer = await lib.open_connection(*address_of(server))
    changing = bytearray(b"bytearray ")
    writer.write(changing)
    changing[:] = b"changed!!!"
    writer.write(b"")
    writer.writelines([b"a", bytearray(b"b"), memoryview(b"--c--")[2:3]])
    writer.writelines(b"%d" % i for i in range(200))
    for bad in ("text", None, 5, [1]):
        try:
            writer.write(bad)
        except TypeError as error:
            log.append(f"{error}".replace("bytes, bytearray, or memoryview", "bytes-like"))  # 3.14
    writer.write_eof()
    log.append(await received)
    writer.close()
    await writer.wait_closed()
    server.close()


@same_on_both
async def test_reading_is_paused_and_resumed(lib: Lib, log: list[object]) -> None:
    a, b = socket.socketpair()
    with b:
        reader, writer = await lib.open_connection(sock=a)
        transport = writer.transport
        transport.pause_reading()
        transport.pause_reading()
        log.append(transport.is_reading())
        reading = lib.create_task(reader.read(100))
        b.sendall(b"hello")
        for _ in range(20):
            await lib.sleep(0)
        log.append((reading.done(), transport.is_reading()))
        transport.resume_reading()
        log.append(await reading)
        transport.resume_reading()
        reading = lib.create_task(reader.readexactly(4))
        await lib.sleep(0)
        log.append(transport.is_reading())
        b.sendall(b"more")
        log.append(await reading)
        writer.close()
        transport.pause_reading()
        transport.resume_reading()
        log.append(transport.is_reading())
        await writer.wait_closed()


def test_reset_is_seen_while_reading_is_paused() -> None:
    async def main() -> None:
        accepted = tinycoro.get_running_loop().create_future()

        def handle(reader: Lib, writer: Lib) -> None:
            accepted.set_result((reader, writer))

        server = await tinycoro.start_server(handle, "127.0.0.1", 0)
        client = socket.create_connection(address_of(server))
        reader, writer = await accepted
        writer.transport.pause_reading()
        reading = tinycoro.create_task(kind(reader.read(100)))
        await tinycoro.sleep(0)
        assert not writer.transport.is_reading()
        reset(client)
        assert await reading == "ConnectionResetError"
        assert writer.is_closing()
        server.close()

    tinycoro.run(main())


@same_on_both
async def test_large_writes_arrive_whole(lib: Lib, log: list[object]) -> None:
    data = bytes(range(256)) * 20_000

    async def handle(reader: Lib, writer: Lib) -> None:
        writer.write(data)
        writer.writelines([data[:70_000], data[70_000:]])
        await writer.drain()
        writer.close()

    server = await lib.start_server(handle, "127.0.0.1", 0)
    reader, writer = await lib.open_connection(*address_of(server))
    log.append(await reader.read() == data + data)
    writer.close()
    server.close()


@same_on_both
async def test_information_about_the_connection(lib: Lib, log: list[object]) -> None:
    done = lib.get_running_loop().create_future()

    async def handle(reader: Lib, writer: Lib) -> None:
        names = [writer.get_extra_info(name) for name in ("sockname", "peername")]
        writer.close()
        await writer.wait_closed()
        done.set_result((names, [writer.get_extra_info(n) for n in ("sockname", "peername")]))

    server = await lib.start_server(handle, "127.0.0.1", 0)
    reader, writer = await lib.open_connection(*address_of(server))
    sock = writer.get_extra_info("socket")
    log.append((isinstance(sock, TransportSocket), sock.family, sock.type))
    log.append(writer.get_extra_info("sockname") == sock.getsockname())
    log.append(writer.get_extra_info("peername") == address_of(server))
    log.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
    log.append(writer.get_extra_info("nothing"))
    log.append(writer.get_extra_info("nothing", "default"))
    before, after = await done
    log.append(before == after)
    log.append(before == [address_of(server), writer.get_extra_info("sockname")])
    log.append(await reader.read())
    writer.close()
    await writer.wait_closed()
    log.append(sock.fileno())
    server.close()


def test_a_handlers_exception_is_reported_and_the_connection_closed() -> None:
    """As asyncio since 3.12."""

    async def main() -> list[object]:
        reported: list[dict[str, object]] = []
        tinycoro.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(context)
        )

        async def handle(reader: Lib, writer: Lib) -> None:
            writer.write(b"before")
            raise ZeroDivisionError("in the handler")

        server = await tinycoro.start_server(handle, "127.0.0.1", 0)
        reader, writer = await tinycoro.open_connection(*address_of(server))
        data = await reader.read()
        writer.close()
        server.close()
        await server.wait_closed()
        return [data, *[(c["message"], repr(c["exception"]), sorted(c)) for c in reported]]

    assert tinycoro.run(main()) == [
        b"before",
        (
            "Unhandled exception in client_connected_cb",
            "ZeroDivisionError('in the handler')",
            ["exception", "message", "transport"],
        ),
    ]


def test_a_cancelled_handler_closes_its_connection() -> None:
    """As asyncio since 3.12."""

    async def main() -> bytes:
        tasks = []

        async def handle(reader: Lib, writer: Lib) -> None:
            tasks.append(tinycoro.current_task())
            await reader.read()

        server = await tinycoro.start_server(handle, "127.0.0.1", 0)
        reader, writer = await tinycoro.open_connection(*address_of(server))
        while not tasks:
            await tinycoro.sleep(0.001)
        assert tasks[0] is not None
        tasks[0].cancel()
        data = await reader.read()
        writer.close()
        server.close()
        await server.wait_closed()
        return data

    assert tinycoro.run(main()) == b""


@same_on_both
async def test_a_callback_that_is_no_coroutine(lib: Lib, log: list[object]) -> None:
    kept: list[Lib] = []

    def connected(reader: Lib, writer: Lib) -> None:
        kept.append((reader, writer))
        writer.write(b"hello")
        writer.close()

    server = await lib.start_server(connected, "127.0.0.1", 0)
    reader, writer = await lib.open_connection(*address_of(server))
    log.append(await reader.read())
    log.append(len(kept))
    writer.close()
    server.close()


@same_on_both
async def test_use_after_close(lib: Lib, log: list[object]) -> None:
    async def handle(reader: Lib, writer: Lib) -> None:
        await reader.read()
        writer.close()

    server = await lib.start_server(handle, "127.0.0.1", 0)
    reader, writer = await lib.open_connection(*address_of(server))
    waiting = lib.create_task(kind(reader.read(5)))
    await lib.sleep(0)
    writer.close()
    writer.close()
    log.append(writer.is_closing())
    writer.write(b"lost")
    writer.write_eof()
    log.append(await kind(writer.drain()))
    log.append(await waiting)
    await writer.wait_closed()
    await writer.wait_closed()
    log.append(await kind(reader.read(5)))
    log.append(await kind(writer.drain()))
    log.append(reader.at_eof())
    server.close()


def test_a_reset_is_raised_by_reads_and_drains() -> None:
    async def scenario(lib: Lib) -> list[object]:
        log: list[object] = []
        accepted = lib.get_running_loop().create_future()

        async def handle(reader: Lib, writer: Lib) -> None:
            log.append(await kind(reader.read(5)))
            log.append(await kind(reader.read(5)))
            log.append(writer.is_closing())
            writer.write(b"x")
            log.append(await kind(writer.drain()))
            writer.close()
            log.append(await kind(writer.wait_closed()))
            accepted.set_result(None)

        server = await lib.start_server(handle, "127.0.0.1", 0)
        client = socket.create_connection(address_of(server))
        await lib.sleep(0.01)
        reset(client)
        await accepted
        server.close()
        return log

    found = run_both(scenario)
    assert found == ["ConnectionResetError"] * 2 + [True] + ["ConnectionResetError"] * 2


def test_a_reset_shows_where_nobody_reads() -> None:
    async def scenario(lib: Lib) -> object:
        seen = lib.get_running_loop().create_future()

        async def handle(reader: Lib, writer: Lib) -> None:
            seen.set_result(await kind(writer.wait_closed()))

        server = await lib.start_server(handle, "127.0.0.1", 0)
        client = socket.create_connection(address_of(server))
        await lib.sleep(0.01)
        reset(client)
        result = await seen
        server.close()
        return result

    assert run_both(scenario) == "ConnectionResetError"


def test_the_end_shows_in_at_eof_where_nobody_reads() -> None:
    async def scenario(lib: Lib) -> object:
        seen = lib.get_running_loop().create_future()

        async def handle(reader: Lib, writer: Lib) -> None:
            first = await reader.readexactly(2)
            while not reader.at_eof():
                await lib.sleep(0.001)
            writer.close()
            seen.set_result(first)

        server = await lib.start_server(handle, "127.0.0.1", 0)
        client = socket.create_connection(address_of(server))
        client.sendall(b"ab")
        client.close()
        result = await seen
        server.close()
        return result

    assert run_both(scenario) == b"ab"


def test_a_slow_reader_bounds_memory() -> None:
    """drain() waits at the high mark: what piles up is that, one message, and the kernel's part."""

    async def scenario(lib: Lib) -> bool:
        most = 0
        stalled = lib.get_running_loop().create_future()

        async def handle(reader: Lib, writer: Lib) -> None:
            nonlocal most
            writer.transport.set_write_buffer_limits(high=100_000, low=50_000)
            try:
                while True:
                    writer.write(b"x" * 10_000)
                    most = max(most, writer.transport.get_write_buffer_size())
                    await writer.drain()
            except ConnectionError:
                stalled.set_result(None)
            writer.close()

        server = await lib.start_server(handle, "127.0.0.1", 0)
        client = socket.create_connection(address_of(server))
        previous = -1
        while most != previous or most < 100_000:
            previous = most
            await lib.sleep(0.02)
        reset(client)
        await stalled
        server.close()
        return most <= 110_000

    assert run_both(scenario)


@same_on_both
async def test_water_marks(lib: Lib, log: list[object]) -> None:
    done = lib.get_running_loop().create_future()

    async def handle(reader: Lib, writer: Lib) -> None:
        await reader.read()
        writer.close()
        done.set_result(None)

    server = await lib.start_server(handle, "127.0.0.1", 0)
    _, writer = await lib.open_connection(*address_of(server))
    transport = writer.transport
    log.append(transport.get_write_buffer_limits())
    for arguments in ({"high": 1000}, {"low": 10}, {"high": 0}, {"high": 9, "low": 3}, {}):
        transport.set_write_buffer_limits(**arguments)
        log.append(transport.get_write_buffer_limits())
    huge = 2**63
    transport.set_write_buffer_limits(low=huge // 8)
    log.append(transport.get_write_buffer_limits()[0])
    for arguments in (
        {"high": 1, "low": 2},
        {"low": -1},
        {"high": -5},
        {"high": -huge},
        {"high": 1 - huge},
        {"high": -huge - 1},
        {"low": -huge},
        {"low": -huge // 4 - 1},
        {"high": huge, "low": huge + 1},
        {"high": huge - 1, "low": huge},
        {"high": huge - 1, "low": -huge},
        {"high": -5 * huge},
        {"low": -5 * huge},
    ):
        try:
            transport.set_write_buffer_limits(**arguments)
        except ValueError as error:
            log.append(str(error))
    for arguments in ({"low": huge}, {"high": 5 * huge}, {"high": 5 * huge, "low": 0}):
        transport.set_write_buffer_limits(**arguments)
    log.append(transport.get_write_buffer_limits()[0])
    log.append(transport.get_write_buffer_size())
    writer.close()
    await done
    server.close()


def test_several_tasks_may_drain_at_once() -> None:
    async def scenario(lib: Lib) -> int:
        go_on = lib.get_running_loop().create_future()
        ended = lib.get_running_loop().create_future()

        async def handle(reader: Lib, writer: Lib) -> None:
            await go_on
            ended.set_result(len(await reader.read()))
            writer.close()

        server = await lib.start_server(handle, "127.0.0.1", 0)
        _, writer = await lib.open_connection(*address_of(server))
        writer.write(b"x" * 20_000_000)
        drains = [lib.create_task(writer.drain()) for _ in range(3)]
        await lib.sleep(0.01)
        drains[1].cancel()
        go_on.set_result(None)
        await lib.gather(*drains, return_exceptions=True)
        writer.close()
        size: int = await ended
        server.close()
        return size

    assert run_both(scenario) == 20_000_000


# ---- unix --------------------------------------------------------------------------------------


def test_unix_sockets(tmp_path: Path) -> None:
    async def scenario(lib: Lib) -> list[object]:
        log: list[object] = []
        path = str(tmp_path / "socket")

        async def handle(reader: Lib, writer: Lib) -> None:
            log.append(("handler", writer.get_extra_info("peername")))
            log.append(("handler", writer.get_extra_info("sockname") == path))
            writer.write((await reader.readline()).upper())
            writer.close()

        for _ in range(2):  # the second one replaces what the first has left
            server = await lib.start_unix_server(handle, path)
            reader, writer = await lib.open_unix_connection(path)
            log.append(writer.get_extra_info("peername") == path)
            writer.write(b"hello\n")
            log.append(await reader.read())
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
        log.append(await kind(lib.open_unix_connection(str(tmp_path / "nothing"))))
        return log

    run_both(scenario)


def test_the_file_of_a_unix_server_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        server = await tinycoro.start_unix_server(lambda reader, writer: None, path)
        assert path.exists()
        server.close()
        assert not path.exists()
        server = await tinycoro.start_unix_server(
            lambda reader, writer: None, path, cleanup_socket=False
        )
        server.close()
        assert path.exists()
        path.unlink()
        path.write_text("no socket")
        with pytest.raises(OSError, match="already in use"):
            await tinycoro.start_unix_server(lambda reader, writer: None, path)

    tinycoro.run(main())


def test_close_ends_serve_forever_before_wait_closed() -> None:
    async def scenario(lib: Lib) -> list[str]:
        log: list[str] = []
        server = await lib.start_server(lambda r, w: w.close(), "127.0.0.1", 0)

        async def wait() -> None:
            await server.wait_closed()
            log.append("wait_closed")

        async def serve() -> None:
            try:
                await server.serve_forever()
            except lib.CancelledError:
                log.append("serve_forever")

        tasks = [lib.create_task(wait()), lib.create_task(serve())]
        await lib.sleep(0)
        server.close()
        await lib.wait(tasks)
        return log

    assert run_both(scenario) == ["serve_forever", "wait_closed"]
