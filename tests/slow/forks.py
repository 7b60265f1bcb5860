"""fork in the middle of traffic: the children work, refuse what they inherited, and the parent does
not notice: its clients see no wrong, missing or refused answer, and the census stays.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable

import lane
import tinycoro

ROUNDS = 50 if lane.IS_LONG else 8
CHILD_SECONDS = 60

_CONTEXTS = (
    multiprocessing.get_context("fork"),
    multiprocessing.get_context("spawn"),
    multiprocessing.get_context("forkserver"),
)

# The warning is right: the workers are threads. That the child copes is what is tested here.
warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)


def _probe(server: tinycoro.EchoServer) -> None:
    with socket.create_connection(server.address, timeout=lane.PATIENCE) as client:
        client.sendall(b"probe")
        lane.check(lane.receive(client, 5) == b"probe", "a probe was not echoed")


# ---- what children do ---------------------------------------------------------------------------


def _serve() -> None:
    """A server of the child's own, from scratch."""
    lane.check(tinycoro.statistics().workers == 0, "the child has workers")
    with tinycoro.EchoServer() as server:
        _probe(server)
    lane.check(len(os.listdir("/proc/self/task")) == 1, "threads stay in the child")


def _touch(inherited: tinycoro.EchoServer) -> None:
    """Every use of what was inherited raises, and nothing hangs or disturbs the parent."""
    for use in (
        inherited.start, inherited.close, inherited.abort, inherited.wait, inherited.statistics,
        inherited.__enter__, lambda: inherited.address, lambda: inherited.listening,
    ):  # fmt: skip
        try:
            use()
        except RuntimeError:
            continue
        raise lane.Failure(f"{use} did not raise in the child")
    repr(inherited)
    gc.collect()
    _serve()


def _exec() -> None:
    os.execv(sys.executable, [sys.executable, "-S", "-c", "raise SystemExit(0)"])


def _work(number: int) -> None:
    """For multiprocessing, importable by its name."""
    del number
    _serve()


# ---- starting and ending them -------------------------------------------------------------------


def _in_child(action: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_SECONDS)
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def _join(pid: int, what: str) -> None:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    lane.check(code == 0, f"{what}: the child ended with {code}")


def _multiprocess() -> None:
    for context in _CONTEXTS:
        process = context.Process(target=_work, args=(1,))
        process.start()
        process.join(CHILD_SECONDS)
        method = context.get_start_method()
        lane.check(process.exitcode == 0, f"{method}: the child ended with {process.exitcode}")
        process.close()


def _round(server: tinycoro.EchoServer) -> None:
    children = {
        "a server": _in_child(_serve),
        "inherited objects": _in_child(lambda: _touch(server)),
        "exec": _in_child(_exec),
    }
    subprocess.run(["true"], check=True, timeout=CHILD_SECONDS)
    _multiprocess()
    for what, pid in children.items():
        _join(pid, what)
    _probe(server)


def _held() -> tuple[int, int, int, int]:
    now = tinycoro.statistics()
    return (
        now.bytes_in_use - now.bytes_reserved,
        now.descriptors,
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
    )


def forks() -> str:
    with tinycoro.EchoServer() as server:
        _round(server)  # the fork server and the resource tracker stay
        lane.check(
            lane.wait_until(lambda: server.statistics().connections == 0), "connections stay"
        )
        before = _held()
        begun = time.monotonic()
        with lane.Steady(server.address[1]) as steady:
            for _ in range(ROUNDS):
                _round(server)
        took = time.monotonic() - begun
        lane.check(
            lane.wait_until(lambda: _held() == before, lane.SETTLE_SECONDS),
            f"bytes, slots, descriptors, threads: {_held()}; before {before}",
        )
        seen = server.statistics()
        lane.check(seen.errors + seen.resets == 0, f"the parent's server: {seen}")
    return (
        f"{ROUNDS} × 7 children (fork, exec, inherited objects, subprocess, multiprocessing fork,"
        f" spawn, forkserver) in {took:.0f} s beside {steady.requests} requests, none disturbed"
        f" (worst {steady.worst_ms:.0f} ms)"
    )


if __name__ == "__main__":
    lane.run(forks, limit=600 if lane.IS_LONG else 100)
