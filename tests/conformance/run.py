"""CPython's own tests of asyncio, run on tinycoro; the verdict on what they say.

usage: run.py short|long [MODULE…]     by an interpreter that has both tinycoro and CPython's tests

Each module runs in a process of its own (child.py). rules.toml says what is left out and why,
expected.toml what fails and why. The exit code is 1 if anything else fails, if something listed
passes, or if what remains is less than the project promises. Some of the tests measure time: a
module with a failure is run again, alone, and what passes then has been late once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
MODULES = (
    *("test_tasks", "test_locks", "test_futures", "test_queues", "test_taskgroups"),
    *("test_timeouts", "test_waitfor", "test_runners", "test_eager_task_factory"),
    *("test_threads", "test_pep492", "test_futures2", "test_context"),
    *("test_streams", "test_server", "test_sock_lowlevel"),
)
# What the project promises.
LEAST_TESTS = 450
LEAST_SHARE = 0.97
# A module that takes longer is ended; child.py prints where it hangs some seconds before.
PATIENCE = 170
MISSING = 75  # the exit code for "this machine has no such tests"


@dataclass
class Pass:
    """The outcomes of one run of all modules: test → (outcome, text)."""

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # module → how it died

    def read(self, module: str, lines: str) -> None:
        """Take what a child has written."""
        for line in lines.splitlines():
            entry = json.loads(line)
            self.outcomes[entry["test"]] = (entry["outcome"], entry["text"])
        if not lines:
            self.broken[module] = f"{module} has run nothing"

    def of(self, outcome: str) -> dict[str, str]:
        """The tests with this outcome."""
        return {test: text for test, (each, text) in self.outcomes.items() if each == outcome}


def run_module(module: str, environment: dict[str, str]) -> tuple[str, str, str]:
    """Run one child; returns the module, what it wrote, and what it printed if it died."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as results:
        command = [sys.executable, "-X", "faulthandler", str(HERE / "child.py"), module]
        # CPython's tests print what they mean to print; only that of a dead child is shown.
        with tempfile.TemporaryFile("w+") as printed:
            try:
                code = subprocess.run(
                    [*command, results.name],
                    env={**os.environ, **environment},
                    stdout=printed,
                    stderr=printed,
                    stdin=subprocess.DEVNULL,
                    timeout=PATIENCE,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = -1
            printed.seek(0)
            text = printed.read()
        return module, results.read(), f"{module} died ({code}):\n{text}" if code else ""


def run_pass(modules: tuple[str, ...], environment: dict[str, str]) -> Pass:
    """Run all modules, as many at once as there are processors."""
    found = Pass()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = [pool.submit(run_module, module, environment) for module in modules]
        for job in jobs:
            module, lines, death = job.result()
            found.read(module, lines)
            if death:
                found.broken[module] = death
    return found


def surprises(found: Pass, expected: dict[str, str]) -> dict[str, str]:
    """Test → text, of those that fail and are not listed."""
    failed = found.of("failed") | dict.fromkeys(found.of("started"), "it never came to its end")
    return {test: text for test, text in failed.items() if test not in expected}


def try_again(found: Pass, expected: dict[str, str], environment: dict[str, str]) -> None:
    """Run the modules that have failed once more, alone; what passes then has passed."""
    failed = surprises(found, expected)
    for module in sorted({test.split(".")[0] for test in failed} | set(found.broken)):
        again = Pass()
        _, lines, death = run_module(module, environment)
        again.read(module, lines)
        if not death and not again.broken:
            found.broken.pop(module, None)
        for test, outcome in again.outcomes.items():
            if test in failed and outcome[0] == "passed":
                print(f"once {test} has failed:\n{failed[test]}", flush=True)
            if test in failed or test not in found.outcomes:
                found.outcomes[test] = outcome


def expected_failures() -> dict[str, str]:
    """Test → reason."""
    listed = tomllib.loads((HERE / "expected.toml").read_text()).get("failure", [])
    return {test: entry["reason"] for entry in listed for test in entry["tests"]}


def judge(found: Pass, expected: dict[str, str], everything: bool) -> list[str]:
    """What is wrong with this pass."""
    wrong = list(found.broken.values())
    wrong += [f"{test} fails:\n{text}" for test, text in surprises(found, expected).items()]
    wrong += [f"{test} passes, but is listed" for test in found.of("passed") if test in expected]
    count = len(found.of("failed")) + len(found.of("started")) + len(found.of("passed"))
    if everything and count < LEAST_TESTS:
        wrong.append(f"only {count} tests remain; {LEAST_TESTS} are promised")
    if everything and len(found.of("passed")) < LEAST_SHARE * count:
        wrong.append(f"only {len(found.of('passed'))} of {count} tests pass")
    return wrong


def report(found: Pass, expected: dict[str, str], verbose: bool) -> str:
    """One line of counts; with `verbose`, what is excluded and what fails before it."""
    passed, failed = len(found.of("passed")), len(found.of("failed")) + len(found.of("started"))
    if verbose:
        for rule, count in Counter(found.of("excluded").values()).most_common():
            print(f"     excluded by rule {rule}: {count}")
        for test in sorted(found.of("failed")):
            print(f"     fails: {test}: {expected.get(test, 'NOT LISTED')}")
        for test, reason in sorted(found.of("skipped").items()):
            print(f"     skipped by itself: {test}: {reason}")
    share = 100 * passed / max(1, passed + failed)
    return f"{passed + failed} tests, {passed} pass ({share:.1f} %), {failed} fail as listed"


def main() -> None:
    """Run and judge."""
    form, *names = sys.argv[1:]
    if importlib.util.find_spec("test.test_asyncio") is None:
        print(f"{sys.executable} has no test.test_asyncio")
        sys.exit(MISSING)
    modules = tuple(names) or MODULES
    begun = time.monotonic()
    environments: list[dict[str, str]] = [{}]
    if form == "long":
        environments += [{"PYTHONHASHSEED": str(seed)} for seed in range(4)]
        environments += [{"PYTHONASYNCIODEBUG": "1"}, {"PYTHONDEVMODE": "1"}]
    expected = expected_failures()
    for number, environment in enumerate(environments):
        found = run_pass(modules, environment)
        for _ in range(2):
            try_again(found, expected, environment)
        line = report(found, expected, verbose=number == 0)
        wrong = judge(found, expected, everything=not names)
        setting = " ".join(f"{name}={value}" for name, value in environment.items()) or "plain"
        if wrong:
            print("\n\n".join(wrong))
            print(f"FAIL conformance ({setting}): {line}, {len(wrong)} surprises")
            sys.exit(1)
        seconds = time.monotonic() - begun
        version = platform.python_version()
        print(
            f"ok   conformance ({setting}): CPython {version}: {line} ({seconds:.0f} s)", flush=True
        )


main()
