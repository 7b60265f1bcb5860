#!/usr/bin/env python3
"""Measure tinycoro beside its peers on this machine; see README.md in this folder.

Without a subcommand all of them run, in a short form.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for python -P

from harness.build import PROJECT, Builder, Unavailable
from harness.echo import run_echo
from harness.http import CASES, run_http
from harness.idle import run_idle
from harness.micro import run_micro
from harness.report import Limit
from harness.servers import NAMES
from harness.tasks import run_tasks

COMMANDS: dict[str, Callable[[argparse.Namespace, Builder], list[Limit]]] = {
    "micro": run_micro,
    "echo": run_echo,
    "http": run_http,
    "idle": run_idle,
    "tasks": run_tasks,
}


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _words(text: str) -> list[str]:
    return text.split(",")


def parse(words: list[str]) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, help="result file; default: results/KIND-TIME.json")
    common.add_argument("--build", type=Path, default=PROJECT / "build" / "benchmarks")
    common.add_argument("--python", default=sys.executable, help="interpreter of servers and tasks")
    common.add_argument("--check", action="store_true", help="exit 1 if a promised ratio fails")

    servers = argparse.ArgumentParser(add_help=False)
    known = ", ".join(NAMES)
    servers.add_argument(
        "--servers",
        type=_words,
        default=list(NAMES),
        help=f"comma-separated, of {known}; or NAME=COMMAND with {{port}} and {{workers}}",
    )
    servers.add_argument("--workers", type=int, default=1)

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    echo = commands.add_parser("echo", parents=[common, servers], help="throughput, CPU, latency")
    echo.add_argument("--conns", type=_integers, default=[50, 1000])
    echo.add_argument("--size", type=_integers, default=[106], help="bytes of a message")
    echo.add_argument("--secs", type=float, default=2.0)
    echo.add_argument("--warmup", type=float, default=0.5)
    echo.add_argument("--rounds", type=int, default=9)
    echo.add_argument("--baseline", default="raw")
    echo.add_argument("--pin", action="store_true", help="server on CPU 0, client on CPU 1")

    http = commands.add_parser(
        "http", parents=[common], help="HTTP servers under wrk, one CPU each"
    )
    http.add_argument("--cases", type=_words, default=list(CASES), help=f"of {', '.join(CASES)}")
    http.add_argument(
        "--servers", type=_words, default=[], help="only these, such as tinycoro,nginx"
    )
    http.add_argument("--conns", type=int, default=64)
    http.add_argument("--secs", type=int, default=2)
    http.add_argument("--warmup", type=int, default=1)
    http.add_argument("--rounds", type=int, default=9)

    micro = commands.add_parser("micro", parents=[common], help="single operations, beside Go's")
    micro.add_argument("--rounds", type=int, default=5)
    micro.add_argument("--runs", type=int, default=7, help="timed runs in each process")
    micro.add_argument("--only", type=_words, default=[], help="rows, such as yield,parked_million")

    tasks = commands.add_parser("tasks", parents=[common], help="Python tasks, beside asyncio's")
    tasks.add_argument("--rounds", type=int, default=5)
    tasks.add_argument("--runs", type=int, default=5, help="timed runs in each process")
    tasks.add_argument("--only", type=_words, default=[], help="rows, such as sleep0,million")

    idle = commands.add_parser("idle", parents=[common, servers], help="memory per connection")
    idle.add_argument("--conns", type=int, default=9000)
    idle.add_argument("--rounds", type=int, default=1)
    return parser.parse_args(words)


def run(words: list[str]) -> bool:
    """Run one subcommand. Returns False if --check was given and a promise is broken."""
    arguments = parse(words)
    limits = COMMANDS[arguments.command](arguments, Builder(arguments.build.resolve()))
    return not arguments.check or all(limit.holds for limit in limits)


def main() -> int:
    words = sys.argv[1:]
    try:
        if words:
            return 0 if run(words) else 1
        run(["micro", "--rounds", "3"])
        run(["echo", "--pin", "--rounds", "3"])
        run(["http", "--rounds", "3"])
        run(["idle"])
        run(["tasks", "--rounds", "3"])
    except Unavailable as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
