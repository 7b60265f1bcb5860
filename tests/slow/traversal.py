"""10,000 attempts to leave a directory, by downloads and by uploads each, while a link in it turns
between in and out.

Every attempt is refused with the status that a model here says, and after a 400 its connection is
closed; nothing outside is read or written, and nothing inside but what the model allows.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

import lane

ATTEMPTS = 10_000
PREFIX = b"/files"
SECRET = b"outside\n"
INSIDE = b"inside\n"

_SEGMENTS = (
    *(b"..", b"%2e%2e", b".%2e", b"%2E.", b"...", b".", b"%2e", b"", b"link", b"link", b"%6cink"),
    *(b"etc", b"passwd", b"secret", b"..%2f", b"..%5c", b"..\\", b"%c0%ae%c0%ae", b"%252e%252e"),
    *(b"%00", b"a%00b", b"..%00", b"%2fetc", b"C:", b"~", b"%", b"%2", b"%zz", b"a%0ab", b"%7f"),
    *(
        b".hidden",
        b"%2ehidden",
        b".git",
        b"x",
        b"\xe2\x80\xa6",
        b"%ff",
        b"..;",
        b"..%3b",
        b"%u002e",
    ),
)
_JOINTS = (b"/",) * 8 + (b"//", b"%2f", b"%2F", b"\\", b"%5c", b"/./", b"/%2e/")


def _attempt() -> bytes:
    """A path below the prefix, with one thing or another in it that should not be."""
    path = PREFIX + b"/"
    for _ in range(random.randrange(1, 7)):
        path += random.choice(_SEGMENTS) + random.choice(_JOINTS)
    return path + random.choice((*_SEGMENTS, b"secret", b"link/secret", b"link"))


def _is_escaped(path: bytes) -> bool:
    """Every per cent sign begins an escape, none of them for what may not be in a path."""
    at = -1
    while (at := path.find(b"%", at + 1)) >= 0:
        digits = path[at + 1 : at + 3]
        if len(digits) < 2 or any(byte not in b"0123456789abcdefABCDEF" for byte in digits):
            return False
        if int(digits, 16) < 0x20 or int(digits, 16) in (0x2F, 0x5C, 0x7F):
            return False
    return b"\\" not in path


def _resolve(path: bytes) -> tuple[int, list[bytes], bool]:
    """400 if no route is looked for, else 0; the segments; whether it ends with a slash."""
    # RFC 9112 3.2: a request target is visible ASCII.
    if any(not 0x21 <= byte <= 0x7E for byte in path) or not _is_escaped(path):
        return 400, [], False
    segments: list[bytes] = []
    for segment in unquote_to_bytes(path).split(b"/")[1:]:
        if segment == b"..":
            if not segments:
                return 400, [], False
            segments.pop()
        elif segment not in (b"", b"."):
            segments.append(segment)
    is_folder = path.endswith(b"/") or unquote_to_bytes(path).rsplit(b"/", 1)[1] in (b".", b"..")
    return 0, segments, is_folder


def _expected_put(path: bytes) -> tuple[int, bytes]:
    """The status for a PUT of this path, and with 201 the name of the file."""
    status, segments, is_folder = _resolve(path)
    if status != 0:
        return status, b""
    if not segments:
        return 405, b""
    if segments[0] != PREFIX[1:]:
        return 404, b""
    if len(segments) == 1:
        return 405, b""
    if len(segments) > 2 or is_folder or segments[1].startswith(b"."):
        return 400, b""
    return 201, segments[1]


def _expected_get(path: bytes) -> int:
    """The status for a GET of this path."""
    status, segments, is_folder = _resolve(path)
    if status != 0:
        return status
    if not segments:
        return 200  # the server's own page
    if segments[0] != PREFIX[1:]:
        return 404
    below = segments[1:]
    if any(segment.startswith(b".") for segment in below):
        return 404
    if below in ([], [b"own"]):
        return 403 if is_folder else 301
    return 200 if below == [b"secret"] and not is_folder else 404


def _put(port: int, path: bytes) -> tuple[int, bool]:
    """The status, and whether the server closed the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=lane.PATIENCE) as client:
        client.sendall(b"PUT " + path + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nevil")
        answer = lane.receive(client, 12)
        if answer.startswith(b"HTTP/1.1 400"):
            while client.recv(4096):
                pass
            return 400, True
    return int(answer[9:12] or 0), False


def _get(port: int, path: bytes) -> tuple[int, bytes, bool]:
    """The status, all that was answered, and whether the server closed the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=lane.PATIENCE) as client:
        client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        while part := client.recv(4096):
            answer += part
    return int(answer[9:12] or 0), answer, b"\r\nConnection: close\r\n" in answer


@contextmanager
def _turning(link: Path, targets: tuple[Path, Path]) -> Iterator[None]:
    """A link that leads now here and now there, as fast as it can be changed."""
    ended = threading.Event()

    def turn() -> None:
        number = 0
        spare = link.with_name(".spare")
        while not ended.is_set():
            spare.symlink_to(targets[number % 2])
            spare.rename(link)
            number += 1
            ended.wait(0.0005)

    turner = threading.Thread(target=turn)
    turner.start()
    try:
        yield
    finally:
        ended.set()
        turner.join()


def _make(folder: Path) -> tuple[Path, Path]:
    """A directory to serve, and one beside it that must not be touched."""
    inside, outside = folder / "inside", folder / "outside"
    for place, text in ((inside, INSIDE), (outside, SECRET)):
        place.mkdir(parents=True)
        (place / "secret").write_bytes(text)
    (inside / "own").mkdir()
    return inside, outside


def _check_outside(outside: Path) -> None:
    lane.check(os.listdir(outside) == ["secret"], f"outside: {os.listdir(outside)}")
    lane.check((outside / "secret").read_bytes() == SECRET, "the secret was written to")


def _downloads(folder: Path) -> str:
    inside, outside = _make(folder)
    refused = 0
    with (
        _turning(inside / "link", (inside / "own", outside)),
        lane.HTTPServer(files=inside) as server,
    ):
        while refused < ATTEMPTS:
            path = _attempt()
            status = _expected_get(path)
            got, answer, is_closing = _get(server.port, path)
            lane.check(got == status, f"GET {path!r}: {got}, and not {status}")
            lane.check(SECRET not in answer, f"GET {path!r}: the secret was read")
            lane.check(is_closing or status != 400, f"GET {path!r}: the connection stays")
            refused += status >= 300
    _check_outside(outside)
    return f"{refused} GET refused"


def _uploads(folder: Path) -> str:
    inside, outside = _make(folder)
    refused = 0
    allowed = set()
    with (
        _turning(inside / "link", (inside / "own", outside)),
        lane.HTTPServer(uploads=inside, overwrite=1) as server,
    ):
        while refused < ATTEMPTS:
            path = _attempt()
            status, name = _expected_put(path)
            got, is_closed = _put(server.port, path)
            if status == 201:
                allowed.add(os.fsdecode(name))
                lane.check(got in (200, 201), f"PUT {path!r}: {got}, and not 200 or 201")
                continue
            refused += 1
            lane.check(got == status, f"PUT {path!r}: {got}, and not {status}")
            lane.check(is_closed or status != 400, f"PUT {path!r}: the connection stays")
    _check_outside(outside)
    beside = set(os.listdir(inside)) - allowed - {"link", "own", "secret", ".spare"}
    lane.check(not beside, f"inside: {beside}")
    lane.check(not os.listdir(inside / "own"), "a link was followed")
    return f"{refused} PUT refused, {len(allowed)} names allowed"


def traversal() -> str:
    folder = Path(tempfile.mkdtemp(prefix="tinycoro-traversal-lane-"))
    try:
        parts = (_downloads(folder / "get"), _uploads(folder / "put"))
        return f"{', '.join(parts)}; nothing outside, nothing followed"
    finally:
        shutil.rmtree(folder)


lane.run(traversal, limit=500 if lane.IS_LONG else 170)
