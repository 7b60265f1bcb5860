"""Response.file: files that handlers answer with, as clients see them, and how they fail."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import re
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tinycoro
from support import (
    PATIENCE,
    connect,
    open_descriptors,
    receive,
    reset,
    run_curl,
    wait_until,
)
from tinycoro import HTTPServer, Request, Response, _core

SMALL = b"<p>page</p>"
LARGE = bytes(range(256)) * 4096
NOTHING: dict[str, str] = {}
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_bytes(SMALL)
    (tmp_path / "large.bin").write_bytes(LARGE)
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "link").symlink_to("page.html")
    for name in ("page.html", "large.bin", "empty.txt"):
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    return tmp_path


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.ERROR, "tinycoro"):
        yield caplog
    caplog.clear()  # tracebacks hold requests


def serve(server: HTTPServer, make: Callable[[], Response]) -> None:
    @server.route("/", methods=["GET", "POST"])
    async def handler(request: Request) -> Response:
        return make()

    server.start()


def ask(
    server: HTTPServer, method: str = "GET", path: str = "/", **fields: str
) -> tuple[http.client.HTTPResponse, bytes]:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    try:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        client.request(method, path, headers=headers)
        response = client.getresponse()
        return response, response.read()
    finally:
        client.close()


# ---- whole files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("page.html", SMALL, "text/html; charset=utf-8"),
        ("large.bin", LARGE, "application/octet-stream"),
        ("empty.txt", b"", "text/plain; charset=utf-8"),
        ("link", SMALL, "application/octet-stream"),
    ],
)
def test_a_file_is_sent_with_what_describes_it(
    http_server: HTTPServer, folder: Path, name: str, content: bytes, content_type: str
) -> None:
    serve(http_server, lambda: Response.file(folder / name))
    response, body = ask(http_server)
    assert (response.status, body) == (200, content)
    assert response.headers["Content-Type"] == content_type
    assert response.headers["Content-Length"] == str(len(content))
    assert response.headers["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert re.fullmatch(r'"[0-9a-f-]+"', response.headers["ETag"])
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"] is None
    head, nothing = ask(http_server, "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Length"] == str(len(content))
    assert head.headers["ETag"] == response.headers["ETag"]


def test_def_handlers_and_every_kind_of_path_do(http_server: HTTPServer, folder: Path) -> None:
    paths: list[str | bytes | os.PathLike[str]] = [
        folder / "page.html",
        str(folder / "page.html"),
        os.fsencode(folder / "page.html"),
        os.path.relpath(folder / "page.html"),
    ]

    @http_server.get("/{number}")
    def handler(request: Request) -> Response:
        return Response.file(path=paths[int(request.path_params["number"])])

    http_server.start()
    for number in range(len(paths)):
        assert ask(http_server, path=f"/{number}")[1] == SMALL


def test_a_name_that_is_no_utf_8_is_found(http_server: HTTPServer, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe.html"
    Path(os.fsdecode(path)).write_bytes(SMALL)
    serve(http_server, lambda: Response.file(path))
    assert ask(http_server)[1] == SMALL
    assert Response.file(path).path == os.fsdecode(path)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_all_of_it_and_parts(http_server: HTTPServer, folder: Path) -> None:
    serve(http_server, lambda: Response.file(folder / "large.bin"))
    host, port = http_server.address
    url = f"http://{host}:{port}/"
    assert run_curl(url) == LARGE
    assert run_curl("--range", "1000-2999", url) == LARGE[1000:3000]
    (folder / "resumed").write_bytes(LARGE[:500_000])
    run_curl("--continue-at", "-", "--output", folder / "resumed", url)
    assert (folder / "resumed").read_bytes() == LARGE


def test_pipelined_ones_follow_each_other(http_server: HTTPServer, folder: Path) -> None:
    names = iter(["page.html", "large.bin", "empty.txt", "none", "page.html"])
    serve(http_server, lambda: Response.file(folder / next(names)))
    with connect(http_server.address) as client:
        client.sendall(GET * 4 + LAST)
        answers = receive(client, 1 << 24)
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [SMALL, LARGE, b"", b"404 Not Found\n", SMALL]


def test_a_file_may_answer_a_body_that_is_read_or_not(
    http_server: HTTPServer, folder: Path
) -> None:
    @http_server.post("/read")
    async def read(request: Request) -> Response:
        async for _ in request.stream():
            pass
        return Response.file(folder / "large.bin")

    @http_server.post("/unread")
    async def unread(request: Request) -> Response:
        return Response.file(folder / "large.bin")

    http_server.start()
    client = http.client.HTTPConnection(*http_server.address, timeout=PATIENCE)
    for path, size in (("/read", 200_000), ("/unread", 1000)):
        bodies: list[bytes | Iterator[bytes]] = [b"x" * size, iter([b"x" * 1000] * 3)]
        for body in bodies:
            client.request("POST", path, body)
            response = client.getresponse()
            assert (response.status, response.read()) == (200, LARGE)
            assert response.headers["ETag"] is None  # it describes no resource
    client.close()


def test_an_old_client_gets_it(http_server: HTTPServer, folder: Path) -> None:
    serve(http_server, lambda: Response.file(folder / "large.bin"))
    with connect(http_server.address) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = receive(client, 1 << 24).partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert body == LARGE


def test_a_client_that_ends_its_side_gets_all_of_it(http_server: HTTPServer, folder: Path) -> None:
    serve(http_server, lambda: Response.file(folder / "large.bin"))
    with connect(http_server.address) as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1 << 24).endswith(LARGE)


# ---- conditions and ranges ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["page.html", "large.bin"])
def test_conditions_are_held_against_the_file(
    http_server: HTTPServer, folder: Path, name: str
) -> None:
    serve(http_server, lambda: Response.file(folder / name, headers={"X-Own": "1"}))
    tag = ask(http_server)[0].headers["ETag"]
    date = "Sun, 09 Sep 2001 01:46:40 GMT"
    before = "Sun, 09 Sep 2001 01:46:39 GMT"
    for fields, status in (
        ({"If_None_Match": tag}, 304),
        ({"If_None_Match": f'"x", {tag}'}, 304),
        ({"If_None_Match": '"x"'}, 200),
        ({"If_Modified_Since": date}, 304),
        ({"If_Modified_Since": before}, 200),
        ({"If_Match": '"x"'}, 412),
        ({"If_Match": tag}, 200),
        ({"If_Unmodified_Since": before}, 412),
    ):
        for method in ("GET", "HEAD"):
            response, body = ask(http_server, method, **fields)
            assert response.status == status
            if status == 304:
                assert (response.headers["ETag"], body) == (tag, b"")
                assert response.headers["X-Own"] == "1"
    (folder / name).write_bytes(b"changed")
    response, body = ask(http_server, If_None_Match=tag)
    assert (response.status, body) == (200, b"changed")


@pytest.mark.parametrize(("name", "content"), [("page.html", SMALL), ("large.bin", LARGE)])
def test_ranges_are_cut_out_of_it(
    http_server: HTTPServer, folder: Path, name: str, content: bytes
) -> None:
    serve(http_server, lambda: Response.file(folder / name, content_type="x/y"))
    size = len(content)
    for field, part in (
        ("bytes=2-5", content[2:6]),
        ("bytes=-3", content[-3:]),
        (f"bytes={size - 1}-", content[-1:]),
        ("bytes=0-999999999", content),
    ):
        response, body = ask(http_server, Range=field)
        assert (response.status, body) == (206, part)
        assert response.headers["Content-Type"] == "x/y"
        assert re.fullmatch(rf"bytes \d+-\d+/{size}", response.headers["Content-Range"])
    response, body = ask(http_server, Range="bytes=0-1,4-5")
    assert response.status == 206
    boundary = response.headers["Content-Type"].removeprefix("multipart/byteranges; boundary=")
    assert body.count(b"--" + boundary.encode()) == 3
    assert b"\r\nContent-Type: x/y\r\nContent-Range: bytes 4-5/%d\r\n\r\n" % size in body
    response, _ = ask(http_server, Range=f"bytes={size}-")
    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{size}"
    tag = ask(http_server)[0].headers["ETag"]
    assert ask(http_server, Range="bytes=0-0", If_Range=tag)[0].status == 206
    assert ask(http_server, Range="bytes=0-0", If_Range='"x"')[0].status == 200


def test_a_range_of_a_huge_file_takes_no_memory(http_server: HTTPServer, tmp_path: Path) -> None:
    size = 1 << 31
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(size)
        file.seek(size - 5)
        file.write(b"end.\n")
    serve(http_server, lambda: Response.file(tmp_path / "sparse"))
    assert ask(http_server, Range="bytes=-5")[1] == b"end.\n"  # first, what is made once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        response, body = ask(http_server, Range=f"bytes={size - 1_000_000}-")
        assert (response.status, len(body), body[-5:]) == (206, 1_000_000, b"end.\n")
        assert ask(http_server, "HEAD")[0].headers["Content-Length"] == str(size)
    # in KiB; a sanitizer's allocator keeps what the client has freed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < size // 8 // 1024


# ---- what the handler says ---------------------------------------------------------------------


def test_the_handlers_fields_come_first(http_server: HTTPServer, folder: Path) -> None:
    headers = [
        ("ETag", '"v1"'),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Accept-Ranges", "none"),
        ("X-Content-Type-Options", "other"),
        ("Cache-Control", "max-age=60"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]
    serve(
        http_server,
        lambda: Response.file(folder / "page.html", headers=headers, content_type="text/x-own"),
    )
    response, body = ask(http_server, Range="bytes=0-0")
    assert (response.status, body) == (200, SMALL)
    assert response.headers["Content-Type"] == "text/x-own"
    assert sorted(response.getheaders()) == sorted(
        [
            *headers,
            ("Content-Type", "text/x-own"),
            ("Content-Length", str(len(SMALL))),
            ("Date", response.headers["Date"]),
        ]
    )
    assert ask(http_server, If_None_Match='"v1"')[0].status == 304
    since = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert ask(http_server, If_Modified_Since=since)[0].status == 304


def test_a_compressed_file_may_be_sent_as_what_it_holds(
    http_server: HTTPServer, folder: Path
) -> None:
    serve(
        http_server,
        lambda: Response.file(
            folder / "large.bin", content_type="text/css", headers={"Content-Encoding": "gzip"}
        ),
    )
    response, body = ask(http_server)
    assert response.headers["Content-Encoding"] == "gzip"
    assert (response.headers["Content-Type"], body) == ("text/css", LARGE)


@pytest.mark.parametrize("name", ["page.html", "large.bin"])
def test_another_status_sends_all_of_it_without_conditions(
    http_server: HTTPServer, folder: Path, name: str
) -> None:
    content = (folder / name).read_bytes()
    serve(http_server, lambda: Response.file(folder / name, status=404, content_type=None))
    for fields in (NOTHING, {"Range": "bytes=0-0", "If_None_Match": "*"}):
        response, body = ask(http_server, **fields)
        assert (response.status, body) == (404, content)
        for field in ("ETag", "Last-Modified", "Accept-Ranges", "Content-Type"):
            assert response.headers[field] is None
    response, body = ask(http_server, "HEAD")
    assert (response.status, body) == (404, b"")
    assert response.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        ("a report.pdf", 'attachment; filename="a report.pdf"'),
        ("na\u00efve.pdf", "attachment; filename=\"na_ve.pdf\"; filename*=UTF-8''na%C3%AFve.pdf"),
        ('a"b%.pdf', "attachment; filename=\"a_b_.pdf\"; filename*=UTF-8''a%22b%25.pdf"),
    ],
)
def test_a_filename_is_the_name_for_saving(
    http_server: HTTPServer, folder: Path, filename: str, disposition: str
) -> None:
    serve(http_server, lambda: Response.file(folder / "large.bin", filename=filename))
    for fields in (NOTHING, {"Range": "bytes=0-0"}):
        response, _ = ask(http_server, **fields)
        assert response.headers["Content-Disposition"] == disposition
        assert response.headers["Content-Type"] == "application/pdf"


def test_a_response_shows_its_file() -> None:
    response = Response.file("a/b.html", status=201, headers={"X": "y"}, filename="c.txt")
    assert (response.status, response.body, response.path) == (201, b"", "a/b.html")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers == (("X", "y"), ("Content-Disposition", 'attachment; filename="c.txt"'))
    assert repr(response) == "<Response 201, file 'a/b.html'>"
    assert Response("x").path is None
    assert Response.file("a", filename=None, content_type=None).content_type is None


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "text"),
    [
        ((), {}, TypeError, "needs a path"),
        (("a", 200), {}, TypeError, "at most 1 positional"),
        (("a",), {"path": "b"}, TypeError, "'path' twice"),
        (("a",), {"media_type": "b"}, TypeError, "no parameter 'media_type'"),
        ((3,), {}, TypeError, "int"),
        ((None,), {}, TypeError, "NoneType"),
        (("",), {}, ValueError, "path=''"),
        (("a\0b",), {}, ValueError, "null"),
        (("a",), {"status": 99}, ValueError, "status=99"),
        (("a",), {"status": 204}, ValueError, "status=204 has no body"),
        (("a",), {"status": 304}, ValueError, "status=304 has no body"),
        (("a",), {"status": "200"}, TypeError, "status"),
        (("a",), {"content_type": 3}, TypeError, "content_type"),
        (("a",), {"content_type": "a\nb"}, ValueError, "content_type"),
        (("a",), {"content_type": "x" * 300}, ValueError, "content_type"),
        (("a",), {"headers": {"X": "a\nb"}}, ValueError, "headers"),
        (("a",), {"headers": {"Content-Length": "1"}}, ValueError, "headers"),
        (("a",), {"headers": {"Content-Range": "bytes 0-1/2"}}, ValueError, "Content-Range"),
        (("a",), {"headers": {"ETag": "v1"}}, ValueError, "ETag"),
        (("a",), {"headers": {"Last-Modified": "today"}}, ValueError, "Last-Modified"),
        (("a",), {"headers": [("X", "y")] * 33}, ValueError, "32"),
        (("a",), {"headers": {"X": "y" * 3000}}, ValueError, "2 KiB"),
        (("a",), {"filename": b"x"}, TypeError, "filename"),
        (("a",), {"filename": ""}, ValueError, "filename=''"),
        (("a",), {"filename": "a/b"}, ValueError, "filename='a/b'"),
        (("a",), {"filename": "a\r\nX: y"}, ValueError, "filename="),
        (("a",), {"filename": "\udcff"}, ValueError, "UTF-8"),
        (
            ("a",),
            {"filename": "x", "headers": {"content-disposition": "inline"}},
            ValueError,
            "Content-Disposition",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    arguments: tuple[object, ...], keywords: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        Response.file(*arguments, **keywords)  # type: ignore[arg-type]


# ---- files that cannot be sent -----------------------------------------------------------------


def test_what_is_no_file_is_a_404_and_no_news(
    http_server: HTTPServer,
    folder: Path,
    logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)  # the address of a socket is short
        listener.bind("socket")
    paths = [
        *(folder / name for name in ("none", "fifo", "socket", "dangling", "page.html/x")),
        folder,
        Path("/dev/null"),
        folder / ("x" * 300),
        Path("/" + "x" * 5000),
    ]
    left = iter(paths)
    serve(http_server, lambda: Response.file(next(left), headers={"Cache-Control": "max-age=9"}))
    for path in paths:
        response, body = ask(http_server)
        assert (response.status, body) == (404, b"404 Not Found\n"), path
        assert response.headers["Cache-Control"] is None
    assert not logged.records


@pytest.mark.parametrize(
    ("number", "status", "kind"),
    [
        (errno.EACCES, 403, PermissionError),
        (errno.EMFILE, 503, OSError),
        (errno.EIO, 500, OSError),
    ],
)
def test_what_fails_is_refused_and_logged(
    http_server: HTTPServer,
    folder: Path,
    logged: pytest.LogCaptureFixture,
    number: int,
    status: int,
    kind: type[OSError],
) -> None:
    path = folder / "page.html"
    serve(http_server, lambda: Response.file(path))
    for call in ("openat2", "open"):
        _core._fault_arm(call, 1, number, None)
    response, _ = ask(http_server)
    _core._fault_disarm()
    assert response.status == status
    assert wait_until(lambda: len(logged.records) == 1)
    record = logged.records[0]
    assert "<Request GET '/'>" in record.getMessage()
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert isinstance(error, kind)
    assert (error.errno, error.filename) == (number, str(path))
    assert ask(http_server)[1] == SMALL


def test_a_file_without_permission_is_a_403(
    http_server: HTTPServer, folder: Path, logged: pytest.LogCaptureFixture
) -> None:
    (folder / "page.html").chmod(0)
    is_allowed = os.access(folder / "page.html", os.R_OK)  # to root everything is
    serve(http_server, lambda: Response.file(folder / "page.html"))
    assert ask(http_server)[0].status == (200 if is_allowed else 403)
    assert wait_until(lambda: len(logged.records) == (0 if is_allowed else 1))


def test_the_loops_exception_handler_hears_of_it_and_may_fail(
    folder: Path, logged: pytest.LogCaptureFixture
) -> None:
    heard: list[dict[str, object]] = []
    server = HTTPServer()

    @server.get("/")
    async def handler(request: Request) -> Response:
        return Response.file(folder / "page.html")

    def fail(loop: tinycoro.Loop, context: dict[str, object]) -> None:
        heard.append(context)
        raise ValueError("in the exception handler")

    async def main() -> None:
        tinycoro.get_running_loop().set_exception_handler(fail)
        async with server:
            for call in ("openat2", "open"):
                _core._fault_arm(call, 1, errno.EACCES, None)
            response, _ = await tinycoro.to_thread(ask, server)
            _core._fault_disarm()
            assert response.status == 403
            while not heard:  # the test's own limit ends it
                await tinycoro.sleep(0.001)
            assert (await tinycoro.to_thread(ask, server))[1] == SMALL

    tinycoro.run(main())
    assert [type(context["exception"]) for context in heard] == [PermissionError]
    assert ["in exception handler" in record.getMessage() for record in logged.records] == [True]


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_connection(
    http_server: HTTPServer, tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    size = 64 << 20
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(size)
    serve(http_server, lambda: Response.file(tmp_path / "sparse"))
    client = http.client.HTTPConnection(*http_server.address, timeout=PATIENCE)
    client.request("GET", "/")
    response = client.getresponse()
    os.truncate(tmp_path / "sparse", 100)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    client.close()
    assert wait_until(lambda: len(logged.records) == 1)
    assert logged.records[0].exc_info is not None
    error = logged.records[0].exc_info[1]
    assert isinstance(error, OSError)
    assert error.errno == errno.ENODATA


@pytest.mark.parametrize("end", [socket.socket.close, reset])
def test_a_client_that_goes_away_leaves_nothing_open(
    http_server: HTTPServer, tmp_path: Path, end: Callable[[socket.socket], None]
) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(64 << 20)
    serve(http_server, lambda: Response.file(tmp_path / "sparse"))
    for size in (0, 100, 100_000):
        client = connect(http_server.address)
        client.sendall(GET)
        assert len(receive(client, size)) == size
        end(client)
    assert wait_until(lambda: http_server.statistics().connections == 0)
    assert wait_until(lambda: not any("sparse" in name for name in open_descriptors()))


def test_a_drain_lets_a_file_go_out(folder: Path) -> None:
    server = HTTPServer(drain_timeout=PATIENCE, drain_grace=0)
    serve(server, lambda: Response.file(folder / "large.bin"))
    with connect(server.address) as client:
        client.sendall(GET)
        begin = receive(client, 15)
        server.close()
        rest = receive(client, 1 << 24)
    server.wait(PATIENCE)
    assert (begin + rest).endswith(LARGE)


def test_many_at_once_are_all_right(http_server: HTTPServer, folder: Path) -> None:
    names = ["page.html", "large.bin", "empty.txt", "none"]

    @http_server.get("/{name}")
    async def handler(request: Request) -> Response:
        return Response.file(folder / request.path_params["name"])

    http_server.start()
    clients = [connect(http_server.address) for _ in range(40)]
    for number, client in enumerate(clients):
        name = names[number % len(names)]
        client.sendall(LAST.replace(b"/ ", f"/{name} ".encode(), 1))
    for number, client in enumerate(clients):
        name = names[number % len(names)]
        body = receive(client, 1 << 24).partition(b"\r\n\r\n")[2]
        expected = b"404 Not Found\n" if name == "none" else (folder / name).read_bytes()
        assert body == expected
        client.close()


def test_short_memory_is_refused(
    http_server: HTTPServer, folder: Path, logged: pytest.LogCaptureFixture
) -> None:
    serve(http_server, lambda: Response.file(folder / "page.html"))
    assert ask(http_server)[0].status == 200
    statuses = set()
    for nth in range(1, 40):
        _core._fault_arm("alloc", nth, errno.ENOMEM)
        try:
            statuses.add(ask(http_server)[0].status)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            statuses.add(0)
        finally:
            _core._fault_disarm()
    assert statuses <= {200, 500, 503, 0}
    assert 200 in statuses
    assert ask(http_server)[1] == SMALL
