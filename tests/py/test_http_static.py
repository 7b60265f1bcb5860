"""HTTPServer.static: files through real clients, arguments and errors, several starts."""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import PATIENCE, run_curl, wait_until
from tinycoro import HTTPServer

LARGE = bytes(range(256)) * 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "page.html").write_text("<p>page</p>")
    (folder / "large.bin").write_bytes(LARGE)
    (folder / "sub dir" / "index.html").write_text("index")
    (folder / ".secret").write_text("secret")
    (folder / "link").symlink_to("page.html")
    (folder / "out").symlink_to(tmp_path)
    (tmp_path / "outside").write_text("outside")
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (1_000_000_000, 1_000_000_000))
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[HTTPServer]:
    server = HTTPServer()
    server.static("/files/", folder, headers={"Cache-Control": "no-cache"})
    server.static("/open", folder, listing=True, dotfiles=True, follow_symlinks=True, recheck=0)
    server.respond("/files/fixed", "fixed")
    server.start()
    yield server
    server.abort()
    server.wait(10)


def ask(
    server: HTTPServer, path: str, method: str = "GET", **fields: str
) -> tuple[http.client.HTTPResponse, bytes]:
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
    try:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        client.request(method, path, headers=headers)
        response = client.getresponse()
        return response, response.read()
    finally:
        client.close()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/files/page.html", 200, b"<p>page</p>"),
        ("/files/large.bin", 200, LARGE),
        ("/files/sub%20dir/", 200, b"index"),
        ("/files/sub%20dir", 301, None),
        ("/files/fixed", 200, b"fixed"),
        ("/files/", 403, None),
        ("/files/.secret", 404, None),
        ("/files/link", 404, None),
        ("/files/out/outside", 404, None),
        ("/files/nothing", 404, None),
        ("/open/.secret", 200, b"secret"),
        ("/open/link", 200, b"<p>page</p>"),
        ("/open/out/outside", 404, None),
        ("/open/", 200, None),
    ],
)
def test_a_path_is_answered_by_its_file(
    server: HTTPServer, path: str, status: int, body: bytes | None
) -> None:
    for _ in range(2):
        response, got = ask(server, path)
        assert response.status == status
        assert body is None or got == body
        head, nothing = ask(server, path, "HEAD")
        assert (head.status, nothing) == (status, b"")


def test_conditions_and_ranges_are_answered(server: HTTPServer) -> None:
    response, _ = ask(server, "/files/page.html")
    tag = response.getheader("ETag")
    assert tag is not None
    assert response.getheader("Cache-Control") == "no-cache"
    assert response.getheader("Last-Modified") == "Sun, 09 Sep 2001 01:46:40 GMT"
    unchanged, nothing = ask(server, "/files/page.html", If_None_Match=tag)
    assert (unchanged.status, nothing, unchanged.getheader("ETag")) == (304, b"", tag)
    part, got = ask(server, "/files/large.bin", Range="bytes=1000-1002")
    assert (part.status, got) == (206, LARGE[1000:1003])
    assert part.getheader("Content-Range") == f"bytes 1000-1002/{len(LARGE)}"
    beyond, _ = ask(server, "/files/large.bin", Range=f"bytes={len(LARGE)}-")
    assert beyond.status == 416


def test_a_changed_file_is_sent_anew(server: HTTPServer, folder: Path) -> None:
    assert ask(server, "/open/page.html")[1] == b"<p>page</p>"
    (folder / "page.html").write_text("changed")
    assert ask(server, "/open/page.html")[1] == b"changed"
    wait_until(lambda: ask(server, "/files/page.html")[1] == b"changed")
    (folder / "page.html").unlink()
    assert ask(server, "/open/page.html")[0].status == 404


def test_a_compressed_sibling_is_sent_to_who_wants_it(folder: Path) -> None:
    (folder / "page.html.gz").write_bytes(gzip.compress(b"<p>page</p>"))
    server = HTTPServer()
    server.static("/", folder, precompressed=True)
    with server:
        response, got = ask(server, "/page.html", Accept_Encoding="gzip")
        assert response.getheader("Content-Encoding") == "gzip"
        assert response.getheader("Content-Type") == "text/html; charset=utf-8"
        assert gzip.decompress(got) == b"<p>page</p>"
        assert ask(server, "/page.html", Accept_Encoding="identity")[1] == b"<p>page</p>"


def test_a_server_starts_again_with_its_files(folder: Path) -> None:
    server = HTTPServer()
    server.static("/", os.fsencode(folder))
    for _ in range(2):
        with server:
            assert ask(server, "/page.html")[1] == b"<p>page</p>"
            with pytest.raises(RuntimeError, match="its routes are fixed while it runs"):
                server.static("/more", folder)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        server.start()


def test_wrong_arguments_are_named(folder: Path) -> None:
    server = HTTPServer()
    with pytest.raises(FileNotFoundError, match="cannot serve a directory"):
        server.static("/", folder / "nothing")
    with pytest.raises(NotADirectoryError):
        server.static("/", folder / "page.html")
    with pytest.raises(ValueError, match="path='files'"):
        server.static("files", folder)
    with pytest.raises(ValueError, match="index='a/b'"):
        server.static("/", folder, index="a/b")
    with pytest.raises(ValueError, match="recheck"):
        server.static("/", folder, recheck=-1)
    with pytest.raises(ValueError, match="cache_size=-1"):
        server.static("/", folder, cache_size=-1)
    with pytest.raises(ValueError, match="ETag"):
        server.static("/", folder, headers={"ETag": "x"})
    with pytest.raises(TypeError, match="needs a prefix and a directory"):
        server.static("/")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        server.static("/", 3)  # type: ignore[arg-type]
    server.static("/", folder)
    with pytest.raises(ValueError, match="path='/' has a route already"):
        server.static("/", folder)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_resumes_a_download(server: HTTPServer, tmp_path: Path) -> None:
    host, port = server.address
    target = tmp_path / "download"
    target.write_bytes(LARGE[:5000])
    url = f"http://{host}:{port}/files/large.bin"
    run_curl("-C", "-", "-o", target, url)
    assert target.read_bytes() == LARGE
