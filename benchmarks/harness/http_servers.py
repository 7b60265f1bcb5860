"""The HTTP servers by name, the command that starts each of them, and the files that they serve."""

import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.build import BENCHMARKS, Builder, Unavailable, run_command
from harness.servers import require_module
from harness.tasks import version_of

FOLDER = BENCHMARKS / "http"
HELLO = b"Hello, world!"
FILES = {"4k.bin": 4096, "1m.bin": 1 << 20}
ASGI_PACKAGES = ("granian", "uvicorn", "uvloop", "httptools")
NGINX = {  # name → sendfile, tcp_nopush
    "nginx": ("on", "off"),
    "nginx-nopush": ("on", "on"),
    "nginx-read": ("off", "off"),
}


@dataclass(frozen=True)
class Start:
    """What a server is started with."""

    port: int
    workers: int
    folder: Path  # may be written to
    files: Path  # see make_files


@dataclass(frozen=True)
class HttpServer:
    name: str
    command: Callable[[Start], list[str]]
    has_statistics: bool = False  # at /statistics, see tinycoro_http.py


def make_files(folder: Path) -> dict[str, bytes]:
    """Write the files to serve. Returns what each path must be answered with."""
    source = random.Random(1)
    expected = {"/hello": HELLO, "/python": HELLO}
    for name, size in FILES.items():
        content = source.randbytes(size)
        (folder / name).write_bytes(content)
        expected[f"/files/{name}"] = content
    return expected


def asgi_python(builder: Builder, python: str) -> str:
    """An environment of its own for granian and uvicorn; its interpreter. Raises Unavailable."""
    folder = builder.folder / f"asgi-{version_of(python)}"
    own = str(folder / "bin" / "python")
    if not (folder / "complete").exists():
        print(f"installing {', '.join(ASGI_PACKAGES)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        run_command([python, "-m", "venv", str(folder)])
        run_command([own, "-m", "pip", "install", "--quiet", *ASGI_PACKAGES])
        (folder / "complete").touch()
    return own


def _tinycoro(python: str, *options: str) -> Callable[[Start], list[str]]:
    require_module(python, "tinycoro")
    script = str(FOLDER / "tinycoro_http.py")

    def command(start: Start) -> list[str]:
        where = [str(start.port), str(start.workers), str(start.files)]
        return [python, "-P", script, *where, *options]

    return command


def _program(builder: Builder, name: str) -> Callable[[Start], list[str]]:
    program = str(builder.get(name))
    return lambda start: [program, str(start.port), str(start.workers), str(start.files)]


def _nginx(name: str) -> Callable[[Start], list[str]]:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Unavailable("nginx is not installed")
    template = (FOLDER / "peers" / "nginx.conf.in").read_text()

    def command(start: Start) -> list[str]:
        values = {
            # As root it would serve as nobody, who may not read the files.
            "USER": "user root root;" if os.geteuid() == 0 else "",
            "WORKERS": start.workers,
            "FOLDER": start.folder,
            "SENDFILE": NGINX[name][0],
            "NOPUSH": NGINX[name][1],
            "PORT": start.port,
            "FILES": start.files,
        }
        text = template
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        configuration = start.folder / f"{name}.conf"
        configuration.write_text(text)
        return [program, "-p", str(start.folder), "-c", str(configuration)]

    return command


def _granian(own: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        words = ["--interface", "asgi", "--loop", "uvloop", "--http", "1", "--no-ws"]
        words += ["--workers", str(start.workers), "--runtime-threads", "1", "--no-access-log"]
        words += ["--host", "127.0.0.1", "--port", str(start.port), "--log-level", "warning"]
        return [
            own,
            "-m",
            "granian",
            *words,
            "--working-dir",
            str(FOLDER / "peers"),
            "asgi_app:app",
        ]

    return command


def _uvicorn(own: str) -> Callable[[Start], list[str]]:
    def command(start: Start) -> list[str]:
        words = ["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off"]
        words += ["--no-access-log", "--log-level", "warning", "--workers", str(start.workers)]
        words += ["--host", "127.0.0.1", "--port", str(start.port)]
        return [own, "-m", "uvicorn", *words, "--app-dir", str(FOLDER / "peers"), "asgi_app:app"]

    return command


def _find(name: str, builder: Builder, python: str) -> HttpServer:
    if name == "tinycoro":
        return HttpServer(name, _tinycoro(python))
    if name == "tinycoro-python":
        return HttpServer(name, _tinycoro(python, "--python"), has_statistics=True)
    if name == "tinycoro-c":
        return HttpServer(name, _program(builder, "tinycoro_http"))
    if name == "go":
        return HttpServer(name, _program(builder, "go_http"))
    if name == "axum":
        return HttpServer(name, _program(builder, "axum_http"))
    if name in NGINX:
        return HttpServer(name, _nginx(name))
    if name == "granian":
        return HttpServer(name, _granian(asgi_python(builder, python)))
    if name == "uvicorn":
        return HttpServer(name, _uvicorn(asgi_python(builder, python)))
    raise Unavailable("unknown")


def find_http_servers(names: list[str], builder: Builder, python: str) -> dict[str, HttpServer]:
    """Those of `names` that can be had; a line for each that cannot."""
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = _find(name, builder, python)
        except Unavailable as error:
            print(f"skipping {name}: {error}", file=sys.stdout, flush=True)
    return found
