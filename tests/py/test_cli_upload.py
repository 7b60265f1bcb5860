"""`python -m tinycoro upload`: what it stores, what it says, and its line on a terminal."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import PATIENCE, command, receive, serving
from tinycoro import HTTPServer, HTTPServerStatistics, UploadProgress
from tinycoro._cli.progress import Progress, compose
from tinycoro._cli.serving import size
from tinycoro._cli.upload import page

MIB = 1 << 20


def _send(address: tuple[str, int], method: str, path: str, body: bytes, kind: str = "") -> bytes:
    """One request that must succeed."""
    client = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        client.request(method, path, body, {"Content-Type": kind} if kind else {})
        response = client.getresponse()
        answer = response.read()
        assert response.status in (200, 201), answer
        return answer
    finally:
        client.close()


def test_files_come_by_put_post_and_form(tmp_path: Path) -> None:
    with serving("upload", str(tmp_path), "0", "--mode", "640", "--no-fsync") as (process, address):
        assert b'enctype="multipart/form-data"' in _send(address, "GET", "/", b"")
        _refuses_a_foreign_page(address)
        _send(address, "PUT", "/a%20b", b"put")
        (posted,) = json.loads(_send(address, "POST", "/", b"post"))["files"]
        form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\nform\r\n--x--'
        (sent,) = json.loads(_send(address, "POST", "/", form, "multipart/form-data; boundary=x"))[
            "files"
        ]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert err == ""  # no terminal, no line
    assert re.fullmatch(
        r"3 files stored, 11 B received, 0 files refused or broken off\n"
        r"5 requests on 5 connections in \d+\.\d s: .*\n",
        out,
    )
    stored = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert stored == {"a b": b"put", posted["name"]: b"post", sent["name"]: b"form"}
    assert (tmp_path / "a b").stat().st_mode & 0o777 == 0o640 & ~_umask()


def _refuses_a_foreign_page(address: tuple[str, int]) -> None:
    client = http.client.HTTPConnection(*address, timeout=PATIENCE)
    client.request("POST", "/", b"post", {"Origin": "https://evil.example"})
    response = client.getresponse()
    assert (response.status, response.read()) == (403, b"403 Forbidden\n")
    client.close()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_limits_are_those_of_the_command_line(tmp_path: Path) -> None:
    arguments = ("-d", str(tmp_path), "0", "--max-size", "1K", "--quota", "1.5KiB", "--overwrite")
    with serving("upload", *arguments) as (process, address):
        for path, length, status in (
            ("/large", 1025, 413),
            ("/first", 1024, 201),
            ("/first", 10, 200),
            ("/second", 1024, 201),
            ("/third", 1024, 507),
        ):
            client = http.client.HTTPConnection(*address, timeout=PATIENCE)
            client.request("PUT", path, b"x" * length)
            assert client.getresponse().status == status, path
            client.close()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    assert "3 files stored, 2.0 KiB received, 2 files refused" in out
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-size", "much"), "'much' is no number of bytes"),
        (("--quota", "0"), "'0' is no number of bytes"),
        (("--mode", "1777"), "1777 is not between 0 and 777"),
        (("--mode", "9"), "invalid _mode value"),
    ],
)
def test_wrong_options_are_named(arguments: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        command("upload", *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 2
    assert message in done.stderr


# ---- on a terminal -------------------------------------------------------------------------------


class _Screen:
    """A terminal of so many columns, and what it would show on its one line."""

    def __init__(self, columns: int) -> None:
        self.master, self.slave = pty.openpty()
        self.open = [self.master, self.slave]
        self.resize(columns)
        self.bytes = b""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def line(self) -> str:
        """What stands there now."""
        written = self.bytes.decode(errors="ignore").split("\r")
        return next((text[:-3] for text in reversed(written) if text.endswith("\x1b[K")), "")

    def expect(self, pattern: str) -> str:
        """Wait until the line matches."""
        deadline = time.monotonic() + PATIENCE
        while not re.fullmatch(pattern, self.line()):
            assert self.read(deadline), f"{pattern!r} is not shown, but {self.line()!r}"
        return self.line()

    def read_until(self, text: bytes) -> None:
        """Wait until that was written, wherever it stands."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.bytes:
            assert self.read(deadline), f"{text!r} is not written, but {self.bytes!r}"

    def read(self, deadline: float) -> bool:
        """Take what is written next; False if that is nothing, up to `deadline`."""
        ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
        self.bytes += os.read(self.master, 4096) if ready else b""
        return bool(ready)

    def close(self) -> None:
        """No terminal any more; the second time nothing."""
        while self.open:
            os.close(self.open.pop())


@pytest.fixture
def screen() -> Iterator[_Screen]:
    screen = _Screen(100)
    yield screen
    screen.close()


def test_a_terminal_shows_the_progress_in_one_line(screen: _Screen, tmp_path: Path) -> None:
    with serving("upload", str(tmp_path), "0", stderr=screen.slave) as (process, address):
        screen.expect(r"0 stored, 0 B  waiting for files")
        with socket.create_connection(address, timeout=PATIENCE) as client:
            head = f"PUT /caf%C3%A9 HTTP/1.1\r\nHost: h\r\nContent-Length: {2 * MIB}\r\n\r\n"
            client.sendall(head.encode() + b"x" * MIB)
            screen.expect(
                r"1 file  50%  [\d.]+ [KM]?i?B/s  1\.0 MiB of 2\.0 MiB(  \S+ left)?  café"
            )
            screen.resize(30)
            screen.expect(r"1 file  50%  [\d.]+ [KM]?i?B/s")
            client.sendall(b"x" * MIB)
            assert receive(client, 12) == b"HTTP/1.1 201"
        screen.expect(r"1 stored, 2\.0 MiB")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
        screen.expect("")  # the line is gone
    assert process.returncode == 0
    assert "1 files stored" in out
    assert b"\n" not in screen.bytes


def test_a_log_on_the_terminal_takes_the_place_of_the_line(screen: _Screen, tmp_path: Path) -> None:
    with serving("upload", str(tmp_path), "0", "--access-log", stderr=screen.slave) as (
        process,
        address,
    ):
        _send(address, "PUT", "/name", b"x")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    screen.read_until(b'"PUT /name HTTP/1.1" 201 ')
    assert b"\x1b" not in screen.bytes


def test_a_terminal_that_goes_away_does_not_end_the_server(screen: _Screen, tmp_path: Path) -> None:
    with serving("upload", str(tmp_path), "0", stderr=screen.slave) as (process, address):
        screen.expect(r"0 stored, 0 B  waiting for files")
        screen.close()
        for number in range(3):
            _send(address, "PUT", f"/{number}", b"x" * MIB)
            time.sleep(Progress.PAUSE)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "3 files stored" in out


# ---- the line itself -----------------------------------------------------------------------------


def _statistics(**values: object) -> HTTPServerStatistics:
    """Those of a server that has done nothing, but for `values`."""
    names = HTTPServerStatistics.__match_args__
    with HTTPServer() as server:
        nothing = server.statistics()
    return HTTPServerStatistics([values.get(name, getattr(nothing, name)) for name in names])


def _file(name: str, received: int, expected: int | None) -> UploadProgress:
    return UploadProgress((name, received, expected, 1.0))


def test_the_line_says_as_much_as_fits() -> None:
    done = _statistics(
        uploads=2,
        uploads_failed=1,
        uploading=(_file("first\x9b2J\udce4", 3 * MIB, 4 * MIB), _file("second", 0, 4 * MIB)),
    )
    whole = "2 files  37%  1.0 MiB/s  3.0 MiB of 8.0 MiB  0:05 left  1 failed"
    assert compose(done, MIB, 200) == f"{whole}  first?2J?"
    assert compose(done, MIB, len(whole) + 13) == whole  # no room for enough of a name
    for columns in range(1, 90):
        line = compose(done, MIB, columns)
        assert len(line) <= columns
        assert whole.startswith(line.rstrip(".")) or columns > len(whole)


def test_the_line_knows_no_total_unless_everybody_says() -> None:
    files = (_file("a", MIB, None), _file("b", MIB, 9 * MIB))
    assert compose(_statistics(uploads=2, uploading=files), 512, 80) == (
        "2 files  2.0 MiB  512 B/s  a"
    )
    more_than_listed = _statistics(uploads=3, uploading=files[1:] * 2)
    assert compose(more_than_listed, 0, 80) == "3 files  2.0 MiB  0 B/s  b"
    empty = _statistics(uploads=1, uploading=(_file("empty", 0, 0),))
    assert compose(empty, 0, 80) == "1 file  100%  0 B/s  0 B of 0 B  empty"


def test_a_wide_name_is_cut_by_its_columns() -> None:
    files = (_file("漢字" * 20, 0, None),)
    line = compose(_statistics(uploads=1, uploading=files), 0, 40)
    assert line == "1 file  0 B  0 B/s  漢字漢字漢字漢字..."


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("10k", 10240),
        ("1.5KiB", 1536),
        ("2 MB", 2 * MIB),
        ("1T", 1 << 40),
        ("none", None),
    ],
)
def test_sizes(text: str, number: int | None) -> None:
    assert size(text) == number


def test_the_page_loads_nothing_and_names_the_limit() -> None:
    text = page(3 * MIB)
    assert "A file may have 3.0 MiB." in text
    assert f"const maxSize = {3 * MIB};" in text
    assert "const maxSize = 0;" in page(None)
    assert "@" not in text.replace("@media", "")
    assert not re.search(r"(src|href)=|url\(|@import", text)
