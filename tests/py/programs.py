"""Random programs of tasks, groups, deadlines and cancels, and what they do.

A program is a tree of steps, made by asking `choose(n)` for numbers below n, so that hypothesis or
a seeded generator may decide. `run_program` runs it on either library and returns its trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableSet
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from both import Lib, Some, run_virtual

Choose: TypeAlias = Callable[[int], int]
Step: TypeAlias = tuple[Any, ...]
Block: TypeAlias = list[Step]

_LEAVES = ("sleep", "sleep", "yield", "fail", "count", "cancel", "spawn", "reschedule", "return")
_TREES = (
    *("group", "group", "group", "timeout", "timeout", "wait_for", "wait_for_task", "shield"),
    *("gather", "catch", "swallow", "cleanup", "wait", "as_completed"),
)


def make_program(choose: Choose, depth: int = 3) -> Block:
    """A block of steps, nested at most `depth` deep."""
    return [_make_step(choose, depth) for _ in range(1 + choose(3))]


def _make_step(choose: Choose, depth: int) -> Step:
    kinds = (*_LEAVES, *_TREES) if depth > 0 else _LEAVES
    kind = kinds[choose(len(kinds))]

    def block() -> Block:
        return make_program(choose, depth - 1)

    def blocks() -> list[Block]:
        return [block() for _ in range(1 + choose(3))]

    match kind:
        case "sleep" | "reschedule" | "cancel":
            return kind, choose(4)
        case "spawn":
            return kind, [] if depth == 0 else block()
        case "group":
            return kind, blocks(), block()
        case "timeout" | "wait_for" | "wait_for_task" | "cleanup":
            return kind, choose(5) - 1, block()
        case "shield" | "catch" | "swallow":
            return kind, block()
        case "gather" | "wait" | "as_completed":
            return kind, blocks(), choose(6)
    return (kind,)


class Failure(Exception):
    """What a program raises, with the place."""


class _Ordered(MutableSet[Any]):
    """A set in the order of insertion: asyncio cancels the tasks of a group in the order of a set,
    which is that of addresses, tinycoro in the order in which they were made."""

    def __init__(self) -> None:
        self._items: dict[Any, None] = {}

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: Some) -> None:
        self._items[value] = None

    def discard(self, value: Some) -> None:
        self._items.pop(value, None)


def describe(error: BaseException | None, depth: int = 3) -> str:
    """An exception with its members, cause and context, as text."""
    if error is None:
        return "-"
    text = f"{type(error).__name__}{error.args[:1]}"
    if isinstance(error, BaseExceptionGroup):
        members = [describe(member, depth) for member in error.exceptions]
        text = f"{type(error).__name__}{members}"
    if depth == 0:
        return text
    if error.__cause__ is not None:
        text += f" from {describe(error.__cause__, depth - 1)}"
    if error.__context__ is not None and not error.__suppress_context__:
        text += f" in {describe(error.__context__, depth - 1)}"
    return text


@dataclass(frozen=True)
class _Scope:
    """What surrounds a step."""

    path: str
    group: Any = None
    timeout: Any = None


class _Run:
    def __init__(self, lib: Lib, log: list[object]) -> None:
        self.lib = lib
        self.log = log
        self.tasks: list[Any] = []
        self.loop = lib.get_running_loop()
        self.delays = 0

    def delay(self, seconds: int) -> float:
        """No two deadlines are equal: which comes first would be open in asyncio."""
        self.delays += 1
        return seconds + self.delays / 512 if seconds > 0 else seconds

    def limit(self, seconds: int) -> float | None:
        return None if seconds == 3 else self.delay(seconds)

    def tell(self, scope: _Scope, *what: object) -> None:
        self.log.append(f"{self.loop.time():g} {scope.path} {' '.join(map(str, what))}")

    async def main(self, program: Block) -> None:
        self.spawn(self.lib.create_task, program, _Scope("r"))
        while pending := [task for task in self.tasks if not task.done()]:
            await self.lib.wait(pending)
        for task in self.tasks:
            if task.cancelled():
                self.log.append(f"{task.get_name()} cancelled {task.cancelling()}")
            else:
                self.log.append(f"{task.get_name()} {describe(task.exception())}")

    def spawn(self, create: Callable[..., Any], program: Block, scope: _Scope) -> Some:
        coro = self.block(program, _Scope(scope.path))
        task = create(coro, name=scope.path)
        task.add_done_callback(lambda task: self.tell(scope, "done", task.cancelled()))
        self.tasks.append(task)
        return task

    async def block(self, program: Block, scope: _Scope) -> str:
        self.tell(scope, "begins")
        try:
            for number, step in enumerate(program):
                await self.step(step, replace(scope, path=f"{scope.path}.{number}"))
        except BaseException as error:
            self.tell(scope, "raised", describe(error))
            raise
        self.tell(scope, "ends")
        return scope.path

    async def step(self, step: Step, scope: _Scope) -> None:
        match step:
            case ("sleep", seconds):
                await self.lib.sleep(self.delay(seconds))
            case ("yield",):
                await self.lib.sleep(0)
            case ("fail",):
                raise Failure(scope.path)
            case ("count",):
                self.tell(scope, "cancelling", self.lib.current_task().cancelling())
            case ("cancel", number):
                task = self.tasks[number % len(self.tasks)]
                self.tell(scope, "cancels", task.get_name(), task.cancel(scope.path))
            case ("spawn", program):
                self.spawn(self.lib.create_task, program, scope)
            case ("reschedule", seconds):
                if scope.timeout is not None and not scope.timeout.expired():
                    when = None if seconds == 3 else self.loop.time() + self.delay(seconds)
                    scope.timeout.reschedule(when)
            case ("return",):
                pass
            case _:
                await self.tree(step, scope)

    async def tree(self, step: Step, scope: _Scope) -> None:
        match step:
            case ("group", programs, program):
                await self.run_group(programs, program, scope)
            case ("timeout", seconds, program):
                async with self.lib.timeout(self.limit(seconds)) as timeout:
                    await self.block(program, replace(scope, timeout=timeout))
                self.tell(scope, timeout.expired())
            case ("wait_for", seconds, program):
                result = await self.lib.wait_for(self.block(program, scope), self.limit(seconds))
                self.tell(scope, "got", result)
            case ("wait_for_task", seconds, program):
                task = self.spawn(self.lib.create_task, program, scope)
                self.tell(scope, "got", await self.lib.wait_for(task, self.limit(seconds)))
            case ("shield", program):
                task = self.spawn(self.lib.create_task, program, scope)
                self.tell(scope, "got", await self.lib.shield(task))
            case ("gather", programs, number):
                blocks = [
                    self.block(program, _Scope(f"{scope.path}.{place}"))
                    for place, program in enumerate(programs)
                ]
                results = await self.lib.gather(*blocks, return_exceptions=number % 2 == 0)
                self.tell(scope, "got", [self.show(result) for result in results])
            case ("cleanup", seconds, program):
                try:
                    await self.block(program, scope)
                finally:
                    await self.lib.sleep(self.delay(max(seconds, 0)))
                    self.tell(scope, "cleaned")
            case ("catch", program):
                try:
                    await self.block(program, scope)
                except Exception as error:
                    self.tell(scope, "caught", describe(error))
            case ("swallow", program):
                try:
                    await self.block(program, scope)
                except BaseException as error:
                    self.tell(scope, "swallowed", describe(error))
                    self.tell(scope, "left", self.lib.current_task().uncancel())
            case ("wait", programs, number):
                await self.run_wait(programs, number, scope)
            case ("as_completed", programs, number):
                await self.run_as_completed(programs, number, scope)

    def show(self, result: object) -> str:
        return describe(result) if isinstance(result, BaseException) else str(result)

    async def run_group(self, programs: list[Block], program: Block, scope: _Scope) -> None:
        group = self.lib.TaskGroup()
        if self.lib.__name__ == "asyncio":
            group._tasks = _Ordered()
        async with group:
            for number, child in enumerate(programs):
                self.spawn(group.create_task, child, _Scope(f"{scope.path}g{number}"))
            await self.block(program, replace(scope, group=group))
        self.tell(scope, "left group")

    async def run_wait(self, programs: list[Block], number: int, scope: _Scope) -> None:
        tasks = [
            self.spawn(self.lib.create_task, program, _Scope(f"{scope.path}w{place}"))
            for place, program in enumerate(programs)
        ]
        mode = ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION")[number % 3]
        timeout = None if number < 3 else self.delay(number - 2)
        done, pending = await self.lib.wait(tasks, timeout=timeout, return_when=mode)
        for futures in (done, pending):
            self.tell(scope, "sorted", sorted(task.get_name() for task in futures))

    async def run_as_completed(self, programs: list[Block], number: int, scope: _Scope) -> None:
        tasks = [
            self.spawn(self.lib.create_task, program, _Scope(f"{scope.path}a{place}"))
            for place, program in enumerate(programs)
        ]
        timeout = None if number < 3 else self.delay(number - 2)
        if number % 2:
            async for task in self.lib.as_completed(tasks, timeout=timeout):
                self.tell(scope, "next", task.get_name())
        else:
            for coro in self.lib.as_completed(tasks, timeout=timeout):
                self.tell(scope, "next", await coro)


def run_program(lib: Lib, program: Block) -> list[str]:
    """The trace of a program: each step's time, place and outcome, in order."""

    async def scenario(lib: Lib, log: list[object]) -> None:
        await _Run(lib, log).main(program)

    return run_virtual(lib, scenario)
