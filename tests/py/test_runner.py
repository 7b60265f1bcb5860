"""run() and Runner."""

from __future__ import annotations

import threading

import pytest

import tinycoro
from tinycoro import Runner


async def _value(value: object = None) -> object:
    await tinycoro.sleep(0)
    return value


def test_run_returns_and_raises() -> None:
    async def fail() -> None:
        raise KeyError("out")

    assert tinycoro.run(_value(3)) == 3
    assert tinycoro.run(tinycoro.sleep(0, "operation")) == "operation"
    with pytest.raises(KeyError):
        tinycoro.run(fail())


def test_what_is_no_coroutine_is_refused() -> None:
    with pytest.raises(ValueError, match="a coroutine was expected"):
        tinycoro.run(5)  # type: ignore[arg-type]


def test_run_inside_a_running_loop_is_refused() -> None:
    async def main() -> None:
        coro = _value()
        with pytest.raises(RuntimeError, match="from a running event loop"):
            tinycoro.run(coro)
        coro.close()

    tinycoro.run(main())


def test_tasks_that_are_left_are_cancelled() -> None:
    log: list[object] = []

    async def left() -> None:
        try:
            await tinycoro.sleep(100)
        except tinycoro.CancelledError:
            await tinycoro.sleep(0.001)
            log.append("cleaned up")
            raise

    async def main() -> None:
        tinycoro.create_task(left())
        await tinycoro.sleep(0)

    tinycoro.run(main())
    assert log == ["cleaned up"]


def test_failures_while_shutting_down_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def left() -> None:
        try:
            await tinycoro.sleep(100)
        finally:
            raise KeyError("in the cleanup")

    async def main() -> None:
        tinycoro.create_task(left())
        await tinycoro.sleep(0)

    tinycoro.run(main())
    assert "unhandled exception during tinycoro.run() shutdown" in caplog.text


def test_a_runner_runs_several_times_on_one_loop() -> None:
    async def loop_of() -> object:
        return tinycoro.get_running_loop()

    with Runner() as runner:
        loops = {id(runner.run(loop_of())) for _ in range(3)}
        assert loops == {id(runner.get_loop())}
    with pytest.raises(RuntimeError, match="closed"):
        runner.get_loop()
    runner.close()


def test_a_loop_factory_is_used() -> None:
    made: list[tinycoro.Loop] = []

    def factory() -> tinycoro.Loop:
        made.append(tinycoro.new_event_loop())
        return made[-1]

    assert tinycoro.run(_value(1), loop_factory=factory) == 1
    assert made[0].is_closed()


def test_debug_is_passed_on() -> None:
    async def is_debug() -> bool:
        return tinycoro.get_running_loop().get_debug()

    assert tinycoro.run(is_debug(), debug=True)
    assert not tinycoro.run(is_debug(), debug=False)


def test_threads_may_each_run_their_loop() -> None:
    results: list[object] = []

    def work(number: int) -> None:
        async def main() -> object:
            parts = await tinycoro.gather(*[_value(number) for _ in range(10)])
            await tinycoro.sleep(0.001)
            return parts

        results.append(tinycoro.run(main()))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == [[n] * 10 for n in range(4)]
