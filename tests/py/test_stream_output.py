"""When what streams have written leaves: at once, with the turn's, and in which order."""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator

import pytest

import tinycoro
from both import Lib, run_both
from tinycoro import StreamWriter, _core

GROUP = 28  # TC_PY_STREAM_GROUP


def test_drain_sends_at_once_only_what_is_much_or_alone() -> None:
    """Little output of one task among many leaves at the end of the turn, with the others'."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)

    def arrived() -> int:
        try:
            return len(peer.recv(1 << 20))
        except BlockingIOError:
            return 0

    async def main() -> list[int]:
        _, writer = await tinycoro.open_connection(sock=ours)
        seen = []
        writer.write(b"alone")
        await writer.drain()
        seen.append(arrived())
        for size in (1000, 20_000):
            other = tinycoro.create_task(tinycoro.sleep(0))
            writer.write(bytes(size))
            await writer.drain()
            seen.append(arrived())
            await other
            seen.append(arrived())
        writer.close()
        await writer.wait_closed()
        return seen

    with peer:
        assert tinycoro.run(main()) == [5, 0, 1000, 20_000, 0]


def test_drains_of_one_turn_send_in_their_order() -> None:
    """What comes last, or is much, does not leave before what was written earlier."""
    pairs = [socket.socketpair() for _ in range(3)]
    waiting: list[int] = []
    order: list[int] = []

    async def answer(number: int, size: int, gate: tinycoro.Event, seen: tinycoro.Event) -> None:
        _, writer = await tinycoro.open_connection(sock=pairs[number][0])
        waiting.append(number)
        await gate.wait()
        writer.write(bytes(size))
        await writer.drain()
        await seen.wait()
        writer.close()
        await writer.wait_closed()

    async def main(sizes: list[int]) -> None:
        gate, seen = tinycoro.Event(), tinycoro.Event()
        loop = tinycoro.get_running_loop()

        def arrived(number: int, peer: socket.socket) -> None:
            order.append(number)
            loop.remove_reader(peer)
            if len(order) == len(pairs):
                seen.set()

        for number, (_, peer) in enumerate(pairs):
            loop.add_reader(peer, arrived, number, peer)
        async with tinycoro.TaskGroup() as group:
            for number, size in enumerate(sizes):
                group.create_task(answer(number, size, gate, seen))
            while len(waiting) < len(pairs):
                await tinycoro.sleep(0)
            gate.set()

    tinycoro.run(main([100, 20_000, 100]))
    for _, peer in pairs:
        peer.close()
    assert order == waiting == [0, 1, 2]


def test_drains_of_the_only_task_send_at_once() -> None:
    """What comes next may block the thread until the peers have answered."""
    pairs = [socket.socketpair() for _ in range(2)]

    async def main() -> list[bytes]:
        writers = [(await tinycoro.open_connection(sock=ours))[1] for ours, _ in pairs]
        for writer in writers:
            writer.write(b"hello")
        for writer in writers:
            await writer.drain()
        arrived = [peer.recv(100, socket.MSG_DONTWAIT) for _, peer in pairs]
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        return arrived

    assert tinycoro.run(main()) == [b"hello", b"hello"]
    for _, peer in pairs:
        peer.close()


# ---- groups --------------------------------------------------------------------------------------


class Group:
    """Streams whose tasks all run in one turn, and their peers."""

    def __init__(self, count: int) -> None:
        self.pairs = [socket.socketpair() for _ in range(count)]

    def run(self, answer: Callable[[int, StreamWriter], Awaitable[int]]) -> list[int]:
        """What `answer(number, writer)` returns for each; all are called in the same turn."""
        waiting: list[int] = []

        async def serve(number: int, gate: tinycoro.Event) -> int:
            _, writer = await tinycoro.open_connection(sock=self.pairs[number][0])
            waiting.append(number)
            await gate.wait()
            result = await answer(number, writer)
            await tinycoro.sleep(0)
            writer.close()
            await writer.wait_closed()
            return result

        async def main() -> list[int]:
            gate = tinycoro.Event()
            async with tinycoro.TaskGroup() as group:
                tasks = [group.create_task(serve(i, gate)) for i in range(len(self.pairs))]
                while len(waiting) < len(self.pairs):
                    await tinycoro.sleep(0)
                gate.set()
            return [task.result() for task in tasks]

        results = tinycoro.run(main())
        for _, peer in self.pairs:
            peer.close()
        return results

    def count_arrived(self) -> int:
        """Bytes that lie with the peers."""
        count = 0
        for _, peer in self.pairs:
            try:
                count += len(peer.recv(100, socket.MSG_DONTWAIT | socket.MSG_PEEK))
            except BlockingIOError:
                continue
        return count


@pytest.mark.parametrize("does_drain", [True, False])
@pytest.mark.parametrize("does_gather", [True, False])
def test_a_long_turn_sends_in_groups(does_drain: bool, does_gather: bool) -> None:
    """Whom a turn has received from gets his answer before too many others have been received."""
    group = Group(2 * GROUP + 2)

    async def answer(_: int, writer: StreamWriter) -> int:
        if does_gather:
            writer.writelines([b"", b"x"])
        else:
            writer.write(b"x")
        if does_drain:
            await writer.drain()
        return group.count_arrived()

    assert group.run(answer) == [0] * GROUP + [GROUP] * GROUP + [2 * GROUP] * 2


def test_who_waits_in_a_group_may_write_more() -> None:
    group = Group(GROUP + 1)

    async def answer(number: int, writer: StreamWriter) -> int:
        writer.write(b"x")
        writer.write(b"y")
        return group.count_arrived()

    assert group.run(answer) == [0] * GROUP + [2 * GROUP]


def test_what_has_left_by_itself_counts_for_its_turn_alone() -> None:
    """As what is written to a stream that is closed behind it, turn by turn."""
    pairs = [socket.socketpair() for _ in range(2 + GROUP - 1)]

    async def main() -> list[int]:
        writers = [(await tinycoro.open_connection(sock=ours))[1] for ours, _ in pairs]
        for writer in writers[2:]:
            writer.write(b"x")
            writer.close()
            await tinycoro.sleep(0)
        arrived = []
        for writer in writers[:2]:
            writer.write(b"x")
            try:
                arrived.append(len(pairs[0][1].recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)))
            except BlockingIOError:
                arrived.append(0)
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        return arrived

    assert tinycoro.run(main()) == [0, 0]
    for _, peer in pairs:
        peer.close()


async def put_off(loop_over: list[object]) -> tuple[socket.socket, StreamWriter]:
    """Return a peer, and a writer whose drained output waits for the end of the turn."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    _, writer = await tinycoro.open_connection(sock=ours)
    loop_over.append(tinycoro.create_task(tinycoro.sleep(0)))
    writer.write(b"drained")
    await writer.drain()
    with pytest.raises(BlockingIOError):
        peer.recv(100)
    return peer, writer


def abort(writer: StreamWriter) -> None:
    writer.transport.abort()


def end_sending(writer: StreamWriter) -> None:
    writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("end", [abort, end_sending])
def test_what_was_put_off_leaves_before_the_end(end: Callable[[StreamWriter], None]) -> None:
    """asyncio had offered it to the socket when it was written."""

    async def main() -> bytes:
        others: list[object] = []
        peer, writer = await put_off(others)
        end(writer)
        data = peer.recv(100)
        writer.close()
        await writer.wait_closed()
        with peer:
            return data + peer.recv(100)

    assert tinycoro.run(main()) == b"drained"


def test_abort_drops_what_the_socket_does_not_take() -> None:
    """It does not wait, and the peer sees the end behind what was taken."""

    async def main() -> int:
        ours, peer = socket.socketpair()
        _, writer = await tinycoro.open_connection(sock=ours)
        writer.write(bytes(50_000_000))
        writer.transport.abort()
        await writer.wait_closed()
        taken = 0
        with peer:
            while data := peer.recv(1 << 20):
                taken += len(data)
        return taken

    assert 0 < tinycoro.run(main()) < 50_000_000


def test_what_an_interrupted_turn_has_written_leaves() -> None:
    """Neither KeyboardInterrupt nor the loop's end takes it away."""
    loop = tinycoro.new_event_loop()
    kept: list[object] = []

    async def main() -> None:
        peer, writer = await put_off(kept)
        kept.extend((peer, writer))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())
    other, peer, writer = kept
    assert isinstance(other, tinycoro.Task)
    assert isinstance(peer, socket.socket)
    assert isinstance(writer, StreamWriter)
    with peer:
        assert peer.recv(100) == b"drained"
        loop.run_until_complete(other)
        writer.write(b"later")
        loop.close()
        assert peer.recv(100) == b"later"
    kept.clear()
    del writer
    with pytest.warns(ResourceWarning, match="StreamWriter"):  # it was never closed
        gc.collect()


@pytest.mark.parametrize("closing", [False, True])
def test_a_drain_that_waits_learns_that_the_connection_broke(closing: bool) -> None:
    """Otherwise a program would believe that its last bytes were sent."""

    async def main() -> None:
        ours, peer = socket.socketpair()
        _, writer = await tinycoro.open_connection(sock=ours)
        writer.write(bytes(50_000_000))
        drain = tinycoro.create_task(writer.drain())
        await tinycoro.sleep(0)
        await tinycoro.sleep(0)
        assert not drain.done()
        if closing:
            writer.close()
        peer.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await drain
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await writer.wait_closed()

    tinycoro.run(main())


# ---- writelines: all or none ---------------------------------------------------------------------


async def sent_by(lib: Lib, *calls: Callable[[Lib], object]) -> tuple[list[str], bytes]:
    """What the calls of a writer have raised, and all that its peer has received then."""
    ours, peer = socket.socketpair()
    reader, other = await lib.open_connection(sock=peer)
    _, writer = await lib.open_connection(sock=ours)
    raised = []
    for call in calls:
        try:
            call(writer)
        except Exception as error:
            raised.append(type(error).__name__)
    receiving = lib.create_task(reader.read())
    await lib.sleep(0)
    writer.close()
    received = await receiving
    await writer.wait_closed()
    other.close()
    await other.wait_closed()
    return raised, received


def raising(*lines: bytes) -> Iterator[bytes]:
    yield from lines
    raise ZeroDivisionError


BAD_LINES: list[Callable[[], object]] = [
    lambda: [b"a", 5],
    lambda: (b"a", b"b", "text"),
    lambda: [bytes(100_000), 5],
    lambda: [bytearray(b"a"), memoryview(b"b"), object()],
    lambda: "text",
    lambda: 5,
    lambda: (line for line in (b"a", 5)),
    lambda: raising(b"a", b"b"),
    lambda: raising(bytes(100_000)),
]


@pytest.mark.parametrize("lines", BAD_LINES)
def test_writelines_sends_nothing_of_what_it_refuses(lines: Callable[[], Iterable[bytes]]) -> None:
    async def scenario(lib: Lib) -> tuple[list[str], bytes]:
        return await sent_by(
            lib,
            lambda writer: writer.write(b"before "),
            lambda writer: writer.writelines(lines()),
            lambda writer: writer.writelines([b"af", b"ter"]),
        )

    raised, received = run_both(scenario)
    assert (len(raised), received) == (1, b"before after")


def test_writelines_takes_what_can_be_iterated() -> None:
    class Line(bytes):
        """One of the user's own."""

    async def scenario(lib: Lib) -> tuple[list[str], bytes]:
        return await sent_by(
            lib,
            lambda writer: writer.writelines([]),
            lambda writer: writer.writelines(b""),
            lambda writer: writer.writelines({b"a": 1, b"b": 2}),
            lambda writer: writer.writelines([Line(b"c"), bytearray(b"d"), memoryview(b"e")]),
            lambda writer: writer.writelines(b"%d" % i for i in range(10)),
            lambda writer: writer.writelines([b"", b"f"] * 1000),
        )

    assert run_both(scenario) == ([], b"abcde0123456789" + b"f" * 1000)


@pytest.mark.parametrize(
    ("act", "raised", "received"),
    [
        (lambda writer: writer.write(b"zero "), [], b"zero one two "),
        (lambda writer: writer.writelines([b"ze", b"ro "]), [], b"zero one two "),
        (lambda writer: writer.write_eof(), ["RuntimeError"], b""),
        (lambda writer: writer.close(), [], b""),
        (lambda writer: writer.transport.abort(), [], b""),
    ],
)
def test_an_iterator_may_use_the_stream_it_is_written_to(
    act: Callable[[StreamWriter], None], raised: list[str], received: bytes
) -> None:
    """Its lines come behind what it has written, and are lost where it ends the stream."""

    def lines(writer: StreamWriter) -> Iterator[bytes]:
        yield b"one "
        act(writer)
        yield b"two "

    sent = tinycoro.run(sent_by(tinycoro, lambda writer: writer.writelines(lines(writer))))
    assert sent == (raised, received)


@pytest.mark.parametrize("lines", [[b"01234"] * 100, [b"01", bytearray(b"234")] * 50])
@pytest.mark.parametrize("times", [1, 1000])
@pytest.mark.parametrize("is_ours", [True, False])
def test_writelines_without_memory_sends_nothing(
    lines: list[bytes], times: int, is_ours: bool
) -> None:
    """Neither where the queue of the stream cannot grow nor where CPython has none."""

    def write(writer: StreamWriter, nth: int) -> None:
        if is_ours:
            _core._fault_arm("alloc", nth, errno.ENOMEM, times)
        else:
            _core._memory_arm(nth, times)
        try:
            writer.writelines(lines)
        finally:
            _core._memory_disarm()
            _core._fault_disarm()

    async def main() -> list[int]:
        tried = []
        for nth in range(1, 150):
            raised, received = await sent_by(
                tinycoro,
                lambda writer: writer.write(b"before "),
                lambda writer, nth=nth: write(writer, nth),  # type: ignore[misc]
                lambda writer: writer.write(b" after"),
            )
            whole = b"" if raised else b"".join(lines)
            assert (raised or ["MemoryError"], received) == (
                ["MemoryError"],
                b"before %b after" % whole,
            )
            tried.append(len(raised))
        return tried

    tried = tinycoro.run(main())
    assert (tried[0], tried[-1]) == (1, 0)
