"""The loop thread of an HTTPServer that is started where no loop runs."""

import threading
from collections.abc import Callable

from ._core import Event, _set_loop_thread
from .events import Loop
from .runners import Runner


def _start_loop_thread() -> tuple[Loop, Callable[[], None]]:
    """Start a loop in a thread of its own.

    Returns the loop, and what ends it, to be called in it.
    """
    loops: list[Loop] = []
    stop = Event()
    is_running = threading.Event()

    async def main() -> None:
        is_running.set()
        await stop.wait()

    def run() -> None:
        with Runner() as runner:
            loops.append(runner.get_loop())
            runner.run(main())

    threading.Thread(target=run, name="tinycoro-http", daemon=True).start()
    is_running.wait()
    return loops[0], stop.set


def register_loop_thread() -> None:
    """Let HTTPServer know what starts a loop thread; once, when the package is imported."""
    _set_loop_thread(_start_loop_thread)
