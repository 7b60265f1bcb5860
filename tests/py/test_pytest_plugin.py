"""The pytest plugin: each test runs pytest in a child, on files of its own."""

from __future__ import annotations

import importlib.util

import pytest

from plugin_runs import INI, assert_lines, run
from support import assert_success, run_python

pytest_plugins = ["pytester"]

_HAS_OTHERS = all(map(importlib.util.find_spec, ("anyio", "pytest_asyncio")))


# ---- what it costs who does not use it ----------------------------------------------------------


def test_plugin_is_light_and_found_by_pytest(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile(
        """
        import sys

        def test_nobody_needs_it(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("tinycoro")
            assert "_tinycoro_pytest" in sys.modules
            assert "tinycoro" not in sys.modules
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-p", "no:anyio", timeout=110)
    result.assert_outcomes(passed=1)


def test_import_of_the_plugin_alone_imports_little() -> None:
    code = """
        import sys
        import _tinycoro_pytest
        assert not {"tinycoro", "asyncio"} & set(sys.modules)
    """
    assert_success(run_python(code))


# ---- tests and modes ----------------------------------------------------------------------------


_TESTS = """
    import pytest
    import tinycoro

    def test_plain():
        pass

    async def test_unmarked():
        tinycoro.get_running_loop()

    @pytest.mark.tinycoro
    async def test_marked(request):
        await tinycoro.sleep(0)
        assert isinstance(tinycoro.get_running_loop(), tinycoro.Loop)
        assert tinycoro.current_task().get_name() == request.node.name

    @pytest.mark.tinycoro
    def test_marked_but_plain():
        pass

    @pytest.mark.tinycoro
    @pytest.mark.parametrize("number", [1, 2])
    async def test_with_parameters(number, tmp_path):
        assert number in (1, 2) and tmp_path.exists()

    class TestClass:
        @pytest.mark.tinycoro
        async def test_method(self):
            await tinycoro.sleep(0)

        @staticmethod
        @pytest.mark.tinycoro
        async def test_static_method():
            await tinycoro.sleep(0)

    @pytest.mark.tinycoro
    async def test_that_fails():
        await tinycoro.sleep(0)
        left = 3
        assert left == 4

    @pytest.mark.tinycoro
    async def test_that_skips():
        pytest.skip("not today")

    @pytest.mark.tinycoro
    @pytest.mark.xfail(strict=True, raises=ZeroDivisionError)
    async def test_that_is_expected_to_fail():
        1 / 0

    @pytest.mark.tinycoro
    async def test_that_leaves_a_task():
        global left
        left = tinycoro.create_task(tinycoro.sleep(1000))

    def test_it_was_cancelled():
        assert left.cancelled()
"""


def test_strict_mode_runs_marked_tests(pytester: pytest.Pytester) -> None:
    result = run(pytester, _TESTS)
    result.assert_outcomes(passed=9, failed=2, skipped=1, xfailed=1)
    assert_lines(
        result,
        "*async def functions are not natively supported*",
        "E       assert 3 == 4",
        "FAILED *::test_unmarked *",
        "FAILED *::test_that_fails *",
    )
    # The traceback begins with the test.
    result.stdout.no_fnmatch_line("*_running.py*")
    result.stdout.no_fnmatch_line("*run_until_complete*")


@pytest.mark.parametrize("how", ["ini", "option"])
def test_auto_mode_runs_every_coroutine_test(pytester: pytest.Pytester, how: str) -> None:
    if how == "ini":
        result = run(pytester, _TESTS, ini="tinycoro_mode = auto")
    else:
        result = run(pytester, _TESTS, "--tinycoro-mode=auto", ini="tinycoro_mode = strict")
    result.assert_outcomes(passed=10, failed=1, skipped=1, xfailed=1)


@pytest.mark.parametrize(
    ("ini", "message"),
    [
        (
            "tinycoro_mode = automatic",
            "*tinycoro_mode is 'automatic'; it must be 'strict' or *",
        ),
        ("tinycoro_timeout = soon", "*tinycoro_timeout is 'soon'; it must be seconds, or 0*"),
        ("tinycoro_timeout = -1", "*tinycoro_timeout is '-1'; it must be seconds, or 0*"),
    ],
)
def test_wrong_options_are_refused(pytester: pytest.Pytester, ini: str, message: str) -> None:
    result = run(pytester, "", ini=ini)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_state_machine_of_hypothesis_is_left_alone(pytester: pytest.Pytester, mode: str) -> None:
    pytest.importorskip("hypothesis")
    source = """
        from hypothesis import stateful


        class Machine(stateful.RuleBasedStateMachine):
            @stateful.rule()
            def step(self):
                pass


        TestMachine = Machine.TestCase
    """
    arguments = ("-p", "_hypothesis_pytestplugin", f"--tinycoro-mode={mode}")
    run(pytester, source, *arguments).assert_outcomes(passed=1)


def test_async_test_of_hypothesis_runs_every_example(pytester: pytest.Pytester) -> None:
    pytest.importorskip("hypothesis")
    source = """
        import pytest
        import tinycoro
        from hypothesis import given, settings, strategies

        seen = set()

        @pytest.mark.tinycoro
        @settings(max_examples=20, deadline=None, database=None)
        @given(number=strategies.integers(0, 1))
        async def test_number(number):
            await tinycoro.sleep(0)
            seen.add(number)

        def test_all_were_seen():
            assert seen == {0, 1}
    """
    run(pytester, source, "-p", "_hypothesis_pytestplugin").assert_outcomes(passed=2)


# ---- fixtures -----------------------------------------------------------------------------------


_SCOPES = """
    import contextvars
    import pytest
    import tinycoro

    events = []
    plain = contextvars.ContextVar("plain")
    variable = contextvars.ContextVar("variable")

    def living(scope):
        @pytest.fixture(scope=scope, name=scope)
        async def fixture():
            task = tinycoro.current_task()
            token = variable.set(scope)
            events.append(f"+{scope}")
            yield tinycoro.get_running_loop()
            assert tinycoro.current_task() is task
            variable.reset(token)  # raises in another context
            events.append(f"-{scope}")
        return fixture

    for_function = living("function")
    for_class = living("class")
    for_module = living("module")
    for_session = living("session")

    @pytest.fixture
    async def value(session):
        return await tinycoro.sleep(0, session)

    @pytest.fixture
    def sync(value):
        plain.set("set by an ordinary fixture")
        return value

    pytestmark = pytest.mark.tinycoro

    async def test_function(function):
        assert variable.get() == "function"
        assert function is tinycoro.get_running_loop()

    async def test_no_fixture():
        assert events == ["+function", "-function"]
        assert variable.get(None) is None

    class TestScopes:
        loops = set()

        async def test_first(self, function):
            assert variable.get() == "function"
            assert function is tinycoro.get_running_loop()

        @pytest.mark.usefixtures("class")
        async def test_second(self, function):
            assert variable.get() == "function"
            assert function is tinycoro.get_running_loop()
            self.loops.add(function)

        @pytest.mark.usefixtures("class")
        async def test_third(self):
            assert variable.get() == "class"
            self.loops.add(tinycoro.get_running_loop())
            assert len(self.loops) == 1

    async def test_module(module, function):
        assert events[-2:] == ["+module", "+function"] and "-class" in events
        assert module is function is tinycoro.get_running_loop()
        assert variable.get() == "function"

    async def test_module_again(module):
        assert module is tinycoro.get_running_loop()
        assert variable.get() == "module"

    async def test_session(session, function, sync):
        assert session is function is sync is tinycoro.get_running_loop()
        assert plain.get() == "set by an ordinary fixture"

    def test_end():
        assert events.count("+module") == events.count("+session") == events.count("+class") == 1
        print(*events)
"""

_OTHER_MODULE = """
    import pytest
    import test_a

    @pytest.mark.tinycoro
    async def test_last(session):
        assert "-module" in test_a.events and "-session" not in test_a.events
"""


def test_fixture_scopes_have_a_loop_and_a_context_each(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI.format(more="pythonpath = ."))
    pytester.makepyfile(test_a=_SCOPES)
    pytester.makepyfile(conftest="from test_a import for_session")
    pytester.makepyfile(test_b=_OTHER_MODULE)
    result = pytester.runpytest_subprocess(timeout=110)
    result.assert_outcomes(passed=10)


_SERVER = """
    import pytest
    import tinycoro

    @pytest.fixture(scope="module")
    async def port():
        async def shout(reader, writer):
            async for line in reader:
                writer.write(line.upper())
                await writer.drain()
            writer.close()

        async with await tinycoro.start_server(shout, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    @pytest.fixture
    async def client(port):
        reader, writer = await tinycoro.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()
        await writer.wait_closed()

    @pytest.mark.tinycoro(timeout=20)
    @pytest.mark.parametrize("word", ["fibers", "tasks"])
    async def test_answer(client, word):
        reader, writer = client
        writer.write(f"{word}\\n".encode())
        assert await reader.readline() == f"{word.upper()}\\n".encode()

    @pytest.fixture
    async def group():
        async with tinycoro.TaskGroup() as group:
            yield group

    @pytest.mark.tinycoro(timeout=20)
    async def test_group(group, port):
        channel = tinycoro.Channel()
        group.create_task(channel.send(port))
        assert await channel.recv() == port
"""


def test_fixture_serves_while_tests_run(pytester: pytest.Pytester) -> None:
    run(pytester, _SERVER).assert_outcomes(passed=3)


_WRONG_FIXTURES = """
    import pytest
    import tinycoro

    class Broken(Exception):
        pass

    @pytest.fixture
    async def failing():
        raise Broken("at setup")

    @pytest.fixture
    async def failing_generator():
        raise Broken("before the yield")
        yield

    @pytest.fixture
    async def failing_teardown():
        yield
        raise Broken("after the yield")

    @pytest.fixture
    async def nothing():
        if False:
            yield

    @pytest.fixture
    async def twice():
        yield 1
        yield 2

    @pytest.fixture
    async def group():
        async with tinycoro.TaskGroup() as group:
            yield group

    @pytest.fixture(scope="module")
    async def wide():
        yield 1

    async def fail():
        raise Broken("in a group")

    pytestmark = pytest.mark.tinycoro

    async def test_1(failing): pass
    async def test_2(failing_generator): pass
    async def test_3(failing_teardown): pass
    async def test_4(nothing): pass
    async def test_5(twice): pass
    async def test_6(group):
        group.create_task(fail())
        await tinycoro.sleep(0.01)
    async def test_7(wide): pass
    def test_8(wide): pass
    def test_9(group): pass
"""


def test_fixtures_that_fail_are_told_by_name(pytester: pytest.Pytester) -> None:
    result = run(pytester, _WRONG_FIXTURES)
    result.assert_outcomes(passed=4, errors=8)
    assert_lines(
        result,
        "*ERROR at setup of test_1*",
        "E       *Broken: at setup",
        "*ERROR at setup of test_2*",
        "E       *Broken: before the yield",
        "*ERROR at teardown of test_3*",
        "E       *Broken: after the yield",
        "*ERROR at setup of test_4*",
        "fixture nothing ends without having yielded a value",
        "*ERROR at teardown of test_5*",
        "fixture twice yields more than once",
        "*ERROR at teardown of test_6*",
        "*Broken: in a group",
        "*ERROR at setup of test_8*",
        "*test_8 is not a coroutine function, but requests the asynchronous fixture 'wide'*",
        "*ERROR at setup of test_9*",
        "*test_9 is not a coroutine function, but requests the asynchronous fixture 'group'*",
    )


# ---- other plugins ------------------------------------------------------------------------------


_OTHERS = """
    import asyncio
    import anyio
    import pytest
    import pytest_asyncio
    import tinycoro

    @pytest_asyncio.fixture
    async def of_asyncio():
        yield asyncio.get_running_loop()

    @pytest.fixture
    async def of_tinycoro():
        yield tinycoro.get_running_loop()

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    @pytest.fixture
    async def of_anyio(anyio_backend):
        yield asyncio.get_running_loop()

    @pytest.mark.asyncio
    async def test_asyncio(of_asyncio):
        assert of_asyncio is asyncio.get_running_loop()
        assert not isinstance(of_asyncio, tinycoro.Loop)

    @pytest.mark.anyio
    async def test_anyio(of_anyio):
        await anyio.sleep(0)
        assert of_anyio is asyncio.get_running_loop()
        assert not isinstance(of_anyio, tinycoro.Loop)

    @pytest.mark.tinycoro
    async def test_tinycoro(of_tinycoro):
        assert of_tinycoro is tinycoro.get_running_loop()

    async def test_unmarked():
        tinycoro.get_running_loop()
"""

_PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "anyio.pytest_plugin")
_ASYNCIO_INI = "asyncio_default_fixture_loop_scope = function"


@pytest.mark.skipif(not _HAS_OTHERS, reason="group `plugins` is installed on one interpreter")
@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_other_plugins_keep_their_tests(pytester: pytest.Pytester, mode: str) -> None:
    result = run(pytester, _OTHERS, *_PLUGINS, f"--tinycoro-mode={mode}", ini=_ASYNCIO_INI)
    result.assert_outcomes(passed=3 + (mode == "auto"), failed=mode == "strict")


@pytest.mark.skipif(not _HAS_OTHERS, reason="group `plugins` is installed on one interpreter")
def test_plugin_that_takes_a_marked_test_is_told(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.mark.tinycoro
        async def test_it():
            pass
    """
    result = run(pytester, source, *_PLUGINS, "--asyncio-mode=auto", ini=_ASYNCIO_INI)
    result.assert_outcomes(failed=1)
    assert_lines(result, "*test_it is marked with tinycoro, but another plugin*")


# ---- interrupts ---------------------------------------------------------------------------------


def test_interrupt_ends_the_run_and_the_fixtures(pytester: pytest.Pytester) -> None:
    source = """
        import os
        import pytest
        import signal
        import tinycoro

        @pytest.fixture
        async def fixture():
            yield
            print("torn down")

        @pytest.mark.tinycoro
        async def test_it(fixture):
            os.kill(os.getpid(), signal.SIGINT)
            await tinycoro.sleep(1000)

        @pytest.mark.tinycoro
        async def test_never(fixture):
            pass
    """
    result = run(pytester, source, "-s")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert_lines(result, "*torn down*", "*KeyboardInterrupt*")
    assert "test_never" not in result.stdout.str()
