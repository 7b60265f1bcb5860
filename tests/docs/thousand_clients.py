"""A thousand clients of one of the sample servers, in a process that may have so many sockets.

usage: thousand_clients.py chat|key_value PROGRAM      test_programs.py starts this

PROGRAM is started with `serve`. Everything is sent to all clients before the first answer is read.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
from typing import BinaryIO

CLIENTS = 1000
ROOM_SIZE = 10
# Room for the sockets, and what any process has; the server inherits it.
DESCRIPTORS = CLIENTS + 100
# A call that takes longer waits for something that will not happen.
PATIENCE = 40.0


class Client:
    """A connection, to be written to and read from in blocking calls."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.file: BinaryIO = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """Read a line, without its newline."""
        return self.file.readline().rstrip(b"\n")

    def expect(self, *lines: bytes) -> None:
        """Read lines that must be these."""
        for wanted in lines:
            found = self.line()
            assert found == wanted, f"{found!r} instead of {wanted!r}"

    def close(self) -> None:
        """End the connection."""
        self.file.close()
        self.socket.close()


def chat(clients: list[Client]) -> None:
    """Rooms of ten: each says a line, which the other nine hear."""
    for number, client in enumerate(clients):
        client.send(b"room%d nick%d\n" % (number // ROOM_SIZE, number))
        client.expect(b"welcome, %d here" % (number % ROOM_SIZE + 1))
    for number, client in enumerate(clients):
        client.send(b"I am %d\n" % number)
    for number, client in enumerate(clients):
        room = range(number - number % ROOM_SIZE, number - number % ROOM_SIZE + ROOM_SIZE)
        joined = [b"nick%d joins" % other for other in room if other > number]
        client.expect(*joined)
        said = {b"nick%d says I am %d" % (other, other) for other in room if other != number}
        heard = {client.line() for _ in said}
        assert heard == said, heard ^ said


def key_value(clients: list[Client]) -> None:
    """A key of each, and one that all of them add to."""
    for number, client in enumerate(clients):
        data = b"%d," % number * 100
        client.send(b"SET key%d %d\n%bADD sum %d\n" % (number, len(data), data, number))
        client.send(b"GET key%d\n" % number)
    for number, client in enumerate(clients):
        data = b"%d," % number * 100
        client.expect(b"OK")
        size = int(client.line().removeprefix(b"VALUE "))
        assert 0 <= int(client.file.read(size)) <= sum(range(CLIENTS))
        client.expect(b"VALUE %d" % len(data))
        assert client.file.read(len(data)) == data
    clients[0].send(b"GET sum\n")
    clients[0].expect(b"VALUE 6")
    assert int(clients[0].file.read(6)) == sum(range(CLIENTS))


def main() -> None:
    """Start the server, be its clients, end it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    name, program = sys.argv[1:]
    drive = {"chat": chat, "key_value": key_value}[name]
    command = [sys.executable, "-P", "-X", "faulthandler", "-W", "error", program, "serve"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with contextlib.ExitStack() as stack:
            clients = []
            for _ in range(CLIENTS):
                clients.append(Client(port))
                stack.callback(clients[-1].close)
            drive(clients)
    finally:
        server.terminate()
        complaint = server.communicate(timeout=PATIENCE)[1]
    assert complaint == b"", complaint.decode()
    print("served", len(clients))


main()
