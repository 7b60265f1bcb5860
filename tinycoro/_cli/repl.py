"""`python -m tinycoro` alone: a REPL in which `await` stands at the top level.

The main thread alternates. It reads a statement, while a helper thread runs the loop, so that
tasks go on; then it takes the loop over and runs the statement in it. So ^C at the prompt, signal
handlers and `threading.main_thread()` are what they are in any REPL.
"""

from __future__ import annotations

import ast
import builtins
import code
import contextvars
import ctypes
import inspect
import os
import platform
import signal
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tinycoro

_HISTORY = "~/.tinycoro_history"
_HISTORY_LENGTH = 1000


class _Session:
    """A loop and a namespace, and who runs the loop when."""

    def __init__(self, runner: tinycoro.Runner, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self.is_reading = False  # ^C ends that
        self._loop = runner.get_loop()
        self._context = contextvars.copy_context()
        self._statement: tinycoro.Task[None] | None = None
        self._interrupts = 0
        self._ended_by: BaseException | None = None  # what a task has left the helper thread with
        self._stopping: threading.Thread | None = None  # the helper, while the main thread waits

    # ---- statements -----------------------------------------------------------------------------

    def run(self, compiled: types.CodeType) -> None:
        """Run a statement as a task. Raises: what it raises; KeyboardInterrupt after ^C."""
        self._interrupts = 0
        task = self._loop.create_task(
            _execute(types.FunctionType(compiled, self.namespace)), context=self._context
        )
        self._statement = task
        try:
            self._loop.run_until_complete(task)
        except tinycoro.CancelledError:
            if self._interrupts:
                raise KeyboardInterrupt from None
            raise
        except BaseException:
            # ^C may have hit another task, or a callback; SystemExit too comes out of any.
            if not task.done():
                task.cancel()
                self._loop.run_until_complete(_ended(task))
            elif not task.cancelled():
                task.exception()  # is seen: it is what is raised here
            raise
        finally:
            self._statement = None

    def on_sigint(self, _number: int, _frame: types.FrameType | None) -> None:
        """Interrupt what runs; a statement that waits is cancelled, the second time interrupted."""
        self._interrupts += 1
        task = self._statement
        if self._stopping is not None:
            # A task does not return to the loop, which the main thread waits for.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._stopping.ident or 0), ctypes.py_object(KeyboardInterrupt)
            )
        elif task is None:
            if self.is_reading:
                raise KeyboardInterrupt
        elif task.done() or self._interrupts > 1 or tinycoro.current_task(self._loop) is not None:
            raise KeyboardInterrupt
        else:
            task.cancel()
            self._loop.call_soon_threadsafe(_nothing)  # it may be about to sleep

    # ---- while there is no statement ------------------------------------------------------------

    def read(self, prompt: str) -> str:
        """Read a line; a thread runs the loop meanwhile.

        Raises: EOFError; KeyboardInterrupt after ^C; what a task has left the loop with, SystemExit
        for one.
        """
        self._ended_by = None
        is_read = self._loop.create_future()
        helper = threading.Thread(
            target=self._run_loop, args=(is_read,), name="tinycoro-repl", daemon=True
        )
        previous = signal.set_wakeup_fd(self._loop._signal_fd(), warn_on_full_buffer=False)
        helper.start()
        line = ""
        try:
            self.is_reading = True
            if self._ended_by is None:
                line = input(prompt)
        except KeyboardInterrupt:
            if self._ended_by is None:
                raise
        finally:
            self._stopping = helper  # at once: from here on ^C is for what the helper runs
            self.is_reading = False
            self._loop.call_soon_threadsafe(_set, is_read)
            helper.join()
            self._stopping = None
            signal.set_wakeup_fd(previous)
        if self._ended_by is not None:
            raise self._ended_by
        return line

    def _run_loop(self, is_read: tinycoro.Future[None]) -> None:
        try:
            self._loop.run_until_complete(is_read)
        except BaseException as error:
            self._ended_by = error
            if self._stopping is None:
                # The main thread waits for a line that may never come.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


async def _execute(function: types.FunctionType) -> None:
    result = function()
    if inspect.iscoroutine(result):  # of a statement that awaits; it displays values itself
        await result


async def _ended(task: tinycoro.Task[None]) -> None:
    await tinycoro.wait([task])
    if not task.cancelled():
        task.exception()  # something else is being told already


def _set(future: tinycoro.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _nothing() -> None:
    """What a loop is woken for."""


# ---- statements from a terminal -----------------------------------------------------------------


class _Console(code.InteractiveConsole):
    """What reads statements from a terminal and shows what they raise."""

    def __init__(self, session: _Session) -> None:
        super().__init__(session.namespace, "<console>")
        self._session = session
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def raw_input(self, prompt: str = "") -> str:
        return self._session.read(prompt)

    def runcode(self, compiled: types.CodeType) -> None:
        try:
            self._session.run(compiled)
        except SystemExit:
            raise
        except KeyboardInterrupt:
            self.write("\nKeyboardInterrupt\n")
        except BaseException as error:
            self.write(_explain(error, self.filename))


def _explain(error: BaseException, filename: str) -> str:
    """The exception as text, without the frames that are ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != filename:
        trace = trace.tb_next
    error.__traceback__ = trace
    vars(sys).update(last_exc=error, last_type=type(error), last_value=error, last_traceback=trace)
    return "".join(traceback.format_exception(error))


@contextmanager
def _line_editing(namespace: dict[str, Any]) -> Iterator[None]:
    """Completion by Tab, and a history that lasts; nothing where readline is not to be had."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        yield
        return
    readline.set_completer(rlcompleter.Completer(namespace).complete)
    is_editline = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_editline else "tab: complete")
    path = os.path.expanduser(_HISTORY)
    with suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        readline.set_completer(None)
        readline.set_history_length(_HISTORY_LENGTH)
        with suppress(OSError):
            readline.write_history_file(path)


def _interact(session: _Session) -> int:
    banner = (
        f"tinycoro {tinycoro.__version__} on {platform.python_implementation()} "
        f"{platform.python_version()}; tinycoro is imported.\n"
        "`await` may stand at the top level; tasks run on while this waits for input."
    )
    console = _Console(session)
    startup = None if sys.flags.ignore_environment else os.environ.get("PYTHONSTARTUP")
    with _line_editing(session.namespace):
        if startup:
            with suppress(OSError):
                text = Path(startup).read_text(encoding="utf-8")
                console.runcode(compile(text, startup, "exec"))
        console.interact(banner, exitmsg="")
    return 0


# ---- statements from a pipe or a file -----------------------------------------------------------


def _run_script(session: _Session) -> int:
    """Run all of standard input, as `python` does, but with values displayed and `await`."""
    filename = "<stdin>"
    console = _Console(session)
    try:
        session.is_reading = True
        source = sys.stdin.read()
        session.is_reading = False
        statements = ast.parse(source, filename).body
        for statement in statements:
            interactive = ast.Interactive([statement])
            compiled = console.compile.compiler(interactive, filename, "single")  # type: ignore[arg-type]
            session.run(compiled)
    except SystemExit:
        raise
    except BaseException as error:
        sys.stdout.flush()
        sys.stderr.write(_explain(error, filename))
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def run() -> int:
    """Read and run statements until the end of the input; return the exit code."""
    main = types.ModuleType("__main__", None)
    main.__dict__.update(tinycoro=tinycoro, __builtins__=builtins)
    sys.modules["__main__"] = main  # so that pickle and the like find what is defined here
    with tinycoro.Runner() as runner:
        session = _Session(runner, main.__dict__)
        previous = signal.getsignal(signal.SIGINT)
        if previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, session.on_sigint)
        try:
            return _interact(session) if sys.stdin.isatty() else _run_script(session)
        finally:
            if previous is signal.default_int_handler:
                signal.signal(signal.SIGINT, previous)
