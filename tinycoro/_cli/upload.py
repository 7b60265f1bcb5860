"""`python -m tinycoro upload`: a directory that takes files, from a browser or by PUT and POST."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .. import HTTPServer
from .directory import add_words, read_words
from .http import make_server
from .http import summary as http_summary
from .options import add_options
from .progress import Progress, in_bytes
from .serving import Server, serve, size

if TYPE_CHECKING:
    from .serving import Commands

_PAGE = Path(__file__).with_name("pages") / "upload.html"
# The page is all in itself, and nothing else of what it might be made to load is.
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # With "no-referrer" the form would be sent with "Origin: null", and be refused.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def _mode(text: str) -> int:
    mode = int(text, 8)
    if not 0 <= mode <= 0o777:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 777")
    return mode


def add(commands: "Commands") -> None:
    parser = commands.add_parser(
        "upload",
        help="take files into a directory",
        description="Store in DIR what clients send: PUT /NAME makes the file NAME, POST / one "
        "with a name of the server's, a form one of each file in it; a page for a browser is at /. "
        "A file appears whole or not at all. The first SIGINT or SIGTERM drains, the second ends "
        "at once.",
    )
    add_options(parser, 8000)
    add_words(parser)
    parser.add_argument(
        "--max-size", type=size, metavar="SIZE", help="of a file, such as 500M (default: none)"
    )
    parser.add_argument(
        "--quota", type=size, metavar="SIZE", help="of all files in DIR (default: none)"
    )
    parser.add_argument("--overwrite", action="store_true", help="PUT replaces what exists")
    parser.add_argument(
        "--fsync",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="answer only when the file is on the disk (default)",
    )
    parser.add_argument(
        "--mode", type=_mode, default=0o600, metavar="OCTAL", help="of the files (default: 600)"
    )
    parser.set_defaults(run=run)


def page(max_size: int | None) -> str:
    """The page for a browser."""
    text = _PAGE.read_text(encoding="utf-8")
    limit = "" if max_size is None else f"A file may have {in_bytes(max_size)}."
    return text.replace("@max_size@", str(max_size or 0)).replace("@limit@", limit)


def _summary(server: Server, duration: float) -> str:
    assert isinstance(server, HTTPServer)
    done = server.statistics()
    return (
        f"{done.uploads_stored} files stored, {in_bytes(done.upload_bytes)} received, "
        f"{done.uploads_failed} files refused or broken off\n{http_summary(server, duration)}"
    )


def run(options: argparse.Namespace) -> int:
    read_words(options)

    def make() -> HTTPServer:
        server = make_server(options)
        server.respond(
            "/",
            page(options.max_size),
            content_type="text/html; charset=utf-8",
            headers=_HEADERS,
        )
        server.upload(
            "/",
            options.directory,
            max_size=options.max_size,
            quota=options.quota,
            overwrite=options.overwrite,
            fsync=options.fsync,
            mode=options.mode,
        )
        return server

    # A log on standard error would be written into the line.
    is_free = options.access_log_file is not None or not options.access_log
    progress = Progress() if is_free else None
    return serve("upload", options.workers, make, _summary, "http://", progress)
