"""The echo servers by name, and the command that starts each of them."""

import shlex
import subprocess
from dataclasses import dataclass

from harness.build import BENCHMARKS, Builder, Unavailable

NAMES = (
    "raw",
    "tinycoro-c",
    "tinycoro",
    "go",
    "tokio",
    "tinycoro-streams",
    "uvloop",
    "uvloop-streams",
    "zuvloop",
    "zuvloop-streams",
    "asyncio",
    "asyncio-streams",
)
PROGRAMS = {
    "raw": "epoll_echo",
    "tinycoro-c": "tinycoro_echo",
    "go": "go_echo",
    "tokio": "tokio_echo",
}


@dataclass(frozen=True)
class Server:
    name: str
    words: tuple[str, ...]  # with {port} and {workers}

    def command(self, port: int, workers: int) -> list[str]:
        return [word.format(port=port, workers=workers) for word in self.words]


def find_server(spec: str, builder: Builder, python: str, workers: int) -> Server:
    """A server of NAMES, or NAME=COMMAND with {port} and {workers}. Raises Unavailable."""
    if "=" in spec:
        name, command = spec.split("=", 1)
        return Server(name, tuple(shlex.split(command)))
    if spec in PROGRAMS:
        return Server(spec, (str(builder.get(PROGRAMS[spec])), "{port}", "{workers}"))
    if spec == "tinycoro":
        require_module(python, "tinycoro")
        words = ("-P", "-m", "tinycoro", "echo", "--port", "{port}", "--workers", "{workers}")
        return Server(spec, (python, *words))
    if spec in NAMES:
        loop, _, mode = spec.partition("-")
        if workers > 1:
            raise Unavailable("has one thread")
        require_module(python, loop)
        script = str(BENCHMARKS / "echo" / "peers" / "py_echo.py")
        return Server(spec, (python, "-P", script, "{port}", loop, mode or "protocol"))
    raise Unavailable(f"unknown; known are {', '.join(NAMES)} and NAME=COMMAND")


def find_servers(specs: list[str], builder: Builder, python: str, workers: int) -> list[Server]:
    """Those of `specs` that can be had; a line for each that cannot."""
    found = []
    for spec in specs:
        try:
            found.append(find_server(spec, builder, python, workers))
        except Unavailable as error:
            print(f"skipping {spec}: {error}", flush=True)
    return found


def require_module(python: str, module: str) -> None:
    """Raises Unavailable if this Python does not have it."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    if subprocess.run([python, "-P", "-c", code], cwd="/").returncode != 0:
        raise Unavailable(f"module {module} is not installed for the interpreter in use")
