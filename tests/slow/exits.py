"""The interpreter ends with a live server, in six ways: no hang, its exit status.

Each with connections at rest, one in the middle of a transfer that nobody reads, and steady traffic
whose clients see the end.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import lane

ROUNDS = 10 if lane.IS_LONG else 1
# A second for the servers, and what an interpreter takes by itself.
LIMIT_SECONDS = 1.0 + 1.0

_SERVING = """
import os, signal, socket, sys, threading, tinycoro
server = tinycoro.EchoServer(drain_timeout=30)
server.start()
clients = [socket.create_connection(server.address) for _ in range(20)]
for client in clients:
    client.sendall(b"x")
    assert client.recv(1) == b"x"
clients[0].settimeout(0.1)
try:
    while True:
        clients[0].send(b"x" * 65536)
except TimeoutError:
    pass
threads = [threading.Thread(target=server.wait, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
print(server.address[1], flush=True)
sys.stdin.readline()
"""

# How it ends → (code, exit status, whether there is a warning of the server that still runs).
_ENDINGS = {
    "the end of the program": ("", 0, True),
    "sys.exit(5)": ("sys.exit(5)", 5, True),
    "an exception": ("raise ZeroDivisionError", 1, True),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", -signal.SIGINT, True),
    "os._exit(7)": ("os._exit(7)", 7, False),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, False),
}


def _look_into(process: subprocess.Popen[str]) -> str:
    """What the threads of a process that hangs are doing, and its Python tracebacks."""
    lines = []
    for task in sorted(Path(f"/proc/{process.pid}/task").iterdir()):
        name, wait, call = ((task / file).read_text() for file in ("comm", "wchan", "syscall"))
        lines.append(f"{task.name} {name.strip()}: {wait.strip()} {call.strip()}")
    process.send_signal(signal.SIGABRT)
    _, said = process.communicate(timeout=lane.PATIENCE)
    return "\n".join((*lines, said))


def _end(name: str, code: str, status: int, warns: bool) -> float:
    """Returns how long the end took."""
    process = subprocess.Popen(
        # Not -W default: showing a warning at exit makes CPython before 3.13 forget the SIGINT.
        [sys.executable, "-P", "-X", "faulthandler", "-W", "error", "-c", _SERVING + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = process.stdout.readline()
    lane.check(bool(port), f"{name}: {process.poll()}")
    traffic = subprocess.Popen(
        [lane.BIN / "storm", "--port", port.strip(), "--mode", "steady", "--clients", "20"],
        stdout=subprocess.DEVNULL,
    )
    begun = time.monotonic()
    try:
        _, said = process.communicate("\n", timeout=lane.PATIENCE)
        took = time.monotonic() - begun
        # The clients see the end of their connections, and end with an error themselves.
        traffic.wait(lane.PATIENCE)
    except subprocess.TimeoutExpired:
        raise lane.Failure(f"{name}: hangs\n{_look_into(process)}") from None
    finally:
        process.kill()
        traffic.kill()
    lane.check(process.returncode == status, f"{name}: {process.returncode}: {said}")
    lane.check(("running at interpreter exit" in said) == warns, f"{name}: {said}")
    lane.check("Fatal" not in said, f"{name}: {said}")
    return took


def _end_in_time(name: str, code: str, status: int, warns: bool) -> float:
    """The same; a busy machine may make one end late."""
    took: list[float] = []
    while not took or took[-1] > LIMIT_SECONDS:
        lane.check(len(took) < 3, f"{name}: took {took} s")
        took.append(_end(name, code, status, warns))
    return took[-1]


def exits() -> str:
    slowest = {
        name: max(_end_in_time(name, *ending) for _ in range(ROUNDS))
        for name, ending in _ENDINGS.items()
    }
    times = ", ".join(f"{name} {took * 1e3:.0f} ms" for name, took in slowest.items())
    return f"{ROUNDS} × 6 ways, at most: {times}"


lane.run(exits, limit=300 if lane.IS_LONG else 60)
