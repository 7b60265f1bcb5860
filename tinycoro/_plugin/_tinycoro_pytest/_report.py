"""Where all tasks of a loop are, for people."""

from __future__ import annotations

import gc
import traceback
from types import FrameType
from typing import Any

import tinycoro

_Stack = list[tuple[FrameType, int]]  # outermost first, with line numbers

# Attributes of coroutines, generators and asynchronous generators: their frame, what they await.
_KINDS = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))


def describe_tasks(loop: tinycoro.Loop, frame: FrameType | None) -> str:
    """List the tasks of `loop`, in its thread; `frame`: what runs there, if a task may."""
    running = tinycoro.current_task(loop)
    parts = []
    for task in tinycoro.all_tasks(loop):
        if task is running and frame is not None:
            stack, state = _running_stack(task, frame), "runs"
        else:
            stack, state = _waiting_stack(task)
        lines = _lines(stack)
        if lines or not stack:  # else it is one of this plugin's, which only wait for others
            parts.append(f"task {task.get_name()!r} {state}\n{lines}")
    parts.sort()
    if running is None and frame is not None:
        stack = list(traceback.walk_stack(frame))[::-1]
        parts.append(f"no task runs, but the thread is here:\n{_lines(stack)}")
    return "\n".join(parts)


def _waiting_stack(task: tinycoro.Task[Any]) -> tuple[_Stack, str]:
    stack: _Stack = []
    awaited: Any = task.get_coro()
    while True:
        frame, inner = _look_into(awaited)
        if frame is None:
            return stack, f"waits for {_show(awaited)}"
        stack.append((frame, frame.f_lineno))
        if inner is None:
            return stack, "is ready to run"
        awaited = inner


def _show(awaited: object) -> str:
    try:
        return repr(awaited)
    except Exception as error:  # somebody's awaitable; the report must be made
        return f"<{type(awaited).__name__}, whose repr raises {type(error).__name__}>"


def _running_stack(task: tinycoro.Task[Any], frame: FrameType) -> _Stack:
    outermost = getattr(task.get_coro(), "cr_frame", None)
    stack: _Stack = []
    for entry in traceback.walk_stack(frame):
        stack.insert(0, entry)
        if entry[0] is outermost:
            break
    return stack


def _look_into(awaited: object) -> tuple[FrameType | None, Any]:
    """The frame of what is awaited, and what that awaits; (None, itself) for the innermost."""
    for candidate in (awaited, *_wrapped(awaited)):
        for frame_name, inner_name in _KINDS:
            frame = getattr(candidate, frame_name, None)
            if isinstance(frame, FrameType):
                return frame, getattr(candidate, inner_name, None)
    return None, awaited


def _wrapped(awaited: object) -> list[object]:
    """What `anext()` of an asynchronous generator, or a coroutine's `__await__()`, stands for."""
    if type(awaited).__name__ in {
        *("async_generator_asend", "async_generator_athrow"),
        *("coroutine_wrapper", "anext_awaitable"),
    }:
        return gc.get_referents(awaited)
    return []


def _lines(stack: _Stack) -> str:
    """The stack as a traceback shows it, without the frames that this plugin adds."""
    summary = traceback.StackSummary.extract(iter(stack))
    shown = [entry for entry in summary if "_tinycoro_pytest" not in entry.filename]
    return "".join(traceback.format_list(shown)).rstrip()
