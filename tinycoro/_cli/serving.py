"""What the commands that serve have in common: numbers, signals, the first and the last line."""

import argparse
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

from .. import EchoServer, HTTPServer, configure
from .progress import Progress

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Server: TypeAlias = EchoServer | HTTPServer

_CANNOT_START = 3


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and 65535")
    return number


def seconds(text: str) -> float | None:
    """A time limit; "none" is no limit."""
    return None if text == "none" else float(text)


_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def size(text: str) -> int | None:
    """A number of bytes: 4096, 64K, 1.5GiB (powers of 1024); "none" is no limit."""
    if text == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.lower())
    number = int(float(match[1]) * (1 << _UNITS[match[2]])) if match else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes such as 500M, nor 'none'")
    return number


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as the system allows it to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Stop:
    """Drain at the first signal, end everything at the second."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.signals = 0
        signal.signal(signal.SIGINT, self.on_signal)
        signal.signal(signal.SIGTERM, self.on_signal)

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.signals += 1
        self.apply()

    def apply(self) -> None:
        """Do what the signals so far ask for; those that came before start() had no effect."""
        if self.signals == 1:
            self.server.close()
        elif self.signals > 1:
            self.server.abort()


def _wait(server: Server, progress: Progress | None) -> None:
    """Wait until the server has stopped, with the line of progress on the terminal."""
    if progress is None or not progress.is_shown or not isinstance(server, HTTPServer):
        server.wait()
        return
    try:
        while not server.closed:
            with suppress(TimeoutError):
                server.wait(progress.PAUSE)
            progress.show(server.statistics())
    finally:
        progress.clear()
    server.wait()  # raises what went wrong


def serve(
    command: str,
    workers: int | None,
    make: Callable[[], Server],
    summary: Callable[[Server, float], str],
    scheme: str = "",
    progress: Progress | None = None,
) -> int:
    """Make a server, serve until it is told to stop, and return the exit code of the process.

    `progress`, if it has a terminal, shows the uploads of an HTTP server meanwhile.
    """
    try:
        raise_descriptor_limit()
        if workers is not None:
            configure(workers=workers)
        server = make()
        stop = _Stop(server)
        server.start()
    except (MemoryError, OSError, RuntimeError, ValueError) as error:
        print(f"tinycoro {command}: {error or 'out of memory'}", file=sys.stderr)
        return _CANNOT_START
    started = time.monotonic()
    host, number = server.address
    shown = f"[{host}]" if ":" in host else host
    print(f"tinycoro {command} listening on {scheme}{shown}:{number}", flush=True)
    stop.apply()
    try:
        _wait(server, progress)
    except OSError as error:
        print(f"tinycoro {command}: {error}", file=sys.stderr)
        return 1
    finally:
        print(summary(server, time.monotonic() - started), flush=True)
    return 0
