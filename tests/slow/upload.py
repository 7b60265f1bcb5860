"""Uploads: in constant memory, and whole or not at all, whatever happens to server or disk.

Long: a body of 4 GiB, 200 kills at random points of 64 MiB. Short: 256 MiB, 15 kills. A kill comes
at any time from the first byte to the answer. Every other server works without O_TMPFILE.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lane

MIB = 1 << 20
BODY_MIB = 4096 if lane.IS_LONG else 256
KILLS = 200 if lane.IS_LONG else 15
KILLED_MIB = 64
GROWTH_LIMIT = 8 * MIB
TEMPORARY = ".tinycoro-upload-"
BLOCK = random.Random(7).randbytes(MIB)


# ---- a client -----------------------------------------------------------------------------------


def _head(method: str, target: str, framing: str) -> bytes:
    return (
        f"{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{framing}\r\n\r\n".encode()
    )


def _upload(port: int, method: str, target: str, blocks: int, chunked: bool) -> int:
    """Send so many blocks; returns the status, 0 if the server is gone."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {blocks * MIB}"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10 * lane.PATIENCE) as client:
            client.sendall(_head(method, target, framing))
            for _ in range(blocks):
                client.sendall(b"%x\r\n%b\r\n" % (MIB, BLOCK) if chunked else BLOCK)
            if chunked:
                client.sendall(b"0\r\n\r\n")
            answer = client.recv(4096)
    except ConnectionError:
        return 0
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def _is_whole(path: Path, blocks: int) -> bool:
    with path.open("rb") as file:
        return path.stat().st_size == blocks * MIB and all(
            file.read(MIB) == BLOCK for _ in range(blocks)
        )


# ---- constant memory ----------------------------------------------------------------------------


@contextmanager
def _highest_memory(pid: int) -> Iterator[Callable[[], int]]:
    """Look at a process again and again; the function says what was the most."""
    highest = lane.status_bytes(pid, "VmRSS")
    ended = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not ended.wait(0.02):
            highest = max(highest, lane.status_bytes(pid, "VmRSS"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: highest
    finally:
        ended.set()
        watcher.join()


def _large(folder: Path) -> str:
    with lane.HTTPServer(uploads=folder) as server:
        lane.check(_upload(server.port, "PUT", "/files/first", 1, False) == 201, "no upload works")
        before = lane.status_bytes(server.pid, "VmRSS")
        begun = time.monotonic()
        with _highest_memory(server.pid) as highest:
            status = _upload(server.port, "PUT", "/files/large", BODY_MIB, False)
            taken = time.monotonic() - begun
            grown = highest() - before
        lane.check(status == 201, f"a body of {BODY_MIB} MiB: {status}")
        lane.check(_is_whole(folder / "large", BODY_MIB), "the large file is not what was sent")
        lane.check(grown <= GROWTH_LIMIT, f"RSS grew by {grown / MIB:.1f} MiB")
    (folder / "first").unlink()
    (folder / "large").unlink()
    rate = BODY_MIB / taken
    return f"{BODY_MIB} MiB with RSS {grown / MIB:+.1f} MiB ({rate:.0f} MiB/s)"


# ---- kills --------------------------------------------------------------------------------------


def _look_at(folder: Path, when: str) -> int:
    """No incomplete file under a name; returns how many whole ones there were, and removes them."""
    whole = 0
    for path in folder.iterdir():
        if path.name.startswith(TEMPORARY):
            continue
        lane.check(_is_whole(path, KILLED_MIB), f"{when}: {path.name} is not whole")
        path.unlink()
        whole += 1
    return whole


def _kill_once(folder: Path, number: int, longest: float) -> tuple[bool, bool]:
    """Kill a server at a random moment of an upload. Returns whether a whole file and whether a
    temporary one was there."""
    named = number % 2
    method, target = ("PUT", "/files/file") if number % 4 < 2 else ("POST", "/files")
    server = lane.HTTPServer(uploads=folder, without_tmpfile=named)
    client = threading.Thread(
        target=_upload, args=(server.port, method, target, KILLED_MIB, number % 8 < 4)
    )
    client.start()
    time.sleep(random.uniform(0, longest))
    server.kill()
    client.join()
    has_whole = _look_at(folder, f"kill {number}") > 0
    left = os.listdir(folder)
    with lane.HTTPServer(uploads=folder, without_tmpfile=named):
        pass
    lane.check(not os.listdir(folder), f"kill {number}: {os.listdir(folder)} after a restart")
    return has_whole, bool(left)


def _kills(folder: Path) -> str:
    with lane.HTTPServer(uploads=folder) as server:
        begun = time.monotonic()
        status = _upload(server.port, "PUT", "/files/file", KILLED_MIB, False)
        longest = 1.2 * (time.monotonic() - begun)
        lane.check(status == 201, f"without a kill: {status}")
    _look_at(folder, "without a kill")
    seen = [_kill_once(folder, number, longest) for number in range(KILLS)]
    whole, temporary = (sum(pair[index] for pair in seen) for index in (0, 1))
    return f"{KILLS} kills: {whole} whole, {temporary} temporary swept, none partial"


# ---- a full disk --------------------------------------------------------------------------------


@contextmanager
def _small_disk(folder: Path) -> Iterator[tuple[dict[str, int], int]]:
    """A place for 8 MiB: a file system of its own, or else a limit for the server's files. Options
    for the server, and the status that is due."""
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], stderr=subprocess.DEVNULL
    )
    if mounted:
        try:
            yield {}, 507
        finally:
            subprocess.check_call(["umount", str(folder)])
    else:
        yield {"file_bytes": 8 * MIB}, 413


def _full(folder: Path) -> str:
    with _small_disk(folder) as (options, status):
        for named in (0, 1):
            with lane.HTTPServer(uploads=folder, without_tmpfile=named, **options) as server:
                for method, target in (("PUT", "/files/file"), ("POST", "/files")):
                    got = _upload(server.port, method, target, 16, named == 1)
                    # A client that is still sending may find the connection closed.
                    lane.check(got in (status, 0), f"a full disk: {got}")
                    lane.check(not os.listdir(folder), f"a full disk: {os.listdir(folder)}")
                got = _upload(server.port, "PUT", "/files/small", 1, False)
                lane.check(got == 201, f"beside a full disk: {got}")
            lane.check(os.listdir(folder) == ["small"], f"a full disk: {os.listdir(folder)}")
            (folder / "small").unlink()
    return f"full disk: {status}, nothing left"


def upload() -> str:
    folder = Path(tempfile.mkdtemp(prefix="tinycoro-upload-lane-"))
    try:
        return "; ".join(part(folder) for part in (_large, _kills, _full))
    finally:
        shutil.rmtree(folder)


resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
lane.run(upload, limit=600 if lane.IS_LONG else 150)
