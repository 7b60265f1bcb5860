"""The servers that CPython's tests of streams and sockets talk to, each in a thread of its own.

Written for this project: a request for /loop is answered with its own body, any other with
`Test message`. The sockets block; nothing of tinycoro is used.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

# A peer that waits longer has lost its client.
PATIENCE = 20.0
PIECE = 1 << 16
STOP = b"STOP"


class Handler(BaseHTTPRequestHandler):
    """One request a connection, as HTTP/1.0 has it."""

    protocol_version = "HTTP/1.0"
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Answer with a short text."""
        self._begin()
        self.wfile.write(b"Test message")

    def do_POST(self) -> None:
        """Answer with what is sent, while it comes."""
        self._begin()
        left = int(self.headers["Content-Length"])
        while left > 0 and (piece := self.rfile.read(min(left, PIECE))):
            self.wfile.write(piece)
            left -= len(piece)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()

    def address_string(self) -> str:
        """A unix socket has no address to look into."""
        return "peer"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(socketserver.TCPServer):
    """Serves one connection after the other; a client that leaves is no error."""

    address: object
    request_queue_size = 16

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


class UnixServer(Server):
    """The same on a unix socket."""

    address_family = socket.AF_UNIX


@contextlib.contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.address = server.server_address
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def run_test_server(*, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """An HTTP/1.0 server; its `address` is a pair of host and port."""
    with _running(Server((host, port), Handler)) as server:
        yield server


@contextlib.contextmanager
def unix_socket_path() -> Iterator[str]:
    """A path at which nothing lies, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        try:
            yield path
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


@contextlib.contextmanager
def run_test_unix_server() -> Iterator[Server]:
    """The same server on a unix socket; its `address` is the path."""
    with unix_socket_path() as path, _running(UnixServer(path, Handler)) as server:  # type: ignore[arg-type]
        yield server


@contextlib.contextmanager
def run_udp_echo_server(*, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
    """A server that returns each datagram; gives its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        address = sock.getsockname()
        thread = threading.Thread(target=_echo_datagrams, args=(sock,))
        thread.start()
        try:
            yield address
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(STOP, address)
            thread.join()


def _echo_datagrams(sock: socket.socket) -> None:
    while True:
        data, address = sock.recvfrom(PIECE)
        if data == STOP:
            return
        sock.sendto(data, address)
