"""`make run`, second part: the HTTP server with real clients, and every byte checked.

One HTTPServer, started through the public API, has a fixed answer, a directory, uploads into it and
a handler in Python. Clients of the standard library in a second process, and curl where there is
one, ask for all of it and compare what comes; what they upload is compared on the disk. Then the
command that shows a page in a browser is tried. Exits with 0 only if everything was right and the
census is where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import tinycoro

sys.path.insert(0, str(Path(__file__).parent))  # -P has left it out

from demo import Census, heap_bytes, settle, show

CLIENTS = 4
SMALL_BYTES = 4 * 1024
LARGE_BYTES = 8 * 1024 * 1024
UPLOAD_BYTES = 4 * 1024 * 1024
ROUNDS = {"fixed answer": 400, "file of 4 KiB": 250, "file of 8 MiB": 4, "upload of 4 MiB": 4}
ROUNDS["Python handler"] = 250
PATIENCE = 60.0
# What goes wrong with a client that does not get what it should.
FAULTS = (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError)


def payload(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def check(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


# ---- the clients, in a process of their own ----------------------------------------------------


@dataclass
class Tally:
    """What the clients did; sent to the parent as JSON."""

    requests: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Client:
    """One connection, which is kept, and what it asks for."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.number = number
        self.connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
        self.small = payload(SMALL_BYTES, 1)
        self.large = payload(LARGE_BYTES, 2)
        self.sent = payload(UPLOAD_BYTES, 3)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, fields)
        response = self.connection.getresponse()
        return response.status, response.read()

    def fixed_answer(self, _round: int) -> int:
        status, body = self.ask("GET", "/hello")
        check((status, body) == (200, b"Hello, world!\n"), "the fixed answer differs")
        return len(body)

    def file_of_4_kib(self, _round: int) -> int:
        status, body = self.ask("GET", "/files/small.bin")
        check((status, body) == (200, self.small), "the small file differs")
        return len(body)

    def file_of_8_mib(self, turn: int) -> int:
        """The whole, or a range out of the middle."""
        if turn % 2 == 0:
            status, body = self.ask("GET", "/files/large.bin")
            check((status, body) == (200, self.large), "the large file differs")
        else:
            status, body = self.ask("GET", "/files/large.bin", Range="bytes=1000000-3999999")
            check((status, body) == (206, self.large[1_000_000:4_000_000]), "the range differs")
        return len(body)

    def upload_of_4_mib(self, turn: int) -> int:
        status, body = self.ask("PUT", f"/files/up-{self.number}-{turn}", self.sent)
        check(status == 201, f"the upload was answered with {status}")
        check(json.loads(body)["files"][0]["size"] == len(self.sent), "an upload was cut")
        return len(self.sent)

    def python_handler(self, turn: int) -> int:
        status, body = self.ask("GET", f"/hello/client-{self.number}-{turn}")
        expected = f"Hello, client-{self.number}-{turn}!\n".encode()
        check((status, body) == (200, expected), "the handler's answer differs")
        return len(body)

    # An upload that stops half-way, for the parent to look at.

    def begin_upload(self) -> None:
        self.connection.putrequest("PUT", f"/files/slow-{self.number}")
        self.connection.putheader("Content-Length", str(UPLOAD_BYTES))
        self.connection.endheaders(self.sent[: UPLOAD_BYTES // 2])

    def end_upload(self) -> None:
        self.connection.send(self.sent[UPLOAD_BYTES // 2 :])
        response = self.connection.getresponse()
        response.read()
        check(response.status == 201, f"a slow upload was answered with {response.status}")


def in_threads(tally: Tally, work: list[Callable[[], None]]) -> None:
    """All of it at once; what fails is written down."""

    def run(one: Callable[[], None]) -> None:
        try:
            one()
        except FAULTS as error:
            tally.failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def repeat(tally: Tally, lock: threading.Lock, kind: str, client: Client) -> None:
    method: Callable[[int], int] = getattr(client, kind.lower().replace(" ", "_"))
    for turn in range(ROUNDS[kind]):
        done = method(turn)
        with lock:
            tally.requests[kind] = tally.requests.get(kind, 0) + 1
            tally.bytes[kind] = tally.bytes.get(kind, 0) + done


def load(host: str, port: int) -> Tally:
    tally = Tally()
    lock = threading.Lock()
    clients = [Client((host, port), number) for number in range(CLIENTS)]
    in_threads(tally, [client.begin_upload for client in clients])
    # The parent looks at them half-way, then says go.
    print("half-way", flush=True)
    sys.stdin.readline()
    in_threads(tally, [client.end_upload for client in clients])
    for kind in ROUNDS:
        begun = time.perf_counter()
        in_threads(tally, [partial(repeat, tally, lock, kind, client) for client in clients])
        tally.seconds[kind] = time.perf_counter() - begun
    for client in clients:
        client.connection.close()
    return tally


# ---- the server ----------------------------------------------------------------------------------


def make_server(folder: Path) -> tinycoro.HTTPServer:
    server = tinycoro.HTTPServer()
    server.respond("/hello", "Hello, world!\n")
    server.static("/files", folder)
    server.upload("/files", folder, max_size=64 << 20)

    @server.get("/hello/{name}")
    async def hello(request: tinycoro.Request) -> str:
        return f"Hello, {request.path_params['name']}!\n"

    return server


def wait_for_uploads(server: tinycoro.HTTPServer) -> tuple[tinycoro.UploadProgress, ...]:
    """The uploads as soon as all are half-way, or after a while as they are."""
    deadline = time.monotonic() + PATIENCE
    while True:
        files = server.statistics().uploading
        is_half = len(files) == CLIENTS and all(
            2 * file.received == file.expected for file in files
        )
        if is_half or time.monotonic() > deadline:
            return files
        time.sleep(0.01)


def drive(server: tinycoro.HTTPServer) -> tuple[Tally, Census]:
    """Let the clients run; returns what they did, and the census while they uploaded."""
    command = [sys.executable, "-P", __file__, *map(str, server.address)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        check(clients.stdout.readline() == "half-way\n", "the clients could not connect")
        files = wait_for_uploads(server)
        during = Census.take(server)
        print(f"statistics().uploading, of {len(files)} files the first:\n  {files[0]}\n")
        clients.stdin.write("go\n")
        clients.stdin.flush()
        tally = Tally(**json.loads(clients.stdout.readline()))
    return tally, during


def curl(server: tinycoro.HTTPServer, folder: Path) -> str:
    """The same with somebody else's client, if it is there. Returns what it did."""
    program = shutil.which("curl")
    if program is None:
        return "curl is not installed"
    # A sanitizer that is loaded before Python must not be loaded before curl.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    url = "http://{}:{}/files".format(*server.address)
    source = folder / "large.bin"
    quiet = [program, "-sS", "--fail", "--noproxy", "*", "--max-time", str(PATIENCE)]

    def run(*arguments: str | Path) -> bytes:
        return subprocess.run(
            [*quiet, *arguments], env=environment, capture_output=True, check=True
        ).stdout

    check(run(f"{url}/large.bin") == source.read_bytes(), "what curl has got differs")
    names = ["curl"]
    run("-T", source, f"{url}/curl")
    names += [file["name"] for file in json.loads(run("-F", f"f=@{source}", url))["files"]]
    for name in names:
        check((folder / name).read_bytes() == source.read_bytes(), "what curl has sent differs")
    return "curl: 8 MiB down, and up by PUT and by a form, checked"


def look_at_page() -> str:
    """What a browser would see first, from the command that shows it. Returns how many bytes."""
    command = [sys.executable, "-P", "-m", "tinycoro", "http", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            match = re.search(r"http://(\S+):(\d+)", process.stdout.readline())
            check(match is not None, "the page's server does not start")
            assert match is not None
            client = http.client.HTTPConnection(match[1], int(match[2]), timeout=PATIENCE)
            client.request("GET", "/")
            page = client.getresponse().read().decode()
            found = len(page)
            for picture in re.findall(r'<img src="([^"]+)"', page):
                client.request("GET", picture)
                response = client.getresponse()
                found += len(response.read())
                check(response.status == 200, f"{picture}: {response.status}")
            client.close()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)
    check(process.returncode == 0, f"the page's server ended with {process.returncode}")
    return f"page and pictures of `tinycoro http`: {found:,} bytes"


# ---- the report ----------------------------------------------------------------------------------


def report(tally: Tally) -> None:
    for kind in ROUNDS:
        requests, seconds = tally.requests.get(kind, 0), tally.seconds[kind]
        done = tally.bytes.get(kind, 0)
        print(
            f"  {kind:16}{requests:>8,} requests{requests / seconds:>12,.0f}/s"
            f"{done / seconds / 1e6:>10,.1f} MB/s  {done:>13,} bytes checked"
        )
    print("  (the clients are http.client, in Python: they are what limits this)\n")


def are_right(folder: Path) -> bool:
    """Whether what was uploaded is there, whole, and nothing else is."""
    expected = {f"up-{c}-{t}" for c in range(CLIENTS) for t in range(ROUNDS["upload of 4 MiB"])}
    expected |= {f"slow-{number}" for number in range(CLIENTS)}
    digest = hashlib.sha256(payload(UPLOAD_BYTES, 3)).digest()
    found = {path.name: path for path in folder.iterdir() if not path.name.endswith(".bin")}
    return set(found) == expected and all(
        hashlib.sha256(path.read_bytes()).digest() == digest for path in found.values()
    )


def serve(folder: Path) -> tuple[bool, bool]:
    """All of it. Returns whether everything was right, and whether nothing was left behind."""
    server = make_server(folder)
    with server:
        host, port = server.address
        workers = tinycoro.statistics().workers
        print(
            f"\ntinycoro {tinycoro.__version__} http on {host}:{port}, {workers} workers: a fixed "
            "answer, a directory, uploads, a Python handler\n"
        )
        client = Client((host, port), -1)  # what is made once: buffers, threads, the file's memory
        for kind in ROUNDS:
            getattr(client, kind.lower().replace(" ", "_"))(0)
        client.connection.close()
        (folder / "up--1-0").unlink()
        before = settle(server, dataclasses.replace(Census.take(server), connections=0, at_rest=0))
        tally, during = drive(server)
        report(tally)
        print(tally.failures or "", end="")
        is_right = not tally.failures and are_right(folder)
        is_right = is_right and tally.requests == {kind: CLIENTS * n for kind, n in ROUNDS.items()}
        print(f"  {curl(server, folder)}\n")
        after = settle(server, before)
        show({"before": before, "uploading": during, "after": after})
        done = server.statistics()
        print(
            f"  {done.handled:,} requests for Python in {done.batches:,} batches, "
            f"{done.uploads_stored} files stored, {done.errors} errors"
        )
    return is_right and done.errors == 0, after.is_back_at(before)


def demonstrate() -> int:
    heap_before = heap_bytes()
    with tempfile.TemporaryDirectory(prefix="tinycoro-demo-") as name:
        folder = Path(name)
        (folder / "small.bin").write_bytes(payload(SMALL_BYTES, 1))
        (folder / "large.bin").write_bytes(payload(LARGE_BYTES, 2))
        try:
            is_right, is_clean = serve(folder)
            page = look_at_page()
        except FAULTS as error:
            print(f"\nFAILED: {error!r}")
            return 1
    heap_left = heap_bytes() - heap_before
    print(f"  after the server has stopped: {heap_left} bytes of heap more than at the start")
    print(f"  {page}")
    if not is_right:
        print("\nFAILED: not everything that came or went was right")
    elif heap_left or not is_clean:
        print("\nFAILED: something was left behind")
    else:
        print("\neverything was right, nothing was left behind")
        command = f"{sys.executable} -P -m tinycoro http --port 8000"
        print(f"To look at it in a browser: {command}\nand open http://127.0.0.1:8000/")
        return 0
    return 1


def main(arguments: list[str]) -> int:
    if not arguments:
        return demonstrate()
    host, port = arguments
    print(json.dumps(asdict(load(host, int(port)))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
