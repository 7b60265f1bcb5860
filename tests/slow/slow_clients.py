"""2,000 clients that are as slow as they may be, beside one that is not.

Usage: slow_clients.py PORT MODE CLIENTS SECONDS, a process of its own; or imported by hostile.py.

header  begins a request and adds a field line a second
body    says that it sends 60,000 bytes, and sends one a second
read    asks for 256 KiB through a small window, and reads 100 bytes a second

A client that is closed comes back at once. At the end the process prints how often that was.
"""

from __future__ import annotations

import select
import socket
import sys
import time

_FIRST = {
    "header": b"GET / HTTP/1.1\r\nHost: h\r\n",
    "body": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n",
    "read": b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
}
_NEXT = {"header": b"X-a: b\r\n", "body": b"x", "read": b""}
_PAUSE = 1.0
_SMALL_WINDOW = 4096
_SEGMENT = 1400


class _Slow:
    """One client; `due` is when it does something next."""

    def __init__(self, port: int, mode: str, due: float) -> None:
        self.mode = mode
        self.due = due
        self.socket = socket.socket()
        if mode == "read":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
            # As over a network: with the segments of the loopback the kernel takes it all at once.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket.send(_FIRST[mode])

    def step(self) -> bool:
        """False: it has been closed."""
        self.due += _PAUSE
        try:
            if self.mode == "read":
                return bool(self.socket.recv(100))
            self.socket.send(_NEXT[self.mode])
        except BlockingIOError:
            pass
        except ConnectionError:
            return False
        return True

    def is_closed(self) -> bool:
        """Something can be read that was not asked for: an answer, and then the end."""
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True


def run(port: int, mode: str, count: int, seconds: float) -> int:
    """Keep `count` slow clients for `seconds`; returns how many the server has closed."""
    closed = 0
    begun = time.monotonic()
    until = begun + seconds
    # Whoever does not read what has come is told of a reset, and of nothing else.
    events = 0 if mode == "read" else select.EPOLLIN
    clients: dict[int, _Slow] = {}
    with select.epoll() as poller:

        def connect(due: float) -> None:
            client = _Slow(port, mode, due)
            clients[client.socket.fileno()] = client
            poller.register(client.socket, events)

        for number in range(count):
            connect(begun + _PAUSE * number / count)
        print("ready", flush=True)
        while (now := time.monotonic()) < until:
            seen = [number for number, _ in poller.poll(0.01)]
            gone = {number for number in seen if mode == "read" or clients[number].is_closed()}
            gone |= {
                number
                for number, client in clients.items()
                if client.due <= now and number not in gone and not client.step()
            }
            for number in gone:
                clients.pop(number).socket.close()
                closed += 1
                connect(now + _PAUSE)
    return closed


if __name__ == "__main__":
    print(run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])), flush=True)
