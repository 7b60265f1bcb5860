"""`python -m tinycoro http`: a page and a fixed answer, to look at and to measure."""

import argparse
from typing import TYPE_CHECKING

from .. import HTTPServer, __version__
from .serving import Server, port, positive, seconds, serve

if TYPE_CHECKING:
    from .serving import Commands

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>tinycoro</title>
<h1>tinycoro {version}</h1>
<p>Served by native threads. <a href="/hello">/hello</a> is what to measure.</p>
</html>
"""


def add_options(parser: argparse.ArgumentParser, default_port: int) -> None:
    """What every command with an HTTP server takes, in uvicorn's words."""
    parser.add_argument("--host", default="127.0.0.1", help="numeric address or 'localhost'")
    parser.add_argument("--port", type=port, default=default_port, help="0: any free one")
    parser.add_argument("--workers", type=positive, help="threads (default: the processors)")
    parser.add_argument(
        "--limit-concurrency", type=positive, metavar="N", help="connections at a time"
    )
    parser.add_argument("--backlog", type=positive, metavar="N", help="of the listening socket")
    parser.add_argument(
        "--timeout-keep-alive",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="close silent connections (default: 30)",
    )
    parser.add_argument(
        "--timeout-graceful-shutdown",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="for busy connections after a signal (default: 30)",
    )
    parser.add_argument("--reuse-port", action="store_true", help="share the port")


def make_server(options: argparse.Namespace) -> HTTPServer:
    return HTTPServer(
        options.host,
        options.port,
        max_connections=options.limit_concurrency,
        keep_alive_timeout=options.timeout_keep_alive,
        drain_timeout=options.timeout_graceful_shutdown,
        backlog=options.backlog,
        reuse_port=options.reuse_port,
    )


def summary(server: Server, duration: float) -> str:
    assert isinstance(server, HTTPServer)
    done = server.statistics()
    return (
        f"{done.requests} requests on {done.accepted} connections in {duration:.1f} s: "
        f"{done.bytes_in} bytes in, {done.bytes_out} out, {done.refused} refused, "
        f"{done.resets} resets, {done.idle_closed} idle, {done.shed} shed, "
        f"{done.cancelled} cancelled, {done.errors} errors"
    )


def add(commands: "Commands") -> None:
    parser = commands.add_parser(
        "http",
        help="a demonstration of the HTTP server",
        description="An HTTP/1.1 server with a page at / and a short answer at /hello. The first "
        "SIGINT or SIGTERM drains it, the second ends it at once.",
    )
    add_options(parser, 8000)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    def make() -> HTTPServer:
        server = make_server(options)
        server.respond(
            "/", _PAGE.format(version=__version__), content_type="text/html; charset=utf-8"
        )
        server.respond("/hello", "Hello, world!\n")
        return server

    return serve("http", options.workers, make, summary, "http://")
