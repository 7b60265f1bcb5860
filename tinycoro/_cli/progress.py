"""The progress line: what is being uploaded, in one line of a terminal, written over itself."""

import os
import sys
import time
import unicodedata
from collections import deque
from contextlib import suppress
from typing import TextIO

from .. import HTTPServerStatistics

_RATE_SECONDS = 2.0  # what a rate is the mean of
_CLEAR = "\x1b[K"  # from here to the end of the line
_NAME_COLUMNS = 12  # what a name wants at least, or else it is left out


def in_bytes(number: float) -> str:
    """A number of bytes, for people: 812 B, 1.5 MiB."""
    if number < 1024:
        return f"{number:.0f} B"
    units = ["TiB", "GiB", "MiB", "KiB"]
    number /= 1024
    while number >= 1023.95 and len(units) > 1:
        number /= 1024
        units.pop()
    return f"{number:.1f} {units[-1]}"


def _in_time(seconds: float) -> str:
    whole = int(seconds + 0.999)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(
        2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1
        for c in text
    )


def _harmless(name: str) -> str:
    """A client's name without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _shortened(text: str, columns: int) -> str:
    """The beginning of it, with dots for the rest, if it does not fit."""
    if _columns(text) <= columns:
        return text
    while text and _columns(text) > columns - 3:
        text = text[:-1]
    return f"{text}..."[:columns]


def compose(done: HTTPServerStatistics, rate: float, columns: int) -> str:
    """The line for what the server says: as much of it as fits, the most important first."""
    if done.uploads == 0:
        parts = [
            f"{done.uploads_stored} stored, {in_bytes(done.upload_bytes)}",
            "waiting for files",
        ]
    else:
        parts = _in_flight(done, rate)
    if done.uploads_failed:
        parts.append(f"{done.uploads_failed} failed")
    line = _shortened(parts[0], columns)
    for part in parts[1:]:
        if _columns(line) + 2 + _columns(part) > columns:
            return line
        line += f"  {part}"
    room = columns - _columns(line) - 2
    if done.uploading and room >= _NAME_COLUMNS:
        line += f"  {_shortened(_harmless(done.uploading[0].name), room)}"
    return line


def _in_flight(done: HTTPServerStatistics, rate: float) -> list[str]:
    received = sum(file.received for file in done.uploading)
    sizes = [file.expected for file in done.uploading if file.expected is not None]
    files = f"{done.uploads} file{'s' if done.uploads > 1 else ''}"
    if len(sizes) < done.uploads:  # somebody has not said, or not all are listed
        return [f"{files}  {in_bytes(received)}", f"{in_bytes(rate)}/s"]
    total = max(sum(sizes), received)
    percent = 100 * received // total if total else 100
    parts = [
        f"{files}  {percent}%",
        f"{in_bytes(rate)}/s",
        f"{in_bytes(received)} of {in_bytes(total)}",
    ]
    if rate > 0 and total > received:
        parts.append(f"{_in_time((total - received) / rate)} left")
    return parts


class Progress:
    """The line on `stream`, standard error by default, if that is a terminal that can erase."""

    PAUSE = 0.2  # seconds from one look to the next

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        is_able = os.environ.get("TERM", "dumb") != "dumb"
        self.is_shown = is_able and self._stream is not None and self._stream.isatty()
        self._last = ""
        self._received: deque[tuple[float, int]] = deque()

    def show(self, done: HTTPServerStatistics) -> None:
        """Write the line anew. A terminal that has gone away is no reason to stop serving."""
        now = time.monotonic()
        columns = max(self._terminal_columns() - 1, 1)  # the last one would begin a new line
        line = compose(done, self._rate(now, done.upload_bytes), columns)
        if line != self._last:
            self._write(f"\r{line}{_CLEAR}")
            self._last = line

    def clear(self) -> None:
        """Take the line away."""
        if self._last:
            self._write(f"\r{_CLEAR}")
            self._last = ""

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def _terminal_columns(self) -> int:
        with suppress(OSError):
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        return 80

    def _rate(self, now: float, received: int) -> float:
        """Bytes a second, over the last seconds."""
        self._received.append((now, received))
        while len(self._received) > 2 and self._received[1][0] <= now - _RATE_SECONDS:
            self._received.popleft()
        begun, before = self._received[0]
        return (received - before) / (now - begun) if now > begun else 0.0
