"""Whose descriptor a stream acts on: a number that was given away is left alone.

The user of `open_connection(sock=...)` has the socket, too, and may close it; the number then soon
means another socket.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tinycoro
from both import Lib, same_on_both
from tinycoro import _core


@contextmanager
def pair_with_number(number: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of connected sockets, the first of which has the number of one just closed."""
    first, second = socket.socketpair()
    with first, second:
        assert first.fileno() == number
        first.settimeout(5)
        second.settimeout(5)
        yield first, second


def exchange(first: socket.socket, second: socket.socket) -> list[object]:
    """What both sides receive from each other."""
    first.send(b"there")
    second.send(b"back")
    return [second.recv(10), first.recv(10)]


@same_on_both
async def test_socket_closed_behind_close(lib: Lib, log: list[object]) -> None:
    sock, peer = socket.socketpair()
    number = sock.fileno()
    with sock, peer:
        _, writer = await lib.open_connection(sock=sock)
        writer.write(b"x")
        writer.close()
        sock.close()
        with pair_with_number(number) as pair:
            await writer.wait_closed()
            log.append(exchange(*pair))
        log.append(peer.recv(10))


@same_on_both
async def test_socket_detached_behind_close(lib: Lib, log: list[object]) -> None:
    """What detach() has returned stays usable, also by a stream of the same loop."""
    sock, peer = socket.socketpair()
    with peer:
        _, writer = await lib.open_connection(sock=sock)
        writer.close()
        with socket.socket(fileno=sock.detach()) as again:
            reader, second = await lib.open_connection(sock=again)
            await writer.wait_closed()
            peer.send(b"line\n")
            log.append(await reader.readline())
            second.close()
            await second.wait_closed()
            log.append(again.fileno())


@same_on_both
async def test_number_opened_again_before_the_end(lib: Lib, log: list[object]) -> None:
    sock, peer = socket.socketpair()
    number = sock.fileno()
    with sock, peer:
        _, writer = await lib.open_connection(sock=sock)
        writer.close()
        sock.close()
        with pair_with_number(number) as (first, second):
            reader, other = await lib.open_connection(sock=first)
            await writer.wait_closed()
            other.write(b"there")
            await other.drain()
            second.send(b"line\n")
            log.append((second.recv(10), await lib.wait_for(reader.readline(), 5)))
            other.close()
            await other.wait_closed()


def test_an_accepted_connection_takes_a_number_that_was_lost() -> None:
    async def main() -> None:
        numbers: list[int] = []

        async def echo(reader: Lib, writer: Lib) -> None:
            numbers.append(writer.get_extra_info("socket").fileno())
            writer.write(await reader.readline())
            writer.close()

        server = await tinycoro.start_server(echo, "127.0.0.1", 0)
        with socket.socket() as client:
            client.setblocking(False)
            loop = tinycoro.get_running_loop()
            sock, peer = socket.socketpair()
            number = sock.fileno()
            with peer:
                lost, closed = await tinycoro.open_connection(sock=sock)
                sock.close()
                await loop.sock_connect(client, server.sockets[0].getsockname())
                reader, writer = await tinycoro.open_connection(sock=client)
                writer.write(b"line\n")
                assert await tinycoro.wait_for(reader.read(), 5) == b"line\n"
                assert numbers == [number]
                for ended in (lost.read(), closed.wait_closed()):
                    with pytest.raises(OSError, match="Bad file descriptor"):
                        await ended
                writer.close()
                await writer.wait_closed()
        server.close()
        await server.wait_closed()

    tinycoro.run(main())


@same_on_both
async def test_number_watched_before_the_end(lib: Lib, log: list[object]) -> None:
    """add_reader and the sock_ methods, too, take a number that its stream has lost."""
    loop = lib.get_running_loop()
    sock, peer = socket.socketpair()
    number = sock.fileno()
    with sock, peer:
        _, writer = await lib.open_connection(sock=sock)
        writer.close()
        sock.close()
        with pair_with_number(number) as (first, second):
            first.setblocking(False)
            came = loop.create_future()
            loop.add_reader(first, came.set_result, "came")
            second.send(b"there")
            log.append(await lib.wait_for(came, 5))
            log.append(loop.remove_reader(first))
            log.append(await loop.sock_recv(first, 10))
            await writer.wait_closed()


def test_an_open_stream_that_lost_its_number_is_broken() -> None:
    """Its reader is told, and asyncio refuses the new stream instead."""

    async def main() -> None:
        sock, peer = socket.socketpair()
        number = sock.fileno()
        with sock, peer:
            reader, writer = await tinycoro.open_connection(sock=sock)
            reading = tinycoro.create_task(reader.read())
            await tinycoro.sleep(0)
            sock.close()
            with pair_with_number(number) as (first, second):
                _, other = await tinycoro.open_connection(sock=first)
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await tinycoro.wait_for(reading, 5)
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await writer.wait_closed()
                other.write(b"there")
                await other.drain()
                assert second.recv(10) == b"there"
                other.close()
                await other.wait_closed()

    tinycoro.run(main())


@pytest.mark.parametrize("how", ["close", "write_eof", "both"])
def test_output_is_not_sent_to_a_number_that_was_lost(how: str) -> None:
    async def main() -> None:
        sock, peer = socket.socketpair()
        number = sock.fileno()
        with sock, peer:
            reader, writer = await tinycoro.open_connection(sock=sock)
            if how != "both":
                writer.write(b"not for you")
            sock.close()
            with pair_with_number(number) as (first, second):
                if how != "close":
                    writer.write_eof()
                if how != "write_eof":
                    writer.close()
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await writer.wait_closed()
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await reader.read()
                assert exchange(first, second) == [b"there", b"back"]

    tinycoro.run(main())


def test_output_of_a_turn_is_not_sent_to_a_number_that_was_lost() -> None:
    """Nor does the abort, with an end of output that was not sent, end somebody else's."""

    async def main() -> None:
        sock, peer = socket.socketpair()
        number = sock.fileno()
        with sock, peer:
            _, writer = await tinycoro.open_connection(sock=sock)
            writer.write(b"not for you")
            sock.close()
            with pair_with_number(number) as (first, second):
                await tinycoro.sleep(0)
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await writer.wait_closed()
                writer.transport.abort()
                assert exchange(first, second) == [b"there", b"back"]

    tinycoro.run(main())


def test_input_is_not_taken_from_a_number_that_was_lost() -> None:
    async def main() -> None:
        sock, peer = socket.socketpair()
        number = sock.fileno()
        with sock, peer:
            reader, writer = await tinycoro.open_connection(sock=sock)
            sock.close()
            with pair_with_number(number) as (first, second):
                second.send(b"not for you")
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await reader.read(100)
                assert first.recv(100) == b"not for you"
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await writer.wait_closed()

    tinycoro.run(main())


class Evasive(socket.socket):
    """A socket that may fail to tell its number."""

    failure: type[BaseException] | None = None

    def fileno(self) -> int:
        if self.failure is not None:
            raise self.failure
        return super().fileno()


@pytest.mark.parametrize("failure", [RecursionError, MemoryError, KeyboardInterrupt])
def test_a_socket_that_does_not_tell_its_number_keeps_it(
    failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost for want of stack or memory, and the exception is shown."""
    shown: set[type[BaseException]] = set()
    monkeypatch.setattr("sys.unraisablehook", lambda info: shown.add(info.exc_type))

    async def main() -> bytes:
        pair = socket.socketpair()
        sock = Evasive(fileno=pair[0].detach())
        with sock, pair[1] as peer:
            reader, writer = await tinycoro.open_connection(sock=sock)
            sock.failure = failure
            writer.write(b"there")
            await writer.drain()
            peer.send(b"back")
            answer = await reader.read(10)
            writer.write(b", again")
            writer.close()
            sock.failure = None
            await writer.wait_closed()
            return answer + peer.recv(100)

    assert tinycoro.run(main()) == b"backthere, again"
    assert shown == {failure}


@pytest.mark.parametrize("failure", [OSError, ValueError])
def test_a_socket_that_says_it_is_closed_has_lost_its_number(failure: type[Exception]) -> None:
    """As a file does, and what looks like a socket may."""

    async def main() -> None:
        pair = socket.socketpair()
        number = pair[0].fileno()
        sock = Evasive(fileno=pair[0].detach())
        with pair[1]:
            _, writer = await tinycoro.open_connection(sock=sock)
            sock.close()
            sock.failure = failure
            with pair_with_number(number) as (first, second):
                writer.write(b"not for you")
                await tinycoro.sleep(0)
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await writer.wait_closed()
                assert exchange(first, second) == [b"there", b"back"]

    tinycoro.run(main())


def test_close_of_a_stream_that_lost_its_number_without_output() -> None:
    async def main() -> None:
        sock, peer = socket.socketpair()
        number = sock.fileno()
        with sock, peer:
            reader, writer = await tinycoro.open_connection(sock=sock)
            sock.close()
            with pair_with_number(number) as pair:
                writer.close()
                await writer.wait_closed()
                assert await reader.read() == b""
                assert exchange(*pair) == [b"there", b"back"]

    tinycoro.run(main())


@pytest.mark.filterwarnings("ignore:.*its loop is closed:ResourceWarning")
def test_collector_leaves_a_number_alone_that_was_closed_after_the_run() -> None:
    async def main() -> None:
        reader, writer = await tinycoro.open_connection(sock=sock)
        kept: list[object] = [reader, writer]
        kept.append(kept)

    sock, peer = socket.socketpair()
    number = sock.fileno()
    gc.disable()
    try:
        with sock, peer:
            tinycoro.run(main())
        with pair_with_number(number) as pair:
            gc.collect()
            assert exchange(*pair) == [b"there", b"back"]
    finally:
        gc.enable()


def test_a_listener_that_lost_its_number_makes_way() -> None:
    async def main() -> None:
        def nobody(reader: Lib, writer: Lib) -> None:
            raise AssertionError("this listener was closed")

        async def answer(reader: Lib, writer: Lib) -> None:
            writer.write(b"here")
            writer.close()

        lost = socket.create_server(("127.0.0.1", 0))
        number = lost.fileno()
        first = await tinycoro.start_server(nobody, sock=lost)
        lost.close()
        with socket.create_server(("127.0.0.1", 0)) as found:
            assert found.fileno() == number
            second = await tinycoro.start_server(answer, sock=found)
            reader, writer = await tinycoro.open_connection(*found.getsockname())
            assert await tinycoro.wait_for(reader.read(), 5) == b"here"
            writer.close()
            await writer.wait_closed()
            for server in (first, second):
                server.close()
                await server.wait_closed()

    tinycoro.run(main())


class Reentrant(socket.socket):
    """fileno() runs what a test has given."""

    actions: list[object]

    def fileno(self) -> int:
        actions = self.__dict__.get("actions", [])
        while actions:
            actions.pop()()
        return super().fileno()


def test_what_fileno_runs_while_a_stream_makes_way() -> None:
    """The number is taken inside, so that the outer opening is refused; all end well."""

    async def main() -> None:
        plain, peer = socket.socketpair()
        number = plain.fileno()
        sock = Reentrant(fileno=plain.detach())
        with sock, peer:
            _, writer = await tinycoro.open_connection(sock=sock)
            sock.close()
            with pair_with_number(number) as (first, second):
                loop = tinycoro.get_running_loop()
                sock.actions = [lambda: loop.add_reader(first, print), writer.transport.abort]
                with pytest.raises(FileExistsError):
                    await tinycoro.open_connection(sock=first)
                assert loop.remove_reader(first)
                await writer.wait_closed()
                first.settimeout(5)
                assert exchange(first, second) == [b"there", b"back"]

    tinycoro.run(main())


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_connection_without_memory_leaves_the_socket_to_its_owner(nth: int) -> None:
    """No cycle keeps the number, and the socket is open until its owner closes it."""

    async def main() -> None:
        loop = tinycoro.get_running_loop()
        sock, peer = socket.socketpair()
        number = sock.fileno()
        with sock, peer:
            opened = None
            _core._memory_arm(nth, 1)
            try:
                opened = _core._open_stream(loop, sock, 1000, True)
            except MemoryError:
                pass
            finally:
                failed = _core._memory_disarm()
            assert (opened is None) == (failed > 0)
            if opened is not None:
                opened[1].transport.abort()
                await opened[1].wait_closed()
                return
            assert exchange(sock, peer) == [b"there", b"back"]
            sock.close()
            assert peer.recv(10) == b""
            with pair_with_number(number) as (first, second):
                reader, writer = await tinycoro.open_connection(sock=first)
                gc.collect()
                writer.write(b"there")
                await writer.drain()
                second.send(b"back\n")
                assert (second.recv(10), await reader.readline()) == (b"there", b"back\n")
                writer.close()
                await writer.wait_closed()

    gc.disable()
    try:
        tinycoro.run(main())
    finally:
        gc.enable()


@pytest.mark.parametrize("nth", range(1, 4))
def test_an_accepted_connection_without_memory_is_closed_at_once(nth: int) -> None:
    async def main() -> None:
        failed: list[int] = []
        loop = tinycoro.get_running_loop()
        loop.set_exception_handler(lambda *_: failed.append(_core._memory_disarm()))
        came = loop.create_future()

        def answer(_: Lib, writer: Lib) -> None:
            failed.append(_core._memory_disarm())
            writer.write(b"here")
            writer.close()

        server = await tinycoro.start_server(answer, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            loop.add_reader(client, came.set_result, None)
            came.add_done_callback(lambda _: loop.remove_reader(client))
            # In the turn in which the listener runs, before it.
            loop.call_soon(_core._memory_arm, nth, 1)
            await tinycoro.wait_for(came, 5)
            assert client.recv(10) == (b"" if failed == [1] else b"here")
            assert failed in ([0], [1])
        server.close()
        await tinycoro.wait_for(server.wait_closed(), 5)

    gc.disable()
    try:
        tinycoro.run(main())
    finally:
        gc.enable()
