"""fork in the middle of traffic: the parent is undisturbed, the child starts anew.

Everything runs in child interpreters without other threads, so that what CPython says about fork
in threaded programs is about our threads alone. That warning is right and is expected exactly
while a server runs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import assert_success, run_python

# A server, clients that exchange messages all the while, and a check that none was disturbed.
_TRAFFIC = """
    import ctypes, faulthandler, os, pathlib, select, signal, socket, subprocess, sys, threading
    import time, warnings

    def other_threads():
        # Of each: whether it waits for something, and how often it has begun to.
        seen = set()
        for task in os.scandir("/proc/self/task"):
            if int(task.name) != threading.get_native_id():
                try:
                    lines = pathlib.Path(task.path, "status").read_text().splitlines()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                fields = dict(line.split(":", 1) for line in lines)
                is_asleep = fields["State"].split()[0] == "S"
                seen.add((task.name, is_asleep, fields["voluntary_ctxt_switches"]))
        return seen

    may_fork_at_any_moment = not hasattr(ctypes.CDLL(None), "__asan_init")

    def wait_for_rest():
        # The C library unlocks malloc in the child of a fork; a sanitizer's allocator stays locked
        # for ever if another thread was in it. There, fork when all others wait for something:
        # one that starts or stops a server, for the lock that tinycoro has taken before this.
        deadline = time.monotonic() + 30
        before = None
        while not may_fork_at_any_moment:
            assert time.monotonic() < deadline, f"no rest: {before}"
            now = other_threads()
            if now == before and all(is_asleep for _, is_asleep, _ in now):
                break
            before = now

    os.register_at_fork(before=wait_for_rest)  # the last one registered is called first
    import tinycoro

    # CPython warns, rightly, because the workers are threads.
    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)

    class Traffic:
        def __init__(self, server):
            global may_fork_at_any_moment
            may_fork_at_any_moment = True  # there is no rest, and nobody allocates: see more()
            self.stop = threading.Event()
            self.rounds = 0
            self.failure = None
            self.clients = [socket.create_connection(server.address, timeout=30) for _ in range(8)]
            self.thread = threading.Thread(target=self.run)
            self.thread.start()

        def run(self):
            try:
                while not self.stop.is_set():
                    for number, client in enumerate(self.clients):
                        message = b"%d:%d" % (self.rounds, number)
                        client.sendall(message)
                        echoed = b""
                        while len(echoed) < len(message):
                            part = client.recv(100)
                            assert part, "closed"
                            echoed += part
                        assert echoed == message, (echoed, message)
                    self.rounds += 1
            except BaseException as error:
                self.failure = error

        def more(self):
            begun = self.rounds
            deadline = time.monotonic() + 40
            while self.rounds < begun + 20 and not self.failure:
                assert time.monotonic() < deadline, "traffic has stopped"
                time.sleep(0.001)
            assert not self.failure, self.failure

        def end(self):
            self.more()
            self.stop.set()
            self.thread.join(10)
            assert not self.failure, self.failure
            for client in self.clients:
                client.close()

    def probe(server):
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(b"probe")
            assert client.recv(5) == b"probe"

    def join(pid, limit=40):
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError("the child hangs")

    def in_child(function):
        pid = os.fork()
        if pid == 0:
            faulthandler.register(signal.SIGALRM, chain=True)
            signal.alarm(30)
            try:
                function()
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        return pid

    def serve_in_child():
        assert tinycoro.statistics().workers == 0
        with tinycoro.EchoServer() as fresh:
            probe(fresh)
            assert tinycoro.statistics().workers > 0
        assert len(os.listdir("/proc/self/task")) == 1
"""


def _run(code: str) -> None:
    assert_success(run_python(_TRAFFIC + code))


def test_child_of_fork_builds_a_runtime_of_its_own() -> None:
    _run("""
    with tinycoro.EchoServer() as server:
        traffic = Traffic(server)
        traffic.more()
        children = [in_child(serve_in_child) for _ in range(5)]
        traffic.more()
        for child in children:
            assert join(child) == 0
        traffic.end()
        probe(server)
    assert tinycoro.statistics().workers == 0
    """)


def test_inherited_server_raises_in_the_child() -> None:
    _run("""
    running = tinycoro.EchoServer()
    running.start()
    fresh = tinycoro.EchoServer()

    def look():
        for server in (running, fresh):
            for use in (
                server.start, server.close, server.abort, server.wait, server.statistics,
                server.__enter__, lambda: server.address, lambda: server.listening,
                lambda: server.closed, lambda: server.__exit__(None, None, None),
            ):
                try:
                    use()
                except RuntimeError as error:
                    assert "made before fork()" in str(error), error
                else:
                    raise AssertionError(use)
            assert "of the parent process" in repr(server)
        tinycoro.configure(workers=1)
        with tinycoro.EchoServer() as own:
            probe(own)

    assert join(in_child(look)) == 0
    probe(running)
    running.abort()
    running.wait(30)
    """)


def test_child_holds_none_of_the_servers_descriptors() -> None:
    _run("""
    before = len(os.listdir("/proc/self/fd"))
    with tinycoro.EchoServer() as server:
        clients = [socket.create_connection(server.address, timeout=30) for _ in range(8)]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"

        def count():
            for client in clients:
                client.close()
            left = os.listdir("/proc/self/fd")
            assert len(left) == before, left

        assert join(in_child(count)) == 0
        # The child has closed its copies; nothing was shut down under the parent.
        for client in clients:
            client.sendall(b"y")
            assert client.recv(1) == b"y"
            client.close()
    """)


def test_parent_that_closes_lets_its_clients_see_the_end_while_the_child_lives() -> None:
    _run("""
    server = tinycoro.EchoServer()
    server.start()
    client = socket.create_connection(server.address, timeout=30)
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    child = in_child(lambda: time.sleep(25))
    server.close()
    server.wait(20)
    assert client.recv(1) == b""
    assert os.waitpid(child, os.WNOHANG) == (0, 0), "the end came with that of the child"
    client.close()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    """)


def test_child_that_drops_an_inherited_server_is_silent() -> None:
    _run("""
    import gc
    server = tinycoro.EchoServer()
    server.start()

    def drop():
        global server
        del server
        gc.collect()

    assert join(in_child(drop)) == 0
    probe(server)
    server.abort()
    server.wait(30)
    """)


def test_child_may_exit_through_the_interpreter() -> None:
    _run("""
    server = tinycoro.EchoServer()
    server.start()
    pid = os.fork()
    if pid == 0:
        signal.alarm(15)
        sys.exit(0)  # through atexit and the finalizers, which leave the parent's server alone
    assert join(pid) == 0
    probe(server)
    server.abort()
    server.wait(30)
    """)


def test_fork_of_a_fork_works() -> None:
    _run("""
    with tinycoro.EchoServer() as server:
        def middle():
            with tinycoro.EchoServer() as own:
                probe(own)
                assert join(in_child(serve_in_child)) == 0
                probe(own)
        assert join(in_child(middle)) == 0
        probe(server)
    """)


def test_fork_storm_in_the_middle_of_starts_and_stops() -> None:
    _run("""
    stop = threading.Event()
    failures = []

    def cycle():
        try:
            while not stop.is_set():
                server = tinycoro.EchoServer()
                server.start()
                server.abort()
                server.wait(30)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=cycle)
    thread.start()
    try:
        for number in range(15):
            status = join(in_child(serve_in_child))
            assert status == 0, f"child {number} ended with {status}"
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert not failures, failures
    """)


# spawn and forkserver import the main module, so this one is a file.
_MULTIPROCESSING = """
import multiprocessing, socket, sys, threading, warnings
import tinycoro

warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)

def work(number):
    with tinycoro.EchoServer() as server:
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(b"%d" % number)
            assert client.recv(10) == b"%d" % number

def traffic(client, flows, stop, failures):
    try:
        while not stop.is_set():
            client.sendall(b"x" * 100)
            left = 100
            while left:
                part = client.recv(left)
                assert part, "closed"
                left -= len(part)
            flows.set()
    except BaseException as error:
        failures.append(error)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with tinycoro.EchoServer() as server:
        client = socket.create_connection(server.address, timeout=30)
        flows, stop, failures = threading.Event(), threading.Event(), []
        thread = threading.Thread(target=traffic, args=(client, flows, stop, failures))
        thread.start()
        assert flows.wait(30)  # from now on nobody allocates
        children = [context.Process(target=work, args=(n,)) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(80)
            assert child.exitcode == 0, child.exitcode
        stop.set()
        thread.join()
        assert not failures, failures
        client.close()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_in_the_middle_of_traffic(method: str, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(_MULTIPROCESSING, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-P", str(script), method],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert_success(result)


def test_subprocess_in_the_middle_of_traffic_does_not_warn() -> None:
    _run("""
    warnings.resetwarnings()
    warnings.simplefilter("error")
    with tinycoro.EchoServer() as server:
        traffic = Traffic(server)
        for _ in range(10):
            subprocess.run(["true"], check=True)
        inherited = subprocess.run(
            [sys.executable, "-c", "import os; print(len(os.listdir('/proc/self/fd')))"],
            check=True, capture_output=True, text=True, close_fds=False)
        assert int(inherited.stdout) == 4, inherited.stdout  # 0, 1, 2 and the listing
        traffic.end()
    """)


def test_fork_after_the_last_server_does_not_warn() -> None:
    _run("""
    warnings.resetwarnings()
    warnings.simplefilter("error")
    with tinycoro.EchoServer() as server:
        probe(server)
    assert join(in_child(serve_in_child)) == 0
    """)


def test_a_fork_before_a_file_is_answered_leaves_the_client_to_the_parent() -> None:
    _run("""
    import logging

    parent = os.getpid()
    children = []

    async def main():
        server = tinycoro.HTTPServer()

        @server.post("/")
        async def handler(request):
            async for _ in request.stream():
                pass
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                logging.disable()
                if "leaves" in request.query:
                    sys.exit(7)
                if "fails" in request.query:
                    raise ValueError("in the child")
            else:
                children.append(pid)
            return tinycoro.Response.file(os.__file__)

        async with server:
            for query in ("", "leaves", "fails"):
                for head in (CHUNKED, b"Content-Length: 0\\r\\n\\r\\n"):
                    answer = await tinycoro.to_thread(ask, server.address, query, head)
                    assert answer == pathlib.Path(os.__file__).read_bytes()

    CHUNKED = b"Transfer-Encoding: chunked\\r\\n\\r\\n1\\r\\nx\\r\\n0\\r\\n\\r\\n"

    def ask(address, query, head):
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"POST /?%s HTTP/1.1\\r\\nHost: a\\r\\n" % query.encode())
            client.sendall(b"Connection: close\\r\\n" + head)
            answer = b""
            while part := client.recv(1 << 16):
                answer += part
        return answer.partition(b"\\r\\n\\r\\n")[2]

    try:
        tinycoro.run(main())
    except RuntimeError as error:
        if os.getpid() != parent:
            os._exit(7 if "made before fork()" in str(error) else 1)
        raise
    except SystemExit as error:
        os._exit(error.code)
    finally:
        if os.getpid() != parent:
            os._exit(2)
    assert [join(child) for child in children] == [7] * 6
    """)


def test_a_fork_while_an_answer_is_streamed_leaves_the_client_to_the_parent() -> None:
    _run("""
    parent = os.getpid()
    children = []

    async def pieces():
        yield b"one,"
        pid = os.fork()  # on the loop's own thread, in the middle of an answer
        if pid == 0:
            signal.alarm(30)
        else:
            children.append(pid)
        yield b"two,"
        yield b"three"

    async def main():
        server = tinycoro.HTTPServer()

        @server.get("/")
        async def handler(request):
            return tinycoro.Response(pieces())

        async with server:
            answers = [await tinycoro.to_thread(ask, server.address) for _ in range(3)]
        assert answers == [b"one,two,three"] * 3, answers

    def ask(address):
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            answer = b""
            while part := client.recv(1000):
                answer += part
        return answer.partition(b"\\r\\n\\r\\n")[2]

    try:
        tinycoro.run(main())
    except RuntimeError as error:
        if os.getpid() != parent:
            os._exit(7 if "made before fork()" in str(error) else 1)
        raise
    finally:
        if os.getpid() != parent:
            os._exit(2)
    assert [join(child) for child in children] == [7] * 3
    """)
