"""`python -m tinycoro http`: a server with one route of each kind, to look at and to measure."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .. import HTTPServer, Request, __version__
from . import samples
from .options import add_options, arguments
from .serving import Server, serve

if TYPE_CHECKING:
    from .serving import Commands

PAGES = Path(__file__).with_name("pages")

_MAX_SIZE = 1 << 30


def make_server(options: argparse.Namespace) -> HTTPServer:
    return HTTPServer(**arguments(options))


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
        description="An HTTP/1.1 server with a page at /, a short answer at /hello, a directory "
        "that also takes files at /files, and Python at /hello/NAME and /statistics. The first "
        "SIGINT or SIGTERM drains it, the second ends it at once.",
    )
    add_options(parser, 8000)
    parser.add_argument(
        "--directory",
        "-d",
        metavar="DIR",
        help="what /files has (default: a temporary one, with samples)",
    )
    parser.set_defaults(run=run)


def add_routes(server: HTTPServer, folder: Path) -> None:
    """One route of each kind; `folder` is what /files has."""
    page = (PAGES / "http.html").read_text(encoding="utf-8").replace("@version@", __version__)
    server.respond("/", page, content_type="text/html; charset=utf-8")
    server.respond("/picture.svg", samples.PICTURE, content_type="image/svg+xml")
    server.respond("/gradient.png", samples.gradient(), content_type="image/png")
    server.respond("/hello", "Hello, world!\n")
    server.static("/files", folder, listing=True)
    server.upload("/files", folder, max_size=_MAX_SIZE)

    @server.get("/hello/{name}")
    async def hello(request: Request) -> str:
        return f"Hello, {request.path_params['name']}!\n"

    @server.get("/statistics")
    def statistics(_request: Request) -> dict[str, object]:
        done = server.statistics()
        return {name: getattr(done, name) for name in done.__match_args__}


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:

        def make() -> HTTPServer:
            server = make_server(options)
            if options.directory is None:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="tinycoro-http-")))
                samples.fill(folder)
            else:
                folder = Path(options.directory)
            add_routes(server, folder)
            return server

        return serve("http", options.workers, make, summary, "http://")
