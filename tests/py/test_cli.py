"""The command line as a child process: output, signals, exit codes."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tinycoro
from support import PATIENCE, SLACK, command, connect, exchange, fill, receive, serving


def _run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@contextmanager
def _echo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    with serving("echo", "--port", "0", *arguments) as running:
        yield running


def _finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end; returns what was printed after the first line."""
    out, err = process.communicate(timeout=PATIENCE)
    assert err == ""
    return out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_drains_and_exits_with_success(number: signal.Signals) -> None:
    with _echo() as (process, address):
        with connect(address) as client:
            assert exchange(client, b"x" * 1000) == b"x" * 1000
            process.send_signal(number)
            assert client.recv(1) == b""
        summary = _finish(process)
        assert process.returncode == 0
        assert re.fullmatch(
            r"tinycoro echo served 1 connections in \d+\.\d s: 1000 bytes in, 1000 out, .*\n",
            summary,
        )


def test_second_signal_ends_a_drain_at_once() -> None:
    with _echo("--drain-timeout", "30") as (process, address), connect(address) as client:
        fill(client)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        summary = _finish(process)
        assert time.monotonic() - begun <= 1 + SLACK
        assert process.returncode == 0
        assert "1 cancelled" in summary


def test_drain_deadline_ends_a_connection_that_does_not_finish() -> None:
    with _echo("--drain-timeout", "0.3") as (process, address), connect(address) as client:
        fill(client)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _finish(process)
        assert 0.3 <= time.monotonic() - begun <= 1 + SLACK
        assert process.returncode == 0


def test_port_that_is_taken_exits_with_three() -> None:
    with tinycoro.EchoServer() as server:
        port = server.address[1]
        result = _run("echo", "--port", str(port))
    assert result.returncode == 3
    assert result.stdout == ""
    assert "cannot listen: Address already in use" in result.stderr
    assert f"127.0.0.1:{port}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "nowhere.invalid"), "host='nowhere.invalid'"),
        (("--workers", "1000"), "workers=1000"),
        (("--idle-timeout", "-1"), "idle_timeout=-1"),
    ],
)
def test_what_cannot_start_exits_with_three(arguments: tuple[str, ...], message: str) -> None:
    result = _run("echo", "--port", "0", *arguments)
    assert result.returncode == 3
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [("--port", "http"), ("--port", "70000"), ("--workers", "0"), ("--colour",)]
)
def test_wrong_usage_exits_with_two(arguments: tuple[str, ...]) -> None:
    result = _run("echo", *arguments)
    assert result.returncode == 2
    assert "usage: python -m tinycoro" in result.stderr


def test_options_reach_the_server() -> None:
    with _echo("--workers", "1", "--max-connections", "2", "--idle-timeout", "0.2") as (
        process,
        address,
    ):
        begun = time.monotonic()
        with connect(address) as client:
            assert receive(client, 1) == b""
            assert time.monotonic() - begun >= 0.19
        process.send_signal(signal.SIGTERM)
        assert "1 idle" in _finish(process)


def test_echo_raises_the_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard and hard <= 64:
        pytest.skip("no room between soft and hard limit")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(64, hard // 2)), hard))
    try:
        with _echo() as (process, _address):
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_http_has_a_route_of_each_kind(tmp_path: Path) -> None:
    environment = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(tmp_path)
    try:
        options = ("--limit-concurrency", "5", "--timeout-keep-alive", "60", "--backlog", "16")
        with serving("http", "--port", "0", *options) as (process, address):
            client = http.client.HTTPConnection(*address, timeout=PATIENCE)

            def ask(method: str, path: str, status: int = 200) -> bytes:
                client.request(method, path, b"sent" if method == "PUT" else None)
                response = client.getresponse()
                assert response.status == status, path
                return response.read()

            page = ask("GET", "/").decode()
            for picture in re.findall(r'src="([^"]+)"', page):
                ask("GET", picture)
            for link in re.findall(r'href="([^"]+)"', page):
                ask("HEAD", link)
            assert ask("GET", "/hello") == b"Hello, world!\n"
            assert ask("GET", "/hello/you") == b"Hello, you!\n"
            ask("PUT", "/files/new", 201)
            assert ask("GET", "/files/new") == b"sent"
            assert b"large.bin" in ask("GET", "/files/")
            assert json.loads(ask("GET", "/statistics"))["uploads_stored"] == 1
            client.close()
            (folder,) = tmp_path.iterdir()
            process.send_signal(signal.SIGTERM)
            assert re.fullmatch(r"14 requests on 1 connections in .* 0 errors\n", _finish(process))
            assert process.returncode == 0
            assert not folder.exists()
    finally:
        os.environ.pop("TMPDIR")
        if environment is not None:
            os.environ["TMPDIR"] = environment


def test_what_make_run_shows_of_http_is_right() -> None:
    program = Path(__file__).parents[2] / "tools" / "demo_http.py"
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "everything was right, nothing was left behind" in done.stdout


def test_http_shows_a_directory_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("ours")
    with serving("http", "--port", "0", "-d", str(tmp_path)) as (process, address):
        client = http.client.HTTPConnection(*address, timeout=PATIENCE)
        client.request("GET", "/files/file")
        assert client.getresponse().read() == b"ours"
        client.close()
        process.send_signal(signal.SIGINT)
        _finish(process)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("is_file", [True, False])
def test_http_writes_an_access_log(tmp_path: Path, is_file: bool) -> None:
    log = tmp_path / "log"
    options = ("--access-log-file", str(log)) if is_file else ("--access-log",)
    with serving("http", "--port", "0", *options) as (process, address):
        client = http.client.HTTPConnection(*address, timeout=PATIENCE)
        client.request("GET", "/hello")
        assert client.getresponse().status == 200
        client.close()
        process.send_signal(signal.SIGTERM)
        _out, errors = process.communicate(timeout=PATIENCE)
    text = log.read_text() if is_file else errors
    assert '"GET /hello HTTP/1.1" 200 ' in text


def test_version_describes_the_build() -> None:
    result = _run("--version", env={"TINYCORO_WORKERS": "3"})
    assert result.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["tinycoro"] == tinycoro.__version__
    assert lines["poller"].startswith("epoll")
    assert lines["workers"] == "3"
    assert "GIL" in lines["python"] or "free-threaded" in lines["python"]
    assert lines["compiler"]


def test_help_lists_the_commands() -> None:
    result = _run("--help")
    assert result.returncode == 0
    assert "usage: python -m tinycoro" in result.stdout
    assert "echo" in result.stdout


@pytest.mark.parametrize("words", [("{}", "0"), ("-d", "{}", "0", "-b", "127.0.0.1"), ("{}",)])
def test_static_serves_a_directory_with_the_words_of_http_server(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "file.txt").write_text("text")
    arguments = [word.format(tmp_path) for word in words]
    with serving("static", "--port", "0", *arguments) as (process, address):
        client = http.client.HTTPConnection(*address, timeout=PATIENCE)
        client.request("GET", "/file.txt")
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"text")
        client.request("GET", "/")
        assert b'<a href="./file.txt">file.txt</a>' in client.getresponse().read()
        client.close()
        process.send_signal(signal.SIGINT)
        assert "2 requests on 1 connections" in _finish(process)
        assert process.returncode == 0


@pytest.mark.parametrize("command", ["static", "upload"])
def test_directory_commands_say_what_is_wrong_with_their_words(
    tmp_path: Path, command: str
) -> None:
    missing = _run(command, str(tmp_path / "nothing"), "0")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert "No such file or directory" in missing.stderr
    for words in ((".", "x"), (".", "70000"), (".", "0", "more")):
        wrong = _run(command, *words)
        assert wrong.returncode == 2
        assert "usage: " in wrong.stderr


def test_static_takes_over_a_socket_that_is_inherited(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("text")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        words = command("static", str(tmp_path), "--fd", str(listener.fileno()))
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, pass_fds=[listener.fileno()], text=True
        ) as process:
            client = http.client.HTTPConnection(host, port, timeout=PATIENCE)
            client.request("GET", "/file.txt")
            assert client.getresponse().read() == b"text"
            client.close()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=PATIENCE)
    assert out.startswith(f"tinycoro static listening on http://{host}:{port}\n")
    assert process.returncode == 0
