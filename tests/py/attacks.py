"""What a hostile client sends, and what a running server made of it."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from support import PATIENCE

# Behind each attack: whoever answers this saw the end of a message where others see none.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
SECRET = b"smuggled\n"

_HEAD = b"POST / HTTP/1.1\r\nHost: h\r\n"
_CODINGS = (
    b"Transfer-Encoding: chunked",
    b"transfer-encoding: chunked",
    b"TRANSFER-ENCODING:CHUNKED",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked;q=1",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding: chunked\x80",
    b"Transfer-Encoding:",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: cow",
    b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding\x00: chunked",
    b"Transfer\rEncoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding\r\n : chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    b"Transfer-Encoding:,chunked",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
)
_LENGTHS = (
    *(b"Content-Length: 5", b"content-length: 5", b"Content-Length:5", b"Content-Length: 005"),
    *(b"Content-Length: +5", b"Content-Length: -5", b"Content-Length: 0x5", b"Content-Length: 5 5"),
    *(b"Content-Length: 5, 5", b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length : 5"),
    *(b"Content-Length: 99999999999999999999", b"Content-Length: 5\x00", b"Content-Length:"),
)


def smuggling() -> Iterator[bytes]:
    """Both framings in one message, in every pair of spellings and both orders."""
    for coding, length in itertools.product(_CODINGS, _LENGTHS):
        yield _HEAD + coding + b"\r\n" + length + b"\r\n\r\n0\r\n\r\n" + SMUGGLED
        yield _HEAD + length + b"\r\n" + coding + b"\r\n\r\n0\r\n\r\n" + SMUGGLED


@dataclass(frozen=True)
class Outcome:
    statuses: list[int]
    received: bytes
    is_closed: bool  # by the server, before the client did


_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def attack(address: tuple[str, int], data: bytes, patience: float = PATIENCE) -> Outcome:
    """Send `data`, read until the server closes."""
    received = bytearray()
    with socket.create_connection(address, timeout=patience) as client:
        with contextlib.suppress(ConnectionError):  # it may have answered and gone already
            client.sendall(data)
        is_closed = False
        try:
            while part := client.recv(1 << 16):
                received += part
            is_closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            is_closed = True
    heads = [int(found) for found in _STATUS.findall(received)]
    return Outcome(heads, bytes(received), is_closed)
