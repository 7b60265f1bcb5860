"""HTTPServer.upload() through real clients: names, forms, limits, what statistics say, errors."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import tinycoro
from support import PATIENCE, receive, run_curl, wait_until
from tinycoro import HTTPServer, _core

LARGE = bytes(range(256)) * 4096


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HTTPServer]:
    """A running server that takes uploads of up to 2 MiB, 4 MiB in all."""
    server = HTTPServer()
    server.upload("/files/", tmp_path, max_size=2 << 20, quota=4 << 20)
    server.start()
    yield server
    server.abort()
    server.wait(PATIENCE)


def send(
    server: HTTPServer, method: str, path: str, body: bytes | Iterator[bytes], **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request; an iterator is sent in chunks."""
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    try:
        client.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = client.getresponse()
        return response, response.read()
    finally:
        client.close()


def test_put_makes_a_file_and_does_not_replace_one(server: HTTPServer, tmp_path: Path) -> None:
    response, body = send(server, "PUT", "/files/a%20b.bin", LARGE)
    assert response.status == 201
    assert json.loads(body) == {"files": [{"name": "a b.bin", "size": len(LARGE)}]}
    assert (tmp_path / "a b.bin").read_bytes() == LARGE
    assert (tmp_path / "a b.bin").stat().st_mode & 0o777 == 0o600
    response, _ = send(server, "PUT", "/files/a%20b.bin", b"other")
    assert response.status == 409
    assert (tmp_path / "a b.bin").read_bytes() == LARGE


def test_chunks_by_post_make_a_file_with_a_name_of_the_server(
    server: HTTPServer, tmp_path: Path
) -> None:
    response, body = send(server, "POST", "/files", iter([b"one ", b"two ", LARGE]))
    assert response.status == 201
    (file,) = json.loads(body)["files"]
    assert response.getheader("Location") == f"/files/{file['name']}"
    assert (tmp_path / file["name"]).read_bytes() == b"one two " + LARGE
    assert os.listdir(tmp_path) == [file["name"]]


def test_a_form_makes_a_file_of_each_part_with_a_filename(
    server: HTTPServer, tmp_path: Path
) -> None:
    parts = (
        b'Content-Disposition: form-data; name="text"\r\n\r\nnot a file',
        b'Content-Disposition: form-data; name="f"; filename="../evil"\r\n\r\nfirst',
        b'Content-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + LARGE,
    )
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + b"--edge--\r\n"
    response, answer = send(
        server, "POST", "/files", body, Content_Type="multipart/form-data; boundary=edge"
    )
    assert response.status == 201
    files = json.loads(answer)["files"]
    assert [file["size"] for file in files] == [5, len(LARGE)]
    assert sorted(os.listdir(tmp_path)) == sorted(file["name"] for file in files)
    assert (tmp_path / files[1]["name"]).read_bytes() == LARGE


@pytest.mark.parametrize(
    ("method", "path", "size", "status"),
    [
        ("PUT", "/files/.hidden", 1, 400),
        ("PUT", "/files/a/b", 1, 400),
        ("PUT", "/files", 1, 405),
        ("POST", "/files/name", 1, 405),
        ("PATCH", "/files/name", 1, 405),
        ("PUT", "/elsewhere/name", 1, 404),
        ("PUT", "/files/name", (2 << 20) + 1, 413),
    ],
)
def test_what_is_refused_leaves_nothing(
    server: HTTPServer, tmp_path: Path, method: str, path: str, size: int, status: int
) -> None:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    client.putrequest(method, path)
    client.putheader("Content-Length", str(size))
    client.endheaders(b"x" if size == 1 else None)
    assert client.getresponse().status == status
    client.close()
    assert os.listdir(tmp_path) == []


def test_a_quota_bounds_all_files_together(server: HTTPServer, tmp_path: Path) -> None:
    for number in range(4):
        response, _ = send(server, "PUT", f"/files/{number}", LARGE)
        assert response.status == 201
    response, _ = send(server, "PUT", "/files/more", b"x")
    assert response.status == 507
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2", "3"]


def test_statistics_show_an_upload_on_its_way(server: HTTPServer, tmp_path: Path) -> None:
    with socket.create_connection(server.address, timeout=PATIENCE) as client:
        client.sendall(b"PUT /files/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        client.sendall(b"x" * 600)
        assert wait_until(lambda: server.statistics().upload_bytes == 600, PATIENCE)
        assert server.statistics().uploads == 1
        (file,) = server.statistics().uploading
        assert (file.name, file.received, file.expected) == ("slow", 600, 1000)
        assert 0 < file.seconds < PATIENCE
        assert os.listdir(tmp_path) == []
        client.sendall(b"x" * 400)
        assert receive(client, 12) == b"HTTP/1.1 201"
    assert wait_until(lambda: server.statistics().uploads == 0, PATIENCE)
    with socket.create_connection(server.address, timeout=PATIENCE) as client:
        client.sendall(b"PUT /files/torn HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx")
        assert wait_until(lambda: server.statistics().uploads == 1, PATIENCE)
    assert wait_until(lambda: server.statistics().uploads_failed == 1, PATIENCE)
    assert os.listdir(tmp_path) == ["slow"]
    server.abort()
    server.wait(PATIENCE)
    last = server.statistics()
    assert (last.uploads, last.upload_bytes, last.uploads_stored) == (0, 1001, 1)
    assert last.uploading == ()


def test_statistics_list_the_oldest_uploads(server: HTTPServer) -> None:
    def has_uploads(count: int) -> bool:
        return server.statistics().uploads == count

    with contextlib.ExitStack() as clients:
        for number in range(70):
            client = clients.enter_context(
                socket.create_connection(server.address, timeout=PATIENCE)
            )
            name = f"%E4{number}" if number % 2 else f"%C3%A4{number}"
            client.sendall(
                b"PUT /files/%b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                % name.encode()
            )
            assert wait_until(partial(has_uploads, number + 1), PATIENCE)
        shown = server.statistics().uploading
        assert len(shown) == 64
        assert [file.name for file in shown[:3]] == ["ä0", "\udce41", "ä2"]
        assert {(file.received, file.expected) for file in shown} == {(0, None)}
        assert repr(shown[0]).startswith("tinycoro.UploadProgress(name='ä0', received=0, expected=")
    assert wait_until(lambda: server.statistics().uploads == 0, PATIENCE)


def test_overwrite_and_a_second_run(tmp_path: Path) -> None:
    server = HTTPServer()
    server.respond("/files", "what there is\n")
    server.upload(
        "/files", os.fsencode(tmp_path), max_size=None, overwrite=True, fsync=False, mode=0o640
    )

    @server.get("/files/{name}")
    def show(request: tinycoro.Request) -> bytes:
        return (tmp_path / request.path_params["name"]).read_bytes()

    umask = os.umask(0o022)
    try:
        for body, status in ((b"one", 201), (b"two", 200)):
            with server:
                assert send(server, "PUT", "/files/name", body)[0].status == status
                assert send(server, "GET", "/files/name", b"")[1] == body
                assert send(server, "GET", "/files", b"")[1] == b"what there is\n"
    finally:
        os.umask(umask)
    assert (tmp_path / "name").read_bytes() == b"two"
    assert (tmp_path / "name").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_uploads_by_put_and_form(server: HTTPServer, tmp_path: Path) -> None:
    source = tmp_path / ".source"
    source.write_bytes(LARGE)
    url = "http://{}:{}/files".format(*server.address)
    for arguments in (["-T", str(source), f"{url}/put"], ["-F", f"f=@{source}", url]):
        (file,) = json.loads(run_curl(*arguments))["files"]
        assert (tmp_path / file["name"]).read_bytes() == LARGE


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_in_the_place_of_a_browser_is_refused_for_a_foreign_page(tmp_path: Path) -> None:
    source = tmp_path / ".source"
    source.write_bytes(LARGE)
    server = HTTPServer()
    server.upload("/files", tmp_path, max_size=None, origins=["https://app.example", "http://b:1"])
    with server:
        host = "{}:{}".format(*server.address)
        url = f"http://{host}/files"
        form = ("-F", f"f=@{source}", url)
        put = ("-T", str(source), f"{url}/name")
        printed = ("--no-fail", "-o", tmp_path / ".answer", "-w", "%{http_code}")
        for arguments, fields, status in (
            (form, ("Origin: https://evil.example",), b"403"),
            (put, ("Origin: null",), b"403"),
            (form, ("Sec-Fetch-Site: cross-site", f"Origin: http://{host}"), b"403"),
            (put, ("Sec-Fetch-Site: same-site",), b"403"),
            (form, ("Sec-Fetch-Site: same-origin", f"Origin: http://{host}"), b"201"),
            (form, ("Sec-Fetch-Site: cross-site", "Origin: http://b:1"), b"201"),
            (form, (f"Origin: http://{host}",), b"201"),
            (put, (), b"201"),
        ):
            headers = [text for field in fields for text in ("-H", field)]
            assert run_curl(*printed, *headers, *arguments) == status, fields
    assert len([name for name in os.listdir(tmp_path) if not name.startswith(".")]) == 4


@pytest.mark.parametrize("fsync", [True, False])
def test_fsync_is_asked_for_and_only_then(tmp_path: Path, fsync: bool) -> None:
    server = HTTPServer()
    server.upload("/", tmp_path, max_size=None, fsync=fsync)
    with server:
        _core._fault_arm("fsync", 1, errno.EIO, None)
        try:
            response, _ = send(server, "PUT", "/name", LARGE)
        finally:
            _core._fault_disarm()
    assert response.status == (500 if fsync else 201)
    assert _core._fault_hits("fsync") == fsync
    assert os.listdir(tmp_path) == ([] if fsync else ["name"])


def test_other_threads_run_while_a_directory_is_opened(tmp_path: Path) -> None:
    """With a switch interval of hours they do only if upload() lets go of the GIL."""
    go = threading.Lock()
    has_run = threading.Event()

    def run() -> None:
        with go:
            has_run.set()

    go.acquire()
    thread = threading.Thread(target=run)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(4000)
    try:
        go.release()
        for _ in range(20_000):
            server = HTTPServer()
            server.upload("/", tmp_path, max_size=None, quota=1)
            if has_run.is_set():
                break
        ran = has_run.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert ran


def test_threads_that_add_routes_at_once_add_them_all(tmp_path: Path) -> None:
    for _ in range(10):
        server = HTTPServer()

        def add(thread: int, server: HTTPServer = server) -> None:
            for number in range(5):
                server.upload(f"/up/{thread}/{number}", tmp_path, max_size=9, quota=1 << 20)
                server.respond(f"/fixed/{thread}/{number}", "here")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(4)))
        with server:
            client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
            for thread in range(4):
                for number in range(5):
                    client.request("GET", f"/fixed/{thread}/{number}")
                    response = client.getresponse()
                    assert (response.status, response.read()) == (200, b"here")
                    client.request("POST", f"/up/{thread}/{number}", b"0123456789")
                    response = client.getresponse()
                    assert response.status == 413
                    response.read()
            client.close()


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    server = HTTPServer()
    with pytest.raises(TypeError, match="max_size"):
        server.upload("/", tmp_path)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_size=0"):
        server.upload("/", tmp_path, max_size=0)
    with pytest.raises(ValueError, match="mode"):
        server.upload("/", tmp_path, max_size=None, mode=0o1777)
    for wrong in ("null", "*", "https://app.example/", "https://App.x", "http://b:80", "\ud800"):
        with pytest.raises(ValueError, match=r"origins|surrogates"):
            server.upload("/", tmp_path, max_size=None, origins=["http://b:1", wrong])
    with pytest.raises(TypeError, match="not a str"):
        server.upload("/", tmp_path, max_size=None, origins="https://app.example")
    with pytest.raises(TypeError, match="origins must be of str, not bytes"):
        server.upload("/", tmp_path, max_size=None, origins=[b"http://b:1"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="path='files'"):
        server.upload("files", tmp_path, max_size=None)
    with pytest.raises(FileNotFoundError, match="cannot take uploads"):
        server.upload("/", tmp_path / "nowhere", max_size=None)
    server.upload("/", tmp_path, max_size=None)
    with pytest.raises(ValueError, match="path='/' has a route already"):
        server.upload("/", tmp_path, max_size=None)
    with server, pytest.raises(RuntimeError, match="fixed while it runs"):
        server.upload("/more", tmp_path, max_size=None)
