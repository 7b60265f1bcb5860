"""What a peer gets from a connection that is closed with input nobody has read."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

import tinycoro
from both import Lib, run_both

REPLY = bytes(1_500_000)  # more than the kernel takes at once
KINDS = ["tcp", "unix"]
# What a server does with its writer; returns whether everything is sent.
Ending = Callable[[Lib], bool]


def unacknowledged(sock: socket.socket) -> int:
    """Bytes sent over TCP that have not arrived, or not for all we know."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


async def answered(lib: Lib, path: Path, kind: str, unread: int, end: Ending) -> tuple[int, str]:
    """How much a client receives, and what then, of a server that leaves bytes unread."""
    loop = lib.get_running_loop()
    asked = lib.Event()
    sent = lib.Event()
    ended = lib.Event()

    async def handle(reader: Lib, writer: Lib) -> None:
        await reader.readline()
        asked.set()
        await sent.wait()
        if end(writer):
            await writer.wait_closed()
        ended.set()

    if kind == "tcp":
        server = await lib.start_server(handle, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        client = socket.socket()
    else:
        server = await lib.start_unix_server(handle, path)
        address = str(path)
        client = socket.socket(socket.AF_UNIX)
    received = 0
    with client:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * unread)
        await loop.sock_connect(client, address)
        await loop.sock_sendall(client, b"POST\n")
        await asked.wait()
        await loop.sock_sendall(client, bytes(unread))
        while kind == "tcp" and unacknowledged(client) > 0:
            await lib.sleep(0.001)
        for _ in range(5):  # asyncio reads ahead in them
            await lib.sleep(0)
        sent.set()
        try:
            while data := await lib.wait_for(loop.sock_recv(client, 100_000), 5):
                received += len(data)
            outcome = "end"
        except ConnectionResetError:
            outcome = "reset"
        await lib.wait_for(ended.wait(), 5)
    server.close()
    await server.wait_closed()
    return received, outcome


def replies(writer: Lib) -> bool:
    writer.write(REPLY)
    writer.close()
    return True


def replies_briefly(writer: Lib) -> bool:
    writer.write(b"no")
    writer.close()
    return True


def aborts(writer: Lib) -> bool:
    writer.transport.abort()
    return False


def aborts_behind_close(writer: Lib) -> bool:
    writer.close()
    writer.transport.abort()
    return False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [replies, replies_briefly])
def test_close_ends_after_the_reply(tmp_path: Path, kind: str, end: Ending) -> None:
    paths = iter("ab")
    size, outcome = run_both(lambda lib: answered(lib, tmp_path / next(paths), kind, 20_000, end))
    assert size == (len(REPLY) if end is replies else 2)
    assert outcome == "end"


@pytest.mark.parametrize("end", [aborts, aborts_behind_close])
def test_abort_resets(tmp_path: Path, end: Ending) -> None:
    async def main() -> tuple[int, str]:
        return await answered(tinycoro, tmp_path / "a", "unix", 2000, end)

    assert tinycoro.run(main()) == (0, "reset")


def test_close_discards_only_so_much() -> None:
    """More than 256 KiB may keep nobody busy at the end."""

    async def main() -> None:
        sock, peer = socket.socketpair()
        with sock, peer:
            peer.setblocking(False)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            size = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    size += peer.send(bytes(32 * 1024))
            if size <= 256 * 1024:
                pytest.skip("the system's net.core.wmem_max is too small")
            _, writer = await tinycoro.open_connection(sock=sock)
            writer.close()
            await writer.wait_closed()
            with pytest.raises(ConnectionResetError):
                peer.recv(10)

    tinycoro.run(main())
