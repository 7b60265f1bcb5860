"""open_signal_receiver: signals as an iterator, handlers put back, nothing lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

import tinycoro
from support import assert_success, run_python
from tinycoro import open_signal_receiver
from tinycoro.signals import SignalReceiver

_USR1, _USR2 = signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture(autouse=True)
def handlers() -> Iterator[list[int]]:
    """Handlers that record; they must be there again after each test."""
    seen: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = [signal.signal(number, record) for number in (_USR1, _USR2)]
    yield seen
    assert signal.signal(_USR1, before[0]) is record
    assert signal.signal(_USR2, before[1]) is record


def _kill(number: int) -> None:
    os.kill(os.getpid(), number)


def test_signals_are_yielded_in_order_and_once_each(handlers: list[int]) -> None:
    async def main() -> list[int]:
        with open_signal_receiver(_USR1, _USR2) as received:
            for number in (_USR2, _USR1, _USR2, _USR2):
                _kill(number)
            first = [await anext(received), await anext(received)]
            _kill(_USR2)
            return [*first, await anext(received)]

    assert tinycoro.run(main()) == [_USR2, _USR1, _USR2]
    assert handlers == []


def test_a_signal_wakes_a_sleeping_loop() -> None:
    async def main() -> int:
        with open_signal_receiver(_USR1) as received:
            timer = threading.Timer(0.02, _kill, (_USR1,))
            timer.start()
            async for number in received:
                timer.join()
                return number
        raise AssertionError("the iterator has ended")

    assert tinycoro.run(main()) == _USR1


def test_what_nobody_took_goes_to_the_handlers_before(handlers: list[int]) -> None:
    async def main() -> None:
        with open_signal_receiver(_USR1, _USR2) as received:
            for number in (_USR1, _USR2, _USR1):
                _kill(number)
            assert await anext(received) == _USR1
        assert handlers == [_USR2]

    tinycoro.run(main())
    assert handlers == [_USR2]


def test_a_cancelled_iteration_takes_nothing(handlers: list[int]) -> None:
    async def take(received: SignalReceiver) -> int:
        return await anext(received)

    async def main() -> None:
        with open_signal_receiver(_USR1) as received:
            task = tinycoro.create_task(take(received))
            await tinycoro.sleep(0)
            _kill(_USR1)
            task.cancel()
            with pytest.raises(tinycoro.CancelledError):
                await task
            assert await anext(received) == _USR1

    tinycoro.run(main())
    assert handlers == []


def test_receivers_nest(handlers: list[int]) -> None:
    async def main() -> None:
        with open_signal_receiver(_USR1) as outer:
            with open_signal_receiver(_USR1, _USR1) as inner:
                _kill(_USR1)
                assert await anext(inner) == _USR1
                _kill(_USR1)
            assert await anext(outer) == _USR1

    tinycoro.run(main())
    assert handlers == []


def test_a_handler_of_the_loop_pauses_meanwhile() -> None:
    async def main() -> list[str]:
        log: list[str] = []
        loop = tinycoro.get_running_loop()
        loop.add_signal_handler(_USR1, log.append, "handler")
        with open_signal_receiver(_USR1) as received:
            _kill(_USR1)
            await anext(received)
            await tinycoro.sleep(0.001)
            log.append("received")
        _kill(_USR1)
        await tinycoro.sleep(0.01)
        loop.remove_signal_handler(_USR1)
        return log

    before = signal.getsignal(_USR1)
    assert tinycoro.run(main()) == ["received", "handler"]
    signal.signal(_USR1, before)


def test_the_end_of_the_block_ends_the_iteration() -> None:
    async def take(received: SignalReceiver) -> int:
        return await anext(received)

    async def main() -> None:
        with open_signal_receiver(_USR1) as received:
            task = tinycoro.create_task(take(received))
            await tinycoro.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(received)
        with pytest.raises(RuntimeError, match="receives no signals"):
            await task
        with pytest.raises(RuntimeError, match="only once"), received:
            pass
        assert repr(received) == "<SignalReceiver SIGUSR1 closed>"

    tinycoro.run(main())


def test_what_is_refused(handlers: list[int]) -> None:
    with pytest.raises(TypeError, match="at least one"):
        open_signal_receiver()
    with pytest.raises(TypeError, match="int"):
        open_signal_receiver("SIGUSR1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid"):
        open_signal_receiver(9999)
    with pytest.raises(RuntimeError, match="no running"), open_signal_receiver(_USR1):
        pass
    errors: list[type[BaseException]] = []

    async def main() -> None:
        with pytest.raises(OSError, match="nvalid"), open_signal_receiver(_USR1, signal.SIGKILL):
            pass

    async def elsewhere() -> None:
        try:
            with open_signal_receiver(_USR1):
                pass
        except RuntimeError as error:
            errors.append(type(error))

    tinycoro.run(main())
    thread = threading.Thread(target=lambda: tinycoro.run(elsewhere()))
    thread.start()
    thread.join()
    assert errors == [RuntimeError]


def test_an_interrupt_can_be_received_instead_of_cancelling() -> None:
    result = run_python(
        """
        import os, signal
        import tinycoro

        async def main():
            with tinycoro.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
                os.kill(os.getpid(), signal.SIGINT)
                print(signal.Signals(await anext(received)).name)
                os.kill(os.getpid(), signal.SIGTERM)
                print(signal.Signals(await anext(received)).name)
            os.kill(os.getpid(), signal.SIGINT)
            await tinycoro.sleep(60)

        try:
            tinycoro.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert_success(result)
    assert result.stdout.split() == ["SIGINT", "SIGTERM", "interrupted"]
