"""The pytest plugin: time limits hold whatever a test does, and tell where all tasks are."""

from __future__ import annotations

import pytest

from plugin_runs import assert_lines, run

pytest_plugins = ["pytester"]


_SLOW = """
    import pytest
    import time
    import tinycoro

    pytestmark = pytest.mark.tinycoro

    async def wait_for_it(channel):
        await channel.recv()

    async def numbers(channel):
        await channel.recv()
        yield

    async def test_that_waits():
        tinycoro.create_task(wait_for_it(tinycoro.Channel()), name="helper")
        async for _ in numbers(tinycoro.Channel()):
            pass

    @pytest.mark.tinycoro(timeout=0.1)
    async def test_that_takes_no_cancel():
        while True:
            try:
                await wait_for_it(tinycoro.Channel())
            except tinycoro.CancelledError:
                pass

    @pytest.mark.tinycoro(timeout=0.1)
    async def test_that_does_not_return():
        while True:
            try:
                time.sleep(30)
            except Exception:
                pass

    @pytest.mark.tinycoro(timeout=0.1)
    async def test_that_says_it_is_done():
        try:
            await wait_for_it(tinycoro.Channel())
        except tinycoro.CancelledError:
            pass

    class Silent(tinycoro.Future):
        def __repr__(self):
            raise ValueError("no repr")

    async def test_that_waits_for_what_has_no_repr():
        await Silent()

    @pytest.mark.tinycoro(timeout=0)
    async def test_without_limit():
        await tinycoro.sleep(0.5)

    @pytest.mark.tinycoro(30)
    async def test_wrong_argument():
        pass

    @pytest.mark.tinycoro(timeout="30 s")
    async def test_wrong_time():
        pass
"""


def test_what_is_over_time_fails_and_tells_of_all_tasks(pytester: pytest.Pytester) -> None:
    result = run(pytester, _SLOW, ini="tinycoro_timeout = 0.3")
    result.assert_outcomes(passed=1, failed=7)
    assert_lines(
        result,
        "*::test_that_waits did not end within 0.3 s",
        "task 'helper' waits for <operation Channel.recv suspended>",
        "  File *, in wait_for_it",
        "    await channel.recv()",
        "task 'test_that_waits' waits for <operation Channel.recv suspended>",
        "  File *, in test_that_waits",
        "    async for _ in numbers(tinycoro.Channel()):",
        "  File *, in numbers",
        "    await channel.recv()",
        "*::test_that_takes_no_cancel did not end within 0.1 s",
        "task 'test_that_takes_no_cancel' waits for <operation Channel.recv suspended>",
        "It did not end when it was cancelled either.",
        "*::test_that_does_not_return did not end within 0.1 s",
        "task 'test_that_does_not_return' runs",
        "    time.sleep(30)",
        "*::test_that_says_it_is_done did not end within 0.1 s",
        "task * waits for <Silent, whose repr raises ValueError>",
        "the marker tinycoro takes timeout= and nothing else",
        "the marker's timeout is '30 s'; it must be seconds, or 0",
    )


_SLOW_FIXTURES = """
    import pytest
    import tinycoro

    pytestmark = pytest.mark.tinycoro

    @pytest.fixture
    async def slow_setup():
        await tinycoro.sleep(1000)
        yield

    @pytest.fixture
    async def slow_teardown():
        yield
        await tinycoro.sleep(1000)

    @pytest.fixture(scope="class")
    async def shared():
        yield

    async def stubborn():
        while True:
            try:
                await tinycoro.sleep(1000)
            except tinycoro.CancelledError:
                pass

    async def test_setup(slow_setup): pass
    async def test_teardown(slow_teardown): pass

    class TestShared:
        async def test_that_takes_no_cancel(self, shared):
            await stubborn()

        async def test_after_it(self, shared):
            pass

    async def test_that_leaves_what_takes_no_cancel():
        tinycoro.create_task(stubborn())
        await tinycoro.sleep(0)

    async def test_after_all():
        await tinycoro.sleep(0)
"""


def test_fixtures_and_leftovers_have_the_time_limit_too(pytester: pytest.Pytester) -> None:
    result = run(pytester, _SLOW_FIXTURES, ini="tinycoro_timeout = 0.5")
    result.assert_outcomes(passed=3, failed=2, errors=4)
    assert_lines(
        result,
        "*ERROR at setup of test_setup*",
        "the setup of the fixture 'slow_setup' of *::test_setup did not end within 0.5 s",
        "task 'fixture slow_setup' waits for <operation sleep suspended>",
        "*ERROR at teardown of test_teardown*",
        "the teardown of the fixture 'slow_teardown' of *::test_teardown did not end within 0.5 s",
        "*ERROR at teardown of *test_after_it*",
        "the teardown of the fixture 'shared' of *::TestShared did not run: its event loop was "
        "given up when *::test_that_takes_no_cancel did not end",
        "*ERROR at teardown of test_that_leaves_what_takes_no_cancel*",
        "the event loop of *::test_that_leaves_what_takes_no_cancel did not end within 0.5 s",
        "    await tinycoro.sleep(1000)",
        "it did not run: its event loop was given up when *::test_that_takes_no_cancel did not end",
    )
