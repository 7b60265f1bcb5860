"""Signals: handlers of the loop, ^C once and twice, wake-ups."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

import tinycoro
from support import SLACK, assert_success, run_python


def test_a_handler_runs_in_the_loop_each_time() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        seen: list[object] = []
        arrived = tinycoro.Future[None]()

        def handler(number: int) -> None:
            seen.append(number)
            if len(seen) == 3 and not arrived.done():
                arrived.set_result(None)

        loop.add_signal_handler(signal.SIGUSR1, handler, 7)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            await tinycoro.sleep(0.01)
        await arrived
        assert seen == [7, 7, 7]
        assert loop.remove_signal_handler(signal.SIGUSR1) is True
        assert loop.remove_signal_handler(signal.SIGUSR1) is False

    tinycoro.run(main())
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_signal_wakes_a_sleeping_loop() -> None:
    async def main() -> float:
        loop = tinycoro.get_running_loop()
        future = tinycoro.Future[float]()
        loop.add_signal_handler(signal.SIGUSR1, lambda: future.set_result(time.monotonic()))
        sent: list[float] = []

        def send() -> None:
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGUSR1)

        timer = threading.Timer(0.05, send)
        timer.start()
        arrived = await future
        timer.join()
        loop.remove_signal_handler(signal.SIGUSR1)
        return arrived - sent[0]

    assert tinycoro.run(main()) < SLACK


def test_a_busy_loop_notices_signals() -> None:
    async def main() -> int:
        loop = tinycoro.get_running_loop()
        future = tinycoro.Future[None]()
        loop.add_signal_handler(signal.SIGUSR1, future.set_result, None)
        os.kill(os.getpid(), signal.SIGUSR1)
        turns = 0
        while not future.done():
            turns += 1
            await tinycoro.sleep(0)
        loop.remove_signal_handler(signal.SIGUSR1)
        return turns

    assert tinycoro.run(main()) < 100_000


def test_wrong_signals_are_refused() -> None:
    async def main() -> None:
        loop = tinycoro.get_running_loop()
        with pytest.raises(ValueError, match="invalid signal"):
            loop.add_signal_handler(999, print)
        with pytest.raises(TypeError):
            loop.add_signal_handler("SIGTERM", print)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, print)

    tinycoro.run(main())


def test_the_wakeup_descriptor_is_put_back() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    tinycoro.run(tinycoro.sleep(0))
    after = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(after)
    assert after == before


def test_the_first_interrupt_cancels_the_main_task() -> None:
    result = run_python(
        """
        import os, signal, threading
        import tinycoro

        async def main():
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await tinycoro.sleep(60)
            except tinycoro.CancelledError:
                print("cancelled")
                await tinycoro.sleep(0.01)
                print("cleaned up")
                raise

        try:
            tinycoro.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert_success(result)
    assert result.stdout.split("\n")[:3] == ["cancelled", "cleaned up", "interrupted"]


def test_the_second_interrupt_ends_the_run_at_once() -> None:
    result = run_python(
        """
        import os, signal, threading, time
        import tinycoro

        async def main():
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await tinycoro.sleep(60)
            except tinycoro.CancelledError:  # now, or the two might arrive as one
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
                await tinycoro.sleep(60)

        start = time.monotonic()
        try:
            tinycoro.run(main())
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - start < 40)
        """
    )
    assert_success(result)
    assert result.stdout.strip() == "interrupted True"


def test_an_interrupt_that_is_swallowed_is_no_interrupt() -> None:
    result = run_python(
        """
        import os, signal
        import tinycoro

        async def main():
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await tinycoro.sleep(60)
            except tinycoro.CancelledError:
                return "swallowed"

        print(tinycoro.run(main()))
        """
    )
    assert_success(result)
    assert result.stdout.strip() == "swallowed"


def test_a_computing_task_is_interrupted_by_the_second() -> None:
    result = run_python(
        """
        import os, signal, threading
        import tinycoro

        async def main():
            task = tinycoro.current_task()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            while not task.cancelling():  # that was the first
                pass
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                pass

        try:
            tinycoro.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert_success(result)
    assert result.stdout.strip() == "interrupted"


def test_a_handler_of_the_program_is_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:

        async def main() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await tinycoro.sleep(0.01)

        tinycoro.run(main())
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
