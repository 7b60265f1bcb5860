"""Streams: connecting and serving. What runs per connection or per read is in C."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NoReturn, cast

from . import _core
from ._core import StreamReader, StreamWriter, get_running_loop
from .base_server import Server, tcp_sockets, unix_socket
from .sockets import AddressInfo, SocketMethods, resolve

_LIMIT = 2**16  # bytes

_StrPath = str | os.PathLike[str]
_Address = tuple[str | None, int]
_ClientCallback = Callable[[StreamReader, StreamWriter], Awaitable[None] | None]


# ---- clients -------------------------------------------------------------------------------------


async def open_connection(
    host: str | None = None,
    port: int | str | None = None,
    *,
    limit: int = _LIMIT,
    ssl: object = None,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    sock: socket.socket | None = None,
    local_addr: _Address | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a TCP server, or take the connected socket `sock`; return a reader and a writer.

    The addresses of `host` are tried one after the other; with `happy_eyeballs_delay` (seconds) the
    next one also when the one before has not connected for so long. `limit` bounds lines, in bytes.

    Raises: OSError; with `all_errors` an ExceptionGroup of one for each address; OverflowError for
    a port that is not between 0 and 65535.
    """
    _refuse_tls(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    loop = _loop()
    if host is None and port is None:
        if sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        _check_stream(sock)
        sock.setblocking(False)
        return _core._open_stream(loop, sock, limit, True)
    if sock is not None:
        raise ValueError("host/port and sock can not be specified at the same time")
    infos = await _addresses(loop, host, port, family, proto, flags)
    local = None
    if local_addr is not None:
        local = await _addresses(loop, local_addr[0], local_addr[1], family, proto, flags)
    if happy_eyeballs_delay is not None and interleave is None:
        interleave = 1
    if interleave:
        infos = _interleaved(infos, interleave)
    errors: list[list[OSError]] = []
    if happy_eyeballs_delay is None:
        connected = await _connect_in_turn(loop, infos, local, errors)
    else:
        connected = await _Race(loop, infos, local, errors, happy_eyeballs_delay).run()
    if connected is None:
        _raise_errors(list(itertools.chain(*errors)), all_errors)
    return _open(loop, connected, limit)


async def open_unix_connection(
    path: _StrPath | None = None,
    *,
    limit: int = _LIMIT,
    ssl: object = None,
    sock: socket.socket | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a unix socket, or take the connected socket `sock`; return a reader and a writer.

    Raises: OSError.
    """
    _refuse_tls(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    loop = _loop()
    if path is None:
        if sock is None:
            raise ValueError("no path and sock were specified")
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        sock.setblocking(False)
        return _core._open_stream(loop, sock, limit, True)
    if sock is not None:
        raise ValueError("path and sock can not be specified at the same time")
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        await loop.sock_connect(connected, os.fspath(path))
    except BaseException:
        connected.close()
        raise
    return _open(loop, connected, limit)


def _open(
    loop: SocketMethods, connected: socket.socket, limit: int
) -> tuple[StreamReader, StreamWriter]:
    try:
        return _core._open_stream(loop, connected, limit, False)
    except BaseException:
        connected.close()
        raise


async def _addresses(
    loop: SocketMethods,
    host: str | None,
    port: int | str | None,
    family: int,
    proto: int,
    flags: int,
) -> Sequence[AddressInfo]:
    infos = await resolve(loop, host, port, family=family, proto=proto, flags=flags)
    if not infos:
        raise OSError("getaddrinfo() returned empty list")
    return infos


def _interleaved(infos: Sequence[AddressInfo], first: int) -> list[AddressInfo]:
    """The families by turns, `first` of the first family before that."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    lists = list(families.values())
    ordered = lists[0][: first - 1]
    del lists[0][: first - 1]
    ordered += [info for turn in itertools.zip_longest(*lists) for info in turn if info is not None]
    return ordered


async def _connect_in_turn(
    loop: SocketMethods,
    infos: Sequence[AddressInfo],
    local: Sequence[AddressInfo] | None,
    errors: list[list[OSError]],
) -> socket.socket | None:
    for info in infos:
        try:
            return await _connect(loop, info, local, errors)
        except OSError:
            continue
    return None


async def _connect(
    loop: SocketMethods,
    info: AddressInfo,
    local: Sequence[AddressInfo] | None,
    errors: list[list[OSError]],
) -> socket.socket:
    """Connect to one address; what goes wrong is also put into `errors`."""
    mine: list[OSError] = []
    errors.append(mine)
    sock = None
    try:
        sock = socket.socket(info[0], info[1], info[2])
        sock.setblocking(False)
        if local is not None:
            _bind_local(sock, local, mine)
        await loop.sock_connect(sock, info[4])
    except OSError as error:
        mine.append(error)
        if sock is not None:
            sock.close()
        raise
    except BaseException:
        if sock is not None:
            sock.close()
        raise
    return sock


def _bind_local(sock: socket.socket, local: Sequence[AddressInfo], errors: list[OSError]) -> None:
    family = sock.family
    for info in local:
        if info[0] != family:
            continue
        try:
            sock.bind(info[4])
            return
        except OSError as error:
            text = f"error while attempting to bind on address {info[4]!r}: {str(error).lower()}"
            errors.append(OSError(error.errno, text))
    if errors:
        raise errors.pop()
    raise OSError(f"no matching local address with {family=} found")


class _Race:
    """Happy eyeballs: attempts that overlap, the first to connect wins."""

    def __init__(
        self,
        loop: SocketMethods,
        infos: Sequence[AddressInfo],
        local: Sequence[AddressInfo] | None,
        errors: list[list[OSError]],
        delay: float,
    ) -> None:
        self._loop = loop
        self._infos = list(infos)
        self._local = local
        self._errors = errors
        self._delay = delay
        self._tasks: set[_core.Task[socket.socket]] = set()
        self._winner: socket.socket | None = None
        self._changed: _core.Future[None] = loop.create_future()

    async def run(self) -> socket.socket | None:
        try:
            while self._winner is None and (self._infos or self._tasks):
                timer = None
                if self._infos:
                    self._start(self._infos.pop(0))
                    timer = self._loop.call_later(self._delay, self._wake)
                self._changed = self._loop.create_future()
                try:
                    await self._changed
                finally:
                    if timer is not None:
                        timer.cancel()
        except BaseException:
            if self._winner is not None:
                self._winner.close()
            raise
        finally:
            await self._end()
        return self._winner

    def _start(self, info: AddressInfo) -> None:
        task = self._loop.create_task(_connect(self._loop, info, self._local, self._errors))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: _core.Task[socket.socket]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is None:
            if self._winner is None:
                self._winner = task.result()
            else:
                task.result().close()  # second by a hair
        self._wake()

    def _wake(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await _core.gather(*self._tasks, return_exceptions=True)


def _raise_errors(errors: list[OSError], all_errors: bool) -> NoReturn:
    if all_errors:
        raise ExceptionGroup("open_connection failed", errors)
    text = str(errors[0])
    if all(str(error) == text for error in errors):
        raise errors[0]
    raise OSError(f"Multiple exceptions: {', '.join(str(error) for error in errors)}")


# ---- servers -------------------------------------------------------------------------------------


async def start_server(
    client_connected_cb: _ClientCallback,
    host: str | Iterable[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = _LIMIT,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    sock: socket.socket | None = None,
    backlog: int = 100,
    ssl: object = None,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    keep_alive: bool | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
) -> Server:
    """Listen on one or several addresses, or on `sock`; return the Server.

    Each connection calls `client_connected_cb(reader, writer)`; a coroutine that it returns becomes
    a task, which the loop keeps. What it raises goes to the loop's exception handler, and the
    connection is closed. None and "" mean all addresses of this machine.

    Raises: OSError; OverflowError for a port that is not between 0 and 65535.
    """
    _refuse_tls(ssl, None, ssl_handshake_timeout, ssl_shutdown_timeout)
    loop = _loop()
    if host is None and port is None:
        if sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        _check_stream(sock)
        sockets = [sock]
    elif sock is not None:
        raise ValueError("host/port and sock can not be specified at the same time")
    else:
        infos = await _passive_addresses(loop, host, port, family, flags)
        sockets = tcp_sockets(infos, reuse_address is not False, reuse_port, keep_alive)
    server = Server(loop, client_connected_cb, limit, sockets, backlog)
    if start_serving:
        await server.start_serving()
    return server


async def start_unix_server(
    client_connected_cb: _ClientCallback,
    path: _StrPath | None = None,
    *,
    limit: int = _LIMIT,
    sock: socket.socket | None = None,
    backlog: int = 100,
    ssl: object = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
    cleanup_socket: bool = True,
) -> Server:
    """Listen on a unix socket, or on `sock`; return the Server.

    A socket that lies at `path` is replaced, and removed at the end unless `cleanup_socket` is
    False. Otherwise as start_server(). Raises: OSError.
    """
    _refuse_tls(ssl, None, ssl_handshake_timeout, ssl_shutdown_timeout)
    loop = _loop()
    if path is not None:
        if sock is not None:
            raise ValueError("path and sock can not be specified at the same time")
        sock = unix_socket(os.fspath(path))
    elif sock is None:
        raise ValueError("path was not specified, and no sock specified")
    elif sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
    server = Server(loop, client_connected_cb, limit, [sock], backlog)
    if cleanup_socket:
        server._remove_path_of(sock)
    if start_serving:
        await server.start_serving()
    return server


async def _passive_addresses(
    loop: SocketMethods,
    host: str | Iterable[str] | None,
    port: int | str | None,
    family: int,
    flags: int,
) -> list[AddressInfo]:
    """The addresses to listen on, each once."""
    hosts: Iterable[str | None]
    if host == "":
        hosts = [None]
    elif host is None or isinstance(host, str) or not isinstance(host, Iterable):
        hosts = [host]
    else:
        hosts = host
    lists = [await _addresses(loop, one, port, family, 0, flags) for one in hosts]
    return list(dict.fromkeys(itertools.chain(*lists)))


# ---- both ----------------------------------------------------------------------------------------


def _loop() -> SocketMethods:
    return cast(SocketMethods, get_running_loop())


def _check_stream(sock: socket.socket) -> None:
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def _refuse_tls(
    ssl: object,
    server_hostname: str | None,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> None:
    if ssl:
        raise NotImplementedError(
            "ssl= is not supported yet: let a proxy end TLS in front of this program, or use "
            "ssl.SSLContext.wrap_bio() over a plain connection"
        )
    for name, value in (
        ("server_hostname", server_hostname),
        ("ssl_handshake_timeout", handshake_timeout),
        ("ssl_shutdown_timeout", shutdown_timeout),
    ):
        if value is not None:
            raise ValueError(f"{name} is only meaningful with ssl")


IncompleteReadError = asyncio.IncompleteReadError
LimitOverrunError = asyncio.LimitOverrunError

__all__ = [
    "IncompleteReadError",
    "LimitOverrunError",
    "Server",
    "StreamReader",
    "StreamWriter",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
]
