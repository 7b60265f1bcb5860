"""Where things run: every node of pytest's tree may have an event loop and a context.

A test runs on the loop of the widest asynchronous fixture that it requests, so that what that
fixture has started (a server, say) runs on during the test; without one, on a loop of its own. An
asynchronous fixture of a class, module, package or session does the same with the fixtures that it
requests itself. A loop is closed with its node.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._running import LoopScope

Node = pytest.Item | pytest.Collector

_MISSING = object()


# ---- places -------------------------------------------------------------------------------------

# Of the fixtures with the scope of this node, those that depend on a loop: by name, whose loop.
_PLACES = pytest.StashKey[dict[str, Node]]()


def place_fixture(request: pytest.FixtureRequest, name: str, place: Node | None) -> None:
    """Remember whose loop a fixture that has been set up depends on; None: on no loop."""
    places = request.node.stash.setdefault(_PLACES, {})
    if place is None:
        places.pop(name, None)
    else:
        places[name] = place


def widest_place(node: Node, names: Iterable[str]) -> Node | None:
    """The widest of the places of the fixtures called `names` that `node` can see."""
    found = _widest(node, names)
    return None if found is None else found[0]


def _widest(node: Node, names: Iterable[str]) -> tuple[Node, str] | None:
    wanted = set(names)
    best: tuple[Node, str] | None = None
    for holder in node.listchain():
        for name, place in holder.stash.get(_PLACES, {}).items():
            if name in wanted and (best is None or _depth(place) < _depth(best[0])):
                best = place, name
    return best


def _depth(node: Node) -> int:
    return len(node.listchain())


def place_of_item(item: pytest.Function) -> tuple[Node, str] | None:
    """The widest place of what a test requests, and the fixture that has it."""
    # What it requests at run time is known to its own node only.
    return _widest(item, (*item.fixturenames, *item.stash.get(_PLACES, ())))


def place_of_fixture(request: pytest.FixtureRequest, arguments: Iterable[str]) -> Node:
    """Whose loop an asynchronous fixture runs on that is about to be set up."""
    node = request.node
    if isinstance(node, pytest.Function):
        found = place_of_item(node)
        return node if found is None else found[0]
    return widest_place(node, arguments) or node


# ---- loops --------------------------------------------------------------------------------------

_LOOP = pytest.StashKey["LoopScope"]()


def loop_of(node: Node, timeout: float) -> LoopScope:
    """The loop of a node that is being set up or run; closed when the node is torn down."""
    scope = node.stash.get(_LOOP, None)
    if scope is None:
        from ._running import LoopScope

        scope = LoopScope()
        node.stash[_LOOP] = scope

        def close() -> None:
            del node.stash[_LOOP]
            node.stash[_PLACES] = {}
            scope.close(timeout, f"the event loop of {node.nodeid or 'the session'}")

        node.addfinalizer(close)
    return scope


# ---- contexts -----------------------------------------------------------------------------------


class _Variables:
    """The context variables of one node, and what they were when they were last compared."""

    def __init__(self, node: Node) -> None:
        self.seen = contextvars.copy_context()
        self.context = self.seen.copy()
        for ancestor in node.listchain()[:-1]:
            variables = ancestor.stash.get(_VARIABLES, None)
            if variables is not None:
                for variable, value in variables.changes():
                    self.context.run(variable.set, value)

    def changes(self) -> list[tuple[contextvars.ContextVar[object], object]]:
        """What asynchronous code of this node has set."""
        return _changes(self.seen, self.context)

    def follow(self) -> contextvars.Context:
        """Take over what ordinary fixtures have set meanwhile, and return the context."""
        now = contextvars.copy_context()
        for variable, value in _changes(self.seen, now):
            self.context.run(variable.set, value)
        self.seen = now
        return self.context


def _changes(
    before: contextvars.Context, after: contextvars.Context
) -> list[tuple[contextvars.ContextVar[object], object]]:
    return [
        (variable, value)
        for variable, value in after.items()
        if before.get(variable, _MISSING) is not value
    ]


_VARIABLES = pytest.StashKey[_Variables]()


def context_of(node: Node) -> contextvars.Context:
    """The context in which asynchronous fixtures of this node, or a test, run.

    It starts with what asynchronous fixtures of wider scopes have set.
    """
    variables = node.stash.get(_VARIABLES, None)
    if variables is None:
        variables = node.stash[_VARIABLES] = _Variables(node)
        node.addfinalizer(lambda: node.stash.__delitem__(_VARIABLES))
    return variables.follow()
