"""errno is read only beside the call that set it."""

from __future__ import annotations

import re

from sources import CFile, library


def _may_use_errno(file: CFile) -> bool:
    # base/sys turns errno into a return value; python/errors.c sets it, because CPython makes an
    # OSError from it.  glibc declares the address of errno constant, so a compiler keeps it across
    # a park, after which the fiber may run on another thread.
    return file.name.startswith("csrc/base/sys") or file.name == "csrc/python/errors.c"


def test_errno_is_used_only_where_a_system_call_is_made() -> None:
    wrong = [
        f"{file.name}:{number}: {line.strip()}"
        for file in library()
        if not _may_use_errno(file)
        for number, line in enumerate(file.code_lines, 1)
        if re.search(r"\berrno\b(?!\.h)", line)
    ]
    assert not wrong, "\n".join(wrong)
