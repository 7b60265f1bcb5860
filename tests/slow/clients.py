"""Clients that people use, against one server: every byte that they get or send is compared.

http.client, curl, wrk, h2load, requests and httpx: fixed answers, files, ranges and conditions, a
handler in Python, uploads in both framings and by a form. Those that are not installed are named in
the line.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import lane

LARGE_BYTES = 50_000_000
SENT_BYTES = 3_000_000
SECONDS = 10 if lane.IS_LONG else 1
REQUESTS = 200_000 if lane.IS_LONG else 10_000
HELLO = b"Hello, world!\n"


class Site:
    """What the server has, and where it is."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.folder = folder
        self.address = (host, port)
        self.url = f"http://{host}:{port}"
        self.large = (folder / "large.bin").read_bytes()
        self.sent = random.randbytes(SENT_BYTES)
        self.source = folder.parent / "sent.bin"
        self.source.write_bytes(self.sent)

    def is_stored(self, answer: bytes | str) -> None:
        """The answer to an upload names one file, which is what was sent."""
        (file,) = json.loads(answer)["files"]
        path = self.folder / file["name"]
        lane.check(path.read_bytes() == self.sent, f"{file} differs from what was sent")
        path.unlink()

    def is_large(self, body: bytes) -> None:
        lane.check(body == self.large, f"the large file differs ({len(body):,} bytes)")

    def in_pieces(self) -> Iterator[bytes]:
        """For a body without a length."""
        for at in range(0, SENT_BYTES, 70_001):
            yield self.sent[at : at + 70_001]


@contextmanager
def _serving(folder: Path) -> Iterator[Site]:
    """`python -m tinycoro http` with a folder; it must end well, with all connections closed."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-W", "error", "-m", "tinycoro", "http", "--port", "0"),
            *("--directory", str(folder)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        match = re.search(r"listening on http://(\S+):(\d+)", process.stdout.readline())
        lane.check(match is not None, "the server does not start")
        assert match is not None
        yield Site(folder, match[1], int(match[2]))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=lane.PATIENCE)
        lane.check(process.returncode == 0, f"the server ended with {process.returncode}")
        lane.check(" 0 refused," in out and " 0 errors" in out, f"the server says {out}")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


# ---- in this process -----------------------------------------------------------------------------


def _http_client(site: Site) -> str:
    client = http.client.HTTPConnection(*site.address, timeout=lane.PATIENCE)

    def ask(
        method: str, path: str, body: bytes | Iterator[bytes] | None = None, **fields: str
    ) -> tuple[int, bytes]:
        client.request(method, path, body, fields)
        response = client.getresponse()
        return response.status, response.read()

    for number in range(200):
        lane.check(ask("GET", "/hello") == (200, HELLO), "the fixed answer differs")
        greeting = f"Hello, {number}!\n".encode()
        lane.check(ask("GET", f"/hello/{number}") == (200, greeting), "the handler differs")
    site.is_large(ask("GET", "/files/large.bin")[1])
    status, part = ask("GET", "/files/large.bin", Range="bytes=-1000")
    lane.check((status, part) == (206, site.large[-1000:]), "the range differs")
    lane.check(ask("HEAD", "/files/large.bin") == (200, b""), "HEAD differs")
    site.is_stored(ask("PUT", "/files/put", site.sent)[1])
    site.is_stored(ask("POST", "/files", site.in_pieces())[1])
    client.close()
    return "http.client"


def _requests(site: Site) -> str:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        for _ in range(50):
            answer = session.get(f"{site.url}/hello", timeout=lane.PATIENCE)
            lane.check(answer.content == HELLO, "requests: the fixed answer differs")
        answer = session.get(f"{site.url}/statistics", timeout=lane.PATIENCE)
        lane.check(answer.json()["connections"] >= 1, "requests: no statistics")
        with session.get(
            f"{site.url}/files/large.bin", stream=True, timeout=lane.PATIENCE
        ) as answer:
            site.is_large(b"".join(answer.iter_content(1 << 16)))
            tag = answer.headers["ETag"]
        answer = session.get(
            f"{site.url}/files/large.bin", headers={"If-None-Match": tag}, timeout=lane.PATIENCE
        )
        lane.check(answer.status_code == 304, f"requests: If-None-Match: {answer.status_code}")
        for answer in (
            session.put(f"{site.url}/files/put", data=site.sent, timeout=lane.PATIENCE),
            session.post(f"{site.url}/files", data=site.in_pieces(), timeout=lane.PATIENCE),
            session.post(
                f"{site.url}/files", files={"f": ("name", site.sent)}, timeout=lane.PATIENCE
            ),
        ):
            lane.check(answer.status_code == 201, f"requests: an upload: {answer.status_code}")
            site.is_stored(answer.text)
    return f"requests {version('requests')}"


def _httpx(site: Site) -> str:
    import httpx

    with httpx.Client(base_url=site.url, timeout=lane.PATIENCE, trust_env=False) as client:
        for _ in range(50):
            answer = client.get("/hello/x")
            lane.check(answer.text == "Hello, x!\n", "httpx: the handler differs")
        with client.stream("GET", "/files/large.bin") as answer:
            site.is_large(b"".join(answer.iter_bytes()))
        answer = client.get("/files/large.bin", headers={"Range": "bytes=0-9,100-109"})
        kind = answer.headers["Content-Type"]
        lane.check(answer.status_code == 206 and "byteranges" in kind, f"httpx: ranges: {kind}")
        lane.check(client.get("/nowhere").status_code == 404, "httpx: a path without a route")
        for answer in (
            client.put("/files/put", content=site.sent),
            client.post("/files", content=site.in_pieces()),
            client.post("/files", files={"f": ("name", site.sent)}),
        ):
            lane.check(answer.status_code == 201, f"httpx: an upload: {answer.status_code}")
            site.is_stored(answer.text)
    return f"httpx {version('httpx')}"


# ---- programs ------------------------------------------------------------------------------------


def _run(*command: str | Path, given: bytes | None = None) -> bytes:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        command,
        input=given,
        env=environment,
        capture_output=True,
        timeout=3 * lane.PATIENCE,
        check=False,
    )
    said = (done.stderr or done.stdout[:1000]).decode(errors="replace")
    lane.check(done.returncode == 0, f"{command[0]} ended with {done.returncode}: {said}")
    return done.stdout


def _curl(site: Site) -> str:
    def curl(*arguments: str | Path, given: bytes | None = None) -> bytes:
        return _run("curl", "-sS", "--fail", "--noproxy", "*", *arguments, given=given)

    large = f"{site.url}/files/large.bin"
    lane.check(curl(f"{site.url}/hello") == HELLO, "curl: the fixed answer differs")
    lane.check(curl("--http1.0", f"{site.url}/hello/x") == b"Hello, x!\n", "curl: HTTP/1.0 differs")
    site.is_large(curl(large))
    lane.check(curl("-r", "5-9", large) == site.large[5:10], "curl: the range differs")
    half = site.folder.parent / "half.bin"
    half.write_bytes(site.large[: LARGE_BYTES // 2])
    curl("-C", "-", "-o", half, large)  # what has been broken off goes on
    site.is_large(half.read_bytes())
    head = curl("-I", large)
    lane.check(f"Content-Length: {LARGE_BYTES}".encode() in head, f"curl: HEAD: {head.decode()}")
    code = curl("-o", os.devnull, "-w", "%{http_code}", "-z", site.folder / "large.bin", large)
    lane.check(code == b"304", f"curl: -z: {code.decode()}")
    site.is_stored(curl("-T", site.source, f"{site.url}/files/put"))
    site.is_stored(curl("-T", "-", f"{site.url}/files/put", given=site.sent))
    site.is_stored(curl("-F", f"f=@{site.source}", f"{site.url}/files"))
    return "curl"


def _wrk(site: Site) -> str:
    said = ""
    rates = []
    for path in ("/hello", "/hello/x", "/files/small.bin"):
        said = _run("wrk", "-t2", "-c64", f"-d{SECONDS}s", site.url + path).decode()
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        is_right = "Socket errors" not in said and "Non-2xx" not in said
        lane.check(is_right and rate is not None and float(rate[1]) > 0, f"wrk: {path}: {said}")
        assert rate is not None
        rates.append(f"{float(rate[1]):,.0f}")
    return f"wrk ({', '.join(rates)} requests/s)"


def _h2load(site: Site) -> str:
    for path in ("/hello", "/hello/x", "/files/small.bin"):
        said = _run("h2load", "--h1", f"-n{REQUESTS}", "-c32", "-t2", site.url + path).decode()
        expected = f"{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"
        lane.check(expected in said, f"h2load: {path}: {said}")
    return "h2load --h1"


def _is_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _is_program(name: str) -> bool:
    return shutil.which(name) is not None


CLIENTS: dict[str, tuple[Callable[[str], bool], Callable[[Site], str]]] = {
    "http.client": (_is_module, _http_client),
    "requests": (_is_module, _requests),
    "httpx": (_is_module, _httpx),
    "curl": (_is_program, _curl),
    "wrk": (_is_program, _wrk),
    "h2load": (_is_program, _h2load),
}


def clients() -> str:
    outer = Path(tempfile.mkdtemp(prefix="tinycoro-clients-lane-"))
    try:
        folder = outer / "files"
        folder.mkdir()
        (folder / "large.bin").write_bytes(random.randbytes(LARGE_BYTES))
        (folder / "small.bin").write_bytes(random.randbytes(4096))
        with _serving(folder) as site:
            said = [run(site) for name, (is_there, run) in CLIENTS.items() if is_there(name)]
            digest = hashlib.sha256(site.large).digest()
        left = sorted(path.name for path in folder.iterdir())
        lane.check(left == ["large.bin", "small.bin"], f"the folder has {left}")
        is_same = hashlib.sha256((folder / "large.bin").read_bytes()).digest() == digest
        lane.check(is_same, "the large file was changed")
    finally:
        shutil.rmtree(outer)
    missing = [name for name, (is_there, _) in CLIENTS.items() if not is_there(name)]
    return ", ".join(said) + (f"; not installed: {', '.join(missing)}" if missing else "")


lane.run(clients, limit=240 if lane.IS_LONG else 60)
