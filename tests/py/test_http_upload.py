"""HTTPServer.upload() through real clients: names, forms, limits, what statistics say, errors."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinycoro
from support import PATIENCE, receive, run_curl, wait_until
from tinycoro import HTTPServer

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


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    server = HTTPServer()
    with pytest.raises(TypeError, match="max_size"):
        server.upload("/", tmp_path)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_size=0"):
        server.upload("/", tmp_path, max_size=0)
    with pytest.raises(ValueError, match="mode"):
        server.upload("/", tmp_path, max_size=None, mode=0o1777)
    with pytest.raises(ValueError, match="path='files'"):
        server.upload("files", tmp_path, max_size=None)
    with pytest.raises(FileNotFoundError, match="cannot take uploads"):
        server.upload("/", tmp_path / "nowhere", max_size=None)
    server.upload("/", tmp_path, max_size=None)
    with pytest.raises(ValueError, match="path='/' has a route already"):
        server.upload("/", tmp_path, max_size=None)
    with server, pytest.raises(RuntimeError, match="fixed while it runs"):
        server.upload("/more", tmp_path, max_size=None)
