"""add_reader and add_writer: a callback in every turn in which a descriptor is ready."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tinycoro
from both import Lib, run_both, same_on_both
from support import assert_success, run_python


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        yield a, b


@same_on_both
async def test_it_is_called_again_until_everything_is_read(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    done = loop.create_future()

    def readable(name: str) -> None:
        data = a.recv(2)
        log.append((name, data))
        if not data:
            log.append(loop.remove_reader(a))
            done.set_result(None)

    with pair() as (a, b):
        log.append(loop.add_reader(a, readable, "first"))
        b.send(b"12345")
        b.close()
        await done
        log.append(loop.remove_reader(a))


@same_on_both
async def test_reading_and_writing_are_apart(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    done = loop.create_future()

    def writable() -> None:
        log.append("writable")
        log.append(loop.remove_writer(a.fileno()))
        b.send(b"x")

    def readable() -> None:
        log.append(a.recv(10))
        log.append((loop.remove_writer(a), loop.remove_reader(a)))
        done.set_result(None)

    with pair() as (a, b):
        loop.add_reader(a, readable)
        loop.add_writer(a.fileno(), writable)
        await done


@same_on_both
async def test_a_second_callback_takes_the_place_of_the_first(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    done = loop.create_future()
    with pair() as (a, b):
        loop.add_reader(a, log.append, "first")
        b.send(b"x")
        loop.add_reader(a, done.set_result, "second")
        log.append(await done)
        loop.remove_reader(a)


@same_on_both
async def test_the_callback_runs_in_the_context_of_the_call(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    variable = contextvars.ContextVar("variable", default="outside")
    done = loop.create_future()
    with pair() as (a, _):
        variable.set("inside")
        loop.add_writer(a, lambda: (loop.remove_writer(a), done.set_result(variable.get())))
        variable.set("later")
        log.append(await done)


@same_on_both
async def test_what_a_callback_raises_is_reported(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    done = loop.create_future()

    def writable() -> None:
        loop.remove_writer(a)
        raise ZeroDivisionError("no")

    def handler(loop: object, context: dict[str, object]) -> None:
        log.append(repr(context["exception"]))
        done.set_result(None)

    loop.set_exception_handler(handler)
    with pair() as (a, _):
        loop.add_writer(a, writable)
        await done


@same_on_both
async def test_errors_of_the_caller(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    with pair() as (a, _):
        for fd in ("x", -1, object(), None):
            try:
                loop.add_reader(fd, print)
            except ValueError as error:
                log.append(str(error).split(" object at")[0])
        with open("/dev/null", "rb") as file:
            for fd in (file, 10**6):
                try:
                    loop.add_reader(fd, print)
                except OSError as error:
                    log.append(type(error))
        log.append(loop.remove_reader(a))
        log.append(loop.remove_writer(77777))


@same_on_both
async def test_a_number_that_was_closed_and_opened_again(lib: Lib, log: list[object]) -> None:
    loop = lib.get_running_loop()
    done = loop.create_future()
    a, b = socket.socketpair()
    number = a.fileno()
    loop.add_reader(number, log.append, "the old one")
    loop.remove_reader(number)
    a.close()
    b.close()
    with pair() as (a, b):
        log.append(number in (a.fileno(), b.fileno()))
        loop.add_writer(number, lambda: (loop.remove_writer(number), done.set_result("new")))
        log.append(await done)


def test_a_descriptor_closed_without_a_word_does_no_harm() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        a, b = socket.socketpair()
        number = a.fileno()
        loop.add_reader(number, print)
        a.close()  # the poller forgets it, the loop does not
        c = socket.socket(fileno=os.dup2(b.fileno(), number))
        with b, c:
            done = loop.create_future()
            loop.add_writer(number, done.set_result, None)
            await done
            assert loop.remove_writer(number)
            assert loop.remove_reader(number)

    tinycoro.run(main())


def test_a_cancelled_timeout_ends_a_wait_for_a_descriptor() -> None:
    async def scenario(lib: Lib) -> str:
        loop = lib.get_running_loop()
        with pair() as (a, _):
            loop.add_reader(a, print)
            task = lib.create_task(lib.sleep(100))
            loop.call_later(0.01, task.cancel)
            try:
                await task
            except lib.CancelledError:
                return f"cancelled {loop.remove_reader(a)}"
        return "slept"

    assert run_both(scenario) == "cancelled True"


def test_many_descriptors_in_one_turn() -> None:
    """More than one batch of the poller, and a table that grows."""

    async def scenario(lib: Lib) -> int:
        loop = lib.get_running_loop()
        pairs = [socket.socketpair() for _ in range(200)]
        seen: set[int] = set()
        done = loop.create_future()

        def readable(index: int) -> None:
            pairs[index][0].recv(1)
            seen.add(index)
            if len(seen) == len(pairs):
                done.set_result(None)

        for index, (a, b) in enumerate(pairs):
            a.setblocking(False)
            loop.add_reader(a, readable, index)
            b.send(b"x")
        await done
        for a, b in pairs:
            loop.remove_reader(a)
            a.close()
            b.close()
        return len(seen)

    assert run_both(scenario) == 200


def test_a_foreign_thread_is_refused() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        caught: list[BaseException] = []

        def call() -> None:
            for function in (loop.add_reader, loop.add_writer):
                try:
                    function(0, print)
                except RuntimeError as error:
                    caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert len(caught) == 2
        assert "call_soon_threadsafe" in str(caught[0])

    tinycoro.run(main())


def test_closing_the_loop_drops_the_callbacks() -> None:
    class Owner:
        def readable(self) -> None:
            """Never called."""

    loop = tinycoro.new_event_loop()
    owner = Owner()
    reference = weakref.ref(owner)
    with pair() as (a, _):
        loop.add_reader(a, owner.readable)
        del owner
        gc.collect()
        assert reference() is not None
        loop.close()
        assert reference() is None
        assert not loop.remove_reader(a)
        with pytest.raises(RuntimeError, match="closed"):
            loop.add_reader(a, print)


def test_a_loop_and_its_callback_are_collected_together() -> None:
    class Owner:
        loop: tinycoro.Loop

        def readable(self) -> None:
            """Never called."""

    with pair() as (a, _):
        owner = Owner()
        owner.loop = tinycoro.new_event_loop()
        owner.loop.add_reader(a, owner.readable)
        reference = weakref.ref(owner)
        del owner
        with pytest.warns(ResourceWarning):
            gc.collect()
        assert reference() is None


def test_asyncio_code_may_use_it() -> None:
    """What calls asyncio's running loop meets ours."""

    async def main() -> bytes:
        with pair() as (a, b):
            done = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().add_reader(a, lambda: done.set_result(a.recv(5)))
            b.send(b"hello")
            data: bytes = await done
            asyncio.get_running_loop().remove_reader(a)
            return data

    assert tinycoro.run(main()) == b"hello"


def test_the_child_of_a_fork_leaves_the_parents_poller_alone() -> None:
    assert_success(
        run_python(
            """
            import os, socket, warnings
            import tinycoro
            warnings.simplefilter("ignore", DeprecationWarning)

            async def main():
                loop = tinycoro.get_running_loop()
                a, b = socket.socketpair()
                done = loop.create_future()
                loop.add_reader(a, lambda: done.set_result(a.recv(1)))
                pid = os.fork()
                if pid == 0:
                    try:
                        loop.remove_reader(a)
                    except RuntimeError:
                        os._exit(0)
                    os._exit(1)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
                b.send(b"x")
                assert await done == b"x"
                loop.remove_reader(a)
                a.close()
                b.close()

            tinycoro.run(main())
            """
        )
    )
