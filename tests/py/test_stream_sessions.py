"""Generated sessions over real connections: asyncio's streams and ours give the same.

One side is a script of stream operations, the other a plain socket that sends in chunks, lets turns
of the loop pass, and ends with a half-close or a reset.
"""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tinycoro
from both import Lib
from support import IS_SLOW_LANE, reset

IS_OLD = not hasattr(asyncio, "QueueShutDown")  # before 3.13: one separator only
SEPARATORS = [b"\n", b"\r\n", b"ab", b"b"]
# After a reset: what an operation may raise, besides the end of the stream.
RESET = {"ConnectionResetError", "BrokenPipeError", "OSError"}

data = st.text("ab\r\n", max_size=30).map(str.encode)
large = st.integers(1, 200_000).map(lambda size: (b"0123456789abcde\n" * 13_000)[:size])
separator = st.sampled_from(SEPARATORS)
many = separator if IS_OLD else st.lists(separator, min_size=1, max_size=3).map(tuple)
# No empty ones in writelines(): asyncio of 3.12 and 3.13 then never ends the connection.
stream_steps = st.one_of(
    st.tuples(st.just("readexactly"), st.integers(0, 40)),
    st.tuples(st.just("readline"), st.none()),
    st.tuples(st.just("anext"), st.none()),
    st.tuples(st.just("readuntil"), many),
    st.tuples(st.just("total"), st.tuples(st.integers(1, 300_000), st.integers(1, 100_000))),
    st.tuples(st.just("read"), st.just(-1)),
    st.tuples(st.just("write"), st.one_of(data, large)),
    st.tuples(st.just("writelines"), st.lists(data.filter(len), max_size=4)),
    st.tuples(st.just("drain"), st.none()),
    st.tuples(st.just("write_eof"), st.none()),
)
peer_steps = st.one_of(
    st.tuples(st.just("send"), st.one_of(data, large)),
    st.tuples(st.just("turns"), st.integers(1, 5)),
)


async def total(reader: Lib, wanted: int, piece: int) -> bytes:
    """As many bytes as `wanted`, in reads whose sizes the network decides."""
    parts = bytearray()
    while len(parts) < wanted:
        size = min(piece, wanted - len(parts))
        part = await reader.read(size)
        assert len(part) <= size
        if not part:
            break
        parts += part
    return bytes(parts)


async def stream_step(reader: Lib, writer: Lib, name: str, argument: Lib) -> object:
    if name in ("write", "writelines"):
        getattr(writer, name)(argument)
    elif name == "write_eof":
        writer.write_eof()
    elif name == "drain":
        await writer.drain()
    elif name == "total":
        return await total(reader, *argument)
    elif name == "anext":
        return await anext(reader)
    elif name == "readline":
        return await reader.readline()
    else:
        return await getattr(reader, name)(argument)
    return None


async def stream_script(reader: Lib, writer: Lib, steps: list[tuple[str, Lib]]) -> list[Lib]:
    log: list[Lib] = []
    for name, argument in steps:
        try:
            log.append((name, await stream_step(reader, writer, name, argument)))
        except asyncio.IncompleteReadError as error:
            log.append((name, "incomplete", error.partial, error.expected))
        except asyncio.LimitOverrunError:
            log.append((name, "LimitOverrunError"))
            break
        except ValueError:
            log.append((name, "ValueError"))
            break
        except (RuntimeError, StopAsyncIteration) as error:
            log.append((name, type(error).__name__))
        except OSError as error:  # ConnectionError; asyncio's write_eof() also says ENOTCONN
            log.append((name, type(error).__name__))
            break
    try:
        while await reader.read(1 << 16):
            pass  # a close with unread bytes would reset the connection
    except ConnectionError:
        pass
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError as error:
        log.append(("wait_closed", type(error).__name__))
    return log


async def peer_script(
    lib: Lib, peer: socket.socket, steps: list[tuple[str, Lib]], end: str
) -> bytes:
    """Send, half-close and read to the end; or reset. Whatever happens, nothing blocks."""
    received = bytearray()
    try:
        for name, argument in steps:
            if name == "turns":
                for _ in range(argument):
                    await lib.sleep(0)
                continue
            rest = memoryview(argument)
            while rest:
                rest = rest[await send_some(lib, peer, rest, received) :]
        if end == "reset":
            reset(peer)
            return bytes(received)
        peer.shutdown(socket.SHUT_WR)
        while part := await receive_some(lib, peer):
            received += part
    except OSError:  # reset, which makes the peer's shutdown() fail too
        pass
    peer.close()
    return bytes(received)


async def send_some(lib: Lib, peer: socket.socket, rest: memoryview, received: bytearray) -> int:
    while True:
        try:
            return peer.send(rest)
        except BlockingIOError:
            await lib.sleep(0)
        try:  # the other side may wait for us to read
            received += peer.recv(1 << 20)
        except BlockingIOError:
            continue


async def receive_some(lib: Lib, peer: socket.socket) -> bytes:
    while True:
        try:
            return peer.recv(1 << 20)
        except BlockingIOError:
            await lib.sleep(0)


async def session(
    lib: Lib, is_server: bool, limit: int, script: Lib, peer_steps: Lib, end: str
) -> tuple[list[Lib], bytes]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if is_server:
            done = lib.get_running_loop().create_future()

            async def handle(reader: Lib, writer: Lib) -> None:
                done.set_result(await stream_script(reader, writer, script))

            server = await lib.start_server(handle, sock=listener, limit=limit)
            peer = socket.create_connection(listener.getsockname())
        else:
            listener.listen()
            reader, writer = await lib.open_connection(*listener.getsockname(), limit=limit)
            peer = listener.accept()[0]
            done = lib.create_task(stream_script(reader, writer, script))
        peer.setblocking(False)
        received = await peer_script(lib, peer, peer_steps, end)
        log = await done
        if is_server:
            server.close()
            await server.wait_closed()
        return log, received


@settings(max_examples=2000 if IS_SLOW_LANE else 100, derandomize=not IS_SLOW_LANE, deadline=None)
@given(
    st.booleans(),
    st.sampled_from([5, 64, 65536]),
    st.lists(stream_steps, max_size=8),
    st.lists(peer_steps, max_size=8),
)
def test_a_session_gives_what_asyncio_gives(
    is_server: bool, limit: int, script: list[Lib], steps: list[Lib]
) -> None:
    expected = asyncio.run(session(asyncio, is_server, limit, script, steps, "half-close"))
    found = tinycoro.run(session(tinycoro, is_server, limit, script, steps, "half-close"))
    if found != expected:
        pytest.fail(f"asyncio   {expected}\ntinycoro  {found}", pytrace=False)


def received_by(log: list[Lib]) -> bytes:
    """Everything that the reads of a log returned."""
    parts = []
    for name, *rest in log:
        value = rest[1] if rest[0] == "incomplete" else rest[0]
        if name.startswith(("read", "anext", "total")) and isinstance(value, bytes):
            parts.append(value)
    return b"".join(parts)


@settings(
    max_examples=1000 if IS_SLOW_LANE else 50,
    derandomize=not IS_SLOW_LANE,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # what happens depends on timing
)
@given(
    st.booleans(),
    st.lists(stream_steps.filter(lambda step: step[0] != "readuntil"), max_size=8),
    st.lists(peer_steps, max_size=8),
)
def test_a_session_that_is_reset_gives_a_prefix_and_a_known_end(
    is_server: bool, script: list[Lib], steps: list[Lib]
) -> None:
    sent = b"".join(argument for name, argument in steps if name == "send")
    known = RESET | {"ValueError", "RuntimeError", "StopAsyncIteration", "incomplete"}
    for lib, run in ((asyncio, asyncio.run), (tinycoro, tinycoro.run)):
        log, _ = run(session(lib, is_server, 1 << 20, script, steps, "reset"))
        outcomes = {what for _, what, *_ in log if isinstance(what, str)}
        if not sent.startswith(received_by(log)) or not outcomes <= known:
            pytest.fail(f"{lib.__name__}: {log}", pytrace=False)
