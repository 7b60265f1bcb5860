"""What a loop does with sockets: names resolved off the loop, and the `sock_` methods."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from . import _core

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_T = TypeVar("_T")

# (family, type, protocol, canonical name, address), as socket.getaddrinfo() gives it.
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
_Host = str | bytes | None
_Port = str | bytes | int | None


class SocketMethods(_core.LoopBase, asyncio.AbstractEventLoop):  # type: ignore[misc]  # as Loop
    """The part of `Loop` that deals with sockets; they must not block."""

    def __init__(self) -> None:
        # Who waits in a `sock_` method, by descriptor.
        self._sock_readers: dict[int, _core.Future[None]] = {}
        self._sock_writers: dict[int, _core.Future[None]] = {}

    # ---- names ----------------------------------------------------------------------------------

    async def getaddrinfo(  # type: ignore[override]  # simpler types
        self,
        host: _Host,
        port: _Port,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Ask the system's resolver, in a thread of the default executor.

        Raises: OSError (socket.gaierror).
        """
        infos = await self.run_in_executor(
            None, lambda: socket.getaddrinfo(host, port, family, type, proto, flags)
        )
        return cast(list[AddressInfo], infos)

    async def getnameinfo(
        self,
        sockaddr: tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int],
        flags: int = 0,
    ) -> tuple[str, str]:
        """The reverse, in a thread too."""
        return await self.run_in_executor(
            None, lambda: socket.getnameinfo(cast(tuple[str, int], sockaddr), flags)
        )

    # ---- waiting for a socket -------------------------------------------------------------------

    async def _readable(self, fd: int) -> None:
        """Wait for an event; whoever waits last has the place, as with add_reader()."""
        future = self.create_future()
        self.add_reader(fd, _set_done, future)
        self._sock_readers[fd] = future
        try:
            await future
        finally:
            if self._sock_readers.get(fd) is future:
                del self._sock_readers[fd]
                self.remove_reader(fd)

    async def _writable(self, fd: int) -> None:
        future = self.create_future()
        self.add_writer(fd, _set_done, future)
        self._sock_writers[fd] = future
        try:
            await future
        finally:
            if self._sock_writers.get(fd) is future:
                del self._sock_writers[fd]
                self.remove_writer(fd)

    async def _until_readable(self, sock: socket.socket, call: Callable[[], _T]) -> _T:
        """Repeat `call` until it does not say that it would block."""
        return await self._until(sock, call, self._readable)

    async def _until_writable(self, sock: socket.socket, call: Callable[[], _T]) -> _T:
        return await self._until(sock, call, self._writable)

    async def _until(
        self,
        sock: socket.socket,
        call: Callable[[], _T],
        ready: Callable[[int], Awaitable[None]],
    ) -> _T:
        _check_nonblocking(sock)
        while True:
            try:
                return call()
            except (BlockingIOError, InterruptedError):
                pass  # and wait outside: what is raised there has no such context
            await ready(sock.fileno())

    # ---- the methods ----------------------------------------------------------------------------

    async def sock_recv(self, sock: socket.socket, nbytes: int) -> bytes:
        """Receive up to `nbytes` bytes."""
        return await self._until_readable(sock, lambda: sock.recv(nbytes))

    async def sock_recv_into(self, sock: socket.socket, buf: WriteableBuffer) -> int:
        """Receive into a buffer; return how many bytes."""
        return await self._until_readable(sock, lambda: sock.recv_into(buf))

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram; return it and whom it came from."""
        return await self._until_readable(sock, lambda: sock.recvfrom(bufsize))

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a buffer; return its size and whom it came from."""
        return await self._until_readable(sock, lambda: sock.recvfrom_into(buf, nbytes))

    async def sock_sendall(self, sock: socket.socket, data: ReadableBuffer) -> None:
        """Send all of `data`; after an error or a cancel nobody knows how much was sent."""
        view = memoryview(data).cast("B")
        while view:
            sent = await self._until_writable(sock, functools.partial(sock.send, view))
            view = view[sent:]

    async def sock_sendto(
        self,
        sock: socket.socket,
        data: ReadableBuffer,
        address: Any,  # noqa: ANN401  # as the socket module has it
    ) -> int:
        """Send a datagram."""
        return await self._until_writable(sock, lambda: sock.sendto(data, address))

    async def sock_connect(
        self,
        sock: socket.socket,
        address: Any,  # noqa: ANN401  # as above
    ) -> None:
        """Connect; a host name is resolved first."""
        _check_nonblocking(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            infos = await resolve(
                self,
                address[0],
                address[1],
                family=sock.family,
                proto=sock.proto,
                rest=tuple(address[2:]),
            )
            address = infos[0][4]
        try:
            sock.connect(address)
            return
        except (BlockingIOError, InterruptedError):
            pass
        await self._writable(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error != 0:
            raise OSError(error, f"Connect call failed {address}: {os.strerror(error)}")

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection; return its socket, which does not block, and the address."""
        connection, address = await self._until_readable(sock, sock.accept)
        connection.setblocking(False)
        return connection, address


def _set_done(future: _core.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _check_nonblocking(sock: socket.socket) -> None:
    if sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking")


# ---- addresses -----------------------------------------------------------------------------------


async def resolve(
    loop: SocketMethods,
    host: _Host,
    port: _Port,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    rest: tuple[Any, ...] = (),
) -> Sequence[AddressInfo]:
    """The addresses of a stream socket for a host; numeric ones without a thread.

    `rest` is what an IPv6 address has beside host and port. Raises: OSError; OverflowError for a
    number that is no port, of which the system's resolver would take the last 16 bits.
    """
    info = numeric_address(host, port, family, proto, rest)
    if info is not None:
        return [info]
    return await loop.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
    )


def numeric_address(
    host: _Host, port: _Port, family: int, proto: int, rest: tuple[Any, ...] = ()
) -> AddressInfo | None:
    """What getaddrinfo() would say of a numeric address, or None if it has to be asked.

    Raises: OverflowError, whatever the host is.
    """
    number = _port_number(port)
    if number is None or proto not in (0, socket.IPPROTO_TCP) or not host:
        return None
    if isinstance(host, bytes):
        host = host.decode("idna")
    if "%" in host:  # an IPv6 scope by name
        return None
    for candidate in (socket.AF_INET, socket.AF_INET6):
        if family not in (socket.AF_UNSPEC, candidate):
            continue
        try:
            socket.inet_pton(candidate, host)
        except OSError:
            continue
        address: tuple[Any, ...] = (host, number)
        if candidate == socket.AF_INET6:
            address = (host, number, *(rest or (0, 0)))
        return candidate, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address
    return None


def _port_number(port: _Port) -> int | None:
    """The port that a number or its digits name; None for the name of a service."""
    if port is None or port in ("", b""):
        return 0
    try:
        number = int(port)
    except (TypeError, ValueError):
        return None
    if not 0 <= number <= 0xFFFF:
        raise OverflowError(f"port {port!r} is not between 0 and 65535")
    return number


__all__ = ["SocketMethods", "numeric_address", "resolve"]
