"""What every command with an HTTP server takes, in uvicorn's words where it has one."""

import argparse
import sys
from typing import Any

from .. import _core
from .serving import port, positive, seconds

# uvicorn's name of a limit, where it has one; the others are written as HTTPServer's.
_FLAGS = {
    "keep_alive_timeout": ("--timeout-keep-alive",),
    "drain_timeout": ("--timeout-graceful-shutdown",),
    "max_header_size": ("--max-header-size", "--h11-max-incomplete-event-size"),
}
_HELP = {
    "keep_alive_timeout": "close silent connections",
    "header_timeout": "for the head of a request",
    "body_timeout": "a body may pause",
    "body_grace": "before a body must keep its rate",
    "min_body_rate": "bytes a second of a body",
    "send_timeout": "for clients that take nothing",
    "skip_timeout": "for a body that nobody wants",
    "max_header_size": "bytes of a head",
    "max_request_line": "bytes of its first line",
    "max_headers": "fields of a head",
    "max_body": "bytes of a body for a handler",
    "max_skipped_body": "bytes of a body that nobody wants",
    "max_chunk_extension": "bytes of a chunk's extensions",
    "drain_timeout": "for busy connections after a signal",
    "drain_grace": "for silent connections after a signal",
}


def flags(limit: str) -> tuple[str, ...]:
    """How a limit of HTTPServer is called on the command line."""
    return _FLAGS.get(limit, ("--" + limit.replace("_", "-"),))


def add_options(parser: argparse.ArgumentParser, default_port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="numeric address or 'localhost'")
    parser.add_argument("--port", type=port, default=default_port, help="0: any free one")
    parser.add_argument("--workers", type=positive, help="threads (default: the processors)")
    parser.add_argument(
        "--limit-concurrency", type=positive, metavar="N", help="connections at a time"
    )
    parser.add_argument("--backlog", type=positive, metavar="N", help="of the listening socket")
    parser.add_argument("--reuse-port", action="store_true", help="share the port")
    parser.add_argument(
        "--fd", type=positive, metavar="N", help="an inherited socket that listens (systemd: 3)"
    )
    parser.add_argument(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="a line on stderr for each request (default: none)",
    )
    parser.add_argument("--access-log-file", metavar="PATH", help="append the lines to a file")
    limits = parser.add_argument_group("limits", 'times are in seconds, or "none"')
    for name, default in _core._http_limits().items():
        is_time = isinstance(default, float)
        limits.add_argument(
            *flags(name),
            dest=name,
            type=seconds if is_time else int,
            default=default,
            metavar="SECONDS" if is_time else "N",
            help=f"{_HELP[name]} (default: {default:g})"
            if is_time
            else f"{_HELP[name]} (default: {default})",
        )


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of HTTPServer that the options of add_options say."""
    return {
        "host": options.host,
        "port": options.port,
        "max_connections": options.limit_concurrency,
        "backlog": options.backlog,
        "reuse_port": options.reuse_port,
        "fd": options.fd,
        "access_log": options.access_log_file or (sys.stderr if options.access_log else None),
        **{name: getattr(options, name) for name in _core._http_limits()},
    }
