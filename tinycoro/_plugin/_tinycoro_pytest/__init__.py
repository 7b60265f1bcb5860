"""pytest plugin: coroutine tests and asynchronous fixtures on tinycoro.

Installed beside the package, not in it: pytest loads every plugin that is installed, and this one
imports tinycoro only when the first test needs it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, cast

import pytest

from ._places import (
    context_of,
    loop_of,
    place_fixture,
    place_of_fixture,
    place_of_item,
    widest_place,
)

if TYPE_CHECKING:
    from ._running import LoopScope

_CURRENT = pytest.StashKey[pytest.Item]()  # the test that is being set up, run or torn down
_IS_OURS = pytest.StashKey[bool]()  # whether a test is a coroutine function that we run
_HYPOTHESIS = "is_hypothesis_test"

# Tests that say so belong to another plugin, whatever our mode.
_FOREIGN_MARKERS = ("anyio", "asyncio", "trio")


# ---- options ------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tinycoro")
    group.addoption(
        "--tinycoro-mode",
        choices=("strict", "auto"),
        help="strict: run marked tests (default); auto: run every coroutine test",
    )
    parser.addini("tinycoro_mode", "strict (default) or auto", default="strict")
    parser.addini(
        "tinycoro_timeout",
        "seconds for a test, and for each step of an asynchronous fixture; 0 (default): no limit",
        default="0",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "tinycoro(*, timeout=None): run the test and its asynchronous fixtures on tinycoro; "
        "timeout: seconds, 0 for no limit",
    )
    mode = config.getini("tinycoro_mode")
    if mode not in {"strict", "auto"}:
        raise pytest.UsageError(f"tinycoro_mode is {mode!r}; it must be 'strict' or 'auto'")
    limit = config.getini("tinycoro_timeout")
    if _limit(limit) is None:
        raise pytest.UsageError(f"tinycoro_timeout is {limit!r}; it must be seconds, or 0")


def _is_auto(config: pytest.Config) -> bool:
    mode: str = config.getoption("tinycoro_mode") or config.getini("tinycoro_mode")
    return mode == "auto"


def _limit(value: object) -> float | None:
    """The seconds that an option says, 0: no limit; None: it does not say seconds."""
    try:
        seconds = float(cast(str, value))
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _timeout_of(node: pytest.Item | pytest.Collector) -> float:
    """The limit for what runs on behalf of `node`: its marker counts for a test alone."""
    marker = node.get_closest_marker("tinycoro") if isinstance(node, pytest.Item) else None
    if marker is not None:
        if marker.args or set(marker.kwargs) - {"timeout"}:
            pytest.fail("the marker tinycoro takes timeout= and nothing else", pytrace=False)
        timeout = marker.kwargs.get("timeout")
        if timeout is not None:
            seconds = _limit(timeout)
            if seconds is None:
                pytest.fail(
                    f"the marker's timeout is {timeout!r}; it must be seconds, or 0", pytrace=False
                )
            return seconds
    return _limit(node.config.getini("tinycoro_timeout")) or 0.0


# ---- whose is it? -------------------------------------------------------------------------------


def _is_foreign(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return "anyio_backend" in names or any(map(item.get_closest_marker, _FOREIGN_MARKERS))


def _is_claimed(item: pytest.Item | None) -> bool:
    """Whether `item`, or what it requests, is ours, if it is asynchronous."""
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker("tinycoro") is not None:
        return True
    return _is_auto(item.config) and not _is_foreign(item)


def _is_coroutine_test(item: pytest.Item | None) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    function = item.obj
    if getattr(function, _HYPOTHESIS, False):
        # A state machine's test has the mark but no inner test.
        function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(function)


# ---- tests --------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    item.config.stash[_CURRENT] = item
    try:
        return (yield)
    finally:
        del item.config.stash[_CURRENT]


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    item.stash[_IS_OURS] = _is_claimed(item) and _is_coroutine_test(item)
    yield
    if not isinstance(item, pytest.Function) or _is_coroutine_test(item) or _is_foreign(item):
        return
    found = place_of_item(item)
    if found is not None:
        _refuse(item, found[1])  # it was set up for an earlier test


def _refuse(item: pytest.Item, fixture: str) -> None:
    pytest.fail(
        f"{item.nodeid} is not a coroutine function, but requests the asynchronous fixture "
        f"{fixture!r}, whose event loop does not run during such a test: make it `async def`",
        pytrace=False,
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    if not pyfuncitem.stash.get(_IS_OURS, False):
        return (yield)
    if not _is_coroutine_test(pyfuncitem):
        pytest.fail(
            f"{pyfuncitem.nodeid} is marked with tinycoro, but another plugin (asyncio_mode = "
            "auto?) has made it its own",
            pytrace=False,
        )
    found = place_of_item(pyfuncitem)
    place = pyfuncitem if found is None else found[0]
    scope = loop_of(place, _timeout_of(place))
    function = pyfuncitem.obj
    if getattr(function, _HYPOTHESIS, False):
        inner = function.hypothesis.inner_test
        function.hypothesis.inner_test = _synchronous(pyfuncitem, scope, inner)
        try:
            return (yield)
        finally:
            function.hypothesis.inner_test = inner
    pyfuncitem.obj = _synchronous(pyfuncitem, scope, function)
    try:
        return (yield)
    finally:
        pyfuncitem.obj = function


def _synchronous(
    item: pytest.Function, scope: LoopScope, function: Callable[..., Any]
) -> Callable[..., Any]:
    """What calls a coroutine function and runs the coroutine."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        __tracebackhide__ = True
        scope.check("it did not run")  # before there is a coroutine that would never be awaited
        return scope.run(
            function(*args, **kwargs), context_of(item), _timeout_of(item), item.name, item.nodeid
        )

    del call.__wrapped__  # pytest and others would look through it, and find a coroutine function
    return call


# ---- fixtures -----------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    function = fixturedef.func
    is_generator = inspect.isasyncgenfunction(function)
    item = request.config.stash.get(_CURRENT, None)
    if not (is_generator or inspect.iscoroutinefunction(function)) or not _is_claimed(item):
        result = yield
        place_fixture(request, fixturedef.argname, widest_place(request.node, fixturedef.argnames))
        return result
    assert item is not None
    if not _is_coroutine_test(item):
        _refuse(item, fixturedef.argname)
    # pytest calls what it finds here and keeps the result, as for any other fixture.
    vars(fixturedef)["func"] = functools.partial(_make, fixturedef.argname, function, request)
    try:
        return (yield)
    finally:
        vars(fixturedef)["func"] = function


def _make(
    name: str, function: Callable[..., Any], request: pytest.FixtureRequest, /, **kwargs: object
) -> object:
    """Run an asynchronous fixture up to its value, and see to its end."""
    __tracebackhide__ = True
    owner = getattr(function, "__self__", None)
    if request.instance is not None and isinstance(request.instance, type(owner)):
        # A method: of the test's instance, where it would otherwise be called on another.
        function = cast(Any, function).__func__.__get__(request.instance)
    node = request.node
    place = place_of_fixture(request, kwargs)
    scope = loop_of(place, _timeout_of(place))
    scope.check(f"the setup of {name!r} did not run")
    context, timeout = context_of(node), _timeout_of(node)
    title, what = f"fixture {name}", f"the fixture {name!r} of {node.nodeid or 'the session'}"
    made = function(**kwargs)
    if not inspect.isasyncgen(made):
        value = scope.run(made, context, timeout, title, f"the setup of {what}")
    else:
        from ._running import AsyncGeneratorFixture

        fixture = AsyncGeneratorFixture(made, title, context)
        value = scope.run(fixture.enter(), context, timeout, title, f"the setup of {what}")

        def leave() -> None:
            scope.check(f"the teardown of {what} did not run")
            scope.run(fixture.leave(), context, timeout, title, f"the teardown of {what}")

        request.addfinalizer(leave)
    place_fixture(request, name, place)
    return value
