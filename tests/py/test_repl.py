"""The REPL: at a terminal, and on what a pipe brings."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import PATIENCE

_COMMAND = [sys.executable, "-P", "-W", "error", "-m", "tinycoro"]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x07")


class Terminal:
    """A REPL behind a terminal: what is typed, and what has been shown."""

    def __init__(self, home: Path) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            _COMMAND,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "HOME": str(home), "TERM": "dumb", "PYTHONSTARTUP": ""},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""  # since the last expect()

    def expect(self, text: str) -> str:
        """Wait until `text` is shown, and return what was shown before it."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert self.read(deadline), f"{text!r} is not shown, but {self.shown!r}"
        before, _, self.shown = self.shown.partition(text)
        return before

    def read(self, deadline: float) -> bool:
        """Take what is shown next; False if that is nothing, up to `deadline`."""
        ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += _CONTROL.sub("", data.decode())
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def enter(self, line: str, prompt: str = ">>> ") -> str:
        """Type a line, and return what is shown from there to the next prompt."""
        self.type(line + "\n")
        self.expect(line + "\n")
        return self.expect(prompt)

    def until(self, text: str, act: Callable[[], None]) -> None:
        """Do something, every second again, until `text` is shown."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            act()
            pause = time.monotonic() + 1.0
            while text not in self.shown and self.read(pause):
                pass

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.read(deadline):
            pass
        return self.process.wait(PATIENCE)


@contextmanager
def open_terminal(home: Path) -> Iterator[Terminal]:
    terminal = Terminal(home)
    try:
        terminal.expect(">>> ")
        yield terminal
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
        os.close(terminal.master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with open_terminal(tmp_path) as terminal:
        yield terminal


# ---- at a terminal -------------------------------------------------------------------------------


def test_statements_and_awaits_show_their_values(terminal: Terminal) -> None:
    assert terminal.enter("1 + 1") == "2\n"
    assert terminal.enter("await tinycoro.sleep(0, 'slept')") == "'slept'\n"
    assert terminal.enter("x = await tinycoro.sleep(0, 5)") == ""
    assert terminal.enter("x") == "5\n"
    terminal.enter("async def double(n):", "... ")
    terminal.enter("    return 2 * await tinycoro.sleep(0, n)", "... ")
    assert terminal.enter("") == ""
    assert terminal.enter("await double(x)") == "10\n"
    assert terminal.enter("await tinycoro.gather(double(1), double(2))") == "[2, 4]\n"
    assert "_UnixSelector" not in terminal.enter("tinycoro.get_running_loop()")


def test_context_variables_and_main_are_kept(terminal: Terminal) -> None:
    terminal.enter("import contextvars, threading, pickle")
    terminal.enter("v = contextvars.ContextVar('v')")
    terminal.enter("_ = v.set(1)")
    assert terminal.enter("v.get()") == "1\n"
    terminal.enter("_ = v.set(await tinycoro.sleep(0, 2))")
    assert terminal.enter("v.get()") == "2\n"
    assert terminal.enter("threading.current_thread() is threading.main_thread()") == "True\n"
    terminal.enter("class C: pass", "... ")
    terminal.enter("")
    assert terminal.enter("type(pickle.loads(pickle.dumps(C()))) is C") == "True\n"


def test_exceptions_are_shown_without_our_frames(terminal: Terminal) -> None:
    terminal.enter("async def fail():", "... ")
    terminal.enter("    await tinycoro.sleep(0); 1 / 0", "... ")
    terminal.enter("")
    shown = terminal.enter("await fail()")
    assert shown.startswith('Traceback (most recent call last):\n  File "<console>", line 1')
    assert shown.endswith("ZeroDivisionError: division by zero\n")
    assert shown.count("  File ") == 2
    assert "ZeroDivisionError" in terminal.enter("import sys; sys.last_value")
    assert "SyntaxError" in terminal.enter("1 +")
    assert "CancelledError" in terminal.enter("raise tinycoro.CancelledError")


def test_tasks_run_while_it_waits_for_input(terminal: Terminal) -> None:
    terminal.enter("async def announce():", "... ")
    terminal.enter("    await tinycoro.sleep(0.1); print('from', 'the task')", "... ")
    terminal.enter("")
    terminal.enter("task = tinycoro.create_task(announce())")
    terminal.expect("from the task\n")  # nobody has typed anything
    assert terminal.enter("task.done()") == "True\n"


def test_interrupt_cancels_what_is_awaited_and_nothing_else(terminal: Terminal) -> None:
    terminal.enter("other = tinycoro.create_task(tinycoro.sleep(1000))")
    terminal.type("await tinycoro.sleep(1000, print('wait', 'ing'))\n")
    terminal.expect("wait ing\n")
    terminal.interrupt()
    terminal.expect("KeyboardInterrupt\n>>> ")
    assert terminal.enter("other.done()") == "False\n"


def test_interrupt_stops_what_computes(terminal: Terminal) -> None:
    terminal.type("for i in __import__('itertools').count(): i or print('count', 'ing')\n")
    terminal.expect("... ")
    terminal.type("\n")
    terminal.expect("count ing\n")
    terminal.interrupt()
    terminal.expect("KeyboardInterrupt\n>>> ")
    assert terminal.enter("1 + 1") == "2\n"


def test_interrupt_at_the_prompt_drops_the_line(terminal: Terminal) -> None:
    terminal.type("def f(")
    terminal.expect("def f(")
    # One that comes between the prompt and the wait for the line is seen only with the next.
    terminal.until("KeyboardInterrupt\n>>> ", terminal.interrupt)
    terminal.until("2\n", lambda: terminal.type("1 + 1\n"))


def test_interrupt_reaches_a_task_that_does_not_return(terminal: Terminal) -> None:
    terminal.enter("async def spin():", "... ")
    terminal.enter("    await tinycoro.sleep(0.01)", "... ")
    terminal.enter("    print('spin', 'ning')", "... ")
    terminal.enter("    while True: pass", "... ")
    terminal.enter("")
    terminal.enter("task = tinycoro.create_task(spin())")
    terminal.expect("spin ning\n")  # in the helper thread
    terminal.type("1 + 1\n")
    # The first one may find the prompt still waiting for the line, and drop it.
    terminal.until("KeyboardInterrupt\n>>> ", terminal.interrupt)
    # And one may be late.
    terminal.until("done: True\n", lambda: terminal.type("print('done:', task.done())\n"))


def test_signal_handlers_of_the_loop_run(terminal: Terminal) -> None:
    terminal.enter("import signal")
    terminal.enter("loop = tinycoro.get_running_loop()")
    terminal.enter("loop.add_signal_handler(signal.SIGUSR1, print, 'a', 'signal')")
    terminal.process.send_signal(signal.SIGUSR1)
    terminal.expect("a signal\n")


@pytest.mark.parametrize(
    ("typed", "code"),
    [("exit(5)\n", 5), ("raise SystemExit\n", 0), ("\x04", 0), ("await stop()\n", 7)],
)
def test_exit_code_is_what_the_program_says(terminal: Terminal, typed: str, code: int) -> None:
    terminal.enter("async def stop(): raise SystemExit(7)", "... ")
    terminal.enter("")
    terminal.type(typed)
    assert terminal.wait() == code


def test_task_that_exits_ends_the_program_at_the_prompt(terminal: Terminal) -> None:
    terminal.enter("async def stop():", "... ")
    terminal.enter("    await tinycoro.sleep(0.05); raise SystemExit(7)", "... ")
    terminal.enter("")
    terminal.enter("task = tinycoro.create_task(stop())")
    assert terminal.wait() == 7


def test_history_lasts(tmp_path: Path) -> None:
    pytest.importorskip("readline")
    with open_terminal(tmp_path) as terminal:
        terminal.enter("'something' + ' to keep'")
        terminal.type("\x04")
        assert terminal.wait() == 0
    with open_terminal(tmp_path) as terminal:
        terminal.type("\x10\n")  # the line before
        terminal.expect("'something to keep'\n")


# ---- from a pipe --------------------------------------------------------------------------------


def run_script(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _COMMAND,
        input=textwrap.dedent(source),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_script_on_standard_input_runs_with_awaits() -> None:
    result = run_script(
        """
        from __future__ import annotations
        import contextvars

        v = contextvars.ContextVar("v")

        async def double(n: Undefined):
            return 2 * await tinycoro.sleep(0, n)
        if True:
            _ = v.set(await double(3))
        v.get()
        async with tinycoro.timeout(10):
            print(await double(4))
        """
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "6\n8\n", "")


def test_script_ends_at_its_first_exception() -> None:
    result = run_script("print(1)\nawait tinycoro.sleep(0, 1 / 0)\nprint(2)\n")
    assert (result.returncode, result.stdout) == (1, "1\n")
    assert result.stderr.startswith('Traceback (most recent call last):\n  File "<stdin>", line 2')
    assert result.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("source", "code", "error"),
    [
        ("", 0, ""),
        ("raise SystemExit(4)", 4, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("1 +", 1, "SyntaxError: invalid syntax\n"),
        ("return 1", 1, "SyntaxError: 'return' outside function\n"),
        ("import signal; signal.raise_signal(signal.SIGINT)", 130, "KeyboardInterrupt\n"),
    ],
)
def test_exit_code_of_a_script(source: str, code: int, error: str) -> None:
    result = run_script(source)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.endswith(error)


def test_script_leaves_no_task() -> None:
    result = run_script(
        """
        async def forever():
            try:
                await tinycoro.sleep(1000)
            finally:
                print("cancelled")
        task = tinycoro.create_task(forever())
        await tinycoro.sleep(0)
        """
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "cancelled\n", "")
