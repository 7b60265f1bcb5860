"""Every test leaves descriptors, threads, memory and the runtime's census as it found them."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Iterator

import pytest
import pytest_timeout

from support import Census, wait_until
from tinycoro import EchoServer, HTTPServer, _core

# A shell starts what runs in the background with SIGINT ignored, and children inherit that: those
# that tests interrupt would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def census() -> Iterator[Census]:
    """The census before the test; fails the test unless the one after it is equal."""
    gc.collect()
    before = Census.take()
    yield before
    _core._fault_disarm()
    gc.collect()
    if not wait_until(lambda: Census.take() == before):
        pytest.fail(f"left behind: {Census.take().difference(before)}", pytrace=False)


@pytest.fixture
def server() -> Iterator[EchoServer]:
    """A running echo server, ended at once when the test is over."""
    server = EchoServer()
    server.start()
    yield server
    server.abort()
    server.wait(10)


@pytest.fixture
def http_server() -> Iterator[HTTPServer]:
    """An HTTP server without routes, to be started by the test; ended when it is over."""
    server = HTTPServer()
    yield server
    server.abort()
    with contextlib.suppress(RuntimeError):  # never started
        server.wait(10)


# ---- a test that hangs shows its fibers before it dies -----------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool | None:
    if not settings.timeout:
        return None

    def expired() -> None:
        sys.stderr.write(f"\n~~~ fibers of {item.nodeid} ~~~\n")
        sys.stderr.flush()
        _core._dump(2)
        pytest_timeout.timeout_timer(item, settings)

    timer = threading.Timer(settings.timeout, expired)
    timer.name = "pytest-timeout"
    timer.daemon = True
    timer.start()
    item.stash[_TIMER] = timer
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool | None:
    timer = item.stash.get(_TIMER, None)
    if timer is None:
        return None
    timer.cancel()
    timer.join()
    return True


_TIMER = pytest.StashKey[threading.Timer]()
