"""`asyncio` as CPython's tests see it: tinycoro under asyncio's names.

The real asyncio is imported first, because tinycoro uses its exceptions and its running loop; then
tinycoro; then `install()` puts stand-ins for asyncio and its submodules into `sys.modules`, before
anything of unittest has been imported. Whoever imports asyncio later (unittest, unittest.mock, the
tests) gets these.

A stand-in finds a name
 1. in what the tests need and tinycoro has no place for: policies, the C and Python twins;
 2. in tinycoro, and in the module of tinycoro that holds what asyncio's module of that name holds:
    there it is also set, so that `mock.patch("asyncio.base_events.logger")` takes effect;
 3. in the real asyncio, but only what `FROM_ASYNCIO` lists.
Everything else is missing, and a test that needs it fails.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from types import ModuleType
from typing import Any

import tinycoro
from tinycoro import debug, events, runners

# What is asyncio's own in tinycoro too, or no part of what is tested: exceptions, the interface of
# a loop, and what unittest imports from asyncio by itself.
FROM_ASYNCIO = (
    *("AbstractEventLoop", "BrokenBarrierError", "CancelledError", "IncompleteReadError"),
    *("InvalidStateError", "LimitOverrunError", "QueueEmpty", "QueueFull", "QueueShutDown"),
    *("TimeoutError", "iscoroutinefunction", "AbstractEventLoopPolicy", "Protocol"),
)

# asyncio's submodule → modules of tinycoro with the same content; those that do not exist are
# left out.
SUBMODULES = {
    "base_events": ("events",),
    "base_futures": (),
    "coroutines": ("events", "runners"),
    "events": ("events",),
    "exceptions": (),
    "futures": ("_core", "futures", "tasks", "threads"),
    "locks": ("_core", "locks"),
    "log": ("events",),
    "proactor_events": (),
    "queues": ("_core", "queues"),
    "runners": ("runners",),
    "streams": ("_core", "streams"),
    "taskgroups": ("_core", "tasks", "taskgroups"),
    "tasks": ("_core", "tasks"),
    "threads": ("threads",),
    "timeouts": ("_core", "timeouts", "tasks"),
}


# asyncio's own submodules that tinycoro imports when somebody asks for a socket.
KEPT = ("trsock",)

# asyncio's private name → what says the same here, as module and name; tests patch these.
ALIASES = {"_is_debug_mode": (debug, "is_default")}


class TestLoop(events.Loop):
    """A loop whose attributes a test may set as it does those of asyncio's BaseEventLoop."""

    # unittest and asyncio's tests look at this before they shut the executor down.
    _default_executor: Any = None

    def _write_to_self(self) -> None:
        """Tests replace this; our loop is woken by its mailbox."""


class AnyLoop(type):
    """Of a class whose instances all loops are."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, events.Loop)


class SelectorLoop(TestLoop, metaclass=AnyLoop):
    """A loop for tests that choose a selector; ours has its own poller."""

    def __init__(self, selector: Any = None) -> None:
        super().__init__()
        if selector is not None:
            selector.close()


class ProactorLoop:
    """Windows' loop: what tests ask `isinstance` of."""


class Policy:
    """The one policy of the tests that has a place here: which loop run() makes.

    tinycoro has no policies: `loop_factory` says it. The tests of run() set one in setUp.
    """

    def __init__(self) -> None:
        self.policy: Any = None

    def set(self, policy: Any) -> None:
        """asyncio.set_event_loop_policy: run() asks this one from now on; None: the default."""
        self.policy = policy
        target: Any = runners
        if policy is None:
            target.new_event_loop = events.new_event_loop
            target.set_event_loop = events.set_event_loop
        else:
            # Looked up at each call: a test replaces methods of its policy.
            target.new_event_loop = lambda: self.policy.new_event_loop()
            target.set_event_loop = lambda loop: self.policy.set_event_loop(loop)

    def get(self) -> Any:
        """asyncio.get_event_loop_policy."""
        return self.policy


class StandIn(ModuleType):
    """A module that looks its names up elsewhere; see the head of this file."""

    def __init__(self, name: str, extra: dict[str, object], sources: list[ModuleType]) -> None:
        super().__init__(name)
        self.__dict__.update(extra)
        self.__dict__["_sources"] = sources
        self.__dict__["_originals"] = {}

    def _place(self, name: str) -> tuple[ModuleType, str] | None:
        """Where tinycoro has it: a module, and the name there."""
        if name in ALIASES:
            return ALIASES[name]
        for source in self.__dict__["_sources"]:
            if name in vars(source):
                return source, name
        return None

    def __getattr__(self, name: str) -> Any:
        place = self._place(name)
        if place is not None:
            return getattr(*place)
        if name in FROM_ASYNCIO:
            return getattr(asyncio, name)
        raise AttributeError(f"tinycoro has no {name} in place of {self.__name__}'s")

    def __setattr__(self, name: str, value: object) -> None:
        place = self._place(name)
        if place is None:
            super().__setattr__(name, value)
            return
        self.__dict__["_originals"].setdefault(name, getattr(*place))
        setattr(*place, value)

    def __delattr__(self, name: str) -> None:
        # How mock.patch undoes what it set where the name is not the module's own.
        place = self._place(name)
        if place is None or name not in self.__dict__["_originals"]:
            super().__delattr__(name)
            return
        setattr(*place, self.__dict__["_originals"].pop(name))


def _twins() -> dict[str, object]:
    """The names by which the tests reach the C and the Python version of each class."""
    twins: dict[str, object] = {}
    for prefix in ("_C", "_Py"):
        twins[f"{prefix}Task"] = tinycoro.Task
        twins[f"{prefix}Future"] = tinycoro.Future
    for prefix in ("_c", "_py"):
        twins[f"{prefix}_current_task"] = tinycoro.current_task
        for name in ("_register_task", "_unregister_task", "_enter_task", "_leave_task"):
            twins[prefix + name] = _private
    return twins


def _private(*_args: object) -> None:
    raise NotImplementedError("asyncio's private registry of tasks")


def _importable(name: str) -> list[ModuleType]:
    try:
        return [importlib.import_module(f"tinycoro.{name}")]
    except ModuleNotFoundError:
        return []


def install() -> None:
    """Put the stand-ins into sys.modules. Raises: RuntimeError if unittest has been imported."""
    if "unittest" in sys.modules:
        raise RuntimeError("unittest was imported before the stand-in for asyncio was there")
    policy = Policy()
    extra: dict[str, object] = {
        "BaseEventLoop": TestLoop,
        "EventLoop": events.Loop,
        "SelectorEventLoop": SelectorLoop,
        "set_event_loop_policy": policy.set,
        "get_event_loop_policy": policy.get,
    }
    package = StandIn("asyncio", {**extra, "__path__": []}, [tinycoro])
    for name, modules in SUBMODULES.items():
        sources = [module for each in modules for module in _importable(each)]
        own = dict(_twins()) if name in ("tasks", "futures") else dict(extra)
        if name == "proactor_events":
            own["BaseProactorEventLoop"] = ProactorLoop
        if name == "coroutines":
            own["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]  # for unittest.mock
        stand_in = StandIn(f"asyncio.{name}", own, [*sources, tinycoro])
        sys.modules[f"asyncio.{name}"] = stand_in
        package.__dict__[name] = stand_in
    for name in [name for name in sys.modules if name.startswith("asyncio.")]:
        if name.removeprefix("asyncio.") not in (*SUBMODULES, *KEPT):
            del sys.modules[name]
    sys.modules["asyncio"] = package
