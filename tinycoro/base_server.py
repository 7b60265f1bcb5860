"""Server: listening sockets of a loop, and waiting for the end of their connections."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Self

from . import _core
from .sockets import AddressInfo, SocketMethods

logger = logging.getLogger("tinycoro")


class Server(_core.ServerBase, asyncio.AbstractServer):
    """What start_server() returns; `async with` closes it and waits for its connections.

    Thread-safety: the loop's thread.
    """

    def __init__(
        self,
        loop: SocketMethods,
        callback: Callable[[Any, Any], Awaitable[None] | None],
        limit: int,
        sockets: Iterable[socket.socket],
        backlog: int,
    ) -> None:
        super().__init__(loop, callback, limit)
        self._sockets: list[socket.socket] | None = list(sockets)
        self._backlog = backlog
        self._is_serving = False
        self._serving_forever: _core.Future[None] | None = None
        self._paths: list[tuple[str, int]] = []  # to be removed, with their inodes
        for sock in self._sockets:
            sock.setblocking(False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()
        await self.wait_closed()

    @property
    def sockets(self) -> tuple[TransportSocket, ...]:
        """The listening sockets; empty once closed."""
        return tuple(TransportSocket(sock) for sock in self._sockets or ())

    def is_serving(self) -> bool:
        """Return True while connections are accepted."""
        return self._is_serving

    async def start_serving(self) -> None:
        """Begin to accept connections; does nothing if that was done before."""
        self._start_serving()
        await _core.sleep(0)

    async def serve_forever(self) -> None:
        """Accept connections until the task is cancelled, then close the server."""
        if self._serving_forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._start_serving()  # without a pause in which a close() would find nobody to tell
        self._serving_forever = _core.get_running_loop().create_future()
        try:
            await self._serving_forever
        except asyncio.CancelledError:
            try:
                self.close()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._serving_forever = None

    def close(self) -> None:
        """Stop accepting; connections go on. wait_closed() waits for their end."""
        if self._sockets is None:
            return
        self._stop()
        sockets, self._sockets = self._sockets, None
        self._is_serving = False
        for sock in sockets:
            sock.close()
        for path, inode in self._paths:
            with suppress(OSError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        if self._serving_forever is not None and not self._serving_forever.done():
            self._serving_forever.cancel()
            self._serving_forever = None
        self._end()

    def close_clients(self) -> None:
        """Close every connection, once what was written to it is sent."""
        for transport in self._transports():
            transport.close()

    def abort_clients(self) -> None:
        """Close every connection at once; what was not sent is lost."""
        for transport in self._transports():
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection has ended."""
        waiter = self._waiter()
        if waiter is not None:
            await waiter

    def _start_serving(self) -> None:
        if self._is_serving or self._sockets is None:
            return
        self._is_serving = True
        for sock in self._sockets:
            sock.listen(self._backlog)
            self._listen(sock)

    def _remove_path_of(self, sock: socket.socket) -> None:
        """Have the file of a unix socket removed at the end."""
        path = sock.getsockname()
        if path and path[0] not in (0, "\x00"):
            with suppress(FileNotFoundError):
                self._paths.append((path, os.stat(path).st_ino))


# ---- sockets -------------------------------------------------------------------------------------


def tcp_sockets(
    infos: Iterable[AddressInfo],
    reuse_address: bool,
    reuse_port: bool | None,
    keep_alive: bool | None,
) -> list[socket.socket]:
    """Bound sockets for the addresses; those this machine does not have are left out."""
    infos = list(infos)
    sockets: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in infos:
            try:
                sock = socket.socket(family, kind, proto)
            except OSError:
                continue  # a family that this kernel lacks
            sockets.append(sock)
            if reuse_address:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
            if keep_alive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
            try:
                sock.bind(address)
            except OSError as error:
                text = (
                    f"error while attempting to bind on address {address!r}: {str(error).lower()}"
                )
                if error.errno != errno.EADDRNOTAVAIL:
                    raise OSError(error.errno, text) from None
                sockets.pop().close()
                logger.warning(text)
                continue
            bound = sock.getsockname()[0]
            if bound == "::1" or bound.startswith("127."):
                with suppress(OSError):  # as csrc/net/tcp.c does, and for its reasons
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        if not sockets:
            addresses = [info[4] for info in infos]
            raise OSError(f"could not bind on any address out of {addresses!r}")
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def unix_socket(path: str) -> socket.socket:
    """A socket bound to `path`, in the place of one that lies there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path and path[0] not in (0, "\x00"):
            with suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.remove(path)
        sock.bind(path)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(error.errno, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock


__all__ = ["Server"]
