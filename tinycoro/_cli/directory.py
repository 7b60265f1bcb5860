"""The words DIR and PORT of http.server's command line, for the commands that take them."""

import argparse

from .serving import port


def add_words(parser: argparse.ArgumentParser) -> None:
    """Let a parser take [DIR] [PORT] and what http.server takes instead of them."""
    parser.usage = "%(prog)s [options] [DIR] [PORT]"
    parser.add_argument("words", nargs="*", metavar="DIR PORT", help="default: . 8000")
    parser.add_argument(
        "--bind", "-b", dest="host", default=argparse.SUPPRESS, metavar="ADDRESS", help="= --host"
    )
    parser.add_argument("--directory", "-d", metavar="DIR", help="DIR, if not given before PORT")
    parser.set_defaults(parser=parser)


def read_words(options: argparse.Namespace) -> None:
    """DIR and PORT, in this order, either of which may be missing; a DIR comes first if it can."""
    parser: argparse.ArgumentParser = options.parser
    words: list[str] = options.words
    if options.directory is None:
        options.directory, words = (words[0], words[1:]) if words else (".", words)
    if len(words) > 1:
        parser.error(f"unrecognized arguments: {' '.join(words[1:])}")
    if words:
        try:
            options.port = port(words[0])
        except (ValueError, argparse.ArgumentTypeError):
            parser.error(f"PORT: {words[0]!r} is not a number from 0 to 65535")
