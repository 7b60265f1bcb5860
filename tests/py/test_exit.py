"""The interpreter ends while a server lives: no hang, one warning, its clients see the end."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from support import PATIENCE, assert_success, connect, python_command, receive, run_python, timely

_LIMIT = 1.0
# What an interpreter needs to start and end, beside the second that servers may take.
_INTERPRETER = 10.0

_SERVING = """
    import os, socket, sys, threading
    import tinycoro

    server = tinycoro.EchoServer(drain_timeout=30)
    server.start()
    clients = [socket.create_connection(server.address) for _ in range(10)]
    for client in clients:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    busy = socket.create_connection(server.address)
    busy.settimeout(0.1)
    try:
        while True:
            busy.send(b"x" * 65536)
    except TimeoutError:
        pass
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(5)", 5),
        ("raise SystemExit", 0),
        ("1 / 0", 1),
        ("os._exit(7)", 7),
        ("import gc; gc.disable(); keep = [server]; keep.append(keep)", 0),
    ],
)
def test_exit_with_a_live_server_takes_less_than_a_second(ending: str, code: int) -> None:
    source = _SERVING + f"\n    print('ending', flush=True)\n    {ending}\n"
    process = subprocess.Popen(
        [*python_command(source)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ending\n"
    begun = time.monotonic()
    _out, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - begun <= _LIMIT + _INTERPRETER
    assert process.returncode == code, err
    if ending != "os._exit(7)":
        assert "EchoServer on 127.0.0.1" in err
        assert "running at interpreter exit" in err
    assert "Fatal" not in err


def test_exit_hook_itself_is_quick() -> None:
    code = (
        _SERVING
        + """
    import atexit, time
    # atexit runs the last registered first: this one runs before ours, the other one after.
    begun = []
    atexit.register(lambda: begun.append(time.monotonic()))
    import warnings; warnings.simplefilter("ignore")
    sys.exit()
    """
    )
    prelude = """
    import atexit, time
    atexit.register(lambda: print(time.monotonic() - begun[0]))
    """

    def attempt() -> float:
        result = run_python(prelude + code)
        assert result.returncode == 0, result.stderr
        return float(result.stdout)

    timely(_LIMIT + 0.3, attempt)


def test_exit_with_every_server_stopped_is_silent() -> None:
    result = run_python("""
        import tinycoro
        server = tinycoro.EchoServer()
        with server:
            pass
        never = tinycoro.EchoServer()
    """)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_exit_while_a_daemon_thread_waits_for_a_server() -> None:
    result = run_python("""
        import threading, time, tinycoro, warnings
        warnings.simplefilter("ignore")
        server = tinycoro.EchoServer()
        server.start()
        threads = [threading.Thread(target=server.wait, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
    """)
    assert (result.returncode, result.stderr) == (0, "")


def test_start_after_the_exit_hook_is_refused() -> None:
    result = run_python("""
        import atexit
        @atexit.register
        def late():
            try:
                server.start()
            except RuntimeError as error:
                print(error)
        import tinycoro
        server = tinycoro.EchoServer()
    """)
    assert result.returncode == 0, result.stderr
    assert "the interpreter is exiting" in result.stdout


def test_killed_by_a_signal_closes_the_connections() -> None:
    code = """
        import tinycoro
        server = tinycoro.EchoServer()
        server.start()
        print(server.address[1], flush=True)
        server.wait()
    """
    process = subprocess.Popen(python_command(code), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = ("127.0.0.1", int(process.stdout.readline()))
    with connect(address) as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"  # it is the server's, no longer the kernel's
        process.kill()
        assert client.recv(1) == b""
    process.communicate()


def test_interrupt_ends_a_waiting_program_with_its_usual_exit() -> None:
    code = """
        import tinycoro
        with tinycoro.EchoServer() as server:
            print("ready", flush=True)
            server.wait()
    """
    process = subprocess.Popen(
        python_command(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert err.strip().endswith("KeyboardInterrupt")
    assert "ResourceWarning" not in err


_YOUNGER_THAN_THE_MODULE = """
    import socket, warnings
    import tinycoro

    warnings.simplefilter("ignore")  # nobody closes them
    kept = type("Kept", (), {})()
    kept.itself = kept

    async def answer(reader, writer):
        kept.accepted = reader, writer
        kept.came.set()
        await tinycoro.sleep(0)

    async def main():
        kept.came = tinycoro.Event()
        ours, kept.peer = socket.socketpair()
        kept.opened = await tinycoro.open_connection(sock=ours)
        kept.server = await tinycoro.start_server(answer, "127.0.0.1", 0)
        kept.client = socket.create_connection(kept.server.sockets[0].getsockname())
        await kept.came.wait()
        kept.server.close()

    tinycoro.run(main())
    print("end")
"""


def test_streams_that_the_last_collection_finds() -> None:
    """The collector clears the module before what is younger dies."""
    result = run_python(_YOUNGER_THAN_THE_MODULE)
    assert_success(result)
    assert result.stdout == "end\n"
