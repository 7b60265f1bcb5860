"""Connecting: names, happy eyeballs, sockets that exist already; the loop's socket methods."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

import tinycoro
from both import Lib, run_both, same_on_both
from support import PATIENCE, assert_success, run_python
from test_streams import address_of, kind


def test_connecting_where_nobody_listens() -> None:
    async def scenario(lib: Lib) -> object:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            return await kind(lib.open_connection("127.0.0.1", port))

    assert run_both(scenario) == "ConnectionRefusedError"


def test_arguments_that_do_not_fit_together() -> None:
    async def scenario(lib: Lib) -> list[object]:
        log: list[object] = []
        a, b = socket.socketpair()
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with a, b, datagram:
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: lib.open_connection(),
                lambda: lib.open_connection("127.0.0.1", 1, sock=a),
                lambda: lib.open_connection(sock=datagram),
                lambda: lib.open_connection("127.0.0.1", 1, server_hostname="x"),
                lambda: lib.start_server(print),
                lambda: lib.start_server(print, "127.0.0.1", 0, sock=a),
                lambda: lib.open_unix_connection(),
                lambda: lib.open_unix_connection("x", sock=a),
                lambda: lib.start_unix_server(print),
                lambda: lib.start_unix_server(print, "x", sock=a),
            ]
            for call in calls:
                try:
                    await call()
                except ValueError as error:
                    log.append(str(error))
        return log

    async def texts(lib: Lib) -> int:
        found = await scenario(lib)
        return len(found)

    assert run_both(texts) == 10


# The first three name port 4464 or 65535 where only 16 bits are taken.
@pytest.mark.parametrize("port", [70000, "70000", -1, 65536, "65536", "-1", 2**64, 70000.5])
def test_a_number_that_is_no_port_is_refused(port: Lib) -> None:
    async def scenario(lib: Lib, *hosts: str | None) -> list[object]:
        log: list[object] = []
        loop = lib.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            there = listener.getsockname()
            for host in hosts:
                for opened in (
                    lib.start_server(print, host, port),
                    lib.start_server(print, ["127.0.0.1", host], port),
                    lib.open_connection(host, port),
                    lib.open_connection(*there, family=socket.AF_INET, local_addr=(host, port)),
                ):
                    log.append(await kind(opened))
            with socket.socket() as sock:
                sock.setblocking(False)
                log.append(await kind(loop.sock_connect(sock, ("127.0.0.1", port))))
        return log

    async def once_each(lib: Lib) -> set[object]:
        return set(await scenario(lib, "127.0.0.1"))

    assert run_both(once_each) == {"OverflowError"}
    # Names and the like asyncio leaves to the system's resolver, which takes 16 bits.
    assert set(tinycoro.run(scenario(tinycoro, "::1", "localhost", None, ""))) == {"OverflowError"}


def test_tls_says_what_to_do_instead() -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError, match="proxy"):
            await tinycoro.open_connection("127.0.0.1", 1, ssl=True)
        with pytest.raises(NotImplementedError, match="proxy"):
            await tinycoro.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=object())
        a, b = socket.socketpair()
        _, writer = await tinycoro.open_connection(sock=a)
        with pytest.raises(NotImplementedError, match="proxy"):
            writer.start_tls(object(), server_hostname="name")
        writer.close()
        b.close()

    tinycoro.run(main())


def test_subprocesses_say_what_to_do_instead() -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError, match="Popen"):
            await tinycoro.create_subprocess_exec("true", stdout=None)
        with pytest.raises(NotImplementedError, match="Popen"):
            await tinycoro.create_subprocess_shell("true")

    tinycoro.run(main())


def test_a_socket_that_is_connected_already() -> None:
    async def scenario(lib: Lib) -> bytes:
        a, b = socket.socketpair()
        reader, writer = await lib.open_connection(sock=a)
        b.sendall(b"hello")
        b.close()
        data: bytes = await reader.read()
        writer.close()
        await writer.wait_closed()
        return data

    assert run_both(scenario) == b"hello"


def test_happy_eyeballs_takes_the_address_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address never answers; the second one is tried before it gives up."""

    async def main() -> None:
        async def handle(reader: Lib, writer: Lib) -> None:
            writer.write(b"hello")
            writer.close()

        server = await tinycoro.start_server(handle, "127.0.0.1", 0)
        host, port = address_of(server)
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):  # the backlog is full: further ones wait for ever
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        infos = [(*tcp, full.getsockname()), (*tcp, (host, port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: infos)
        reader, writer = await tinycoro.open_connection("name", 1, happy_eyeballs_delay=0.02)
        assert await reader.read() == b"hello"
        writer.close()
        for sock in (full, *fillers):
            sock.close()
        server.close()

    tinycoro.run(main())


def test_a_name_is_resolved_and_the_local_address_bound() -> None:
    async def scenario(lib: Lib) -> list[object]:
        async def handle(reader: Lib, writer: Lib) -> None:
            writer.write(writer.get_extra_info("peername")[0].encode())
            writer.close()

        server = await lib.start_server(handle, "127.0.0.1", 0)
        port = address_of(server)[1]
        log: list[object] = []
        for host in ("localhost", "127.0.0.1"):
            reader, writer = await lib.open_connection(
                host, port, family=socket.AF_INET, local_addr=("127.0.0.2", 0)
            )
            log.append(await reader.read())
            writer.close()
        server.close()
        return log

    assert run_both(scenario) == [b"127.0.0.2"] * 2


def test_numeric_addresses_need_no_thread() -> None:
    result = run_python(
        """
        import threading
        import tinycoro

        async def handle(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        async def main():
            server = await tinycoro.start_server(handle, "127.0.0.1", 0)
            reader, writer = await tinycoro.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\\n")
            assert await reader.read() == b"hello\\n"
            writer.close()
            server.close()
            await server.wait_closed()
            assert threading.active_count() == 1

        tinycoro.run(main())
        assert tinycoro.statistics().workers == 0
        """
    )
    assert_success(result)


def test_getaddrinfo_and_getnameinfo() -> None:
    async def scenario(lib: Lib) -> list[object]:
        loop = lib.get_running_loop()
        return [
            await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM),
            await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST),
            await kind(loop.getaddrinfo("127.0.0.1", 80, family=99)),
        ]

    run_both(scenario)


# ---- the loop's socket methods -------------------------------------------------------------------


@same_on_both
async def test_socket_methods(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    listener = socket.socket()
    client = socket.socket()
    with listener, client:
        listener.setblocking(False)
        client.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepting = lib.create_task(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        server, address = await accepting
        with server:
            log.append(address == client.getsockname())
            receiving = lib.create_task(loop.sock_recv(server, 100))
            await lib.sleep(0)
            await loop.sock_sendall(client, b"hello")
            log.append(await receiving)
            buffer = bytearray(5)
            filling = lib.create_task(loop.sock_recv_into(server, buffer))
            await loop.sock_sendall(client, b"world")
            log.append((await filling, bytes(buffer)))
            big = b"x" * 5_000_000
            sending = lib.create_task(loop.sock_sendall(client, big))
            received = 0
            while received < len(big):
                received += len(await loop.sock_recv(server, 1 << 16))
            await sending
            cancelled = lib.create_task(loop.sock_recv(server, 1))
            await lib.sleep(0)
            cancelled.cancel()
            log.append(await lib.gather(cancelled, return_exceptions=True) != [])
            log.append(loop.remove_reader(server))


@same_on_both
async def test_cancelled_socket_method_leaves_the_next_one_its_place(
    lib: Lib, log: list[object]
) -> None:
    loop = lib.get_running_loop()
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        first = lib.create_task(loop.sock_recv(a, 5))
        await lib.sleep(0)
        first.cancel()
        second = lib.create_task(loop.sock_recv(a, 5))
        await lib.sleep(0)
        await lib.sleep(0)
        await loop.sock_sendall(b, b"hello")
        log.append(await lib.wait_for(second, PATIENCE))
        while True:
            try:
                a.send(bytes(1 << 16))
            except BlockingIOError:
                break
        first = lib.create_task(loop.sock_sendall(a, b"first"))
        await lib.sleep(0)
        first.cancel()
        second = lib.create_task(loop.sock_sendall(a, b"second"))
        await lib.sleep(0)
        await lib.sleep(0)
        received = b""
        while not received.endswith(b"second"):
            received = received[-5:] + await lib.wait_for(loop.sock_recv(b, 1 << 16), PATIENCE)
        await second
        log.append(loop.remove_reader(a) or loop.remove_writer(a) or loop.remove_reader(b))


@same_on_both
async def test_socket_closed_while_a_method_waits(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    a, b = socket.socketpair()
    with b:
        a.setblocking(False)
        waiting = lib.create_task(loop.sock_recv(a, 5))
        await lib.sleep(0)
        waiting.cancel()
        a.close()
        log.append(type((await lib.gather(waiting, return_exceptions=True))[0]).__name__)


@same_on_both
async def test_datagrams(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with a, b:
        for sock in (a, b):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        receiving = lib.create_task(loop.sock_recvfrom(a, 100))
        await lib.sleep(0)
        log.append(await loop.sock_sendto(b, b"hello", a.getsockname()))
        data, sender = await receiving
        log.append((data, sender == b.getsockname()))


def test_it_is_asyncios_loop_for_code_that_asks_asyncio() -> None:
    async def main() -> bytes:
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            receiving = asyncio.get_running_loop().sock_recv(a, 5)
            b.sendall(b"hello")
            return await receiving

    assert tinycoro.run(main()) == b"hello"


def test_all_connections_of_a_storm_are_served() -> None:
    """More connections than one batch of accept, all at once."""

    async def main() -> int:
        async def handle(reader: Lib, writer: Lib) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await tinycoro.start_server(handle, "127.0.0.1", 0, backlog=500)

        async def client(number: int) -> bool:
            reader, writer = await tinycoro.open_connection(*address_of(server))
            writer.write(b"%d\n" % number)
            data = await reader.read()
            writer.close()
            await writer.wait_closed()
            return data == b"%d\n" % number

        results = await tinycoro.gather(*[client(i) for i in range(300)])
        server.close()
        await server.wait_closed()
        return sum(results)

    assert tinycoro.run(main()) == 300
