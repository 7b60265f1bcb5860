"""The command line: one file per subcommand, each with `add` (its arguments) and `run`."""

import argparse
from collections.abc import Sequence

from . import echo, http, repl, static, upload, version


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tinycoro",
        description="Without a command: a REPL, or a script on standard input, that may await.",
    )
    parser.add_argument("--version", action="store_true", help="say what is installed, and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    echo.add(commands)
    http.add(commands)
    static.add(commands)
    upload.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process.

    0 success, 1 a failure while running, 2 wrong usage, 3 cannot start.
    """
    options = make_parser().parse_args(arguments)
    if options.version:
        return version.run()
    if "run" not in options:
        return repl.run()
    code: int = options.run(options)
    return code
