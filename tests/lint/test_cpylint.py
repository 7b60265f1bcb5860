"""Misuse of the CPython API that a compiler does not see."""

from __future__ import annotations

import re

import pytest

from sources import CFile, library

_BLOCKS = (
    ("Py_BEGIN_ALLOW_THREADS", "Py_END_ALLOW_THREADS"),
    ("Py_BEGIN_CRITICAL_SECTION", "Py_END_CRITICAL_SECTION"),
    ("Py_BEGIN_CRITICAL_SECTION2", "Py_END_CRITICAL_SECTION2"),
)

# Pattern, the files that may use it, and why the others must not.
_RULES: tuple[tuple[str, set[str], str], ...] = (
    (
        r"\b(?:PyEval_(?:Save|Restore)Thread|PyGILState_\w+|Py_(?:BEGIN|END)_ALLOW_THREADS"
        r"|PyThreadState_(?:Swap|New|Clear|Delete\w*))\b",
        {"gil.c", "gil.h"},
        "gil.c alone attaches and detaches threads",
    ),
    (r"\bPY_VERSION_HEX\b", {"compat.h"}, "compat.h alone knows versions"),
    (r"\bPyModule_Create2?\s*\(", set(), "single-phase initialization"),
    (
        r"\bPyErr_SetObject\s*\(\s*PyExc_StopIteration",
        set(),
        "unpacks tuples and takes exceptions for themselves",
    ),
    (
        r"\b(?:PyDict_GetItem(?:String)?|PyWeakref_GetObject|PyWeakref_GET_OBJECT)\s*\(",
        set(),
        "borrowed reference, swallows errors",
    ),
    (r"\bPyErr_(?:Fetch|Restore|NormalizeException)\s*\(", {"compat.h"}, "deprecated since 3.12"),
    (r"\bPy_AtExit\s*\(", set(), "runs without an interpreter"),
    (r"\bPyObject_(?:New|NEW)\s*\(", set(), "heap types need tp_alloc or PyObject_GC_New"),
)


def _python_layer() -> list[CFile]:
    return [file for file in library() if file.layer == "python"]


@pytest.mark.parametrize(("begin", "end"), _BLOCKS)
def test_every_begin_has_its_end_and_no_way_around_it(begin: str, end: str) -> None:
    wrong = []
    for file in _python_layer():
        opened = 0
        for number, line in enumerate(file.code_lines, 1):
            if re.search(rf"^\s*#\s*define\b.*\b(?:{begin}|{end})\b", line):
                continue
            if re.search(rf"\b{begin}\b", line):
                if opened:
                    wrong.append(f"{file.name}:{number}: {begin} inside the one at {opened}")
                opened = number
            elif re.search(rf"\b{end}\b", line):
                if not opened:
                    wrong.append(f"{file.name}:{number}: {end} without {begin}")
                opened = 0
            elif opened and re.search(r"\b(?:return|goto)\b", line):
                wrong.append(f"{file.name}:{number}: leaves the {begin} of line {opened}")
            elif opened and line.startswith("}"):
                wrong.append(f"{file.name}:{opened}: {begin} without {end}")
                opened = 0
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("pattern", "allowed", "reason"), _RULES)
def test_forbidden_calls_stay_out(pattern: str, allowed: set[str], reason: str) -> None:
    wrong = [
        f"{file.name}:{file.line_of(match.start())}: {match.group().strip()}: {reason}"
        for file in _python_layer()
        if file.path.name not in allowed
        for match in re.finditer(pattern, file.code)
    ]
    assert not wrong, "\n".join(wrong)


def test_python_objects_live_in_module_state() -> None:
    wrong = [
        f"{file.name}:{number}: {line.strip()}"
        for file in _python_layer()
        for number, line in enumerate(file.code_lines, 1)
        if re.match(r"static\s+Py(?:Type)?Object\s*\*?\s*\w+\s*(?:=|;)", line)
    ]
    assert not wrong, "\n".join(wrong)
