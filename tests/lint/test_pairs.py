"""Every weak memory order is explained, and every [tag] names both sides of its pairing."""

from __future__ import annotations

import re
from collections import defaultdict

from sources import ROOT, CFile, library

_WEAK_OPERATION = re.compile(
    r"\btc_(?:(?:load|store|exchange|cas|fetch_\w+?)_(?:relaxed|acquire|release|acq_rel)"
    r"|fence_\w+|load_fence_\w+)\s*\("
)
# In a comment, and not an index: `[chan-closed]` but not `slots[index]`.
_TAG = re.compile(r"(?<![\w\])])\[([a-z][a-z0-9]*(?:-[a-z0-9]+)+)\]")
_PUBLISHES = re.compile(r"\btc_\w+_(?:release\w*|acq_rel|seq_cst)\s*\(")
_OBSERVES = re.compile(r"\btc_\w+_(?:\w*acquire|acq_rel|seq_cst)\s*\(")
_LINES_ABOVE = 3
_LINES_BELOW_TAG = 8


def _is_wrapper(file: CFile) -> bool:
    return file.name == "csrc/base/atomic.h"


def _end_of_statement(file: CFile, line: int) -> int:
    """The 1-based line on which the statement that starts on `line` ends."""
    for number in range(line, min(line + 8, len(file.code_lines) + 1)):
        if re.search(r"[;{}]", file.code_lines[number - 1]):
            return number
    return line


def _start_of_run(file: CFile, line: int) -> int:
    """The first of the lines up to `line` that each hold an operation: one comment serves all."""
    while line > 1 and _WEAK_OPERATION.search(file.code_lines[line - 2]):
        line -= 1
    return line


def test_every_weak_operation_has_a_comment_that_says_why() -> None:
    wrong = []
    for file in library():
        if _is_wrapper(file):
            continue
        for match in _WEAK_OPERATION.finditer(file.code):
            line = file.line_of(match.start())
            first = max(0, _start_of_run(file, line) - 1 - _LINES_ABOVE)
            nearby = file.comment_lines[first : _end_of_statement(file, line)]
            if not any(text.strip() for text in nearby):
                wrong.append(f"{file.name}:{line}: {match.group().rstrip('( ')} is not explained")
    assert not wrong, "\n".join(wrong)


def test_every_tag_has_a_publishing_and_an_observing_site() -> None:
    sites: dict[str, list[tuple[CFile, int]]] = defaultdict(list)
    for file in library():
        for number, text in enumerate(file.comment_lines, 1):
            for tag in set(_TAG.findall(text)):
                sites[tag].append((file, number))
    wrong = []
    for tag, places in sorted(sites.items()):
        where = ", ".join(f"{file.name}:{number}" for file, number in places)
        if len(places) < 2:
            wrong.append(f"[{tag}] stands only at {where}")
            continue
        # The operation stands on the comment's line or soon after it.
        code = [
            "\n".join(file.code_lines[max(0, number - 3) : number + _LINES_BELOW_TAG])
            for file, number in places
        ]
        if not any(_PUBLISHES.search(text) for text in code):
            wrong.append(f"[{tag}] has no publishing site among {where}")
        if not any(_OBSERVES.search(text) for text in code):
            wrong.append(f"[{tag}] has no observing site among {where}")
    assert not wrong, "\n".join(wrong)


def test_every_tag_is_in_the_index() -> None:
    index = (ROOT / "docs" / "MEMORY_ORDER.md").read_text()
    listed = set(re.findall(r"^\| ([a-z][a-z0-9]*(?:-[a-z0-9]+)+) \|", index, re.MULTILINE))
    used = {tag for file in library() for text in file.comment_lines for tag in _TAG.findall(text)}
    assert used == listed


def test_atomics_are_used_through_the_named_wrappers() -> None:
    raw = re.compile(r"\b(?:atomic_\w+|__atomic_\w+|__sync_\w+|memory_order_\w+)\b(?!_t)")
    wrong = [
        f"{file.name}:{file.line_of(match.start())}: {match.group()} instead of base/atomic.h"
        for file in library()
        if not _is_wrapper(file)
        for match in raw.finditer(file.code)
    ]
    assert not wrong, "\n".join(wrong)
