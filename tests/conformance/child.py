"""Run one module of CPython's own tests of asyncio on tinycoro; run.py starts this.

usage: child.py MODULE RESULTS      writes one JSON object a line to the file RESULTS

The order of the imports is the point of this file: asyncio, tinycoro, the stand-ins, and only then
unittest and the tests. No source is changed: what is run is what the interpreter has installed.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any

import shim

HERE = Path(__file__).parent
# A module that takes longer hangs: tell where, and die.
PATIENCE = 150

shim.install()

import unittest  # noqa: E402  # after the stand-ins
from types import CodeType  # noqa: E402

import utilities  # noqa: E402


class Rules:
    """The exclusions of rules.toml."""

    def __init__(self) -> None:
        rules = tomllib.loads((HERE / "rules.toml").read_text())["rule"]
        self._classes = self._names(rules, "classes")
        self._tests = self._names(rules, "tests")
        self._uses = self._names(rules, "uses")

    @staticmethod
    def _names(rules: list[dict[str, Any]], key: str) -> dict[str, str]:
        return {name: rule["name"] for rule in rules for name in rule.get(key, ())}

    def find(self, test: unittest.TestCase) -> str | None:
        """The name of the rule that excludes the test, or None."""
        module, cls, name = short_id(test).split(".")
        for pattern in (f"{module}.{cls}", cls):
            if pattern in self._classes:
                return self._classes[pattern]
        for pattern in (f"{module}.{cls}.{name}", f"{module}.{name}"):
            if pattern in self._tests:
                return self._tests[pattern]
        function = getattr(test, name)
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        for used in sorted(names_of(code)):
            if used in self._uses:
                return self._uses[used]
        return None


def short_id(test: unittest.TestCase) -> str:
    """test_tasks.SleepTests.test_x of test.test_asyncio.test_tasks.SleepTests.test_x."""
    return ".".join(test.id().split(".")[-3:])


def names_of(code: CodeType | None) -> set[str]:
    """The names that a function uses, itself and in what is defined inside it."""
    if code is None:
        return set()
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= names_of(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            found.add(constant)  # hasattr(task, "_x")
    return found


class Result(unittest.TestResult):
    """Writes each test's outcome at once: what a module has done is known even if it dies."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = open(path, "a")  # noqa: SIM115  # for the life of the process
        self._texts: list[str] = []
        self._skip: str | None = None

    def write(self, test: unittest.TestCase, outcome: str, text: str = "") -> None:
        json.dump({"test": short_id(test), "outcome": outcome, "text": text}, self._file)
        self._file.write("\n")
        self._file.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._texts = []
        self._skip = None
        self.write(test, "started")

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        if self._texts:
            self.write(test, "failed", "\n".join(self._texts))
        elif self._skip is not None:
            self.write(test, "skipped", self._skip)
        else:
            self.write(test, "passed")

    def addError(self, test: unittest.TestCase, err: object) -> None:
        super().addError(test, err)  # type: ignore[arg-type]
        self._texts.append(self.errors[-1][1])
        if not hasattr(test, "_testMethodName"):  # setUpModule and the like
            self.write(test, "failed", self._texts[-1])

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        super().addFailure(test, err)  # type: ignore[arg-type]
        self._texts.append(self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:
        super().addSubTest(test, subtest, err)  # type: ignore[arg-type]
        if err is not None:
            self._texts.append((self.errors + self.failures)[-1][1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._skip = reason


def tests_of(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found = []
    for test in suite:
        found += tests_of(test) if isinstance(test, unittest.TestSuite) else [test]
    return found


def main() -> None:
    """Load, exclude, run."""
    module, path = sys.argv[1:3]
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell runs behind `&`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.modules["test.test_asyncio.utils"] = utilities
    package = importlib.import_module("test.test_asyncio")
    package.utils = utilities  # type: ignore[attr-defined]
    suite = unittest.defaultTestLoader.loadTestsFromName(f"test.test_asyncio.{module}")
    result = Result(path)
    rules = Rules()
    chosen = unittest.TestSuite()
    for test in tests_of(suite):
        rule = rules.find(test)
        if rule is None:
            chosen.addTest(test)
        else:
            result.write(test, "excluded", rule)
    chosen.run(result)


main()
