"""`python -m tinycoro static`: the files of a directory, with http.server's words."""

import argparse
from typing import TYPE_CHECKING

from .. import HTTPServer
from .directory import add_words, read_words
from .http import make_server, summary
from .options import add_options
from .serving import seconds, serve

if TYPE_CHECKING:
    from .serving import Commands


def add(commands: "Commands") -> None:
    parser = commands.add_parser(
        "static",
        help="serve the files of a directory",
        description="Serve DIR over HTTP/1.1: index.html or a listing for directories, ranges, "
        "entity tags, conditional requests. The first SIGINT or SIGTERM drains, the second ends at "
        "once.",
    )
    add_options(parser, 8000)
    add_words(parser)
    parser.add_argument("--index", default="index.html", metavar="NAME", help="for directories")
    parser.add_argument("--no-listing", action="store_true", help="403 for directories without it")
    parser.add_argument("--dotfiles", action="store_true", help="serve and list .names, too")
    parser.add_argument("--follow-symlinks", action="store_true", help="those that stay within DIR")
    parser.add_argument(
        "--precompressed", action="store_true", help="send NAME.br or NAME.gz for NAME"
    )
    parser.add_argument(
        "--recheck",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="how long a file may be sent as it was (default: 1)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    read_words(options)

    def make() -> HTTPServer:
        server = make_server(options)
        server.static(
            "/",
            options.directory,
            index=options.index,
            listing=not options.no_listing,
            dotfiles=options.dotfiles,
            follow_symlinks=options.follow_symlinks,
            precompressed=options.precompressed,
            recheck=options.recheck,
        )
        return server

    return serve("static", options.workers, make, summary, "http://")
