"""The access log of HTTPServer: what it says, and that it never stands in the way."""

from __future__ import annotations

import http.client
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from support import PATIENCE, assert_success, connect, receive, run_python, wait_until
from tinycoro import HTTPServer, Request

LINE = re.compile(
    r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "([^"]*)" (\S+) (\d+)'
    r' "([^"]*)" "([^"]*)" (\d+\.\d{6}|-)\n'
)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


def ask(server: HTTPServer, path: str, method: str = "GET", body: bytes | None = None) -> None:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.request(method, path, body)
    client.getresponse().read()
    client.close()


def lines_of(path: Path) -> list[tuple[str, ...]]:
    """Request, status, bytes, referrer, agent, seconds of each line."""
    matches = [LINE.fullmatch(line) for line in path.read_text().splitlines(keepends=True)]
    assert all(matches), path.read_text()
    return [match.groups() for match in matches if match]


def test_every_kind_of_request_has_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file").write_bytes(b"x" * 100)
    server = HTTPServer(access_log=log)
    server.respond("/fixed", "hello")
    server.static("/files", tmp_path / "files")
    server.upload("/in", tmp_path / "files", max_size=1000)

    @server.get("/python/{name}")
    async def hello(request: Request) -> str:
        return request.path_params["name"]

    with server:
        ask(server, "/fixed?a=b")
        ask(server, "/fixed", "HEAD")
        ask(server, "/files/file")
        ask(server, "/python/you")
        ask(server, "/in/new", "PUT", b"body")
        ask(server, "/none")
        with connect(server.address) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            receive(client, 1 << 16)
    lines = lines_of(log)
    assert sorted(line[:3] for line in lines) == [
        ("-", "400", "16"),
        ("GET /files/file HTTP/1.1", "200", "100"),
        ("GET /fixed?a=b HTTP/1.1", "200", "5"),
        ("GET /none HTTP/1.1", "404", "14"),
        ("GET /python/you HTTP/1.1", "200", "3"),
        ("HEAD /fixed HTTP/1.1", "200", "0"),
        ("PUT /in/new HTTP/1.1", "201", lines[[line[1] for line in lines].index("201")][2]),
    ]
    statistics = server.statistics()
    assert statistics.log_dropped == 0
    assert all(float(line[5]) < PATIENCE for line in lines)


def test_what_a_client_sends_cannot_forge_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = HTTPServer(access_log=os.fsencode(log), max_header_size=65536, max_request_line=60000)
    with server, connect(server.address) as client:
        client.sendall(
            b"GET /" + b"'\\" + b"x" * 50000 + b' HTTP/1.1\r\nHost: a\r\nReferer: " 200 0 "-"\r\n'
            b"User-Agent: \x80\\n\t" + b"\xff" * 1000 + b"\r\nConnection: close\r\n\r\n"
        )
        receive(client, 1 << 16)
    ((request, _, _, referrer, agent, _),) = lines_of(log)
    assert request.startswith("GET /'\\x5cxxx")
    assert request.endswith("xxx... HTTP/1.1")
    assert len(request) < 4200
    assert referrer == r"\x22 200 0 \x22-\x22"
    assert agent.startswith(r"\x80\x5cn\x09\xff")
    assert agent.endswith(r"\xff...")
    assert len(agent) <= 512


def test_a_pipe_that_nobody_reads_never_delays_an_answer(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    server = HTTPServer(access_log=writing)
    server.respond("/", "hello")
    count = 6000  # more than pipe and ring hold
    try:
        with server, connect(server.address) as client:
            requests = (GET + b"\r\n") * count + GET + b"Connection: close\r\n\r\n"
            sender = threading.Thread(target=client.sendall, args=(requests,))
            sender.start()
            assert receive(client, 1 << 22).count(b"HTTP/1.1 200") == count + 1
            sender.join()
            assert server.statistics().log_dropped > 0
        os.close(writing)
        writing = -1
        with open(reading, closefd=False) as pipe:
            lines = pipe.read().splitlines(keepends=True)  # the last one may be torn
        whole = [line for line in lines if line.endswith("\n")]
        assert whole
        assert all(LINE.fullmatch(line) for line in whole)
        assert len(whole) + server.statistics().log_dropped == count + 1
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


@pytest.mark.parametrize("is_socket", [False, True])
def test_a_descriptor_or_a_file_object_is_written(tmp_path: Path, is_socket: bool) -> None:
    if is_socket:
        ours, theirs = socket.socketpair()
        server = HTTPServer(access_log=theirs)
    else:
        file = (tmp_path / "log").open("w")
        server = HTTPServer(access_log=file)
    server.respond("/", "hello")
    for _ in range(2):  # each run opens it
        with server:
            ask(server, "/")
    if is_socket:
        theirs.close()
        assert len(LINE.findall(receive(ours, 1 << 16).decode())) == 2
        ours.close()
    else:
        file.close()
        assert len(lines_of(tmp_path / "log")) == 2


def test_all_lines_are_written_when_the_server_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = HTTPServer(access_log=log)
    server.respond("/", "hello")
    count = 500
    with server, connect(server.address) as client:
        client.sendall((GET + b"\r\n") * count + GET + b"Connection: close\r\n\r\n")
        receive(client, 1 << 20)
    assert len(lines_of(log)) == count + 1
    assert server.statistics().log_lines == count + 1


@pytest.mark.parametrize("path", [b"/", b"/python"])
def test_an_answer_that_is_not_taken_has_no_time(tmp_path: Path, path: bytes) -> None:
    log = tmp_path / "log"
    server = HTTPServer(access_log=log, send_timeout=0.05)
    server.respond("/", bytes(1 << 24))

    @server.get("/python")
    async def large(_request: Request) -> bytes:
        return bytes(1 << 24)

    with server, connect(server.address) as client:
        client.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        assert wait_until(lambda: server.statistics().send_timeouts == 1)
    assert [(line[1], line[5]) for line in lines_of(log)] == [("200", "-")]


def test_a_log_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    for value in (True, 1.5, object()):
        with pytest.raises(TypeError, match="access_log must be a path"):
            HTTPServer(access_log=value)  # type: ignore[arg-type]
    server = HTTPServer(access_log=tmp_path / "no" / "log")
    with pytest.raises(FileNotFoundError, match="cannot open the access log"):
        server.start()
    server.get("/")(lambda _request: "x")
    with pytest.raises(FileNotFoundError):
        server.start()
    with pytest.raises(ValueError, match="negative"):
        HTTPServer(access_log=-1).start()


FORKS = """
import http.client, os, warnings, tinycoro
warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads

def ask():
    client = http.client.HTTPConnection(*server.address)
    client.request("GET", "/")
    client.getresponse().read()
    client.close()

reading, writing = os.pipe()
hold_reading, hold_writing = os.pipe()
server = tinycoro.HTTPServer(access_log=writing)
server.respond("/", "hello")
with server:
    ask()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.close(hold_writing)
        os.read(hold_reading, 1)  # until the parent has seen the end of the log
        os._exit(0)
    ask()
os.close(writing)
with open(reading) as pipe:
    assert pipe.read().count("GET / HTTP/1.1") == 2  # it ends although the child lives
os.close(hold_writing)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_lets_go_of_the_log() -> None:
    assert_success(run_python(FORKS))


EXITS = """
import http.client, sys, warnings, tinycoro
warnings.simplefilter("ignore", ResourceWarning)  # of the server
server = tinycoro.HTTPServer(access_log=sys.argv[1])
server.respond("/", "hello")
server.start()
client = http.client.HTTPConnection(*server.address)
client.request("GET", "/")
client.getresponse().read()
client.close()
"""


def test_a_process_that_exits_writes_what_is_left(tmp_path: Path) -> None:
    assert_success(run_python(EXITS, str(tmp_path / "log")))
    assert len(lines_of(tmp_path / "log")) == 1
