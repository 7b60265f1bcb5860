"""`python -m tinycoro echo`: the echo server until SIGINT or SIGTERM."""

import argparse
from typing import TYPE_CHECKING

from .. import EchoServer
from .serving import Server, port, positive, seconds, serve

if TYPE_CHECKING:
    from .serving import Commands


def add(commands: "Commands") -> None:
    parser = commands.add_parser(
        "echo",
        help="send back what arrives",
        description="A TCP server that sends back what it receives. The first SIGINT or SIGTERM "
        "drains it, the second ends it at once.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="numeric address or 'localhost'")
    parser.add_argument("--port", type=port, default=8007, help="0: any free one")
    parser.add_argument("--workers", type=positive, help="threads (default: the processors)")
    parser.add_argument("--max-connections", type=positive, metavar="N", help="at a time")
    parser.add_argument(
        "--idle-timeout", type=seconds, metavar="SECONDS", help="close silent connections"
    )
    parser.add_argument(
        "--drain-timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="for busy connections after a signal (default: 30)",
    )
    parser.add_argument("--backlog", type=positive, metavar="N", help="of the listening socket")
    parser.add_argument("--reuse-port", action="store_true", help="share the port")
    parser.set_defaults(run=run)


def _summary(server: Server, duration: float) -> str:
    done = server.statistics()
    return (
        f"tinycoro echo served {done.accepted} connections in {duration:.1f} s: "
        f"{done.bytes_in} bytes in, {done.bytes_out} out, {done.resets} resets, "
        f"{done.idle_closed} idle, {done.shed} shed, {done.cancelled} cancelled, "
        f"{done.errors} errors"
    )


def run(options: argparse.Namespace) -> int:
    def make() -> EchoServer:
        return EchoServer(
            options.host,
            options.port,
            max_connections=options.max_connections,
            idle_timeout=options.idle_timeout,
            drain_timeout=options.drain_timeout,
            backlog=options.backlog,
            reuse_port=options.reuse_port,
        )

    return serve("echo", options.workers, make, _summary)
