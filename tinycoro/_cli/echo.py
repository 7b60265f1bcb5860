"""`python -m tinycoro echo`: the echo server until SIGINT or SIGTERM."""

import argparse
import resource
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

from .. import EchoServer, configure

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_CANNOT_START = 3


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and 65535")
    return number


def _seconds(text: str) -> float | None:
    """A time limit; "none" is no limit."""
    return None if text == "none" else float(text)


def add(commands: "Commands") -> None:
    parser = commands.add_parser(
        "echo",
        help="send back what arrives",
        description="A TCP server that sends back what it receives. The first SIGINT or SIGTERM "
        "drains it, the second ends it at once.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="numeric address or 'localhost'")
    parser.add_argument("--port", type=_port, default=8007, help="0: any free one")
    parser.add_argument("--workers", type=_positive, help="threads (default: the processors)")
    parser.add_argument("--max-connections", type=_positive, metavar="N", help="at a time")
    parser.add_argument(
        "--idle-timeout", type=_seconds, metavar="SECONDS", help="close silent connections"
    )
    parser.add_argument(
        "--drain-timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="for busy connections after a signal (default: 30)",
    )
    parser.add_argument("--backlog", type=_positive, metavar="N", help="of the listening socket")
    parser.add_argument("--reuse-port", action="store_true", help="share the port")
    parser.set_defaults(run=run)


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as the system allows it to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Stop:
    """Drain at the first signal, end everything at the second."""

    def __init__(self, server: EchoServer) -> None:
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


def _summary(server: EchoServer, seconds: float) -> str:
    done = server.statistics()
    return (
        f"tinycoro echo served {done.accepted} connections in {seconds:.1f} s: "
        f"{done.bytes_in} bytes in, {done.bytes_out} out, {done.resets} resets, "
        f"{done.idle_closed} idle, {done.shed} shed, {done.cancelled} cancelled, "
        f"{done.errors} errors"
    )


def run(options: argparse.Namespace) -> int:
    try:
        raise_descriptor_limit()
        if options.workers is not None:
            configure(workers=options.workers)
        server = EchoServer(
            options.host,
            options.port,
            max_connections=options.max_connections,
            idle_timeout=options.idle_timeout,
            drain_timeout=options.drain_timeout,
            backlog=options.backlog,
            reuse_port=options.reuse_port,
        )
        stop = _Stop(server)
        server.start()
    except (MemoryError, OSError, RuntimeError, ValueError) as error:
        print(f"tinycoro echo: {error or 'out of memory'}", file=sys.stderr)
        return _CANNOT_START
    started = time.monotonic()
    host, port = server.address
    shown = f"[{host}]" if ":" in host else host
    print(f"tinycoro echo listening on {shown}:{port}", flush=True)
    stop.apply()
    try:
        server.wait()
    except OSError as error:
        print(f"tinycoro echo: {error}", file=sys.stderr)
        return 1
    finally:
        print(_summary(server, time.monotonic() - started), flush=True)
    return 0
